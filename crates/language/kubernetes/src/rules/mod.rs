//! The rules, and how they are asked.

mod fields;
mod host_process;
mod images;
mod scheduling;

use std::cell::RefCell;
use std::collections::BTreeMap;

use report::{Diagnostic, Severity, SourceText, Span};
use windows::Rule as RuntimeRule;

use crate::image::{ImageFacts, Images};
use crate::pod::{BUILD_LABEL, Container, OS_LABEL, Pod, pods};
use crate::yaml::{Node, documents};

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// `W001`.
    pub id: &'static str,
    /// How bad what it finds is, at worst.
    pub level: Severity,
    /// What it is about.
    pub title: &'static str,
}

/// All rules.
pub const RULES: &[Rule] = &[
    rule("W001", Severity::Error, "A Windows pod must ask for a Windows node"),
    rule(
        "W002",
        Severity::Error,
        "A Windows pod must not ask for a Linux node, nor by the old label",
    ),
    rule("W003", Severity::Error, "The image must run on the selected build of Windows"),
    rule("W004", Severity::Warning, "An image of one build needs nodes of that build"),
    rule("W005", Severity::Warning, "spec.os.name should say windows"),
    rule("W006", Severity::Warning, "Windows nodes of a mixed cluster are usually tainted"),
    rule("W007", Severity::Error, "A field that Windows pods must not have"),
    rule("W008", Severity::Error, "Windows and Linux containers in one pod"),
    rule("W009", Severity::Error, "An image without a variant for Windows on a Windows node"),
    rule(
        "W010",
        Severity::Error,
        "HostProcess needs the host's network, and all containers of the pod",
    ),
    rule("W011", Severity::Error, "An image for HostProcess containers used as an ordinary one"),
    rule("W012", Severity::Error, "A user that HostProcess containers cannot run as"),
    rule("W013", Severity::Warning, "A path of the image in a HostProcess container"),
    rule("W014", Severity::Warning, "HostProcess with a containerd that is too old for it"),
    rule("W015", Severity::Error, "runAsUserName is no name of a Windows user"),
    rule("W016", Severity::Error, "runAsNonRoot with an image that runs as an administrator"),
    rule("W020", Severity::Error, "A kind of storage that Windows nodes do not have"),
    rule("W021", Severity::Error, "Hyper-V isolation does not exist in Kubernetes"),
    rule("W022", Severity::Warning, "A Windows container without a limit of memory"),
    rule("W030", Severity::Error, "The image's Windows is out of support"),
    rule("W031", Severity::Warning, "A tag that moves"),
    rule("W032", Severity::Warning, "Kubernetes ignores the image's health check"),
    rule("W033", Severity::Note, "A path in Linux form on the node's drive C:"),
];

const fn rule(id: &'static str, level: Severity, title: &'static str) -> Rule {
    Rule { id, level, title }
}

/// What is known besides the manifests.
#[derive(Clone, Debug, Default)]
pub struct CheckOptions {
    /// The day to judge support on, `YYYY-MM-DD`.
    pub today: String,
    /// Builds of the cluster's Windows nodes, where they are known.
    pub builds: Vec<u32>,
    /// Release of the nodes' containerd, where it is known.
    pub containerd: Option<String>,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// In the order of the files.
    pub findings: Vec<Diagnostic>,
    /// Images of Windows pods that nothing is known of, and why; rules about them did not run.
    pub unknown: BTreeMap<String, String>,
    /// Pods found, and how many of them are for Windows.
    pub pods: usize,
    /// Pods for Windows.
    pub windows_pods: usize,
}

