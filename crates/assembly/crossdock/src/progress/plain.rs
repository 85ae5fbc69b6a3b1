//! Lines for pipes and logs, in the form that `docker buildx build --progress=plain` made known.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use report::{Event, Severity};

use super::state::{Lines, State, Status};
use super::text::{clean, seconds, size};

/// A transfer shows itself this often.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);

/// Vertices get a number when they first have something to say.
#[derive(Default)]
pub(super) struct Plain {
    state: State,
    several: bool,
    numbers: BTreeMap<usize, usize>,
    logs: BTreeMap<usize, Lines>,
    transfers: BTreeMap<(usize, String), Duration>,
    last: Option<usize>,
}

impl Plain {
    /// `several` platforms are built, so that each line's must be told.
    pub(super) fn new(several: bool) -> Self {
        Self { several, ..Self::default() }
    }

    /// The lines that an event is worth.
    pub(super) fn apply(&mut self, event: Event, now: Duration) -> String {
        let mut out = String::new();
        let position = match &event {
            // Lines are cut here, none are kept.
            Event::Log { id, .. } => self.state.position(id),
            event => self.state.apply(event, now),
        };
        match (event, position) {
            (Event::Started { .. }, Some(position)) => self.header(&mut out, position),
            (Event::Because { reason, .. }, Some(position)) => {
                self.header(&mut out, position);
                let number = self.number(position);
                line(&mut out, number, &format!("runs again: {}", clean(&reason)));
            }
            (Event::Cached { .. }, Some(position)) => {
                self.header(&mut out, position);
                let number = self.number(position);
                line(&mut out, number, "CACHED");
                out.push('\n');
                self.last = None;
            }
            (Event::Log { data, .. }, Some(position)) => {
                let lines = self.logs.entry(position).or_default().push(&data);
                self.log(&mut out, position, &lines, now);
            }
            (Event::Transfer { label, current, total, done, .. }, Some(position)) => {
                let key = (position, label.clone());
                let due = self
                    .transfers
                    .get(&key)
                    .is_none_or(|last| now.saturating_sub(*last) >= TRANSFER_EVERY);
                if due && current > 0 || done {
                    self.header(&mut out, position);
                    let total = total
                        .filter(|total| !done || *total != current)
                        .map_or_else(String::new, |total| format!(" / {}", size(total)));
                    let end = if done { " done" } else { "" };
                    let number = self.number(position);
                    line(
                        &mut out,
                        number,
                        &format!("{} {}{total}{end}", clean(&label), size(current)),
                    );
                    self.transfers.insert(key, now);
                }
            }
            (Event::Finished { .. }, Some(position)) => {
                let rest: Vec<String> = self
                    .logs
                    .remove(&position)
                    .and_then(|mut lines| lines.finish())
                    .into_iter()
                    .collect();
                self.log(&mut out, position, &rest, now);
                self.finished(&mut out, position, now);
            }
            (Event::Warning(warning), _) => {
                let word = if warning.severity == Severity::Error { "error" } else { "warning" };
                let rule = warning.rule.map_or_else(String::new, |rule| format!("{rule}: "));
                let _ = writeln!(out, "{word}: {rule}{}", clean(&warning.to_string()));
                self.last = None;
            }
            (Event::Note(note), _) => {
                let _ = writeln!(out, "note: {}", clean(&note));
                self.last = None;
            }
            _ => {}
        }
        out
    }

    /// What is left when the build ends.
    pub(super) fn finish(&mut self) -> String {
        let mut out = String::new();
        for (position, mut lines) in std::mem::take(&mut self.logs) {
            let rest: Vec<String> = lines.finish().into_iter().collect();
            self.log(&mut out, position, &rest, Duration::ZERO);
        }
        out
    }

    fn finished(&mut self, out: &mut String, position: usize, now: Duration) {
        let Some(vertex) = self.state.vertices.get(position) else { return };
        let text = match &vertex.status {
            Status::Cached => return,
            Status::Failed(error) => format!("ERROR: {error}"),
            _ => format!("DONE {}", seconds(vertex.took(now))),
        };
        self.header(out, position);
        let number = self.number(position);
        line(out, number, &text);
        out.push('\n');
        self.last = None;
    }

    fn log(&mut self, out: &mut String, position: usize, lines: &[String], now: Duration) {
        if lines.is_empty() {
            return;
        }
        self.header(out, position);
        let took =
            self.state.vertices.get(position).map_or(Duration::ZERO, |vertex| vertex.took(now));
        let number = self.number(position);
        for text in lines {
            line(out, number, &format!("{:.3} {text}", took.as_secs_f64()));
        }
    }

    /// The vertex's name, when the line before was about another one.
    fn header(&mut self, out: &mut String, position: usize) {
        if self.last == Some(position) {
            return;
        }
        if self.last.is_some() {
            out.push('\n');
        }
        self.last = Some(position);
        let number = self.number(position);
        let Some(vertex) = self.state.vertices.get(position) else { return };
        let platform = vertex.platform.as_ref().filter(|_| self.several).map(ToString::to_string);
        let name = match (platform, vertex.name.strip_prefix('[')) {
            (Some(platform), Some(rest)) if !rest.starts_with(&platform) => {
                format!("[{platform} {rest}")
            }
            _ => vertex.name.clone(),
        };
        let emulator = vertex
            .emulator
            .as_ref()
            .map_or_else(String::new, |emulator| format!(" (under {emulator})"));
        line(out, number, &format!("{name}{emulator}"));
    }

    fn number(&mut self, position: usize) -> usize {
        let next = self.numbers.len() + 1;
        *self.numbers.entry(position).or_insert(next)
    }
}

fn line(out: &mut String, number: usize, text: &str) {
    let _ = writeln!(out, "#{number} {text}");
}
