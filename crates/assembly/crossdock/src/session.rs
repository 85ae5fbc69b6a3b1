//! What commands work with: settings, store, engine, display.

use std::cell::OnceCell;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use build_api::BuildError;
use engine::{Engine, EngineOptions};
use registry::{Credential, CredentialError, Credentials, DockerConfig};
use store::{Lease, Store};

use crate::args::{GlobalArgs, ProgressMode};
use crate::failure::Failure;
use crate::progress::{Display, Mode};
use crate::settings::{self, Environment, Settings};
use crate::signals;

/// One run of the program. Everything in it is opened when it is first needed.
pub(crate) struct Session<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) settings: Settings,
    cancel: OnceCell<Arc<AtomicBool>>,
    note: OnceCell<Option<String>>,
}

impl<'a> Session<'a> {
    /// Reads the settings.
    pub(crate) fn new(global: &GlobalArgs, environment: &'a Environment) -> Result<Self, Failure> {
        let is_root = rustix::process::geteuid().is_root();
        Ok(Self {
            environment,
            settings: environment.settings(global, is_root)?,
            cancel: OnceCell::new(),
            note: OnceCell::new(),
        })
    }

    /// The local store, with what is read from it kept safe from a concurrent `prune`.
    pub(crate) fn store(&self) -> Result<(Store, Lease), Failure> {
        let dir = &self.settings.store;
        let failed = |error| {
            Failure::because(format!("cannot open the local store in {}", dir.display()), error)
        };
        let store = Store::open(dir).map_err(failed)?;
        let lease = store.lease().map_err(failed)?;
        Ok((store, lease))
    }

    /// Moves this process into the namespaces where all work on file trees is done. To be called before any thread is
    /// started.
    pub(crate) fn enter() -> Result<executor::Identity, Failure> {
        executor::enter(&executor::EnterOptions::default())
            .map_err(|error| Failure::because("cannot enter a user namespace", error))
    }

    /// The embedded builder. To be called before any thread is started.
    pub(crate) fn engine(&self) -> Result<Engine, Failure> {
        let identity = Self::enter()?;
        self.note.set(identity.note.clone()).unwrap_or_default();
        let options = EngineOptions {
            store_dir: self.settings.store.clone(),
            identity: Some(identity),
            hosts: self.settings.hosts.clone(),
            credentials: self.credentials(),
            proxies: self.environment.proxies(),
            emulator_dirs: self.dirs(&self.settings.emulator_dirs),
            program_dirs: self.dirs(&[]),
            known_hosts: self.known_hosts(),
            device_dirs: self.settings.device_dirs.clone(),
            threads: self.settings.threads,
            cancel: self.cancel()?,
            docker_host: self.environment.text("DOCKER_HOST").map(str::to_owned),
            emulators: self.settings.emulators.clone(),
            emulator_image: self.settings.emulator_image.clone(),
            offline: self.settings.offline,
        };
        Ok(Engine::open(options)?)
    }

    /// What the user should know about the namespaces that were entered, once for each store.
    pub(crate) fn untold(&self, store: &Store) -> Option<String> {
        let note = self.note.get()?.clone()?;
        let key = oci::Digest::of(note.as_bytes());
        if store.get("told", key.hex()).ok()?.is_some() {
            return None;
        }
        // Where it cannot be remembered, it is told again.
        drop(store.put("told", key.hex(), b"", &[]));
        Some(note)
    }

    /// Set by Ctrl-C from now on.
    pub(crate) fn cancel(&self) -> Result<Arc<AtomicBool>, Failure> {
        if let Some(cancel) = self.cancel.get() {
            return Ok(Arc::clone(cancel));
        }
        let cancel = signals::cancel_flag()
            .map_err(|error| Failure::because("cannot watch for signals", error))?;
        Ok(Arc::clone(self.cancel.get_or_init(|| cancel)))
    }

    /// From now on a Ctrl-C ends the program in any case, soon. The engine must be open: this starts a thread.
    pub(crate) fn end_in_time(&self) -> Result<(), Failure> {
        signals::end_in_time(self.cancel()?);
        Ok(())
    }

