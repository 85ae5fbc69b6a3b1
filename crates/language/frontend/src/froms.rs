//! What `COPY --from` and `RUN --mount=from=` name.
//!
//! Names may hold variables, which BuildKit refuses. Which stages a build needs has to be known before any base image is
//! asked for, so only ARG and ENV of the Dockerfile itself count; when an instruction is carried out, its name must still
//! be the same.

use dockerfile::{Instruction, Kind};
use report::{Diagnostic, Span};

use crate::compiler::{Compiler, Stop};
use crate::env::Env;
use crate::stage::{Base, Command, StageState};

/// Stages that one Dockerfile may come to, with what its instructions name.
const MAX_STAGES: usize = 10_000;

/// A name after `from`, as written.
struct Name {
    text: String,
    span: Span,
    /// Whether a number is a stage's position.
    numbers: bool,
}

impl Compiler<'_> {
    /// Finds the stages and images that commands copy and mount from.
    pub(crate) fn connect(&mut self) {
        let variables = self.stages.iter().any(|stage| with_variables(&stage.commands));
        let mut ends: Vec<Env> = Vec::new();
        for index in 0..self.file.stages.len() {
            let mut env = match self.stages[index].base {
                Base::Stage(base) => ends.get(base).cloned().unwrap_or_default(),
                Base::Scratch | Base::Image | Base::Context(_) => Env::default(),
            };
            for at in 0..self.stages[index].commands.len() {
                let sources = self.sources(index, at, &env);
                let Some(command) = self.stages[index].commands.get_mut(at) else { continue };
                command.sources = sources;
                if variables {
                    let command = command.clone();
                    self.follow(&mut env, &command.instruction);
                }
            }
            if variables {
                ends.push(env);
            }
        }
    }

    /// The variables that a stage begins with, when its base is known.
    pub(crate) fn first_env(&mut self, index: usize) -> Env {
        let mut chain = vec![index];
        let mut at = index;
        while let Base::Stage(base) = self.stages[at].base {
            chain.push(base);
            at = base;
        }
        let mut env = Env::default();
        for entry in self.stages[at].image.config.env.clone() {
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            env.set(name, value);
        }
        for base in chain.into_iter().skip(1).rev() {
            for command in self.stages[base].commands.clone() {
                self.follow(&mut env, &command.instruction);
            }
        }
        env
    }

    /// What an instruction changes about the variables, as far as the Dockerfile alone tells. Mistakes are told when it
    /// is carried out.
    pub(crate) fn follow(&mut self, env: &mut Env, instruction: &Instruction) {
        let told = self.diagnostics.len();
        let before = env.clone();
        match &instruction.kind {
            _ if env.too_large() => {}
            Kind::Arg(arguments) => {
                for argument in arguments {
                    let given = self.given(&argument.name);
                    let value = match (given, &argument.default) {
                        (Some(given), _) => Some(given),
                        (None, Some(default)) => {
                            let expanded = self.expand(default, env, argument.span);
                            expanded.ok().map(|expanded| expanded.text)
                        }
                        (None, None) => self.global_args.value(&argument.name).map(str::to_owned),
                    };
                    if let Some(value) = value {
                        env.set(&argument.name, &value);
                    }
                }
            }
            Kind::Env(pairs) => {
                for pair in pairs {
                    let name = self.expand(&pair.name, &before, pair.span);
                    let value = self.expand(&pair.value, &before, pair.span);
                    if let (Ok(name), Ok(value)) = (name, value) {
                        env.set(&name.text, &value.text);
                    }
                }
            }
            _ => {}
        }
        self.diagnostics.truncate(told);
    }

    /// The stages that a command names, made for images that were not named before.
    pub(crate) fn sources(&mut self, index: usize, at: usize, env: &Env) -> Vec<Option<usize>> {
        let Some(command) = self.stages[index].commands.get(at) else { return Vec::new() };
        let span = command.instruction.span;
        let trigger = command.trigger;
        names(&command.instruction)
            .into_iter()
            .map(|name| {
                let mut name = name?;
                if trigger {
                    name.span = span;
                }
                name.text = self.named(&name, env).ok()?;
                let found = self.source_stage(&name.text, name.span, name.numbers)?;
                self.stages[index].needs.insert(found);
                Some(found)
            })
            .collect()
    }

    fn named(&mut self, name: &Name, env: &Env) -> Result<String, Stop> {
        if !has_variable(&name.text) {
            return Ok(name.text.clone());
        }
        let expanded = self.expand(&name.text, env, name.span)?;
        if let Some(unset) = expanded.unmatched.first() {
            let hint = if self.global_args.value(unset).is_some() {
                format!("declare it in this stage: ARG {unset}")
            } else {
                "set it by ARG or ENV in this Dockerfile: what base images set is not known yet"
                    .to_owned()
            };
            let message = format!("variable ${unset} in {} is not set", name.text);
            self.report(Diagnostic::error(message, name.span).hint(hint));
            return Err(Stop);
        }
        if expanded.text.is_empty() {
            self.error(format!("{} is empty", name.text), name.span);
            return Err(Stop);
        }
        Ok(expanded.text)
    }

    /// Refuses an instruction whose names mean something else now than when the stages were put together.
    pub(crate) fn names_hold(&mut self, index: usize, command: &Command<'_>) -> Result<(), Stop> {
        for (name, source) in names(&command.instruction).into_iter().zip(&command.sources) {
            let Some(name) = name.filter(|name| has_variable(&name.text)) else { continue };
            let env = self.stages[index].env.clone();
            let now = self.named(&name, &env)?;
            if self.known_source(&now, name.numbers) != *source {
                let message = format!(
                    "{} is {now:?} here, because of a variable that the base image or its triggers set",
                    name.text
                );
                self.report(
                    Diagnostic::error(message, name.span)
                        .hint("set the variable by ARG or ENV in this stage"),
                );
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn known_source(&self, name: &str, numbers: bool) -> Option<usize> {
        let number = name.parse::<usize>().ok().filter(|_| numbers);
        number.or_else(|| self.by_name.get(&name.to_lowercase()).copied()).or_else(|| {
            self.stages.iter().position(|stage| stage.from.is_none() && stage.base_name == name)
        })
    }

    fn source_stage(&mut self, name: &str, span: Span, numbers: bool) -> Option<usize> {
        if let Some(number) = name.parse::<usize>().ok().filter(|_| numbers) {
            if number < self.file.stages.len() {
                return Some(number);
            }
            let last = self.file.stages.len() - 1;
            self.report(
                Diagnostic::error(format!("invalid stage index {number}"), span)
                    .hint(format!("stages are numbered from 0 to {last}")),
            );
            return None;
        }
        if let Some(stage) = self.by_name.get(&name.to_lowercase()) {
            return Some(*stage);
        }
        if self.stages.len() >= MAX_STAGES {
            self.error(format!("there are more than {MAX_STAGES} stages and images"), span);
            return None;
        }
        let known = self.stages.iter().position(|stage| {
            stage.from.is_none() && stage.base_name == name && stage.base != Base::Scratch
        });
        if let Some(known) = known {
            return Some(known);
        }
        let mut state = StageState::new(span);
        name.clone_into(&mut state.base_name);
        state.base = if name == "scratch" { Base::Scratch } else { Base::Image };
        self.stages.push(state);
        Some(self.stages.len() - 1)
    }
}

/// The names in an instruction: of a copy at most one, of RUN one for each mount.
fn names(instruction: &Instruction) -> Vec<Option<Name>> {
    match &instruction.kind {
        Kind::Copy(copy) => {
            let name = |from: &dockerfile::Word| Name {
                text: from.text.clone(),
                span: from.span,
                numbers: true,
            };
            copy.from.iter().map(|from| Some(name(from))).collect()
        }
        Kind::Run(run) => run
            .mounts
            .iter()
            .map(|mount| {
                let from = dockerfile::mounts_from(&mount.text).ok().flatten();
                let text = from.filter(|from| !from.is_empty())?;
                Some(Name { text, span: mount.span, numbers: false })
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether any name in instructions holds a variable.
pub(crate) fn with_variables(commands: &[Command<'_>]) -> bool {
    let names = commands.iter().flat_map(|command| names(&command.instruction)).flatten();
    names.into_iter().any(|name| has_variable(&name.text))
}

/// Without a variable a name is what it says, as in BuildKit.
fn has_variable(text: &str) -> bool {
    text.find('$').is_some_and(|at| at + 1 < text.len())
}
