//! What instructions mean in a Windows stage, and what is refused.

use oci::{ContainerConfig, Platform};
use testkit::{WindowsLayer, outcome, success};

use crate::{Windows, files};

const FOR: &str = "--platform windows/amd64";

impl Windows {
    fn config(&self, dockerfile: &str) -> ContainerConfig {
        let (said, code) = self.run(&files(), dockerfile, FOR);
        assert_eq!(code, 0, "{said}");
        self.registry.image("app:1").config("windows/amd64").config
    }

    /// What is said of a Dockerfile that is refused, before anything of the base was read.
    fn refusal(&self, dockerfile: &str, arguments: &str) -> String {
        self.registry.take_received();
        let (said, code) = self.run(&files(), dockerfile, arguments);
        assert_eq!(code, 1, "{dockerfile}: {said}");
        let layers = self.registry.image("core:1").manifest("windows/amd64").layers.clone();
        let received = self.registry.take_received();
        let read = layers
            .iter()
            .any(|layer| received.iter().any(|it| it.path.ends_with(layer.digest.as_str())));
        assert!(!read, "nothing is done before: {said}");
        assert!(!received.iter().any(|it| it.path.contains("/app/")), "nothing is pushed");
        said
    }
}

#[test]
fn workdir_drive_errors() {
    let windows = Windows::new();
    for (line, expected) in [
        ("WORKDIR D:/x", "not on the system drive (C:)"),
        ("WORKDIR C:", "no relative path specified in \"C:\""),
        ("COPY a.txt D:/foo/", "not on the system drive (C:)"),
    ] {
        let said = windows.refusal(&format!("FROM {{core}}\n{line}\n"), FOR);
        assert!(said.contains(expected) && said.contains("Dockerfile:2"), "{line}: {said}");
    }
}

#[test]
fn unc_error() {
    let windows = Windows::new();
    for line in ["WORKDIR \\\\server\\share", "COPY a.txt \\\\server\\share\\"] {
        let said = windows.refusal(&format!("# escape=`\nFROM {{core}}\n{line}\n"), FOR);
        assert!(
            said.contains("UNC paths are not supported") && said.contains("Dockerfile:3"),
            "{line}: {said}"
        );
    }
}

/// Dump 3: BuildKit says nothing where a back-slash is lost.
#[test]
fn default_escape_lints() {
    let windows = Windows::new();
    let core = windows.registry.name("core:1");
    for (line, is_told) in [
        ("WORKDIR C:\\temp\\x", true),
        ("WORKDIR c:\\\\windows\\\\y", false),
        ("ENV A=C:\\temp", true),
        ("ENV B=\"C:\\tmp\\n\"", false),
        ("ENV D='C:\\x\\'", false),
        ("VOLUME c:\\vol", true),
        ("COPY a.txt C:\\temp/", true),
        ("COPY a.txt C:\\temp\\\nWORKDIR /x", true),
        ("COPY a.txt C:/temp/", false),
        ("COPY a.txt /c/temp3/", true),
    ] {
        let context = files();
        fs_err::write(context.join("Dockerfile"), format!("FROM {core}\n{line}\n"))
            .expect("a context can be written");
        let line_of_check = format!("check {FOR}");
        let (stdout, stderr, _) =
            outcome(windows.program.command(&line_of_check).current_dir(context.path()));
        assert_eq!(stdout.contains("WindowsPath"), is_told, "{line}: {stdout}{stderr}");
    }
}

