//! Steps that get more than the sandbox gives, with the real program.

use testkit::{Context, Program, with_shell};

/// Standard error and exit code of a build.
fn build(program: &Program, context: &Context, arguments: &str) -> (String, i32) {
    let line = format!("build --progress plain {arguments} .");
    let output = program.command(&line).current_dir(context.path()).output().expect("it starts");
    let told = String::from_utf8(output.stderr).expect("it writes UTF-8");
    (told, output.status.code().unwrap_or(-1))
}

#[test]
fn security_insecure_is_real_and_needs_permission() {
    let program = Program::new();
    let context = with_shell(
        "RUN /bin/busybox grep -E '^(CapEff|Seccomp):' /proc/self/status | /bin/busybox sed 's/^/sandbox /'\n\
         RUN --security=insecure /bin/busybox grep -E '^(CapEff|Seccomp):' /proc/self/status && \
         /bin/busybox mkdir -p /mnt && /bin/busybox mount -t tmpfs none /mnt && echo mounted && \
         [ -n \"$(/bin/busybox head -c 9 /proc/interrupts)\" ] && echo unmasked\n",
    );
    let (told, code) = build(&program, &context, "");
    assert_ne!(code, 0);
    assert!(told.contains("allow it with --allow security.insecure"), "{told}");

    let (told, code) = build(&program, &context, "--allow security.insecure");
    assert_eq!(code, 0, "{told}");
    let line = |start: &str| {
        let found = told.lines().find_map(|line| line.split_once(start).map(|(_, rest)| rest));
        found.unwrap_or_else(|| panic!("`{start}` is not in\n{told}")).trim().to_owned()
    };
    assert_eq!(line("sandbox Seccomp:"), "2", "a filter");
    let few = u64::from_str_radix(&line("sandbox CapEff:"), 16).expect("a number");
    assert_eq!(few & (1 << 21), 0, "no CAP_SYS_ADMIN");
    let all = u64::from_str_radix(&all_capabilities(&told), 16).expect("a number");
    assert_eq!(all & (1 << 21), 1 << 21, "CAP_SYS_ADMIN within the step's namespace");
    assert!(told.contains(" mounted") && told.contains(" unmasked"), "{told}");
}

/// `CapEff` of the step without the word before it.
fn all_capabilities(told: &str) -> String {
    let mut lines =
        told.lines().filter(|line| line.contains("CapEff:") && !line.contains("sandbox"));
    let line = lines.next_back().unwrap_or_default();
    line.rsplit(':').next().unwrap_or_default().trim().to_owned()
}

#[test]
fn network_host_needs_permission() {
    let program = Program::new();
    let context = with_shell("RUN --network=host /bin/busybox true\n");
    let (told, code) = build(&program, &context, "");
    assert_ne!(code, 0);
    assert!(told.contains("allow it with --allow network.host"), "{told}");
    for allowed in ["--allow network.host", "--network host"] {
        let (told, code) = build(&program, &context, allowed);
        assert_eq!(code, 0, "{told}");
    }
}

#[test]
fn a_device_brings_its_node_files_and_variables() {
    let program = Program::new();
    let specifications = tempfile::tempdir().expect("a directory");
    let text = r#"{"cdiVersion":"0.6.0","kind":"vendor.com/zero","devices":[{"name":"a","containerEdits":{
        "env":["ZERO=from the specification"],
        "deviceNodes":[{"path":"/dev/vendor/zero","hostPath":"/dev/zero"}],
        "mounts":[{"hostPath":"/etc/passwd","containerPath":"/vendor/passwd","options":["ro"]}]}}]}"#;
    fs_err::write(specifications.path().join("zero.json"), text).expect("it can be written");
    let settings = specifications.path().join("config.toml");
    let directories = format!("device-directories = [{:?}]\n", specifications.path());
    fs_err::write(&settings, directories).expect("it can be written");

    let context = with_shell(
        "RUN --device=vendor.com/zero=a,required /bin/busybox head -c 3 /dev/vendor/zero | /bin/busybox wc -c && \
         echo \"$ZERO\" && /bin/busybox grep -c root /vendor/passwd > /count && \
         ! echo x 2>/dev/null >> /vendor/passwd\n\
         RUN --device=vendor.com/none /bin/busybox ls -l /dev/vendor || echo gone\n",
    );
    let config = format!("--config {}", settings.display());
    let (told, code) = build(&program, &context, &config);
    assert_ne!(code, 0);
    assert!(told.contains("--allow device=vendor.com/zero=a"), "{told}");
    let (told, code) = build(&program, &context, &format!("{config} --allow device"));
    assert_eq!(code, 0, "{told}");
    for part in ["from the specification", "gone", "no device `vendor.com/none` is known"] {
        assert!(told.contains(part), "`{part}` is not in\n{told}");
    }

    let context = with_shell("RUN --device=vendor.com/none,required true\n");
    let (told, code) = build(&program, &context, &format!("{config} --allow device"));
    assert_ne!(code, 0);
    assert!(told.contains("no device `vendor.com/none` is known on this machine"), "{told}");
    assert!(told.contains("specifications are in"), "{told}");
}
