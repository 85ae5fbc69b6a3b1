//! `crossdock check`, and what `crossdock build --call` asks.

use std::fmt::Write;
use std::io;
use std::path::Path;

use build_api::{BuildError, BuildRequest};
use checks::{CompileOptions, Finding, Offline, Options, Report, Severity, calls, fix, format};
use engine::{Checkable, Engine};
use report::{Diagnostic, SourceText};

use super::{build, print};
use crate::args::{BuildArgs, CheckArgs, CheckFormat, FixMode};
use crate::failure::{Failure, all_diagnostics};
use crate::request::{Call, Method, UsageError};
use crate::session::Session;

/// Findings shown as text; the number of the rest is told.
const SHOWN: usize = 200;

/// Checks a Dockerfile: tells what was found, and mends it where that is asked for. Fails if anything but notes was
/// found.
pub(crate) fn check(args: &CheckArgs, session: &Session<'_>) -> Result<(), Failure> {
    let build_args = BuildArgs {
        context: args.context.clone(),
        file: args.file.clone(),
        target: args.target.clone(),
        platform: args.platform.clone(),
        build_arg: args.build_arg.clone(),
        build_context: args.build_context.clone(),
        ..BuildArgs::default()
    };
    let (request, _spooled) = build::read_request(&build_args, session)?;
    let Checkable { builds, path } = Checkable::read(&request)?;
    let engine = if args.resolve { Some(session.engine()?) } else { None };
    let look = Look { request: &request, engine: engine.as_ref() };
    let report = match (args.fix, path) {
        (None, _) => look.check(builds),
        (Some(_), None) => {
            let hint = "name the file, as in `crossdock check --fix -f Dockerfile`";
            let message = "--fix: a Dockerfile from standard input cannot be mended";
            return Err(UsageError::new(message, hint).into());
        }
        (Some(mode), Some(path)) => {
            let shows = args.format == CheckFormat::Text;
            let report = look.mend(builds, mode, &path, shows)?;
            if mode == FixMode::Diff && shows {
                return verdict(&report);
            }
            report
        }
    };
    match args.format {
        CheckFormat::Text => print(&text(&report, session.color_of_stdout()))?,
        CheckFormat::Json => print(&format::json(&report))?,
        CheckFormat::Sarif => print(&format::sarif(&report))?,
        CheckFormat::Github => print(&format::github(&report))?,
    }
    verdict(&report)
}

/// A way to look at a Dockerfile: with the images it stands on, or without.
struct Look<'a> {
    request: &'a BuildRequest,
    engine: Option<&'a Engine>,
}

impl Look<'_> {
    fn with<T>(&self, builds: Vec<CompileOptions>, act: impl FnOnce(&Options<'_>) -> T) -> T {
        match self.engine {
            Some(engine) => engine.with_images(self.request, |resolver| {
                act(&Options { builds, own: true, resolver })
            }),
            None => act(&Options { builds, own: true, resolver: &Offline }),
        }
    }

    fn check(&self, builds: Vec<CompileOptions>) -> Report {
        self.with(builds, checks::check)
    }

    /// Shows what mending changes, and writes it. Gives what there is to say of the file as it is then.
    fn mend(
        &self,
        builds: Vec<CompileOptions>,
        mode: FixMode,
        path: &Path,
        shows: bool,
    ) -> Result<Report, Failure> {
        let Some(source) = builds.first().map(|build| build.source.clone()) else {
            return Ok(self.check(builds));
        };
        let mended = self.with(builds.clone(), fix::mend);
        if shows {
            print(&fix::diff(&source.name, &source.text, &mended.text))?;
        }
        if mode == FixMode::Diff || mended.count == 0 {
            return Ok(self.check(builds));
        }
        write_back(path, &mended.text)?;
        if shows {
            print(&format!("{} mended in {}\n\n", findings(mended.count), path.display()))?;
        }
        let source = SourceText { text: mended.text.into(), ..source };
        let builds = builds.into_iter();
        let builds = builds.map(|build| CompileOptions { source: source.clone(), ..build });
        Ok(self.check(builds.collect()))
    }
}

