//! The instruction table, one test a line.

use crate::support::{build, config, copies, execs, names, options, run, told_of};
use llb::pb::NetMode;

#[test]
fn from_takes_platform_image_tag_digest_and_name() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let text = format!(
        "ARG TAG=1\nFROM --platform=$BUILDPLATFORM img:$TAG AS one\nFROM img@{digest}\nCOPY --from=one / /\n"
    );
    let compiled = build(&options(&text));
    let names = names(&compiled);
    assert!(names.iter().any(|name| name.contains("FROM docker.io/library/img:1@sha256:")));
    assert_eq!(compiled.definition.resolve().unwrap().vertices.len(), 3);
}

#[test]
fn from_scratch_or_a_stage_needs_no_image() {
    let compiled = build(&options("FROM scratch AS one\nCOPY a /\nFROM one\nCOPY b /\n"));
    assert_eq!(names(&compiled).len(), 3, "the context and two copies");
}

#[test]
fn arg_takes_several_and_is_global_before_from() {
    let text = "ARG A=1 B=2\nFROM a\nARG A B C=$A$B\nENV X=$A$B$C\n";
    assert_eq!(build(&options(text)).config.config.env, ["PATH=/bin", "X=1212"]);
}

#[test]
fn run_has_shell_exec_and_heredoc_form() {
    let args = |text: &str| run(text).meta.unwrap().args;
    assert_eq!(args("RUN echo $x"), ["/bin/sh", "-c", "echo $x"]);
    assert_eq!(args(r#"RUN ["a", "$b"]"#), ["a", "$b"]);
    assert_eq!(args("RUN <<E\necho 1\nE"), ["/bin/sh", "-c", "echo 1\n"]);
    assert_eq!(args("RUN <<E\n#!/usr/bin/env python\nx\nE"), ["/bin/sh", "-c", "/dev/pipes/E"]);
    assert_eq!(args("RUN python3 <<E\nx\nE"), ["/bin/sh", "-c", "python3 <<E\nx\nE"]);
}

#[test]
fn run_network_is_default_none_or_host() {
    for (flag, mode) in
        [("default", NetMode::Unset), ("none", NetMode::None), ("host", NetMode::Host)]
    {
        let mut options = options(&format!("FROM a\nRUN --network={flag} x\n"));
        options.allow_host_network = true;
        assert_eq!(execs(&build(&options))[0].network, mode as i32, "{flag}");
    }
    insta::assert_snapshot!(
        told_of("RUN --network=hots x"),
        @r#"Dockerfile:2:5: network "hots" is not valid (did you mean host?)"#
    );
}

#[test]
fn copy_takes_from_chown_chmod_link_parents_exclude_and_heredoc() {
    let text = "FROM b AS s\nFROM a\nCOPY --from=s --chown=1:2 --chmod=755 --link --parents --exclude=*.o \
                a/./b /x/\nCOPY <<one <<two /y/\n1\none\n2\ntwo\n";
    let copies = copies(&build(&options(text)));
    assert_eq!(copies.len(), 3);
    assert_eq!(copies[0].mode, 0o755);
    assert_eq!(copies[0].exclude_patterns, ["*.o"]);
    assert_eq!(copies[0].include_patterns, ["b"]);
    assert_eq!((copies[1].src.as_str(), copies[2].src.as_str()), ("/one", "/two"));
}

#[test]
fn add_takes_its_flags_addresses_and_archives() {
    let text = "FROM a\nADD --chown=1 --chmod=u=rw --link --exclude=x a.tar /x/\nADD --unpack=true https://h/a.tgz /y/\n\
                ADD --keep-git-dir=true https://h/b.git /z\nADD <<f /h\nx\nf\n";
    let copies = copies(&build(&options(text)));
    assert!(copies[0].attempt_unpack_docker_compatibility);
    assert_eq!(copies[0].mode_str, "u=rw");
    assert!(copies[1].attempt_unpack_docker_compatibility);
    assert_eq!(copies.len(), 4);
}

#[test]
fn env_takes_pairs_or_one_legacy_pair() {
    assert_eq!(config("ENV A=1 B=\"2 3\"\nENV C x y").env, ["PATH=/bin", "A=1", "B=2 3", "C=x y"]);
}

#[test]
fn label_takes_pairs_or_one_legacy_pair() {
    let labels = config("LABEL a=1 \"b c\"=2\nLABEL d x y").labels;
    assert_eq!(labels.get("a").map(String::as_str), Some("1"));
    assert_eq!(labels.get("b c").map(String::as_str), Some("2"));
    assert_eq!(labels.get("d").map(String::as_str), Some("x y"));
}

#[test]
fn cmd_and_entrypoint_have_exec_and_shell_form() {
    let found = config("ENTRYPOINT [ \"a\", \"b\" ]\nCMD c d");
    assert_eq!(found.entrypoint, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(found.cmd, Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "c d".to_owned()]));
}

#[test]
fn expose_takes_ports_protocols_ranges_and_variables() {
    let ports = config("ENV P=90\nEXPOSE 80 53/udp 7000-7002 $P").exposed_ports;
    let ports: Vec<&str> = ports.keys().map(String::as_str).collect();
    assert_eq!(ports, ["53/udp", "7000/tcp", "7001/tcp", "7002/tcp", "80/tcp", "90/tcp"]);
}

#[test]
fn user_takes_user_group_and_variables() {
    assert_eq!(config("ENV U=me\nUSER $U:7").user, "me:7");
}

#[test]
fn volume_takes_json_or_a_list() {
    let volumes = |text: &str| config(text).volumes.into_keys().collect::<Vec<_>>();
    assert_eq!(volumes("VOLUME [\"/a\", \"/b\"]"), ["/a", "/b"]);
    assert_eq!(volumes("VOLUME /a /b"), ["/a", "/b"]);
}

#[test]
fn workdir_joins_expands_and_makes_the_directory() {
    let compiled = build(&options("FROM a\nENV D=x\nWORKDIR /a\nWORKDIR $D\n"));
    assert_eq!(compiled.config.config.working_dir, "/a/x");
    assert_eq!(names(&compiled)[2], "[3/3] WORKDIR x");
}

#[test]
fn shell_is_json_and_runs_what_follows() {
    assert_eq!(run("SHELL [\"/bin/bash\", \"-ec\"]\nRUN x").meta.unwrap().args[0], "/bin/bash");
    assert!(told_of("SHELL /bin/bash").contains("SHELL requires the arguments to be in JSON form"));
}

#[test]
fn stopsignal_is_a_name_or_a_number() {
    assert_eq!(config("STOPSIGNAL SIGUSR1").stop_signal, "SIGUSR1");
    assert_eq!(config("ENV S=9\nSTOPSIGNAL $S").stop_signal, "9");
}

#[test]
fn healthcheck_has_its_times_retries_and_none() {
    let check = config(
        "HEALTHCHECK --interval=1m --timeout=2s --start-period=3s --start-interval=4s --retries=5 CMD x",
    )
    .healthcheck
    .unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "x"]);
    let second = 1_000_000_000;
    assert_eq!(
        [check.interval, check.timeout, check.start_period, check.start_interval, check.retries],
        [60 * second, 2 * second, 3 * second, 4 * second, 5]
    );
    assert_eq!(config("HEALTHCHECK NONE").healthcheck.unwrap().test, ["NONE"]);
}

#[test]
fn onbuild_keeps_any_instruction_but_onbuild_from_and_maintainer() {
    let kept = config("ONBUILD COPY --from=x a b\nONBUILD RUN --mount=from=y,target=/y z").on_build;
    assert_eq!(kept, ["COPY --from=x a b", "RUN --mount=from=y,target=/y z"]);
    for wrong in ["ONBUILD RUN x", "FROM x", "MAINTAINER x"] {
        assert!(told_of(&format!("ONBUILD {wrong}")).contains("isn't allowed"), "{wrong}");
    }
}

#[test]
fn maintainer_is_deprecated() {
    assert_eq!(
        build(&options("FROM a\nMAINTAINER me <me@example.com>\n")).config.author,
        "me <me@example.com>"
    );
    assert!(told_of("MAINTAINER me").contains("deprecated"));
}
