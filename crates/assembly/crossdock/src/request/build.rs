//! The arguments of `build` as one request.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use build_api::{BuildRequest, Context, DockerfileSource, NoCache, TimeSource};

use super::arguments::{build_args, labels};
use super::remote::{Remote, remote};
use super::values::{
    add_host, allow, annotations, build_context, network, platforms, reference, secret, ssh,
    ulimit, windows_versions,
};
use super::{UsageError, bytes, output};
use crate::args::BuildArgs;

/// What arguments mean depends on this much of the world.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The environment.
    pub(crate) variables: &'a BTreeMap<OsString, OsString>,
    /// Whether there is something at a path.
    pub(crate) exists: &'a dyn Fn(&Path) -> bool,
    /// Whether a path is a socket.
    pub(crate) is_socket: &'a dyn Fn(&Path) -> bool,
    /// The address at which steps reach this machine.
    pub(crate) host_address: &'a dyn Fn() -> IpAddr,
    /// Whether standard output is a terminal.
    pub(crate) stdout_is_terminal: bool,
    /// Reads a file of at most so many bytes of text.
    pub(crate) read_text: &'a dyn Fn(&Path, u64) -> io::Result<String>,
    /// What times come from, where `SOURCE_DATE_EPOCH` is not set.
    pub(crate) time: TimeSource,
}

impl Surroundings<'_> {
    /// An environment variable.
    pub(crate) fn variable(&self, name: &OsStr) -> Option<&OsStr> {
        self.variables.get(name).map(OsString::as_os_str)
    }
}

/// What standard input is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdinUse {
    /// Nothing.
    Nothing,
    /// `--file -`.
    Dockerfile,
    /// Context `-`: a Dockerfile or an archive.
    Context,
}

/// What standard input held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// It was not read.
    Unread,
    /// A Dockerfile.
    Text(String),
    /// An archive, kept in this file.
    Archive(PathBuf),
}

/// What standard input is to be read for.
pub(crate) fn stdin_use(args: &BuildArgs) -> Result<StdinUse, UsageError> {
    let file = args.file.as_deref() == Some(Path::new("-"));
    let context = args.context == Path::new("-");
    match (context, file) {
        (true, true) => Err(UsageError::new(
            "standard input cannot be both the context and the Dockerfile",
            "leave out `--file -`: with context `-` a Dockerfile on standard input is enough",
        )),
        (true, false) => Ok(StdinUse::Context),
        (false, true) => Ok(StdinUse::Dockerfile),
        (false, false) => Ok(StdinUse::Nothing),
    }
}

