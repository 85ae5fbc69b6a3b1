//! The distribution specification's end points.
#![expect(
    clippy::result_large_err,
    reason = "an answer that ends a request early is an answer all the same"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, LINK, LOCATION, RANGE,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use oci::{Descriptor, Digest, Digester, Index, Manifest, Reference, identify, media_type};
use reqwest::Url;

use super::access::{Access, basic};
use super::faults::{Effect, closed, instead, spoil};
use super::{Received, State};
use crate::auth::lock;

/// The largest manifest that is taken.
const MANIFEST_LIMIT: usize = 4 << 20;

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(answer).with_state(state)
}

async fn answer(Shared(state): Shared<Arc<State>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let received = received(&request, &path);
    lock(&state.received).push(received);
    let fault = lock(&state.faults).take(request.method(), &path);
    if let Some(effect) = &fault {
        if let Effect::Delay(time) = effect {
            tokio::time::sleep(*time).await;
        }
        if let Some(response) = instead(effect, &path) {
            return response;
        }
    }
    let mut request = request;
    if matches!(fault, Some(Effect::IgnoreRange)) {
        request.headers_mut().remove(RANGE);
    }
    let cut = match fault {
        Some(Effect::CutUpload { after }) => Some(after),
        _ => None,
    };
    let response = handle(&state, request, cut).await.unwrap_or_else(|problem| problem);
    match &fault {
        Some(effect) => spoil(effect, response).await,
        None => response,
    }
}

fn received(request: &Request, path: &str) -> Received {
    let text = |name: HeaderName| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    Received {
        method: request.method().to_string(),
        path: path.to_owned(),
        authorization: text(AUTHORIZATION),
        range: text(RANGE).or_else(|| text(CONTENT_RANGE)),
    }
}

async fn handle(state: &State, request: Request, cut: Option<u64>) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let query = Query::of(parts.uri.query());
    if parts.uri.path() == "/token" {
        return token(state, &parts.method, &parts.headers, &query, body).await;
    }
    let not_found = || problem(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is no such end point");
    let path = parts
        .uri
        .path()
        .strip_prefix("/v2")
        .ok_or_else(not_found)?
        .trim_start_matches('/')
        .to_owned();
    let here = Place::of(&path).ok_or_else(not_found)?;
    if let Some(name) = here.repository()
        && format!("registry.invalid/{name}").parse::<Reference>().is_err()
    {
        return Err(problem(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name"));
    }
    authorize(state, &parts.method, &parts.headers, &here)?;
    let reads = parts.method == Method::GET || parts.method == Method::HEAD;
    match (here, parts.method.as_str()) {
        (Place::Root, "GET" | "HEAD") => Ok(response(StatusCode::OK, "{}")),
        (Place::Catalog, "GET") => {
            let names = lock(&state.storage).repositories();
            Ok(json(&serde_json::json!({ "repositories": names })))
        }
        (Place::Tags(name), "GET") => tags(state, name, &query),
        (Place::Manifest(name, which), _) if reads => {
            let found = lock(&state.storage).manifest(name, which);
            let (descriptor, raw) = found.ok_or_else(|| {
                problem(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
            })?;
            let mut answer = response(StatusCode::OK, Bytes::new());
            describe(&mut answer, &descriptor);
            if parts.method == Method::GET {
                *answer.body_mut() = Body::from(raw);
            }
            Ok(answer)
        }
        (Place::Manifest(name, which), "PUT") => {
            put_manifest(state, name, which, &parts.headers, body).await
        }
        (Place::Manifest(name, which), "DELETE") => {
            let removed = lock(&state.storage).remove_manifest(name, which).map_err(failed)?;
            if removed {
                Ok(response(StatusCode::ACCEPTED, ""))
            } else {
                Err(problem(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"))
            }
        }
        (Place::Blob(name, digest), _) if reads => {
            blob(state, name, digest, &parts.method, &parts.headers)
        }
        (Place::Blob(name, digest), "DELETE") => {
            let removed =
                lock(&state.storage).remove_blob(name, &parse_digest(digest)?).map_err(failed)?;
            if removed {
                Ok(response(StatusCode::ACCEPTED, ""))
            } else {
                Err(problem(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown"))
            }
        }
        (Place::Uploads(name), "POST") => begin(state, name, &query, body).await,
        (Place::Upload(name, id), "GET") => {
            let received = lock(&state.storage)
                .session(name, id)
                .map(|session| session.content.len())
                .ok_or_else(no_upload)?;
            Ok(progress(StatusCode::NO_CONTENT, name, id, received))
        }
        (Place::Upload(name, id), "PATCH") => {
            let received = receive(state, name, id, &parts.headers, body, cut).await?;
            Ok(progress(StatusCode::ACCEPTED, name, id, received))
        }
        (Place::Upload(name, id), "PUT") => {
            receive(state, name, id, &parts.headers, body, cut).await?;
            finish(state, name, id, &query)
        }
        (Place::Upload(name, id), "DELETE") => {
            lock(&state.storage).session(name, id).map(drop).ok_or_else(no_upload)?;
            lock(&state.storage).end(id);
            Ok(response(StatusCode::NO_CONTENT, ""))
        }
        _ => Err(problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "the operation is unsupported",
        )),
    }
}

/// An end point.
#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Catalog,
    Tags(&'a str),
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "" => return Some(Self::Root),
            "_catalog" => return Some(Self::Catalog),
            _ => {}
        }
        if let Some(name) = path.strip_suffix("/tags/list") {
            return Some(Self::Tags(name));
        }
        if let Some(name) = path.trim_end_matches('/').strip_suffix("/blobs/uploads") {
            return Some(Self::Uploads(name));
        }
        if let Some((name, id)) = path.rsplit_once("/blobs/uploads/") {
            return Some(Self::Upload(name, id));
        }
        if let Some((name, digest)) = path.rsplit_once("/blobs/") {
            return Some(Self::Blob(name, digest));
        }
        path.rsplit_once("/manifests/").map(|(name, which)| Self::Manifest(name, which))
    }

    fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Root | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _) => Some(name),
        }
    }
}

/// The parameters of a query or form, in order.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(text: Option<&str>) -> Self {
        let url = Url::parse(&format!("http://q/?{}", text.unwrap_or_default())).ok();
        Self(url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }
}

