//! Rows that change in place: one for each platform, with what runs, the last lines of its output and its transfers.
//! Steps that ran scroll by above, so that they can be read later.
//!
//! Between two frames the terminal is as it always is (cursor shown, lines wrapped), so nothing has to be restored,
//! however the program ends.

use std::fmt::Write;
use std::time::Duration;

use report::{Event, Severity};

use super::state::{State, Status, Vertex};
use super::text::{clean, columns, fit, pad, seconds, size};

const BEGIN_FRAME: &str = "\u{1b}[?2026h\u{1b}[?25l\u{1b}[?7l";
const END_FRAME: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?2026l";
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Lines of output shown below a step that runs, where there is room.
const TAIL: usize = 6;
/// Transfers shown one by one; more are added up.
const TRANSFERS: usize = 3;

pub(super) struct Tty {
    state: State,
    title: String,
    paint: Paint,
    /// What scrolls by, not yet written.
    above: Vec<String>,
    /// Lines of the frame on the screen.
    drawn: usize,
}

impl Tty {
    pub(super) fn new(title: &str, color: bool) -> Self {
        Self {
            state: State::default(),
            title: clean(title),
            paint: Paint { color },
            above: Vec::new(),
            drawn: 0,
        }
    }

    /// Takes an event in.
    pub(super) fn apply(&mut self, event: Event, now: Duration) {
        let position = self.state.apply(&event, now);
        match event {
            Event::Finished { .. } => {
                let line = position
                    .and_then(|position| self.state.vertices.get(position))
                    .and_then(|vertex| over(vertex, now, self.paint));
                self.above.extend(line);
            }
            // Those with a place are shown with their lines at the end.
            Event::Warning(warning) if warning.source.is_some() => {}
            Event::Warning(warning) => {
                let word = if warning.severity == Severity::Error { "error" } else { "warning" };
                self.above.push(format!(
                    "{} {}",
                    self.paint.yellow(word),
                    clean(&warning.to_string())
                ));
            }
            Event::Note(note) => {
                self.above.push(format!("{} {}", self.paint.bold("note"), clean(&note)));
            }
            Event::Vertex { .. }
            | Event::Because { .. }
            | Event::Started { .. }
            | Event::Cached { .. }
            | Event::Log { .. }
            | Event::Transfer { .. } => {}
        }
    }

    /// What to write to bring the screen up to date.
    pub(super) fn frame(&mut self, now: Duration, columns: usize, rows: usize) -> String {
        let lines = lines(&self.state, &self.title, now, columns, rows, self.paint);
        self.redraw(&lines)
    }

    /// What to write at the end: the rows go, what scrolled by stays.
    pub(super) fn last(&mut self, _: Duration) -> String {
        self.redraw(&[])
    }

    fn redraw(&mut self, lines: &[String]) -> String {
        if self.drawn == 0 && lines.is_empty() && self.above.is_empty() {
            return String::new();
        }
        let mut out = String::from(BEGIN_FRAME);
        if self.drawn > 0 {
            let _ = write!(out, "\r\u{1b}[{}A", self.drawn);
        }
        out.push_str("\u{1b}[J");
        if !self.above.is_empty() {
            // These stay: the terminal may wrap them.
            out.push_str("\u{1b}[?7h");
            for line in self.above.drain(..) {
                out.push_str(&line);
                out.push_str("\r\n");
            }
            out.push_str("\u{1b}[?7l");
        }
        for line in lines {
            out.push_str(line);
            out.push_str("\r\n");
        }
        out.push_str(END_FRAME);
        self.drawn = lines.len();
        out
    }
}

/// The line that stays of a step; none of one that was in the cache.
fn over(vertex: &Vertex, now: Duration, paint: Paint) -> Option<String> {
    let mark = match &vertex.status {
        Status::Done => paint.green("✔"),
        Status::Failed(_) => paint.red("✘"),
        Status::Waiting | Status::Running | Status::Cached => return None,
    };
    let platform = vertex
        .platform
        .as_ref()
        .map_or_else(String::new, |platform| format!("{} ", paint.bold(&platform.to_string())));
    Some(format!("{mark} {platform}{} {}", vertex.name, paint.dim(&seconds(vertex.took(now)))))
}

/// The vertices of one platform, or of none.
struct Row<'a> {
    label: String,
    vertices: Vec<&'a Vertex>,
}

impl<'a> Row<'a> {
    fn running(&self) -> impl Iterator<Item = &'a Vertex> {
        self.vertices.iter().copied().filter(|vertex| vertex.status == Status::Running)
    }

    fn failed(&self) -> bool {
        self.vertices.iter().any(|vertex| matches!(vertex.status, Status::Failed(_)))
    }
}