/// The whole request.
pub(crate) fn build_request(
    args: &BuildArgs,
    stdin: Stdin,
    around: &Surroundings<'_>,
) -> Result<BuildRequest, UsageError> {
    for (flag, value) in [("--provenance", &args.provenance), ("--sbom", &args.sbom)] {
        if value
            .as_deref()
            .is_some_and(|value| !matches!(value, "false" | "0" | "f" | "F" | "False" | "FALSE"))
        {
            return Err(UsageError::new(
                format!("{flag}: attestations are not supported yet"),
                format!("leave it out, or write `{flag}=false`"),
            ));
        }
    }
    let (context, dockerfile) = sources(args, stdin, around)?;
    let tags = args.tag.iter().map(|tag| reference("--tag", tag)).collect::<Result<Vec<_>, _>>()?;
    if let Some(tag) = tags.iter().find(|tag| tag.digest().is_some()) {
        return Err(UsageError::new(
            format!("--tag `{tag}` has a digest"),
            "the digest of a result is not known before; give a tag only",
        ));
    }
    let mut build_args = build_args(&args.build_arg_file, &args.build_arg, around)?;
    let time = time(&mut build_args.common, around);
    let labels = labels(&args.label)?;
    let network = network(args.network.as_deref())?;
    let annotations = args
        .annotation
        .iter()
        .map(|text| annotations(text))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    let default_platform = around
        .variable(OsStr::new("DOCKER_DEFAULT_PLATFORM"))
        .and_then(OsStr::to_str)
        .filter(|text| !text.is_empty());
    let platforms = if args.platform.is_empty() {
        platforms("DOCKER_DEFAULT_PLATFORM", default_platform)?
    } else {
        platforms("--platform", args.platform.iter().map(String::as_str))?
    };
    let platforms = windows_versions(platforms, &args.windows_versions)?;
    Ok(BuildRequest {
        context,
        dockerfile,
        platforms,
        target: args.target.clone().filter(|target| !target.is_empty()),
        contexts: unique(
            "--build-context",
            args.build_context.iter().map(|text| build_context(text, around)),
        )?,
        labels: labels.common,
        labels_by_platform: labels.by_platform,
        allow: allow(&args.allow, network)?,
        no_cache: no_cache(args)?,
        pull: args.pull == Some(true),
        secrets: unique("--secret", args.secret.iter().map(|text| secret(text, around)))?,
        ssh: unique("--ssh", args.ssh.iter().map(|text| ssh(text, around)))?,
        network,
        add_hosts: args
            .add_host
            .iter()
            .map(|text| add_host(text, around))
            .collect::<Result<_, _>>()?,
        shm_size: args
            .shm_size
            .as_deref()
            .map(|text| bytes("--shm-size", text))
            .transpose()?
            .filter(|size| *size > 0),
        ulimits: args.ulimit.iter().map(|text| ulimit(text)).collect::<Result<_, _>>()?,
        outputs: output::outputs(args, &tags, &annotations, around)?,
        time,
        reproducible: args.reproducible,
        tags,
        build_args: build_args.common,
        build_args_by_platform: build_args.by_platform,
        annotations,
    })
}

/// A map whose keys were given once each: the second would silently replace the first.
fn unique<T>(
    flag: &str,
    pairs: impl Iterator<Item = Result<(String, T), UsageError>>,
) -> Result<BTreeMap<String, T>, UsageError> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair?;
        if map.insert(key.clone(), value).is_some() {
            return Err(UsageError::new(
                format!("{flag}: `{key}` is given twice"),
                "keep one of them",
            ));
        }
    }
    Ok(map)
}

fn sources(
    args: &BuildArgs,
    stdin: Stdin,
    around: &Surroundings<'_>,
) -> Result<(Context, DockerfileSource), UsageError> {
    if args.context.as_os_str().is_empty() {
        return Err(UsageError::new(
            "the context is empty",
            "name a directory, as in `crossdock build .`",
        ));
    }
    let file = match &args.file {
        Some(path) if path.as_os_str().is_empty() => {
            return Err(UsageError::new("--file is empty", "name a file"));
        }
        Some(path) => match path.to_str().map(|text| remote("--file", text, around)).transpose()? {
            Some(Some(Remote::File(address))) => DockerfileSource::Remote(address),
            Some(Some(Remote::Repository(address))) => {
                return Err(UsageError::new(
                    format!("--file: `{address}` is a repository"),
                    "make it the context, and name the file in it: `--file PATH ADDRESS`",
                ));
            }
            _ => DockerfileSource::Path(path.clone()),
        },
        None => DockerfileSource::Default,
    };
    let context = match args.context.to_str().map(|text| remote("the context", text, around)) {
        Some(found) => found?.map(|it| Context::Remote(it.into_address())),
        None => None,
    };
    let context = context.unwrap_or_else(|| Context::Directory(args.context.clone()));
    let text = |text| DockerfileSource::Text { name: "-".to_owned(), text };
    match (stdin_use(args)?, stdin) {
        (StdinUse::Dockerfile, Stdin::Text(dockerfile)) => Ok((context, text(dockerfile))),
        (StdinUse::Context, Stdin::Text(_)) if args.file.is_some() => Err(UsageError::new(
            "there are two Dockerfiles: the one on standard input and that of --file",
            "leave out `--file`, or send a tar archive to standard input",
        )),
        (StdinUse::Context, Stdin::Text(dockerfile)) => Ok((Context::Empty, text(dockerfile))),
        (StdinUse::Context, Stdin::Archive(archive)) => Ok((Context::Archive(archive), file)),
        (StdinUse::Dockerfile, Stdin::Archive(_)) => Err(UsageError::new(
            "--file -: standard input is an archive, not a Dockerfile",
            "give the archive as context: `crossdock build -`",
        )),
        (StdinUse::Nothing | StdinUse::Context | StdinUse::Dockerfile, _) => Ok((context, file)),
    }
}

