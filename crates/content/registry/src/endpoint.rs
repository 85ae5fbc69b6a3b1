//! Where a registry and its mirrors are reached.

use reqwest::Url;
use tokio::sync::OnceCell;

use crate::RegistryError;
use crate::hosts::{Capability, Hosts, Mirror};
use crate::origin::{host_of, is_loopback};
use crate::tls::TlsSettings;

/// One place to send requests for a registry to: a mirror, or the registry itself.
pub(crate) struct Endpoint {
    /// For messages, and the name its credentials are kept under.
    pub(crate) name: String,
    /// With `https` where the scheme is not settled yet. Ends in `/v2/`, or as the mirror says.
    base: Url,
    /// How the scheme is found out.
    scheme: SchemeRule,
    settled: OnceCell<Url>,
    pub(crate) tls: TlsSettings,
    /// Credentials may go there without TLS.
    pub(crate) plain_credentials: bool,
    pub(crate) loopback: bool,
    pub(crate) realms: Vec<String>,
    pub(crate) capabilities: Vec<Capability>,
    /// The registry that a mirror stands for.
    pub(crate) stands_for: Option<String>,
    /// Nobody asks for credentials there.
    pub(crate) anonymous: bool,
}

/// How the scheme of an endpoint is found out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SchemeRule {
    /// As in its address.
    Given,
    /// TLS where the server speaks it, plain HTTP otherwise.
    Probe,
}

impl Endpoint {
    /// The places to try for `registry`, in order; the registry itself comes last.
    pub(crate) fn all(registry: &str, hosts: &Hosts) -> Result<Vec<Self>, RegistryError> {
        let host = hosts.host(registry);
        let mut endpoints = Vec::new();
        for mirror in &host.mirrors {
            endpoints.push(Self::mirror(mirror, registry)?);
        }
        let address = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let loopback = is_loopback(host_of(registry));
        let scheme = if host.plain_http { "http" } else { "https" };
        let base = parse(&format!("{scheme}://{address}/v2/"))?;
        endpoints.push(Self {
            name: registry.to_owned(),
            base,
            scheme: if (host.insecure || loopback) && !host.plain_http {
                SchemeRule::Probe
            } else {
                SchemeRule::Given
            },
            settled: OnceCell::new(),
            tls: TlsSettings {
                // A server on this machine rarely has a certificate for its name; Docker does the same.
                skip_verify: host.skip_verify || host.insecure || (loopback && host.ca.is_none()),
                ca: host.ca,
                client_cert: host.client_cert,
                client_key: host.client_key,
            },
            plain_credentials: host.insecure || loopback,
            loopback,
            realms: host.realms,
            capabilities: vec![Capability::Pull, Capability::Resolve, Capability::Push],
            stands_for: None,
            anonymous: false,
        });
        Ok(endpoints)
    }

    /// A server that is no registry, for one URL. It gets no credentials; certificates are those set for its name.
    pub(crate) fn foreign(url: &Url, hosts: &Hosts) -> Self {
        let name =
            url.port().map_or_else(|| host(url).to_owned(), |port| format!("{}:{port}", host(url)));
        let tls = TlsSettings { ca: hosts.host(&name).ca, ..TlsSettings::default() };
        Self {
            name,
            base: url.clone(),
            scheme: SchemeRule::Given,
            settled: OnceCell::new(),
            tls,
            plain_credentials: false,
            loopback: is_loopback(host(url)),
            realms: Vec::new(),
            capabilities: vec![Capability::Pull],
            stands_for: None,
            anonymous: true,
        }
    }

