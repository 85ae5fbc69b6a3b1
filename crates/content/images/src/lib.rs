//! What is in an image? Work on whole images, wherever their blobs lie.
//!
//! A descriptor leads to an image or an index ([`open`]); an index to the image for a platform ([`select()`]); an image to
//! its configuration and layers ([`inspect()`]). The other way, [`assemble()`] makes an index of images, and [`convert_manifest`]
//! changes documents between OCI's media types and Docker's.
//!
//! Works the same on a registry, a store, an archive and memory; knows nothing of builds.

mod assemble;
mod convert;
mod inspect;
mod select;

pub use assemble::assemble;
pub use convert::{Flavour, convert_index, convert_manifest, media_type_in};
pub use inspect::{ImageError, Opened, PlatformImage, inspect, open, open_image};
pub use select::{is_image, matching, platforms, select};
