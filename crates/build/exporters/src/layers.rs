//! Packs the layers made here, and converts the base's where that is asked for, each distinct one once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use build_api::{Compression as Kind, ImageOutput};
use layer::{Compression, Form, PackOptions, Packed, WindowsBase};
use oci::{Descriptor, Digest, media_type};
use store::{LayerBlob, Ref};

use crate::task::Task;
use crate::{ExportContext, ExportError, ExportInput, PlatformResult, ResultLayer};

/// Records that say which blob a layer was packed to.
const NAMESPACE: &str = "pack";
/// A layer may have at most this many bytes when it is not compressed.
const LIMIT: u64 = 256 << 30;
/// Changes with each change of what packing gives for the same input, so that earlier results are not reused.
const VERSION: u32 = 1;

/// The compressor that an output asks for.
pub(crate) fn compression(output: &ImageOutput) -> Result<Compression, ExportError> {
    let (name, range, limit) = match output.compression {
        Kind::Gzip => ("gzip", "0 to 9", 9),
        Kind::EStargz => ("estargz", "0 to 9", 9),
        Kind::Zstd => ("zstd", "0 to 22", 22),
        Kind::Uncompressed => return Ok(Compression::Uncompressed),
    };
    let level = match output.compression_level {
        None => None,
        Some(level) => match u8::try_from(level) {
            Ok(found) if found <= limit => Some(found),
            _ => return Err(ExportError::Level { name, level, range }),
        },
    };
    Ok(match (output.compression, level) {
        (Kind::Gzip, None) => Compression::GZIP,
        (Kind::Gzip, Some(level)) => Compression::Gzip { level: level.max(1) },
        (Kind::EStargz, None) => Compression::ESTARGZ,
        (Kind::EStargz, Some(level)) => Compression::EStargz { level: level.max(1) },
        (_, None | Some(0)) => Compression::ZSTD,
        (_, Some(level)) => Compression::Zstd { level },
    })
}

/// Kind and level in one word.
fn word(compression: Compression) -> String {
    match compression {
        Compression::Gzip { level }
        | Compression::EStargz { level }
        | Compression::Zstd { level } => {
            format!("{}:{level}", compression.name())
        }
        Compression::Uncompressed => compression.name().to_owned(),
    }
}

/// One layer to be made or converted.
struct Job<'a> {
    result: &'a PlatformResult,
    layer: &'a ResultLayer,
    form: Form,
    /// Equal for jobs with equal outcomes.
    key: String,
    /// Whether the outcome is of use to later runs.
    lasting: bool,
}

impl Job<'_> {
    /// Key of its record in the store.
    fn record(&self) -> String {
        Digest::of(self.key.as_bytes()).hex().to_owned()
    }
}

/// The blobs of all platforms' layers, bottom first. Layers made here are in the store afterwards.
pub(crate) fn pack(
    input: &ExportInput,
    output: &ImageOutput,
    context: &ExportContext<'_>,
) -> Result<Vec<Vec<LayerBlob>>, ExportError> {
    let compression = compression(output)?;
    let latest_mtime = context.epoch.filter(|_| output.rewrite_timestamp);
    let mut jobs: Vec<Job<'_>> = Vec::new();
    // Per platform and layer: what is known already, or the job that makes it.
    let mut plan: Vec<Vec<Result<LayerBlob, usize>>> = Vec::new();
    for result in &input.platforms {
        let form = if result.platform.os == "windows" { Form::Windows } else { Form::Linux };
        let mut below = Vec::new();
        let mut planned = Vec::new();
        for layer in &result.layers {
            if let ResultLayer::Blob { blob, diff_id } = layer
                && (!output.force_compression || is_compressed(blob, compression))
            {
                below.push(diff_id.to_string());
                planned.push(Ok(known(blob, diff_id, form)));
                continue;
            }
            // Windows layers repeat what lower ones say of the directories above their files.
            let lowers = if form == Form::Windows {
                Digest::of(below.join("\n").as_bytes()).to_string()
            } else {
                String::new()
            };
            let mtime = latest_mtime.map_or_else(String::new, |time| time.to_string());
            let (identity, lasting) = identity(layer);
            let key = format!(
                "{VERSION}\n{identity}\n{form:?}\n{}\n{mtime}\n{lowers}",
                word(compression)
            );
            let same = jobs.iter().position(|job| job.key == key);
            planned.push(Err(same.unwrap_or(jobs.len())));
            if same.is_none() {
                jobs.push(Job { result, layer, form, key, lasting });
            }
            below.push(identity);
        }
        plan.push(planned);
    }
    let made = run(&jobs, compression, latest_mtime, context)?;
    let mut platforms = Vec::new();
    for planned in plan {
        let layers =
            planned.into_iter().map(|layer| layer.or_else(|job| made.get(job).cloned().ok_or(job)));
        let layers: Result<Vec<LayerBlob>, usize> = layers.collect();
        platforms.push(layers.unwrap_or_default());
    }
    Ok(platforms)
}

