//! JSON lines with the fields of `BuildKit`'s `SolveStatus`, as `docker buildx build --progress=rawjson` writes them.

use std::time::Duration;

use base64::Engine;
use jiff::Timestamp;
use report::{Event, Output};
use serde_json::{Value, json};

use super::state::{State, Status};

pub(super) struct RawJson {
    state: State,
    ids: Vec<String>,
    /// When the build began, since 1970.
    epoch: Duration,
}

impl RawJson {
    pub(super) fn new(epoch: Duration) -> Self {
        Self { state: State::default(), ids: Vec::new(), epoch }
    }

    /// The line that an event is worth.
    pub(super) fn apply(&mut self, event: &Event, now: Duration) -> String {
        if let Event::Vertex { id, .. } = event
            && self.state.position(id).is_none()
        {
            self.ids.push(id.to_string());
        }
        let position = match event {
            Event::Log { id, .. } => self.state.position(id),
            event => self.state.apply(event, now),
        };
        let value = match (event, position) {
            (
                Event::Vertex { .. }
                | Event::Started { .. }
                | Event::Cached { .. }
                | Event::Finished { .. },
                Some(position),
            ) => {
                json!({ "vertexes": [self.vertex(position)] })
            }
            (Event::Log { id, stream, data }, _) => {
                let stream = if *stream == Output::Stderr { 2 } else { 1 };
                json!({ "logs": [{ "vertex": id, "stream": stream, "data": base64(data), "timestamp": self.time(now) }] })
            }
            (Event::Transfer { id, label, current, total, done }, Some(_)) => {
                let mut status = json!({
                    "id": label, "vertex": id, "current": current, "total": total.unwrap_or_default(), "timestamp": self.time(now),
                });
                if *done && let Some(fields) = status.as_object_mut() {
                    fields.insert("completed".to_owned(), json!(self.time(now)));
                }
                json!({ "statuses": [status] })
            }
            (Event::Warning(warning), _) => {
                let line =
                    warning.source.as_ref().map(|source| source.line_column(warning.span.start).0);
                json!({ "warnings": [{
                    "level": 1,
                    "short": base64(warning.message.as_bytes()),
                    "rule": warning.rule,
                    "detail": warning.hint.iter().map(|hint| base64(hint.as_bytes())).collect::<Vec<_>>(),
                    "file": warning.source.as_ref().map(|source| &source.name),
                    "line": line,
                }] })
            }
            (Event::Note(note), _) => json!({ "notes": [note] }),
            _ => return String::new(),
        };
        format!("{value}\n")
    }

    fn vertex(&self, position: usize) -> Value {
        let (Some(vertex), Some(id)) = (self.state.vertices.get(position), self.ids.get(position))
        else {
            return Value::Null;
        };
        let mut value = json!({ "digest": id, "name": vertex.name });
        let mut add = |key: &str, field: Value| {
            if let Some(fields) = value.as_object_mut() {
                fields.insert(key.to_owned(), field);
            }
        };
        if let Some(platform) = &vertex.platform {
            add("platform", json!(platform.to_string()));
        }
        if let Some(emulator) = &vertex.emulator {
            add("emulator", json!(emulator));
        }
        if let Some(started) = vertex.started {
            add("started", json!(self.time(started)));
        }
        if let Some(ended) = vertex.ended {
            add("completed", json!(self.time(ended)));
        }
        match &vertex.status {
            Status::Cached => add("cached", json!(true)),
            Status::Failed(error) => add("error", json!(error)),
            Status::Waiting | Status::Running | Status::Done => {}
        }
        value
    }

    fn time(&self, at: Duration) -> String {
        let nanoseconds = i128::try_from((self.epoch + at).as_nanos()).unwrap_or_default();
        Timestamp::from_nanosecond(nanoseconds)
            .map_or_else(|_| String::new(), |time| time.to_string())
    }
}

/// As Go writes bytes in JSON.
fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
