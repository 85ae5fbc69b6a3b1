//! What Antrea's Dockerfiles ask of a build, run with the real program.

use testkit::{Context, Program, Registry, busybox};

const SHELL: &str = "FROM scratch AS shell\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";

fn with_shell(dockerfile: &str) -> Context {
    Context::with_dockerfile(&format!("{SHELL}{dockerfile}")).file_with_mode(
        "busybox",
        busybox(),
        0o755,
    )
}

/// Standard error of a build that succeeds.
fn build(program: &Program, context: &Context, arguments: &str) -> String {
    let line = format!("build --progress plain {arguments} .");
    let output = program.command(&line).current_dir(context.path()).output().expect("it starts");
    let told = String::from_utf8(output.stderr).expect("it writes UTF-8");
    assert!(output.status.success(), "{told}");
    told
}

/// Whether the step whose name ends so was found.
fn cached(told: &str, name: &str) -> bool {
    let line = told.lines().find(|line| line.starts_with('#') && line.contains(name));
    let number = line.and_then(|line| line.split(' ').next()).unwrap_or("no such step");
    told.contains(&format!("{number} CACHED"))
}

#[test]
fn f07_parallel_builds_share_a_cache_mount() {
    let program = Program::new();
    let context = with_shell(
        "ARG WHO\nRUN --mount=type=cache,target=/go/pkg/mod/ --mount=type=cache,target=/root/.cache/go-build/ \
         echo $WHO > /go/pkg/mod/$WHO && ls -ld /go/pkg/mod && ls /go/pkg/mod > /seen\n",
    );
    build(&program, &context, "--build-arg WHO=zero");
    std::thread::scope(|scope| {
        for who in ["one", "two"] {
            let (program, context) = (&program, &context);
            scope.spawn(move || build(program, context, &format!("--build-arg WHO={who}")));
        }
    });
    let told = build(&program, &context, "--build-arg WHO=three -o out");
    assert!(told.contains("root"), "owned by root: {told}");
    let seen = fs_err::read_to_string(context.path().join("out/seen")).expect("it was written");
    assert_eq!(seen, "one\nthree\ntwo\nzero\n");
    let left = context.path().join("out/go/pkg/mod");
    assert!(!left.join("zero").exists(), "a cache mount is never exported");
}

#[test]
fn f08_a_bound_file_keeps_the_step_when_other_files_change() {
    let program = Program::new();
    let context = with_shell(
        "WORKDIR /antrea\nRUN --mount=type=bind,source=go.sum,target=go.sum cat go.sum > /sum\nCOPY other .\n",
    )
    .file("go.sum", "sums")
    .file("other", "1");
    build(&program, &context, "-o out");
    assert_eq!(fs_err::read_to_string(context.path().join("out/sum")).expect("made"), "sums");
    assert!(!context.path().join("out/antrea/go.sum").exists(), "the mount point does not stay");
    fs_err::remove_dir_all(context.path().join("out")).expect("it can be removed");
    fs_err::write(context.path().join("other"), "2").expect("it can be written");
    let told = build(&program, &context, "");
    assert!(cached(&told, "cat go.sum"), "{told}");
    fs_err::write(context.path().join("go.sum"), "changed").expect("it can be written");
    let told = build(&program, &context, "");
    assert!(!cached(&told, "cat go.sum"), "{told}");
}

#[test]
fn f12_git_sees_a_clean_tree_in_a_copied_context() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\nCOPY . /antrea\n")
        .file("a file", "x")
        .file_with_mode("script", "#!/bin/sh\n", 0o755)
        .file("bin/out", "ignored")
        .file(".dockerignore", "bin/\nout\n**/*.tmp\n!keep.tmp\n")
        .file("x.tmp", "ignored")
        .file("keep.tmp", "kept")
        .file(".gitignore", "bin/\nout\n*.tmp\n");
    std::os::unix::fs::symlink("a file", context.path().join("link")).expect("a link");
    let git = |directory: &std::path::Path, arguments: &[&str]| {
        let output = assert_cmd::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "safe.directory=*"])
            .args(arguments)
            .current_dir(directory)
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    git(context.path(), &["init", "-q"]);
    git(context.path(), &["add", "-A"]);
    git(context.path(), &["commit", "-qm", "all"]);
    let out = tempfile::tempdir().expect("a directory");
    build(&program, &context, &format!("-o {}", out.path().join("o").display()));
    let copied = out.path().join("o/antrea");
    assert_eq!(git(&copied, &["status", "--porcelain"]), "", "nothing is changed");
    assert!(!copied.join("bin").exists() && !copied.join("x.tmp").exists());
    assert!(copied.join("keep.tmp").exists());
}

