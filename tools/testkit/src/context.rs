use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A build context in a temporary directory, removed when dropped.
pub struct Context {
    directory: TempDir,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// An empty one.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        // Others than the owner must be able to enter, or a build as another user cannot read it.
        fs_err::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))
            .expect("its mode can be set");
        Self { directory }
    }

    /// One with a `Dockerfile`.
    pub fn with_dockerfile(text: &str) -> Self {
        Self::new().file("Dockerfile", text)
    }

    /// The same with a file, and the directories it needs.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let target = self.join(path);
        fs_err::create_dir_all(target.parent().expect("a file has a parent"))
            .expect("directories can be made");
        fs_err::write(target, content).expect("a file can be written");
        self
    }

    /// The same with a file of this mode.
    #[must_use]
    pub fn file_with_mode(self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Self {
        let context = self.file(path, content);
        fs_err::set_permissions(context.join(path), PermissionsExt::from_mode(mode))
            .expect("a mode can be set");
        context
    }

    /// The same with an empty directory.
    #[must_use]
    pub fn directory(self, path: &str) -> Self {
        fs_err::create_dir_all(self.join(path)).expect("directories can be made");
        self
    }

    /// The same with a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        let link = self.join(path);
        fs_err::create_dir_all(link.parent().expect("a link has a parent"))
            .expect("directories can be made");
        std::os::unix::fs::symlink(target, link).expect("a link can be made");
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where something in it is.
    pub fn join(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }
}
