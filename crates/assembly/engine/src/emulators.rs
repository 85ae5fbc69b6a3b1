//! Emulators of this machine, and those of an image that the settings name.

use std::path::PathBuf;

use build_api::BuildError;
use emulation::{Emulators, PlatformStatus, Settings};
use oci::{Platform, Reference};
use report::Progress;
use snapshot::{BlobLayer, Layer};
use sources::{Images, PullPolicy};

use crate::Engine;
use crate::error::{failed, failed_with};
use crate::fetcher::Fetcher;
use crate::reporter::Reporter;
use crate::resolver::hint;

/// Where images keep programs; `tonistiigi/binfmt` and its like have them in `/usr/bin`.
const FOLDERS: [&str; 4] = ["usr/bin", "usr/local/bin", "bin", ""];

impl Engine {
    /// How the usual platforms run here.
    pub fn platforms(&self, progress: &dyn Progress) -> Result<Vec<PlatformStatus>, BuildError> {
        Ok(self.emulators(&[], progress)?.status())
    }

    /// What runs `platforms`. The settings' image is looked at only when one of them is not this machine's, or when none
    /// is named.
    pub(crate) fn emulators(
        &self,
        platforms: &[Platform],
        progress: &dyn Progress,
    ) -> Result<&Emulators, BuildError> {
        let host = Platform::host();
        let native = !platforms.is_empty()
            && platforms.iter().all(|it| it.architecture == host.architecture);
        let Some(image) = self.options.emulator_image.as_ref().filter(|_| !native) else {
            return Ok(&self.emulators);
        };
        if let Some(emulators) = self.image_emulators.get() {
            return Ok(emulators);
        }
        let mut settings = self.options.emulation();
        let mut search = self.unpack_emulators(image, progress)?;
        search.append(&mut settings.search);
        let emulators = Emulators::discover(Settings { search, ..settings });
        Ok(self.image_emulators.get_or_init(|| emulators))
    }

    /// The folders with programs in the image for this machine.
    fn unpack_emulators(
        &self,
        reference: &Reference,
        progress: &dyn Progress,
    ) -> Result<Vec<PathBuf>, BuildError> {
        let what = format!("cannot use emulator image {}", reference.familiar());
        let images = Images::new(self.store.clone(), self.remote.clone(), PullPolicy::Missing);
        let image = images.image(reference, &Platform::host());
        let image = image.map_err(|error| failed_with(what.as_str(), hint(&error))(error))?;
        let fetcher = Fetcher::new(&self.store, &images, Reporter::new(progress));
        let snapshots = self.snapshots()?;
        let mut search = Vec::new();
        let blobs = image.manifest.value.layers.iter().zip(&image.config.value.rootfs.diff_ids);
        for (blob, diff_id) in blobs {
            fetcher.remember(blob, &image);
            let blob =
                BlobLayer { descriptor: blob.clone(), diff_id: diff_id.clone(), windows: false };
            let tree = snapshots
                .ensure_tree(&Layer::blob(blob), &fetcher)
                .map_err(failed(what.as_str()))?;
            let tree = self.store.tree_path(&tree.0);
            search.extend(
                FOLDERS.iter().map(|folder| tree.join(folder)).filter(|path| path.is_dir()),
            );
        }
        // Upper layers replace what lower ones have.
        search.reverse();
        Ok(search)
    }
}
