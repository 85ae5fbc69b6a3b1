//! Steps run for real, in namespaces of this process. Has its own `main`: the sandbox is this very program, and a
//! namespace is entered before there are threads.

#![expect(
    clippy::assigning_clones,
    clippy::print_stdout,
    clippy::unused_self,
    clippy::unwrap_used,
    reason = "all of it is tests, but outside `#[test]`"
)]

mod mounts;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use executor::{ExecError, HostEntry, IdentityKind, Network, Stdio, Step, Ulimit};
use support::{Suite, TestResult};

fn main() {
    executor::maybe_sandbox();
    let mut args = std::env::args().skip(1);
    if args.next().is_some_and(|arg| arg == "ssh-client") {
        mounts::ssh_client(&args.next().unwrap()).unwrap();
        return;
    }
    let mut suite = Suite::enter();
    suite.test("streams, code and usage come back", streams);
    suite.test("a large output arrives whole", large_output);
    suite.test("changes go to the upper directory", mounts::overlay);
    suite.test("a hundred and thirty layers mount", mounts::many_layers);
    suite.test("mounts of every kind", mounts::mounts);
    suite.test("mount points do not stay", mounts::stubs);
    suite.test("a step cannot misdirect the removal of mount points", mounts::stubs_swapped);
    suite.test("users, groups and homes", users);
    suite.test("a missing program, user or directory is the step's fault", faults);
    suite.test("a signal is reported", signalled);
    suite.test("cancelling ends every process", cancelled);
    suite.test("time runs out", timeout);
    suite.test("an ssh agent is relayed", mounts::ssh);
    suite.test("steps run at the same time", parallel);
    suite.test("a hostile root misdirects nothing", mounts::hostile_root);
    suite.test("the private network is not the host's, or a note says so", private_network);
    suite.test("a fork bomb stops at the limit", processes);
    suite.test("a read-only root is read-only", mounts::read_only);
    suite.test("an insecure step mounts for itself alone", mounts::insecure);
    suite.test("streams are inherited", inherited);
    suite.test("a swapped directory never leads out of a mount's source", mounts::swapped);
    suite.test("overhead", overhead);
    suite.finish();
}

fn streams(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let (exit, out, err) =
        suite.run(&suite.shell(&root, "echo hello; echo oops >&2; cat; exit 3"))?;
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert_eq!((out.as_str(), err.as_str()), ("hello\n", "oops\n"));
    assert!(exit.usage.wall > Duration::ZERO && exit.usage.max_rss_bytes > 0);
    let (_, out, _) =
        suite.run(&suite.shell(&root, "echo again > /dev/stdout; hostname; pwd; tty"))?;
    assert_eq!(out, "again\nbuildkitsandbox\n/\nnot a tty\n");
    let mut step = suite.shell(&root, "");
    step.args = vec!["env".to_owned()];
    assert_eq!(suite.run(&step)?.1, "PATH=/bin\nHOME=/root\n");
    Ok(())
}

fn large_output(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let step = suite.shell(&root, "seq 1 300000; seq 1 100000 >&2");
    let (exit, out, err) = suite.run(&step)?;
    assert!(exit.success());
    assert_eq!((out.lines().count(), err.lines().count()), (300_000, 100_000));
    assert_eq!((out.lines().last(), err.lines().last()), (Some("300000"), Some("100000")));
    Ok(())
}

fn users(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let run = |user: &str| {
        let mut step = suite.shell(
            &root,
            "id -u; id -g; id -G; echo $HOME; grep Cap /proc/self/status | tr -d '\\n\\t'",
        );
        step.user = user.to_owned();
        suite.run(&step).map(|(_, out, err)| format!("{out}{err}"))
    };
    let root_caps = "CapInh:0000000000000000CapPrm:00000000800405fbCapEff:00000000800405fbCapBnd:00000000800405fbCapAmb:0000000000000000";
    let user_caps = "CapInh:0000000000000000CapPrm:0000000000000000CapEff:0000000000000000CapBnd:00000000800405fbCapAmb:0000000000000000";
    if suite.identity.kind == IdentityKind::SingleId {
        assert!(run("")?.ends_with(root_caps));
        let error = run("app").unwrap_err().to_string();
        assert!(error.contains("subordinate"), "{error}");
        return Ok(());
    }
    assert_eq!(run("")?, format!("0\n0\n0\n/root\n{root_caps}"));
    assert_eq!(run("app")?, format!("1000\n1001\n1001 10\n/home/app\n{user_caps}"));
    assert_eq!(run("1000:5")?, format!("1000\n5\n5\n/home/app\n{user_caps}"));
    assert_eq!(run("4000:wheel")?, format!("4000\n10\n10\n/\n{user_caps}"));
    Ok(())
}

fn faults(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let fault = |change: &dyn Fn(&mut Step)| {
        let mut step = suite.shell(&root, "true");
        change(&mut step);
        match executor::run(&step, &mut |_, _| {}, &AtomicBool::new(false)) {
            Err(ExecError::Step(message)) => message,
            other => format!("{other:?}"),
        }
    };
    assert_eq!(
        fault(&|step| step.args = vec!["nothere".to_owned()]),
        "exec: \"nothere\": executable file not found in $PATH"
    );
    assert_eq!(
        fault(&|step| step.args = vec!["/etc/passwd".to_owned()]),
        "exec: \"/etc/passwd\": permission denied"
    );
    assert_eq!(
        fault(&|step| step.user = "ghost".to_owned()),
        "unable to find user ghost: no matching entries in passwd file"
    );
    assert_eq!(
        fault(&|step| step.cwd = "/etc/passwd".to_owned()),
        "working directory `/etc/passwd` is not a directory"
    );
    assert_eq!(
        fault(&|step| step.ulimits = vec![Ulimit { name: "x".to_owned(), soft: 1, hard: 1 }]),
        "`x` is not a resource limit"
    );
    for number in 3..40 {
        let message = fault(&|step| step.cwd = format!("/proc/self/fd/{number}"));
        // The directory is made in the image, then hidden by the real `/proc`, in which it does not exist.
        assert!(
            message.contains("working directory") || message.contains("/proc"),
            "{number}: {message}"
        );
    }
    Ok(())
}

