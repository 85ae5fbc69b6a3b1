use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use archive::OciLayout;
use blobs::{BlobError, BlobWriter, read_verified};
use oci::{
    Descriptor, Digest, Document, DocumentError, ImageConfig, Index, Manifest, Platform, Reference,
    media_type,
};
use registry::{BlobSink, ProgressFn, RegistryError};
use store::{Partial, Store, StoreError};

use crate::{LayoutRef, Remote};

/// Whether a registry is asked for a name that the store knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// A name kept in the store is taken from there; other names are resolved at the registry.
    #[default]
    Missing,
    /// The registry decides.
    Always,
}

/// What a name leads to, for all platforms.
#[derive(Clone, Debug)]
pub struct Found {
    /// The name, pinned to the digest it has now.
    pub reference: Reference,
    /// Manifest or index.
    pub descriptor: Descriptor,
    /// The images by platform, in the order of the index. The platform is empty for a plain manifest until its config
    /// was read.
    pub manifests: Vec<Descriptor>,
    /// Whether the store had it, so that nothing was asked of a registry.
    pub local: bool,
}

/// One platform's image: its documents, but not its layers.
#[derive(Clone, Debug)]
pub struct Image {
    /// The name, pinned.
    pub reference: Reference,
    /// Its manifest's descriptor.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: Document<Manifest>,
    /// Its configuration.
    pub config: Document<ImageConfig>,
    /// Index or manifest that the name leads to.
    pub root: Digest,
    /// The OCI layout it is from; `reference` is then a name that no registry knows.
    pub layout: Option<LayoutRef>,
}

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It has no variant for the platform.
    #[error("{image} has no image for {platform}; it has {}", list(have))]
    NoPlatform {
        /// Which image.
        image: String,
        /// What was asked for.
        platform: Box<Platform>,
        /// What there is.
        have: Vec<Platform>,
    },
    /// The registry did not give it.
    #[error("cannot get {image}")]
    Registry {
        /// Which image.
        image: String,
        /// Why.
        #[source]
        source: Box<RegistryError>,
    },
    /// The network may not be used.
    #[error("{image} is neither in the store nor in a mirror, and the network is switched off")]
    Offline {
        /// Which image.
        image: String,
    },
    /// The store failed.
    #[error("cannot use the store for {image}")]
    Store {
        /// Which image.
        image: String,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// A blob cannot be read.
    #[error("cannot read {image}")]
    Blob {
        /// Which image.
        image: String,
        /// Why.
        #[source]
        source: Box<BlobError>,
    },
    /// An OCI layout cannot be read.
    #[error("cannot read OCI layout {image}")]
    Layout {
        /// Where it is.
        image: String,
        /// Why.
        #[source]
        source: Box<archive::ArchiveError>,
    },
    /// A document is not what it should be.
    #[error("{image} is malformed")]
    Document {
        /// Which image.
        image: String,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// It is well-formed and makes no sense.
    #[error("{image} is malformed: {reason}")]
    Malformed {
        /// Which image.
        image: String,
        /// Why.
        reason: String,
    },
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

/// Manifests and configurations may have at most this many bytes.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// An index inside an index is followed this deep.
const INDEX_DEPTH: usize = 3;

/// Images by name, from the store and from registries. Each name is resolved once.
pub struct Images {
    store: Store,
    remote: Remote,
    policy: PullPolicy,
    resolved: Mutex<BTreeMap<Reference, Arc<Mutex<Option<Found>>>>>,
}

impl Images {
    /// Images from `store`, and from registries by `remote`.
    pub fn new(store: Store, remote: Remote, policy: PullPolicy) -> Self {
        Self { store, remote, policy, resolved: Mutex::default() }
    }

    /// Finds what a name leads to. Asked again for the same name, it answers the same without asking anybody.
    pub fn find(&self, reference: &Reference) -> Result<Found, ImageError> {
        let slot = {
            let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(resolved.entry(reference.clone()).or_default())
        };
        // Whoever comes second for the same name waits for the first one's answer.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = slot.as_ref() {
            return Ok(found.clone());
        }
        let found = self.find_anew(reference)?;
        *slot = Some(found.clone());
        Ok(found)
    }

    fn find_anew(&self, reference: &Reference) -> Result<Found, ImageError> {
        let image = reference.familiar();
        let named = self.store.lookup(&reference.to_string()).map_err(store_error(&image))?;
        let named =
            named.filter(|_| self.policy == PullPolicy::Missing || self.remote.is_offline());
        let (descriptor, local) = match (named, reference.digest()) {
            (Some(descriptor), _) => (descriptor, true),
            (None, Some(digest)) if self.store.blob_size(digest).is_some() => {
                (self.stored_descriptor(&image, digest)?, true)
            }
            _ => (self.resolve_remotely(reference)?, false),
        };
        let manifests = self.manifests(reference, &descriptor, 0)?;
        Ok(Found {
            reference: reference.with_digest(descriptor.digest.clone()),
            descriptor,
            manifests,
            local,
        })
    }

    /// A descriptor for a manifest or index that the store has, by digest alone.
    fn stored_descriptor(&self, image: &str, digest: &Digest) -> Result<Descriptor, ImageError> {
        let size = self.store.blob_size(digest).unwrap_or_default();
        let blob = Descriptor::new("", digest.clone(), size);
        let raw = read_verified(&self.store, &blob, DOCUMENT_LIMIT).map_err(blob_error(image))?;
        let media_type =
            oci::identify(&raw, None).map_err(|error| malformed(image, &error.to_string()))?;
        Ok(Descriptor { media_type: media_type.to_owned(), ..blob })
    }

    fn resolve_remotely(&self, reference: &Reference) -> Result<Descriptor, ImageError> {
        let image = reference.familiar();
        if self.remote.is_offline() {
            return Err(ImageError::Offline { image });
        }
        self.remote
            .block_on(self.remote.client().resolve(reference))
            .map_err(registry_error(&image))
    }

    /// The manifests beneath a descriptor, in order.
    fn manifests(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<Vec<Descriptor>, ImageError> {
        if media_type::is_manifest(&descriptor.media_type) {
            return Ok(vec![descriptor.clone()]);
        }
        let image = reference.familiar();
        if !media_type::is_index(&descriptor.media_type) {
            return Err(malformed(&image, &format!("`{}` is no image", descriptor.media_type)));
        }
        if depth == INDEX_DEPTH {
            return Err(malformed(&image, "indexes are nested too deep"));
        }
        let raw = self.document(reference, descriptor)?;
        let index = Document::<Index>::parse(raw, "image index").map_err(document_error(&image))?;
        let mut manifests = Vec::new();
        for entry in &index.value.manifests {
            // Attestations are listed as images for the platform unknown/unknown.
            let attestation = entry
                .annotations
                .get("vnd.docker.reference.type")
                .is_some_and(|kind| kind == "attestation-manifest");
            if media_type::is_index(&entry.media_type) {
                manifests.extend(self.manifests(reference, entry, depth + 1)?);
            } else if media_type::is_manifest(&entry.media_type) && !attestation {
                manifests.push(entry.clone());
            }
        }
        Ok(manifests)
    }

    /// The image for `platform`.
    pub fn image(&self, reference: &Reference, platform: &Platform) -> Result<Image, ImageError> {
        let found = self.find(reference)?;
        self.choose(&found, platform)
    }

    fn choose(&self, found: &Found, platform: &Platform) -> Result<Image, ImageError> {
        if media_type::is_manifest(&found.descriptor.media_type) {
            let image = self.open(found, &found.descriptor)?;
            let have = image.config.value.platform();
            // An image that names no platform is anybody's; one for another platform is not what was asked for.
            let only = Descriptor { platform: Some(have.clone()), ..image.descriptor.clone() };
            if image.config.value.os.is_empty()
                || images::select(&Index::new(vec![only]), platform).is_some()
            {
                return Ok(image);
            }
            return Err(ImageError::NoPlatform {
                image: found.reference.familiar(),
                platform: Box::new(platform.clone()),
                have: vec![have],
            });
        }
        let index = Index::new(found.manifests.clone());
        let Some(descriptor) = images::select(&index, platform) else {
            let have = found
                .manifests
                .iter()
                .filter_map(|it| it.platform.clone())
                .map(Platform::normalized)
                .collect();
            return Err(ImageError::NoPlatform {
                image: found.reference.familiar(),
                platform: Box::new(platform.clone()),
                have,
            });
        };
        self.open(found, descriptor)
    }

    /// The image for `platform` in an OCI layout. Its documents are copied to the store, its layers stay.
    pub fn layout(&self, layout: &LayoutRef, platform: &Platform) -> Result<Image, ImageError> {
        let (archive, descriptor) = layout.open()?;
        let name = layout.path.display().to_string();
        self.import(&name, &archive, &descriptor, 0)?;
        let reference: Reference = format!("oci-layout.invalid/image@{}", descriptor.digest)
            .parse()
            .map_err(|_| malformed(&name, "its digest is malformed"))?;
        let manifests = self.manifests(&reference, &descriptor, 0)?;
        let found = Found { reference, descriptor, manifests, local: true };
        let image = self.choose(&found, platform).map_err(|error| match error {
            ImageError::NoPlatform { platform, have, .. } => {
                ImageError::NoPlatform { image: name, platform, have }
            }
            other => other,
        })?;
        Ok(Image { layout: Some(layout.clone()), ..image })
    }

    /// Copies manifests, indexes and configs from a layout.
    fn import(
        &self,
        name: &str,
        from: &OciLayout,
        descriptor: &Descriptor,
        depth: usize,
    ) -> Result<(), ImageError> {
        if depth > INDEX_DEPTH {
            return Err(malformed(name, "indexes are nested too deep"));
        }
        let raw = match read_verified(from, descriptor, DOCUMENT_LIMIT) {
            Ok(raw) => raw,
            // A layout may hold some platforms of an index only.
            Err(BlobError::Missing(_)) if depth > 0 => return Ok(()),
            Err(error) => return Err(blob_error(name)(error)),
        };
        self.store.put_bytes(&raw).map_err(store_error(name))?;
        if media_type::is_index(&descriptor.media_type) {
            let index =
                Document::<Index>::parse(raw, "image index").map_err(document_error(name))?;
            for entry in &index.value.manifests {
                self.import(name, from, entry, depth + 1)?;
            }
        } else if media_type::is_manifest(&descriptor.media_type) {
            let manifest =
                Document::<Manifest>::parse(raw, "image manifest").map_err(document_error(name))?;
            let config = &manifest.value.config;
            let raw = read_verified(from, config, DOCUMENT_LIMIT).map_err(blob_error(name))?;
            self.store.put_bytes(&raw).map_err(store_error(name))?;
        }
        Ok(())
    }

    /// Brings a layer from a layout into the store.
    pub fn fetch_from_layout(
        &self,
        layout: &LayoutRef,
        blob: &Descriptor,
    ) -> Result<(), ImageError> {
        let name = layout.path.display().to_string();
        let (archive, _) = layout.open()?;
        let mut reader = blobs::BlobReader::open(&archive, blob).map_err(blob_error(&name))?;
        BlobWriter::put(&self.store, blob, &mut reader).map_err(blob_error(&name))
    }

    /// The layers of the images beneath a manifest or index that the store has, each once; images that it does not have
    /// are left out.
    pub fn stored_layers(&self, root: &Descriptor) -> Result<Vec<Descriptor>, ImageError> {
        let name = root.digest.to_string();
        let mut layers: Vec<Descriptor> = Vec::new();
        let mut pending = vec![(root.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            let raw = match read_verified(&self.store, &descriptor, DOCUMENT_LIMIT) {
                Ok(raw) => raw,
                Err(BlobError::Missing(_)) if depth > 0 => continue,
                Err(error) => return Err(blob_error(&name)(error)),
            };
            if media_type::is_index(&descriptor.media_type) && depth < INDEX_DEPTH {
                let index =
                    Document::<Index>::parse(raw, "image index").map_err(document_error(&name))?;
                pending.extend(index.value.manifests.into_iter().map(|entry| (entry, depth + 1)));
            } else if media_type::is_manifest(&descriptor.media_type) {
                let manifest = Document::<Manifest>::parse(raw, "image manifest")
                    .map_err(document_error(&name))?;
                for layer in manifest.value.layers {
                    if !layers.iter().any(|known| known.digest == layer.digest) {
                        layers.push(layer);
                    }
                }
            }
        }
        Ok(layers)
    }

    /// Every platform's image.
    pub fn all(&self, reference: &Reference) -> Result<Vec<Image>, ImageError> {
        let found = self.find(reference)?;
        found.manifests.iter().map(|descriptor| self.open(&found, descriptor)).collect()
    }

    fn open(&self, found: &Found, descriptor: &Descriptor) -> Result<Image, ImageError> {
        let image = found.reference.familiar();
        let raw = self.document(&found.reference, descriptor)?;
        let manifest =
            Document::<Manifest>::parse(raw, "image manifest").map_err(document_error(&image))?;
        let raw = self.document(&found.reference, &manifest.value.config)?;
        let config = Document::<ImageConfig>::parse(raw, "image configuration")
            .map_err(document_error(&image))?;
        let (layers, diff_ids) = (&manifest.value.layers, &config.value.rootfs.diff_ids);
        if layers.len() != diff_ids.len() {
            let reason = format!(
                "its manifest lists {} layers, its configuration {}",
                layers.len(),
                diff_ids.len()
            );
            return Err(malformed(&image, &reason));
        }
        let places: Vec<_> =
            layers.iter().map(|blob| (blob.digest.clone(), found.reference.name())).collect();
        if !found.local {
            self.store.record_locations(&places).map_err(store_error(&image))?;
        }
        Ok(Image {
            reference: found.reference.clone(),
            descriptor: descriptor.clone(),
            manifest,
            config,
            root: found.descriptor.digest.clone(),
            layout: None,
        })
    }

    /// A manifest, index or config: from the store, or from the registry and then kept.
    fn document(&self, reference: &Reference, blob: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let image = reference.familiar();
        if self.store.blob_size(&blob.digest).is_some() {
            match read_verified(&self.store, blob, DOCUMENT_LIMIT) {
                Ok(raw) => return Ok(raw),
                // Damaged: put aside and fetched again.
                Err(BlobError::Mismatch { .. }) => {
                    self.store.quarantine(&blob.digest).map_err(store_error(&image))?;
                }
                Err(error) => return Err(blob_error(&image)(error)),
            }
        }
        if self.remote.is_offline() {
            return Err(ImageError::Offline { image });
        }
        if blob.size > DOCUMENT_LIMIT {
            return Err(malformed(
                &image,
                &format!("a document of {} bytes is too large", blob.size),
            ));
        }
        let is_manifest =
            media_type::is_index(&blob.media_type) || media_type::is_manifest(&blob.media_type);
        let raw = if is_manifest {
            let manifest = self
                .remote
                .block_on(self.remote.client().manifest(reference, Some(blob)))
                .map_err(registry_error(&image))?;
            manifest.1.to_vec()
        } else {
            let mut raw: Vec<u8> = Vec::new();
            let silent = registry::silent();
            let pull = self.remote.client().pull_blob(reference, blob, &mut raw, &silent);
            self.remote.block_on(pull).map_err(registry_error(&image))?;
            raw
        };
        self.store.put_bytes(&raw).map_err(store_error(&image))?;
        Ok(raw)
    }

    /// Brings a layer's blob into the store, if it is not there. `from` is any reference to a repository that has it;
    /// other repositories known to hold it are tried after that one.
    pub fn fetch_layer(
        &self,
        from: &Reference,
        blob: &Descriptor,
        progress: &ProgressFn,
    ) -> Result<(), ImageError> {
        let image = from.familiar();
        if self.store.blob_size(&blob.digest).is_some() {
            return Ok(());
        }
        if self.remote.is_offline() {
            return Err(ImageError::Offline { image });
        }
        // Blocks while another process fetches the same blob; what it left is resumed.
        let partial = self.store.partial(&blob.digest).map_err(store_error(&image))?;
        if partial.is_complete() {
            return Ok(());
        }
        let mut sink = PartialSink(partial);
        let pull = self.remote.client().pull_blob(from, blob, &mut sink, progress);
        self.remote.block_on(pull).map_err(registry_error(&image))?;
        sink.0.commit().map_err(store_error(&image))?;
        Ok(())
    }
}

/// Lets the registry client write into the store.
struct PartialSink(Partial);

impl BlobSink for PartialSink {
    fn offset(&self) -> u64 {
        self.0.offset()
    }

    fn held(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        self.0.held()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.0, bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.restart().map_err(io::Error::other)
    }
}

pub(crate) fn malformed(image: &str, reason: &str) -> ImageError {
    ImageError::Malformed { image: image.to_owned(), reason: reason.to_owned() }
}

pub(crate) fn registry_error(image: &str) -> impl FnOnce(RegistryError) -> ImageError {
    let image = image.to_owned();
    move |source| ImageError::Registry { image, source: Box::new(source) }
}

pub(crate) fn store_error(image: &str) -> impl FnOnce(StoreError) -> ImageError {
    let image = image.to_owned();
    move |source| ImageError::Store { image, source: Box::new(source) }
}

pub(crate) fn blob_error(image: &str) -> impl FnOnce(BlobError) -> ImageError {
    let image = image.to_owned();
    move |source| ImageError::Blob { image, source: Box::new(source) }
}

pub(crate) fn document_error(image: &str) -> impl FnOnce(DocumentError) -> ImageError {
    let image = image.to_owned();
    move |source| ImageError::Document { image, source }
}
