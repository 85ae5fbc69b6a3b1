//! Which frontend a file is for that is no Dockerfile: BuildKit looks for `// syntax=NAME` and `{"syntax": "NAME"}` too.

use report::Span;

use crate::lines::Directive;

/// A longer text is not looked through for JSON.
const LARGEST_JSON: usize = 1 << 20;

/// The `syntax` that a file asks for in a form that other languages have. A byte order mark and a `#!` line may come first.
pub fn foreign_syntax(text: &str) -> Option<Directive> {
    let mut start = text.len() - text.trim_start_matches('\u{feff}').len();
    let rest = text.get(start..)?;
    if rest.starts_with("#!") {
        start += rest.find('\n')? + 1;
    }
    let rest = text.get(start..)?;
    let mut at = start;
    for line in rest.split_inclusive('\n') {
        let Some(remark) = line.trim().strip_prefix("//") else { break };
        let Some((name, value)) = remark.split_once('=') else { break };
        let (name, value) = (name.trim().to_lowercase(), value.trim().to_owned());
        if name == "syntax" && !value.is_empty() {
            return Some(Directive {
                name,
                value,
                span: Span::new(at, at + line.trim_end().len()),
            });
        }
        if !["check", "escape"].contains(&name.as_str()) {
            break;
        }
        at += line.len();
    }
    if rest.len() > LARGEST_JSON || !rest.trim_start().starts_with('{') {
        return None;
    }
    let document: serde_json::Value = serde_json::from_str(rest).ok()?;
    let value = document.get("syntax")?.as_str()?.to_owned();
    let first = rest.lines().next().unwrap_or_default();
    let span = Span::new(start, start + first.len());
    Some(Directive { name: "syntax".to_owned(), value, span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forms_of_other_languages_are_found() {
        for (text, expected) in [
            ("// syntax=a/b:1\nx", Some("a/b:1")),
            ("\u{feff}#!/bin/x\n//Syntax = a/b \n", Some("a/b")),
            ("// escape=`\n// syntax=a\n", Some("a")),
            ("{ \"syntax\": \"a\", \"b\": {} }", Some("a")),
            ("# syntax=a\n", None),
            ("FROM a\n// syntax=a\n", None),
            ("// remark\n// syntax=a\n", None),
            ("{ \"syntax\": 1 }", None),
            ("{ \"syntax\": \"a\"", None),
            ("#!", None),
            ("", None),
        ] {
            assert_eq!(
                foreign_syntax(text).map(|found| found.value).as_deref(),
                expected,
                "{text}"
            );
        }
        assert_eq!(foreign_syntax(&"{\"a\":".repeat(200_000)), None);
    }
}
