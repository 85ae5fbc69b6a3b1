use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use build_api::Network;
use oci::{Platform, Reference};

/// What an engine works with.
#[derive(Clone)]
pub struct EngineOptions {
    /// The store's directory.
    pub store_dir: PathBuf,
    /// Who this process is in its namespaces; `None` when it has not entered any (then nothing can be unpacked or run).
    pub identity: Option<executor::Identity>,
    /// Mirrors, certificates and the like, by registry.
    pub hosts: registry::Hosts,
    /// Logins for registries.
    pub credentials: Arc<dyn registry::Credentials>,
    /// Proxies for registries and HTTP sources, as `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` in
    /// any case.
    pub proxies: BTreeMap<String, String>,
    /// Directories that are searched for emulators, in order.
    pub emulator_dirs: Vec<PathBuf>,
    /// Directories that are searched for programs (git, ssh), in order.
    pub program_dirs: Vec<PathBuf>,
    /// Files with the keys of ssh servers.
    pub known_hosts: Vec<PathBuf>,
    /// Steps that run at the same time, and threads that pack; at least 1.
    pub threads: usize,
    /// Set when the user interrupts.
    pub cancel: Arc<AtomicBool>,
    /// `DOCKER_HOST`, for `--load`.
    pub docker_host: Option<String>,
    /// Emulators named one by one, by architecture.
    pub emulators: BTreeMap<String, PathBuf>,
    /// An image with emulators for this machine, searched before the directories.
    pub emulator_image: Option<Reference>,
    /// Where devices for RUN --device are specified, the strongest last.
    pub device_dirs: Vec<PathBuf>,
    /// Never use the network.
    pub offline: bool,
}

impl EngineOptions {
    pub(crate) fn emulation(&self) -> emulation::Settings {
        emulation::Settings {
            search: self.emulator_dirs.clone(),
            emulators: self.emulators.clone(),
            private_namespace: self.identity.is_some(),
        }
    }

    pub(crate) fn proxy(&self) -> registry::ProxyOptions {
        let find = |name: &str| {
            let found = self.proxies.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        registry::ProxyOptions {
            http: find("HTTP_PROXY").or_else(|| find("ALL_PROXY")),
            https: find("HTTPS_PROXY").or_else(|| find("ALL_PROXY")),
            no_proxy: find("NO_PROXY").unwrap_or_default(),
        }
    }
}

/// `crossdock run`: one process in a fresh container of an image.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Name in the store, or in a registry.
    pub image: Reference,
    /// Which image of an index; `None` is this machine's.
    pub platform: Option<Platform>,
    /// In place of the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// In place of the image's command; empty keeps it.
    pub args: Vec<String>,
    /// `NAME=value`, on top of the image's.
    pub env: Vec<String>,
    /// In place of the image's working directory.
    pub workdir: Option<String>,
    /// In place of the image's user.
    pub user: Option<String>,
    /// Network.
    pub network: Network,
    /// Directories and files of the machine.
    pub volumes: Vec<Volume>,
    /// Ask the registry even if the store knows the name.
    pub pull: bool,
}

/// `--volume SOURCE:TARGET[:ro]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// On the machine.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Cannot be written.
    pub read_only: bool,
}