/// The frame, as lines that fit into `width` columns, fewer than `height`.
pub(super) fn lines(
    state: &State,
    title: &str,
    now: Duration,
    width: usize,
    height: usize,
    paint: Paint,
) -> Vec<String> {
    let rows = rows(state);
    let over = state.vertices.iter().filter(|vertex| vertex.is_over()).count();
    let cached = state.vertices.iter().filter(|vertex| vertex.status == Status::Cached).count();
    let spinner =
        SPINNER[usize::try_from(now.as_millis() / 100).unwrap_or_default() % SPINNER.len()];
    let right =
        format!("{over}/{} steps, {cached} cached  {:>6}", state.vertices.len(), seconds(now));
    let left = width.saturating_sub(columns(&right) + 3);
    let mut out =
        vec![format!("{} {} {right}", paint.cyan(spinner), paint.bold(&pad(title, left)))];

    let label_width = rows.iter().map(|row| columns(&row.label)).max().unwrap_or_default().min(28);
    let running: usize = rows.iter().map(|row| row.running().count()).sum();
    let fixed = 2
        + rows.len()
        + running.saturating_sub(rows.iter().filter(|row| row.running().count() > 0).count());
    let room = height.saturating_sub(fixed) / running.max(1);
    for row in &rows {
        let mut first = true;
        let total = row.vertices.len();
        let done = row.vertices.iter().filter(|vertex| vertex.is_over()).count();
        let mark = match () {
            () if row.failed() => paint.red("✘"),
            () if done == total => paint.green("✔"),
            () if row.running().next().is_some() => paint.cyan(spinner),
            () => " ".to_owned(),
        };
        let head = format!(
            "{} {:>7}",
            paint.bold(&pad(&row.label, label_width)),
            format!("{done}/{total}")
        );
        let indent = label_width + 11;
        for vertex in row.running() {
            let time = seconds(vertex.took(now));
            let emulator = vertex
                .emulator
                .as_ref()
                .map_or_else(String::new, |emulator| format!("  {emulator}"));
            let space = width.saturating_sub(indent + columns(&time) + 2);
            let emulator = if columns(&vertex.name) + columns(&emulator) <= space {
                emulator
            } else {
                String::new()
            };
            let name = fit(&vertex.name, space.saturating_sub(columns(&emulator)));
            let fill = space.saturating_sub(columns(&name) + columns(&emulator)) + 1;
            let text = format!("{name}{}{:fill$}{time}", paint.dim(&emulator), "");
            out.push(if first {
                format!("{mark} {head}  {text}")
            } else {
                format!("{:indent$} {text}", "")
            });
            first = false;
            details(&mut out, vertex, now, width, room, paint);
        }
        if first {
            out.push(format!("{mark} {head}"));
        }
    }
    let limit = height.saturating_sub(1).max(1);
    if out.len() > limit {
        out.truncate(limit);
    }
    out
}

/// Transfers and the end of the output below a running step, at most `room` lines.
fn details(
    out: &mut Vec<String>,
    vertex: &Vertex,
    now: Duration,
    width: usize,
    room: usize,
    paint: Paint,
) {
    let open: Vec<_> = vertex.transfers.iter().filter(|transfer| !transfer.done).collect();
    let mut lines = Vec::new();
    if open.len() > TRANSFERS {
        let current = open.iter().map(|transfer| transfer.current).sum();
        let total = open.iter().map(|transfer| transfer.total).sum::<Option<u64>>();
        let rate = open.iter().filter_map(|transfer| transfer.rate(now)).sum();
        lines.push(transfer_line(&format!("{} transfers", open.len()), current, total, Some(rate)));
    } else {
        lines.extend(open.iter().map(|transfer| {
            transfer_line(&transfer.label, transfer.current, transfer.total, transfer.rate(now))
        }));
    }
    let tail = TAIL.min(room.saturating_sub(lines.len().min(room)));
    lines.truncate(room);
    lines.extend(vertex.tail(tail).map(str::to_owned));
    out.extend(lines.iter().map(|line| {
        format!("  {}", paint.dim(&format!("│ {}", fit(line, width.saturating_sub(4)))))
    }));
}

fn transfer_line(label: &str, current: u64, total: Option<u64>, rate: Option<u64>) -> String {
    let total = total.map_or_else(String::new, |total| format!(" / {}", size(total)));
    let rate = rate
        .filter(|rate| *rate > 0)
        .map_or_else(String::new, |rate| format!("  {}/s", size(rate)));
    format!("{label}  {}{total}{rate}", size(current))
}

/// Platforms in the order in which they came up; what belongs to none comes first.
fn rows(state: &State) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for vertex in &state.vertices {
        let label = vertex.platform.as_ref().map_or_else(|| "all".to_owned(), ToString::to_string);
        match rows.iter_mut().find(|row| row.label == label) {
            Some(row) => row.vertices.push(vertex),
            None => rows.push(Row { label, vertices: vec![vertex] }),
        }
    }
    rows.sort_by_key(|row| row.label != "all");
    rows
}

/// Colours, or none.
#[derive(Clone, Copy)]
pub(super) struct Paint {
    pub(super) color: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }
}
