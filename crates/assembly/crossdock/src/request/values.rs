//! The values of single flags.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use build_api::{
    Allow, AllowDevices, Annotation, AnnotationLevel, NamedContext, Network, SecretSource,
    SshSource, Ulimit,
};
use oci::{Platform, Reference};

use super::remote::remote;
use super::text::{fields, pair};
use super::{Surroundings, UsageError};

/// `--platform`: lists, several times; `local` is that of the machine. Each platform once, in the order given.
pub(crate) fn platforms<'a>(
    flag: &str,
    lists: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Platform>, UsageError> {
    let mut platforms = Vec::new();
    for text in lists.into_iter().flat_map(|list| list.split(',')).map(str::trim) {
        let platform = match text {
            "" => {
                return Err(UsageError::new(
                    format!("{flag} has an empty platform"),
                    "write `os/architecture`, as in `linux/amd64,linux/arm64`",
                ));
            }
            "local" => Platform::host(),
            text => platform_named(flag, text)?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// A platform; Windows releases may be named: `windows(ltsc2022)`, `windows(ltsc2022)/amd64`, `windows/amd64:ltsc2022`.
pub(super) fn platform_named(flag: &str, text: &str) -> Result<Platform, UsageError> {
    let named = text.split_once(':').and_then(|(platform, release)| {
        platform
            .to_ascii_lowercase()
            .starts_with("windows/")
            .then_some((release, platform.get(8..)?))
    });
    let named = named.or_else(|| {
        let (release, rest) = text.strip_prefix("windows(")?.split_once(')')?;
        Some((release, if rest.is_empty() { "amd64" } else { rest.strip_prefix('/')? }))
    });
    let parsed = match named {
        Some((release, architecture)) => {
            format!("windows({})/{architecture}", windows_version(flag, release)?).parse()
        }
        None => text.parse(),
    };
    parsed.map_err(|error: oci::PlatformError| {
        UsageError::new(
            format!("{flag}: {error}"),
            "`crossdock platforms` lists those that run here",
        )
    })
}

/// The version of a Windows release by its name, or a version as it is.
fn windows_version(flag: &str, text: &str) -> Result<String, UsageError> {
    if let Some(release) = windows::release_named(text) {
        return Ok(format!("10.0.{}", release.build));
    }
    if windows::build_of(text).is_some() {
        return Ok(text.to_owned());
    }
    let served = windows::catalogue().releases.iter().filter(|release| release.served);
    let known: Vec<&str> = served.map(|release| release.id.as_str()).collect();
    Err(UsageError::new(
        format!("{flag}: `{text}` is no release of Windows"),
        format!("it is one of {}, or a version such as 10.0.20348", known.join(", ")),
    ))
}

/// `--windows-versions`: every platform for Windows becomes one for each of the versions; without any, amd64 is meant.
pub(crate) fn windows_versions(
    platforms: Vec<Platform>,
    lists: &[String],
) -> Result<Vec<Platform>, UsageError> {
    const FLAG: &str = "--windows-versions";
    let names = lists.iter().flat_map(|list| list.split(',')).map(str::trim);
    let versions = names.map(|name| windows_version(FLAG, name)).collect::<Result<Vec<_>, _>>()?;
    if versions.is_empty() {
        return Ok(platforms);
    }
    if let Some(exact) = platforms.iter().find(|it| it.is_windows() && !it.os_version.is_empty()) {
        return Err(UsageError::new(
            format!("{FLAG} together with the platform {exact}"),
            "name the versions in one place: `--platform windows/amd64 --windows-versions ltsc2022,ltsc2025`",
        ));
    }
    let (windows, mut platforms): (Vec<_>, Vec<_>) =
        platforms.into_iter().partition(Platform::is_windows);
    let windows =
        if windows.is_empty() { vec![Platform::new("windows", "amd64")] } else { windows };
    for platform in windows {
        for version in &versions {
            let one = Platform { os_version: version.clone(), ..platform.clone() };
            if !platforms.contains(&one) {
                platforms.push(one);
            }
        }
    }
    Ok(platforms)
}

/// An image name.
pub(crate) fn reference(flag: &str, text: &str) -> Result<Reference, UsageError> {
    text.parse().map_err(|error| {
        UsageError::new(
            format!("{flag}: {error}"),
            "names look like `app`, `user/app:1.0` or `registry.example:5000/app`",
        )
    })
}

/// `KEY=VALUE`, with a key.
pub(crate) fn key_value<'a>(
    flag: &str,
    text: &'a str,
) -> Result<(&'a str, Option<&'a str>), UsageError> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    if key.is_empty() {
        return Err(UsageError::new(
            format!("{flag} `{text}` has no name"),
            format!("write `{flag} NAME=VALUE`"),
        ));
    }
    Ok((key, value))
}

/// `--allow`, by buildx's names.
pub(crate) fn allow(texts: &[String], network: Network) -> Result<Allow, UsageError> {
    // Who asks for the machine's network for all steps allows it.
    let mut allow = Allow { host_network: network == Network::Host, ..Allow::default() };
    for text in texts.iter().flat_map(|text| text.split(',')).map(str::trim) {
        match text.split_once('=').unwrap_or((text, "")) {
            ("network.host", "") => allow.host_network = true,
            ("security.insecure", "") => allow.insecure = true,
            ("device", "") => allow.devices = AllowDevices::All,
            ("device", name) => {
                if let AllowDevices::Named(names) = &mut allow.devices {
                    names.insert(name.to_owned());
                }
            }
            _ => {
                return Err(UsageError::new(
                    format!("--allow: there is no permission `{text}`"),
                    "the permissions are network.host, security.insecure, device and device=NAME",
                ));
            }
        }
    }
    Ok(allow)
}

/// `--network`, in buildx's spellings.
pub(crate) fn network(text: Option<&str>) -> Result<Network, UsageError> {
    match text {
        None | Some("" | "default") => Ok(Network::Default),
        Some("none") => Ok(Network::None),
        Some("host") => Ok(Network::Host),
        Some(other) => Err(UsageError::new(
            format!("--network: there is no network `{other}`"),
            "the networks are default, none and host",
        )),
    }
}

/// `--add-host HOST:IP` or `HOST=IP`; `host-gateway` becomes the machine's own address here, as in buildx.
pub(crate) fn add_host(
    text: &str,
    around: &Surroundings<'_>,
) -> Result<(String, String), UsageError> {
    let hint = "write `HOST:IP`, or `HOST:host-gateway` for this machine's address";
    let wrong = |why: &str| UsageError::new(format!("--add-host `{text}` {why}"), hint);
    let (host, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(|| wrong("has no address"))?;
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong("has no valid host name"));
    }
    let address =
        address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address = match address {
        "host-gateway" => (around.host_address)(),
        address => address.parse().map_err(|_| wrong("has no valid address"))?,
    };
    Ok((host.to_owned(), address.to_string()))
}

