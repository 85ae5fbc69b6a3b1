//! Which layers of images a build would fetch.

use std::collections::{BTreeMap, BTreeSet};

use build_api::{BuildError, OutputSpec, PlannedImage, StepKind, Verdict};
use llb::pb::op::Kind;
use oci::{Digest, Platform};
use snapshot::{BlobLayer, Layer};

use crate::dry_run::DryRun;
use crate::last_build::image_name;
use crate::plan::kind;
use crate::windows::own_layers;

/// Whether something is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Needed {
    #[default]
    No,
    /// If a step runs of which that is not known, or a registry does not have it.
    Maybe,
    Yes,
}

/// How an image's layers are needed.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    /// Files, to look into or to run on: an unpacked tree will do.
    files: Needed,
    /// The packed bytes, for an output.
    bytes: Needed,
}

/// The images of a build, those that nothing needs among them. A layer that several have counts for the first.
pub(crate) fn images(
    dry: &DryRun<'_>,
    verdicts: &[Verdict],
    outputs: &[OutputSpec],
) -> Result<Vec<PlannedImage>, BuildError> {
    let needs = needs(dry, verdicts, outputs);
    let work = dry.build;
    let mut counted: BTreeSet<Digest> = BTreeSet::new();
    let mut images = Vec::new();
    for (vertex, node) in work.graph.nodes.iter().enumerate() {
        let Some(Kind::Source(source)) = node.kind() else { continue };
        if kind(node) != StepKind::Image {
            continue;
        }
        let name = image_name(node).unwrap_or_default();
        let mut planned = PlannedImage {
            step: vertex,
            from: name.clone(),
            name,
            platform: node.platform().unwrap_or_else(Platform::host),
            digest: None,
            layers: 0,
            size: 0,
            here: 0,
            pull: 0,
            maybe: 0,
        };
        let stands_in = work.resolver.stand_in(&source.identifier).is_some();
        let image = if stands_in { None } else { work.image(node, source)? };
        let Some(image) = image else {
            images.push(planned);
            continue;
        };
        planned.from = match &image.layout {
            Some(layout) => layout.path.display().to_string(),
            None => image.reference.name(),
        };
        planned.digest = Some(image.root.clone());
        planned.layers = image.manifest.value.layers.len();
        let need = needs.get(&vertex).copied().unwrap_or_default();
        let blobs = image.manifest.value.layers.iter().zip(&image.config.value.rootfs.diff_ids);
        let own = if image.config.value.os == "windows" { own_layers(&image) } else { 0 };
        for (at, (blob, diff_id)) in blobs.enumerate() {
            planned.size += blob.size;
            let here = work.store.blob_size(&blob.digest).is_some();
            let windows = image.config.value.os == "windows";
            let unpacked = || {
                let blob =
                    BlobLayer { descriptor: blob.clone(), diff_id: diff_id.clone(), windows };
                work.snapshots.has_tree(&Layer::blob(blob))
            };
            // Those of Windows itself are read only when a copy touches its own folders.
            let files_needed = if at < own { need.files.min(Needed::Maybe) } else { need.files };
            let files =
                if files_needed != Needed::No && !unpacked() { files_needed } else { Needed::No };
            if here || (need.bytes == Needed::No && unpacked()) {
                planned.here += blob.size;
                continue;
            }
            let sum = match files.max(need.bytes) {
                Needed::Yes => &mut planned.pull,
                Needed::Maybe => &mut planned.maybe,
                Needed::No => continue,
            };
            if counted.insert(blob.digest.clone()) {
                *sum += blob.size;
            }
        }
        images.push(planned);
    }
    Ok(images)
}

fn needs(dry: &DryRun<'_>, verdicts: &[Verdict], outputs: &[OutputSpec]) -> BTreeMap<usize, Need> {
    let graph = dry.build.graph;
    let mut needs: BTreeMap<usize, Need> = BTreeMap::new();
    let mut need = |vertex: usize, change: &dyn Fn(&mut Need)| {
        if let Some(image) = dry.image_beneath(vertex) {
            change(needs.entry(image).or_default());
        }
    };
    for (vertex, node) in graph.nodes.iter().enumerate() {
        let windows = node.platform().is_some_and(|platform| platform.is_windows());
        if windows && dry.finding(vertex).until.is_none() {
            // All that is read of the base was here.
            continue;
        }
        for edge in &node.inputs {
            match (kind(node), verdicts[vertex]) {
                // To find out what files become, they are looked at.
                (StepKind::Run, Verdict::Runs)
                | (StepKind::Files, Verdict::Runs | Verdict::Unknown) => {
                    need(edge.vertex, &|need| need.files = Needed::Yes);
                }
                (StepKind::Run, Verdict::Unknown) => {
                    need(edge.vertex, &|need| need.files = need.files.max(Needed::Maybe));
                }
                _ => {}
            }
        }
    }
    for edge in graph.results.iter().flatten() {
        for output in outputs {
            match output {
                OutputSpec::Tar { .. } | OutputSpec::Local { .. } => {
                    need(edge.vertex, &|need| need.files = Needed::Yes);
                }
                OutputSpec::Archive { .. } | OutputSpec::Load(_) => {
                    need(edge.vertex, &|need| need.bytes = Needed::Yes);
                }
                OutputSpec::Image(image) if image.force_compression => {
                    need(edge.vertex, &|need| need.bytes = Needed::Yes);
                }
                OutputSpec::Image(image) if image.push || image.push_by_digest => {
                    need(edge.vertex, &|need| need.bytes = need.bytes.max(Needed::Maybe));
                }
                OutputSpec::Image(_) | OutputSpec::CacheOnly => {}
            }
        }
    }
    needs
}