/// What a layer is, and whether that means the same in later runs.
fn identity(layer: &ResultLayer) -> (String, bool) {
    match layer {
        ResultLayer::Blob { blob, .. } => (format!("blob {}", blob.digest), true),
        ResultLayer::Made { key, lasting, .. } => (format!("made {key}"), *lasting),
    }
}

fn known(blob: &Descriptor, diff_id: &Digest, form: Form) -> LayerBlob {
    LayerBlob {
        digest: blob.digest.clone(),
        size: blob.size,
        media_type: blob.media_type.clone(),
        diff_id: diff_id.clone(),
        form: form_word(form).to_owned(),
        compression: String::new(),
        annotations: blob.annotations.clone(),
    }
}

fn form_word(form: Form) -> &'static str {
    match form {
        Form::Linux => "linux",
        Form::Windows => "windows",
    }
}

/// Whether a base layer is compressed as asked for; its level is its own affair.
fn is_compressed(blob: &Descriptor, wanted: Compression) -> bool {
    let gzip = blob.media_type.ends_with("gzip");
    let indexed = blob.annotations.contains_key("containerd.io/snapshot/stargz/toc.digest");
    match wanted {
        Compression::Gzip { .. } => gzip,
        Compression::EStargz { .. } => gzip && indexed,
        Compression::Zstd { .. } => blob.media_type.ends_with("zstd"),
        Compression::Uncompressed => blob.media_type.ends_with("tar"),
    }
}

/// Runs all jobs on as many threads as may work. The outcome of each job depends on nothing but the job.
fn run(
    jobs: &[Job<'_>],
    compression: Compression,
    latest_mtime: Option<i64>,
    context: &ExportContext<'_>,
) -> Result<Vec<LayerBlob>, ExportError> {
    let mut outcomes: Vec<Option<Result<LayerBlob, ExportError>>> = Vec::new();
    for job in jobs {
        outcomes.push(if job.lasting { recorded(&job.record(), context)?.map(Ok) } else { None });
    }
    let missing: Vec<usize> = outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| outcome.is_none())
        .map(|(index, _)| index)
        .collect();
    if missing.is_empty() {
        return outcomes.into_iter().flatten().collect();
    }
    let task = Task::begin(context, "packing layers");
    let workers = context.threads.clamp(1, missing.len());
    let threads = (context.threads / workers).max(1);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let outcomes = Mutex::new(outcomes);
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let Some(&index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let Some(job) = jobs.get(index) else { return };
            let outcome = one(job, compression, latest_mtime, threads, context);
            match &outcome {
                Ok(blob) => task.transfer(&label(&blob.digest), blob.size, Some(blob.size), true),
                Err(_) => failed.store(true, Ordering::Relaxed),
            }
            if let Some(slot) =
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)
            {
                *slot = Some(outcome);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(work);
        }
        work();
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    // After a failure, slots of jobs that were never begun are empty.
    let made: Result<Vec<LayerBlob>, ExportError> = outcomes.into_iter().flatten().collect();
    task.end(made)
}

fn one(
    job: &Job<'_>,
    compression: Compression,
    latest_mtime: Option<i64>,
    threads: usize,
    context: &ExportContext<'_>,
) -> Result<LayerBlob, ExportError> {
    let store = context.store;
    let options = PackOptions {
        form: job.form,
        compression,
        latest_mtime,
        threads,
        windows_base: windows_base(job)?,
        ..PackOptions::default()
    };
    let platform = || Box::new(job.result.platform.clone());
    let pack_failed = |source| ExportError::Pack { platform: platform(), source: Box::new(source) };
    let mut writer = store.blob_writer()?;
    let packed = match job.layer {
        ResultLayer::Blob { blob, diff_id } => {
            fetch(blob, context)?;
            let packed =
                layer::recompress(store.open_blob(&blob.digest)?, &options, LIMIT, &mut writer)
                    .map_err(pack_failed)?;
            let found = &packed.diff_id;
            if found != diff_id && !matches!(compression, Compression::EStargz { .. }) {
                return Err(ExportError::DiffId {
                    digest: blob.digest.clone(),
                    expected: diff_id.clone(),
                    found: found.clone(),
                });
            }
            packed
        }
        ResultLayer::Made { changes, .. } => {
            let changes =
                changes().map_err(|source| ExportError::Read { platform: platform(), source })?;
            layer::pack(&changes, &options, &mut writer).map_err(pack_failed)?
        }
    };
    writer.commit(Some(&packed.digest))?;
    let blob = describe(packed, job.form, compression);
    store.record_layer_blob(&blob)?;
    if job.lasting {
        store.put(
            NAMESPACE,
            &job.record(),
            blob.digest.as_str().as_bytes(),
            &[Ref::Blob(blob.digest.clone())],
        )?;
    }
    Ok(blob)
}

