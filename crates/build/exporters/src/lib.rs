//! Where does a build's result go? Images to the store, registries, archives and Docker; file trees to directories.
//!
//! [`export`] takes the layers and configuration of each platform. Layers made here are packed once per form and
//! compression, however many platforms and outputs share them (`layers`); documents are assembled from them as BuildKit
//! does (`history`, `image`); then each output is written (`push`, `archives`, `files`, `load`). Same input, same bytes.
//!
//! This crate knows neither LLB nor the solver, and not what an attestation says.
#![warn(missing_docs)]

mod annotations;
mod archives;
mod error;
mod files;
mod history;
mod image;
mod layers;
mod load;
mod push;
mod stored;
mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use build_api::{Annotation, ArchiveFormat, Destination, ImageOutput, OutputSpec};
use fstree::Changeset;
use layer::WindowsBase;
use oci::{Descriptor, Digest, History, ImageConfig, Platform, Reference};
use report::Progress;
use store::{LayerBlob, Store};

pub use error::ExportError;
pub use stored::push_stored;

/// The result of a build, to be written somewhere.
#[derive(Clone, Default)]
pub struct ExportInput {
    /// Names of the image, for outputs that have none of their own.
    pub tags: Vec<Reference>,
    /// Annotations for every output.
    pub annotations: Vec<Annotation>,
    /// One result per platform, in the order in which an index lists them.
    pub platforms: Vec<PlatformResult>,
    /// Whether one platform makes an index too.
    pub always_index: bool,
}

/// The result for one platform.
#[derive(Clone)]
pub struct PlatformResult {
    /// Which.
    pub platform: Platform,
    /// Its configuration with history; the diff IDs are filled in here.
    pub config: ImageConfig,
    /// The image it builds upon: its layers can be lent by that repository.
    pub base: Option<BaseImage>,
    /// Bottom first, the base's layers among them.
    pub layers: Vec<ResultLayer>,
    /// Everything that the layers show together, as changes to an empty tree; for outputs that are file trees.
    pub files: ReadChanges<Changeset>,
    /// Windows only: what the base's layers say of their files.
    pub windows_base: Option<Arc<WindowsBase>>,
}

/// The image that a result builds upon.
#[derive(Clone, Debug)]
pub struct BaseImage {
    /// Where it is.
    pub reference: Reference,
    /// Its history, which keeps its times.
    pub history: Vec<History>,
}

/// A layer of a result.
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few dozen of them, not worth an allocation each"
)]
#[derive(Clone)]
pub enum ResultLayer {
    /// One that came with an image; its bytes may be elsewhere.
    Blob {
        /// Its blob.
        blob: Descriptor,
        /// Digest of its uncompressed bytes.
        diff_id: Digest,
    },
    /// One made here.
    Made {
        /// Layers with equal keys have equal changes, times included, and are packed once.
        key: String,
        /// Whether the key means the same in later runs, so that what was packed can be used again then.
        lasting: bool,
        /// Reads what it changes. The content of files may stay where it is.
        changes: ReadChanges<Arc<Changeset>>,
    },
}

/// The cause of an error, of whatever kind.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Reads changes when they are needed, on any thread.
pub type ReadChanges<T> = Arc<dyn Fn() -> Result<T, Cause> + Send + Sync>;

/// What an export works with.
pub struct ExportContext<'a> {
    /// Where blobs and names are kept.
    pub store: &'a Store,
    /// Brings the blob of a base layer into the store, verified, when somebody needs its bytes. Called from several
    /// threads.
    pub fetch: &'a (dyn Fn(&Descriptor) -> Result<(), Cause> + Sync),
    /// Asked for only when something is pushed.
    pub network: &'a (dyn Fn() -> Network + Sync),
    /// Told what goes on.
    pub progress: &'a dyn Progress,
    /// When the build began, for the times of events.
    pub began: Instant,
    /// Seconds since 1970 UTC: the time of the result, and the latest that file times may be where they are rewritten.
    pub epoch: Option<i64>,
    /// How many threads may work; the result does not depend on it.
    pub threads: usize,
    /// Value of `DOCKER_HOST`, for outputs that load into Docker.
    pub docker_host: Option<String>,
}

/// The way to registries.
pub struct Network {
    /// Talks to them.
    pub client: registry::Client,
    /// Runs what it does.
    pub runtime: tokio::runtime::Handle,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The image or index of the first output that makes one.
    pub image: Option<Descriptor>,
    /// One entry per platform of the input, in its order; as in `image`. Empty when no output makes an image.
    pub platforms: Vec<ExportedPlatform>,
    /// One line for people per output.
    pub written: Vec<String>,
    /// For `--metadata-file`: keys, and values as JSON.
    pub metadata: BTreeMap<String, String>,
    /// What a user should know.
    pub warnings: Vec<String>,
}

/// One platform of an image.
#[derive(Clone, Debug)]
pub struct ExportedPlatform {
    /// Which.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its configuration.
    pub config: Digest,
    /// Bytes of its layers.
    pub size: u64,
    /// Its layers as packed, bottom first.
    pub layers: Vec<LayerBlob>,
}

