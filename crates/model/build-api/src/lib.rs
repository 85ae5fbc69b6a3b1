//! What is asked of a builder, and what comes back?
//!
//! The local engine, a remote node and a test double are one thing to callers: a [`Builder`]. This crate knows neither
//! how a build is done nor any wire protocol.
#![warn(missing_docs)]

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use oci::{Descriptor, Digest, Platform, Reference};
use report::{Diagnostic, Progress};

pub use plan::{
    FileChange, Plan, PlannedImage, PlannedOutput, PlannedPlatform, PlannedPush, PlannedStage,
    PlannedStep, Problem, Reason, Remote, Running, StepKind, Verdict,
};

/// One build: a Dockerfile, its context, the platforms, and where results go.
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The main context.
    pub context: Context,
    /// Where the Dockerfile is.
    pub dockerfile: DockerfileSource,
    /// Platforms to build for; empty means that of the machine.
    pub platforms: Vec<Platform>,
    /// Names of the result, each with a tag.
    pub tags: Vec<Reference>,
    /// Stage to build; `None` means the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--build-arg PLATFORM:NAME=VALUE`; stronger than `build_args`.
    pub build_args_by_platform: Vec<ForPlatform>,
    /// `--build-context NAME=VALUE`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--label PLATFORM:KEY=VALUE`; stronger than `labels`.
    pub labels_by_platform: Vec<ForPlatform>,
    /// `--allow`.
    pub allow: Allow,
    /// `--annotation`.
    pub annotations: Vec<Annotation>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--pull`: ask the registry even for names the store knows.
    pub pull: bool,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--ssh`, by id.
    pub ssh: BTreeMap<String, SshSource>,
    /// `--network` for RUN steps that say nothing else.
    pub network: Network,
    /// `--add-host`: name and address (or `host-gateway`).
    pub add_hosts: Vec<(String, String)>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// Where results go; empty means the local store.
    pub outputs: Vec<OutputSpec>,
    /// What times in the result come from.
    pub time: TimeSource,
    /// `--reproducible`: also rewrite the times of what RUN steps wrote.
    pub reproducible: bool,
}

/// Values that hold for one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForPlatform {
    /// Which.
    pub platform: Platform,
    /// By name.
    pub values: BTreeMap<String, String>,
}

impl ForPlatform {
    /// `common` with what differs for `platform`.
    pub fn merged(
        common: &BTreeMap<String, String>,
        differing: &[Self],
        platform: &Platform,
    ) -> BTreeMap<String, String> {
        let mut all = common.clone();
        let mut fitting: Vec<&Self> =
            differing.iter().filter(|own| platform.satisfies(&own.platform)).collect();
        // What is for one version of Windows is stronger than what is for all.
        fitting.sort_by_key(|own| own.platform.os_version.len());
        for own in fitting {
            all.extend(own.values.clone());
        }
        all
    }
}

/// `--allow`: what steps may ask for beyond the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `network.host`: RUN --network=host.
    pub host_network: bool,
    /// `security.insecure`: RUN --security=insecure.
    pub insecure: bool,
    /// `device`: RUN --device.
    pub devices: AllowDevices,
}

/// Which devices RUN --device may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowDevices {
    /// All.
    All,
    /// Those of these names; by default none.
    Named(BTreeSet<String>),
}

impl Default for AllowDevices {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

/// The main context of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// A directory.
    Directory(PathBuf),
    /// A tar archive, compressed or not, as it was read from standard input.
    Archive(PathBuf),
    /// An address: a git repository, or an archive or a Dockerfile on a web server.
    Remote(String),
    /// Nothing but the Dockerfile.
    Empty,
}

impl Default for Context {
    fn default() -> Self {
        Self::Directory(PathBuf::from("."))
    }
}

