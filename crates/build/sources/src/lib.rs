//! What does a build start from? Pin it, then fetch it.
//!
//! [`Images`] finds images by name: in the local store, in a registry, in an OCI layout. It reads manifests and configs
//! only; layers stay where they are until somebody has to look inside ([`Images::fetch_layer`]). [`Downloads`] fetches
//! single files over HTTP. Both reach the network through one [`Remote`], which starts nothing before it is used.
//!
//! [`Git`] fetches trees of repositories with the system's `git`.
//!
//! This crate knows neither the solver nor the executor.

mod download;
mod git;
mod image;
mod layout;
mod redirect;
mod remote;

pub use download::{Download, DownloadError, DownloadRequest, Downloads};
pub use git::{
    Git, GitAuth, GitError, GitLog, GitOptions, GitPin, GitRequest, GitTree, SecretFn, SshKeys,
};
pub use image::{Found, Image, ImageError, Images, PullPolicy};
pub use layout::LayoutRef;
pub use remote::{Remote, RemoteOptions};