    fn mirror(mirror: &Mirror, registry: &str) -> Result<Self, RegistryError> {
        let given_scheme = mirror.url.contains("://");
        let text =
            if given_scheme { mirror.url.clone() } else { format!("https://{}", mirror.url) };
        let mut base = parse(&text)?;
        let root = base.path().trim_end_matches('/');
        let path = if mirror.override_path || root.ends_with("/v2") {
            format!("{root}/")
        } else {
            format!("{root}/v2/")
        };
        base.set_path(&path);
        let name = base
            .port()
            .map_or_else(|| host(&base).to_owned(), |port| format!("{}:{port}", host(&base)));
        let loopback = is_loopback(host(&base));
        Ok(Self {
            name,
            scheme: if !given_scheme && (mirror.insecure || loopback) {
                SchemeRule::Probe
            } else {
                SchemeRule::Given
            },
            base,
            settled: OnceCell::new(),
            tls: TlsSettings {
                skip_verify: mirror.skip_verify
                    || mirror.insecure
                    || (loopback && mirror.ca.is_none()),
                ca: mirror.ca.clone(),
                client_cert: mirror.client_cert.clone(),
                client_key: mirror.client_key.clone(),
            },
            plain_credentials: mirror.insecure || loopback,
            loopback,
            realms: mirror.realms.clone(),
            capabilities: mirror.capabilities.clone(),
            stands_for: Some(registry.to_owned()),
            anonymous: false,
        })
    }

    /// The root of its API. `probe` is asked once, where the scheme must be found out: whether the server answers there.
    pub(crate) async fn base<F>(&self, probe: F) -> Result<&Url, RegistryError>
    where
        F: AsyncFn(&Url) -> Result<(), RegistryError>,
    {
        if self.scheme == SchemeRule::Given {
            return Ok(&self.base);
        }
        let settle = async || {
            let mut plain = self.base.clone();
            // Cannot fail between the two special schemes; the port has to be named when it was TLS's own.
            let _ = plain.set_scheme("http");
            match probe(&self.base).await {
                Ok(()) => Ok(self.base.clone()),
                // What went wrong with TLS is the better story where plain HTTP is no answer either.
                Err(
                    first @ (RegistryError::ConnectionRefused { .. }
                    | RegistryError::Tls { .. }
                    | RegistryError::Connection { .. }),
                ) => probe(&plain).await.map(|()| plain).map_err(|_| first),
                Err(error) => Err(error),
            }
        };
        self.settled.get_or_try_init(settle).await
    }
}

fn parse(text: &str) -> Result<Url, RegistryError> {
    let fail = |reason| RegistryError::Address { url: text.to_owned(), reason };
    let url = Url::parse(text).map_err(|_| fail("it cannot be parsed as a URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fail("only http and https are known"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fail("credentials do not belong in it; use `crossdock login`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fail("it must not have a query"));
    }
    if url.host_str().is_none() {
        return Err(fail("it has no host"));
    }
    Ok(url)
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hosts::Host;

    #[test]
    fn mirrors_come_first_and_keep_their_paths() -> Result<(), RegistryError> {
        let mirrors = vec![
            Mirror::new("https://mirror.example"),
            Mirror::new("https://mirror.example:8443/prefix/"),
            Mirror { override_path: true, ..Mirror::new("http://mirror.example/v2/hub") },
            Mirror::new("mirror.example/v2"),
        ];
        let hosts = Hosts([("docker.io".to_owned(), Host { mirrors, ..Host::default() })].into());
        let found = Endpoint::all("docker.io", &hosts)?;
        let found: Vec<&str> = found.iter().map(|endpoint| endpoint.base.as_str()).collect();
        let expected = [
            "https://mirror.example/v2/",
            "https://mirror.example:8443/prefix/v2/",
            "http://mirror.example/v2/hub/",
            "https://mirror.example/v2/",
            "https://registry-1.docker.io/v2/",
        ];
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn addresses_with_credentials_or_other_schemes_are_refused() {
        for url in ["ftp://a", "https://user:secret@a", "https://a?x=y", "http://"] {
            let hosts = Hosts(
                [("*".to_owned(), Host { mirrors: vec![Mirror::new(url)], ..Host::default() })]
                    .into(),
            );
            assert!(
                matches!(Endpoint::all("a.example", &hosts), Err(RegistryError::Address { .. })),
                "{url}"
            );
        }
    }
}
