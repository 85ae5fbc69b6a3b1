use std::fmt::Write as _;

use build_api::{Plan, PlannedImage, PlannedStep, Running, StepKind, Verdict};

use super::layout::{Band, Cell, layout};
use super::{how, instruction, number, one_line, platforms, shortened, totals, word};
use crate::progress::size;

const BOX_WIDTH: usize = 264;
const BOX_HEIGHT: usize = 50;
/// Between columns and between rows, where lines go.
const GUTTER: usize = 48;
/// What of that lies to the left of a box, within its band.
const LEFT: usize = 34;
const ROW_GAP: usize = 34;
const MARGIN: usize = 24;
/// Title and legend.
const HEAD: usize = 96;
/// The heading of a band.
const BAND_HEAD: usize = 34;
/// Characters of 12 px that fit into a box; letters are about 6.5 px wide.
const FIRST_LINE: usize = 35;
const SECOND_LINE: usize = 39;

/// Colours of light and dark pages; every kind also has a word in its box and a border of its own.
const STYLE: &str = "
svg { font-family: system-ui, 'DejaVu Sans', 'Segoe UI', Helvetica, Arial, sans-serif; font-size: 12px }
.page { fill: #ffffff } .band { fill: #f4f5f7; stroke: #d5d9e0 } text { fill: #1c2230 } .soft { fill: #5a6375 }
.title { font-size: 16px; font-weight: 600 } .head { font-size: 13px; font-weight: 600 } .small { font-size: 11px }
.box { stroke-width: 1.5 } .line { fill: none; stroke: #8a93a5; stroke-width: 1.3 } .tip { fill: #8a93a5 }
.cached { fill: #e3f4e6; stroke: #3f8f55 } .native { fill: #dceafb; stroke: #2563b0; stroke-width: 3 }
.emulated { fill: #fdebd3; stroke: #c26a10; stroke-width: 3 } .missing { fill: #fbdede; stroke: #b3261e; stroke-width: 3 }
.unknown { fill: #fdf8d8; stroke: #948212; stroke-dasharray: 7 4 } .pulled { fill: #eee3fa; stroke: #7a3fc0; stroke-width: 3 }
.input { fill: #ffffff; stroke: #8a93a5 } .unneeded { fill: #ffffff; stroke: #b6bcc8; stroke-dasharray: 2 3 }
@media (prefers-color-scheme: dark) {
.page { fill: #14171d } .band { fill: #1c2028; stroke: #343b48 } text { fill: #e8ebf2 } .soft { fill: #a5aec0 }
.line { stroke: #737d92 } .tip { fill: #737d92 }
.cached { fill: #17341f; stroke: #58b874 } .native { fill: #17304f; stroke: #6aa6ee }
.emulated { fill: #43290b; stroke: #eb9a45 } .missing { fill: #4a1614; stroke: #f07a72 }
.unknown { fill: #36310e; stroke: #d3bf45 } .pulled { fill: #321a4f; stroke: #b58aee }
.input { fill: #20252e; stroke: #737d92 } .unneeded { fill: #1c2028; stroke: #565f70 }
}
";

const LEGEND: [(&str, &str); 7] = [
    ("cached", "cached"),
    ("native", "runs"),
    ("emulated", "runs, emulated"),
    ("unknown", "not known before"),
    ("pulled", "image, pulled"),
    ("input", "input, here"),
    ("unneeded", "not needed"),
];

/// A plan as an SVG document. The same plan gives the same bytes.
pub(crate) fn picture(plan: &Plan) -> String {
    let layout = layout(plan);
    let columns = layout.columns.max(1);
    let width = (MARGIN * 2 + columns * (BOX_WIDTH + GUTTER)).max(940);
    let top = HEAD + BAND_HEAD;
    let height = top + layout.rows * (BOX_HEIGHT + ROW_GAP) + MARGIN * 2;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n",
        escaped(&heading(plan))
    );
    head(&mut out, plan);
    for band in &layout.bands {
        draw_band(&mut out, plan, band, height);
    }
    out.push_str("<g>\n");
    for (from, to) in &layout.edges {
        if let (Some(Some(a)), Some(Some(b))) = (layout.cells.get(*from), layout.cells.get(*to)) {
            line(&mut out, *a, *b, *from);
        }
    }
    out.push_str("</g>\n");
    for (step, cell) in plan.steps.iter().zip(&layout.cells) {
        if let Some(cell) = cell {
            let image = plan
                .images
                .iter()
                .find(|image| plan.steps.get(image.step).is_some_and(|it| std::ptr::eq(it, step)));
            draw_box(&mut out, plan, step, image, *cell);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn heading(plan: &Plan) -> String {
    let all: Vec<usize> = (0..plan.platforms.len()).collect();
    format!("Plan for {}", platforms(plan, &all).join(", "))
}

fn head(out: &mut String, plan: &Plan) {
    let _ = writeln!(
        out,
        "<text class=\"title\" x=\"{MARGIN}\" y=\"36\">{}</text>",
        escaped(&heading(plan))
    );
    let pruned: Vec<&str> =
        plan.stages.iter().filter(|stage| !stage.used).map(|stage| stage.name.as_str()).collect();
    let pruned = if pruned.is_empty() {
        String::new()
    } else {
        format!("; stages not built: {}", shortened(&one_line(&pruned.join(", ")), 80))
    };
    let problems = match plan.problems.len() {
        0 => String::new(),
        1 => "; 1 problem".to_owned(),
        more => format!("; {more} problems"),
    };
    let _ = writeln!(
        out,
        "<text class=\"soft\" x=\"{MARGIN}\" y=\"56\">{}</text>",
        escaped(&format!("{}{pruned}{problems}", totals(plan)))
    );
    let mut x = MARGIN;
    for (class, text) in LEGEND {
        let _ = writeln!(
            out,
            "<rect class=\"box {class}\" x=\"{x}\" y=\"68\" width=\"22\" height=\"14\" rx=\"3\"/>\
             <text class=\"small\" x=\"{}\" y=\"79\">{text}</text>",
            x + 28
        );
        x += 28 + text.len() * 7 + 18;
    }
}

fn draw_band(out: &mut String, plan: &Plan, band: &Band, height: usize) {
    let x = MARGIN + band.first * (BOX_WIDTH + GUTTER);
    // A gap stays between bands.
    let width = (band.columns * (BOX_WIDTH + GUTTER)).saturating_sub(6);
    let names = platforms(plan, &band.results);
    let shared = band.results.len() > 1;
    let title = match band.results.as_slice() {
        [] => String::new(),
        [one] => {
            let running = plan.platforms.get(*one).and_then(|it| it.running.as_ref());
            let running = running.map(|running| format!(", {}", how(running)));
            format!("{}{}", names.join(""), running.unwrap_or_default())
        }
        all if all.len() == plan.platforms.len() => "once for all platforms".to_owned(),
        _ => format!("once for {}", names.join(", ")),
    };
    let room = (width / 8).saturating_sub(2);
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect class=\"band\" x=\"{x}\" y=\"{HEAD}\" width=\"{width}\" height=\"{}\" rx=\"8\"/>\
         <text class=\"head\" x=\"{}\" y=\"{}\">{}</text></g>",
        escaped(&if shared { format!("shared by {}", names.join(", ")) } else { title.clone() }),
        height - HEAD - MARGIN,
        x + 12,
        HEAD + 22,
        escaped(&shortened(&title, room))
    );
}

fn left(cell: Cell) -> usize {
    MARGIN + LEFT + cell.column * (BOX_WIDTH + GUTTER)
}

fn upper(cell: Cell) -> usize {
    HEAD + BAND_HEAD + 8 + cell.row * (BOX_HEIGHT + ROW_GAP)
}

/// From the lower edge of a box to the upper edge of another. It keeps to the gaps between rows and columns.
fn line(out: &mut String, from: Cell, to: Cell, seed: usize) {
    let (x1, y1) = (left(from) + BOX_WIDTH / 2, upper(from) + BOX_HEIGHT);
    let (x2, y2) = (left(to) + BOX_WIDTH / 2, upper(to));
    let end = y2 - 6;
    let path = if from.column == to.column && to.row == from.row + 1 {
        format!("M{x1} {y1}V{end}")
    } else {
        // Lines from different boxes are set apart a little where they run side by side.
        let shift = (seed % 5) * 4;
        let turn = y1 + 8 + shift;
        if to.row == from.row + 1 {
            across(x1, y1, turn, x2, end)
        } else {
            let gutter = left(to) - 28 + shift;
            let before = y2 - 14;
            across(x1, y1, turn, gutter, before - 7) + &bend(gutter, before, x2, end)
        }
    };
    let _ = writeln!(
        out,
        "<path class=\"line\" d=\"{path}\"/><path class=\"tip\" d=\"M{} {end}h8l-4 6z\"/>",
        x2 - 4
    );
}

/// Down, sideways at `turn`, and down again, with round corners.
fn across(x1: usize, y1: usize, turn: usize, x2: usize, y2: usize) -> String {
    let radius = 6.min(x1.abs_diff(x2) / 2);
    if radius == 0 {
        return format!("M{x1} {y1}V{y2}");
    }
    let (out, into) = if x2 > x1 { (x1 + radius, x2 - radius) } else { (x1 - radius, x2 + radius) };
    format!(
        "M{x1} {y1}V{}Q{x1} {turn} {out} {turn}H{into}Q{x2} {turn} {x2} {}V{y2}",
        turn - radius.min(turn),
        turn + radius
    )
}

/// From a gutter into the box beside it.
fn bend(gutter: usize, turn: usize, x: usize, y: usize) -> String {
    let (out, into) = (gutter + 6, x.saturating_sub(6));
    format!("Q{gutter} {turn} {out} {turn}H{into}Q{x} {turn} {x} {}V{y}", turn + 6)
}

fn draw_box(
    out: &mut String,
    plan: &Plan,
    step: &PlannedStep,
    image: Option<&PlannedImage>,
    cell: Cell,
) {
    let (x, y) = (left(cell), upper(cell));
    let class = class(step, image);
    let radius = if step.kind.is_input() { BOX_HEIGHT / 2 } else { 5 };
    let first = image.map_or_else(|| label(step), |image| one_line(&image.name));
    let second = status(step, image);
    let _ = writeln!(
        out,
        "<g><title>{}</title><rect class=\"box {class}\" x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" \
         height=\"{BOX_HEIGHT}\" rx=\"{radius}\"/><text x=\"{}\" y=\"{}\">{}</text>\
         <text class=\"soft small\" x=\"{}\" y=\"{}\">{}</text></g>",
        escaped(&tooltip(plan, step, image)),
        x + 14,
        y + 21,
        escaped(&shortened(&first, FIRST_LINE)),
        x + 14,
        y + 38,
        escaped(&shortened(&second, SECOND_LINE))
    );
}

fn label(step: &PlannedStep) -> String {
    match (step.kind, number(step)) {
        (StepKind::Context, _) => "build context".to_owned(),
        (_, Some(number)) if !step.stage.is_empty() => {
            format!("{} {number}: {}", one_line(&step.stage), instruction(step))
        }
        _ => instruction(step),
    }
}

fn class(step: &PlannedStep, image: Option<&PlannedImage>) -> &'static str {
    match (step.verdict, &step.running) {
        (Verdict::Cached, _) => "cached",
        (Verdict::Runs, Some(Running::Emulated(_))) => "emulated",
        (Verdict::Runs | Verdict::Unknown, Some(Running::Missing { .. })) => "missing",
        (Verdict::Runs, _) => "native",
        (Verdict::Unknown, _) => "unknown",
        (Verdict::Unneeded, _) => "unneeded",
        (Verdict::Read, _) => match image {
            Some(image) if image.digest.is_none() => "unknown",
            Some(image) if image.pull > 0 => "pulled",
            _ => "input",
        },
    }
}

fn status(step: &PlannedStep, image: Option<&PlannedImage>) -> String {
    if let Some(image) = image {
        return match (image.pull, image.maybe) {
            _ if image.digest.is_none() => "could not be asked for".to_owned(),
            _ if step.verdict == Verdict::Unneeded => "not needed".to_owned(),
            (0, 0) if image.here == image.size => format!("here, {}", size(image.size)),
            (0, 0) => "layers not needed".to_owned(),
            (0, maybe) => format!("pull {} if needed", size(maybe)),
            (pull, _) => format!("pull {}", size(pull)),
        };
    }
    let word = match (step.verdict, step.kind, &step.running) {
        (Verdict::Read, StepKind::Download, _) => "fetched".to_owned(),
        (Verdict::Runs, _, Some(Running::Emulated(emulator))) => {
            format!("run under {}", emulator.split(' ').next().unwrap_or(emulator))
        }
        (Verdict::Runs | Verdict::Unknown, _, Some(Running::Missing { .. })) => {
            "does not run here".to_owned()
        }
        (verdict, _, _) => word(verdict).to_owned(),
    };
    match step.reasons.first() {
        Some(reason) => format!("{word}: {}", one_line(&reason.to_string())),
        None => word,
    }
}

fn tooltip(plan: &Plan, step: &PlannedStep, image: Option<&PlannedImage>) -> String {
    let mut lines = vec![one_line(&step.name)];
    if let Some(line) = step.line {
        lines.push(format!("line {line}"));
    }
    if let Some(platform) = &step.platform {
        let running = step.running.as_ref().map(|running| format!(", {}", how(running)));
        lines.push(format!("{platform}{}", running.unwrap_or_default()));
    }
    if plan.platforms.len() > 1 {
        lines.push(format!("for {}", platforms(plan, &step.results).join(", ")));
    }
    lines.push(word(step.verdict).to_owned());
    lines.extend(step.reasons.iter().map(|reason| one_line(&reason.to_string())));
    if let Some(image) = image {
        lines.push(format!(
            "{}: {} in {} layers, {} here, {} to pull",
            one_line(&image.from),
            size(image.size),
            image.layers,
            size(image.here),
            size(image.pull)
        ));
    }
    lines.join("\n")
}

/// Text of an XML document.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            // Not allowed in XML at all.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
