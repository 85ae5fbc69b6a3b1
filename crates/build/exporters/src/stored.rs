//! Pushes an image that the store holds, as it is.

use blobs::{BlobError, read_verified};
use build_api::ImageOutput;
use oci::{Descriptor, Document, Index, Manifest, Reference, media_type};

use crate::image::Image;
use crate::{ExportContext, ExportError, ExportInput, push};

/// Manifests and indexes may have at most this many bytes.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Pushes the image or index `root` to `name`, byte for byte. Of an index, the images that the store holds are pushed;
/// an index of which one is missing cannot be.
pub fn push_stored(
    root: &Descriptor,
    name: &Reference,
    context: &ExportContext<'_>,
) -> Result<(), ExportError> {
    let damaged = |source: BlobError| ExportError::Stored {
        digest: root.digest.clone(),
        source: Box::new(source),
    };
    let malformed = |source: oci::DocumentError| ExportError::Stored {
        digest: root.digest.clone(),
        source: Box::new(source),
    };
    let read =
        |blob: &Descriptor| read_verified(context.store, blob, DOCUMENT_LIMIT).map_err(damaged);
    let (index, descriptors) = if media_type::is_index(&root.media_type) {
        let index = Document::<Index>::parse(read(root)?, "image index").map_err(malformed)?;
        let descriptors = index.value.manifests.clone();
        (Some(index), descriptors)
    } else {
        (None, vec![root.clone()])
    };
    let mut manifests = Vec::new();
    for descriptor in descriptors {
        let manifest =
            Document::<Manifest>::parse(read(&descriptor)?, "image manifest").map_err(malformed)?;
        manifests.push((descriptor, manifest));
    }
    let image = Image {
        root: root.clone(),
        platforms: Vec::new(),
        manifests,
        index,
        index_descriptor_annotations: std::collections::BTreeMap::new(),
    };
    let output = ImageOutput { push: true, ..ImageOutput::default() };
    push::push(&ExportInput::default(), &output, &image, std::slice::from_ref(name), context)
}
