//! Pushes an image: blobs side by side, then manifests by digest, then the index; tags last.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use build_api::ImageOutput;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use oci::{Descriptor, Reference, media_type};
use registry::{BlobSource, Client, ProgressFn, RegistryError};
use store::Store;

use crate::image::Image;
use crate::task::Task;
use crate::{ExportContext, ExportError, ExportInput, ResultLayer, layers};

/// Blobs that travel at the same time.
const PARALLEL: usize = 6;

/// What the threads of the network tell and ask the thread that exports.
enum Message {
    Progress {
        blob: Descriptor,
        current: u64,
    },
    /// The bytes of a base layer are needed after all: neither was it there, nor did anybody lend it.
    Fetch {
        blob: Descriptor,
        answer: Sender<io::Result<()>>,
    },
}

/// One repository that an image is pushed to.
struct Target {
    /// Any reference into it.
    repository: Reference,
    /// Under which tags; none when it is pushed by digest.
    tags: Vec<Reference>,
}

/// Pushes to the repositories of all names.
pub(crate) fn push(
    input: &ExportInput,
    output: &ImageOutput,
    image: &Image,
    names: &[Reference],
    context: &ExportContext<'_>,
) -> Result<(), ExportError> {
    let mut targets: BTreeMap<String, Target> = BTreeMap::new();
    for name in names {
        let target = targets
            .entry(name.name())
            .or_insert_with(|| Target { repository: name.clone(), tags: Vec::new() });
        if name.tag().is_some() && !output.push_by_digest {
            target.tags.push(name.clone());
        }
    }
    let network = (context.network)();
    let task = Task::begin(
        context,
        &format!(
            "pushing {}",
            names.iter().map(Reference::familiar).collect::<Vec<_>>().join(", ")
        ),
    );
    let blobs = blobs(input, image, context)?;
    let outcome = std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let (targets, blobs, store) = (&targets, &blobs, context.store);
        let pusher = scope.spawn(move || {
            let everything = everything(&network.client, targets, blobs, image, store, &sender);
            network.runtime.block_on(everything)
        });
        serve(&receiver, &task, scope, context);
        pusher.join().unwrap_or_else(|_| {
            Err(ExportError::PushBroken(names.first().map(Reference::familiar).unwrap_or_default()))
        })
    });
    if outcome.is_ok() {
        let places = blobs.iter().flat_map(|blob| {
            targets.keys().map(|repository| (blob.descriptor.digest.clone(), repository.clone()))
        });
        context.store.record_locations(&places.collect::<Vec<_>>())?;
    }
    task.end(outcome)
}

/// A blob and the repositories that may lend it.
struct Blob {
    descriptor: Descriptor,
    lenders: Vec<String>,
}

fn blobs(
    input: &ExportInput,
    image: &Image,
    context: &ExportContext<'_>,
) -> Result<Vec<Blob>, ExportError> {
    let mut bases: BTreeMap<&oci::Digest, Vec<String>> = BTreeMap::new();
    for result in &input.platforms {
        for layer in &result.layers {
            if let (ResultLayer::Blob { blob, .. }, Some(base)) = (layer, &result.base) {
                bases.entry(&blob.digest).or_default().push(base.reference.name());
            }
        }
    }
    let mut blobs = Vec::new();
    for blob in image.blobs() {
        // Layers that come from elsewhere by their own URLs are not for registries to hold.
        if media_type::is_foreign_layer(&blob.media_type) && !blob.urls.is_empty() {
            continue;
        }
        let mut lenders = bases.remove(&blob.digest).unwrap_or_default();
        lenders.extend(context.store.locations(&blob.digest)?);
        lenders.dedup();
        blobs.push(Blob { descriptor: blob.clone(), lenders });
    }
    Ok(blobs)
}

/// Passes progress on and fetches base layers, until the pusher is done.
fn serve<'scope>(
    messages: &Receiver<Message>,
    task: &Task<'_>,
    scope: &'scope std::thread::Scope<'scope, '_>,
    context: &'scope ExportContext<'_>,
) {
    for message in messages {
        match message {
            Message::Progress { blob, current } => {
                let done = current >= blob.size;
                task.transfer(&layers::label(&blob.digest), current, Some(blob.size), done);
            }
            Message::Fetch { blob, answer } => {
                scope.spawn(move || {
                    let outcome = (context.fetch)(&blob).map_err(io::Error::other);
                    // Nobody listens any more when the push has failed meanwhile.
                    drop(answer.send(outcome));
                });
            }
        }
    }
}

