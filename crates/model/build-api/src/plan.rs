//! What a build would do, found out without doing it.

use std::fmt;

use oci::{Digest, Platform};
use report::Diagnostic;

/// A build before it is one. Positions refer to the lists of this value.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The platforms that results are for, in the order asked for.
    pub platforms: Vec<PlannedPlatform>,
    /// The stages of the Dockerfile, in its order.
    pub stages: Vec<PlannedStage>,
    /// Everything that is done or read, each after what it needs; what several platforms share stands here once.
    pub steps: Vec<PlannedStep>,
    /// Images that are built upon or copied from.
    pub images: Vec<PlannedImage>,
    /// Where results would go.
    pub outputs: Vec<PlannedOutput>,
    /// Names that would be pushed.
    pub pushes: Vec<PlannedPush>,
    /// What would make the build fail, as far as it can be seen.
    pub problems: Vec<Problem>,
    /// What is doubtful about the Dockerfile.
    pub warnings: Vec<Diagnostic>,
}

/// A platform that is built for.
#[derive(Clone, Debug)]
pub struct PlannedPlatform {
    /// Which.
    pub platform: Platform,
    /// How its programs run here; `None` where none would run.
    pub running: Option<Running>,
}

/// How the programs of a platform run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Running {
    /// By the processor.
    Native,
    /// By an emulator: `qemu-aarch64 7.2.22`.
    Emulated(String),
    /// Not at all.
    Missing {
        /// Why not.
        reason: String,
        /// What would help.
        hint: String,
    },
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStage {
    /// Its name, or `stage-N`.
    pub name: String,
    /// Line of its FROM.
    pub line: usize,
    /// Whether the target needs it, for any platform.
    pub used: bool,
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// A process: RUN.
    Run,
    /// A change to files: COPY, ADD, WORKDIR.
    Files,
    /// An image.
    Image,
    /// A local directory.
    Context,
    /// A file from the network.
    Download,
    /// Trees put together or compared.
    Combine,
}

/// What would become of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An earlier result would be used.
    Cached,
    /// It would run.
    Runs,
    /// That depends on what cannot be known before: see the reason.
    Unknown,
    /// An input that would be read.
    Read,
    /// An input that nothing would look at, because what needs it is cached.
    Unneeded,
}

/// A vertex of the build.
#[derive(Clone, Debug)]
pub struct PlannedStep {
    /// Digest of the operation; the same as in the events of the build.
    pub id: Digest,
    /// `[build 2/5] RUN make`.
    pub name: String,
    /// Name of its stage; empty where it belongs to none.
    pub stage: String,
    /// What it is.
    pub kind: StepKind,
    /// What it is done for.
    pub platform: Option<Platform>,
    /// The results that need it, by position in [`Plan::platforms`].
    pub results: Vec<usize>,
    /// How its process would run; only of [`StepKind::Run`].
    pub running: Option<Running>,
    /// What would become of it.
    pub verdict: Verdict,
    /// Why it would run, or why that is not known; the most telling first.
    pub reasons: Vec<Reason>,
    /// The steps it needs, by position in [`Plan::steps`].
    pub needs: Vec<usize>,
    /// Its line in the Dockerfile.
    pub line: Option<usize>,
}

/// Why a step is not taken from the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `--no-cache` or `--no-cache-filter` asks for it.
    Asked,
    /// No build of this Dockerfile, target and platform had this step.
    NeverBuilt,
    /// The instruction reads differently.
    Instruction {
        /// As it was in the last build, where that can be told from its first words.
        was: Option<String>,
    },
    /// Build arguments have other values.
    Arguments(Vec<String>),
    /// Variables have other values.
    Variables(Vec<String>),
    /// Its mounts, user, directory, network or other settings.
    Settings,
    /// Files that it reads from a local directory.
    Files {
        /// The first of them.
        names: Vec<String>,
        /// How many there are.
        count: usize,
        /// What happened to all of them.
        change: FileChange,
    },
    /// It stands on another image.
    Base {
        /// Name of the image.
        image: String,
    },
    /// What it needs is made anew.
    After(Vec<String>),
    /// The time of the build's newest input, which files made by the build get.
    Time,
    /// Everything is as it was; its result is no longer in the store.
    Gone,
    /// What it reads has no identity before it is fetched.
    Unidentified(String),
    /// Not known before this step ran: it may result in what it did before.
    UntilRan(String),
    /// Not known before this image's files are here.
    UntilPulled(String),
    /// Not known before this archive is unpacked.
    UntilUnpacked,
    /// Not known, because this image could not be asked for.
    UntilResolved(String),
}

/// What happened to files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Their content, mode or owner.
    Changed,
    /// Only their time of modification.
    Touched,
    /// They are new.
    Added,
    /// They are gone.
    Removed,
}

/// An image that a build stands on.
#[derive(Clone, Debug)]
pub struct PlannedImage {
    /// Its step, by position in [`Plan::steps`].
    pub step: usize,
    /// Its name.
    pub name: String,
    /// Where its layers would come from: a repository or a directory.
    pub from: String,
    /// For which platform.
    pub platform: Platform,
    /// What its name leads to; `None` when it could not be asked for.
    pub digest: Option<Digest>,
    /// Layers.
    pub layers: usize,
    /// Bytes of all layers as packed.
    pub size: u64,
    /// Of these, what is here.
    pub here: u64,
    /// What would be pulled.
    pub pull: u64,
    /// What may have to be pulled as well, depending on steps or on the registry pushed to.
    pub maybe: u64,
}

