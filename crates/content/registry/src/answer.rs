//! What a server said, or that it said nothing: statuses and failures as errors.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use reqwest::Response;
use serde::Deserialize;

use crate::RegistryError;
use crate::endpoint::Endpoint;
use crate::retry::retry_after;

/// Waits for the head of an answer, for `timeout` at most.
pub(crate) async fn after_head(
    to: &Endpoint,
    doing: &str,
    timeout: Duration,
    request: impl Future<Output = reqwest::Result<Response>>,
) -> Result<Response, RegistryError> {
    match tokio::time::timeout(timeout, request).await {
        Ok(answer) => answer.map_err(|error| failure(to, doing, error)),
        Err(_) => Err(RegistryError::Timeout {
            host: to.name.clone(),
            doing: asking(doing),
            after: timeout,
        }),
    }
}

/// The next bytes of an answer; `None` at its end.
pub(crate) async fn chunk(
    to: &Endpoint,
    what: &str,
    timeout: Duration,
    response: &mut Response,
) -> Result<Option<Bytes>, RegistryError> {
    match tokio::time::timeout(timeout, response.chunk()).await {
        Ok(chunk) => chunk.map_err(|error| failure(to, what, error)),
        Err(_) => Err(RegistryError::Timeout {
            host: to.name.clone(),
            doing: asking(what),
            after: timeout,
        }),
    }
}

/// A whole answer of at most `limit` bytes.
pub(crate) async fn read_bounded(
    to: &Endpoint,
    what: &str,
    timeout: Duration,
    mut response: Response,
    limit: u64,
) -> Result<Bytes, RegistryError> {
    let too_large =
        || RegistryError::TooLarge { host: to.name.clone(), what: what.to_owned(), limit };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut content = BytesMut::new();
    while let Some(bytes) = chunk(to, what, timeout, &mut response).await? {
        if (content.len() + bytes.len()) as u64 > limit {
            return Err(too_large());
        }
        content.extend_from_slice(&bytes);
    }
    Ok(content.freeze())
}

/// An answer that is no success, as an error.
pub(crate) async fn refusal(
    to: &Endpoint,
    what: &str,
    with_credentials: bool,
    response: Response,
) -> RegistryError {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let json = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("json"));
    // What the registry says about it is welcome, but not waited for long.
    let body = read_bounded(to, what, Duration::from_secs(5), response, 64 << 10)
        .await
        .unwrap_or_default();
    let said = said(&body, json);
    let message = if said.is_empty() { String::new() } else { format!(": {said}") };
    let (host, what) = (to.name.clone(), what.to_owned());
    match status {
        StatusCode::NOT_FOUND => RegistryError::NotFound { host, what },
        StatusCode::UNAUTHORIZED => {
            RegistryError::Unauthorized { host, what, with_credentials, message }
        }
        StatusCode::FORBIDDEN => RegistryError::Denied { host, what, with_credentials, message },
        StatusCode::TOO_MANY_REQUESTS => {
            RegistryError::RateLimited { host, what, retry_after, message }
        }
        StatusCode::REQUEST_TIMEOUT => {
            RegistryError::Server { host, what, status, retry_after, message }
        }
        status if status.is_server_error() => {
            RegistryError::Server { host, what, status, retry_after, message }
        }
        status => RegistryError::Refused { host, what, status, message },
    }
}

/// What an error document says, in one line that is safe to show.
fn said(body: &[u8], json: bool) -> String {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        errors: Vec<Item>,
        #[serde(default)]
        details: Option<String>,
        #[serde(default)]
        error_description: Option<String>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Document>(body) {
        Ok(document) => {
            let errors = document.errors.into_iter().take(3);
            let errors = errors.map(|item| {
                if item.message.is_empty() {
                    item.code.to_lowercase().replace('_', " ")
                } else {
                    item.message
                }
            });
            errors
                .chain(document.details)
                .chain(document.error_description)
                .collect::<Vec<_>>()
                .join("; ")
        }
        Err(_) if json => String::new(),
        // A page of HTML helps nobody; a short line may.
        Err(_) => String::from_utf8_lossy(body)
            .lines()
            .next()
            .filter(|line| line.len() < 200 && !line.contains('<'))
            .unwrap_or_default()
            .to_owned(),
    };
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A request that got no answer, as an error.
pub(crate) fn failure(to: &Endpoint, doing: &str, error: reqwest::Error) -> RegistryError {
    let host = to.name.clone();
    let error = error.without_url();
    let (mut tls, mut dns, mut refused) = (false, false, false);
    // What lies between this error and the first cause says how an HTTP library is built, and nothing to a user.
    let mut first = String::new();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        first = error.to_string();
        tls |= error.is::<rustls::Error>();
        dns |= first.starts_with("dns error");
        let io = error.downcast_ref::<io::Error>();
        refused |= io.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        // An I/O error gives the cause of what it wraps as its own cause, so what it wraps has to be asked for.
        cause = match io.and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    let source = first.into();
    if tls {
        RegistryError::Tls { host, source }
    } else if dns {
        RegistryError::Dns { host, source }
    } else if refused {
        RegistryError::ConnectionRefused { host, source }
    } else {
        RegistryError::Connection { host, doing: asking(doing), source }
    }
}

fn asking(what: &str) -> String {
    format!("asking for {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_shown_in_one_safe_line() {
        for (body, json, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"requested access\n to the resource is denied"}]}"#,
                true,
                "requested access  to the resource is denied",
            ),
            (r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#, true, "name unknown"),
            (
                r#"{"details":"incorrect username or password"}"#,
                true,
                "incorrect username or password",
            ),
            ("{nonsense", true, ""),
            ("<html>502</html>", false, ""),
            ("upstream gone\nmore", false, "upstream gone"),
            ("\u{1b}[31mred", false, "[31mred"),
        ] {
            assert_eq!(said(body.as_bytes(), json), expected);
        }
    }
}
