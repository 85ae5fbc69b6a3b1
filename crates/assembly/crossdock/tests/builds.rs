//! Whole builds with the real program: what goes in, what comes out, what a user sees.

use std::path::Path;

use assert_cmd::Command;
use testkit::{Access, Context, Program, Registry, ServerOptions, outcome, success, with_shell};

#[test]
fn a_second_build_runs_nothing() {
    let program = Program::new();
    let context = with_shell("RUN echo hello > /made\n");
    let build = |context: &Context| {
        success(program.command("build -t app --progress plain .").current_dir(context.path()))
    };
    let (_, first) = build(&context);
    assert!(first.contains("DONE") && !first.contains("CACHED"), "{first}");
    let (_, second) = build(&context);
    assert!(second.contains("CACHED") && second.contains("0 steps run"), "{second}");
    let digest = |text: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix("image sha256:").map(str::to_owned))
    };
    assert_eq!(digest(&first), digest(&second));
    let (list, _) = success(&mut program.command("image ls"));
    assert!(list.contains("app:latest"), "{list}");
    let (verified, _) = success(&mut program.command("du --verify"));
    assert!(verified.contains("everything is what it says it is"), "{verified}");
}

#[test]
fn a_failed_step_shows_where_and_why() {
    let program = Program::new();
    let context = with_shell("\nRUN echo before && \\\n    false\nENV AFTER=1\n");
    let (stdout, stderr, code) =
        outcome(program.command("build --platform linux/amd64 .").current_dir(context.path()));
    assert_eq!((stdout.as_str(), code), ("", 1));
    for part in [
        "last output of",
        "  | before",
        "exit code 1",
        "--> Dockerfile:5:1",
        "5 | / RUN echo before",
        "6 | |     false",
        "the full output is in ",
    ] {
        assert!(stderr.contains(part), "`{part}` is not in\n{stderr}");
    }
    let log = stderr
        .lines()
        .find_map(|line| line.strip_prefix("the full output is in "))
        .expect("a log file");
    assert_eq!(fs_err::read_to_string(log).expect("the log can be read"), "before\n");
}

#[test]
fn all_mistakes_of_a_dockerfile_are_told_at_once() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\nCOPPY a b\nENV\n");
    let (_, stderr, code) = outcome(program.command("build .").current_dir(context.path()));
    assert_eq!(code, 1);
    for part in ["COPPY", "did you mean COPY?", "--> Dockerfile:2:1", "--> Dockerfile:3"] {
        assert!(stderr.contains(part), "`{part}` is not in\n{stderr}");
    }
}

#[test]
fn several_platforms_are_pushed_as_one_index() {
    let (program, registry) = (Program::new(), Registry::start());
    let context =
        Context::with_dockerfile("FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /file\n")
            .file("amd64", "1")
            .file("arm64", "2");
    let line = format!(
        "build -q --platform linux/amd64,linux/arm64,windows/amd64 -t {} --push --metadata-file meta --iidfile id .",
        registry.name("app:1")
    );
    let (id, _) = success(program.command(&line).current_dir(context.path()));
    let image = registry.image("app:1");
    assert_eq!(image.platforms(), ["linux/amd64", "linux/arm64", "windows/amd64"]);
    assert_eq!(
        id.trim(),
        image.descriptor.digest.to_string(),
        "the id of several images is that of their index"
    );
    assert_eq!(fs_err::read_to_string(context.join("id")).expect("an id file"), id.trim());
    let meta = fs_err::read(context.join("meta")).expect("a metadata file");
    let meta: serde_json::Value = serde_json::from_slice(&meta).expect("it is JSON");
    assert_eq!(meta["containerimage.digest"], id.trim());
    assert_eq!(meta["image.name"], registry.name("app:1"));
}

#[test]
fn standard_input_is_a_dockerfile_or_an_archive() {
    let program = Program::new();
    let (id, _) = success(program.command("build -q -").write_stdin("FROM scratch\nLABEL a=b\n"));
    assert!(id.starts_with("sha256:"), "{id}");

    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in [
        ("Dockerfile", "FROM scratch\nCOPY file /\n"),
        ("other/Dockerfile", "FROM scratch\nCOPY file /renamed\n"),
        ("file", "x"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).expect("a tar can be written");
    }
    let tar = tar.into_inner().expect("a tar can be written");
    success(
        program
            .command("build -q -o one -")
            .current_dir(program.home())
            .write_stdin(tar.as_slice()),
    );
    success(
        program
            .command("build -q -f other/Dockerfile -o two -")
            .current_dir(program.home())
            .write_stdin(tar.as_slice()),
    );
    assert!(program.home().join("one/file").exists());
    assert!(program.home().join("two/renamed").exists());

    let context = Context::new().file("here", "x");
    success(
        program
            .command("build -q -f - -o out .")
            .current_dir(context.path())
            .write_stdin("FROM scratch\nCOPY here /\n"),
    );
    assert!(context.join("out/here").exists());
}

