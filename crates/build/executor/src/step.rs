use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::SshKeys;

/// One process to run in a sandbox. Everything it may see is named here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    /// Program and arguments; the program is looked up in the step's own `PATH` within its root.
    pub args: Vec<String>,
    /// `NAME=value` pairs. `HOME` is added from the image's `/etc/passwd` when missing, nothing else is.
    pub env: Vec<String>,
    /// Absolute directory within the root; made (0755, root) when missing, as BuildKit does.
    pub cwd: String,
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root. Names are resolved within the root.
    pub user: String,
    /// [`crate::HOSTNAME`] when `None`.
    pub hostname: Option<String>,
    /// The file system the step starts in.
    pub rootfs: Rootfs,
    /// Whether `/` is mounted read-only (mounts beneath it keep their own mode).
    pub read_only_root: bool,
    /// What is mounted over it. Any order: mounted by depth of the target.
    pub mounts: Vec<Mount>,
    /// What of the network is reachable.
    pub network: Network,
    /// Additional lines of `/etc/hosts`.
    pub add_hosts: Vec<HostEntry>,
    /// Resource limits asked for by name.
    pub ulimits: Vec<Ulimit>,
    /// Bytes of `/dev/shm`; 0 is 64 MiB.
    pub shm_size: u64,
    /// How much the step is trusted.
    pub security: Security,
    /// What `uname -m` should tell on machines that run the platform natively in a compatibility mode.
    pub machine: Machine,
    /// Where the step's standard streams lead.
    pub stdio: Stdio,
    /// Bounds that hold for the whole step.
    pub limits: Limits,
}

impl Default for Step {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            hostname: None,
            rootfs: Rootfs::Directory(PathBuf::new()),
            read_only_root: false,
            mounts: Vec::new(),
            network: Network::Private,
            add_hosts: Vec::new(),
            ulimits: Vec::new(),
            shm_size: 0,
            security: Security::Sandbox,
            machine: Machine::Native,
            stdio: Stdio::Captured,
            limits: Limits::default(),
        }
    }
}

/// The file system a step starts in. It is mounted in the sandbox only, never where the caller could see it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Rootfs {
    /// A plain directory, written in place.
    Directory(PathBuf),
    /// An overlay with `userxattr`. `lowers` bottom first, as layers are listed; may be empty.
    Overlay {
        /// Unpacked layers, bottom first.
        lowers: Vec<PathBuf>,
        /// Receives the changes. On a file system that can be an overlay's upper.
        upper: PathBuf,
        /// An empty directory on the same file system as `upper`.
        work: PathBuf,
        /// Leaves out every sync; the caller syncs `upper` before it records it.
        volatile: bool,
    },
}

/// Something mounted over the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where, within the root; relative ones are beneath [`Step::cwd`]. Missing directories (or, for files, the
    /// file) are made, and removed after the step when still empty.
    pub target: String,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MountKind {
    /// A directory or file of the host.
    Bind {
        /// Trusted path on the host.
        source: PathBuf,
        /// Resolved beneath `source` as if that were `/`: not trusted.
        subpath: Option<String>,
        /// Whether the step may not write.
        read_only: bool,
    },
    /// A device node of the host.
    Device {
        /// Trusted path on the host.
        source: PathBuf,
    },
    /// A stack of trees. Without `upper` it is read-only; with it, changes go there and are the caller's.
    Overlay {
        /// Unpacked layers, bottom first.
        lowers: Vec<PathBuf>,
        /// Upper and work directory.
        upper: Option<(PathBuf, PathBuf)>,
        /// Resolved within the stack: not trusted.
        subpath: Option<String>,
        /// Whether the step may not write.
        read_only: bool,
    },
    /// Memory, empty at start.
    Tmpfs {
        /// Bytes; `None` is half of the memory.
        size: Option<u64>,
        /// Permissions of its root.
        mode: u32,
    },
    /// A file in memory that never reaches a disk.
    Secret {
        /// Its content.
        bytes: Vec<u8>,
        /// Permissions.
        mode: u32,
        /// Owner, as the step sees it.
        uid: u32,
        /// Group, as the step sees it.
        gid: u32,
    },
    /// A socket through which the step talks to an ssh agent.
    Ssh(SshAgent),
}

/// An ssh agent lent to a step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SshAgent {
    /// Who answers. It stays outside the sandbox, which is not told.
    #[serde(skip)]
    pub server: SshServer,
    /// Permissions of the socket the step sees.
    pub mode: u32,
    /// Its owner, as the step sees it.
    pub uid: u32,
    /// Its group, as the step sees it.
    pub gid: u32,
}

/// Who answers a step that asks an ssh agent.
#[derive(Clone, Debug)]
pub enum SshServer {
    /// An agent, by its socket on the host. Connections are relayed: the step never sees the socket itself.
    Agent(PathBuf),
    /// This process.
    Keys(Arc<SshKeys>),
}

impl Default for SshServer {
    /// One without keys.
    fn default() -> Self {
        Self::Keys(Arc::default())
    }
}

/// What of the network a step reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A network of its own that reaches the outside through a user-mode relay (`pasta`, `slirp4netns`), not the
    /// host's loopback. Where no relay is installed it becomes [`Network::Host`], and [`Exit::notes`] says so.
    ///
    /// [`Exit::notes`]: crate::Exit::notes
    Private,
    /// Loopback of its own, nothing else.
    None,
    /// The host's network.
    Host,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// Name.
    pub host: String,
    /// Address.
    pub address: IpAddr,
}

/// A resource limit, named as `docker build --ulimit` does: `nofile`, `nproc`, `core`, …
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name, lower case.
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// How much a step is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Everything this crate can hold back is held back.
    Sandbox,
    /// `RUN --security=insecure`: all capabilities *within its own user namespace*, its own mounts, no seccomp
    /// filter, nothing masked. The machine stays out of its reach.
    Insecure,
}

/// The machine a step is told it runs on, where the processor has a compatibility mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Machine {
    /// What the kernel says.
    Native,
    /// The 32-bit personality: `i686` on amd64, `armv8l` on arm64.
    Compatible32,
}

/// Where the step's standard streams lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Input is empty; output and error go to the callback of [`run`](crate::run).
    Captured,
    /// The caller's own three streams, a terminal included. The callback is never called.
    Inherited,
}

/// Bounds for a whole step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Processes and threads of one user in the step.
    pub processes: u64,
    /// Wall time after which the step is killed.
    pub time: Option<Duration>,
    /// How long a cancelled step that handles SIGTERM may go on.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 4096, time: None, grace: Duration::from_secs(2) }
    }
}
