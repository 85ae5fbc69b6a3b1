//! W010 to W016: HostProcess pods, and the users of Windows containers.
//!
//! From KEP-1981, "Create a Windows HostProcess Pod" and "Configure `RunAsUserName`" of the Kubernetes documentation.

use windows::Rule as RuntimeRule;

use super::Look;
use crate::image::ImageFacts;
use crate::pod::Container;
use crate::yaml::Node;

/// Accounts that HostProcess containers may run as, besides local groups.
const ACCOUNTS: [&str; 3] =
    ["NT AUTHORITY\\SYSTEM", "NT AUTHORITY\\Local service", "NT AUTHORITY\\NetworkService"];
/// Where a node's own files are; elsewhere a path is taken for one of the image.
const OF_THE_HOST: [&str; 5] =
    ["c:\\windows", "c:\\program files", "c:\\programdata", "c:\\users", "c:\\hpc"];

pub(super) fn check(look: &Look<'_, '_>) {
    let pod = look.pod;
    let host = pod.containers.iter().filter(|container| pod.is_host_process(container)).count();
    if host > 0 {
        together(look, host);
        for container in &pod.containers {
            paths(look, container);
        }
        volumes(look);
        runtime(look);
    }
    for (container, facts) in look.containers() {
        let is_host = pod.is_host_process(container);
        if !is_host
            && facts.is_some_and(|facts| {
                facts.windows().next().is_some()
                    && facts.windows().all(super::super::image::Variant::is_host_process)
            })
        {
            let span = container.image.map_or(container.node.span, |image| image.span);
            look.tell(
                "W011",
                span,
                format!("the image of container `{}` has no Windows of its own and cannot run as an ordinary container", container.name),
                "add `securityContext: {windowsOptions: {hostProcess: true}}` and `hostNetwork: true`, or build it on nanoserver or servercore",
            );
        }
        user(look, container, is_host, facts);
    }
}

fn together(look: &Look<'_, '_>, host: usize) {
    let pod = look.pod;
    if !pod.spec.get("hostNetwork").is_some_and(Node::is_true) {
        look.tell(
            "W010",
            pod.head,
            "HostProcess without `hostNetwork: true`",
            "add `hostNetwork: true` to the pod's spec",
        );
    }
    if host < pod.containers.len() {
        for container in pod.containers.iter().filter(|container| !pod.is_host_process(container)) {
            look.tell(
                "W010",
                container.node.span,
                format!(
                    "container `{}` is no HostProcess container, others of the pod are",
                    container.name
                ),
                "set `securityContext.windowsOptions.hostProcess` once for the pod",
            );
        }
    }
}

fn paths(look: &Look<'_, '_>, container: &Container<'_>) {
    let words = ["command", "args"]
        .iter()
        .filter_map(|list| container.node.get(list))
        .flat_map(Node::items);
    for word in words {
        let Some(text) = word.text() else { continue };
        if text.contains("CONTAINER_SANDBOX_MOUNT_POINT") {
            continue;
        }
        let folded = text.to_ascii_lowercase().replace('/', "\\");
        let is_absolute = matches!(folded.as_bytes(), [b'a'..=b'z', b':', b'\\', ..]);
        if is_absolute && !OF_THE_HOST.iter().any(|path| folded.starts_with(path)) {
            let rest = text.get(2..).unwrap_or_default();
            look.tell(
                "W013",
                word.span,
                format!("`{text}` is a path of the node; a HostProcess container's own files are elsewhere"),
                format!("if it is a file of the image, write `$env:CONTAINER_SANDBOX_MOUNT_POINT{rest}`"),
            );
        }
    }
}

fn volumes(look: &Look<'_, '_>) {
    for volume in look.pod.spec.get("volumes").map(Node::items).unwrap_or_default() {
        let Some(path) = volume.at(&["hostPath", "path"]) else { continue };
        let is_pipe = path.text().is_some_and(|text| text.starts_with("\\\\.\\pipe\\"));
        let is_socket = volume.at(&["hostPath", "type"]).and_then(Node::text) == Some("Socket");
        if is_pipe || is_socket {
            look.tell(
                "W013",
                path.span,
                "pipes and sockets cannot be mounted into HostProcess containers",
                "remove the volume: the container reaches the host's pipes and sockets by their own paths",
            );
        }
    }
}