/// Dump 3: what the characters become.
#[test]
fn default_escape_results() {
    let windows = Windows::new();
    let text = "FROM {core}\nCOPY a.txt C:\\temp/\nWORKDIR C:\\temp\\x\nWORKDIR c:\\\\windows\\\\y\n\
                CMD c:\\Apache24\\bin\\httpd.exe -w\n\
                ENV A=C:\\temp B=\"C:\\tmp\\n\" D='C:\\x\\' E=C:\\\\double\n\
                ENV PATH=\"C:\\Windows\\system32;C:\\v1.0\\;C:\\wbem;\"\n\
                COPY b.exe C:/temp2/\nCOPY b.exe /c/temp3/\nVOLUME c:\\vol\n\
                ENTRYPOINT [\"C:\\\\Program Files\\\\x\\\\a.exe\", \"-v\"]\n";
    let layers = windows.build(&files(), text);
    let last: Vec<&str> =
        layers.iter().map(|layer| layer.last().map_or("", String::as_str)).collect();
    assert_eq!(
        last,
        [
            "REG temp/a.txt 644 32 SD_FILE",
            "DIR tempx 755 16 SD_DIR",
            "DIR Windows/y 755 16 SD_DIR",
            "REG temp2/b.exe 644 32 SD_FILE",
            "REG c/temp3/b.exe 644 32 SD_FILE",
        ]
    );
    let config = windows.registry.image("app:1").config("windows/amd64").config;
    let env = ["A=C:temp", "B=C:\\tmp\\n", "D=C:\\x\\", "E=C:\\double"];
    assert_eq!(config.env[..4], env);
    assert_eq!(config.env[4], "PATH=C:\\Windows\\system32;C:\\v1.0\\;C:\\wbem;");
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["c:vol"]);
    let entrypoint = ["C:\\Program Files\\x\\a.exe", "-v"].map(str::to_owned);
    assert_eq!(config.entrypoint.as_deref(), Some(&entrypoint[..]));
}

/// Dump 2: as BuildKit, but for the drive of the directory, one command line for `ArgsEscaped`, and the base's PATH.
#[test]
fn windows_style_instructions() {
    let windows = Windows::new();
    let text = "# escape=`\nFROM {core}\n\
                SHELL [\"powershell\", \"-Command\", \"$ErrorActionPreference = 'Stop';\"]\n\
                ENV FOO=C:\\x BAR=\"C:\\Program Files\\x\"\n\
                VOLUME C:\\data D:\\vol\nEXPOSE 80\nUSER ContainerAdministrator\nWORKDIR C:\\afteruser\n\
                HEALTHCHECK --interval=5s CMD powershell -command exit 0\nCMD app.exe --x \"a b\"\n";
    let config = windows.config(text);
    assert_eq!(config.user, "ContainerAdministrator");
    assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["80/tcp"]);
    assert_eq!(config.env, ["FOO=C:\\x", "BAR=C:\\Program Files\\x"]);
    assert_eq!(config.volumes.keys().collect::<Vec<_>>(), ["C:\\data", "D:\\vol"]);
    assert_eq!(config.working_dir, "C:\\afteruser");
    assert_eq!(config.shell, ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]);
    assert!(config.args_escaped);
    let line = "powershell -Command $ErrorActionPreference = 'Stop'; app.exe --x \"a b\"";
    assert_eq!(config.cmd, Some(vec![line.to_owned()]));
    let health = config.healthcheck.expect("a health check");
    assert_eq!(health.test, ["CMD-SHELL", "powershell -command exit 0"]);
    assert_eq!(health.interval, 5_000_000_000);
}

/// BuildKit stores `C:\app;`, and the container finds no program of Windows.
#[test]
fn env_path_append() {
    let windows = Windows::new();
    let config = windows.config("# escape=`\nFROM {core}\nENV PATH=C:\\app;$PATH\n");
    assert_eq!(config.env.len(), 1);
    assert!(config.env[0].starts_with("PATH=C:\\app;C:\\Windows\\system32;"), "{:?}", config.env);
}

#[test]
fn env_names_in_any_case() {
    let windows = Windows::new();
    let config =
        windows.config("FROM {core}\nENV Path=C:/one Name=1\nENV PATH=C:/two\nENV NAME=${name}2\n");
    let upper: Vec<String> = config.env.iter().map(|it| it.to_uppercase()).collect();
    assert_eq!(upper, ["PATH=C:/TWO", "NAME=12"]);
}

#[test]
fn targetosversion() {
    let windows = Windows::new();
    let text = "FROM {core}\nARG TARGETOSVERSION TARGETPLATFORM\nENV V=$TARGETOSVERSION P=$TARGETPLATFORM\n";
    let (said, code) = windows.run(&files(), text, "--platform windows(10.0.20348)/amd64");
    assert_eq!(code, 0, "{said}");
    let config = windows.registry.image("app:1").config("windows/amd64").config;
    assert!(config.env[0].starts_with("V=10.0.20348"), "{:?}", config.env);
}

