use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use oci::{Digest, ImageConfig, Platform, Reference};
use report::{Diagnostic, SourceText, Span};

/// What to compile, and for what.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// The Dockerfile.
    pub source: SourceText,
    /// The platform to build for.
    pub platform: Platform,
    /// Whether nobody asked for `platform`: then a base image for another one decides.
    pub platform_implied: bool,
    /// The platform that builds.
    pub build_platform: Platform,
    /// Whether the same Dockerfile is built for other platforms too: names of steps then tell the platform.
    pub multi_platform: bool,
    /// Name or number of the stage to build; `None` is the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, Context>,
    /// The main context.
    pub context: Context,
    /// Who tells whether the patterns of the main context leave a path out, for a check of what is copied. `None` checks
    /// nothing.
    pub excluded: Option<Excluded>,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// Network of RUN steps that say nothing else.
    pub network: llb::pb::NetMode,
    /// `--add-host`: name and address.
    pub add_hosts: Vec<(String, String)>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<u64>,
    /// `--ulimit`.
    pub ulimits: Vec<llb::pb::Ulimit>,
    /// Host name in RUN steps.
    pub hostname: Option<String>,
    /// Whether `RUN --security=insecure` is allowed.
    pub allow_insecure: bool,
    /// Whether `RUN --network=host` is allowed.
    pub allow_host_network: bool,
    /// Which devices `RUN --device` may name.
    pub allow_devices: AllowDevices,
    /// Whether base images are asked for at the registry even if the store knows the name.
    pub pull: bool,
}

impl CompileOptions {
    /// A Dockerfile for the machine's platform, with nothing else asked for.
    pub fn new(source: SourceText) -> Self {
        Self {
            source,
            platform: Platform::host(),
            platform_implied: true,
            build_platform: Platform::host(),
            multi_platform: false,
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            context: Context::Directory { excludes: Vec::new() },
            excluded: None,
            no_cache: NoCache::Never,
            network: llb::pb::NetMode::Unset,
            add_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            hostname: None,
            allow_insecure: false,
            allow_host_network: false,
            allow_devices: AllowDevices::default(),
            pull: false,
        }
    }
}

/// Tells whether a path of the main context, or a directory above it, is left out by its `.dockerignore`.
#[derive(Clone)]
pub struct Excluded(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Excluded {
    /// Asks `matches`, with paths relative to the context.
    pub fn by(matches: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(matches))
    }

    /// Whether it is left out.
    pub(crate) fn has(&self, path: &str) -> bool {
        (self.0)(path)
    }
}

impl fmt::Debug for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Excluded")
    }
}

/// What the main context or a named one is. Where a directory or a layout is, is its owner's matter: the definition has
/// its name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// A directory: source `local://NAME`, with these `.dockerignore` patterns, which its vertex records.
    Directory {
        /// Lines.
        excludes: Vec<String>,
    },
    /// An image: source `docker-image://REFERENCE`. No main context.
    Image(Reference),
    /// An OCI layout: source `oci-layout://…@DIGEST` with attribute `oci.store` = NAME. No main context.
    OciLayout,
    /// A git repository.
    Git(Box<llb::GitSource>),
    /// A file on a web server, by its address: of the main context the files of an archive, else a file `context`.
    Http {
        /// Address.
        address: String,
        /// Whether the main context is what the archive holds.
        archive: bool,
    },
}

/// Which devices `RUN --device` may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowDevices {
    /// All.
    All,
    /// Those of these names, or of the kinds before the `=` of a name.
    Named(BTreeSet<String>),
}

impl Default for AllowDevices {
    fn default() -> Self {
        Self::Named(BTreeSet::new())
    }
}

impl AllowDevices {
    pub(crate) fn allows(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => {
                let kind = name.split_once('=').map_or(name, |(kind, _)| kind);
                names.contains(name) || names.contains(kind)
            }
        }
    }
}

/// Which steps are run again although their result is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those of the stages with these names.
    Stages(Vec<String>),
}

/// An image that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageName<'a> {
    /// By reference, in the store or a registry.
    Reference(&'a Reference),
    /// The OCI layout that is the context of this name.
    Layout(&'a str),
}

/// Knows images. Called from several threads; whoever implements it remembers answers.
pub trait ImageResolver: Sync {
    /// Finds the image for `platform`.
    fn resolve(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError>;

    /// The time of a remote source, a repository or a file on a web server, in seconds; `None` when it has none.
    fn source_time(&self, source: &llb::pb::SourceOp) -> Result<Option<i64>, ResolveError> {
        let message = format!("the time of {} cannot be asked for here", source.identifier);
        Err(ResolveError::Failed { message, hint: None, source: None })
    }
}

/// An image that was found.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// Digest that pins the name: that of the index, where there is one.
    pub digest: Digest,
    /// Configuration of the image for the platform asked for.
    pub config: ImageConfig,
}

/// Why an image was not found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nobody is to be asked. Only a check can go on then, and says nothing about what an image might have.
    #[error("image `{0}` was not looked for")]
    Unasked(String),
    /// There is no such image.
    #[error("image `{0}` does not exist")]
    NotFound(String),
    /// There is one, but not for the platform.
    #[error("image `{image}` is not available for {platform}")]
    NoPlatform {
        /// Name.
        image: String,
        /// What was asked for.
        platform: Box<Platform>,
        /// What there is.
        available: Vec<Platform>,
    },
    /// It could not be asked for.
    #[error("{message}")]
    Failed {
        /// What was being done.
        message: String,
        /// A way out, where one is known.
        hint: Option<String>,
        /// The cause.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// A compiled Dockerfile.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What is done.
    pub definition: llb::Definition,
    /// The image's configuration. Its history is complete, without times; its diff IDs are those of the base, if any.
    pub config: ImageConfig,
    /// What it was built for: that of the options, or of the base image where the platform was implied.
    pub platform: Platform,
    /// Name and digest of the image that the target stage stands on.
    pub base: Option<(Reference, Digest)>,
    /// What is said about vertices in terms of the Dockerfile, by digest.
    pub steps: BTreeMap<Digest, Step>,
    /// The stages of the Dockerfile, in its order.
    pub stages: Vec<Stage>,
    /// What of each local context is used: its name (`context` is the main one) and paths relative to it, `None` for
    /// all of it.
    pub context_paths: BTreeMap<String, Option<BTreeSet<String>>>,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub epoch: Option<i64>,
    /// What is doubtful about the Dockerfile.
    pub warnings: Vec<Diagnostic>,
}

/// A stage of the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name, or `stage-N`.
    pub name: String,
    /// Its FROM instruction.
    pub span: Span,
    /// Whether the target needs it.
    pub used: bool,
}

/// A vertex in terms of the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name for people: `[build 2/5] RUN make`.
    pub name: String,
    /// Name of the stage, or `stage-N`.
    pub stage: String,
    /// What it is done for.
    pub platform: Platform,
    /// The instruction.
    pub span: Span,
    /// Whether it was asked to be run again.
    pub ignore_cache: bool,
}
