//! What `docker save` writes and `docker load` reads (Docker image specification 1.2, "Combined Image JSON").

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use blobs::{BlobError, BlobReader};
use layer::Encoding;
use oci::{Descriptor, Digest, Digester, Document, ImageConfig, Manifest, media_type};
use serde::{Deserialize, Serialize};

use crate::graph::MAX_MANIFEST;
use crate::tarball::Tarball;
use crate::{ArchiveError, ArchivedImage, ImageArchive};

const MAX_IMAGES: usize = 10_000;
const MAX_LAYERS: usize = 1_000;

/// One line of `manifest.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedImage {
    #[serde(rename = "Config")]
    pub(crate) config: String,
    #[serde(rename = "RepoTags")]
    pub(crate) names: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    pub(crate) layers: Vec<String>,
}

/// A tar file of `docker save` that is read. Manifests, which it has none of, are made up from its configurations.
pub struct DockerArchive {
    tar: Tarball,
    images: Vec<ArchivedImage>,
    blobs: BTreeMap<Digest, Place>,
}

enum Place {
    Tar(u64, u64),
    Memory(Arc<[u8]>),
}

impl DockerArchive {
    /// Opens a tar file. Fails with [`ArchiveError::Absent`] when it has no `manifest.json`.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let tar = Tarball::open(path)?;
        let list = tar.read("manifest.json", MAX_MANIFEST)?;
        let damaged = |name: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            ArchiveError::Document { path: path.to_owned(), name: name.to_owned(), source }
        };
        let list: Vec<SavedImage> = serde_json::from_slice(&list)
            .map_err(|error| damaged("manifest.json", error.into()))?;
        let mut archive = Self { tar, images: Vec::new(), blobs: BTreeMap::new() };
        if list.len() > MAX_IMAGES {
            return Err(damaged("manifest.json", "it lists too many images".into()));
        }
        for image in list {
            archive.add(&image, &damaged)?;
        }
        Ok(archive)
    }

    fn add(
        &mut self,
        saved: &SavedImage,
        damaged: &dyn Fn(&str, Box<dyn std::error::Error + Send + Sync>) -> ArchiveError,
    ) -> Result<(), ArchiveError> {
        let bytes = self.tar.read(&saved.config, MAX_MANIFEST)?;
        let config = Document::<ImageConfig>::parse(bytes, "image configuration")
            .map_err(|error| damaged(&saved.config, error.into()))?;
        let diff_ids = &config.value.rootfs.diff_ids;
        if diff_ids.len() != saved.layers.len() || diff_ids.len() > MAX_LAYERS {
            return Err(damaged(
                "manifest.json",
                "it lists other layers than the configuration".into(),
            ));
        }
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (name, diff_id) in saved.layers.iter().zip(diff_ids) {
            let place = self.tar.find(name).ok_or_else(|| ArchiveError::Absent {
                path: self.tar.path().to_owned(),
                name: name.clone(),
            })?;
            let (media_type, digest) = self.layer(place, diff_id)?;
            self.blobs.insert(digest.clone(), Place::Tar(place.0, place.1));
            layers.push(Descriptor::new(media_type, digest, place.1));
        }
        let config_blob = config.descriptor(media_type::OCI_CONFIG);
        self.blobs.insert(config_blob.digest.clone(), Place::Memory(config.raw.clone()));
        let manifest = Document::write(Manifest::new(config_blob, layers));
        let root = manifest.descriptor(media_type::OCI_MANIFEST);
        self.blobs.insert(root.digest.clone(), Place::Memory(manifest.raw));
        let names = saved.names.clone().unwrap_or_default();
        match self.images.iter_mut().find(|image| image.root == root) {
            Some(image) => image.names.extend(names),
            None => self.images.push(ArchivedImage { root, names }),
        }
        Ok(())
    }

    /// A plain layer has its diff ID for a digest; a compressed one has to be read.
    fn layer(
        &self,
        place: (u64, u64),
        diff_id: &Digest,
    ) -> Result<(&'static str, Digest), ArchiveError> {
        let read = |source| ArchiveError::Read { path: self.tar.path().to_owned(), source };
        let mut reader = self.tar.open_range(place).map_err(read)?;
        let mut start = Vec::new();
        (&mut reader).take(6).read_to_end(&mut start).map_err(read)?;
        let media_type = match Encoding::of(&start) {
            Encoding::Gzip => media_type::OCI_LAYER_GZIP,
            Encoding::Zstd => media_type::OCI_LAYER_ZSTD,
            _ => return Ok((media_type::OCI_LAYER, diff_id.clone())),
        };
        let mut digester = Digester::sha256();
        digester.update(&start);
        std::io::copy(&mut reader, &mut digester).map_err(read)?;
        Ok((media_type, digester.finish()))
    }
}

impl ImageArchive for DockerArchive {
    fn images(&self) -> Vec<ArchivedImage> {
        self.images.clone()
    }
}

impl BlobReader for DockerArchive {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, BlobError> {
        match self.blobs.get(&blob.digest) {
            None => Err(BlobError::Missing(blob.digest.clone())),
            Some(Place::Memory(bytes)) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
            Some(Place::Tar(offset, size)) => {
                let failed = |source| BlobError::Io { digest: blob.digest.clone(), source };
                Ok(Box::new(self.tar.open_range((*offset, *size)).map_err(failed)?))
            }
        }
    }
}
