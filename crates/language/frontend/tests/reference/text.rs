//! Directives, lines and here-documents: how the text itself is read.

use crate::support::{
    actions, build, config, copies, execs, options, run, told, told_of, with_args,
};

fn args(instructions: &str) -> Vec<String> {
    run(instructions).meta.unwrap().args
}

/// The files that here-documents make: name, mode, content.
fn files(instructions: &str) -> Vec<(String, i32, String)> {
    let compiled = build(&options(&format!("FROM scratch\n{instructions}\n")));
    let made = actions(&compiled).into_iter().filter_map(|action| match action {
        llb::pb::file_action::Action::Mkfile(file) => {
            Some((file.path, file.mode, String::from_utf8(file.data).unwrap()))
        }
        _ => None,
    });
    made.collect()
}

const EVIL: &str = "the frontend evil/frontend cannot be used";

#[test]
fn directives_stand_at_the_top_in_any_case_and_once() {
    for text in [
        "# syntax=evil/frontend\nFROM a\n",
        "#SYNTAX = evil/frontend\nFROM a\n",
        "# escape=`\n# Syntax=evil/frontend\nFROM a\n",
    ] {
        assert!(told(&options(text)).contains(EVIL), "{text}");
    }
    for text in [
        "# a remark\n# syntax=evil/frontend\nFROM a\n",
        "\n# syntax=evil/frontend\nFROM a\n",
        "FROM a\n# syntax=evil/frontend\n",
        "# unknown=x\n# syntax=evil/frontend\nFROM a\n",
    ] {
        assert_eq!(told(&options(text)), "", "{text}");
    }
    let twice = told(&options("# escape=`\n# escape=`\nFROM a\n"));
    assert!(twice.contains("only one escape parser directive can be used"), "{twice}");
}

#[test]
fn syntax_is_found_in_slashes_and_in_json() {
    // Such a file is for a frontend that is written in another language.
    for text in [
        "// syntax=evil/frontend\nFROM a\n",
        "{\"syntax\": \"evil/frontend\"}\n",
        "{\n  \"other\": 1,\n  \"syntax\": \"evil/frontend\"\n}\n",
    ] {
        let told = told(&options(text));
        assert!(told.contains(EVIL) && told.lines().count() == 1, "{text}: {told}");
    }
    let here = with_args("// syntax=a/b\n", &[("BUILDKIT_SYNTAX", "docker/dockerfile:1")]);
    assert!(told(&here).contains("unknown instruction"), "{}", told(&here));
}

#[test]
fn a_byte_order_mark_and_an_interpreter_line_are_skipped() {
    for start in ["\u{feff}", "#!/usr/bin/env crossdock\n", "\u{feff}#!/bin/x\n"] {
        let text = format!("{start}FROM a\nENV A=x\n");
        assert_eq!(build(&options(&text)).config.config.env[1..], ["A=x"], "{start:?}");
        let text = format!("{start}# syntax=evil/frontend\nFROM a\n");
        assert!(told(&options(&text)).contains(EVIL), "{start:?}");
    }
    let text = "\u{feff}# escape=`\nFROM a\nENV A=x `\n  B=y\n";
    assert_eq!(build(&options(text)).config.config.env[1..], ["A=x", "B=y"]);
    // Behind an interpreter line BuildKit reads no escape, which would make another file of it.
    let told = told(&options("#!/bin/x\n# escape=`\nFROM a\n"));
    assert!(told.contains("no meaning behind a #! line"), "{told}");
}

#[test]
fn escape_is_a_backslash_or_a_backtick() {
    let env = |text: &str| build(&options(text)).config.config.env.last().unwrap().clone();
    assert_eq!(env("FROM a\nENV A \\\n  b\\ c\n"), "A=b c");
    assert_eq!(env("# escape=`\nFROM a\nENV A=`\n\"C:\\dir\"\n"), "A=C:\\dir");
    assert_eq!(env("# escape=`\nFROM a\nENV A=`$B\n"), "A=$B");
    assert!(told(&options("# escape=x\nFROM a\n")).contains("invalid escape token `x`"));
}

