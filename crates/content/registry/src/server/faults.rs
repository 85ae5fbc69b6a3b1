//! What a server does wrong on purpose.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Method, StatusCode};

/// Something to do wrong for the next requests that match.
#[derive(Clone, Debug)]
pub struct Fault {
    /// For this method; `None` for all.
    pub method: Option<Method>,
    /// For paths (with query) that contain this.
    pub path: String,
    /// For this many matching requests, after which the fault is gone.
    pub times: usize,
    /// What is done.
    pub effect: Effect,
}

impl Fault {
    /// A fault for `times` GET requests with `path` in their path.
    pub fn get(path: &str, times: usize, effect: Effect) -> Self {
        Self { method: Some(Method::GET), path: path.to_owned(), times, effect }
    }

    /// A fault for `times` requests of any method.
    pub fn any(path: &str, times: usize, effect: Effect) -> Self {
        Self { method: None, path: path.to_owned(), times, effect }
    }

    /// A fault for requests of one method.
    pub fn on(method: Method, path: &str, times: usize, effect: Effect) -> Self {
        Self { method: Some(method), path: path.to_owned(), times, effect }
    }
}

/// What a server does wrong.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answers with this instead.
    Answer {
        /// Status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: String,
    },
    /// 429 with this many seconds in `Retry-After`, if any.
    RateLimit {
        /// Seconds.
        retry_after: Option<u64>,
    },
    /// Redirects (307) to the same path of another origin, `http://127.0.0.1:1234`.
    Redirect {
        /// The other origin.
        to: String,
    },
    /// Cuts the connection after so many bytes of the body.
    Truncate {
        /// Bytes.
        after: usize,
    },
    /// Ends the body early without any sign of it: no length is announced.
    EndEarly {
        /// Bytes.
        after: usize,
    },
    /// Sends another body of the same length.
    Corrupt,
    /// Replaces a header of the answer.
    Header {
        /// Name.
        name: String,
        /// Value; `None` leaves the header out.
        value: Option<String>,
    },
    /// Takes so many bytes of what is uploaded and cuts the connection.
    CutUpload {
        /// Bytes.
        after: u64,
    },
    /// Closes the connection without an answer.
    Close,
    /// Answers late.
    Delay(Duration),
    /// Pretends not to know ranges.
    IgnoreRange,
}

#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// The fault for a request, which is used up by this.
    pub(super) fn take(&mut self, method: &Method, path: &str) -> Option<Effect> {
        let matches = |fault: &Fault| {
            fault.method.as_ref().is_none_or(|it| it == method) && path.contains(&fault.path)
        };
        let at = self.0.iter().position(matches)?;
        let fault = self.0.get_mut(at)?;
        fault.times = fault.times.saturating_sub(1);
        let effect = fault.effect.clone();
        if fault.times == 0 {
            self.0.remove(at);
        }
        Some(effect)
    }
}

/// The answer of a fault that needs no request to be handled.
pub(super) fn instead(effect: &Effect, path: &str) -> Option<Response> {
    let mut response = Response::new(Body::empty());
    match effect {
        Effect::Answer { status, headers, body } => {
            *response.body_mut() = Body::from(body.clone());
            *response.status_mut() =
                StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) =
                    (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
                {
                    response.headers_mut().append(name, value);
                }
            }
        }
        Effect::RateLimit { retry_after } => {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            *response.body_mut() = Body::from(
                r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"you have reached your pull rate limit"}]}"#,
            );
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
        }
        Effect::Redirect { to } => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            if let Ok(value) = HeaderValue::try_from(format!("{to}{path}")) {
                response.headers_mut().insert(LOCATION, value);
            }
        }
        Effect::Close => return Some(closed()),
        _ => return None,
    }
    Some(response)
}

/// An answer that is never sent: the connection ends instead.
pub(super) fn closed() -> Response {
    let broken = stream::once(async { Err::<Bytes, io::Error>(io::ErrorKind::BrokenPipe.into()) });
    Response::new(Body::from_stream(broken))
}

/// Spoils an answer.
pub(super) async fn spoil(effect: &Effect, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();

    match effect {
        Effect::Truncate { after } => {
            let content = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let start = content.slice(..(*after).min(content.len()));
            let pause = async {
                tokio::time::sleep(Duration::from_millis(30)).await;
                Err(io::Error::from(io::ErrorKind::BrokenPipe))
            };
            let pieces =
                stream::once(async { Ok::<_, io::Error>(start) }).chain(stream::once(pause));
            Response::from_parts(parts, Body::from_stream(pieces))
        }
        Effect::EndEarly { after } => {
            let content = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let start = content.slice(..(*after).min(content.len()));
            parts.headers.remove(CONTENT_LENGTH);
            Response::from_parts(
                parts,
                Body::from_stream(stream::once(async { Ok::<_, Infallible>(start) })),
            )
        }
        Effect::Corrupt => {
            let mut content =
                axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default().to_vec();
            if let Some(last) = content.last_mut() {
                *last ^= 1;
            }
            Response::from_parts(parts, Body::from(content))
        }
        Effect::Header { name, value } => {
            if let Ok(name) = HeaderName::try_from(name.as_str()) {
                parts.headers.remove(&name);
                if let Some(value) =
                    value.as_ref().and_then(|value| HeaderValue::try_from(value.as_str()).ok())
                {
                    parts.headers.insert(name, value);
                }
            }
            Response::from_parts(parts, body)
        }
        _ => Response::from_parts(parts, body),
    }
}
