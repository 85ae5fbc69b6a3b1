//! A body that is read while it is sent.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use reqwest::{RequestBuilder, Response};
use tokio::sync::mpsc;

use crate::RegistryError;
use crate::answer::failure;
use crate::auth::lock;
use crate::endpoint::Endpoint;
use crate::transfer::{BlobSource, ProgressFn};

const CHUNK: usize = 256 << 10;

/// How long a server may take to answer once it has everything: some copy whole blobs then.
const COMMIT: Duration = Duration::from_mins(10);

/// One body on its way.
pub(crate) struct Upload {
    body: reqwest::Body,
    length: u64,
    sent: Arc<AtomicU64>,
    all_sent: Arc<AtomicBool>,
    broken: Arc<Mutex<Option<io::Error>>>,
}

impl Upload {
    /// Starts reading `length` bytes from `offset` on, on a thread of its own.
    pub(crate) fn start(
        source: &Arc<dyn BlobSource>,
        offset: u64,
        length: u64,
        progress: &ProgressFn,
    ) -> Self {
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        let broken = Arc::new(Mutex::new(None));
        let (source, progress) = (Arc::clone(source), Arc::clone(progress));
        let slot = Arc::clone(&broken);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read_into(&*source, offset, length, &sender) {
                *lock(&slot) = Some(error);
                // The request must fail, not end early.
                sender.blocking_send(Err(io::ErrorKind::BrokenPipe.into())).ok();
            }
        });
        let sent = Arc::new(AtomicU64::new(0));
        let all_sent = Arc::new(AtomicBool::new(length == 0));
        let state = (receiver, Arc::clone(&sent), Arc::clone(&all_sent));
        let chunks = stream::unfold(state, move |(mut receiver, sent, all_sent)| {
            let progress = Arc::clone(&progress);
            async move {
                let chunk = receiver.recv().await?;
                if let Ok(bytes) = &chunk {
                    let total =
                        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed) + bytes.len() as u64;
                    all_sent.store(total >= length, Ordering::Relaxed);
                    progress(offset + total);
                }
                Some((chunk, (receiver, sent, all_sent)))
            }
        });
        Self { body: reqwest::Body::wrap_stream(chunks), length, sent, all_sent, broken }
    }

    /// Sends it. Fails when nothing moves for `timeout`.
    pub(crate) async fn send(
        self,
        to: &Endpoint,
        what: &str,
        timeout: Duration,
        request: RequestBuilder,
    ) -> Result<Response, RegistryError> {
        let Self { body, length, sent, all_sent, broken } = self;
        let request = request.header(CONTENT_LENGTH, length).body(body).send();
        tokio::pin!(request);
        let mut seen = 0;
        let outcome = loop {
            let patience =
                if all_sent.load(Ordering::Relaxed) { COMMIT.max(timeout) } else { timeout };
            match tokio::time::timeout(patience, &mut request).await {
                Ok(outcome) => break outcome,
                Err(_) if sent.load(Ordering::Relaxed) > seen => {
                    seen = sent.load(Ordering::Relaxed);
                }
                Err(_) => {
                    let doing = format!("sending {what}");
                    return Err(RegistryError::Timeout {
                        host: to.name.clone(),
                        doing,
                        after: patience,
                    });
                }
            }
        };
        outcome.map_err(|error| match lock(&broken).take() {
            Some(source) => RegistryError::Source { what: what.to_owned(), source },
            None => failure(to, what, error),
        })
    }
}

fn read_into(
    source: &dyn BlobSource,
    offset: u64,
    length: u64,
    to: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let mut reader = source.open(offset)?.take(length);
    let mut left = length;
    while left > 0 {
        let mut chunk = Vec::with_capacity(CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)));
        let limit = chunk.capacity() as u64;
        let count = (&mut reader).take(limit).read_to_end(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        left -= count as u64;
        if to.blocking_send(Ok(chunk.into())).is_err() {
            // The request is over, whatever became of it.
            return Ok(());
        }
    }
    Ok(())
}
