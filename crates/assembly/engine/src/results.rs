//! What a build made, as the exporters take it.

use std::io;
use std::sync::Arc;

use build_api::{BuildError, BuildRequest, ImageOutput, OutputSpec};
use exporters::{BaseImage, ExportInput, Exported, PlatformResult, ReadChanges, ResultLayer};
use frontend::Compiled;
use fstree::{Changeset, Mtime};
use snapshot::{BlobLayer, Layer, LayerKind, LayerSource, Snapshots};
use store::Store;

use crate::compile::multi_platform;
use crate::times;
use crate::value::{StackLayer, Value};
use crate::work::Build;

/// The results for the exporters, and the engine's own layers at the same positions.
pub(crate) type Results = (ExportInput, Vec<Vec<StackLayer>>);

pub(crate) fn export_input(
    request: &BuildRequest,
    compiled: &[Compiled],
    work: &Build<'_>,
) -> Result<Results, BuildError> {
    let epoch = work.now;
    let latest = request.reproducible.then_some(epoch);
    let mut platforms = Vec::new();
    let mut stacks = Vec::new();
    for (one, edge) in compiled.iter().zip(&work.graph.results) {
        let value = edge.map_or_else(|| Ok(Value::empty()), |edge| work.value(edge))?;
        let mut layers = value.layers().as_ref().clone();
        let (mut config, base) = times::dated(one, work.resolver, epoch)?;
        if let Some((layer, history)) =
            work.windows_from_scratch(&one.platform, &layers, &config)?
        {
            layers.insert(0, layer);
            config.history.insert(0, history);
        }
        platforms.push(PlatformResult {
            platform: one.platform.clone(),
            config,
            base: base.map(|(reference, history)| BaseImage { reference, history }),
            layers: layers.iter().map(|layer| result_layer(layer, work.snapshots)).collect(),
            files: files(&value.plain_layers(), work.snapshots, latest),
            windows_base: work.windows_base(&one.platform, &layers)?,
        });
        stacks.push(layers);
    }
    let input = ExportInput {
        always_index: multi_platform(request),
        tags: request.tags.clone(),
        annotations: request.annotations.clone(),
        platforms,
    };
    Ok((input, stacks))
}

/// A layer as the exporters take it.
fn result_layer(layer: &StackLayer, snapshots: &Snapshots) -> ResultLayer {
    match (layer.key(), layer.layer().kind()) {
        (None, LayerKind::Blob(blob)) => {
            ResultLayer::Blob { blob: blob.descriptor.clone(), diff_id: blob.diff_id.clone() }
        }
        (key, _) => {
            let (snapshots, layer) = (snapshots.clone(), layer.layer().clone());
            ResultLayer::Made {
                key: key.unwrap_or_default().to_owned(),
                lasting: key.is_some(),
                changes: Arc::new(move || {
                    Ok(snapshots.layer_changes(&layer, &Stored(snapshots.store()))?)
                }),
            }
        }
    }
}

/// All files of a stack, for outputs that are file trees, with times lowered to `latest`. Its blobs are in the store by
/// then.
fn files(layers: &[Layer], snapshots: &Snapshots, latest: Option<i64>) -> ReadChanges<Changeset> {
    let (snapshots, layers) = (snapshots.clone(), layers.to_vec());
    Arc::new(move || {
        let mut files = snapshots.view(&layers, &Stored(snapshots.store()))?.flatten()?;
        for entry in files.entries.values_mut() {
            let mtime = &mut entry.meta.mtime;
            *mtime = latest.map_or(*mtime, |latest| (*mtime).min(Mtime::seconds(latest)));
            entry.meta.xattrs.retain(|name, _| !name.starts_with(fstree::WINDOWS_XATTRS));
        }
        Ok(files)
    })
}

/// Layers whose blobs are in the store.
struct Stored<'a>(&'a Store);

impl LayerSource for Stored<'_> {
    fn open(&self, layer: &BlobLayer) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(self.0.open_blob(&layer.descriptor.digest).map_err(io::Error::other)?))
    }
}

/// Whether an output needs the files of a result, not only its layers.
pub(crate) fn needs_files(output: &OutputSpec) -> bool {
    matches!(output, OutputSpec::Tar { .. } | OutputSpec::Local { .. })
}

/// What was packed of the layers that this build made.
pub(crate) fn packed(
    stacks: &[Vec<StackLayer>],
    exported: &Exported,
) -> Vec<(StackLayer, BlobLayer)> {
    let mut all = Vec::new();
    for (stack, platform) in stacks.iter().zip(&exported.platforms) {
        // An export drops nothing and adds nothing; where it did, positions would mean nothing.
        if stack.len() != platform.layers.len() {
            continue;
        }
        for (layer, blob) in
            stack.iter().zip(&platform.layers).filter(|(layer, _)| layer.key().is_some())
        {
            let descriptor = oci::Descriptor {
                annotations: blob.annotations.clone(),
                ..oci::Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size)
            };
            let windows = platform.platform.is_windows();
            all.push((
                layer.clone(),
                BlobLayer { descriptor, diff_id: blob.diff_id.clone(), windows },
            ));
        }
    }
    all
}

/// Where a result goes, the local store where nothing is said.
pub(crate) fn outputs(request: &BuildRequest) -> Vec<OutputSpec> {
    let mut outputs = request.outputs.clone();
    if outputs.is_empty() {
        outputs.push(OutputSpec::Image(ImageOutput { store: true, ..ImageOutput::default() }));
    }
    if request.reproducible {
        for output in &mut outputs {
            match output {
                OutputSpec::Image(image)
                | OutputSpec::Archive { image, .. }
                | OutputSpec::Load(image) => image.rewrite_timestamp = true,
                _ => {}
            }
        }
    }
    outputs
}
