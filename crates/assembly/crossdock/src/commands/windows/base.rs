//! `crossdock windows base`.

use build_api::TimeSource;
use engine::MadeImage;
use fstree::Mtime;
use oci::Platform;

use crate::args::HpcArgs;
use crate::commands::build::{mode, perform, request};
use crate::failure::Failure;
use crate::request::{Stdin, UsageError};
use crate::session::Session;

/// Architectures that there is a Windows for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Makes an HPC base and writes it as a build's result is written.
pub(crate) fn hpc(args: &HpcArgs, session: &Session<'_>) -> Result<(), Failure> {
    let args = args.as_build();
    let mode = mode(&args, session)?;
    let request = request(&args, Stdin::Text(String::new()), session)?;
    request.platforms.iter().try_for_each(check)?;
    let title =
        request.tags.first().map_or_else(|| "an HPC base".to_owned(), oci::Reference::familiar);
    // There is no input that could be the newest: without SOURCE_DATE_EPOCH the image is as old as time.
    let epoch = match request.time {
        TimeSource::Epoch(epoch) => epoch,
        TimeSource::NewestInput | TimeSource::Clock(_) => 0,
    };
    let time = jiff::Timestamp::from_second(epoch)
        .map_err(|error| Failure::because("SOURCE_DATE_EPOCH is no time", error))?
        .to_string();
    perform(&args, mode, &title, request, session, &|engine, request, shown| {
        let made = request.platforms.iter().map(|platform| MadeImage {
            config: windows_image::hpc_base(platform, &time),
            files: windows_image::hpc_files(Mtime::seconds(epoch)),
            key: "hpc".to_owned(),
        });
        engine.publish(made.collect(), request, epoch, shown)
    })
}

fn check(platform: &Platform) -> Result<(), UsageError> {
    if !platform.is_windows() || !ARCHITECTURES.contains(&platform.architecture.as_str()) {
        return Err(UsageError::new(
            format!("there is no HPC base for {platform}"),
            "platforms are windows/amd64 and windows/arm64",
        ));
    }
    if !platform.os_version.is_empty() || !platform.os_features.is_empty() {
        return Err(UsageError::new(
            format!("an HPC base has no version of Windows, but {platform} names one"),
            format!("write windows/{}: it runs on every release", platform.architecture),
        ));
    }
    Ok(())
}
