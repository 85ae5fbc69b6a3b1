//! Steps run for real, in namespaces of this process. Has its own `main`: the sandbox is this very program, and a
//! namespace is entered before there are threads.

#![expect(
    clippy::assigning_clones,
    clippy::print_stdout,
    clippy::unused_self,
    clippy::unwrap_used,
    reason = "all of it is tests, but outside `#[test]`"
)]

mod support;

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use executor::{
    ExecError, HostEntry, IdentityKind, Mount, MountKind, Network, Rootfs, Security, SshAgent,
    Stdio, Step, Ulimit,
};
use support::{Suite, TestResult};

fn main() {
    executor::maybe_sandbox();
    let mut args = std::env::args().skip(1);
    if args.next().is_some_and(|arg| arg == "ssh-client") {
        ssh_client(&args.next().unwrap()).unwrap();
        return;
    }
    let mut suite = Suite::enter();
    suite.test("streams, code and usage come back", streams);
    suite.test("a large output arrives whole", large_output);
    suite.test("changes go to the upper directory", overlay);
    suite.test("a hundred and thirty layers mount", many_layers);
    suite.test("mounts of every kind", mounts);
    suite.test("mount points do not stay", stubs);
    suite.test("a step cannot misdirect the removal of mount points", stubs_swapped);
    suite.test("users, groups and homes", users);
    suite.test("a missing program, user or directory is the step's fault", faults);
    suite.test("a signal is reported", signalled);
    suite.test("cancelling ends every process", cancelled);
    suite.test("time runs out", timeout);
    suite.test("an ssh agent is relayed", ssh);
    suite.test("steps run at the same time", parallel);
    suite.test("a hostile root misdirects nothing", hostile_root);
    suite.test("the private network is not the host's, or a note says so", private_network);
    suite.test("a fork bomb stops at the limit", processes);
    suite.test("a read-only root is read-only", read_only);
    suite.test("an insecure step mounts for itself alone", insecure);
    suite.test("streams are inherited", inherited);
    suite.test("a swapped directory never leads out of a mount's source", swapped);
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

fn overlay(suite: &Suite) -> TestResult {
    let base = suite.busybox_root()?;
    let state = tempfile::tempdir()?;
    let [upper, work] = ["upper", "work"].map(|name| state.path().join(name));
    fs_err::create_dir(&upper)?;
    fs_err::create_dir(&work)?;
    suite.give(&upper)?;
    let mut step = suite.shell(
        &base,
        "echo new > /new; rm /bin/yes; chown 1:1 /new 2>&1; grep overlay /proc/mounts",
    );
    step.rootfs = Rootfs::Overlay {
        lowers: vec![base.path().into()],
        upper: upper.clone(),
        work,
        volatile: true,
    };
    let (exit, out, err) = suite.run(&step)?;
    assert!(err.is_empty(), "{err}");
    assert!(out.contains("lowerdir=0") && !out.contains(&*base.path().to_string_lossy()), "{out}");
    assert!(exit.success());
    assert_eq!(fs_err::read_to_string(upper.join("new"))?, "new\n");
    let removed = fs_err::symlink_metadata(upper.join("bin/yes"))?;
    assert_eq!((removed.mode() & 0o170_000, removed.rdev()), (0o020_000, 0));
    assert!(base.path().join("bin/yes").symlink_metadata().is_ok());
    let owner = fs_err::metadata(upper.join("new"))?.uid();
    let expected =
        if suite.identity.kind == IdentityKind::SingleId { 0 } else { suite.identity.offset + 1 };
    assert_eq!(owner, expected);
    Ok(())
}

fn many_layers(suite: &Suite) -> TestResult {
    let base = suite.busybox_root()?;
    let state = tempfile::tempdir()?;
    let mut lowers = vec![base.path().to_owned()];
    for index in 0..130 {
        // Long enough that the plain names would not fit a page.
        let layer = state.path().join(format!("{index:0100}"));
        fs_err::create_dir(&layer)?;
        fs_err::write(layer.join(format!("file{index}")), "")?;
        fs_err::write(layer.join("last"), index.to_string())?;
        suite.give(&layer)?;
        lowers.push(layer);
    }
    let [upper, work] = ["upper", "work"].map(|name| state.path().join(name));
    fs_err::create_dir(&upper)?;
    fs_err::create_dir(&work)?;
    suite.give(&upper)?;
    let mut step = suite.shell(&base, "ls / | grep -c file; cat /last");
    step.rootfs = Rootfs::Overlay { lowers, upper, work, volatile: false };
    let (_, out, err) = suite.run(&step)?;
    assert_eq!((out.as_str(), err.as_str()), ("130\n129", ""));
    Ok(())
}

fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.to_owned(), kind }
}