fn authorize(
    state: &State,
    method: &Method,
    headers: &HeaderMap,
    here: &Place<'_>,
) -> Result<(), Response> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let challenge = match &state.access {
        Access::Open => return Ok(()),
        Access::Basic { user, password } => {
            if basic(authorization)
                .is_some_and(|(name, secret)| name == *user && secret == *password)
            {
                return Ok(());
            }
            "Basic realm=\"crossdock test registry\"".to_owned()
        }
        Access::Bearer { .. } => {
            let action =
                if *method == Method::GET || *method == Method::HEAD { "pull" } else { "push" };
            let repository = here.repository().unwrap_or_default();
            let token = authorization.and_then(|text| text.strip_prefix("Bearer "));
            if token.is_some_and(|token| lock(&state.tokens).allows(token, repository, action)) {
                return Ok(());
            }
            let host =
                headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
            let actions = if action == "push" { "pull,push" } else { "pull" };
            let scope = if repository.is_empty() {
                String::new()
            } else {
                format!(",scope=\"repository:{repository}:{actions}\"")
            };
            format!("Bearer realm=\"http://{host}/token\",service=\"test\"{scope}")
        }
    };
    let mut answer = problem(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
    set(&mut answer, WWW_AUTHENTICATE, &challenge);
    Err(answer)
}

async fn token(
    state: &State,
    method: &Method,
    headers: &HeaderMap,
    query: &Query,
    body: Body,
) -> Result<Response, Response> {
    let Access::Bearer { user, password, identity_token, anonymous_pull, lifetime } = &state.access
    else {
        return Err(problem(StatusCode::NOT_FOUND, "UNSUPPORTED", "there are no tokens here"));
    };
    let form = if *method == Method::POST {
        let text = axum::body::to_bytes(body, 64 << 10)
            .await
            .map_err(|_| problem(StatusCode::BAD_REQUEST, "UNSUPPORTED", "too large"))?;
        Some(Query::of(std::str::from_utf8(&text).ok()))
    } else {
        None
    };
    let (known, wrong) = match &form {
        Some(form) => {
            let refresh =
                identity_token.is_some() && form.get("refresh_token") == identity_token.as_deref();
            let login = form.get("username") == Some(user.as_str())
                && form.get("password") == Some(password.as_str());
            (refresh || login, !(refresh || login))
        }
        None => match basic(headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok())) {
            Some((name, secret)) => {
                (name == *user && secret == *password, name != *user || secret != *password)
            }
            None => (false, false),
        },
    };
    if wrong || !(known || *anonymous_pull) {
        let mut answer =
            response(StatusCode::UNAUTHORIZED, r#"{"details":"incorrect username or password"}"#);
        set(&mut answer, CONTENT_TYPE, "application/json");
        return Err(answer);
    }
    let scopes = form.as_ref().unwrap_or(query).all("scope");
    let token = lock(&state.tokens).issue(&scopes, known, *lifetime);
    Ok(json(
        &serde_json::json!({ "token": token, "access_token": token, "expires_in": lifetime.max(&Duration::from_mins(1)).as_secs() }),
    ))
}

