//! Stages for Windows.

use std::collections::HashMap;

use dockerfile::{Dockerfile, Instruction, Kind, Stage, Word};
use frontend::CompileOptions;
use report::{Diagnostic, Span};

pub(super) fn find(file: &Dockerfile, options: &CompileOptions, found: &mut Vec<Diagnostic>) {
    if file.escape != '\\' {
        return;
    }
    let mut known: HashMap<&str, bool> = HashMap::new();
    for stage in &file.stages {
        let windows = is_windows(stage, options, &known);
        if let Some(name) = &stage.from.name {
            known.insert(&name.text, windows);
        }
        if windows {
            stage.body.iter().for_each(|instruction| paths(instruction, found));
        }
    }
}

fn is_windows(stage: &Stage, options: &CompileOptions, known: &HashMap<&str, bool>) -> bool {
    let base = stage.from.base.text.as_str();
    if let Some(windows) = known.get(base) {
        return *windows;
    }
    if base.starts_with("mcr.microsoft.com/windows") || base.contains("windows-host-process") {
        return true;
    }
    match &stage.from.platform {
        Some(platform) if platform.text.contains("TARGET") => options.platform.is_windows(),
        Some(platform) => platform.text.starts_with("windows"),
        None => options.platform.is_windows(),
    }
}

fn paths(instruction: &Instruction, found: &mut Vec<Diagnostic>) {
    // In a JSON array, backslashes are JSON's matter.
    if instruction.code.contains("[\"") {
        return;
    }
    let mut word = |text: &str, span: Span| {
        if loses_backslashes(text) {
            let message = format!("the backslashes of {text} are taken for escapes");
            found.push(Diagnostic::warning("WindowsPath", message, span).hint(format!(
                "write {}, or begin the file with # escape=`",
                text.replace('\\', "/")
            )));
        } else if text.to_lowercase().starts_with("/c/") {
            let message = format!("{text} is a directory named `c`, not the drive");
            found.push(
                Diagnostic::warning("WindowsPath", message, span)
                    .hint(format!("write C:{}", text.get(2..).unwrap_or_default())),
            );
        }
    };
    let mut one = |found: &Word| word(&found.text, found.span);
    match &instruction.kind {
        Kind::Workdir(path) => one(path),
        Kind::Volume(paths) => paths.iter().for_each(one),
        // `COPY a C:\t\` continues on the next line, so that what was the destination is a source.
        Kind::Copy(copy) | Kind::Add(copy) => {
            copy.sources.iter().for_each(&mut one);
            one(&copy.dest);
        }
        Kind::Env(pairs) => {
            for pair in pairs.iter().filter(|pair| loses_backslashes(&pair.value)) {
                let message = format!("the backslashes of {} are taken for escapes", pair.value);
                found.push(
                    Diagnostic::warning("WindowsPath", message, pair.span)
                        .hint(format!("write {}=\"{}\"", pair.name, pair.value)),
                );
            }
        }
        _ => {}
    }
}

/// Whether an unquoted text has a drive with a single backslash: `C:\temp`.
fn loses_backslashes(text: &str) -> bool {
    if text.contains(['"', '\'']) {
        return false;
    }
    let mut rest = text;
    while let Some(at) = rest.find(":\\") {
        let drive = rest.get(..at).and_then(|before| before.chars().next_back());
        rest = rest.get(at + 2..).unwrap_or_default();
        if drive.is_some_and(|c| c.is_ascii_alphabetic()) && !rest.starts_with('\\') {
            return true;
        }
    }
    false
}
