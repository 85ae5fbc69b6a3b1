use std::collections::BTreeSet;

use blobs::{BlobError, BlobReader, read_verified};
use oci::{
    Descriptor, Digest, Document, DocumentError, IdentifyError, ImageConfig, Index, Manifest,
    Platform, identify, media_type,
};

use crate::select::{is_image, matching, platforms};

/// The largest manifest or index, as the distribution specification proposes.
const MANIFEST_LIMIT: u64 = 4 << 20;

/// The largest image configuration that is read.
const CONFIG_LIMIT: u64 = 8 << 20;

/// How deep an index may lie in an index.
const DEPTH: usize = 4;

/// How many documents of one name are read at most.
const COUNT: usize = 1000;

/// Why an image could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A blob is missing or damaged.
    #[error("cannot read {what} {digest}")]
    Blob { what: &'static str, digest: Digest, source: BlobError },
    /// It is not what its descriptor says.
    #[error("{digest} cannot be used as an image")]
    Identify { digest: Digest, source: IdentifyError },
    /// Its JSON does not fit.
    #[error("{digest} cannot be used")]
    Document { digest: Digest, source: DocumentError },
    /// There is none for the platform.
    #[error("there is no image for {wanted}; there are images for {}", list(.have))]
    NoPlatform { wanted: Box<Platform>, have: Vec<Platform> },
    /// The layers and the configuration tell of different images.
    #[error("image {digest} has {layers} layers and {diff_ids} diff IDs")]
    LayerCount { digest: Digest, layers: usize, diff_ids: usize },
    /// Indexes in indexes without an end.
    #[error("index {0} names more documents, or more deeply nested ones, than are read")]
    TooMany(Digest),
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform".to_owned();
    }
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What a descriptor leads to.
#[derive(Clone, Debug)]
pub enum Opened {
    /// One image.
    Image(Box<Document<Manifest>>),
    /// Images for several platforms.
    Index(Box<Document<Index>>),
}

/// The image for one platform, ready to be used.
#[derive(Clone, Debug)]
pub struct PlatformImage {
    /// Of the manifest, with the platform that the index gives, else the configuration.
    pub descriptor: Descriptor,
    /// What it runs on, as its configuration says.
    pub platform: Platform,
    /// The manifest.
    pub manifest: Document<Manifest>,
    /// The configuration.
    pub config: Document<ImageConfig>,
}

impl PlatformImage {
    /// Bytes of all layers, as they are stored.
    pub fn layers_size(&self) -> u64 {
        self.manifest.value.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add)
    }

    /// Each layer with its diff ID, bottom first.
    pub fn layers(&self) -> impl Iterator<Item = (&Descriptor, &Digest)> {
        self.manifest.value.layers.iter().zip(&self.config.value.rootfs.diff_ids)
    }
}

/// Reads the manifest or index that `descriptor` names, and checks that it is clearly one of both.
pub fn open(from: &dyn BlobReader, descriptor: &Descriptor) -> Result<Opened, ImageError> {
    let digest = || descriptor.digest.clone();
    let raw = read_verified(from, descriptor, MANIFEST_LIMIT)
        .map_err(|source| ImageError::Blob { what: "manifest", digest: digest(), source })?;
    let came_as = Some(descriptor.media_type.as_str()).filter(|text| !text.is_empty());
    let found = identify(&raw, came_as)
        .map_err(|source| ImageError::Identify { digest: digest(), source })?;
    let document = |source| ImageError::Document { digest: digest(), source };
    Ok(if media_type::is_index(found) {
        Opened::Index(Box::new(Document::parse(raw, "image index").map_err(document)?))
    } else {
        Opened::Image(Box::new(Document::parse(raw, "image manifest").map_err(document)?))
    })
}

