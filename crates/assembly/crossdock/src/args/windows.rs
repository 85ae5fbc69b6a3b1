//! `crossdock windows`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{BuildArgs, Format, ProgressMode, switch};
use crate::findings::FindingsFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum WindowsCommand {
    /// Make base images from nothing
    Base {
        #[command(subcommand)]
        command: WindowsBaseCommand,
    },
    /// List Microsoft's base images with builds, sizes, contents and support, and say which to take
    Bases(BasesArgs),
    /// Say whether hosts run an image, and why; for an index, which of its images a node takes
    Compat(CompatArgs),
    /// Check that Windows takes an image and its programs start; exit code 1 when something is wrong
    Verify(VerifyArgs),
    /// Show what a Windows image holds: files with attributes and access rights, versions, registry hives, layers
    Inspect(WindowsInspectArgs),
    /// Run a program of a Windows image under Wine: a smoke test, no proof that it runs on Windows
    Smoke(SmokeArgs),
}

/// How a container is kept apart from its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationKind {
    /// It shares the host's kernel; the only kind in Kubernetes
    Process,
    /// In a virtual machine of its own
    Hyperv,
    /// A job on the host itself
    Hostprocess,
}

#[derive(Debug, Args)]
pub(crate) struct BasesArgs {
    /// Only what runs on these hosts: `ltsc2022`, `win11-24h2`, `10.0.20348`; several separated by commas
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) host: Vec<String>,
    /// How it runs there
    #[arg(long, value_enum, default_value_t = IsolationKind::Process, value_name = "ISOLATION")]
    pub(crate) isolation: IsolationKind,
    /// Only what has these, separated by commas; `--needs help` lists the words
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub(crate) needs: Vec<String>,
    /// List also what does not fit, with the reason
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Judge support on this day [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Option<String>,
    /// How to write the list
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct CompatArgs {
    /// Name of the image, in the local store or in its registry; or only a version such as `10.0.20348.2113` or `ltsc2022`
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Hosts: `ltsc2022`, `win11-24h2`, `10.0.20348`; several separated by commas [default: all that are known]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) host: Vec<String>,
    /// How it runs there [default: all]
    #[arg(long, value_enum, value_name = "ISOLATION")]
    pub(crate) isolation: Option<IsolationKind>,
    /// What pulls it on the host, to tell which entry of an index is taken: `docker`, or `containerd-1.7.28`
    #[arg(long, value_name = "RUNTIME", default_value = "containerd-2.1")]
    pub(crate) runtime: String,
    /// How to write the verdicts
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WindowsBaseCommand {
    /// Make a base for HostProcess containers: five registry hives and nothing else, the same digest every time
    Hpc(Box<HpcArgs>),
}

/// Arguments of `crossdock windows base hpc`: those of `build` that say where a result goes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct HpcArgs {
    /// Platforms, separated by commas: `windows/amd64`, `windows/arm64`
    #[arg(long, value_name = "PLATFORM", default_value = "windows/amd64")]
    pub(crate) platform: Vec<String>,
    /// Name of the image, `NAME[:TAG]`; may be given several times
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Annotation, `[TYPE[PLATFORM]:]KEY=VALUE`; types: manifest, index, manifest-descriptor, index-descriptor
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Where the image goes: `type=image|registry|oci|docker|tar|local[,KEY=VALUE…]`, a directory, or `-`
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) output: Vec<String>,
    /// Short for `--output type=registry`: push to the registries of all names
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) push: Option<bool>,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write digests and descriptors as JSON to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// How progress is shown [default: auto]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) progress: Option<ProgressMode>,
    /// Show nothing but the image id at the end
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) quiet: Option<bool>,
}

impl HpcArgs {
    /// As arguments of a build without a context.
    pub(crate) fn as_build(&self) -> BuildArgs {
        let args = self.clone();
        BuildArgs {
            context: PathBuf::from("-"),
            platform: args.platform,
            tag: args.tag,
            label: args.label,
            annotation: args.annotation,
            output: args.output,
            push: args.push,
            iidfile: args.iidfile,
            metadata_file: args.metadata_file,
            progress: args.progress,
            quiet: args.quiet,
            ..BuildArgs::default()
        }
    }
}

/// Which image.
#[derive(Clone, Debug, Args)]
pub(crate) struct WindowsImageArgs {
    /// Name in the local store or a registry, `oci-layout://DIR[:TAG]`, an archive, a layer's file, or a layer's digest
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Only this platform of an index
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Fetch layers that the local store only knows by digest, those of base images as a rule
    #[arg(long)]
    pub(crate) complete: bool,
    /// A layer given alone is that of a base image, with nothing below it
    #[arg(long)]
    pub(crate) as_base: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) image: WindowsImageArgs,
    /// What programs find besides the image's files [default: what the image says or holds tells]
    #[arg(long, value_enum, value_name = "BASE")]
    pub(crate) base: Option<BaseKind>,
    /// How to write what is found
    #[arg(long, value_enum, default_value_t = FindingsFormat::Text, value_name = "FORMAT")]
    pub(crate) format: FindingsFormat,
}

/// A kind of base image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BaseKind {
    /// `windows/nanoserver`
    Nanoserver,
    /// `windows/servercore`
    Servercore,
    /// `windows/server`
    Server,
    /// None: a `HostProcess` container
    Hpc,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WindowsInspectArgs {
    #[command(flatten)]
    pub(crate) image: WindowsImageArgs,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Also the files; without it their number and size
    #[arg(long)]
    pub(crate) files: bool,
    /// Also the keys and values of registry hives
    #[arg(long)]
    pub(crate) hives: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SmokeArgs {
    /// Only this platform of an index
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Name in the local store or in a registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Program of the image, as in `C:\\app\\tool.exe`, and its arguments [default: what the image starts]
    #[arg(value_name = "PROGRAM", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) program: Vec<String>,
}
