use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::Digest;
use reqwest::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use reqwest::{Response, StatusCode, Url};
use store::{Store, StoreError};

use crate::Remote;
use crate::redirect::{self, REDIRECTS, same};

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

/// What is to be fetched.
#[derive(Clone, Default)]
pub struct DownloadRequest<'a> {
    /// Its address. A user name and password in it are sent to that server only, and are kept nowhere.
    pub url: &'a str,
    /// What it must be.
    pub checksum: Option<&'a Digest>,
    /// `Authorization` for the server of the address, and no other.
    pub authorization: Option<String>,
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
    /// The server leads to a place that it has no reason to send anybody to.
    #[error("cannot fetch {url}: it leads to {to}, {reason}")]
    Redirect {
        /// What was fetched.
        url: String,
        /// Where it leads.
        to: String,
        /// Why nobody goes there.
        reason: &'static str,
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

    /// Fetches a file. With a checksum that the store has, nothing is fetched. `progress` is told bytes done and, where
    /// it is known, bytes in all.
    pub fn fetch(
        &self,
        request: &DownloadRequest<'_>,
        progress: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Download, DownloadError> {
        let target = Target::of(request)?;
        let (url, checksum) = (target.shown.as_str(), request.checksum);
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
            match self.remote.block_on(self.attempt(
                &target,
                remembered.as_ref(),
                checksum,
                progress,
            )) {
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
        target: &Target,
        remembered: Option<&Download>,
        checksum: Option<&Digest>,
        progress: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Download, DownloadError> {
        let url = target.shown.as_str();
        let mut response = self.get(target, remembered, checksum.is_some()).await?;
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

    /// Asks along redirects. Credentials stay with the server they are for.
    async fn get(
        &self,
        start: &Target,
        remembered: Option<&Download>,
        has_checksum: bool,
    ) -> Result<Response, DownloadError> {
        let shown = &start.shown;
        let client = self.remote.web_client().map_err(|error| transfer(shown, error))?;
        let mut at = start.url.clone();
        for _ in 0..=REDIRECTS {
            let mut request = client.get(at.clone());
            if let Some(value) = start.authorization.as_ref().filter(|_| same(&start.url, &at)) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            // Asked again only where the bytes that the answer would speak of are still here.
            if let Some(known) = remembered.filter(|it| self.store.blob_size(&it.digest).is_some())
            {
                if let Some(etag) = &known.etag {
                    request = request.header(IF_NONE_MATCH, etag);
                } else if let Some(modified) = known.modified.and_then(http_date) {
                    request = request.header(IF_MODIFIED_SINCE, modified);
                }
            }
            let response = request.send().await.map_err(|error| {
                // The cause names the address with its query, which may be a signature.
                transfer(shown, error.without_url())
            })?;
            let moved =
                response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED;
            let Some(location) = text(response.headers(), LOCATION).filter(|_| moved) else {
                return Ok(response);
            };
            at = redirect::next(&start.url, &at, &location, has_checksum).map_err(|refused| {
                let reason = match refused.reason {
                    redirect::NO_TLS => "without TLS; give a checksum to allow it",
                    other => other,
                };
                DownloadError::Redirect { url: shown.clone(), to: refused.to, reason }
            })?;
        }
        Err(DownloadError::Redirects { url: shown.clone() })
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

/// An address, and who one is there.
struct Target {
    url: Url,
    /// Without user name and password.
    shown: String,
    authorization: Option<HeaderValue>,
}

impl Target {
    fn of(request: &DownloadRequest<'_>) -> Result<Self, DownloadError> {
        let address = || DownloadError::Address {
            url: request.url.rsplit('@').next().unwrap_or_default().chars().take(300).collect(),
        };
        let mut url: Url = request.url.parse().map_err(|_| address())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(address());
        }
        let mut authorization = request.authorization.clone();
        if !url.username().is_empty() || url.password().is_some() {
            let pair = format!("{}:{}", url.username(), url.password().unwrap_or_default());
            authorization
                .get_or_insert(format!("Basic {}", STANDARD.encode(percent_decoded(&pair))));
            url.set_username("").map_err(|()| address())?;
            url.set_password(None).map_err(|()| address())?;
        }
        url.set_fragment(None);
        let shown = url.to_string();
        let secret = |text: String| {
            let mut value = HeaderValue::from_str(&text).map_err(|_| address())?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Self { url, shown, authorization: authorization.map(secret).transpose()? })
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or_default()).to_digit(16);
        if byte == b'%' {
            let (high, low) = (digit(bytes.next()), digit(bytes.next()));
            let value = high.unwrap_or_default() * 16 + low.unwrap_or_default();
            out.push(u8::try_from(value).unwrap_or_default());
        } else {
            out.push(byte);
        }
    }
    out
}

/// A time as HTTP writes it.
fn http_date(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()
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
    fn passwords_leave_the_address() {
        let url = "https://us%40er:pa%73s@a.example/x#y";
        let target = Target::of(&DownloadRequest { url, ..DownloadRequest::default() }).unwrap();
        assert_eq!(target.shown, "https://a.example/x");
        let expected = format!("Basic {}", STANDARD.encode("us@er:pass"));
        assert_eq!(target.authorization.unwrap().to_str().unwrap(), expected);
        let wrong = DownloadRequest { url: "ftp://u:secret@h/x", ..DownloadRequest::default() };
        let Err(error) = Target::of(&wrong) else { panic!("ftp is not spoken") };
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn only_a_plain_name_is_taken_from_a_server() {
        assert_eq!(file_name("attachment; filename=\"a.tar\"").as_deref(), Some("a.tar"));
        assert_eq!(file_name("attachment; filename=../../etc/passwd"), None);
        assert_eq!(file_name("inline"), None);
    }
}
