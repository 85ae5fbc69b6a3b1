//! The `--flags` of an instruction.

use std::ops::Range;

use report::{Diagnostic, Span, did_you_mean};

use crate::instruction::Word;

/// What kind of value a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// `--x`, `--x=true`, `--x=false`.
    Bool,
    /// `--x=v`, once.
    Text,
    /// `--x=v`, several times.
    Texts,
}

/// A flag as written, unquoted, and its place in the source and in the instruction's text.
pub(crate) struct Flag {
    pub(crate) text: String,
    pub(crate) span: Span,
    pub(crate) range: Range<usize>,
}

/// Flags that were found, by name.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    found: Vec<(&'static str, Word)>,
}

impl Flags {
    /// Reads the flags of an instruction that knows those of `known`.
    pub(crate) fn read(
        flags: &[Flag],
        known: &[(&'static str, Takes)],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut found: Vec<(&'static str, Word)> = Vec::new();
        for flag in flags {
            let (name, value) = match flag.text.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag.text.as_str(), None),
            };
            let bare = name.strip_prefix("--").unwrap_or(name);
            let Some((known, takes)) = known.iter().find(|(known, _)| *known == bare) else {
                let mut diagnostic = Diagnostic::error(format!("unknown flag: {name}"), flag.span);
                let guess = did_you_mean(bare, known.iter().map(|(known, _)| *known));
                if let Some(guess) = guess {
                    diagnostic = diagnostic.hint(format!("did you mean --{guess}?"));
                } else if !known.is_empty() {
                    let all: Vec<_> = known.iter().map(|(known, _)| format!("--{known}")).collect();
                    diagnostic = diagnostic.hint(format!("it knows {}", all.join(", ")));
                }
                diagnostics.push(diagnostic);
                continue;
            };
            if *takes != Takes::Texts && found.iter().any(|(other, _)| other == known) {
                diagnostics.push(Diagnostic::error(
                    format!("duplicate flag specified: {name}"),
                    flag.span,
                ));
                continue;
            }
            let value = match (takes, value) {
                (Takes::Bool, None) => "true".to_owned(),
                (Takes::Bool, Some(text)) => match text.to_lowercase().as_str() {
                    text @ ("true" | "false") => text.to_owned(),
                    "" => {
                        let message = format!("missing a value on flag: {name}");
                        diagnostics.push(Diagnostic::error(message, flag.span));
                        continue;
                    }
                    _ => {
                        let message =
                            format!("expecting boolean value for flag {name}, not: {text}");
                        diagnostics.push(Diagnostic::error(message, flag.span));
                        continue;
                    }
                },
                (_, Some(text)) => text.to_owned(),
                (_, None) => {
                    let message = format!("missing a value on flag: {name}");
                    diagnostics.push(
                        Diagnostic::error(message, flag.span).hint(format!("write {name}=VALUE")),
                    );
                    continue;
                }
            };
            found.push((known, Word { text: value, span: flag.span }));
        }
        Self { found }
    }

    pub(crate) fn text(&self, name: &str) -> Option<Word> {
        self.found.iter().find(|(found, _)| *found == name).map(|(_, word)| word.clone())
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<Word> {
        let found = self.found.iter().filter(|(found, _)| *found == name);
        found.map(|(_, word)| word.clone()).collect()
    }

    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.text(name).map(|word| word.text == "true")
    }
}
