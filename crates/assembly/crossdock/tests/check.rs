//! `crossdock check` and the calls of `crossdock build`, with the real program.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::{Context, Program, Registry, outcome};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn findings_are_told_with_their_lines_and_fail_the_check() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch AS Base\nCOPY a /\nCMD run it\n")
        .file(".dockerignore", "a\n");
    let (stdout, stderr, code) = outcome(program.command("check").current_dir(context.path()));
    assert_eq!((code, stderr.as_str()), (1, ""));
    for expected in [
        "warning[StageNameCasing]: Stage name 'Base' should be lowercase",
        " --> Dockerfile:1:17",
        "1 | FROM scratch AS Base",
        "warning[CopyIgnoredFile]",
        "warning[JSONArgsRecommended]",
        "Check complete: 3 warnings; 2 can be mended with crossdock check --fix",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is missing in\n{stdout}");
    }
    let (stdout, _, code) =
        outcome(program.command("build --call=check,format=json .").current_dir(context.path()));
    let answer = json(&stdout);
    assert_eq!((code, answer["warnings"].as_array().map(Vec::len)), (1, Some(3)));
    assert_eq!(answer["warnings"][0]["location"]["ranges"][0]["start"]["line"], 1);
    assert_eq!(answer["sources"][0]["filename"], "Dockerfile");
    let silent = "build --call=check,ignorestatus=true .";
    assert_eq!(outcome(program.command(silent).current_dir(context.path())).2, 0);
}

#[test]
fn nothing_found_is_said_and_notes_fail_nothing() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM alpine\nCMD [\"a\"]\n");
    let (stdout, _, code) = outcome(program.command("check").current_dir(context.path()));
    assert!(code == 0 && stdout.contains("note[UnpinnedBase]"), "{stdout}");
    let (stdout, _, code) = outcome(program.command("build --check .").current_dir(context.path()));
    assert_eq!((code, stdout.as_str()), (0, "Check complete, no warnings found.\n"));
}

#[test]
fn a_check_of_a_build_fails_where_that_of_buildx_does() {
    let program = Program::new();
    let run = |text: &str, call: &str| {
        let context = Context::with_dockerfile(text);
        let line = format!("build {call} .");
        let (stdout, _, code) = outcome(program.command(&line).current_dir(context.path()));
        (stdout, code)
    };
    let json_ignoring = "--call=check,format=json,ignorestatus=true";
    let ignoring = "--call=check,ignorestatus=true";
    // A rule of BuildKit, one that only crossdock has, and something that is wrong.
    let (known, own, wrong) = (
        "FROM scratch as x\n",
        "FROM debian:13\nRUN apt-get update\nRUN apt-get install -y curl\nCMD [\"x\"]\n",
        "FROM scratch\nRUM x\n",
    );
    assert_eq!(run(known, "--check").1, 1);
    assert_eq!(run(known, ignoring).1, 0);
    for call in [ignoring, json_ignoring] {
        let (stdout, code) = run(&format!("# check=error=true\n{known}"), call);
        assert_eq!(code, 1, "{stdout}");
        assert_eq!(run(wrong, call).1, 1);
    }
    assert_eq!(run(&format!("# check=skip=all\n{known}"), "--check").1, 0);
    let (stdout, code) = run(own, "--check");
    assert!(code == 0 && stdout.contains("warning[AptUpdateAlone]"), "{code}: {stdout}");
    let (stdout, code) = run(&format!("# check=error=true\n{own}"), "--call=check,format=json");
    assert_eq!((code, json(&stdout).get("buildError")), (0, None));
    let context = Context::with_dockerfile(own);
    assert_eq!(outcome(program.command("check").current_dir(context.path())).2, 1);
}

#[test]
fn base_images_are_asked_for_every_platform_before_a_build_begins() {
    let (program, registry) = (Program::new(), Registry::start());
    registry.add_base("tools", "1", &["linux/amd64", "linux/arm64"]);
    registry.add_base("all", "1", &["linux/amd64", "linux/arm64", "linux/riscv64"]);
    let text = format!(
        "FROM {} AS tools\nFROM {}\nCOPY --from=tools /platform /\n",
        registry.name("tools:1"),
        registry.name("all:1")
    );
    let context = Context::with_dockerfile(&text);
    let run = |line: &str| outcome(program.command(line).current_dir(context.path()));
    let (stdout, _, code) = run("check --resolve --platform linux/amd64,linux/arm64 .");
    assert_eq!(code, 0, "{stdout}");
    let asked = "check --platform linux/amd64,linux/riscv64";
    let (stdout, _, code) = run(&format!("{asked} --resolve ."));
    assert_eq!(code, 1, "{stdout}");
    for expected in [
        "error[BaseImagePlatformMissing]",
        "linux/riscv64",
        "linux/amd64, linux/arm64",
        " --> Dockerfile:1:",
    ] {
        assert!(stdout.contains(expected), "{expected:?} is missing in\n{stdout}");
    }
    assert_eq!(stdout.matches("BaseImagePlatformMissing").count(), 1, "{stdout}");
    // Nobody is asked without --resolve.
    assert_eq!(run(&format!("{asked} .")).2, 0);
}

