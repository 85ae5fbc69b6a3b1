//! OCI layouts (image-spec 1.1, `image-layout.md`).

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use blobs::{BlobError, BlobReader};
use fs_err::File;
use oci::{Descriptor, Digest, Document, Index};
use serde::Deserialize;

use crate::graph::MAX_MANIFEST;
use crate::tarball::Tarball;
use crate::{ArchiveError, ArchivedImage, IMAGE_NAME, ImageArchive, REF_NAME};

/// An OCI layout that is read: a directory, or a tar file of one.
pub struct OciLayout {
    place: Place,
    index: Document<Index>,
}

enum Place {
    Directory(PathBuf),
    Tar(Tarball),
}

#[derive(Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

impl OciLayout {
    /// Opens a directory or a tar file. Fails with [`ArchiveError::Absent`] when it has no `index.json`.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let metadata = fs_err::metadata(path)
            .map_err(|source| ArchiveError::Read { path: path.to_owned(), source })?;
        let place = if metadata.is_dir() {
            Place::Directory(path.to_owned())
        } else {
            Place::Tar(Tarball::open(path)?)
        };
        let damaged = |name: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            ArchiveError::Document { path: path.to_owned(), name: name.to_owned(), source }
        };
        let bytes = place.read("index.json")?;
        // Some writers forget the marker; where it is, it must fit.
        match place.read("oci-layout") {
            Ok(marker) => {
                let marker: Marker = serde_json::from_slice(&marker)
                    .map_err(|error| damaged("oci-layout", error.into()))?;
                if !marker.version.starts_with("1.") {
                    return Err(ArchiveError::Version {
                        path: path.to_owned(),
                        version: marker.version,
                    });
                }
            }
            Err(ArchiveError::Absent { .. }) => {}
            Err(error) => return Err(error),
        }
        let index = Document::parse(bytes, "image index")
            .map_err(|error| damaged("index.json", error.into()))?;
        Ok(Self { place, index })
    }

    /// The layout's own index.
    pub fn index(&self) -> &Document<Index> {
        &self.index
    }

    /// What the layout's index lists.
    pub fn entries(&self) -> &[Descriptor] {
        &self.index.value.manifests
    }

    /// The entry with this tag and digest, where given. Without either, the only entry there is, or the only one
    /// tagged `latest`.
    pub fn find(&self, tag: Option<&str>, digest: Option<&Digest>) -> Option<&Descriptor> {
        let fits = |entry: &&Descriptor| digest.is_none_or(|digest| entry.digest == *digest);
        let mut entries = self.entries().iter().filter(fits);
        match tag {
            Some(tag) => entries.find(|entry| is_tagged(entry, tag)),
            None if digest.is_some() => entries.next(),
            None if self.entries().len() == 1 => entries.next(),
            None => entries.find(|entry| is_tagged(entry, "latest")),
        }
    }
}

fn is_tagged(entry: &Descriptor, tag: &str) -> bool {
    let ends = |name: &String| {
        name == tag
            || name.rsplit_once(':').is_some_and(|(_, last)| last == tag && !last.contains('/'))
    };
    entry.annotations.get(REF_NAME).is_some_and(ends)
        || entry.annotations.get(IMAGE_NAME).is_some_and(ends)
}

impl ImageArchive for OciLayout {
    fn images(&self) -> Vec<ArchivedImage> {
        let mut images: Vec<ArchivedImage> = Vec::new();
        for entry in self.entries() {
            let name =
                entry.annotations.get(IMAGE_NAME).or_else(|| entry.annotations.get(REF_NAME));
            match images.iter_mut().find(|image| image.root.digest == entry.digest) {
                Some(image) => image.names.extend(name.cloned()),
                None => images.push(ArchivedImage {
                    root: entry.clone(),
                    names: name.cloned().into_iter().collect(),
                }),
            }
        }
        images
    }
}

impl BlobReader for OciLayout {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, BlobError> {
        let missing = || BlobError::Missing(blob.digest.clone());
        let failed = |source| BlobError::Io { digest: blob.digest.clone(), source };
        let name = blob_path(&blob.digest);
        match &self.place {
            Place::Directory(directory) => match File::open(directory.join(name)) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
                Err(error) => Err(failed(error)),
            },
            Place::Tar(tar) => {
                let place = tar.find(&name).ok_or_else(missing)?;
                Ok(Box::new(tar.open_range(place).map_err(failed)?))
            }
        }
    }
}

impl Place {
    fn read(&self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let directory = match self {
            Self::Directory(directory) => directory,
            Self::Tar(tar) => return tar.read(name, MAX_MANIFEST),
        };
        let mut bytes = Vec::new();
        match File::open(directory.join(name))
            .and_then(|file| file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes))
        {
            Ok(_) if bytes.len() as u64 > MAX_MANIFEST => Err(ArchiveError::TooLarge {
                path: directory.clone(),
                name: name.to_owned(),
                limit: MAX_MANIFEST,
            }),
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(ArchiveError::Absent { path: directory.clone(), name: name.to_owned() })
            }
            Err(source) => Err(ArchiveError::Read { path: directory.clone(), source }),
        }
    }
}

/// Where a layout keeps a blob.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
