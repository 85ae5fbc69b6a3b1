use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use executor::{EnterOptions, Exit, Identity, Network, Rootfs, Step, Stream};
use tempfile::TempDir;

pub(crate) type TestResult = Result<(), Box<dyn Error>>;

/// Tests that run one after the other in the namespace of this process.
pub(crate) struct Suite {
    pub(crate) identity: Identity,
    filter: Option<String>,
    passed: usize,
    failed: Vec<&'static str>,
}

/// A root directory, removed by the same namespace that made it.
pub(crate) struct Root {
    pub(crate) directory: TempDir,
}

impl Root {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Suite {
    pub(crate) fn enter() -> Self {
        let identity = match executor::enter(&EnterOptions::default()) {
            Ok(identity) => identity,
            Err(error) => {
                println!("skipped: {error}");
                std::process::exit(0);
            }
        };
        println!("running as {identity:?}");
        let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
        Self { identity, filter, passed: 0, failed: Vec::new() }
    }

    pub(crate) fn test(&mut self, name: &'static str, test: fn(&Self) -> TestResult) {
        if self.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            return;
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(self)));
        match result {
            Ok(Ok(())) => {
                println!("test {name} ... ok");
                self.passed += 1;
            }
            Ok(Err(error)) => {
                let mut cause: &dyn Error = &*error;
                print!("test {name} ... FAILED: {cause}");
                while let Some(source) = cause.source() {
                    print!(": {source}");
                    cause = source;
                }
                println!();
                self.failed.push(name);
            }
            Err(_) => {
                println!("test {name} ... FAILED");
                self.failed.push(name);
            }
        }
    }

    pub(crate) fn finish(self) {
        println!("{} passed, {} failed: {:?}", self.passed, self.failed.len(), self.failed);
        if !self.failed.is_empty() {
            std::process::exit(1);
        }
    }

    /// A root with busybox in it, owned as an unpacked image would be.
    pub(crate) fn busybox_root(&self) -> Result<Root, Box<dyn Error>> {
        let directory = tempfile::tempdir()?;
        let root = directory.path();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from);
        let busybox =
            busybox.iter().find(|path| path.exists()).ok_or("busybox is not installed")?;
        for name in ["bin", "etc", "tmp", "root", "home"] {
            fs_err::create_dir(root.join(name))?;
        }
        fs_err::copy(busybox, root.join("bin/busybox"))?;
        for applet in [
            "sh", "ls", "cat", "id", "echo", "grep", "mount", "mkdir", "touch", "rm", "sleep",
            "env", "uname", "chown", "chmod", "stat", "readlink", "ln", "mv", "dd", "kill", "ps",
            "true", "false", "test", "hostname", "wc", "nc", "seq", "head", "mknod", "umount",
            "unshare", "ip", "cp", "yes", "find", "sort", "tr", "pwd", "setsid", "od", "tty",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
        }
        fs_err::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
        )?;
        fs_err::write(root.join("etc/group"), "root:x:0:\nappgrp:x:1001:\nwheel:x:10:app\n")?;
        self.give(root)?;
        Ok(Root { directory })
    }

    /// Gives a tree to the root user of steps.
    pub(crate) fn give(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let id = Some(self.identity.offset);
        std::os::unix::fs::lchown(path, id, id)?;
        if fs_err::symlink_metadata(path)?.is_dir() {
            fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            for entry in fs_err::read_dir(path)? {
                self.give(&entry?.path())?;
            }
        }
        Ok(())
    }

    pub(crate) fn shell(&self, root: &Root, script: &str) -> Step {
        Step {
            args: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            env: vec!["PATH=/bin".to_owned()],
            rootfs: Rootfs::Directory(root.path().to_owned()),
            network: Network::None,
            ..Step::default()
        }
    }

    /// Runs a step and collects its output.
    pub(crate) fn run(&self, step: &Step) -> Result<(Exit, String, String), Box<dyn Error>> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut output = |stream, bytes: &[u8]| match stream {
            Stream::Stdout => out.extend_from_slice(bytes),
            Stream::Stderr => err.extend_from_slice(bytes),
        };
        let exit = executor::run(step, &mut output, &AtomicBool::new(false))?;
        Ok((exit, String::from_utf8(out)?, String::from_utf8(err)?))
    }
}