#[test]
fn a_registry_that_is_down_hides_nothing_of_the_others() {
    let (program, registry) = (Program::new(), Registry::start());
    registry.add_base("tools", "1", &["linux/amd64"]);
    // A port that nothing listens on: it was free a moment ago.
    let down = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it has an address").to_string()
    };
    let text = format!(
        "FROM {down}/gone:1 AS gone\nRUN echo $MAYBE\nFROM {}\nCOPY --from=gone /a /\n",
        registry.name("tools:1")
    );
    let context = Context::with_dockerfile(&text);
    let run = |platform: &str| {
        let line = format!("check --resolve --platform {platform} .");
        outcome(program.command(&line).current_dir(context.path()))
    };
    let (stdout, _, code) = run("linux/amd64");
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains(&format!("{down}/gone:1")), "{stdout}");
    assert!(stdout.contains("note"), "{stdout}");
    let (stdout, _, code) = run("linux/arm64");
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("error[BaseImagePlatformMissing]"), "{stdout}");
    // An image that a registry says it does not have is no matter of the network.
    let text = format!("FROM {}\n", registry.name("none:1"));
    let context = Context::with_dockerfile(&text);
    let line = "check --resolve .";
    let (stdout, _, code) = outcome(program.command(line).current_dir(context.path()));
    assert!(code == 1 && stdout.contains("none:1"), "{stdout}");
}

#[test]
fn a_fix_is_shown_and_written() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch AS Base\nCMD run it\n");
    let file = context.path().join("Dockerfile");
    let before = fs_err::read_to_string(&file).expect("it is there");
    let (diff, _, code) = outcome(program.command("check --fix=diff").current_dir(context.path()));
    assert!(code == 1 && diff.contains("+FROM scratch AS base\n"), "{diff}");
    assert_eq!(fs_err::read_to_string(&file).expect("it is there"), before);
    let (stdout, _, code) = outcome(program.command("check --fix").current_dir(context.path()));
    assert!(code == 0 && stdout.contains("2 findings mended"), "{stdout}");
    assert_eq!(
        fs_err::read_to_string(&file).expect("it is there"),
        "FROM scratch AS base\nCMD [\"run\", \"it\"]\n"
    );
    let (_, stderr, code) =
        outcome(program.command("check --fix -").write_stdin("FROM scratch AS Base\n"));
    assert!(code == 2 && stderr.contains("cannot be mended"), "{stderr}");
}

#[test]
fn targets_and_parameters_are_listed_as_buildx_does() {
    let program = Program::new();
    let text = "ARG version=1\n# base is where it begins\nFROM scratch AS base\nARG version\nFROM base AS last\n\
                # mode of the build\nARG mode=fast\nRUN --mount=type=secret,id=key,required x\n";
    let context = Context::with_dockerfile(text);
    let run = |line: &str| {
        let (stdout, stderr, code) = outcome(program.command(line).current_dir(context.path()));
        assert_eq!((code, stderr.as_str()), (0, ""), "{line}");
        stdout
    };
    assert_eq!(
        run("build --call=targets ."),
        "TARGET           DESCRIPTION\nbase             is where it begins\nlast (default)\n"
    );
    let targets = json(&run("build --call=targets,format=json ."));
    assert_eq!(targets["targets"][1]["default"], true);
    assert_eq!(targets["targets"][1]["base"], "base");
    let outline = json(&run("build --call=outline,format=json ."));
    let names: Vec<&str> = outline["args"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|argument| argument["name"].as_str())
        .collect();
    assert_eq!(names, ["version", "mode"]);
    assert_eq!(outline["args"][1]["value"], "fast");
    assert_eq!(outline["args"][1]["description"], "of the build");
    assert_eq!(outline["secrets"][0]["name"], "key");
    assert_eq!(outline["secrets"][0]["required"], true);
    assert!(run("build --call=subrequests.describe .").contains("outline"));
}

#[test]
fn a_check_opens_no_store_and_is_fast() {
    let program = Program::new();
    let mut text = "FROM alpine:3.22 AS base\n".to_owned();
    for step in 0..199 {
        text.push_str("RUN echo ");
        text.push_str(&step.to_string());
        text.push('\n');
    }
    let context = Context::with_dockerfile(&text);
    let times = (0..5).map(|_| {
        let start = Instant::now();
        let (_, stderr, code) =
            outcome(program.command("--store /nowhere/to/be check").current_dir(context.path()));
        assert_eq!((code, stderr.as_str()), (0, ""));
        start.elapsed()
    });
    // The acceptance is 20 ms for a release build on an idle machine; this is neither.
    let best = times.min().expect("it ran");
    assert!(best < Duration::from_secs(2), "{best:?}");
}
