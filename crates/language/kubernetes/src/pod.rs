//! Pods: where they are in a manifest, and what schedules them.

use std::collections::BTreeMap;

use report::{SourceText, Span};

use crate::yaml::Node;

pub(crate) const OS_LABEL: &str = "kubernetes.io/os";
pub(crate) const OLD_OS_LABEL: &str = "beta.kubernetes.io/os";
pub(crate) const BUILD_LABEL: &str = "node.kubernetes.io/windows-build";

/// A pod, or the template of one.
pub(crate) struct Pod<'n> {
    pub(crate) source: &'n SourceText,
    /// `Deployment web`.
    pub(crate) name: String,
    /// Where the object says its kind.
    pub(crate) head: Span,
    pub(crate) spec: &'n Node,
    pub(crate) metadata: Option<&'n Node>,
    pub(crate) containers: Vec<Container<'n>>,
    /// What the pod's RuntimeClass brings, where it is among the manifests.
    pub(crate) class: Option<&'n Node>,
}

pub(crate) struct Container<'n> {
    pub(crate) node: &'n Node,
    pub(crate) name: &'n str,
    pub(crate) image: Option<&'n Node>,
}

/// A label that a pod asks its node to have, and where it says so.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'n> {
    pub(crate) value: &'n str,
    pub(crate) span: Span,
}

/// The pods of some files' documents.
pub(crate) fn pods(files: &[(SourceText, Vec<Node>)]) -> Vec<Pod<'_>> {
    let mut classes = BTreeMap::new();
    let mut objects = Vec::new();
    for (source, documents) in files {
        for document in documents {
            collect(source, document, &mut objects);
        }
    }
    for (_, object) in &objects {
        if object.get("kind").and_then(Node::text) == Some("RuntimeClass")
            && let Some(name) = object.at(&["metadata", "name"]).and_then(Node::text)
        {
            classes.insert(name, *object);
        }
    }
    objects.iter().filter_map(|(source, object)| pod(source, object, &classes)).collect()
}

/// An object, and those in it where it is a list of objects.
fn collect<'n>(
    source: &'n SourceText,
    object: &'n Node,
    into: &mut Vec<(&'n SourceText, &'n Node)>,
) {
    let is_list =
        object.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    match object.get("items") {
        Some(items) if is_list => items.items().iter().for_each(|item| into.push((source, item))),
        _ => into.push((source, object)),
    }
}

fn pod<'n>(
    source: &'n SourceText,
    object: &'n Node,
    classes: &BTreeMap<&str, &'n Node>,
) -> Option<Pod<'n>> {
    let (_, kind) = object.entry("kind")?;
    let path: &[&str] = match kind.text()? {
        "Pod" => &[],
        "PodTemplate" => &["template"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template"],
        // Deployment, DaemonSet, StatefulSet, Job and kinds of others in the same form.
        _ => &["spec", "template"],
    };
    let template = object.at(path)?;
    let spec = template.get("spec")?;
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let nodes = lists.iter().filter_map(|list| spec.get(list)).flat_map(Node::items);
    let containers: Vec<Container<'n>> = nodes
        .map(|node| Container {
            node,
            name: node.get("name").and_then(Node::text).unwrap_or("?"),
            image: node.get("image"),
        })
        .collect();
    if containers.is_empty() {
        return None;
    }
    let name = object.at(&["metadata", "name"]).and_then(Node::text).unwrap_or("without a name");
    let class = spec.get("runtimeClassName").and_then(Node::text);
    Some(Pod {
        source,
        name: format!("{} {name}", kind.text()?),
        head: kind.span,
        spec,
        metadata: template.get("metadata"),
        containers,
        class: class.and_then(|class| classes.get(class).copied()),
    })
}

impl<'n> Pod<'n> {
    /// What the pod asks of its node's label: by selector, by affinity with one value, or by its RuntimeClass.
    pub(crate) fn asks(&self, label: &str) -> Option<Asked<'n>> {
        let of = |node: Option<&'n Node>| {
            let value = node?.get(label)?;
            Some(Asked { value: value.text()?, span: value.span })
        };
        of(self.spec.get("nodeSelector"))
            .or_else(|| self.affinity(label))
            .or_else(|| of(self.class.and_then(|class| class.at(&["scheduling", "nodeSelector"]))))
    }

    /// A required affinity whose every term names the one same value.
    fn affinity(&self, label: &str) -> Option<Asked<'n>> {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let terms = self.spec.at(&["affinity", "nodeAffinity", required, "nodeSelectorTerms"])?;
        let mut found: Option<Asked<'n>> = None;
        for term in terms.items() {
            let expressions = term.get("matchExpressions").map(Node::items).unwrap_or_default();
            let one = expressions.iter().find_map(|expression| {
                let is_it = expression.get("key").and_then(Node::text) == Some(label)
                    && expression.get("operator").and_then(Node::text) == Some("In");
                match expression.get("values").map(Node::items) {
                    Some([value]) if is_it => {
                        Some(Asked { value: value.text()?, span: value.span })
                    }
                    _ => None,
                }
            })?;
            if found.is_some_and(|found| found.value != one.value) {
                return None;
            }
            found = Some(one);
        }
        found
    }

    /// Its tolerations and those of its RuntimeClass.
    pub(crate) fn tolerations(&self) -> impl Iterator<Item = &'n Node> {
        let own = self.spec.get("tolerations");
        let class = self.class.and_then(|class| class.at(&["scheduling", "tolerations"]));
        own.into_iter().chain(class).flat_map(Node::items)
    }

    /// Whether the container runs on the host itself: its own word, else the pod's.
    pub(crate) fn is_host_process(&self, container: &Container<'_>) -> bool {
        let path = ["securityContext", "windowsOptions", "hostProcess"];
        container.node.at(&path).or_else(|| self.spec.at(&path)).is_some_and(Node::is_true)
    }

    /// A field of `windowsOptions` or of the security context around it, as the container has it: its own, else the pod's.
    pub(crate) fn security(&self, container: &Container<'n>, path: &[&str]) -> Option<&'n Node> {
        let find =
            |node: &'n Node| node.get("securityContext").and_then(|context| context.at(path));
        find(container.node).or_else(|| find(self.spec))
    }
}
