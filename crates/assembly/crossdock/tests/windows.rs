//! `crossdock windows` with the real program, on images that the tests make themselves.

use assert_cmd::Command;
use testkit::{Context, Program, Registry, WindowsProgram, outcome};

/// Standard output of what must succeed.
fn success(command: &mut Command) -> String {
    testkit::success(command).0
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

/// A context whose programs need what the arguments say.
fn with_programs(dockerfile: &str, programs: &[(&str, WindowsProgram)]) -> Context {
    programs.iter().fold(Context::with_dockerfile(dockerfile), |context, (path, program)| {
        context.file(path, program.bytes())
    })
}

fn build(program: &Program, context: &Context, arguments: &str) {
    success(
        program
            .command(&format!("build -q --platform windows/amd64 {arguments} ."))
            .current_dir(context.path()),
    );
}

#[test]
fn an_image_on_an_hpc_base_passes_the_checks() {
    let program = Program::new();
    success(
        &mut program.command("windows base hpc -q -t hpc --platform windows/amd64,windows/arm64"),
    );
    let dockerfile = "FROM hpc\nCOPY agent.exe C:/agent/\nENTRYPOINT [\"agent/agent.exe\"]\n";
    let context =
        with_programs(dockerfile, &[("agent.exe", WindowsProgram::new(&["KERNEL32.dll"]))]);
    build(&program, &context, "-t agent");
    let text = success(&mut program.command("windows verify agent"));
    assert!(text.contains("base hpc") && text.contains("0 errors, 0 warnings, 1 notes"), "{text}");
    let text = success(&mut program.command("windows verify hpc"));
    assert!(
        text.contains("windows/arm64") && text.contains("0 errors, 0 warnings, 0 notes"),
        "{text}"
    );
}

#[test]
fn programs_are_checked_against_image_and_base() {
    let program = Program::new();
    let dockerfile = "FROM scratch\nCOPY . C:/app/\nENV PATH=C:\\\\other\nENTRYPOINT [\"C:\\\\app\\\\gone.exe\"]\n";
    let arm = WindowsProgram { machine: 0xaa64, ..WindowsProgram::new(&[]) };
    let old = WindowsProgram { machine: 0x14c, ..WindowsProgram::new(&[]) };
    let screen = WindowsProgram { subsystem: 2, signed: true, ..WindowsProgram::new(&[]) };
    let library = WindowsProgram { library: true, ..WindowsProgram::new(&["ntdll.dll"]) };
    let context = with_programs(
        dockerfile,
        &[
            (
                "a.exe",
                WindowsProgram::new(&[
                    "Beside.DLL",
                    "VCRUNTIME140.dll",
                    "api-ms-win-crt-heap-l1-1-0.dll",
                ]),
            ),
            ("b.exe", WindowsProgram::new(&["GDI32.dll", "vcruntime140.dll", "strange.dll"])),
            ("beside.dll", library),
            ("arm.exe", arm),
            ("old.exe", old),
            ("screen.exe", screen),
        ],
    );
    build(&program, &context, "-t app");
    let (stdout, _, code) =
        outcome(&mut program.command("windows verify --base nanoserver --format json app"));
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
    let findings: Vec<(String, String, String)> = report["images"][0]["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            let text = |key: &str| it[key].as_str().unwrap_or_default().to_owned();
            (text("rule"), text("severity"), format!("{}: {}", text("path"), text("message")))
        })
        .collect();
    for (rule, severity, part) in [
        (
            "WP03",
            "error",
            "Files/app/a.exe: it needs vcruntime140.dll, of the Visual C++ 2015-2022 runtime",
        ),
        ("WP03", "error", "(and one other file needs it)"),
        ("WP02", "error", "Files/app/b.exe: it needs gdi32.dll, which is not in nanoserver"),
        ("WP02", "warning", "Files/app/b.exe: it needs strange.dll, which is not in the image"),
        (
            "WP01",
            "error",
            "Files/app/arm.exe: it is a program for arm64, but the image is for amd64",
        ),
        ("WP01", "error", "Files/app/old.exe: it is a program for 386"),
        ("WP04", "warning", "Files/app/screen.exe: it wants a screen"),
        ("WP06", "note", "Files/app/a.exe: it and 3 other programs carry no signature"),
        ("WP07", "error", "config.Entrypoint: the image starts `C:\\app\\gone.exe`"),
        ("WC05", "warning", "config.Env: `PATH=C:\\other` replaces the PATH of Windows"),
    ] {
        assert!(
            findings.iter().any(|it| it.0 == rule && it.1 == severity && it.2.contains(part)),
            "no {severity} {rule} `{part}` in {findings:#?}"
        );
    }
    assert!(!findings.iter().any(|it| it.2.contains("needs beside.dll")), "{findings:#?}");
    let (stdout, _, _) = outcome(&mut program.command("windows verify --base servercore app"));
    assert!(!stdout.contains("gdi32.dll"), "{stdout}");
}

