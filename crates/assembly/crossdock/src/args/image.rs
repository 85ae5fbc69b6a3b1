use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Format, ProgressMode};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List the images in the local store
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Show the documents of an image
    Inspect(InspectArgs),
    /// Remove names from the local store; `prune` then frees the space
    #[command(visible_alias = "remove")]
    Rm {
        /// Names
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Give an image one more name
    Tag {
        /// Name the image has
        #[arg(value_name = "IMAGE")]
        image: String,
        /// Names it gets
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Write images to an archive
    Save(SaveArgs),
    /// Read images from an archive
    Load(LoadArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How to write the list
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
    /// Show digests in full
    #[arg(long)]
    pub(crate) digests: bool,
    /// Show digests only
    #[arg(short, long, conflicts_with_all = ["digests", "format"])]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Name in the local store
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Show only this platform
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Write the manifest or index byte for byte
    #[arg(long, conflicts_with = "raw_config")]
    pub(crate) raw: bool,
    /// Write the image configuration byte for byte; of an index with several platforms, name one
    #[arg(long)]
    pub(crate) raw_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Names in the local store
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Format of the archive
    #[arg(long, value_enum, default_value_t = ArchiveKind::Docker, value_name = "FORMAT")]
    pub(crate) format: ArchiveKind,
    /// Only this platform
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

/// Format of an archive of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ArchiveKind {
    /// What `docker save` writes; one platform per image
    #[default]
    Docker,
    /// OCI image layout in a tar file
    Oci,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Archive, OCI or Docker, compressed or not [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Names for the image, where the archive holds one without a name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Name of the image in its registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Platforms to copy, separated by commas [default: that of this machine]
    #[arg(long, value_name = "PLATFORM", conflicts_with = "all_platforms")]
    pub(crate) platform: Vec<String>,
    /// Copy all platforms
    #[arg(short = 'a', long)]
    pub(crate) all_platforms: bool,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Name in the local store
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Name to push it as, where that is another
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: Option<String>,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ProgressArgs {
    /// How progress is shown [default: auto]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) progress: Option<ProgressMode>,
    /// Show nothing but the digest
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Platform to run [default: that of this machine, or the only one of the image]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Environment variable; `NAME` alone passes on the one of this process
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, `NAME|UID[:GROUP|GID]`
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Program, in place of the image's entry point; empty for none
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Network: default, none or host
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Show a directory or file of this machine inside: `SOURCE:TARGET[:ro]`
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) volume: Vec<String>,
    /// Ask the registry even if the local store knows the name
    #[arg(long)]
    pub(crate) pull: bool,
    /// Keep nothing of the run; always so
    #[arg(long)]
    pub(crate) rm: bool,
    /// Name in the local store or in a registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Command and its arguments, in place of the image's
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Read everything and check it against its digests
    #[arg(long)]
    pub(crate) verify: bool,
    /// One line for each thing
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// How to write the list
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Also what the next builds could use; only named images stay
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only what was not used for this long, as in `24h` or `7d`
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<String>,
    /// Stop when the store is this small, as in `10GB`
    #[arg(long, value_name = "SIZE")]
    pub(crate) keep: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Registry
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    pub(crate) registry: String,
    /// User name
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Read the password or token from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// Registry
    #[arg(value_name = "REGISTRY", default_value = "docker.io")]
    pub(crate) registry: String,
}
