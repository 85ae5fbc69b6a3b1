//! Where a web server may lead: no further than a stranger has a reason to send anybody.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

/// Steps from one address to the next.
pub(crate) const REDIRECTS: usize = 10;

/// The reason for not going from https to http.
pub(crate) const NO_TLS: &str = "without TLS";

/// A place where nobody goes.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The place, without query.
    pub(crate) to: String,
    pub(crate) reason: &'static str,
}

/// Whether two addresses are of one server: scheme, host and port.
pub(crate) fn same(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Where `location` leads from `at`, when one began at `start`. What has a checksum may lose TLS on the way.
pub(crate) fn next(
    start: &Url,
    at: &Url,
    location: &str,
    has_checksum: bool,
) -> Result<Url, Refused> {
    let refuse = |to: &str, reason| Refused {
        to: to.split(['?', '#']).next().unwrap_or_default().chars().take(200).collect(),
        reason,
    };
    let Ok(to) = at.join(location) else { return Err(refuse(location, "which is no address")) };
    if !matches!(to.scheme(), "http" | "https") {
        return Err(refuse(to.as_str(), "but only http and https are followed"));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refuse("another server", "with a user name"));
    }
    if at.scheme() == "https" && to.scheme() == "http" && !has_checksum {
        return Err(refuse(to.as_str(), NO_TLS));
    }
    if is_near(&to) && !is_near(start) {
        return Err(refuse(to.as_str(), "an address of this machine or its neighbourhood"));
    }
    Ok(to)
}

/// Whether an address is this machine's, or one that only machines nearby can reach.
fn is_near(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare == "localhost" || bare.ends_with(".localhost") {
        return true;
    }
    let v4 = |address: Ipv4Addr| {
        address.is_loopback()
            || address.is_private()
            || address.is_link_local()
            || address.is_unspecified()
    };
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => v4(address),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_unique_local()
                || address.to_ipv4_mapped().is_some_and(v4)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_public_places_only() {
        let hop = |from: &str, to: &str, checksum: bool| {
            let start = Url::parse(from).unwrap();
            next(&start, &start, to, checksum).map(|url| url.to_string()).ok()
        };
        let from = "https://a.example/x";
        assert_eq!(hop(from, "/y", false).as_deref(), Some("https://a.example/y"));
        assert_eq!(hop(from, "https://b.example/", false).as_deref(), Some("https://b.example/"));
        for to in [
            "file:///etc/passwd",
            "ftp://b.example/",
            "https://127.0.0.1/",
            "https://169.254.169.254/latest",
            "https://[::ffff:10.0.0.1]/",
            "https://[fe80::1]/",
            "https://localhost:1/",
            "https://user@b.example/",
            "http://b.example/",
            "https://2130706433/",
        ] {
            assert_eq!(hop(from, to, false), None, "{to}");
        }
        assert!(hop(from, "http://b.example/", true).is_some());
        assert!(hop("http://127.0.0.1:1/x", "http://127.0.0.1:2/y", false).is_some());
    }
}
