//! How a failure is told: what, where, the last lines of output, the cause, and a way out.

use std::error::Error;
use std::fmt::Write;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use build_api::{BuildError, StepFailure};
use report::{Diagnostic, Severity, SourceText, Span};

use crate::progress::clean;
use crate::request::UsageError;
use crate::settings::SettingsError;

/// Lines of the source text shown before and after the one that is meant.
const AROUND: usize = 3;
/// A line longer than this is not shown.
const LONGEST_LINE: usize = 1000;
/// Findings shown; the number of the rest is told.
const FINDINGS: usize = 20;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A build or another work of the engine failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Anything else: what was being done, a way out where one is known, the cause.
    #[error("{message}")]
    Other { message: String, hint: Option<String>, source: Option<Box<dyn Error + Send + Sync>> },
    /// A program in a container ended with this code.
    #[error("exit code {0}")]
    Exit(u8),
}

impl Failure {
    /// What was being done, and why it could not be.
    pub(crate) fn because(
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Other { message: message.into(), hint: None, source: Some(source.into()) }
    }

    /// What is wrong, and a way out.
    pub(crate) fn hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Other { message: message.into(), hint: Some(hint.into()), source: None }
    }

    /// 2 for wrong usage, else 1; a container's own code as it is.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Settings(SettingsError::Malformed(_)) => 2,
            Self::Exit(code) => *code,
            Self::Settings(_) | Self::Build(_) | Self::Other { .. } => 1,
        }
    }

    /// Whether it only says that whoever read standard output went away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let Self::Other { source: Some(source), .. } = self else { return false };
        source
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The text for standard error.
    pub(crate) fn render(&self, color: bool) -> String {
        match self {
            Self::Usage(error) => plain(&error.message, error.hint.as_deref(), None, color),
            Self::Settings(SettingsError::Malformed(diagnostic)) => {
                diagnostics(std::slice::from_ref(diagnostic), color)
            }
            Self::Settings(error) => plain(&error.to_string(), None, error.source(), color),
            Self::Build(BuildError::Invalid(findings)) => diagnostics(findings, color),
            Self::Build(BuildError::Step(failure)) => step(failure, color),
            Self::Build(BuildError::Interrupted) => "interrupted\n".to_owned(),
            Self::Build(BuildError::Failed { message, hint, source }) => {
                plain(message, hint.as_deref(), source.as_deref().map(|source| source as _), color)
            }
            Self::Other { message, hint, source } => {
                plain(message, hint.as_deref(), source.as_deref().map(|source| source as _), color)
            }
            Self::Exit(_) => String::new(),
        }
    }
}

fn renderer(color: bool) -> Renderer {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii)
}

