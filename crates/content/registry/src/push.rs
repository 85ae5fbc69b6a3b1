use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderValue, Method, StatusCode};
use oci::{Descriptor, Reference, identify};
use reqwest::Url;

use crate::RegistryError;
use crate::auth::Scopes;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::hosts::Capability;
use crate::transfer::{BlobSource, ProgressFn};
use crate::transport::{Answer, Body, Call, Target};

/// What a push of a blob came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The repository had it.
    Exists,
    /// Another repository of the registry had it, and lent it.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// The piece that uploads are cut into for servers that refuse whole blobs.
const SMALLER: u64 = 32 << 20;

impl Client {
    /// Whether a repository has a blob.
    pub async fn has_blob(
        &self,
        repository: &Reference,
        blob: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let what = format!("blob {}", blob.digest);
        self.across(repository, Capability::Push, async |to| {
            self.holds(to, repository, blob, &what).await
        })
        .await
    }

    /// Brings a blob into the repository of `to`: it may be there; another repository of the same registry may lend it
    /// (`mount_from`, names as in [`Reference::name`] or [`Reference::repository`]); otherwise it is uploaded from
    /// `source`, resumed where a connection breaks.
    pub async fn push_blob(
        &self,
        to: &Reference,
        blob: &Descriptor,
        source: &Arc<dyn BlobSource>,
        mount_from: &[String],
        progress: &ProgressFn,
    ) -> Result<Pushed, RegistryError> {
        let what = format!("blob {}", blob.digest);
        let pushed = self.across(to, Capability::Push, async |endpoint| {
            if self.holds(endpoint, to, blob, &what).await? {
                return Ok(Pushed::Exists);
            }
            let session = match self.mount(endpoint, to, blob, mount_from, &what).await? {
                Mount::Done => return Ok(Pushed::Mounted),
                Mount::Session(session) => session,
            };
            self.upload(endpoint, to, blob, source, session, progress, &what).await?;
            Ok(Pushed::Uploaded)
        });
        let pushed = pushed.await?;
        if pushed != Pushed::Uploaded || blob.size == 0 {
            progress(blob.size);
        }
        Ok(pushed)
    }

    /// Puts a manifest or index under the digest of its descriptor, and under the tag of `to` where it has one. Everything
    /// that it names has to be there already.
    pub async fn push_manifest(
        &self,
        to: &Reference,
        manifest: &Descriptor,
        raw: &[u8],
    ) -> Result<(), RegistryError> {
        let what = to.familiar();
        let unusable = |source: crate::error::Cause| RegistryError::Manifest {
            host: to.registry().to_owned(),
            what: what.clone(),
            source,
        };
        identify(raw, Some(&manifest.media_type)).map_err(|error| unusable(error.into()))?;
        if raw.len() as u64 != manifest.size {
            return Err(unusable("its descriptor has another size".into()));
        }
        let name = to.digest().map(ToString::to_string).or_else(|| to.tag().map(str::to_owned));
        let name = name.unwrap_or_else(|| manifest.digest.to_string());
        let path = format!("{}/manifests/{name}", to.repository());
        let content_type =
            HeaderValue::from_str(&manifest.media_type).map_err(|error| unusable(error.into()))?;
        self.across(to, Capability::Push, async |endpoint| {
            let mut call =
                Call::new(Method::PUT, Target::Path(&path), Scopes::push(to.repository()), &what);
            call.headers = [(CONTENT_TYPE, content_type.clone())].into_iter().collect();
            call.body = Body::Bytes(Bytes::copy_from_slice(raw));
            let answer = self.transport.send(endpoint, &call).await?;
            if !answer.status().is_success() {
                return Err(self.refuse(endpoint, &what, answer).await);
            }
            // A registry that stored other bytes would be found out by the next pull; better now.
            match answer.header("docker-content-digest").and_then(|text| text.parse().ok()) {
                Some(found) if found != manifest.digest => Err(RegistryError::Mismatch {
                    host: endpoint.name.clone(),
                    what: what.clone(),
                    expected: manifest.digest.clone(),
                    found,
                    size: manifest.size,
                }),
                _ => Ok(()),
            }
        })
        .await
    }

    /// As [`Self::push_manifest`], under the digest only, whatever tag `to` has.
    pub async fn push_manifest_by_digest(
        &self,
        to: &Reference,
        manifest: &Descriptor,
        raw: &[u8],
    ) -> Result<(), RegistryError> {
        self.push_manifest(&to.with_digest(manifest.digest.clone()), manifest, raw).await
    }

