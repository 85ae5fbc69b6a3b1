use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ProgressMode, switch};

/// Arguments of `crossdock build`, with the names and meanings of `docker buildx build`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BuildArgs {
    /// Directory with the files of the build, address of a git repository, archive or Dockerfile, or `-` for a Dockerfile or
    /// a tar archive on standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: PathBuf,

    /// Platforms to build for, separated by commas [default: that of this machine]
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Vec<String>,
    /// Build the platforms for Windows once for each of these releases, `ltsc2019,ltsc2022,ltsc2025`, each over its own base
    #[arg(long, value_name = "RELEASE")]
    pub(crate) windows_versions: Vec<String>,
    /// Name of the image, `NAME[:TAG]`; may be given several times
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// The Dockerfile, a path or an address [default: `Dockerfile` in the context]; `-` reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Value of an ARG, `NAME=VALUE`; `NAME` alone takes it from the environment, `linux/arm64:NAME=VALUE` is for one platform
    #[arg(long, value_name = "[PLATFORM:]NAME=VALUE")]
    pub(crate) build_arg: Vec<String>,
    /// File with such a value on each line; `--build-arg` is stronger
    #[arg(long, value_name = "FILE")]
    pub(crate) build_arg_file: Vec<PathBuf>,
    /// What a name in FROM or `--from` stands for: a directory, `docker-image://…`, `oci-layout://…`, a git repository or a
    /// file on a web server
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) build_context: Vec<String>,
    /// Label of the image; `linux/arm64:KEY=VALUE` is for one platform
    #[arg(long, value_name = "[PLATFORM:]KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Annotation, `[TYPE[PLATFORM]:]KEY=VALUE`; types: manifest, index, manifest-descriptor, index-descriptor
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,

    /// Run every step again
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) no_cache: Option<bool>,
    /// Run the steps of these stages again
    #[arg(long, value_name = "STAGE")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Ask the registries for base images, also where the local store knows the name
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) pull: Option<bool>,

    /// What to do: build, check, outline, targets or subrequests.describe, with `,format=json` or `,format=text`
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,
    /// Short for `--call=check`
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) check: Option<bool>,

    /// Secret for RUN --mount=type=secret: `id=ID[,src=FILE|,env=NAME]`
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// SSH agent or keys for RUN --mount=type=ssh: `default` or `ID[=SOCKET|KEY[,KEY]]`
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Network of RUN steps: default, none or host
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// What RUN steps may ask for: `network.host`, `security.insecure`, `device` or `device=NAME`
    #[arg(long, value_name = "PERMISSION")]
    pub(crate) allow: Vec<String>,
    /// Line of /etc/hosts in RUN steps: `HOST:IP`, also with `host-gateway` as address
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm in RUN steps, as in `64m`
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Resource limit of RUN steps: `NAME=SOFT[:HARD]`
    #[arg(long, value_name = "LIMIT")]
    pub(crate) ulimit: Vec<String>,

    /// Where the result goes: `type=image|registry|oci|docker|tar|local|cacheonly[,KEY=VALUE…]`, a directory, or `-`
    #[arg(short, long, value_name = "SPEC")]
    pub(crate) output: Vec<String>,
    /// Short for `--output type=registry`: push to the registries of all names
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) push: Option<bool>,
    /// Leave layers of old Windows bases where Microsoft keeps them, and refer to them by address, instead of pushing them
    #[arg(long)]
    pub(crate) keep_foreign_layers: bool,
    /// Short for `--output type=docker`: also load into the Docker Engine
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = switch, value_name = "BOOL")]
    pub(crate) load: Option<bool>,
    /// Also rewrite the file times of what RUN steps wrote, so that equal content gives equal digests
    #[arg(long)]
    pub(crate) reproducible: bool,
    /// Provenance attestation; only `false` is supported yet
    #[arg(long, value_name = "BOOL", hide = true)]
    pub(crate) provenance: Option<String>,
    /// SBOM attestation; only `false` is supported yet
    #[arg(long, value_name = "BOOL", hide = true)]
    pub(crate) sbom: Option<String>,

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

/// Arguments of `crossdock plan`: those of `build`, of which nothing is run or written.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "All other flags mean what they mean for `crossdock build`; none of the files and registries \
                        that they name is written.\n`--output FILE.svg`, `FILE.json` or `FILE.txt` writes the plan itself \
                        to a file."
)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) build: BuildArgs,
    /// How the plan is written to standard output [default: text, or nothing when `--output` names a file for it]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<PlanFormat>,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// Lines for people
    Text,
    /// One JSON document, described in `docs/reference/plan.md`
    Json,
    /// A picture of the graph
    Svg,
}
