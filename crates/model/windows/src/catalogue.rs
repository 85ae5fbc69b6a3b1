//! The catalogue: releases, hosts and Microsoft's base images, read from `catalogue.toml` when first asked for.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;

/// What `catalogue.toml` says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// When it was last compared with its sources.
    #[serde(deserialize_with = "date")]
    pub as_of: String,
    /// Where the data is from, by key.
    pub source: BTreeMap<String, Source>,
    /// Releases that images were made of, newest first.
    #[serde(rename = "release")]
    pub releases: Vec<Release>,
    /// Releases that hosts run.
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
    /// Base images.
    #[serde(rename = "image")]
    pub images: Vec<BaseImage>,
}

/// Where a datum is from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What the document is called.
    pub title: String,
    /// Host and path, without a scheme.
    #[serde(rename = "where")]
    pub place: String,
    /// The document's own date, `YYYY-MM-DD`.
    #[serde(deserialize_with = "date")]
    pub date: String,
}

/// A release that images exist of.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// `ltsc2022`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Third part of the version.
    pub build: u32,
    /// Other words in tags.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// First day.
    #[serde(default, deserialize_with = "some_date")]
    pub available: Option<String>,
    /// End of mainstream support, `YYYY-MM-DD`; none for releases without a long term.
    #[serde(default, deserialize_with = "some_date")]
    pub mainstream_end: Option<String>,
    /// End of extended support.
    #[serde(deserialize_with = "date")]
    pub extended_end: String,
    /// Whether Microsoft still serves images of it.
    pub served: bool,
    /// Key of the source.
    pub source: String,
}

/// A release that runs containers.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `ltsc2022`, `win11-24h2`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Third part of the version.
    pub build: u32,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Releases whose images it runs in a virtual machine.
    pub hyperv: Vec<String>,
    /// Whether it can be a node of Kubernetes.
    pub kubernetes: bool,
    /// Key of the source.
    pub source: String,
}

/// A base image of Microsoft.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// Repository beneath `mcr.microsoft.com/`.
    pub name: String,
    /// For whom it is.
    pub summary: String,
    /// What programs may need and find there.
    pub has: Vec<String>,
    /// The user that containers run as; empty where the host decides.
    pub user: String,
    /// Its `PATH`, where known.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether it runs on hosts of every build, which only images for `HostProcess` containers do.
    #[serde(default)]
    pub any_host: bool,
    /// Tag by release, or by `any`.
    pub tags: BTreeMap<String, String>,
    /// Compressed bytes by release.
    #[serde(default)]
    pub bytes: BTreeMap<String, u64>,
    /// Key of the source of `bytes`.
    #[serde(default)]
    pub bytes_source: Option<String>,
    /// Key of the source.
    pub source: String,
}

/// The registry that Microsoft's base images are in.
pub const REGISTRY: &str = "mcr.microsoft.com";

fn date<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(toml::value::Datetime::deserialize(from)?.to_string())
}

fn some_date<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    date(from).map(Some)
}

/// The catalogue that this program was made with.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    // That the text can be read is held by a test; a program without catalogue still builds images.
    CATALOGUE.get_or_init(|| toml::from_str(include_str!("catalogue.toml")).unwrap_or_default())
}

/// How far a release's support has come on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// All updates.
    Mainstream,
    /// All updates, but for less than 180 days more.
    MainstreamEnding,
    /// Security updates only.
    Extended,
    /// Security updates only, for less than 180 days more.
    ExtendedEnding,
    /// None.
    Ended,
}

impl Support {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Mainstream => "mainstream",
            Self::MainstreamEnding => "mainstream, ends soon",
            Self::Extended => "extended (security updates)",
            Self::ExtendedEnding => "extended, ends soon",
            Self::Ended => "ended",
        }
    }
}

impl Release {
    /// Its support on the day `today`, `YYYY-MM-DD`.
    pub fn support(&self, today: &str) -> Support {
        let left = |end: &str| days(end).unwrap_or(0) - days(today).unwrap_or(0);
        let mainstream = self.mainstream_end.as_deref().map_or(-1, left);
        let extended = left(&self.extended_end);
        match (mainstream, extended) {
            (180.., _) => Support::Mainstream,
            (0.., _) => Support::MainstreamEnding,
            (_, 180..) => Support::Extended,
            (_, 0..) => Support::ExtendedEnding,
            _ => Support::Ended,
        }
    }
}

/// Days of the civil calendar since 1970, of `YYYY-MM-DD`.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // A year that begins in March has its leap day at the end.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_years = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(of_years + (month * 153 + 2) / 5 + day - 1 - 719_468)
}

