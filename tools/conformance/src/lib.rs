//! Does a builder make of a Dockerfile what `BuildKit` makes of it?
//!
//! A [`Case`] is a folder below `conformance/cases`: a Dockerfile, how it is built, and in `expected.json` what `BuildKit`
//! made of it. [`case::prepare`] lays the context out with exact modes and times, a builder (real `BuildKit` when
//! recording, crossdock when checking) writes an OCI archive, [`image::describe`] reads that into plain text by
//! platform, and [`compare`](compare::compare) holds two descriptions against each other.
//!
//! `llb.json` is the definition that `BuildKit` compiled the Dockerfile to; `tests/llb` compiles it with crossdock's
//! frontend and compares the two, vertex by vertex.
//!
//! The archive is read here with the `tar` crate and nothing of crossdock's own, so that a fault there cannot hide
//! itself.

pub mod archive;
pub mod case;
pub mod compare;
pub mod image;
pub mod server;

pub use case::Case;
pub use compare::{Difference, compare};
pub use image::{Described, describe};

/// Why a case could not be prepared or a result not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("cannot parse {path}")]
    Toml { path: String, source: Box<toml::de::Error> },
    #[error("cannot parse {what}")]
    Json { what: String, source: serde_json::Error },
    #[error("{what} is not as it should be: {why}")]
    Shape { what: String, why: String },
}

impl Error {
    pub(crate) fn shape(what: &str, why: impl Into<String>) -> Self {
        Self::Shape { what: what.into(), why: why.into() }
    }
}
