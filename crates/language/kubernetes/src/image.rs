//! What the rules need to know of an image.

use oci::Platform;
use windows::build_of;

/// One image of a name: what it runs on, and what its configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Operating system, architecture, version.
    pub platform: Platform,
    /// Whether it has a health check of its own, which Kubernetes does not look at.
    pub health_check: bool,
    /// The user it runs as; empty where it names none.
    pub user: String,
}

impl Variant {
    /// The version of its Windows.
    pub fn os_version(&self) -> Option<&str> {
        Some(self.platform.os_version.as_str()).filter(|version| !version.is_empty())
    }

    /// The build of its Windows.
    pub fn build(&self) -> Option<u32> {
        self.os_version().and_then(build_of)
    }

    /// Whether it is for HostProcess containers only: an image for Windows without a Windows version.
    pub fn is_host_process(&self) -> bool {
        self.platform.is_windows() && self.os_version().is_none()
    }
}

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageFacts {
    /// Whether it is an index, from which nodes choose.
    pub is_index: bool,
    /// Its images in the index's order, attestations left out.
    pub variants: Vec<Variant>,
}

impl ImageFacts {
    /// Those for Windows.
    pub fn windows(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| variant.platform.is_windows())
    }

    /// Whether all of it is for Windows.
    pub fn is_windows(&self) -> bool {
        !self.variants.is_empty()
            && self.variants.iter().all(|variant| variant.platform.is_windows())
    }

    /// Whether nothing of it is for Windows.
    pub fn is_other(&self) -> bool {
        !self.variants.is_empty() && self.windows().next().is_none()
    }
}

/// Who knows images: a registry, the local store, a table.
pub trait Images {
    /// What `reference` stands for, or why that is not known.
    fn facts(&self, reference: &str) -> Result<ImageFacts, String>;
}
