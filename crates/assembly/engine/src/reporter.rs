//! Tells what happens, with the time since the build began.

use std::time::Instant;

use oci::Platform;
use report::{Event, Output, Progress, VertexId};

#[derive(Clone, Copy)]
pub(crate) struct Reporter<'a> {
    pub(crate) progress: &'a dyn Progress,
    pub(crate) began: Instant,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, began: Instant::now() }
    }

    pub(crate) fn vertex(
        &self,
        id: &VertexId,
        name: &str,
        platform: Option<Platform>,
        emulator: Option<String>,
    ) {
        self.progress.event(Event::Vertex {
            id: id.clone(),
            name: name.to_owned(),
            platform,
            emulator,
        });
    }

    pub(crate) fn because(&self, id: &VertexId, reason: String) {
        self.progress.event(Event::Because { id: id.clone(), reason });
    }

    pub(crate) fn started(&self, id: &VertexId) {
        self.progress.event(Event::Started { id: id.clone(), at: self.began.elapsed() });
    }

    pub(crate) fn cached(&self, id: &VertexId) {
        self.progress.event(Event::Cached { id: id.clone(), at: self.began.elapsed() });
    }

    pub(crate) fn finished(&self, id: &VertexId, error: Option<String>) {
        self.progress.event(Event::Finished { id: id.clone(), at: self.began.elapsed(), error });
    }

    pub(crate) fn log(&self, id: &VertexId, stream: Output, data: &[u8]) {
        self.progress.event(Event::Log { id: id.clone(), stream, data: data.to_vec() });
    }

    pub(crate) fn transfer(
        &self,
        id: &VertexId,
        label: &str,
        current: u64,
        total: Option<u64>,
        done: bool,
    ) {
        self.progress.event(Event::Transfer {
            id: id.clone(),
            label: label.to_owned(),
            current,
            total,
            done,
        });
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.progress.event(Event::Note(text.into()));
    }
}

/// Shared text of a step's log: the last lines in memory, all of it in a file.
pub(crate) struct StepLog {
    pub(crate) path: std::path::PathBuf,
    file: Option<fs_err::File>,
    tail: std::collections::VecDeque<String>,
    line: Vec<u8>,
}

const TAIL_LINES: usize = 20;
const LINE_LIMIT: usize = 4096;

impl StepLog {
    pub(crate) fn new(path: std::path::PathBuf) -> Self {
        Self { path, file: None, tail: std::collections::VecDeque::new(), line: Vec::new() }
    }

    /// Adds output. A log that cannot be written does not end the step.
    pub(crate) fn add(&mut self, data: &[u8]) {
        if self.file.is_none() {
            let parent = self.path.parent().map(fs_err::create_dir_all);
            if let Some(Ok(())) = parent {
                self.file = fs_err::File::create(&self.path).ok();
            }
        }
        if let Some(file) = &mut self.file {
            drop(std::io::Write::write_all(file, data));
        }
        for &byte in data {
            if byte == b'\n' {
                self.end_line();
            } else if self.line.len() < LINE_LIMIT {
                self.line.push(byte);
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end_matches('\r').to_owned();
        self.line.clear();
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines, and the file if anything was written to it.
    pub(crate) fn finish(mut self) -> (Vec<String>, Option<std::path::PathBuf>) {
        if !self.line.is_empty() {
            self.end_line();
        }
        (self.tail.into(), self.file.map(|_| self.path))
    }
}