#[test]
fn check_skips_rules_or_makes_errors_of_them() {
    let text = "FROM a AS B\nMAINTAINER me\n";
    let told_with = |check: &str| told(&options(&format!("# check={check}\n{text}")));
    let both = told(&options(text));
    assert!(both.contains("lowercase") && both.contains("deprecated"), "{both}");
    assert!(!told_with("skip=StageNameCasing").contains("lowercase"));
    assert_eq!(told_with("skip=StageNameCasing,MaintainerDeprecated"), "");
    assert_eq!(told_with("skip=all"), "");
    assert_eq!(told_with("skip=all;error=true"), "");
    let failing = options(&format!("# check=error=true\n{text}"));
    assert!(frontend::compile(&failing, &crate::support::Images::default()).is_err());
    assert!(told_with("maybe=true").contains("maybe"), "{}", told_with("maybe=true"));
}

#[test]
fn check_turns_experimental_rules_on() {
    let text = "# what this is\nFROM a AS b\n";
    assert_eq!(told(&options(text)), "");
    let on = told(&options(&format!("# check=experimental=InvalidDefinitionDescription\n{text}")));
    assert!(on.contains("should follow the format"), "{on}");
}

#[test]
fn remarks_within_an_instruction_are_left_out() {
    let with = "ENV A=1 \\\n# a remark\n   # another\n  B=2 # none";
    assert_eq!(config(&with.replace(" # none", "")).env[1..], ["A=1", "B=2"]);
    assert_eq!(args("RUN a && \\\n# remark \\\n b # kept"), ["/bin/sh", "-c", "a &&  b # kept"]);
}

#[test]
fn empty_lines_within_an_instruction_are_warned_of() {
    assert_eq!(args("RUN a && \\\n\n b"), ["/bin/sh", "-c", "a &&  b"]);
    assert!(told_of("RUN a && \\\n\n b").contains("Empty continuation line"));
}

#[test]
fn space_before_instructions_and_remarks_is_nothing() {
    let text = "   FROM a\n\t# a remark\n \tENV A=1\n";
    assert_eq!(build(&options(text)).config.config.env[1..], ["A=1"]);
}

#[test]
fn instructions_may_be_written_in_any_case() {
    let text = "from a\nenv A=1\n";
    assert_eq!(build(&options(text)).config.config.env[1..], ["A=1"]);
    assert!(told(&options("FROM a\nenv A=1\nUSER b\n")).contains("should match the case"));
}

#[test]
fn lines_may_end_as_on_windows() {
    let text = "# escape=`\r\nFROM a\r\nENV A=1 `\r\n  B=2\r\nCOPY <<E /\r\nx\r\nE\r\n";
    assert_eq!(build(&options(text)).config.config.env[1..], ["A=1", "B=2"]);
}

#[test]
fn here_documents_keep_or_lose_their_tabs() {
    assert_eq!(args("RUN <<E\n\ta\n\t\tb\nE")[2], "\ta\n\t\tb\n");
    assert_eq!(args("RUN <<-E\n\ta\n\t\tb\n\tE")[2], "a\nb\n");
    assert_eq!(files("COPY <<-E /\n\ta\n  b\n\tE"), [("/E".into(), 0o644, "a\n  b\n".into())]);
}

#[test]
fn here_documents_expand_variables_unless_their_name_is_quoted() {
    let text = |name: &str| format!("ARG V=1\nCOPY <<{name} /\n$V ${{W:-2}} \\$V\nE");
    assert_eq!(files(&text("E"))[0].2, "1 2 $V\n");
    for name in ["\"E\"", "'E'"] {
        assert_eq!(files(&text(name))[0].2, "$V ${W:-2} \\$V\n", "{name}");
    }
    // What a shell reads is the shell's to expand.
    assert_eq!(args("ARG V=1\nRUN <<E\necho $V\nE").last().unwrap(), "echo $V\n");
}

#[test]
fn here_documents_may_have_a_number() {
    assert_eq!(args("RUN cat 3<<E <&3\nx\nE")[2], "cat 3<<E <&3\nx\nE");
}

