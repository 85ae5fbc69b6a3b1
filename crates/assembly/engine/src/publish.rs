//! Images that were made without a build, to wherever results of builds go.

use std::collections::BTreeMap;
use std::sync::Arc;

use build_api::{BuildError, BuildRequest, Outcome, PlatformOutcome};
use exporters::{ExportContext, ExportInput, PlatformResult, ResultLayer};
use fstree::Changeset;
use oci::ImageConfig;
use report::Progress;

use crate::Engine;
use crate::error::failed;
use crate::reporter::Reporter;
use crate::results::outputs;

/// An image of one layer.
pub struct MadeImage {
    /// Its configuration, platform and history included; the layer's digest is filled in.
    pub config: ImageConfig,
    /// What its layer holds.
    pub files: Changeset,
    /// Names what the layer holds: images with the same name here have the same files, which are packed once.
    pub key: String,
}

impl Engine {
    /// Writes images, one for each platform, as `request` says of the result of a build: names, labels, annotations and
    /// outputs. Nothing else in it counts.
    pub fn publish(
        &self,
        images: Vec<MadeImage>,
        request: &BuildRequest,
        epoch: i64,
        progress: &dyn Progress,
    ) -> Result<Outcome, BuildError> {
        self.notices.telling(progress, || self.publish_images(images, request, epoch, progress))
    }

    fn publish_images(
        &self,
        images: Vec<MadeImage>,
        request: &BuildRequest,
        epoch: i64,
        progress: &dyn Progress,
    ) -> Result<Outcome, BuildError> {
        let reporter = Reporter::new(progress);
        let _lease = self.store.lease().map_err(failed("cannot use the store"))?;
        let input = ExportInput {
            always_index: false,
            tags: request.tags.clone(),
            annotations: request.annotations.clone(),
            platforms: images.into_iter().map(|image| result(image, &request.labels)).collect(),
        };
        let context = ExportContext {
            store: &self.store,
            fetch: &|blob| Err(format!("layer {} was made here", blob.digest).into()),
            network: &|| self.network(),
            progress,
            began: reporter.began,
            epoch: Some(epoch),
            threads: self.options.threads,
            docker_host: self.options.docker_host.clone(),
        };
        let exported = exporters::export(&input, &outputs(request), &context).map_err(|error| {
            let hint = error.hint();
            BuildError::Failed {
                message: "cannot write the image".to_owned(),
                hint,
                source: Some(Box::new(error)),
            }
        })?;
        exported.warnings.iter().for_each(|warning| reporter.note(warning.clone()));
        let platforms = input.platforms.iter().enumerate().map(|(index, made)| {
            let written = exported.platforms.get(index);
            PlatformOutcome {
                platform: made.platform.clone(),
                manifest: written.map(|it| it.manifest.clone()),
                config: written.map(|it| it.config.clone()),
                size: written.map_or(0, |it| it.size),
                cached: 0,
                ran: 0,
                took: std::time::Duration::ZERO,
            }
        });
        Ok(Outcome {
            platforms: platforms.collect(),
            image: exported.image,
            written: exported.written,
            warnings: Vec::new(),
            took: reporter.began.elapsed(),
            metadata: exported.metadata,
        })
    }
}

fn result(image: MadeImage, labels: &BTreeMap<String, String>) -> PlatformResult {
    let MadeImage { mut config, files, key } = image;
    config.config.labels.extend(labels.clone());
    let files = Arc::new(files);
    let whole = Arc::clone(&files);
    PlatformResult {
        platform: config.platform(),
        config,
        base: None,
        layers: vec![ResultLayer::Made {
            key,
            lasting: false,
            changes: Arc::new(move || Ok(Arc::clone(&files))),
        }],
        files: Arc::new(move || Ok(whole.as_ref().clone())),
        windows_base: None,
    }
}
