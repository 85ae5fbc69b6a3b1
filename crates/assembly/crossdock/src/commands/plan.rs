//! `crossdock plan`.

use std::path::{Path, PathBuf};

use super::build::{keep_what_is_loaded, mode, read_request, tell_warnings};
use super::{print, write_file};
use crate::args::{BuildArgs, PlanArgs, PlanFormat};
use crate::failure::Failure;
use crate::plan::{json, picture, text};
use crate::progress::Mode;
use crate::request::UsageError;
use crate::session::Session;
use report::{Event, Progress};

/// Says what a build would do.
pub(crate) fn plan(args: &PlanArgs, session: &Session<'_>) -> Result<(), Failure> {
    let (build, files) = divide(&args.build);
    if let Some(other) = build.output.iter().find(|text| is_other_picture(text)) {
        let hint = "name a file that ends in .svg; `rsvg-convert` makes other kinds of it";
        return Err(UsageError::new(format!("--output {other}: a picture is SVG"), hint).into());
    }
    let mode = match mode(&build, session)? {
        // There is nothing to show but notes.
        Mode::Tty { .. } | Mode::Plain => Mode::Plain,
        other => other,
    };
    let (mut request, _spooled) = read_request(&build, session)?;
    let note = keep_what_is_loaded(&mut request.outputs, session.has_docker());
    let engine = session.engine()?;
    let several = request.platforms.len() > 1;
    let shown = session.display(mode, "planning", several)?;
    for note in note.map(str::to_owned).into_iter().chain(session.untold(engine.store())) {
        shown.event(Event::Note(note));
    }
    let result = engine.plan(&request, &shown);
    let leftover = shown.finish();
    let plan = result.map_err(|error| session.failure(error))?;
    let mut warnings = leftover.warnings;
    for warning in &plan.warnings {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    tell_warnings(mode, &warnings, session.color());
    let write = |format| match format {
        PlanFormat::Text => text(&plan),
        PlanFormat::Json => json(&plan),
        PlanFormat::Svg => picture(&plan),
    };
    for (path, format) in &files {
        write_file(path, write(*format).as_bytes())?;
    }
    match args.format {
        Some(format) => print(&write(format)),
        None if files.is_empty() => print(&write(PlanFormat::Text)),
        None => Ok(()),
    }
}

/// What of `--output` names a file for the plan itself; all else is the build's.
fn divide(args: &BuildArgs) -> (BuildArgs, Vec<(PathBuf, PlanFormat)>) {
    let mut build = args.clone();
    let mut files = Vec::new();
    build.output.retain(|text| match plan_file(text) {
        Some(format) => {
            files.push((PathBuf::from(text), format));
            false
        }
        None => true,
    });
    (build, files)
}

/// Whether a picture seems to be wanted in a form that is not written. As an output of the build it would be a directory.
fn is_other_picture(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|it| it.to_str()).unwrap_or_default();
    !text.contains(['=', ',']) && ["png", "pdf", "jpg", "jpeg", "dot", "html"].contains(&extension)
}

fn plan_file(text: &str) -> Option<PlanFormat> {
    if text.contains(['=', ',']) {
        return None;
    }
    match Path::new(text).extension()?.to_str()? {
        "svg" => Some(PlanFormat::Svg),
        "json" => Some(PlanFormat::Json),
        "txt" => Some(PlanFormat::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_the_plan_s_or_the_build_s() {
        let output = ["plan.svg", "out", "type=oci,dest=a.svg", "dir/p.json", "-"];
        let args = BuildArgs { output: output.map(str::to_owned).into(), ..BuildArgs::default() };
        let (build, files) = divide(&args);
        assert_eq!(build.output, ["out", "type=oci,dest=a.svg", "-"]);
        assert_eq!(
            files,
            [
                (PathBuf::from("plan.svg"), PlanFormat::Svg),
                (PathBuf::from("dir/p.json"), PlanFormat::Json)
            ]
        );
        assert!(is_other_picture("a/plan.png") && !is_other_picture("type=oci,dest=a.png"));
    }
}