#[test]
fn progress_as_json_is_json() {
    let program = Program::new();
    let context = with_shell("RUN echo hello\n");
    let (_, stderr) =
        success(program.command("build --progress rawjson .").current_dir(context.path()));
    let mut finished = 0;
    for line in stderr.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        finished += usize::from(value["vertexes"][0]["completed"].is_string());
    }
    assert!(finished >= 3, "{stderr}");
}

#[test]
fn an_archive_goes_to_standard_output_and_nothing_else() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\nCOPY a /\n").file("a", "x");
    let output = program
        .command("build -o - .")
        .current_dir(context.path())
        .output()
        .expect("crossdock can be started");
    assert!(output.status.success());
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    let names: Vec<String> = archive
        .entries()
        .expect("a tar")
        .map(|entry| entry.expect("an entry").path().expect("a path").display().to_string())
        .collect();
    assert!(names.iter().any(|name| name == "a"), "{names:?}");
}

#[test]
fn an_image_survives_an_archive() {
    let program = Program::new();
    let context = Context::with_dockerfile("FROM scratch\nCOPY a /\n").file("a", "x");
    success(
        program
            .command("build -q --platform linux/amd64,linux/arm64 -t app:1 .")
            .current_dir(context.path()),
    );
    let (before, _) = success(&mut program.command("image ls -q"));
    success(
        program.command("image save --format oci -o all.tar app:1").current_dir(program.home()),
    );
    success(
        program
            .command("image save --platform linux/arm64 -o one.tar app:1")
            .current_dir(program.home()),
    );
    success(&mut program.command("image rm app:1"));
    success(&mut program.command("prune --all --force"));
    success(program.command("image load -i all.tar").current_dir(program.home()));
    let (after, _) = success(&mut program.command("image ls -q"));
    assert_eq!(before, after);
    success(program.command("image load -i one.tar -t single").current_dir(program.home()));
    let (inspected, _) = success(&mut program.command("image inspect single"));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("it is JSON");
    assert_eq!(inspected["images"][0]["platform"], "linux/arm64");
    let (config, _) = success(&mut program.command("image inspect --raw-config single"));
    assert!(config.contains("\"architecture\":\"arm64\""), "{config}");
}

#[test]
fn a_secret_reaches_the_step_and_not_the_image() {
    let program = Program::new();
    let context = with_shell("RUN --mount=type=secret,id=token /bin/busybox sha256sum /run/secrets/token > /sum\nFROM scratch\nCOPY --from=shell /sum /\n").file("token", "s3cret");
    success(
        program
            .command("build -q --secret id=token,src=token -o out .")
            .current_dir(context.path()),
    );
    let sum = fs_err::read_to_string(context.join("out/sum")).expect("the step wrote it");
    assert!(
        sum.starts_with("1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0"),
        "{sum}"
    );
}

#[test]
fn an_interrupted_build_ends_and_leaves_nothing_running() {
    let program = Program::new();
    let context = with_shell("RUN /bin/busybox sleep 987654\n");
    let mut command = Command::new("timeout");
    command
        .args(["--foreground", "--signal=INT", "2"])
        .arg(assert_cmd::cargo::cargo_bin("crossdock"))
        .args(["build", "."]);
    command
        .env("HOME", program.home())
        .env("CROSSDOCK_STORE", program.home().join("store"))
        .current_dir(context.path());
    let began = std::time::Instant::now();
    let (_, stderr, code) = outcome(command.arg("--no-cache"));
    // `timeout` ends with 124 when it had to send its signal.
    assert_eq!(code, 124, "{stderr}");
    assert!(stderr.ends_with("interrupted\n"), "{stderr}");
    assert!(began.elapsed().as_secs() < 20);
    assert!(is_gone("987654"), "the step is gone");
    success(&mut program.command("du --verify"));
}

