//! All blobs of an image.

use std::collections::BTreeMap;

use blobs::{BlobError, BlobReader, read_verified};
use oci::{Descriptor, Digest, Document, Index, Manifest, media_type};

use crate::ArchiveError;

/// Largest manifest or index, as registries have it.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
const MAX_BLOBS: usize = 100_000;
const MAX_DEPTH: usize = 8;

/// The blobs beneath `root`, itself included, by digest. Layers that are to be fetched from elsewhere are left out
/// where they are not here.
pub(crate) fn collect(
    root: &Descriptor,
    blobs: &dyn BlobReader,
    found: &mut BTreeMap<Digest, Descriptor>,
) -> Result<(), ArchiveError> {
    visit(root, blobs, found, 0)
}

fn visit(
    blob: &Descriptor,
    blobs: &dyn BlobReader,
    found: &mut BTreeMap<Digest, Descriptor>,
    depth: usize,
) -> Result<(), ArchiveError> {
    if found.contains_key(&blob.digest) {
        return Ok(());
    }
    if found.len() >= MAX_BLOBS || depth > MAX_DEPTH {
        return Err(ArchiveError::Unfit(format!(
            "the image has more than {MAX_BLOBS} blobs, or indexes nested deeper than {MAX_DEPTH}"
        )));
    }
    let is_index = media_type::is_index(&blob.media_type);
    if !is_index && !media_type::is_manifest(&blob.media_type) {
        if media_type::is_foreign_layer(&blob.media_type)
            && matches!(blobs.open(blob), Err(BlobError::Missing(_)))
        {
            return Ok(());
        }
        found.insert(blob.digest.clone(), blob.clone());
        return Ok(());
    }
    found.insert(blob.digest.clone(), blob.clone());
    let bytes = read_verified(blobs, blob, MAX_MANIFEST)?;
    let failed = |source| ArchiveError::Graph { digest: blob.digest.clone(), source };
    if is_index {
        let index = Document::<Index>::parse(bytes, "image index").map_err(failed)?;
        return index
            .value
            .manifests
            .iter()
            .try_for_each(|child| visit(child, blobs, found, depth + 1));
    }
    let manifest = Document::<Manifest>::parse(bytes, "image manifest").map_err(failed)?.value;
    visit(&manifest.config, blobs, found, depth + 1)?;
    manifest.layers.iter().try_for_each(|layer| visit(layer, blobs, found, depth + 1))
}
