//! `WWW-Authenticate` (RFC 9110 section 11.6.1), as far as registries use it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// What a registry asks for with status 401.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password.
    Basic,
    /// A token.
    Bearer {
        /// Address that gives tokens.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it has to allow.
        scope: Option<String>,
    },
}

impl Challenge {
    /// All challenges of one header line that are understood, in order.
    pub fn parse(line: &str) -> Vec<Self> {
        parse(line)
    }
}

/// All challenges of an answer that are understood, in order; several may share one header line.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .take(8)
        .filter_map(|value| value.to_str().ok())
        .flat_map(Challenge::parse)
        .collect()
}

fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let scheme_end = rest.find([' ', ',', '\t']).unwrap_or(rest.len());
        let (scheme, after) = rest.split_at(scheme_end);
        let (parameters, after) = parameters(after);
        let parameter = |name: &str| {
            parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameter("realm")
        {
            found.push(Challenge::Bearer {
                realm,
                service: parameter("service"),
                scope: parameter("scope"),
            });
        }
        rest = after.trim_start_matches([' ', ',', '\t']);
        if found.len() > 8 {
            break;
        }
    }
    found
}

/// Reads `name=value` pairs up to the next scheme or the end.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches([' ', ',', '\t']);
        let name_end = trimmed
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
            .unwrap_or(trimmed.len());
        let (name, after) = trimmed.split_at(name_end);
        // A word that no `=` follows is the next scheme.
        let Some(after) = after.trim_start().strip_prefix('=') else { return (found, trimmed) };
        if name.is_empty() || found.len() > 32 {
            return (found, "");
        }
        let after = after.trim_start();
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            quoted_text(quoted)
        } else {
            let end = after.find([' ', ',', '\t']).unwrap_or(after.len());
            let (value, after) = after.split_at(end);
            (value.to_owned(), after)
        };
        found.push((name.to_ascii_lowercase(), value));
        rest = after;
    }
}

fn quoted_text(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn challenges_are_read_in_every_form() {
        for (text, expected) in [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://a/t\",service=\"a\",scope=\"repository:x:pull,push\"",
                vec![bearer("https://a/t", Some("a"), Some("repository:x:pull,push"))],
            ),
            (
                "Bearer realm=https://a/t , service = a",
                vec![bearer("https://a/t", Some("a"), None)],
            ),
            (
                "Negotiate, Bearer realm=\"https://a/t\", Basic realm=\"y\"",
                vec![bearer("https://a/t", None, None), Challenge::Basic],
            ),
            ("Digest realm=\"q\", nonce=\"a\\\"b\", Basic", vec![Challenge::Basic]),
            ("Bearer service=\"no realm\"", vec![]),
            ("Bearer realm=\"never closed", vec![bearer("never closed", None, None)]),
            ("", vec![]),
            ("=,=,=", vec![]),
            (",,, ,", vec![]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn no_header_brings_it_down() {
        let alphabet =
            ["Bearer ", "Basic", "realm", "=", "\"", "\\", ",", " ", "é", "\t", "x", "=\""];
        let mut state = 7u32;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = usize::try_from(state >> 16).unwrap() % alphabet.len();
                text.push_str(alphabet.get(at).unwrap());
            }
            assert!(parse(&text).len() <= 12, "{text}");
        }
    }
}
