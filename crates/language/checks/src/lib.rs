//! What is doubtful about a Dockerfile, and how is it mended?
//!
//! [`check`] reads a Dockerfile and answers with [`Finding`]s: those of the frontend, which BuildKit has too, and those of
//! the rules in `own`, which look further. Every finding names a [`Rule`] of the one table in `rules`, from which the
//! documentation is made. Where mending is mechanical, `fix` knows the edits. [`format`] writes findings for machines.
//!
//! A check reads no file and asks nobody, unless it is given a resolver that does.

pub mod calls;
pub mod fix;
pub mod format;
mod own;
pub mod pages;
mod rules;

use dockerfile::{Dockerfile, Instruction};
use frontend::{AllowDevices, ImageName, ImageResolver, Outline, ResolveError, ResolvedImage};
use oci::Platform;
use report::{Diagnostic, SourceText, Span};

pub use fix::{Edit, Fix};
pub use frontend::CompileOptions;
pub use rules::{Example, Origin, Rule, Severity, rule, rules, severity_name};

/// Something that a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule; `None` for what is simply wrong.
    pub rule: Option<&'static Rule>,
    /// How much it weighs here.
    pub severity: Severity,
    /// What, where, and a way out.
    pub diagnostic: Diagnostic,
    /// Lines it is about, from 1, first and last of each range; empty if it has no place.
    pub lines: Vec<(usize, usize)>,
    /// How to mend it, where that is mechanical.
    pub fix: Option<Fix>,
}

impl Finding {
    /// Whether it is wrong, or breaks a rule that BuildKit has too. `error=true` makes no more of an own rule.
    fn counts_for_buildkit(&self) -> bool {
        match self.rule {
            Some(rule) if rule.origin == Origin::Crossdock => rule.severity == Severity::Error,
            _ => self.severity > Severity::Note,
        }
    }
}

/// What came of a check.
#[derive(Clone, Debug)]
pub struct Report {
    /// The Dockerfile.
    pub source: SourceText,
    /// In the order of the text.
    pub findings: Vec<Finding>,
    /// Whether `error=true` asks that any finding fails a build.
    pub error: bool,
    /// What the target asks for; `None` where the Dockerfile is wrong.
    pub outline: Option<Outline>,
}

impl Report {
    /// Whether the check has failed: something worse than a note was found.
    pub fn failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity > Severity::Note)
    }

    /// Whether BuildKit's check would have failed too: something is wrong, or one of its own rules is broken.
    pub fn failed_for_buildkit(&self) -> bool {
        self.findings.iter().any(Finding::counts_for_buildkit)
    }
}

/// How a check is made.
pub struct Options<'a> {
    /// What would be built: one Dockerfile, for each platform.
    pub builds: Vec<CompileOptions>,
    /// Whether the rules that BuildKit does not have are looked at.
    pub own: bool,
    /// Who knows base images.
    pub resolver: &'a dyn ImageResolver,
}

/// Looks for no image: a check with it is fast and knows nothing of bases.
pub struct Offline;

impl ImageResolver for Offline {
    fn resolve(&self, name: ImageName<'_>, _: &Platform) -> Result<ResolvedImage, ResolveError> {
        Err(ResolveError::Unasked(match name {
            ImageName::Reference(reference) => reference.familiar(),
            ImageName::Layout(name) => name.to_owned(),
        }))
    }
}

/// Checks a Dockerfile for all platforms that are asked for; what is found for several is told once.
pub fn check(options: &Options<'_>) -> Report {
    let source = options.builds.first().map_or_else(
        || SourceText { name: String::new(), text: "".into() },
        |build| build.source.clone(),
    );
    let file = dockerfile::parse(&source);
    let mut all: Vec<Diagnostic> = Vec::new();
    let mut outline = None;
    let mut error = false;
    for build in &options.builds {
        // Whether these are granted is a matter of building.
        let compile = CompileOptions {
            allow_insecure: true,
            allow_host_network: true,
            allow_devices: AllowDevices::All,
            ..build.clone()
        };
        let checked = frontend::check(&compile, &file, options.resolver);
        let more = if options.own { own::find(&file, &compile) } else { Vec::new() };
        let told = checked.told(&file, more);
        error |= checked.config.as_ref().is_ok_and(|config| config.error);
        all.extend(told.into_iter().filter(|found| {
            options.own
                || found.rule.and_then(rule).is_none_or(|rule| rule.origin == Origin::BuildKit)
        }));
        outline = outline.or(checked.outline);
    }
    let key = |found: &Diagnostic| {
        (found.span, found.rule, found.message.clone(), found.severity != Severity::Error)
    };
    for found in &mut all {
        found.source.get_or_insert_with(|| source.clone());
    }
    all.sort_by_cached_key(key);
    all.dedup_by(|a, b| (a.span, a.rule, &a.message) == (b.span, b.rule, &b.message));
    let places = Places::of(&file);
    let findings = all.into_iter().map(|diagnostic| finding(&file, &places, diagnostic)).collect();
    Report { source, findings, error, outline }
}

fn finding(file: &Dockerfile, places: &Places<'_>, diagnostic: Diagnostic) -> Finding {
    let rule = diagnostic.rule.and_then(rule);
    let severity = match rule {
        Some(rule) if rule.severity == Severity::Note => Severity::Note,
        Some(rule) => rule.severity.max(diagnostic.severity),
        None => diagnostic.severity,
    };
    let lines = places.lines(&diagnostic, &file.source);
    let at = places.instruction(diagnostic.span);
    let fix = rule
        .filter(|rule| rule.fix.is_some())
        .and_then(|rule| fix::of(rule.id, file, at, &diagnostic));
    Finding { rule, severity, diagnostic, lines, fix }
}

/// Instructions by where they begin.
struct Places<'a>(Vec<&'a Instruction>);

impl<'a> Places<'a> {
    fn of(file: &'a Dockerfile) -> Self {
        Self(file.instructions().collect())
    }

    /// The instruction that a place is in.
    fn instruction(&self, span: Span) -> Option<&'a Instruction> {
        let after = self.0.partition_point(|one| one.span.start <= span.start);
        let found = self.0.get(after.checked_sub(1)?)?;
        (span.start <= found.span.end).then_some(*found)
    }

    /// The lines of the instruction that a finding is about, as BuildKit tells them; of what is between instructions, its
    /// own.
    fn lines(&self, diagnostic: &Diagnostic, source: &SourceText) -> Vec<(usize, usize)> {
        let span = diagnostic.span;
        if span == Span::default() {
            return Vec::new();
        }
        match self.instruction(span) {
            Some(one) if diagnostic.rule == Some("NoEmptyContinuation") => {
                vec![(one.lines.1, one.lines.1)]
            }
            Some(one) => (one.lines.0..=one.lines.1).map(|line| (line, line)).collect(),
            None => vec![(source.line_column(span.start).0, source.line_column(span.end).0)],
        }
    }
}