/// Where the Dockerfile is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DockerfileSource {
    /// `Dockerfile` in the context.
    #[default]
    Default,
    /// `--file`: a path as given on the command line; relative to the working directory, or inside the archive or the
    /// repository when the context is one.
    Path(PathBuf),
    /// `--file` with an address on a web server.
    Remote(String),
    /// Text, with the name to show for it: from standard input.
    Text {
        /// For messages.
        name: String,
        /// The Dockerfile.
        text: String,
    },
}

/// What a name in FROM, `COPY --from` or `RUN --mount=from=` is replaced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// A local directory.
    Directory(PathBuf),
    /// An address: a git repository, or a file on a web server.
    Remote(String),
    /// `docker-image://REFERENCE`.
    Image(Reference),
    /// `oci-layout://PATH[:TAG][@DIGEST]`.
    OciLayout {
        /// Directory (or tar) of the layout.
        path: PathBuf,
        /// Entry by `org.opencontainers.image.ref.name`.
        tag: Option<String>,
        /// Entry by digest.
        digest: Option<Digest>,
    },
}

/// `--no-cache` and `--no-cache-filter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// Use the cache.
    #[default]
    Never,
    /// Run every step again.
    Always,
    /// Run the steps of these stages again.
    Stages(Vec<String>),
}

/// Where the bytes of a secret come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, read when a step needs it.
    File(PathBuf),
    /// An environment variable's value, as the command line found it.
    Value(Vec<u8>),
}

/// What an ssh mount offers to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshSource {
    /// Socket of a running agent.
    Agent(PathBuf),
    /// Private key files.
    Keys(Vec<PathBuf>),
}

/// Network of a RUN step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Private, with user-mode NAT where a helper for it is installed.
    #[default]
    Default,
    /// Only a loopback of its own.
    None,
    /// The machine's.
    Host,
}

/// A resource limit of a step: `nofile`, soft, hard; -1 is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// As in `ulimit`: `nofile`, `nproc`, …
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// `--annotation [TYPE[PLATFORM]:]KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// On which document.
    pub level: AnnotationLevel,
    /// Only for this platform.
    pub platform: Option<Platform>,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// The document an annotation is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// Each platform's manifest.
    Manifest,
    /// The descriptor of each manifest in the index.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The descriptor of the index in an OCI layout.
    IndexDescriptor,
}

/// What `created`, history times and the times of files that crossdock itself makes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeSource {
    /// The newest input: context files, base images.
    #[default]
    NewestInput,
    /// `SOURCE_DATE_EPOCH`: seconds since 1970 UTC.
    Epoch(i64),
    /// The given moment of the build's start (setting `time = "clock"`), seconds since 1970 UTC.
    Clock(i64),
}

/// One place a result goes to, `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputSpec {
    /// `type=image`, `type=registry`, or the default: kept in the local store under the tags, and pushed if asked.
    Image(ImageOutput),
    /// `type=oci`, `type=docker`.
    Archive {
        /// What is written into it.
        image: ImageOutput,
        /// OCI layout or Docker's `save` format.
        format: ArchiveFormat,
        /// Where to.
        dest: Destination,
        /// `tar=false` makes a directory.
        tar: bool,
    },
    /// `type=docker` without `dest`, `--load`: into the Docker Engine that `DOCKER_HOST` or the default socket names.
    Load(ImageOutput),
    /// `type=tar`: the file tree.
    Tar {
        /// Where to.
        dest: Destination,
        /// Sub-folders by platform also for one.
        platform_split: Option<bool>,
    },
    /// `type=local`: the file tree.
    Local {
        /// Directory.
        dest: PathBuf,
        /// Sub-folders by platform; by default when there are several.
        platform_split: Option<bool>,
    },
    /// `type=cacheonly`: nothing.
    CacheOnly,
}

/// Format of an image archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// OCI image layout.
    Oci,
    /// What `docker save` writes and `docker load` reads.
    Docker,
}

/// A file or standard output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, or directory with `tar=false`.
    Path(PathBuf),
    /// Standard output.
    Stdout,
}

