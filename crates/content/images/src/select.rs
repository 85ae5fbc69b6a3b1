use oci::{Descriptor, Index, Platform, media_type};

/// Whether an entry of an index is an image that can run, not an attestation or another artifact.
pub fn is_image(entry: &Descriptor) -> bool {
    let attestation = entry.annotations.contains_key("vnd.docker.reference.type");
    let unknown = entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown" || platform.architecture == "unknown");
    (media_type::is_manifest(&entry.media_type) || media_type::is_index(&entry.media_type))
        && entry.artifact_type.is_none()
        && !attestation
        && !unknown
}

/// The platforms that an index has images for, each once, in the order of the index.
pub fn platforms(index: &Index) -> Vec<Platform> {
    let mut found: Vec<Platform> = Vec::new();
    for platform in index
        .manifests
        .iter()
        .filter(|entry| is_image(entry))
        .filter_map(|entry| entry.platform.clone())
    {
        let platform = platform.normalized();
        if !found.contains(&platform) {
            found.push(platform);
        }
    }
    found
}

/// The image for `wanted` in an index: the best of [`matching`].
pub fn select<'i>(index: &'i Index, wanted: &Platform) -> Option<&'i Descriptor> {
    matching(index, wanted).into_iter().next()
}

/// All images of an index that run where `wanted` runs, the best first.
///
/// As containerd's `Only`: an arm image for an older variant runs on a newer one, the newest is best; arm64 and amd64 do
/// the same with their versions, and the exact platform wins. Of Windows images that fit, the one with the newest build
/// is best, then the newest revision; without a version in `wanted` too, so that the order of an index does not decide.
/// Of images that are equal in all this, the first in the index.
pub fn matching<'i>(index: &'i Index, wanted: &Platform) -> Vec<&'i Descriptor> {
    let wanted = wanted.clone().normalized();
    let rank = |entry: &Descriptor| {
        let have = entry.platform.clone().unwrap_or_default().normalized();
        fit(&have, &wanted).map(|variant| (variant, std::cmp::Reverse(version(&have.os_version))))
    };
    let images = index.manifests.iter().filter(|entry| is_image(entry) && entry.platform.is_some());
    let mut ranked: Vec<_> =
        images.filter_map(|entry| rank(entry).map(|rank| (rank, entry))).collect();
    ranked.sort_by(|one, other| one.0.cmp(&other.0));
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

/// How far an image's variant is from the best one, if it runs there at all.
fn fit(have: &Platform, wanted: &Platform) -> Option<usize> {
    if have.os != wanted.os {
        return None;
    }
    if have.os == "windows" && !version_fits(&have.os_version, &wanted.os_version) {
        return None;
    }
    accepted(&wanted.architecture, &wanted.variant).into_iter().position(
        |(architecture, variant)| have.architecture == architecture && have.variant == variant,
    )
}

/// What runs on an architecture, the best first, in normalised spelling (containerd `platforms/compare.go`).
///
/// 32-bit images are not taken for 64-bit ones: they would be images of another platform.
fn accepted(architecture: &str, variant: &str) -> Vec<(String, String)> {
    let number =
        |variant: &str| variant.strip_prefix('v').and_then(|number| number.parse::<u8>().ok());
    let down = |from: u8, to: u8, none: u8| {
        let name =
            |version: u8| if version == none { String::new() } else { format!("v{version}") };
        (to..=from)
            .rev()
            .map(|version| (architecture.to_owned(), name(version)))
            .collect::<Vec<_>>()
    };
    match (architecture, number(variant)) {
        ("arm", Some(version @ 5..=8)) => down(version, 5, 0),
        ("amd64", Some(version @ 2..=4)) => down(version, 1, 1),
        // `v8.1` and later have no order here; they run what `v8` runs.
        ("arm64", _) if !variant.is_empty() => {
            let mut found = vec![(architecture.to_owned(), variant.to_owned())];
            if let Some(version @ 9..) = number(variant) {
                found.extend(down(version - 1, 8, 8));
            } else {
                found.push((architecture.to_owned(), String::new()));
            }
            found
        }
        _ => vec![(architecture.to_owned(), variant.to_owned())],
    }
}

