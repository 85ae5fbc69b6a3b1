//! Rules about configurations and manifests, and those that hold for HostProcess containers only.

use std::collections::BTreeMap;

use oci::{ContainerConfig, ImageConfig, media_type};

use crate::finding::{Finding, Severity};
use crate::libraries::Base;
use crate::verify::{Subject, about};

use Severity::{Error, Note, Warning};

pub(crate) fn check(config: &ImageConfig, subject: Subject<'_>, findings: &mut Vec<Finding>) {
    platform(config, subject, findings);
    layers(config, subject, findings);
    environment(&config.config, findings);
    commands(&config.config, findings);
    places(&config.config, findings);
    user(&config.config, findings);
    if subject.base == Base::HostProcess {
        host_process(config, subject, findings);
    }
}

fn platform(config: &ImageConfig, subject: Subject<'_>, findings: &mut Vec<Finding>) {
    let version = config.os_version.as_str();
    let parts: Vec<&str> = version.split('.').collect();
    let is_whole = parts.len() == 4
        && parts.iter().all(|part| part.parse::<u32>().is_ok())
        && parts.starts_with(&["10", "0"]);
    if !version.is_empty() && !is_whole {
        let what = format!("`{version}` is no whole version of Windows");
        let help = "it is that of the base image, as in 10.0.20348.3091";
        findings.push(about("WC01", Error, "os.version", what, Some(help)));
    } else if let Some(build) = windows::build_of(version)
        && windows::release_of_build(build).is_none()
    {
        let what = format!("there was no release with build {build}");
        findings.push(about("WC01", Note, "os.version", what, None));
    }
    if !matches!(config.architecture.as_str(), "amd64" | "arm64") {
        let what = format!("there is no Windows container for {}", config.architecture);
        findings.push(about("WC01", Error, "architecture", what, None));
    }
    let Some(platform) = subject.platform else { return };
    let pairs = [
        ("os", &platform.os, &config.os),
        ("architecture", &platform.architecture, &config.architecture),
        ("os.version", &platform.os_version, &config.os_version),
    ];
    for (field, index, config) in pairs {
        if index != config {
            let what = format!("the index says `{index}`, the configuration `{config}`");
            findings.push(about("WC02", Error, field, what, None));
        }
    }
}

fn layers(config: &ImageConfig, subject: Subject<'_>, findings: &mut Vec<Finding>) {
    let read = subject.contents.layers.iter();
    for (number, (read, expected)) in read.zip(&config.rootfs.diff_ids).enumerate() {
        let finding = |rule, severity, what: String, help: Option<&str>| Finding {
            layer: Some(number),
            ..about(rule, severity, "", what, help)
        };
        if let Some(found) = read.diff_id.as_ref().filter(|found| *found != expected) {
            let what = format!("its archive is {found}, but the configuration says {expected}");
            findings.push(finding("WC03", Error, what, None));
        }
        if !read.was_read {
            let what = "it is not here, so it was not checked".to_owned();
            findings.push(finding("WC10", Note, what, Some("`--complete` fetches it")));
        }
        let Some(layer) = subject.layers.get(number) else { continue };
        let kind = layer.media_type.as_str();
        let finding = match kind {
            media_type::OCI_LAYER
            | media_type::OCI_LAYER_GZIP
            | media_type::DOCKER_LAYER
            | media_type::DOCKER_LAYER_GZIP => continue,
            media_type::OCI_LAYER_ZSTD | media_type::DOCKER_LAYER_ZSTD => finding(
                "WC04",
                Warning,
                format!("hosts with containerd before 1.7 cannot read {kind}"),
                Some("build with `compression=gzip`"),
            ),
            _ if media_type::is_foreign_layer(kind) => finding(
                "WC04",
                Note,
                format!("it is a foreign layer ({kind}), which each host fetches from its `urls`"),
                None,
            ),
            _ => finding("WC04", Error, format!("no host reads {kind}"), None),
        };
        findings.push(finding);
    }
}

fn environment(config: &ContainerConfig, findings: &mut Vec<Finding>) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for variable in &config.env {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        if name.is_empty() || !variable.contains('=') {
            let what = format!("`{variable}` is not NAME=value");
            findings.push(about("WC05", Error, "config.Env", what, None));
        }
        if let Some(first) = seen.insert(name.to_uppercase(), name) {
            let what = format!("`{first}` and `{name}` are one variable to Windows");
            findings.push(about("WC05", Error, "config.Env", what, None));
        }
        let leads_to_windows = |value: &str| {
            let value = value.to_lowercase();
            value.contains("\\system32") || value.contains("/system32") || value.contains("%path%")
        };
        if name.eq_ignore_ascii_case("PATH") && !leads_to_windows(value) {
            let what =
                format!("`{variable}` replaces the PATH of Windows and does not lead to System32");
            let help = "write it in full: C:\\Windows\\system32;C:\\Windows;… and what is added";
            findings.push(about("WC05", Warning, "config.Env", what, Some(help)));
        }
    }
}

