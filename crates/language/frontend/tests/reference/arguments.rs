//! Arguments that are there without being declared, and those that speak to the builder.

use frontend::{CompileOptions, Context};
use llb::GitSource;

use crate::support::{build, execs, names, options, sources, told, with_args};

#[test]
fn platform_arguments_are_usable_in_from_and_declared_in_stages() {
    let text = "FROM --platform=$BUILDPLATFORM img-$TARGETARCH$TARGETVARIANT\n\
                ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT\n\
                ENV ALL=$TARGETPLATFORM:$TARGETOS:$TARGETARCH:$TARGETVARIANT:$BUILDPLATFORM:$BUILDOS:$BUILDARCH:$BUILDVARIANT\n";
    let platform = "linux/arm/v7".parse().unwrap();
    let compiled = build(&CompileOptions { platform, ..options(text) });
    assert!(names(&compiled)[0].contains("img-armv7:"), "{:?}", names(&compiled));
    let env = compiled.config.config.env.last().unwrap().clone();
    assert_eq!(env, "ALL=linux/arm/v7:linux:arm:v7:linux/amd64:linux:amd64:");
}

#[test]
fn targetosversion_and_buildosversion_are_those_of_windows() {
    let text = "FROM scratch\nARG TARGETOSVERSION BUILDOSVERSION\nENV V=$TARGETOSVERSION:$BUILDOSVERSION\n";
    let platform = "windows(10.0.20348.1)/amd64".parse().unwrap();
    let compiled = build(&CompileOptions { platform, ..options(text) });
    assert_eq!(compiled.config.config.env, ["V=10.0.20348.1:"]);
}

#[test]
fn targetstage_is_the_target_or_the_last_stage() {
    let env = |text: &str, target: Option<&str>| {
        let options = CompileOptions { target: target.map(str::to_owned), ..options(text) };
        build(&options).config.config.env.last().unwrap().clone()
    };
    let text = "FROM a AS one\nARG TARGETSTAGE\nENV S=$TARGETSTAGE\nFROM one AS two\n";
    assert_eq!(env(text, None), "S=two");
    assert_eq!(env(text, Some("one")), "S=one");
    assert_eq!(env("FROM a\nARG TARGETSTAGE\nENV S=$TARGETSTAGE\n", None), "S=default");
}

#[test]
fn proxies_reach_steps_without_being_in_image_history_or_key() {
    let text = "FROM a\nRUN x\n";
    let proxies = [
        ("HTTP_PROXY", "http://p"),
        ("https_proxy", "http://s"),
        ("FTP_PROXY", "f"),
        ("NO_PROXY", "n"),
        ("ALL_PROXY", "all"),
    ];
    let compiled = build(&with_args(text, &proxies));
    let proxy = execs(&compiled)[0].meta.clone().unwrap().proxy_env.unwrap();
    assert_eq!((proxy.http_proxy.as_str(), proxy.https_proxy.as_str()), ("http://p", "http://s"));
    assert_eq!((proxy.ftp_proxy.as_str(), proxy.no_proxy.as_str()), ("f", "n"));
    assert_eq!(proxy.all_proxy, "all");
    let shown = format!("{:?}{:?}", compiled.config.history, compiled.config.config);
    assert!(!shown.contains("http://p"), "{shown}");
}

#[test]
fn buildkit_sandbox_hostname_names_the_host_of_steps() {
    let compiled = build(&with_args("FROM a\nRUN x\n", &[("BUILDKIT_SANDBOX_HOSTNAME", "box")]));
    assert_eq!(execs(&compiled)[0].meta.as_ref().unwrap().hostname, "box");
}

#[test]
fn buildkit_dockerfile_check_replaces_the_directive() {
    let text = "FROM a\nMAINTAINER me\n";
    assert!(told(&options(text)).contains("deprecated"));
    assert_eq!(told(&with_args(text, &[("BUILDKIT_DOCKERFILE_CHECK", "skip=all")])), "");
}

#[test]
fn buildkit_inline_cache_and_sbom_arguments_say_that_they_do_nothing() {
    insta::assert_snapshot!(
        told(&with_args("FROM a\n", &[("BUILDKIT_INLINE_CACHE", "1"), ("BUILDKIT_SBOM_SCAN_STAGE", "0")])),
        @"Dockerfile:1:1: build argument BUILDKIT_INLINE_CACHE has no effect: no cache is put into images (leave it out)"
    );
    let both = [("BUILDKIT_SBOM_SCAN_STAGE", "x"), ("BUILDKIT_SBOM_SCAN_CONTEXT", "true")];
    assert_eq!(told(&with_args("FROM a\n", &both)).lines().count(), 2);
}

