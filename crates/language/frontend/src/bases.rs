//! What stages stand on: images are asked for, named contexts taken, and triggers read.

use std::borrow::Cow;
use std::collections::BTreeSet;

use dockerfile::{Instruction, Kind};
use llb::{Metadata, Output, attr, pb};
use oci::{Platform, Reference};
use report::{Diagnostic, Span, did_you_mean};

use crate::budget::MAX_TRIGGERS;
use crate::compiler::{Compiler, Stop, ranges};
use crate::env::Env;
use crate::options::{Context, ImageName, ImageResolver, ResolveError, ResolvedImage};
use crate::stage::{Base, Command, empty_image};

/// Images asked for at the same time.
const MAX_QUESTIONS: usize = 16;
/// How often triggers may bring further triggers.
const MAX_TRIGGER_ROUNDS: usize = 100;

impl Compiler<'_> {
    /// Finds base images of what the target needs, and reads their triggers, until nothing new is needed.
    pub(crate) fn resolve(&mut self, target: usize) -> Result<BTreeSet<usize>, Stop> {
        for _ in 0..MAX_TRIGGER_ROUNDS {
            let mut reachable = self.reachable(target);
            if self.checking && self.options.target.is_none() {
                (0..self.file.stages.len())
                    .for_each(|stage| reachable.extend(self.reachable(stage)));
            }
            self.resolve_bases(&reachable);
            if self.failed() && !self.checking {
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
        if self.budget.refuses_triggers(triggers.len()) {
            self.error(
                format!("a build may have {MAX_TRIGGERS} triggers (ONBUILD) of bases"),
                span,
            );
            return Err(Stop);
        }
        let mut commands = Vec::with_capacity(triggers.len());
        for trigger in &triggers {
            match dockerfile::parse_trigger(trigger, span) {
                Ok(Instruction { kind: Kind::From(_), .. }) => {
                    let told = self.diagnostics.len();
                    self.error("FROM isn't allowed as an ONBUILD trigger", span);
                    self.tell_trigger(told, index, trigger);
                    return Err(Stop);
                }
                Ok(mut instruction) => {
                    instruction.lines = lines;
                    let instruction: Cow<'_, Instruction> = Cow::Owned(instruction);
                    commands.push(Command { instruction, sources: Vec::new(), trigger: true });
                }
                Err(wrong) => {
                    let told = self.diagnostics.len();
                    self.diagnostics.extend(wrong);
                    self.tell_trigger(told, index, trigger);
                    return Err(Stop);
                }
            }
        }
        let count = commands.len();
        self.stages[index].step_count += count;
        let commands_read = commands.clone();
        self.stages[index].commands.splice(0..0, commands);
        let before = self.stages[index].needs.len();
        let variables = crate::froms::with_variables(&commands_read);
        let mut env = if variables { self.first_env(index) } else { Env::default() };
        for at in 0..count {
            let told = self.diagnostics.len();
            let sources = self.sources(index, at, &env);
            let Some(command) = self.stages[index].commands.get_mut(at) else { continue };
            command.sources = sources;
            let command = command.clone();
            self.tell_trigger(told, index, &command.instruction.code);
            if variables {
                self.follow(&mut env, &command.instruction);
            }
        }
        Ok(self.stages[index].needs.len() > before)
    }

    /// Adds to what was told since `told` where it comes from: nothing of it stands in the Dockerfile.
    pub(crate) fn tell_trigger(&mut self, told: usize, index: usize, trigger: &str) {
        let stage = &self.stages[index];
        let base = match stage.base {
            Base::Stage(base) => format!("stage {}", self.stages[base].title()),
            Base::Image | Base::Scratch | Base::Context(_) => format!("image {}", stage.base_name),
        };
        let first = trigger.lines().next().unwrap_or_default();
        for diagnostic in self.diagnostics.iter_mut().skip(told) {
            diagnostic.message =
                format!("{}, in the trigger `ONBUILD {first}` of {base}", diagnostic.message);
        }
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
        let mut answers = Vec::with_capacity(wanted.len());
        for some in wanted.chunks(MAX_QUESTIONS) {
            answers.extend(ask(self.resolver, some));
        }
        for (wanted, answer) in wanted.into_iter().zip(answers) {
            match answer {
                Ok(image) => self.accept(wanted, image),
                Err(_) if self.checking => self.do_without(&wanted, answer.err()),
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
            Some(Context::Directory { .. } | Context::Git(_) | Context::Http { .. }) => {
                let output = self.context_source(name);
                let local = self.is_directory(name);
                let stage = &mut self.stages[index];
                stage.output = Some(output);
                stage.context = local.then(|| name.to_owned());
                stage.image = empty_image(&platform);
                if !platform.is_windows() {
                    // Files alone are no image: what stands on it gets its PATH when it is dispatched.
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
                "Base image {} was pulled with platform {:?}, expected {:?} for current build",
                self.stages[index].base_name,
                own.to_string(),
                platform.to_string(),
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
                // BuildKit writes the tag only where it says something.
                let shown = pinned.to_string().replace(":latest@", "@");
                source.identifier = format!("oci-layout://{shown}");
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

    /// Goes on with an image of which nothing is known.
    fn do_without(&mut self, wanted: &Wanted, error: Option<ResolveError>) {
        match error {
            None | Some(ResolveError::Unasked(_)) => {}
            Some(error) => {
                // That a registry cannot be asked says nothing about the Dockerfile.
                let unasked = matches!(error, ResolveError::Failed { .. });
                self.unresolved(wanted, error);
                if unasked && let Some(last) = self.diagnostics.last_mut() {
                    last.severity = report::Severity::Note;
                }
            }
        }
        let stage = &mut self.stages[wanted.stage];
        let mut platform = wanted.platform.clone();
        // Where nobody asked for a platform, the base decides; Microsoft's are for Windows alone.
        let implied = stage.platform.is_none() && self.options.platform_implied;
        if implied && is_windows_image(&wanted.reference) {
            platform = Platform::new("windows", "amd64");
        }
        stage.image = empty_image(&platform);
        stage.unknown_base = true;
        stage.platform = Some(platform);
        stage.pinned = Some((wanted.reference.clone(), oci::Digest::of(b"")));
        stage.done = wanted.whole || stage.from.is_none();
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
                let missing = Diagnostic::error(message, span).hint(hint);
                Diagnostic { rule: Some("BaseImagePlatformMissing"), ..missing }
            }
            ResolveError::Unasked(image) => {
                Diagnostic::error(format!("image {image} was not looked for"), span)
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

/// Whether an image is one of Microsoft's for Windows, by its name.
pub(crate) fn is_windows_image(reference: &Reference) -> bool {
    let repository = reference.repository();
    reference.registry() == "mcr.microsoft.com"
        && (repository.starts_with("windows/")
            || repository == "windows"
            || repository.contains("windows-host-process"))
}

/// Asks for several images at the same time.
fn ask(
    resolver: &dyn ImageResolver,
    wanted: &[Wanted],
) -> Vec<Result<ResolvedImage, ResolveError>> {
    let Some((last, others)) = wanted.split_last() else { return Vec::new() };
    std::thread::scope(|scope| {
        let running: Vec<_> =
            others.iter().map(|wanted| scope.spawn(move || wanted.ask(resolver))).collect();
        let last = last.ask(resolver);
        let finished = running.into_iter().map(|thread| match thread.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        finished.chain([last]).collect()
    })
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
