//! Who one is to a server. Secrets go to git in a file, never as arguments, and only for the host they are for.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::GitError;
use super::address::Address;

/// Gives a secret by its id; `None` where there is none.
pub type SecretFn = Arc<dyn Fn(&str) -> Result<Option<Vec<u8>>, GitError> + Send + Sync>;

/// What ssh logs in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshKeys {
    /// A running agent's socket.
    Agent(PathBuf),
    /// Private key files.
    Files(Vec<PathBuf>),
}

/// Credentials for repositories.
#[derive(Clone)]
pub struct GitAuth {
    /// Looks secrets up.
    pub secrets: SecretFn,
    /// Id of the secret with a token, also with `.HOST` appended.
    pub token: String,
    /// Id of the secret with a whole `Authorization` header, also with `.HOST` appended.
    pub header: String,
    /// For ssh.
    pub ssh: Option<SshKeys>,
    /// Keys of ssh servers, as lines of `known_hosts`, in place of those of the options.
    pub known_hosts: String,
}

impl Default for GitAuth {
    fn default() -> Self {
        Self {
            secrets: Arc::new(|_| Ok(None)),
            token: "GIT_AUTH_TOKEN".to_owned(),
            header: "GIT_AUTH_HEADER".to_owned(),
            ssh: None,
            known_hosts: String::new(),
        }
    }
}

/// Whether secrets without the name of a host count: for the host that was asked for they do, for those of its
/// submodules they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    AnyHost,
    NamedHostOnly,
}

impl GitAuth {
    /// The value of the `Authorization` header for the address.
    pub(crate) fn authorization(
        &self,
        address: &Address,
        scope: Scope,
    ) -> Result<Option<String>, GitError> {
        if address.origin().is_none() {
            return Ok(None);
        }
        let bare = address.host.split(':').next().unwrap_or_default();
        let mut hosts = vec![format!(".{}", address.host)];
        if bare != address.host {
            hosts.push(format!(".{bare}"));
        }
        if scope == Scope::AnyHost {
            hosts.push(String::new());
        }
        for host in hosts {
            for (name, is_token) in [(&self.header, false), (&self.token, true)] {
                if name.is_empty() {
                    continue;
                }
                let id = format!("{name}{host}");
                let Some(bytes) = (self.secrets)(&id)? else { continue };
                let text = plain(&id, &bytes)?;
                return Ok(Some(if is_token {
                    format!("basic {}", STANDARD.encode(format!("x-access-token:{text}")))
                } else {
                    text
                }));
            }
        }
        Ok(address.basic.clone())
    }
}

/// A secret as text that fits into a header.
fn plain(id: &str, bytes: &[u8]) -> Result<String, GitError> {
    let refuse = |reason: &str| GitError::Secret { id: id.to_owned(), reason: reason.to_owned() };
    let text = str::from_utf8(bytes).map_err(|_| refuse("it is no text"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(refuse("it is empty"));
    }
    if text.len() > 16 << 10 || text.contains(char::is_control) {
        return Err(refuse("it has several lines or control characters, or is too long"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(secrets: &'static [(&str, &str)]) -> GitAuth {
        let find = move |id: &str| {
            let found = secrets.iter().find(|(name, _)| *name == id);
            Ok(found.map(|(_, value)| value.as_bytes().to_vec()))
        };
        GitAuth { secrets: Arc::new(find), ..GitAuth::default() }
    }

    #[test]
    fn a_secret_goes_to_its_host_only() {
        let auth = auth(&[("GIT_AUTH_TOKEN", "a\n"), ("GIT_AUTH_HEADER.two.example", "Bearer b")]);
        let header =
            |url: &str, scope| auth.authorization(&Address::parse(url).unwrap(), scope).unwrap();
        let token = format!("basic {}", STANDARD.encode("x-access-token:a"));
        let first = header("https://one.example/a.git", Scope::AnyHost);
        assert_eq!(first.as_deref(), Some(token.as_str()));
        assert_eq!(header("https://one.example/a.git", Scope::NamedHostOnly), None);
        let second = header("https://two.example/a.git", Scope::NamedHostOnly);
        assert_eq!(second.as_deref(), Some("Bearer b"));
        assert_eq!(header("ssh://git@one.example/a.git", Scope::AnyHost), None);
    }

    #[test]
    fn a_secret_of_several_lines_is_refused() {
        let auth = auth(&[("GIT_AUTH_TOKEN", "a\nX-Other: b")]);
        let address = Address::parse("https://one.example/a.git").unwrap();
        assert!(auth.authorization(&address, Scope::AnyHost).is_err());
    }
}
