//! Findings for machines: BuildKit's JSON, SARIF, and the annotations of GitHub's workflows.

use std::collections::BTreeSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Finding, Report, Severity, rules, severity_name};

/// The document of `docker buildx build --call=check,format=json`, with more fields: `severity`, `hint`, `fixable`. What is
/// simply wrong is its `buildError`.
pub fn json(report: &Report) -> String {
    let warnings: Vec<Value> = report
        .findings
        .iter()
        .filter_map(|finding| {
            let rule = finding.rule?;
            let mut warning = json!({
                "ruleName": rule.id,
                "description": rule.summary,
                "detail": detail(finding),
                "location": location(&finding.lines),
                "severity": severity_name(finding.severity),
                "fixable": finding.fix.is_some(),
            });
            if let Value::Object(fields) = &mut warning {
                if rule.url.is_some() {
                    fields.insert("url".to_owned(), json!(rule.link()));
                }
                if let Some(hint) = &finding.diagnostic.hint {
                    fields.insert("hint".to_owned(), json!(hint));
                }
            }
            Some(warning)
        })
        .collect();
    let mut document = json!({
        "warnings": warnings,
        "sources": [{
            "filename": report.source.name,
            "data": STANDARD.encode(report.source.text.as_bytes()),
            "language": "Dockerfile",
        }],
    });
    if let (Some((message, lines)), Value::Object(fields)) = (error(report), &mut document) {
        fields.insert(
            "buildError".to_owned(),
            json!({ "message": message, "location": location(&lines) }),
        );
    }
    pretty(&document)
}

/// What a build would fail with: the first error, or the rules that were broken where `error=true` forbids that.
pub fn error(report: &Report) -> Option<(String, Vec<(usize, usize)>)> {
    let wrong = |finding: &&Finding| finding.rule.is_none() && finding.severity == Severity::Error;
    if let Some(finding) = report.findings.iter().find(wrong) {
        return Some((finding.diagnostic.message.clone(), finding.lines.clone()));
    }
    let broken: BTreeSet<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .filter_map(|finding| Some(finding.rule?.id))
        .collect();
    let rules: Vec<&str> = broken.into_iter().collect();
    (report.error && !rules.is_empty())
        .then(|| (format!("lint violation found for rules: {}", rules.join(", ")), Vec::new()))
}

/// The message with BuildKit's place for a guess.
fn detail(finding: &Finding) -> String {
    match &finding.diagnostic.hint {
        Some(hint) if hint.starts_with("did you mean") => {
            format!("{} ({hint})", finding.diagnostic.message)
        }
        _ => finding.diagnostic.message.clone(),
    }
}

pub(crate) fn location(lines: &[(usize, usize)]) -> Value {
    let ranges: Vec<Value> = lines
        .iter()
        .map(|(start, end)| json!({ "start": { "line": start }, "end": { "line": end } }))
        .collect();
    if ranges.is_empty() { json!({}) } else { json!({ "ranges": ranges }) }
}

pub(crate) fn pretty(document: &Value) -> String {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    format!("{text}\n")
}

/// SARIF 2.1.0, as code scanning takes it.
pub fn sarif(report: &Report) -> String {
    let used: BTreeSet<&str> = report
        .findings
        .iter()
        .map(|finding| finding.rule.map_or("error", |rule| rule.id))
        .collect();
    let mut descriptions: Vec<Value> = Vec::new();
    let mut ids: Vec<&str> = Vec::new();
    for rule in rules().filter(|rule| used.contains(rule.id)) {
        ids.push(rule.id);
        descriptions.push(json!({
            "id": rule.id,
            "shortDescription": { "text": rule.summary },
            "fullDescription": { "text": rule.why },
            "help": { "text": format!("{}\n\n{}", rule.why, rule.link()) },
            "defaultConfiguration": { "level": severity_name(rule.severity) },
        }));
    }
    if used.contains("error") {
        ids.push("error");
        descriptions.push(json!({
            "id": "error",
            "shortDescription": { "text": "The Dockerfile can be built" },
            "defaultConfiguration": { "level": "error" },
        }));
    }
    let places = Places::of(&report.source.text);
    let results: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let id = finding.rule.map_or("error", |rule| rule.id);
            json!({
                "ruleId": id,
                "ruleIndex": ids.iter().position(|known| *known == id).unwrap_or_default(),
                "level": severity_name(finding.severity),
                "message": { "text": with_hint(finding) },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": uri(&report.source.name) },
                    "region": places.region(finding),
                } }],
            })
        })
        .collect();
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "crossdock",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": descriptions,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

/// Lines and columns of a text, found without reading it from its beginning.
struct Places<'a> {
    text: &'a str,
    /// Where lines begin.
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(breaks).collect() }
    }

    /// The line and the column of a byte, from 1.
    fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn region(&self, finding: &Finding) -> Value {
        let span = finding.diagnostic.span;
        let (line, column) = self.place(span.start);
        let (end_line, end_column) = self.place(span.end);
        json!({
            "startLine": line,
            "startColumn": column,
            "endLine": end_line,
            "endColumn": end_column,
        })
    }
}

/// A path as a relative address.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn with_hint(finding: &Finding) -> String {
    match &finding.diagnostic.hint {
        Some(hint) => format!("{}\n{hint}", finding.diagnostic.message),
        None => finding.diagnostic.message.clone(),
    }
}

/// One command of a GitHub workflow for each finding.
pub fn github(report: &Report) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let places = Places::of(&report.source.text);
    let mut out = String::new();
    for finding in &report.findings {
        let level = match finding.severity {
            Severity::Note => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let span = finding.diagnostic.span;
        let (line, column) = places.place(span.start);
        let (end, _) = places.place(span.end);
        let _ = writeln!(
            out,
            "::{level} file={},line={line},endLine={end},col={column},title={}::{}",
            property(&report.source.name),
            property(finding.rule.map_or("error", |rule| rule.id)),
            data(&with_hint(finding)),
        );
    }
    out
}
