//! How does an image become a file or directory, and how is it read back?
//!
//! [`OciLayout`] reads OCI layouts, as directories and as tar files; [`DockerArchive`] what `docker save` writes;
//! [`open`] whichever it is. [`write_oci_layout`], [`write_oci_tar`] and [`write_docker_tar`] write them. Blobs are
//! streamed from and to the traits of `blobs`, and their digests are checked on the way.
//!
//! Must not know: registries, the store, what is inside a layer.
#![warn(missing_docs)]

mod docker;
mod graph;
mod layout;
mod tarball;
mod write;

use std::io;
use std::path::{Path, PathBuf};

use blobs::{BlobError, BlobReader};
use oci::{Descriptor, DocumentError};

pub use docker::DockerArchive;
pub use layout::OciLayout;
pub use tarball::spool;
pub use write::{Image, may_be_replaced, write_docker_tar, write_oci_layout, write_oci_tar};

/// Annotation with the tag of an image in a layout (image-spec 1.1, `annotations.md`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with the whole name of an image, which containerd and Docker write and read.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// An image found in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedImage {
    /// Its index or manifest.
    pub root: Descriptor,
    /// What it is called there: whole names, or bare tags.
    pub names: Vec<String>,
}

/// An archive of either kind.
pub trait ImageArchive: BlobReader {
    /// The images in it, in the order it has them.
    fn images(&self) -> Vec<ArchivedImage>;
}

/// Opens an OCI layout (directory or tar file) or an archive of `docker save`. What is both is taken as a layout.
pub fn open(path: &Path) -> Result<Box<dyn ImageArchive>, ArchiveError> {
    match OciLayout::open(path) {
        Ok(layout) => Ok(Box::new(layout)),
        Err(ArchiveError::Absent { .. }) => Ok(Box::new(DockerArchive::open(path)?)),
        Err(error) => Err(error),
    }
}

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It could not be opened or read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is compressed, so blobs in it cannot be found quickly; see [`spool`].
    #[error("`{path}` is compressed")]
    Compressed {
        /// The file.
        path: PathBuf,
    },
    /// A file that makes it what it should be is not in it.
    #[error("`{path}` has no `{name}`")]
    Absent {
        /// The archive.
        path: PathBuf,
        /// `index.json`, `manifest.json` or what that refers to.
        name: String,
    },
    /// A document in it is too large.
    #[error("`{name}` in `{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// Which document.
        name: String,
        /// What is accepted.
        limit: u64,
    },
    /// A document in it makes no sense.
    #[error("`{name}` in `{path}` is damaged")]
    Document {
        /// The archive.
        path: PathBuf,
        /// Which document.
        name: String,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The layout is of a version that is not known.
    #[error("`{path}` is an OCI layout of version {version}; known is 1.0.0")]
    Version {
        /// The archive.
        path: PathBuf,
        /// What `oci-layout` says.
        version: String,
    },
    /// A blob that is to be written could not be had, or is damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A manifest or index that is to be written is damaged.
    #[error("cannot follow image {digest}")]
    Graph {
        /// Which manifest.
        digest: oci::Digest,
        /// What is wrong.
        source: DocumentError,
    },
    /// An image that the format cannot hold.
    #[error("{0}")]
    Unfit(String),
    /// It could not be written.
    #[error("cannot write the archive")]
    Write {
        /// Why.
        source: io::Error,
    },
}
