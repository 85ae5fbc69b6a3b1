//! Addresses of repositories: what is allowed to reach git.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use super::GitError;

/// How a repository is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Web,
    Ssh,
    Git,
}

/// The address of a repository. Nothing in it can be taken for an option, and it carries no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    url: String,
    /// Host, with its port where one is given.
    pub(crate) host: String,
    pub(crate) carrier: Carrier,
    /// `Authorization` from a user name and password in the address.
    pub(crate) basic: Option<String>,
    /// Parsed, unless it is `user@host:path`.
    pub(crate) parsed: Option<Url>,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, GitError> {
        let refuse = |reason| Err(GitError::Address { remote: shown(text), reason });
        if text.is_empty() || text.len() > 8 << 10 {
            return refuse("it is empty or too long");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it has spaces or control characters");
        }
        if text.starts_with('-') {
            return refuse("it begins with a dash");
        }
        if text.contains("::") && !text.contains('[') {
            return refuse("helpers of git (`ext::…`) are not used");
        }
        if !text.contains("://") {
            return Self::parse_scp(text);
        }
        let Ok(mut url) = Url::parse(text) else { return refuse("it is no URL") };
        let carrier = match url.scheme() {
            "http" | "https" => Carrier::Web,
            "ssh" => Carrier::Ssh,
            "git" => Carrier::Git,
            _ => return refuse("only http, https, ssh and git are allowed"),
        };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned) else {
            return refuse("it has no host");
        };
        if host.starts_with('-') || url.username().starts_with('-') {
            return refuse("a host or user begins with a dash");
        }
        if url.path().trim_matches('/').is_empty() {
            return refuse("it has no path");
        }
        if url.path().trim_start_matches('/').starts_with('-') {
            return refuse("its path begins with a dash");
        }
        if url.password().is_some() && carrier != Carrier::Web {
            return refuse("a password cannot be given in it");
        }
        let mut basic = None;
        if carrier != Carrier::Ssh && (!url.username().is_empty() || url.password().is_some()) {
            let user = percent_decoded(url.username());
            let password = percent_decoded(url.password().unwrap_or_default());
            if carrier == Carrier::Web {
                basic = Some(format!("basic {}", STANDARD.encode(format!("{user}:{password}"))));
            }
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                return refuse("its user name cannot be read");
            }
        }
        url.set_fragment(None);
        url.set_query(None);
        let host = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self { url: url.to_string(), host, carrier, basic, parsed: Some(url) })
    }

    fn parse_scp(text: &str) -> Result<Self, GitError> {
        let refuse = |reason| Err(GitError::Address { remote: shown(text), reason });
        let Some((place, path)) = text.split_once(':') else {
            return refuse("local repositories are not used");
        };
        let (user, host) = place.split_once('@').unwrap_or(("", place));
        let word = |text: &str| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
                && !text.starts_with('-')
        };
        if !word(user) || !word(host) || host.is_empty() || !place.contains('@') {
            return refuse("only USER@HOST:PATH is allowed without a scheme");
        }
        if path.is_empty() || path.starts_with('-') {
            return refuse("its path is empty or begins with a dash");
        }
        Ok(Self {
            url: text.to_owned(),
            host: host.to_owned(),
            carrier: Carrier::Ssh,
            basic: None,
            parsed: None,
        })
    }

    /// For git. Without user name and password, save the user of ssh.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        self.url.clone()
    }

    /// The scope of credentials: scheme, host and port.
    pub(crate) fn origin(&self) -> Option<String> {
        let url = self.parsed.as_ref().filter(|_| self.carrier == Carrier::Web)?;
        Some(format!("{}://{}/", url.scheme(), self.host))
    }

    /// The address of a submodule: its own, or beside this one where it begins with `./` or `../`.
    pub(crate) fn beside(&self, text: &str) -> Result<Self, GitError> {
        if !text.starts_with("./") && !text.starts_with("../") {
            return Self::parse(text);
        }
        let (start, path) = if let Some(url) = &self.parsed {
            let path = url.path();
            (self.url.strip_suffix(path).unwrap_or_default(), path)
        } else {
            self.url.split_once(':').unwrap_or_default()
        };
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if parts.pop().is_none() {
                        return Err(GitError::Address {
                            remote: shown(text),
                            reason: "it leads out of the server's root",
                        });
                    }
                }
                part => parts.push(part),
            }
        }
        let path = parts.join("/");
        match &self.parsed {
            Some(_) => Self::parse(&format!("{start}/{path}")),
            None if self.url.contains(":/") => Self::parse(&format!("{start}:/{path}")),
            None => Self::parse(&format!("{start}:{path}")),
        }
    }
}

/// An address without what may be a password.
pub(crate) fn shown(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => text,
    }
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or_default()).to_digit(16);
        if byte == b'%' {
            let (high, low) = (digit(bytes.next()), digit(bytes.next()));
            let value = high.unwrap_or_default() * 16 + low.unwrap_or_default();
            out.push(u8::try_from(value).unwrap_or_default());
        } else {
            out.push(byte);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_could_take_for_something_else_is_refused() {
        for text in [
            "ext::sh -c x",
            "ext::sh",
            "-oProxyCommand=x",
            "--upload-pack=x",
            "file:///x",
            "/local/path",
            "../x",
            "ssh://-oX@h/p",
            "ssh://-h/p",
            "git@-x:y",
            "-x@h:y",
            "git@h:-y",
            "https://h/a\nb.git",
            "https://h/a b.git",
            "https:///x.git",
            "ssh://u:p@h/x",
            "h:path",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_leave_the_address() {
        let it = Address::parse("https://us%40er:to%6Ben@h:8443/a/b.git").unwrap();
        assert_eq!(it.url(), "https://h:8443/a/b.git");
        assert_eq!(it.basic, Some(format!("basic {}", STANDARD.encode("us@er:token"))));
        assert_eq!(it.origin().as_deref(), Some("https://h:8443/"));
        let error = Address::parse("ftp://user:secret@h/a.git").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        let it = Address::parse("ssh://git@h:22/a").unwrap();
        assert_eq!((it.url(), it.origin()), ("ssh://git@h:22/a", None));
    }

    #[test]
    fn submodules_may_lie_beside() {
        for (of, text, is) in [
            ("https://h/a/b.git", "../c.git", "https://h/a/c.git"),
            ("https://h/a/b.git", "./c", "https://h/a/b.git/c"),
            ("git@h:a/b.git", "../c.git", "git@h:a/c.git"),
            ("git@h:/a/b.git", "../../c.git", "git@h:/c.git"),
            ("https://h/a/b.git", "https://o/x.git", "https://o/x.git"),
        ] {
            let found = Address::parse(of).unwrap().beside(text).unwrap();
            assert_eq!(found.url(), is, "{of} {text}");
        }
        let base = Address::parse("https://h/a.git").unwrap();
        for text in ["../../x", "file:///etc", "/etc", "ext::x", "-x"] {
            assert!(base.beside(text).is_err(), "{text}");
        }
    }
}
