//! The documentation of the rules, made of their table.

use std::fmt::Write;

use crate::rules::{Example, Origin, Rule};
use crate::{rules, severity_name};

/// The pages by file name, the index among them.
pub fn pages() -> Vec<(String, String)> {
    let index = ("README.md".to_owned(), index());
    std::iter::once(index)
        .chain(rules().map(|rule| (format!("{}.md", rule.id), page(rule))))
        .collect()
}

fn index() -> String {
    let mut out = "# Checks\n\n\
        `crossdock check` looks for these in a Dockerfile, `crossdock build` tells those of BuildKit as it builds. A rule \
        is silenced for a file with `# check=skip=RuleName` at its top (several with commas, all with `all`), for one \
        instruction with the same comment right above it. With `# check=error=true` a warning fails a build. Notes never \
        fail a check.\n\n\
        These pages are made from the table of rules (`UPDATE_REFERENCE=1 cargo test -p checks pages`).\n"
        .to_owned();
    for (origin, title) in [
        (Origin::BuildKit, "Rules that BuildKit has too, under the same names"),
        (Origin::Crossdock, "Rules that look further"),
    ] {
        let _ = writeln!(out, "\n## {title}\n\n| Rule | Severity | Fix | |\n|---|---|---|---|");
        for rule in rules().filter(|rule| rule.origin == origin) {
            let fix = if rule.fix.is_some() { "yes" } else { "" };
            let severity = severity_name(rule.severity);
            let _ = writeln!(
                out,
                "| [{0}]({0}.md) | {severity} | {fix} | {1} |",
                rule.id, rule.summary
            );
        }
    }
    out
}

fn page(rule: &Rule) -> String {
    let mut out = format!("# {}\n\n{}.\n\n{}\n", rule.id, rule.summary, rule.why);
    let origin = match rule.origin {
        Origin::BuildKit => "BuildKit's, told by builds too",
        Origin::Crossdock => "crossdock's own",
    };
    let _ = write!(out, "\nSeverity: {} · Rule: {origin}", severity_name(rule.severity));
    if rule.experimental {
        out.push_str(" · experimental");
    }
    if rule.url.is_some() {
        let _ = write!(out, " · [documentation of BuildKit's rule]({})", rule.link());
    }
    out.push('\n');
    example(&mut out, "Found", &rule.triggers);
    example(&mut out, "Not found", &rule.fine);
    if let Some(fix) = rule.fix {
        let _ = writeln!(out, "\n## Fix\n\n`crossdock check --fix` {fix}.");
    }
    let _ = writeln!(out, "\n[All checks](README.md)");
    out
}

fn example(out: &mut String, title: &str, example: &Example) {
    let _ = writeln!(out, "\n## {title}\n\n```dockerfile\n{}```", example.dockerfile);
    let mut with = Vec::new();
    if example.platform != "linux/amd64" {
        with.push(format!("for `{}`", example.platform));
    }
    if !example.ignore.is_empty() {
        with.push(format!("with a `.dockerignore` that has `{}`", example.ignore.join("`, `")));
    }
    if !example.base_has.is_empty() {
        with.push(format!("where the base image has `{}`", example.base_has.join("`, `")));
    }
    if !with.is_empty() {
        let _ = writeln!(out, "\n…{}.", with.join(", "));
    }
}
