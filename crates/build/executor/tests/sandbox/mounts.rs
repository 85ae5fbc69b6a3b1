//! What a step sees of file systems, and what stays of it.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use executor::{IdentityKind, Mount, MountKind, Rootfs, Security, SshAgent, SshServer};

use crate::support::{Suite, TestResult};

pub(crate) fn overlay(suite: &Suite) -> TestResult {
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

pub(crate) fn many_layers(suite: &Suite) -> TestResult {
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

pub(crate) fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.to_owned(), kind }
}

pub(crate) fn mounts(suite: &Suite) -> TestResult {
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

pub(crate) fn stubs(suite: &Suite) -> TestResult {
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

pub(crate) fn stubs_swapped(suite: &Suite) -> TestResult {
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

pub(crate) fn read_only(suite: &Suite) -> TestResult {
    let root = suite.busybox_root()?;
    let mut step = suite.shell(&root, "touch /x; touch /tmp/x && echo written");
    step.read_only_root = true;
    step.mounts = vec![mount("/tmp", MountKind::Tmpfs { size: None, mode: 0o1777 })];
    let (_, out, err) = suite.run(&step)?;
    assert_eq!((out.as_str(), err.as_str()), ("written\n", "touch: /x: Read-only file system\n"));
    Ok(())
}

pub(crate) fn insecure(suite: &Suite) -> TestResult {
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

/// What this program does inside the step of the test below: it asks which keys there are.
pub(crate) fn ssh_client(path: &str) -> TestResult {
    use std::io::{Read as _, Write as _};
    let mut agent = std::os::unix::net::UnixStream::connect(path)?;
    agent.write_all(b"\0\0\0\x01\x0b")?;
    agent.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    agent.read_to_string(&mut answer)?;
    println!("{answer:?}");
    Ok(())
}

pub(crate) fn ssh(suite: &Suite) -> TestResult {
    use std::io::{Read as _, Write as _};
    const INSIDE: &str = "/run/buildkit/ssh_agent.0";
    const KEYS: &str = "/run/buildkit/ssh_agent.1";
    let root = suite.busybox_root()?;
    let outside = tempfile::tempdir()?;
    let socket = outside.path().join("agent");
    let listener = std::os::unix::net::UnixListener::bind(&socket)?;
    let agent = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut question = [0; 5];
        stream.read_exact(&mut question)?;
        stream.write_all(b"answer")?;
        Ok(String::from_utf8_lossy(&question).into_owned())
    });
    let ask = format!("/program ssh-client {INSIDE}; /program ssh-client {KEYS}");
    let mut step = suite.shell(&root, &format!("stat -c '%a %u:%g %F' {INSIDE}; {ask}"));
    let lend = |place: &str, server| {
        mount(place, MountKind::Ssh(SshAgent { server, mode: 0o600, uid: 0, gid: 0 }))
    };
    // The second answers for key files, of which there are none.
    step.mounts = vec![lend(INSIDE, SshServer::Agent(socket)), lend(KEYS, SshServer::default())];
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
    let none = "\"\\0\\0\\0\\u{5}\\u{c}\\0\\0\\0\\0\"";
    assert_eq!(out, format!("600 0:0 socket\n\"answer\"\n{none}\n"), "{err}");
    assert_eq!(agent.join().map_err(|_| "agent died")??, "\0\0\0\x01\x0b");
    assert!(!root.path().join("run").exists());
    Ok(())
}

pub(crate) fn hostile_root(suite: &Suite) -> TestResult {
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

/// CVE-2024-23651: a directory of a shared cache is exchanged for a link while another step mounts it.
pub(crate) fn swapped(suite: &Suite) -> TestResult {
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
        let outcomes: Vec<_> = (0..100).map(|_| suite.run(&step)).collect();
        // Before anything is asserted: a scope waits for its threads, also when it is left by a panic.
        stop.store(true, Ordering::Relaxed);
        let mut found = 0;
        for outcome in outcomes {
            match outcome {
                Ok((exit, _, _)) => {
                    assert!(exit.success(), "the host was seen");
                    found += 1;
                }
                // In the instant between, there is nothing of that name.
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("not found") || text.contains("cannot find"), "{text}");
                }
            }
        }
        assert!(found > 0);
    });
    Ok(())
}
