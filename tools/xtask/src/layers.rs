//! The architecture test: `layers.toml` lists what each crate may use; the `Cargo.toml`s and folders must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Layer → crate → the workspace crates it uses.
pub(crate) type Layers = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Layers from the bottom, with those that each may use beside itself.
const MAY_USE: [(&str, &[&str]); 7] = [
    ("model", &[]),
    ("content", &["model"]),
    ("language", &["model"]),
    ("build", &["model", "content"]),
    ("trust", &["model", "content"]),
    ("service", &["model"]),
    ("assembly", &["model", "content", "language", "build", "trust", "service"]),
];

/// The top of `layers.toml`.
const HEADER: &str = "\
# What each crate may use of this workspace. `cargo test -p xtask` fails when a Cargo.toml or a folder says otherwise.
# A folder below `crates` is a layer; ARCHITECTURE.md tells which layer may use which.
";

/// What the workspace's manifests say.
pub(crate) fn found() -> Result<Layers, Box<dyn Error>> {
    let workspace = MetadataCommand::new().no_deps().exec()?;
    let crates = workspace.workspace_root.join("crates");
    let mut found = Layers::new();
    for package in &workspace.packages {
        let Ok(place) = package.manifest_path.strip_prefix(&crates) else { continue };
        let mut place = place.components().map(|it| it.as_str());
        let layer = place.next().ok_or("a crate lies in a layer")?;
        if place.next() != Some(package.name.as_str()) {
            return Err(format!("crate `{}` must lie in a folder of its name", package.name).into());
        }
        let uses = package.dependencies.iter();
        let uses = uses.filter(|it| it.path.is_some() && it.kind == DependencyKind::Normal);
        let uses = uses.map(|it| it.name.clone()).collect();
        found.entry(layer.to_string()).or_default().insert(package.name.to_string(), uses);
    }
    Ok(found)
}

/// What `layers.toml` says.
pub(crate) fn listed() -> Result<Layers, Box<dyn Error>> {
    let workspace = MetadataCommand::new().no_deps().exec()?;
    let text = fs_err::read_to_string(workspace.workspace_root.join("layers.toml"))?;
    Ok(toml::from_str(&text)?)
}

/// Where the two differ, a line each. Empty if nowhere.
pub(crate) fn differences(found: &Layers, listed: &Layers) -> String {
    let mut lines = String::new();
    let mut line = |text: String| writeln!(lines, "{text}").unwrap_or_default();
    let flat = |layers: &Layers| -> BTreeMap<String, (String, BTreeSet<String>)> {
        let each = layers
            .iter()
            .flat_map(|(layer, crates)| crates.iter().map(move |(name, uses)| (layer, name, uses)));
        each.map(|(layer, name, uses)| (name.clone(), (layer.clone(), uses.clone()))).collect()
    };
    let (found, listed) = (flat(found), flat(listed));
    for (name, (layer, uses)) in &found {
        let Some((listed_layer, listed_uses)) = listed.get(name) else {
            line(format!("`{name}` in crates/{layer} is not listed in layers.toml"));
            continue;
        };
        if layer != listed_layer {
            line(format!(
                "`{name}` lies in crates/{layer}, and layers.toml lists it in [{listed_layer}]"
            ));
        }
        for edge in uses.difference(listed_uses) {
            line(format!("`{name}` uses `{edge}`, which layers.toml does not allow"));
        }
        for edge in listed_uses.difference(uses) {
            line(format!("`{name}` does not use `{edge}`, which layers.toml lists"));
        }
    }
    for name in listed.keys().filter(|name| !found.contains_key(*name)) {
        line(format!("`{name}` is listed in layers.toml and does not exist"));
    }
    lines
}

/// Edges that go up, or across to a peer. Empty if there are none.
pub(crate) fn violations(layers: &Layers) -> String {
    let mut lines = String::new();
    let home: BTreeMap<&str, &str> = layers
        .iter()
        .flat_map(|(layer, crates)| crates.keys().map(move |name| (name.as_str(), layer.as_str())))
        .collect();
    for (layer, crates) in layers {
        let Some((_, below)) = MAY_USE.iter().find(|(name, _)| name == layer) else {
            writeln!(lines, "`{layer}` is no layer").unwrap_or_default();
            continue;
        };
        for (name, uses) in crates {
            for edge in uses {
                let target = home.get(edge.as_str()).copied().unwrap_or("tools");
                if target != layer && !below.contains(&target) {
                    writeln!(
                        lines,
                        "`{name}` in {layer} uses `{edge}` in {target}, which is not below it"
                    )
                    .unwrap_or_default();
                }
            }
        }
    }
    lines
}

