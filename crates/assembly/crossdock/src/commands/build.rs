//! `crossdock build`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use build_api::{
    BuildError, BuildRequest, Builder, Context, DockerfileSource, ImageOutput, NamedContext,
    Outcome, OutputSpec, SecretSource, TimeSource,
};
use engine::Engine;
use report::{Diagnostic, Event, Progress};
use serde_json::{Value, json};

use super::{print, write_file};
use crate::args::BuildArgs;
use crate::failure::{Failure, diagnostics};
use crate::progress::{Mode, summary};
use crate::request::{
    Stdin, StdinUse, Surroundings, UsageError, build_request, read_text, stdin_use,
};
use crate::session::Session;
use crate::settings::{Time, now};
use crate::stdin::{self, Spooled};

/// Builds, and says what came of it.
pub(crate) fn build(args: &BuildArgs, session: &Session<'_>) -> Result<(), Failure> {
    if let Some(call) = crate::request::call(args)? {
        return super::check::call(args, call, session);
    }
    let mode = mode(args, session)?;
    let (request, _spooled) = read_request(args, session)?;
    let named = request.build_args.get("BUILDKIT_BUILD_NAME").filter(|name| !name.is_empty());
    let title = match (named, request.tags.first()) {
        (Some(name), _) => name.clone(),
        (None, Some(tag)) => tag.familiar(),
        (None, None) => title_of(&request.context),
    };
    perform(args, mode, &title, request, session, &|engine, request, shown| {
        engine.build(request, shown)
    })
}

/// Reads arguments, standard input and environment, and looks whether the files that are named are there. What comes with
/// the request has to stay for as long as that is used.
pub(super) fn read_request(
    args: &BuildArgs,
    session: &Session<'_>,
) -> Result<(BuildRequest, Spooled), Failure> {
    let using = stdin_use(args)?;
    if using != StdinUse::Nothing && io::stdin().is_terminal() {
        let hint = "send it a file, as in `crossdock build - < Dockerfile`";
        return Err(
            UsageError::new("standard input is a terminal, but `-` reads from it", hint).into()
        );
    }
    let mut spooled = stdin::read(using, &mut io::stdin().lock(), &temporary_dir(session))?;
    let stdin = std::mem::replace(&mut spooled.stdin, Stdin::Unread);
    let request = request(args, stdin, session)?;
    check_files(&request)?;
    Ok((request, spooled))
}

/// How progress is shown.
pub(super) fn mode(args: &BuildArgs, session: &Session<'_>) -> Result<Mode, Failure> {
    let quiet = args.quiet == Some(true);
    if quiet
        && args.progress.is_some_and(|mode| {
            !matches!(mode, crate::args::ProgressMode::Auto | crate::args::ProgressMode::Quiet)
        })
    {
        return Err(UsageError::new(
            "--quiet and --progress exclude one another",
            "keep one of them",
        )
        .into());
    }
    session.mode(args.progress, quiet)
}

/// What the arguments mean here.
pub(super) fn request(
    args: &BuildArgs,
    stdin: Stdin,
    session: &Session<'_>,
) -> Result<BuildRequest, Failure> {
    let time = match session.settings.time {
        Time::Inputs => TimeSource::NewestInput,
        Time::Clock => TimeSource::Clock(i64::try_from(now().as_secs()).unwrap_or_default()),
    };
    let surroundings = Surroundings {
        variables: &session.environment.variables,
        exists: &|path| fs_err::symlink_metadata(path).is_ok(),
        is_socket: &is_socket,
        host_address: &host_address,
        stdout_is_terminal: io::stdout().is_terminal(),
        read_text: &read_text,
        time,
    };
    Ok(build_request(args, stdin, &surroundings)?)
}

/// Work that has a result as a build has.
pub(super) type Work<'a> =
    &'a dyn Fn(&Engine, &BuildRequest, &dyn Progress) -> Result<Outcome, BuildError>;

/// Does the work, shows how it goes, and says what came of it in all the ways that were asked for.
pub(super) fn perform(
    args: &BuildArgs,
    mode: Mode,
    title: &str,
    mut request: BuildRequest,
    session: &Session<'_>,
    work: Work<'_>,
) -> Result<(), Failure> {
    let note = keep_what_is_loaded(&mut request.outputs, session.has_docker());
    let engine = session.engine()?;
    let shown = session.display(mode, &format!("building {title}"), request.platforms.len() > 1)?;
    for note in note.map(str::to_owned).into_iter().chain(session.untold(engine.store())) {
        shown.event(Event::Note(note));
    }
    let result = work(&engine, &request, &shown);
    let leftover = shown.finish();
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            tell_warnings(mode, &leftover.warnings, session.color());
            return Err(session.failure(error));
        }
    };
    if mode != Mode::Quiet {
        let mut warnings = leftover.warnings;
        warnings.extend(
            outcome
                .warnings
                .iter()
                .filter(|warning| !warnings.contains(warning))
                .cloned()
                .collect::<Vec<_>>(),
        );
        tell_warnings(mode, &warnings, session.color());
    }
    tell_outcome(args, mode, &request, &outcome, session.color())
}