fn mounts(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let outside = tempfile::tempdir()?;
    let path = |name: &str| outside.path().join(name);
    fs_err::create_dir_all(path("cache/sub"))?;
    fs_err::write(path("cache/sub/kept"), "kept")?;
    std::os::unix::fs::symlink("/sub", path("cache/absolute"))?;
    std::os::unix::fs::symlink("../../../../../etc/passwd", path("cache/escape"))?;
    fs_err::create_dir(path("stage"))?;
    fs_err::write(path("stage/tool"), "tool")?;
    fs_err::create_dir(path("up"))?;
    fs_err::create_dir(path("work"))?;
    suite.give(outside.path())?;
    let bind = |subpath: Option<&str>, read_only| MountKind::Bind {
        source: path("cache"),
        subpath: subpath.map(str::to_owned),
        read_only,
    };
    let stage = |upper, subpath: Option<&str>| MountKind::Overlay {
        lowers: vec![path("stage")],
        upper,
        subpath: subpath.map(str::to_owned),
        read_only: false,
    };
    let mut step = suite.shell(
        &root,
        "set -x; cat /run/secrets/key; stat -c '%a %u:%g' /run/secrets/key; cat /c/sub/kept; echo 1 > /c/new; \
         cat /ro/kept; touch /ro/x; cat /a/kept; cat /tool; touch /stage/x; echo changed > /rw/tool; cat /rw/tool; \
         stat -c '%a' /t; echo 1 > /t/x; dd if=/dev/zero of=/t/big bs=1M count=3 2>/dev/null; pwd; cat rel/kept; \
         mount | grep -c ' /t '",
    );
    step.cwd = "/work/dir".to_owned();
    step.mounts = vec![
        mount(
            "/run/secrets/key",
            MountKind::Secret { bytes: b"s3cret\n".to_vec(), mode: 0o400, uid: 0, gid: 0 },
        ),
        mount("/c", bind(None, false)),
        mount("/ro", bind(Some("sub"), true)),
        mount("/a", bind(Some("absolute"), true)),
        mount("/tool", stage(None, Some("tool"))),
        mount("/stage", stage(None, None)),
        mount("/rw", stage(Some((path("up"), path("work"))), None)),
        mount("/t", MountKind::Tmpfs { size: Some(1 << 20), mode: 0o1777 }),
        mount("rel", bind(Some("sub"), true)),
    ];
    let (_, out, err) = suite.run(&step)?;
    assert_eq!(out, "s3cret\n400 0:0\nkeptkeptkepttoolchanged\n1777\n/work/dir\nkept1\n", "{err}");
    assert!(err.contains("touch: /ro/x: Read-only file system"), "{err}");
    assert!(err.contains("touch: /stage/x: Read-only file system"), "{err}");
    assert_eq!(fs_err::read_to_string(path("cache/new"))?, "1\n");
    assert_eq!(fs_err::read_to_string(path("stage/tool"))?, "tool");
    for (subpath, says) in
        [("escape", "not found"), ("../../etc", "not found"), ("nothing", "not found")]
    {
        step.mounts = vec![mount("/x", bind(Some(subpath), false))];
        let error = suite.run(&step).unwrap_err().to_string();
        assert!(error.contains(says), "{subpath}: {error}");
    }
    for target in ["/", "//", ".", "/proc/self/attr", "/proc"] {
        step.cwd = "/".to_owned();
        step.mounts = vec![mount(target, bind(None, false))];
        let error = suite.run(&step).unwrap_err().to_string();
        assert!(error.contains("mounted"), "{target}: {error}");
    }
    Ok(())
}

