use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use oci::{Descriptor, Digest, Digester, Reference, identify, media_type};
use reqwest::Url;
use tokio::sync::OnceCell;

use crate::RegistryError;
use crate::answer::{read_bounded, refusal};
use crate::auth::{Scopes, lock};
use crate::credentials::{Credential, Credentials, NoCredentials, StaticCredentials};
use crate::endpoint::Endpoint;
use crate::hosts::{Capability, Hosts};
use crate::origin::same_domain;
use crate::pull::Pull;
use crate::retry::RetryOptions;
use crate::tls::{TlsSettings, http_client};
use crate::transfer::{BlobSink, ProgressFn};
use crate::transport::{Answer, Call, Target, Transport};

/// The largest manifest or index that is read, as the distribution specification proposes.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// Takes a line for the user.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// How a client behaves.
#[derive(Clone)]
pub struct ClientOptions {
    /// Mirrors, certificates, plain HTTP.
    pub hosts: Hosts,
    /// Who one is.
    pub credentials: Arc<dyn Credentials>,
    /// Sent with each request.
    pub user_agent: String,
    /// Proxies; nothing is taken from the environment.
    pub proxy: ProxyOptions,
    /// When to try again.
    pub retry: RetryOptions,
    /// Where layers with `urls` are fetched that the registry does not hold itself.
    pub foreign_layers: ForeignLayers,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    pub response_timeout: Duration,
    /// Uploads go in pieces of at most this size; `None` sends a blob in one, which all registries accept.
    pub upload_chunk: Option<u64>,
    /// Told in a line when there is a wait of some seconds before something is tried again.
    pub notice: Option<Notice>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            hosts: Hosts::default(),
            credentials: Arc::new(NoCredentials),
            user_agent: concat!("crossdock/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxy: ProxyOptions::default(),
            retry: RetryOptions::default(),
            foreign_layers: ForeignLayers::SameDomain,
            connect_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_mins(1),
            upload_chunk: None,
            notice: None,
        }
    }
}

/// Proxies, as in `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. This machine is always reached directly.
#[derive(Clone, Debug, Default)]
pub struct ProxyOptions {
    /// For `http` URLs.
    pub http: Option<String>,
    /// For `https` URLs.
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached directly, separated by commas.
    pub no_proxy: String,
}

/// Where layers are fetched whose descriptor has `urls`, when the registry has no such blob. Credentials never go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignLayers {
    /// Nowhere.
    Refuse,
    /// From servers of the registry's own domain, and from Microsoft's registry, whose bases of old are what such layers
    /// are of, wherever the image is kept.
    SameDomain,
    /// From any server, over TLS.
    Anywhere,
}

const MICROSOFT_REGISTRY: &str = "mcr.microsoft.com";

/// Talks to registries. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
    resolved: Arc<Mutex<BTreeMap<Reference, Arc<OnceCell<Descriptor>>>>>,
}

impl Client {
    /// A client. Opens no connection yet.
    pub fn new(options: ClientOptions) -> Self {
        Self { transport: Arc::new(Transport::new(options)), resolved: Arc::default() }
    }

