//! Named contexts that are images, ignore files, and files that need no server.

use std::path::Path;

use testkit::{Context, Program, Registry, Web, outcome};

fn build(program: &Program, context: &Context, arguments: &str) -> String {
    let line = format!("build --progress plain -o out {arguments} .");
    let (_, stderr, code) = outcome(program.command(&line).current_dir(context.path()));
    assert_eq!(code, 0, "{arguments}: {stderr}");
    stderr
}

fn text(context: &Context, path: &str) -> String {
    fs_err::read_to_string(context.join("out").join(path)).expect("it was built")
}

/// A layout with an image under each tag; gives the digest of what the first tag names.
fn layout(program: &Program, at: &Path, tags: &[&str]) -> String {
    for tag in tags {
        let made = Context::with_dockerfile("FROM scratch\nCOPY tag /platform\n").file("tag", tag);
        let to = at.display();
        let line = format!("build -q -t base:{tag} -o type=oci,dest={to},tar=false .");
        let (_, stderr, code) = outcome(program.command(&line).current_dir(made.path()));
        assert_eq!(code, 0, "{stderr}");
    }
    let index = fs_err::read(at.join("index.json")).expect("a layout has an index");
    let index: serde_json::Value = serde_json::from_slice(&index).expect("it is JSON");
    index["manifests"][0]["digest"].as_str().expect("it has images").to_owned()
}

/// Stands for a stage, an image of a FROM and a source of files.
const ALL: &str = "FROM none.example/missing:1 AS one\nFROM scratch AS stage\nCOPY nothing /\n\
                   FROM one\nCOPY --from=stage /platform /stage\nCOPY --from=files /platform /files\n";

fn all_three(value: &str) -> String {
    ["none.example/missing:1", "stage", "files"]
        .map(|name| format!("--build-context {name}={value}"))
        .join(" ")
}

#[test]
fn docker_image_stands_for_a_stage_a_base_or_files() {
    let (program, registry) = (Program::new(), Registry::start());
    let digest = registry.add_base("other", "1", &["linux/amd64", "linux/arm64"]).digest;
    let context = Context::with_dockerfile(ALL);
    for name in ["other:1".to_owned(), format!("other@{digest}"), format!("other:1@{digest}")] {
        let value = format!("docker-image://{}", registry.name(&name));
        build(&program, &context, &format!("--platform linux/arm64 {}", all_three(&value)));
        for path in ["platform", "stage", "files"] {
            assert_eq!(text(&context, path), "linux/arm64", "{name}: {path}");
        }
    }
    let wrong = format!("docker-image://{}", registry.name("gone:1"));
    let line = format!("build {} .", all_three(&wrong));
    let (_, stderr, code) = outcome(program.command(&line).current_dir(context.path()));
    assert!(code == 1 && stderr.contains("gone:1"), "{stderr}");
}

#[test]
fn oci_layout_is_taken_by_tag_or_digest() {
    let program = Program::new();
    let context = Context::with_dockerfile(ALL);
    let place = program.home().join("layout");
    let digest = layout(&program, &place, &["latest"]);
    let at = place.display();
    for value in [format!("{at}"), format!("{at}:latest"), format!("{at}@{digest}")] {
        build(&program, &context, &all_three(&format!("oci-layout://{value}")));
        for path in ["platform", "stage", "files"] {
            assert_eq!(text(&context, path), "latest", "{value}: {path}");
        }
    }
    let other = format!("sha256:{}", "0".repeat(64));
    for (value, told) in [
        (format!("{at}:v9"), "v9"),
        (format!("{at}@{other}"), "000000"),
        (format!("{at}-gone:latest"), "layout-gone"),
    ] {
        let line = format!("build {} .", all_three(&format!("oci-layout://{value}")));
        let (_, stderr, code) = outcome(program.command(&line).current_dir(context.path()));
        assert!(code == 1 && stderr.contains(told), "{value}: {stderr}");
    }
}

#[test]
fn the_ignore_file_of_a_dockerfile_wins_and_exceptions_hold() {
    let program = Program::new();
    let context = Context::new()
        .file("Dockerfile", "FROM scratch\nCOPY . /\n")
        .file("own.Dockerfile", "FROM scratch\nCOPY . /\n")
        .file(".dockerignore", "**/*.log\n!keep.log\n*ockerfile*\n.dockerignore\nout\n# remark\n")
        .file("own.Dockerfile.dockerignore", "*\n!deep/*.log\n")
        .file("a.log", "1")
        .file("keep.log", "2")
        .file("deep/b.log", "3")
        .file("deep/c.txt", "4");
    let listed = |arguments: &str| {
        let line = format!("build -q -o - {arguments} .");
        let output = program.command(&line).current_dir(context.path()).output().expect("it runs");
        let mut archive = tar::Archive::new(output.stdout.as_slice());
        let entries = archive
            .entries()
            .expect("a tar archive")
            .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string());
        let mut names: Vec<String> = entries.filter(|name| !name.ends_with('/')).collect();
        names.sort();
        names
    };
    assert_eq!(listed(""), ["deep/c.txt", "keep.log"]);
    assert_eq!(listed("-f own.Dockerfile"), ["deep/b.log"]);
}

#[test]
fn add_with_a_checksum_asks_no_server_twice() {
    let (program, web) = (Program::new(), Web::start());
    web.file("tool", "content");
    // Of `content`.
    let digest = "sha256:ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    let add = format!("ADD --checksum={digest} {} /tool\n", web.url("tool"));
    let context = Context::with_dockerfile(&format!("FROM scratch\n{add}"));
    build(&program, &context, "");
    assert_eq!((text(&context, "tool").as_str(), web.asked().len()), ("content", 1));
    build(&program, &context, "");
    // Nor for another image that has it, nor when what was built is to be built anew.
    fs_err::write(context.join("Dockerfile"), format!("FROM scratch\nWORKDIR /x\n{add}"))
        .expect("it can be written");
    build(&program, &context, "");
    build(&program, &context, "--no-cache");
    assert_eq!(web.asked().len(), 1, "{:?}", web.asked());
    // Nor when the server is gone.
    drop(web);
    let stderr = build(&program, &context, "");
    assert_eq!(text(&context, "tool"), "content", "{stderr}");
}

#[test]
fn add_of_an_address_without_a_checksum_asks_whether_it_changed() {
    let (program, web) = (Program::new(), Web::start());
    web.file("tool", "one");
    let context =
        Context::with_dockerfile(&format!("FROM scratch\nADD {} /tool\n", web.url("tool")));
    build(&program, &context, "");
    web.file("tool", "two");
    build(&program, &context, "");
    assert_eq!((text(&context, "tool").as_str(), web.asked().len()), ("two", 2));
}

#[test]
fn stages_that_nothing_needs_are_neither_built_nor_asked_for() {
    let (program, registry) = (Program::new(), Registry::start());
    registry.add_base("base", "1", &["linux/amd64"]);
    let context = Context::with_dockerfile(&format!(
        "FROM none.example/missing:1 AS unused\nRUN false\nFROM {} AS first\nFROM unused AS also\n\
         COPY missing /\nFROM first AS last\nCOPY --from=first /platform /copied\n",
        registry.name("base:1")
    ));
    build(&program, &context, "--platform linux/amd64");
    assert_eq!(text(&context, "copied"), "linux/amd64");
    build(&program, &context, "--platform linux/amd64 --target first");
    let line = "build --target also .";
    let (_, stderr, code) = outcome(program.command(line).current_dir(context.path()));
    assert!(code == 1 && stderr.contains("missing"), "{stderr}");
}
