//! What a user sees while a build goes on: one stream of events, shown in one of four ways.
//!
//! [`Display`] is the only part with a clock, a thread and a file; each renderer is a function of events and times.

mod plain;
mod rawjson;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod tty;

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use report::{Diagnostic, Event, Progress};

pub(crate) use summary::summary;
pub(crate) use text::{clean, seconds, size};

/// How progress is shown, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Rows that change in place.
    Tty {
        /// With colours.
        color: bool,
    },
    /// Lines.
    Plain,
    /// JSON lines.
    RawJson,
    /// Nothing.
    Quiet,
}

enum Renderer {
    Tty(Box<tty::Tty>),
    Plain(plain::Plain),
    RawJson(rawjson::RawJson),
    Quiet,
}

struct Shown {
    renderer: Renderer,
    warnings: Vec<Diagnostic>,
    notes: Vec<String>,
    finished: bool,
}

struct Shared {
    shown: Mutex<Shown>,
    wake: Condvar,
    began: Instant,
}

/// Shows events on standard error until it is finished.
pub(crate) struct Display {
    shared: Arc<Shared>,
    painter: Option<JoinHandle<()>>,
}

/// What came up that is shown once more at the end, or for the first time where the mode showed nothing.
pub(crate) struct Leftover {
    pub(crate) warnings: Vec<Diagnostic>,
}

const FRAME: Duration = Duration::from_millis(100);

impl Display {
    /// Begins. `epoch` is the present time since 1970, for JSON; `several` says that platforms must be told apart.
    pub(crate) fn new(mode: Mode, title: &str, epoch: Duration, several: bool) -> Self {
        let renderer = match mode {
            Mode::Tty { color } => Renderer::Tty(Box::new(tty::Tty::new(title, color))),
            Mode::Plain => Renderer::Plain(plain::Plain::new(several)),
            Mode::RawJson => Renderer::RawJson(rawjson::RawJson::new(epoch)),
            Mode::Quiet => Renderer::Quiet,
        };
        let shown = Mutex::new(Shown {
            renderer,
            warnings: Vec::new(),
            notes: Vec::new(),
            finished: false,
        });
        let shared = Arc::new(Shared { shown, wake: Condvar::new(), began: Instant::now() });
        Self { shared, painter: None }
    }

    /// As [`Display::new`], with a thread that repaints where the mode needs one.
    pub(crate) fn start(mode: Mode, title: &str, epoch: Duration, several: bool) -> Self {
        let mut display = Self::new(mode, title, epoch, several);
        if matches!(mode, Mode::Tty { .. }) {
            let shared = Arc::clone(&display.shared);
            display.painter = thread::Builder::new()
                .name("progress".to_owned())
                .spawn(move || paint(&shared))
                .ok();
        }
        display
    }

    /// Ends: the last state is written, and the terminal is as it was.
    pub(crate) fn finish(mut self) -> Leftover {
        self.shared.lock().finished = true;
        self.shared.wake.notify_all();
        if let Some(painter) = self.painter.take() {
            // A painter that panicked has nothing more to show.
            drop(painter.join());
        }
        let mut shown = self.shared.lock();
        let now = self.shared.began.elapsed();
        match &mut shown.renderer {
            Renderer::Tty(tty) => show(&tty.last(now)),
            Renderer::Plain(plain) => show(&plain.finish()),
            Renderer::RawJson(_) | Renderer::Quiet => {}
        }
        Leftover { warnings: std::mem::take(&mut shown.warnings) }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Display {
    fn event(&self, event: Event) {
        let now = self.shared.began.elapsed();
        let mut shown = self.shared.lock();
        if let Event::Warning(warning) = &event {
            if shown.warnings.contains(warning) {
                return;
            }
            shown.warnings.push(warning.clone());
        }
        if let Event::Note(note) = &event {
            if shown.notes.contains(note) {
                return;
            }
            shown.notes.push(note.clone());
        }
        match &mut shown.renderer {
            Renderer::Tty(tty) => tty.apply(event, now),
            Renderer::Plain(plain) => show(&plain.apply(event, now)),
            Renderer::RawJson(json) => show(&json.apply(&event, now)),
            Renderer::Quiet => {}
        }
    }
}

/// Repaints until the end, ten times a second.
fn paint(shared: &Shared) {
    let mut shown = shared.lock();
    // A build that is over in a moment needs no rows.
    shown = shared.wake.wait_timeout(shown, FRAME).unwrap_or_else(PoisonError::into_inner).0;
    while !shown.finished {
        if let Renderer::Tty(tty) = &mut shown.renderer {
            let (columns, rows) = text::terminal_size();
            show(&tty.frame(shared.began.elapsed(), columns, rows));
        }
        shown = shared.wake.wait_timeout(shown, FRAME).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Writes to standard error. Where nobody reads it any more, the build goes on.
fn show(text: &str) {
    if !text.is_empty() {
        let mut stderr = io::stderr().lock();
        drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
    }
}
