//! Compiles every case that has an `llb.json` and compares the definition with `BuildKit`'s, vertex by vertex: operation,
//! inputs, name, progress group and digest.
//!
//! `CONFORMANCE=NAME,NAME` compares only these cases.
#![expect(clippy::disallowed_methods, reason = "is told by the environment which cases")]

mod record;
mod shape;

use std::collections::BTreeSet;
use std::path::Path;

use conformance::compare::{Difference, meant};
use conformance::{Case, case};
use frontend::compile;
use record::{Failure, Record, Vertex};

#[test]
fn every_definition_is_buildkits() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance");
    let bases = record::bases(&root.join("bases.json"))?;
    let meant = meant(&fs_err::read_to_string(root.join("differences.toml"))?)?;
    let meant: Vec<_> = meant.into_iter().filter(|entry| entry.place.starts_with("llb ")).collect();
    let only = std::env::var("CONFORMANCE").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let work = tempfile::Builder::new().prefix("conformance-llb-").tempdir()?;

    let mut used = vec![false; meant.len()];
    let (mut cases, mut vertices, mut equal) = (0, 0, 0);
    let mut wrong = Vec::new();
    for case in Case::all(&root.join("cases"))? {
        let file = case.folder.join("llb.json");
        if !file.is_file() || !(only.is_empty() || only.contains(&case.name.as_str())) {
            continue;
        }
        cases += 1;
        let record = record::read(&fs_err::read_to_string(&file)?)?;
        let dir = work.path().join(&case.name);
        case::prepare(&case, &dir)?;
        let found = match compare(&case, &record, &dir, &bases) {
            Ok((found, counted)) => {
                vertices += counted.0;
                equal += counted.1;
                found
            }
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        for difference in found {
            match meant.iter().position(|entry| entry.covers(&case.name, &difference)) {
                Some(at) => used[at] = true,
                None => wrong.push(format!(
                    "{}: {}\n    BuildKit:  {}\n    crossdock: {}",
                    case.name, difference.place, difference.buildkit, difference.crossdock
                )),
            }
        }
    }
    if only.is_empty() {
        for entry in meant.iter().zip(&used).filter(|(_, used)| !**used).map(|(entry, _)| entry) {
            wrong.push(format!("differences.toml: {} {} does not differ", entry.case, entry.place));
        }
    }
    println!("LLB: {cases} cases, {vertices} vertices, {equal} with BuildKit's own digest");
    assert!(
        wrong.is_empty(),
        "{} places are not as in BuildKit's LLB\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// What differs, and how many vertices there are and have `BuildKit`'s digest.
fn compare(
    case: &Case,
    record: &Record,
    dir: &Path,
    bases: &record::Bases,
) -> Result<(Vec<Difference>, (usize, usize)), Failure> {
    let (mut found, mut counted) = (Vec::new(), (0, 0));
    for platform in &case.plan.platforms {
        let theirs = record.vertices(platform, case.plan.platforms.len())?;
        let options = record::options(case, record, dir, platform)?;
        let compiled = compile(&options, &record::Known { bases, record }).map_err(|wrong| {
            wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        })?;
        let ours = record::ours(&compiled)?;
        counted.0 += theirs.len();
        counted.1 +=
            theirs.iter().filter(|of| ours.iter().any(|own| own.digest == of.digest)).count();
        differences(&format!("llb {platform}"), theirs, &ours, &mut found);
    }
    Ok((found, counted))
}

fn differences(place: &str, theirs: &[Vertex], ours: &[Vertex], found: &mut Vec<Difference>) {
    let partners = partners(theirs, ours);
    for (at, vertex) in theirs.iter().enumerate() {
        let name = format!("{place} {}", vertex.label());
        let Some(own) = partners[at].and_then(|at| ours.get(at)) else {
            found.push(difference(&name, &vertex.op.to_string(), "nothing"));
            continue;
        };
        let before = found.len();
        walk(&name, &vertex.op, &own.op, found);
        let mapped: Vec<_> = vertex
            .inputs
            .iter()
            .map(|(input, output)| (partners.get(*input).copied().flatten(), *output))
            .collect();
        let inputs: Vec<_> =
            own.inputs.iter().map(|(input, output)| (Some(*input), *output)).collect();
        if mapped != inputs {
            found.push(difference(
                &format!("{name} inputs"),
                &format!("{mapped:?}"),
                &format!("{inputs:?}"),
            ));
        }
        let changed = found.len() > before
            || vertex.inputs.iter().any(|(input, _)| {
                let own = partners.get(*input).copied().flatten().and_then(|at| ours.get(at));
                own.is_none_or(|own| {
                    theirs.get(*input).is_none_or(|their| their.digest != own.digest)
                })
            });
        // The digest follows from all this; where it alone differs something is not looked at.
        if !changed && vertex.digest != own.digest {
            found.push(difference(&format!("{name} digest"), &vertex.digest, &own.digest));
        }
        let said = |of: &Vertex| {
            let group = of.progress_group.as_ref();
            format!(
                "{} {}",
                of.name,
                group
                    .map(|group| format!("in {} weak={}", group.name, group.weak))
                    .unwrap_or_default()
            )
        };
        if said(vertex) != said(own) {
            found.push(difference(&format!("{name} name"), &said(vertex), &said(own)));
        }
    }
    for (at, own) in ours.iter().enumerate() {
        if !partners.contains(&Some(at)) {
            found.push(difference(
                &format!("{place} {}", own.label()),
                "nothing",
                &own.op.to_string(),
            ));
        }
    }
}

/// For each of their vertices the one of ours that is to be held against it: of the same digest, else the same operation,
/// else the same name.
fn partners(theirs: &[Vertex], ours: &[Vertex]) -> Vec<Option<usize>> {
    let mut partners = vec![None; theirs.len()];
    let same: [fn(&Vertex, &Vertex) -> bool; 4] = [
        |a, b| a.digest == b.digest,
        |a, b| a.name == b.name && a.op == b.op,
        |a, b| a.name == b.name,
        |a, b| a.op == b.op,
    ];
    for same in same {
        for (at, vertex) in theirs.iter().enumerate() {
            if partners[at].is_none() {
                partners[at] = (0..ours.len())
                    .find(|own| !partners.contains(&Some(*own)) && same(vertex, &ours[*own]));
            }
        }
    }
    partners
}

fn difference(place: &str, buildkit: &str, crossdock: &str) -> Difference {
    Difference { place: place.into(), buildkit: buildkit.into(), crossdock: crossdock.into() }
}

/// Objects by key, lists as a whole where their lengths differ.
fn walk(
    place: &str,
    theirs: &serde_json::Value,
    ours: &serde_json::Value,
    found: &mut Vec<Difference>,
) {
    use serde_json::Value::{Array, Null, Object};
    match (theirs, ours) {
        (Object(left), Object(right)) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let side = |side: &serde_json::Map<_, _>| side.get(key).cloned().unwrap_or(Null);
                walk(&format!("{place}.{key}"), &side(left), &side(right), found);
            }
        }
        (Array(left), Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                walk(&format!("{place}[{at}]"), left, right, found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => found.push(difference(place, &left.to_string(), &right.to_string())),
    }
}
