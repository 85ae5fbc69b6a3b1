//! Every rule by its own examples, its fix, and its page.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::path::PathBuf;

use checks::{Example, Offline, Options, Report, Rule, Severity, check, fix, format, rule, rules};
use frontend::{
    CompileOptions, Context, Excluded, ImageName, ImageResolver, ResolveError, ResolvedImage,
};
use oci::{Digest, ImageConfig, Platform};
use report::SourceText;

/// A registry whose images are all for these platforms.
struct For(Vec<Platform>);

impl ImageResolver for For {
    fn resolve(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let image = match name {
            ImageName::Reference(reference) => reference.familiar(),
            ImageName::Layout(name) => name.to_owned(),
        };
        let found = match self.0.as_slice() {
            [] => return Err(ResolveError::Unasked(image)),
            // An image without an index is given for whatever is asked.
            [only] => only,
            several => {
                let Some(found) = several.iter().find(|have| have.satisfies(platform)) else {
                    let platform = Box::new(platform.clone());
                    let available = several.to_vec();
                    return Err(ResolveError::NoPlatform { image, platform, available });
                };
                found
            }
        };
        Ok(ResolvedImage { digest: Digest::of(b"image"), config: ImageConfig::new(found) })
    }
}

fn with<T>(example: &Example, dockerfile: &str, use_it: impl FnOnce(&Options<'_>) -> T) -> T {
    let source = SourceText { name: "Dockerfile".to_owned(), text: dockerfile.into() };
    let mut compile = CompileOptions::new(source);
    compile.platform = example.platform.parse().unwrap();
    compile.platform_implied = false;
    compile.build_platform = Platform::new("linux", "amd64");
    if !example.ignore.is_empty() {
        let rules = fstree::IgnoreRules::parse(example.ignore.join("\n").as_bytes()).unwrap();
        compile.context = Context::Directory { excludes: rules.patterns().to_vec() };
        compile.excluded = Some(Excluded::by(move |path| rules.matches(path.as_bytes()).unwrap()));
    }
    let registry = For(example.base_has.iter().map(|text| text.parse().unwrap()).collect());
    use_it(&Options { builds: vec![compile], own: true, resolver: &registry })
}

fn triggered(rule: &Rule, report: &Report) -> bool {
    report.findings.iter().any(|finding| finding.rule.is_some_and(|found| found.id == rule.id))
}

#[test]
fn every_rule_finds_its_example_and_not_the_other() {
    for rule in rules() {
        let found = with(&rule.triggers, rule.triggers.dockerfile, check);
        assert!(triggered(rule, &found), "{}: {:?}", rule.id, found.findings);
        let fine = with(&rule.fine, rule.fine.dockerfile, check);
        assert!(!triggered(rule, &fine), "{}: {:?}", rule.id, fine.findings);
        let worse = fine.findings.iter().find(|finding| finding.severity > Severity::Note);
        assert!(worse.is_none(), "{}: its good example is not good: {worse:?}", rule.id);
    }
}

#[test]
fn what_is_mended_parses_and_is_not_found_again() {
    for rule in rules().filter(|rule| rule.fix.is_some()) {
        let example = &rule.triggers;
        let before = with(example, example.dockerfile, check);
        let fixable = before.findings.iter().any(|finding| {
            finding.fix.is_some() && finding.rule.is_some_and(|found| found.id == rule.id)
        });
        assert!(fixable, "{}: {:?}", rule.id, before.findings);
        let mended = with(example, example.dockerfile, fix::mend);
        let after = with(example, &mended.text, check);
        assert!(mended.count > 0 && !triggered(rule, &after), "{}:\n{}", rule.id, mended.text);
        let wrong = after.findings.iter().find(|finding| finding.rule.is_none());
        assert!(wrong.is_none(), "{}: {wrong:?}\n{}", rule.id, mended.text);
    }
}

#[test]
fn rules_without_a_fix_offer_none() {
    for rule in rules().filter(|rule| rule.fix.is_none()) {
        let found = with(&rule.triggers, rule.triggers.dockerfile, check);
        let offered = found.findings.iter().find(|finding| {
            finding.fix.is_some() && finding.rule.is_some_and(|found| found.id == rule.id)
        });
        assert!(offered.is_none(), "{offered:?}");
    }
}

#[test]
fn every_rule_can_be_silenced_for_a_file_and_for_an_instruction() {
    for rule in rules().filter(|rule| !rule.experimental) {
        let example = &rule.triggers;
        let silent = format!("# check=skip={}\n{}", rule.id, example.dockerfile);
        let report = with(example, &silent, check);
        assert!(!triggered(rule, &report), "{}: {:?}", rule.id, report.findings);
        let mut silent = String::new();
        let mut continued = false;
        for line in example.dockerfile.lines() {
            if !continued && !line.trim().is_empty() {
                writeln!(silent, "\n# about it\n# check=skip={}", rule.id).unwrap();
            }
            continued = line.ends_with('\\') || continued && line.trim().is_empty();
            silent += line;
            silent.push('\n');
        }
        let report = with(example, &silent, check);
        assert!(!triggered(rule, &report), "{}: {:?}\n{silent}", rule.id, report.findings);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// With `UPDATE_REFERENCE=1` it writes them instead.
#[test]
#[expect(clippy::disallowed_methods, reason = "whether to write the pages or to compare them")]
fn the_pages_are_those_of_the_table() {
    let directory = root().join("docs/reference/checks");
    let pages = checks::pages::pages();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs_err::create_dir_all(&directory).unwrap();
        for (name, text) in &pages {
            fs_err::write(directory.join(name), text).unwrap();
        }
    }
    let mut have: Vec<String> = fs_err::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    have.sort();
    let mut wanted: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
    wanted.sort();
    assert_eq!(have.iter().collect::<Vec<_>>(), wanted);
    for (name, text) in &pages {
        let kept = fs_err::read_to_string(directory.join(name)).unwrap();
        assert_eq!(&kept, text, "{name}: run UPDATE_REFERENCE=1 cargo test -p checks pages");
    }
}

#[test]
fn fixes_are_shown_as_a_diff() {
    let text = "FROM alpine:3 as Base\nMAINTAINER me\nENV a b c\n\nENV d \"e f\"\nCMD run -x a.b\nCMD [\"x\"]\n";
    let mended = with(&rule("StageNameCasing").unwrap().fine, text, fix::mend);
    insta::assert_snapshot!(fix::diff("Dockerfile", text, &mended.text), @r#"
    --- a/Dockerfile
    +++ b/Dockerfile
    @@ -1,7 +1,6 @@
    -FROM alpine:3 as Base
    -MAINTAINER me
    -ENV a b c
    +FROM alpine:3 AS base
    +LABEL org.opencontainers.image.authors="me"
    +ENV a="b c"
     
    -ENV d "e f"
    -CMD run -x a.b
    +ENV d="e f"
     CMD ["x"]
    "#);
    assert_eq!(fix::diff("Dockerfile", text, text), "");
}

#[test]
fn what_takes_judgement_is_left_alone() {
    for text in [
        "FROM alpine:3\nCMD run $HOME\n",
        "FROM alpine:3\nCMD cd /x && run\n",
        "FROM alpine:3\nCMD run \"a b\"\n",
        "FROM alpine:3\nENV a b \"c\"\n",
        "FROM alpine:3\nARG p=1:2/TCP\nEXPOSE $p\n",
        "FROM scratch AS a\nONBUILD CMD [\"a\"]\nFROM a\nCMD [\"b\"]\n",
        "FROM debian:13\nRUN apt-get update\nCOPY a b\nRUN apt-get install -y git\n",
    ] {
        let mended = with(&rule("StageNameCasing").unwrap().fine, text, fix::mend);
        assert_eq!((mended.text.as_str(), mended.count), (text, 0));
    }
}

#[test]
fn sarif_has_what_the_format_requires() {
    let text = "FROM alpine:3 AS Base\nCMD a\nEXPOSE nothing\n";
    let report = with(&rule("StageNameCasing").unwrap().fine, text, check);
    let log: serde_json::Value = serde_json::from_str(&format::sarif(&report)).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "crossdock");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), report.findings.len());
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(driver["rules"][index]["id"], result["ruleId"]);
        assert!(["note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "Dockerfile");
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        assert!(place["region"]["endColumn"].as_u64() > Some(0));
    }
}

#[test]
fn annotations_keep_to_one_line_each() {
    let text = "FROM alpine:3 AS Base\nARG A_TOKEN\n";
    let report = with(&rule("StageNameCasing").unwrap().fine, text, check);
    insta::assert_snapshot!(format::github(&report), @r#"
    ::warning file=Dockerfile,line=1,endLine=1,col=18,title=StageNameCasing::Stage name 'Base' should be lowercase
    ::warning file=Dockerfile,line=2,endLine=2,col=5,title=SecretsUsedInArgOrEnv::Do not use ARG or ENV instructions for sensitive data (ARG "A_TOKEN")%0Agive it to the RUN that needs it: --mount=type=secret,id=…
    "#);
}

#[test]
fn dockerfiles_of_large_projects_have_no_false_finding() {
    let shapes = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/shapes");
    let mut seen = 0;
    let mut files: Vec<_> =
        fs_err::read_dir(&shapes).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "Dockerfile")) {
        let text = fs_err::read_to_string(file).unwrap();
        let expected: Vec<String> = fs_err::read_to_string(file.with_extension("expected"))
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        for platforms in [vec!["linux/amd64"], vec!["linux/amd64", "linux/arm64"]] {
            let source = SourceText { name: "Dockerfile".to_owned(), text: text.as_str().into() };
            let build = |platform: &str| CompileOptions {
                platform: platform.parse().unwrap(),
                platform_implied: false,
                build_platform: Platform::new("linux", "amd64"),
                ..CompileOptions::new(source.clone())
            };
            let builds = platforms.into_iter().map(build).collect();
            let report = check(&Options { builds, own: true, resolver: &Offline });
            let found: Vec<String> = report
                .findings
                .iter()
                .map(|found| {
                    let rule = found.rule.map_or("error", |rule| rule.id);
                    let (line, _) = report.source.line_column(found.diagnostic.span.start);
                    format!("{line} {rule}")
                })
                .collect();
            assert_eq!(found, expected, "{}: {:#?}", file.display(), report.findings);
        }
        seen += 1;
    }
    assert!(seen >= 5);
}
