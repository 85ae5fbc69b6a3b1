//! Who a request is from: credentials by endpoint, and the tokens they were exchanged for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};

use crate::RegistryError;
use crate::answer::{read_bounded, refusal};
use crate::challenge::{Challenge, challenges};
use crate::credentials::{Credential, Credentials};
use crate::endpoint::Endpoint;
use crate::origin::{self, RealmTrust};
use crate::transport::Transport;

/// What requests need to be allowed: for each repository the actions `pull` and `push`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scopes(BTreeMap<String, bool>);

impl Scopes {
    pub(crate) fn pull(repository: &str) -> Self {
        Self([(repository.to_owned(), false)].into())
    }

    pub(crate) fn push(repository: &str) -> Self {
        Self([(repository.to_owned(), true)].into())
    }

    /// The same, and reading another repository.
    #[must_use]
    pub(crate) fn and_pull(mut self, repository: &str) -> Self {
        self.0.entry(repository.to_owned()).or_insert(false);
        self
    }

    fn texts(&self) -> Vec<String> {
        let text = |(repository, push): (&String, &bool)| {
            format!("repository:{repository}:{}", if *push { "pull,push" } else { "pull" })
        };
        self.0.iter().map(text).collect()
    }

    /// Adds what a challenge asks for beyond this; what is neither `pull` nor `push` stays as it is written.
    fn merged(&self, asked: Option<&str>) -> Vec<String> {
        let mut texts = self.texts();
        for scope in asked.unwrap_or_default().split_ascii_whitespace().take(16) {
            let covered = scope
                .strip_prefix("repository:")
                .and_then(|rest| rest.rsplit_once(':'))
                .is_some_and(|(name, actions)| {
                    self.0.get(name).is_some_and(|push| {
                        actions
                            .split(',')
                            .all(|action| action == "pull" || (action == "push" && *push))
                    })
                });
            if !covered && !texts.iter().any(|text| text == scope) {
                texts.push(scope.to_owned());
            }
        }
        texts
    }
}

/// What an endpoint was found to want.
#[derive(Clone)]
enum Scheme {
    Basic,
    Bearer { realm: Url, trust: RealmTrust, service: Option<String> },
}

struct Token {
    header: HeaderValue,
    until: Instant,
}

type TokenSlot = Arc<AsyncMutex<Option<Token>>>;

pub(crate) struct Auth {
    credentials: Arc<dyn Credentials>,
    asked: Mutex<BTreeMap<String, Arc<OnceCell<Option<Credential>>>>>,
    schemes: Mutex<BTreeMap<String, Scheme>>,
    tokens: Mutex<BTreeMap<(String, Scopes), TokenSlot>>,
}