fn commands(config: &ContainerConfig, findings: &mut Vec<Finding>) {
    let words = |list: &Option<Vec<String>>| list.as_ref().map_or(0, Vec::len);
    let (entrypoint, cmd) = (words(&config.entrypoint), words(&config.cmd));
    if config.args_escaped && entrypoint + cmd > 1 {
        let first = config.entrypoint.iter().chain(&config.cmd).flatten().next();
        // The first is taken as it is, the others are put behind it in quotes.
        if first.is_some_and(|first| first.contains(' ') && !first.starts_with('"'))
            && entrypoint > 0
            && cmd > 0
        {
            let what =
                "ENTRYPOINT and CMD are of two forms: Windows gets the first word without quotes";
            let help = "write both as JSON, or both without";
            findings.push(about("WC06", Warning, "config.ArgsEscaped", what, Some(help)));
        }
    }
    if let Some(word) =
        config.entrypoint.iter().chain(&config.cmd).flatten().find(|word| word.contains('\0'))
    {
        let what = format!("`{}` holds a zero", word.escape_debug());
        findings.push(about("WC06", Error, "config.Cmd", what, None));
    }
    if let Some(first) = config.entrypoint.iter().chain(&config.cmd).flatten().next()
        && first.starts_with('/')
        && !first.contains('\\')
    {
        let what = format!("`{first}` is a path of Linux");
        findings.push(about(
            "WC06",
            Warning,
            "config.Cmd",
            what,
            Some("write C:\\… or a name that PATH finds"),
        ));
    }
}

fn is_on_drive(path: &str) -> bool {
    matches!(path.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

fn places(config: &ContainerConfig, findings: &mut Vec<Finding>) {
    let directory = config.working_dir.as_str();
    if !directory.is_empty() && !is_on_drive(directory) {
        let rooted = directory.starts_with(['\\', '/']);
        let severity = if rooted { Warning } else { Error };
        let what = format!("`{directory}` has no drive");
        let help = if rooted { "it is taken as one of C:; write C:\\…" } else { "write C:\\…" };
        findings.push(about("WC07", severity, "config.WorkingDir", what, Some(help)));
    }
    for volume in config.volumes.keys() {
        let whole_drive = volume.trim_end_matches(['\\', '/']).len() == 2
            && volume.as_bytes().get(1) == Some(&b':');
        if whole_drive && volume.to_lowercase().starts_with('c') {
            let what = format!("`{volume}` would hide the whole image");
            findings.push(about("WC09", Error, "config.Volumes", what, None));
        } else if !is_on_drive(volume) && !whole_drive && !volume.starts_with("\\\\.\\pipe\\") {
            let what = format!("`{volume}` is not absolute");
            findings.push(about("WC09", Warning, "config.Volumes", what, Some("write C:\\…")));
        }
    }
}

/// `[DOMAIN\]USER`, as Kubernetes and Windows take it.
fn user(config: &ContainerConfig, findings: &mut Vec<Finding>) {
    if config.user.is_empty() {
        return;
    }
    let (domain, user) = config.user.split_once('\\').unwrap_or(("", &config.user));
    let mut wrong = None;
    if user.is_empty() || user.chars().all(|it| matches!(it, '.' | ' ')) {
        wrong = Some("it names nobody");
    } else if user.contains(|it: char| it.is_control() || "\"/\\[]:;|=,+*?<>@".contains(it)) {
        wrong = Some("it has characters that no name of a user has");
    } else if user.encode_utf16().count() > 20
        && !user.eq_ignore_ascii_case("ContainerAdministrator")
    {
        wrong = Some("names of users have 20 characters at most");
    } else if domain.len() > 255 || domain.contains(char::is_control) {
        wrong = Some("the domain is none");
    }
    if let Some(wrong) = wrong {
        let what = format!("`{}` is no user: {wrong}", config.user);
        findings.push(about("WC08", Error, "config.User", what, None));
    } else if user.bytes().all(|it| it.is_ascii_digit()) || user == "root" {
        let what = format!("`{user}` is a user of Linux");
        let help = "Windows has ContainerUser and ContainerAdministrator";
        findings.push(about("WC08", Warning, "config.User", what, Some(help)));
    }
}

/// A HostProcess container is a process of the host: places are the host's, the image's files lie somewhere else.
fn host_process(config: &ImageConfig, subject: Subject<'_>, findings: &mut Vec<Finding>) {
    const MOUNT: &str = "%CONTAINER_SANDBOX_MOUNT_POINT%";
    if !config.os_version.is_empty() {
        let what = format!("it is for {} only, though it runs on every release", config.os_version);
        findings.push(about(
            "WH01",
            Warning,
            "os.version",
            what,
            Some("build on a base without one"),
        ));
    }
    let config = &config.config;
    if !config.working_dir.is_empty()
        && !config.working_dir.contains("CONTAINER_SANDBOX_MOUNT_POINT")
    {
        let what = format!(
            "`{}` is a directory of the host, made when it is not there",
            config.working_dir
        );
        let help = format!("for one of the image write {MOUNT}\\…, or leave it out");
        findings.push(about("WH02", Warning, "config.WorkingDir", what, Some(&help)));
    }
    if !config.user.is_empty() {
        let what = format!("`{}` does not count: the pod's `runAsUserName` does", config.user);
        findings.push(about("WH03", Warning, "config.User", what, None));
    }
    for volume in config.volumes.keys() {
        let what = format!("`{volume}` does not count: the container sees all of the host");
        findings.push(about("WH04", Warning, "config.Volumes", what, None));
    }
    let Some(program) = config.entrypoint.iter().chain(&config.cmd).flatten().next() else {
        return;
    };
    if is_on_drive(program)
        && let Some(path) = program.get(2..)
        && subject.contents.find(path).is_some()
    {
        let what = format!(
            "`{program}` is a path of the host; the image's own is elsewhere while it runs"
        );
        let help = format!("write {MOUNT}{}, or a path without a drive", path.replace('/', "\\"));
        findings.push(about("WH05", Warning, "config.Entrypoint", what, Some(&help)));
    }
}
