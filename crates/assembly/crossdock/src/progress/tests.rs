//! One build, as each renderer shows it.

use std::time::Duration;

use build_api::{Outcome, PlatformOutcome};
use oci::{Descriptor, Digest};
use report::{Diagnostic, Event, Output, SourceText, Span, VertexId};

use super::plain::Plain;
use super::rawjson::RawJson;
use super::summary::summary;
use super::tty::Tty;

fn id(name: &str) -> VertexId {
    Digest::of(name.as_bytes())
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn vertex(name: &str, platform: &str, emulator: Option<&str>) -> Event {
    Event::Vertex {
        id: id(&format!("{name}{platform}")),
        name: name.into(),
        platform: platform.parse().ok(),
        emulator: emulator.map(str::to_owned),
    }
}

fn log(id: VertexId, text: &str) -> Event {
    Event::Log { id, stream: Output::Stdout, data: text.into() }
}

/// The events of a build for two platforms up to its middle, with their times.
fn half_a_build() -> Vec<(Duration, Event)> {
    let make = "[build 2/3] RUN make";
    let copy = "[build 1/3] COPY . .";
    let (amd64, arm64) = ("linux/amd64", "linux/arm64");
    let transfer = |label: &str, current, done| Event::Transfer {
        id: id("load context"),
        label: label.into(),
        current,
        total: Some(4_000_000),
        done,
    };
    vec![
        (at(0), vertex("load context", "", None)),
        (at(0), vertex(copy, amd64, None)),
        (at(0), vertex(make, amd64, None)),
        (at(0), vertex(copy, arm64, None)),
        (at(0), vertex(make, arm64, Some("qemu-aarch64 10.0.2"))),
        (at(10), Event::Started { id: id("load context"), at: at(10) }),
        (at(100), transfer("context", 1_000_000, false)),
        (at(600), transfer("context", 2_000_000, false)),
        (at(700), Event::Cached { id: id(&format!("{copy}{amd64}")), at: at(700) }),
        (at(700), Event::Started { id: id(&format!("{make}{amd64}")), at: at(700) }),
        (at(800), log(id(&format!("{make}{amd64}")), "cc -c \u{1b}[1mmain.c\u{1b}[0m\nc")),
        (at(900), Event::Started { id: id(&format!("{copy}{arm64}")), at: at(900) }),
        (at(950), Event::Finished { id: id(&format!("{copy}{arm64}")), at: at(950), error: None }),
        (at(950), Event::Started { id: id(&format!("{make}{arm64}")), at: at(950) }),
        (at(1000), log(id(&format!("{make}{arm64}")), "cc -c main.c\n10%\r20%\r100%\nlinking\n")),
        (at(1100), log(id(&format!("{make}{amd64}")), "c -c other.c\n")),
        (at(1200), Event::Note("pulled under a mirror".into())),
    ]
}

/// The rest of it: one platform succeeds, the other fails.
fn the_other_half() -> Vec<(Duration, Event)> {
    let make = "[build 2/3] RUN make";
    let source = SourceText { name: "Dockerfile".into(), text: "FROM a AS B\n".into() };
    let warning = Diagnostic::warning(
        "StageNameCasing",
        "stage name `B` is not lower case",
        Span::new(10, 11),
    )
    .in_source(&source);
    vec![
        (at(1300), Event::Warning(warning)),
        (
            at(1400),
            Event::Transfer {
                id: id("load context"),
                label: "context".into(),
                current: 4_000_000,
                total: Some(4_000_000),
                done: true,
            },
        ),
        (at(1400), Event::Finished { id: id("load context"), at: at(1400), error: None }),
        (
            at(2000),
            Event::Finished { id: id(&format!("{make}linux/amd64")), at: at(2000), error: None },
        ),
        (at(2100), log(id(&format!("{make}linux/arm64")), "no rule")),
        (
            at(2200),
            Event::Finished {
                id: id(&format!("{make}linux/arm64")),
                at: at(2200),
                error: Some("exit code 2".into()),
            },
        ),
    ]
}

#[test]
fn lines_in_a_pipe() {
    let mut plain = Plain::new(true);
    let mut shown: String = half_a_build()
        .into_iter()
        .chain(the_other_half())
        .map(|(now, event)| plain.apply(event, now))
        .collect();
    shown.push_str(&plain.finish());
    insta::assert_snapshot!(shown);
}

#[test]
fn json_lines() {
    let mut json = RawJson::new(Duration::from_secs(1_700_000_000));
    let shown: String = half_a_build()
        .into_iter()
        .chain(the_other_half())
        .map(|(now, event)| json.apply(&event, now))
        .collect();
    for line in shown.lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|value| value.is_object()),
            "{line}"
        );
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn rows_on_a_terminal() {
    let mut tty = Tty::new("app:latest", false);
    feed(&mut tty, half_a_build());
    let first = visible(&tty.frame(at(1250), 72, 24));
    let low = visible(&tty.frame(at(1250), 40, 7));
    feed(&mut tty, the_other_half());
    let end = visible(&tty.frame(at(2300), 72, 24));
    let last = visible(&tty.last(at(2300)));
    insta::assert_snapshot!(format!(
        "{first}\n--- low and narrow\n{low}\n--- end\n{end}\n--- last\n{last}"
    ));
}

#[test]
fn a_frame_never_has_more_lines_or_columns_than_the_terminal() {
    for (columns, rows) in [(1, 1), (10, 2), (20, 5), (37, 8), (200, 3)] {
        let mut tty = Tty::new("a long title that does not fit anywhere", false);
        feed(&mut tty, half_a_build());
        drop(tty.frame(at(1), columns, rows));
        let frame = tty.frame(at(1250), columns, rows);
        assert!(frame.matches("\r\n").count() <= rows.max(1), "{columns}x{rows}: {frame:?}");
        assert!(
            frame.ends_with("\u{1b}[?7h\u{1b}[?25h\u{1b}[?2026l"),
            "the terminal is left as it was"
        );
    }
}

fn feed(tty: &mut Tty, events: Vec<(Duration, Event)>) {
    for (now, event) in events {
        tty.apply(event, now);
    }
}

/// What is left of a frame when the terminal has obeyed it.
fn visible(frame: &str) -> String {
    super::clean(&frame.replace("\r\n", "⏎")).replace('⏎', "\n")
}

#[test]
fn the_end_of_a_build_for_two_platforms() {
    let platform = |name: &str, size, ran, cached, seconds| PlatformOutcome {
        platform: name.parse().unwrap(),
        manifest: Some(Descriptor::of(oci::media_type::OCI_MANIFEST, name.as_bytes())),
        config: None,
        size,
        cached,
        ran,
        took: Duration::from_secs(seconds),
    };
    let outcome = Outcome {
        image: Some(Descriptor::of(oci::media_type::OCI_INDEX, b"index")),
        platforms: vec![
            platform("linux/amd64", 3_456_789, 5, 2, 4),
            platform("windows(10.0.20348)/amd64", 123_456_789, 1, 0, 125),
        ],
        written: vec!["pushed localhost:5000/app:latest".into()],
        warnings: Vec::new(),
        took: Duration::from_secs(126),
        metadata: [].into(),
    };
    insta::assert_snapshot!(summary(&outcome, false));
}
