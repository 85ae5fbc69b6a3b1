//! Findings for machines: BuildKit's JSON, SARIF, and the annotations of GitHub's workflows.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use report::{DescribedRule, Diagnostic};
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
        .filter(|finding| finding.counts_for_buildkit())
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
    let described: Vec<DescribedRule> = rules()
        .map(|rule| DescribedRule {
            id: rule.id,
            title: rule.summary,
            explanation: Some(rule.why),
            page: Some(rule.link()),
            severity: Some(rule.severity),
        })
        .collect();
    report::sarif(&described, &diagnostics(report))
}

/// One command of a GitHub workflow for each finding.
pub fn github(report: &Report) -> String {
    report::github(&diagnostics(report))
}

/// The findings as everything else tells them, weighed as they are here.
fn diagnostics(report: &Report) -> Vec<Diagnostic> {
    let one = |finding: &Finding| Diagnostic {
        severity: finding.severity,
        rule: finding.rule.map(|rule| rule.id),
        ..finding.diagnostic.clone().in_source(&report.source)
    };
    report.findings.iter().map(one).collect()
}
