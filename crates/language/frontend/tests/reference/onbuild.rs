//! Triggers: of images, of stages, over several levels.

use std::collections::BTreeMap;

use frontend::Context;

use crate::support::{Images, build, build_with, copies, execs, names, options, told_with};

fn images(image: &str, triggers: &[&str]) -> Images {
    let triggers = triggers.iter().map(|trigger| (*trigger).to_owned()).collect();
    Images { triggers: BTreeMap::from([(image.to_owned(), triggers)]) }
}

#[test]
fn triggers_run_before_the_instructions_of_the_stage() {
    let compiled = build_with(
        &options("FROM base\nRUN last\n"),
        &images("base", &["ENV A=1", "RUN first $A"]),
    );
    let names = names(&compiled);
    assert_eq!(names[1], "[2/4] ONBUILD RUN first 1");
    assert_eq!(names[2], "[3/4] RUN last");
    assert!(compiled.config.config.on_build.is_empty(), "triggers are not inherited");
    assert!(compiled.config.config.env.contains(&"A=1".to_owned()));
}

#[test]
fn a_trigger_copies_from_a_stage_or_an_image() {
    let images =
        images("base", &["COPY --from=tools /x /", "COPY --from=img:1 /y /", "COPY --from=0 /z /"]);
    let text = "FROM a AS tools\nRUN tool\nFROM base\n";
    let compiled = build_with(&options(text), &images);
    let all = names(&compiled).join("\n");
    assert!(all.contains("RUN tool") && all.contains("FROM docker.io/library/img:1@"), "{all}");
    assert_eq!(copies(&compiled).len(), 3);
}

#[test]
fn a_trigger_mounts_from_a_stage_or_an_image() {
    let images = images(
        "base",
        &["RUN --mount=from=tools,target=/t --mount=type=bind,from=img,target=/i x"],
    );
    let compiled = build_with(&options("FROM a AS tools\nRUN tool\nFROM base\n"), &images);
    let exec = execs(&compiled).pop().unwrap();
    let dests: Vec<&str> = exec.mounts.iter().map(|mount| mount.dest.as_str()).collect();
    assert_eq!(dests, ["/", "/i", "/t"]);
}

#[test]
fn a_trigger_may_be_a_here_document() {
    let images = images("base", &["COPY <<F /f\ntext\nF", "RUN <<E\nx\nE"]);
    let compiled = build_with(&options("FROM base\n"), &images);
    assert_eq!(copies(&compiled)[0].dest, "/f");
    assert_eq!(execs(&compiled)[0].meta.as_ref().unwrap().args[2], "x\n");
}

#[test]
fn triggers_of_triggers_bring_further_stages() {
    let mut images = images("one", &["COPY --from=two /x /"]);
    images.triggers.insert("base-of-two".to_owned(), vec!["COPY --from=three /y /".to_owned()]);
    let text = "FROM a AS three\nRUN 3\nFROM base-of-two AS two\nFROM one\n";
    let all = names(&build_with(&options(text), &images)).join("\n");
    assert!(all.contains("RUN 3"), "{all}");
}

#[test]
fn triggers_of_a_stage_run_in_the_stage_on_it_only() {
    let text = "FROM a AS one\nONBUILD RUN trigger\nRUN own\nFROM one AS two\nFROM two\nRUN last\n";
    let all = names(&build(&options(text)));
    assert_eq!(all.iter().filter(|name| name.contains("RUN trigger")).count(), 1, "{all:?}");
}

#[test]
fn an_image_in_a_named_context_has_triggers_too() {
    let mut options = options("FROM ctx\nRUN last\n");
    options.contexts.insert("ctx".to_owned(), Context::Image("base".parse().unwrap()));
    let all = names(&build_with(&options, &images("base", &["RUN first"]))).join("\n");
    assert!(all.contains("ONBUILD RUN first"), "{all}");
}

#[test]
fn errors_name_the_image_and_its_trigger() {
    let options = options("FROM a\nFROM base AS x\nRUN y\n");
    let told = |trigger: &str| told_with(&options, &images("base", &[trigger]));
    insta::assert_snapshot!(told("RUM x"), @"Dockerfile:2:1: unknown instruction: RUM, in the trigger `ONBUILD RUM x` of image base (did you mean RUN?)");
    insta::assert_snapshot!(told("COPY --from=7 a b"), @"Dockerfile:2:1: invalid stage index 7, in the trigger `ONBUILD COPY --from=7 a b` of image base (stages are numbered from 0 to 1)");
    insta::assert_snapshot!(told("COPY https://x/y /"), @"Dockerfile:2:1: source can't be a URL for COPY, in the trigger `ONBUILD COPY https://x/y /` of image base (use ADD for addresses)");
    insta::assert_snapshot!(told("FROM x"), @"Dockerfile:2:1: FROM isn't allowed as an ONBUILD trigger, in the trigger `ONBUILD FROM x` of image base");
}
