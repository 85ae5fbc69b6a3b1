use std::io;
use std::path::PathBuf;

use fstree::TreeError;
use oci::Digest;
use store::StoreError;

/// Why a layer or a stack of layers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The blob of a layer could not be had.
    #[error("cannot get layer {digest}")]
    Fetch {
        /// The blob.
        digest: Digest,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blob of a layer is not what it should be.
    #[error("cannot unpack layer {digest}")]
    Unpack {
        /// The blob.
        digest: Digest,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blob holds another layer than the image's configuration says.
    #[error("layer {digest} unpacks to {found}, and the image says {expected}")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A tree failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A system call failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another step uses a cache mount that cannot be shared.
    #[error("cancelled while waiting for cache mount `{0}`")]
    CacheBusy(String),
}

impl SnapshotError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
