use oci::Digest;

/// Why a layer could not be unpacked, looked into, stacked or committed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A tree could not be read or written.
    #[error(transparent)]
    Tree(#[from] fstree::TreeError),
    /// The bytes of a layer could not be had.
    #[error("cannot fetch layer {digest}")]
    Fetch {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: std::io::Error,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack layer {digest}")]
    Unpack {
        /// Which blob.
        digest: Digest,
        /// Why.
        source: layer::UnpackError,
    },
    /// The unpacked bytes are not those the image's configuration names.
    #[error("layer {blob} unpacks to {found}, but the image says {expected}")]
    WrongDiffId {
        /// Which blob.
        blob: Digest,
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A system call failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The build was cancelled while waiting for a cache mount that another step has locked.
    #[error("cancelled while waiting for cache mount `{0}`")]
    Cancelled(String),
}

impl SnapshotError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.display().to_string(), source }
    }
}
