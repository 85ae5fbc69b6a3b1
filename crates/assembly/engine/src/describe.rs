//! What an image is like, without its layers.

use build_api::BuildError;
use oci::{Descriptor, ImageConfig, Manifest, Platform, Reference, media_type};
use sources::{Images, PullPolicy};

use crate::Engine;
use crate::error::failed_with;
use crate::resolver::hint;

/// What a name stands for.
#[derive(Clone, Debug)]
pub struct Described {
    /// Manifest or index.
    pub descriptor: Descriptor,
    /// Whether the name leads to an index.
    pub is_index: bool,
    /// Images in the index's order, attestations left out.
    pub images: Vec<DescribedImage>,
}

/// One platform's image.
#[derive(Clone, Debug)]
pub struct DescribedImage {
    /// As the index says; of a plain manifest, as the configuration says.
    pub platform: Platform,
    /// Its manifest's descriptor.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
}

impl Engine {
    /// Reads the documents of an image: from the store where it has the name, else from the registry. No layer is fetched.
    pub fn describe(&self, reference: &Reference) -> Result<Described, BuildError> {
        let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Missing);
        let what = || format!("cannot look at {}", reference.familiar());
        let found =
            images.find(reference).map_err(|error| failed_with(what(), hint(&error))(error))?;
        let all =
            images.all(reference).map_err(|error| failed_with(what(), hint(&error))(error))?;
        let images = all.into_iter().map(|image| {
            let config = image.config.value;
            let said = Platform {
                architecture: config.architecture.clone(),
                os: config.os.clone(),
                os_version: config.os_version.clone(),
                os_features: config.os_features.clone(),
                variant: config.variant.clone(),
            };
            let platform = image.descriptor.platform.clone().unwrap_or(said).normalized();
            DescribedImage {
                platform,
                descriptor: image.descriptor,
                manifest: image.manifest.value,
                config,
            }
        });
        Ok(Described {
            is_index: media_type::is_index(&found.descriptor.media_type),
            descriptor: found.descriptor,
            images: images.collect(),
        })
    }
}
