//! Manifests for an image.

use windows::{build_of, release_of_build};

use crate::image::ImageFacts;
use crate::pod::{BUILD_LABEL, OS_LABEL};

/// What kind of object is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A number of pods, anywhere.
    Deployment,
    /// One pod on every node.
    DaemonSet,
}

/// What the manifest should say.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// The image's name, as it is written.
    pub image: String,
    /// Kind of object.
    pub kind: Workload,
    /// Name of the object; made from the image's name where there is none.
    pub name: Option<String>,
    /// Whether its containers run on the host itself.
    pub host_process: bool,
    /// Builds of the cluster's Windows nodes, where they are known.
    pub builds: Vec<u32>,
}

/// Why there is no manifest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The image is not for Windows.
    #[error("the image has no variant for Windows; it has {0}")]
    NotWindows(String),
    /// An ordinary image is wanted and this is for HostProcess only.
    #[error("the image has no Windows of its own: it runs in HostProcess containers only")]
    NeedsHostProcess,
    /// The name cannot be the name of an object.
    #[error(
        "`{0}` cannot be the name of an object: lower-case letters, digits and `-`, at most 63"
    )]
    Name(String),
    /// The image's name cannot be read.
    #[error("`{0}` is no name of an image")]
    Image(String),
    /// No node of the cluster runs it.
    #[error("nodes of build {0} cannot run the image, which has {1}")]
    Build(u32, String),
}

/// A manifest with everything that a Windows pod needs to be scheduled where it runs; `check` finds nothing in it that
/// could be known.
pub fn generate(facts: &ImageFacts, options: &GenerateOptions) -> Result<String, GenerateError> {
    let platforms =
        || facts.variants.iter().map(|one| one.platform.to_string()).collect::<Vec<_>>().join(", ");
    if facts.windows().next().is_none() {
        return Err(GenerateError::NotWindows(platforms()));
    }
    let ordinary: Vec<u32> =
        facts.windows().filter_map(|one| one.os_version()).filter_map(build_of).collect();
    if ordinary.is_empty() && !options.host_process {
        return Err(GenerateError::NeedsHostProcess);
    }
    let name = name(options)?;
    let selectors = if options.host_process {
        vec![None]
    } else {
        selectors(&ordinary, options, &platforms())?
    };
    let mut text = String::new();
    for (index, selector) in selectors.iter().enumerate() {
        if index > 0 {
            text.push_str("---\n");
        }
        // One object for each build of nodes, where one cannot serve all.
        let name = match selector {
            Some(build) if selectors.len() > 1 => format!("{name}-{build}"),
            _ => name.clone(),
        };
        object(&mut text, &name, facts, options, *selector);
    }
    Ok(text)
}

/// Builds that the objects select: none where any node runs the image.
fn selectors(
    image: &[u32],
    options: &GenerateOptions,
    has: &str,
) -> Result<Vec<Option<u32>>, GenerateError> {
    let runs = |host: u32| {
        image.iter().any(|build| {
            windows::choose(windows::Rule::Stable2025, host, &[Some(&format!("10.0.{build}.0"))])
                .is_some()
        })
    };
    if let Some(host) = options.builds.iter().find(|host| !runs(**host)) {
        // Some nodes run it: those are selected. None does: that is an error.
        let fitting: Vec<Option<u32>> =
            options.builds.iter().filter(|host| runs(**host)).map(|host| Some(*host)).collect();
        return if fitting.is_empty() {
            Err(GenerateError::Build(*host, has.to_owned()))
        } else {
            Ok(fitting)
        };
    }
    let one_old = matches!(image, [build] if *build < 20348);
    Ok(match image {
        _ if !options.builds.is_empty() => vec![None],
        [build] if one_old => vec![Some(*build)],
        // From 20348 on, newer hosts run it too, older ones do not; without knowledge of the cluster the own build is sure.
        [build] => vec![Some(*build)],
        _ => vec![None],
    })
}

fn object(
    text: &mut String,
    name: &str,
    facts: &ImageFacts,
    options: &GenerateOptions,
    build: Option<u32>,
) {
    let kind = match options.kind {
        Workload::Deployment => "Deployment",
        Workload::DaemonSet => "DaemonSet",
    };
    let mut line = |depth: usize, content: &str| {
        text.extend(std::iter::repeat_n("  ", depth).chain([content, "\n"]));
    };
    line(0, "apiVersion: apps/v1");
    line(0, &format!("kind: {kind}"));
    line(0, &format!("metadata: {{name: {name}}}"));
    line(0, "spec:");
    if options.kind == Workload::Deployment {
        line(1, "replicas: 1");
    }
    line(1, &format!("selector: {{matchLabels: {{app: {name}}}}}"));
    line(1, "template:");
    line(2, &format!("metadata: {{labels: {{app: {name}}}}}"));
    line(2, "spec:");
    line(3, "os: {name: windows}");
    if options.host_process {
        line(3, "hostNetwork: true");
    }
    line(3, "nodeSelector:");
    line(4, &format!("{OS_LABEL}: windows"));
    let architectures: Vec<&str> =
        facts.windows().map(|one| one.platform.architecture.as_str()).collect();
    if let Some(first) = architectures.first()
        && architectures.iter().all(|other| other == first)
    {
        line(4, &format!("kubernetes.io/arch: {first}"));
    }
    if let Some(build) = build {
        let release = release_of_build(build)
            .map(|release| format!("  # {}", release.name))
            .unwrap_or_default();
        line(4, &format!("{BUILD_LABEL}: \"10.0.{build}\"{release}"));
    }
    line(3, "tolerations:");
    if options.host_process && options.kind == Workload::DaemonSet {
        line(4, "- {operator: Exists, effect: NoSchedule}");
        line(4, "- {key: CriticalAddonsOnly, operator: Exists}");
    } else {
        line(4, "- {key: os, operator: Equal, value: windows, effect: NoSchedule}");
    }
    if options.host_process {
        line(3, "securityContext:");
        line(4, "windowsOptions: {hostProcess: true, runAsUserName: 'NT AUTHORITY\\SYSTEM'}");
    }
    line(3, "containers:");
    line(4, &format!("- name: {name}"));
    line(5, &format!("image: {}", quoted(&options.image)));
    if options.host_process {
        line(
            5,
            "# The image's files are beneath $env:CONTAINER_SANDBOX_MOUNT_POINT; paths such as C:\\app are the node's.",
        );
    }
    line(5, "resources:");
    line(6, "limits: {cpu: 1, memory: 800Mi}");
    line(6, "requests: {cpu: 100m, memory: 300Mi}");
}

/// A name as a YAML scalar: references need no quotes but for `@` in front, and are quoted all the same when odd.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn name(options: &GenerateOptions) -> Result<String, GenerateError> {
    if let Some(name) = &options.name {
        return if is_label(name) {
            Ok(name.clone())
        } else {
            Err(GenerateError::Name(name.clone()))
        };
    }
    let reference: oci::Reference =
        options.image.parse().map_err(|_| GenerateError::Image(options.image.clone()))?;
    let last = reference.repository().rsplit('/').next().unwrap_or("app");
    let dashed: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .take(50)
        .collect();
    let name = dashed.trim_matches('-').to_owned();
    Ok(if is_label(&name) { name } else { "app".to_owned() })
}

/// RFC 1123 label.
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
