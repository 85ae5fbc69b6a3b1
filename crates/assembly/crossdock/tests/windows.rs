//! `crossdock windows` with the real program, on images that the tests make themselves.

use assert_cmd::Command;
use testkit::{Context, Program, Registry};

/// Standard output, standard error and exit code.
fn outcome(command: &mut Command) -> (String, String, i32) {
    let output = command.output().expect("crossdock can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes UTF-8");
    (text(output.stdout), text(output.stderr), output.status.code().unwrap_or(-1))
}

/// Standard output of what must succeed.
fn success(command: &mut Command) -> String {
    let (stdout, stderr, code) = outcome(command);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

#[test]
fn an_hpc_base_is_the_same_wherever_it_is_made() {
    let (one, other, registry) = (Program::new(), Program::new(), Registry::start());
    let line = format!(
        "windows base hpc -q --platform windows/amd64,windows/arm64 -t {} --push",
        registry.name("hpc:1")
    );
    let first = success(&mut one.command(&line));
    assert_eq!(success(other.command(&line).env("TZ", "Asia/Tokyo")), first);
    let image = registry.image("hpc:1");
    assert_eq!(image.descriptor.digest.to_string(), first.trim());
    assert_eq!(image.platforms(), ["windows/amd64", "windows/arm64"]);
    let config = image.config("windows/arm64");
    assert_eq!((config.os_version.as_str(), config.architecture.as_str()), ("", "arm64"));
    assert_eq!(config.config.cmd.unwrap_or_default(), ["c:\\windows\\system32\\cmd.exe"]);
    let [layer] = image.layers("windows/amd64").try_into().expect("one layer");
    let names: Vec<&str> = layer.iter().map(|(name, _)| name.as_str()).collect();
    let config = "Files/Windows/System32/config";
    assert_eq!(names[..5], ["Hives", "Files", "Files/Windows", "Files/Windows/System32", config]);
    let hives = ["DEFAULT", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"];
    assert_eq!(names[5..], hives.map(|hive| format!("{config}/{hive}")));
}

#[test]
fn an_hpc_base_is_for_windows_of_no_version() {
    let program = Program::new();
    for (platform, said) in [
        ("linux/amd64", "there is no HPC base for linux/amd64"),
        ("windows/386", "there is no HPC base for windows/386"),
        ("windows(10.0.20348)/amd64", "an HPC base has no version of Windows"),
    ] {
        let (_, stderr, code) =
            outcome(&mut program.command(&format!("windows base hpc --platform {platform}")));
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn images_are_built_on_an_hpc_base_and_on_others_from_one_dockerfile() {
    let program = Program::new();
    success(&mut program.command("windows base hpc -q -t hpc"));
    let context = Context::with_dockerfile("ARG BASE=hpc\nFROM $BASE\nCOPY file C:/app/\n")
        .file("file", "payload");
    let build = |more: &str| {
        success(
            program
                .command(&format!("build -q --platform windows/amd64 {more} ."))
                .current_dir(context.path()),
        )
    };
    assert_ne!(build("-t on-hpc"), build("-t on-scratch --build-arg BASE=scratch"));
}
