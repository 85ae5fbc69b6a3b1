//! Where the boxes of a plan's picture stand, and how the lines between them go.
//!
//! Every set of platforms that shares steps is a band of columns, beginning with the widest sharing; every stage in it is
//! a lane. A step stands one row below what it needs and below what its lane already has, so no two boxes meet, lines
//! only go down, and the same plan always gives the same picture. Lanes of a band that do not overlap in height share a
//! column.

use std::collections::BTreeMap;

use build_api::{Plan, StepKind};

/// A picture's grid.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) bands: Vec<Band>,
    /// Column and row of each step; `None` for what is not drawn.
    pub(super) cells: Vec<Option<Cell>>,
    pub(super) columns: usize,
    pub(super) rows: usize,
    /// Lines between steps, from what is needed to what needs it.
    pub(super) edges: Vec<(usize, usize)>,
}

/// Columns of one set of platforms.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Band {
    /// Positions of the platforms.
    pub(super) results: Vec<usize>,
    pub(super) first: usize,
    pub(super) columns: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) column: usize,
    pub(super) row: usize,
}

/// Steps by the band they are in (its platforms) and the name of their stage.
type Lanes = BTreeMap<(std::cmp::Reverse<usize>, Vec<usize>, usize), Vec<usize>>;

pub(super) fn layout(plan: &Plan) -> Layout {
    let drawn = |at: usize| plan.steps[at].kind != StepKind::Combine;
    let edges = edges(plan, &drawn);
    let mut needs: Vec<Vec<usize>> = vec![Vec::new(); plan.steps.len()];
    for (from, to) in &edges {
        needs[*to].push(*from);
    }
    let stages = stages(plan, &edges);
    let mut lanes: Lanes = BTreeMap::new();
    let mut next: BTreeMap<(Vec<usize>, usize), usize> = BTreeMap::new();
    let mut rows: Vec<usize> = vec![0; plan.steps.len()];
    for (at, step) in plan.steps.iter().enumerate().filter(|(at, _)| drawn(*at)) {
        let free = next.entry((step.results.clone(), stages[at])).or_insert(0);
        let below = needs[at].iter().map(|need| rows[*need] + 1).max().unwrap_or(0);
        rows[at] = below.max(*free);
        *free = rows[at] + 1;
        let key = (std::cmp::Reverse(step.results.len()), step.results.clone(), stages[at]);
        lanes.entry(key).or_default().push(at);
    }
    let mut layout = Layout {
        cells: vec![None; plan.steps.len()],
        rows: rows.iter().max().map_or(0, |last| last + 1),
        edges,
        ..Layout::default()
    };
    let mut taken: Vec<usize> = Vec::new();
    for ((_, results, _), steps) in lanes {
        if layout.bands.last().is_none_or(|band| band.results != results) {
            layout.bands.push(Band { results, first: layout.columns, columns: 0 });
            taken.clear();
        }
        let Some(band) = layout.bands.last_mut() else { continue };
        let first = steps.iter().map(|step| rows[*step]).min().unwrap_or(0);
        let last = steps.iter().map(|step| rows[*step]).max().unwrap_or(0);
        // A row stays free between two lanes, so that they are seen to be two.
        let column = taken.iter().position(|end| *end < first).unwrap_or(taken.len());
        if let Some(end) = taken.get_mut(column) {
            *end = last + 1;
        } else {
            taken.push(last + 1);
            band.columns += 1;
            layout.columns += 1;
        }
        for step in steps {
            layout.cells[step] = Some(Cell { column: band.first + column, row: rows[step] });
        }
    }
    layout
}

/// Lines between drawn steps; what only combines is looked through.
fn edges(plan: &Plan, drawn: &dyn Fn(usize) -> bool) -> Vec<(usize, usize)> {
    // What stands for a step that is not drawn: the drawn steps behind it.
    let mut behind: Vec<Vec<usize>> = Vec::with_capacity(plan.steps.len());
    let mut edges = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        let mut needed: Vec<usize> = Vec::new();
        for need in step.needs.iter().filter(|need| **need < at) {
            for step in &behind[*need] {
                if !needed.contains(step) {
                    needed.push(*step);
                }
            }
        }
        needed.sort_unstable();
        if drawn(at) {
            edges.extend(needed.iter().map(|from| (*from, at)));
            behind.push(vec![at]);
        } else {
            behind.push(needed);
        }
    }
    edges
}

/// A number for the stage of each step, in the order of the Dockerfile. Inputs stand with the first step that needs them.
fn stages(plan: &Plan, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
    for step in &plan.steps {
        if !step.stage.is_empty() && !names.contains(&step.stage.as_str()) {
            names.push(&step.stage);
        }
    }
    let own = |at: usize| {
        let step = &plan.steps[at];
        names.iter().position(|name| *name == step.stage)
    };
    (0..plan.steps.len())
        .map(|at| {
            let user = || edges.iter().filter(|(from, _)| *from == at).find_map(|(_, to)| own(*to));
            let input = plan.steps[at].kind.is_input();
            let stage = if input { user().or_else(|| own(at)) } else { own(at).or_else(user) };
            stage.unwrap_or(names.len())
        })
        .collect()
}
