use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

use crate::Context;

/// The real `crossdock`, with a home of its own: nothing of the user's is read or written.
pub struct Program {
    home: TempDir,
}

impl Default for Program {
    fn default() -> Self {
        Self::new()
    }
}

impl Program {
    /// One with an empty home.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        Self { home }
    }

    /// Its home directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command, with arguments as in a shell line without quotes: `program.command("build -t app .")`.
    ///
    /// The binary is the one cargo built beside the test; `cargo test` builds it for the tests of its own package only.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("crossdock"));
        let home = self.home.path();
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", home)
            .env("CROSSDOCK_STORE", home.join("store"))
            .env("XDG_DATA_HOME", home.join("data"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("XDG_CACHE_HOME", home.join("cache"))
            .env("XDG_RUNTIME_DIR", home.join("run"))
            .env("DOCKER_CONFIG", home.join("docker"))
            .env("LC_ALL", "C.UTF-8")
            .args(line.split_ascii_whitespace());
        command
    }
}

/// Standard output, standard error and exit code of a command; -1 where a signal ended it.
pub fn outcome(command: &mut Command) -> (String, String, i32) {
    let output = command.output().expect("crossdock can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// Standard output and standard error of what must succeed.
pub fn success(command: &mut Command) -> (String, String) {
    let (stdout, stderr, code) = outcome(command);
    assert_eq!(code, 0, "{stderr}");
    (stdout, stderr)
}

/// A program that runs without libraries, for steps in images made from scratch.
pub fn busybox() -> Vec<u8> {
    fs_err::read("/bin/busybox").expect("busybox is installed (Debian package busybox-static)")
}

/// A context whose Dockerfile begins with a stage `shell`, made from scratch with busybox as its shell.
pub fn with_shell(dockerfile: &str) -> Context {
    let text = format!(
        "FROM scratch AS shell\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\n{dockerfile}"
    );
    Context::with_dockerfile(&text).file_with_mode("busybox", busybox(), 0o755)
}
