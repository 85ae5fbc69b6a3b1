//! Which platforms run on this machine, and how?
//!
//! [`Emulators::prepare`] is asked once per step. Natively where the processor can; else by QEMU's user emulation,
//! through a handler registered with a `binfmt_misc` instance that belongs to this process's own user namespace
//! (Linux 6.7), one above the one a step is root of, and mounted nowhere, so that no step can reach it; else through a
//! handler the host already has; else not, and [`EmulationError`] says what to install.
//!
//! What comes back ([`Emulation`]) is all that the rest of a build needs to know: mounts and variables for the
//! sandbox, and a line for the record. Native stand-ins for foreign tools will add to it here and nowhere else.
//! This crate knows nothing of images, steps or the sandbox.

mod elf;
mod graft;
mod handlers;
mod target;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use oci::Platform;

use crate::handlers::{Private, host_handler};
use crate::target::Target;

/// Where emulators are looked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directories searched in this order for `qemu-ARCH-static` and `qemu-ARCH`; those of an emulator image or of a
    /// user's own choice come first.
    pub search: Vec<PathBuf>,
    /// Emulators named one by one: architecture as in platforms (`arm64`) to file.
    pub emulators: BTreeMap<String, PathBuf>,
    /// Whether this process is in a user namespace of its own, so that a handler may be registered in it. Nothing is
    /// ever registered with the host.
    pub private_namespace: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            search: ["/usr/libexec/crossdock", "/usr/local/bin", "/usr/bin", "/bin"]
                .map(PathBuf::from)
                .into(),
            emulators: BTreeMap::new(),
            private_namespace: true,
        }
    }
}

/// How one platform runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformStatus {
    /// The platform.
    pub platform: Platform,
    /// How.
    pub how: How,
}

/// A way to run a platform's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The processor runs them.
    Native,
    /// An emulator does.
    Emulated(Emulator),
    /// Nothing does.
    Missing {
        /// Why not.
        reason: String,
        /// What would help.
        hint: String,
    },
}

/// An emulator that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// `qemu-aarch64`.
    pub name: String,
    /// `7.2.22`; empty when it cannot be asked.
    pub version: String,
    /// Its file; for a handler of the host, the file that handler names.
    pub path: PathBuf,
    /// Who calls it.
    pub via: Via,
}

/// Who calls an emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A handler in a user namespace of our own.
    OwnHandler,
    /// A handler somebody registered on the host.
    HostHandler,
}

/// What a step of a platform needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emulation {
    /// How it runs.
    pub how: How,
    /// Whether the kernel should be told to report the 32-bit machine (`uname -m` is `i686` instead of `x86_64`).
    pub compatible32: bool,
    /// Variables for the step. Emulators are set up without any; stand-ins may need some.
    pub env: Vec<String>,
    /// Mounts for the sandbox.
    pub mounts: Vec<EmulationMount>,
    /// For the record of the build: `native`, or `emulated by qemu-aarch64 7.2.22 as neoverse-n1`.
    pub description: String,
}

/// A read-only mount that emulation needs inside the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmulationMount {
    /// On the host.
    pub source: PathBuf,
    /// In the sandbox.
    pub target: String,
}

