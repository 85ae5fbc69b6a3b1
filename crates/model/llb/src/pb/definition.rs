use std::collections::BTreeMap;

use prost::Message;

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
