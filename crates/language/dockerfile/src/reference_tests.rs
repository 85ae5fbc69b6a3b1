//! The parser knows what the table lists, and the document says the same.

use std::fmt::Write as _;
use std::path::Path;

use report::SourceText;

use super::reference::{ARGUMENTS, DIRECTIVES, Entry, FLAGS, INSTRUCTIONS, MOUNTS, OWN, VARIABLES};

const HEAD: &str = "# Dockerfile

Everything the language has here. Written from the parser's own table: `UPDATE_REFERENCE=1 cargo test -p dockerfile
reference` writes it anew. What an instruction means is said in [Docker's
reference](https://docs.docker.com/reference/dockerfile/); where crossdock differs is in [differences](differences.md).

\"Since\" is the version of the language (`# syntax=docker/dockerfile:VERSION`) that has it; 1.0 is what Docker had before
BuildKit, `crossdock` what only crossdock has. No version has to be named: all of it is always there.
";

fn told(text: &str) -> String {
    let source = SourceText { name: "Dockerfile".to_owned(), text: text.into() };
    let found = crate::parse(&source).diagnostics;
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn flags_of(instruction: &str) -> Vec<&'static str> {
    let own = FLAGS.iter().filter(|entry| entry.of == instruction);
    own.map(|entry| entry.item).collect()
}

#[test]
fn the_parser_knows_the_flags_of_the_table_and_no_others() {
    for (instruction, rest) in
        [("ADD", "a b"), ("COPY", "a b"), ("FROM", "x"), ("HEALTHCHECK", "CMD x"), ("RUN", "x")]
    {
        let message = told(&format!("FROM a\n{instruction} --qqqqqqqqqqqq {rest}\n"));
        let (_, known) = message.split_once("(it knows ").unwrap_or_default();
        let mut known: Vec<&str> = known.trim_end_matches(')').split(", ").collect();
        known.sort_unstable();
        assert_eq!(known, flags_of(instruction), "{instruction}: {message}");
    }
    for instruction in ["ARG", "CMD", "ENV", "EXPOSE", "LABEL", "USER", "VOLUME", "WORKDIR"] {
        assert!(flags_of(instruction).is_empty());
        assert!(told(&format!("FROM a\n{instruction} --x y=z\n")).contains("unknown flag"));
    }
}

#[test]
fn the_parser_knows_the_instructions_of_the_table_and_no_others() {
    let mut ours: Vec<&str> = INSTRUCTIONS.iter().map(|entry| entry.of).collect();
    let mut known: Vec<&str> = crate::parse::KEYWORDS.to_vec();
    ours.sort_unstable();
    known.sort_unstable();
    assert_eq!(ours, known);
}

#[test]
fn mounts_take_the_keys_of_the_table() {
    let value = |key: &str| match key {
        "sharing" => "locked",
        "mode" => "0700",
        "uid" | "gid" => "1",
        "size" => "1k",
        "required" | "readonly" | "ro" | "rw" | "readwrite" => "true",
        _ => "/x",
    };
    for entry in MOUNTS {
        for key in entry.item.split(", ") {
            let rest = if entry.of == "secret" && key != "id" { ",id=i" } else { "" };
            let text = format!("type={}{rest},{key}={}", entry.of, value(key));
            let parsed = crate::Mount::parse(&text, &mut |word| Ok(word.to_owned()));
            assert!(parsed.is_ok(), "{text}: {parsed:?}");
        }
    }
}

fn table(out: &mut String, title: &str, head: [&str; 2], entries: &[Entry]) {
    let _ = write!(out, "\n## {title}\n\n");
    let with_first = entries.iter().any(|entry| !entry.of.is_empty());
    let _ = if with_first {
        writeln!(out, "| {} | {} | Since | Notes |\n|---|---|---|---|", head[0], head[1])
    } else {
        writeln!(out, "| {} | Since | Notes |\n|---|---|---|", head[1])
    };
    for entry in entries {
        let items: Vec<String> = entry
            .item
            .split(", ")
            .map(|item| {
                let plain = item.chars().all(|c| c.is_ascii_lowercase()) && entry.of == "all";
                if plain || entry.item == "precedence" {
                    item.to_owned()
                } else {
                    format!("`{}`", item.replace('|', "\\|"))
                }
            })
            .collect();
        if with_first {
            let _ = write!(out, "| {} ", entry.of);
        }
        let notes = entry.notes.replace('|', "\\|");
        let _ = writeln!(out, "| {} | {} | {notes} |", items.join(", "), entry.since);
    }
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    table(&mut out, "Instructions", ["Instruction", "Form"], &INSTRUCTIONS);
    table(&mut out, "Flags", ["Instruction", "Flag"], &FLAGS);
    table(&mut out, "Mounts: `RUN --mount=type=…`", ["Type", "Key"], &MOUNTS);
    table(&mut out, "Directives", ["", "Directive"], &DIRECTIVES);
    table(&mut out, "Variables", ["", "Form"], &VARIABLES);
    table(&mut out, "Arguments", ["Kind", "Argument"], &ARGUMENTS);
    out
}

#[test]
fn the_reference_is_up_to_date() -> Result<(), Box<dyn std::error::Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/reference/dockerfile.md");
    #[expect(clippy::disallowed_methods, reason = "a test is no program with settings")]
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs_err::write(&path, document())?;
    }
    assert_eq!(
        fs_err::read_to_string(&path)?,
        document(),
        "write it with UPDATE_REFERENCE=1 cargo test -p dockerfile reference"
    );
    let versions = |entry: &Entry| {
        entry.since == OWN || entry.since.starts_with("1.") && !entry.notes.is_empty()
    };
    for entries in [&INSTRUCTIONS[..], &FLAGS, &MOUNTS, &DIRECTIVES, &VARIABLES, &ARGUMENTS] {
        assert!(entries.iter().all(versions));
    }
    Ok(())
}
