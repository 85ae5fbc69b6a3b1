//! The agent for key files, asked by OpenSSH's own programs.
#![expect(clippy::disallowed_methods, reason = "the clients of the agent are OpenSSH's")]

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use executor::{SshKeyError, SshKeys};
use tempfile::TempDir;

/// Standard output, standard error and whether it succeeded.
fn run(at: &Path, program: &str, words: &[&str]) -> (String, String, bool) {
    let output = Command::new(program)
        .args(words)
        .current_dir(at)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", at)
        .env("SSH_AUTH_SOCK", at.join("agent"))
        .output()
        .unwrap_or_else(|error| panic!("{program} is installed (Debian: openssh-client): {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr), output.status.success())
}

fn key(at: &Path, name: &str, words: &[&str]) -> PathBuf {
    let comment = format!("key {name}");
    let words = [&["-q", "-C", &comment, "-f", name], words].concat();
    let (_, stderr, done) = run(at, "ssh-keygen", &words);
    assert!(done, "{stderr}");
    at.join(name)
}

/// Serves keys at `agent` for as long as the test runs.
fn serve(at: &Path, keys: SshKeys) {
    let listener = UnixListener::bind(at.join("agent")).expect("a socket can be made");
    let keys = Arc::new(keys);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let keys = Arc::clone(&keys);
            std::thread::spawn(move || keys.serve(client).unwrap_or_default());
        }
    });
}

const KINDS: [(&str, &[&str]); 5] = [
    ("ed25519", &["-t", "ed25519", "-N", ""]),
    ("p256", &["-t", "ecdsa", "-b", "256", "-N", ""]),
    ("p384", &["-t", "ecdsa", "-b", "384", "-N", ""]),
    ("p521", &["-t", "ecdsa", "-b", "521", "-N", ""]),
    ("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]),
];

#[test]
fn keys_are_listed_and_sign_and_nothing_else_is_done() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let at = dir.path();
    let paths: Vec<PathBuf> = KINDS.iter().map(|(name, words)| key(at, name, words)).collect();
    serve(at, SshKeys::read(&paths).expect("they have no passphrase"));

    let (listed, _, _) = run(at, "ssh-add", &["-l"]);
    let fingerprints: String =
        KINDS.iter().map(|(name, _)| run(at, "ssh-keygen", &["-l", "-f", name]).0).collect();
    assert_eq!(listed, fingerprints);

    // Only the agent has the private keys now.
    for path in &paths {
        fs_err::remove_file(path).expect("it can be removed");
    }
    fs_err::write(at.join("data"), "signed").expect("a file can be written");
    for (name, _) in KINDS {
        let public = format!("{name}.pub");
        // More than once: an integer of a signature is sometimes shorter.
        for _ in 0..8 {
            let words = ["-Y", "sign", "-n", "file", "-f", &public, "data"];
            let (_, stderr, done) = run(at, "ssh-keygen", &words);
            assert!(done, "{name}: {stderr}");
            let line = fs_err::read_to_string(at.join(&public)).expect("a public key");
            fs_err::write(at.join("allowed"), format!("me {line}")).expect("it can be written");
            let check = "ssh-keygen -Y verify -f allowed -I me -n file -s data.sig < data";
            let (_, stderr, done) = run(at, "sh", &["-c", check]);
            assert!(done, "{name}: {stderr}");
            fs_err::remove_file(at.join("data.sig")).expect("it can be removed");
        }
    }
    let added = key(at, "added", &["-t", "ed25519", "-N", ""]);
    for words in [&["-D"][..], &["-x"], &[added.to_str().expect("it is text")], &["-d", "rsa.pub"]]
    {
        assert!(!run(at, "ssh-add", words).2, "{words:?}");
    }
    assert_eq!(run(at, "ssh-add", &["-l"]).0, listed);
}

#[test]
fn keys_that_cannot_be_read_are_told_with_a_way_out() {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let at = dir.path();
    let locked = key(at, "locked", &["-t", "ed25519", "-N", "secret"]);
    let older = key(at, "older", &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
    for (path, reason, way) in [
        (locked, "it has a passphrase", "ssh-add"),
        (older, "it is not in the form of OpenSSH", "ssh-keygen -p"),
        (at.join("locked.pub"), "it is no private key", "private key"),
    ] {
        match SshKeys::read(std::slice::from_ref(&path)) {
            Err(SshKeyError::Unusable { reason: found, hint, .. }) => {
                assert!(found.starts_with(reason) && hint.contains(way), "{found}: {hint}");
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    // What is said of an older form is true.
    assert!(run(at, "ssh-keygen", &["-q", "-p", "-N", "", "-f", "older"]).2);
    SshKeys::read(&[at.join("older")]).expect("it is in the new form");
    assert!(matches!(SshKeys::read(&[at.join("none")]), Err(SshKeyError::Read { .. })));
}
