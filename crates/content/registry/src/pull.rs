//! One blob on its way here: resumed, verified, and forgotten when it is wrong.

use std::io::Read;

use http::header::{CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use oci::{Descriptor, Digester};

use crate::RegistryError;
use crate::answer::{chunk, refusal};
use crate::endpoint::Endpoint;
use crate::transfer::{BlobSink, ProgressFn};
use crate::transport::{Answer, Body, Call, Target, Transport};

/// The transfer of one blob into one sink, over as many connections and places as it takes.
pub(crate) struct Pull<'a> {
    blob: &'a Descriptor,
    sink: &'a mut dyn BlobSink,
    progress: &'a ProgressFn,
    what: &'a str,
    digester: Digester,
    /// Some of what the sink holds was there before: if the digest is wrong, that may be why.
    resumed: bool,
}

impl<'a> Pull<'a> {
    pub(crate) fn new(
        blob: &'a Descriptor,
        sink: &'a mut dyn BlobSink,
        progress: &'a ProgressFn,
        what: &'a str,
    ) -> Result<Self, RegistryError> {
        let resumed = sink.offset() > 0;
        let mut pull =
            Self { blob, sink, progress, what, digester: Digester::like(&blob.digest), resumed };
        if pull.sink.offset() > blob.size {
            pull.restart()?;
        }
        pull.digest_held()?;
        Ok(pull)
    }

    fn digest_held(&mut self) -> Result<(), RegistryError> {
        if self.sink.offset() == 0 {
            return Ok(());
        }
        let failed = |source| RegistryError::Sink { what: self.what.to_owned(), source };
        let length = self.sink.offset();
        let mut held = self.sink.held().map_err(failed)?.take(length);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match held.read(&mut buffer).map_err(failed)? {
                0 => return Ok(()),
                count => self.digester.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn restart(&mut self) -> Result<(), RegistryError> {
        self.sink
            .restart()
            .map_err(|source| RegistryError::Sink { what: self.what.to_owned(), source })?;
        self.digester = Digester::like(&self.blob.digest);
        self.resumed = false;
        (self.progress)(0);
        Ok(())
    }

    /// Transfers what is left from one place.
    pub(crate) async fn run(
        &mut self,
        transport: &Transport,
        to: &Endpoint,
        call: &Call<'_>,
    ) -> Result<(), RegistryError> {
        let mut failures = 0;
        loop {
            let before = self.digester.size();
            let error = match self.attempt(transport, to, call).await {
                Ok(()) => match self.finish(to) {
                    // Once from the beginning, without what was there before.
                    Err(RegistryError::Mismatch { .. }) if self.resumed => {
                        self.restart()?;
                        continue;
                    }
                    Err(error) => {
                        self.restart()?;
                        return Err(error);
                    }
                    Ok(()) => return Ok(()),
                },
                Err(error) => error,
            };
            if matches!(error, RegistryError::Size { .. }) {
                self.restart()?;
                return Err(error);
            }
            failures = if self.digester.size() > before { 1 } else { failures + 1 };
            match transport.wait_after(to, &error, failures) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    fn finish(&mut self, to: &Endpoint) -> Result<(), RegistryError> {
        let size = self.digester.size();
        let found = std::mem::take(&mut self.digester).finish();
        if found == self.blob.digest && size == self.blob.size {
            return Ok(());
        }
        let (host, what, expected) =
            (to.name.clone(), self.what.to_owned(), self.blob.digest.clone());
        Err(RegistryError::Mismatch { host, what, expected, found, size })
    }

    /// One request, and its body.
    async fn attempt(
        &mut self,
        transport: &Transport,
        to: &Endpoint,
        call: &Call<'_>,
    ) -> Result<(), RegistryError> {
        let offset = self.digester.size();
        if offset == self.blob.size && offset > 0 {
            return Ok(());
        }
        let headers = if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-")).ok();
            range.into_iter().map(|range| (RANGE, range)).collect()
        } else {
            HeaderMap::new()
        };
        let ranged = Call {
            method: call.method.clone(),
            target: match call.target {
                Target::Path(path) => Target::Path(path),
                Target::Url(url) => Target::Url(url),
            },
            headers,
            body: Body::None,
            scopes: call.scopes.clone(),
            what: call.what,
        };
        let answer = transport.send_once(to, &ranged).await?;
        match answer.status() {
            StatusCode::OK if offset > 0 => self.restart()?,
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if starts_at(&answer, offset) => {}
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart()?;
                let message = format!(
                    "it answered {} to a request for the bytes of {} from {offset} on",
                    answer.status(),
                    self.what
                );
                return Err(RegistryError::Connection {
                    host: to.name.clone(),
                    doing: format!("resuming {}", self.what),
                    source: message.into(),
                });
            }
            _ => {
                return Err(refusal(
                    to,
                    self.what,
                    transport.auth.has_credentials(to),
                    answer.response,
                )
                .await);
            }
        }
        let left = self.blob.size - self.digester.size();
        // A partial answer may be shorter than what was asked for, a whole one not.
        let whole = answer.status() == StatusCode::OK;
        let mut response = answer.response;
        let wrong_size = |found| RegistryError::Size {
            host: to.name.clone(),
            what: self.what.to_owned(),
            expected: self.blob.size,
            found,
        };
        if let Some(length) = response.content_length()
            && (length > left || (whole && length < left))
        {
            return Err(wrong_size(self.digester.size() + length));
        }
        while let Some(bytes) =
            chunk(to, self.what, transport.options.response_timeout, &mut response).await?
        {
            let total = self.digester.size() + bytes.len() as u64;
            if total > self.blob.size {
                return Err(wrong_size(total));
            }
            self.sink
                .write(&bytes)
                .map_err(|source| RegistryError::Sink { what: self.what.to_owned(), source })?;
            self.digester.update(&bytes);
            (self.progress)(total);
        }
        let size = self.digester.size();
        if size < self.blob.size {
            // A body without a length that ends early looks complete; its digest would be wrong.
            let doing = format!("receiving {}", self.what);
            let source = format!("it ended after {size} of {} bytes", self.blob.size).into();
            return Err(RegistryError::Connection { host: to.name.clone(), doing, source });
        }
        Ok(())
    }
}

/// Whether a partial answer begins where it should.
fn starts_at(answer: &Answer, offset: u64) -> bool {
    let range = answer.header(CONTENT_RANGE).and_then(|text| text.strip_prefix("bytes "));
    range
        .and_then(|text| text.split('-').next())
        .is_some_and(|first| first.trim().parse() == Ok(offset))
}
