//! Which stages there are, and which need which.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::str::FromStr as _;

use dockerfile::{Expand, Expanded, Kind};
use oci::{Platform, Reference};
use report::{Diagnostic, Span, did_you_mean};

use crate::compiler::{Compiler, Stop};
use crate::options::NoCache;
use crate::stage::{Base, Command, StageState};

impl<'a> Compiler<'a> {
    pub(crate) fn make_stages(&mut self) {
        for (index, stage) in self.file.stages.iter().enumerate() {
            let mut state = StageState::new(stage.start.span);
            state.from = Some(&stage.from);
            state.lines = stage.start.lines;
            state.code.clone_from(&stage.start.code);
            state.name = stage.from.name.as_ref().map(|name| name.text.clone());
            state.display = state.name.clone().unwrap_or_else(|| format!("stage-{index}"));
            state.commands = stage
                .body
                .iter()
                .map(|instruction| Command {
                    instruction: Cow::Borrowed(instruction),
                    sources: Vec::new(),
                    trigger: false,
                })
                .collect();
            state.base_name = self.base_name(stage).unwrap_or_default();
            state.platform = self.stage_platform(stage);
            let replaced = state.name.as_deref().and_then(|name| self.context_for(name));
            state.base = match replaced {
                Some(context) => {
                    state.commands.clear();
                    Base::Context(context.to_owned())
                }
                None => self.base_of(&state.base_name),
            };
            let counted = |command: &Command<'_>| {
                matches!(
                    command.instruction.kind,
                    Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_)
                )
            };
            state.step_count = state.commands.iter().filter(|command| counted(command)).count();
            state.step_count += usize::from(state.base == Base::Image);
            state.ignore_cache = match &self.options.no_cache {
                NoCache::Never => false,
                NoCache::Always => true,
                NoCache::Stages(names) => {
                    let own = state.name.as_deref().unwrap_or_default();
                    names.iter().any(|name| name.eq_ignore_ascii_case(own))
                }
            };
            if let Some(name) = state.name.clone() {
                self.by_name.insert(name, index);
            }
            self.stages.push(state);
        }
    }

    /// The base of FROM with variables replaced.
    fn base_name(&mut self, stage: &dockerfile::Stage) -> Option<String> {
        let base = &stage.from.base;
        let args = self.global_args.clone();
        let expanded = self.expand(&base.text, &args, base.span).ok()?;
        self.undeclared(&expanded, base.span);
        if expanded.text.is_empty() {
            let mut diagnostic = Diagnostic::error(
                format!("base name ({}) should not be blank", base.text),
                base.span,
            );
            diagnostic.hint = expanded.unmatched.first().map(|name| self.about_argument(name));
            self.report(diagnostic);
            return None;
        }
        if let Some(name) = expanded.unmatched.first()
            && Reference::from_str(&expanded.text).is_err()
        {
            let message = format!("variable ${name} in FROM is not set");
            let hint = self.about_argument(name);
            self.report(Diagnostic::error(message, base.span).hint(hint));
            return None;
        }
        Some(expanded.text)
    }

    /// Variables of FROM that no ARG before it declares.
    fn undeclared(&mut self, expanded: &Expanded, span: Span) {
        for name in &expanded.unmatched {
            if !self.declared_globally(name) {
                let message = format!("FROM argument '{name}' is not declared");
                let hint = self.about_argument(name);
                self.report(Diagnostic::warning("UndefinedArgInFrom", message, span).hint(hint));
            }
        }
    }

    /// How to give a variable of FROM its value.
    fn about_argument(&self, name: &str) -> String {
        if self.declared_globally(name) {
            return format!("ARG {name} has no default: pass --build-arg {name}=…");
        }
        match did_you_mean(name, self.global_args.names()) {
            Some(guess) => format!("did you mean {guess}?"),
            None => format!("declare it before the first FROM: ARG {name}=…"),
        }
    }

    /// Bases that are none when nobody gives an argument.
    pub(crate) fn default_bases(&mut self) {
        let mut args = self.builtin_args(false);
        for instruction in &self.file.preamble {
            let Kind::Arg(arguments) = &instruction.kind else { continue };
            for argument in arguments {
                let Some(default) = &argument.default else { continue };
                match self.budget.expand(default, Expand::words(self.file.escape), &args) {
                    Ok(value) if !args.too_large() => args.set(&argument.name, &value.text),
                    _ => return,
                }
            }
        }
        for stage in &self.file.stages {
            let base = &stage.from.base;
            match self.budget.expand(&base.text, Expand::words(self.file.escape), &args) {
                Ok(name) if Reference::from_str(&name.text).is_err() => {
                    let message = format!(
                        "Default value for ARG {} results in empty or invalid base image name",
                        base.text
                    );
                    self.diagnostics.push(Diagnostic::warning(
                        "InvalidDefaultArgInFrom",
                        message,
                        base.span,
                    ));
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn declared_globally(&self, name: &str) -> bool {
        self.file.preamble.iter().any(|instruction| match &instruction.kind {
            Kind::Arg(arguments) => arguments.iter().any(|argument| argument.name == name),
            _ => false,
        })
    }

    fn stage_platform(&mut self, stage: &dockerfile::Stage) -> Option<Platform> {
        let word = stage.from.platform.as_ref()?;
        let args = self.global_args.clone();
        let expanded = self.expand(&word.text, &args, word.span).ok()?;
        self.undeclared(&expanded, word.span);
        let target = args.value("TARGETPLATFORM").unwrap_or_default();
        crate::checks::platform(word, &expanded, target, stage, &mut self.diagnostics);
        let guess = expanded.unmatched.first().and_then(|name| {
            let guess = did_you_mean(name, args.names())?;
            Some(format!("did you mean ${guess}?"))
        });
        let mut diagnostic = if expanded.text.is_empty() {
            let message = format!("empty platform value from expression {}", word.text);
            Diagnostic::error(message, word.span)
        } else {
            match expanded.text.parse() {
                Ok(platform) => return Some(platform),
                Err(error) => {
                    let message = format!("failed to parse platform {}: {error}", word.text);
                    Diagnostic::error(message, word.span)
                }
            }
        };
        diagnostic.hint = guess;
        self.report(diagnostic);
        None
    }

    fn base_of(&self, name: &str) -> Base {
        if let Some(stage) = self.by_name.get(name) {
            return Base::Stage(*stage);
        }
        if name == "scratch" { Base::Scratch } else { Base::Image }
    }

    /// The named context that stands for an image or stage of this name.
    pub(crate) fn context_for(&self, name: &str) -> Option<&'a str> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        self.contexts.get(&context_name(name)).copied()
    }

    pub(crate) fn target(&mut self) -> Result<usize, Stop> {
        let Some(wanted) = &self.options.target else { return Ok(self.stages.len() - 1) };
        if let Some(index) = self.by_name.get(&wanted.to_lowercase()) {
            return Ok(*index);
        }
        if let Some(index) = wanted.parse().ok().filter(|index| *index < self.stages.len()) {
            return Ok(index);
        }
        let names: Vec<&str> =
            self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let hint = match did_you_mean(wanted, names.iter().copied()) {
            Some(guess) => format!("did you mean {guess}?"),
            None if names.is_empty() => "no stage of this Dockerfile has a name".to_owned(),
            None => format!("it has {}", names.join(", ")),
        };
        let message = format!("target stage {wanted:?} could not be found");
        self.report(Diagnostic::error(message, Span::default()).hint(hint));
        Err(Stop)
    }

    pub(crate) fn refuse_cycles(&mut self) -> Result<(), Stop> {
        // 0: not seen, 1: on the way here, 2: without cycles.
        let mut marks = vec![0_u8; self.stages.len()];
        for start in 0..self.stages.len() {
            let mut stack = vec![(start, false)];
            while let Some((index, leave)) = stack.pop() {
                if leave {
                    marks[index] = 2;
                    continue;
                }
                if marks[index] == 2 {
                    continue;
                }
                marks[index] = 1;
                stack.push((index, true));
                let next: Vec<usize> = self.dependencies(index).collect();
                if let Some(closing) = next.iter().find(|next| marks[**next] == 1) {
                    return Err(self.cycle(index, *closing));
                }
                stack.extend(next.into_iter().map(|next| (next, false)));
            }
        }
        Ok(())
    }

    /// Tells that stage `index` needs `closing`, which needs it.
    fn cycle(&mut self, index: usize, closing: usize) -> Stop {
        let stage = &self.stages[index];
        let mut commands = stage.commands.iter();
        let place = commands.find(|command| command.sources.contains(&Some(closing)));
        let span = place.map_or(stage.span, |command| command.instruction.span);
        let title = self.stages[closing].title();
        let message = format!("circular dependency detected on stage: {title}");
        self.report(
            Diagnostic::error(message, span)
                .hint("a stage can use only stages that stand before it in the Dockerfile"),
        );
        Stop
    }

    fn dependencies(&self, index: usize) -> impl Iterator<Item = usize> {
        let stage = &self.stages[index];
        let base = if let Base::Stage(base) = stage.base { Some(base) } else { None };
        base.into_iter().chain(stage.needs.iter().copied())
    }

    pub(crate) fn reachable(&self, target: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut stack = vec![target];
        while let Some(index) = stack.pop() {
            if seen.insert(index) {
                stack.extend(self.dependencies(index));
            }
        }
        seen
    }
}

/// `Debian:latest` and `docker.io/library/debian` are one name.
pub(crate) fn context_name(name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else { return name.to_owned() };
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
}