/// What lies beneath a layer in Windows form: the base, and the layers made here that are below it.
fn windows_base(job: &Job<'_>) -> Result<Option<Arc<WindowsBase>>, ExportError> {
    let Some(base) = job.result.windows_base.as_ref().filter(|_| job.form == Form::Windows) else {
        return Ok(None);
    };
    let below = job.result.layers.iter().take_while(|layer| !std::ptr::eq(*layer, job.layer));
    let made: Vec<_> = below
        .filter_map(|layer| match layer {
            ResultLayer::Made { changes, .. } => Some(changes),
            ResultLayer::Blob { .. } => None,
        })
        .collect();
    if made.is_empty() {
        return Ok(Some(Arc::clone(base)));
    }
    let mut all = base.as_ref().clone();
    for changes in made {
        let platform = || Box::new(job.result.platform.clone());
        let changes =
            changes().map_err(|source| ExportError::Read { platform: platform(), source })?;
        all.add_changes(&changes);
    }
    Ok(Some(Arc::new(all)))
}

fn describe(packed: Packed, form: Form, compression: Compression) -> LayerBlob {
    LayerBlob {
        digest: packed.digest,
        size: packed.size,
        media_type: compression.media_type().to_owned(),
        diff_id: packed.diff_id,
        form: form_word(form).to_owned(),
        compression: word(compression),
        annotations: packed.annotations,
    }
}

/// What an earlier run packed under the same key, if it is still here.
fn recorded(key: &str, context: &ExportContext<'_>) -> Result<Option<LayerBlob>, ExportError> {
    let Some(value) = context.store.get(NAMESPACE, key)? else { return Ok(None) };
    let Some(digest) =
        std::str::from_utf8(&value).ok().and_then(|text| text.parse::<Digest>().ok())
    else {
        return Ok(None);
    };
    let blob = context.store.layer_blob(&digest)?;
    Ok(blob.filter(|blob| context.store.blob_size(&blob.digest) == Some(blob.size)))
}

/// Makes sure that the bytes of a layer are in the store.
pub(crate) fn fetch(blob: &Descriptor, context: &ExportContext<'_>) -> Result<(), ExportError> {
    if context.store.blob_size(&blob.digest) == Some(blob.size) {
        return Ok(());
    }
    (context.fetch)(blob)
        .map_err(|source| ExportError::Fetch { digest: blob.digest.clone(), source })
}

/// A blob, for people.
pub(crate) fn label(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm(), digest.short())
}

/// The media type of a layer that may be pushed, for one that was not to be.
pub(crate) fn distributable(media_type: &str) -> &str {
    const PAIRS: [(&str, &str); 5] = [
        ("application/vnd.oci.image.layer.nondistributable.v1.tar", media_type::OCI_LAYER),
        (media_type::OCI_LAYER_FOREIGN_GZIP, media_type::OCI_LAYER_GZIP),
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
            media_type::OCI_LAYER_ZSTD,
        ),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar", media_type::DOCKER_LAYER),
        (media_type::DOCKER_LAYER_FOREIGN_GZIP, media_type::DOCKER_LAYER_GZIP),
    ];
    PAIRS.iter().find(|(foreign, _)| *foreign == media_type).map_or(media_type, |(_, own)| own)
}

/// Media type of a layer in a manifest of the given family; unknown ones stay.
pub(crate) fn media_type_in(oci: bool, media_type: &str) -> &str {
    const PAIRS: [(&str, &str); 4] = [
        (media_type::OCI_LAYER, media_type::DOCKER_LAYER),
        (media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP),
        (media_type::OCI_LAYER_ZSTD, media_type::DOCKER_LAYER_ZSTD),
        (media_type::OCI_LAYER_FOREIGN_GZIP, media_type::DOCKER_LAYER_FOREIGN_GZIP),
    ];
    let pair = PAIRS.iter().find(|(a, b)| *a == media_type || *b == media_type);
    pair.map_or(media_type, |(a, b)| if oci { a } else { b })
}
