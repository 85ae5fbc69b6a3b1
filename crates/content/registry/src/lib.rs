//! How do images travel? The OCI distribution specification 1.1, both sides: [`Client`] and [`server`].
//!
//! A pull goes [`Client::resolve`] (name to descriptor), [`Client::manifest`] (descriptor to verified bytes),
//! [`Client::pull_blob`] (descriptor to bytes in a [`BlobSink`], resumed where a connection broke). A push goes
//! [`Client::push_blob`] for everything a manifest names, then [`Client::push_manifest`].
//!
//! Inside, `client`, `pull` and `push` say what is asked; `transport` sends one request along redirects, retries and
//! authentication; `auth` holds tokens; `endpoint` knows where a registry and its mirrors are; `tls` opens connections.
//!
//! Credentials belong to an origin (scheme, host, port) and are never sent to another one.
//! This crate knows neither the store nor the home directory, and reads no file but those handed to it.

mod answer;
mod auth;
mod challenge;
mod client;
mod credentials;
mod docker_config;
mod endpoint;
mod error;
mod hosts;
mod origin;
mod pull;
mod push;
mod retry;
pub mod server;
mod tls;
mod transfer;
mod transport;
mod upload;

pub use challenge::Challenge;
pub use client::{Client, ClientOptions, ForeignLayers, MANIFEST_LIMIT, Notice, ProxyOptions};
pub use credentials::{Credential, CredentialError, Credentials, NoCredentials, StaticCredentials};
pub use docker_config::{DockerConfig, DockerConfigError, Kept};
pub use error::RegistryError;
pub use hosts::{Capability, Host, Hosts, Mirror};
pub use push::Pushed;
pub use retry::RetryOptions;
pub use transfer::{BlobSink, BlobSource, FileSink, ProgressFn, ReaderSource, silent};