const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `--ulimit NAME=SOFT[:HARD]`; -1 is unlimited.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, UsageError> {
    let (name, limits) = text.split_once('=').ok_or_else(|| {
        UsageError::new(
            format!("--ulimit `{text}` has no value"),
            "write `NAME=SOFT[:HARD]`, as in `nofile=1024:4096`",
        )
    })?;
    if !LIMITS.contains(&name) {
        let hint = report::did_you_mean(name, LIMITS).map_or_else(
            || format!("limits are {}", LIMITS.join(", ")),
            |guess| format!("did you mean {guess}?"),
        );
        return Err(UsageError::new(format!("--ulimit: there is no limit `{name}`"), hint));
    }
    let number = |text: &str| {
        text.parse::<i64>().ok().filter(|number| *number >= -1).ok_or_else(|| {
            UsageError::new(
                format!("--ulimit {name}: `{text}` is not a limit"),
                "write a number, or -1 for unlimited",
            )
        })
    };
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(UsageError::new(
            format!("--ulimit {name}: the soft limit {soft} is above the hard limit {hard}"),
            "write the lower number first",
        ));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// The part before the `.` of an annotation key of an output, or before the `:` of `--annotation`.
fn annotation_place(
    flag: &str,
    text: &str,
    name: &str,
    platform: Option<&str>,
) -> Result<(AnnotationLevel, Option<Platform>), UsageError> {
    let level = match name {
        "" | "manifest" => AnnotationLevel::Manifest,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index" => AnnotationLevel::Index,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        other => {
            return Err(UsageError::new(
                format!("{flag} `{text}`: there is no annotation type `{other}`"),
                "types are manifest, manifest-descriptor, index and index-descriptor",
            ));
        }
    };
    let platform = platform
        .map(|platform| platforms(flag, [platform]))
        .transpose()?
        .and_then(|list| list.into_iter().next());
    if platform.is_some()
        && matches!(level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor)
    {
        return Err(UsageError::new(
            format!("{flag} `{text}`: an index has no platform"),
            "leave out the part in brackets",
        ));
    }
    Ok((level, platform))
}

