//! Assembles configurations, manifests and the index.

use std::collections::BTreeMap;

use build_api::{AnnotationLevel, Compression, ImageOutput};
use oci::{Descriptor, Document, ImageConfig, Index, Manifest, RootFs, media_type};
use store::LayerBlob;

use crate::{
    ExportContext, ExportError, ExportInput, ExportedPlatform, PlatformResult, ResultLayer,
    annotations, history, layers,
};

/// An image or an index of images. Its documents are in the store, and all layers that were made here.
pub(crate) struct Image {
    /// What a name stands for.
    pub(crate) root: Descriptor,
    /// One per platform.
    pub(crate) platforms: Vec<ExportedPlatform>,
    /// Per platform: its manifest, and all blobs that it names, the configuration first.
    pub(crate) manifests: Vec<(Descriptor, Document<Manifest>)>,
    /// Where there are several platforms, or one was asked for.
    pub(crate) index: Option<Document<Index>>,
    /// For the descriptor of the index in an OCI layout.
    pub(crate) index_descriptor_annotations: BTreeMap<String, String>,
}

impl Image {
    /// Everything but manifests and the index, each blob once.
    pub(crate) fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = BTreeMap::new();
        for (_, manifest) in &self.manifests {
            for blob in std::iter::once(&manifest.value.config).chain(&manifest.value.layers) {
                seen.entry(&blob.digest).or_insert(blob);
            }
        }
        seen.into_values().collect()
    }
}

/// Packs all layers and writes all documents of an image to the store.
pub(crate) fn assemble(
    input: &ExportInput,
    output: &ImageOutput,
    context: &ExportContext<'_>,
    warnings: &mut Vec<String>,
) -> Result<Image, ExportError> {
    let oci = oci_media_types(input, output, warnings);
    let packed = layers::pack(input, output, context)?;
    let mut manifests = Vec::new();
    let mut platforms = Vec::new();
    for (result, packed) in input.platforms.iter().zip(packed) {
        let config = configuration(result, &packed, context.epoch);
        let config = Document::write(config);
        context.store.put_bytes(&config.raw)?;
        let config_type = if oci { media_type::OCI_CONFIG } else { media_type::DOCKER_CONFIG };
        let descriptors = result
            .layers
            .iter()
            .zip(&packed)
            .map(|(layer, blob)| descriptor(layer, blob, oci, output.keep_foreign_layers));
        let mut manifest = Manifest::new(config.descriptor(config_type), descriptors.collect());
        if !oci {
            media_type::DOCKER_MANIFEST.clone_into(&mut manifest.media_type);
        }
        manifest.annotations =
            annotations::of(input, output, AnnotationLevel::Manifest, Some(&result.platform));
        let manifest = Document::write(manifest);
        context.store.put_bytes(&manifest.raw)?;
        let mut entry = manifest.descriptor(&manifest.value.media_type);
        entry.platform = Some(config.value.platform());
        platforms.push(ExportedPlatform {
            platform: result.platform.clone(),
            manifest: entry.clone(),
            config: config.digest(),
            size: packed.iter().map(|blob| blob.size).sum(),
            layers: packed,
        });
        manifests.push((entry, manifest));
    }
    if let ([(only, _)], false) = (manifests.as_slice(), input.always_index) {
        let root = only.clone();
        let index_descriptor_annotations = BTreeMap::new();
        return Ok(Image { root, platforms, manifests, index: None, index_descriptor_annotations });
    }
    let entries = manifests.iter().zip(&input.platforms).map(|((entry, _), result)| {
        let annotations = annotations::of(
            input,
            output,
            AnnotationLevel::ManifestDescriptor,
            Some(&result.platform),
        );
        Descriptor { annotations, ..entry.clone() }
    });
    // In one order, whatever the order of the request: clients that know no order of Windows versions take the first.
    let flavour = if oci { images::Flavour::Oci } else { images::Flavour::Docker };
    let annotations = annotations::of(input, output, AnnotationLevel::Index, None);
    let index = images::assemble(entries, &annotations, flavour);
    context.store.put_bytes(&index.raw)?;
    let root = index.descriptor(&index.value.media_type);
    let index_descriptor_annotations =
        annotations::of(input, output, AnnotationLevel::IndexDescriptor, None);
    Ok(Image { root, platforms, manifests, index: Some(index), index_descriptor_annotations })
}

/// Docker's media types know neither annotations nor compression other than gzip.
fn oci_media_types(input: &ExportInput, output: &ImageOutput, warnings: &mut Vec<String>) -> bool {
    if output.oci_media_types.unwrap_or(true) {
        return true;
    }
    let reason = match output.compression {
        Compression::Zstd => "zstd compression",
        Compression::EStargz => "estargz compression",
        _ if annotations::any(input, output) => "annotations",
        _ => return false,
    };
    warnings.push(format!("OCI media types are used, because Docker's have no {reason}"));
    true
}

fn configuration(result: &PlatformResult, packed: &[LayerBlob], epoch: Option<i64>) -> ImageConfig {
    let mut config = result.config.clone();
    config.rootfs = RootFs {
        diff_ids: packed.iter().map(|blob| blob.diff_id.clone()).collect(),
        ..RootFs::default()
    };
    config.history = history::normalize(&config.history, packed.len(), epoch);
    if let Some(epoch) = epoch {
        let base = result.base.as_ref().map_or(&[][..], |base| &base.history);
        history::clamp(&mut config.history, base, epoch);
        config.created = Some(history::time(epoch));
    } else if config.created.is_none() {
        config.created = config.history.iter().rev().find_map(|entry| entry.created.clone());
    }
    if config.os.is_empty() && config.architecture.is_empty() {
        config.os.clone_from(&result.platform.os);
        config.architecture.clone_from(&result.platform.architecture);
        config.variant.clone_from(&result.platform.variant);
    }
    config
}

/// A layer's descriptor in a manifest. A base layer that stayed as it was keeps its other places and annotations; but
/// layers that only Microsoft handed out are ordinary ones since their licence allows it, unless they are to be kept.
fn descriptor(layer: &ResultLayer, blob: &LayerBlob, oci: bool, keep_foreign: bool) -> Descriptor {
    let own = if keep_foreign {
        blob.media_type.as_str()
    } else {
        layers::distributable(&blob.media_type)
    };
    let mut descriptor =
        Descriptor::new(layers::media_type_in(oci, own), blob.digest.clone(), blob.size);
    if oci {
        descriptor.annotations.clone_from(&blob.annotations);
    }
    if let ResultLayer::Blob { blob: base, .. } = layer
        && base.digest == blob.digest
        && (keep_foreign || !media_type::is_foreign_layer(&base.media_type))
    {
        descriptor.urls.clone_from(&base.urls);
    }
    descriptor
}