#[test]
fn f13_globs_of_several_sources_fill_an_existing_directory() {
    let program = Program::new();
    let context = Context::with_dockerfile(
        "FROM scratch AS build\nCOPY a /opt/cni/bin/one\nCOPY a /opt/cni/bin/two\nCOPY a /antrea/bin/three\n\
         FROM scratch\nCOPY a /usr/local/bin/zero\n\
         COPY --from=build /opt/cni/bin/* /antrea/bin/* /usr/local/bin\nCOPY scripts/* /usr/local/bin\n",
    )
    .file("a", "x")
    .file("scripts/four", "x")
    .file("scripts/five", "x");
    build(&program, &context, "-o out");
    let mut found: Vec<String> = fs_err::read_dir(context.path().join("out/usr/local/bin"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, ["five", "four", "one", "three", "two", "zero"]);
}

#[test]
fn f14_a_directory_copied_to_a_directory_is_not_nested() {
    let program = Program::new();
    let context = Context::with_dockerfile(
        "FROM scratch AS build\nCOPY k /go/k\nFROM scratch\nCOPY --from=build /go/k /k\n",
    )
    .file("k/antrea/agent.exe", "x");
    build(&program, &context, "-o out");
    assert!(context.path().join("out/k/antrea/agent.exe").exists());
    assert!(!context.path().join("out/k/k").exists());
}

#[test]
fn f21_setuid_bits_and_owners_of_steps_are_kept() {
    let program = Program::new();
    let context = with_shell(
        "FROM shell AS made\nRUN cp /bin/busybox /su && chown 1:2 /su && chmod 4755 /su\n\
         FROM shell\nCOPY --from=made /su /copied/\nRUN stat -c '%a %u %g %n' /copied/su\n",
    );
    let told = build(&program, &context, "");
    assert!(told.contains("4755 1 2 /copied/su"), "mode and owner of the step are kept: {told}");
}

#[test]
fn f20_a_windows_stage_of_copy_and_env_keeps_the_base() {
    let (program, registry) = (Program::new(), Registry::start());
    let base = registry.name("hpc:1");
    let line = format!("windows base hpc -q --platform windows/amd64 -t {base} --push");
    assert!(program.command(&line).output().expect("it starts").status.success());
    let context = Context::with_dockerfile(&format!(
        "FROM --platform=linux/amd64 scratch AS build\nCOPY agent.exe /go/k/\nFROM {base}\n\
         ENV PATH=\"C:\\Windows\\system32;C:\\v1.0\\;\"\nCOPY --from=build /go/k /k\n"
    ))
    .file("agent.exe", "MZ");
    let arguments = format!("--platform windows/amd64 -t {} --push", registry.name("agent:1"));
    build(&program, &context, &arguments);
    let image = registry.image("agent:1");
    let config = image.config("windows/amd64");
    assert_eq!((config.os.as_str(), config.os_version.as_str()), ("windows", ""));
    assert_eq!(config.config.cmd.unwrap_or_default(), ["c:\\windows\\system32\\cmd.exe"]);
    assert_eq!(config.config.env, ["PATH=C:\\Windows\\system32;C:\\v1.0\\;"]);
    let layers = image.layers("windows/amd64");
    let names: Vec<&str> = layers[1].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Hives", "Files", "Files/k", "Files/k/agent.exe"]);
}

#[test]
fn f22_steps_are_given_the_proxy_and_images_are_not() {
    let program = Program::new();
    let context = with_shell("RUN echo \"proxy is $HTTPS_PROXY $https_proxy\"\n");
    let told = build(
        &program,
        &context,
        "--build-arg HTTPS_PROXY=http://proxy.example:3128 -o type=oci,dest=image.tar",
    );
    assert!(
        told.contains("proxy is http://proxy.example:3128 http://proxy.example:3128"),
        "{told}"
    );
    let image = fs_err::read(context.path().join("image.tar")).expect("it was written");
    let written = image.windows(13).any(|bytes| bytes == b"proxy.example");
    assert!(!written, "the proxy is in no document of the image");
}