/// Why a platform does not run here.
#[derive(Debug, thiserror::Error)]
pub enum EmulationError {
    /// Nothing that could run it was found.
    #[error("{platform} does not run on this machine: {reason}; {hint}")]
    Missing {
        /// The platform.
        platform: Box<Platform>,
        /// Why not.
        reason: String,
        /// What would help.
        hint: String,
    },
    /// It was found, and the kernel did not take it.
    #[error("cannot register `{}` to run {platform}", emulator.display())]
    Register {
        /// The platform.
        platform: Box<Platform>,
        /// The emulator.
        emulator: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The platforms that `status` reports when nobody asks for others.
const USUAL: [&str; 8] = [
    "linux/amd64",
    "linux/arm64",
    "linux/arm/v7",
    "linux/386",
    "linux/riscv64",
    "linux/ppc64le",
    "linux/s390x",
    "linux/loong64",
];

/// Emulators of this machine, and the handlers this process registered. One per process.
#[derive(Debug)]
pub struct Emulators {
    settings: Settings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Made when first needed; then the host's handlers no longer count for this process.
    private: Option<Private>,
    prepared: BTreeMap<Platform, Emulation>,
}

impl Emulators {
    /// Knows where to look. Nothing is looked at, started or registered before it is needed.
    pub fn discover(settings: Settings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// How the usual platforms run here, this machine's first.
    pub fn status(&self) -> Vec<PlatformStatus> {
        let mut platforms = vec![Platform::host()];
        platforms.extend(USUAL.iter().filter_map(|text| text.parse().ok()));
        let mut seen: Vec<PlatformStatus> = Vec::new();
        for platform in platforms {
            if seen.iter().all(|status| status.platform != platform) {
                let how = self.how(&platform);
                seen.push(PlatformStatus { platform, how });
            }
        }
        seen
    }

    /// How `platform` runs here, without preparing anything.
    pub fn how(&self, platform: &Platform) -> How {
        let host = Platform::host();
        if platform.os != "linux" {
            return How::Missing {
                reason: format!("{} programs need {} itself", platform.os, platform.os),
                hint: "build it without RUN, or on a node of that system".to_owned(),
            };
        }
        if let Some(native) = elf::native(&host, platform) {
            return native;
        }
        let Some(target) = Target::of(platform) else {
            return How::Missing {
                reason: "no emulator for it is known".to_owned(),
                hint: "use a node of that platform".to_owned(),
            };
        };
        let found = self.find(&target);
        let registering = self.settings.private_namespace && handlers::may_be_private();
        if let (Ok(path), true) = (&found, registering) {
            return How::Emulated(Emulator {
                name: target.qemu_name(),
                version: elf::version(path),
                path: path.clone(),
                via: Via::OwnHandler,
            });
        }
        if let Some(path) = host_handler(&target) {
            let version = elf::version(&path);
            let (name, via) = (target.qemu_name(), Via::HostHandler);
            return How::Emulated(Emulator { name, version, path, via });
        }
        match found {
            Ok(path) => How::Missing {
                reason: format!(
                    "`{}` is here, but this kernel is older than Linux 6.7 and cannot register it for one user only",
                    path.display()
                ),
                hint: "register it for the machine: `apt-get install binfmt-support qemu-user-static` (as root)"
                    .to_owned(),
            },
            Err(reason) => How::Missing {
                reason,
                hint: "`apt-get install qemu-user-static` brings one".to_owned(),
            },
        }
    }

    /// Makes `platform` run in every sandbox started from now on.
    ///
    /// # Errors
    /// [`EmulationError::Missing`] names what to install; [`EmulationError::Register`] is the kernel's refusal.
    pub fn prepare(&self, platform: &Platform) -> Result<Emulation, EmulationError> {
        let platform = platform.clone().normalized();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = state.prepared.get(&platform) {
            return Ok(prepared.clone());
        }
        let how = self.how(&platform);
        let description = match &how {
            How::Native => "native".to_owned(),
            How::Emulated(emulator) => {
                let mut processor = String::new();
                if let (Via::OwnHandler, Some(target)) = (emulator.via, Target::of(&platform)) {
                    let suited = register(&mut state, &target, emulator).map_err(|source| {
                        let emulator = emulator.path.clone();
                        EmulationError::Register {
                            platform: Box::new(platform.clone()),
                            emulator,
                            source,
                        }
                    })?;
                    if let (true, Some((name, _))) = (suited, target.processor) {
                        processor = format!(" as {name}");
                    }
                } else if state.private.is_some() {
                    return Err(EmulationError::Missing {
                        platform: Box::new(platform),
                        reason: "only the host has a handler for it, which cannot be used beside our own".to_owned(),
                        hint: "`apt-get install qemu-user-static` brings an emulator that can".to_owned(),
                    });
                }
                let by = format!("emulated by {} {}", emulator.name, emulator.version);
                by.trim_end().to_owned() + &processor
            }
            How::Missing { reason, hint } => {
                let (reason, hint) = (reason.clone(), hint.clone());
                return Err(EmulationError::Missing { platform: Box::new(platform), reason, hint });
            }
        };
        let compatible32 = how == How::Native && elf::is_32_bit_of_host(&platform);
        let emulation =
            Emulation { how, compatible32, env: Vec::new(), mounts: Vec::new(), description };
        state.prepared.insert(platform, emulation.clone());
        Ok(emulation)
    }

    /// The emulator's file, or why there is none.
    fn find(&self, target: &Target) -> Result<PathBuf, String> {
        if let Some(path) = self.settings.emulators.get(target.architecture) {
            return match elf::check_static(path) {
                Ok(()) => Ok(path.clone()),
                Err(reason) => Err(format!("`{}` of the settings {reason}", path.display())),
            };
        }
        let mut unusable = None;
        for directory in &self.settings.search {
            for name in [format!("{}-static", target.qemu_name()), target.qemu_name()] {
                let path = directory.join(name);
                if !path.is_file() {
                    continue;
                }
                match elf::check_static(&path) {
                    Ok(()) => return Ok(path),
                    Err(reason) => {
                        unusable.get_or_insert(format!("`{}` {reason}", path.display()));
                    }
                }
            }
        }
        Err(unusable.unwrap_or_else(|| format!("no `{}-static` was found", target.qemu_name())))
    }
}

fn register(state: &mut State, target: &Target, emulator: &Emulator) -> io::Result<bool> {
    let private = match &mut state.private {
        Some(private) => private,
        none => none.insert(Private::new()?),
    };
    private.register(target, &emulator.path)
}
