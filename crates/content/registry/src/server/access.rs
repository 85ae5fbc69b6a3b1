//! Who may do what: nobody asked, a password, or tokens from the server's own token endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Who may do what.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Everybody, everything.
    #[default]
    Open,
    /// Who knows the password (RFC 7617).
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// Who has a token from `/token` of this server.
    Bearer {
        /// User name.
        user: String,
        /// Password.
        password: String,
        /// Accepted as refresh token in place of the password.
        identity_token: Option<String>,
        /// Whether reading needs no password (but a token all the same).
        anonymous_pull: bool,
        /// How long tokens are accepted.
        lifetime: Duration,
    },
}

impl Access {
    /// Tokens for one user, for an hour; reading needs the password too.
    pub fn bearer(user: &str, password: &str) -> Self {
        Self::Bearer {
            user: user.to_owned(),
            password: password.to_owned(),
            identity_token: None,
            anonymous_pull: false,
            lifetime: Duration::from_hours(1),
        }
    }
}

/// Tokens that were handed out.
#[derive(Default)]
pub(super) struct Tokens {
    count: u64,
    valid: BTreeMap<String, (BTreeSet<String>, Instant)>,
}

impl Tokens {
    /// A token for `scopes`, as far as they may be had.
    pub(super) fn issue(
        &mut self,
        scopes: &[String],
        may_push: bool,
        lifetime: Duration,
    ) -> String {
        self.count += 1;
        let token = format!("token-{}", self.count);
        let mut granted = BTreeSet::new();
        for scope in scopes.iter().flat_map(|scope| scope.split(' ')) {
            let Some((name, actions)) = scope.rsplit_once(':') else { continue };
            let actions = actions.split(',').filter(|action| may_push || *action == "pull");
            granted.extend(actions.map(|action| format!("{name}:{action}")));
        }
        self.valid.insert(token.clone(), (granted, Instant::now() + lifetime));
        token
    }

    /// Whether a token allows `action` in `repository`.
    pub(super) fn allows(&self, token: &str, repository: &str, action: &str) -> bool {
        self.valid.get(token).is_some_and(|(granted, until)| {
            *until > Instant::now()
                && (repository.is_empty()
                    || granted.contains(&format!("repository:{repository}:{action}")))
        })
    }
}

/// User name and password of an `Authorization` header.
pub(super) fn basic(authorization: Option<&str>) -> Option<(String, String)> {
    let decoded = STANDARD.decode(authorization?.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
