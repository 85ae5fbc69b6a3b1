use std::io;

use super::*;

const DOCKERFILE: &str = "FROM debian AS build\nWORKDIR /src\nCOPY . .\n\nRUN make && \\\n    make install\n\nFROM scratch\nCOPY --from=build /out /\n";

fn source() -> SourceText {
    SourceText { name: "Dockerfile".into(), text: DOCKERFILE.into() }
}

fn span_of(part: &str) -> Span {
    let start = DOCKERFILE.find(part).unwrap();
    Span::new(start, start + part.len())
}

#[test]
fn a_failed_step_shows_its_lines_and_its_output() {
    let failure = StepFailure {
        message:
            "process \"/bin/sh -c make && make install\" did not complete successfully: exit code 2"
                .into(),
        step: "[build 4/4] RUN make && make install".into(),
        platform: "linux/arm64".parse().ok(),
        place: Some(
            Diagnostic::error("", span_of("RUN make && \\\n    make install")).in_source(&source()),
        ),
        exit_code: Some(2),
        log_tail: vec!["cc -c main.c".into(), "main.c:1: \u{1b}[31merror\u{1b}[0m: no\r".into()],
        log_file: Some("/store/logs/1.log".into()),
        hint: None,
        source: None,
    };
    insta::assert_snapshot!(Failure::Build(BuildError::Step(Box::new(failure))).render(false));
}

#[test]
fn findings_show_their_places_and_hints() {
    let findings = vec![
        Diagnostic::error("stage `biuld` is not defined", span_of("build /out"))
            .hint("did you mean build?")
            .in_source(&source()),
        Diagnostic::warning("StageNameCasing", "stage name is upper case", span_of("build\n"))
            .in_source(&source()),
        Diagnostic::error("the Dockerfile is empty", Span::new(0, 0))
            .in_source(&SourceText { name: "empty".into(), text: "".into() }),
        Diagnostic::error("no place at all", Span::new(5, 9)),
    ];
    insta::assert_snapshot!(Failure::Build(BuildError::Invalid(findings)).render(false));
}

#[test]
fn causes_are_told_once() {
    let failure = Failure::Build(BuildError::Failed {
        message: "cannot push localhost:5000/a:1".into(),
        hint: Some("start the registry".into()),
        source: Some(io::Error::other("cannot connect: refused").into()),
    });
    insta::assert_snapshot!(failure.render(false), @r"
    error: cannot push localhost:5000/a:1
      because: cannot connect: refused
      help: start the registry
    ");
}

#[test]
fn wrong_usage_has_a_way_out() {
    let failure = Failure::Usage(UsageError::new(
        "--network: there is no network `x`",
        "the networks are default, none and host",
    ));
    insta::assert_snapshot!(failure.render(false), @r"
    error: --network: there is no network `x`
      help: the networks are default, none and host
    ");
    assert_eq!(failure.exit_code(), 2);
}

#[test]
fn hostile_places_do_no_harm() {
    let long = "x".repeat(2_000_000);
    let texts = [
        ("RUN a\u{1b}[2J\u{7}\n", 4, 9),
        (long.as_str(), 1_000_000, 1_500_000),
        ("é", 1, 1),
        ("a\n\n\n", 4, 99),
        ("\r\n\r\n", 1, 2),
        ("a", 9, 3),
    ];
    for (text, start, end) in texts {
        let source = SourceText { name: "D\u{1b}[2J".into(), text: text.into() };
        let finding = Diagnostic::error("wrong\u{7}", Span::new(start, end)).in_source(&source);
        let shown = diagnostics(&[finding], false);
        assert!(
            !shown.contains('\u{1b}') && !shown.contains('\u{7}') && shown.len() < 5000,
            "{shown}"
        );
    }
}

#[test]
fn a_thousand_findings_do_not_flood_the_terminal() {
    let findings = vec![Diagnostic::error("wrong", span_of("FROM")).in_source(&source()); 1000];
    let shown = diagnostics(&findings, false);
    assert!(shown.ends_with("and 980 more\n"));
}