/// Writes the files that were asked for, and says what was made.
fn tell_outcome(
    args: &BuildArgs,
    mode: Mode,
    request: &BuildRequest,
    outcome: &Outcome,
    color: bool,
) -> Result<(), Failure> {
    if let Some(path) = &args.iidfile {
        write_file(path, image_id(outcome).unwrap_or_default().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        write_file(path, metadata(request, outcome).as_bytes())?;
    }
    match mode {
        Mode::Quiet => match image_id(outcome).filter(|_| !writes_to_stdout(request)) {
            Some(id) => print(&format!("{id}\n")),
            None => Ok(()),
        },
        Mode::RawJson => Ok(()),
        Mode::Tty { .. } | Mode::Plain => {
            // Where standard error is closed, the work is done all the same.
            drop(io::stderr().write_all(summary(outcome, color).as_bytes()));
            Ok(())
        }
    }
}

/// What is loaded into a Docker Engine is also kept in the local store; only there, where there is no engine.
pub(super) fn keep_what_is_loaded(
    outputs: &mut Vec<OutputSpec>,
    has_docker: bool,
) -> Option<&'static str> {
    let loaded = outputs.iter().find_map(|output| match output {
        OutputSpec::Load(image) => Some(image.clone()),
        _ => None,
    })?;
    if !outputs.iter().any(|output| matches!(output, OutputSpec::Image(image) if image.store)) {
        outputs.push(OutputSpec::Image(ImageOutput { store: true, push: false, ..loaded }));
    }
    if has_docker {
        return None;
    }
    outputs.retain(|output| !matches!(output, OutputSpec::Load(_)));
    Some(
        "there is no Docker Engine here to load into; the image is kept in crossdock's local store",
    )
}

/// The image's id: the digest of its configuration, or of the index where there are several.
fn image_id(outcome: &Outcome) -> Option<String> {
    let config = match outcome.platforms.as_slice() {
        [platform] => platform.config.as_ref(),
        _ => None,
    };
    config.or(outcome.image.as_ref().map(|image| &image.digest)).map(ToString::to_string)
}

fn writes_to_stdout(request: &BuildRequest) -> bool {
    use build_api::Destination::Stdout;
    request.outputs.iter().any(|output| {
        matches!(
            output,
            OutputSpec::Tar { dest: Stdout, .. } | OutputSpec::Archive { dest: Stdout, .. }
        )
    })
}

pub(super) fn tell_warnings(mode: Mode, warnings: &[Diagnostic], color: bool) {
    if matches!(mode, Mode::Tty { .. } | Mode::Plain) && !warnings.is_empty() {
        drop(io::stderr().write_all(diagnostics(warnings, color).as_bytes()));
    }
}

/// The document of `--metadata-file`: what the builder says, with what Buildx always writes.
fn metadata(request: &BuildRequest, outcome: &Outcome) -> String {
    let mut fields: BTreeMap<String, Value> = BTreeMap::new();
    let mut add = |key: &str, value: Value| {
        fields.entry(key.to_owned()).or_insert(value);
    };
    for (key, value) in &outcome.metadata {
        add(key, serde_json::from_str(value).unwrap_or_else(|_| json!(value)));
    }
    if let Some(image) = &outcome.image {
        add("containerimage.digest", json!(image.digest));
        add("containerimage.descriptor", json!(image));
    }
    if let [platform] = outcome.platforms.as_slice()
        && let Some(config) = &platform.config
    {
        add("containerimage.config.digest", json!(config));
    }
    if !request.tags.is_empty() {
        let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
        add("image.name", json!(names.join(",")));
    }
    let text = serde_json::to_string_pretty(&fields).unwrap_or_default();
    format!("{text}\n")
}

