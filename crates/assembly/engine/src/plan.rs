//! What a build would do: the same graph, keys and look-ups, with nothing done.

use std::collections::BTreeSet;

use build_api::{
    BuildError, BuildRequest, Destination, OutputSpec, Plan, PlannedOutput, PlannedPlatform,
    PlannedPush, PlannedStage, PlannedStep, Problem, Remote, Running, StepKind, Verdict,
};
use emulation::How;
use llb::pb;
use llb::pb::op::Kind;
use oci::{Platform, Reference};
use report::Progress;
use solver::{Solver, Status};

use crate::Engine;
use crate::build::warnings;
use crate::driver::drive;
use crate::dry_run::DryRun;
use crate::graph::Node;
use crate::planned_images;
use crate::prepare::{Prepared, prepare};
use crate::resolver::Unanswered;
use crate::results::outputs;
use crate::work::Build;

pub(crate) fn plan(
    engine: &Engine,
    request: &BuildRequest,
    progress: &dyn Progress,
) -> Result<Plan, BuildError> {
    prepare(engine, request, progress, Unanswered::StandIn, |prepared| {
        let work = &prepared.work;
        let dry = DryRun::new(work);
        let mut solver = Solver::new(work.graph.vertices());
        for result in work.graph.results.iter().flatten() {
            solver.want(result.vertex);
        }
        let options = &engine.options;
        drive(&mut solver, &dry, options.threads, &options.cancel, work.stop)?;
        describe(engine, &prepared, &dry, &solver)
    })
}

fn describe(
    engine: &Engine,
    prepared: &Prepared<'_>,
    dry: &DryRun<'_>,
    solver: &Solver,
) -> Result<Plan, BuildError> {
    let Prepared { request, compiled, work } = prepared;
    let verdicts: Vec<Verdict> =
        (0..work.graph.nodes.len()).map(|vertex| verdict(vertex, work, dry, solver)).collect();
    // Definitions name only what results need; the positions are kept all the same.
    let steps = (0..work.graph.nodes.len())
        .map(|vertex| step(vertex, work, dry, &verdicts))
        .collect::<Result<Vec<_>, _>>()?;
    let outputs = outputs(request);
    let images = planned_images::images(dry, &verdicts, &outputs)?;
    let mut problems: Vec<Problem> = work
        .resolver
        .stand_ins()
        .into_iter()
        .map(|it| Problem { message: it.message, hint: it.hint })
        .collect();
    for (vertex, step) in steps.iter().enumerate() {
        if matches!(step.verdict, Verdict::Runs | Verdict::Unknown) {
            problems.extend(step_problems(step, work.node(vertex), request));
        }
    }
    let pushes = pushes(engine, request, &outputs, &mut problems);
    let mut unique: Vec<Problem> = Vec::new();
    for problem in problems {
        if !unique.contains(&problem) {
            unique.push(problem);
        }
    }
    let platforms = compiled.iter().enumerate().map(|(result, one)| {
        let runs = |step: &&PlannedStep| {
            step.results.contains(&result) && step.platform.as_ref() == Some(&one.platform)
        };
        let running = steps.iter().filter(runs).find_map(|step| step.running.clone());
        PlannedPlatform { platform: one.platform.clone(), running }
    });
    Ok(Plan {
        platforms: platforms.collect(),
        stages: stages(prepared),
        images,
        outputs: outputs.iter().map(|output| planned_output(output, request)).collect(),
        pushes,
        problems: unique,
        warnings: warnings(compiled),
        steps,
    })
}

fn verdict(vertex: usize, work: &Build<'_>, dry: &DryRun<'_>, solver: &Solver) -> Verdict {
    let open = solver.status(vertex) == Status::Open;
    match kind(work.node(vertex)) {
        // What is not looked at because all that depends on it was found counts as found, as in a build.
        StepKind::Run | StepKind::Files if open => Verdict::Cached,
        StepKind::Run | StepKind::Files => dry.finding(vertex).verdict.unwrap_or(Verdict::Cached),
        _ if open => Verdict::Unneeded,
        _ => Verdict::Read,
    }
}

