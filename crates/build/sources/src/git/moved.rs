//! Where a repository is that its server says is elsewhere.
//!
//! git itself follows nothing: it would send what it sends to the first server to the next one as well. So the way is
//! found out with the first of git's requests, and git begins anew at its end, with the credentials of that server.

use registry::RegistryError;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};

use super::GitError;
use super::address::Address;
use crate::Remote;
use crate::redirect::{self, REDIRECTS, same};

/// What git asks a server first, after the repository's own path.
const FIRST: &str = "/info/refs";
const QUERY: &str = "service=git-upload-pack";

/// Asks the server of `address` along redirects. `authorization` goes to that server only.
pub(crate) fn find(
    remote: &Remote,
    address: &Address,
    authorization: Option<&str>,
) -> Result<Address, GitError> {
    let refuse = |to: String, reason| GitError::Moved { remote: address.shown(), to, reason };
    let transfer = |source: Box<dyn std::error::Error + Send + Sync>| GitError::Start {
        remote: address.shown(),
        source: std::io::Error::other(source),
    };
    let path = format!("{}{FIRST}", address.url().trim_end_matches('/'));
    let Ok(mut start) = reqwest::Url::parse(&path) else {
        return Err(refuse(path, "which is no address"));
    };
    start.set_query(Some(QUERY));
    let secret = authorization.and_then(|text| {
        let mut value = HeaderValue::from_str(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    let client = remote.web_client().map_err(|error: RegistryError| transfer(error.into()))?;
    let mut at = start.clone();
    for _ in 0..=REDIRECTS {
        let mut request = client.get(at.clone());
        if let Some(value) = secret.as_ref().filter(|_| same(&start, &at)) {
            request = request.header(AUTHORIZATION, value.clone());
        }
        // Only the head is looked at; git asks again.
        let response = remote
            .block_on(request.send())
            .map_err(|error| transfer(error.without_url().into()))?;
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let Some(location) = location.filter(|_| response.status().is_redirection()) else {
            return arrived(address, &start, &at)
                .ok_or_else(|| refuse(plain(&at), "which is not the address of a repository"));
        };
        at = redirect::next(&start, &at, location, false)
            .map_err(|refused| refuse(refused.to, refused.reason))?;
    }
    Err(refuse(plain(&at), "after too many steps"))
}

/// The repository whose first request `at` is.
fn arrived(address: &Address, start: &reqwest::Url, at: &reqwest::Url) -> Option<Address> {
    if at.query() != Some(QUERY) {
        return None;
    }
    let mut url = at.clone();
    url.set_query(None);
    url.set_fragment(None);
    let mut found = Address::parse(url.as_str().strip_suffix(FIRST)?).ok()?;
    if same(start, at) {
        found.basic.clone_from(&address.basic);
    }
    Some(found)
}

fn plain(url: &reqwest::Url) -> String {
    url.as_str().split(['?', '#']).next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_an_address_stay_with_its_server() {
        let address = Address::parse("https://u:p@h.example/old.git").unwrap();
        let start = reqwest::Url::parse("https://h.example/old.git/info/refs").unwrap();
        let arrived = |text: &str| arrived(&address, &start, &reqwest::Url::parse(text).unwrap());
        let query = "info/refs?service=git-upload-pack";
        let here = arrived(&format!("https://h.example/new.git/{query}")).unwrap();
        assert_eq!((here.url(), here.basic.is_some()), ("https://h.example/new.git", true));
        let there = arrived(&format!("https://other.example/new/{query}")).unwrap();
        assert_eq!((there.url(), there.basic.is_some()), ("https://other.example/new", false));
        for text in ["https://h.example/login", "https://h.example/new.git/info/refs?x"] {
            assert!(arrived(text).is_none(), "{text}");
        }
    }
}