/// Reads the image for `wanted` that `descriptor` leads to: through an index, or itself if its configuration fits.
pub fn open_image(
    from: &dyn BlobReader,
    descriptor: &Descriptor,
    wanted: &Platform,
) -> Result<PlatformImage, ImageError> {
    find(from, descriptor, wanted, DEPTH)
}

fn find(
    from: &dyn BlobReader,
    descriptor: &Descriptor,
    wanted: &Platform,
    depth: usize,
) -> Result<PlatformImage, ImageError> {
    match open(from, descriptor)? {
        Opened::Image(manifest) => {
            let image = read_image(from, descriptor, *manifest)?;
            // The version of Windows is often left out, or shortened, where the image stands alone.
            let alone = Index::new(vec![Descriptor {
                platform: Some(image.platform.clone()),
                ..manifest_like(descriptor)
            }]);
            if matching(&alone, wanted).is_empty() {
                return Err(ImageError::NoPlatform {
                    wanted: Box::new(wanted.clone()),
                    have: vec![image.platform],
                });
            }
            Ok(image)
        }
        Opened::Index(index) => {
            if depth == 0 {
                return Err(ImageError::TooMany(descriptor.digest.clone()));
            }
            if let Some(entry) = matching(&index.value, wanted).first() {
                return find(from, entry, wanted, depth - 1);
            }
            // Entries without a platform may still be the right one.
            for entry in index
                .value
                .manifests
                .iter()
                .filter(|entry| is_image(entry) && entry.platform.is_none())
                .take(16)
            {
                if let Ok(image) = find(from, entry, wanted, depth - 1) {
                    return Ok(image);
                }
            }
            Err(ImageError::NoPlatform {
                wanted: Box::new(wanted.clone()),
                have: platforms(&index.value),
            })
        }
    }
}

fn manifest_like(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(media_type::OCI_MANIFEST, descriptor.digest.clone(), descriptor.size)
}

/// Reads all images that `descriptor` leads to, each once, in the order of the index. What is no image is left out.
pub fn inspect(
    from: &dyn BlobReader,
    descriptor: &Descriptor,
) -> Result<Vec<PlatformImage>, ImageError> {
    let mut images = Vec::new();
    let mut seen = BTreeSet::new();
    walk(from, descriptor, DEPTH, &mut seen, &mut images)?;
    Ok(images)
}

fn walk(
    from: &dyn BlobReader,
    descriptor: &Descriptor,
    depth: usize,
    seen: &mut BTreeSet<Digest>,
    images: &mut Vec<PlatformImage>,
) -> Result<(), ImageError> {
    if !seen.insert(descriptor.digest.clone()) {
        return Ok(());
    }
    if seen.len() > COUNT {
        return Err(ImageError::TooMany(descriptor.digest.clone()));
    }
    match open(from, descriptor)? {
        Opened::Image(manifest) => images.push(read_image(from, descriptor, *manifest)?),
        Opened::Index(_) if depth == 0 => {
            return Err(ImageError::TooMany(descriptor.digest.clone()));
        }
        Opened::Index(index) => {
            for entry in index.value.manifests.iter().filter(|entry| is_image(entry)) {
                walk(from, entry, depth - 1, seen, images)?;
            }
        }
    }
    Ok(())
}

fn read_image(
    from: &dyn BlobReader,
    descriptor: &Descriptor,
    manifest: Document<Manifest>,
) -> Result<PlatformImage, ImageError> {
    let config = &manifest.value.config;
    let raw = read_verified(from, config, CONFIG_LIMIT).map_err(|source| ImageError::Blob {
        what: "image configuration",
        digest: config.digest.clone(),
        source,
    })?;
    let config: Document<ImageConfig> = Document::parse(raw, "image configuration")
        .map_err(|source| ImageError::Document { digest: config.digest.clone(), source })?;
    let (layers, diff_ids) = (manifest.value.layers.len(), config.value.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(ImageError::LayerCount { digest: descriptor.digest.clone(), layers, diff_ids });
    }
    let platform = config.value.platform();
    let mut descriptor = descriptor.clone();
    descriptor.platform.get_or_insert_with(|| platform.clone());
    Ok(PlatformImage { descriptor, platform, manifest, config })
}

