use std::path::{Path, PathBuf};

use oci::{Digest, Reference, Descriptor};
use archive::OciLayout;
use store::Store;

use crate::image::{ImageError, malformed};

/// Which image of an OCI layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutRef {
    /// Directory, or tar file.
    pub path: PathBuf,
    /// By `org.opencontainers.image.ref.name`.
    pub tag: Option<String>,
    /// By digest.
    pub digest: Option<Digest>,
}