/// `--annotation [TYPE[PLATFORM],…:]KEY=VALUE`.
pub(crate) fn annotations(text: &str) -> Result<Vec<Annotation>, UsageError> {
    let flag = "--annotation";
    let (key, value) = key_value(flag, text)?;
    let value = value.ok_or_else(|| {
        UsageError::new(
            format!("{flag} `{text}` has no value"),
            "write `KEY=VALUE` or `TYPE:KEY=VALUE`",
        )
    })?;
    let (places, key) = match key.split_once(':') {
        Some((types, key)) => {
            let place = |part: &str| match part.split_once('[') {
                Some((name, rest)) => {
                    let platform = rest.strip_suffix(']').ok_or_else(|| {
                        UsageError::new(
                            format!("{flag} `{text}`: a `]` is missing"),
                            "write `manifest[linux/arm64]:KEY=VALUE`",
                        )
                    })?;
                    annotation_place(flag, text, name, Some(platform))
                }
                None => annotation_place(flag, text, part, None),
            };
            (types.split(',').map(place).collect::<Result<Vec<_>, _>>()?, key)
        }
        None => (vec![(AnnotationLevel::Manifest, None)], key),
    };
    if key.is_empty() {
        return Err(UsageError::new(
            format!("{flag} `{text}` has no key"),
            "write `TYPE:KEY=VALUE`",
        ));
    }
    let annotation = |(level, platform)| Annotation {
        level,
        platform,
        key: key.to_owned(),
        value: value.to_owned(),
    };
    Ok(places.into_iter().map(annotation).collect())
}

/// `annotation[-TYPE][PLATFORM].KEY` of an output; `None` when `key` is something else.
pub(crate) fn output_annotation(
    flag: &str,
    key: &str,
    value: &str,
) -> Result<Option<Annotation>, UsageError> {
    let Some(rest) =
        key.strip_prefix("annotation").filter(|rest| rest.starts_with(['.', '-', '[']))
    else {
        return Ok(None);
    };
    let wrong = || {
        UsageError::new(
            format!("{flag}: `{key}` is no annotation"),
            "write `annotation.KEY=VALUE` or `annotation-TYPE[PLATFORM].KEY=VALUE`",
        )
    };
    let (place, key_part) = match rest.split_once('[') {
        Some((name, after)) if !name.contains('.') => {
            let (platform, key) = after.split_once("].").ok_or_else(wrong)?;
            ((name, Some(platform)), key)
        }
        _ => {
            let (name, key) = rest.split_once('.').ok_or_else(wrong)?;
            ((name, None), key)
        }
    };
    let (level, platform) =
        annotation_place(flag, key, place.0.strip_prefix('-').unwrap_or(place.0), place.1)?;
    if key_part.is_empty() {
        return Err(wrong());
    }
    Ok(Some(Annotation { level, platform, key: key_part.to_owned(), value: value.to_owned() }))
}

