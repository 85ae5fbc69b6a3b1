use crate::Network;
use std::fmt::Write as _;
use std::time::Instant;

use super::*;

fn read(text: &str) -> Dockerfile {
    parse(&SourceText { name: "Dockerfile".to_owned(), text: text.into() })
}

/// The diagnostics as a user sees them.
fn complaints(text: &str) -> String {
    let mut all = String::new();
    for diagnostic in read(text).diagnostics {
        writeln!(all, "{diagnostic}").unwrap();
    }
    all
}

fn only(text: &str) -> Kind {
    let file = read(&format!("FROM x\n{text}"));
    assert!(file.diagnostics.is_empty(), "{:?}", file.diagnostics);
    file.stages[0].body[0].kind.clone()
}

#[test]
fn every_word_knows_its_place() {
    let text = "FROM --platform=$BUILDPLATFORM golang:1 AS build\nCOPY --from=x a \\\n  b /c\n";
    let file = read(text);
    let stage = &file.stages[0];
    let at = |word: &Word| text.get(word.span.range()).unwrap();
    assert_eq!(at(&stage.from.base), "golang:1");
    assert_eq!(at(stage.from.name.as_ref().unwrap()), "build");
    assert_eq!(at(stage.from.platform.as_ref().unwrap()), "--platform=$BUILDPLATFORM");
    let Kind::Copy(copy) = &stage.body[0].kind else { panic!() };
    assert_eq!(copy.sources.iter().map(at).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(at(&copy.dest), "/c");
    assert_eq!(stage.body[0].lines, (2, 3));
}

#[test]
fn commands_have_two_forms() {
    let Kind::Run(run) = only(r#"RUN --mount=type=cache,target=/x --network=none ["a", "b c"]"#)
    else {
        panic!()
    };
    assert_eq!((run.command.args.len(), run.command.shell), (2, false));
    assert_eq!((run.mounts[0].text.as_str(), run.network), ("type=cache,target=/x", Network::None));
    let Kind::Cmd(cmd) = only("CMD echo  \"a  b\"") else { panic!() };
    assert_eq!((cmd.args, cmd.shell), (vec!["echo  \"a  b\"".to_owned()], true));
    let Kind::Entrypoint(empty) = only("ENTRYPOINT []") else { panic!() };
    assert_eq!((empty.args.len(), empty.shell), (0, false));
}

#[test]
fn here_documents_are_read_in_order() {
    let Kind::Run(run) = only("RUN <<A cat <<-'B' 3<<C\na\nA\n\tb\n\tB\n$c\nC\n") else { panic!() };
    let docs: Vec<_> = run
        .command
        .heredocs
        .iter()
        .map(|doc| (doc.name.as_str(), doc.content(), doc.expand, doc.descriptor))
        .collect();
    assert_eq!(
        docs,
        [
            ("A", "a\n".to_owned(), true, 0),
            ("B", "b\n".to_owned(), false, 0),
            ("C", "$c\n".to_owned(), true, 3)
        ]
    );
    let Kind::Copy(copy) = only("COPY <<one <<\"two\" x /d/\n1\none\n2\ntwo\n") else { panic!() };
    assert_eq!(copy.sources.len(), 1);
    assert_eq!((copy.inline[0].data.as_str(), copy.inline[0].expand), ("1\n", true));
    assert_eq!((copy.inline[1].data.as_str(), copy.inline[1].expand), ("2\n", false));
    let Kind::Onbuild(onbuild) = only("ONBUILD RUN <<E\nx\nE\n") else { panic!() };
    assert_eq!(onbuild.trigger, "RUN <<E\nx\nE");
}

#[test]
fn pairs_come_in_two_forms() {
    let Kind::Env(pairs) = only(r#"ENV a=1 b="x y" c='$z' d=e\ f"#) else { panic!() };
    let pairs: Vec<_> = pairs.iter().map(|pair| (&*pair.name, &*pair.value)).collect();
    assert_eq!(pairs, [("a", "1"), ("b", "\"x y\""), ("c", "'$z'"), ("d", "e\\ f")]);
    let file = read("FROM x\nENV PATH $GOPATH/bin:$PATH\n");
    let Kind::Env(pairs) = &file.stages[0].body[0].kind else { panic!() };
    assert_eq!((&*pairs[0].name, &*pairs[0].value), ("PATH", "$GOPATH/bin:$PATH"));
    assert_eq!(file.diagnostics[0].rule, Some("LegacyKeyValueFormat"));
}

#[test]
fn health_checks_have_durations() {
    let Kind::Healthcheck(check) = only("HEALTHCHECK --interval=1m30s --retries=3 CMD curl x")
    else {
        panic!()
    };
    assert_eq!(check.test, ["CMD-SHELL", "curl x"]);
    assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
    let Kind::Healthcheck(none) = only("HEALTHCHECK NONE") else { panic!() };
    assert_eq!(none.test, ["NONE"]);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "ARG A\nLABEL a=b\nFORM x\nFROM y AS 1\nRUN --mout=a b\nCOPY a\nENV A\nRUM ls\n\
                HEALTHCHECK --interval=x CMD y\nSHELL sh\nONBUILD FROM z\nCMD [1]\n\
                RUN <<E\nnever ends\n";
    insta::assert_snapshot!(complaints(text), @r#"
    Dockerfile:2:1: no build stage in current context (a stage begins with FROM; only ARG may stand before the first)
    Dockerfile:3:1: unknown instruction: FORM (did you mean FROM?)
    Dockerfile:4:11: invalid name for build stage: "1", name can't start with a number or contain symbols
    Dockerfile:5:5: unknown flag: --mout (did you mean --mount?)
    Dockerfile:6:1: COPY requires at least two arguments, but only one was provided. Destination could not be determined (write COPY SOURCE… DESTINATION)
    Dockerfile:7:5: ENV must have two arguments (write ENV A=VALUE)
    Dockerfile:8:1: unknown instruction: RUM (did you mean RUN?)
    Dockerfile:9:13: invalid duration "x" (write 30s or 1m30s)
    Dockerfile:10:7: SHELL requires the arguments to be in JSON form (write SHELL ["/bin/bash", "-c"])
    Dockerfile:11:9: FROM isn't allowed as an ONBUILD trigger
    Dockerfile:12:5: when using JSON array syntax, arrays must be comprised of strings only
    Dockerfile:13:1: unterminated heredoc `E` (end it with a line that has nothing but `E`)
    "#);
}

#[test]
fn nothing_is_told_of_nothing() {
    insta::assert_snapshot!(complaints("# x\n"), @"Dockerfile:2:1: the Dockerfile has no instructions (begin with FROM and the name of an image)");
    insta::assert_snapshot!(complaints("ARG x\n"), @"Dockerfile:2:1: dockerfile contains no stages to build (begin a stage with FROM and the name of an image)");
}

#[test]
fn ten_megabytes_are_read_quickly() {
    let mut text = "FROM x\n".to_owned();
    while text.len() < 10_000_000 {
        text.push_str(
            "RUN echo \"some words\" && \\\n  # a comment\n  make -j4 install DESTDIR=/out\n",
        );
    }
    let start = Instant::now();
    let file = read(&text);
    assert_eq!(file.diagnostics.len(), 0);
    assert!(file.stages[0].body.len() > 100_000);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    let one_line = format!("FROM x\nRUN {}<<E\nE\n", "a \\\n".repeat(500_000));
    let start = Instant::now();
    assert_eq!(read(&one_line).diagnostics.len(), 0);
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

proptest::proptest! {
    #[test]
    fn nothing_makes_the_parser_panic(text in "(FROM|RUN|COPY|ENV|ONBUILD|[#\\\\\"'<$ {}a=\\[\\]\n\u{e9}-]){0,60}") {
        let file = read(&text);
        for instruction in file.instructions() {
            assert!(text.get(instruction.span.range()).is_some());
        }
        for diagnostic in file.diagnostics {
            assert!(diagnostic.span.end <= text.len());
        }
    }
}

/// The tokens of a text, kind and text each.
fn tokens(text: &str) -> String {
    let file = read(text);
    let mut all = String::new();
    for token in file.syntax.tokens() {
        writeln!(all, "{:?} {:?}", token.kind, file.syntax.text(token)).unwrap();
    }
    all
}

#[test]
fn every_byte_belongs_to_a_token() {
    let text = "\u{feff}# check=skip=all\r\n#c\n\n  RUN --mount=type=cache,\\\n target=/x  a  <<-E \\ \n # c\n\n  b \r\n\
                body\n\tE\nCMD";
    insta::assert_snapshot!(tokens(text), @r##"
    ByteOrderMark "\u{feff}"
    Directive "# check=skip=all\r\n"
    Comment "#c\n"
    Space "\n  "
    Keyword "RUN"
    Space " "
    Flag "--mount=type=cache,"
    Continuation "\\\n"
    Space " "
    Arguments "target=/x  a  <<-E "
    Continuation "\\ \n"
    Space " "
    Comment "# c\n"
    Space "\n"
    Arguments "  b"
    Space " \r\n"
    Heredoc "body\n"
    Space "\t"
    HeredocEnd "E"
    Space "\n"
    Keyword "CMD"
    "##);
}

fn any_dockerfile() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let line = prop_oneof![
        "(FROM|from) (--platform=\\$BUILDPLATFORM )?[a-z]{1,5}(:[0-9])?( [aA][sS] [a-z]{1,3})?",
        "  RUN (--mount=type=cache,target=/[a-z] ){0,2}(--network=none )?[a-z<>\"'$ ]{0,20}",
        "(COPY|ADD) (--from=[a-z] |--link |--chmod=u=rwX ){0,3}[a-z*/]{1,4} \\\\?\n?/[a-z ]{1,4}",
        "RUN (3?<<-?[\"']?[AB][\"']? ?){1,3}\n\t?x\n\t?A\nB\nA",
        "(ENV|LABEL|ARG) [a-z]=[\"'a-z$ {}:\\\\-]{0,12}",
        "(CMD|ENTRYPOINT|SHELL|VOLUME) \\[(\"[a-z]\"(, ?)?){0,3}\\]",
        "ONBUILD (RUN|COPY|FROM|ONBUILD) [a-z<E ]{0,6}",
        "HEALTHCHECK --interval=[0-9a-z]{1,3} (CMD|NONE) ?[a-z]{0,3}",
        "[ \t]*#[ a-z=`\\\\]{0,10}",
        "# ?(escape|syntax|check) ?= ?[`a-z=;]{1,4}",
        "[ \t\r]{0,3}",
        "[A-Za-z<\\\\` \u{e9}\u{2003}]{0,12}",
    ];
    let end = prop_oneof![6 => Just("\n"), 2 => Just("\r\n"), 1 => Just(" \\\n"), 1 => Just("`\n"), 1 => Just("")];
    (any::<bool>(), proptest::collection::vec((line, end), 0..20)).prop_map(|(bom, lines)| {
        let mut text = if bom { "\u{feff}".to_owned() } else { String::new() };
        for (line, end) in lines {
            text.push_str(&line);
            text.push_str(end);
        }
        text
    })
}

/// What holds for every text.
fn is_lossless(text: &str) {
    let file = read(text);
    assert_eq!(file.syntax.print(), text);
    let mut at = 0;
    for token in file.syntax.tokens() {
        assert_eq!(token.span.start, at);
        assert!(token.span.end > at);
        assert_eq!(file.syntax.at(at), Some(token));
        let blank = file.syntax.text(token).trim_matches(['-']).trim().is_empty();
        assert!(blank || token.kind != TokenKind::Space, "{token:?} {text:?}");
        at = token.span.end;
    }
    assert_eq!(at, text.len());
    assert_eq!(file.syntax.at(at), None);
    for instruction in file.instructions() {
        let keyword = &instruction.keyword;
        let token = file.syntax.at(keyword.span.start).map(|token| token.kind);
        assert!(keyword.text.is_empty() || token == Some(TokenKind::Keyword));
        assert!(text.get(instruction.span.range()).is_some());
    }
    for diagnostic in file.diagnostics {
        assert!(text.get(diagnostic.span.range()).is_some(), "{diagnostic:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

    #[test]
    fn printing_what_was_parsed_gives_the_text(text in any_dockerfile()) {
        is_lossless(&text);
    }

    #[test]
    fn printing_what_was_parsed_gives_any_text(text in "\\PC{0,40}|[\\x00-\\x7f\u{feff}]{0,80}") {
        is_lossless(&text);
    }
}
