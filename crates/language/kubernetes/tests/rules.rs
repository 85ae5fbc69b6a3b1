//! Every rule on a manifest that breaks it and on one that does not.

use kubernetes::{
    CheckOptions, GenerateError, GenerateOptions, ImageFacts, Images, RULES, Variant, Workload,
    check, generate,
};
use oci::Platform;
use report::{Severity, SourceText};

/// Images by name: `web` for the long-term releases, `old` for 2019 only, `hpc`, `linux`, `both`, …
struct Table;

fn variant(os: &str, version: &str) -> Variant {
    let mut platform = Platform::new(os, "amd64");
    version.clone_into(&mut platform.os_version);
    Variant { platform, health_check: false, user: String::new() }
}

impl Images for Table {
    fn facts(&self, reference: &str) -> Result<ImageFacts, String> {
        let name = reference.split([':', '@']).next().unwrap_or_default();
        let windows = |versions: &[&str]| {
            versions.iter().map(|version| variant("windows", version)).collect()
        };
        let variants: Vec<Variant> = match name {
            "web" => windows(&["10.0.26100.1", "10.0.20348.1", "10.0.17763.1"]),
            "w2025" => windows(&["10.0.26100.1"]),
            "old" => windows(&["10.0.17763.1"]),
            "dead" => windows(&["10.0.19042.1"]),
            "hpc" => windows(&[""]),
            "linux" => vec![variant("linux", "")],
            "both" => vec![variant("linux", ""), variant("windows", "10.0.26100.1")],
            "health" => vec![Variant { health_check: true, ..variant("windows", "10.0.26100.1") }],
            "admin" => vec![Variant {
                user: "ContainerAdministrator".to_owned(),
                ..variant("windows", "10.0.26100.1")
            }],
            _ => return Err("not in the table".to_owned()),
        };
        Ok(ImageFacts { is_index: variants.len() > 1 || name == "hpc", variants })
    }
}

fn options() -> CheckOptions {
    CheckOptions { today: "2026-01-01".to_owned(), ..CheckOptions::default() }
}

fn found_with(text: &str, options: &CheckOptions) -> Vec<(String, Severity)> {
    let source = SourceText { name: "pod.yaml".into(), text: text.into() };
    let checked = check(&[source], &Table, options).expect("it is YAML");
    for finding in &checked.findings {
        assert!(finding.span.start < finding.span.end, "{finding:?} has no place");
        assert!(finding.span.end <= text.len());
    }
    checked
        .findings
        .iter()
        .map(|finding| (finding.rule.unwrap_or_default().to_owned(), finding.severity))
        .collect()
}

fn found(text: &str) -> Vec<String> {
    found_with(text, &options()).into_iter().map(|(rule, _)| rule).collect()
}

/// A pod in which nothing is wrong, with lines put into its spec and its container.
fn pod(spec: &str, image: &str, container: &str) -> String {
    let indented = |text: &str, by: usize| {
        let lines: Vec<String> = text.lines().map(|line| format!("{:by$}{line}\n", "")).collect();
        lines.concat()
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n{}  containers:\n    - name: c\n      image: {image}\n      resources: {{limits: {{memory: 1Gi}}}}\n{}",
        indented(spec, 2),
        indented(container, 6),
    )
}

const GOOD: &str = "os: {name: windows}\nnodeSelector: {kubernetes.io/os: windows}\ntolerations: [{key: os, operator: Equal, value: windows, effect: NoSchedule}]\n";
const HOST: &str = "os: {name: windows}\nhostNetwork: true\nnodeSelector: {kubernetes.io/os: windows}\ntolerations: [{operator: Exists}]\nsecurityContext: {windowsOptions: {hostProcess: true, runAsUserName: 'NT AUTHORITY\\SYSTEM'}}\n";

fn good_with(more: &str, image: &str, container: &str) -> Vec<String> {
    found(&pod(&format!("{GOOD}{more}"), image, container))
}

fn host_with(more: &str, image: &str, container: &str) -> Vec<String> {
    found(&pod(&format!("{HOST}{more}"), image, container))
}

#[test]
fn good_pods_have_no_findings() {
    assert!(good_with("", "web:1.0", "").is_empty());
    assert!(host_with("", "hpc:1.0", "").is_empty());
    // Linux pods are none of our business.
    assert!(
        found(&pod("hostPID: true", "linux:1.0", "securityContext: {privileged: true}")).is_empty()
    );
    assert!(found(&pod("", "both:1.0", "")).is_empty());
}

