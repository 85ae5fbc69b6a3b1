//! The protobuf messages of LLB, package `pb`, by field number.
//!
//! Maps that are part of a hashed message are written out as repeated entries whose key and value are always present:
//! that is what Go's deterministic marshalling does, and what vertex digests therefore depend on.

use prost::{Message, Oneof};

mod definition;
mod exec;
mod file;

pub use definition::{
    Definition, ExportCache, LinuxResources, Location, Locations, OpMetadata, Position,
    ProgressGroup, Range, Source, SourceInfo,
};
pub use exec::{
    CacheOpt, CacheSharing, CdiDevice, ExecOp, HostIp, Meta, Mount, MountContentCache, MountType,
    NetMode, ProxyEnv, SecretEnv, SecretOpt, SecurityMode, SshOpt, TmpfsOpt, Ulimit,
};
pub use file::{
    ChownOpt, FileAction, FileActionCopy, FileActionMkDir, FileActionMkFile, FileActionRm,
    FileActionSymlink, FileOp, NamedUserOpt, UserOpt, file_action, user_opt,
};

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
