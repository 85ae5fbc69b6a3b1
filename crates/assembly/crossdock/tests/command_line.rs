//! The program as a user meets it: help, wrong usage, files that are not there. No build is run here.

#![expect(clippy::unwrap_used, reason = "a test ends there")]

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

/// The program in an empty home, without the caller's environment.
fn crossdock(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crossdock"));
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("CROSSDOCK_STORE", home.join("store"))
        .current_dir(home);
    command
}

fn home() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// What it wrote to standard error, and its exit code.
fn failure(home: &Path, words: &[&str]) -> (String, i32) {
    let output = crossdock(home).args(words).output().unwrap();
    assert!(
        output.stdout.is_empty(),
        "{words:?} wrote {}",
        String::from_utf8_lossy(&output.stdout)
    );
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

#[test]
fn help_and_version_go_to_standard_output() {
    let home = home();
    for words in [
        ["--help"].as_slice(),
        &["--version"],
        &["version"],
        &["build", "--help"],
        &["image", "ls", "--help"],
        &["buildx", "build", "--help"],
    ] {
        let output = crossdock(home.path()).args(words).output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(),
            "{words:?}"
        );
    }
    assert_eq!(fs_err::read_dir(home.path()).unwrap().count(), 0, "help leaves no files");
}

#[test]
fn every_shell_gets_its_completions() {
    let home = home();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = crossdock(home.path()).args(["completion", shell]).output().unwrap();
        assert!(output.status.success(), "{shell}");
        assert!(String::from_utf8(output.stdout).unwrap().contains("build-context"), "{shell}");
    }
}

#[test]
fn wrong_usage_ends_with_two_and_says_what_would_be_right() {
    let home = home();
    for (words, parts) in [
        (["build"].as_slice(), ["CONTEXT", "--help"].as_slice()),
        (&["biuld", "."], &["biuld", "build"]),
        (&["build", "--plaform", "linux/amd64", "."], &["--plaform", "--platform"]),
        (&["build", "--platform", "lunix/", "."], &["not a platform", "linux/arm64"]),
        (
            &["build", "--cache-to", "type=inline", "."],
            &["crossdock has no --cache-to", "not supported yet"],
        ),
        (&["build", "--network", "bridge", "."], &["bridge", "default, none and host"]),
        (&["build", "-o", "type=ocl,dest=x", "."], &["ocl", "did you mean oci?"]),
        (&["build", "--secret", "id=a,env=UNSET", "."], &["UNSET", "not set"]),
        (&["build", "--push", "."], &["no name to push", "--tag"]),
        (&["build", "s3://bucket/context"], &["s3://", "not supported", "https://"]),
        (&["build", "--progress", "loud", "."], &["loud", "rawjson"]),
        (&["build", "--quiet", "--progress=plain", "."], &["--quiet and --progress"]),
        (&["run", "-v", "data:/data", "busybox"], &["data:/data", "named volumes"]),
        (&["login", "word"], &["`word` is not a registry"]),
        (&["prune", "--older-than", "soon"], &["soon", "7d"]),
        (&["image", "inspect", "UPPER"], &["UPPER", "lower case"]),
    ] {
        let (text, code) = failure(home.path(), words);
        assert_eq!(code, 2, "{words:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{words:?}: `{part}` is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "{words:?}: colours in a pipe");
    }
}

#[test]
fn what_is_not_there_ends_with_one_and_names_the_path() {
    let home = home();
    fs_err::create_dir(home.path().join("context")).unwrap();
    fs_err::write(home.path().join("file"), "x").unwrap();
    for (words, parts) in [
        (["build", "missing"].as_slice(), ["context", "missing", "No such file"].as_slice()),
        (&["build", "file"], &["file", "not a directory"]),
        (&["build", "-f", "nowhere/Dockerfile", "context"], &["nowhere/Dockerfile"]),
        (&["build", "--secret", "id=a,src=nowhere", "context"], &["secret a", "nowhere"]),
        (&["build", "--build-context", "x=nowhere", "context"], &["build context x", "nowhere"]),
        (&["image", "inspect", "app"], &["no image `app:latest`", "image ls"]),
        (&["image", "rm", "app"], &["no image `app:latest`"]),
        (&["--config", "nowhere.toml", "image", "ls"], &["settings", "nowhere.toml"]),
    ] {
        let (text, code) = failure(home.path(), words);
        assert_eq!(code, 1, "{words:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{words:?}: `{part}` is not in\n{text}");
        }
    }
}

#[test]
fn a_wrong_setting_is_shown_with_its_line() {
    let home = home();
    fs_err::write(home.path().join("config.toml"), "progress = \"plain\"\nparalelism = 3\n")
        .unwrap();
    let (text, code) = failure(home.path(), &["--config", "config.toml", "image", "ls"]);
    assert_eq!(code, 2);
    assert!(
        text.contains("unknown field `paralelism`")
            && text.contains("config.toml:2:1")
            && text.contains("paralelism = 3"),
        "{text}"
    );
}

#[test]
fn standard_input_must_hold_something() {
    let home = home();
    let output = crossdock(home.path()).args(["build", "-"]).write_stdin("").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("standard input is empty"));
    let output = crossdock(home.path())
        .args(["build", "-"])
        .write_stdin([0xff_u8, 0xfe, 0x00].as_slice())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_empty_store_has_no_images() {
    let home = home();
    let output = crossdock(home.path()).args(["image", "ls"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "NAME  PLATFORM  DIGEST  SIZE\n");
    let output = crossdock(home.path()).args(["image", "ls", "--format", "json"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[]\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = home();
    #[expect(clippy::disallowed_methods, reason = "assert_cmd cannot close a pipe early")]
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_crossdock"))
        .args(["completion", "bash"])
        .env("HOME", home.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
