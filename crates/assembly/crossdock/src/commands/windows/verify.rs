//! `crossdock windows verify`.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use report::{DescribedRule, Diagnostic, SourceText, Span};
use serde_json::{Value, json};
use windows_image::{Base, Finding, Severity, Subject, guess_base, rules, verify as check};

use super::image::{Looked, Part, look};
use crate::args::{BaseKind, VerifyArgs};
use crate::commands::print;
use crate::failure::Failure;
use crate::findings::{self, FindingsFormat};
use crate::session::Session;

/// Where the rules are explained.
const PAGE: &str =
    "https://github.com/crossdock/crossdock/blob/main/docs/reference/windows-rules.md";

/// One image with what is wrong with it.
struct Checked<'a> {
    part: &'a Part,
    base: Base,
    because: &'static str,
    findings: Vec<Finding>,
}

/// Checks an image; its exit code is 1 when there are errors.
pub(super) fn verify(args: &VerifyArgs, session: &Session<'_>) -> Result<(), Failure> {
    let looked = look(&args.image, session)?;
    let checked: Vec<Checked<'_>> =
        looked.parts.iter().map(|part| judge(part, args.base)).collect();
    let text = match args.format {
        FindingsFormat::Text => text(&looked, &checked, colors(session)),
        FindingsFormat::Json => json_of(&looked, &checked),
        format => {
            let list: Vec<Diagnostic> = checked.iter().flat_map(diagnostics).collect();
            let rules: Vec<DescribedRule> = rules()
                .map(|(id, title)| DescribedRule {
                    id,
                    title,
                    page: Some(format!("{PAGE}#{}", id.to_lowercase())),
                    ..DescribedRule::default()
                })
                .collect();
            findings::write(format, &rules, &list, false)
        }
    };
    print(&text)?;
    if count(&checked, Severity::Error) > 0 { Err(Failure::Exit(1)) } else { Ok(()) }
}

fn colors(session: &Session<'_>) -> bool {
    io::stdout().is_terminal() && session.environment.wants_color()
}

fn judge(part: &Part, base: Option<BaseKind>) -> Checked<'_> {
    let (base, because) = match base {
        Some(BaseKind::Nanoserver) => (Base::NanoServer, "--base says so"),
        Some(BaseKind::Servercore) => (Base::ServerCore, "--base says so"),
        Some(BaseKind::Server) => (Base::Server, "--base says so"),
        Some(BaseKind::Hpc) => (Base::HostProcess, "--base says so"),
        None => guess_base(part.config.as_ref(), part.base_name(), &part.contents),
    };
    let findings = check(Subject {
        config: part.config.as_ref(),
        platform: part.platform.as_ref(),
        layers: part.layers(),
        contents: &part.contents,
        base,
    });
    Checked { part, base, because, findings }
}

fn count(checked: &[Checked<'_>], severity: Severity) -> usize {
    checked.iter().flat_map(|it| &it.findings).filter(|it| it.severity == severity).count()
}

fn place(finding: &Finding) -> String {
    match (finding.layer, finding.path.as_str()) {
        (Some(layer), "") => format!("layer {layer}"),
        (Some(layer), path) => format!("layer {layer}: {path}"),
        (None, path) => path.to_owned(),
    }
}

fn text(looked: &Looked, checked: &[Checked<'_>], color: bool) -> String {
    let paint = |severity: Severity, text: &str| match (color, severity) {
        (false, _) => text.to_owned(),
        (true, Severity::Error) => format!("\u{1b}[1;31m{text}\u{1b}[0m"),
        (true, Severity::Warning) => format!("\u{1b}[1;33m{text}\u{1b}[0m"),
        (true, Severity::Note) => format!("\u{1b}[1m{text}\u{1b}[0m"),
    };
    let mut out = String::new();
    for one in checked {
        let contents = &one.part.contents;
        let programs = contents.files.values().filter(|file| file.program.is_some()).count();
        let read = contents.layers.iter().filter(|layer| layer.was_read).count();
        let _ = writeln!(
            out,
            "{} {}: {} of {} layers read, {} files, {programs} programs and libraries; base {} ({})",
            looked.name,
            one.part.title(),
            read,
            contents.layers.len(),
            contents.files.len(),
            one.base.word(),
            one.because,
        );
        for finding in &one.findings {
            let head = format!("{}[{}]", finding.severity.word(), finding.rule);
            let _ = writeln!(out, "{} {}", paint(finding.severity, &head), place(finding));
            let _ = writeln!(out, "  {}", finding.what);
            if let Some(help) = &finding.help {
                let _ = writeln!(out, "  help: {help}");
            }
        }
    }
    let number = |severity| count(checked, severity);
    let _ = writeln!(
        out,
        "{} errors, {} warnings, {} notes",
        number(Severity::Error),
        number(Severity::Warning),
        number(Severity::Note)
    );
    out
}

fn json_of(looked: &Looked, checked: &[Checked<'_>]) -> String {
    let finding = |finding: &Finding| {
        json!({
            "rule": finding.rule, "severity": finding.severity.word(), "layer": finding.layer,
            "path": finding.path, "message": finding.what, "help": finding.help,
        })
    };
    let images = checked.iter().map(|one| {
        let contents = &one.part.contents;
        let layers = contents.layers.iter().map(|layer| {
            json!({ "read": layer.was_read, "diff_id": layer.diff_id, "size": layer.size, "members": layer.members })
        });
        json!({
            "platform": one.part.title(), "digest": one.part.digest,
            "base": { "kind": one.base.word(), "because": one.because },
            "files": contents.files.len(), "layers": layers.collect::<Vec<Value>>(),
            "findings": one.findings.iter().map(finding).collect::<Vec<Value>>(),
        })
    });
    let document = json!({
        "image": looked.name, "images": images.collect::<Vec<Value>>(),
        "errors": count(checked, Severity::Error), "warnings": count(checked, Severity::Warning),
        "notes": count(checked, Severity::Note),
    });
    format!("{document:#}\n")
}

/// As the other checkers' findings, for what all of them are written as.
fn diagnostics<'a>(checked: &'a Checked<'_>) -> impl Iterator<Item = Diagnostic> + 'a {
    let title = checked.part.title();
    checked.findings.iter().map(move |finding| {
        let layer = finding.layer.map(|layer| format!(", layer {layer}")).unwrap_or_default();
        let name =
            if finding.path.is_empty() { "manifest".to_owned() } else { finding.path.clone() };
        Diagnostic {
            severity: match finding.severity {
                Severity::Note => report::Severity::Note,
                Severity::Warning => report::Severity::Warning,
                Severity::Error => report::Severity::Error,
            },
            rule: Some(finding.rule),
            message: format!("{} ({title}{layer})", finding.what),
            source: Some(SourceText { name, text: "".into() }),
            span: Span::new(0, 0),
            hint: finding.help.clone(),
        }
    })
}