async fn everything(
    client: &Client,
    targets: &BTreeMap<String, Target>,
    blobs: &[Blob],
    image: &Image,
    store: &Store,
    messages: &Sender<Message>,
) -> Result<(), ExportError> {
    let mut earlier: Vec<String> = Vec::new();
    for (name, target) in targets {
        let failed = |source: RegistryError| ExportError::Push {
            name: name.clone(),
            source: Box::new(source),
        };
        let uploads = stream::iter(blobs).map(|blob| {
            // What a repository of the same registry has just got, it can lend.
            let lenders = lenders(&target.repository, blob, &earlier);
            async move { upload(client, &target.repository, blob, &lenders, store, messages).await }
        });
        uploads.buffer_unordered(PARALLEL).try_collect::<()>().await.map_err(failed)?;
        if image.index.is_some() {
            for (descriptor, manifest) in &image.manifests {
                client
                    .push_manifest_by_digest(&target.repository, descriptor, &manifest.raw)
                    .await
                    .map_err(failed)?;
            }
        }
        earlier.push(name.clone());
    }
    let raw = match (&image.index, image.manifests.first()) {
        (Some(index), _) => &index.raw,
        (None, Some((_, manifest))) => &manifest.raw,
        (None, None) => return Ok(()),
    };
    for (name, target) in targets {
        let failed = |source: RegistryError| ExportError::Push {
            name: name.clone(),
            source: Box::new(source),
        };
        if target.tags.is_empty() {
            client
                .push_manifest_by_digest(&target.repository, &image.root, raw)
                .await
                .map_err(failed)?;
        }
    }
    for tag in targets.values().flat_map(|target| &target.tags) {
        let failed = |source: RegistryError| ExportError::Push {
            name: tag.familiar(),
            source: Box::new(source),
        };
        let tag = tag.tag().map_or_else(|| tag.clone(), |text| tag.with_tag(text));
        client.push_manifest(&tag, &image.root, raw).await.map_err(failed)?;
    }
    Ok(())
}

/// Other repositories of the same registry.
fn lenders(to: &Reference, blob: &Blob, earlier: &[String]) -> Vec<String> {
    let own = to.name();
    let prefix = format!("{}/", to.registry());
    let all = blob.lenders.iter().chain(earlier);
    all.filter(|name| **name != own && name.starts_with(&prefix)).take(4).cloned().collect()
}

async fn upload(
    client: &Client,
    to: &Reference,
    blob: &Blob,
    lenders: &[String],
    store: &Store,
    messages: &Sender<Message>,
) -> Result<(), RegistryError> {
    let source: Arc<dyn BlobSource> = Arc::new(StoredBlob {
        store: store.clone(),
        blob: blob.descriptor.clone(),
        messages: messages.clone(),
    });
    let (sender, descriptor) = (messages.clone(), blob.descriptor.clone());
    // Nobody listens only when the whole export is being torn down.
    let progress: ProgressFn = Arc::new(move |current| {
        drop(sender.send(Message::Progress { blob: descriptor.clone(), current }));
    });
    client.push_blob(to, &blob.descriptor, &source, lenders, &progress).await.map(drop)
}

/// A blob of the store, fetched first where only its descriptor is here.
struct StoredBlob {
    store: Store,
    blob: Descriptor,
    messages: Sender<Message>,
}

impl BlobSource for StoredBlob {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        use io::Seek as _;
        if self.store.blob_size(&self.blob.digest) != Some(self.blob.size) {
            let (answer, answered) = channel();
            let broken = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.messages
                .send(Message::Fetch { blob: self.blob.clone(), answer })
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            answered.recv().map_err(broken)??;
        }
        let mut file = self.store.open_blob(&self.blob.digest).map_err(io::Error::other)?;
        file.seek(io::SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}
