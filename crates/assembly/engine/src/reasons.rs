//! Why a step is not taken from the cache: it is compared with what the last build had in its place.

use std::collections::BTreeMap;

use build_api::{BuildError, FileChange, Reason};

use crate::graph::Node;
use crate::last_build::{LastBuild, LastStep, kept_text};
use crate::work::Build;

/// Names that a reason lists.
const SHOWN: usize = 3;

/// Whether what a vertex results in is made anew in this build.
pub(crate) type MadeAnew<'a> = &'a dyn Fn(usize) -> bool;

impl Build<'_> {
    /// For a step that is about to run: why, where an earlier build had it.
    pub(crate) fn why(&self, vertex: usize) -> Option<Reason> {
        let ran = |input: usize| self.state[input].ran.get().is_some();
        // Where it cannot be told, the build goes on.
        let reasons = self.reasons(vertex, &ran).ok()?;
        reasons.into_iter().find(|reason| *reason != Reason::NeverBuilt)
    }

    /// Why a step is not cached, the most telling first.
    pub(crate) fn reasons(
        &self,
        vertex: usize,
        anew: MadeAnew<'_>,
    ) -> Result<Vec<Reason>, BuildError> {
        let node = self.node(vertex);
        let lasts: Vec<_> = node.results.iter().filter_map(|at| self.last.get(*at)).collect();
        if lasts.is_empty() {
            return Ok(vec![if node.ignore_cache { Reason::Asked } else { Reason::NeverBuilt }]);
        }
        let step = self.describe(vertex)?;
        let position = self.position(vertex);
        let still_there = |text: &str| {
            let of_stage = |node: &Node| {
                node.step.as_ref().is_some_and(|it| it.stage == step.stage) && !node.is_trivial()
            };
            self.graph.nodes.iter().any(|node| of_stage(node) && kept_text(node) == text)
        };
        let found = lasts.iter().find_map(|last| {
            let then = last.counterpart(&step, position, &still_there)?;
            Some((last.as_ref(), then))
        });
        let Some((last, then)) = found else { return Ok(vec![Reason::NeverBuilt]) };
        if node.ignore_cache {
            return Ok(vec![Reason::Asked]);
        }
        let mut reasons = self.own_reasons(&step, then, last);
        let mut after = Vec::new();
        for edge in &node.inputs {
            self.made_anew(edge.vertex, anew, &mut after);
        }
        let images = changed_images(&step, then);
        reasons.extend(images.into_iter().map(|image| Reason::Base { image }));
        let other_input = step.inputs.len() == then.inputs.len() && step.inputs != then.inputs;
        if reasons.is_empty() && after.is_empty() && other_input {
            // An input that is cached itself, yet is not what it was.
            for (edge, (now, was)) in node.inputs.iter().zip(step.inputs.iter().zip(&then.inputs)) {
                if now != was {
                    self.made_anew(edge.vertex, &|_| true, &mut after);
                }
            }
        }
        if !after.is_empty() {
            after.dedup();
            reasons.push(Reason::After(after));
        }
        if reasons.is_empty() && step.time != then.time {
            reasons.push(Reason::Time);
        }
        if reasons.is_empty() {
            let same = step.key.is_some() && step.key == then.key;
            reasons.push(if same { Reason::Gone } else { self.unexplained(vertex) });
        }
        Ok(reasons)
    }

    /// What is different about the step itself.
    fn own_reasons(&self, step: &LastStep, then: &LastStep, last: &LastBuild) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let changed = differing(&step.variables, &then.variables);
        let (arguments, variables): (Vec<_>, Vec<_>) = changed
            .into_iter()
            .partition(|name| self.last.arguments.contains(name) || last.had_argument(name));
        if !arguments.is_empty() {
            reasons.push(Reason::Arguments(arguments));
        }
        if !variables.is_empty() {
            reasons.push(Reason::Variables(variables));
        }
        // The text of a step has variables replaced by their values; the command of a process has not.
        if step.command != then.command {
            let was = (step.text != then.text).then(|| then.text.clone());
            reasons.push(Reason::Instruction { was });
        }
        if reasons.is_empty() && step.operation != then.operation {
            reasons.push(Reason::Settings);
        }
        reasons.extend(files(&step.files, &then.files));
        reasons
    }

    /// The names of the steps behind an input that are made anew; what only combines, or is cached, is looked through.
    fn made_anew(&self, vertex: usize, anew: MadeAnew<'_>, names: &mut Vec<String>) {
        let node = self.node(vertex);
        let is_source = matches!(node.kind(), Some(llb::pb::op::Kind::Source(_)));
        if !node.is_trivial() && anew(vertex) {
            if !names.contains(&node.name) {
                names.push(node.name.clone());
            }
        } else if !node.is_trivial() {
            // It is cached, but may stand on what is not.
            if let Some(edge) = node.base().and_then(|at| node.inputs.get(at)) {
                self.made_anew(edge.vertex, anew, names);
            }
        } else if !is_source {
            for edge in &node.inputs {
                self.made_anew(edge.vertex, anew, names);
            }
        }
    }

    /// For a step that is as it was as far as can be seen.
    fn unexplained(&self, vertex: usize) -> Reason {
        let inputs = self.node(vertex).inputs.iter().map(|edge| self.node(edge.vertex));
        let download = inputs
            .filter(|node| crate::plan::kind(node) == build_api::StepKind::Download)
            .map(|node| node.name.clone())
            .next();
        download.map_or(Reason::Gone, Reason::Unidentified)
    }
}

fn changed_images(step: &LastStep, then: &LastStep) -> Vec<String> {
    let mut changed = Vec::new();
    for (name, identity) in step.inputs.iter().filter(|(name, _)| !name.is_empty()) {
        let was = then.inputs.iter().find(|(other, _)| other == name);
        // An image of another name changes the instruction that names it.
        if was.is_none_or(|(_, was)| was != identity) && !changed.contains(name) {
            changed.push(name.clone());
        }
    }
    changed
}

fn differing(now: &BTreeMap<String, String>, then: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<String> = now
        .iter()
        .filter(|(name, value)| then.get(*name) != Some(value))
        .map(|(name, _)| name.clone())
        .collect();
    names.extend(then.keys().filter(|name| !now.contains_key(*name)).cloned());
    names.sort();
    names
}

type Files = BTreeMap<String, (String, i64)>;

fn files(now: &Files, then: &Files) -> Vec<Reason> {
    let (mut changed, mut added, mut touched) = (Vec::new(), Vec::new(), Vec::new());
    for (path, (digest, time)) in now {
        match then.get(path) {
            None => added.push(path.clone()),
            Some((was, _)) if was != digest => changed.push(path.clone()),
            Some((_, was)) if was != time => touched.push(path.clone()),
            Some(_) => {}
        }
    }
    let removed: Vec<String> =
        then.keys().filter(|path| !now.contains_key(*path)).cloned().collect();
    if !changed.is_empty() || !added.is_empty() || !removed.is_empty() {
        // A folder's time changes with what is in it.
        touched.clear();
    }
    let reason = |(mut names, change): (Vec<String>, FileChange)| {
        let count = names.len();
        // Folders say less than what is in them.
        names.sort_by_key(|name| name.ends_with('/'));
        names.truncate(SHOWN);
        (count > 0).then_some(Reason::Files { names, count, change })
    };
    [
        (changed, FileChange::Changed),
        (added, FileChange::Added),
        (removed, FileChange::Removed),
        (touched, FileChange::Touched),
    ]
    .into_iter()
    .filter_map(reason)
    .collect()
}
