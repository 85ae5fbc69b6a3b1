//! The command line as clap sees it: names, values as text, help. What the values mean is decided in `request`.

mod build;
mod check;
mod image;
mod kubernetes;
#[cfg(test)]
mod reference;
mod windows;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use build::{BuildArgs, PlanArgs, PlanFormat};
pub(crate) use check::{CheckArgs, CheckFormat, FixMode};
pub(crate) use image::{
    ArchiveKind, ImageCommand, InspectArgs, ListArgs, LoadArgs, LoginArgs, LogoutArgs,
    ProgressArgs, PruneArgs, PullArgs, PushArgs, RunArgs, SaveArgs, UsageArgs,
};
pub(crate) use kubernetes::{CheckManifestsArgs, GenerateArgs, KubernetesCommand, WorkloadKind};
pub(crate) use windows::{
    BaseKind, BasesArgs, CompatArgs, HpcArgs, IsolationKind, SmokeArgs, VerifyArgs,
    WindowsBaseCommand, WindowsCommand, WindowsImageArgs, WindowsInspectArgs,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Build container images for every platform from one Dockerfile, without daemon and without root
#[derive(Debug, Parser)]
#[command(name = "crossdock", version, styles = STYLES, disable_help_subcommand = true, max_term_width = 120)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GlobalArgs {
    /// Settings file [default: `$XDG_CONFIG_HOME/crossdock/config.toml`]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the local store, in place of that of the settings
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image, or an index of images for several platforms
    Build(Box<BuildArgs>),
    /// Show what a build would do, and why, without doing it: what runs, what is cached, pulled and pushed
    Plan(Box<PlanArgs>),
    /// Look for what is wrong or doubtful in a Dockerfile, and mend it
    Check(CheckArgs),
    /// The spelling of `docker buildx`
    #[command(hide = true)]
    Buildx {
        #[command(subcommand)]
        command: BuildxCommand,
    },
    /// Work with the images in the local store
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// List the images in the local store
    #[command(hide = true)]
    Images(ListArgs),
    /// Copy an image from a registry into the local store
    Pull(PullArgs),
    /// Copy an image from the local store to a registry
    Push(PushArgs),
    /// Run a command in an image, in the sandbox of build steps; under emulation where the platform is foreign
    Run(RunArgs),
    /// Show which platforms run here natively, which are emulated and by what, and what is missing
    Platforms(PlatformsArgs),
    /// Make, check and look into Windows images, without Windows
    Windows {
        #[command(subcommand)]
        command: WindowsCommand,
    },
    /// Make and check Kubernetes manifests for Windows containers
    #[command(name = "k8s", visible_alias = "kubernetes")]
    Kubernetes {
        #[command(subcommand)]
        command: KubernetesCommand,
    },
    /// Show what the local store holds
    Du(UsageArgs),
    /// Remove what nothing needs any more from the local store
    Prune(PruneArgs),
    /// Save credentials for a registry
    Login(LoginArgs),
    /// Remove the credentials for a registry
    Logout(LogoutArgs),
    /// Show the version
    Version,
    /// Write a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuildxCommand {
    /// Build an image, or an index of images for several platforms
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct PlatformsArgs {
    /// How to write the list
    #[arg(long, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(crate) format: Format,
}

/// How a list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One JSON document
    Json,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// `tty` on a terminal, else `plain`
    #[default]
    Auto,
    /// Rows that change in place
    Tty,
    /// Lines
    Plain,
    /// JSON lines, as `BuildKit` writes them
    Rawjson,
    /// Nothing but the image id at the end
    Quiet,
}

/// A flag that may be written `--flag`, `--flag=true` or `--flag=false`, as Go programs allow.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// What to say about flags of `docker buildx build` that crossdock does not have.
pub(crate) fn about_unknown_flag(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "--cache-from" | "--cache-to" => {
            "not supported yet: results are cached in the local store; leave the flag out"
        }
        "--builder" => {
            "crossdock has no builders to choose from: it builds in this process; leave the flag out"
        }
        "--attest" => "attestations are not supported yet; leave the flag out",
        "--allow" => "crossdock has no entitlements to grant; leave the flag out",
        "--print" => "it is called --call",
        "--cgroup-parent" | "--resource" | "--memory" | "-m" | "--memory-swap" | "--cpu-shares"
        | "-c" | "--cpu-period" | "--cpu-quota" | "--cpuset-cpus" | "--cpuset-mems" => {
            "limits by cgroup are not supported yet; use --ulimit, or systemd-run around crossdock"
        }
        "--policy" => "policies are not supported yet",
        "--debug" | "-D" => "there is no debug mode; --progress=plain shows everything",
        "--compress" | "--rm" | "--force-rm" => "it has no meaning here; leave it out",
        "--squash" => {
            "not supported: merging layers defeats their reuse; use a last stage with one COPY"
        }
        "--isolation" => "not supported: RUN in Windows stages cannot run on Linux at all",
        "--security-opt" => "not supported: every step runs in the same sandbox",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        let mut command = Cli::command();
        command.build();
        command.debug_assert();
    }
}
