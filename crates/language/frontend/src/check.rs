//! What is said about a Dockerfile, and what it asks for, without building it.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::{Instruction, Kind, Mount, MountKind};
use report::Diagnostic;

use crate::checks::{self, CheckConfig, Silences};
use crate::compiler::Compiler;
use crate::options::{CompileOptions, ImageResolver};
use crate::stage::Base;

/// What came of [`check`].
#[derive(Clone, Debug)]
pub struct Checked {
    /// Everything that is wrong or doubtful, in the order of the text; not yet told apart by the configuration.
    pub findings: Vec<Diagnostic>,
    /// What the `check` directive asks for, or what is wrong with it.
    pub config: Result<CheckConfig, Box<Diagnostic>>,
    /// What the target asks for; `None` where the Dockerfile is wrong.
    pub outline: Option<Outline>,
}

impl Checked {
    /// The findings that the configuration lets through; a configuration that is wrong is one itself.
    pub fn told(&self, file: &dockerfile::Dockerfile, more: Vec<Diagnostic>) -> Vec<Diagnostic> {
        let mut all = self.findings.clone();
        all.extend(more);
        let mut all = match &self.config {
            Ok(config) => checks::filter(file, config, all, Silences::Everything),
            Err(wrong) => vec![wrong.as_ref().clone()],
        };
        all.sort_by(|a, b| (a.span, a.rule, &a.message).cmp(&(b.span, b.rule, &b.message)));
        all.dedup();
        all
    }
}

/// Arguments, secrets and agents that a target asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Name of the target stage.
    pub name: Option<String>,
    /// What its comment says.
    pub description: Option<String>,
    /// Arguments in the order of the text.
    pub args: Vec<OutlineArgument>,
    /// Secrets in the order of the text.
    pub secrets: Vec<OutlineMount>,
    /// SSH agents in the order of the text.
    pub ssh: Vec<OutlineMount>,
}

/// An argument of an [`Outline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineArgument {
    /// Name.
    pub name: String,
    /// What its comment says.
    pub description: Option<String>,
    /// Its value, with what was given.
    pub value: Option<String>,
    /// Lines of the ARG.
    pub lines: (usize, usize),
}

/// A secret or agent of an [`Outline`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether a build without it fails.
    pub required: bool,
    /// Lines of the RUN.
    pub lines: (usize, usize),
}

/// Something that a stage asks for, as its instructions are gone through.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// An argument; `own` unless it only takes over a global one.
    Argument { stage: usize, argument: OutlineArgument, own: bool },
    /// A secret.
    Secret { stage: usize, mount: OutlineMount },
    /// An agent.
    Ssh { stage: usize, mount: OutlineMount },
}

/// Goes through a Dockerfile for what there is to say about it: all stages, or those that the target needs. Images that
/// the resolver does not look for ([`crate::ResolveError::Unasked`]) are taken for empty.
pub fn check(
    options: &CompileOptions,
    file: &dockerfile::Dockerfile,
    resolver: &dyn ImageResolver,
) -> Checked {
    let mut compiler = Compiler::new(options, resolver, file);
    compiler.checking = true;
    let target = compiler.compile();
    if file.stages.is_empty() && !compiler.failed() {
        compiler.error("the Dockerfile has no stages to build", report::Span::default());
    }
    let outline = target.ok().map(|target| compiler.outline(target));
    let mut findings = std::mem::take(&mut compiler.diagnostics);
    for diagnostic in &mut findings {
        diagnostic.source.get_or_insert_with(|| options.source.clone());
    }
    Checked { findings, config: checks::configuration(file, &options.build_args), outline }
}

/// The part of a comment that describes `name`.
pub(crate) fn described(comments: &[String], name: &str) -> Option<String> {
    let about = |comment: &String| Some(comment.strip_prefix(name)?.strip_prefix(' ')?.to_owned());
    comments.iter().find_map(about)
}