fn tags(state: &State, name: &str, query: &Query) -> Result<Response, Response> {
    let found = lock(&state.storage).tags(name);
    let all = found.ok_or_else(|| {
        problem(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry")
    })?;
    let last = query.get("last").unwrap_or_default();
    let limit = query.get("n").and_then(|text| text.parse().ok()).unwrap_or(usize::MAX);
    let mut rest = all.into_iter().filter(|tag| tag.as_str() > last);
    let tags: Vec<String> = rest.by_ref().take(limit).collect();
    let more = rest.next().is_some();
    let mut answer = json(&serde_json::json!({ "name": name, "tags": tags }));
    if let Some(last) = tags.last().filter(|_| more) {
        set(
            &mut answer,
            LINK,
            &format!("</v2/{name}/tags/list?n={limit}&last={last}>; rel=\"next\""),
        );
    }
    Ok(answer)
}

async fn put_manifest(
    state: &State,
    name: &str,
    which: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Response> {
    let invalid = |message: &str| problem(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message);
    let raw = axum::body::to_bytes(body, MANIFEST_LIMIT).await.map_err(|_| {
        problem(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "manifests have 4 MiB at most")
    })?;
    let came_as = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = identify(&raw, came_as).map_err(|error| invalid(&error.to_string()))?;
    let names: Vec<Digest> = if media_type::is_index(kind) {
        let index: Index =
            serde_json::from_slice(&raw).map_err(|error| invalid(&error.to_string()))?;
        index.manifests.into_iter().map(|it| it.digest).collect()
    } else {
        let manifest: Manifest =
            serde_json::from_slice(&raw).map_err(|error| invalid(&error.to_string()))?;
        let layers = manifest.layers.into_iter().filter(|layer| layer.urls.is_empty());
        std::iter::once(manifest.config).chain(layers).map(|it| it.digest).collect()
    };
    let wanted = which.parse::<Digest>().ok();
    let mut digester = wanted.as_ref().map_or_else(Digester::sha256, Digester::like);
    digester.update(&raw);
    let digest = digester.finish();
    if wanted.as_ref().is_some_and(|wanted| *wanted != digest) {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        ));
    }
    if wanted.is_none() && format!("registry.invalid/{name}:{which}").parse::<Reference>().is_err()
    {
        return Err(problem(StatusCode::BAD_REQUEST, "TAG_INVALID", "invalid tag"));
    }
    let mut storage = lock(&state.storage);
    if let Some(missing) = names.iter().find(|digest| !storage.has(name, digest)) {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "MANIFEST_BLOB_UNKNOWN",
            &format!("{missing} is unknown to the repository"),
        ));
    }
    let descriptor = Descriptor::new(kind, digest, raw.len() as u64);
    let tag = wanted.is_none().then_some(which);
    storage.add_manifest(name, tag, &descriptor, raw).map_err(failed)?;
    let mut answer = response(StatusCode::CREATED, "");
    set(&mut answer, LOCATION, &format!("/v2/{name}/manifests/{}", descriptor.digest));
    set(&mut answer, DIGEST, descriptor.digest.as_str());
    Ok(answer)
}

