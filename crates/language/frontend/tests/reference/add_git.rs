//! ADD of git repositories: what stands in the definition. The attributes are BuildKit's.

use llb::pb;

use crate::support::{build, copies, names, options, sources, told, told_of};

fn git(instruction: &str) -> pb::SourceOp {
    let compiled = build(&options(&format!("FROM scratch\n{instruction}\n")));
    sources(&compiled).into_iter().find(|it| it.identifier.starts_with("git://")).unwrap()
}

fn attributes(source: &pb::SourceOp) -> Vec<String> {
    let all = source.attrs.iter();
    all.map(|it| {
        format!("{}={}", it.key.as_deref().unwrap_or(""), it.value.as_deref().unwrap_or(""))
    })
    .collect()
}

#[test]
fn a_repository_is_copied_whole() {
    let compiled = build(&options("FROM scratch\nADD https://h/a/b.git#v1:sub /src/\n"));
    assert_eq!(sources(&compiled)[0].identifier, "git://h/a/b.git#v1:sub");
    assert_eq!(
        attributes(&sources(&compiled)[0]),
        [
            "git.authheadersecret=GIT_AUTH_HEADER",
            "git.authtokensecret=GIT_AUTH_TOKEN",
            "git.fullurl=https://h/a/b.git",
        ]
    );
    let copy = &copies(&compiled)[0];
    assert_eq!((copy.src.as_str(), copy.dest.as_str()), ("/", "/src/"));
    assert!(!copy.dir_copy_contents && !copy.attempt_unpack_docker_compatibility);
    assert_eq!(names(&compiled)[0], "[1/1] ADD https://h/a/b.git#v1:sub /src/");
    let history = compiled.config.history.last().unwrap();
    assert_eq!(history.created_by, "ADD https://h/a/b.git#v1:sub /src/ # buildkit");
}

#[test]
fn ssh_uses_the_agent() {
    let source = git("ADD git@h:a/b.git /src");
    assert_eq!(source.identifier, "git://h/a/b.git");
    assert_eq!(source.attr("git.fullurl"), Some("git@h:a/b.git"));
    assert_eq!(source.attr("git.mountsshsock"), Some("default"));
}

#[test]
fn keep_git_dir_comes_from_flag_or_query() {
    assert_eq!(
        git("ADD --keep-git-dir=true https://h/b.git /").attr("git.keepgitdir"),
        Some("true")
    );
    assert_eq!(git("ADD --keep-git-dir=false https://h/b.git /").attr("git.keepgitdir"), None);
    assert_eq!(git("ADD https://h/b.git?keep-git-dir=1 /").attr("git.keepgitdir"), Some("true"));
    insta::assert_snapshot!(
        told_of("ADD --keep-git-dir=false https://h/b.git?keep-git-dir=1 /"),
        @"Dockerfile:2:26: inconsistent keep-git-dir configuration"
    );
}

#[test]
fn checksum_of_a_repository_is_a_commit() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let source = git(&format!("ADD --checksum={commit} https://h/b.git#v1 /"));
    assert_eq!(source.attr("git.checksum"), Some(commit));
    assert_eq!(git("ADD https://h/b.git?checksum=0123456 /").attr("git.checksum"), Some("0123456"));
    insta::assert_snapshot!(
        told_of("ADD --checksum=abcd https://h/b.git?commit=dcba /"),
        @r#"Dockerfile:2:21: checksum mismatch "abcd" != "dcba""#
    );
    insta::assert_snapshot!(
        told_of("ADD --checksum=zz https://h/b.git /"),
        @r#"Dockerfile:2:5: invalid checksum "zz" (of a repository it is the commit, or at least the first 4 digits of it)"#
    );
}

#[test]
fn query_forms_are_read() {
    let source = git(
        "ADD https://h/b.git?branch=main&subdir=x&submodules=false&fetch-by-commit=1&commit=abcd /",
    );
    assert_eq!(source.identifier, "git://h/b.git#refs/heads/main:x");
    assert_eq!(source.attr("git.skipsubmodules"), Some("true"));
    assert_eq!(source.attr("git.fetchbycommit"), Some("true"));
    let source = git("ADD https://h/b.git?tag=v1&mtime=commit /");
    assert_eq!(source.identifier, "git://h/b.git#refs/tags/v1");
    assert_eq!(source.attr("git.mtime"), Some("commit"));
    insta::assert_snapshot!(
        told_of("ADD https://h/b.git?tag=a&branch=b /"),
        @"Dockerfile:2:5: branch conflicts with tag"
    );
}

#[test]
fn variables_stand_in_the_address() {
    let compiled = build(&options("FROM scratch\nARG V=v2\nADD https://h/b.git#$V /\n"));
    assert_eq!(sources(&compiled)[0].identifier, "git://h/b.git#v2");
    insta::assert_snapshot!(
        told(&options("FROM scratch\nCOPY https://h/b.git /\n")),
        @"Dockerfile:2:6: source can't be a git ref for COPY (use ADD for repositories)"
    );
}