/// A place where a result would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOutput {
    /// `image`, `oci`, `docker`, `load`, `tar`, `local`, `cacheonly`.
    pub kind: &'static str,
    /// A path, `-` for standard output, or nothing.
    pub dest: Option<String>,
    /// Names it gets there.
    pub names: Vec<String>,
}

/// A name that would be pushed.
#[derive(Clone, Debug)]
pub struct PlannedPush {
    /// `registry/name:tag`.
    pub name: String,
    /// What is under the name now.
    pub now: Remote,
    /// Whether there is a login for the registry; `None` when that cannot be told.
    pub login: Option<bool>,
}

/// What is under a name in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// An image.
    Image(Digest),
    /// Nothing.
    Nothing,
    /// It could not be asked for.
    Unknown(String),
}

/// Something that would end the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// A way out.
    pub hint: Option<String>,
}

impl Reason {
    /// A word for programs; it never changes its meaning.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::NeverBuilt => "never-built",
            Self::Instruction { .. } => "instruction",
            Self::Arguments(_) => "argument",
            Self::Variables(_) => "variable",
            Self::Settings => "settings",
            Self::Files { .. } => "file",
            Self::Base { .. } => "base",
            Self::After(_) => "input",
            Self::Time => "time",
            Self::Gone => "gone",
            Self::Unidentified(_) => "unidentified",
            Self::UntilRan(_) => "until-ran",
            Self::UntilPulled(_) => "until-pulled",
            Self::UntilUnpacked => "until-unpacked",
            Self::UntilResolved(_) => "until-resolved",
        }
    }

    /// What it is about: files, arguments, images, steps.
    pub fn subjects(&self) -> Vec<String> {
        match self {
            Self::Instruction { was } => was.iter().cloned().collect(),
            Self::Base { image: one }
            | Self::Unidentified(one)
            | Self::UntilRan(one)
            | Self::UntilPulled(one)
            | Self::UntilResolved(one) => vec![one.clone()],
            Self::Arguments(some)
            | Self::Variables(some)
            | Self::After(some)
            | Self::Files { names: some, .. } => some.clone(),
            Self::Asked
            | Self::NeverBuilt
            | Self::Settings
            | Self::Time
            | Self::Gone
            | Self::UntilUnpacked => Vec::new(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked for with --no-cache"),
            Self::NeverBuilt => f.write_str("never built"),
            Self::Instruction { was: Some(was) } => write!(f, "the instruction was `{was}`"),
            Self::Instruction { was: None } => f.write_str("the instruction changed"),
            Self::Arguments(names) => write!(f, "{} changed", counted("argument", names)),
            Self::Variables(names) => write!(f, "{} changed", counted("variable", names)),
            Self::Settings => f.write_str("its mounts, user, directory or network changed"),
            Self::Files { names, count, change } => {
                let verb = match (change, count) {
                    (FileChange::Changed, _) => "changed",
                    (FileChange::Touched, 1) => "has another time",
                    (FileChange::Touched, _) => "have other times",
                    (FileChange::Added, 1) => "is new",
                    (FileChange::Added, _) => "are new",
                    (FileChange::Removed, 1) => "is gone",
                    (FileChange::Removed, _) => "are gone",
                };
                match count.saturating_sub(names.len()) {
                    0 => write!(f, "{} {verb}", names.join(", ")),
                    more => write!(f, "{} and {more} more files {verb}", names.join(", ")),
                }
            }
            Self::Base { image } => write!(f, "{image} is another image now"),
            Self::After(steps) => write!(f, "follows {}", steps.join(", ")),
            Self::Time => f.write_str("the newest input of the build has another time"),
            Self::Gone => f.write_str("its result is no longer in the store"),
            Self::Unidentified(what) => {
                write!(f, "{what} has no checksum, so it is always fetched")
            }
            Self::UntilRan(step) => write!(f, "known once {step} ran"),
            Self::UntilPulled(image) => write!(f, "known once {image} is pulled and unpacked"),
            Self::UntilUnpacked => f.write_str("known once its archive is unpacked"),
            Self::UntilResolved(image) => write!(f, "{image} could not be asked for"),
        }
    }
}

/// `argument A`, `arguments A, B`.
fn counted(word: &str, names: &[String]) -> String {
    let plural = if names.len() == 1 { "" } else { "s" };
    format!("{word}{plural} {}", names.join(", "))
}

impl Plan {
    /// How many steps of a result have a verdict; of all results where none is named.
    pub fn count(&self, result: Option<usize>, verdict: Verdict) -> usize {
        let of_result =
            |step: &&PlannedStep| result.is_none_or(|result| step.results.contains(&result));
        let steps = self.steps.iter().filter(|step| !step.kind.is_input()).filter(of_result);
        steps.filter(|step| step.verdict == verdict).count()
    }
}

impl StepKind {
    /// Whether it only brings something in, or puts together what is there.
    pub fn is_input(self) -> bool {
        !matches!(self, Self::Run | Self::Files)
    }
}
