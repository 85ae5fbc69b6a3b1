//! Answers the frontend's questions about images, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::remote::Remotes;
use frontend::{ImageName, ImageResolver, ResolveError, ResolvedImage};
use oci::{Digest, ImageConfig, Platform, RootFs};
use sources::{Image, ImageError, Images, LayoutRef};

/// What becomes of a question that no registry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It ends the build.
    Fail,
    /// An image without layers and settings stands in, and is told from real ones.
    StandIn,
}

/// An image that could not be asked for.
#[derive(Clone, Debug)]
pub(crate) struct StandIn {
    /// What stands in the place of its digest.
    pub(crate) digest: Digest,
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Images of one build.
pub(crate) struct Resolver<'a> {
    pub(crate) images: &'a Images,
    /// OCI layouts by the name of their context.
    pub(crate) layouts: BTreeMap<String, LayoutRef>,
    /// When the images that were asked for were made, in seconds; the newest is a time the result may come from.
    pub(crate) created: Mutex<Option<i64>>,
    /// Repositories, and files on web servers.
    pub(crate) remotes: &'a Remotes<'a>,
    unanswered: Unanswered,
    stand_ins: Mutex<Vec<StandIn>>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(
        images: &'a Images,
        layouts: BTreeMap<String, LayoutRef>,
        remotes: &'a Remotes<'a>,
        unanswered: Unanswered,
    ) -> Self {
        let (created, stand_ins) = (Mutex::new(None), Mutex::default());
        Self { images, layouts, created, remotes, unanswered, stand_ins }
    }

    /// The images that others stand in for.
    pub(crate) fn stand_ins(&self) -> Vec<StandIn> {
        self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The image that another stands in for under this identifier of a source.
    pub(crate) fn stand_in(&self, identifier: &str) -> Option<StandIn> {
        if self.unanswered == Unanswered::Fail {
            return None;
        }
        let stand_ins = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner);
        stand_ins.iter().find(|it| identifier.ends_with(it.digest.as_str())).cloned()
    }

    /// An answer in place of one that could not be had.
    fn stand_in_for(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
        error: &ImageError,
    ) -> Option<ResolvedImage> {
        let ImageName::Reference(reference) = name else { return None };
        let unreachable = match error {
            ImageError::Registry { source, .. } => !source.is_not_found(),
            ImageError::Offline { .. } => true,
            _ => false,
        };
        if self.unanswered == Unanswered::Fail || !unreachable {
            return None;
        }
        let name = reference.familiar();
        let digest = Digest::of(format!("stands in for {name}").as_bytes());
        let mut stand_ins = self.stand_ins.lock().unwrap_or_else(PoisonError::into_inner);
        if !stand_ins.iter().any(|it| it.digest == digest) {
            let (message, hint) = (crate::error::chain(error), hint(error));
            stand_ins.push(StandIn { digest: digest.clone(), name, message, hint });
            stand_ins.sort_by(|a, b| a.name.cmp(&b.name));
        }
        // An image without layers would be taken for an empty file system.
        let diff_ids = vec![digest.clone()];
        let config = ImageConfig {
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        Some(ResolvedImage { digest, config })
    }

    /// The image that a source vertex names.
    pub(crate) fn image(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<Image, ImageError> {
        match name {
            ImageName::Reference(reference) => self.images.image(reference, platform),
            ImageName::Layout(name) => match self.layouts.get(name) {
                Some(layout) => self.images.layout(layout, platform),
                None => Err(ImageError::Malformed {
                    image: name.to_owned(),
                    reason: "no context has this name".to_owned(),
                }),
            },
        }
    }

    pub(crate) fn newest(&self) -> Option<i64> {
        *self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ImageResolver for Resolver<'_> {
    fn resolve(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let image = match self.image(name, platform) {
            Ok(image) => image,
            Err(error) => {
                let stand_in = self.stand_in_for(name, platform, &error);
                return stand_in.ok_or_else(|| resolve_error(error));
            }
        };
        let created = image
            .config
            .value
            .created
            .as_deref()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if let Some(created) = created.map(jiff::Timestamp::as_second) {
            let mut newest = self.created.lock().unwrap_or_else(PoisonError::into_inner);
            *newest = Some(newest.map_or(created, |newest| newest.max(created)));
        }
        let digest: Digest = image.root;
        Ok(ResolvedImage { digest, config: image.config.value })
    }

    fn source_time(&self, source: &llb::pb::SourceOp) -> Result<Option<i64>, ResolveError> {
        let shown = crate::remote::without_password(&source.identifier);
        let failed = |error: build_api::BuildError| {
            let hint = match &error {
                build_api::BuildError::Failed { hint, .. } => hint.clone(),
                _ => None,
            };
            let message = format!("cannot ask for the time of {shown}");
            let source = Some(crate::error::chain(&error).into());
            ResolveError::Failed { message, hint, source }
        };
        if let Some(git) = llb::GitSource::from_op(source) {
            return self.remotes.tree(&git).map(|tree| Some(tree.time)).map_err(failed);
        }
        let url = &source.identifier;
        let checksum = source.attr(llb::attr::HTTP_CHECKSUM).filter(|text| !text.is_empty());
        let checksum = checksum.map(str::parse::<Digest>).transpose();
        let checksum =
            checksum.map_err(crate::error::failed("malformed checksum")).map_err(failed)?;
        let found = self.remotes.download(url, checksum.as_ref(), None, &|_, _| {});
        found.map(|found| found.modified).map_err(failed)
    }
}

fn resolve_error(error: ImageError) -> ResolveError {
    match error {
        ImageError::NoPlatform { image, platform, have } => {
            ResolveError::NoPlatform { image, platform, available: have }
        }
        ImageError::Registry { ref image, ref source } if source.is_not_found() => {
            ResolveError::NotFound(image.clone())
        }
        ImageError::Registry { image, source } => {
            let hint = source.hint();
            ResolveError::Failed {
                message: format!("cannot get image `{image}`"),
                hint,
                source: Some(source),
            }
        }
        other => ResolveError::Failed {
            message: other.to_string(),
            hint: None,
            source: std::error::Error::source(&other)
                .map(|cause| crate::error::chain(cause).into()),
        },
    }
}

/// A way out of an error, where one is known.
pub(crate) fn hint(error: &ImageError) -> Option<String> {
    match error {
        ImageError::Registry { source, .. } => source.hint(),
        ImageError::NoPlatform { .. } => {
            Some("build for a platform it has, or choose another base image".to_owned())
        }
        _ => None,
    }
}
