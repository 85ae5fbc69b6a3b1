//! Does the workspace look as `layers.toml` says it does?
//!
//! Only a test: `cargo test -p xtask`. It reads the manifests of all crates and compares their edges with `layers.toml`,
//! where a folder of `crates` is a layer and a layer may only use those below it.

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::error::Error;
    use std::path::{Path, PathBuf};

    use toml::Table;

    /// Layer → crate → the workspace's crates it uses.
    type Layers = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

    /// What each layer may use besides itself; the four in the middle never see one another.
    const BELOW: [(&str, &[&str]); 7] = [
        ("model", &[]),
        ("content", &["model"]),
        ("language", &["model"]),
        ("build", &["model", "content"]),
        ("trust", &["model", "content"]),
        ("service", &["model"]),
        ("assembly", &["model", "content", "language", "build", "trust", "service"]),
    ];

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn table(path: &Path) -> Result<Table, Box<dyn Error>> {
        Ok(fs_err::read_to_string(path)?.parse()?)
    }

    fn folders(path: &Path) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
        let mut folders = Vec::new();
        for entry in fs_err::read_dir(path)? {
            let entry = entry?;
            if entry.path().is_dir() {
                folders.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
            }
        }
        folders.sort();
        Ok(folders)
    }

    fn listed() -> Result<Layers, Box<dyn Error>> {
        let mut layers = Layers::new();
        for (layer, crates) in table(&root().join("layers.toml"))? {
            for (name, uses) in crates.as_table().ok_or("a layer is a table")? {
                let uses = uses.as_array().ok_or("a crate has a list")?.iter();
                let uses = uses.filter_map(|name| name.as_str().map(str::to_owned)).collect();
                layers.entry(layer.clone()).or_default().insert(name.clone(), uses);
            }
        }
        Ok(layers)
    }

    #[test]
    fn every_crate_uses_exactly_what_layers_toml_lists() -> Result<(), Box<dyn Error>> {
        let workspace = table(&root().join("Cargo.toml"))?;
        let known = workspace["workspace"]["dependencies"]
            .as_table()
            .ok_or("the workspace has dependencies")?;
        let mut found = Layers::new();
        for (layer, folder) in folders(&root().join("crates"))? {
            for (name, folder) in folders(&folder)? {
                let manifest = table(&folder.join("Cargo.toml"))?;
                assert_eq!(
                    manifest["package"]["name"].as_str(),
                    Some(name.as_str()),
                    "a crate is named as its folder"
                );
                let uses = manifest
                    .get("dependencies")
                    .and_then(|uses| uses.as_table())
                    .into_iter()
                    .flatten();
                let uses = uses.map(|(name, _)| name.clone());
                let uses = uses
                    .filter(|name| known.get(name).is_some_and(|of| of.get("path").is_some()))
                    .collect();
                found.entry(layer.clone()).or_default().insert(name, uses);
            }
        }
        assert_eq!(found, listed()?, "left: the manifests; right: layers.toml");
        Ok(())
    }

    #[test]
    fn layers_use_what_lies_below_them() -> Result<(), Box<dyn Error>> {
        let layers = listed()?;
        let home: BTreeMap<&String, &String> = layers
            .iter()
            .flat_map(|(layer, crates)| crates.keys().map(move |name| (name, layer)))
            .collect();
        for (layer, crates) in &layers {
            let (_, below) =
                BELOW.iter().find(|(name, _)| name == layer).ok_or("an unknown layer")?;
            for (name, uses) in crates {
                for used in uses {
                    let of = home.get(used).ok_or("a crate that does not exist is used")?;
                    assert!(
                        *of == layer || below.contains(&of.as_str()),
                        "{name} ({layer}) must not use {used} ({of})"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn architecture_md_has_every_crate() -> Result<(), Box<dyn Error>> {
        let text = fs_err::read_to_string(root().join("ARCHITECTURE.md"))?;
        for (layer, crates) in listed()? {
            for name in crates.keys() {
                assert!(
                    text.contains(&format!("`{name}`")),
                    "ARCHITECTURE.md does not tell of {layer}/{name}"
                );
            }
        }
        Ok(())
    }
}