fn signalled(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let (exit, _, _) =
        suite.run(&suite.shell(&root, "sh -c 'kill -9 $$'; echo $?; kill -9 -1; exit 7"))?;
    assert_eq!((exit.code, exit.shell_code()), (Some(7), 7));
    let mut step = suite.shell(&root, "ulimit -f 1; yes > /tmp/x");
    step.args =
        ["/bin/sh", "-c", "exec dd if=/dev/zero of=/tmp/x bs=1M count=5"].map(str::to_owned).into();
    step.ulimits = vec![Ulimit { name: "fsize".to_owned(), soft: 4096, hard: 4096 }];
    let (exit, _, err) = suite.run(&step)?;
    assert!(!exit.success(), "{err}");
    Ok(())
}

fn left_over(marker: &str) -> usize {
    let processes = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter(|entry| {
            fs_err::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(marker))
        })
        .count()
}

fn cancelled(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    for script in [
        "(setsid sleep 98765 &) ; sleep 98765",
        "trap '' TERM; sleep 98765; sleep 98765",
        "trap 'echo bye; exit 0' TERM; sleep 98765 & wait",
    ] {
        let cancel = AtomicBool::new(false);
        let step = suite.shell(&root, script);
        let started = Instant::now();
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                cancel.store(true, Ordering::Relaxed);
            });
            executor::run(&step, &mut |_, _| {}, &cancel)
        });
        assert!(started.elapsed() < Duration::from_secs(5), "{script}");
        assert!(
            matches!(result, Err(ExecError::Cancelled)) || result.is_ok_and(|exit| exit.success()),
            "{script}"
        );
        assert_eq!(left_over("98765"), 0, "{script}");
    }
    Ok(())
}

fn timeout(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(&root, "sleep 98764");
    step.limits.time = Some(Duration::from_millis(200));
    let (exit, _, _) = suite.run(&step)?;
    assert!(exit.timed_out && exit.signal == Some(9));
    Ok(())
}

fn parallel(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|index| {
                let root = &root;
                scope.spawn(move || {
                    let mut text = Vec::new();
                    let step =
                        suite.shell(root, &format!("sleep 0.2; echo $$ {index}; ps | wc -l"));
                    let exit = executor::run(
                        &step,
                        &mut |_, bytes| text.extend_from_slice(bytes),
                        &AtomicBool::new(false),
                    );
                    (
                        index,
                        exit.is_ok_and(|exit| exit.success()),
                        String::from_utf8_lossy(&text).into_owned(),
                    )
                })
            })
            .collect();
        for run in runs {
            let (index, success, text) = run.join().unwrap();
            assert!(success && text.starts_with(&format!("1 {index}\n")), "{text}");
        }
    });
    Ok(())
}

fn private_network(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // Whoever connects is let go at once.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let script = format!(
        "cat /etc/resolv.conf; cat /proc/net/route; ls /sys/class/net; nc -w 1 127.0.0.1 {port} </dev/null && echo reached"
    );
    let mut step = suite.shell(&root, &script);
    step.network = Network::Private;
    step.add_hosts = vec![HostEntry { host: "db".to_owned(), address: "10.1.2.3".parse()? }];
    let (exit, out, _) = suite.run(&step)?;
    if let [note] = exit.notes.as_slice() {
        assert!(
            note.contains("share the host's network") && out.contains("reached"),
            "{note} {out}"
        );
        println!("  no relay here: {note}");
    } else {
        assert!(!out.contains("reached") && out.contains("nameserver"), "{out}");
        let routes = out.lines().filter(|line| line.split_whitespace().nth(1) == Some("00000000"));
        assert_eq!(routes.count(), 1, "{out}");
    }
    step.network = Network::None;
    step.args[2] = "cat /etc/hosts /etc/resolv.conf; ls /sys/class/net".to_owned();
    let (exit, out, _) = suite.run(&step)?;
    assert_eq!(
        out,
        "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\nlo\n"
    );
    assert!(exit.notes.is_empty());
    Ok(())
}

fn processes(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(&root, "for i in $(seq 60); do sleep 98763 & done; echo all");
    step.limits.processes = 30;
    let started = Instant::now();
    let (exit, out, err) = suite.run(&step)?;
    if suite.identity.kind != IdentityKind::SingleId {
        // A single id is the user's own, whose other processes may or may not count.
        assert!(
            !exit.success() && !out.contains("all") && err.contains("fork"),
            "{exit:?} {out} {err}"
        );
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(left_over("98763"), 0);
    Ok(())
}

fn inherited(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(&root, "exit 9");
    step.stdio = Stdio::Inherited;
    let exit = executor::run(&step, &mut |_, _| unreachable!(), &AtomicBool::new(false))?;
    assert_eq!(exit.code, Some(9));
    Ok(())
}

fn overhead(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(&root, "");
    step.args = vec!["/bin/true".to_owned()];
    let mut times: Vec<_> = (0..50)
        .map(|_| {
            let started = Instant::now();
            suite.run(&step).map(|_| started.elapsed())
        })
        .collect::<Result<_, _>>()?;
    times.sort();
    println!("  sandbox of one step: median {:?}, highest {:?}", times[25], times[49]);
    Ok(())
}
