//! `crossdock run` and `crossdock platforms`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use emulation::{How, PlatformStatus, Via};
use engine::{RunRequest, Volume};
use oci::{Descriptor, Platform};
use report::{Event, Progress};
use serde_json::{Value, json};
use store::Store;

use super::image::images_of;
use super::{print, store_failure, table};
use crate::args::{Format, PlatformsArgs, RunArgs};
use crate::failure::Failure;
use crate::progress::clean;
use crate::request::{UsageError, key_value, network, platforms, reference};
use crate::session::Session;

/// Runs a command in an image; its exit code becomes ours.
pub(crate) fn run(args: &RunArgs, session: &Session<'_>) -> Result<(), Failure> {
    let request = run_request(args, &session.environment.variables)?;
    for volume in &request.volumes {
        fs_err::symlink_metadata(&volume.source)
            .map_err(|error| Failure::because("cannot show a volume", error))?;
    }
    let engine = session.engine()?;
    let store = engine.store();
    let known =
        store.lookup(&request.image.to_string()).map_err(store_failure("look up a name"))?;
    let failure = |error| session.failure(error);
    if known.is_none() || args.pull {
        let title = format!("pulling {}", request.image.familiar());
        let shown = session.display(session.mode(None, false)?, &title, false)?;
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let pulled = engine.pull(&request.image, &[platform], &shown);
        drop(shown.finish());
        pulled.map_err(failure)?;
    } else {
        session.end_in_time()?;
    }
    let platform = match (&request.platform, &known) {
        (None, Some(known)) => only_platform(store, known),
        (platform, _) => platform.clone(),
    };
    if let Some(note) = session.untold(store) {
        Notes.event(Event::Note(note));
    }
    let request = RunRequest { platform, pull: false, ..request };
    let code = engine.run(&request, &Notes).map_err(failure)?;
    match u8::try_from(code) {
        Ok(0) => Ok(()),
        Ok(code) => Err(Failure::Exit(code)),
        Err(_) => Err(Failure::Exit(1)),
    }
}

/// That of an image for one platform only, which is not this machine's.
fn only_platform(store: &Store, descriptor: &Descriptor) -> Option<Platform> {
    let mut images = images_of(store, descriptor).ok()?;
    let image = images.pop().filter(|_| images.is_empty())?;
    image.platform.filter(|platform| !platform.satisfies(&Platform::host()))
}

/// Only what a user must know comes between the program's own lines.
struct Notes;

impl Progress for Notes {
    fn event(&self, event: Event) {
        let text = match event {
            Event::Note(note) => format!("note: {}\n", clean(&note)),
            Event::Warning(warning) => format!("warning: {}\n", clean(&warning.to_string())),
            _ => return,
        };
        drop(io::stderr().write_all(text.as_bytes()));
    }
}

