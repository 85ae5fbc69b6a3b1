//! What is allowed and yet doubtful, by the names of BuildKit's rules, and the `check` directive that silences them.

use std::collections::BTreeSet;

use dockerfile::{Dockerfile, Expanded, Word};
use report::{Diagnostic, Severity};

/// Checks that need nothing but the text.
pub(crate) fn before(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.from.name else { continue };
        if ["scratch", "context"].contains(&name.text.as_str()) {
            let message = format!(
                "Stage name should not use the same name as reserved stage {:?}",
                name.text
            );
            found.push(Diagnostic::warning("ReservedStageName", message, name.span));
        }
        if !names.insert(&name.text) {
            let message =
                format!("Duplicate stage name {:?}, stage names should be unique", name.text);
            found.push(Diagnostic::warning("DuplicateStageName", message, name.span));
        }
    }
    casing(file, found);
}

/// Keywords are all in upper case, or all in lower.
fn casing(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let upper = |word: &str| word == word.to_uppercase();
    let lower = |word: &str| word == word.to_lowercase();
    let (mut uppers, mut lowers) = (0, 0);
    for instruction in file.instructions() {
        uppers += usize::from(upper(&instruction.keyword.text));
        lowers += usize::from(lower(&instruction.keyword.text));
    }
    let major_is_lower = lowers > uppers;
    for instruction in file.instructions() {
        let word = &instruction.keyword.text;
        let fits = if major_is_lower { lower(word) } else { upper(word) };
        if !fits {
            let (wanted, name) = if major_is_lower {
                (word.to_lowercase(), "lowercase")
            } else {
                (word.to_uppercase(), "uppercase")
            };
            let message =
                format!("Command '{word}' should match the case of the command majority ({name})");
            found.push(
                Diagnostic::warning(
                    "ConsistentInstructionCasing",
                    message,
                    instruction.keyword.span,
                )
                .hint(format!("write {wanted}")),
            );
        }
    }
}

/// `FROM --platform` with a constant, or with what is the default anyway.
pub(crate) fn platform(
    word: &Word,
    expanded: &Expanded,
    stage: &dockerfile::Stage,
    found: &mut Vec<Diagnostic>,
) {
    if ["$TARGETPLATFORM", "${TARGETPLATFORM}"].contains(&word.text.as_str()) {
        let message = format!(
            "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
            word.text
        );
        found.push(Diagnostic::warning("RedundantTargetPlatform", message, word.span));
        return;
    }
    let variable = !expanded.matched.is_empty() || !expanded.unmatched.is_empty();
    let named = stage.from.name.as_ref().is_some_and(|name| {
        // A stage whose name says its platform means it.
        let parts: Vec<&str> = expanded.text.split('/').collect();
        parts.iter().any(|part| !part.is_empty() && name.text.contains(part))
    });
    if !variable && !named {
        let message =
            format!("FROM --platform flag should not use constant value {:?}", expanded.text);
        found.push(Diagnostic::warning("FromPlatformFlagConstDisallowed", message, word.span));
    }
}

/// Names that look as if a secret were kept in an image.
pub(crate) fn looks_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(['_', '-']).collect();
    let secret = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    words.iter().any(|word| secret.contains(word)) && !words.contains(&"public")
}

/// Drops what the `check` directive skips; with `error=true` warnings are errors.
pub(crate) fn filter(file: &Dockerfile, found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let value = file.directive("check").unwrap_or_default();
    let mut skipped: Vec<&str> = Vec::new();
    let mut errors = false;
    for part in value.split(';') {
        match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("skip", rules)) => skipped = rules.split(',').map(str::trim).collect(),
            Some(("error", value)) => errors = value == "true",
            _ => {}
        }
    }
    let skip = |rule: &str| {
        skipped.iter().any(|skipped| *skipped == "all" || skipped.eq_ignore_ascii_case(rule))
    };
    found
        .into_iter()
        .filter(|diagnostic| {
            diagnostic.severity == Severity::Error || !diagnostic.rule.is_some_and(skip)
        })
        .map(|mut diagnostic| {
            if errors && diagnostic.rule.is_some() {
                diagnostic.severity = Severity::Error;
            }
            diagnostic
        })
        .collect()
}