    /// What `reference` names: media type, digest and size of a manifest or index. Asks the registry each time.
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let path = manifest_path(reference, reference.digest());
        let what = reference.familiar();
        self.across(reference, read_capability(reference), async |to| {
            let mut call = Call::new(
                Method::HEAD,
                Target::Path(&path),
                Scopes::pull(reference.repository()),
                &what,
            );
            call.headers = accept_manifests();
            let answer = self.transport.send(to, &call).await?;
            match answer.status() {
                StatusCode::OK => {
                    if let Some(found) = described(to, reference, &answer)? {
                        return Ok(found);
                    }
                }
                // Not every registry knows HEAD; the body tells the same, and more about a failure.
                StatusCode::NOT_FOUND => return Err(self.refuse(to, &what, answer).await),
                _ => {}
            }
            let fetch = async || self.fetch_manifest(to, reference, reference.digest(), None).await;
            Ok(self.transport.retrying(to, fetch).await?.0)
        })
        .await
    }

    /// As [`Self::resolve`], but asks once in the life of this client and gives all callers the same answer, however many
    /// ask at the same moment.
    pub async fn resolve_once(&self, reference: &Reference) -> Result<Descriptor, RegistryError> {
        let cell = Arc::clone(lock(&self.resolved).entry(reference.clone()).or_default());
        cell.get_or_try_init(async || self.resolve(reference).await).await.cloned()
    }

    /// A manifest or index: its descriptor and its bytes, which have the digest that was asked for.
    ///
    /// With `expected` it is fetched by that digest and must have that size and, where it is given, that media type;
    /// without, by the digest or tag of `reference`.
    pub async fn manifest(
        &self,
        reference: &Reference,
        expected: Option<&Descriptor>,
    ) -> Result<(Descriptor, Bytes), RegistryError> {
        let capability =
            if expected.is_some() { Capability::Pull } else { read_capability(reference) };
        let digest = expected.map(|expected| &expected.digest).or(reference.digest());
        self.across(reference, capability, async |to| {
            // A body that breaks off is asked for again like a request that does.
            self.transport
                .retrying(to, async || self.fetch_manifest(to, reference, digest, expected).await)
                .await
        })
        .await
    }

    async fn fetch_manifest(
        &self,
        to: &Endpoint,
        reference: &Reference,
        digest: Option<&Digest>,
        expected: Option<&Descriptor>,
    ) -> Result<(Descriptor, Bytes), RegistryError> {
        let path = manifest_path(reference, digest);
        let what = digest.map_or_else(
            || reference.familiar(),
            |digest| format!("{}@{digest}", reference.name()),
        );
        if expected.is_some_and(|expected| expected.size > MANIFEST_LIMIT) {
            return Err(RegistryError::TooLarge {
                host: to.name.clone(),
                what,
                limit: MANIFEST_LIMIT,
            });
        }
        let mut call = Call::new(
            Method::GET,
            Target::Path(&path),
            Scopes::pull(reference.repository()),
            &what,
        );
        call.headers = accept_manifests();
        let answer = self.transport.send_once(to, &call).await?;
        if answer.status() != StatusCode::OK {
            return Err(self.refuse(to, &what, answer).await);
        }
        let came_as = answer.header(CONTENT_TYPE).map(str::to_owned);
        let timeout = self.transport.options.response_timeout;
        let raw = read_bounded(to, &what, timeout, answer.response, MANIFEST_LIMIT).await?;
        let found = digest_like(&raw, digest);
        if let Some(digest) = digest.filter(|digest| **digest != found) {
            let (host, size) = (to.name.clone(), raw.len() as u64);
            return Err(RegistryError::Mismatch {
                host,
                what,
                expected: digest.clone(),
                found,
                size,
            });
        }
        if let Some(expected) = expected.filter(|expected| expected.size != raw.len() as u64) {
            let (host, found) = (to.name.clone(), raw.len() as u64);
            return Err(RegistryError::Size { host, what, expected: expected.size, found });
        }
        let unusable = |source: crate::error::Cause| RegistryError::Manifest {
            host: to.name.clone(),
            what: what.clone(),
            source,
        };
        let media_type =
            identify(&raw, came_as.as_deref()).map_err(|error| unusable(error.into()))?;
        if let Some(expected) = expected.filter(|expected| !expected.media_type.is_empty()) {
            identify(&raw, Some(&expected.media_type)).map_err(|error| unusable(error.into()))?;
        }
        Ok((Descriptor::new(media_type, found, raw.len() as u64), raw))
    }

    /// Writes the bytes of a blob to `sink`, from where the sink ends. When this returns, the sink holds all of them and
    /// their digest was checked; when it fails with [`RegistryError::Mismatch`] or [`RegistryError::Size`], the sink is
    /// empty; otherwise it holds a beginning that a later call goes on from.
    pub async fn pull_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        sink: &mut dyn BlobSink,
        progress: &ProgressFn,
    ) -> Result<(), RegistryError> {
        let what = format!("blob {}", blob.digest);
        let path = format!("{}/blobs/{}", reference.repository(), blob.digest);
        let mut pull = Pull::new(blob, sink, progress, &what)?;
        let outcome = self.across_mut(reference, Capability::Pull, async |to| {
            let call = Call::new(
                Method::GET,
                Target::Path(&path),
                Scopes::pull(reference.repository()),
                &what,
            );
            pull.run(&self.transport, to, &call).await
        });
        let error = match outcome.await {
            Err(error) if error.is_not_found() && !blob.urls.is_empty() => error,
            outcome => return outcome,
        };
        for url in self.foreign_urls(reference, blob) {
            let endpoint = Endpoint::foreign(&url, &self.transport.options.hosts);
            let call = Call::new(Method::GET, Target::Url(&url), Scopes::default(), &what);
            if pull.run(&self.transport, &endpoint, &call).await.is_ok() {
                return Ok(());
            }
        }
        Err(error)
    }

    /// Those of a blob's own URLs that may be asked.
    fn foreign_urls(&self, reference: &Reference, blob: &Descriptor) -> Vec<Url> {
        let own = crate::origin::host_of(reference.registry());
        let allowed = |url: &Url| match self.transport.options.foreign_layers {
            _ if url.scheme() != "https" || !url.username().is_empty() => false,
            ForeignLayers::Refuse => false,
            ForeignLayers::SameDomain => url
                .host_str()
                .is_some_and(|host| same_domain(own, host) || host == MICROSOFT_REGISTRY),
            ForeignLayers::Anywhere => {
                url.host_str().is_some_and(|host| !crate::origin::is_beside(host))
            }
        };
        blob.urls.iter().take(8).filter_map(|url| Url::parse(url).ok()).filter(allowed).collect()
    }

    /// Whether a registry accepts `credential`; for `login`. Asks only the registry itself, no mirror.
    pub async fn check_login(
        &self,
        registry: &str,
        credential: &Credential,
    ) -> Result<(), RegistryError> {
        let mut options = self.transport.options.clone();
        options.credentials =
            Arc::new(StaticCredentials([(registry.to_owned(), credential.clone())].into()));
        let transport = Transport::new(options);
        let endpoints = transport.endpoints(registry)?;
        let Some(to) = endpoints.last() else { return Ok(()) };
        let answer = transport
            .send(to, &Call::new(Method::GET, Target::Path(""), Scopes::default(), "a login"))
            .await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(refusal(to, "a login", true, answer.response).await)
    }

    /// A plain HTTP client with this client's proxies and the system's certificates, for servers that are no registries:
    /// it follows no redirects and knows no credentials.
    pub fn web_client(&self) -> Result<reqwest::Client, RegistryError> {
        http_client(Some(&TlsSettings::default()), false, &self.transport.options, "the server")
    }

    pub(crate) async fn refuse(&self, to: &Endpoint, what: &str, answer: Answer) -> RegistryError {
        refusal(to, what, self.transport.auth.has_credentials(to), answer.response).await
    }

    /// Asks the places for a registry in order, until one has an answer. If none has, the registry's own failure counts.
    pub(crate) async fn across<T, F>(
        &self,
        reference: &Reference,
        capability: Capability,
        mut ask: F,
    ) -> Result<T, RegistryError>
    where
        F: AsyncFnMut(&Endpoint) -> Result<T, RegistryError>,
    {
        self.across_mut(reference, capability, async |to| ask(to).await).await
    }

    async fn across_mut<T, F>(
        &self,
        reference: &Reference,
        capability: Capability,
        mut ask: F,
    ) -> Result<T, RegistryError>
    where
        F: AsyncFnMut(&Endpoint) -> Result<T, RegistryError>,
    {
        let endpoints = self.transport.endpoints(reference.registry())?;
        let usable = endpoints.iter().filter(|to| to.capabilities.contains(&capability));
        let mut last = None;
        for to in usable {
            if to.stands_for.is_some() && self.transport.is_dead(to) {
                continue;
            }
            match ask(to).await {
                Err(error)
                    if !matches!(
                        error,
                        RegistryError::Sink { .. } | RegistryError::Source { .. }
                    ) =>
                {
                    last = Some(error);
                }
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(|| RegistryError::Address {
            url: reference.registry().to_owned(),
            reason: "no place is left to ask",
        }))
    }
}