fn stubs(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    fs_err::create_dir(root.path().join("real"))?;
    std::os::unix::fs::symlink("real", root.path().join("link"))?;
    suite.give(root.path())?;
    let modified =
        || Ok::<_, std::io::Error>(fs_err::metadata(root.path().join("root"))?.mtime_nsec());
    let before = modified()?;
    let mut step = suite.shell(&root, "echo 1 > /kept/a/file; ls /link");
    let tmpfs = || MountKind::Tmpfs { size: None, mode: 0o755 };
    step.mounts = vec![
        mount("/root/.cache/go", tmpfs()),
        mount("/link/deep/er", tmpfs()),
        mount("/kept/a/b", tmpfs()),
        mount(
            "/run/secrets/x",
            MountKind::Secret { bytes: b"x".to_vec(), mode: 0o400, uid: 0, gid: 0 },
        ),
    ];
    let (exit, out, err) = suite.run(&step)?;
    assert!(exit.success(), "{err}");
    assert_eq!(out, "deep\n");
    assert_eq!(before, modified()?);
    for gone in ["root/.cache", "real/deep", "kept/a/b", "run", "etc/hosts", "etc/resolv.conf"] {
        assert!(!root.path().join(gone).exists(), "{gone} is still there");
    }
    for stays in ["kept/a/file", "proc", "sys", "dev"] {
        assert!(root.path().join(stays).exists(), "{stays} is gone");
    }
    Ok(())
}

fn stubs_swapped(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let canary = tempfile::tempdir()?;
    fs_err::write(canary.path().join("b"), "")?;
    fs_err::create_dir(canary.path().join("c"))?;
    let mut step =
        suite.shell(&root, &format!("mv /a /gone; ln -s {} /a", canary.path().display()));
    let tmpfs = || MountKind::Tmpfs { size: None, mode: 0o755 };
    step.mounts = vec![mount("/a/c", tmpfs()), mount("/x", tmpfs())];
    let (exit, _, err) = suite.run(&step)?;
    assert!(exit.success(), "{err}");
    assert!(canary.path().join("b").exists() && canary.path().join("c").exists());
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

/// What this program does inside the step of the test below.
fn ssh_client(path: &str) -> TestResult {
    use std::io::{Read as _, Write as _};
    let mut agent = std::os::unix::net::UnixStream::connect(path)?;
    agent.write_all(b"hello")?;
    let mut answer = String::new();
    agent.read_to_string(&mut answer)?;
    print!("{answer}");
    Ok(())
}

fn ssh(suite: &Suite) -> TestResult {
    use std::io::{Read as _, Write as _};
    const INSIDE: &str = "/run/buildkit/ssh_agent.0";
    let root = suite.busybox_root()?;
    let outside = tempfile::tempdir()?;
    let socket = outside.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let agent = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut question = [0; 5];
        stream.read_exact(&mut question)?;
        stream.write_all(b"answer\n")?;
        Ok(String::from_utf8_lossy(&question).into_owned())
    });
    let mut step = suite
        .shell(&root, &format!("stat -c '%a %u:%g %F' {INSIDE}; /program ssh-client {INSIDE}"));
    step.mounts =
        vec![mount(INSIDE, MountKind::Ssh(SshAgent { socket, mode: 0o600, uid: 0, gid: 0 }))];
    let program = std::env::args().next().ok_or("a program has a name")?;
    let mut bind = |source: PathBuf, target: &str| {
        let kind = MountKind::Bind { source, subpath: None, read_only: true };
        step.mounts.push(mount(target, kind));
    };
    bind(fs_err::canonicalize(program)?, "/program");
    // The libraries it is linked with.
    for directory in ["/usr/lib", "/lib", "/lib64"] {
        if PathBuf::from(directory).exists() {
            bind(directory.into(), directory);
        }
    }
    let (_, out, err) = suite.run(&step)?;
    assert_eq!(out, "600 0:0 socket\nanswer\n", "{err}");
    assert_eq!(agent.join().map_err(|_| "agent died")??, "hello");
    assert!(!root.path().join("run").exists());
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

