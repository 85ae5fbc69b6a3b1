//! Who one is to a registry.

use std::collections::BTreeMap;
use std::fmt;

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password, or an access token in place of the password.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// An OAuth refresh token, exchanged at the registry's token server.
    IdentityToken(String),
    /// A bearer token for the registry itself.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
            Self::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

/// Why it is not known who one is to a registry.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The helper program could not be run, or did not do its part of the protocol.
    #[error("credential helper `{helper}` failed for {registry}: {message}")]
    Helper {
        /// Name of the program.
        helper: String,
        /// For which registry.
        registry: String,
        /// What it said, or did.
        message: String,
    },
    /// An entry of the configuration makes no sense.
    #[error("the entry for {registry} in the Docker configuration is malformed: {reason}")]
    Malformed {
        /// Whose.
        registry: String,
        /// Why.
        reason: &'static str,
    },
}

/// Knows credentials. May block (a helper program is asked), so it is called on a thread of its own.
pub trait Credentials: Send + Sync {
    /// The credential for `registry`, as in references (`docker.io`, `registry.example:5000`); `None` is anonymous.
    fn credential(&self, registry: &str) -> Result<Option<Credential>, CredentialError>;
}

/// Everything is asked for anonymously.
pub struct NoCredentials;

impl Credentials for NoCredentials {
    fn credential(&self, _: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// Credentials by registry.
#[derive(Clone, Debug, Default)]
pub struct StaticCredentials(pub BTreeMap<String, Credential>);

impl StaticCredentials {
    /// User name and password for one registry.
    pub fn basic(registry: &str, user: &str, password: &str) -> Self {
        let credential = Credential::Basic { user: user.to_owned(), password: password.to_owned() };
        Self(BTreeMap::from([(registry.to_owned(), credential)]))
    }
}

impl Credentials for StaticCredentials {
    fn credential(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(self.0.get(registry).cloned())
    }
}