/// A digest in `reference` needs no trust in whoever answers; a tag does.
fn read_capability(reference: &Reference) -> Capability {
    if reference.digest().is_some() { Capability::Pull } else { Capability::Resolve }
}

fn manifest_path(reference: &Reference, digest: Option<&Digest>) -> String {
    let name = digest.map(Digest::as_str).or(reference.tag()).unwrap_or("latest");
    format!("{}/manifests/{name}", reference.repository())
}

fn accept_manifests() -> HeaderMap {
    let types = [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_INDEX,
        media_type::DOCKER_MANIFEST,
    ];
    types
        .into_iter()
        .map(|text| (ACCEPT, HeaderValue::from_static(text)))
        .chain([(ACCEPT, HeaderValue::from_static("*/*"))])
        .collect()
}

fn digest_like(raw: &[u8], wanted: Option<&Digest>) -> Digest {
    let mut digester = wanted.map_or_else(Digester::sha256, Digester::like);
    digester.update(raw);
    digester.finish()
}

/// The descriptor that an answer to HEAD gives; `None` where it does not say enough.
fn described(
    to: &Endpoint,
    reference: &Reference,
    answer: &Answer,
) -> Result<Option<Descriptor>, RegistryError> {
    let header: Option<Digest> = match answer.header("docker-content-digest") {
        Some(text) => Some(text.parse().map_err(|_| RegistryError::Protocol {
            host: to.name.clone(),
            message: "its `Docker-Content-Digest` is no digest".to_owned(),
        })?),
        None => None,
    };
    if let (Some(expected), Some(found)) = (reference.digest(), &header)
        && expected != found
        && expected.algorithm() == found.algorithm()
    {
        return Err(RegistryError::Mismatch {
            host: to.name.clone(),
            what: reference.familiar(),
            expected: expected.clone(),
            found: found.clone(),
            size: 0,
        });
    }
    let media_type =
        answer.header(CONTENT_TYPE).map(|text| text.split(';').next().unwrap_or(text).trim());
    let media_type =
        media_type.filter(|text| media_type::is_index(text) || media_type::is_manifest(text));
    let size = answer
        .header(CONTENT_LENGTH)
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|size| *size > 0);
    let digest = reference.digest().cloned().or(header);
    let (Some(media_type), Some(size), Some(digest)) = (media_type, size, digest) else {
        return Ok(None);
    };
    if size > MANIFEST_LIMIT {
        return Err(RegistryError::TooLarge {
            host: to.name.clone(),
            what: reference.familiar(),
            limit: MANIFEST_LIMIT,
        });
    }
    Ok(Some(Descriptor::new(media_type, digest, size)))
}