fn hostile_root(suite: &Suite) -> TestResult {
    let canary = tempfile::tempdir()?;
    let outside = canary.path().display().to_string();
    let attempts: [(&str, &str); 7] = [
        ("proc", &outside),
        ("sys", &outside),
        ("dev", &outside),
        ("dev", "../../../../../../tmp"),
        ("etc/resolv.conf", &format!("{outside}/made")),
        ("etc/hosts", "../../../../../../../tmp/crossdock-canary"),
        ("etc/resolv.conf", "resolv.conf"),
    ];
    for (name, target) in attempts {
        let root = suite.busybox_root()?;
        std::os::unix::fs::symlink(target, root.path().join(name))?;
        let result = suite.run(&suite.shell(&root, "echo ran"));
        if let Err(error) = &result {
            println!("  {name} -> {target}: {error}");
        }
        assert_eq!(fs_err::read_dir(canary.path())?.count(), 0, "{name} -> {target}");
        assert!(!PathBuf::from("/tmp/crossdock-canary").exists());
    }
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

fn read_only(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(&root, "touch /x; touch /tmp/x && echo written");
    step.read_only_root = true;
    step.mounts = vec![mount("/tmp", MountKind::Tmpfs { size: None, mode: 0o1777 })];
    let (_, out, err) = suite.run(&step)?;
    assert_eq!((out.as_str(), err.as_str()), ("written\n", "touch: /x: Read-only file system\n"));
    Ok(())
}

fn insecure(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(
        &root,
        "mkdir -p /m; mount -t tmpfs none /m && touch /m/x && ls /m; umount /etc/hosts",
    );
    let (exit, out, err) = suite.run(&step)?;
    assert!(!exit.success() && out.is_empty() && err.contains("not permitted"), "{out} {err}");
    step.security = Security::Insecure;
    let (exit, out, err) = suite.run(&step)?;
    assert_eq!(out, "x\n", "{err}");
    assert!(!exit.success(), "what was mounted before is locked");
    assert_eq!(fs_err::read_dir(root.path().join("m"))?.count(), 0);
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

/// CVE-2024-23651: a directory of a shared cache is exchanged for a link while another step mounts it.
fn swapped(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let cache = tempfile::tempdir()?;
    let (real, away) = (cache.path().join("a"), cache.path().join("b"));
    fs_err::create_dir(&real)?;
    let marker = tempfile::NamedTempFile::new()?;
    suite.give(cache.path())?;
    let stop = AtomicBool::new(false);
    let mut step = suite.shell(
        &root,
        &format!("test ! -e /t{0} && test ! -e /t/etc/passwd", marker.path().display()),
    );
    step.mounts = vec![mount(
        "/t",
        MountKind::Bind {
            source: cache.path().into(),
            subpath: Some("a".to_owned()),
            read_only: false,
        },
    )];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // A failure is another round.
                let _ignored = fs_err::rename(&real, &away)
                    .and_then(|()| fs_err::os::unix::fs::symlink("/", &real))
                    .and_then(|()| fs_err::remove_file(&real))
                    .and_then(|()| fs_err::rename(&away, &real));
            }
        });
        let mut found = 0;
        for _ in 0..100 {
            match suite.run(&step) {
                Ok((exit, _, _)) => {
                    assert!(exit.success(), "the host was seen");
                    found += 1;
                }
                // In the instant between, there is nothing of that name.
                Err(error) => assert!(error.to_string().contains("not found"), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(found > 0);
    });
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