    /// Begins to show progress. The engine must be open: this starts threads.
    pub(crate) fn display(
        &self,
        mode: Mode,
        title: &str,
        several: bool,
    ) -> Result<Display, Failure> {
        self.end_in_time()?;
        Ok(Display::start(mode, title, settings::now(), several))
    }

    /// What to say of a failure: after a Ctrl-C, all of them come from that.
    pub(crate) fn failure(&self, error: BuildError) -> Failure {
        let interrupted = self.cancel.get().is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        Failure::Build(if interrupted { BuildError::Interrupted } else { error })
    }

    /// Docker's logins, read when the first registry is asked.
    pub(crate) fn credentials(&self) -> Arc<dyn Credentials> {
        Arc::new(DockerLogins {
            dir: self.environment.docker_config_dir(),
            config: OnceLock::new(),
        })
    }

    /// Where ssh keeps the keys of servers: the user's file and the machine's.
    fn known_hosts(&self) -> Vec<PathBuf> {
        let own = self.environment.get("HOME").map(|home| Path::new(home).join(".ssh/known_hosts"));
        let files = own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]);
        files.filter(|path| path.is_file()).collect()
    }

    /// Some directories, then those of `PATH` and the usual ones.
    fn dirs(&self, first: &[PathBuf]) -> Vec<PathBuf> {
        let path = self
            .environment
            .get("PATH")
            .map(std::env::split_paths)
            .into_iter()
            .flatten()
            .filter(|dir| dir.is_absolute());
        let usual = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
        let mut dirs: Vec<PathBuf> = Vec::new();
        for dir in first.iter().cloned().chain(path).chain(usual) {
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        dirs
    }

    /// Whether there is a Docker Engine to load into: one was named, or the usual socket exists.
    pub(crate) fn has_docker(&self) -> bool {
        self.environment.text("DOCKER_HOST").is_some() || Path::new("/var/run/docker.sock").exists()
    }

    /// How progress is shown: argument, then `BUILDKIT_PROGRESS`, then settings, then what the terminal can do.
    pub(crate) fn mode(
        &self,
        argument: Option<ProgressMode>,
        quiet: bool,
    ) -> Result<Mode, Failure> {
        use clap::ValueEnum;
        let variable = match self.environment.text("BUILDKIT_PROGRESS") {
            Some(text) => Some(ProgressMode::from_str(text, false).map_err(|_| {
                Failure::hint(
                    format!("BUILDKIT_PROGRESS is `{text}`"),
                    "it is one of auto, tty, plain, rawjson and quiet",
                )
            })?),
            None => None,
        };
        let chosen = argument.or(variable).unwrap_or(self.settings.progress);
        let is_terminal = io::stderr().is_terminal();
        Ok(match chosen {
            _ if quiet => Mode::Quiet,
            ProgressMode::Quiet => Mode::Quiet,
            ProgressMode::Plain => Mode::Plain,
            ProgressMode::Rawjson => Mode::RawJson,
            ProgressMode::Tty => Mode::Tty { color: self.environment.wants_color() },
            ProgressMode::Auto if is_terminal && self.environment.text("TERM") != Some("dumb") => {
                Mode::Tty { color: self.environment.wants_color() }
            }
            ProgressMode::Auto => Mode::Plain,
        })
    }

    /// Whether standard output takes colours.
    pub(crate) fn color_of_stdout(&self) -> bool {
        self.environment.wants_color() && io::stdout().is_terminal()
    }

    /// Whether standard error takes colours.
    pub(crate) fn color(&self) -> bool {
        self.environment.wants_color() && io::stderr().is_terminal()
    }
}

/// `config.json` of Docker.
struct DockerLogins {
    dir: Option<PathBuf>,
    config: OnceLock<Option<DockerConfig>>,
}

impl Credentials for DockerLogins {
    fn credential(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        let load = |dir: &Path| DockerConfig::load(&docker_config_file(dir)).ok();
        let Some(dir) = &self.dir else { return Ok(None) };
        match self.config.get_or_init(|| load(dir)) {
            Some(config) => config.credential(registry),
            None => Err(CredentialError::Malformed {
                registry: registry.to_owned(),
                reason: "the file cannot be read as JSON",
            }),
        }
    }
}

/// Docker's configuration file in its directory.
pub(crate) fn docker_config_file(dir: &Path) -> PathBuf {
    dir.join("config.json")
}
