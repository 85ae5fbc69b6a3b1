use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr as _;

use dockerfile::{Dockerfile, Expand, Expanded, Instruction, Kind, Variables, expand};
use llb::{Graph, Metadata, Output, SourceFile, attr, pb};
use oci::{Digest, Platform, Reference};
use report::{Diagnostic, Severity, Span, did_you_mean};

use crate::env::Env;
use crate::options::{
    CompileOptions, Compiled, Context, ImageName, ImageResolver, NoCache, ResolveError,
    ResolvedImage, Step,
};
use crate::stage::{Base, Command, DEFAULT_PATH, StageState, empty_image};
use crate::{paths, text};

/// Stages that one Dockerfile may come to, with what its instructions name.
const MAX_STAGES: usize = 10_000;
/// How often triggers may bring further triggers.
const MAX_TRIGGER_ROUNDS: usize = 100;

pub(crate) struct Compiler<'a> {
    pub(crate) options: &'a CompileOptions,
    resolver: &'a dyn ImageResolver,
    pub(crate) file: &'a Dockerfile,
    pub(crate) graph: Graph,
    pub(crate) stages: Vec<StageState<'a>>,
    by_name: HashMap<String, usize>,
    /// Named contexts, by the name that images of that name normalise to.
    contexts: BTreeMap<String, &'a str>,
    pub(crate) global_args: Env,
    pub(crate) epoch: Option<i64>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) steps: Vec<(Output, Step)>,
    /// Sources of local contexts, made when first needed; the main one is `context`.
    locals: BTreeMap<String, Output>,
    pub(crate) used_paths: BTreeMap<String, BTreeSet<String>>,
}

/// The name of the main context's source.
pub(crate) const MAIN_CONTEXT: &str = "context";

/// Why compiling cannot go on; the diagnostics say what is wrong.
pub(crate) struct Stop;

impl<'a> Compiler<'a> {
    pub(crate) fn new(
        options: &'a CompileOptions,
        resolver: &'a dyn ImageResolver,
        file: &'a Dockerfile,
    ) -> Self {
        let source = SourceFile {
            name: options.source.name.clone(),
            data: options.source.text.as_bytes().to_vec(),
            language: "Dockerfile".to_owned(),
        };
        let contexts = options.contexts.keys();
        Self {
            options,
            resolver,
            file,
            graph: Graph::new(Some(source)),
            stages: Vec::new(),
            by_name: HashMap::new(),
            contexts: contexts.map(|name| (context_name(name), name.as_str())).collect(),
            global_args: Env::default(),
            epoch: None,
            diagnostics: file.diagnostics.clone(),
            steps: Vec::new(),
            locals: BTreeMap::new(),
            used_paths: BTreeMap::new(),
        }
    }

    pub(crate) fn run(mut self) -> Result<Compiled, Vec<Diagnostic>> {
        let target = self.compile();
        let found = self.sorted_diagnostics();
        let wrong = found.first().is_some_and(|first| first.severity == Severity::Error);
        match target {
            Ok(target) if !wrong => Ok(self.finish(target, found)),
            _ => Err(found),
        }
    }