fn step(
    vertex: usize,
    work: &Build<'_>,
    dry: &DryRun<'_>,
    verdicts: &[Verdict],
) -> Result<PlannedStep, BuildError> {
    let node = work.node(vertex);
    let verdict = verdicts[vertex];
    let anew = |vertex: usize| matches!(verdicts[vertex], Verdict::Runs | Verdict::Unknown);
    let reasons = match verdict {
        Verdict::Runs => work.reasons(vertex, &anew)?,
        Verdict::Unknown => dry.finding(vertex).until.into_iter().collect(),
        Verdict::Cached | Verdict::Read | Verdict::Unneeded => Vec::new(),
    };
    let kind = kind(node);
    let platform = node.platform();
    let running = match (&platform, kind) {
        (Some(platform), StepKind::Run) => Some(running(work, platform)),
        _ => None,
    };
    let stage = node.step.as_ref().map(|step| step.stage.clone()).unwrap_or_default();
    let place = node.step.as_ref().filter(|step| step.span.end > 0);
    let mut needs: Vec<usize> = Vec::new();
    for edge in &node.inputs {
        if !needs.contains(&edge.vertex) {
            needs.push(edge.vertex);
        }
    }
    Ok(PlannedStep {
        id: node.id.clone(),
        name: node.name.clone(),
        stage,
        kind,
        platform,
        results: node.results.clone(),
        running,
        verdict,
        reasons,
        needs,
        line: place.map(|step| work.dockerfile.line_column(step.span.start).0),
    })
}

/// What a vertex is, for people.
pub(crate) fn kind(node: &Node) -> StepKind {
    match node.kind() {
        Some(Kind::Exec(_)) => StepKind::Run,
        Some(Kind::File(_)) => StepKind::Files,
        Some(Kind::Source(source)) => {
            let scheme = source.identifier.split("://").next().unwrap_or_default();
            match scheme {
                "docker-image" | "oci-layout" => StepKind::Image,
                "local" => StepKind::Context,
                _ => StepKind::Download,
            }
        }
        _ => StepKind::Combine,
    }
}

fn running(work: &Build<'_>, platform: &Platform) -> Running {
    match work.emulators.how(platform) {
        How::Native => Running::Native,
        How::Emulated(emulator) => {
            let name = format!("{} {}", emulator.name, emulator.version);
            Running::Emulated(name.trim_end().to_owned())
        }
        How::Missing { reason, hint } => Running::Missing { reason, hint },
    }
}

/// The stages of all platforms' Dockerfiles, which is one.
fn stages(prepared: &Prepared<'_>) -> Vec<PlannedStage> {
    let mut stages: Vec<PlannedStage> = Vec::new();
    for one in prepared.compiled {
        for (at, stage) in one.stages.iter().enumerate() {
            let line = prepared.work.dockerfile.line_column(stage.span.start).0;
            match stages.get_mut(at) {
                Some(known) => known.used |= stage.used,
                None => {
                    stages.push(PlannedStage { name: stage.name.clone(), line, used: stage.used });
                }
            }
        }
    }
    stages
}

