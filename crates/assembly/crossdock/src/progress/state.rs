//! What is known of a build from its events.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use oci::Platform;
use report::{Event, VertexId};

use super::text::clean;

/// Lines of a step's output that are kept to be shown.
const KEPT_LINES: usize = 24;
/// A longer line is shown in parts.
const LONGEST_LINE: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Waiting,
    Running,
    Cached,
    Done,
    Failed(String),
}

#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub(super) label: String,
    pub(super) current: u64,
    pub(super) total: Option<u64>,
    pub(super) done: bool,
    began: Duration,
    from: u64,
}

impl Transfer {
    /// Bytes each second since it began.
    pub(super) fn rate(&self, now: Duration) -> Option<u64> {
        let millis = u64::try_from(now.saturating_sub(self.began).as_millis()).ok()?;
        (millis >= 200)
            .then(|| self.current.saturating_sub(self.from).saturating_mul(1000) / millis)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub(super) name: String,
    pub(super) platform: Option<Platform>,
    pub(super) emulator: Option<String>,
    pub(super) status: Status,
    pub(super) started: Option<Duration>,
    pub(super) ended: Option<Duration>,
    pub(super) transfers: Vec<Transfer>,
    log: Lines,
    tail: VecDeque<String>,
}

impl Vertex {
    /// How long it has run, or ran.
    pub(super) fn took(&self, now: Duration) -> Duration {
        let end = self.ended.unwrap_or(now);
        self.started.map_or(Duration::ZERO, |start| end.saturating_sub(start))
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status, Status::Cached | Status::Done | Status::Failed(_))
    }

    /// The last lines of its output, at most `count`.
    pub(super) fn tail(&self, count: usize) -> impl Iterator<Item = &str> {
        self.tail.iter().skip(self.tail.len().saturating_sub(count)).map(String::as_str)
    }
}

/// Cuts output into lines. A carriage return begins the line anew, as on a terminal.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// The lines that `data` completes, cleaned.
    pub(super) fn push(&mut self, data: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in data {
            if *byte == b'\n' || self.partial.len() >= LONGEST_LINE {
                lines.push(self.take());
            }
            if *byte != b'\n' {
                self.partial.push(*byte);
            }
        }
        lines
    }

    /// What is left of a last line without end.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let bytes = std::mem::take(&mut self.partial);
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches('\r');
        clean(line.rsplit('\r').next().unwrap_or(line))
    }
}

/// All vertices, in the order in which they were announced.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) vertices: Vec<Vertex>,
    positions: BTreeMap<VertexId, usize>,
}

impl State {
    /// Takes an event in; the position of the vertex it was about. Events about unknown vertices are dropped.
    pub(super) fn apply(&mut self, event: &Event, now: Duration) -> Option<usize> {
        match event {
            Event::Vertex { id, name, platform, emulator } => {
                let vertex = Vertex {
                    name: clean(name.lines().next().unwrap_or_default()),
                    platform: platform.clone(),
                    emulator: emulator.as_deref().map(clean),
                    status: Status::Waiting,
                    started: None,
                    ended: None,
                    transfers: Vec::new(),
                    log: Lines::default(),
                    tail: VecDeque::new(),
                };
                if let Some(known) =
                    self.positions.get(id).and_then(|position| self.vertices.get_mut(*position))
                {
                    known.emulator = vertex.emulator.or(known.emulator.take());
                } else {
                    self.positions.insert(id.clone(), self.vertices.len());
                    self.vertices.push(vertex);
                }
                self.position(id)
            }
            Event::Started { id, at } => self.change(id, |vertex| {
                vertex.status = Status::Running;
                vertex.started.get_or_insert(*at);
            }),
            Event::Cached { id, at } => self.change(id, |vertex| {
                vertex.status = Status::Cached;
                vertex.started.get_or_insert(*at);
                vertex.ended = Some(*at);
            }),
            Event::Log { id, data, .. } => self.change(id, |vertex| {
                for line in vertex.log.push(data) {
                    vertex.keep(line);
                }
            }),
            Event::Transfer { id, label, current, total, done } => self.change(id, |vertex| {
                let position = vertex
                    .transfers
                    .iter()
                    .position(|transfer| transfer.label == *label)
                    .unwrap_or_else(|| {
                        let label = clean(label);
                        vertex.transfers.push(Transfer {
                            label,
                            current: 0,
                            total: None,
                            done: false,
                            began: now,
                            from: *current,
                        });
                        vertex.transfers.len() - 1
                    });
                if let Some(transfer) = vertex.transfers.get_mut(position) {
                    transfer.current = *current;
                    transfer.total = total.or(transfer.total);
                    transfer.done = *done;
                }
            }),
            Event::Finished { id, at, error } => self.change(id, |vertex| {
                if let Some(line) = vertex.log.finish() {
                    vertex.keep(line);
                }
                if vertex.status != Status::Cached || error.is_some() {
                    vertex.status =
                        error.as_ref().map_or(Status::Done, |error| Status::Failed(clean(error)));
                }
                vertex.started.get_or_insert(*at);
                vertex.ended = Some(*at);
            }),
            Event::Because { id, .. } => self.position(id),
            Event::Warning(_) | Event::Note(_) => None,
        }
    }

    /// Where a vertex is in `vertices`.
    pub(super) fn position(&self, id: &VertexId) -> Option<usize> {
        self.positions.get(id).copied()
    }

    fn change(&mut self, id: &VertexId, change: impl FnOnce(&mut Vertex)) -> Option<usize> {
        let position = self.position(id)?;
        self.vertices.get_mut(position).map(change)?;
        Some(position)
    }
}

impl Vertex {
    fn keep(&mut self, line: String) {
        if self.tail.len() == KEPT_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_into_lines_wherever_it_breaks() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.push("o\r\n10%\r20%\rdone\nca".as_bytes()), ["two", "done"]);
        assert_eq!(lines.push(b"f\xc3"), Vec::<String>::new());
        assert_eq!(lines.push(b"\xa9\n\n"), ["caf\u{e9}", ""]);
        assert_eq!(lines.push(b"\xff rest"), Vec::<String>::new());
        assert_eq!(lines.finish().as_deref(), Some("\u{fffd} rest"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_without_end_does_not_fill_the_memory() {
        let mut lines = Lines::default();
        let parts = lines.push(&vec![b'x'; 3 * LONGEST_LINE]);
        assert_eq!(parts.len(), 2);
        assert!(lines.partial.len() <= LONGEST_LINE);
    }
}