fn blob(
    state: &State,
    name: &str,
    digest: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Response> {
    let digest = parse_digest(digest)?;
    let found = lock(&state.storage).blob(name, &digest);
    let content = found.ok_or_else(|| {
        problem(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
    })?;
    let mut answer = response(StatusCode::OK, Bytes::new());
    let size = content.len() as u64;
    describe(&mut answer, &Descriptor::new("application/octet-stream", digest, size));
    set(&mut answer, http::header::ACCEPT_RANGES, "bytes");
    let range = headers
        .get(RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.strip_prefix("bytes="));
    let content = match range.and_then(|text| text.split_once('-')) {
        Some((first, last)) => {
            let first: u64 = first.parse().unwrap_or(0);
            let last: u64 = last.parse().unwrap_or(u64::MAX).min(size.saturating_sub(1));
            if first >= size || last < first {
                return Err(problem(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "SIZE_INVALID",
                    "the range is not in the blob",
                ));
            }
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut answer, CONTENT_RANGE, &format!("bytes {first}-{last}/{size}"));
            set(&mut answer, CONTENT_LENGTH, &(last - first + 1).to_string());
            let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            content.slice(index(first)..=index(last))
        }
        None => content,
    };
    if *method == Method::GET {
        *answer.body_mut() = Body::from(content);
    }
    Ok(answer)
}

async fn begin(state: &State, name: &str, query: &Query, body: Body) -> Result<Response, Response> {
    if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from")) {
        let digest = parse_digest(digest)?;
        if lock(&state.storage).mount(name, from, &digest).map_err(failed)? {
            return Ok(created(name, &digest));
        }
    }
    let id = lock(&state.storage).begin(name);
    if query.get("digest").is_some() {
        receive(state, name, &id, &HeaderMap::new(), body, None).await?;
        return finish(state, name, &id, query);
    }
    Ok(progress(StatusCode::ACCEPTED, name, &id, 0))
}

/// Adds a body to an upload; gives how much there is now.
async fn receive(
    state: &State,
    name: &str,
    id: &str,
    headers: &HeaderMap,
    body: Body,
    cut: Option<u64>,
) -> Result<usize, Response> {
    let before = lock(&state.storage)
        .session(name, id)
        .map(|session| session.content.len())
        .ok_or_else(no_upload)?;
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    if range.is_some_and(|range| {
        range.trim_start_matches("bytes ").split('-').next() != Some(before.to_string().as_str())
    }) {
        return Err(progress(StatusCode::RANGE_NOT_SATISFIABLE, name, id, before));
    }
    let mut taken = 0;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { return Err(closed()) };
        let left = cut.map_or(u64::MAX, |cut| cut - taken);
        let piece = piece.slice(..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        taken += piece.len() as u64;
        lock(&state.storage)
            .session(name, id)
            .ok_or_else(no_upload)?
            .content
            .extend_from_slice(&piece);
        if cut.is_some_and(|cut| taken >= cut) {
            return Err(closed());
        }
    }
    lock(&state.storage)
        .session(name, id)
        .map(|session| session.content.len())
        .ok_or_else(no_upload)
}

fn finish(state: &State, name: &str, id: &str, query: &Query) -> Result<Response, Response> {
    let digest = parse_digest(query.get("digest").unwrap_or_default())?;
    let mut storage = lock(&state.storage);
    let session = storage.end(id).ok_or_else(no_upload)?;
    let mut digester = Digester::like(&digest);
    digester.update(&session.content);
    if digester.finish() != digest {
        return Err(problem(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        ));
    }
    storage.add_blob(&session.repository, &digest, session.content.freeze()).map_err(failed)?;
    Ok(created(name, &digest))
}

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

fn parse_digest(text: &str) -> Result<Digest, Response> {
    text.parse().map_err(|_| problem(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "malformed digest"))
}

fn no_upload() -> Response {
    problem(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

fn created(name: &str, digest: &Digest) -> Response {
    let mut answer = response(StatusCode::CREATED, "");
    set(&mut answer, LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set(&mut answer, DIGEST, digest.as_str());
    answer
}

fn progress(status: StatusCode, name: &str, id: &str, received: usize) -> Response {
    let mut answer = response(status, "");
    set(&mut answer, LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    set(&mut answer, RANGE, &format!("0-{}", received.saturating_sub(1)));
    answer
}

fn describe(answer: &mut Response, descriptor: &Descriptor) {
    set(answer, CONTENT_TYPE, &descriptor.media_type);
    set(answer, CONTENT_LENGTH, &descriptor.size.to_string());
    set(answer, DIGEST, descriptor.digest.as_str());
}

fn response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));
    answer
}

fn json(value: &serde_json::Value) -> Response {
    let mut answer = response(StatusCode::OK, value.to_string());
    set(&mut answer, CONTENT_TYPE, "application/json");
    answer
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    let body: BTreeMap<&str, _> =
        [("errors", [serde_json::json!({ "code": code, "message": message })])].into();
    let mut answer = response(status, serde_json::to_vec(&body).unwrap_or_default());
    set(&mut answer, CONTENT_TYPE, "application/json");
    answer
}

#[expect(clippy::needless_pass_by_value, reason = "used as the last step of error chains")]
fn failed(error: std::io::Error) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &error.to_string())
}

fn set(answer: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        answer.headers_mut().insert(name, value);
    }
}
