//! W001, W002, W005, W006: does the pod get to a Windows node?

use super::Look;
use crate::pod::{OLD_OS_LABEL, OS_LABEL};
use crate::yaml::Node;

pub(super) fn check(look: &Look<'_, '_>) {
    let pod = look.pod;
    match pod.asks(OS_LABEL) {
        None => match pod.asks(OLD_OS_LABEL) {
            Some(old) => look.tell(
                "W002",
                old.span,
                format!("the label `{OLD_OS_LABEL}` is no longer set on nodes"),
                format!("write `{OS_LABEL}: windows`"),
            ),
            None => look.tell(
                "W001",
                pod.head,
                "a Windows pod that may be scheduled on a Linux node",
                format!("add `nodeSelector: {{{OS_LABEL}: windows}}` to the pod's spec"),
            ),
        },
        Some(os) if os.value != "windows" => look.tell(
            "W002",
            os.span,
            format!("a Windows pod that asks for a node with `{OS_LABEL}: {}`", os.value),
            format!("write `{OS_LABEL}: windows`"),
        ),
        Some(_) => {}
    }
    match pod.spec.at(&["os", "name"]) {
        None => look.tell(
            "W005",
            pod.head,
            "`spec.os.name` is missing, so the API server does not check the fields of a Windows pod",
            "add `os: {name: windows}` to the pod's spec",
        ),
        Some(name) if name.text() != Some("windows") => look.tell(
            "W005",
            name.span,
            format!("`spec.os.name` is `{}`", name.text().unwrap_or_default()),
            "write `windows`",
        ),
        Some(_) => {}
    }
    if !pod.tolerations().any(tolerates_windows) {
        look.tell(
            "W006",
            pod.head,
            "no toleration for `os=windows:NoSchedule`, the taint that Windows nodes of mixed clusters usually have",
            "add `tolerations: [{key: os, operator: Equal, value: windows, effect: NoSchedule}]`",
        );
    }
}

/// Whether a toleration covers `os=windows:NoSchedule`.
fn tolerates_windows(toleration: &Node) -> bool {
    let text = |key| toleration.get(key).and_then(Node::text);
    let exists = text("operator") == Some("Exists");
    let key = match text("key") {
        None => exists,
        Some(key) => key == "os" && (exists || text("value") == Some("windows")),
    };
    key && matches!(text("effect"), None | Some("" | "NoSchedule"))
}
