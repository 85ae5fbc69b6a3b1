use std::time::Duration;

use oci::{Digest, Platform};

use crate::Diagnostic;

/// Identifies a vertex of the build graph, or a step of an export. For LLB vertices it is the operation's digest.
pub type VertexId = Digest;

/// Which stream a step wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Something happened in a build. Times are since the build began.
#[derive(Clone, Debug)]
pub enum Event {
    /// A vertex is part of this build. Comes before anything else about it.
    Vertex {
        /// Which.
        id: VertexId,
        /// As a user knows it: `[build 2/5] RUN make`.
        name: String,
        /// What it runs for, where that matters.
        platform: Option<Platform>,
        /// Emulator it runs under, `qemu-aarch64 10.0.2`, where it is not native.
        emulator: Option<String>,
    },
    /// Why it is about to run although an earlier build had it. Comes before [`Event::Started`].
    Because {
        /// Which.
        id: VertexId,
        /// `src/main.c changed`.
        reason: String,
    },
    /// Its work began.
    Started {
        /// Which.
        id: VertexId,
        /// When.
        at: Duration,
    },
    /// Its result was found in the cache.
    Cached {
        /// Which.
        id: VertexId,
        /// When.
        at: Duration,
    },
    /// It wrote something.
    Log {
        /// Which.
        id: VertexId,
        /// To where.
        stream: Output,
        /// What; not necessarily whole lines.
        data: Vec<u8>,
    },
    /// A transfer or other countable part of a vertex went on.
    Transfer {
        /// Of which vertex.
        id: VertexId,
        /// What of it: `sha256:0123456789ab`, `context`.
        label: String,
        /// Bytes done.
        current: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
        /// Nothing more will come for this label.
        done: bool,
    },
    /// It ended.
    Finished {
        /// Which.
        id: VertexId,
        /// When.
        at: Duration,
        /// Why it failed, if it did.
        error: Option<String>,
    },
    /// Something a user should know, once.
    Warning(Diagnostic),
    /// A line for the user that belongs to no vertex.
    Note(String),
}

/// Takes events, from any thread, in the order in which each thread sends them.
pub trait Progress: Send + Sync {
    /// Must not block for long.
    fn event(&self, event: Event);
}

/// Drops all events.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event) {}
}
