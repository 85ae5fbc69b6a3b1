//! W007, W020, W021, W022, W033: fields that mean nothing, or something else, on Windows.

use super::Look;
use crate::yaml::Node;

/// Fields of a pod's spec that the API server refuses with `os.name: windows`
/// (Kubernetes documentation, "Windows containers in Kubernetes", compatibility and limitations).
const OF_SPEC: &[&str] = &["hostPID", "hostIPC", "shareProcessNamespace"];
/// Fields of the pod's security context.
const OF_POD_CONTEXT: &[&str] = &[
    "seLinuxOptions",
    "seccompProfile",
    "appArmorProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
];
/// Fields of a container's security context.
const OF_CONTEXT: &[&str] = &[
    "seLinuxOptions",
    "seccompProfile",
    "appArmorProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

pub(super) fn check(look: &Look<'_, '_>) {
    forbidden(look);
    storage(look);
    isolation(look);
    limits(look);
}

fn forbidden(look: &Look<'_, '_>) {
    let spec = look.pod.spec;
    let refuse = |parent: Option<&Node>, prefix: &str, names: &[&str]| {
        for name in names {
            if let Some((key, _)) = parent.and_then(|parent| parent.entry(name)) {
                let hint = match *name {
                    "runAsUser" | "runAsGroup" | "fsGroup" => {
                        "remove it; Windows has `securityContext.windowsOptions.runAsUserName`"
                    }
                    "privileged" => "remove it; Windows has `windowsOptions.hostProcess: true`",
                    _ => "remove it, or set it in a manifest for Linux only",
                };
                look.tell(
                    "W007",
                    key.span,
                    format!("`{prefix}{name}` is refused for Windows pods"),
                    hint,
                );
            }
        }
    };
    refuse(Some(spec), "", OF_SPEC);
    refuse(spec.get("securityContext"), "securityContext.", OF_POD_CONTEXT);
    for container in &look.pod.containers {
        refuse(container.node.get("securityContext"), "securityContext.", OF_CONTEXT);
    }
    let ordinary = look.pod.containers.iter().all(|container| !look.pod.is_host_process(container));
    if ordinary
        && let Some((key, value)) = spec.entry("hostNetwork")
        && value.is_true()
    {
        look.tell(
            "W007",
            key.span,
            "`hostNetwork: true` is for HostProcess pods only on Windows",
            "remove it, or make the pod a HostProcess one",
        );
    }
    if let Some(policy) = spec.get("dnsPolicy")
        && policy.text() == Some("ClusterFirstWithHostNet")
    {
        look.tell(
            "W007",
            policy.span,
            "`dnsPolicy: ClusterFirstWithHostNet` is not supported on Windows",
            "write `ClusterFirst`, or leave it out",
        );
    }
}

fn storage(look: &Look<'_, '_>) {
    for volume in look.pod.spec.get("volumes").map(Node::items).unwrap_or_default() {
        if let Some(medium) = volume.at(&["emptyDir", "medium"])
            && medium.text().is_some_and(|text| text == "Memory" || text.starts_with("HugePages"))
        {
            let message = format!(
                "`emptyDir.medium: {}` does not exist on Windows",
                medium.text().unwrap_or_default()
            );
            look.tell(
                "W020",
                medium.span,
                message,
                "leave `medium` out: the volume is then on the node's disk",
            );
        }
        if let Some(path) = volume.at(&["hostPath", "path"])
            && let Some(text) = path.text()
            && text.starts_with('/')
        {
            let windows = text.replace('/', "\\");
            look.tell(
                "W033",
                path.span,
                format!("`{text}` is `C:{windows}` on a Windows node"),
                "",
            );
        }
    }
    for container in &look.pod.containers {
        if let Some((key, _)) = container.node.entry("volumeDevices") {
            let message = format!(
                "container `{}` has `volumeDevices`: Windows has no raw block volumes",
                container.name
            );
            look.tell(
                "W020",
                key.span,
                message,
                "mount the volume with a file system (`volumeMounts`)",
            );
        }
        for mount in container.node.get("volumeMounts").map(Node::items).unwrap_or_default() {
            if let Some((key, value)) = mount.entry("mountPropagation")
                && value.text() != Some("None")
            {
                look.tell("W020", key.span, "Windows has no mount propagation", "remove it");
            }
        }
        for kind in ["limits", "requests"] {
            let resources =
                container.node.at(&["resources", kind]).map(Node::entries).unwrap_or_default();
            for (key, _) in resources {
                if key.text().is_some_and(|name| name.starts_with("hugepages-")) {
                    look.tell("W020", key.span, "Windows nodes have no huge pages", "remove it");
                }
            }
        }
    }
}

fn isolation(look: &Look<'_, '_>) {
    if let Some(handler) = look.pod.class.and_then(|class| class.get("handler"))
        && handler.text().is_some_and(|text| text.contains("hypervisor"))
    {
        let class = look.pod.spec.get("runtimeClassName").map_or(look.pod.head, |name| name.span);
        let message = format!(
            "its RuntimeClass has the handler `{}`: Kubernetes has no Hyper-V isolation",
            handler.text().unwrap_or_default()
        );
        look.tell(
            "W021",
            class,
            message,
            "use the handler `runhcs-wcow-process`, and an image for the node's build",
        );
    }
    let annotations = look.pod.metadata.and_then(|metadata| metadata.get("annotations"));
    for (key, value) in annotations.map(Node::entries).unwrap_or_default() {
        let is_isolation = key.text().is_some_and(|name| name.ends_with("isolation-type"));
        if is_isolation && value.text().is_some_and(|text| text.eq_ignore_ascii_case("hyperv")) {
            look.tell(
                "W021",
                key.span,
                "an annotation asks for Hyper-V isolation, which Kubernetes no longer has",
                "remove it, and choose an image for the node's build",
            );
        }
    }
}

fn limits(look: &Look<'_, '_>) {
    for container in &look.pod.containers {
        if container.node.at(&["resources", "limits", "memory"]).is_none() {
            let message = format!(
                "container `{}` has no limit of memory: Windows ends no process for want of memory, the node pages and slows down",
                container.name
            );
            look.tell(
                "W022",
                container.node.span,
                message,
                "add `resources: {limits: {memory: 800Mi}}` with a value that fits",
            );
        }
    }
}