fn no_cache(args: &BuildArgs) -> Result<NoCache, UsageError> {
    let stages: Vec<String> = args
        .no_cache_filter
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .filter(|stage| !stage.is_empty())
        .map(str::to_owned)
        .collect();
    match (args.no_cache, stages.is_empty()) {
        (Some(true), false) => Err(UsageError::new(
            "--no-cache and --no-cache-filter exclude one another",
            "keep one of them",
        )),
        (Some(true), true) => Ok(NoCache::Always),
        (_, false) => Ok(NoCache::Stages(stages)),
        (_, true) => Ok(NoCache::Never),
    }
}

/// `SOURCE_DATE_EPOCH` as build argument or in the environment, which also makes it a build argument, as in buildx.
fn time(build_args: &mut BTreeMap<String, String>, around: &Surroundings<'_>) -> TimeSource {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let from_environment = around.variable(OsStr::new(NAME)).filter(|value| !value.is_empty());
    let text = match (build_args.get(NAME), from_environment) {
        (Some(text), _) => text.clone(),
        (None, Some(value)) => value.to_string_lossy().into_owned(),
        (None, None) => return around.time,
    };
    let seconds = text.parse::<i64>();
    build_args.insert(NAME.to_owned(), text);
    // Anything else names what has the time; the Dockerfile has to be known for that.
    seconds.map_or(TimeSource::NewestInput, TimeSource::Epoch)
}

#[cfg(test)]
pub(crate) mod tests {
    use build_api::{ImageOutput, NamedContext, Network, OutputSpec};
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    /// An environment with `HOME=/home/test`, where paths that end in `.sock` are sockets.
    pub(crate) struct Around(BTreeMap<OsString, OsString>);

    pub(crate) fn surroundings(variables: &[(&str, &str)]) -> Around {
        let home = [("HOME", "/home/test")];
        Around(
            variables
                .iter()
                .chain(&home)
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }

    impl Around {
        pub(crate) fn borrow(&self) -> Surroundings<'_> {
            let is_socket =
                &|path: &Path| path.extension().is_some_and(|extension| extension == "sock");
            Surroundings {
                variables: &self.0,
                exists: &|path: &Path| path == Path::new("."),
                is_socket,
                host_address: &|| IpAddr::from([192, 0, 2, 7]),
                stdout_is_terminal: false,
                read_text: &|_, _| Err(io::ErrorKind::NotFound.into()),
                time: TimeSource::NewestInput,
            }
        }
    }

    fn args(line: &str) -> BuildArgs {
        let words = ["crossdock", "build"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Command::Build(args) => *args,
            other => panic!("not a build: {other:?}"),
        }
    }

    fn request(line: &str) -> Result<BuildRequest, UsageError> {
        build_request(&args(line), Stdin::Unread, &surroundings(&[]).borrow())
    }

    #[test]
    fn a_long_command_line_becomes_one_request() -> Result<(), UsageError> {
        let request = request(
            "--platform linux/amd64,linux/arm64 --platform windows/amd64 -t a -t registry.example:5000/b:1 -f docker/Dockerfile --target out \
             --build-arg V=1 --label l=x --no-cache-filter one,two --pull --network none --add-host db:10.0.0.1 --shm-size 64m \
             --ulimit nofile=10 --build-context src=../src --annotation index:k=v --reproducible --push .",
        )?;
        assert_eq!(request.platforms.len(), 3);
        assert_eq!(
            request.tags.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["docker.io/library/a:latest", "registry.example:5000/b:1"]
        );
        assert_eq!(request.context, Context::Directory(".".into()));
        assert_eq!(request.dockerfile, DockerfileSource::Path("docker/Dockerfile".into()));
        assert_eq!(request.target.as_deref(), Some("out"));
        assert_eq!(request.no_cache, NoCache::Stages(vec!["one".into(), "two".into()]));
        assert!(request.pull && request.reproducible);
        assert_eq!((request.network, request.shm_size), (Network::None, Some(64 << 20)));
        assert_eq!(request.contexts.get("src"), Some(&NamedContext::Directory("../src".into())));
        assert_eq!(
            request.outputs,
            [OutputSpec::Image(ImageOutput { push: true, store: true, ..ImageOutput::default() })]
        );
        assert_eq!(request.time, TimeSource::NewestInput);
        Ok(())
    }

