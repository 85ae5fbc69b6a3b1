//! What RUN runs.

use dockerfile::{Dockerfile, Kind, Mount, MountKind, Run, Stage};
use oci::Reference;
use report::Diagnostic;

use super::script::{commands, does};
use super::{Uses, runs};

const APT: [&str; 3] = ["apt-get", "apt", "aptitude"];
/// What needs the lists that an update fetches.
const INSTALLS: [&str; 9] = [
    "install",
    "upgrade",
    "dist-upgrade",
    "full-upgrade",
    "build-dep",
    "satisfy",
    "download",
    "source",
    "safe-upgrade",
];
/// Programs that change nothing an installation depends on.
const HARMLESS: [&str; 9] =
    ["set", "echo", "rm", "sed", "apt-get", "apt", "true", "mkdir", "printf"];

pub(super) fn find(file: &Dockerfile, uses: &Uses, found: &mut Vec<Diagnostic>) {
    let apt = Apt { file, uses, changed: file.stages.iter().map(apt_changed).collect() };
    for (index, stage) in file.stages.iter().enumerate() {
        apt_update(stage, found);
        for (instruction, run, script) in runs(stage) {
            let cleans = || apt.cleans(index, instruction.span.start);
            emptied(run, &script, &cleans, found);
            clock(run, &script, found);
        }
    }
}

/// An update that later steps rely on.
fn apt_update(stage: &Stage, found: &mut Vec<Diagnostic>) {
    let steps: Vec<_> =
        runs(stage).map(|(one, run, script)| (one, run, commands(&script))).collect();
    let updates = |step: &[Vec<String>]| step.iter().any(|one| does(one, &APT, &["update"]));
    let installs = |step: &[Vec<String>]| step.iter().any(|one| does(one, &APT, &INSTALLS));
    for (index, (instruction, run, step)) in steps.iter().enumerate() {
        let keeps_lists = run.mounts.iter().any(|mount| mount.text.contains("/var/lib/apt"));
        let only = step
            .iter()
            .all(|one| one.first().is_some_and(|program| HARMLESS.contains(&program.as_str())));
        if !updates(step) || installs(step) || keeps_lists || !only {
            continue;
        }
        let later = steps.get(index + 1..).unwrap_or_default();
        let next = later.iter().find(|(_, _, step)| installs(step) || updates(step));
        if next.is_some_and(|(_, _, step)| installs(step) && !updates(step)) {
            let message = "this update is cached: packages will be installed from lists of another \
                           day";
            found.push(
                Diagnostic::warning("AptUpdateAlone", message, instruction.span)
                    .hint("write RUN apt-get update && apt-get install …"),
            );
        }
    }
}

/// Cache mounts that are empty when the step ends.
fn emptied(run: &Run, script: &str, apt_cleans: &dyn Fn() -> bool, found: &mut Vec<Diagnostic>) {
    if run.mounts.is_empty() {
        return;
    }
    let steps = commands(script);
    let some = |programs: &[&str], words: &[&str]| {
        steps.iter().find(|one| {
            does(one, programs, &words[..1])
                && words.iter().all(|word| one.iter().any(|own| own == word))
        })
    };
    for word in &run.mounts {
        let as_it_is = &mut |text: &str| Ok(text.to_owned());
        let Ok(mount) = Mount::parse(&word.text, as_it_is) else { continue };
        if mount.kind != MountKind::Cache {
            continue;
        }
        let target = mount.target.trim_end_matches('/');
        let dnf: &[&str] = &["dnf", "yum", "microdnf", "dnf5"];
        let (why, hint) = match target {
            "/var/cache/apt" | "/var/cache/apt/archives" => {
                if some(&APT, &["clean"]).is_some() {
                    ("apt-get clean empties it", "leave `apt-get clean` out")
                } else if some(&APT, &["install"]).is_some() && !changes_apt(script) && apt_cleans()
                {
                    (
                        "the image's docker-clean makes apt remove what it fetched",
                        "begin the step with `rm -f /etc/apt/apt.conf.d/docker-clean;`",
                    )
                } else {
                    continue;
                }
            }
            "/var/cache/apk" | "/etc/apk/cache"
                if some(&["apk"], &["add", "--no-cache"]).is_some() =>
            {
                ("apk --no-cache does not use it", "leave `--no-cache` out")
            }
            "/var/cache/dnf" | "/var/cache/yum" | "/var/cache/libdnf5"
                if some(dnf, &["clean", "all"]).is_some() =>
            {
                ("`clean all` empties it", "leave `clean all` out")
            }
            pip if pip.ends_with("/.cache/pip")
                && some(&["pip", "pip3"], &["install", "--no-cache-dir"]).is_some() =>
            {
                ("pip --no-cache-dir does not use it", "leave `--no-cache-dir` out")
            }
            npm if npm.ends_with("/.npm") && some(&["npm"], &["cache", "clean"]).is_some() => {
                ("`npm cache clean` empties it", "leave `npm cache clean` out")
            }
            yarn if yarn.contains("yarn") && some(&["yarn"], &["cache", "clean"]).is_some() => {
                ("`yarn cache clean` empties it", "leave `yarn cache clean` out")
            }
            _ => continue,
        };
        let message = format!("the cache mount at {target} never holds anything: {why}");
        found.push(Diagnostic::warning("CacheMountEmptied", message, word.span).hint(hint));
    }
}

