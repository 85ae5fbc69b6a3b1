use std::io;
use std::path::{Path, PathBuf};

use blobs::BlobError;
use fstree::TreeError;
use layer::PackError;
use oci::{Digest, Platform};
use registry::RegistryError;
use store::StoreError;

use crate::Cause;

/// Why a result could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A push needs to know where to.
    #[error("cannot push an image without a name; give one with `--tag` or `name=`")]
    NoName,
    /// Docker's format holds one image.
    #[error("Docker's archive format holds one platform, but {} were built; use `type=oci`, or one `--platform`", list(.0))]
    DockerIndex(Vec<Platform>),
    /// An image of the store cannot be read whole.
    #[error("image {digest} is not whole in the store")]
    Stored {
        /// Which.
        digest: Digest,
        /// What is missing or damaged.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A pipe holds no directory.
    #[error("cannot write a directory (`tar=false`) to standard output; give `dest=`")]
    DirectoryToStdout,
    /// Two outputs would be mixed.
    #[error("only one output can go to standard output")]
    StdoutTwice,
    /// There is no index to put it on.
    #[error(
        "annotation `{0}` is for an index, but the result is a single image; use the level `manifest`"
    )]
    IndexAnnotation(String),
    /// The compressor has no such level.
    #[error("`{name}` has no compression level {level}; it has {range}")]
    Level {
        /// Of the compression.
        name: &'static str,
        /// Asked for.
        level: i32,
        /// What there is.
        range: &'static str,
    },
    /// A layer could not be packed.
    #[error("cannot pack a layer for {platform}")]
    Pack {
        /// For which platform.
        platform: Box<Platform>,
        /// Why.
        source: Box<PackError>,
    },
    /// A layer could not be read.
    #[error("cannot read a layer for {platform}")]
    Read {
        /// For which platform.
        platform: Box<Platform>,
        /// Why.
        source: Cause,
    },
    /// A base layer could not be had.
    #[error("cannot get base layer {digest}")]
    Fetch {
        /// Which.
        digest: Digest,
        /// Why.
        source: Cause,
    },
    /// The registry did not take it.
    #[error("cannot push to {name}")]
    Push {
        /// Name of the image.
        name: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// The push ended without a word.
    #[error("pushing to {0} was broken off")]
    PushBroken(String),
    /// Docker did not take it.
    #[error("cannot load the image into Docker at {host}{}", message.as_ref().map_or_else(String::new, |text| format!(": {text}")))]
    Load {
        /// Where Docker should be.
        host: String,
        /// What it said.
        message: Option<String>,
        /// Why the connection failed.
        source: Option<io::Error>,
    },
    /// An archive could not be written.
    #[error("cannot write `{}`", path.display())]
    Archive {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<archive::ArchiveError>,
    },
    /// The files could not be written as a tar.
    #[error("cannot write `{}`", path.display())]
    Tar {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<PackError>,
    },
    /// A file could not be written.
    #[error("cannot write `{}`", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tree could not be written.
    #[error("cannot write the files to `{}`", path.display())]
    Tree {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: Box<TreeError>,
    },
    /// The store failed.
    #[error("cannot keep the result in the store")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A blob could not be read back.
    #[error("cannot read what was packed")]
    Blob {
        /// Why.
        #[from]
        source: BlobError,
    },
    /// A conversion of a base layer gave other content.
    #[error(
        "base layer {digest} is not what its image says: its content has digest {found} instead of {expected}"
    )]
    DiffId {
        /// The layer's blob.
        digest: Digest,
        /// According to the configuration.
        expected: Digest,
        /// According to its bytes.
        found: Digest,
    },
}

impl ExportError {
    pub(crate) fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { path, source }
    }

    /// A way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Push { source, .. } => source.hint(),
            Self::Pack { source, .. } if matches!(**source, PackError::Changed { .. }) => {
                Some("a file of the context was written to during the build; run the build again".to_owned())
            }
            Self::Archive { source, .. } if matches!(**source, archive::ArchiveError::Blob(BlobError::Mismatch { .. })) => {
                Some("the damaged blob was put aside: run the build again".to_owned())
            }
            Self::Store { source } => source.hint(),
            Self::Load { source: Some(_), .. } => {
                Some("start Docker, set DOCKER_HOST, or leave out `--load`: the image is in crossdock's own store anyway".to_owned())
            }
            error if is_full(error) => Some(
                "the disk is full: `crossdock prune` removes what no image and no running build needs".to_owned(),
            ),
            _ => None,
        }
    }
}

fn is_full(error: &ExportError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn list(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
