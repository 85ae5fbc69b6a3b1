//! What is wrong with an image, by all rules.

use oci::{Descriptor, ImageConfig, Platform};

use crate::finding::{Finding, Severity};
use crate::libraries::Base;
use crate::scan::Contents;
use crate::{config, programs};

/// An image, or what is known of one.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Its configuration; none for a single layer.
    pub config: Option<&'a ImageConfig>,
    /// What the index says it runs on.
    pub platform: Option<&'a Platform>,
    /// Its layers as the manifest has them.
    pub layers: &'a [Descriptor],
    /// What its layers hold.
    pub contents: &'a Contents,
    /// What its programs find besides.
    pub base: Base,
}

/// Everything that is wrong, the worst first, then by layer and path.
pub fn verify(subject: Subject<'_>) -> Vec<Finding> {
    let mut findings = subject.contents.findings.clone();
    if let Some(config) = subject.config {
        config::check(config, subject, &mut findings);
    }
    programs::check(subject, &mut findings);
    findings.sort_by(|one, other| {
        let order = |it: &Finding| (std::cmp::Reverse(it.severity), it.layer, it.path.clone());
        order(one).cmp(&order(other)).then_with(|| one.rule.cmp(other.rule))
    });
    findings.dedup();
    findings
}

/// The base that an image stands on, by what it says and holds, and why. `named` is the base image's name, where an
/// annotation tells it.
pub fn guess_base(
    config: Option<&ImageConfig>,
    named: Option<&str>,
    contents: &Contents,
) -> (Base, &'static str) {
    let repository = named.and_then(|name| {
        let name = name.split('@').next().unwrap_or(name);
        let tag =
            name.rfind(':').filter(|colon| name.rfind('/').is_none_or(|slash| slash < *colon));
        let name = tag.and_then(|colon| name.get(..colon)).unwrap_or(name);
        name.strip_prefix("mcr.microsoft.com/")
    });
    if let Some(base) = repository.and_then(Base::of_repository) {
        return (base, "an annotation names its base image");
    }
    if contents.has_windows() {
        let has = |name: &str| contents.find(&format!("Windows/System32/{name}")).is_some();
        return match (has("wow64.dll"), has("opengl32.dll")) {
            (_, true) => (Base::Server, "its layers have graphics"),
            (true, false) => (Base::ServerCore, "its layers run 32-bit programs"),
            (false, false) => (Base::NanoServer, "its layers run 64-bit programs only"),
        };
    }
    match config {
        None => (Base::ServerCore, "nothing tells; `--base` does"),
        Some(config) if config.os_version.is_empty() => {
            (Base::HostProcess, "it has no version of Windows")
        }
        Some(config) if config.config.user.eq_ignore_ascii_case("ContainerUser") => {
            (Base::NanoServer, "it runs as ContainerUser")
        }
        Some(_) => (Base::ServerCore, "it has a version of Windows"),
    }
}

/// Makes a finding about the configuration.
pub(crate) fn about(
    rule: &'static str,
    severity: Severity,
    field: &str,
    what: impl Into<String>,
    help: Option<&str>,
) -> Finding {
    Finding {
        rule,
        severity,
        layer: None,
        path: field.to_owned(),
        what: what.into(),
        help: help.map(str::to_owned),
    }
}
