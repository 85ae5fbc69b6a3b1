//! W003, W004, W008, W009, W030, W031, W032: does the image fit the pod and its nodes?

use windows::{
    Host, Isolation, Support, build_of, catalogue, compat, release_of_build, release_of_tag,
};

use super::Look;
use crate::image::{ImageFacts, Variant};
use crate::pod::{Asked, BUILD_LABEL, Container};
use crate::yaml::Node;

pub(super) fn check(look: &Look<'_, '_>) {
    mixed(look);
    let selected = look.pod.asks(BUILD_LABEL);
    if let Some(asked) = selected
        && build_of(asked.value).is_none()
    {
        let message = format!("`{}` is not the form of `{BUILD_LABEL}`", asked.value);
        look.tell(
            "W003",
            asked.span,
            message,
            "it has three numbers, such as \"10.0.20348\", in quotes",
        );
    }
    for (container, facts) in look.containers() {
        tag(look, container);
        let Some(facts) = facts else { continue };
        if look.pod.is_host_process(container) {
            continue;
        }
        builds(look, container, facts, selected);
        support(look, container, facts, selected);
        health(look, container, facts);
    }
}

fn span_of(container: &Container<'_>) -> report::Span {
    container.image.map_or(container.node.span, |image| image.span)
}

fn mixed(look: &Look<'_, '_>) {
    let windows = look.containers().find(|(_, facts)| facts.is_some_and(ImageFacts::is_windows));
    for (container, facts) in
        look.containers().filter(|(_, facts)| facts.is_some_and(ImageFacts::is_other))
    {
        let has: Vec<String> = facts
            .into_iter()
            .flat_map(|facts| &facts.variants)
            .map(|one| one.platform.to_string())
            .collect();
        match windows {
            Some((other, _)) => look.tell(
                "W008",
                span_of(container),
                format!(
                    "container `{}` is for {}, container `{}` for Windows",
                    container.name,
                    has.join(", "),
                    other.name
                ),
                "put them into pods of their own: a node runs one operating system",
            ),
            None => look.tell(
                "W009",
                span_of(container),
                format!(
                    "the image of container `{}` has no variant for Windows; it has {}",
                    container.name,
                    has.join(", ")
                ),
                "build it for windows/amd64, or let the pod go to Linux nodes",
            ),
        }
    }
}

/// The host that a build stands for; one that the catalogue does not list gets no Hyper-V.
fn host(build: u32) -> Host {
    let known = catalogue().hosts.iter().find(|host| host.build == build);
    Host {
        id: String::new(),
        name: known.map_or_else(|| "Windows".to_owned(), |host| host.name.clone()),
        build,
        aliases: Vec::new(),
        hyperv: Vec::new(),
        kubernetes: true,
        source: String::new(),
    }
}

fn runs(host: &Host, variant: &Variant) -> bool {
    compat(host, variant.os_version(), Isolation::Process).runs
}

fn builds(
    look: &Look<'_, '_>,
    container: &Container<'_>,
    facts: &ImageFacts,
    selected: Option<Asked<'_>>,
) {
    let variants: Vec<&Variant> = facts.windows().filter(|one| !one.is_host_process()).collect();
    if variants.is_empty() {
        return;
    }
    let has = || {
        let versions: Vec<&str> = variants.iter().filter_map(|one| one.os_version()).collect();
        versions.join(", ")
    };
    if let Some(asked) = selected {
        let Some(build) = build_of(asked.value) else { return };
        if !variants.iter().any(|one| runs(&host(build), one)) {
            let why = variants
                .first()
                .map(|one| compat(&host(build), one.os_version(), Isolation::Process).reason);
            look.tell(
                "W003",
                asked.span,
                format!("nodes with `{BUILD_LABEL}: {}` cannot run the image of container `{}`, which has {}", asked.value, container.name, has()),
                why.unwrap_or_default(),
            );
        }
        return;
    }
    if let Some(build) = look
        .options
        .builds
        .iter()
        .find(|build| !variants.iter().any(|one| runs(&host(**build), one)))
    {
        look.tell(
            "W004",
            span_of(container),
            format!("nodes of build {build} cannot run the image of container `{}`, which has {}", container.name, has()),
            format!("add a nodeSelector `{BUILD_LABEL}`, or build the image for that release too (`--windows-versions`)"),
        );
    } else if look.options.builds.is_empty()
        && let [only] = variants.as_slice()
        && only.build().is_some_and(|build| build < 20348)
    {
        look.tell(
            "W004",
            span_of(container),
            format!(
                "the image of container `{}` runs on nodes of its own build only ({})",
                container.name,
                has()
            ),
            format!(
                "add `{BUILD_LABEL}: \"10.0.{}\"` to the nodeSelector",
                only.build().unwrap_or_default()
            ),
        );
    }
}

fn support(
    look: &Look<'_, '_>,
    container: &Container<'_>,
    facts: &ImageFacts,
    selected: Option<Asked<'_>>,
) {
    let build = selected.and_then(|asked| build_of(asked.value));
    let chosen = facts
        .windows()
        .filter(|one| build.is_none_or(|build| runs(&host(build), one)))
        .max_by_key(|one| one.build());
    let Some(release) = chosen.and_then(Variant::build).and_then(release_of_build) else { return };
    let what = format!("the image of container `{}` is {}", container.name, release.name);
    let newest = "build it on a newer release (`crossdock windows bases`)";
    match release.support(&look.options.today) {
        Support::Mainstream | Support::MainstreamEnding => {}
        Support::Extended | Support::ExtendedEnding => look.tell_at(
            report::Severity::Warning,
            "W030",
            span_of(container),
            format!(
                "{what}, whose mainstream support ended; security updates until {}",
                release.extended_end
            ),
            newest,
        ),
        Support::Ended => look.tell(
            "W030",
            span_of(container),
            format!("{what}, which had its last update on {}", release.extended_end),
            newest,
        ),
    }
}

fn health(look: &Look<'_, '_>, container: &Container<'_>, facts: &ImageFacts) {
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    let has_probe = probes.iter().any(|probe| container.node.get(probe).is_some());
    if !has_probe && facts.windows().any(|one| one.health_check) {
        look.tell(
            "W032",
            span_of(container),
            format!(
                "the HEALTHCHECK of container `{}`'s image is ignored by Kubernetes",
                container.name
            ),
            "add a `livenessProbe`, or a `readinessProbe`",
        );
    }
}

fn tag(look: &Look<'_, '_>, container: &Container<'_>) {
    let Some(reference) =
        container.image.and_then(Node::text).and_then(|text| text.parse::<oci::Reference>().ok())
    else {
        return;
    };
    if reference.digest().is_some() {
        return;
    }
    let tag = reference.tag().unwrap_or("latest");
    let moves = tag == "latest"
        || (release_of_tag(tag).is_some()
            && build_of(tag).is_none()
            && !tag.to_ascii_uppercase().contains("KB"));
    if moves {
        look.tell(
            "W031",
            span_of(container),
            format!(
                "tag `{tag}` of container `{}` moves: nodes may run different images",
                container.name
            ),
            "pin it by digest, or by a full version or month",
        );
    }
}
