//! The protobuf messages of LLB, package `pb`, by field number.
//!
//! Maps that are part of a hashed message are written out as repeated entries whose key and value are always present:
//! that is what Go's deterministic marshalling does, and what vertex digests therefore depend on.

use std::collections::BTreeMap;

use prost::{Enumeration, Message, Oneof};

/// A vertex.
#[derive(Clone, PartialEq, Message)]
pub struct Op {
    /// Edges to other vertices' outputs.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<Input>,
    /// What it does; the terminal op has none.
    #[prost(oneof = "op::Kind", tags = "2, 3, 4, 5, 6, 7, 8")]
    pub op: Option<op::Kind>,
    /// What it is done for, where that matters.
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
    /// Which workers may do it.
    #[prost(message, optional, tag = "11")]
    pub constraints: Option<WorkerConstraints>,
}

impl Op {
    /// The bytes that the vertex is known by: as Go's protobuf writes them, with what it does after all other fields.
    /// The derived encoding, by field number, would give another digest.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Self { op: None, ..self.clone() }.encode_to_vec();
        if let Some(kind) = &self.op {
            kind.encode(&mut bytes);
        }
        bytes
    }
}

/// What a vertex does.
pub mod op {
    use super::{BuildOp, DiffOp, ExecOp, FileOp, MergeOp, Oneof, PassthroughOp, SourceOp};

    /// One of the kinds of vertex.
    #[expect(clippy::large_enum_variant, reason = "prost's oneof holds messages in place")]
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Kind {
        /// Runs a process.
        #[prost(message, tag = "2")]
        Exec(ExecOp),
        /// Brings something in.
        #[prost(message, tag = "3")]
        Source(SourceOp),
        /// Changes files.
        #[prost(message, tag = "4")]
        File(FileOp),
        /// Builds another definition.
        #[prost(message, tag = "5")]
        Build(BuildOp),
        /// Stacks several results.
        #[prost(message, tag = "6")]
        Merge(MergeOp),
        /// What one result adds to another.
        #[prost(message, tag = "7")]
        Diff(DiffOp),
        /// Orders results without changing them.
        #[prost(message, tag = "8")]
        Passthrough(PassthroughOp),
    }
}

/// A platform, field names as in the OCI image specification.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Platform {
    /// GOARCH.
    #[prost(string, tag = "1")]
    pub architecture: String,
    /// GOOS.
    #[prost(string, tag = "2")]
    pub os: String,
    /// CPU variant.
    #[prost(string, tag = "3")]
    pub variant: String,
    /// Windows build.
    #[prost(string, tag = "4")]
    pub os_version: String,
    /// Windows features.
    #[prost(string, repeated, tag = "5")]
    pub os_features: Vec<String>,
}

impl From<&oci::Platform> for Platform {
    fn from(platform: &oci::Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
        }
    }
}

impl From<&Platform> for oci::Platform {
    fn from(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            variant: platform.variant.clone(),
        }
    }
}

/// An edge.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Input {
    /// Digest of the other vertex' bytes.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Which of its outputs.
    #[prost(int64, tag = "2")]
    pub index: i64,
}

/// Which workers may do a vertex.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct WorkerConstraints {
    /// Filters in containerd's syntax.
    #[prost(string, repeated, tag = "1")]
    pub filter: Vec<String>,
}

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

/// An entry of a hashed `map<string, string>`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Attr {
    /// Always `Some`, so that an empty key is written.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// Always `Some`, so that an empty value is written.
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

impl Attr {
    /// An entry.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()) }
    }
}

/// Brings something in.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct SourceOp {
    /// `docker-image://…`, `local://…`, `https://…`
    #[prost(string, tag = "1")]
    pub identifier: String,
    /// A map, sorted by key.
    #[prost(message, repeated, tag = "2")]
    pub attrs: Vec<Attr>,
}

impl SourceOp {
    /// The value of an attribute.
    pub fn attr(&self, key: &str) -> Option<&str> {
        let entry =
            self.attrs.iter().rev().find(|attr| attr.key.as_deref().unwrap_or("") == key)?;
        Some(entry.value.as_deref().unwrap_or(""))
    }

