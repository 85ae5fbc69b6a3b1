use std::io;
use std::path::{Path, PathBuf};

use blobs::BlobError;
use oci::Digest;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `SQLite`'s shared memory does not work over a network.
    #[error("the store `{}` is on a network file system ({kind}), which several processes cannot share safely; choose a local directory", dir.display())]
    Network {
        /// The store.
        dir: PathBuf,
        /// `NFS`, `CIFS`, …
        kind: &'static str,
    },
    /// Another version made it, and this one must not write to it.
    #[error("the store `{}` has layout {found}, made by a newer crossdock; this one knows layout {known}", dir.display())]
    Newer {
        /// The store.
        dir: PathBuf,
        /// Its layout.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// A file of the store could not be accessed.
    #[error("cannot {doing} `{}`", path.display())]
    Io {
        /// A verb.
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database failed.
    #[error("cannot {doing} in the store's database")]
    Database {
        /// A verb, and of what.
        doing: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is not here.
    #[error("blob {0} is not in the store")]
    MissingBlob(Digest),
    /// It is not here.
    #[error("file tree `{0}` is not in the store")]
    MissingTree(String),
    /// Other bytes came than were announced.
    #[error("expected a blob with digest {expected}, but its {size} bytes have digest {found}")]
    Mismatch {
        /// Announced.
        expected: Digest,
        /// Found.
        found: Digest,
        /// How many bytes came.
        size: u64,
    },
    /// A lock was not free for a long time.
    #[error("{what} has been locked for a long time{}", holder.map_or_else(String::new, |pid| format!(" by process {pid}")))]
    Locked {
        /// What is locked.
        what: &'static str,
        /// By whom, as far as known.
        holder: Option<u32>,
    },
    /// Files that steps made belong to sub-uids, which only the namespace that made them may remove.
    #[error("cannot remove `{}`: some of its files belong to other (sub-)user ids; remove it through crossdock, run by the user who made it", path.display())]
    ForeignOwner {
        /// The tree.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Tree ids and cache keys become file names.
    #[error(
        "`{0}` cannot name a file tree: expected 1 to 200 of the characters a-z A-Z 0-9 . _ - and none of . - first"
    )]
    InvalidId(String),
}

impl StoreError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { doing, path, source }
    }

    pub(crate) fn errno(
        doing: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.as_ref().to_owned();
        move |errno| Self::Io { doing, path, source: errno.into() }
    }

    pub(crate) fn removing(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::ForeignOwner { path: path.to_owned(), source },
            _ => Self::Io { doing: "remove", path: path.to_owned(), source },
        }
    }

    /// A way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                "make room: `crossdock prune` removes what no image and no running build needs"
            }
            Self::Network { .. } => "set `store` in the settings to a directory on a local disk",
            Self::Newer { .. } => "use the newer crossdock, or another store",
            Self::Locked { .. } => {
                "another crossdock process may be stopped or stuck: end it, then try again"
            }
            Self::Database { .. } => {
                "if this stays, move `store.db*` out of the store's directory: blobs and trees are found again, names of images are lost"
            }
            Self::ForeignOwner { .. } => "run crossdock as the user who made the store",
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// The same as an error of one blob.
    pub fn of_blob(self, digest: &Digest) -> BlobError {
        match self {
            Self::MissingBlob(digest) => BlobError::Missing(digest),
            Self::Mismatch { expected, found, size } => {
                BlobError::Mismatch { expected, found, size }
            }
            Self::Io { source, .. } => BlobError::Io { digest: digest.clone(), source },
            other => BlobError::Other { digest: digest.clone(), source: Box::new(other) },
        }
    }
}