/// BuildKit sets `ArgsEscaped` for both, so that Windows starts the exec form unquoted.
#[test]
fn cmd_shell_vs_exec() {
    let windows = Windows::new();
    let shell = windows.config("FROM {core}\nCMD app.exe --x \"a b\"\n");
    assert_eq!(shell.cmd, Some(vec!["cmd /S /C app.exe --x \"a b\"".to_owned()]));
    assert!(shell.args_escaped);
    let exec = windows.config("FROM {core}\nCMD [\"app.exe\", \"--x\", \"a b\"]\n");
    let words = ["app.exe", "--x", "a b"].map(str::to_owned).to_vec();
    assert_eq!((exec.cmd, exec.args_escaped), (Some(words), false));
}

#[test]
fn entrypoint_shell() {
    let windows = Windows::new();
    let config = windows.config("FROM {core}\nENTRYPOINT app.exe -v \"x y\"\n");
    assert_eq!(config.entrypoint, Some(vec!["cmd /S /C app.exe -v \"x y\"".to_owned()]));
    assert!(config.args_escaped);
    // Finding 5 of BuildKit: a CMD in shell form makes the program of an exec form start unquoted.
    let text = "FROM {core}\nENTRYPOINT [\"C:\\\\Program Files\\\\x\\\\a.exe\"]\nCMD [\"--flag\", \"a b\"]\n";
    assert!(!windows.config(text).args_escaped);
}

#[test]
fn heredoc() {
    let windows = Windows::new();
    let text = "FROM {core}\nCOPY <<F1 C:/here/f1.txt\ntext\nF1\n";
    assert_eq!(
        windows.build(&files(), text),
        [["DIR here 755 16 SD_DIR", "REG here/f1.txt 644 32 SD_FILE"]]
    );
}

#[test]
fn onbuild() {
    let windows = Windows::new();
    let config = windows.config("FROM {core}\nONBUILD COPY a.txt C:/onb/\n");
    assert_eq!(config.on_build, ["COPY a.txt C:/onb/"]);
    // And it is done in who builds on it.
    let text = format!("FROM {}\nCOPY b.exe C:/own/\n", windows.registry.name("app:1"));
    let (said, code) = windows.run(&files(), &text, FOR);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        windows.shown("windows/amd64", 3),
        [
            ["DIR onb 755 16 SD_DIR", "REG onb/a.txt 644 32 SD_FILE"],
            ["DIR own 755 16 SD_DIR", "REG own/b.exe 644 32 SD_FILE"]
        ]
    );
    let config = windows.registry.image("app:1").config("windows/amd64").config;
    assert_eq!(config.on_build, Vec::<String>::new());
}

#[test]
fn healthcheck() {
    let windows = Windows::new();
    let test = |line: &str| {
        let config = windows.config(&format!("FROM {{core}}\nHEALTHCHECK {line}\n"));
        config.healthcheck.expect("a health check").test
    };
    assert_eq!(test("NONE"), ["NONE"]);
    assert_eq!(test("CMD probe.exe -q"), ["CMD-SHELL", "probe.exe -q"]);
    assert_eq!(test("CMD [\"probe.exe\", \"-q\"]"), ["CMD", "probe.exe", "-q"]);
}

