//! `crossdock windows bases` and `compat`.

use serde_json::Value;
use testkit::{Program, Registry, outcome};

/// Standard output, standard error and exit code.
fn run(program: &Program, line: &str) -> (String, String, i32) {
    outcome(&mut program.command(line))
}

#[test]
fn a_base_is_recommended_with_reasons() {
    let program = Program::new();
    let (text, _, code) = run(
        &program,
        "windows bases --date 2026-11-21 --host ltsc2019,ltsc2022 --needs wmi,powershell",
    );
    assert_eq!(code, 0);
    for expected in [
        "take  mcr.microsoft.com/windows/servercore:ltsc2022",
        "take  mcr.microsoft.com/windows/servercore:ltsc2019",
        "no one build runs on all these hosts",
        "(on ltsc2019 only)",
        "--windows-versions ltsc2022,ltsc2019",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("nanoserver"), "{text}");
    let (text, _, _) = run(&program, "windows bases --date 2026-11-21 --all --needs wmi");
    assert!(text.contains("lacks wmi"), "{text}");
    let (text, _, _) =
        run(&program, "windows bases --date 2026-11-21 --isolation hostprocess --format json");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let images = document["recommended"]["images"].as_array().expect("a list");
    assert!(images[0].as_str().is_some_and(|image| image.contains("host-process")), "{images:?}");
    assert_eq!(document["bases"].as_array().map(Vec::len), Some(1));
    let (_, stderr, code) = run(&program, "windows bases --needs iss");
    assert_eq!(code, 2);
    assert!(stderr.contains("did you mean iis?"), "{stderr}");
}

#[test]
fn verdicts_follow_the_real_index_and_the_runtime() {
    let program = Program::new();
    let registry = Registry::start();
    let platforms =
        ["windows(10.0.26100.2894)/amd64", "windows(10.0.20348.3091)/amd64", "linux/amd64"];
    registry.add_base("web", "1.0", &platforms);
    registry.add_base("tool", "1.0", &["linux/amd64"]);
    let image = registry.name("web:1.0");
    let taken = |runtime: &str, host: &str| {
        let line = format!(
            "windows compat {image} --isolation process --format json --runtime {runtime} --host {host}"
        );
        let (text, stderr, code) = run(&program, &line);
        assert_eq!(code, 0, "{stderr}");
        let document: Value = serde_json::from_str(&text).expect("JSON");
        let verdict = &document["verdicts"][0];
        (verdict["runs"] == true)
            .then(|| verdict["osVersion"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(taken("containerd-2.1", "ltsc2022").as_deref(), Some("10.0.20348.3091"));
    assert_eq!(taken("containerd-2.1", "23h2").as_deref(), Some("10.0.20348.3091"));
    assert_eq!(taken("containerd-1.6.8", "23h2"), None);
    assert_eq!(taken("docker", "ltsc2025").as_deref(), Some("10.0.26100.2894"));
    assert_eq!(taken("containerd-2.3", "ltsc2019"), None);

    let (_, stderr, code) = run(&program, &format!("windows compat {}", registry.name("tool:1.0")));
    assert_eq!(code, 1);
    assert!(
        stderr.contains("has no image for Windows") && stderr.contains("linux/amd64"),
        "{stderr}"
    );
    let (_, stderr, code) = run(&program, "windows compat ltsc2022 --runtime rkt");
    assert_eq!(code, 2);
    assert!(stderr.contains("containerd-1.7.28"), "{stderr}");
}
