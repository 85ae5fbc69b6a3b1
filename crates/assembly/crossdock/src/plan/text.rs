use std::fmt::Write as _;

use build_api::{Plan, PlannedImage, PlannedStep, Remote, StepKind, Verdict};

use super::{how, instruction, number, one_line, platforms, shortened, totals, word};
use crate::progress::size;

/// Characters of an instruction or a reason.
const WIDTH: usize = 110;

/// Writes to a `String` cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => {{
        let _ = writeln!($out, $($arg)*);
    }};
}

/// A plan for people.
pub(crate) fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let built: Vec<String> = plan
        .platforms
        .iter()
        .map(|it| match &it.running {
            Some(running) => format!("{} ({})", it.platform, how(running)),
            None => it.platform.to_string(),
        })
        .collect();
    line!(out, "plan for {}", built.join(", "));
    steps(&mut out, plan);
    let pruned: Vec<String> = plan
        .stages
        .iter()
        .filter(|stage| !stage.used)
        .map(|stage| format!("{} (line {})", one_line(&stage.name), stage.line))
        .collect();
    if !pruned.is_empty() {
        line!(out, "\nnot built, because nothing needs them: {}", pruned.join(", "));
    }
    inputs(&mut out, plan);
    outputs(&mut out, plan);
    if !plan.problems.is_empty() {
        line!(out, "\nproblems");
        for problem in &plan.problems {
            line!(out, "  {}", one_line(&problem.message));
            if let Some(hint) = &problem.hint {
                line!(out, "    {}", one_line(hint));
            }
        }
    }
    line!(out, "\n{}", summary(plan));
    out
}

fn steps(out: &mut String, plan: &Plan) {
    let mut groups: Vec<(String, Vec<&PlannedStep>)> = Vec::new();
    for step in plan.steps.iter().filter(|step| !step.kind.is_input()) {
        let title = title(plan, step);
        match groups.iter_mut().find(|(known, _)| *known == title) {
            Some((_, steps)) => steps.push(step),
            None => groups.push((title, vec![step])),
        }
    }
    // A stage's place in the Dockerfile; where it stands among others is decided by what needs it.
    groups.sort_by_key(|(_, steps)| {
        let stage = steps.first().map(|step| step.stage.as_str());
        plan.stages.iter().position(|known| Some(known.name.as_str()) == stage)
    });
    for (title, steps) in groups {
        line!(out, "\n{title}");
        let numbers: Vec<&str> = steps.iter().map(|step| number(step).unwrap_or("")).collect();
        let wide = numbers.iter().map(|number| number.len()).max().unwrap_or(0);
        for (step, number) in steps.iter().zip(numbers) {
            let text = shortened(&instruction(step), WIDTH);
            let gap = if wide == 0 { "" } else { "  " };
            line!(out, "  {:<7}  {number:>wide$}{gap}{text}", word(step.verdict));
            for reason in step.reasons.iter().take(3) {
                let indent = 11 + wide + gap.len();
                line!(out, "{:indent$}{}", "", shortened(&one_line(&reason.to_string()), WIDTH));
            }
        }
    }
}

/// `stage build, linux/amd64 under qemu, for all platforms`.
fn title(plan: &Plan, step: &PlannedStep) -> String {
    let mut title = match step.stage.as_str() {
        "" => "the only stage".to_owned(),
        stage => format!("stage {}", one_line(stage)),
    };
    if plan.platforms.len() > 1 {
        if let Some(platform) = &step.platform {
            let _ = write!(title, ", {platform}");
        }
        if step.results.len() > 1 {
            let all = step.results.len() == plan.platforms.len();
            let names = platforms(plan, &step.results).join(", ");
            let whom = if all { "all platforms" } else { names.as_str() };
            let _ = write!(title, ", once for {whom}");
        }
    }
    title
}

fn inputs(out: &mut String, plan: &Plan) {
    if !plan.images.is_empty() {
        line!(out, "\nimages");
        for image in &plan.images {
            line!(out, "  {}  {}  {}", one_line(&image.name), image.platform, transfer(image));
        }
    }
    let downloads: Vec<&PlannedStep> =
        plan.steps.iter().filter(|step| step.kind == StepKind::Download).collect();
    if !downloads.is_empty() {
        line!(out, "\ndownloads");
        for step in downloads {
            let verb = if step.verdict == Verdict::Unneeded { "not needed" } else { "fetched" };
            line!(out, "  {}  {verb}", shortened(&instruction(step), WIDTH));
        }
    }
}

/// What of an image would be pulled.
fn transfer(image: &PlannedImage) -> String {
    if image.digest.is_none() {
        return "could not be asked for".to_owned();
    }
    let from = one_line(&image.from);
    match (image.pull, image.maybe) {
        (0, 0) if image.here == image.size => format!("here ({})", size(image.size)),
        (0, 0) => format!("layers not needed ({})", size(image.size)),
        (0, maybe) => format!("pull {} from {from} if needed", size(maybe)),
        (pull, 0) if pull == image.size => format!("pull {} from {from}", size(pull)),
        (pull, 0) => format!("pull {} of {} from {from}", size(pull), size(image.size)),
        (pull, maybe) => {
            format!("pull {}, and {} more if needed, from {from}", size(pull), size(maybe))
        }
    }
}

fn outputs(out: &mut String, plan: &Plan) {
    line!(out, "\noutputs");
    for output in &plan.outputs {
        let names = output.names.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", ");
        let dest = output.dest.as_deref().map(one_line).map(|dest| match dest.as_str() {
            "-" => "standard output".to_owned(),
            _ => dest,
        });
        let parts: Vec<String> =
            [dest, (!names.is_empty()).then_some(names)].into_iter().flatten().collect();
        line!(out, "  {}", format!("{:<6}  {}", output.kind, parts.join("  ")).trim_end());
    }
    for push in &plan.pushes {
        let now = match &push.now {
            Remote::Image(digest) => {
                format!("in place of {}:{}", digest.algorithm(), digest.short())
            }
            Remote::Nothing => "new".to_owned(),
            Remote::Unknown(why) => format!("what is there is not known: {}", one_line(why)),
        };
        let login = if push.login == Some(false) { "  no login" } else { "" };
        line!(out, "  push    {}  {now}{login}", one_line(&push.name));
    }
}

fn summary(plan: &Plan) -> String {
    let total = |of: fn(&PlannedImage) -> u64| plan.images.iter().map(of).sum::<u64>();
    let (pull, maybe) = (total(|image| image.pull), total(|image| image.maybe));
    let mut text = totals(plan);
    if pull > 0 || maybe > 0 {
        let _ = write!(text, "; {} to pull", size(pull));
        if maybe > 0 {
            let _ = write!(text, ", up to {}", size(pull + maybe));
        }
    }
    match plan.problems.len() {
        0 => {}
        1 => text.push_str("; 1 problem"),
        more => {
            let _ = write!(text, "; {more} problems");
        }
    }
    text
}
