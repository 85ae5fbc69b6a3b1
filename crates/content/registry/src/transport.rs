//! One request: along redirects, with authentication, again where it may succeed the next time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};

use crate::RegistryError;
use crate::answer::{after_head, refusal};
use crate::auth::{Auth, Scopes, lock};
use crate::client::ClientOptions;
use crate::endpoint::Endpoint;
use crate::origin::{is_beside, is_loopback, same};
use crate::tls::{TlsSettings, http_client};
use crate::transfer::{BlobSource, ProgressFn};
use crate::upload::Upload;

/// A request to an endpoint.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body<'a>,
    pub(crate) scopes: Scopes,
    /// For messages: `docker.io/library/busybox:latest`, `blob sha256:…`.
    pub(crate) what: &'a str,
}

/// Where a request goes.
pub(crate) enum Target<'a> {
    /// Beneath the endpoint's root, with a query after a `?`.
    Path(&'a str),
    /// Where the registry said.
    Url(&'a Url),
}

/// What a request carries.
pub(crate) enum Body<'a> {
    None,
    Bytes(Bytes),
    /// `length` bytes of a source from `offset` on, as they are read.
    Stream {
        source: &'a Arc<dyn BlobSource>,
        offset: u64,
        length: u64,
        progress: &'a ProgressFn,
    },
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, target: Target<'a>, scopes: Scopes, what: &'a str) -> Self {
        Self { method, target, headers: HeaderMap::new(), body: Body::None, scopes, what }
    }
}

/// What came back, and from where.
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) url: Url,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }
}

/// How a place was found lately.
#[derive(Default)]
struct Health {
    /// Nothing is to be sent before this moment.
    quiet_until: Mutex<Option<Instant>>,
    /// It answered at least once.
    reached: AtomicBool,
    /// It cannot be reached at all; of interest for mirrors, which are then left out.
    dead: AtomicBool,
}

pub(crate) struct Transport {
    pub(crate) options: ClientOptions,
    pub(crate) auth: Auth,
    /// By how TLS is verified (plain HTTP without) and whether proxies are left aside.
    clients: Mutex<BTreeMap<(Option<TlsSettings>, bool), reqwest::Client>>,
    endpoints: Mutex<BTreeMap<String, Arc<Vec<Endpoint>>>>,
    health: Mutex<BTreeMap<String, Arc<Health>>>,
}

