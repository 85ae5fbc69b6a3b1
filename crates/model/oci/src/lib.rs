//! What is an image? Digests, descriptors, manifests, indexes, configs, platforms and references.
//!
//! Plain data as the OCI image and distribution specifications define it, with Docker's equal forms.
//! A document keeps the bytes it came as ([`Document`]), because serialising it again would change its digest.
//! This crate knows no files, no network and no other formats.
#![warn(missing_docs)]

mod config;
mod descriptor;
mod digest;
mod document;
mod identify;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use config::{ContainerConfig, HealthConfig, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Digester, HashingReader, HashingWriter};
pub use document::{Document, DocumentError};
pub use identify::{IdentifyError, identify};
pub use manifest::{Index, Manifest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