/// A message, its causes and a way out.
fn plain(
    message: &str,
    hint: Option<&str>,
    source: Option<&(dyn Error + 'static)>,
    color: bool,
) -> String {
    let style = |code: &str, text: &str| {
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let indent = |text: &str| lines(text).replace('\n', "\n    ");
    let mut out = format!("{}: {}\n", style("1;91", "error"), style("1", &indent(message)));
    for cause in causes(source) {
        let _ = writeln!(out, "  because: {}", indent(&cause));
    }
    if let Some(hint) = hint {
        let _ = writeln!(out, "  {}: {}", style("1;96", "help"), indent(hint));
    }
    out
}

/// A failure and its innermost cause on one line.
pub(crate) fn one_line(error: &BuildError) -> String {
    let causes = causes(error.source());
    let texts = std::iter::once(lines(&error.to_string())).chain(causes.last().cloned());
    texts.map(|text| text.replace('\n', " ")).collect::<Vec<_>>().join(": ")
}

/// The chain of causes, outermost first. A cause that repeats the one before says nothing.
fn causes(source: Option<&(dyn Error + 'static)>) -> Vec<String> {
    let core = |text: &str| text.split(" (os error").next().unwrap_or_default().to_lowercase();
    let mut causes: Vec<String> = Vec::new();
    let mut next = source;
    while let Some(error) = next {
        let text = lines(&error.to_string());
        if causes.last().is_none_or(|last| !core(last).ends_with(&core(&text))) {
            causes.push(text);
        }
        next = error.source();
    }
    causes
}

/// All findings, warnings first as they came, so that the errors are what is read last.
pub(crate) fn diagnostics(findings: &[Diagnostic], color: bool) -> String {
    let mut out = all_diagnostics(findings.get(..FINDINGS).unwrap_or(findings), color);
    if findings.len() > FINDINGS {
        let _ = writeln!(out, "\nand {} more", findings.len() - FINDINGS);
    }
    out
}

/// All findings in their order, however many.
pub(crate) fn all_diagnostics(findings: &[Diagnostic], color: bool) -> String {
    let mut out = String::new();
    for (index, finding) in findings.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let group = diagnostic(finding, &finding.message);
        let group = match &finding.hint {
            Some(hint) => group.element(Level::HELP.message(lines(hint))),
            None => group,
        };
        let _ = writeln!(out, "{}", renderer(color).render(&[group]));
    }
    out
}

/// A title with the lines of source text around its place.
fn diagnostic<'a>(finding: &'a Diagnostic, message: &str) -> Group<'a> {
    let level = match finding.severity {
        Severity::Note => Level::NOTE,
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let mut title = level.primary_title(lines(message));
    if let Some(rule) = finding.rule {
        title = title.id(rule);
    }
    let group = Group::with_title(title);
    match &finding.source {
        Some(source) => place(group, source, finding.span),
        None => group,
    }
}

/// Adds the place, with the lines around it where they can be shown.
fn place<'a>(group: Group<'a>, source: &'a SourceText, span: Span) -> Group<'a> {
    let (line, column) = source.line_column(span.start);
    if source.text.is_empty() {
        return group.element(Origin::path(clean(&source.name)));
    }
    match excerpt(&source.text, span) {
        Some((first, text, within)) => {
            let kind = AnnotationKind::Primary.span(within);
            group.element(
                Snippet::source(text)
                    .path(clean(&source.name))
                    .line_start(first)
                    .fold(false)
                    .annotation(kind),
            )
        }
        None => group.element(Origin::path(clean(&source.name)).line(line).char_column(column)),
    }
}

/// The lines around a span: the number of the first, their text, and the span within it. `None` if a line is too long.
fn excerpt(text: &str, span: Span) -> Option<(usize, &str, Range<usize>)> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let mut start = floor(span.start);
    // The end of the text is shown as the end of its last line.
    if start == text.len() && start > 0 {
        start = text.trim_end().len();
    }
    let end = floor(span.end).max(start);
    let end = start + text.get(start..end)?.trim_end().len();
    let mut from = line_start(text, start);
    for _ in 0..AROUND {
        from = line_start(text, from.saturating_sub(1));
    }
    // A span over many lines, such as a heredoc, is shown by its first lines.
    let last_shown =
        text.get(start..end)?.match_indices('\n').nth(2 * AROUND).map_or(end, |(at, _)| start + at);
    let mut to = line_end(text, last_shown);
    for _ in 0..AROUND {
        to = line_end(text, (to + 1).min(text.len()));
    }
    let shown = text.get(from..to)?;
    if shown.lines().any(|line| line.len() > LONGEST_LINE) {
        return None;
    }
    let first = text.get(..from)?.bytes().filter(|byte| *byte == b'\n').count() + 1;
    Some((first, shown, start - from..last_shown.min(to) - from))
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

fn line_end(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |newline| at + newline)
}

/// A failed step: its lines in the Dockerfile, the last lines of its output, and where the whole of it is.
fn step(failure: &StepFailure, color: bool) -> String {
    let message = failure.platform.as_ref().map_or_else(
        || failure.message.clone(),
        |platform| format!("{}, for {platform}", failure.message),
    );
    let mut group = match &failure.place {
        Some(place) => diagnostic(place, &message),
        None => Group::with_title(Level::ERROR.primary_title(lines(&message)))
            .element(Level::NOTE.message(format!("in step {}", lines(&failure.step)))),
    };
    for cause in causes(failure.source.as_deref().map(|source| source as _)) {
        group = group.element(Level::NOTE.with_name("because").message(cause));
    }
    if let Some(hint) = failure
        .hint
        .as_ref()
        .or_else(|| failure.place.as_ref().and_then(|place| place.hint.as_ref()))
    {
        group = group.element(Level::HELP.message(lines(hint)));
    }
    let mut out = String::new();
    if !failure.log_tail.is_empty() {
        let _ = writeln!(out, "last output of {}:", lines(&failure.step));
        for line in &failure.log_tail {
            let _ = writeln!(out, "  | {}", clean(line.trim_end_matches(['\r', '\n'])));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}", renderer(color).render(&[group]));
    if let Some(file) = &failure.log_file {
        let _ = writeln!(out, "the full output is in {}", file.display());
    }
    out
}

/// Text that may hold several lines, each cleaned.
fn lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