/// Whether a text has to do with how apt is configured.
fn changes_apt(text: &str) -> bool {
    ["docker-clean", "apt.conf", "Keep-Downloaded-Packages", "/etc/apt"]
        .into_iter()
        .any(|word| text.contains(word))
}

/// Where a stage first changes apt's configuration.
fn apt_changed(stage: &Stage) -> Option<usize> {
    let changing = stage.body.iter().find(|one| {
        changes_apt(&one.code)
            || matches!(&one.kind, Kind::Run(run) if changes_apt(&super::script::of(&run.command)))
    });
    changing.map(|one| one.span.start)
}

struct Apt<'a> {
    file: &'a Dockerfile,
    uses: &'a Uses,
    /// By stage.
    changed: Vec<Option<usize>>,
}

impl Apt<'_> {
    /// Whether apt removes what it fetches at this place: official images of Debian and Ubuntu are made so, until
    /// something in their apt configuration is changed.
    fn cleans(&self, stage: usize, start: usize) -> bool {
        if self.changed[stage].is_some_and(|changed| changed < start) {
            return false;
        }
        let mut at = stage;
        while let Some(base) = self.uses.base[at] {
            if self.changed[base].is_some() {
                return false;
            }
            at = base;
        }
        let base = &self.file.stages[at].from.base.text;
        let official = |reference: Reference| {
            reference.registry() == "docker.io" && reference.repository().starts_with("library/")
        };
        !base.contains('$') && base.parse().is_ok_and(official)
    }
}

/// Path segments by which an address says that it moves.
const MOVING: [&str; 5] = ["latest", "master", "main", "nightly", "HEAD"];

fn clock(run: &Run, script: &str, found: &mut Vec<Diagnostic>) {
    let span = run.command.span;
    let mut tell = |message: String, hint: &str| {
        found.push(Diagnostic::warning("NonReproducibleStep", message, span).hint(hint));
    };
    let steps = commands(script);
    let checked = ["sha256sum", "sha512sum", "shasum", "--verify", "SOURCE_DATE_EPOCH"]
        .into_iter()
        .any(|word| script.contains(word));
    let mut told = (false, false, false);
    for step in &steps {
        let Some((program, rest)) = step.split_first() else { continue };
        let has = |starts: &[&str]| {
            rest.iter().any(|word| starts.iter().any(|start| word.starts_with(start)))
        };
        match program.as_str() {
            "date" if !told.0 && !checked && !has(&["-d", "--date", "-r", "--reference", "@"]) => {
                told.0 = true;
                tell(
                    "this step reads the clock".to_owned(),
                    "pass the time as an argument, SOURCE_DATE_EPOCH, and use it: date -d \
                     @$SOURCE_DATE_EPOCH",
                );
            }
            "git" if !told.1 && has(&["describe"]) && has(&["--dirty"]) => {
                told.1 = true;
                tell(
                    "this step asks whether the git tree is changed, which a context without all \
                     files always is"
                        .to_owned(),
                    "pass the version as an argument",
                );
            }
            "curl" | "wget" if !told.2 && !checked => {
                let Some(address) = rest.iter().find(|word| moves(word)) else { continue };
                told.2 = true;
                tell(
                    format!("what {address} gives changes"),
                    "fetch a version, and compare its checksum",
                );
            }
            _ => {}
        }
    }
}

fn moves(word: &str) -> bool {
    let Some((_, rest)) = word.split_once("://") else { return false };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    path.split('/').skip(1).any(|segment| MOVING.contains(&segment))
}