/// How an image is written.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of `--output`, and they combine freely"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOutput {
    /// Names, in place of the request's tags.
    pub names: Vec<Reference>,
    /// Push to the registry of each name.
    pub push: bool,
    /// Push the manifest by digest, without tag.
    pub push_by_digest: bool,
    /// Keep it under its names in the local store.
    pub store: bool,
    /// Compression of layers made here; of all layers with `force_compression`.
    pub compression: Compression,
    /// Its level, where the kind has levels; `None` is the kind's default.
    pub compression_level: Option<i32>,
    /// Convert base layers too.
    pub force_compression: bool,
    /// Layers of old Windows bases stay references to where Microsoft keeps them, instead of being pushed.
    pub keep_foreign_layers: bool,
    /// `oci-mediatypes`: `None` keeps the default (OCI).
    pub oci_media_types: Option<bool>,
    /// `annotation*` keys of this output.
    pub annotations: Vec<Annotation>,
    /// Lower file times later than `SOURCE_DATE_EPOCH` (or the build's time) to it.
    pub rewrite_timestamp: bool,
}

/// Compression of layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Accepted everywhere.
    #[default]
    Gzip,
    /// Smaller and faster; needs containerd 1.5 or Docker Engine 23.
    Zstd,
    /// gzip that can be read file by file over the network.
    EStargz,
    /// None.
    Uncompressed,
}

/// The result of a build.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The image, or the index of images; `None` when no output makes an image.
    pub image: Option<Descriptor>,
    /// One entry per platform, in the order asked for.
    pub platforms: Vec<PlatformOutcome>,
    /// Where results went, one line each, for people.
    pub written: Vec<String>,
    /// What checks found.
    pub warnings: Vec<Diagnostic>,
    /// How long it took.
    pub took: Duration,
    /// For `--metadata-file`: keys and JSON values, as Buildx writes them.
    pub metadata: BTreeMap<String, String>,
}

/// The result for one platform.
#[derive(Clone, Debug)]
pub struct PlatformOutcome {
    /// Which.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Option<Descriptor>,
    /// Its configuration's digest: the image id.
    pub config: Option<Digest>,
    /// Bytes of its layers as packed.
    pub size: u64,
    /// Steps found in the cache.
    pub cached: usize,
    /// Steps run.
    pub ran: usize,
    /// From the start of its first step to the end of its last.
    pub took: Duration,
}

/// Builds.
pub trait Builder: Send + Sync {
    /// Runs one build to its end, telling `progress` what happens.
    fn build(&self, request: &BuildRequest, progress: &dyn Progress)
    -> Result<Outcome, BuildError>;
}

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What the user wrote is wrong: all findings, each with its place.
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    Invalid(Vec<Diagnostic>),
    /// A step failed.
    #[error("{}", .0.message)]
    Step(Box<StepFailure>),
    /// Interrupted by the user.
    #[error("interrupted")]
    Interrupted,
    /// Anything else: what was being done; the cause is the source.
    #[error("{message}")]
    Failed {
        /// What was being done, and to what.
        message: String,
        /// A way out, where one is known.
        hint: Option<String>,
        /// The cause.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A step that failed, with what a user needs to mend it.
#[derive(Debug)]
pub struct StepFailure {
    /// `process "/bin/sh -c make" did not complete successfully: exit code 2`.
    pub message: String,
    /// Name of the step.
    pub step: String,
    /// For which platform.
    pub platform: Option<Platform>,
    /// Its lines in the Dockerfile.
    pub place: Option<Diagnostic>,
    /// Exit code of its process, where there was one.
    pub exit_code: Option<i32>,
    /// Last lines of its output.
    pub log_tail: Vec<String>,
    /// File with all of its output.
    pub log_file: Option<PathBuf>,
    /// A way out, where one is known.
    pub hint: Option<String>,
    /// The cause, where it was no process.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
