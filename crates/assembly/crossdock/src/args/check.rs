use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `crossdock check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Directory with the files of the build; `-` reads a Dockerfile from standard input
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
    /// The Dockerfile [default: `Dockerfile` in the context]; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Check only what this stage needs [default: all stages]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Platforms that are built for, separated by commas [default: that of this machine]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Value of an ARG, `NAME=VALUE`
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_arg: Vec<String>,
    /// What a name in FROM or `--from` stands for
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,
    /// Also look at the base images, in the local store and the registries: which platforms they have, which variables
    #[arg(long)]
    pub(crate) resolve: bool,
    /// How to write what was found
    #[arg(long, value_enum, default_value_t = CheckFormat::Text, value_name = "FORMAT")]
    pub(crate) format: CheckFormat,
    /// Mend what can be mended without judgement, and show it as a diff; `diff` only shows
    #[arg(long, num_args = 0..=1, require_equals = true, value_enum, default_missing_value = "apply", value_name = "HOW")]
    pub(crate) fix: Option<FixMode>,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// With the lines they are about
    #[default]
    Text,
    /// The document of `docker buildx build --call=check,format=json`, with more fields
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of a GitHub workflow
    Github,
}

/// What `--fix` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FixMode {
    /// Shows the changes and writes the file
    Apply,
    /// Shows the changes
    Diff,
}
