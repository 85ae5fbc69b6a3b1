use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use oci::Digest;

use crate::CredentialError;

/// The cause below an error, of whatever kind.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a registry could not be used. `host` is the registry or mirror; `what` the thing that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{what} does not exist on {host}")]
    NotFound { host: String, what: String },
    #[error("{host} wants to know who asks for {what}{message}")]
    Unauthorized { host: String, what: String, with_credentials: bool, message: String },
    #[error("{host} denies access to {what}{message}")]
    Denied { host: String, what: String, with_credentials: bool, message: String },
    #[error("{host} limits the rate of requests; asked for {what}{message}")]
    RateLimited { host: String, what: String, retry_after: Option<Duration>, message: String },
    #[error("{host} failed with {status} when asked for {what}{message}")]
    Server {
        host: String,
        what: String,
        status: StatusCode,
        retry_after: Option<Duration>,
        message: String,
    },
    #[error("{host} refuses {what} with {status}{message}")]
    Refused { host: String, what: String, status: StatusCode, message: String },
    #[error("cannot establish a TLS connection to {host}")]
    Tls { host: String, source: Cause },
    #[error("cannot find the address of {host}")]
    Dns { host: String, source: Cause },
    #[error("nothing answers at {host}: connection refused")]
    ConnectionRefused { host: String, source: Cause },
    #[error("the connection to {host} failed while {doing}")]
    Connection { host: String, doing: String, source: Cause },
    #[error("{host} did not answer in {} seconds while {doing}", after.as_secs())]
    Timeout { host: String, doing: String, after: Duration },
    #[error("{what} from {host} is damaged: expected {expected}, its {size} bytes have {found}")]
    Mismatch { host: String, what: String, expected: Digest, found: Digest, size: u64 },
    #[error("{what} from {host} has the wrong size: expected {expected} bytes, found {found}")]
    Size { host: String, what: String, expected: u64, found: u64 },
    #[error("{what} from {host} cannot be used")]
    Manifest { host: String, what: String, source: Cause },
    #[error("{what} on {host} is larger than the {limit} bytes accepted for its kind")]
    TooLarge { host: String, what: String, limit: u64 },
    #[error("{host} names `{realm}` as its token server, which is not used: {reason}")]
    Realm { host: String, realm: String, reason: &'static str },
    #[error("{host} redirects to `{to}`, which is not followed: {reason}")]
    Redirect { host: String, to: String, reason: &'static str },
    #[error("{host} does not follow the distribution specification: {message}")]
    Protocol { host: String, message: String },
    #[error("cannot read a setting for {host} from {}", path.display())]
    Setting { host: String, path: PathBuf, source: Cause },
    #[error("`{url}` is no address of a registry: {reason}")]
    Address { url: String, reason: &'static str },
    #[error("cannot find credentials for {host}")]
    Credentials { host: String, source: CredentialError },
    #[error("cannot keep {what}")]
    Sink { what: String, source: io::Error },
    #[error("cannot read {what} to push it")]
    Source { what: String, source: io::Error },
}

impl RegistryError {
    /// A way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { .. } => "check the name and the tag; registries also say this of images one may not see".to_owned(),
            Self::Unauthorized { host, with_credentials: false, .. } => format!("run `crossdock login {host}`"),
            Self::Unauthorized { host, with_credentials: true, .. } => format!(
                "the account in use is not accepted for this: check the name of the repository, or run `crossdock login {host}` again"
            ),
            Self::Denied { host, with_credentials: false, .. } => {
                format!("run `crossdock login {host}`, or check that the repository exists and is public")
            }
            Self::Denied { .. } => "the account in use lacks the right to do this: check the name of the repository".to_owned(),
            Self::RateLimited { host, retry_after, .. } => match retry_after {
                Some(after) => format!("try again in {}, run `crossdock login {host}` for a higher limit, or set a mirror", spoken(*after)),
                None => format!("try again later, run `crossdock login {host}` for a higher limit, or set a mirror"),
            },
            Self::Server { .. } => "the fault is on the registry's side: try again later".to_owned(),
            Self::Tls { host, .. } => {
                format!("for {host} in the `registries` settings, name its certificate authority with `ca`, or set `insecure` or `plain-http`")
            }
            Self::Dns { .. } => "check the host name, the network and the proxy settings".to_owned(),
            Self::ConnectionRefused { .. } => "check that the registry is running, and its port".to_owned(),
            Self::Connection { .. } | Self::Timeout { .. } => "check the network and the proxy settings".to_owned(),
            Self::Mismatch { .. } | Self::Size { .. } => {
                "the content was changed or cut on its way, by the registry, a mirror or a proxy: it was not kept".to_owned()
            }
            Self::Realm { host, realm, .. } => {
                let realm = realm.split("//").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(realm);
                format!("if this is right, add `realms = [\"{realm}\"]` for {host} in the `registries` settings")
            }
            Self::Credentials { host, .. } => format!("run the helper by hand, or `crossdock login {host}`"),
            _ => return None,
        })
    }

    /// Whether the same request may succeed when sent again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. } | Self::Connection { .. } | Self::Timeout { .. } => true,
            Self::Server { status, .. } => {
                matches!(status.as_u16(), 408 | 500 | 502..=504 | 520..=529)
            }
            _ => false,
        }
    }

    /// Whether the registry said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

fn spoken(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    }
}