    /// Sets an attribute, keeping the order by key.
    pub fn set_attr(&mut self, key: &str, value: impl Into<String>) {
        self.attrs.retain(|attr| attr.key.as_deref() != Some(key));
        let at = self.attrs.partition_point(|attr| attr.key.as_deref() < Some(key));
        self.attrs.insert(at, Attr::new(key, value));
    }
}

/// Builds another definition.
#[derive(Clone, PartialEq, Message)]
pub struct BuildOp {
    /// Position of the builder; -1 is LLB itself.
    #[prost(int64, tag = "1")]
    pub builder: i64,
    /// A map, sorted by key.
    #[prost(message, repeated, tag = "2")]
    pub inputs: Vec<BuildInputEntry>,
    /// The definition.
    #[prost(message, optional, tag = "3")]
    pub def: Option<Definition>,
    /// A map, sorted by key.
    #[prost(message, repeated, tag = "4")]
    pub attrs: Vec<Attr>,
}

/// An entry of [`BuildOp::inputs`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct BuildInputEntry {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub key: Option<String>,
    /// Input.
    #[prost(message, optional, tag = "2")]
    pub value: Option<InputRef>,
}

/// A position in a vertex' inputs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct InputRef {
    /// The position; -1 is empty.
    #[prost(int64, tag = "1")]
    pub input: i64,
}

/// Changes files.
#[derive(Clone, PartialEq, Message)]
pub struct FileOp {
    /// One after the other.
    #[prost(message, repeated, tag = "2")]
    pub actions: Vec<FileAction>,
}

/// One change. Input numbers below the count of the op's inputs are those, above it the results of earlier actions, -1
/// is empty.
#[derive(Clone, PartialEq, Message)]
pub struct FileAction {
    /// What is changed.
    #[prost(int64, tag = "1")]
    pub input: i64,
    /// What is copied from.
    #[prost(int64, tag = "2")]
    pub secondary_input: i64,
    /// Number of the op's output, or -1.
    #[prost(int64, tag = "3")]
    pub output: i64,
    /// The change.
    #[prost(oneof = "file_action::Action", tags = "4, 5, 6, 7, 8")]
    pub action: Option<file_action::Action>,
}

/// The kinds of change.
pub mod file_action {
    use super::{
        FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm, FileActionSymlink, Oneof,
    };

    /// A change.
    #[expect(clippy::large_enum_variant, reason = "prost's oneof holds messages in place")]
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Action {
        /// Copies from the second input.
        #[prost(message, tag = "4")]
        Copy(FileActionCopy),
        /// Makes a file.
        #[prost(message, tag = "5")]
        Mkfile(FileActionMkFile),
        /// Makes a directory.
        #[prost(message, tag = "6")]
        Mkdir(FileActionMkDir),
        /// Removes.
        #[prost(message, tag = "7")]
        Rm(FileActionRm),
        /// Makes a symbolic link.
        #[prost(message, tag = "8")]
        Symlink(FileActionSymlink),
    }
}

/// Copies.
#[expect(clippy::struct_excessive_bools, reason = "the wire form")]
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionCopy {
    /// Path in the second input.
    #[prost(string, tag = "1")]
    pub src: String,
    /// Where to; a trailing slash counts.
    #[prost(string, tag = "2")]
    pub dest: String,
    /// New owner.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// New permissions; -1 keeps them.
    #[prost(int32, tag = "4")]
    pub mode: i32,
    /// Follow a link that `src` names.
    #[prost(bool, tag = "5")]
    pub follow_symlink: bool,
    /// Of a directory copy what is in it.
    #[prost(bool, tag = "6")]
    pub dir_copy_contents: bool,
    /// Unpack archives.
    #[prost(bool, tag = "7")]
    pub attempt_unpack_docker_compatibility: bool,
    /// Make missing parents.
    #[prost(bool, tag = "8")]
    pub create_dest_path: bool,
    /// `src` is a pattern.
    #[prost(bool, tag = "9")]
    pub allow_wildcard: bool,
    /// A pattern that matches nothing is no error.
    #[prost(bool, tag = "10")]
    pub allow_empty_wildcard: bool,
    /// Nanoseconds since 1970; -1 keeps each file's.
    #[prost(int64, tag = "11")]
    pub timestamp: i64,
    /// Only what matches one of these.
    #[prost(string, repeated, tag = "12")]
    pub include_patterns: Vec<String>,
    /// Not what matches one of these.
    #[prost(string, repeated, tag = "13")]
    pub exclude_patterns: Vec<String>,
    /// Replace what is in the way even if its kind differs.
    #[prost(bool, tag = "14")]
    pub always_replace_existing_dest_paths: bool,
    /// New permissions in symbolic form.
    #[prost(string, tag = "15")]
    pub mode_str: String,
    /// Must be there although patterns select.
    #[prost(string, repeated, tag = "16")]
    pub required_paths: Vec<String>,
}