#[test]
fn several_here_documents_follow_one_line() {
    let made = files("COPY <<one <<-'two' <<\"three\" /d/\n1\none\n\t2\n\ttwo\n$3\nthree");
    let made: Vec<_> = made.iter().map(|(name, _, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(made, [("/one", "1\n"), ("/two", "2\n"), ("/three", "$3\n")]);
    assert_eq!(args("RUN cat <<A - <<B\na\nA\nb\nB")[2], "cat <<A - <<B\na\nA\nb\nB");
}

#[test]
fn add_takes_here_documents_too() {
    assert_eq!(files("ADD <<E /x/y\na\nE"), [("/E".into(), 0o644, "a\n".into())]);
    let text = "FROM scratch\nADD --chmod=600 --chown=1:2 <<E /x\na\nE\n";
    let copy = copies(&build(&options(text))).pop().unwrap();
    assert_eq!(copy.dest, "/x");
}

#[test]
fn a_here_document_with_an_interpreter_is_a_program() {
    let exec = run("RUN <<E\n#!/usr/bin/python3\nprint()\nE");
    assert_eq!(exec.meta.unwrap().args, ["/bin/sh", "-c", "/dev/pipes/E"]);
    let pipes = exec.mounts.iter().find(|mount| mount.dest == "/dev/pipes/");
    assert!(pipes.is_some_and(|mount| mount.readonly), "{:?}", exec.mounts);
}

#[test]
fn here_documents_run_with_the_shell_of_the_stage() {
    let exec = "SHELL [\"/bin/bash\", \"-ec\"]\nRUN <<E\na\nE";
    assert_eq!(args(exec), ["/bin/bash", "-ec", "a\n"]);
}

#[test]
fn instructions_of_other_languages_are_told_as_unknown() {
    // Of Earthly, Dagger, Buildah's preprocessor and old proposals.
    for line in [
        "INCLUDE other.Dockerfile",
        "FUNCTION x",
        "DO +x",
        "IMPORT ./a AS b",
        "IF true",
        "FOR i IN 1 2",
        "WAIT",
        "TRY",
        "LOCALLY",
        "LET a=b",
        "SET a=b",
        "CACHE /x",
        "HOST a 1.2.3.4",
        "PROJECT a/b",
        "WITH DOCKER",
    ] {
        let told = told_of(line);
        let word = line.split(' ').next().unwrap();
        assert!(told.contains(&format!("unknown instruction: {word}")), "{line}: {told}");
        assert!(told.starts_with("Dockerfile:2:1:"), "{told}");
    }
    for (line, flag) in [
        ("FROM --after=b a", "--after"),
        ("FROM --allow-privileged a", "--allow-privileged"),
        ("FROM a\nRUN --push x", "--push"),
        ("FROM a\nCOPY --keep-ts b /", "--keep-ts"),
        ("FROM a\nARG --required A", "--required"),
    ] {
        let told = told(&options(&format!("{line}\n")));
        assert!(told.contains(&format!("unknown flag: {flag}")), "{line}: {told}");
    }
}

#[test]
fn mount_options_of_buildah_are_told_as_unknown() {
    for option in ["Z", "z", "U", "relabel=shared", "nosuid", "bind-propagation=z", "tmpcopyup"] {
        let told = told_of(&format!("RUN --mount=type=bind,target=/x,{option} make"));
        let key = option.split('=').next().unwrap();
        let known = told.contains(&format!("unexpected key '{}'", key.to_lowercase()))
            || told.contains(&format!("invalid field '{key}'"));
        assert!(known && told.starts_with("Dockerfile:2:"), "{option}: {told}");
    }
}

#[test]
fn names_that_nearly_are_right_bring_a_guess() {
    for (line, guess) in [
        ("FROM a\nCOPPY a b", "did you mean COPY?"),
        ("FROM a\nCOPY --form=x a b", "did you mean --from?"),
    ] {
        let told = told(&options(&format!("{line}\n")));
        assert!(told.contains(guess), "{line}: {told}");
    }
    let wrong_target = frontend::CompileOptions {
        target: Some("biuld".to_owned()),
        ..options("FROM a AS build\n")
    };
    assert!(told(&wrong_target).contains("did you mean build?"), "{}", told(&wrong_target));
}

#[test]
fn a_build_argument_may_name_the_language_that_is_built_in() {
    let text = "# syntax=evil/frontend\nFROM a\nEXPOSE 1\n";
    let compiled = build(&with_args(text, &[("BUILDKIT_SYNTAX", "dockerfile.v0")]));
    assert!(execs(&compiled).is_empty() && compiled.config.config.exposed_ports.len() == 1);
}
