//! A build from request to outcome.

use build_api::{BuildError, BuildRequest, Outcome, PlatformOutcome};
use exporters::{ExportContext, Exported};
use frontend::Compiled;
use report::Progress;
use solver::{Solver, Status};

use crate::Engine;
use crate::driver::drive;
use crate::error::failed;
use crate::prepare::{Prepared, prepare};
use crate::resolver::Unanswered;
use crate::results::{Results, export_input, needs_files, outputs, packed};
use crate::work::Build;

pub(crate) fn build(
    engine: &Engine,
    request: &BuildRequest,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    prepare(engine, request, progress, Unanswered::Fail, |prepared| {
        let solver = solve(engine, &prepared.work)?;
        let input = export_input(request, prepared.compiled, &prepared.work)?;
        let exported = export(engine, &prepared, &input)?;
        prepared.work.record_made(&packed(&input.1, &exported))?;
        prepared.work.remember_build()?;
        Ok(outcome(&prepared, &solver, exported))
    })
}

/// Does all that the results need.
fn solve(engine: &Engine, work: &Build<'_>) -> Result<Solver, BuildError> {
    announce(work);
    let mut solver = Solver::new(work.graph.vertices());
    for result in work.graph.results.iter().flatten() {
        solver.want(result.vertex);
    }
    let options = &engine.options;
    let solved = drive(&mut solver, work, options.threads, &options.cancel, work.stop);
    // What was found out in vain is found again when the user tries once more.
    let recorded = if solved.is_err() { work.record_made(&[]) } else { Ok(()) };
    solved?;
    recorded?;
    tell_cached(work, &solver);
    Ok(solver)
}

/// Writes the results to where they go.
fn export(
    engine: &Engine,
    prepared: &Prepared<'_>,
    input: &Results,
) -> Result<Exported, BuildError> {
    let work = &prepared.work;
    let outputs = outputs(prepared.request);
    if outputs.iter().any(needs_files) {
        for edge in work.graph.results.iter().flatten() {
            let layers = work.value(*edge)?.plain_layers();
            work.snapshots
                .ensure_trees(&layers, work.fetcher)
                .map_err(failed("cannot unpack the result"))?;
        }
    }
    let context = ExportContext {
        store: &engine.store,
        fetch: &|blob| work.fetcher.fetch(blob).map_err(Into::into),
        network: &|| engine.network(),
        progress: work.reporter.progress,
        began: work.reporter.began,
        epoch: Some(work.now),
        threads: engine.options.threads,
        docker_host: engine.options.docker_host.clone(),
    };
    exporters::export(&input.0, &outputs, &context).map_err(|error| {
        let hint = error.hint();
        BuildError::Failed {
            message: "cannot write the result".to_owned(),
            hint,
            source: Some(Box::new(error)),
        }
    })
}

/// Tells which steps there are.
fn announce(work: &Build<'_>) {
    for node in work.graph.nodes.iter().filter(|node| !node.results.is_empty()) {
        let platform = node.platform();
        let emulator = match (node.kind(), &platform) {
            (Some(llb::pb::op::Kind::Exec(_)), Some(platform)) => {
                match work.emulators.how(platform) {
                    emulation::How::Emulated(emulator) => Some(
                        format!("{} {}", emulator.name, emulator.version).trim_end().to_owned(),
                    ),
                    emulation::How::Native | emulation::How::Missing { .. } => None,
                }
            }
            _ => None,
        };
        work.reporter.vertex(&node.id, &node.name, platform, emulator);
    }
}

/// Steps that were not looked at because what depends on them was found are as good as found.
fn tell_cached(work: &Build<'_>, solver: &Solver) {
    for (vertex, node) in work.graph.nodes.iter().enumerate() {
        if !node.results.is_empty() && solver.status(vertex) == Status::Open {
            work.reporter.cached(&node.id);
        }
    }
}

fn outcome(prepared: &Prepared<'_>, solver: &Solver, exported: Exported) -> Outcome {
    let Prepared { compiled, work, .. } = prepared;
    let reporter = work.reporter;
    for warning in &exported.warnings {
        reporter.note(warning.clone());
    }
    let took = |result: usize| {
        let nodes = work.graph.nodes.iter().zip(&work.state);
        let times = nodes.filter(|(node, _)| node.results.contains(&result));
        let times: Vec<_> = times.filter_map(|(_, state)| state.ran.get()).collect();
        let first = times.iter().map(|(began, _)| *began).min().unwrap_or_default();
        let last = times.iter().map(|(_, ended)| *ended).max().unwrap_or_default();
        last.saturating_sub(first)
    };
    let platforms = compiled.iter().enumerate().map(|(result, one)| {
        let steps = || {
            work.graph
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.results.contains(&result) && !node.is_trivial())
        };
        let ran = steps().filter(|(vertex, _)| solver.status(*vertex) == Status::Ran).count();
        let written = exported.platforms.get(result);
        PlatformOutcome {
            platform: one.platform.clone(),
            manifest: written.map(|it| it.manifest.clone()),
            config: written.map(|it| it.config.clone()),
            size: written.map_or(0, |it| it.size),
            cached: steps().count() - ran,
            ran,
            took: took(result),
        }
    });
    Outcome {
        image: exported.image.clone(),
        platforms: platforms.collect(),
        written: exported.written,
        warnings: warnings(compiled),
        took: reporter.began.elapsed(),
        metadata: exported.metadata,
    }
}

/// What is doubtful, each finding once however many platforms have it.
pub(crate) fn warnings(compiled: &[Compiled]) -> Vec<report::Diagnostic> {
    let mut warnings = Vec::new();
    for warning in compiled.iter().flat_map(|one| &one.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    warnings
}