#[cfg(test)]
mod tests {
    use blobs::MemoryBlobs;

    use super::*;

    fn add<T: serde::Serialize>(blobs: &MemoryBlobs, media_type: &str, value: T) -> Descriptor {
        let raw = serde_json::to_vec(&value).unwrap();
        let descriptor = Descriptor::of(media_type, &raw);
        blobs.add(raw);
        descriptor
    }

    fn image(blobs: &MemoryBlobs, platform: &str, layers: usize, diff_ids: usize) -> Descriptor {
        let platform: Platform = platform.parse().unwrap();
        let mut config = ImageConfig::new(&platform);
        config.rootfs.diff_ids =
            (0..diff_ids).map(|number| Digest::of(&[u8::try_from(number).unwrap()])).collect();
        let config = add(blobs, media_type::OCI_CONFIG, config);
        let layer = Descriptor::of(media_type::OCI_LAYER, b"layer");
        Descriptor {
            platform: Some(platform),
            ..add(blobs, media_type::OCI_MANIFEST, Manifest::new(config, vec![layer; layers]))
        }
    }

    #[test]
    fn the_image_for_a_platform_is_found_or_the_platforms_there_are_listed() {
        let blobs = MemoryBlobs::default();
        let (amd64, arm) =
            (image(&blobs, "linux/amd64", 2, 2), image(&blobs, "linux/arm/v6", 1, 1));
        let index =
            add(&blobs, media_type::OCI_INDEX, Index::new(vec![amd64.clone(), arm.clone()]));
        let found = open_image(&blobs, &index, &"linux/arm/v7".parse().unwrap()).unwrap();
        assert_eq!(
            (found.descriptor, found.platform.to_string()),
            (arm, "linux/arm/v6".to_owned())
        );
        assert_eq!(
            open_image(&blobs, &amd64, &Platform::new("linux", "amd64")).unwrap().layers_size(),
            10
        );
        let error = open_image(&blobs, &index, &Platform::new("linux", "s390x")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no image for linux/s390x; there are images for linux/amd64, linux/arm/v6"
        );
        assert!(matches!(
            open_image(&blobs, &amd64, &Platform::new("linux", "arm64")),
            Err(ImageError::NoPlatform { .. })
        ));
        assert_eq!(inspect(&blobs, &index).unwrap().len(), 2);
    }

    #[test]
    fn images_that_contradict_themselves_are_refused() {
        let blobs = MemoryBlobs::default();
        let uneven = image(&blobs, "linux/amd64", 2, 1);
        assert!(matches!(
            inspect(&blobs, &uneven),
            Err(ImageError::LayerCount { layers: 2, diff_ids: 1, .. })
        ));
        let good = image(&blobs, "linux/amd64", 1, 1);
        let called_index = Descriptor { media_type: media_type::OCI_INDEX.to_owned(), ..good };
        assert!(matches!(open(&blobs, &called_index), Err(ImageError::Identify { .. })));
        let missing = Descriptor::of(media_type::OCI_MANIFEST, b"none");
        assert!(matches!(open(&blobs, &missing), Err(ImageError::Blob { .. })));
    }

    #[test]
    fn indexes_in_indexes_end() {
        let blobs = MemoryBlobs::default();
        let mut inner = image(&blobs, "linux/amd64", 1, 1);
        for _ in 0..30 {
            inner.platform = None;
            inner = add(&blobs, media_type::OCI_INDEX, Index::new(vec![inner.clone(), inner]));
        }
        assert!(matches!(inspect(&blobs, &inner), Err(ImageError::TooMany(_))));
        assert!(open_image(&blobs, &inner, &Platform::new("linux", "amd64")).is_err());
    }
}
