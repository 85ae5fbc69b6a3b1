//! Builds every case with the crossdock of this workspace and compares it with what `BuildKit` made of it.
//!
//! `CONFORMANCE=NAME,NAME` runs only these cases; `CROSSDOCK=PATH` another binary than the one in the target folder.
#![expect(
    clippy::disallowed_methods,
    reason = "runs the real program, and is told by the environment which"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use conformance::compare::{Difference, Meant, meant};
use conformance::{Case, Described, case, compare, describe, image, server};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Setting {
    crossdock: PathBuf,
    bases: PathBuf,
    work: PathBuf,
}

/// What came of a case.
enum Outcome {
    Compared(Vec<Difference>),
    /// It failed, as it should.
    Refused,
    Wrong(String),
}

#[test]
fn every_case_is_built_as_buildkit_builds_it() -> Result<(), Failure> {
    let root = fs_err::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    let target = target_dir()?;
    let crossdock =
        std::env::var("CROSSDOCK").map_or_else(|_| target.join("debug/crossdock"), PathBuf::from);
    assert!(crossdock.is_file(), "{} is missing: run `cargo build` first", crossdock.display());
    let bases = target.join("base-images");
    let made = Command::new(root.join("tools/base-images")).arg(&bases).status()?;
    assert!(made.success(), "tools/base-images failed");
    let work = tempfile::Builder::new().prefix("conformance-").tempdir()?;
    let setting = Setting { crossdock, bases, work: work.path().into() };

    let only = std::env::var("CONFORMANCE").unwrap_or_default();
    let only: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let mut cases = Case::all(&root.join("conformance/cases"))?;
    cases.retain(|case| only.is_empty() || only.contains(&case.name.as_str()));
    let known = cases.len();
    cases.retain(|case| !case.plan.needs_ids || has_ids());
    if cases.len() < known {
        println!("conformance: {} cases left out: they need root or sub-ids", known - cases.len());
    }
    let mut meant = meant(&fs_err::read_to_string(root.join("conformance/differences.toml"))?)?;
    meant.retain(|entry| !entry.place.starts_with("llb "));

    let outcomes = run_all(&setting, &cases);
    let (report, wrong) = judge(&outcomes, &meant, only.is_empty());
    println!("{report}");
    // The store holds files of other ids, which only crossdock's own user namespace can remove.
    Command::new(&setting.crossdock)
        .args(["prune", "--all", "--force"])
        .arg("--store")
        .arg(setting.work.join("store"))
        .output()?;
    assert!(
        wrong == 0,
        "{wrong} of {} cases are not built as BuildKit builds them\n{report}",
        cases.len()
    );
    Ok(())
}

/// Whether this user has more ids than its own.
fn has_ids() -> bool {
    let user = rustix::process::getuid();
    let read = |path| fs_err::read_to_string(path).unwrap_or_default();
    let name = read("/etc/passwd").lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)? == user.to_string()).then_some(name)
    });
    let first = |line: &str| line.split(':').next().map(str::to_owned);
    user.is_root()
        || read("/etc/subuid")
            .lines()
            .filter_map(first)
            .any(|of| Some(&of) == name.as_ref() || of == user.to_string())
}

fn target_dir() -> Result<PathBuf, Failure> {
    let test = std::env::current_exe()?;
    Ok(test.ancestors().nth(3).ok_or("the test lies in no target folder")?.into())
}

