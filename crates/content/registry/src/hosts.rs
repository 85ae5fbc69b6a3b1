//! The table of registries in the settings: mirrors, TLS, plain HTTP. Modelled on containerd's `hosts.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is set for registries, by the name that references use (`docker.io`, `registry.example:5000`); `*` is for all
/// that are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hosts(pub BTreeMap<String, Host>);

impl Hosts {
    /// What is set for `registry`.
    pub fn host(&self, registry: &str) -> Host {
        self.0.get(registry).or_else(|| self.0.get("*")).cloned().unwrap_or_default()
    }
}

/// What is set for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Host {
    /// Asked before the registry itself, in this order.
    pub mirrors: Vec<Mirror>,
    /// TLS without verification, and plain HTTP where there is no TLS (as Docker's `insecure-registries`).
    pub insecure: bool,
    /// TLS without verification.
    pub skip_verify: bool,
    /// Plain HTTP only. Credentials are sent only where `insecure` is set too, or the registry is on this machine.
    pub plain_http: bool,
    /// PEM file with certificates to trust, beside the system's.
    pub ca: Option<PathBuf>,
    /// PEM file with a certificate that this client shows.
    pub client_cert: Option<PathBuf>,
    /// PEM file with the key of `client_cert`.
    pub client_key: Option<PathBuf>,
    /// Hosts (with port where it is not 443) of token servers that may see this registry's credentials, beside the
    /// registry itself and its own domain.
    pub realms: Vec<String>,
}

/// Another place with the content of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mirror {
    /// `https://mirror.example/prefix`, or only a host name.
    pub url: String,
    /// What it is used for.
    #[serde(default = "pull_and_resolve")]
    pub capabilities: Vec<Capability>,
    /// The path of `url` is the root of the API; otherwise `/v2` is added.
    #[serde(default)]
    pub override_path: bool,
    /// As [`Host::insecure`].
    #[serde(default)]
    pub insecure: bool,
    /// As [`Host::skip_verify`].
    #[serde(default)]
    pub skip_verify: bool,
    /// As [`Host::ca`].
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// As [`Host::client_cert`].
    #[serde(default)]
    pub client_cert: Option<PathBuf>,
    /// As [`Host::client_key`].
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    /// As [`Host::realms`].
    #[serde(default)]
    pub realms: Vec<String>,
}

impl Mirror {
    /// A mirror for pulls and resolves.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            capabilities: pull_and_resolve(),
            override_path: false,
            insecure: false,
            skip_verify: false,
            ca: None,
            client_cert: None,
            client_key: None,
            realms: Vec::new(),
        }
    }
}

fn pull_and_resolve() -> Vec<Capability> {
    vec![Capability::Pull, Capability::Resolve]
}

/// What a place may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Content by digest.
    Pull,
    /// Names to digests.
    Resolve,
    /// Writing.
    Push,
}
