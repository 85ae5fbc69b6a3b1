use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::media_type;

/// Why bytes are neither clearly an image manifest nor clearly an index.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// No JSON, or JSON that two readers may understand differently (a key given twice, something after the end).
    #[error("not a manifest: malformed JSON")]
    Json(#[source] serde_json::Error),
    /// It has the marks of both kinds, or spells a field so that some readers take it for another.
    #[error("ambiguous manifest: {0}")]
    Ambiguous(String),
    /// It says one media type inside and came as another.
    #[error("ambiguous manifest: it came as `{came_as}` and says `{says}` inside")]
    MediaType {
        /// Content type or the descriptor's type.
        came_as: String,
        /// Its `mediaType`.
        says: String,
    },
    /// Docker schema 1, which no registry should serve any more.
    #[error(
        "a Docker schema 1 manifest, which is not supported: push the image again with a current tool"
    )]
    Schema1,
    /// Something else.
    #[error("neither an image manifest nor an image index, but `{0}`")]
    Other(String),
}

/// The fields of manifests of all kinds, as they are spelled.
const FIELDS: [&str; 10] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "fsLayers",
    "signatures",
];

/// Tells what a manifest's bytes are: the media type of an image manifest or an index, OCI's or Docker's.
///
/// `came_as` is the content type, or the media type of the descriptor, it was found under. Bytes that two readers could
/// take for different images are refused (image-spec 1.1, `manifest.md`; GHSA-qq97-vm5h-rrhg).
pub fn identify(raw: &[u8], came_as: Option<&str>) -> Result<&'static str, IdentifyError> {
    let outline: Outline = serde_json::from_slice(raw).map_err(IdentifyError::Json)?;
    let came_as =
        came_as.map(|text| text.split(';').next().unwrap_or(text).trim().to_ascii_lowercase());
    let came_as = came_as.as_deref().unwrap_or_default();
    for key in &outline.keys {
        if let Some(field) =
            FIELDS.iter().find(|field| field.eq_ignore_ascii_case(key) && *field != key)
        {
            return Err(IdentifyError::Ambiguous(format!(
                "it has a field `{key}`, which some readers take for `{field}`"
            )));
        }
    }
    let has = |field: &str| outline.keys.contains(field);
    if has("fsLayers") || came_as.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        let clear = !has("layers") && !has("manifests") && !has("config");
        return Err(if clear {
            IdentifyError::Schema1
        } else {
            IdentifyError::Ambiguous("it has `fsLayers` and fields of later forms".to_owned())
        });
    }
    let image = has("layers") || has("config");
    if image && has("manifests") {
        return Err(IdentifyError::Ambiguous(
            "it has both `manifests` and fields of an image".to_owned(),
        ));
    }
    let says = outline.media_type.as_deref().unwrap_or_default();
    let known = |text: &str| {
        [
            media_type::OCI_MANIFEST,
            media_type::OCI_INDEX,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_INDEX,
        ]
        .into_iter()
        .find(|it| *it == text)
    };
    if !says.is_empty() && !came_as.is_empty() && says != came_as && known(came_as).is_some() {
        return Err(IdentifyError::MediaType {
            came_as: came_as.to_owned(),
            says: says.to_owned(),
        });
    }
    let found = match (known(says), known(came_as)) {
        (Some(found), _) => found,
        (None, _) if !says.is_empty() => return Err(IdentifyError::Other(says.to_owned())),
        (None, Some(found)) => found,
        (None, None) if image => media_type::OCI_MANIFEST,
        (None, None) if has("manifests") => media_type::OCI_INDEX,
        (None, None) => {
            return Err(IdentifyError::Other(if came_as.is_empty() {
                "unknown".to_owned()
            } else {
                came_as.to_owned()
            }));
        }
    };
    if media_type::is_index(found) && image || media_type::is_manifest(found) && !image {
        return Err(IdentifyError::Ambiguous(format!(
            "it is called `{found}` but has the fields of another kind"
        )));
    }
    Ok(found)
}

