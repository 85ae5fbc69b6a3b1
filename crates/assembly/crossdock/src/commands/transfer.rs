//! `crossdock pull` and `crossdock push`.

use std::io::{self, Write};

use oci::{Descriptor, Platform};

use super::print;
use crate::args::{ProgressArgs, PullArgs, PushArgs};
use crate::failure::Failure;
use crate::progress::Mode;
use crate::request::{platforms, reference};
use crate::session::Session;

/// Copies an image from its registry into the local store.
pub(crate) fn pull(args: &PullArgs, session: &Session<'_>) -> Result<(), Failure> {
    let image = reference("image", &args.image)?;
    let mut wanted = platforms("--platform", args.platform.iter().map(String::as_str))?;
    if wanted.is_empty() && !args.all_platforms {
        wanted.push(Platform::host());
    }
    let mode = session.mode(args.progress.progress, args.progress.quiet)?;
    let engine = session.engine()?;
    let shown = session.display(mode, &format!("pulling {}", image.familiar()), false)?;
    let result = engine.pull(&image, &wanted, &shown);
    drop(shown.finish());
    tell(
        mode,
        "pulled",
        &image.familiar(),
        &result.map_err(|error| session.failure(error))?,
        args.progress,
        session,
    )
}

/// Copies an image from the local store to a registry.
pub(crate) fn push(args: &PushArgs, session: &Session<'_>) -> Result<(), Failure> {
    let image = reference("image", &args.image)?;
    let to = args
        .destination
        .as_deref()
        .map(|text| reference("destination", text))
        .transpose()?
        .unwrap_or_else(|| image.clone());
    let mode = session.mode(args.progress.progress, args.progress.quiet)?;
    let engine = session.engine()?;
    let shown = session.display(mode, &format!("pushing {}", to.familiar()), false)?;
    let result = engine.push(&image, &to, &shown);
    drop(shown.finish());
    tell(
        mode,
        "pushed",
        &to.familiar(),
        &result.map_err(|error| session.failure(error))?,
        args.progress,
        session,
    )
}

fn tell(
    mode: Mode,
    done: &str,
    name: &str,
    descriptor: &Descriptor,
    args: ProgressArgs,
    session: &Session<'_>,
) -> Result<(), Failure> {
    if args.quiet || mode == Mode::Quiet {
        return print(&format!("{}\n", descriptor.digest));
    }
    if mode == Mode::RawJson {
        return Ok(());
    }
    let mark = if session.color() { "\u{1b}[32m✔\u{1b}[0m" } else { "✔" };
    drop(
        io::stderr()
            .write_all(format!("{mark} {done} {name}\n  {}\n", descriptor.digest).as_bytes()),
    );
    Ok(())
}