/// Whether a process has this word among its arguments.
fn is_running(word: &str) -> bool {
    let processes = fs_err::read_dir("/proc").expect("/proc can be read");
    let lines =
        processes.flatten().filter_map(|entry| fs_err::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
}

/// Whether no such process is left, at the latest when a busy machine had time to end it.
fn is_gone(word: &str) -> bool {
    (0..50).any(|_| {
        let gone = !is_running(word);
        if !gone {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        gone
    })
}

#[test]
fn a_login_is_tried_before_it_is_kept() {
    let program = Program::new();
    let access = Access::Basic { user: "me".into(), password: "right".into() };
    let registry = Registry::with(ServerOptions { access, ..ServerOptions::default() });
    let config = program.home().join("docker/config.json");
    let login = format!("login --username me --password-stdin {}", registry.address);

    let (_, stderr, code) = outcome(program.command(&login).write_stdin("wrong\n"));
    assert_eq!(code, 1, "{stderr}");
    assert!(!config.exists());
    success(program.command(&login).write_stdin("right\n"));
    assert!(fs_err::read_to_string(&config).expect("a config file").contains(&registry.address));

    let context = Context::with_dockerfile("FROM scratch\nCOPY a /\n").file("a", "x");
    let build = format!("build -q -t {} --push .", registry.name("app"));
    success(program.command(&build).current_dir(context.path()));
    success(&mut program.command(&format!("logout {}", registry.address)));
    let (_, stderr, code) = outcome(
        program
            .command(&format!("build -q --no-cache -t {} --push .", registry.name("other")))
            .current_dir(context.path()),
    );
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("because:"), "{stderr}");
}

#[test]
fn loading_without_a_docker_engine_keeps_the_image() {
    let program = Program::new();
    if Path::new("/var/run/docker.sock").exists() {
        return;
    }
    let (_, stderr) =
        success(program.command("build -t app --load -").write_stdin("FROM scratch\n"));
    assert!(stderr.contains("there is no Docker Engine here"), "{stderr}");
    let (list, _) = success(&mut program.command("image ls"));
    assert!(list.contains("app:latest"), "{list}");
}

#[test]
fn an_image_is_pushed_pulled_and_run() {
    let (program, registry) = (Program::new(), Registry::start());
    let context = with_shell("ENV GREETING=hello\nCMD [\"/bin/sh\", \"-c\", \"echo $GREETING\"]\n");
    success(program.command("build -q -t local .").current_dir(context.path()));
    let name = registry.name("app:1");
    let (_, pushed) = success(&mut program.command(&format!("push local {name}")));
    assert!(pushed.contains(&format!("pushed {name}")), "{pushed}");

    let other = Program::new();
    let (digest, _) = success(&mut other.command(&format!("pull -q {name}")));
    assert_eq!(digest.trim(), registry.image("app:1").descriptor.digest.to_string());
    let (said, _) = success(&mut other.command(&format!("run {name}")));
    assert_eq!(said, "hello\n");
    let (said, _) = success(
        other
            .command(&format!("run -e GREETING=hi --entrypoint /bin/busybox {name} sh -c"))
            .arg("cat; echo $GREETING; exit 0")
            .write_stdin("in\n"),
    );
    assert_eq!(said, "in\nhi\n");
    let (_, _, code) = outcome(other.command(&format!("run {name} /bin/sh -c")).arg("exit 42"));
    assert_eq!(code, 42);
    let (_, missing, code) =
        outcome(&mut other.command(&format!("run {} true", registry.name("nothing"))));
    assert_eq!(code, 1, "{missing}");
}

#[test]
fn an_interrupted_container_ends() {
    let program = Program::new();
    let context = with_shell("");
    success(program.command("build -q -t app .").current_dir(context.path()));
    let mut command = Command::new("timeout");
    command
        .args(["--foreground", "--signal=INT", "2"])
        .arg(assert_cmd::cargo::cargo_bin("crossdock"))
        .args(["run", "app", "/bin/busybox", "sleep", "876543"]);
    command.env("HOME", program.home()).env("CROSSDOCK_STORE", program.home().join("store"));
    let (_, stderr, code) = outcome(&mut command);
    assert_eq!(code, 124, "{stderr}");
    assert!(stderr.ends_with("interrupted\n"), "{stderr}");
    assert!(is_gone("876543"), "the program is gone");
}

#[test]
fn a_server_that_never_answers_does_not_hold_back_an_interrupt() {
    let program = Program::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = silent.local_addr().expect("it has an address");
    let mut command = Command::new("timeout");
    command
        .args(["--foreground", "--signal=INT", "1"])
        .arg(assert_cmd::cargo::cargo_bin("crossdock"))
        .args(["build", "-"]);
    command.env("HOME", program.home()).env("CROSSDOCK_STORE", program.home().join("store"));
    let began = std::time::Instant::now();
    let (_, stderr, code) = outcome(command.write_stdin(format!("FROM {address}/base\n")));
    assert_eq!(code, 124, "{stderr}");
    assert!(stderr.contains("interrupted"), "{stderr}");
    assert!(began.elapsed().as_secs() < 10);
}

#[test]
fn what_is_said_of_steps_reaches_them() {
    let program = Program::new();
    let context = with_shell(
        "ARG A\nRUN /bin/busybox cat /etc/hosts; ulimit -n; /bin/busybox df /dev/shm; /bin/busybox wc -l /proc/net/dev; echo arg=$A\nLABEL a=b\n",
    );
    let line = "build --progress plain --no-cache --network none --add-host db:10.1.2.3 --ulimit nofile=77:99 --shm-size 32m --build-arg A=1 \
                --label c=d --annotation k=v -t app .";
    let (_, stderr) = success(program.command(line).current_dir(context.path()));
    for part in ["10.1.2.3", " 77\n", " 32768 ", " 3 /proc/net/dev", " arg=1\n"] {
        assert!(stderr.contains(part), "`{part}` is not in\n{stderr}");
    }
    let (inspected, _) = success(&mut program.command("image inspect app"));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("it is JSON");
    let image = &inspected["images"][0];
    assert_eq!(image["config"]["config"]["Labels"], serde_json::json!({ "a": "b", "c": "d" }));
    assert_eq!(image["annotations"]["k"], "v");
}

#[test]
fn what_moved_or_was_touched_but_is_the_same_costs_nothing() {
    let program = Program::new();
    let below = with_shell("ARG MOVED\nLABEL moved=$MOVED\n");
    let base = |moved: &str| {
        let mut command = program.command("build -q -t base:1 .");
        command.arg(format!("--build-arg=MOVED={moved}")).current_dir(below.path());
        success(command.env("SOURCE_DATE_EPOCH", "1700000000")).0
    };
    let first = base("no");
    let text = "FROM base:1\nCOPY data /data\nRUN cat /data > /made\n";
    let context = Context::with_dockerfile(text).file("data", "");
    let write = |content: &str, mtime: u64| {
        fs_err::write(context.join("data"), content).expect("the context can be written");
        let file = fs_err::OpenOptions::new().write(true).open(context.join("data"));
        let mtime = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
        file.and_then(|file| file.into_file().set_modified(mtime)).expect("times can be set");
    };
    let build = || {
        let mut command = program.command("build -t app --progress plain .");
        success(command.env("SOURCE_DATE_EPOCH", "1700000000").current_dir(context.path())).1
    };
    write("the same", 1_600_000_000);
    let built = build();
    assert!(built.contains("2 steps run, 0 cached"), "{built}");

    // Another image under the same name, with the same files.
    assert_ne!(base("yes"), first);
    let moved = build();
    assert!(moved.contains("0 steps run, 2 cached"), "{moved}");

    // The copy is made again, for it has a new time; what reads the file is not run again.
    write("the same", 1_600_000_001);
    let touched = build();
    assert!(touched.contains("1 step run, 1 cached"), "{touched}");

    write("another", 1_600_000_001);
    let changed = build();
    assert!(changed.contains("2 steps run, 0 cached"), "{changed}");
}

#[test]
fn what_is_written_to_a_link_leaves_the_link() {
    let program = Program::new();
    let context = with_shell("");
    let targets = ["id", "tar", "oci", "saved"];
    for name in targets {
        let link = context.join(&format!("to-{name}"));
        fs_err::write(context.join(name), "before, and longer than an image id is")
            .expect("it is written");
        std::os::unix::fs::symlink(name, link).expect("a link can be made");
    }
    let build = "build -q -t app --iidfile to-id -o type=tar,dest=to-tar -o type=oci,dest=to-oci -o type=image .";
    success(program.command(build).current_dir(context.path()));
    success(program.command("image save app -o to-saved").current_dir(context.path()));
    for name in targets {
        let link = fs_err::symlink_metadata(context.join(&format!("to-{name}")));
        assert!(link.expect("it is there").is_symlink(), "to-{name} was replaced");
        let content = fs_err::read(context.join(name)).expect("it can be read");
        assert!(!content.starts_with(b"before"), "{name} was not written");
    }
}
