//! `docs/reference/command-line.md` is written from the arguments themselves.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};

use super::Cli;

const HEAD: &str = "# Command line

Written from the program's own arguments: `UPDATE_REFERENCE=1 cargo test -p crossdock reference` writes it anew. Every
command also takes `--config FILE` (settings file), `--store DIR` (local store) and `--help`.

Exit codes: 0 success, 1 failure or interrupt, 2 wrong usage; `crossdock run` passes on that of the program.
";

fn reference() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = HEAD.to_owned();
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        section(&mut out, child, &format!("crossdock {}", child.get_name()));
    }
    out
}

fn section(out: &mut String, command: &Command, name: &str) {
    let children: Vec<&Command> =
        command.get_subcommands().filter(|child| !child.is_hide_set()).collect();
    if !children.is_empty() {
        for child in children {
            section(out, child, &format!("{name} {}", child.get_name()));
        }
        return;
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(out, "\n## {name}\n\n{about}.\n\n```text\n{usage}\n```\n");
    let shown = |arg: &&Arg| {
        !arg.is_hide_set()
            && !arg.is_global_set()
            && arg.get_id() != "help"
            && arg.get_id() != "version"
    };
    let args: Vec<&Arg> = command.get_arguments().filter(shown).collect();
    if args.is_empty() {
        return;
    }
    out.push_str("\n| | |\n|---|---|\n");
    for arg in args {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let choices: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        let choices = if arg.get_action().takes_values() && !choices.is_empty() {
            format!(": {}", choices.join(", "))
        } else {
            String::new()
        };
        let _ = writeln!(out, "| {} | {}{choices} |", spelling(arg), help.replace('|', "\\|"));
    }
}

/// `-t`, `--tag NAME`, or `CONTEXT`.
fn spelling(arg: &Arg) -> String {
    let value =
        arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string).unwrap_or_default();
    let takes = arg.get_action().takes_values();
    let optional = arg.is_require_equals_set();
    let long = arg.get_long().map(|long| match (takes, optional) {
        (true, true) => format!("`--{long}[={value}]`"),
        (true, false) => format!("`--{long} {value}`"),
        (false, _) => format!("`--{long}`"),
    });
    let short = arg.get_short().map(|short| format!("`-{short}`"));
    let parts: Vec<String> = short.into_iter().chain(long).collect();
    if parts.is_empty() { format!("`{value}`") } else { parts.join(", ") }
}

#[test]
fn the_reference_tells_of_every_flag() -> Result<(), Box<dyn std::error::Error>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/reference/command-line.md");
    #[expect(clippy::disallowed_methods, reason = "a test is no program with settings")]
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs_err::write(&path, reference())?;
    }
    assert_eq!(
        fs_err::read_to_string(&path)?,
        reference(),
        "write it with UPDATE_REFERENCE=1 cargo test -p crossdock reference"
    );
    Ok(())
}