/// BuildKit tries, and fails when it comes to it.
#[test]
fn run_refused() {
    let windows = Windows::new();
    let said = windows.refusal("FROM {core} AS final\nCOPY a.txt /app/\nRUN dir\n", FOR);
    for expected in
        ["RUN cannot execute in a Windows stage", "--> Dockerfile:3:1", "RUN dir", "final"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// BuildKit runs it in the unpacked tree, and leaves `dev`, `proc` and `sys` on C:.
#[test]
fn run_linux_binary_refused() {
    let windows = Windows::new();
    let text = "FROM --platform=linux/amd64 {shell} AS bb\nFROM {core}\nRUN --mount=type=bind,from=bb,target=/bb [\"/bb/bin/busybox\", \"rm\", \"-rf\", \"/Users\"]\n";
    let said = windows.refusal(text, FOR);
    assert!(said.contains("RUN cannot execute in a Windows stage"), "{said}");
    assert!(said.contains("--> Dockerfile:3:1"), "{said}");
}

/// BuildKit takes the image there is and writes the version that was asked for into it.
#[test]
fn osversion_relabel_refused() {
    let windows = Windows::new();
    let said = windows
        .refusal("FROM {core}\nCOPY a.txt C:/app/\n", "--platform windows(10.0.17763)/amd64");
    assert!(said.contains("10.0.20348.3091") && said.contains("10.0.17763"), "{said}");
}

/// Old containerd takes an image without version out of no index; BuildKit makes one for its attestations.
#[test]
fn hpc_single_manifest() {
    let windows = Windows::new();
    success(&mut windows.program.command("windows base hpc -q -t hpc"));
    let (said, code) = windows.run(&files(), "FROM hpc\nCOPY a.txt C:/app/\n", FOR);
    assert_eq!(code, 0, "{said}");
    let image = windows.registry.image("app:1");
    assert_eq!(image.config("windows/amd64").os_version, "");
    let (document, _) = windows.registry.manifest("app", "1").expect("it was pushed");
    assert_eq!(document.media_type, oci::media_type::OCI_MANIFEST);
}

/// BuildKit's two builds of Antrea in shape: what an archive holds from a Linux stage, and a copy of another Windows
/// image into it.
#[test]
fn antrea_two_dockerfiles() {
    let windows = Windows::new();
    let hpc = WindowsLayer::new().directory("Files", 16, "").file("Files/License.txt", b"CC0");
    let platform: Platform = "windows/amd64".parse().expect("a platform");
    windows.registry.add_windows_image("hpc", "1", &platform, vec![hpc.finish()], &["base"]);
    let ovs = "FROM --platform=linux/amd64 {shell} AS prep\nWORKDIR /out\nCOPY b.exe /in/\n\
               RUN /bin/busybox tar -C /in -cf /ovs.tar b.exe && /bin/busybox mkdir openvswitch && \
               /bin/busybox tar -C openvswitch -xf /ovs.tar\n\
               FROM {hpc}\nCOPY --from=prep /out/openvswitch /openvswitch\n"
        .replace("{hpc}", &windows.registry.name("hpc:1"));
    let (said, code) = windows.run(&files(), &ovs, FOR);
    assert_eq!(code, 0, "{said}");
    let (first, _) = windows.registry.manifest("app", "1").expect("it was pushed");
    let first = windows.registry.name(&format!("app@{}", first.digest));
    let antrea = format!(
        "FROM --platform=linux/amd64 {{shell}} AS tools\nRUN --mount=type=cache,target=/root/.cache \
         /bin/busybox mkdir -p /out/k/antrea && echo go > /out/k/antrea/agent.exe\n\
         FROM {}\nCOPY --from={first} /openvswitch /openvswitch\nCOPY --from=tools /out/k /k\n\
         ENV PATH=\"C:\\Windows\\system32;C:\\Windows;C:\\WINDOWS\\System32\\WindowsPowerShell\\v1.0\\;\"\n",
        windows.registry.name("hpc:1")
    );
    let (said, code) = windows.run(&files(), &antrea, FOR);
    assert_eq!(code, 0, "{said}");
    assert_eq!(
        windows.shown("windows/amd64", 1),
        [
            vec!["DIR openvswitch 755 16 SD_DIR", "REG openvswitch/b.exe 644 32 SD_FILE"],
            vec![
                "DIR k 755 16 SD_DIR",
                "DIR k/antrea 755 16 SD_DIR",
                "REG k/antrea/agent.exe 644 32 SD_FILE"
            ],
        ]
    );
    let config = windows.registry.image("app:1").config("windows/amd64");
    assert_eq!(config.os_version, "");
    assert!(config.config.env[0].ends_with("v1.0\\;"), "{:?}", config.config.env);
}