/// What would keep a step from running.
fn step_problems(step: &PlannedStep, node: &Node, request: &BuildRequest) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(Running::Missing { reason, hint }) = &step.running {
        let platform = step.platform.as_ref().map(ToString::to_string).unwrap_or_default();
        problems.push(Problem {
            message: format!("{platform} does not run on this machine: {reason}"),
            hint: Some(hint.clone()),
        });
    }
    let Some(Kind::Exec(exec)) = node.kind() else { return problems };
    let mut secrets: BTreeSet<&str> = BTreeSet::new();
    let mut agents: BTreeSet<&str> = BTreeSet::new();
    for mount in &exec.mounts {
        match pb::MountType::try_from(mount.mount_type) {
            Ok(pb::MountType::Secret) => {
                secrets.extend(
                    mount.secret_opt.iter().filter(|it| !it.optional).map(|it| it.id.as_str()),
                );
            }
            Ok(pb::MountType::Ssh) => {
                agents.extend(
                    mount.ssh_opt.iter().filter(|it| !it.optional).map(|it| it.id.as_str()),
                );
            }
            _ => {}
        }
    }
    secrets.extend(exec.secretenv.iter().filter(|it| !it.optional).map(|it| it.id.as_str()));
    for id in secrets.into_iter().filter(|id| !request.secrets.contains_key(*id)) {
        problems.push(Problem {
            message: format!("secret `{id}` was not passed, and `{}` needs it", step.name),
            hint: Some(format!(
                "pass it with --secret id={id},src=FILE or --secret id={id},env=NAME"
            )),
        });
    }
    for id in agents {
        let id = if id.is_empty() { "default" } else { id };
        if !request.ssh.contains_key(id) {
            problems.push(Problem {
                message: format!("ssh agent `{id}` was not passed, and `{}` needs it", step.name),
                hint: Some(format!("pass it with --ssh {id}")),
            });
        }
    }
    problems
}

fn planned_output(output: &OutputSpec, request: &BuildRequest) -> PlannedOutput {
    let names = |own: &[Reference]| -> Vec<String> {
        let names = if own.is_empty() { request.tags.as_slice() } else { own };
        names.iter().map(Reference::familiar).collect()
    };
    let place = |dest: &Destination| match dest {
        Destination::Path(path) => path.display().to_string(),
        Destination::Stdout => "-".to_owned(),
    };
    let (kind, dest, names) = match output {
        OutputSpec::Image(image) => ("image", None, names(&image.names)),
        OutputSpec::Archive { image, format, dest, .. } => {
            let kind = match format {
                build_api::ArchiveFormat::Oci => "oci",
                build_api::ArchiveFormat::Docker => "docker",
            };
            (kind, Some(place(dest)), names(&image.names))
        }
        OutputSpec::Load(image) => ("load", None, names(&image.names)),
        OutputSpec::Tar { dest, .. } => ("tar", Some(place(dest)), Vec::new()),
        OutputSpec::Local { dest, .. } => ("local", Some(dest.display().to_string()), Vec::new()),
        OutputSpec::CacheOnly => ("cacheonly", None, Vec::new()),
    };
    PlannedOutput { kind, dest, names }
}

/// What would be pushed, and what is there. One question for each name, not repeated.
fn pushes(
    engine: &Engine,
    request: &BuildRequest,
    outputs: &[OutputSpec],
    problems: &mut Vec<Problem>,
) -> Vec<PlannedPush> {
    let mut names: Vec<Reference> = Vec::new();
    for output in outputs {
        let OutputSpec::Image(image) = output else { continue };
        if image.push || image.push_by_digest {
            let all = if image.names.is_empty() { &request.tags } else { &image.names };
            names.extend(all.iter().cloned());
        }
    }
    let mut pushes: Vec<PlannedPush> = Vec::new();
    for name in names {
        let shown = name.familiar();
        if pushes.iter().any(|push| push.name == shown) {
            continue;
        }
        let login = engine.options.credentials.credential(name.registry());
        let login = login.ok().map(|login| login.is_some());
        let remote = engine.remote();
        let now = if remote.is_offline() {
            Remote::Unknown("the network is switched off".to_owned())
        } else {
            match remote.block_on(remote.client().resolve_once(&name)) {
                Ok(image) => Remote::Image(image.digest),
                Err(error) if error.is_not_found() => Remote::Nothing,
                Err(error) => {
                    problems.push(Problem {
                        message: format!(
                            "cannot see what {shown} is now: {}",
                            crate::error::chain(&error)
                        ),
                        hint: error.hint(),
                    });
                    Remote::Unknown(error.to_string())
                }
            }
        };
        pushes.push(PlannedPush { name: shown, now, login });
    }
    pushes
}