/// `layers.toml` as it would have to be.
pub(crate) fn written(found: &Layers) -> String {
    let mut text = HEADER.to_owned();
    for (layer, _) in MAY_USE {
        let Some(crates) = found.get(layer) else { continue };
        let mut line = |it: &str| writeln!(text, "{it}").unwrap_or_default();
        line(&format!("\n[{layer}]"));
        for (name, uses) in sorted(crates) {
            let uses: Vec<String> = uses.iter().map(|it| format!("\"{it}\"")).collect();
            let short = format!("{name} = [{}]", uses.join(", "));
            if short.len() <= 120 {
                line(&short);
                continue;
            }
            line(&format!("{name} = ["));
            let mut row = String::new();
            for it in &uses {
                if row.len() + it.len() > 112 {
                    line(&format!("    {}", row.trim_end()));
                    row.clear();
                }
                write!(row, "{it}, ").unwrap_or_default();
            }
            line(&format!("    {}\n]", row.trim_end()));
        }
    }
    text
}

/// Crates in an order in which each comes after those of its layer that it uses.
fn sorted(crates: &BTreeMap<String, BTreeSet<String>>) -> Vec<(&String, &BTreeSet<String>)> {
    let mut left: Vec<_> = crates.iter().collect();
    let mut order: Vec<(&String, &BTreeSet<String>)> = Vec::new();
    while !left.is_empty() {
        let ready =
            left.iter().position(|(_, uses)| !left.iter().any(|(other, _)| uses.contains(*other)));
        order.push(left.remove(ready.unwrap_or(0)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_uses_exactly_what_layers_toml_lists() -> Result<(), Box<dyn Error>> {
        let differences = differences(&found()?, &listed()?);
        let advice = "a new edge needs a reason; `cargo xtask layers` rewrites the file";
        assert!(
            differences.is_empty(),
            "layers.toml and the workspace differ ({advice}):\n{differences}"
        );
        Ok(())
    }

    #[test]
    fn no_edge_goes_up_or_to_a_peer() -> Result<(), Box<dyn Error>> {
        let violations = violations(&listed()?);
        assert!(violations.is_empty(), "{violations}");
        Ok(())
    }

    #[test]
    fn architecture_md_has_every_crate() -> Result<(), Box<dyn Error>> {
        let workspace = MetadataCommand::new().no_deps().exec()?;
        let text = fs_err::read_to_string(workspace.workspace_root.join("ARCHITECTURE.md"))?;
        for (layer, crates) in found()? {
            for name in crates.keys() {
                assert!(
                    text.contains(&format!("`{name}`")),
                    "ARCHITECTURE.md does not tell of {layer}/{name}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn differences_are_told_by_name() -> Result<(), toml::de::Error> {
        let found: Layers = toml::from_str(
            "[model]\noci = []\nblobs = [\"oci\"]\n[content]\nstore = [\"blobs\", \"layer\"]\nnew = []",
        )?;
        let listed: Layers = toml::from_str(
            "[model]\noci = []\nblobs = []\nstore = [\"blobs\", \"oci\"]\ngone = []",
        )?;
        let expected = "`blobs` uses `oci`, which layers.toml does not allow\n\
            `new` in crates/content is not listed in layers.toml\n\
            `store` lies in crates/content, and layers.toml lists it in [model]\n\
            `store` uses `layer`, which layers.toml does not allow\n\
            `store` does not use `oci`, which layers.toml lists\n\
            `gone` is listed in layers.toml and does not exist\n";
        assert_eq!(differences(&found, &listed), expected);
        let upward: Layers = toml::from_str(
            "[model]\noci = [\"store\"]\n[content]\nstore = []\n[language]\nx = [\"store\"]",
        )?;
        assert_eq!(violations(&upward).lines().count(), 2);
        Ok(())
    }

    #[test]
    fn what_is_written_is_read_back() -> Result<(), Box<dyn Error>> {
        let found = found()?;
        let read: Layers = toml::from_str(&written(&found))?;
        assert_eq!(differences(&found, &read), "");
        Ok(())
    }
}