    pub(crate) fn failed(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    pub(crate) fn sorted_diagnostics(&self) -> Vec<Diagnostic> {
        let mut all = self.diagnostics.clone();
        for diagnostic in &mut all {
            diagnostic.source.get_or_insert_with(|| self.options.source.clone());
        }
        let mut all = crate::checks::filter(self.file, all);
        all.sort_by_key(|found| (found.severity != Severity::Error, found.span));
        all.dedup();
        all
    }

    pub(crate) fn error(&mut self, message: impl Into<String>, span: Span) {
        self.diagnostics.push(Diagnostic::error(message, span));
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn compile(&mut self) -> Result<usize, Stop> {
        if self.failed() || self.file.stages.is_empty() {
            return Err(Stop);
        }
        crate::checks::before(self.file, &mut self.diagnostics);
        self.read_global_args()?;
        self.make_stages();
        let target = self.target()?;
        self.connect();
        if self.failed() {
            return Err(Stop);
        }
        self.refuse_cycles()?;
        if let [only] = self.stages.as_mut_slice() {
            only.display.clear();
        }
        let reachable = self.resolve(target)?;
        self.refuse_windows_runs(&reachable);
        if self.failed() {
            return Err(Stop);
        }
        for index in 0..self.stages.len() {
            if reachable.contains(&index) && !self.stages[index].done {
                self.dispatch(index);
            }
        }
        if let Some(context) = self.stages[target].context.clone() {
            self.used_paths.entry(context).or_default().insert("/".to_owned());
        }
        Ok(target)
    }

    pub(crate) fn expand(
        &mut self,
        text: &str,
        variables: &dyn Variables,
        span: Span,
    ) -> Result<Expanded, Stop> {
        expand(text, Expand::words(self.file.escape), variables).map_err(|error| {
            self.error(error.to_string(), span);
            Stop
        })
    }

    fn read_global_args(&mut self) -> Result<(), Stop> {
        let stages = &self.file.stages;
        let last = stages.last().and_then(|stage| stage.from.name.as_ref());
        let target = self.options.target.clone().or_else(|| last.map(|name| name.text.clone()));
        let (build, target_platform) = (&self.options.build_platform, &self.options.platform);
        let builtin = [
            ("BUILDPLATFORM", without_version(build)),
            ("BUILDOS", build.os.clone()),
            ("BUILDOSVERSION", build.os_version.clone()),
            ("BUILDARCH", build.architecture.clone()),
            ("BUILDVARIANT", build.variant.clone()),
            ("TARGETPLATFORM", target_platform.to_string()),
            ("TARGETOS", target_platform.os.clone()),
            ("TARGETOSVERSION", target_platform.os_version.clone()),
            ("TARGETARCH", target_platform.architecture.clone()),
            ("TARGETVARIANT", target_platform.variant.clone()),
            (
                "TARGETSTAGE",
                target.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
            ),
        ];
        for (name, value) in builtin {
            let value = self.options.build_args.get(name).cloned().unwrap_or(value);
            self.global_args.set(name, &value);
        }
        for instruction in &self.file.preamble {
            let Kind::Arg(arguments) = &instruction.kind else { continue };
            for argument in arguments {
                let value = match self.options.build_args.get(&argument.name) {
                    Some(value) => Some(value.clone()),
                    None => match &argument.default {
                        Some(default) => {
                            let args = self.global_args.clone();
                            Some(self.expand(default, &args, argument.span)?.text)
                        }
                        None => None,
                    },
                };
                if let Some(value) = value {
                    self.global_args.set(&argument.name, &value);
                }
            }
        }
        let epoch = self.options.build_args.get("SOURCE_DATE_EPOCH").cloned();
        let epoch =
            epoch.or_else(|| self.global_args.value("SOURCE_DATE_EPOCH").map(str::to_owned));
        if let Some(text) = epoch.filter(|text| !text.is_empty()) {
            match text.parse() {
                Ok(seconds) => self.epoch = Some(seconds),
                Err(_) => self.report(
                    Diagnostic::error(
                        format!("invalid SOURCE_DATE_EPOCH: {text:?}"),
                        Span::default(),
                    )
                    .hint("give it as seconds since 1970"),
                ),
            }
        }
        Ok(())
    }

    fn make_stages(&mut self) {
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
            state.platform = self.stage_platform(stage).unwrap_or_default();
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
        if !expanded.text.is_empty() && expanded.unmatched.is_empty() {
            return Some(expanded.text);
        }
        if let Some(name) = expanded.unmatched.first() {
            let known: Vec<&str> = args.names().collect();
            let declared = self.declared_globally(name);
            let hint = match did_you_mean(name, known) {
                _ if declared => format!("ARG {name} has no default: pass --build-arg {name}=…"),
                Some(guess) => format!("did you mean ${guess}?"),
                None => format!("declare it before the first FROM: ARG {name}=…"),
            };
            let message = format!("variable ${name} in FROM is not set");
            if Reference::from_str(&expanded.text).is_err() {
                self.report(Diagnostic::error(message, base.span).hint(hint));
                return None;
            }
            self.report(Diagnostic::warning("UndefinedArgInFrom", message, base.span).hint(hint));
            return Some(expanded.text);
        }
        self.error(format!("base name ({}) should not be blank", base.text), base.span);
        None
    }

    fn declared_globally(&self, name: &str) -> bool {
        self.file.preamble.iter().any(|instruction| match &instruction.kind {
            Kind::Arg(arguments) => arguments.iter().any(|argument| argument.name == name),
            _ => false,
        })
    }

    fn stage_platform(&mut self, stage: &dockerfile::Stage) -> Option<Option<Platform>> {
        let Some(word) = &stage.from.platform else { return Some(None) };
        let args = self.global_args.clone();
        let expanded = self.expand(&word.text, &args, word.span).ok()?;
        let guess = expanded.unmatched.first().and_then(|name| {
            let guess = did_you_mean(name, args.names())?;
            Some(format!("did you mean ${guess}?"))
        });
        let mut diagnostic = if expanded.text.is_empty() {
            let message = format!("empty platform value from expression {}", word.text);
            Diagnostic::error(message, word.span)
        } else {
            match expanded.text.parse() {
                Ok(platform) => {
                    crate::checks::platform(word, &expanded, stage, &mut self.diagnostics);
                    return Some(Some(platform));
                }
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
    fn context_for(&self, name: &str) -> Option<&'a str> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        self.contexts.get(&context_name(name)).copied()
    }

    fn target(&mut self) -> Result<usize, Stop> {
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

    /// Finds the stages and images that commands copy and mount from.
    fn connect(&mut self) {
        for index in 0..self.file.stages.len() {
            for at in 0..self.stages[index].commands.len() {
                let sources = self.sources(index, at);
                let Some(command) = self.stages[index].commands.get_mut(at) else { continue };
                command.sources = sources;
            }
        }
    }

    fn sources(&mut self, index: usize, at: usize) -> Vec<Option<usize>> {
        let Some(command) = self.stages[index].commands.get(at) else { return Vec::new() };
        let span = command.instruction.span;
        let wanted: Vec<Option<(String, Span, bool)>> = match &command.instruction.kind {
            Kind::Copy(copy) => {
                copy.from.iter().map(|from| Some((from.text.clone(), from.span, true))).collect()
            }
            Kind::Run(run) => run
                .mounts
                .iter()
                .map(|mount| {
                    let from = dockerfile::mounts_from(&mount.text).ok().flatten();
                    from.filter(|from| !from.is_empty()).map(|from| (from, mount.span, false))
                })
                .collect(),
            _ => Vec::new(),
        };
        let trigger = command.trigger;
        wanted
            .into_iter()
            .map(|wanted| {
                let (name, place, numbers) = wanted?;
                let place = if trigger { span } else { place };
                let found = self.source_stage(&name, place, numbers)?;
                self.stages[index].needs.insert(found);
                Some(found)
            })
            .collect()
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

    fn refuse_cycles(&mut self) -> Result<(), Stop> {
        // 0: not seen, 1: on the way here, 2: without cycles.
        let mut marks = vec![0_u8; self.stages.len()];
        for start in 0..self.stages.len() {
            let mut stack = vec![(start, false)];
            while let Some((index, leave)) = stack.pop() {
                if leave {
                    marks[index] = 2;
                    continue;
                }
                match marks[index] {
                    2 => continue,
                    1 => {
                        let stage = &self.stages[index];
                        let message =
                            format!("circular dependency detected on stage: {}", stage.title());
                        let span = stage.span;
                        self.report(Diagnostic::error(message, span).hint(
                            "a stage can use only stages that stand before it in the Dockerfile",
                        ));
                        return Err(Stop);
                    }
                    _ => {}
                }
                marks[index] = 1;
                stack.push((index, true));
                let next: Vec<usize> = self.dependencies(index).collect();
                if let Some(closing) = next.iter().find(|next| marks[**next] == 1) {
                    stack.push((*closing, false));
                    continue;
                }
                stack.extend(next.into_iter().map(|next| (next, false)));
            }
        }
        Ok(())
    }

    fn dependencies(&self, index: usize) -> impl Iterator<Item = usize> {
        let stage = &self.stages[index];
        let base = if let Base::Stage(base) = stage.base { Some(base) } else { None };
        base.into_iter().chain(stage.needs.iter().copied())
    }

    fn reachable(&self, target: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut stack = vec![target];
        while let Some(index) = stack.pop() {
            if seen.insert(index) {
                stack.extend(self.dependencies(index));
            }
        }
        seen
    }

    /// Finds base images of what the target needs, and reads their triggers, until nothing new is needed.
    fn resolve(&mut self, target: usize) -> Result<BTreeSet<usize>, Stop> {
        for _ in 0..MAX_TRIGGER_ROUNDS {
            let reachable = self.reachable(target);
            self.resolve_bases(&reachable);
            if self.failed() {
                return Err(Stop);
            }
            let mut more = false;
            for index in reachable.iter().copied() {
                more |= self.read_triggers(index)?;
            }
            if !more {
                return Ok(reachable);
            }
            self.refuse_cycles()?;
        }
        self.error("triggers of base images do not come to an end", Span::default());
        Err(Stop)
    }

    fn read_triggers(&mut self, index: usize) -> Result<bool, Stop> {
        if self.stages[index].triggers_read {
            return Ok(false);
        }
        self.stages[index].triggers_read = true;
        let mut triggers = std::mem::take(&mut self.stages[index].image.config.on_build);
        if let Base::Stage(base) = self.stages[index].base {
            let commands = self.stages[base].commands.iter();
            triggers = commands
                .filter_map(|command| match &command.instruction.kind {
                    Kind::Onbuild(onbuild) => Some(onbuild.trigger.clone()),
                    _ => None,
                })
                .collect();
        }
        if self.stages[index].from.is_none() || matches!(self.stages[index].base, Base::Context(_))
        {
            return Ok(false);
        }
        let (span, lines) = (self.stages[index].span, self.stages[index].lines);
        let mut commands = Vec::with_capacity(triggers.len());
        for trigger in &triggers {
            match dockerfile::parse_trigger(trigger, span) {
                Ok(mut instruction) => {
                    instruction.lines = lines;
                    let instruction: Cow<'_, Instruction> = Cow::Owned(instruction);
                    commands.push(Command { instruction, sources: Vec::new(), trigger: true });
                }
                Err(wrong) => {
                    self.diagnostics.extend(wrong.into_iter().map(|mut diagnostic| {
                        diagnostic.hint.get_or_insert_with(|| {
                            format!("it comes from the base's trigger `ONBUILD {trigger}`")
                        });
                        diagnostic
                    }));
                    return Err(Stop);
                }
            }
        }
        let count = commands.len();
        self.stages[index].step_count += count;
        self.stages[index].commands.splice(0..0, commands);
        let before = self.stages[index].needs.len();
        for at in 0..count {
            let sources = self.sources(index, at);
            if let Some(command) = self.stages[index].commands.get_mut(at) {
                command.sources = sources;
            }
        }
        Ok(self.stages[index].needs.len() > before)
    }

    /// Asks for all base images that are not known yet, at the same time.
    fn resolve_bases(&mut self, reachable: &BTreeSet<usize>) {
        let mut wanted = Vec::new();
        for index in reachable.iter().copied() {
            let stage = &mut self.stages[index];
            if stage.resolved {
                continue;
            }
            stage.resolved = true;
            match stage.base.clone() {
                Base::Stage(_) => {}
                Base::Scratch => {
                    // FROM --platform has no meaning without an image.
                    stage.platform = Some(self.options.platform.clone());
                    stage.image = empty_image(&self.options.platform);
                    stage.done = stage.from.is_none();
                }
                Base::Context(context) => self.take_context(index, &context, true, &mut wanted),
                Base::Image => {
                    let name = self.stages[index].base_name.clone();
                    match self.context_for(&name) {
                        Some(context) => self.take_context(index, context, false, &mut wanted),
                        None => self.take_image(index, &name, &mut wanted),
                    }
                }
            }
        }
        let resolver = self.resolver;
        let answers: Vec<Result<ResolvedImage, ResolveError>> = std::thread::scope(|scope| {
            let (last, others) = match wanted.split_last() {
                Some((last, others)) => (Some(last), others),
                None => (None, wanted.as_slice()),
            };
            let running: Vec<_> = others
                .iter()
                .map(|wanted: &Wanted| scope.spawn(move || wanted.ask(resolver)))
                .collect();
            let last = last.map(|wanted| wanted.ask(resolver));
            let finished = running.into_iter().map(|thread| match thread.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            finished.collect::<Vec<_>>().into_iter().chain(last).collect()
        });
        for (wanted, answer) in wanted.into_iter().zip(answers) {
            match answer {
                Ok(image) => self.accept(wanted, image),
                Err(error) => self.unresolved(&wanted, error),
            }
        }
    }

    fn take_image(&mut self, index: usize, name: &str, wanted: &mut Vec<Wanted>) {
        let span = self.base_span(index);
        match name.parse::<Reference>() {
            Ok(reference) => {
                let platform = self.wanted_platform(index);
                let context = None;
                let whole = false;
                wanted.push(Wanted {
                    stage: index,
                    reference,
                    platform,
                    context,
                    layout: None,
                    whole,
                });
            }
            Err(error) => self.error(format!("failed to parse stage name: {error}"), span),
        }
    }

    fn take_context(&mut self, index: usize, name: &str, whole: bool, wanted: &mut Vec<Wanted>) {
        let platform = self.wanted_platform(index);
        let options = self.options;
        match options.contexts.get(name) {
            Some(Context::Directory { .. }) => {
                let output = self.local(name);
                let stage = &mut self.stages[index];
                stage.output = Some(output);
                stage.context = Some(name.to_owned());
                stage.image = empty_image(&platform);
                if !platform.is_windows() {
                    // A directory is no image: what stands on it gets its PATH when it is dispatched.
                    stage.image.config.env = Vec::new();
                }
                stage.platform = Some(platform);
                stage.done = whole || stage.from.is_none();
            }
            Some(Context::Image(reference)) => {
                let reference = reference.clone();
                let context = Some(name.to_owned());
                wanted.push(Wanted {
                    stage: index,
                    reference,
                    platform,
                    context,
                    layout: None,
                    whole,
                });
            }
            Some(Context::OciLayout) => {
                let fallback = || "localhost/oci-layout:latest".parse::<Reference>();
                let Ok(reference) = name.parse::<Reference>().or_else(|_| fallback()) else {
                    return;
                };
                let context = Some(name.to_owned());
                let layout = Some(name.to_owned());
                wanted.push(Wanted { stage: index, reference, platform, context, layout, whole });
            }
            None => {}
        }
    }

    fn wanted_platform(&self, index: usize) -> Platform {
        let own = self.stages[index].platform.as_ref();
        own.unwrap_or(&self.options.platform).clone()
    }

    pub(crate) fn base_span(&self, index: usize) -> Span {
        let stage = &self.stages[index];
        stage.from.map_or(stage.span, |from| from.base.span)
    }

    fn accept(&mut self, wanted: Wanted, image: ResolvedImage) {
        let Wanted { stage: index, reference, platform, context, layout, whole } = wanted;
        let pinned = reference.with_digest(image.digest.clone());
        let mut config = image.config;
        config.created = None;
        let own = config.platform();
        let platform = if whole
            || self.stages[index].platform.is_none()
                && self.options.platform_implied
                && !config.os.is_empty()
                && !own.satisfies(&platform)
        {
            Platform { os_features: own.os_features.clone(), ..own.clone() }
        } else {
            platform
        };
        if !config.os.is_empty() && !own.satisfies(&platform) {
            let message = format!(
                "Base image {} was pulled with platform {own}, expected {platform} for current build",
                reference.familiar()
            );
            let span = self.base_span(index);
            self.report(Diagnostic::warning("InvalidBaseImagePlatform", message, span));
        }
        let empty = config.rootfs.diff_ids.is_empty()
            && config.history.iter().all(|entry| entry.empty_layer);
        let output = if empty {
            None
        } else {
            Some(self.image_source(
                index,
                &reference,
                &pinned,
                &platform,
                context.as_deref(),
                layout,
            ))
        };
        let stage = &mut self.stages[index];
        stage.output = output;
        stage.image = config;
        stage.platform = Some(platform);
        stage.pinned = Some((reference, image.digest));
        stage.done = whole || stage.from.is_none();
        if context.is_some() {
            for entry in stage.image.config.env.clone() {
                let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
                stage.env.set(name, value);
            }
        }
    }

    fn image_source(
        &mut self,
        index: usize,
        reference: &Reference,
        pinned: &Reference,
        platform: &Platform,
        context: Option<&str>,
        layout: Option<String>,
    ) -> Output {
        let mut source = pb::SourceOp::default();
        let name = match (context, layout) {
            (Some(context), Some(layout)) => {
                source.identifier = format!("oci-layout://{pinned}");
                source.set_attr(attr::OCI_STORE, layout);
                format!("[context {context}] OCI load from client")
            }
            (Some(context), None) => {
                source.identifier = format!("docker-image://{pinned}");
                format!("[context {context}] {reference}")
            }
            (None, _) => {
                source.identifier = format!("docker-image://{pinned}");
                if self.options.pull {
                    source.set_attr(attr::IMAGE_RESOLVE_MODE, "pull");
                }
                let shown = self.options.multi_platform.then_some(platform);
                crate::names::step(
                    &mut self.stages[index],
                    &format!("FROM {pinned}"),
                    shown,
                    &Env::default(),
                )
            }
        };
        let stage = &self.stages[index];
        let metadata = Metadata::named(name.clone())
            .described(attr::DOCKERFILE_COMMAND, stage.code.clone())
            .at(ranges(stage.lines));
        let output = self.graph.source(source, Some(platform), metadata);
        let span = self.stages[index].span;
        self.step(output, index, name, platform.clone(), span);
        output
    }

    fn unresolved(&mut self, wanted: &Wanted, error: ResolveError) {
        let span = self.base_span(wanted.stage);
        let diagnostic = match error {
            ResolveError::NoPlatform { image, platform, available } => {
                let mut have: Vec<String> = available.iter().map(ToString::to_string).collect();
                have.sort();
                have.dedup();
                let hint = match have.as_slice() {
                    [] => "it has no platform at all".to_owned(),
                    have => format!("it has {}", have.join(", ")),
                };
                let message = format!("base image {image} is not available for {platform}");
                Diagnostic::error(message, span).hint(hint)
            }
            ResolveError::NotFound(image) => {
                let written = &self.stages[wanted.stage].base_name;
                let names: Vec<&str> =
                    self.stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
                let common =
                    ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];
                let guess = did_you_mean(written, names.into_iter().chain(common));
                let guess = guess.filter(|guess| guess != written);
                let mut diagnostic =
                    Diagnostic::error(format!("image {image} does not exist"), span);
                diagnostic.hint = guess.map(|guess| format!("did you mean {guess}?"));
                diagnostic
            }
            ResolveError::Failed { message, hint, source } => {
                let mut message = message;
                let mut cause =
                    source.as_ref().map(|source| source.as_ref() as &dyn std::error::Error);
                while let Some(error) = cause {
                    message = format!("{message}: {error}");
                    cause = error.source();
                }
                let mut diagnostic = Diagnostic::error(message, span);
                diagnostic.hint = hint;
                diagnostic
            }
        };
        self.report(diagnostic);
    }

    /// The source of a local directory: the main context or a named one.
    pub(crate) fn local(&mut self, name: &str) -> Output {
        if let Some(known) = self.locals.get(name) {
            return *known;
        }
        let mut source = pb::SourceOp { identifier: format!("local://{name}"), attrs: Vec::new() };
        let (shown, hint, excludes) = match self.options.contexts.get(name) {
            Some(Context::Directory { excludes }) if name != MAIN_CONTEXT => (
                format!("[context {name}] load from client"),
                format!("context:{name}-"),
                excludes.as_slice(),
            ),
            _ => (
                "[internal] load build context".to_owned(),
                MAIN_CONTEXT.to_owned(),
                self.options.context_excludes.as_slice(),
            ),
        };
        if !excludes.is_empty() {
            source.set_attr(attr::EXCLUDE_PATTERNS, text::json_list(excludes));
        }
        source.set_attr(attr::SHARED_KEY_HINT, hint);
        let output = self.graph.source(source, None, Metadata::named(shown.clone()));
        self.locals.insert(name.to_owned(), output);
        self.used_paths.entry(name.to_owned()).or_default();
        let step = Step {
            name: shown,
            stage: String::new(),
            platform: self.options.build_platform.clone(),
            span: Span::default(),
            ignore_cache: false,
        };
        self.steps.push((output, step));
        output
    }

    /// Remembers that a path of a stage's file system is used, where that is a local directory's.
    pub(crate) fn uses(&mut self, source: Option<usize>, path: &str) {
        let context = match source {
            None => Some(MAIN_CONTEXT.to_owned()),
            Some(stage) => self.stages[stage].context.clone(),
        };
        if let Some(context) = context {
            self.used_paths.entry(context).or_default().insert(paths::join("/", path));
        }
    }

    pub(crate) fn step(
        &mut self,
        output: Output,
        stage: usize,
        name: String,
        platform: Platform,
        span: Span,
    ) {
        let stage = &self.stages[stage];
        let title = stage.title().to_owned();
        let ignore_cache = stage.ignore_cache;
        self.steps.push((output, Step { name, stage: title, platform, span, ignore_cache }));
    }

    fn finish(mut self, target: usize, warnings: Vec<Diagnostic>) -> Compiled {
        for (name, output) in &self.locals {
            let used = self.used_paths.get(name).cloned().unwrap_or_default();
            if let Some(paths) = follow_paths(&used)
                && !paths.is_empty()
            {
                let list = text::json_list(&paths);
                self.graph.set_source_attr(*output, attr::FOLLOW_PATHS, &list);
            }
        }
        let context_paths = self.used_paths.iter();
        let context_paths =
            context_paths.map(|(name, used)| (name.clone(), follow_paths(used))).collect();
        let stage = &self.stages[target];
        let (definition, digests) = self.graph.write(stage.output);
        let mut config = stage.image.clone();
        config.config.labels.extend(self.options.labels.clone());
        let own = stage.platform.clone().unwrap_or_else(|| self.options.platform.clone());
        let platform =
            if self.options.platform_implied { own } else { self.options.platform.clone() };
        let same = config.os == platform.os && config.architecture == platform.architecture;
        config.os.clone_from(&platform.os);
        config.architecture.clone_from(&platform.architecture);
        if !platform.variant.is_empty() || !same {
            config.variant.clone_from(&platform.variant);
        }
        if !platform.os_version.is_empty() || !same {
            config.os_version.clone_from(&platform.os_version);
        }
        let normal = config.platform();
        config.architecture = normal.architecture;
        config.variant = normal.variant;
        let mut steps: BTreeMap<Digest, Step> = BTreeMap::new();
        for (output, step) in self.steps {
            if let Some(digest) = digests.get(&output) {
                let known = steps.entry(digest.clone()).or_insert_with(|| step.clone());
                known.ignore_cache |= step.ignore_cache;
            }
        }
        Compiled {
            definition,
            config,
            platform,
            base: stage.pinned.clone(),
            steps,
            context_paths,
            epoch: self.epoch,
            warnings,
        }
    }

    fn dispatch(&mut self, index: usize) {
        if let Base::Stage(base) = self.stages[index].base {
            let base = self.stages[base].clone();
            self.stages[index].inherit(&base);
        }
        let default = self.options.platform.clone();
        let stage = &mut self.stages[index];
        let platform = stage.platform.get_or_insert(default).clone();
        let has_path = stage.image.config.env.iter().any(|entry| entry.starts_with("PATH="));
        if !has_path && !platform.is_windows() {
            stage.image.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for entry in stage.image.config.env.clone() {
            let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
            stage.env.set(name, value);
        }
        if !stage.image.config.working_dir.is_empty() {
            let current = stage.image.config.working_dir.clone();
            match paths::workdir("", &current, platform.is_windows()) {
                Ok(dir) => {
                    stage.image.config.working_dir =
                        paths::configured_workdir(&dir, platform.is_windows());
                    stage.dir = dir;
                }
                Err(error) => {
                    let span = self.base_span(index);
                    self.error(format!("working directory of the base image: {error}"), span);
                }
            }
        }
        let stage = &mut self.stages[index];
        if !stage.image.config.user.is_empty() {
            stage.user.clone_from(&stage.image.config.user);
        }
        stage.done = true;
        let commands = std::mem::take(&mut stage.commands);
        for command in &commands {
            self.stages[index].on_trigger = command.trigger;
            // The diagnostic is there; other instructions may have more to tell.
            let _: Result<(), Stop> = self.instruction(index, command);
        }
        self.stages[index].commands = commands;
    }
}

/// An image that is to be found for a stage.
struct Wanted {
    stage: usize,
    reference: Reference,
    platform: Platform,
    /// The named context it is.
    context: Option<String>,
    /// The OCI layout it is in.
    layout: Option<String>,
    /// Whether it replaces the stage, rather than its base.
    whole: bool,
}

impl Wanted {
    fn ask(&self, resolver: &dyn ImageResolver) -> Result<ResolvedImage, ResolveError> {
        let name = match &self.layout {
            Some(layout) => ImageName::Layout(layout),
            None => ImageName::Reference(&self.reference),
        };
        resolver.resolve(name, &self.platform)
    }
}

/// The lines of an instruction for a source map.
pub(crate) fn ranges(lines: (usize, usize)) -> Vec<pb::Range> {
    let place = |line: usize| {
        Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 })
    };
    if lines.0 == 0 {
        return Vec::new();
    }
    vec![pb::Range { start: place(lines.0), end: place(lines.1) }]
}

/// Paths of a context that are used, relative to it; `None` for all of it.
fn follow_paths(used: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    if used.contains("/") {
        return None;
    }
    Some(used.iter().map(|path| paths::join(".", path)).collect())
}

/// `Debian:latest` and `docker.io/library/debian` are one name.
fn context_name(name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else { return name.to_owned() };
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
}

fn without_version(platform: &Platform) -> String {
    Platform { os_version: String::new(), ..platform.clone() }.to_string()
}
