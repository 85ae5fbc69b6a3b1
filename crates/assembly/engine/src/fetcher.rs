//! Layers of images, from where they are known to be.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use oci::{Digest, Reference};
use snapshot::{BlobLayer, LayerSource};
use sources::{Image, Images, LayoutRef};
use store::Store;

use crate::error::chain;
use crate::reporter::Reporter;

/// Where the bytes of a layer can be had.
#[derive(Clone)]
enum Place {
    Registry(Reference),
    Layout(LayoutRef),
}

/// Brings layers into the store when somebody needs their bytes.
pub(crate) struct Fetcher<'a> {
    store: &'a Store,
    images: &'a Images,
    reporter: Reporter<'a>,
    places: Mutex<BTreeMap<Digest, Place>>,
    /// Addresses that descriptors name, for registries that do not have the blob themselves.
    addresses: Mutex<BTreeMap<Digest, Vec<String>>>,
    /// Whether a layer that is not here is an error.
    only_here: bool,
}

/// Says that a plan would have needed a layer that is not here.
pub(crate) const NOT_HERE: &str = "a plan fetches no layers";

impl<'a> Fetcher<'a> {
    pub(crate) fn new(store: &'a Store, images: &'a Images, reporter: Reporter<'a>) -> Self {
        Self {
            store,
            images,
            reporter,
            places: Mutex::default(),
            addresses: Mutex::default(),
            only_here: false,
        }
    }

    /// As [`new`](Self::new), for plans: what is not here stays away.
    pub(crate) fn only_here(store: &'a Store, images: &'a Images, reporter: Reporter<'a>) -> Self {
        Self { only_here: true, ..Self::new(store, images, reporter) }
    }

    /// Notes that `image` has the blob.
    pub(crate) fn remember(&self, blob: &oci::Descriptor, image: &Image) {
        if !blob.urls.is_empty() {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.insert(blob.digest.clone(), blob.urls.clone());
        }
        let blob = &blob.digest;
        let place = match &image.layout {
            Some(layout) => Place::Layout(layout.clone()),
            None => Place::Registry(image.reference.clone()),
        };
        self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.clone(), place);
    }

    /// As [`fetch`](Self::fetch), also from any repository that the store knows to have held the blob.
    pub(crate) fn fetch_anywhere(&self, blob: &oci::Descriptor) -> io::Result<()> {
        for place in self.store.locations(&blob.digest).map_err(io::Error::other)? {
            let Ok(reference) = place.parse::<Reference>() else { continue };
            self.places
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(blob.digest.clone(), Place::Registry(reference));
            if self.fetch(blob).is_ok() {
                return Ok(());
            }
        }
        self.fetch(blob)
    }

    /// Makes sure that the store has the blob.
    pub(crate) fn fetch(&self, blob: &oci::Descriptor) -> io::Result<()> {
        if self.store.blob_size(&blob.digest).is_some() {
            return Ok(());
        }
        if self.only_here {
            return Err(io::Error::other(NOT_HERE));
        }
        let place =
            self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest).cloned();
        let place = place.ok_or_else(|| {
            io::Error::other(format!("nobody knows where blob {} is", blob.digest))
        })?;
        // A descriptor of the result does not repeat where else the base's layers lie.
        let mut blob = blob.clone();
        if let Some(urls) =
            self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest)
        {
            blob.urls.clone_from(urls);
        }
        let blob = &blob;
        let name = match &place {
            Place::Registry(reference) => format!("pull {}", reference.familiar()),
            Place::Layout(layout) => format!("read {}", layout.path.display()),
        };
        let id = Digest::of(format!("{name} {}", blob.digest).as_bytes());
        let label = format!("{}:{}", blob.digest.algorithm(), blob.digest.short());
        self.reporter.vertex(&id, &name, None, None);
        self.reporter.started(&id);
        let outcome = match &place {
            Place::Registry(reference) => self.pull(&id, &label, reference, blob),
            Place::Layout(layout) => self.images.fetch_from_layout(layout, blob),
        };
        let outcome = outcome.map_err(|error| io::Error::other(chain(&error)));
        self.reporter.transfer(&id, &label, blob.size, Some(blob.size), true);
        self.reporter.finished(&id, outcome.as_ref().err().map(ToString::to_string));
        outcome
    }

    fn pull(
        &self,
        id: &Digest,
        label: &str,
        reference: &Reference,
        blob: &oci::Descriptor,
    ) -> Result<(), sources::ImageError> {
        // The client's callback has no borrowed parts: it counts, and a thread of this call tells.
        let done = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&done);
        let progress: registry::ProgressFn =
            Arc::new(move |bytes| counter.store(bytes, Ordering::Relaxed));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let teller = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.reporter.transfer(
                        id,
                        label,
                        done.load(Ordering::Relaxed),
                        Some(blob.size),
                        false,
                    );
                    std::thread::park_timeout(std::time::Duration::from_millis(100));
                }
            });
            // Also when the transfer panics: the scope waits for its thread.
            let _end = End { over: &over, teller: teller.thread() };
            self.images.fetch_layer(reference, blob, &progress)
        })
    }
}

/// Ends the thread that tells of a transfer, at once and not after its next pause.
struct End<'a> {
    over: &'a AtomicBool,
    teller: &'a Thread,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.teller.unpark();
    }
}

impl LayerSource for Fetcher<'_> {
    fn open(&self, layer: &BlobLayer) -> io::Result<Box<dyn Read + Send>> {
        self.fetch(&layer.descriptor)?;
        let file = self.store.open_blob(&layer.descriptor.digest).map_err(io::Error::other)?;
        Ok(Box::new(file))
    }
}