/// Asks all rules about the pods in `files`. What is no YAML is an error, with its place.
pub fn check(
    files: &[SourceText],
    images: &dyn Images,
    options: &CheckOptions,
) -> Result<Checked, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut parsed = Vec::new();
    for source in files {
        match documents(source) {
            Ok(documents) => parsed.push((source.clone(), documents)),
            Err(error) => errors.push(*error),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut checked = Checked::default();
    let known = Known { images, facts: RefCell::default() };
    for pod in pods(&parsed) {
        checked.pods += 1;
        let facts: Vec<_> = pod.containers.iter().map(|container| known.of(container)).collect();
        if !is_windows(&pod, &facts) {
            continue;
        }
        checked.windows_pods += 1;
        let look = Look { pod: &pod, facts: &facts, options, found: RefCell::default() };
        scheduling::check(&look);
        images::check(&look);
        fields::check(&look);
        host_process::check(&look);
        let mut found = look.found.into_inner();
        found.sort_by_key(|finding| (finding.span.start, finding.rule));
        checked.findings.append(&mut found);
        for (container, facts) in pod.containers.iter().zip(&facts) {
            if let (Some(image), Err(reason)) = (container.image.and_then(Node::text), facts) {
                checked.unknown.insert(image.to_owned(), reason.clone());
            }
        }
    }
    Ok(checked)
}

type Facts = Result<ImageFacts, String>;

/// Remembers what was asked.
struct Known<'a> {
    images: &'a dyn Images,
    facts: RefCell<BTreeMap<String, Facts>>,
}

impl Known<'_> {
    fn of(&self, container: &Container<'_>) -> Facts {
        let Some(image) = container.image.and_then(Node::text) else {
            return Err("the container names no image".to_owned());
        };
        let mut facts = self.facts.borrow_mut();
        facts.entry(image.to_owned()).or_insert_with(|| self.images.facts(image)).clone()
    }
}

/// Whether a pod means Windows: it says so, or one of its images is for Windows only.
fn is_windows(pod: &Pod<'_>, facts: &[Facts]) -> bool {
    let says = |value: Option<&str>| value == Some("windows");
    says(pod.spec.at(&["os", "name"]).and_then(Node::text))
        || says(pod.asks(OS_LABEL).map(|asked| asked.value))
        || says(pod.asks(crate::pod::OLD_OS_LABEL).map(|asked| asked.value))
        || pod.asks(BUILD_LABEL).is_some()
        || pod
            .containers
            .iter()
            .any(|container| pod.security(container, &["windowsOptions"]).is_some())
        || facts.iter().flatten().any(ImageFacts::is_windows)
        || pod.containers.iter().any(|container| names_a_windows_base(container))
}

/// Whether the image is one that is known without looking: a base of Microsoft.
fn names_a_windows_base(container: &Container<'_>) -> bool {
    let Some(image) = container.image.and_then(Node::text) else { return false };
    let Ok(reference) = image.parse::<oci::Reference>() else { return false };
    reference.registry() == windows::REGISTRY && windows::base_of(reference.repository()).is_some()
}

/// What a rule sees.
struct Look<'a, 'n> {
    pod: &'a Pod<'n>,
    /// Of each container's image.
    facts: &'a [Facts],
    options: &'a CheckOptions,
    found: RefCell<Vec<Diagnostic>>,
}

impl<'a, 'n> Look<'a, 'n> {
    /// Containers and what is known of their images.
    fn containers(&self) -> impl Iterator<Item = (&'a Container<'n>, Option<&'a ImageFacts>)> {
        self.pod.containers.iter().zip(self.facts.iter().map(|facts| facts.as_ref().ok()))
    }

    fn runtime(&self) -> Option<RuntimeRule> {
        self.options.containerd.as_deref().and_then(RuntimeRule::of_containerd)
    }

    /// Tells a finding at the level of its rule.
    fn tell(
        &self,
        rule: &'static str,
        span: Span,
        message: impl AsRef<str>,
        hint: impl Into<String>,
    ) {
        let level =
            RULES.iter().find(|other| other.id == rule).map_or(Severity::Error, |rule| rule.level);
        self.tell_at(level, rule, span, message, hint);
    }

    fn tell_at(
        &self,
        level: Severity,
        rule: &'static str,
        span: Span,
        message: impl AsRef<str>,
        hint: impl Into<String>,
    ) {
        let hint: String = hint.into();
        self.found.borrow_mut().push(Diagnostic {
            severity: level,
            rule: Some(rule),
            message: format!("{}: {}", self.pod.name, message.as_ref()),
            source: Some(self.pod.source.clone()),
            span,
            hint: (!hint.is_empty()).then_some(hint),
        });
    }
}
