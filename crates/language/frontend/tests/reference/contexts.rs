//! Where the files of a build come from.

use frontend::{CompileOptions, Context};
use llb::GitSource;
use llb::pb::op::Kind;

use crate::support::{build, copies, names, options, sources, told, vertices, with_args};

fn git(address: &str) -> Context {
    Context::Git(Box::new(GitSource::parse(address).unwrap().unwrap()))
}

fn http(archive: bool) -> Context {
    Context::Http { address: "https://h/files.tgz".to_owned(), archive }
}

const COPY: &str = "FROM scratch\nCOPY a /\nCOPY b /\n";

#[test]
fn the_main_context_may_be_a_repository() {
    let text = "FROM scratch\nCOPY a /\nCOPY b /\n";
    let compiled =
        build(&CompileOptions { context: git("https://h/b.git#v1:sub"), ..options(text) });
    assert_eq!(sources(&compiled).len(), 1);
    assert_eq!(sources(&compiled)[0].identifier, "git://h/b.git#v1:sub");
    assert_eq!(names(&compiled)[0], "[internal] load git source https://h/b.git#v1:sub");
    assert!(compiled.context_paths.is_empty());
}

#[test]
fn buildkit_context_keep_git_dir_keeps_the_history() {
    let keep = |value: &str| CompileOptions {
        context: git("https://h/b.git"),
        ..with_args(COPY, &[("BUILDKIT_CONTEXT_KEEP_GIT_DIR", value)])
    };
    assert_eq!(sources(&build(&keep("1")))[0].attr("git.keepgitdir"), Some("true"));
    assert_eq!(sources(&build(&keep("false")))[0].attr("git.keepgitdir"), None);
    insta::assert_snapshot!(told(&keep("maybe")), @r#"Dockerfile:1:1: invalid BUILDKIT_CONTEXT_KEEP_GIT_DIR: "maybe" (give it as 1 or 0)"#);
}

#[test]
fn the_main_context_may_be_an_archive_on_a_web_server() {
    let compiled = build(&CompileOptions { context: http(true), ..options(COPY) });
    assert_eq!(sources(&compiled)[0].identifier, "https://h/files.tgz");
    assert_eq!(sources(&compiled)[0].attr("http.filename"), Some("context"));
    let unpack = &copies(&compiled)[0];
    assert!(unpack.attempt_unpack_docker_compatibility);
    assert_eq!((unpack.src.as_str(), unpack.dest.as_str()), ("/context", "/"));
}

#[test]
fn a_named_context_may_be_a_repository_or_a_file() {
    let mut options = options("FROM repo\nCOPY --from=file context /x\n");
    options.contexts.insert("repo".to_owned(), git("git@h:a/b#main"));
    options.contexts.insert("file".to_owned(), http(true));
    let compiled = build(&options);
    let found: Vec<String> = sources(&compiled).into_iter().map(|it| it.identifier).collect();
    assert_eq!(found, ["git://h/a/b#main", "https://h/files.tgz"]);
    assert_eq!(names(&compiled)[1], "[context file] https://h/files.tgz");
    assert!(vertices(&compiled).iter().any(|(_, kind)| matches!(kind, Kind::File(_))));
}