    async fn holds(
        &self,
        to: &Endpoint,
        repository: &Reference,
        blob: &Descriptor,
        what: &str,
    ) -> Result<bool, RegistryError> {
        let path = format!("{}/blobs/{}", repository.repository(), blob.digest);
        let call = Call::new(
            Method::HEAD,
            Target::Path(&path),
            Scopes::push(repository.repository()),
            what,
        );
        let answer = match self.transport.send(to, &call).await {
            Ok(answer) => answer,
            // Some redirect even this to a store that only lets itself be read: not knowing is no failure.
            Err(RegistryError::Refused { .. } | RegistryError::Redirect { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        match answer.status() {
            StatusCode::OK => {
                // Another size under the same digest: let the upload find out.
                let size = answer.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
                Ok(size.is_none_or(|size| size == blob.size))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self.refuse(to, &repository.name(), answer).await)
            }
            _ => Ok(false),
        }
    }

    /// Tries to borrow the blob from each candidate. A registry that does not lend opens an upload in the same answer.
    async fn mount(
        &self,
        to: &Endpoint,
        into: &Reference,
        blob: &Descriptor,
        candidates: &[String],
        what: &str,
    ) -> Result<Mount, RegistryError> {
        let mut session = None;
        let prefix = format!("{}/", into.registry());
        let candidates = candidates.iter().filter_map(|name| match name.strip_prefix(&prefix) {
            Some(repository) => Some(repository),
            // A name with another registry in it is of no use here.
            None => name
                .parse::<Reference>()
                .is_ok_and(|it| it.name() != *name)
                .then_some(name.as_str()),
        });
        for from in candidates.filter(|from| *from != into.repository()).take(4) {
            let path =
                format!("{}/blobs/uploads/?mount={}&from={from}", into.repository(), blob.digest);
            let scopes = Scopes::push(into.repository()).and_pull(from);
            let Ok(answer) = self
                .transport
                .send(to, &Call::new(Method::POST, Target::Path(&path), scopes, what))
                .await
            else {
                continue;
            };
            match answer.status() {
                StatusCode::CREATED => {
                    if let Some(unused) = session {
                        self.abandon(to, into, &unused, what).await;
                    }
                    return Ok(Mount::Done);
                }
                StatusCode::ACCEPTED => {
                    let opened = Some(self.location(to, &answer).await?);
                    if let Some(unused) = std::mem::replace(&mut session, opened) {
                        self.abandon(to, into, &unused, what).await;
                    }
                }
                _ => {}
            }
        }
        Ok(Mount::Session(session))
    }

    async fn begin(
        &self,
        to: &Endpoint,
        into: &Reference,
        what: &str,
    ) -> Result<Url, RegistryError> {
        let path = format!("{}/blobs/uploads/", into.repository());
        let mut call =
            Call::new(Method::POST, Target::Path(&path), Scopes::push(into.repository()), what);
        call.headers = [(CONTENT_LENGTH, HeaderValue::from_static("0"))].into_iter().collect();
        let answer = self.transport.send(to, &call).await?;
        match answer.status() {
            StatusCode::ACCEPTED | StatusCode::CREATED => self.location(to, &answer).await,
            _ => Err(self.refuse(to, &into.name(), answer).await),
        }
    }

    /// Uploads a blob: in one piece, then the rest of what broke off, and in smaller pieces where the server wants that.
    #[expect(clippy::too_many_arguments, reason = "the parts of one transfer")]
    async fn upload(
        &self,
        to: &Endpoint,
        into: &Reference,
        blob: &Descriptor,
        source: &Arc<dyn BlobSource>,
        session: Option<Url>,
        progress: &ProgressFn,
        what: &str,
    ) -> Result<(), RegistryError> {
        let mut piece = self.transport.options.upload_chunk.map(|size| size.max(1));
        let mut session = session;
        let (mut offset, mut failures) = (0, 0);
        loop {
            let url = if let Some(url) = session.take() {
                url
            } else {
                offset = 0;
                progress(0);
                self.begin(to, into, what).await?
            };
            let left = blob.size - offset;
            let in_pieces = piece.is_some_and(|piece| piece < left) || offset > 0;
            let length = piece.unwrap_or(left).min(left);
            let step = Step { to, into, blob, source, url: &url, offset, length, progress, what };
            let outcome = if in_pieces && left > 0 {
                self.send_piece(&step).await
            } else {
                self.send_last(&step).await
            };
            let error = match outcome {
                Ok(Sent::All) => return Ok(()),
                Ok(Sent::Piece { next, reached }) => {
                    failures = if reached > offset { 0 } else { failures + 1 };
                    if failures > self.transport.options.retry.attempts || reached > blob.size {
                        let message = "an upload does not go on".to_owned();
                        return Err(RegistryError::Protocol { host: to.name.clone(), message });
                    }
                    (session, offset) = (Some(next), reached);
                    continue;
                }
                // Proxies before a registry often limit the size of a request.
                Err(RegistryError::Refused { status: StatusCode::PAYLOAD_TOO_LARGE, .. })
                    if length > 64 << 10 =>
                {
                    piece = Some(piece.map_or(SMALLER, |piece| piece / 2).min(length / 2));
                    self.abandon(to, into, &url, what).await;
                    continue;
                }
                Err(error) => error,
            };
            failures += 1;
            let gone = matches!(
                &error,
                RegistryError::NotFound { .. }
                    | RegistryError::Refused {
                        status: StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::CONFLICT,
                        ..
                    }
            );
            if gone && failures < self.transport.options.retry.attempts {
                continue;
            }
            let Some(wait) = self.transport.wait_after(to, &error, failures) else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
            // How far did it get? Nothing, or no answer, means from the beginning.
            if let Some((next, reached)) = self
                .upload_status(&step)
                .await
                .filter(|(_, reached)| *reached > 0 && *reached <= blob.size)
            {
                failures = if reached > offset { 1 } else { failures };
                (session, offset) = (Some(next), reached);
            } else if self.holds(to, into, blob, what).await? {
                return Ok(());
            }
        }
    }

    /// Sends the rest and closes the upload.
    async fn send_last(&self, step: &Step<'_>) -> Result<Sent, RegistryError> {
        let mut url = step.url.clone();
        url.query_pairs_mut().append_pair("digest", step.blob.digest.as_str());
        let mut call = Call::new(
            Method::PUT,
            Target::Url(&url),
            Scopes::push(step.into.repository()),
            step.what,
        );
        call.headers = [(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]
            .into_iter()
            .collect();
        if step.length > 0 {
            call.body = step.body();
        } else {
            call.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let answer = self.transport.send_once(step.to, &call).await?;
        if answer.status().is_success() {
            Ok(Sent::All)
        } else {
            Err(self.refuse(step.to, step.what, answer).await)
        }
    }

    /// Sends a piece that something has to follow, if only the closing request.
    async fn send_piece(&self, step: &Step<'_>) -> Result<Sent, RegistryError> {
        let mut call = Call::new(
            Method::PATCH,
            Target::Url(step.url),
            Scopes::push(step.into.repository()),
            step.what,
        );
        let range = format!("{}-{}", step.offset, step.offset + step.length - 1);
        call.headers = [(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]
            .into_iter()
            .collect();
        call.headers.extend(HeaderValue::from_str(&range).ok().map(|range| (CONTENT_RANGE, range)));
        call.body = step.body();
        let answer = self.transport.send_once(step.to, &call).await?;
        if !answer.status().is_success() {
            return Err(self.refuse(step.to, step.what, answer).await);
        }
        let next = self.location(step.to, &answer).await?;
        let reached = uploaded(&answer).unwrap_or(step.offset + step.length);
        Ok(Sent::Piece { next, reached })
    }

    /// Where an upload stands, if the registry still knows it.
    async fn upload_status(&self, step: &Step<'_>) -> Option<(Url, u64)> {
        let call = Call::new(
            Method::GET,
            Target::Url(step.url),
            Scopes::push(step.into.repository()),
            step.what,
        );
        let answer = self.transport.send(step.to, &call).await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        let reached = uploaded(&answer)?;
        let next = self.location(step.to, &answer).await.unwrap_or_else(|_| step.url.clone());
        Some((next, reached))
    }

    /// Tells the registry that an upload will not be finished. It need not listen.
    async fn abandon(&self, to: &Endpoint, into: &Reference, session: &Url, what: &str) {
        let call =
            Call::new(Method::DELETE, Target::Url(session), Scopes::push(into.repository()), what);
        // A session that stays behind ends by itself.
        self.transport.send_once(to, &call).await.ok();
    }

    /// Where an upload goes on.
    async fn location(&self, to: &Endpoint, answer: &Answer) -> Result<Url, RegistryError> {
        let base = self.transport.base(to).await?;
        let text = answer.header(LOCATION).unwrap_or_default();
        let missing = || RegistryError::Protocol {
            host: to.name.clone(),
            message: "it opened an upload without saying where".to_owned(),
        };
        let mut url =
            answer.url.join(text).ok().filter(|_| !text.is_empty()).ok_or_else(missing)?;
        // Behind a proxy that adds TLS, registries often do not know about it.
        if base.scheme() == "https" && url.scheme() == "http" && url.host_str() == base.host_str() {
            let _ = url.set_scheme("https");
            let _ = url.set_port(base.port());
        }
        Ok(url)
    }
}

enum Mount {
    Done,
    Session(Option<Url>),
}

enum Sent {
    All,
    Piece { next: Url, reached: u64 },
}

/// One request of an upload.
struct Step<'a> {
    to: &'a Endpoint,
    into: &'a Reference,
    blob: &'a Descriptor,
    source: &'a Arc<dyn BlobSource>,
    url: &'a Url,
    offset: u64,
    length: u64,
    progress: &'a ProgressFn,
    what: &'a str,
}

impl Step<'_> {
    fn body(&self) -> Body<'_> {
        Body::Stream {
            source: self.source,
            offset: self.offset,
            length: self.length,
            progress: self.progress,
        }
    }
}

/// How many bytes of an upload have arrived: `Range: 0-N`, the last byte included. `0-0` is what registries say of none.
fn uploaded(answer: &Answer) -> Option<u64> {
    let text = answer.header(RANGE)?.trim_start_matches("bytes=");
    let (first, last) = text.split_once('-')?;
    let last: u64 = last.trim().parse().ok()?;
    (first.trim() == "0").then_some(if last == 0 { 0 } else { last + 1 })
}
