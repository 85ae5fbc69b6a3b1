//! How is one process run so that it can reach nothing but what it was given?
//!
//! [`enter`] moves the calling process, once and before it has threads, into a user and a mount namespace of its
//! own. [`run`] then starts this very program again under the name [`SANDBOX_NAME`]; [`maybe_sandbox`], the first
//! thing `main` does, recognises that and becomes the sandbox of one step: namespaces, mounts, a *nested* user
//! namespace whose ids are shifted, capabilities, a seccomp filter, and at last the step's program as process 1.
//!
//! This crate knows nothing of images, layers, caches or LLB: it is given directories and gives back an exit.

mod agent;
mod cdi;
mod identity;
mod network;
mod private_key;
mod root_directory;
mod run;
mod sandbox;
mod seccomp;
mod ssh;
mod step;
mod system;
mod users;
mod wire;

pub use agent::{SshKeyError, SshKeys};
pub use cdi::{CDI_DIRECTORIES, CdiError, DeviceEdits, Devices};
pub use identity::{EnterError, EnterOptions, Identity, IdentityKind, enter, identity};
pub use run::{ExecError, Exit, Stream, Usage, run};
pub use sandbox::maybe_sandbox;
pub use step::{
    HostEntry, Limits, Machine, Mount, MountKind, Network, Rootfs, Security, SshAgent, SshServer,
    Stdio, Step, Ulimit,
};

/// The name under which this program starts itself to become the sandbox of one step.
pub const SANDBOX_NAME: &str = "crossdock-sandbox";

/// The host name every step sees, the same everywhere so that it cannot make outputs differ.
pub const HOSTNAME: &str = "buildkitsandbox";
