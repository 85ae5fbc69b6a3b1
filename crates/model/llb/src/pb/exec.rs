use prost::{Enumeration, Message};

/// Runs a process.
#[derive(Clone, PartialEq, Message)]
pub struct ExecOp {
    /// The process.
    #[prost(message, optional, tag = "1")]
    pub meta: Option<Meta>,
    /// Its file systems, the root among them.
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    /// Its network.
    #[prost(enumeration = "NetMode", tag = "3")]
    pub network: i32,
    /// Its privileges.
    #[prost(enumeration = "SecurityMode", tag = "4")]
    pub security: i32,
    /// Environment variables with secret values.
    #[prost(message, repeated, tag = "5")]
    pub secretenv: Vec<SecretEnv>,
    /// Devices.
    #[prost(message, repeated, tag = "6")]
    pub cdi_devices: Vec<CdiDevice>,
}

/// A process.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Meta {
    /// Program and arguments.
    #[prost(string, repeated, tag = "1")]
    pub args: Vec<String>,
    /// `NAME=value`.
    #[prost(string, repeated, tag = "2")]
    pub env: Vec<String>,
    /// Working directory.
    #[prost(string, tag = "3")]
    pub cwd: String,
    /// User and group.
    #[prost(string, tag = "4")]
    pub user: String,
    /// Proxies; set as environment without being part of cache keys.
    #[prost(message, optional, tag = "5")]
    pub proxy_env: Option<ProxyEnv>,
    /// More lines of `/etc/hosts`.
    #[prost(message, repeated, tag = "6")]
    pub extra_hosts: Vec<HostIp>,
    /// Host name.
    #[prost(string, tag = "7")]
    pub hostname: String,
    /// Resource limits.
    #[prost(message, repeated, tag = "9")]
    pub ulimit: Vec<Ulimit>,
    /// Parent control group.
    #[prost(string, tag = "10")]
    pub cgroup_parent: String,
    /// Remove the directories that were made as mount points.
    #[prost(bool, tag = "11")]
    pub remove_mount_stubs_recursive: bool,
    /// Exit codes that mean success.
    #[prost(int32, repeated, tag = "12")]
    pub valid_exit_codes: Vec<i32>,
}

/// A line of `/etc/hosts`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct HostIp {
    /// Name.
    #[prost(string, tag = "1")]
    pub host: String,
    /// Address.
    #[prost(string, tag = "2")]
    pub ip: String,
}

/// A resource limit.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Ulimit {
    /// `nofile`, …
    #[prost(string, tag = "1")]
    pub name: String,
    /// Soft limit.
    #[prost(int64, tag = "2")]
    pub soft: i64,
    /// Hard limit.
    #[prost(int64, tag = "3")]
    pub hard: i64,
}

/// A device by its CDI name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct CdiDevice {
    /// `vendor.com/class=name`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// May be missing.
    #[prost(bool, tag = "2")]
    pub optional: bool,
}

/// Network of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum NetMode {
    /// Its own.
    Unset = 0,
    /// The machine's.
    Host = 1,
    /// None.
    None = 2,
}

/// Privileges of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SecurityMode {
    /// As few as possible.
    Sandbox = 0,
    /// All.
    Insecure = 1,
}

/// An environment variable with a secret value.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct SecretEnv {
    /// Of the secret.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Of the variable.
    #[prost(string, tag = "2")]
    pub name: String,
    /// May be missing.
    #[prost(bool, tag = "3")]
    pub optional: bool,
}

/// A file system of a process.
#[derive(Clone, PartialEq, Message)]
pub struct Mount {
    /// Position in the op's inputs; -1 is empty.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// Path within the input.
    #[prost(string, tag = "2")]
    pub selector: String,
    /// Where.
    #[prost(string, tag = "3")]
    pub dest: String,
    /// Number of the output that holds what was written; -1 drops it.
    #[prost(int64, tag = "4")]
    pub output: i64,
    /// Cannot be written.
    #[prost(bool, tag = "5")]
    pub readonly: bool,
    /// Kind.
    #[prost(enumeration = "MountType", tag = "6")]
    pub mount_type: i32,
    /// Of a tmpfs mount.
    #[prost(message, optional, tag = "19")]
    pub tmpfs_opt: Option<TmpfsOpt>,
    /// Of a cache mount.
    #[prost(message, optional, tag = "20")]
    pub cache_opt: Option<CacheOpt>,
    /// Of a secret mount.
    #[prost(message, optional, tag = "21")]
    pub secret_opt: Option<SecretOpt>,
    /// Of an ssh mount.
    #[prost(message, optional, tag = "22")]
    pub ssh_opt: Option<SshOpt>,
    /// Unused.
    #[prost(string, tag = "23")]
    pub result_id: String,
    /// Whether the content of the mount decides about the cache.
    #[prost(enumeration = "MountContentCache", tag = "24")]
    pub content_cache: i32,
}

/// Kind of mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum MountType {
    /// An input.
    Bind = 0,
    /// A secret.
    Secret = 1,
    /// A socket of an ssh agent.
    Ssh = 2,
    /// A directory that outlives the build.
    Cache = 3,
    /// Memory.
    Tmpfs = 4,
}

/// Whether the content of a mount decides about the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum MountContentCache {
    /// Read-only mounts: yes.
    Default = 0,
    /// Yes.
    On = 1,
    /// No.
    Off = 2,
}

/// A tmpfs mount.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct TmpfsOpt {
    /// Bytes.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// A cache mount.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct CacheOpt {
    /// Which.
    #[prost(string, tag = "1")]
    pub id: String,
    /// With whom.
    #[prost(enumeration = "CacheSharing", tag = "2")]
    pub sharing: i32,
}

/// How steps share a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum CacheSharing {
    /// All at the same time.
    Shared = 0,
    /// Another one for each concurrent step.
    Private = 1,
    /// One after the other.
    Locked = 2,
}

/// A secret mount.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct SecretOpt {
    /// Which.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Owner.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Permissions.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// May be missing.
    #[prost(bool, tag = "5")]
    pub optional: bool,
}

/// An ssh mount.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct SshOpt {
    /// Which.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Owner.
    #[prost(uint32, tag = "2")]
    pub uid: u32,
    /// Group.
    #[prost(uint32, tag = "3")]
    pub gid: u32,
    /// Permissions.
    #[prost(uint32, tag = "4")]
    pub mode: u32,
    /// May be missing.
    #[prost(bool, tag = "5")]
    pub optional: bool,
}

/// Proxies of a process.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ProxyEnv {
    /// `HTTP_PROXY`.
    #[prost(string, tag = "1")]
    pub http_proxy: String,
    /// `HTTPS_PROXY`.
    #[prost(string, tag = "2")]
    pub https_proxy: String,
    /// `FTP_PROXY`.
    #[prost(string, tag = "3")]
    pub ftp_proxy: String,
    /// `NO_PROXY`.
    #[prost(string, tag = "4")]
    pub no_proxy: String,
    /// `ALL_PROXY`.
    #[prost(string, tag = "5")]
    pub all_proxy: String,
}
