//! What is a low-level build definition, and when are two vertices the same?
//!
//! LLB is BuildKit's graph of operations. A vertex is the bytes of a [`pb::Op`]; its name is their digest, so equal
//! operations on equal inputs are one vertex, here and in BuildKit. [`Graph`] builds a definition bottom up;
//! [`Definition`] is its wire form, kept byte for byte; [`Definition::resolve`] turns it into vertices that refer to each
//! other by position. This crate knows neither Dockerfiles nor how an operation is carried out.
#![warn(missing_docs)]

mod definition;
mod git;
mod graph;
pub mod pb;
#[cfg(test)]
mod tests;

pub use definition::{Definition, DefinitionError, Edge, Resolved, Vertex};
pub use git::{GitMtime, GitSource};
pub use graph::{Exec, FileAction, Graph, Metadata, Mount, MountKind, Output, SourceFile};

/// Keys of source attributes, and names that have a meaning in a definition.
pub mod attr {
    /// JSON list of patterns of paths to take from a local source.
    pub const INCLUDE_PATTERNS: &str = "local.includepattern";
    /// JSON list of paths to take, with what links among them lead to.
    pub const FOLLOW_PATHS: &str = "local.followpaths";
    /// JSON list of `.dockerignore` patterns.
    pub const EXCLUDE_PATTERNS: &str = "local.excludepatterns";
    /// What earlier transfers of the same directory are known by.
    pub const SHARED_KEY_HINT: &str = "local.sharedkeyhint";
    /// Digest of what an HTTP source must be.
    pub const HTTP_CHECKSUM: &str = "http.checksum";
    /// Name of the file an HTTP source makes.
    pub const HTTP_FILENAME: &str = "http.filename";
    /// Name of the secret with the `Authorization` header of an HTTP source.
    pub const HTTP_HEADER_SECRET: &str = "http.authheadersecret";
    /// `default`, `pull` or `local`.
    pub const IMAGE_RESOLVE_MODE: &str = "image.resolvemode";
    /// Name of an OCI layout.
    pub const OCI_STORE: &str = "oci.store";
    /// In a vertex' description: its name for people.
    pub const CUSTOM_NAME: &str = "llb.customname";
    /// In a vertex' description: the instruction it comes from.
    pub const DOCKERFILE_COMMAND: &str = "com.docker.dockerfile.v1.command";
}