/// Makes a file.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionMkFile {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permissions.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Content.
    #[prost(bytes = "vec", tag = "3")]
    pub data: Vec<u8>,
    /// Owner.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Nanoseconds since 1970; -1 is the time of the build.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Makes a symbolic link.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionSymlink {
    /// What it points at.
    #[prost(string, tag = "1")]
    pub oldpath: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub newpath: String,
    /// Owner.
    #[prost(message, optional, tag = "3")]
    pub owner: Option<ChownOpt>,
    /// Nanoseconds since 1970; -1 is the time of the build.
    #[prost(int64, tag = "4")]
    pub timestamp: i64,
}

/// Makes a directory.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionMkDir {
    /// Where.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Permissions.
    #[prost(int32, tag = "2")]
    pub mode: i32,
    /// Make missing parents; an existing directory is no error.
    #[prost(bool, tag = "3")]
    pub make_parents: bool,
    /// Owner.
    #[prost(message, optional, tag = "4")]
    pub owner: Option<ChownOpt>,
    /// Nanoseconds since 1970; -1 is the time of the build.
    #[prost(int64, tag = "5")]
    pub timestamp: i64,
}

/// Removes.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FileActionRm {
    /// What.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Missing is no error.
    #[prost(bool, tag = "2")]
    pub allow_not_found: bool,
    /// `path` is a pattern.
    #[prost(bool, tag = "3")]
    pub allow_wildcard: bool,
}

/// An owner.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ChownOpt {
    /// User.
    #[prost(message, optional, tag = "1")]
    pub user: Option<UserOpt>,
    /// Group.
    #[prost(message, optional, tag = "2")]
    pub group: Option<UserOpt>,
}

/// A user or group.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct UserOpt {
    /// By name or number.
    #[prost(oneof = "user_opt::User", tags = "1, 2")]
    pub user: Option<user_opt::User>,
}

/// The forms of a user or group.
pub mod user_opt {
    use super::{NamedUserOpt, Oneof};

    /// A user or group.
    #[derive(Clone, PartialEq, Eq, Hash, Oneof)]
    pub enum User {
        /// By name.
        #[prost(message, tag = "1")]
        ByName(NamedUserOpt),
        /// By number.
        #[prost(uint32, tag = "2")]
        ById(u32),
    }
}

/// A user or group by name.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct NamedUserOpt {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Input whose `/etc/passwd` knows it; -1 is none.
    #[prost(int64, tag = "2")]
    pub input: i64,
}

/// Stacks several results.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct MergeOp {
    /// Bottom first.
    #[prost(message, repeated, tag = "1")]
    pub inputs: Vec<InputRef>,
}

/// What one result adds to another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct DiffOp {
    /// The other.
    #[prost(message, optional, tag = "1")]
    pub lower: Option<InputRef>,
    /// The one.
    #[prost(message, optional, tag = "2")]
    pub upper: Option<InputRef>,
}

/// Orders results without changing them.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct PassthroughOp {
    /// Free.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Inputs that are passed on.
    #[prost(int64, repeated, tag = "2")]
    pub outputs: Vec<i64>,
}

