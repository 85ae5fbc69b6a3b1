//! What `--call=` asks besides a check: the arguments of a target, the targets of a Dockerfile, and what can be asked.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dockerfile::Dockerfile;
use frontend::Outline;
use report::{Diagnostic, Severity, SourceText};
use serde_json::{Map, Value, json};

use crate::format::{location, pretty};

/// A table whose columns stand three spaces apart, as BuildKit's.
fn table(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<String, Value>>())
}

fn list(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Array(values))
}

fn every_line(lines: (usize, usize)) -> Value {
    let lines: Vec<(usize, usize)> = (lines.0..=lines.1).map(|line| (line, line)).collect();
    location(&lines)
}

/// `--call=outline,format=json`.
pub fn outline_json(outline: &Outline, source: &SourceText) -> String {
    let args = outline.args.iter().map(|argument| {
        object([
            ("name", Some(json!(argument.name))),
            ("description", argument.description.as_ref().map(|text| json!(text))),
            (
                "value",
                argument.value.as_ref().filter(|text| !text.is_empty()).map(|text| json!(text)),
            ),
            ("location", Some(every_line(argument.lines))),
        ])
    });
    let mounts = |mounts: &[frontend::OutlineMount]| {
        let mounts = mounts.iter().map(|mount| {
            object([
                ("name", Some(json!(mount.name))),
                ("required", mount.required.then_some(json!(true))),
                ("location", Some(every_line(mount.lines))),
            ])
        });
        list(mounts.collect())
    };
    pretty(&object([
        ("name", outline.name.as_ref().map(|name| json!(name))),
        ("description", outline.description.as_ref().map(|text| json!(text))),
        ("args", list(args.collect())),
        ("secrets", mounts(&outline.secrets)),
        ("ssh", mounts(&outline.ssh)),
        ("sources", Some(json!([STANDARD.encode(source.text.as_bytes())]))),
    ]))
}

/// `--call=outline` for people.
pub fn outline_text(outline: &Outline) -> String {
    let mut out = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let name = outline.name.as_deref().unwrap_or("(default)");
        let mut rows = vec![vec!["TARGET:".to_owned(), name.to_owned()]];
        if let Some(description) = &outline.description {
            rows.push(vec!["DESCRIPTION:".to_owned(), description.clone()]);
        }
        out += &table(&rows);
        out.push('\n');
    }
    let cell = |text: &Option<String>| text.clone().unwrap_or_default();
    if !outline.args.is_empty() {
        let head = ["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec();
        let rows = outline.args.iter().map(|argument| {
            vec![argument.name.clone(), cell(&argument.value), cell(&argument.description)]
        });
        out += &table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
        out.push('\n');
    }
    for (title, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if mounts.is_empty() {
            continue;
        }
        let head = vec![title.to_owned(), "REQUIRED".to_owned()];
        let rows = mounts.iter().map(|mount| {
            vec![mount.name.clone(), if mount.required { "true" } else { "" }.to_owned()]
        });
        out += &table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
        out.push('\n');
    }
    out
}

fn parsed(source: &SourceText) -> Result<Dockerfile, Vec<Diagnostic>> {
    let mut file = dockerfile::parse(source);
    file.diagnostics.retain(|found| found.severity == Severity::Error);
    if file.diagnostics.is_empty() {
        return Ok(file);
    }
    Err(file.diagnostics.into_iter().map(|found| found.in_source(source)).collect())
}

/// A stage that can be built.
struct Target<'a> {
    name: &'a str,
    description: Option<String>,
    default: bool,
    stage: &'a dockerfile::Stage,
}

fn targets(file: &Dockerfile) -> Vec<Target<'_>> {
    let last = file.stages.len().saturating_sub(1);
    let stages = file.stages.iter().enumerate().map(|(index, stage)| {
        let name = stage.from.name.as_ref().map_or("", |name| name.text.as_str());
        let about =
            |comment: &String| Some(comment.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
        let comments = stage.start.comments.iter();
        let description = if name.is_empty() { None } else { comments.clone().find_map(about) };
        Target { name, description, default: index == last, stage }
    });
    stages.collect()
}

/// `--call=targets,format=json`.
///
/// # Errors
/// What is wrong with the Dockerfile.
pub fn targets_json(source: &SourceText) -> Result<String, Vec<Diagnostic>> {
    let file = parsed(source)?;
    let targets: Vec<Value> = targets(&file)
        .into_iter()
        .map(|target| {
            object([
                ("name", (!target.name.is_empty()).then(|| json!(target.name))),
                ("default", target.default.then_some(json!(true))),
                ("description", target.description.map(|text| json!(text))),
                ("base", Some(json!(target.stage.from.base.text))),
                (
                    "platform",
                    target.stage.from.platform.as_ref().map(|platform| json!(platform.text)),
                ),
                ("location", Some(every_line(target.stage.start.lines))),
            ])
        })
        .collect();
    Ok(pretty(&json!({
        "targets": targets,
        "sources": [STANDARD.encode(source.text.as_bytes())],
    })))
}

/// `--call=targets` for people.
///
/// # Errors
/// What is wrong with the Dockerfile.
pub fn targets_text(source: &SourceText) -> Result<String, Vec<Diagnostic>> {
    let file = parsed(source)?;
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for target in targets(&file) {
        let name = match (target.name, target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![name, target.description.unwrap_or_default()]);
    }
    Ok(table(&rows))
}

/// What can be asked: name, version and description.
const CALLS: [(&str, &str, &str); 4] = [
    ("frontend.lint", "1.0.0", "Lint a Dockerfile"),
    ("frontend.outline", "1.0.0", "List the parameters of a build target"),
    ("frontend.targets", "1.0.0", "List the targets of a Dockerfile"),
    ("frontend.subrequests.describe", "1.0.0", "List what can be asked"),
];

/// `--call=subrequests.describe,format=json`.
pub fn describe_json() -> String {
    let calls: Vec<Value> = CALLS
        .into_iter()
        .map(|(name, version, description)| {
            let opts = match name {
                "frontend.outline" => {
                    json!([{ "name": "target", "description": "Target build stage" }])
                }
                _ => json!([]),
            };
            json!({
                "name": name,
                "version": version,
                "type": "rpc",
                "description": description,
                "opts": opts,
                "inputs": null,
                "metadata": [
                    { "name": "result.json", "description": "" },
                    { "name": "result.txt", "description": "" },
                ],
                "refs": null,
            })
        })
        .collect();
    pretty(&Value::Array(calls))
}

/// `--call=subrequests.describe` for people.
pub fn describe_text() -> String {
    let head = ["NAME", "VERSION", "DESCRIPTION"].map(str::to_owned).to_vec();
    let rows = CALLS.into_iter().map(|(name, version, description)| {
        [name.trim_start_matches("frontend."), version, description].map(str::to_owned).to_vec()
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}
