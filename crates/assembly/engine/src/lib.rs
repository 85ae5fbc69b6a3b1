//! How does a request become a result on this machine?
//!
//! The embedded builder. A request's Dockerfile is compiled to one LLB definition per platform (`frontend`); equal
//! vertices of all definitions are merged to one graph; the `solver` says what to run; sources, `fstree`, `snapshot` and
//! `executor` do it; `exporters` write the results. The engine knows no terminal, no environment and no home directory.

mod build;
mod check;
mod compile;
mod container;
mod contents;
mod context;
mod describe;
mod driver;
mod dry_run;
mod emulators;
mod error;
mod exec;
mod fetcher;
mod fileop;
mod graph;
mod inputs;
mod keys;
mod last_build;
mod missing;
mod notices;
mod options;
mod origins;
mod plan;
mod planned_images;
mod prepare;
mod publish;
mod reasons;
mod records;
mod remote;
mod reporter;
mod resolver;
mod results;
mod smoke;
mod solve;
mod times;
mod transfer;
mod unpack;
mod value;
mod windows;
mod windows_names;
mod windows_rules;
mod work;

use std::sync::OnceLock;

use build_api::{BuildError, BuildRequest, Builder, Outcome, Plan};
use emulation::Emulators;
use executor::{Identity, IdentityKind};
use fstree::Owners;
use report::Progress;
use snapshot::Snapshots;
use sources::{Remote, RemoteOptions};
use store::Store;

pub use check::Checkable;
pub use describe::{Described, DescribedImage};
pub use options::{EngineOptions, RunRequest, Volume};
pub use publish::MadeImage;
pub use smoke::SmokeRequest;

use error::{failed, refused};

/// A builder in this process.
pub struct Engine {
    options: EngineOptions,
    store: Store,
    remote: Remote,
    emulators: Emulators,
    /// As `emulators`, those of the settings' image first.
    image_emulators: OnceLock<Emulators>,
    notices: notices::Notices,
}

impl Engine {
    /// Opens the store. Nothing else is looked at, started or connected before it is needed.
    pub fn open(options: EngineOptions) -> Result<Self, BuildError> {
        let store = Store::open(&options.store_dir).map_err(failed("cannot open the store"))?;
        let notices = notices::Notices::default();
        let client = registry::ClientOptions {
            notice: Some(notices.taker()),
            hosts: options.hosts.clone(),
            credentials: std::sync::Arc::clone(&options.credentials),
            proxy: options.proxy(),
            ..registry::ClientOptions::default()
        };
        let remote = Remote::new(RemoteOptions { client, offline: options.offline });
        let emulators = Emulators::discover(options.emulation());
        Ok(Self { options, store, remote, emulators, image_emulators: OnceLock::new(), notices })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The way to registries.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The way to registries, as exporters take it. Connects nothing yet.
    fn network(&self) -> exporters::Network {
        exporters::Network { client: self.remote.client().clone(), runtime: self.remote.handle() }
    }

    /// What [`Builder::build`] would do, found out without doing it: no step runs, nothing is pulled but the documents of
    /// images, and nothing is written to outputs or registries. A base that cannot be asked for is a problem of the plan,
    /// no error.
    pub fn plan(
        &self,
        request: &BuildRequest,
        progress: &dyn Progress,
    ) -> Result<Plan, BuildError> {
        self.notices.telling(progress, || plan::plan(self, request, progress))
    }

    fn snapshots(&self) -> Result<Snapshots, BuildError> {
        let identity = self.options.identity.as_ref();
        let identity = identity
            .ok_or_else(|| refused("no namespace was entered (a bug in crossdock)", None))?;
        Ok(Snapshots::new(self.store.clone(), owners(identity)))
    }
}

/// How the ids of images are kept on disk.
pub fn owners(identity: &Identity) -> Owners {
    match identity.kind {
        IdentityKind::Root | IdentityKind::SubIds => {
            Owners::Shifted { offset: identity.offset, count: identity.count }
        }
        IdentityKind::SingleId => Owners::Recorded,
    }
}

impl Builder for Engine {
    fn build(
        &self,
        request: &BuildRequest,
        progress: &dyn Progress,
    ) -> Result<Outcome, BuildError> {
        self.notices.telling(progress, || build::build(self, request, progress))
    }
}