fn runtime(look: &Look<'_, '_>) {
    let Some(rule) = look.runtime() else { return };
    let version = look.options.containerd.as_deref().unwrap_or_default();
    if rule != RuntimeRule::SameBuild {
        return;
    }
    for (container, facts) in look.containers() {
        let hidden = facts.is_some_and(|facts| {
            facts.is_index && facts.windows().any(|one| one.os_version().is_none())
        });
        if hidden {
            let span = container.image.map_or(container.node.span, |image| image.span);
            look.tell(
                "W014",
                span,
                format!(
                    "containerd {version} finds no image in an index whose entry has no os.version"
                ),
                "upgrade to containerd 1.6.18 or later, or publish the image without an index",
            );
        }
    }
}

fn user(look: &Look<'_, '_>, container: &Container<'_>, is_host: bool, facts: Option<&ImageFacts>) {
    let pod = look.pod;
    let name = pod.security(container, &["windowsOptions", "runAsUserName"]);
    let non_root = pod.security(container, &["runAsNonRoot"]).filter(|value| value.is_true());
    if let Some(name) = name
        && let Err(reason) = user_name(name.text().unwrap_or_default())
    {
        look.tell(
            "W015",
            name.span,
            format!("`{}` is no name of a Windows user: {reason}", name.text().unwrap_or_default()),
            "write `ContainerUser`, `ContainerAdministrator` or `DOMAIN\\user`",
        );
        return;
    }
    if is_host {
        if let Some(non_root) = non_root {
            look.tell(
                "W012",
                non_root.span,
                "HostProcess containers are refused with `runAsNonRoot: true`",
                "remove it, and choose the user with `runAsUserName`",
            );
        }
        match name {
            None => {
                let what = format!(
                    "container `{}` is a HostProcess container without `runAsUserName`",
                    container.name
                );
                look.tell(
                    "W012",
                    container.node.span,
                    what,
                    "add `runAsUserName: \"NT AUTHORITY\\\\SYSTEM\"` to windowsOptions",
                );
            }
            Some(name) => account(look, name),
        }
        return;
    }
    let administrator = |user: &str| user.eq_ignore_ascii_case("ContainerAdministrator");
    let Some(non_root) = non_root else { return };
    let by_name = name.and_then(Node::text).is_some_and(administrator);
    let by_image = name.is_none()
        && facts.is_some_and(|facts| facts.windows().any(|one| administrator(&one.user)));
    if by_name || by_image {
        look.tell(
            "W016",
            non_root.span,
            format!(
                "`runAsNonRoot: true` and container `{}` would run as ContainerAdministrator",
                container.name
            ),
            "add `windowsOptions: {runAsUserName: ContainerUser}`",
        );
    }
}

fn account(look: &Look<'_, '_>, name: &Node) {
    let text = name.text().unwrap_or_default();
    if ACCOUNTS.iter().any(|account| account.eq_ignore_ascii_case(text)) {
        return;
    }
    if text.contains('\\') {
        look.tell(
            "W012",
            name.span,
            format!("HostProcess containers cannot run as `{text}`"),
            format!(
                "use {}, or a local group by its name alone",
                ACCOUNTS.map(|account| format!("`{account}`")).join(", ")
            ),
        );
    } else if look.runtime().is_some_and(|rule| matches!(rule, RuntimeRule::SameBuild)) {
        look.tell(
            "W014",
            name.span,
            format!("running as a member of the local group `{text}` needs containerd 1.7"),
            "upgrade containerd, or use `NT AUTHORITY\\SYSTEM`",
        );
    }
}

/// The rules of `runAsUserName`: `[DOMAIN\]USER`.
fn user_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().any(char::is_control) {
        return Err("it has control characters");
    }
    let (domain, user) = match text.split_once('\\') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, text),
    };
    if user.is_empty() {
        return Err("no user follows the domain");
    }
    // NT AUTHORITY has a space and is no NetBIOS name, but a domain of its own.
    if domain.is_some_and(|domain| domain.is_empty() || domain.len() > 255) {
        return Err("the domain must have 1 to 255 characters");
    }
    if user.chars().count() > 20 {
        return Err("the user has more than 20 characters");
    }
    if user.chars().all(|c| c == '.' || c == ' ') {
        return Err("the user has only dots and spaces");
    }
    if user
        .contains(['"', '/', '\\', '[', ']', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@'])
    {
        return Err("the user has one of \" / \\ [ ] : ; | = , + * ? < > @");
    }
    Ok(())
}
