use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The name of an image: registry, repository, and a tag, a digest or both (distribution-spec 1.1; Docker's short forms).
///
/// `busybox` means `docker.io/library/busybox`; the tag is `latest` where neither tag nor digest is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Reference {
    /// Host, with port where it has one: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path beneath the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `None` only where there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference is pinned.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository and tag, pinned to `digest`.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// `registry/repository`, without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// As people write it: without `docker.io/library/`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short
            .strip_prefix("library/")
            .filter(|_| full.starts_with("docker.io/"))
            .unwrap_or(short)
            .to_owned()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason| ReferenceError { text: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| fail("its digest is malformed"))?))
            }
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest.rfind(':').filter(|colon| *colon >= slash) {
            Some(colon) => (rest.get(..colon).unwrap_or(rest), rest.get(colon + 1..)),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(fail(
                "a tag has 1 to 128 of the characters A-Z a-z 0-9 _ . - and does not begin with . or -",
            ));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path))
                if host.contains(['.', ':'])
                    || host == "localhost"
                    || host.bytes().any(|byte| byte.is_ascii_uppercase()) =>
            {
                (host, path)
            }
            _ => ("docker.io", name),
        };
        if !is_host(registry) {
            return Err(fail("its registry is no valid host name"));
        }
        let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
        if path.is_empty() {
            return Err(fail("it has no repository name"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(fail("a repository name must be lower case"));
        }
        if path.len() > 255 || !path.split('/').all(is_component) {
            return Err(fail(
                "a repository name has parts of a-z 0-9, joined by one . or _, by __ or by any number of -",
            ));
        }
        let repository = if registry == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }
}

fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    first
        && tag.len() <= 128
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn is_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        if address.is_empty()
            || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        {
            return false;
        }
        return port.is_empty()
            || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    } else {
        host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)))
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if !edge(bytes.first()) || !edge(bytes.last()) {
        return false;
    }
    let separators = part
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .filter(|run| !run.is_empty());
    separators
        .into_iter()
        .all(|run| run == "." || run == "_" || run == "__" || run.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_docker_hub() -> Result<(), ReferenceError> {
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("antrea/base", "docker.io/antrea/base:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("index.docker.io/library/a", "docker.io/library/a:latest"),
        ] {
            assert_eq!(text.parse::<Reference>()?.to_string(), expected);
        }
        assert_eq!("docker.io/library/busybox:1".parse::<Reference>()?.familiar(), "busybox:1");
        assert_eq!("docker.io/antrea/base:1".parse::<Reference>()?.familiar(), "antrea/base:1");
        Ok(())
    }

    #[test]
    fn a_pinned_reference_keeps_its_tag_and_needs_none() -> Result<(), ReferenceError> {
        let digest = Digest::of(b"");
        let pinned: Reference = format!("a@{digest}").parse()?;
        assert_eq!(pinned.tag(), None);
        assert_eq!(pinned.digest(), Some(&digest));
        let both: Reference = format!("a:b@{digest}").parse()?;
        assert_eq!((both.tag(), both.digest()), (Some("b"), Some(&digest)));
        Ok(())
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "",
            "/",
            "UPPER",
            "a:",
            "a:.b",
            "a/",
            "a//b",
            "-a",
            "a..b",
            "a___b",
            "a@sha256:12",
            "localhost:99999/a",
            "a b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
