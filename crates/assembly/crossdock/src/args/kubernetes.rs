use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::findings::FindingsFormat;

#[derive(Debug, Subcommand)]
pub(crate) enum KubernetesCommand {
    /// Write a manifest for a Windows image, with all that its pods need to get to the right nodes
    Generate(GenerateArgs),
    /// Check manifests: does each Windows pod get to a node that can run its image, and is every field one that Windows has?
    Check(CheckManifestsArgs),
}

/// Kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum WorkloadKind {
    /// A number of pods, anywhere
    #[value(alias = "deployment")]
    Deployment,
    /// One pod on every node
    #[value(name = "DaemonSet", aliases = ["daemonset", "Daemonset"])]
    DaemonSet,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Name of the image, in the local store or in its registry
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Kind of object
    #[arg(long, value_enum, default_value_t = WorkloadKind::Deployment, value_name = "KIND")]
    pub(crate) kind: WorkloadKind,
    /// Name of the object [default: made from the image's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Make `HostProcess` containers, which run on the node itself
    #[arg(long)]
    pub(crate) hpc: bool,
    /// Release or build of the cluster's Windows nodes: `ltsc2022`, `10.0.26100`; several separated by commas
    #[arg(long, value_name = "RELEASE", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckManifestsArgs {
    /// Manifests: YAML or JSON files, directories of such, or `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How to write what was found
    #[arg(long, value_enum, default_value_t = FindingsFormat::Text, value_name = "FORMAT")]
    pub(crate) format: FindingsFormat,
    /// Release or build of the cluster's Windows nodes: `ltsc2022`, `10.0.26100`; several separated by commas
    #[arg(long, value_name = "RELEASE", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// Release of the nodes' containerd, such as `1.7.28`
    #[arg(long, value_name = "VERSION")]
    pub(crate) containerd: Option<String>,
    /// Judge support on this day [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Option<String>,
    /// Look at no image; rules about images are then left out
    #[arg(long)]
    pub(crate) no_images: bool,
    /// Fail on warnings too
    #[arg(long)]
    pub(crate) strict: bool,
}
