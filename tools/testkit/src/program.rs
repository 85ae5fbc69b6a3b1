use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

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