/// `--secret id=ID[,src=FILE|,env=NAME][,type=file|env]`. With neither it is the variable ID, else the file ID.
pub(crate) fn secret(
    text: &str,
    around: &Surroundings<'_>,
) -> Result<(String, SecretSource), UsageError> {
    let flag = "--secret";
    let hint = "write `--secret id=ID,src=FILE` or `--secret id=ID,env=NAME`";
    let (mut id, mut source, mut env, mut kind) = (None, None, None, None);
    for field in fields(flag, text)? {
        let (key, value) = pair(flag, &field)?;
        match key.as_str() {
            "id" => id = Some(value),
            "src" | "source" => source = Some(value),
            "env" => env = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => {
                return Err(UsageError::new(
                    format!("{flag}: there is no type `{value}`"),
                    "types are file and env",
                ));
            }
            other => {
                return Err(UsageError::new(format!("{flag}: there is no key `{other}`"), hint));
            }
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or_else(|| UsageError::new(format!("{flag} `{text}` has no id"), hint))?;
    if kind.as_deref() == Some("env") && env.is_none() {
        env = source.take();
    }
    let by_id = env.is_none() && source.is_none();
    if by_id && kind.as_deref() != Some("file") && around.variable(OsStr::new(&id)).is_some()
        || by_id && kind.as_deref() == Some("env")
    {
        env = Some(id.clone());
    }
    let source = match (env, source) {
        (Some(_), Some(_)) => {
            return Err(UsageError::new(format!("{flag} `{text}` has both src and env"), hint));
        }
        (Some(name), None) => {
            use std::os::unix::ffi::OsStrExt;
            let value = around.variable(OsStr::new(&name)).ok_or_else(|| {
                UsageError::new(
                    format!("{flag} {id}: the environment variable `{name}` is not set"),
                    "set it, or name a file with `src=`",
                )
            })?;
            SecretSource::Value(value.as_bytes().to_vec())
        }
        (None, file) => SecretSource::File(around.path(file.as_deref().unwrap_or(&id))),
    };
    Ok((id, source))
}

/// `--ssh ID[=SOCKET|KEY[,KEY…]]`; without paths it is the agent of the environment.
pub(crate) fn ssh(
    text: &str,
    around: &Surroundings<'_>,
) -> Result<(String, SshSource), UsageError> {
    let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
    if id.is_empty() {
        return Err(UsageError::new(format!("--ssh `{text}` has no id"), "write `--ssh default`"));
    }
    let paths: Vec<PathBuf> = paths
        .into_iter()
        .flat_map(|paths| paths.split(','))
        .filter(|path| !path.is_empty())
        .map(|path| around.path(path))
        .collect();
    let source = match paths.as_slice() {
        [] => {
            let socket = around.variable(OsStr::new("SSH_AUTH_SOCK")).filter(|socket| !socket.is_empty()).ok_or_else(|| {
                UsageError::new(format!("--ssh {id}: no SSH agent is running"), "start one with `eval $(ssh-agent)`, or name a key: `--ssh default=$HOME/.ssh/id_ed25519`")
            })?;
            SshSource::Agent(PathBuf::from(socket))
        }
        [path] if (around.is_socket)(path) => SshSource::Agent(path.clone()),
        paths if paths.iter().any(|path| (around.is_socket)(path)) => {
            return Err(UsageError::new(
                format!("--ssh {id} has an agent's socket among several paths"),
                "name one socket, or only key files",
            ));
        }
        _ => SshSource::Keys(paths),
    };
    Ok((id.to_owned(), source))
}

/// `--build-context NAME=VALUE`.
pub(crate) fn build_context(
    text: &str,
    around: &Surroundings<'_>,
) -> Result<(String, NamedContext), UsageError> {
    let flag = "--build-context";
    let (name, value) = key_value(flag, text)?;
    let value = value.filter(|value| !value.is_empty()).ok_or_else(|| {
        UsageError::new(
            format!("{flag} `{text}` has no value"),
            "write `NAME=DIRECTORY`, `NAME=docker-image://IMAGE`, `NAME=oci-layout://DIRECTORY` or `NAME=https://…`",
        )
    })?;
    let name = reference(flag, name)?.familiar();
    let name = name.strip_suffix(":latest").unwrap_or(&name).to_owned();
    let context = if let Some(image) = value.strip_prefix("docker-image://") {
        NamedContext::Image(reference(flag, image)?)
    } else if let Some(layout) = value.strip_prefix("oci-layout://") {
        let (layout, digest) = layout
            .split_once('@')
            .map_or((layout, None), |(layout, digest)| (layout, Some(digest)));
        let digest = digest.map(str::parse).transpose().map_err(|error| {
            UsageError::new(
                format!("{flag} {name}: {error}"),
                "copy the digest from the layout's index.json",
            )
        })?;
        let (path, tag) = match layout.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (layout, None),
        };
        NamedContext::OciLayout { path: around.path(path), tag, digest }
    } else if let Some(remote) = remote(&format!("{flag} {name}"), value, around)? {
        NamedContext::Remote(remote.into_address())
    } else {
        NamedContext::Directory(around.path(value))
    };
    Ok((name, context))
}

impl Surroundings<'_> {
    /// An environment variable that must be text where it is used.
    pub(super) fn text_variable(
        &self,
        flag: &str,
        name: &str,
    ) -> Result<Option<String>, UsageError> {
        let value = self.variable(OsStr::new(name)).map(OsString::from);
        value.map(OsString::into_string).transpose().map_err(|_| {
            UsageError::new(
                format!("{flag} {name}: the environment variable is not UTF-8"),
                "give the value on the command line",
            )
        })
    }

    /// A path as given on the command line.
    fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), self.variable(OsStr::new("HOME"))) {
            (Some(rest), Some(home)) => Path::new(home).join(rest),
            _ => PathBuf::from(text),
        }
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
