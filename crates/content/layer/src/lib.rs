//! How does a file tree become a layer, and a layer a file tree?
//!
//! [`pack`] takes an [`fstree::Changeset`], whose files are read where they are, through the tar writer and a
//! compressor to a blob, in one pass. [`decompress`] and [`unpack`] go the other way, into a directory that the layer
//! cannot leave. Linux and Windows form, whiteouts, eStargz and the limits on hostile archives live here.
//!
//! Must not know: images, manifests, the store, registries, builds.

mod compress;
mod decompress;
pub mod estargz;
mod names;
mod pack;
mod read_archive;
mod recompress;
pub mod tar;
mod unpack;
mod windows_base;
mod windows_check;
mod windows_headers;

pub use compress::Compression;
pub use decompress::{Encoding, decompress};
pub use pack::{
    Form, PackError, PackOptions, Packed, WINDOWS_ATTRIBUTES_XATTR, WINDOWS_SECURITY_XATTR, pack,
    write_tar,
};
pub use read_archive::{ArchiveError, is_archive, read_archive};
pub use recompress::recompress;
pub use unpack::{UnpackError, UnpackOptions, Unpacked, Whiteouts, unpack};
pub use windows_base::{BaseFile, WindowsBase};
pub use windows_check::{Finding, Severity, WINDOWS_RULES, WindowsCheck, windows_check};
pub use windows_headers::WindowsHeaders;
