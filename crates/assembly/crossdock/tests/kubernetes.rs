//! `crossdock k8s` with images in a real registry.

use testkit::{Program, Registry, outcome};

const BOTH: [&str; 2] = ["windows(10.0.26100.2894)/amd64", "windows(10.0.20348.3091)/amd64"];

/// Standard output, standard error and exit code.
fn run(program: &Program, line: &str, stdin: &str) -> (String, String, i32) {
    outcome(program.command(line).write_stdin(stdin))
}

#[test]
fn a_manifest_is_made_for_an_image_in_a_registry_and_passes_the_check() {
    let program = Program::new();
    let registry = Registry::start();
    registry.add_base("web", "1.0", &BOTH);
    registry.add_base("agent", "1.0", &["windows/amd64"]);
    let image = registry.name("web:1.0");
    let (manifest, stderr, code) = run(&program, &format!("k8s generate {image}"), "");
    assert_eq!(code, 0, "{stderr}");
    assert!(
        manifest.contains("kubernetes.io/os: windows") && !manifest.contains("windows-build"),
        "{manifest}"
    );
    let check = "k8s check --date 2026-01-01 --strict -";
    let (stdout, _, code) = run(&program, check, &manifest);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "1 of 1 pods are for Windows: 0 errors, 0 warnings, 0 notes\n")
    );

    let agent = registry.name("agent:1.0");
    let (_, stderr, code) = run(&program, &format!("k8s generate {agent} --kind DaemonSet"), "");
    assert_eq!(code, 1);
    assert!(stderr.contains("HostProcess containers only") && stderr.contains("--hpc"), "{stderr}");
    let (manifest, _, code) =
        run(&program, &format!("k8s generate {agent} --kind DaemonSet --hpc"), "");
    assert_eq!(code, 0);
    let (stdout, _, code) = run(&program, check, &manifest);
    assert_eq!(code, 0, "{stdout}");

    // The real index is looked at: 2019 nodes cannot run it.
    let wrong = manifest_on("10.0.17763", &image);
    let (stdout, _, code) = run(&program, "k8s check --date 2026-01-01 -", &wrong);
    assert_eq!(code, 1);
    assert!(
        stdout.contains("error[W003]") && stdout.contains("10.0.26100.2894, 10.0.20348.3091"),
        "{stdout}"
    );
    let (stdout, _, code) = run(&program, "k8s check --date 2026-01-01 --format github -", &wrong);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("::error file=<stdin>,line="), "{stdout}");
}

fn manifest_on(build: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  os: {{name: windows}}\n  nodeSelector: {{kubernetes.io/os: windows, node.kubernetes.io/windows-build: '{build}'}}\n  tolerations: [{{operator: Exists}}]\n  containers: [{{name: c, image: '{image}', resources: {{limits: {{memory: 1Gi}}}}}}]\n"
    )
}

#[test]
fn what_cannot_be_looked_at_is_told_and_bad_input_has_a_place() {
    let program = Program::new();
    let registry = Registry::start();
    let image = registry.name("missing:1.0");
    let (stdout, _, code) =
        run(&program, "k8s check --date 2026-01-01 -", &manifest_on("10.0.20348", &image));
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains(&format!("not looked at: {image}")), "{stdout}");
    let (_, stderr, code) = run(&program, "k8s check -", "a: b\n  c: [\n");
    assert_eq!(code, 1);
    assert!(stderr.contains("not YAML") && stderr.contains("<stdin>:2"), "{stderr}");
    let (_, stderr, code) = run(&program, "k8s check --nodes vista -", "");
    assert_eq!(code, 2);
    assert!(
        stderr.contains("`vista` is no release of Windows") && stderr.contains("ltsc2022"),
        "{stderr}"
    );
    let (_, stderr, code) = run(&program, "k8s check no-such-file.yaml", "");
    assert_eq!(code, 1);
    assert!(stderr.contains("no-such-file.yaml"), "{stderr}");
}
