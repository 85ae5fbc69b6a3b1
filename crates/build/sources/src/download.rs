use std::io;
use std::time::Duration;

use oci::Digest;
use reqwest::header::{CONTENT_DISPOSITION, ETAG, HeaderMap, LAST_MODIFIED, LOCATION};
use reqwest::{Response, StatusCode, Url};
use store::{Store, StoreError};

use crate::Remote;

/// A file that was fetched over HTTP. Its bytes are a blob of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Seconds since 1970 UTC, from `Last-Modified`.
    pub modified: Option<i64>,
    /// What the server calls it, in `Content-Disposition`.
    pub server_name: Option<String>,
    /// `ETag`, to ask again with.
    pub etag: Option<String>,
}

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The address makes no sense, or is not http(s).
    #[error("`{url}` is not an http or https address")]
    Address {
        /// The address.
        url: String,
    },
    /// The server cannot be reached, or broke off.
    #[error("cannot fetch {url}")]
    Transfer {
        /// What was fetched.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused.
    #[error("cannot fetch {url}: the server answered {status}")]
    Status {
        /// What was fetched.
        url: String,
        /// The answer.
        status: StatusCode,
    },
    /// It goes round and round.
    #[error("cannot fetch {url}: more than {REDIRECTS} redirects")]
    Redirects {
        /// What was fetched.
        url: String,
    },
    /// The bytes are not those that were asked for.
    #[error("{url} has digest {found}, but {expected} was asked for")]
    Checksum {
        /// What was fetched.
        url: String,
        /// As written.
        expected: Digest,
        /// As computed.
        found: Digest,
    },
    /// Larger than any file may be.
    #[error("{url} is larger than {limit} bytes")]
    TooLarge {
        /// What was fetched.
        url: String,
        /// The most that is accepted.
        limit: u64,
    },
    /// The network may not be used.
    #[error("{url} is not in the store, and the network is switched off")]
    Offline {
        /// What was asked for.
        url: String,
    },
    /// The store failed.
    #[error("cannot keep {url}")]
    Store {
        /// What was fetched.
        url: String,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
}

const REDIRECTS: usize = 10;
const ATTEMPTS: u32 = 4;
/// A file may have at most this many bytes.
const SIZE_LIMIT: u64 = 64 << 30;

/// Fetches files over HTTP.
#[derive(Clone)]
pub struct Downloads {
    store: Store,
    remote: Remote,
}

impl Downloads {
    /// Fetches by `remote` into `store`.
    pub fn new(store: Store, remote: Remote) -> Self {
        Self { store, remote }
    }

    /// Fetches a file; `checksum` is what it must be. With a checksum that the store has, nothing is fetched.
    /// `progress` is told bytes done and, where it is known, bytes in all.
    pub fn fetch(
        &self,
        url: &str,
        checksum: Option<&Digest>,
        progress: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Download, DownloadError> {
        let remembered = self.remembered(url)?;
        if let Some(digest) = checksum
            && let Some(size) = self.store.blob_size(digest)
        {
            let same = remembered.filter(|it| it.digest == *digest);
            let (modified, server_name) =
                same.map_or((None, None), |it| (it.modified, it.server_name));
            return Ok(Download {
                digest: digest.clone(),
                size,
                modified,
                server_name,
                etag: None,
            });
        }
        if self.remote.is_offline() {
            return remembered.ok_or_else(|| DownloadError::Offline { url: url.to_owned() });
        }
        let mut attempt = 1;
        let download = loop {
            match self.remote.block_on(self.attempt(url, remembered.as_ref(), checksum, progress)) {
                Err(DownloadError::Transfer { .. }) if attempt < ATTEMPTS => {}
                Err(DownloadError::Status { status, .. })
                    if attempt < ATTEMPTS && passing(status) => {}
                outcome => break outcome?,
            }
            std::thread::sleep(Duration::from_millis(250 << attempt));
            attempt += 1;
        };
        if let Some(expected) = checksum
            && *expected != download.digest
        {
            return Err(DownloadError::Checksum {
                url: url.to_owned(),
                expected: expected.clone(),
                found: download.digest,
            });
        }
        self.remember(url, &download)?;
        Ok(download)
    }

    async fn attempt(
        &self,
        url: &str,
        remembered: Option<&Download>,
        checksum: Option<&Digest>,
        progress: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Download, DownloadError> {
        let mut response = self.get(url, remembered).await?;
        if let (StatusCode::NOT_MODIFIED, Some(known)) = (response.status(), remembered) {
            return Ok(known.clone());
        }
        if !response.status().is_success() {
            return Err(DownloadError::Status { url: url.to_owned(), status: response.status() });
        }
        let header = |name| text(response.headers(), name);
        let (etag, modified) = (header(ETAG), header(LAST_MODIFIED));
        let server_name = header(CONTENT_DISPOSITION).and_then(|value| file_name(&value));
        let total = response.content_length();
        let store_error =
            |source| DownloadError::Store { url: url.to_owned(), source: Box::new(source) };
        let mut writer = match checksum {
            Some(digest) => self.store.blob_writer_like(digest),
            None => self.store.blob_writer(),
        }
        .map_err(store_error)?;
        let mut done = 0;
        loop {
            let chunk = response.chunk().await.map_err(|error| transfer(url, error))?;
            let Some(chunk) = chunk else { break };
            done += chunk.len() as u64;
            if done > SIZE_LIMIT {
                return Err(DownloadError::TooLarge { url: url.to_owned(), limit: SIZE_LIMIT });
            }
            io::Write::write_all(&mut writer, &chunk).map_err(|error| transfer(url, error))?;
            progress(done, total);
        }
        let (digest, size) = writer.commit(None).map_err(store_error)?;
        let modified = modified
            .and_then(|value| jiff::fmt::rfc2822::parse(&value).ok())
            .map(|time| time.timestamp().as_second());
        Ok(Download { digest, size, modified, server_name, etag })
    }

    /// Asks along redirects.
    async fn get(
        &self,
        url: &str,
        remembered: Option<&Download>,
    ) -> Result<Response, DownloadError> {
        let address = || DownloadError::Address { url: url.to_owned() };
        let mut target: Url = url.parse().map_err(|_| address())?;
        let client = self.remote.web_client().map_err(|error| transfer(url, error))?;
        for _ in 0..=REDIRECTS {
            if !matches!(target.scheme(), "http" | "https") {
                return Err(address());
            }
            let mut request = client.get(target.clone());
            // Asked again only where the bytes that the tag speaks of are still here.
            if let Some(known) = remembered.filter(|it| self.store.blob_size(&it.digest).is_some())
                && let Some(etag) = &known.etag
            {
                request = request.header("If-None-Match", etag);
            }
            let response = request.send().await.map_err(|error| transfer(url, error))?;
            let moved =
                response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED;
            let Some(location) = text(response.headers(), LOCATION).filter(|_| moved) else {
                return Ok(response);
            };
            target = target.join(&location).map_err(|_| address())?;
        }
        Err(DownloadError::Redirects { url: url.to_owned() })
    }

    fn remembered(&self, url: &str) -> Result<Option<Download>, DownloadError> {
        let record = self.store.get("http", url).map_err(|source| keep(url, source))?;
        Ok(record.and_then(|record| {
            let (digest, size, modified, server_name, etag) =
                serde_json::from_slice(&record).ok()?;
            Some(Download { digest, size, modified, server_name, etag })
        }))
    }

    fn remember(&self, url: &str, it: &Download) -> Result<(), DownloadError> {
        let record =
            serde_json::to_vec(&(&it.digest, it.size, it.modified, &it.server_name, &it.etag))
                .unwrap_or_default();
        let refs = [store::Ref::Blob(it.digest.clone())];
        self.store.put("http", url, &record, &refs).map_err(|source| keep(url, source))
    }
}

fn passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn transfer(
    url: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> DownloadError {
    DownloadError::Transfer { url: url.to_owned(), source: error.into() }
}

fn keep(url: &str, source: StoreError) -> DownloadError {
    DownloadError::Store { url: url.to_owned(), source: Box::new(source) }
}

fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The file name in `attachment; filename="a.tar"`, if it is a plain one.
fn file_name(disposition: &str) -> Option<String> {
    let parameter =
        disposition.split(';').map(str::trim).find_map(|part| part.strip_prefix("filename="))?;
    let name = parameter.trim_matches('"');
    let plain =
        !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    plain.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_name_is_taken_from_a_server() {
        assert_eq!(file_name("attachment; filename=\"a.tar\"").as_deref(), Some("a.tar"));
        assert_eq!(file_name("attachment; filename=../../etc/passwd"), None);
        assert_eq!(file_name("inline"), None);
    }
}
