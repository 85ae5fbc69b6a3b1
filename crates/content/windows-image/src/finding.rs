//! What is wrong with an image, and the rules that say so.

use layer::WINDOWS_RULES;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Note,
    /// It works, but perhaps not as meant.
    Warning,
    /// Windows refuses it, or programs do not start.
    Error,
}

impl Severity {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that is wrong with an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule it breaks, one of [`rules`].
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Of which layer, counted from 0 at the bottom.
    pub layer: Option<usize>,
    /// Of which file, as the layer names it; or which field of the configuration.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Rules about configurations and manifests.
const CONFIG_RULES: [(&str, &str); 10] = [
    ("WC01", "the image is for Windows, and its version is one"),
    ("WC02", "the index and the configuration say the same of the platform"),
    ("WC03", "each layer is what the configuration's digest says"),
    ("WC04", "the layers are of media types that Windows hosts read"),
    (
        "WC05",
        "variables of the environment are unique, whatever their letters' case, and PATH leads to Windows",
    ),
    ("WC06", "the command line is one that Windows can take apart"),
    ("WC07", "the working directory is absolute and on a drive"),
    ("WC08", "the user is one that Windows can have"),
    ("WC09", "volumes are absolute and not the whole drive"),
    ("WC10", "everything that is to be checked is here"),
];

/// Rules about programs and libraries.
const PROGRAM_RULES: [(&str, &str); 7] = [
    ("WP01", "programs are for the image's processor"),
    ("WP02", "the libraries that programs need are in the image or its base"),
    ("WP03", "the runtime that programs were built with is there"),
    ("WP04", "programs want surroundings that a container has"),
    ("WP05", "programs are well-formed"),
    ("WP06", "programs carry a signature"),
    ("WP07", "the program that the image starts is in it or in its base"),
];

/// Rules about images for HostProcess containers.
const HPC_RULES: [(&str, &str); 5] = [
    ("WH01", "the image has no version of Windows, for it runs on every one"),
    ("WH02", "the working directory is not one of the host's by mistake"),
    ("WH03", "the user is chosen by the pod, not by the image"),
    ("WH04", "there are no volumes"),
    ("WH05", "the program is named by where it is when the container runs"),
];

/// All rules and what each asks for.
pub fn rules() -> impl Iterator<Item = (&'static str, &'static str)> {
    WINDOWS_RULES.into_iter().chain(CONFIG_RULES).chain(PROGRAM_RULES).chain(HPC_RULES)
}
