//! Tells `report` about the parts of an export.

use oci::Digest;
use report::{Event, VertexId};

use crate::ExportContext;

/// One part of an export, as a vertex of the progress.
pub(crate) struct Task<'a> {
    context: &'a ExportContext<'a>,
    id: VertexId,
}

impl<'a> Task<'a> {
    /// Begins a part with the given name.
    pub(crate) fn begin(context: &'a ExportContext<'a>, name: &str) -> Self {
        // Outputs of one kind have parts of one name; the moment tells them apart.
        let id =
            Digest::of(format!("export {name} {}", context.began.elapsed().as_nanos()).as_bytes());
        context.progress.event(Event::Vertex {
            id: id.clone(),
            name: name.to_owned(),
            platform: None,
            emulator: None,
        });
        context.progress.event(Event::Started { id: id.clone(), at: context.began.elapsed() });
        Self { context, id }
    }

    /// Bytes went on.
    pub(crate) fn transfer(&self, label: &str, current: u64, total: Option<u64>, done: bool) {
        let label = label.to_owned();
        self.context.progress.event(Event::Transfer {
            id: self.id.clone(),
            label,
            current,
            total,
            done,
        });
    }

    /// Ends it and passes the outcome on.
    pub(crate) fn end<T, E: std::error::Error>(self, outcome: Result<T, E>) -> Result<T, E> {
        let error = outcome.as_ref().err().map(ToString::to_string);
        self.context.progress.event(Event::Finished {
            id: self.id,
            at: self.context.began.elapsed(),
            error,
        });
        outcome
    }
}