/// Whether an image of version `have` was asked for with `wanted`: nothing, the whole version, or its beginning.
fn version_fits(have: &str, wanted: &str) -> bool {
    wanted.is_empty()
        || have == wanted
        || have.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}

/// The parts of a Windows version as numbers; what is none counts as zero.
fn version(text: &str) -> Vec<u64> {
    text.split('.').take(4).map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let entry = |text: &&str| {
            let platform: Platform = text.parse().unwrap();
            let digest = oci::Digest::of(text.as_bytes());
            Descriptor {
                platform: Some(platform),
                ..Descriptor::new(media_type::OCI_MANIFEST, digest, 1)
            }
        };
        Index::new(platforms.iter().map(entry).collect())
    }

    fn selected(index: &Index, wanted: &str) -> Option<String> {
        select(index, &wanted.parse().unwrap())
            .map(|entry| entry.platform.clone().unwrap_or_default().to_string())
    }

    #[test]
    fn an_older_variant_stands_in_for_a_newer_one() {
        let arm = index(&["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64"]);
        for (wanted, expected) in [
            ("linux/arm", Some("linux/arm/v7")),
            ("linux/arm/v8", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v6")),
            ("linux/arm/v5", Some("linux/arm/v5")),
            ("linux/arm64", Some("linux/arm64")),
            ("linux/arm64/v9", Some("linux/arm64")),
            ("linux/amd64", None),
        ] {
            assert_eq!(selected(&arm, wanted).as_deref(), expected, "{wanted}");
        }
        assert_eq!(
            selected(&index(&["linux/arm/v6"]), "linux/arm/v7").as_deref(),
            Some("linux/arm/v6")
        );
        assert_eq!(selected(&index(&["linux/arm/v7"]), "linux/arm/v6"), None);
        let amd = index(&["linux/amd64", "linux/amd64/v3", "linux/amd64/v2"]);
        assert_eq!(selected(&amd, "linux/amd64").as_deref(), Some("linux/amd64"));
        assert_eq!(selected(&amd, "linux/amd64/v4").as_deref(), Some("linux/amd64/v3"));
    }

    #[test]
    fn the_newest_windows_build_that_fits_is_taken_whatever_the_order() {
        let windows = index(&[
            "windows(10.0.17763.6775)/amd64",
            "windows(10.0.20348.3091)/amd64",
            "windows(10.0.26100.2894)/amd64",
            "windows(10.0.20348.4000)/amd64",
            "linux/amd64",
        ]);
        for (wanted, expected) in [
            ("windows/amd64", Some("windows(10.0.26100.2894)/amd64")),
            ("windows(10.0.20348)/amd64", Some("windows(10.0.20348.4000)/amd64")),
            ("windows(10.0.20348.3091)/amd64", Some("windows(10.0.20348.3091)/amd64")),
            ("windows(10.0.2034)/amd64", None),
            ("windows(10.0.14393)/amd64", None),
            ("windows/arm64", None),
        ] {
            assert_eq!(selected(&windows, wanted).as_deref(), expected, "{wanted}");
        }
    }

    #[test]
    fn attestations_are_no_images_and_platforms_are_listed_once() {
        let mut found = index(&["linux/amd64", "linux/arm64/v8", "linux/arm64", "linux/amd64"]);
        let mut attestation = Descriptor::of(media_type::OCI_MANIFEST, b"attestation");
        attestation.platform = Some(Platform {
            os: "unknown".to_owned(),
            architecture: "unknown".to_owned(),
            ..Platform::default()
        });
        found.manifests.insert(0, attestation);
        let listed: Vec<String> = platforms(&found).iter().map(ToString::to_string).collect();
        assert_eq!(listed, ["linux/amd64", "linux/arm64"]);
    }
}