    #[test]
    fn without_an_output_the_result_stays_in_the_store() -> Result<(), UsageError> {
        assert_eq!(
            request(".")?.outputs,
            [OutputSpec::Image(ImageOutput { store: true, ..ImageOutput::default() })]
        );
        assert_eq!(request("-o out .")?.outputs.len(), 1);
        Ok(())
    }

    #[test]
    fn push_uses_the_image_output_that_is_there() -> Result<(), UsageError> {
        let outputs =
            request("-t a --push --load -o type=image,compression=zstd -o type=docker .")?.outputs;
        assert_eq!(outputs.len(), 2);
        assert!(matches!(&outputs[0], OutputSpec::Image(image) if image.push));
        assert!(matches!(&outputs[1], OutputSpec::Load(_)));
        Ok(())
    }

    #[test]
    fn switches_may_carry_a_value() -> Result<(), UsageError> {
        assert!(!request("--pull=false --push=false --load=false .")?.pull);
        assert_eq!(request("--no-cache=true .")?.no_cache, NoCache::Always);
        assert_eq!(request("--no-cache .")?.no_cache, NoCache::Always);
        assert_eq!(request("--provenance=false --sbom=false .")?.outputs.len(), 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "--push .",
            "-o type=registry .",
            "-t UPPER .",
            "-t a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 .",
            "--no-cache --no-cache-filter a .",
            "--network bridge .",
            "--platform linux/amd64,, .",
            "--provenance=true .",
            "--sbom mode=max .",
            "https://github.com/a/b.git?rev=1",
            "s3://bucket/context.tar",
            "file:///srv/repository.git",
            "-f https://github.com/a/b.git .",
            "-o - -o type=oci .",
            "--annotation k=v -o out .",
            "--secret id=a,src=/a --secret id=a,src=/b .",
            "--allow everything .",
            "-f - -",
        ] {
            let error = request(line).expect_err(line);
            assert!(error.hint.is_some(), "{line}: {error}");
        }
    }

    #[test]
    fn contexts_and_dockerfiles_may_be_elsewhere() -> Result<(), UsageError> {
        for address in [
            "https://example.com/a/b.git#v1:sub",
            "https://example.com/context.tar.gz",
            "git@example.com:a/b.git",
            "ssh://git@example.com/a",
            "git://example.com/a",
            "github.com/a/b",
        ] {
            assert_eq!(request(address)?.context, Context::Remote(address.to_owned()));
        }
        let request = request(
            "-f https://example.com/Dockerfile --build-context a=https://example.com/a.git .",
        )?;
        let address = "https://example.com/Dockerfile".to_owned();
        assert_eq!(request.dockerfile, DockerfileSource::Remote(address));
        let address = "https://example.com/a.git".to_owned();
        assert_eq!(request.contexts.get("a"), Some(&NamedContext::Remote(address)));
        Ok(())
    }

    #[test]
    fn archives_are_not_written_to_a_terminal() {
        let around = surroundings(&[]);
        let terminal = Surroundings { stdout_is_terminal: true, ..around.borrow() };
        assert!(build_request(&args("-o - ."), Stdin::Unread, &terminal).is_err());
        assert!(build_request(&args("-o - ."), Stdin::Unread, &around.borrow()).is_ok());
    }