/// The build number of `10.0.20348.2113` or `10.0.20348`.
pub fn build_of(os_version: &str) -> Option<u32> {
    let mut parts = os_version.split('.');
    match (parts.next()?, parts.next()?, parts.next()?) {
        ("10", "0", build) => build.parse().ok(),
        _ => None,
    }
}

/// The release with this build number.
pub fn release_of_build(build: u32) -> Option<&'static Release> {
    catalogue().releases.iter().find(|release| release.build == build)
}

/// The release with this name: `ltsc2022`, or another word for it.
pub fn release_named(name: &str) -> Option<&'static Release> {
    let name = name.to_ascii_lowercase();
    catalogue()
        .releases
        .iter()
        .find(|release| release.id == name || release.aliases.contains(&name))
}

/// The release that a tag names: `ltsc2022`, `4.8-windowsservercore-ltsc2019`, `1809-KB4493509`, `10.0.17763.437`.
pub fn release_of_tag(tag: &str) -> Option<&'static Release> {
    if let Some(release) = build_of(tag).and_then(release_of_build) {
        return Some(release);
    }
    tag.split(['-', '_']).find_map(release_named)
}

/// The host with this name, version or build: `ltsc2022`, `win11-24h2`, `10.0.20348`, `20348`.
pub fn host_named(name: &str) -> Option<&'static Host> {
    let name = name.to_ascii_lowercase();
    let build = build_of(&name).or_else(|| name.parse().ok());
    let hosts = &catalogue().hosts;
    hosts
        .iter()
        .find(|host| host.id == name || host.aliases.contains(&name))
        .or_else(|| hosts.iter().find(|host| Some(host.build) == build))
}

/// What is known of `mcr.microsoft.com/<repository>`.
pub fn base_of(repository: &str) -> Option<&'static BaseImage> {
    catalogue().images.iter().find(|image| image.name == repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_whole() {
        let catalogue: Catalogue =
            toml::from_str(include_str!("catalogue.toml")).expect("the catalogue is TOML");
        assert!(catalogue.releases.iter().is_sorted_by(|a, b| a.build > b.build));
        let known = |key: &str| assert!(catalogue.source.contains_key(key), "no source {key}");
        let release = |id: &str| {
            assert!(catalogue.releases.iter().any(|release| release.id == id), "no release {id}");
        };
        for item in &catalogue.releases {
            known(&item.source);
            assert!(days(&item.extended_end).is_some());
        }
        for item in &catalogue.hosts {
            known(&item.source);
            item.hyperv.iter().for_each(|id| release(id));
        }
        for item in &catalogue.images {
            known(&item.source);
            item.bytes_source.iter().for_each(|key| known(key));
            assert!(item.bytes.is_empty() || item.bytes_source.is_some());
            let releases = item.tags.keys().filter(|id| *id != "any");
            releases.for_each(|id| release(id));
        }
    }

    #[test]
    fn tags_and_versions_name_releases() {
        let build = |tag| release_of_tag(tag).map(|release| release.build);
        assert_eq!(build("ltsc2022"), Some(20348));
        assert_eq!(build("1809-KB4493509"), Some(17763));
        assert_eq!(build("4.8.1-20260714-windowsservercore-ltsc2022"), Some(20348));
        assert_eq!(build("10.0.17763.437"), Some(17763));
        assert_eq!(build("latest"), None);
        assert_eq!(build_of("10.0.x"), None);
        let host = |name| host_named(name).map(|host| host.id.as_str());
        assert_eq!(host("10.0.20348"), Some("ltsc2022"));
        assert_eq!(host("win11"), Some("win11-24h2"));
        assert_eq!(host("26100"), Some("ltsc2025"));
        assert!(base_of("windows/nanoserver").is_some_and(|base| base.user == "ContainerUser"));
    }

    #[test]
    fn support_ends_on_its_day() {
        let release = release_named("ltsc2022").expect("a release");
        assert_eq!(release.support("2026-01-01"), Support::Mainstream);
        assert_eq!(release.support("2026-10-13"), Support::MainstreamEnding);
        assert_eq!(release.support("2026-10-14"), Support::Extended);
        assert_eq!(release.support("2031-10-14"), Support::ExtendedEnding);
        assert_eq!(release.support("2031-10-15"), Support::Ended);
        assert_eq!(days("1970-01-01"), Some(0));
        assert_eq!(days("2000-03-01"), Some(11017));
    }
}
