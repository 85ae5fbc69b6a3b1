//! How findings of checkers are written: for people, as JSON, as SARIF 2.1.0, and as annotations of GitHub's workflows.

use report::{Diagnostic, Severity, SourceText};
use serde_json::{Map, Value, json};

use crate::failure;

/// In which form findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FindingsFormat {
    /// With the lines they are about
    #[default]
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0, which code hosts read
    Sarif,
    /// Commands of GitHub Actions that annotate a change
    Github,
}

/// A rule, as a report describes it.
pub(crate) struct FindingRule {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// Where it is explained.
    pub(crate) page: Option<String>,
}

/// Findings as text in the asked form. What has no source has no place.
pub(crate) fn write(
    format: FindingsFormat,
    rules: &[FindingRule],
    findings: &[Diagnostic],
    color: bool,
) -> String {
    match format {
        FindingsFormat::Text => failure::all_diagnostics(findings, color),
        FindingsFormat::Json => {
            let list: Vec<Value> = findings.iter().map(json_of).collect();
            format!("{:#}\n", json!({ "findings": list }))
        }
        FindingsFormat::Sarif => sarif(rules, findings),
        FindingsFormat::Github => findings.iter().map(github).collect(),
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Lines and columns from 1; the end is one past the last.
fn region(source: &SourceText, finding: &Diagnostic) -> Value {
    let (line, column) = source.line_column(finding.span.start);
    let (end_line, end_column) = source.line_column(finding.span.end.max(finding.span.start));
    json!({ "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column })
}

fn json_of(finding: &Diagnostic) -> Value {
    let mut value = Map::new();
    let mut put = |key: &str, item: Value| drop(value.insert(key.to_owned(), item));
    if let Some(rule) = finding.rule {
        put("rule", json!(rule));
    }
    put("severity", json!(word(finding.severity)));
    put("message", json!(finding.message));
    if let Some(hint) = &finding.hint {
        put("hint", json!(hint));
    }
    if let Some(source) = &finding.source {
        put("file", json!(source.name));
        if !source.text.is_empty() {
            put("region", region(source, finding));
        }
    }
    Value::Object(value)
}

fn sarif(rules: &[FindingRule], findings: &[Diagnostic]) -> String {
    let described = rules.iter().map(|rule| {
        let mut value = json!({ "id": rule.id, "shortDescription": { "text": rule.title } });
        if let (Some(page), Some(fields)) = (&rule.page, value.as_object_mut()) {
            fields.insert("helpUri".to_owned(), json!(page));
        }
        value
    });
    let results = findings.iter().map(|finding| {
        let message = match &finding.hint {
            Some(hint) => format!("{}\n{hint}", finding.message),
            None => finding.message.clone(),
        };
        let mut value = json!({ "level": word(finding.severity), "message": { "text": message } });
        let Some(fields) = value.as_object_mut() else { return value };
        if let Some(id) = finding.rule {
            fields.insert("ruleId".to_owned(), json!(id));
            if let Some(index) = rules.iter().position(|rule| rule.id == id) {
                fields.insert("ruleIndex".to_owned(), json!(index));
            }
        }
        if let Some(source) = &finding.source {
            let mut place = json!({ "artifactLocation": { "uri": uri(&source.name) } });
            if let (false, Some(place)) = (source.text.is_empty(), place.as_object_mut()) {
                place.insert("region".to_owned(), region(source, finding));
            }
            fields.insert("locations".to_owned(), json!([{ "physicalLocation": place }]));
        }
        value
    });
    let driver = json!({
        "name": "crossdock",
        "version": env!("CARGO_PKG_VERSION"),
        "rules": described.collect::<Vec<Value>>(),
    });
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results.collect::<Vec<Value>>() }],
    });
    format!("{document:#}\n")
}

/// A path as a relative reference of RFC 3986.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.extend(["%".to_owned(), format!("{byte:02X}")]);
        }
    }
    uri
}

/// `::error file=…,line=…::message`: line ends and the separators are percent-encoded.
fn github(finding: &Diagnostic) -> String {
    let text = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let value = |value: &str| text(value).replace(':', "%3A").replace(',', "%2C");
    let command = match finding.severity {
        Severity::Note => "notice",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut settings = Vec::new();
    if let Some(source) = &finding.source {
        settings.push(format!("file={}", value(source.name.trim_start_matches("./"))));
        if !source.text.is_empty() {
            let (line, column) = source.line_column(finding.span.start);
            let (end_line, _) = source.line_column(finding.span.end.max(finding.span.start));
            settings.push(format!("line={line},endLine={end_line},col={column}"));
        }
    }
    if let Some(rule) = finding.rule {
        settings.push(format!("title={}", value(rule)));
    }
    let hint = finding.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("::{command} {}::{}{}\n", settings.join(","), text(&finding.message), text(&hint))
}

#[cfg(test)]
mod tests {
    use report::Span;

    use super::*;

    fn finding() -> Diagnostic {
        let source =
            SourceText { name: "./a b/pod.yaml".into(), text: "kind: Pod\nspec: x\n".into() };
        Diagnostic::warning("R1", "no, 100%", Span::new(10, 14)).in_source(&source).hint("mend it")
    }

    #[test]
    fn sarif_has_rule_level_and_place() {
        let rules = [FindingRule { id: "R1", title: "a rule", page: None }];
        let log = write(FindingsFormat::Sarif, &rules, &[finding()], false);
        let log: Value = serde_json::from_str(&log).expect("JSON");
        let result = &log["runs"][0]["results"][0];
        assert_eq!(log["version"], "2.1.0");
        assert_eq!((&result["ruleId"], &result["ruleIndex"]), (&json!("R1"), &json!(0)));
        assert_eq!(
            (&result["level"], &result["message"]["text"]),
            (&json!("warning"), &json!("no, 100%\nmend it"))
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/pod.yaml");
        assert_eq!(
            place["region"],
            json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 5 })
        );
    }

    #[test]
    fn github_and_json_have_them_too() {
        assert_eq!(
            write(FindingsFormat::Github, &[], &[finding()], false),
            "::warning file=a b/pod.yaml,line=2,endLine=2,col=1,title=R1::no, 100%25 (mend it)\n"
        );
        let document = write(FindingsFormat::Json, &[], &[finding()], false);
        let document: Value = serde_json::from_str(&document).expect("JSON");
        assert_eq!(document["findings"][0]["rule"], "R1");
        assert_eq!(document["findings"][0]["region"]["startLine"], 2);
    }
}