/// What the command line names must be there before anything is begun.
fn check_files(request: &BuildRequest) -> Result<(), Failure> {
    let directory = |what: &str, path: &Path| match fs_err::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Failure::hint(
            format!("{what} `{}` is not a directory", path.display()),
            "name the directory that holds the files",
        )),
        Err(error) => {
            Err(Failure::because(format!("cannot read {what} `{}`", path.display()), error))
        }
    };
    if let Context::Directory(path) = &request.context {
        directory("the context", path)?;
    }
    if let (DockerfileSource::Path(path), Context::Directory(_)) =
        (&request.dockerfile, &request.context)
    {
        fs_err::metadata(path).map_err(|error| {
            Failure::because(format!("cannot read the Dockerfile `{}`", path.display()), error)
        })?;
    }
    for (name, context) in &request.contexts {
        match context {
            NamedContext::Directory(path) => directory(&format!("build context {name}"), path)?,
            NamedContext::OciLayout { path, .. } => {
                fs_err::metadata(path).map_err(|error| {
                    Failure::because(
                        format!("cannot read build context {name}, `{}`", path.display()),
                        error,
                    )
                })?;
            }
            NamedContext::Image(_) | NamedContext::Remote(_) => {}
        }
    }
    for (id, secret) in &request.secrets {
        if let SecretSource::File(path) = secret {
            fs_err::File::open(path)
                .map_err(|error| Failure::because(format!("cannot read secret {id}"), error))?;
        }
    }
    Ok(())
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs_err::metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The address this machine has towards others, or that of its loopback where it has none. Nothing is sent.
fn host_address() -> IpAddr {
    let outward = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    };
    outward().map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

fn temporary_dir(session: &Session<'_>) -> PathBuf {
    session.environment.get("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

fn title_of(context: &Context) -> String {
    match context {
        Context::Directory(path) => path.display().to_string(),
        Context::Archive(_) => "an archive".to_owned(),
        Context::Remote(address) => without_password(address),
        Context::Empty => "a Dockerfile".to_owned(),
    }
}

/// An address without user name and password.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use build_api::PlatformOutcome;
    use oci::{Descriptor, Digest};

    use super::*;

    fn outcome(platforms: usize) -> Outcome {
        let platform = |index: usize| PlatformOutcome {
            platform: "linux/amd64".parse().unwrap(),
            manifest: None,
            config: Some(Digest::of(format!("config {index}").as_bytes())),
            size: 1,
            cached: 0,
            ran: 1,
            took: Duration::ZERO,
        };
        Outcome {
            image: Some(Descriptor::of("type", b"image")),
            platforms: (0..platforms).map(platform).collect(),
            written: Vec::new(),
            warnings: Vec::new(),
            took: Duration::ZERO,
            metadata: BTreeMap::from([("buildx.build.ref".to_owned(), "\"a/b/c\"".to_owned())]),
        }
    }

    #[test]
    fn the_image_id_is_the_configuration_of_one_and_the_index_of_several() {
        assert_eq!(image_id(&outcome(1)), Some(Digest::of(b"config 0").to_string()));
        assert_eq!(image_id(&outcome(2)), Some(Digest::of(b"image").to_string()));
    }

    #[test]
    fn the_metadata_file_has_the_keys_of_buildx() -> Result<(), serde_json::Error> {
        let request =
            BuildRequest { tags: vec!["app".parse().unwrap()], ..BuildRequest::default() };
        let value: Value = serde_json::from_str(&metadata(&request, &outcome(1)))?;
        assert_eq!(value["buildx.build.ref"], "a/b/c");
        assert_eq!(value["containerimage.digest"], Digest::of(b"image").to_string());
        assert_eq!(value["containerimage.descriptor"]["size"], 5);
        assert_eq!(value["containerimage.config.digest"], Digest::of(b"config 0").to_string());
        assert_eq!(value["image.name"], "docker.io/library/app:latest");
        Ok(())
    }

    #[test]
    fn what_docker_gets_is_kept_here_too() {
        let image = ImageOutput { store: true, ..ImageOutput::default() };
        let load = OutputSpec::Load(image.clone());
        let keep = OutputSpec::Image(image);
        let adapt = |mut outputs: Vec<OutputSpec>, docker| {
            (keep_what_is_loaded(&mut outputs, docker).is_some(), outputs)
        };
        assert_eq!(adapt(vec![load.clone()], true), (false, vec![load.clone(), keep.clone()]));
        assert_eq!(adapt(vec![load.clone()], false), (true, vec![keep.clone()]));
        assert_eq!(
            adapt(vec![keep.clone(), load.clone()], true),
            (false, vec![keep.clone(), load])
        );
        assert_eq!(adapt(vec![keep.clone()], false), (false, vec![keep]));
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"two");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_file(&dir.path().join("missing/id"), b"x").is_err());
    }
}