const REDIRECTS: u32 = 10;

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Self {
        let auth = Auth::new(Arc::clone(&options.credentials));
        Self {
            options,
            auth,
            clients: Mutex::default(),
            endpoints: Mutex::default(),
            health: Mutex::default(),
        }
    }

    /// The places for `registry`, mirrors first.
    pub(crate) fn endpoints(&self, registry: &str) -> Result<Arc<Vec<Endpoint>>, RegistryError> {
        if let Some(known) = lock(&self.endpoints).get(registry) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(Endpoint::all(registry, &self.options.hosts)?);
        Ok(Arc::clone(lock(&self.endpoints).entry(registry.to_owned()).or_insert(found)))
    }

    /// The root of the endpoint's API.
    pub(crate) async fn base<'e>(&self, to: &'e Endpoint) -> Result<&'e Url, RegistryError> {
        let probe = async |base: &Url| {
            let request = self.client(to, base, true)?.get(base.clone());
            after_head(to, "its API", self.options.response_timeout, request.send()).await.map(drop)
        };
        to.base(probe).await
    }

    /// Sends a request, again where that may help. Statuses that ask for another try (408, 429, 5xx) end as errors; all
    /// others come back. Not for streamed bodies: whoever sends one must first find out what arrived.
    pub(crate) async fn send(
        &self,
        to: &Endpoint,
        call: &Call<'_>,
    ) -> Result<Answer, RegistryError> {
        self.retrying(to, async || self.send_once(to, call).await).await
    }

    /// Does `work`, again where its failure may pass.
    pub(crate) async fn retrying<T, F>(
        &self,
        to: &Endpoint,
        mut work: F,
    ) -> Result<T, RegistryError>
    where
        F: AsyncFnMut() -> Result<T, RegistryError>,
    {
        let mut failures = 0;
        loop {
            let error = match work().await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            failures += 1;
            match self.wait_after(to, &error, failures) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    /// How long to wait after failure number `failures` of a kind of work before it is tried again, if it is.
    pub(crate) fn wait_after(
        &self,
        to: &Endpoint,
        error: &RegistryError,
        failures: u32,
    ) -> Option<Duration> {
        let health = self.health(to);
        let told = match error {
            // A server that was there a moment ago may be starting again; one that never was is not waited for.
            RegistryError::ConnectionRefused { .. } | RegistryError::Dns { .. }
                if health.reached.load(Ordering::Relaxed) =>
            {
                None
            }
            RegistryError::ConnectionRefused { .. }
            | RegistryError::Dns { .. }
            | RegistryError::Tls { .. } => {
                health.dead.store(true, Ordering::Relaxed);
                return None;
            }
            error if !error.is_transient() => return None,
            RegistryError::RateLimited { retry_after, .. }
            | RegistryError::Server { retry_after, .. } => *retry_after,
            _ => None,
        };
        // Behind a mirror there is another place to ask; and a place that never answered hardly begins to.
        let patient = to.stands_for.is_none() && health.reached.load(Ordering::Relaxed);
        if !patient && failures >= 2 {
            return None;
        }
        let wait = self.options.retry.delay(failures, told)?;
        if let Some(told) = told {
            // Not only this request: the others that are under way would be refused as well.
            *lock(&health.quiet_until) = Some(Instant::now() + told);
        }
        // Short waits are nobody's business; in a long one a user wonders.
        if let Some(notice) =
            self.options.notice.as_ref().filter(|_| wait >= Duration::from_secs(2))
        {
            notice(&format!("{error}; trying again in {} s", wait.as_secs()));
        }
        Some(wait)
    }

    /// Whether an endpoint was found to be unreachable.
    pub(crate) fn is_dead(&self, to: &Endpoint) -> bool {
        self.health(to).dead.load(Ordering::Relaxed)
    }

    /// Sends a request once, along redirects, and a second time if the registry asks who it is from.
    pub(crate) async fn send_once(
        &self,
        to: &Endpoint,
        call: &Call<'_>,
    ) -> Result<Answer, RegistryError> {
        let health = self.health(to);
        let quiet_until = *lock(&health.quiet_until);
        if let Some(wait) =
            quiet_until.and_then(|until| until.checked_duration_since(Instant::now()))
        {
            tokio::time::sleep(wait).await;
        }
        let base = self.base(to).await?;
        let mut url = match &call.target {
            Target::Path(path) => beneath(base, path, to.stands_for.as_deref()),
            Target::Url(url) => {
                check_hop(to, base, url)?;
                (*url).clone()
            }
        };
        let start = url.clone();
        let mut authorization = self.auth.header(self, to, base, &call.scopes).await?;
        let mut challenged = false;
        let mut hops = 0;
        loop {
            let at_home = same(base, &url);
            let response = self
                .exchange(to, call, &url, authorization.clone().filter(|_| at_home), at_home)
                .await?;
            health.reached.store(true, Ordering::Relaxed);
            let status = response.status();
            if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                hops += 1;
                url = next_hop(to, base, &url, call, &response, hops)?;
                continue;
            }
            if status == StatusCode::UNAUTHORIZED && at_home && !challenged {
                challenged = true;
                let header = self
                    .auth
                    .challenged(
                        self,
                        to,
                        base,
                        response.headers(),
                        &call.scopes,
                        authorization.as_ref(),
                    )
                    .await?;
                if header.is_some() {
                    authorization = header;
                    url = start.clone();
                    hops = 0;
                    continue;
                }
            }
            let refused_elsewhere = !at_home && matches!(status.as_u16(), 401 | 403);
            if refused_elsewhere || status.is_server_error() || matches!(status.as_u16(), 408 | 429)
            {
                let error = refusal(to, call.what, self.auth.has_credentials(to), response).await;
                return Err(match error {
                    RegistryError::Unauthorized { what, message, .. }
                    | RegistryError::Denied { what, message, .. } => {
                        let host = url.host_str().unwrap_or_default().to_owned();
                        RegistryError::Refused { host, what, status, message }
                    }
                    other => other,
                });
            }
            return Ok(Answer { response, url });
        }
    }

    async fn exchange(
        &self,
        to: &Endpoint,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<HeaderValue>,
        at_home: bool,
    ) -> Result<Response, RegistryError> {
        let mut request = self
            .client(to, url, at_home)?
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let timeout = self.options.response_timeout;
        match &call.body {
            Body::None => after_head(to, call.what, timeout, request.send()).await,
            Body::Bytes(bytes) => {
                after_head(to, call.what, timeout, request.body(bytes.clone()).send()).await
            }
            Body::Stream { source, offset, length, progress } => {
                Upload::start(source, *offset, *length, progress)
                    .send(to, call.what, timeout, request)
                    .await
            }
        }
    }

    /// A request to a token server: no redirects, no challenge.
    pub(crate) async fn token_request(
        &self,
        to: &Endpoint,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: &Bytes,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let at_home = self.base(to).await?.host_str() == url.host_str();
        let client = self.client(to, url, at_home)?;
        let send = async || {
            let request = client.request(method.clone(), url.clone()).headers(headers.clone());
            let request = if body.is_empty() { request } else { request.body(body.clone()) };
            let response =
                after_head(to, what, self.options.response_timeout, request.send()).await?;
            let status = response.status();
            if status.is_server_error() || matches!(status.as_u16(), 408 | 429) {
                return Err(refusal(to, what, self.auth.has_credentials(to), response).await);
            }
            Ok(response)
        };
        self.retrying(to, send).await
    }

    /// The HTTP client for a URL that an endpoint led to. Elsewhere neither client certificate nor the leave to skip
    /// verification go along.
    fn client(
        &self,
        to: &Endpoint,
        url: &Url,
        at_home: bool,
    ) -> Result<reqwest::Client, RegistryError> {
        let tls = if at_home {
            to.tls.clone()
        } else {
            TlsSettings { ca: to.tls.ca.clone(), ..TlsSettings::default() }
        };
        let direct = url.host_str().is_some_and(is_loopback);
        // Plain HTTP has a client of its own, so that nobody reads certificates for it.
        let key = ((url.scheme() == "https").then_some(tls), direct);
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = http_client(key.0.as_ref(), direct, &self.options, &to.name)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn health(&self, to: &Endpoint) -> Arc<Health> {
        Arc::clone(lock(&self.health).entry(to.name.clone()).or_default())
    }
}

/// The URL of a path beneath the root of an API. A mirror is told for which registry it is asked.
fn beneath(base: &Url, path: &str, stands_for: Option<&str>) -> Url {
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path()));
    url.set_query(query);
    if let Some(registry) = stands_for {
        url.query_pairs_mut().append_pair("ns", registry);
    }
    url
}

