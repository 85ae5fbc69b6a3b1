//! What BuildKit refuses and crossdock does.

use crate::support::{
    Images, build, build_with, names, options, told, told_of, told_with, with_args,
};

#[test]
fn copy_from_takes_variables_that_the_dockerfile_sets() {
    let text = "ARG WHICH=one\nFROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\nFROM a\nARG WHICH\n\
                COPY --from=$WHICH /x /\n";
    let all = |options| names(&build(&options)).join("\n");
    let one = all(options(text));
    assert!(one.contains("RUN 1") && !one.contains("RUN 2"), "pruned to what is named: {one}");
    let two = all(with_args(text, &[("WHICH", "two")]));
    assert!(two.contains("RUN 2") && !two.contains("RUN 1"), "{two}");
    assert!(two.contains("COPY --from=two /x /"), "{two}");
}

#[test]
fn copy_from_takes_variables_of_stages_below_and_images() {
    let text = "FROM a AS base\nENV TAG=1.2\nFROM base\nCOPY --from=tools:${TAG}-slim /x /\n";
    assert!(names(&build(&options(text))).iter().any(|name| name.contains("tools:1.2-slim@")));
}

#[test]
fn run_mount_from_takes_variables() {
    let text = "FROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\nFROM a\nARG W=two\n\
                RUN --mount=from=$W,target=/w x\n";
    let all = names(&build(&options(text))).join("\n");
    assert!(all.contains("RUN 2") && !all.contains("RUN 1"), "{all}");
}

#[test]
fn what_a_name_needs_has_to_be_in_the_dockerfile() {
    insta::assert_snapshot!(told_of("COPY --from=$NOPE / /"), @"Dockerfile:2:6: variable $NOPE in $NOPE is not set (set it by ARG or ENV in this Dockerfile: what base images set is not known yet)");
    insta::assert_snapshot!(told(&options("ARG V=b\nFROM a\nCOPY --from=$V / /\n")), @"Dockerfile:3:6: variable $V in $V is not set (declare it in this stage: ARG V)");
    let mut images = Images::default();
    images.triggers.insert("trigger".to_owned(), vec!["ENV W=two".to_owned()]);
    let text =
        "FROM a AS one\nFROM a AS two\nFROM trigger\nARG W=one\nENV W=$W\nCOPY --from=$W / /\n";
    assert_eq!(told_with(&options(text), &images), "");
    let text = "FROM a AS one\nFROM a AS two\nFROM trigger\nENV V=${W:-one}\nCOPY --from=$V / /\n";
    insta::assert_snapshot!(told_with(&options(text), &images), @r#"Dockerfile:5:6: $V is "two" here, because of a variable that the base image or its triggers set (set the variable by ARG or ENV in this stage)"#);
}

#[test]
fn triggers_may_name_stages_by_variables_of_their_image() {
    let mut images = Images::default();
    images.triggers.insert(
        "trigger".to_owned(),
        vec!["ARG PART=one".to_owned(), "COPY --from=$PART /x /".to_owned()],
    );
    let text = "FROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\nFROM trigger\n";
    let all = names(&build_with(&options(text), &images)).join("\n");
    assert!(all.contains("RUN 1") && !all.contains("RUN 2"), "{all}");
}