#[test]
fn w001_a_windows_pod_asks_for_a_windows_node() {
    let no_selector = "os: {name: windows}\ntolerations: [{operator: Exists}]";
    assert_eq!(found(&pod(no_selector, "web:1.0", "")), ["W001"]);
    let affinity = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/os, operator: In, values: [windows]}]}]}}}";
    assert!(found(&pod(&format!("{no_selector}\n{affinity}"), "web:1.0", "")).is_empty());
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: win}\nhandler: runhcs-wcow-process\nscheduling: {nodeSelector: {kubernetes.io/os: windows}}\n---\n";
    let with_class = pod(&format!("{no_selector}\nruntimeClassName: win"), "web:1.0", "");
    assert!(found(&format!("{class}{with_class}")).is_empty());
}

#[test]
fn w002_no_linux_node_and_no_old_label() {
    let spec = |selector: &str| {
        format!(
            "os: {{name: windows}}\nnodeSelector: {{{selector}}}\ntolerations: [{{operator: Exists}}]"
        )
    };
    assert_eq!(found(&pod(&spec("kubernetes.io/os: linux"), "web:1.0", "")), ["W002"]);
    assert_eq!(found(&pod(&spec("beta.kubernetes.io/os: windows"), "web:1.0", "")), ["W002"]);
}

#[test]
fn w003_the_image_runs_on_the_selected_build() {
    let spec = |build: &str| {
        format!(
            "os: {{name: windows}}\nnodeSelector: {{kubernetes.io/os: windows, node.kubernetes.io/windows-build: \"{build}\"}}\ntolerations: [{{operator: Exists}}]"
        )
    };
    let of = |build: &str, image: &str| found(&pod(&spec(build), image, ""));
    assert!(of("10.0.20348", "web:1.0").is_empty());
    assert!(of("10.0.25398", "web:1.0").is_empty());
    assert_eq!(of("10.0.20348", "w2025:1.0"), ["W003"]);
    assert_eq!(of("10.0.26100", "old:1.0"), ["W003"]);
    assert_eq!(of("ltsc2022", "web:1.0"), ["W003"]);
}

#[test]
fn w004_images_of_one_old_build_need_their_nodes() {
    let rules = good_with("", "old:1.0", "");
    assert!(rules.contains(&"W004".to_owned()), "{rules:?}");
    let builds = CheckOptions { builds: vec![20348, 26100], ..options() };
    let text = pod(GOOD, "w2025:1.0", "");
    assert_eq!(found_with(&text, &builds), [("W004".to_owned(), Severity::Warning)]);
    assert!(found_with(&pod(GOOD, "web:1.0", ""), &builds).is_empty());
}

#[test]
fn w005_and_w006_name_and_toleration() {
    let bare = "nodeSelector: {kubernetes.io/os: windows}";
    assert_eq!(found(&pod(bare, "web:1.0", "")), ["W005", "W006"]);
    let other = "os: {name: linux}\nnodeSelector: {kubernetes.io/os: windows}\ntolerations: [{key: os, value: linux}]";
    assert_eq!(found(&pod(other, "web:1.0", "")), ["W006", "W005"]);
}

#[test]
fn w007_fields_that_windows_refuses() {
    for field in [
        "hostPID: true",
        "hostIPC: true",
        "shareProcessNamespace: true",
        "hostNetwork: true",
        "dnsPolicy: ClusterFirstWithHostNet",
        "securityContext: {fsGroup: 1}",
        "securityContext: {runAsUser: 1}",
        "securityContext: {sysctls: []}",
    ] {
        assert_eq!(good_with(field, "web:1.0", ""), ["W007"], "{field}");
    }
    for field in [
        "privileged: false",
        "capabilities: {}",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "runAsGroup: 0",
    ] {
        assert_eq!(
            good_with("", "web:1.0", &format!("securityContext: {{{field}}}")),
            ["W007"],
            "{field}"
        );
    }
}

#[test]
fn w008_and_w009_one_operating_system_per_pod() {
    let second = "- name: d\n      image: linux:1.0\n      resources: {limits: {memory: 1Gi}}";
    let text = format!("{}    {second}\n", pod(GOOD, "web:1.0", ""));
    assert_eq!(found(&text), ["W008"]);
    assert_eq!(good_with("", "linux:1.0", ""), ["W009"]);
    assert!(good_with("", "both:1.0", "").is_empty());
}

#[test]
fn w010_host_process_is_for_whole_pods_with_the_hosts_network() {
    let no_network = HOST.replace("hostNetwork: true\n", "");
    assert_eq!(found(&pod(&no_network, "hpc:1.0", "")), ["W010"]);
    let rules = host_with("", "web:1.0", "securityContext: {windowsOptions: {hostProcess: false}}");
    assert_eq!(rules, ["W007"], "the container decides, and is an ordinary one");
    let second = "    - name: d\n      image: web:1.0\n      securityContext: {windowsOptions: {hostProcess: false}}\n      resources: {limits: {memory: 1Gi}}\n";
    assert_eq!(found(&format!("{}{second}", pod(HOST, "hpc:1.0", ""))), ["W010"]);
}