impl Auth {
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            asked: Mutex::default(),
            schemes: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// The header for a request, as far as it is known without being asked.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        to: &Endpoint,
        base: &Url,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let scheme = lock(&self.schemes).get(base.as_str()).cloned();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => self.basic(to, base).await,
            Some(Scheme::Bearer { realm, trust, service }) => {
                let slot = self.slot(base, scopes);
                let mut token = slot.lock().await;
                if let Some(held) = token.as_ref().filter(|held| held.until > Instant::now()) {
                    return Ok(Some(held.header.clone()));
                }
                let fresh = self
                    .exchange(
                        transport,
                        to,
                        base,
                        &realm,
                        trust,
                        service.as_deref(),
                        &scopes.texts(),
                    )
                    .await?;
                let header = fresh.header.clone();
                *token = Some(fresh);
                Ok(Some(header))
            }
        }
    }

    /// The header for a request that was answered with 401. `used` is the header it had. `None`: there is nothing
    /// better to send.
    pub(crate) async fn challenged(
        &self,
        transport: &Transport,
        to: &Endpoint,
        base: &Url,
        headers: &HeaderMap,
        scopes: &Scopes,
        used: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if to.anonymous {
            return Ok(None);
        }
        let challenges = challenges(headers);
        let mut refused = None;
        for challenge in &challenges {
            let Challenge::Bearer { realm, service, scope } = challenge else { continue };
            let (realm, trust) = match origin::realm(base, realm, &to.realms) {
                Ok(found) => found,
                Err(reason) => {
                    let shown = realm.chars().filter(|c| !c.is_control()).take(200).collect();
                    refused =
                        Some(RegistryError::Realm { host: to.name.clone(), realm: shown, reason });
                    continue;
                }
            };
            lock(&self.schemes).insert(
                base.as_str().to_owned(),
                Scheme::Bearer { realm: realm.clone(), trust, service: service.clone() },
            );
            let slot = self.slot(base, scopes);
            let mut token = slot.lock().await;
            // Another request may have got a new token in the meantime.
            if let Some(held) = token
                .as_ref()
                .filter(|held| Some(&held.header) != used && held.until > Instant::now())
            {
                return Ok(Some(held.header.clone()));
            }
            let texts = scopes.merged(scope.as_deref());
            let fresh = self
                .exchange(transport, to, base, &realm, trust, service.as_deref(), &texts)
                .await?;
            let header = fresh.header.clone();
            *token = Some(fresh);
            return Ok(Some(header));
        }
        if challenges.contains(&Challenge::Basic) {
            lock(&self.schemes).insert(base.as_str().to_owned(), Scheme::Basic);
            return Ok(self.basic(to, base).await?.filter(|header| Some(header) != used));
        }
        refused.map_or(Ok(None), Err)
    }

    /// Whether there are credentials for an endpoint at all, for messages. Asks nobody.
    pub(crate) fn has_credentials(&self, to: &Endpoint) -> bool {
        lock(&self.asked)
            .get(&to.name)
            .and_then(|cell| cell.get().map(Option::is_some))
            .unwrap_or(false)
    }

    async fn basic(&self, to: &Endpoint, base: &Url) -> Result<Option<HeaderValue>, RegistryError> {
        Ok(match self.credential(to, base).await? {
            Some(Credential::Basic { user, password }) => Some(basic_header(&user, &password)),
            Some(Credential::RegistryToken(token)) => bearer_header(&token),
            _ => None,
        })
    }

    /// The credential that may be sent to the endpoint.
    async fn credential(
        &self,
        to: &Endpoint,
        base: &Url,
    ) -> Result<Option<Credential>, RegistryError> {
        if to.anonymous || (base.scheme() != "https" && !to.plain_credentials) {
            return Ok(None);
        }
        let cell = Arc::clone(lock(&self.asked).entry(to.name.clone()).or_default());
        let ask = async || {
            let (credentials, name) = (Arc::clone(&self.credentials), to.name.clone());
            let asked = tokio::task::spawn_blocking(move || credentials.credential(&name)).await;
            let failed = |source| RegistryError::Credentials { host: to.name.clone(), source };
            asked
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
                .map_err(failed)
        };
        cell.get_or_try_init(ask).await.cloned()
    }

    fn slot(&self, base: &Url, scopes: &Scopes) -> TokenSlot {
        Arc::clone(
            lock(&self.tokens).entry((base.as_str().to_owned(), scopes.clone())).or_default(),
        )
    }

    /// Gets a token (distribution: `spec/auth/token.md`, `spec/auth/oauth.md`).
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a challenge, and where it came from"
    )]
    async fn exchange(
        &self,
        transport: &Transport,
        to: &Endpoint,
        base: &Url,
        realm: &Url,
        trust: RealmTrust,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<Token, RegistryError> {
        let credential = self.credential(to, base).await?;
        if credential.is_some() && trust == RealmTrust::Anonymous {
            let reason =
                "it belongs to another domain, and there are credentials for this registry";
            return Err(RegistryError::Realm {
                host: to.name.clone(),
                realm: realm.to_string(),
                reason,
            });
        }
        let mut form = vec![("client_id", "crossdock".to_owned())];
        form.extend(service.map(|service| ("service", service.to_owned())));
        let what = if scopes.is_empty() {
            "a token".to_owned()
        } else {
            format!("a token for {}", scopes.join(" "))
        };
        let token = match &credential {
            Some(Credential::RegistryToken(token)) => {
                let header = bearer_header(token).ok_or_else(|| {
                    protocol(to, "a registry token has characters that no header can have")
                })?;
                return Ok(Token { header, until: Instant::now() + Duration::from_mins(1) });
            }
            Some(Credential::IdentityToken(identity)) => {
                form.extend([
                    ("grant_type", "refresh_token".to_owned()),
                    ("refresh_token", identity.clone()),
                    ("scope", scopes.join(" ")),
                ]);
                self.post(transport, to, realm, &form, &what).await?
            }
            Some(Credential::Basic { user, password }) => {
                let mut query = form.clone();
                query.push(("account", user.clone()));
                let header = basic_header(user, password);
                match self.get(transport, to, realm, query, scopes, Some(header), &what).await {
                    Err(
                        RegistryError::Refused { status: StatusCode::METHOD_NOT_ALLOWED, .. }
                        | RegistryError::NotFound { .. },
                    ) => {
                        form.extend([
                            ("grant_type", "password".to_owned()),
                            ("username", user.clone()),
                            ("password", password.clone()),
                        ]);
                        form.push(("scope", scopes.join(" ")));
                        self.post(transport, to, realm, &form, &what).await?
                    }
                    outcome => outcome?,
                }
            }
            None => self.get(transport, to, realm, form, scopes, None, &what).await?,
        };
        let text = token
            .token
            .filter(|text| !text.is_empty())
            .or(token.access_token)
            .filter(|text| !text.is_empty());
        let header = text
            .and_then(|text| bearer_header(&text))
            .ok_or_else(|| protocol(to, "its token server answered without a token"))?;
        // A little early, so that a token does not end on its way; 60 seconds where nothing is said, as specified.
        let seconds = token.expires_in.unwrap_or(60).clamp(10, 24 * 3600);
        Ok(Token {
            header,
            until: Instant::now() + Duration::from_secs(seconds - seconds / 10 - 1),
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn get(
        &self,
        transport: &Transport,
        to: &Endpoint,
        realm: &Url,
        query: Vec<(&str, String)>,
        scopes: &[String],
        header: Option<HeaderValue>,
        what: &str,
    ) -> Result<TokenAnswer, RegistryError> {
        let mut url = realm.clone();
        // `client_id` belongs to the POST form only.
        let query = query.into_iter().filter(|(name, _)| *name != "client_id");
        url.query_pairs_mut()
            .extend_pairs(query)
            .extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
        let headers = header.into_iter().map(|header| (AUTHORIZATION, header)).collect();
        self.ask(transport, to, Method::GET, url, headers, Bytes::new(), what).await
    }

    async fn post(
        &self,
        transport: &Transport,
        to: &Endpoint,
        realm: &Url,
        form: &[(&str, String)],
        what: &str,
    ) -> Result<TokenAnswer, RegistryError> {
        let mut encoded = realm.clone();
        encoded.set_query(None);
        encoded.query_pairs_mut().extend_pairs(form);
        let body = Bytes::from(encoded.query().unwrap_or_default().to_owned());
        let headers =
            [(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))]
                .into_iter()
                .collect();
        self.ask(transport, to, Method::POST, realm.clone(), headers, body, what).await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    async fn ask(
        &self,
        transport: &Transport,
        to: &Endpoint,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
        what: &str,
    ) -> Result<TokenAnswer, RegistryError> {
        let answer = transport.token_request(to, &method, &url, &headers, &body, what).await?;
        if answer.status().is_redirection() {
            let reason = "it redirects, and credentials do not go along";
            return Err(RegistryError::Realm {
                host: to.name.clone(),
                realm: url.to_string(),
                reason,
            });
        }
        if !answer.status().is_success() {
            return Err(refusal(to, what, self.has_credentials(to), answer).await);
        }
        let raw =
            read_bounded(to, what, transport.options.response_timeout, answer, 1 << 20).await?;
        serde_json::from_slice(&raw)
            .map_err(|_| protocol(to, "its token server answered with something else than a token"))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn protocol(to: &Endpoint, message: &str) -> RegistryError {
    RegistryError::Protocol { host: to.name.clone(), message: message.to_owned() }
}

fn basic_header(user: &str, password: &str) -> HeaderValue {
    sensitive(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        .unwrap_or_else(|| HeaderValue::from_static(""))
}

fn bearer_header(token: &str) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {token}"))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_merged_with_what_a_challenge_asks() {
        let scopes = Scopes::push("a").and_pull("b").and_pull("a");
        assert_eq!(scopes.texts(), ["repository:a:pull,push", "repository:b:pull"]);
        assert_eq!(scopes.merged(Some("repository:a:pull repository:b:pull")), scopes.texts());
        let more = scopes.merged(Some("repository:b:pull,delete registry:catalog:*"));
        assert_eq!(
            more.get(2..),
            Some(
                ["repository:b:pull,delete".to_owned(), "registry:catalog:*".to_owned()].as_slice()
            )
        );
    }
}