#[test]
fn findings_are_written_as_sarif_with_rules() {
    let program = Program::new();
    success(&mut program.command("windows base hpc -q -t hpc"));
    let context = with_programs(
        "FROM hpc\nCOPY a.exe C:/app/\n",
        &[("a.exe", WindowsProgram::new(&["msvcp140.dll"]))],
    );
    build(&program, &context, "-t app");
    let (stdout, _, code) =
        outcome(&mut program.command("windows verify --base servercore --format sarif app"));
    assert_eq!(code, 1);
    let log: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
    let run = &log["runs"][0];
    let result = &run["results"][0];
    assert_eq!((&log["version"], &result["ruleId"]), (&"2.1.0".into(), &"WP03".into()));
    let rule = result["ruleIndex"]
        .as_u64()
        .and_then(|index| usize::try_from(index).ok())
        .expect("an index");
    assert_eq!(run["tool"]["driver"]["rules"][rule]["id"], "WP03");
    let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, "Files/app/a.exe");
}

#[test]
fn archives_layouts_registries_and_layers_are_looked_into() {
    let (program, registry) = (Program::new(), Registry::start());
    let home = program.home().to_owned();
    for output in [
        "type=oci,dest=oci.tar".to_owned(),
        "type=docker,dest=docker.tar".to_owned(),
        "type=oci,dest=layout,tar=false".to_owned(),
        format!("type=registry,store=false,name={}", registry.name("hpc:1")),
    ] {
        let line = format!("windows base hpc -q -t hpc:1 -o {output}");
        success(program.command(&line).current_dir(&home));
    }
    let layer = home.join("layout/blobs/sha256");
    let layer = fs_err::read_dir(&layer)
        .expect("a layout has blobs")
        .map(|entry| entry.expect("it can be listed").path())
        .find(|path| fs_err::read(path).is_ok_and(|bytes| bytes.starts_with(&[0x1f, 0x8b])))
        .expect("one blob is a layer");
    let gzip = fs_err::read(&layer).expect("it can be read");
    fs_err::write(home.join("layer.tar.gz"), gzip).expect("it can be written");
    for image in [
        "./oci.tar",
        "docker.tar",
        "./layout",
        "oci-layout://layout",
        "oci-layout://layout:1",
        "--as-base ./layer.tar.gz",
        &registry.name("hpc:1"),
    ] {
        let text = success(program.command(&format!("windows verify {image}")).current_dir(&home));
        assert!(
            text.contains("8 files") && text.contains("0 errors, 0 warnings"),
            "{image}: {text}"
        );
    }
    assert_eq!(success(&mut program.command("image ls -q")), "", "nothing got a name");
}

#[test]
fn what_is_no_windows_image_is_refused() {
    let (program, registry) = (Program::new(), Registry::start());
    registry.add_base("base", "1", &["linux/amd64", "linux/arm64"]);
    let refused = |image: &str| {
        let (stdout, stderr, code) = outcome(
            program.command(&format!("windows verify {image}")).current_dir(program.home()),
        );
        assert_eq!((stdout.as_str(), code), ("", 1), "{stderr}");
        stderr
    };
    let said = refused(&registry.name("base:1"));
    assert!(said.contains("is no Windows image: it is for linux/amd64, linux/arm64"), "{said}");
    fs_err::write(program.home().join("text.tar"), "no archive").expect("it can be written");
    let said = refused("./text.tar");
    assert!(said.contains("text.tar"), "{said}");
    let said = refused("./nothing.tar");
    assert!(said.contains("nothing.tar"), "{said}");
}

