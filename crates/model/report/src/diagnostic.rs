use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of bytes in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From `start` up to, not including, `end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest span that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// As a range, to index with.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A text with the name it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Path or other name, as a user knows it.
    pub name: String,
    /// The text.
    pub text: Arc<str>,
}

impl SourceText {
    /// The line (from 1) and column (from 1, in characters) of byte `offset`; past the end means the last.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = self.text.get(..offset).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Goes on.
    Warning,
    /// Ends the build.
    Error,
}

/// Something wrong in what the user wrote: where, what, and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Rule that found it, where there is one: `StageNameCasing`.
    pub rule: Option<&'static str>,
    /// What is wrong, without a full stop.
    pub message: String,
    /// The text that `span` is in.
    pub source: Option<SourceText>,
    /// Where.
    pub span: Span,
    /// How to mend it, where that is known.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at a place. Whoever knows the text adds it with [`Diagnostic::in_source`].
    pub fn error(message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Error,
            rule: None,
            message: message.into(),
            source: None,
            span,
            hint: None,
        }
    }

    /// A warning at a place, by a rule.
    pub fn warning(rule: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Warning,
            rule: Some(rule),
            message: message.into(),
            source: None,
            span,
            hint: None,
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the text it is about.
    #[must_use]
    pub fn in_source(mut self, source: &SourceText) -> Self {
        self.source = Some(source.clone());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            let (line, column) = source.line_column(self.span.start);
            write!(f, "{}:{line}:{column}: ", source.name)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The candidate that a mistyped `word` most likely meant, if one is close enough (edit distance at most a third).
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let limit = wanted.len().div_ceil(3);
    let scored = candidates.into_iter().map(|candidate| (distance(&wanted, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Levenshtein distance with one row.
fn distance(word: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (index, c) in candidate.chars().take(64).flat_map(char::to_lowercase).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, letter) in word.iter().enumerate() {
            let cost = diagonal + usize::from(*letter != c);
            diagonal = row[column + 1];
            row[column + 1] = cost.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[word.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_as_line_and_column() {
        let source = SourceText { name: "Dockerfile".into(), text: "FROM a\nRÜN b\n".into() };
        let text = Diagnostic::error("unknown instruction `RÜN`", Span::new(7, 11))
            .in_source(&source)
            .hint("did you mean RUN?");
        assert_eq!(
            text.to_string(),
            "Dockerfile:2:1: unknown instruction `RÜN` (did you mean RUN?)"
        );
        assert_eq!(source.line_column(11), (2, 4));
        assert_eq!(source.line_column(9), (2, 2));
    }

    #[test]
    fn a_mistyped_word_is_recognised_and_a_strange_one_is_not() {
        assert_eq!(did_you_mean("FORM", ["FROM", "RUN"]), Some("FROM"));
        assert_eq!(did_you_mean("COPPY", ["COPY", "RUN"]), Some("COPY"));
        assert_eq!(did_you_mean("xyzzy", ["COPY", "RUN"]), None);
    }
}
