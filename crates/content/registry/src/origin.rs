//! Which servers belong together. Credentials go to the origin they are for, and to few others.

use std::net::IpAddr;

use reqwest::Url;

/// Whether both are the same scheme, host and port.
pub(crate) fn same(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Whether `host` (without port) is this machine: `localhost`, `127.0.0.0/8`, `::1`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `host` is an address of this machine or of what is directly beside it (link-local, unspecified): places that
/// a registry elsewhere has no reason to send anybody to.
pub(crate) fn is_beside(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    is_loopback(host)
        || bare.parse::<IpAddr>().is_ok_and(|address| match address {
            IpAddr::V4(address) => address.is_link_local() || address.is_unspecified(),
            IpAddr::V6(address) => address.is_unicast_link_local() || address.is_unspecified(),
        })
}

/// The host of a registry name without its port.
pub(crate) fn host_of(registry: &str) -> &str {
    if registry.starts_with('[') {
        return registry.split_inclusive(']').next().unwrap_or(registry);
    }
    registry.split(':').next().unwrap_or(registry)
}

/// Domains beneath which anybody can have a name, beyond those that look like `co.uk`.
const SHARED: [&str; 16] = [
    "amazonaws.com",
    "azurecr.io",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudfront.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.io",
    "ngrok-free.app",
    "pages.dev",
    "run.app",
    "vercel.app",
    "windows.net",
];

/// The part of a host name that one owner registered; `None` for addresses and names of one label.
fn registrable(host: &str) -> Option<&str> {
    if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
        return None;
    }
    let labels: Vec<&str> = host.split('.').collect();
    let [.., second, top] = labels.as_slice() else { return None };
    let of_country =
        top.len() == 2 && (second.len() <= 3 || matches!(*second, "gouv" | "asso" | "info"));
    let suffix = |count: usize| {
        let length: usize =
            labels.iter().rev().take(count).map(|label| label.len() + 1).sum::<usize>();
        host.get((host.len() + 1).checked_sub(length)?..)
    };
    let two = suffix(2)?;
    if SHARED.contains(&two) {
        // Every name below is another owner's, and some of them several labels deep.
        return Some(host);
    }
    if of_country { (labels.len() > 2).then(|| suffix(3)).flatten() } else { Some(two) }
}

/// Whether both hosts belong to one owner as far as their names tell.
pub(crate) fn same_domain(one: &str, other: &str) -> bool {
    one == other || registrable(one).is_some_and(|domain| registrable(other) == Some(domain))
}

/// What a token server may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RealmTrust {
    /// The registry's credentials.
    Credentials,
    /// Only requests without credentials.
    Anonymous,
}

/// Decides what the token server that `registry` names may be sent. `listed` are the hosts a user allowed for it.
pub(crate) fn realm(
    registry: &Url,
    realm: &str,
    listed: &[String],
) -> Result<(Url, RealmTrust), &'static str> {
    if realm.len() > 2048 {
        return Err("its address is too long");
    }
    if !realm.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("its address has characters that no address can have");
    }
    let written_host =
        realm.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let url = Url::parse(realm).map_err(|_| "it is not an absolute URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("it is neither http nor https");
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || written_host.is_some_and(|host| host.contains('@'))
    {
        return Err("its address has a user name");
    }
    if same(registry, &url) {
        return Ok((url, RealmTrust::Credentials));
    }
    let Some(host) = url.host_str().map(str::to_owned) else { return Err("it has no host") };
    let with_port = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    if listed.contains(&with_port) {
        return Ok((url, RealmTrust::Credentials));
    }
    if url.scheme() != "https" {
        return Err("it is another server, over plain http");
    }
    if host.ends_with('.') || registrable(&host).is_none() {
        return Err("it is another server, named by address or local name");
    }
    if url.port().is_some() {
        return Err("it is another server, on an unusual port");
    }
    let trust = if registry.host_str().is_some_and(|own| same_domain(own, &host)) {
        RealmTrust::Credentials
    } else {
        RealmTrust::Anonymous
    };
    Ok((url, trust))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(registry: &str, text: &str) -> Option<RealmTrust> {
        realm(&Url::parse(registry).unwrap(), text, &[]).ok().map(|(_, trust)| trust)
    }

    #[test]
    fn realms_of_real_registries_are_accepted() {
        for (registry, realm) in [
            ("https://registry-1.docker.io/v2/", "https://auth.docker.io/token"),
            ("https://ghcr.io/v2/", "https://ghcr.io/token"),
            ("https://registry.gitlab.com/v2/", "https://gitlab.com/jwt/auth"),
            ("https://acme.azurecr.io/v2/", "https://acme.azurecr.io/oauth2/token"),
            ("http://localhost:5000/v2/", "http://localhost:5000/token"),
            ("https://registry.acme.co.uk:5000/v2/", "https://auth.acme.co.uk/token"),
        ] {
            assert_eq!(trust(registry, realm), Some(RealmTrust::Credentials), "{realm}");
        }
        assert_eq!(
            trust("https://lscr.io/v2/", "https://ghcr.io/token"),
            Some(RealmTrust::Anonymous)
        );
        assert_eq!(
            trust("https://a.co.uk/v2/", "https://b.co.uk/token"),
            Some(RealmTrust::Anonymous)
        );
        assert_eq!(
            trust("https://a.azurecr.io/v2/", "https://b.azurecr.io/token"),
            Some(RealmTrust::Anonymous)
        );
    }

    #[test]
    fn realms_that_lead_elsewhere_are_refused() {
        let long = format!("https://registry.example/{}", "a".repeat(1 << 20));
        for text in [
            "https://user@registry.example/token",
            "https://@registry.example/token",
            "HTTP://E.example/token",
            "//E.example/t",
            "/token",
            "file:///x",
            "http://[::1]:99/",
            "https://[::1]/",
            "http://169.254.169.254/",
            "https://169.254.169.254/latest",
            "http://0x7f000001/",
            "https://0x7f000001/",
            "https://registry.example./token",
            "https://registry.example:8443/token",
            "http://registry.example/token",
            "https://metadata/token",
            "https://registry.example/to\r\nken",
            long.as_str(),
        ] {
            assert_eq!(
                trust("https://registry.example/v2/", text),
                None,
                "{}",
                text.get(..40).unwrap_or(text)
            );
        }
        // A look-alike in punycode is at most asked anonymously.
        assert_eq!(trust("https://registry.example/v2/", "https://r\u{435}gistry.example/"), None);
        assert_ne!(
            trust("https://registry.one.example/", "https://xn--one-abc.example/"),
            Some(RealmTrust::Credentials)
        );
    }

    #[test]
    fn a_listed_realm_is_accepted() {
        let registry = Url::parse("https://registry.example/v2/").unwrap();
        let listed = ["tokens.internal:8443".to_owned()];
        let found = realm(&registry, "https://tokens.internal:8443/t", &listed);
        assert!(matches!(found, Ok((_, RealmTrust::Credentials))));
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for name in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "::1"] {
            assert!(is_loopback(name), "{name}");
        }
        assert!(!is_loopback("localhost.example"));
        assert_eq!(host_of("[::1]:5000"), "[::1]");
        assert_eq!(host_of("localhost:5000"), "localhost");
    }
}
