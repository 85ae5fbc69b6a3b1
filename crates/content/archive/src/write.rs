//! Writing layouts and archives. The bytes depend on the images and names alone.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use blobs::{BlobError, BlobReader, read_verified};
use fs_err::File;
use layer::tar::{Header, MemberKind, Writer};
use oci::{
    Descriptor, Digest, Digester, Document, HashingReader, Index, Manifest, Reference, media_type,
};

use crate::docker::SavedImage;
use crate::graph::{MAX_MANIFEST, collect};
use crate::layout::blob_path;
use crate::{ArchiveError, IMAGE_NAME, OciLayout, REF_NAME};

const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image to be written, and what it is to be called.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Its index or manifest.
    pub root: &'a Descriptor,
    /// Whole references, or bare tags.
    pub names: &'a [String],
}

/// Writes an image into a layout directory, made if it is not there. Other images of the layout stay, but for names
/// that are now this image's. Files appear under their names when they are complete.
pub fn write_oci_layout(
    directory: &Path,
    image: Image<'_>,
    blobs: &dyn BlobReader,
) -> Result<(), ArchiveError> {
    let write = |source| ArchiveError::Write { source };
    let mut all = BTreeMap::new();
    collect(image.root, blobs, &mut all)?;
    let before = match OciLayout::open(directory) {
        Ok(layout) => layout.entries().to_vec(),
        Err(ArchiveError::Absent { .. }) => Vec::new(),
        Err(ArchiveError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    for blob in all.values() {
        let path = directory.join(blob_path(&blob.digest));
        if fs_err::metadata(&path).is_ok_and(|metadata| metadata.len() == blob.size) {
            continue;
        }
        fs_err::create_dir_all(path.parent().unwrap_or(directory)).map_err(write)?;
        write_file(&path, |file| copy_blob(blob, blobs, file))?;
    }
    let new = entries(image);
    let replaced = |entry: &Descriptor| {
        new.iter()
            .any(|new| *new == *entry || name_of(new).is_some() && name_of(new) == name_of(entry))
    };
    let kept = before.into_iter().filter(|entry| !replaced(entry));
    let index = Document::write(Index::new(kept.chain(new.iter().cloned()).collect()));
    let whole = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |file: &mut dyn Write| {
            file.write_all(&bytes).map_err(|source| ArchiveError::Write { source })
        }
    };
    write_file(&directory.join("oci-layout"), whole(MARKER))?;
    write_file(&directory.join("index.json"), whole(&index.raw))
}

/// Writes images as the tar of an OCI layout.
pub fn write_oci_tar(
    out: impl Write,
    images: &[Image<'_>],
    blobs: &dyn BlobReader,
) -> Result<(), ArchiveError> {
    write_tar(out, images, blobs, None)
}

/// Writes single-platform images so that `docker load` takes them: an OCI layout with a `manifest.json`.
pub fn write_docker_tar(
    out: impl Write,
    images: &[Image<'_>],
    blobs: &dyn BlobReader,
) -> Result<(), ArchiveError> {
    let mut list = Vec::new();
    for image in images {
        if !media_type::is_manifest(&image.root.media_type) {
            let what = format!(
                "an archive for Docker holds images of one platform, and {} is not one",
                image.root.digest
            );
            return Err(ArchiveError::Unfit(what));
        }
        let bytes = read_verified(blobs, image.root, MAX_MANIFEST)?;
        let failed = |source| ArchiveError::Graph { digest: image.root.digest.clone(), source };
        let manifest = Document::<Manifest>::parse(bytes, "image manifest").map_err(failed)?.value;
        let names = image.names.iter().map(|name| match name.parse::<Reference>() {
            Ok(reference) if reference.tag().is_none() => reference.with_tag("latest").familiar(),
            Ok(reference) => reference.familiar(),
            Err(_) => name.clone(),
        });
        let names: Vec<String> = names.collect();
        list.push(SavedImage {
            config: blob_path(&manifest.config.digest),
            names: (!names.is_empty()).then_some(names),
            layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
        });
    }
    let list =
        serde_json::to_vec(&list).map_err(|error| ArchiveError::Write { source: error.into() })?;
    write_tar(out, images, blobs, Some(list))
}

/// In the order of containerd's exporter: by path.
fn write_tar(
    out: impl Write,
    images: &[Image<'_>],
    blobs: &dyn BlobReader,
    list: Option<Vec<u8>>,
) -> Result<(), ArchiveError> {
    let write = |source| ArchiveError::Write { source };
    let mut all = BTreeMap::new();
    for image in images {
        collect(image.root, blobs, &mut all)?;
    }
    let index =
        Document::write(Index::new(images.iter().flat_map(|image| entries(*image)).collect()));
    let mut tar = Writer::new(out);
    let mut directories = vec!["blobs/".to_owned()];
    directories.extend(
        ["sha256", "sha512"]
            .iter()
            .filter(|name| all.keys().any(|digest| digest.algorithm() == **name))
            .map(|name| format!("blobs/{name}/")),
    );
    for directory in directories {
        let mut header = Header::new(directory, MemberKind::Directory);
        header.mode = 0o755;
        tar.start(&header).map_err(write)?;
    }
    for blob in all.values() {
        tar.start(&file_header(&blob_path(&blob.digest), blob.size)).map_err(write)?;
        copy_blob(blob, blobs, &mut tar)?;
    }
    let mut document = |name: &str, bytes: &[u8]| {
        tar.start(&file_header(name, bytes.len() as u64))
            .and_then(|()| tar.write_all(bytes))
            .map_err(write)
    };
    document("index.json", &index.raw)?;
    if let Some(list) = list {
        document("manifest.json", &list)?;
    }
    document("oci-layout", MARKER)?;
    tar.finish().and_then(|mut out| out.flush()).map_err(write)
}

fn file_header(name: &str, size: u64) -> Header {
    let mut header = Header::new(name, MemberKind::File);
    header.mode = 0o444;
    header.size = size;
    header
}

/// What the index lists for an image: once for each name, as containerd does.
fn entries(image: Image<'_>) -> Vec<Descriptor> {
    if image.names.is_empty() {
        return vec![image.root.clone()];
    }
    let named = image.names.iter().map(|name| {
        let mut entry = image.root.clone();
        // A bare tag is no whole name, though it would parse as one.
        let whole = name.contains(['/', ':']).then(|| name.parse::<Reference>().ok()).flatten();
        let tag = match &whole {
            Some(reference) => {
                entry.annotations.insert(IMAGE_NAME.to_owned(), reference.to_string());
                reference.tag().unwrap_or("latest").to_owned()
            }
            None => name.clone(),
        };
        entry.annotations.insert(REF_NAME.to_owned(), tag);
        entry
    });
    named.collect()
}

fn name_of(entry: &Descriptor) -> Option<(Option<&String>, &String)> {
    Some((entry.annotations.get(IMAGE_NAME), entry.annotations.get(REF_NAME)?))
}

/// Copies a blob and checks its digest and size on the way.
fn copy_blob(
    blob: &Descriptor,
    blobs: &dyn BlobReader,
    out: &mut dyn Write,
) -> Result<(), ArchiveError> {
    let failed = |source| BlobError::Io { digest: blob.digest.clone(), source };
    let mut reader = HashingReader::new(
        blobs.open(blob)?.take(blob.size.saturating_add(1)),
        Digester::like(&blob.digest),
    );
    let mut buffer = vec![0; 128 * 1024];
    let mut left = blob.size;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error).into()),
        };
        let fits = usize::try_from(left).unwrap_or(usize::MAX).min(count);
        out.write_all(&buffer[..fits]).map_err(|source| ArchiveError::Write { source })?;
        left -= fits as u64;
        if count == 0 || fits < count {
            break;
        }
    }
    let (_, found, size): (_, Digest, u64) = reader.finish();
    if found != blob.digest || size != blob.size {
        return Err(BlobError::Mismatch { expected: blob.digest.clone(), found, size }.into());
    }
    Ok(())
}

/// Whether a new file may take the place of what has this name: nothing, or an ordinary file. A link, a pipe or a device
/// is not replaced but written to: `/dev/stdout` is a link, and leads to an ordinary file where output is redirected.
pub fn may_be_replaced(path: &Path) -> bool {
    fs_err::symlink_metadata(path).map_or(true, |there| there.is_file())
}

/// Writes a file beside its place and renames it.
fn write_file(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let write = |source| ArchiveError::Write { source };
    if !may_be_replaced(path) {
        let mut file = File::create(path).map_err(write)?;
        content(&mut file)?;
        return file.flush().map_err(write);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished =
        path.with_file_name(format!(".{name}.{}", rustix::process::getpid().as_raw_nonzero()));
    let done = File::create(&unfinished).map_err(write).and_then(|mut file| {
        content(&mut file)?;
        file.flush().map_err(write)
    });
    match done.and_then(|()| fs_err::rename(&unfinished, path).map_err(write)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _gone = fs_err::remove_file(&unfinished);
            Err(error)
        }
    }
}
