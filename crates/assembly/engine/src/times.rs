//! When a result was made: never when the clock says so, but when its newest input was.

use build_api::BuildError;
use frontend::{Compiled, ImageName};
use oci::{History, ImageConfig, Reference};

use crate::error::failed;
use crate::resolver::Resolver;

/// The image that a result stands on: its name and its history.
type Base = Option<(Reference, Vec<History>)>;

/// The configuration with its times: those of the base's history stay, all else has the build's.
pub(crate) fn dated(
    compiled: &Compiled,
    resolver: &Resolver<'_>,
    epoch: i64,
) -> Result<(ImageConfig, Base), BuildError> {
    let mut config = compiled.config.clone();
    let time = jiff::Timestamp::from_second(epoch)
        .map_err(failed("the build's time is out of range"))?
        .to_string();
    let base = match &compiled.base {
        Some((reference, digest)) => {
            let pinned = reference.with_digest(digest.clone());
            let image = resolver.image(ImageName::Reference(&pinned), &compiled.platform);
            image.ok().map(|image| (pinned, image.config.value.history))
        }
        None => None,
    };
    let kept = base.as_ref().map_or(0, |(_, history)| history.len());
    for entry in config.history.iter_mut().skip(kept) {
        entry.created = Some(time.clone());
    }
    config.created = Some(time);
    Ok((config, base))
}