    #[test]
    fn the_epoch_comes_from_the_argument_then_the_environment() -> Result<(), UsageError> {
        let around = surroundings(&[("SOURCE_DATE_EPOCH", "1700000000")]);
        let from_environment = build_request(&args("."), Stdin::Unread, &around.borrow())?;
        assert_eq!(from_environment.time, TimeSource::Epoch(1_700_000_000));
        assert_eq!(
            from_environment.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str),
            Some("1700000000")
        );
        let from_argument = build_request(
            &args("--build-arg SOURCE_DATE_EPOCH=5 ."),
            Stdin::Unread,
            &around.borrow(),
        )?;
        assert_eq!(from_argument.time, TimeSource::Epoch(5));
        Ok(())
    }

    #[test]
    fn standard_input_is_a_dockerfile_or_an_archive() -> Result<(), UsageError> {
        let around = surroundings(&[]);
        let build = |line: &str, stdin: Stdin| build_request(&args(line), stdin, &around.borrow());
        let text = || Stdin::Text("FROM scratch".into());
        let dockerfile = DockerfileSource::Text { name: "-".into(), text: "FROM scratch".into() };

        let only_text = build("-", text())?;
        assert_eq!((only_text.context, only_text.dockerfile), (Context::Empty, dockerfile.clone()));
        let with_context = build("-f - dir", text())?;
        assert_eq!(
            (with_context.context, with_context.dockerfile),
            (Context::Directory("dir".into()), dockerfile)
        );
        let archive = build("-f a/Dockerfile -", Stdin::Archive("/tmp/x".into()))?;
        assert_eq!(
            (archive.context, archive.dockerfile),
            (Context::Archive("/tmp/x".into()), DockerfileSource::Path("a/Dockerfile".into()))
        );
        assert!(build("-f a/Dockerfile -", text()).is_err());
        assert!(build("-f - dir", Stdin::Archive("/tmp/x".into())).is_err());
        Ok(())
    }

    #[test]
    fn windows_releases_have_names() -> Result<(), UsageError> {
        let platforms = |line: &str| {
            let request = build_request(&args(line), Stdin::Unread, &surroundings(&[]).borrow())?;
            Ok(request.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (line, expected) in [
            ("--platform windows(ltsc2022)", "windows(10.0.20348)/amd64"),
            ("--platform windows(LTSC2019)/arm64", "windows(10.0.17763)/arm64"),
            ("--platform windows/amd64:ltsc2025", "windows(10.0.26100)/amd64"),
            ("--platform windows(10.0.20348.2113)/amd64", "windows(10.0.20348.2113)/amd64"),
            ("--windows-versions ltsc2022", "windows(10.0.20348)/amd64"),
            (
                "--platform linux/arm64,windows/amd64 --windows-versions ltsc2019,10.0.20348",
                "linux/arm64 windows(10.0.17763)/amd64 windows(10.0.20348)/amd64",
            ),
        ] {
            assert_eq!(platforms(&format!("{line} ."))?, expected);
        }
        for (line, expected) in [
            ("--platform windows(vista)/amd64", "`vista` is no release of Windows"),
            ("--windows-versions xp", "`xp` is no release of Windows"),
            ("--platform windows(ltsc2022) --windows-versions ltsc2019", "together with"),
        ] {
            let error: UsageError = platforms(&format!("{line} .")).expect_err(line);
            assert!(error.to_string().contains(expected), "{error}");
        }
        Ok(())
    }

    #[test]
    fn the_default_platform_of_docker_is_honoured() -> Result<(), UsageError> {
        let around = surroundings(&[("DOCKER_DEFAULT_PLATFORM", "linux/arm64")]);
        let platforms = build_request(&args("."), Stdin::Unread, &around.borrow())?.platforms;
        assert_eq!(platforms.iter().map(ToString::to_string).collect::<Vec<_>>(), ["linux/arm64"]);
        assert_eq!(
            build_request(&args("--platform linux/s390x ."), Stdin::Unread, &around.borrow())?
                .platforms
                .len(),
            1
        );
        assert_eq!(
            build_request(&args("."), Stdin::Unread, &surroundings(&[]).borrow())?.platforms,
            []
        );
        Ok(())
    }
}