/// A graph.
#[derive(Clone, PartialEq, Message)]
pub struct Definition {
    /// The bytes of each [`Op`]; the last has one input, the result, and nothing else.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub def: Vec<Vec<u8>>,
    /// By digest of the op's bytes.
    #[prost(btree_map = "string, message", tag = "2")]
    pub metadata: BTreeMap<String, OpMetadata>,
    /// Where vertices come from.
    #[prost(message, optional, tag = "3")]
    pub source: Option<Source>,
}

/// What is said about a vertex without being part of it.
#[derive(Clone, PartialEq, Message)]
pub struct OpMetadata {
    /// Do it again even if its result is known.
    #[prost(bool, tag = "1")]
    pub ignore_cache: bool,
    /// Texts for people: `llb.customname`, …
    #[prost(btree_map = "string, string", tag = "2")]
    pub description: BTreeMap<String, String>,
    /// Whether its result goes into exported caches.
    #[prost(message, optional, tag = "4")]
    pub export_cache: Option<ExportCache>,
    /// Features of LLB it needs.
    #[prost(btree_map = "string, bool", tag = "5")]
    pub caps: BTreeMap<String, bool>,
    /// Group in the progress display.
    #[prost(message, optional, tag = "6")]
    pub progress_group: Option<ProgressGroup>,
    /// Limits of its process.
    #[prost(message, optional, tag = "7")]
    pub linux_resources: Option<LinuxResources>,
}

/// Whether a result goes into exported caches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct ExportCache {
    /// Whether.
    #[prost(bool, tag = "1")]
    pub value: bool,
}

/// Vertices that are shown as one.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ProgressGroup {
    /// Which.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Text for people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Shown only while nothing else of the group is.
    #[prost(bool, tag = "3")]
    pub weak: bool,
}

/// Limits of a process.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct LinuxResources {
    /// Bytes.
    #[prost(int64, tag = "1")]
    pub memory: i64,
    /// Bytes, swap included.
    #[prost(int64, tag = "2")]
    pub memory_swap: i64,
    /// Weight.
    #[prost(uint64, tag = "3")]
    pub cpu_shares: u64,
    /// Microseconds.
    #[prost(uint64, tag = "4")]
    pub cpu_period: u64,
    /// Microseconds.
    #[prost(int64, tag = "5")]
    pub cpu_quota: i64,
    /// `0-3`.
    #[prost(string, tag = "6")]
    pub cpuset_cpus: String,
    /// `0,1`.
    #[prost(string, tag = "7")]
    pub cpuset_mems: String,
}

/// Where vertices come from.
#[derive(Clone, PartialEq, Message)]
pub struct Source {
    /// By digest of the op's bytes.
    #[prost(btree_map = "string, message", tag = "1")]
    pub locations: BTreeMap<String, Locations>,
    /// The texts.
    #[prost(message, repeated, tag = "2")]
    pub infos: Vec<SourceInfo>,
}

/// Places.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Locations {
    /// Each.
    #[prost(message, repeated, tag = "1")]
    pub locations: Vec<Location>,
}

/// A text.
#[derive(Clone, PartialEq, Message)]
pub struct SourceInfo {
    /// Name.
    #[prost(string, tag = "1")]
    pub filename: String,
    /// The text.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
    /// What the text was read from.
    #[prost(message, optional, tag = "3")]
    pub definition: Option<Definition>,
    /// `Dockerfile`.
    #[prost(string, tag = "4")]
    pub language: String,
}

/// A place in a text.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Location {
    /// Which text.
    #[prost(int32, tag = "1")]
    pub source_index: i32,
    /// Lines.
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<Range>,
}

/// Lines of a text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Range {
    /// First.
    #[prost(message, optional, tag = "1")]
    pub start: Option<Position>,
    /// Last.
    #[prost(message, optional, tag = "2")]
    pub end: Option<Position>,
}

/// A line and a character in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Position {
    /// From 1.
    #[prost(int32, tag = "1")]
    pub line: i32,
    /// From 0.
    #[prost(int32, tag = "2")]
    pub character: i32,
}