impl Compiler<'_> {
    /// Remembers an argument of a stage.
    pub(crate) fn asked_argument(
        &mut self,
        stage: usize,
        instruction: &Instruction,
        name: &str,
        value: Option<String>,
        own: bool,
    ) {
        if !self.checking {
            return;
        }
        let argument = OutlineArgument {
            name: name.to_owned(),
            description: described(&instruction.comments, name),
            value,
            lines: instruction.lines,
        };
        self.asked.push(Asked::Argument { stage, argument, own });
    }

    /// Remembers a secret or an agent of a stage.
    pub(crate) fn asked_mount(&mut self, stage: usize, lines: (usize, usize), mount: &Mount) {
        if !self.checking {
            return;
        }
        let id = match mount.kind {
            _ if !mount.id.is_empty() => mount.id.clone(),
            MountKind::Secret if !mount.source.is_empty() => mount.source.clone(),
            MountKind::Secret => mount.target.rsplit('/').next().unwrap_or_default().to_owned(),
            _ => "default".to_owned(),
        };
        let asked = OutlineMount { name: id, required: mount.required, lines };
        self.asked.push(match mount.kind {
            MountKind::Secret => Asked::Secret { stage, mount: asked },
            _ => Asked::Ssh { stage, mount: asked },
        });
    }

    /// What the target and the stages it needs ask for.
    fn outline(&self, target: usize) -> Outline {
        let needed = self.reachable(target);
        let globals = self.global_arguments();
        let mut used: BTreeSet<String> = BTreeSet::new();
        for stage in &needed {
            let Some(from) = self.stages[*stage].from else { continue };
            if matches!(self.stages[*stage].base, Base::Context(_)) {
                continue;
            }
            let words = std::iter::once(&from.base).chain(&from.platform);
            for word in words {
                let how = dockerfile::Expand::words(self.file.escape);
                let matched = self.budget.expand(&word.text, how, &self.global_args);
                used.extend(matched.map(|expanded| expanded.matched).unwrap_or_default());
            }
        }
        let mut outline = Outline::default();
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let (mut secrets, mut agents) = (BTreeSet::new(), BTreeSet::new());
        for asked in &self.asked {
            match asked {
                Asked::Argument { stage, argument, own } if needed.contains(stage) => {
                    if !own {
                        used.insert(argument.name.clone());
                    } else if seen.insert(argument.name.clone()) {
                        outline.args.push(argument.clone());
                    }
                }
                Asked::Secret { stage, mount }
                    if needed.contains(stage) && secrets.insert(&mount.name) =>
                {
                    outline.secrets.push(mount.clone());
                }
                Asked::Ssh { stage, mount }
                    if needed.contains(stage) && agents.insert(&mount.name) =>
                {
                    outline.ssh.push(mount.clone());
                }
                _ => {}
            }
        }
        let mut waiting: Vec<String> = used.into_iter().collect();
        while let Some(name) = waiting.pop() {
            if let Some((argument, needs)) = globals.get(&name)
                && seen.insert(name)
            {
                outline.args.push(argument.clone());
                waiting.extend(needs.iter().cloned());
            }
        }
        outline.args.sort_by(|a, b| (a.lines, &a.name).cmp(&(b.lines, &b.name)));
        if let Some(stage) = self.file.stages.get(target) {
            outline.name = stage.from.name.as_ref().map(|name| name.text.clone());
            outline.description =
                outline.name.as_deref().and_then(|name| described(&stage.start.comments, name));
        }
        outline
    }

    /// Arguments before the first FROM, with those that their defaults need.
    fn global_arguments(&self) -> BTreeMap<String, (OutlineArgument, BTreeSet<String>)> {
        let mut globals = BTreeMap::new();
        for instruction in &self.file.preamble {
            let Kind::Arg(arguments) = &instruction.kind else { continue };
            for argument in arguments {
                let how = dockerfile::Expand::words(self.file.escape);
                let default = argument.default.as_deref().unwrap_or_default();
                let needs = self.budget.expand(default, how, &self.global_args);
                let asked = OutlineArgument {
                    name: argument.name.clone(),
                    description: described(&instruction.comments, &argument.name),
                    value: self.global_args.value(&argument.name).map(str::to_owned),
                    lines: instruction.lines,
                };
                let needs = needs.map(|expanded| expanded.matched).unwrap_or_default();
                globals.insert(argument.name.clone(), (asked, needs));
            }
        }
        globals
    }
}
