//! `conformance record [CASE…]`: build the cases with real `BuildKit` and keep what it makes as `expected.json` and
//! `llb.json`.
//! `conformance list`: what each case shows.
//!
//! Recording needs `PEERS`, a program whose `run COMMAND…` runs `docker buildx` where `PEERS_SHARE` is seen as `/share`.
#![expect(
    clippy::disallowed_methods,
    reason = "a tool that runs other tools and takes its place from the environment"
)]
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use conformance::{Case, Error, case, describe, image, server};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let done = match arguments.next().as_deref() {
        Some("record") => record(&root, &arguments.collect::<Vec<_>>()),
        Some("list") => list(&root),
        _ => {
            println!("usage: conformance record [CASE…] | conformance list");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!(
                "conformance: {error}{}",
                error.source().map(|cause| format!(": {cause}")).unwrap_or_default()
            );
            ExitCode::FAILURE
        }
    }
}

fn list(root: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for case in Case::all(&root.join("conformance/cases"))? {
        println!("{:36} {}", case.name, case.plan.shows);
    }
    Ok(())
}

fn record(root: &Path, names: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let peers =
        std::env::var("PEERS").map_err(|_| "set PEERS to the program that runs docker buildx")?;
    let share = PathBuf::from(
        std::env::var("PEERS_SHARE").map_err(|_| "set PEERS_SHARE to the folder seen as /share")?,
    );
    let work = share.join("conformance");
    let bases = share.join("bases");
    fs_err::remove_dir_all(&work).ok();
    fs_err::create_dir_all(&work)?;
    let made = Command::new(root.join("tools/base-images")).arg(&bases).status()?;
    if !made.success() {
        return Err("tools/base-images failed".into());
    }
    let (mut recorded, mut faults) = (0, Vec::new());
    for case in Case::all(&root.join("conformance/cases"))? {
        if case.plan.by_hand || !(names.is_empty() || names.contains(&case.name)) {
            continue;
        }
        match build(&peers, &case, &work, &bases) {
            Ok(record) => {
                fs_err::write(case.folder.join("expected.json"), record.expected)?;
                if let Some(llb) = record.llb {
                    fs_err::write(case.folder.join("llb.json"), llb)?;
                }
                recorded += 1;
            }
            Err(error) => faults.push(format!("{}: {error}", case.name)),
        }
    }
    let configs = llb(&["--bases", &bases.to_string_lossy()])?;
    fs_err::write(root.join("conformance/bases.json"), configs)?;
    println!("{recorded} cases recorded");
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// What `BuildKit` made of a case.
struct Record {
    expected: String,
    llb: Option<String>,
}

/// Runs `llb.py`.
fn llb(arguments: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("llb.py");
    let output = Command::new("python3").arg(script).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The first and the last line of the Dockerfile that an error is said to be in: `  12 | >>> RUN …`.
fn marked(log: &str) -> Option<[u32; 2]> {
    let numbers = log.lines().filter_map(|line| {
        let (number, rest) = line.split_once('|')?;
        rest.starts_with(" >>>").then(|| number.trim().parse().ok())?
    });
    let numbers: Vec<u32> = numbers.collect();
    Some([*numbers.iter().min()?, *numbers.iter().max()?])
}

fn build(
    peers: &str,
    case: &Case,
    work: &Path,
    bases: &Path,
) -> Result<Record, Box<dyn std::error::Error>> {
    let dir = work.join(&case.name);
    case::prepare(case, &dir)?;
    let server = server::serve(dir.join("http"))?;
    let inside = format!("/share/conformance/{}", case.name);
    let mut arguments = case.arguments(&inside, "/share/bases", &format!("http://{server}"));
    let context = arguments.pop().unwrap_or_default();
    let mut command = Command::new(peers);
    command.args(["run", "env"]);
    command.args(case.plan.env.iter().map(|(key, value)| format!("{key}={value}")));
    let tells =
        case.plan.fails.is_none() && case.plan.output == "oci" && case.plan.no_llb.is_none();
    let told = if tells { "--provenance=mode=max" } else { "--provenance=false" };
    command.args(["docker", "buildx"]).args(arguments).args(["--progress=rawjson", told, "-o"]);
    command.arg(format!("type={},dest={inside}.tar", case.plan.output)).arg(context);
    match &case.plan.stdin {
        Some(file) => command.stdin(fs_err::File::open(case.folder.join(file))?.into_parts().0),
        None => command.stdin(Stdio::null()),
    };
    let output = command.output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() == case.plan.fails.is_some() {
        let told: Vec<&str> = log.lines().filter(|line| !line.starts_with('{')).collect();
        return Err(format!("did not end as the case says\n{}", told.join("\n")).into());
    }
    if case.plan.fails.is_some() {
        let error = log.lines().rfind(|line| line.starts_with("ERROR:")).unwrap_or_default();
        // The names BuildKit gives its own records are new each time.
        let stable = |word: &&str| !word.contains("::");
        let error = error.split(' ').filter(stable).collect::<Vec<_>>().join(" ");
        let mut text = serde_json::json!({ "error": error.replace(&server, "SERVER") });
        if let Some(lines) = marked(&log) {
            text["lines"] = serde_json::json!(lines);
        }
        return Ok(Record { expected: serde_json::to_string_pretty(&text)? + "\n", llb: None });
    }
    let tar = work.join(format!("{}.tar", case.name));
    let described =
        if case.plan.output == "tar" { image::describe_tar(&tar)? } else { describe(&tar, bases)? };
    let expected = (serde_json::to_string_pretty(&described)
        .map_err(|source| Error::Json { what: case.name.clone(), source })?
        + "\n")
        .replace(&server, "SERVER");
    let log_file = work.join(format!("{}.log", case.name));
    fs_err::write(&log_file, &log)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let llb =
        tells.then(|| llb(&[&text(&tar), &text(&log_file), &text(bases), &server])).transpose()?;
    fs_err::remove_file(&tar)?;
    Ok(Record { expected, llb })
}
