//! Findings for other programs: SARIF 2.1.0, which code hosts read, and the annotations of GitHub's workflows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Diagnostic, Places, Region, Severity};

/// A rule, as a report describes it.
#[derive(Clone, Debug, Default)]
pub struct DescribedRule {
    /// As in [`Diagnostic::rule`].
    pub id: &'static str,
    /// In one line.
    pub title: &'static str,
    /// Why there is such a rule.
    pub explanation: Option<&'static str>,
    /// Where it is explained.
    pub page: Option<String>,
    /// How much it weighs where nothing says otherwise.
    pub severity: Option<Severity>,
}

/// What findings without a rule are listed under.
const NO_RULE: DescribedRule = DescribedRule {
    id: "error",
    title: "The input can be used",
    explanation: None,
    page: None,
    severity: Some(Severity::Error),
};

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Finds regions; the lines of a text are looked for once, however many findings are in it.
#[derive(Default)]
struct Regions<'f> {
    texts: BTreeMap<&'f str, Places<'f>>,
}

impl<'f> Regions<'f> {
    /// `None` where there is no text to be in.
    fn of(&mut self, finding: &'f Diagnostic) -> Option<Region> {
        let source = finding.source.as_ref().filter(|source| !source.text.is_empty())?;
        let places = self.texts.entry(&source.name).or_insert_with(|| Places::of(source));
        Some(places.region(finding.span))
    }
}

/// A log of SARIF 2.1.0 with the rules that found something.
pub fn sarif<'r>(
    rules: impl IntoIterator<Item = &'r DescribedRule>,
    findings: &[Diagnostic],
) -> String {
    let found = |rule: &&DescribedRule| findings.iter().any(|it| it.rule == Some(rule.id));
    let without = findings.iter().any(|finding| finding.rule.is_none());
    let used: Vec<&DescribedRule> =
        rules.into_iter().filter(found).chain(without.then_some(&NO_RULE)).collect();
    let described: Vec<Value> = used.iter().map(|rule| described(rule)).collect();
    let mut regions = Regions::default();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let id = finding.rule.unwrap_or(NO_RULE.id);
            let mut result = json!({
                "ruleId": id,
                "level": word(finding.severity),
                "message": { "text": with_hint(finding) },
            });
            if let Some(index) = used.iter().position(|rule| rule.id == id) {
                result["ruleIndex"] = json!(index);
            }
            if let Some(source) = &finding.source {
                let mut place = json!({ "artifactLocation": { "uri": uri(&source.name) } });
                if let Some(region) = regions.of(finding) {
                    place["region"] = json_region(region);
                }
                result["locations"] = json!([{ "physicalLocation": place }]);
            }
            result
        })
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "crossdock",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": described,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{document:#}\n")
}

fn described(rule: &DescribedRule) -> Value {
    let mut value = json!({ "id": rule.id, "shortDescription": { "text": rule.title } });
    if let Some(explanation) = rule.explanation {
        value["fullDescription"] = json!({ "text": explanation });
        value["help"] = json!({ "text": explanation });
    }
    if let Some(page) = &rule.page {
        value["helpUri"] = json!(page);
    }
    if let Some(severity) = rule.severity {
        value["defaultConfiguration"] = json!({ "level": word(severity) });
    }
    value
}

/// A list of findings: rule, severity, message, hint, file and region, each where there is one.
pub fn json_findings(findings: &[Diagnostic]) -> Vec<Value> {
    let mut regions = Regions::default();
    let one = |finding| {
        let finding: &Diagnostic = finding;
        let mut value = json!({ "severity": word(finding.severity), "message": finding.message });
        if let Some(rule) = finding.rule {
            value["rule"] = json!(rule);
        }
        if let Some(hint) = &finding.hint {
            value["hint"] = json!(hint);
        }
        if let Some(source) = &finding.source {
            value["file"] = json!(source.name);
        }
        value
    };
    let list = findings.iter().map(|finding| {
        let mut value = one(finding);
        if let Some(region) = regions.of(finding) {
            value["region"] = json_region(region);
        }
        value
    });
    list.collect()
}

fn json_region(region: Region) -> Value {
    json!({
        "startLine": region.line,
        "startColumn": region.column,
        "endLine": region.end_line,
        "endColumn": region.end_column,
    })
}

fn with_hint(finding: &Diagnostic) -> String {
    match &finding.hint {
        Some(hint) => format!("{}\n{hint}", finding.message),
        None => finding.message.clone(),
    }
}

/// A path as a relative reference of RFC 3986.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.extend(["%".to_owned(), format!("{byte:02X}")]);
        }
    }
    uri
}

/// Commands of GitHub's workflows, `::error file=…,line=…::message`, one line for each finding.
pub fn github(findings: &[Diagnostic]) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let value = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut regions = Regions::default();
    let mut out = String::new();
    for finding in findings {
        let mut settings = Vec::new();
        if let Some(source) = &finding.source {
            settings.push(format!("file={}", value(source.name.trim_start_matches("./"))));
        }
        if let Some(region) = regions.of(finding) {
            let Region { line, column, end_line, .. } = region;
            settings.push(format!("line={line},endLine={end_line},col={column}"));
        }
        settings.push(format!("title={}", value(finding.rule.unwrap_or("crossdock"))));
        let command = match finding.severity {
            Severity::Note => "notice",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        let text = data(&with_hint(finding));
        out.extend(["::", command, " ", &settings.join(","), "::", &text, "\n"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SourceText, Span};

    fn finding() -> Diagnostic {
        let source =
            SourceText { name: "./a b/pod.yaml".into(), text: "kind: Pod\nspec: x\n".into() };
        Diagnostic::warning("R1", "no, 100%", Span::new(10, 14)).in_source(&source).hint("mend it")
    }

    #[test]
    fn sarif_has_rule_level_and_place() {
        let rules = ["R0", "R1"].map(|id| DescribedRule { id, ..DescribedRule::default() });
        let wrong = Diagnostic::error("broken", Span::default());
        let log: Value = serde_json::from_str(&sarif(&rules, &[finding(), wrong])).expect("JSON");
        let run = &log["runs"][0];
        let ids: Vec<&Value> = run["tool"]["driver"]["rules"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| &it["id"])
            .collect();
        assert_eq!(ids, ["R1", "error"]);
        let result = &run["results"][0];
        assert_eq!((&result["ruleId"], &result["ruleIndex"]), (&json!("R1"), &json!(0)));
        assert_eq!(result["message"]["text"], "no, 100%\nmend it");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b/pod.yaml");
        let region = json!({ "startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 5 });
        assert_eq!(place["region"], region);
        assert_eq!(run["results"][1]["ruleIndex"], 1);
    }

    #[test]
    fn annotations_and_json_have_them_too() {
        assert_eq!(
            github(&[finding()]),
            "::warning file=a b/pod.yaml,line=2,endLine=2,col=1,title=R1::no, 100%25%0Amend it\n"
        );
        let list = json_findings(&[finding()]);
        assert_eq!(list[0]["rule"], "R1");
        assert_eq!(list[0]["region"]["startLine"], 2);
    }
}
