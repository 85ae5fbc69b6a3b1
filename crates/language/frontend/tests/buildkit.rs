//! Definitions are BuildKit's, vertex by vertex.
//!
//! Each case in `tests/buildkit` is a Dockerfile and what a real BuildKit (0.25, in Docker Engine 28.5) made of it: the
//! digests of its vertices, as its provenance lists them, the history and the configuration of the image.
//! `tests/record-buildkit.py` records them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use frontend::{CompileOptions, ImageName, ImageResolver, ResolveError, ResolvedImage, compile};
use oci::{ImageConfig, Platform};
use report::SourceText;
use serde_json::Value;

/// Knows the images that a case was recorded with.
struct Recorded<'a>(&'a Value);

impl ImageResolver for Recorded<'_> {
    fn resolve(&self, name: ImageName<'_>, _: &Platform) -> Result<ResolvedImage, ResolveError> {
        let ImageName::Reference(reference) = name else {
            return Err(ResolveError::NotFound("layout".to_owned()));
        };
        let image = &self.0["images"][reference.to_string()];
        let Some(digest) = image["digest"].as_str().and_then(|digest| digest.parse().ok()) else {
            return Err(ResolveError::NotFound(reference.to_string()));
        };
        let config: ImageConfig = serde_json::from_value(image["config"].clone()).unwrap();
        Ok(ResolvedImage { digest, config })
    }
}

fn check(name: &str) {
    let directory = format!("{}/tests/buildkit/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(format!("{directory}/Dockerfile")).unwrap();
    let recorded = fs_err::read_to_string(format!("{directory}/recorded.json")).unwrap();
    let recorded: Value = serde_json::from_str(&recorded).unwrap();
    let mut options =
        CompileOptions::new(SourceText { name: "Dockerfile".to_owned(), text: text.into() });
    options.platform = Platform::new("linux", "amd64");
    options.build_platform = Platform::new("linux", "amd64");
    for (key, value) in recorded["args"].as_object().into_iter().flatten() {
        options.build_args.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    let compiled = compile(&options, &Recorded(&recorded)).unwrap_or_else(|wrong| {
        let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        panic!("{name}: {}", wrong.join("\n"))
    });

    let resolved = compiled.definition.resolve().unwrap();
    let ours: BTreeMap<String, String> = resolved
        .vertices
        .iter()
        .map(|vertex| {
            let shown = format!("{} {:#?}", vertex.name().unwrap_or("?"), vertex.op);
            (vertex.digest.to_string(), shown)
        })
        .collect();
    let theirs: BTreeSet<&str> =
        recorded["vertices"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let strange: Vec<&String> = ours
        .iter()
        .filter(|(digest, _)| !theirs.contains(digest.as_str()))
        .map(|(_, shown)| shown)
        .collect();
    assert!(
        strange.is_empty(),
        "{name}: not in BuildKit's definition:\n{}",
        strange.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    );
    // BuildKit lists the terminal op too.
    assert_eq!(ours.len() + 1, theirs.len(), "{name}: number of vertices");

    let history: Vec<Value> = compiled
        .config
        .history
        .iter()
        .map(|entry| serde_json::json!([entry.created_by, entry.empty_layer]))
        .collect();
    assert_eq!(Value::from(history), recorded["history"], "{name}: history");
    let config = serde_json::to_value(&compiled.config.config).unwrap();
    assert_eq!(config, recorded["config"], "{name}: config");
}

#[test]
fn definitions_are_those_of_buildkit() {
    let directory = format!("{}/tests/buildkit", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = fs_err::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        check(&name);
    }
}
