//! Images between the store and registries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use build_api::BuildError;
use exporters::ExportContext;
use oci::{Descriptor, Platform, Reference};
use report::Progress;
use sources::{Image, Images, PullPolicy};

use crate::Engine;
use crate::error::{failed, failed_with};
use crate::fetcher::Fetcher;
use crate::reporter::Reporter;
use crate::resolver::hint;

/// Layers that travel at the same time.
const PARALLEL: usize = 4;

impl Engine {
    /// Brings an image into the store and names it there; of an index the given platforms, or all.
    pub fn pull(
        &self,
        reference: &Reference,
        platforms: &[Platform],
        progress: &dyn Progress,
    ) -> Result<Descriptor, BuildError> {
        self.notices.telling(progress, || self.pull_image(reference, platforms, progress))
    }

    fn pull_image(
        &self,
        reference: &Reference,
        platforms: &[Platform],
        progress: &dyn Progress,
    ) -> Result<Descriptor, BuildError> {
        let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
        let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Always);
        let what = || format!("cannot pull {}", reference.familiar());
        let found =
            images.find(reference).map_err(|error| failed_with(what(), hint(&error))(error))?;
        let wanted = if platforms.is_empty() {
            images.all(reference)
        } else {
            platforms.iter().map(|platform| images.image(reference, platform)).collect()
        };
        let wanted: Vec<Image> =
            wanted.map_err(|error| failed_with(what(), hint(&error))(error))?;
        let fetcher = Fetcher::new(&self.store, &images, Reporter::new(progress));
        self.fetch_all(&wanted, &fetcher, &what())?;
        self.store.tag(&reference.to_string(), &found.descriptor).map_err(failed(what()))?;
        Ok(found.descriptor)
    }

    /// Brings those images of a reference into the store that are `wanted`, without a name. What the reference stands
    /// for, which may name more images than were brought.
    pub fn fetch(
        &self,
        reference: &Reference,
        wanted: &dyn Fn(&Platform) -> bool,
        progress: &dyn Progress,
    ) -> Result<Descriptor, BuildError> {
        self.notices.telling(progress, || {
            let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
            let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Missing);
            let what = || format!("cannot read {}", reference.familiar());
            let found =
                images.find(reference).map_err(|error| failed_with(what(), hint(&error))(error))?;
            let all =
                images.all(reference).map_err(|error| failed_with(what(), hint(&error))(error))?;
            let all: Vec<Image> =
                all.into_iter().filter(|image| wanted(&image.config.value.platform())).collect();
            let fetcher = Fetcher::new(&self.store, &images, Reporter::new(progress));
            self.fetch_all(&all, &fetcher, &what())?;
            Ok(found.descriptor)
        })
    }

    /// Brings the layers of images into the store, several at a time.
    fn fetch_all(
        &self,
        images: &[Image],
        fetcher: &Fetcher<'_>,
        what: &str,
    ) -> Result<(), BuildError> {
        let mut layers: Vec<&Descriptor> = Vec::new();
        for image in images {
            for layer in &image.manifest.value.layers {
                fetcher.remember(layer, image);
                if !layers.iter().any(|it| it.digest == layer.digest) {
                    layers.push(layer);
                }
            }
        }
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..PARALLEL.min(layers.len()) {
                scope.spawn(|| {
                    while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.options.cancel.load(Ordering::Relaxed) {
                            return;
                        }
                        if let Err(error) = fetcher.fetch(layer) {
                            failure
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                            return;
                        }
                    }
                });
            }
        });
        if self.options.cancel.load(Ordering::Relaxed) {
            return Err(BuildError::Interrupted);
        }
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(failed(what)(error)),
            None => Ok(()),
        }
    }

    /// Makes an image of the store whole: brings layers into it that only a registry has.
    pub fn complete(&self, root: &Descriptor, progress: &dyn Progress) -> Result<(), BuildError> {
        self.notices.telling(progress, || {
            let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
            let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Missing);
            let fetcher = Fetcher::new(&self.store, &images, Reporter::new(progress));
            let layers = images.stored_layers(root).map_err(failed("cannot read the image"))?;
            for layer in
                layers.iter().filter(|layer| !oci::media_type::is_foreign_layer(&layer.media_type))
            {
                fetcher.fetch_anywhere(layer).map_err(failed("cannot make the image whole"))?;
            }
            Ok(())
        })
    }

    /// Pushes what the store has under `name`, as it is, to `to`.
    pub fn push(
        &self,
        name: &Reference,
        to: &Reference,
        progress: &dyn Progress,
    ) -> Result<Descriptor, BuildError> {
        self.notices.telling(progress, || self.push_image(name, to, progress))
    }

    fn push_image(
        &self,
        name: &Reference,
        to: &Reference,
        progress: &dyn Progress,
    ) -> Result<Descriptor, BuildError> {
        let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
        let what = || format!("cannot push {}", name.familiar());
        let found = self.store.lookup(&name.to_string()).map_err(failed(what()))?;
        let Some(root) = found else {
            let hint = "`crossdock image ls` lists the names there are".to_owned();
            return Err(BuildError::Failed {
                message: format!("there is no image {} in the store", name.familiar()),
                hint: Some(hint),
                source: None,
            });
        };
        let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Missing);
        let reporter = Reporter::new(progress);
        let fetcher = Fetcher::new(&self.store, &images, reporter);
        let context = ExportContext {
            store: &self.store,
            fetch: &|blob| fetcher.fetch_anywhere(blob).map_err(Into::into),
            network: &|| self.network(),
            progress,
            began: reporter.began,
            epoch: None,
            threads: self.options.threads,
            docker_host: None,
        };
        exporters::push_stored(&root, to, &context).map_err(|error| {
            let hint = error.hint();
            BuildError::Failed { message: what(), hint, source: Some(Box::new(error)) }
        })?;
        Ok(root)
    }
}
