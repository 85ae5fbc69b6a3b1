//! The rules that BuildKit does not have. Each prefers silence to a finding that is none: it speaks where the text alone
//! shows that something is wrong.

mod files;
mod run;
mod script;
mod stages;
mod windows;

use dockerfile::{Dockerfile, Kind, Stage};
use frontend::CompileOptions;
use report::Diagnostic;

pub(crate) use stages::TO_TARGET;

/// What these rules find in a Dockerfile that is built as `options` say.
pub(crate) fn find(file: &Dockerfile, options: &CompileOptions) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let uses = Uses::of(file);
    stages::find(file, options, &uses, &mut found);
    files::find(file, &uses, &mut found);
    run::find(file, &uses, &mut found);
    windows::find(file, options, &mut found);
    found
}

/// How stages are used by others.
pub(crate) struct Uses {
    /// By number: the stage that it stands on.
    pub(crate) base: Vec<Option<usize>>,
    /// By number: another stage stands on it, or mounts it.
    pub(crate) built_upon: Vec<bool>,
    /// By number: another stage copies from it.
    pub(crate) copied_from: Vec<bool>,
    /// By number: it is the last stage, or the last one stands on it.
    pub(crate) in_result: Vec<bool>,
}

impl Uses {
    fn of(file: &Dockerfile) -> Self {
        let count = file.stages.len();
        let mut uses = Self {
            base: vec![None; count],
            built_upon: vec![false; count],
            copied_from: vec![false; count],
            in_result: vec![false; count],
        };
        let mut names = std::collections::HashMap::new();
        for (index, stage) in file.stages.iter().enumerate() {
            uses.base[index] = names.get(stage.from.base.text.as_str()).copied();
            if let Some(base) = uses.base[index] {
                uses.built_upon[base] = true;
            }
            if let Some(name) = &stage.from.name {
                names.insert(name.text.as_str(), index);
            }
        }
        let stage = |name: &str| {
            let number = || name.parse::<usize>().ok().filter(|number| *number < count);
            names.get(name.to_lowercase().as_str()).copied().or_else(number)
        };
        for instruction in file.instructions() {
            match &instruction.kind {
                Kind::Copy(copy) => {
                    if let Some(from) = copy.from.as_ref().and_then(|from| stage(&from.text)) {
                        uses.copied_from[from] = true;
                    }
                }
                Kind::Run(run) => {
                    for mount in &run.mounts {
                        let from = dockerfile::mounts_from(&mount.text).ok().flatten();
                        if let Some(from) = from.and_then(|from| stage(&from)) {
                            uses.built_upon[from] = true;
                        }
                    }
                }
                _ => {}
            }
        }
        let mut at = count.checked_sub(1);
        while let Some(index) = at {
            uses.in_result[index] = true;
            at = uses.base[index];
        }
        uses
    }

    /// Whether nothing but its files ends up anywhere.
    pub(crate) fn only_copied_from(&self, index: usize) -> bool {
        self.copied_from[index] && !self.built_upon[index] && !self.in_result[index]
    }
}

/// The RUN instructions of a stage with what they run.
pub(crate) fn runs(
    stage: &Stage,
) -> impl Iterator<Item = (&dockerfile::Instruction, &dockerfile::Run, String)> {
    stage.body.iter().filter_map(|instruction| match &instruction.kind {
        Kind::Run(run) => Some((instruction, run.as_ref(), script::of(&run.command))),
        _ => None,
    })
}
