//! What is known of the libraries in Microsoft's base images, read from `libraries.toml`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// A kind of base, as far as libraries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Base {
    /// `windows/nanoserver` and what is built on it.
    NanoServer,
    /// `windows/servercore` and what is built on it.
    ServerCore,
    /// `windows/server`, `windows`.
    Server,
    /// None: the libraries are the host's.
    HostProcess,
}

impl Base {
    /// The word for it in `libraries.toml` and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::NanoServer => "nanoserver",
            Self::ServerCore => "servercore",
            Self::Server => "server",
            Self::HostProcess => "hpc",
        }
    }

    /// The base that a repository of Microsoft's is or stands on.
    pub fn of_repository(repository: &str) -> Option<Self> {
        let base = windows::base_of(repository)?;
        Some(if base.any_host {
            Self::HostProcess
        } else if matches!(base.name.as_str(), "windows" | "windows/server") {
            Self::Server
        } else if base.has.iter().any(|it| it == "wow64") {
            Self::ServerCore
        } else {
            Self::NanoServer
        })
    }
}

/// What is known of one library in one base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is there.
    There,
    /// It is not.
    Missing {
        /// What it belongs to, where that has a name.
        runtime: Option<&'static str>,
        /// What to do.
        instead: &'static str,
    },
    /// Nothing is known.
    Nothing,
}

/// What is known of a library in a base.
pub fn known(base: Base, library: &str) -> Known {
    let library = library.to_ascii_lowercase();
    if is_api_set(&library) {
        return Known::There;
    }
    let data = libraries();
    let mut sets = data.sets.iter().filter(|set| set.bases.iter().any(|it| it == base.word()));
    match sets.find(|set| set.names.contains(&library)) {
        Some(set) if set.there => Known::There,
        Some(set) => Known::Missing { runtime: set.runtime.as_deref(), instead: &set.instead },
        None => Known::Nothing,
    }
}

/// Whether a name is that of a set of functions, which the loader finds without a file.
pub(crate) fn is_api_set(library: &str) -> bool {
    library.starts_with("api-ms-win-") || library.starts_with("ext-ms-")
}

/// When the data was last compared with its sources, `YYYY-MM-DD`.
pub fn libraries_as_of() -> &'static str {
    &libraries().as_of
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Libraries {
    #[serde(deserialize_with = "date")]
    as_of: String,
    #[expect(dead_code, reason = "for whoever checks the data; a test holds that it is complete")]
    source: BTreeMap<String, Source>,
    #[serde(rename = "set")]
    sets: Vec<Set>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for whoever checks the data")]
struct Source {
    title: String,
    #[serde(rename = "where")]
    place: String,
    #[serde(deserialize_with = "date")]
    date: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    bases: Vec<String>,
    there: bool,
    names: Vec<String>,
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    instead: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test holds that it is one of them"))]
    source: String,
}

fn date<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(toml::value::Datetime::deserialize(from)?.to_string())
}

fn libraries() -> &'static Libraries {
    static LIBRARIES: OnceLock<Libraries> = OnceLock::new();
    // A test holds that the file is well-formed.
    LIBRARIES.get_or_init(|| toml::from_str(include_str!("libraries.toml")).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_does_not_contradict_itself() {
        let table: toml::Table = toml::from_str(include_str!("libraries.toml")).unwrap();
        let data = libraries();
        assert!(!data.as_of.is_empty());
        let sources = table["source"].as_table().unwrap();
        let mut seen = BTreeMap::new();
        for set in &data.sets {
            assert!(sources.contains_key(&set.source), "{}", set.source);
            assert!(set.there || !set.instead.is_empty(), "{:?}", set.names);
            for (base, name) in
                set.bases.iter().flat_map(|base| set.names.iter().map(move |it| (base, it)))
            {
                assert_eq!(*name, name.to_lowercase());
                assert!(["nanoserver", "servercore", "server", "hpc"].contains(&base.as_str()));
                assert_eq!(seen.insert((base, name), set.there), None, "{name} of {base}");
            }
        }
    }

    #[test]
    fn bases_differ_in_what_they_have() {
        assert_eq!(known(Base::NanoServer, "KERNEL32.dll"), Known::There);
        assert_eq!(known(Base::NanoServer, "api-ms-win-crt-heap-l1-1-0.dll"), Known::There);
        assert!(matches!(
            known(Base::NanoServer, "GDI32.dll"),
            Known::Missing { runtime: None, .. }
        ));
        assert_eq!(known(Base::ServerCore, "GDI32.dll"), Known::There);
        assert!(matches!(
            known(Base::ServerCore, "VCRUNTIME140.dll"),
            Known::Missing { runtime: Some(_), .. }
        ));
        assert_eq!(known(Base::Server, "mine.dll"), Known::Nothing);
        assert_eq!(Base::of_repository("windows/nanoserver"), Some(Base::NanoServer));
        assert_eq!(Base::of_repository("windows/servercore/iis"), Some(Base::ServerCore));
    }
}
