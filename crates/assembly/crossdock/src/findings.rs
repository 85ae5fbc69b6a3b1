//! In which form findings of checkers are written.

use report::{DescribedRule, Diagnostic};
use serde_json::json;

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

/// Findings as text in the asked form. What has no source has no place.
pub(crate) fn write(
    format: FindingsFormat,
    rules: &[DescribedRule],
    findings: &[Diagnostic],
    color: bool,
) -> String {
    match format {
        FindingsFormat::Text => failure::all_diagnostics(findings, color),
        FindingsFormat::Json => {
            format!("{:#}\n", json!({ "findings": report::json_findings(findings) }))
        }
        FindingsFormat::Sarif => report::sarif(rules, findings),
        FindingsFormat::Github => report::github(findings),
    }
}
