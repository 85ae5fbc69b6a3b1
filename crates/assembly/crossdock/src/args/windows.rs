//! `crossdock windows`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{BuildArgs, ProgressMode, switch};

#[derive(Debug, Subcommand)]
pub(crate) enum WindowsCommand {
    /// Make base images from nothing
    Base {
        #[command(subcommand)]
        command: WindowsBaseCommand,
    },
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