/// Where a redirect leads, if one goes there.
fn next_hop(
    to: &Endpoint,
    base: &Url,
    from: &Url,
    call: &Call<'_>,
    response: &Response,
    hops: u32,
) -> Result<Url, RegistryError> {
    let location =
        response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refuse = |reason| RegistryError::Redirect {
        host: to.name.clone(),
        to: location.chars().take(200).collect(),
        reason,
    };
    if hops > REDIRECTS {
        return Err(refuse("there were too many redirects before it"));
    }
    let reads = call.method == Method::GET || call.method == Method::HEAD;
    if !reads && matches!(response.status().as_u16(), 301..=303) {
        return Err(refuse("a write cannot follow this kind of redirect"));
    }
    let url = from
        .join(location)
        .ok()
        .filter(|_| !location.is_empty())
        .ok_or_else(|| refuse("it is no URL"))?;
    check_hop(to, base, &url)?;
    Ok(url)
}

/// Whether a URL that a registry gave may be asked at all. Credentials never go to another origin; this is about the rest.
fn check_hop(to: &Endpoint, base: &Url, url: &Url) -> Result<(), RegistryError> {
    let reason = if !matches!(url.scheme(), "http" | "https") {
        "only http and https are followed"
    } else if !url.username().is_empty() || url.password().is_some() {
        "it has a user name"
    } else if base.scheme() == "https" && url.scheme() == "http" {
        "it leaves TLS"
    } else if !to.loopback
        && url.host_str().is_none_or(is_beside)
        && url.host_str() != base.host_str()
    {
        "it leads to this machine or its network neighbourhood"
    } else {
        return Ok(());
    };
    // A query may be a signature that gives access.
    let shown =
        url.as_str().split(['?', '#']).next().unwrap_or_default().chars().take(200).collect();
    Err(RegistryError::Redirect { host: to.name.clone(), to: shown, reason })
}