/// Answers what `--call` or `--check` of a build asks.
pub(crate) fn call(args: &BuildArgs, call: Call, session: &Session<'_>) -> Result<(), Failure> {
    if call.method == Method::Describe {
        return print(&if call.json { calls::describe_json() } else { calls::describe_text() });
    }
    let (request, _spooled) = build::read_request(args, session)?;
    let builds = Checkable::read(&request)?.builds;
    let Some(source) = builds.first().map(|build| build.source.clone()) else { return Ok(()) };
    let invalid = |found| Failure::Build(BuildError::Invalid(found));
    if call.method == Method::Targets {
        let targets =
            if call.json { calls::targets_json(&source) } else { calls::targets_text(&source) };
        return print(&targets.map_err(invalid)?);
    }
    let own = call.method == Method::Check;
    let mut report = checks::check(&Options { builds, own, resolver: &Offline });
    match (call.method, report.outline.take()) {
        (Method::Outline, Some(outline)) => print(&if call.json {
            calls::outline_json(&outline, &report.source)
        } else {
            calls::outline_text(&outline)
        }),
        (Method::Outline, None) => {
            let wrong = |finding: &Finding| finding.severity == Severity::Error;
            let found = report.findings.iter().filter(|finding| wrong(finding));
            Err(invalid(found.map(|finding| finding.diagnostic.clone()).collect()))
        }
        _ => {
            // What a build would say, and nothing that never fails one.
            report.findings.retain(|finding| finding.severity > Severity::Note);
            if call.json {
                print(&format::json(&report))?;
            } else {
                print(&text(&report, session.color_of_stdout()))?;
            }
            // Rules that BuildKit does not have are told, and fail nothing that passes there.
            let failed = if call.ignore_status {
                format::error(&report).is_some()
            } else {
                report.failed_for_buildkit()
            };
            if failed { Err(Failure::Exit(1)) } else { Ok(()) }
        }
    }
}

/// Exit code 1 if something was found.
fn verdict(report: &Report) -> Result<(), Failure> {
    if report.failed() { Err(Failure::Exit(1)) } else { Ok(()) }
}

/// Everything that was found, with its lines, and how much it is.
fn text(report: &Report, color: bool) -> String {
    let shown: Vec<Diagnostic> = report
        .findings
        .iter()
        .take(SHOWN)
        .map(|finding| Diagnostic { severity: finding.severity, ..finding.diagnostic.clone() })
        .collect();
    let mut out = all_diagnostics(&shown, color);
    if !out.is_empty() {
        out.push('\n');
    }
    if report.findings.len() > SHOWN {
        let _ = writeln!(out, "and {} more", report.findings.len() - SHOWN);
    }
    let count = |severity| report.findings.iter().filter(|one| one.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let notes = count(Severity::Note);
    let fixable = report.findings.iter().filter(|finding| finding.fix.is_some()).count();
    let parts: Vec<String> = [(errors, "error"), (warnings, "warning"), (notes, "note")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if parts.is_empty() {
        out.push_str("Check complete, no warnings found.\n");
        return out;
    }
    let _ = write!(out, "Check complete: {}", parts.join(", "));
    if fixable > 0 {
        let _ = write!(out, "; {fixable} can be mended with crossdock check --fix");
    }
    out.push('\n');
    out
}

fn findings(count: usize) -> String {
    format!("{count} finding{}", if count == 1 { "" } else { "s" })
}

/// Writes the mended file in its place, also behind a link, with the mode it had.
fn write_back(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::because(format!("cannot write {}", path.display()), error);
    let path = fs_err::canonicalize(path).map_err(failed)?;
    let permissions = fs_err::metadata(&path).map_err(failed)?.permissions();
    super::write_file(&path, text.as_bytes())?;
    fs_err::set_permissions(&path, permissions).map_err(failed)
}