#[test]
fn a_layer_that_windows_refuses_is_told_apart() {
    let program = Program::new();
    let mut tar = tar::Builder::new(Vec::new());
    for path in ["Files/app/a.txt", "Files/app/A.TXT", "Files/app/aux.txt", "Files/trail."] {
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, &b"x"[..]).expect("a tar can be written");
    }
    let tar = tar.into_inner().expect("a tar can be written");
    fs_err::write(program.home().join("layer.tar"), tar).expect("it can be written");
    let (stdout, _, code) =
        outcome(program.command("windows verify layer.tar").current_dir(program.home()));
    assert_eq!(code, 1);
    for part in [
        "error[WL01] layer 0: Files\n",
        "error[WL02] layer 0: Files/app/a.txt\n",
        "error[WL03] layer 0: Files/app/A.TXT\n",
        "error[WL04] layer 0: Files/app/aux.txt\n  `aux.txt` is the name of a device",
        "error[WL04] layer 0: Files/trail.\n",
    ] {
        assert!(stdout.contains(part), "`{part}` is not in\n{stdout}");
    }
}

#[test]
fn what_an_image_holds_is_shown() {
    let program = Program::new();
    success(&mut program.command("windows base hpc -q -t hpc"));
    let context = with_programs(
        "FROM hpc\nCOPY a.exe C:/app/\nENV A=b\n",
        &[("a.exe", WindowsProgram { signed: true, ..WindowsProgram::new(&["KERNEL32.dll"]) })],
    );
    build(&program, &context, "-t app");
    let text = success(&mut program.command("windows inspect --files --hives app"));
    for part in [
        "none: it runs on every release",
        "O:BAG:SYD:(A;;FA;;;BA)(A;;FA;;;SY)(A;;0x1200a9;;;BU)",
        "environment  A=b",
        "6 files",
        "Files/Windows/System32/config/SYSTEM",
        "  ROOT\\",
        "app/a.exe  (amd64, console, signed)",
    ] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let json = success(&mut program.command("windows inspect --files --hives --format json app"));
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let image = &json["images"][0];
    assert_eq!(image["counts"]["files"], 6);
    assert_eq!(image["hives"][4]["content"]["tree"]["name"], "ROOT");
    let files = image["files"].as_array().expect("files");
    let file = files.iter().find(|it| it["path"] == "app/a.exe").expect("the program");
    assert_eq!(file["program"]["imports"], serde_json::json!(["KERNEL32.dll"]));
    assert_eq!((&file["attributes"], &file["layer"]), (&32.into(), &1.into()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a compiler is asked")]
fn a_program_of_an_image_runs_under_wine() {
    let program = Program::new();
    success(&mut program.command("windows base hpc -q -t hpc"));
    let context = Context::with_dockerfile(
        "FROM hpc\nCOPY hello.exe C:/app/\nENV FROM=image\nWORKDIR C:\\\\app\nENTRYPOINT [\"C:\\\\app\\\\hello.exe\", \"world\"]\n",
    )
    .file(
        "hello.c",
        "#include <stdio.h>\n#include <stdlib.h>\nint main(int c, char **v) { printf(\"hello %s, %s\\n\", v[1], getenv(\"FROM\")); return 7; }\n",
    );
    let compiled = std::process::Command::new("x86_64-w64-mingw32-gcc")
        .args(["hello.c", "-o", "hello.exe"])
        .current_dir(context.path())
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: no x86_64-w64-mingw32-gcc (Debian: gcc-mingw-w64-x86-64-win32)");
        return;
    }
    build(&program, &context, "-t hello");
    let (stdout, stderr, code) = outcome(&mut program.command("windows smoke hello"));
    assert!(!stderr.contains("panicked"), "{stderr}");
    if stderr.contains("Wine is not installed") {
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert!(stderr.contains("help: install it"), "{stderr}");
        eprintln!("SKIPPED: no Wine (Debian: wine64)");
        return;
    }
    assert!(stderr.starts_with("note: this is a smoke test"), "{stderr}");
    assert_eq!((stdout.trim_end(), code), ("hello world, image", 7), "{stderr}");
}