/// The arguments as a request.
fn run_request(
    args: &RunArgs,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<RunRequest, UsageError> {
    let mut env = Vec::new();
    for text in &args.env {
        match key_value("--env", text)? {
            (_, Some(_)) => env.push(text.clone()),
            (name, None) => env.extend(
                variables
                    .get(OsStr::new(name))
                    .map(|value| format!("{name}={}", value.to_string_lossy())),
            ),
        }
    }
    if args.workdir.as_deref().is_some_and(|dir| !dir.starts_with('/')) {
        return Err(UsageError::new(
            "--workdir is not absolute",
            "write a path that begins with `/`",
        ));
    }
    Ok(RunRequest {
        image: reference("image", &args.image)?,
        platform: platforms("--platform", args.platform.as_deref())?.pop(),
        entrypoint: args
            .entrypoint
            .as_ref()
            .map(|program| if program.is_empty() { Vec::new() } else { vec![program.clone()] }),
        args: args.command.clone(),
        env,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        network: network(args.network.as_deref())?,
        volumes: args.volume.iter().map(|text| volume(text)).collect::<Result<_, _>>()?,
        pull: args.pull,
    })
}

/// `SOURCE:TARGET[:ro|rw]`.
fn volume(text: &str) -> Result<Volume, UsageError> {
    let wrong = |why: &str| {
        UsageError::new(
            format!("--volume `{text}` {why}"),
            "write `SOURCE:TARGET` or `SOURCE:TARGET:ro`; named volumes are not supported",
        )
    };
    let (source, rest) = text.split_once(':').ok_or_else(|| wrong("has no target"))?;
    let (target, read_only) = match rest.split_once(':') {
        None | Some((_, "rw")) => (rest.strip_suffix(":rw").unwrap_or(rest), false),
        Some((target, "ro")) => (target, true),
        Some((_, option)) => return Err(wrong(&format!("has an unknown option `{option}`"))),
    };
    if !source.starts_with(['/', '.', '~']) {
        return Err(wrong("has a source that is no path"));
    }
    if !target.starts_with('/') || target == "/" {
        return Err(wrong("has a target that is not an absolute path beneath `/`"));
    }
    Ok(Volume { source: PathBuf::from(source), target: PathBuf::from(target), read_only })
}

/// `crossdock platforms`.
pub(crate) fn platforms_here(args: &PlatformsArgs, session: &Session<'_>) -> Result<(), Failure> {
    let statuses = session.engine()?.platforms(&Notes)?;
    match args.format {
        Format::Json => {
            print(&format!("{:#}\n", statuses.iter().map(status_json).collect::<Value>()))
        }
        Format::Table => {
            let mut rows = vec![["PLATFORM", "RUNS", "BY", ""].map(str::to_owned)];
            rows.extend(statuses.iter().map(status_row));
            print(&table(&rows))
        }
    }
}

fn status_row(status: &PlatformStatus) -> [String; 4] {
    let platform = status.platform.to_string();
    match &status.how {
        How::Native => [platform, "natively".to_owned(), "this machine".to_owned(), String::new()],
        How::Emulated(emulator) => {
            let by = format!("{} {}", emulator.name, emulator.version);
            let via = match emulator.via {
                Via::OwnHandler => String::new(),
                Via::HostHandler => " (handler of this machine)".to_owned(),
            };
            [
                platform,
                "emulated".to_owned(),
                by.trim_end().to_owned(),
                format!("{}{via}", emulator.path.display()),
            ]
        }
        How::Missing { reason, hint } => {
            [platform, "no".to_owned(), "-".to_owned(), format!("{reason}; {hint}")]
        }
    }
}

fn status_json(status: &PlatformStatus) -> Value {
    let platform = status.platform.to_string();
    match &status.how {
        How::Native => json!({ "platform": platform, "runs": "native" }),
        How::Emulated(emulator) => json!({
            "platform": platform, "runs": "emulated", "emulator": emulator.name, "version": emulator.version, "path": emulator.path,
            "handler": match emulator.via { Via::OwnHandler => "own", Via::HostHandler => "host" },
        }),
        How::Missing { reason, hint } => {
            json!({ "platform": platform, "runs": "missing", "reason": reason, "hint": hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn request(line: &str) -> Result<RunRequest, UsageError> {
        let words = ["crossdock", "run"].into_iter().chain(line.split_whitespace());
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else {
            panic!("a run")
        };
        run_request(&args, &[("PASSED".into(), "on".into())].into())
    }

    #[test]
    fn what_comes_after_the_image_belongs_to_the_command() -> Result<(), UsageError> {
        let request = request(
            "--platform linux/arm64 -e A=1 -e PASSED -e MISSING -w /src -u 1000:1000 --rm -v /a:/b:ro busybox sh -c --platform -v",
        )?;
        assert_eq!(request.image.familiar(), "busybox:latest");
        assert_eq!(request.args, ["sh", "-c", "--platform", "-v"]);
        assert_eq!(request.env, ["A=1", "PASSED=on"]);
        assert_eq!(
            request.volumes,
            [Volume { source: "/a".into(), target: "/b".into(), read_only: true }]
        );
        assert_eq!(
            (request.workdir.as_deref(), request.user.as_deref(), request.entrypoint),
            (Some("/src"), Some("1000:1000"), None)
        );
        Ok(())
    }

    #[test]
    fn an_empty_entrypoint_is_none_at_all() -> Result<(), UsageError> {
        assert_eq!(request("--entrypoint= busybox ls")?.entrypoint, Some(Vec::new()));
        assert_eq!(
            request("--entrypoint /bin/sh busybox")?.entrypoint,
            Some(vec!["/bin/sh".to_owned()])
        );
        Ok(())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "UPPER",
            "-w src a",
            "-v data:/data a",
            "-v /a a",
            "-v /a:b a",
            "-v /a:/b:z a",
            "-v /a:/ a",
            "--network bridge a",
            "-e =x a",
            "--platform x/y/z/w a",
        ] {
            assert!(request(line).is_err(), "{line}");
        }
    }
}
