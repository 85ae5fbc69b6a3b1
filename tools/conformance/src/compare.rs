//! Two descriptions held against each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use crate::{Described, Error};

/// One place where crossdock's result is another than `BuildKit`'s.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// `linux/amd64 tree /path` or `linux/amd64 config config.Env`.
    pub place: String,
    pub buildkit: String,
    pub crossdock: String,
}

/// An entry of `differences.toml`: a difference that is meant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meant {
    /// A case, or `*`.
    pub case: String,
    /// A [`Difference::place`]; a `*` in it stands for any text.
    pub place: String,
    /// What crossdock gives there; left out where it does not matter.
    pub crossdock: Option<String>,
    pub reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    difference: Vec<Meant>,
}

/// Reads `differences.toml`.
pub fn meant(text: &str) -> Result<Vec<Meant>, Error> {
    let file: File = toml::from_str(text).map_err(|source| Error::Toml {
        path: "differences.toml".into(),
        source: Box::new(source),
    })?;
    Ok(file.difference)
}

impl Meant {
    pub fn covers(&self, case: &str, difference: &Difference) -> bool {
        let place = matches(&self.place, &difference.place);
        let same_case = self.case == "*" || self.case == case;
        same_case
            && place
            && self.crossdock.as_ref().is_none_or(|text| *text == difference.crossdock)
    }
}

/// Whether `text` is `pattern` with some text for every `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Every place where the two differ, in order.
pub fn compare(buildkit: &Described, crossdock: &Described) -> Vec<Difference> {
    let (left, right) = (places(buildkit), places(crossdock));
    let all: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let text = |side: &BTreeMap<String, String>, place: &String| {
        side.get(place).cloned().unwrap_or_else(|| "nothing".into())
    };
    all.into_iter()
        .map(|place| Difference {
            place: place.clone(),
            buildkit: text(&left, place),
            crossdock: text(&right, place),
        })
        .filter(|difference| difference.buildkit != difference.crossdock)
        .collect()
}

fn places(described: &Described) -> BTreeMap<String, String> {
    let mut places = BTreeMap::new();
    for (platform, image) in &described.0 {
        places.insert(format!("{platform} layers"), image.layers.to_string());
        for (path, entry) in &image.tree {
            places.insert(format!("{platform} tree {path}"), entry.clone());
        }
        walk(&image.config, &format!("{platform} config"), &mut places);
    }
    places
}

/// Objects by key and the history by step; what lies deeper is compared as a whole.
fn walk(value: &Value, place: &str, places: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                walk(field, &format!("{place}.{key}"), places);
            }
        }
        Value::Array(items) if place.ends_with(".history") => {
            for (at, item) in items.iter().enumerate() {
                walk(item, &format!("{place}[{at}]"), places);
            }
        }
        Value::Null => {}
        other => {
            places.insert(place.to_owned(), other.to_string());
        }
    }
}