#[test]
fn w011_a_host_process_image_is_no_ordinary_one() {
    assert_eq!(good_with("", "hpc:1.0", ""), ["W011"]);
}

#[test]
fn w012_users_of_host_process_containers() {
    assert_eq!(host_with("", "hpc:1.0", "securityContext: {runAsNonRoot: true}"), ["W012"]);
    let user = |name: &str| {
        host_with(
            "",
            "hpc:1.0",
            &format!("securityContext: {{windowsOptions: {{runAsUserName: '{name}'}}}}"),
        )
    };
    assert_eq!(user("ContainerUser\\x"), ["W012"]);
    assert!(user("nt authority\\networkservice").is_empty());
    assert!(user("antrea-users").is_empty());
    let nobody = HOST.replace(", runAsUserName: 'NT AUTHORITY\\SYSTEM'", "");
    assert_eq!(found(&pod(&nobody, "hpc:1.0", "")), ["W012"]);
}

#[test]
fn w013_paths_and_pipes_in_host_process_containers() {
    assert_eq!(host_with("", "hpc:1.0", "command: ['C:\\k\\agent.exe']"), ["W013"]);
    assert!(
        host_with("", "hpc:1.0", "command: ['$env:CONTAINER_SANDBOX_MOUNT_POINT\\k\\agent.exe']")
            .is_empty()
    );
    assert!(host_with("", "hpc:1.0", "command: ['C:\\Windows\\System32\\cmd.exe']").is_empty());
    let pipe = "volumes: [{name: p, hostPath: {path: '\\\\.\\pipe\\containerd'}}]";
    assert_eq!(host_with(pipe, "hpc:1.0", ""), ["W013"]);
}

#[test]
fn w014_old_containerd() {
    let old = CheckOptions { containerd: Some("1.6.8".to_owned()), ..options() };
    let rules = found_with(&pod(HOST, "hpc:1.0", ""), &old);
    assert_eq!(rules, [("W014".to_owned(), Severity::Warning)]);
    let new = CheckOptions { containerd: Some("1.7.28".to_owned()), ..options() };
    assert!(found_with(&pod(HOST, "hpc:1.0", ""), &new).is_empty());
}

#[test]
fn w015_and_w016_users_of_ordinary_containers() {
    let user = |name: &str| {
        good_with(
            "",
            "web:1.0",
            &format!("securityContext: {{windowsOptions: {{runAsUserName: '{name}'}}}}"),
        )
    };
    assert!(user("ContainerUser").is_empty());
    assert!(user("NT AUTHORITY\\Local Service").is_empty());
    for name in ["...", "a@b", "abcdefghijklmnopqrstu", "DOMAIN\\", "\\user"] {
        assert_eq!(user(name), ["W015"], "{name}");
    }
    assert_eq!(good_with("securityContext: {runAsNonRoot: true}", "admin:1.0", ""), ["W016"]);
    assert!(good_with("securityContext: {runAsNonRoot: true}", "web:1.0", "").is_empty());
}

#[test]
fn w020_storage() {
    assert_eq!(
        good_with("volumes: [{name: m, emptyDir: {medium: Memory}}]", "web:1.0", ""),
        ["W020"]
    );
    assert_eq!(
        good_with("", "web:1.0", "volumeDevices: [{name: m, devicePath: /dev/x}]"),
        ["W020"]
    );
    assert_eq!(
        good_with(
            "",
            "web:1.0",
            "volumeMounts: [{name: m, mountPath: /m, mountPropagation: Bidirectional}]"
        ),
        ["W020"]
    );
    assert!(good_with("volumes: [{name: m, emptyDir: {}}]", "web:1.0", "").is_empty());
}

#[test]
fn w021_hyper_v_isolation() {
    let class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: vm}\nhandler: runhcs-wcow-hypervisor\n---\n";
    let text = format!("{class}{}", pod(&format!("{GOOD}runtimeClassName: vm"), "web:1.0", ""));
    assert_eq!(found(&text), ["W021"]);
}

#[test]
fn w022_memory_has_a_limit() {
    let text = pod(GOOD, "web:1.0", "").replace("resources: {limits: {memory: 1Gi}}", "ports: []");
    assert_eq!(found(&text), ["W022"]);
}

