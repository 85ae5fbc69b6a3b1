use build_api::{Plan, PlannedStep, Remote, Running, StepKind, Verdict};
use serde_json::{Value, json as value};

use super::{platforms, word};

/// The document's form. Members may be added; what there is keeps its name and its meaning.
const SCHEMA: u32 = 1;

/// A plan for programs, see `docs/reference/plan.md`.
pub(crate) fn json(plan: &Plan) -> String {
    let document = value!({
        "schema": SCHEMA,
        "platforms": plan.platforms.iter().enumerate().map(|(at, it)| value!({
            "platform": it.platform.to_string(),
            "running": it.running.as_ref().map(running),
            "cached": plan.count(Some(at), Verdict::Cached),
            "run": plan.count(Some(at), Verdict::Runs),
            "unknown": plan.count(Some(at), Verdict::Unknown),
        })).collect::<Vec<_>>(),
        "stages": plan.stages.iter().map(|stage| value!({
            "name": stage.name,
            "line": stage.line,
            "used": stage.used,
        })).collect::<Vec<_>>(),
        "steps": plan.steps.iter().map(|it| step(plan, it)).collect::<Vec<_>>(),
        "images": plan.images.iter().map(|image| value!({
            "step": image.step,
            "name": image.name,
            "from": image.from,
            "platform": image.platform.to_string(),
            "digest": image.digest,
            "layers": image.layers,
            "size": image.size,
            "here": image.here,
            "pull": image.pull,
            "maybe": image.maybe,
        })).collect::<Vec<_>>(),
        "outputs": plan.outputs.iter().map(|output| value!({
            "type": output.kind,
            "dest": output.dest,
            "names": output.names,
        })).collect::<Vec<_>>(),
        "pushes": plan.pushes.iter().map(|push| {
            let (state, digest, reason) = match &push.now {
                Remote::Image(digest) => ("image", Some(digest), None),
                Remote::Nothing => ("nothing", None, None),
                Remote::Unknown(reason) => ("unknown", None, Some(reason)),
            };
            value!({
                "name": push.name,
                "now": { "state": state, "digest": digest, "reason": reason },
                "login": push.login,
            })
        }).collect::<Vec<_>>(),
        "problems": plan.problems.iter().map(|problem| value!({
            "message": problem.message,
            "hint": problem.hint,
        })).collect::<Vec<_>>(),
        "warnings": plan.warnings.iter().map(|warning| value!({
            "rule": warning.rule,
            "text": warning.to_string(),
        })).collect::<Vec<_>>(),
    });
    format!("{}\n", serde_json::to_string_pretty(&document).unwrap_or_default())
}

fn step(plan: &Plan, step: &PlannedStep) -> Value {
    let kind = match step.kind {
        StepKind::Run => "run",
        StepKind::Files => "files",
        StepKind::Image => "image",
        StepKind::Context => "context",
        StepKind::Download => "download",
        StepKind::Combine => "combine",
    };
    value!({
        "id": step.id,
        "name": step.name,
        "stage": step.stage,
        "kind": kind,
        "line": step.line,
        "platform": step.platform.as_ref().map(ToString::to_string),
        "for": platforms(plan, &step.results),
        "running": step.running.as_ref().map(running),
        "verdict": word(step.verdict),
        "reasons": step.reasons.iter().map(|reason| value!({
            "kind": reason.kind(),
            "subjects": reason.subjects(),
            "text": reason.to_string(),
        })).collect::<Vec<_>>(),
        "needs": step.needs,
    })
}

fn running(running: &Running) -> Value {
    match running {
        Running::Native => value!({ "how": "native" }),
        Running::Emulated(emulator) => value!({ "how": "emulated", "emulator": emulator }),
        Running::Missing { reason, hint } => {
            value!({ "how": "missing", "reason": reason, "hint": hint })
        }
    }
}