/// Writes a result to all outputs. No output at all means the local store.
pub fn export(
    input: &ExportInput,
    outputs: &[OutputSpec],
    context: &ExportContext<'_>,
) -> Result<Exported, ExportError> {
    let by_default = [OutputSpec::Image(ImageOutput { store: true, ..ImageOutput::default() })];
    let outputs = if outputs.is_empty() { &by_default } else { outputs };
    let mut exported = Exported::default();
    check(input, outputs)?;

    // All images are made before the first is published: nothing is visible before everything can be.
    let mut images = Vec::new();
    for output in outputs {
        images.push(match image_of(output) {
            Some(wanted) => {
                let image = image::assemble(input, &wanted, context, &mut exported.warnings)?;
                if exported.image.is_none() {
                    exported.image = Some(image.root.clone());
                    exported.platforms.clone_from(&image.platforms);
                    metadata(&image, names(input, &wanted), &mut exported.metadata);
                }
                Some((wanted, image))
            }
            None => None,
        });
    }
    for (output, image) in outputs.iter().zip(&images) {
        write(input, output, image.as_ref(), context, &mut exported)?;
    }
    exported.warnings.dedup();
    Ok(exported)
}

/// The image that an output wants, with the defaults of its kind.
fn image_of(output: &OutputSpec) -> Option<ImageOutput> {
    match output {
        OutputSpec::Image(image) => Some(image.clone()),
        OutputSpec::Archive { image, format: ArchiveFormat::Oci, .. } => Some(image.clone()),
        OutputSpec::Archive { image, format: ArchiveFormat::Docker, .. }
        | OutputSpec::Load(image) => {
            let oci_media_types = Some(image.oci_media_types.unwrap_or(false));
            Some(ImageOutput { oci_media_types, ..image.clone() })
        }
        OutputSpec::Tar { .. } | OutputSpec::Local { .. } | OutputSpec::CacheOnly => None,
    }
}

fn names<'a>(input: &'a ExportInput, output: &'a ImageOutput) -> &'a [Reference] {
    if output.names.is_empty() { &input.tags } else { &output.names }
}

/// What can be known to fail before any work.
fn check(input: &ExportInput, outputs: &[OutputSpec]) -> Result<(), ExportError> {
    let several = input.platforms.len() > 1 || input.always_index;
    let mut on_stdout = 0;
    for output in outputs {
        match output {
            OutputSpec::Image(image)
                if (image.push || image.push_by_digest) && names(input, image).is_empty() =>
            {
                return Err(ExportError::NoName);
            }
            OutputSpec::Archive { format: ArchiveFormat::Docker, .. } | OutputSpec::Load(_)
                if several =>
            {
                return Err(ExportError::DockerIndex(
                    input.platforms.iter().map(|result| result.platform.clone()).collect(),
                ));
            }
            OutputSpec::Archive { dest: Destination::Stdout, tar: false, .. } => {
                return Err(ExportError::DirectoryToStdout);
            }
            OutputSpec::Archive { dest: Destination::Stdout, .. }
            | OutputSpec::Tar { dest: Destination::Stdout, .. } => on_stdout += 1,
            _ => {}
        }
        if let Some(image) = image_of(output) {
            annotations::check(input, &image)?;
            layers::compression(&image)?;
        }
    }
    if on_stdout > 1 { Err(ExportError::StdoutTwice) } else { Ok(()) }
}

fn write(
    input: &ExportInput,
    output: &OutputSpec,
    image: Option<&(ImageOutput, image::Image)>,
    context: &ExportContext<'_>,
    exported: &mut Exported,
) -> Result<(), ExportError> {
    let several = input.platforms.len() > 1;
    let line = match (output, image) {
        (OutputSpec::Image(_), Some((wanted, image))) => {
            let names = names(input, wanted);
            if wanted.push || wanted.push_by_digest {
                push::push(input, wanted, image, names, context)?;
            }
            if wanted.store {
                let tags: Vec<_> =
                    names.iter().map(|name| (name.to_string(), image.root.clone())).collect();
                context.store.tag_all(&tags)?;
            }
            let shown: Vec<String> = names.iter().map(Reference::familiar).collect();
            let verb = if wanted.push || wanted.push_by_digest { "pushed" } else { "stored" };
            match shown.as_slice() {
                [] => format!("{verb} {}", image.root.digest),
                names => format!("{verb} {} ({})", names.join(", "), image.root.digest),
            }
        }
        (OutputSpec::Archive { format, dest, tar, .. }, Some((wanted, image))) => {
            archives::write(image, names(input, wanted), *format, dest, *tar, context)?
        }
        (OutputSpec::Load(_), Some((wanted, image))) => {
            load::load(image, names(input, wanted), context)?
        }
        (OutputSpec::Tar { dest, platform_split }, _) => {
            files::tar(input, dest, platform_split.unwrap_or(several), context)?
        }
        (OutputSpec::Local { dest, platform_split }, _) => {
            let split = platform_split.unwrap_or(several);
            files::local(input, dest, split, context, &mut exported.warnings)?
        }
        _ => return Ok(()),
    };
    exported.written.push(line);
    Ok(())
}

/// The keys that Buildx writes.
fn metadata(image: &image::Image, names: &[Reference], metadata: &mut BTreeMap<String, String>) {
    let mut put =
        |key: &str, value: serde_json::Value| metadata.insert(key.to_owned(), value.to_string());
    put("containerimage.digest", image.root.digest.to_string().into());
    put("containerimage.descriptor", serde_json::to_value(&image.root).unwrap_or_default());
    if let [platform] = image.platforms.as_slice() {
        put("containerimage.config.digest", platform.config.to_string().into());
    }
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        put("image.name", names.join(",").into());
    }
}

/// The folder of a platform in an output that is split: `linux_arm_v7`.
fn folder(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

/// Where an output goes, for people.
fn shown(dest: &Destination) -> String {
    match dest {
        Destination::Path(path) => PathBuf::from(path).display().to_string(),
        Destination::Stdout => "standard output".to_owned(),
    }
}

#[cfg(test)]
mod tests;
