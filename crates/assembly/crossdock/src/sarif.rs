//! SARIF 2.1.0, the format in which code hosts take findings of any checker.

use report::{SourceText, Span};
use serde_json::{Value, json};

/// A rule, as the log describes it.
pub(crate) struct SarifRule<'a> {
    pub(crate) id: &'a str,
    pub(crate) title: &'a str,
    /// Page that explains it.
    pub(crate) page: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SarifLevel {
    Note,
    Warning,
    Error,
}

/// Where a finding is.
pub(crate) enum SarifPlace<'a> {
    /// A range of a text; its name is the path.
    Text(&'a SourceText, Span),
    /// A file, or another thing that has a name, as a whole.
    Named(&'a str),
}

/// One finding.
pub(crate) struct SarifFinding<'a> {
    pub(crate) rule: &'a str,
    pub(crate) level: SarifLevel,
    pub(crate) message: String,
    pub(crate) place: SarifPlace<'a>,
}

/// The log of one run, as text.
pub(crate) fn log(rules: &[SarifRule<'_>], findings: &[SarifFinding<'_>]) -> String {
    let described = rules.iter().map(|rule| {
        let mut value = json!({ "id": rule.id, "shortDescription": { "text": rule.title } });
        if let (Some(page), Some(fields)) = (&rule.page, value.as_object_mut()) {
            fields.insert("helpUri".to_owned(), json!(page));
        }
        value
    });
    let results = findings.iter().map(|finding| {
        let level = match finding.level {
            SarifLevel::Note => "note",
            SarifLevel::Warning => "warning",
            SarifLevel::Error => "error",
        };
        let mut value = json!({
            "ruleId": finding.rule,
            "level": level,
            "message": { "text": finding.message },
            "locations": [{ "physicalLocation": place(&finding.place) }],
        });
        let index = rules.iter().position(|rule| rule.id == finding.rule);
        if let (Some(index), Some(fields)) = (index, value.as_object_mut()) {
            fields.insert("ruleIndex".to_owned(), json!(index));
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

fn place(place: &SarifPlace<'_>) -> Value {
    match place {
        SarifPlace::Named(name) => json!({ "artifactLocation": { "uri": uri(name) } }),
        SarifPlace::Text(source, span) => {
            let (line, column) = source.line_column(span.start);
            let (end_line, end_column) = source.line_column(span.end.max(span.start));
            json!({
                "artifactLocation": { "uri": uri(&source.name) },
                "region": {
                    "startLine": line,
                    "startColumn": column,
                    "endLine": end_line,
                    "endColumn": end_column,
                },
            })
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_rule_level_and_place() {
        let source = SourceText { name: "./a b/Dockerfile".into(), text: "FROM x\nRUN y\n".into() };
        let rules = [SarifRule { id: "R1", title: "a rule", page: None }];
        let findings = [SarifFinding {
            rule: "R1",
            level: SarifLevel::Warning,
            message: "no".to_owned(),
            place: SarifPlace::Text(&source, Span::new(7, 10)),
        }];
        let log: Value = serde_json::from_str(&log(&rules, &findings)).expect("JSON");
        let result = &log["runs"][0]["results"][0];
        assert_eq!(log["version"], "2.1.0");
        assert_eq!((&result["ruleId"], &result["ruleIndex"]), (&json!("R1"), &json!(0)));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/Dockerfile");
        assert_eq!(place["region"], json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 4 }));
    }
}