#[test]
fn w030_support_ends() {
    let late = CheckOptions { today: "2026-11-01".to_owned(), ..CheckOptions::default() };
    let only = "os: {name: windows}\nnodeSelector: {kubernetes.io/os: windows, node.kubernetes.io/windows-build: \"10.0.20348\"}\ntolerations: [{operator: Exists}]";
    assert_eq!(
        found_with(&pod(only, "web:1.0", ""), &late),
        [("W030".to_owned(), Severity::Warning)]
    );
    let rules = found_with(&pod(GOOD, "dead:1.0", ""), &late);
    assert!(rules.contains(&("W030".to_owned(), Severity::Error)), "{rules:?}");
}

#[test]
fn w031_tags_that_move() {
    for image in ["web", "web:latest", "web:ltsc2022", "web:4.8-windowsservercore-ltsc2019"] {
        assert_eq!(good_with("", image, ""), ["W031"], "{image}");
    }
    let digest = format!("web@sha256:{}", "a".repeat(64));
    for image in ["web:1.2", "web:10.0.20348.5499", "web:ltsc2022-KB5030216", &digest] {
        assert!(good_with("", image, "").is_empty(), "{image}");
    }
}

#[test]
fn w032_health_checks_are_probes() {
    assert_eq!(good_with("", "health:1.0", ""), ["W032"]);
    assert!(
        good_with("", "health:1.0", "livenessProbe: {httpGet: {path: /, port: 80}}").is_empty()
    );
}

#[test]
fn w033_paths_in_linux_form_are_noted() {
    let volume = "volumes: [{name: v, hostPath: {path: /var/lib/x}}]";
    let rules = found_with(&pod(&format!("{GOOD}{volume}"), "web:1.0", ""), &options());
    assert_eq!(rules, [("W033".to_owned(), Severity::Note)]);
}

#[test]
fn templates_lists_and_jobs_are_looked_into() {
    let inner =
        "spec: {containers: [{name: c, image: hpc:1.0, resources: {limits: {memory: 1Gi}}}]}";
    for (kind, wrap) in [
        ("Deployment", format!("spec: {{template: {{{inner}}}}}")),
        ("CronJob", format!("spec: {{jobTemplate: {{spec: {{template: {{{inner}}}}}}}}}")),
        ("List", format!("items: [{{kind: Pod, metadata: {{name: q}}, {inner}}}]")),
    ] {
        let rules = found(&format!("kind: {kind}\nmetadata: {{name: x}}\n{wrap}\n"));
        assert!(rules.contains(&"W011".to_owned()), "{kind}: {rules:?}");
    }
}

#[test]
fn what_is_generated_passes_the_check() {
    let options_for = |image: &str, kind, host_process| GenerateOptions {
        image: image.to_owned(),
        kind,
        name: None,
        host_process,
        builds: Vec::new(),
    };
    for (image, host) in
        [("web:1.0", false), ("w2025:1.0", false), ("old:1.0", false), ("hpc:1.0", true)]
    {
        for kind in [Workload::Deployment, Workload::DaemonSet] {
            let facts = Table.facts(image).expect("a row");
            let text = generate(&facts, &options_for(image, kind, host)).expect("a manifest");
            let rules = found(&text);
            // That 2019 has only security updates is true of the image, not of the manifest.
            let rest: Vec<_> = rules.iter().filter(|rule| *rule != "W030").collect();
            assert!(rest.is_empty(), "{rest:?} in\n{text}");
        }
    }
    let facts = Table.facts("old").expect("a row");
    assert!(
        generate(&facts, &options_for("old", Workload::Deployment, false))
            .is_ok_and(|text| text.contains("10.0.17763"))
    );
    let error = generate(
        &Table.facts("hpc").expect("a row"),
        &options_for("hpc", Workload::Deployment, false),
    );
    assert_eq!(error, Err(GenerateError::NeedsHostProcess));
    let error = generate(
        &Table.facts("linux").expect("a row"),
        &options_for("linux", Workload::Deployment, false),
    );
    assert_eq!(error, Err(GenerateError::NotWindows("linux/amd64".to_owned())));
    let cluster = GenerateOptions {
        builds: vec![17763, 26100],
        ..options_for("both", Workload::DaemonSet, false)
    };
    let text = generate(&Table.facts("both").expect("a row"), &cluster).expect("a manifest");
    assert!(text.contains("10.0.26100") && !text.contains("17763"), "{text}");
}

#[test]
fn every_rule_has_a_test() {
    let tests = include_str!("rules.rs").to_lowercase();
    for rule in RULES {
        let asserted = format!("\"{}\"", rule.id.to_lowercase());
        assert!(tests.contains(&asserted), "{} is not asserted", rule.id);
    }
}

#[test]
fn every_rule_is_explained() {
    let guide = include_str!("../../../../docs/guide/kubernetes.md");
    for rule in RULES {
        assert!(guide.contains(&format!("\n### {}\n", rule.id)), "{} is not in the guide", rule.id);
    }
}