fn run_all(setting: &Setting, cases: &[Case]) -> BTreeMap<String, Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = run(setting, case)
                        .unwrap_or_else(|error| Outcome::Wrong(error.to_string()));
                    outcomes
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(case.name.clone(), outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run(setting: &Setting, case: &Case) -> Result<Outcome, Failure> {
    let dir = setting.work.join(&case.name);
    case::prepare(case, &dir)?;
    let server = server::serve(dir.join("http"))?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut arguments =
        case.arguments(&text(&dir), &text(&setting.bases), &format!("http://{server}"));
    let context = arguments.pop().unwrap_or_default();
    let tar = setting.work.join(format!("{}.tar", case.name));

    let mut command = Command::new(&setting.crossdock);
    command.arg("--store").arg(setting.work.join("store")).args(arguments).arg("-o");
    command.arg(format!("type={},dest={}", case.plan.output, tar.display())).arg(context);
    command.env_remove("SOURCE_DATE_EPOCH").envs(&case.plan.env);
    match &case.plan.stdin {
        Some(file) => command.stdin(fs_err::File::open(case.folder.join(file))?.into_parts().0),
        None => command.stdin(Stdio::null()),
    };
    let output = command.output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();

    let ended = |buildkit: &str, crossdock: &str| Difference {
        place: "outcome".into(),
        buildkit: buildkit.into(),
        crossdock: crossdock.into(),
    };
    match (&case.plan.fails, output.status.code()) {
        (Some(words), Some(1)) if log.contains(words.as_str()) => return refused(case, &log),
        (Some(_), Some(0)) => return Ok(Outcome::Compared(vec![ended("failed", "built")])),
        (Some(words), code) => {
            return Ok(Outcome::Wrong(format!(
                "should end with 1 and `{words}`, not with {code:?} and\n{log}"
            )));
        }
        (None, Some(0)) => {}
        (None, Some(1)) => {
            return Ok(Outcome::Compared(vec![ended("built", &format!("failed:\n{log}"))]));
        }
        (None, code) => return Ok(Outcome::Wrong(format!("ended with {code:?}\n{log}"))),
    }
    let expected =
        fs_err::read_to_string(case.folder.join("expected.json"))?.replace("SERVER", &server);
    let expected: Described = serde_json::from_str(&expected)?;
    let made = if case.plan.output == "tar" {
        image::describe_tar(&tar)?
    } else {
        describe(&tar, &setting.bases)?
    };
    fs_err::remove_file(&tar)?;
    Ok(Outcome::Compared(compare(&expected, &made)))
}

/// A build that failed as it should: is it said to fail in the lines of the Dockerfile that `BuildKit` names?
fn refused(case: &Case, log: &str) -> Result<Outcome, Failure> {
    let expected = fs_err::read_to_string(case.folder.join("expected.json"))?;
    let expected: serde_json::Value = serde_json::from_str(&expected)?;
    let Some([first, last]) = expected["lines"].as_array().map(Vec::as_slice) else {
        return Ok(Outcome::Refused);
    };
    let lines = first.as_u64().unwrap_or(0)..=last.as_u64().unwrap_or(0);
    let named: Vec<u64> = log
        .split("ockerfile:")
        .skip(1)
        .filter_map(|rest| rest.split(|sign: char| !sign.is_ascii_digit()).next()?.parse().ok())
        .collect();
    if named.iter().any(|line| lines.contains(line)) {
        return Ok(Outcome::Refused);
    }
    Ok(Outcome::Compared(vec![Difference {
        place: "error lines".into(),
        buildkit: format!("{lines:?}"),
        crossdock: format!("{named:?} in\n{log}"),
    }]))
}

/// The report, and how many cases are wrong.
fn judge(outcomes: &BTreeMap<String, Outcome>, meant: &[Meant], all: bool) -> (String, usize) {
    let mut lines = Vec::new();
    let (mut equal, mut refused, mut different, mut wrong) = (0, 0, 0, 0);
    let mut used = vec![false; meant.len()];
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Refused => refused += 1,
            Outcome::Compared(found) if found.is_empty() => equal += 1,
            Outcome::Compared(found) => {
                let mut unmeant = Vec::new();
                for difference in found {
                    match meant.iter().position(|entry| entry.covers(name, difference)) {
                        Some(at) => used[at] = true,
                        None => unmeant.push(difference),
                    }
                }
                if unmeant.is_empty() {
                    different += 1;
                } else {
                    wrong += 1;
                    lines.push(format!("{name}: differs"));
                }
                for Difference { place, buildkit, crossdock } in unmeant {
                    lines.push(format!(
                        "  {place}\n    BuildKit:  {buildkit}\n    crossdock: {crossdock}"
                    ));
                }
            }
            Outcome::Wrong(why) => {
                wrong += 1;
                lines.push(format!("{name}: {why}"));
            }
        }
    }
    if all {
        for entry in meant.iter().zip(&used).filter(|(_, used)| !**used).map(|(entry, _)| entry) {
            wrong += 1;
            lines.push(format!(
                "differences.toml: {} {} does not differ any more",
                entry.case, entry.place
            ));
        }
    }
    lines.push(format!(
        "conformance: {} cases: {equal} equal, {different} different as listed, {refused} refused as they should be, \
         {wrong} wrong",
        outcomes.len()
    ));
    (lines.join("\n"), wrong)
}
