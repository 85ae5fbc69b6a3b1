//! The verdicts of `conformance/checks` against those of BuildKit that are kept beside them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use checks::{Options, Severity, check};
use frontend::{
    CompileOptions, Context, Excluded, ImageName, ImageResolver, ResolveError, ResolvedImage,
};
use oci::{Digest, ImageConfig, Platform};
use report::SourceText;
use serde_json::Value;

/// The images that were in the registry when the verdicts were recorded.
struct Bases;

impl ImageResolver for Bases {
    fn resolve(&self, name: ImageName<'_>, _: &Platform) -> Result<ResolvedImage, ResolveError> {
        let ImageName::Reference(reference) = name else { panic!("{name:?}") };
        if reference.tag().is_some_and(|tag| tag != "latest") {
            return Err(ResolveError::NotFound(reference.familiar()));
        }
        let platform = match reference.repository() {
            "checks/arm" => "linux/arm64",
            "checks/arm7" => "linux/arm/v7",
            "checks/base" | "checks/shell" => "linux/amd64",
            other => return Err(ResolveError::NotFound(other.to_owned())),
        };
        let mut config = ImageConfig::new(&platform.parse().unwrap());
        config.rootfs.diff_ids.push(Digest::of(b"layer"));
        config.config.env.push("PATH=/bin".to_owned());
        match reference.repository() {
            "checks/base" => config.config.env.push("BASE_DIR=/opt/base".to_owned()),
            "checks/shell" => {
                config.config.shell = vec!["/bin/bash".to_owned(), "-c".to_owned()];
                "/srv".clone_into(&mut config.config.working_dir);
            }
            _ => {}
        }
        Ok(ResolvedImage { digest: Digest::of(b"image"), config })
    }
}

struct Case {
    name: String,
    options: Vec<(String, String)>,
    text: String,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix("=== "), cases.last_mut()) {
            (Some(head), _) => {
                let mut parts = head.trim().split(" | ");
                let name = parts.next().unwrap().to_owned();
                let options = parts.map(|part| {
                    let (key, value) = part.split_once(' ').unwrap();
                    (key.to_owned(), value.to_owned())
                });
                cases.push(Case { name, options: options.collect(), text: String::new() });
            }
            (None, Some(case)) => case.text.push_str(line),
            (None, None) => panic!("a case begins with ==="),
        }
    }
    cases
}

/// A verdict in one line each: rule, lines and message of every finding, and where it is wrong.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    findings: BTreeSet<String>,
    error: Option<String>,
}

/// BuildKit puts its guess into the message, we into the hint; we also tell which trigger it is.
fn without_guess(message: &str) -> &str {
    let message = message.split(" (did you mean").next().unwrap_or_default();
    message.split(", in the trigger `").next().unwrap_or_default()
}

fn ours(case: &Case) -> Verdict {
    let text = case.text.as_str().into();
    let mut compile = CompileOptions::new(SourceText { name: "Dockerfile".to_owned(), text });
    // BuildKit's check looks at the machine's platform, whichever is asked for.
    compile.platform = Platform::new("linux", "amd64");
    compile.build_platform = Platform::new("linux", "amd64");
    for (key, value) in &case.options {
        match key.as_str() {
            "target" => compile.target = Some(value.clone()),
            "build-arg" => {
                let (name, value) = value.split_once('=').unwrap();
                compile.build_args.insert(name.to_owned(), value.to_owned());
            }
            "ignore" => {
                let lines = value.replace(',', "\n");
                let rules = fstree::IgnoreRules::parse(lines.as_bytes()).unwrap();
                compile.context = Context::Directory { excludes: rules.patterns().to_vec() };
                compile.excluded =
                    Some(Excluded::by(move |path| rules.matches(path.as_bytes()).unwrap()));
            }
            "platform" | "peer-check" => {}
            other => panic!("unknown option {other}"),
        }
    }
    compile.platform_implied = false;
    let report = check(&Options { builds: vec![compile], own: false, resolver: &Bases });
    let mut verdict = Verdict::default();
    for finding in report.findings {
        match finding.rule {
            Some(rule) => {
                let message = without_guess(&finding.diagnostic.message);
                verdict.findings.insert(format!("{} {:?} {message}", rule.id, finding.lines));
            }
            None if finding.severity == Severity::Error && verdict.error.is_none() => {
                verdict.error = Some(finding.diagnostic.message);
            }
            None => {}
        }
    }
    if report.error && !verdict.findings.is_empty() {
        verdict.error = Some("lint violation found for rules".to_owned());
    }
    verdict
}

fn theirs(recorded: &Value) -> Verdict {
    let mut verdict = Verdict::default();
    for one in recorded["warnings"].as_array().unwrap() {
        let lines: Vec<(usize, usize)> = serde_json::from_value(one[1].clone()).unwrap();
        let message = without_guess(one[2].as_str().unwrap()).to_owned();
        verdict.findings.insert(format!("{} {lines:?} {message}", one[0].as_str().unwrap()));
    }
    verdict.error = recorded["error"].get(1).map(|text| text.as_str().unwrap().to_owned());
    verdict
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../conformance/checks")
}

#[test]
fn verdicts_are_those_of_buildkit() {
    let explained: BTreeMap<String, Value> = serde_json::from_str(
        &fs_err::read_to_string(directory().join("differences.json")).unwrap(),
    )
    .unwrap();
    let mut files: Vec<_> = fs_err::read_dir(directory().join("cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut count, mut equal, mut wrong) = (0, 0, String::new());
    let mut unused: BTreeSet<&String> = explained.keys().collect();
    for file in files {
        let group = file.file_stem().unwrap().to_str().unwrap();
        let recorded = directory().join("expected").join(format!("{group}.json"));
        let recorded: BTreeMap<String, Value> =
            serde_json::from_str(&fs_err::read_to_string(recorded).unwrap()).unwrap();
        for case in cases(&fs_err::read_to_string(&file).unwrap()) {
            count += 1;
            let name = format!("{group}/{}", case.name);
            let (ours, theirs) = (ours(&case), theirs(&recorded[&case.name]));
            if ours.findings == theirs.findings && ours.error.is_some() == theirs.error.is_some() {
                equal += 1;
                continue;
            }
            if let Some(difference) = explained.get(&name) {
                unused.remove(&name);
                let expected: BTreeSet<String> =
                    serde_json::from_value(difference["crossdock"].clone()).unwrap();
                if ours.findings == expected {
                    continue;
                }
            }
            let _ = writeln!(wrong, "{name}\n  ours   {ours:?}\n  theirs {theirs:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(unused.is_empty(), "these differ no longer: {unused:?}");
    assert!(count >= 200 && equal * 100 >= count * 95, "{equal} of {count} equal");
}
