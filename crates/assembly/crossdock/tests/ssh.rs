//! Agents and keys that steps are lent.
#![expect(clippy::disallowed_methods, reason = "keys are made with OpenSSH's own program")]

use std::process::Command;

use testkit::{Context, Program, outcome};

fn key(context: &Context, name: &str, passphrase: &str) {
    let words = ["-q", "-t", "ed25519", "-N", passphrase, "-f", name];
    let mut command = Command::new("ssh-keygen");
    let status = command.args(words).current_dir(context.path()).status();
    assert!(status.expect("ssh-keygen is installed (Debian: openssh-client)").success());
}

#[test]
fn keys_in_files_are_lent_to_steps_without_an_agent() {
    let program = Program::new();
    let busybox = fs_err::read("/bin/busybox").expect("busybox is installed");
    let context = Context::with_dockerfile(
        "FROM scratch AS run\nCOPY busybox /bin/busybox\n\
         RUN --mount=type=ssh,mode=0640 [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox stat -c '%a %F' $SSH_AUTH_SOCK > /seen\"]\n\
         FROM scratch\nCOPY --from=run /seen /\n",
    )
    .file_with_mode("busybox", busybox, 0o755)
    .file(".dockerignore", "*\n!busybox\n");
    key(&context, "plain", "");
    key(&context, "locked", "a passphrase");
    let run = |ssh: &str| {
        let line = format!("build -o out {ssh} .");
        outcome(program.command(&line).current_dir(context.path()))
    };
    let (_, stderr, code) = run("--ssh default=locked");
    assert_eq!(code, 1);
    assert!(stderr.contains("it has a passphrase") && stderr.contains("ssh-add"), "{stderr}");
    let (_, stderr, code) = run("--ssh default=plain.pub");
    assert!(code == 1 && stderr.contains("it is no private key"), "{stderr}");
    let (_, stderr, code) = run("--ssh default=plain");
    assert_eq!(code, 0, "{stderr}");
    let seen = fs_err::read_to_string(context.join("out/seen")).expect("it was built");
    assert_eq!(seen, "640 socket\n");
}