#[test]
fn syntax_of_docker_dockerfile_is_built_in_and_others_are_refused() {
    for name in
        ["docker/dockerfile:1", "mirror:5000/x/docker/dockerfile:1.20-labs", "dockerfile.v0"]
    {
        assert_eq!(told(&options(&format!("# syntax={name}\nFROM a\n"))), "", "{name}");
    }
    insta::assert_snapshot!(told(&options("# syntax=evil/frontend:1\nFROM a\n")), @"Dockerfile:1:1: the frontend evil/frontend:1 cannot be used (only the language of docker/dockerfile is known: leave the line out if the file is a Dockerfile, or build with BuildKit)");
}

#[test]
fn buildkit_syntax_is_stronger_than_the_directive() {
    let text = "# syntax=evil/frontend\nFROM a\n";
    assert_eq!(told(&with_args(text, &[("BUILDKIT_SYNTAX", "docker/dockerfile:1")])), "");
    let told = told(&with_args("FROM a\n", &[("BUILDKIT_SYNTAX", "evil/frontend")]));
    assert!(told.contains("the frontend evil/frontend cannot be used"), "{told}");
}

#[test]
fn a_named_context_may_replace_the_syntax_image() {
    let mut options = options("# syntax=evil/frontend\nFROM a\n");
    let image = Context::Image("docker/dockerfile:1".parse().unwrap());
    options.contexts.insert("evil/frontend".to_owned(), image);
    assert_eq!(told(&options), "");
}

const EPOCH: &str = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV T=$SOURCE_DATE_EPOCH\n";

#[test]
fn source_date_epoch_is_a_number() {
    let compiled = build(&with_args(EPOCH, &[("SOURCE_DATE_EPOCH", "7")]));
    assert_eq!(compiled.epoch, Some(7));
    assert!(compiled.config.config.env.contains(&"T=7".to_owned()));
    insta::assert_snapshot!(
        told(&with_args(EPOCH, &[("SOURCE_DATE_EPOCH", "soon")])),
        @r#"Dockerfile:1:1: invalid SOURCE_DATE_EPOCH: "soon" (give it as seconds since 1970, `context`, a named context or a stage)"#
    );
}

#[test]
fn source_date_epoch_is_that_of_the_context() {
    let mut options = with_args(EPOCH, &[("SOURCE_DATE_EPOCH", "context")]);
    assert_eq!(build(&options).epoch, None, "a directory has no time of its own");
    let git = GitSource::parse("https://h/b.git#v1").unwrap().unwrap();
    options.context = Context::Git(Box::new(git));
    let compiled = build(&options);
    assert_eq!(compiled.epoch, Some(1_700_000_000));
    assert!(compiled.config.config.env.contains(&"T=1700000000".to_owned()));
}

#[test]
fn source_date_epoch_is_that_of_a_named_context_or_a_stage() {
    let mut options = with_args(EPOCH, &[("SOURCE_DATE_EPOCH", "src")]);
    let http = Context::Http { address: "https://h/a.tgz".to_owned(), archive: false };
    options.contexts.insert("src".to_owned(), http);
    assert_eq!(build(&options).epoch, Some(1_600_000_000));

    let stage = "FROM scratch AS src\nARG V=1\nADD https://h/a-$V.tgz /\n";
    let text = format!("{stage}{EPOCH}");
    let compiled = build(&with_args(&text, &[("SOURCE_DATE_EPOCH", "SRC")]));
    assert_eq!(compiled.epoch, Some(1_600_000_000));
    assert!(sources(&compiled).is_empty(), "the stage itself is not built");
    for (stage, wrong) in [
        ("FROM a AS src\nADD https://h/a /\n", "must use FROM scratch"),
        ("FROM scratch AS src\nADD a /\n", "must contain exactly one remote ADD"),
        ("FROM scratch AS src\nADD https://h/a /\nADD https://h/b /\n", "exactly one remote ADD"),
        ("FROM scratch AS src\nADD https://h/a /\nENV x=y\n", "unsupported ENV instruction"),
    ] {
        let text = format!("{stage}{EPOCH}");
        let told = told(&with_args(&text, &[("SOURCE_DATE_EPOCH", "src")]));
        assert!(told.contains(wrong), "{told}");
    }
}
