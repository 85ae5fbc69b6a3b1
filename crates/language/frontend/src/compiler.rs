use std::collections::{BTreeMap, BTreeSet, HashMap};

use dockerfile::{Dockerfile, Expand, Expanded, Kind, Variables};
use llb::{Graph, Output, SourceFile, attr, pb};
use oci::{Digest, Platform};
use report::{Diagnostic, Severity, Span};

use crate::budget::{self, Budget};
use crate::env::Env;
use crate::options::{CompileOptions, Compiled, ImageResolver, Stage, Step};
use crate::stage::{Base, Command, DEFAULT_PATH, StageState};
use crate::stages::context_name;
use crate::{paths, text};

/// A Dockerfile while it is compiled. The steps are in [`Compiler::compile`].
pub(crate) struct Compiler<'a> {
    pub(crate) options: &'a CompileOptions,
    pub(crate) resolver: &'a dyn ImageResolver,
    pub(crate) file: &'a Dockerfile,
    pub(crate) graph: Graph,
    pub(crate) stages: Vec<StageState<'a>>,
    pub(crate) by_name: HashMap<String, usize>,
    /// Named contexts, by the name that images of that name normalise to.
    pub(crate) contexts: BTreeMap<String, &'a str>,
    pub(crate) global_args: Env,
    pub(crate) epoch: Option<i64>,
    /// What `SOURCE_DATE_EPOCH` names, where it is no number.
    pub(crate) epoch_name: Option<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) steps: Vec<(Output, Step)>,
    /// Sources of contexts that are no images, made when first needed; the main one is `context`.
    pub(crate) sources: BTreeMap<String, Output>,
    pub(crate) used_paths: BTreeMap<String, BTreeSet<String>>,
    /// Bytes of variables in all steps so far.
    pub(crate) step_bytes: usize,
    /// Whether this is about what is said only: then all is looked at, even what cannot be built.
    pub(crate) checking: bool,
    /// What the target's stages ask for.
    pub(crate) asked: Vec<crate::check::Asked>,
    pub(crate) budget: Budget,
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
            epoch_name: None,
            diagnostics: file.diagnostics.clone(),
            steps: Vec::new(),
            sources: BTreeMap::new(),
            used_paths: BTreeMap::new(),
            step_bytes: 0,
            checking: false,
            asked: Vec::new(),
            budget: Budget::default(),
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
        let config = crate::checks::configuration(self.file, &self.options.build_args);
        let mut all = match config {
            Ok(config) => {
                crate::checks::filter(self.file, &config, all, crate::checks::Silences::Warnings)
            }
            Err(diagnostic) => {
                all.push(diagnostic.in_source(&self.options.source));
                all
            }
        };
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

    pub(crate) fn compile(&mut self) -> Result<usize, Stop> {
        if self.failed()
            && let Some(refusal) = self.frontend_refusal()
        {
            // Not a Dockerfile, so what is wrong with it as one is of no use to anybody.
            self.diagnostics = vec![refusal];
            return Err(Stop);
        }
        if self.checking && !self.file.stages.is_empty() {
            crate::checks::before(self.file, &mut self.diagnostics);
        }
        if self.failed() || self.file.stages.is_empty() {
            return Err(Stop);
        }
        if !self.checking {
            crate::checks::before(self.file, &mut self.diagnostics);
        }
        self.default_bases();
        self.read_global_args()?;
        self.diagnostics.extend(self.frontend_refusal());
        self.tell_builtins();
        self.refuse_long_stages()?;
        self.make_stages();
        let target = self.target()?;
        self.resolve_epoch()?;
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
        if self.failed() && !self.checking {
            return Err(Stop);
        }
        for index in 0..self.stages.len() {
            if reachable.contains(&index) && !self.stages[index].done {
                self.dispatch(index)?;
                if let Some(reason) = self.budget.stage_done(&self.stages[index].image) {
                    let span = self.base_span(index);
                    self.error(reason, span);
                    return Err(Stop);
                }
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
        let how = Expand::words(self.file.escape);
        self.budget.expand(text, how, variables).map_err(|error| {
            let mut diagnostic = Diagnostic::error(error.to_string(), span);
            diagnostic.hint = error.hint().map(str::to_owned);
            self.report(diagnostic);
            Stop
        })
    }

    /// Arguments that are there without being declared; as `--build-arg` overrides them, where that is asked for.
    pub(crate) fn builtin_args(&self, overridden: bool) -> Env {
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
        let mut args = Env::default();
        for (name, value) in builtin {
            let given = self.options.build_args.get(name).filter(|_| overridden);
            args.set(name, given.unwrap_or(&value));
        }
        args
    }

    fn read_global_args(&mut self) -> Result<(), Stop> {
        self.global_args = self.builtin_args(true);
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
                if self.global_args.too_large() {
                    self.error(
                        "these are more arguments than a process can be started with",
                        argument.span,
                    );
                    return Err(Stop);
                }
            }
        }
        self.read_epoch();
        Ok(())
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
        for (name, output) in &self.sources {
            let used = self.used_paths.get(name).cloned().unwrap_or_default();
            if let Some(paths) = follow_paths(&used)
                && !paths.is_empty()
                && self.is_directory(name)
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
        // The version that was asked for chose the base; the result says what the base is, in full.
        if !same || !says_version(&config.os_version, &platform.os_version) {
            config.os_version.clone_from(&platform.os_version);
        }
        let normal = config.platform();
        config.architecture = normal.architecture;
        config.variant = normal.variant;
        let stages = self.stages_of_file(target);
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
            stages,
            context_paths,
            epoch: self.epoch,
            warnings,
        }
    }

    fn stages_of_file(&self, target: usize) -> Vec<Stage> {
        let reachable = self.reachable(target);
        let stages = self.stages.iter().take(self.file.stages.len()).enumerate();
        let stage = |(index, stage): (usize, &StageState<'_>)| {
            let title = match stage.title() {
                "" => format!("stage-{index}"),
                title => title.to_owned(),
            };
            Stage { name: title, span: stage.span, used: reachable.contains(&index) }
        };
        stages.map(stage).collect()
    }

    fn dispatch(&mut self, index: usize) -> Result<(), Stop> {
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
            let told = self.diagnostics.len();
            let outcome: Result<(), Stop> = self.instruction(index, command);
            if command.trigger {
                self.tell_trigger(told, index, &command.instruction.code);
            }
            if outcome.is_err() && self.stages[index].env.too_large() {
                break;
            }
            self.too_much(index, command)?;
        }
        self.stages[index].commands = commands;
        Ok(())
    }

    fn refuse_long_stages(&mut self) -> Result<(), Stop> {
        let most = budget::MAX_INSTRUCTIONS;
        let file = self.file;
        let Some(first) = file.stages.iter().find_map(|stage| stage.body.get(most)) else {
            return Ok(());
        };
        self.error(format!("a stage may have {most} instructions"), first.span);
        Err(Stop)
    }

    /// Ends a build that grows beyond what can be built, or that has more errors than anybody reads.
    fn too_much(&mut self, index: usize, command: &Command<'_>) -> Result<(), Stop> {
        let instruction = command.instruction.as_ref();
        let reason = if self.budget.refuses(&self.stages[index].image, &instruction.code) {
            budget::too_large()
        } else if self.steps.len() > budget::MAX_STEPS {
            format!("a build may have {} steps", budget::MAX_STEPS)
        } else if self.diagnostics.len() > budget::MAX_DIAGNOSTICS && self.failed() {
            return Err(Stop);
        } else {
            return Ok(());
        };
        self.error(reason, instruction.span);
        Err(Stop)
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

fn without_version(platform: &Platform) -> String {
    Platform { os_version: String::new(), ..platform.clone() }.to_string()
}

/// Whether `full` is the version that was asked for, or one that begins with it.
fn says_version(full: &str, asked: &str) -> bool {
    asked.is_empty()
        || full.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
