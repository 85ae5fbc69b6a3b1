//! A plan as people and programs read it: text, JSON, a picture.

mod json;
mod layout;
mod picture;
mod text;

#[cfg(test)]
mod tests;

use build_api::{Plan, PlannedStep, Running, StepKind, Verdict};

pub(crate) use json::json;
pub(crate) use picture::picture;
pub(crate) use text::text;

use crate::progress::clean;

/// The word for what would become of a step.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Cached => "cached",
        Verdict::Runs => "run",
        Verdict::Unknown => "unknown",
        Verdict::Read => "read",
        Verdict::Unneeded => "unneeded",
    }
}

/// What a step is, in one line: `RUN make` for `[build 2/5] RUN make`.
fn instruction(step: &PlannedStep) -> String {
    let name = match step.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, instruction)) if step.kind != StepKind::Context => instruction,
        _ => step.name.as_str(),
    };
    one_line(name)
}

/// `2/5` of `[build 2/5] RUN make`.
fn number(step: &PlannedStep) -> Option<&str> {
    let (inside, _) = step.name.strip_prefix('[')?.split_once(']')?;
    let last = inside.rsplit(' ').next()?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    last.split_once('/').is_some_and(|(at, of)| digits(at) && digits(of)).then_some(last)
}

/// White space becomes single blanks, control characters nothing that a terminal would obey.
fn one_line(text: &str) -> String {
    clean(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// At most `limit` characters.
fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// `native`, `under qemu-aarch64 7.2.22`, `does not run here`.
fn how(running: &Running) -> String {
    match running {
        Running::Native => "native".to_owned(),
        Running::Emulated(emulator) => format!("under {emulator}"),
        Running::Missing { .. } => "does not run here".to_owned(),
    }
}

/// The platforms of results, as text.
fn platforms(plan: &Plan, results: &[usize]) -> Vec<String> {
    let found = results.iter().filter_map(|at| plan.platforms.get(*at));
    found.map(|it| it.platform.to_string()).collect()
}

/// `12 steps: 4 cached, 5 to run, 3 unknown`.
fn totals(plan: &Plan) -> String {
    let count = |verdict| plan.count(None, verdict);
    let (cached, runs, unknown) =
        (count(Verdict::Cached), count(Verdict::Runs), count(Verdict::Unknown));
    let all = cached + runs + unknown;
    let plural = if all == 1 { "" } else { "s" };
    let unknown = if unknown == 0 { String::new() } else { format!(", {unknown} unknown") };
    format!("{all} step{plural}: {cached} cached, {runs} to run{unknown}")
}