/// The keys of the outermost object and its `mediaType`; everything below is only checked for keys given twice.
struct Outline {
    keys: BTreeSet<String>,
    media_type: Option<String>,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Outer;
        impl<'de> Visitor<'de> for Outer {
            type Value = Outline;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
                let mut outline = Outline { keys: BTreeSet::new(), media_type: None };
                while let Some(key) = map.next_key::<String>()? {
                    if outline.keys.contains(&key) {
                        return Err(serde::de::Error::custom(format_args!(
                            "`{key}` is given twice"
                        )));
                    }
                    if key == "mediaType" {
                        outline.media_type = map.next_value()?;
                    } else {
                        map.next_value::<NoTwins>()?;
                    }
                    outline.keys.insert(key);
                }
                Ok(outline)
            }
        }
        from.deserialize_map(Outer)
    }
}

/// Any JSON in which no object has a key twice.
struct NoTwins;

impl<'de> Deserialize<'de> for NoTwins {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = NoTwins;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, _: bool) -> Result<NoTwins, E> {
                Ok(NoTwins)
            }
            fn visit_i64<E>(self, _: i64) -> Result<NoTwins, E> {
                Ok(NoTwins)
            }
            fn visit_u64<E>(self, _: u64) -> Result<NoTwins, E> {
                Ok(NoTwins)
            }
            fn visit_f64<E>(self, _: f64) -> Result<NoTwins, E> {
                Ok(NoTwins)
            }
            fn visit_str<E>(self, _: &str) -> Result<NoTwins, E> {
                Ok(NoTwins)
            }
            fn visit_unit<E>(self) -> Result<NoTwins, E> {
                Ok(NoTwins)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NoTwins, A::Error> {
                while list.next_element::<NoTwins>()?.is_some() {}
                Ok(NoTwins)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoTwins, A::Error> {
                let mut keys = BTreeSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    map.next_value::<NoTwins>()?;
                    if !keys.insert(key) {
                        return Err(serde::de::Error::custom("a key is given twice"));
                    }
                }
                Ok(NoTwins)
            }
        }
        from.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};

    #[test]
    fn clear_documents_are_what_they_say() {
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}","config":{{}},"layers":[]}}"#
        );
        assert_eq!(
            identify(manifest.as_bytes(), Some(DOCKER_MANIFEST)).ok(),
            Some(DOCKER_MANIFEST)
        );
        assert_eq!(
            identify(manifest.as_bytes(), Some("application/json; charset=utf-8")).ok(),
            Some(DOCKER_MANIFEST)
        );
        let bare = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(identify(bare, None).ok(), Some(OCI_INDEX));
        assert_eq!(identify(bare, Some(DOCKER_INDEX)).ok(), Some(DOCKER_INDEX));
        assert_eq!(
            identify(br#"{"schemaVersion":2,"config":{},"layers":[]}"#, Some("text/plain")).ok(),
            Some(OCI_MANIFEST)
        );
    }

    #[test]
    fn documents_of_two_meanings_are_refused() {
        for (raw, came_as) in [
            (r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":2,"config":{},"layers":[],"fsLayers":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":2,"config":{},"layers":[],"layers":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":2,"config":{},"layers":[],"Layers":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":2,"config":{"size":1,"size":2},"layers":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), Some(OCI_MANIFEST)),
            (r#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_owned(), Some(OCI_INDEX)),
            (format!(r#"{{"mediaType":"{OCI_INDEX}","manifests":[]}}"#), Some(DOCKER_INDEX)),
            (format!(r#"{{"mediaType":"{OCI_INDEX}","config":{{}},"layers":[]}}"#), None),
            (r#"{"schemaVersion":2,"manifests":[]}garbage"#.to_owned(), None),
            ("\u{feff}{\"schemaVersion\":2,\"manifests\":[]}".to_owned(), None),
            (r#"{"schemaVersion":NaN,"manifests":[]}"#.to_owned(), None),
            (r#"{"schemaVersion":1e400,"manifests":[]}"#.to_owned(), None),
            ("[]".to_owned(), None),
            ("{}".to_owned(), None),
            (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), None),
        ] {
            assert!(
                identify(raw.as_bytes(), came_as).is_err(),
                "{}",
                raw.get(..80).unwrap_or(&raw)
            );
        }
    }
}
