use dockerfile::{Argument, CommandLine, Expand, Instruction, Kind, Pair, Variables, Word};
use llb::{FileAction, Metadata, attr, pb};
use report::{Diagnostic, Span, did_you_mean};

use crate::budget::{MAX_PATH, MAX_PORTS};
use crate::compiler::{Compiler, Stop, ranges};
use crate::env::Env;
use crate::stage::{Command, health, member};
use crate::text::append;
use crate::{checks, names, paths, ports, text, windows};

/// Build arguments that configure the build and are no variables.
const NOT_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// What an instruction's words are expanded with: the variables before it.
struct Scope {
    env: Env,
    windows: bool,
    /// PATH of a Windows base that keeps it in its registry.
    path: &'static str,
}

impl Variables for Scope {
    fn get(&self, name: &str) -> Option<String> {
        if !self.windows {
            return self.env.value(name).map(str::to_owned);
        }
        // Names mean the same in any case there.
        let own = self.env.names().find(|known| known.eq_ignore_ascii_case(name));
        match own.and_then(|own| self.env.value(own)) {
            Some(value) => Some(value.to_owned()),
            None => name.eq_ignore_ascii_case("PATH").then(|| self.path.to_owned()),
        }
    }
}

impl Compiler<'_> {
    /// Carries out one instruction of a stage.
    pub(crate) fn instruction(&mut self, index: usize, command: &Command<'_>) -> Result<(), Stop> {
        let instruction = command.instruction.as_ref();
        match &instruction.kind {
            Kind::Add(copy) => self.copy(index, command, copy, true),
            Kind::Arg(arguments) => self.arg(index, instruction, arguments),
            Kind::Cmd(line) => {
                self.once(index, "CMD", instruction);
                self.cmd(index, instruction, line);
                Ok(())
            }
            Kind::Copy(copy) => self.copy(index, command, copy, false),
            Kind::Entrypoint(line) => {
                self.once(index, "ENTRYPOINT", instruction);
                self.entrypoint(index, instruction, line);
                Ok(())
            }
            Kind::Env(pairs) => {
                self.legacy(index, instruction, pairs);
                self.env(index, pairs)
            }
            Kind::Expose(words) => self.expose(index, words),
            Kind::From(_) | Kind::Invalid => Ok(()),
            Kind::Healthcheck(check) => {
                self.once(index, "HEALTHCHECK", instruction);
                let check = health(check);
                let created_by = format!("HEALTHCHECK {}", text::health(&check));
                let stage = &mut self.stages[index];
                stage.image.config.healthcheck = Some(check);
                stage.record(created_by, false);
                Ok(())
            }
            Kind::Label(pairs) => {
                self.legacy(index, instruction, pairs);
                self.label(index, pairs)
            }
            Kind::Maintainer(name) => {
                let stage = &mut self.stages[index];
                stage.image.author.clone_from(&name.text);
                stage.record(format!("MAINTAINER {}", name.text), false);
                Ok(())
            }
            Kind::Onbuild(onbuild) => {
                self.stages[index].image.config.on_build.push(onbuild.trigger.clone());
                Ok(())
            }
            Kind::Run(run) => self.run_step(index, command, run),
            Kind::Shell(words) => {
                let stage = &mut self.stages[index];
                stage.image.config.shell.clone_from(words);
                stage.record(format!("SHELL {}", text::listed(words)), false);
                Ok(())
            }
            Kind::StopSignal(word) => {
                let signal = self.word(index, word)?;
                if !dockerfile::is_signal(&signal) {
                    let message = format!("invalid signal: {signal}");
                    self.report(
                        Diagnostic::error(message, word.span).hint("write SIGTERM or a number"),
                    );
                    return Err(Stop);
                }
                let stage = &mut self.stages[index];
                stage.image.config.stop_signal.clone_from(&signal);
                stage.record(format!("STOPSIGNAL {signal}"), false);
                Ok(())
            }
            Kind::User(word) => {
                let user = self.word(index, word)?;
                let stage = &mut self.stages[index];
                stage.user.clone_from(&user);
                stage.image.config.user.clone_from(&user);
                stage.record(format!("USER {user}"), false);
                Ok(())
            }
            Kind::Volume(words) => self.volume(index, words),
            Kind::Workdir(word) => self.workdir(index, instruction, word),
        }
    }

    /// Of some instructions only the last one of a stage counts.
    fn once(&mut self, index: usize, name: &'static str, instruction: &Instruction) {
        if let Some(before) = self.stages[index].used.insert(name, instruction.span) {
            let message = format!(
                "Multiple {} instructions should not be used in the same stage because only the \
                 last one will be used",
                instruction.keyword.text
            );
            self.report(Diagnostic::warning("MultipleInstructionsDisallowed", message, before));
        }
    }

    /// A word with variables, quotes and escapes replaced.
    pub(crate) fn word(&mut self, index: usize, word: &Word) -> Result<String, Stop> {
        self.word_text(index, &word.text, word.span)
    }

    pub(crate) fn word_text(
        &mut self,
        index: usize,
        text: &str,
        span: Span,
    ) -> Result<String, Stop> {
        let scope = self.scope(index);
        let expanded = self.expand(text, &scope, span)?;
        self.undefined(index, &expanded.unmatched, span);
        let default_path = scope.windows
            && expanded.matched.iter().any(|name| name.eq_ignore_ascii_case("PATH"))
            && !scope.env.names().any(|name| name.eq_ignore_ascii_case("PATH"));
        if default_path {
            let message = format!(
                "the base image keeps its PATH in the registry; it is taken to be {:?}",
                scope.path
            );
            self.report(Diagnostic::warning("WindowsDefaultPath", message, span));
        }
        Ok(expanded.text)
    }

    fn scope(&self, index: usize) -> Scope {
        let stage = &self.stages[index];
        let base = stage.pinned.as_ref().map(|(reference, _)| reference.repository());
        Scope {
            env: stage.env.clone(),
            windows: stage.windows(),
            path: windows::default_path(base.unwrap_or_default()),
        }
    }

    /// Expands a here-document: variables only.
    pub(crate) fn document(
        &mut self,
        index: usize,
        text: &str,
        span: Span,
    ) -> Result<String, Stop> {
        let scope = self.scope(index);
        match self.budget.expand(text, Expand::heredoc(), &scope) {
            Ok(expanded) => {
                self.undefined(index, &expanded.unmatched, span);
                Ok(expanded.text)
            }
            Err(error) => {
                self.error(error.to_string(), span);
                Err(Stop)
            }
        }
    }

    pub(crate) fn undefined(
        &mut self,
        index: usize,
        unmatched: &std::collections::BTreeSet<String>,
        span: Span,
    ) {
        let stage = &self.stages[index];
        let mut found = Vec::new();
        for name in unmatched {
            if stage.args.iter().any(|(known, _)| known == name)
                || NOT_VARIABLES.contains(&name.as_str())
            {
                continue;
            }
            let known: Vec<&str> = stage.env.names().chain(self.global_args.names()).collect();
            // An image of which nothing is known may have it.
            if stage.unknown_base && !known.contains(&name.as_str()) {
                continue;
            }
            let mut diagnostic = Diagnostic::warning(
                "UndefinedVar",
                format!("Usage of undefined variable '${name}'"),
                span,
            );
            if known.contains(&name.as_str()) {
                diagnostic = diagnostic.hint(format!("declare it in this stage: ARG {name}"));
            } else if let Some(guess) = did_you_mean(name, known) {
                diagnostic = diagnostic.hint(format!("did you mean ${guess}?"));
            }
            found.push(diagnostic);
        }
        self.diagnostics.extend(found);
    }

    fn env(&mut self, index: usize, pairs: &[Pair]) -> Result<(), Stop> {
        let pairs_span = pairs.iter().map(|pair| pair.span).reduce(Span::to).unwrap_or_default();
        let pairs = self.pairs(index, pairs)?;
        let mut created_by = "ENV".to_owned();
        for (name, value, span) in pairs {
            self.secret_name("ENV", &name, span);
            append(&mut created_by, format_args!(" {name}={value}"));
            let stage = &mut self.stages[index];
            stage.set_env(&name, &value);
            stage.set_image_env(&name, &value);
        }
        self.bound_env(index, pairs_span)?;
        self.stages[index].record(created_by, false);
        Ok(())
    }

    /// No process could be started with more.
    fn bound_env(&mut self, index: usize, span: Span) -> Result<(), Stop> {
        if !self.stages[index].env.too_large() {
            return Ok(());
        }
        self.error("this stage has more variables than a process can be started with", span);
        Err(Stop)
    }

    /// What the parser says of a stage's own instructions is said here of triggers.
    fn legacy(&mut self, index: usize, instruction: &Instruction, pairs: &[Pair]) {
        if self.stages[index].on_trigger && pairs.iter().any(|pair| pair.legacy) {
            let name = &instruction.keyword.text;
            let message = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            self.report(Diagnostic::warning("LegacyKeyValueFormat", message, instruction.span));
        }
    }

    fn label(&mut self, index: usize, pairs: &[Pair]) -> Result<(), Stop> {
        let pairs = self.pairs(index, pairs)?;
        let mut created_by = "LABEL".to_owned();
        for (name, value, _) in pairs {
            append(&mut created_by, format_args!(" {name}={value}"));
            self.stages[index].image.config.labels.insert(name, value);
        }
        self.stages[index].record(created_by, false);
        Ok(())
    }

    /// All pairs expanded with the variables before the instruction.
    fn pairs(&mut self, index: usize, pairs: &[Pair]) -> Result<Vec<(String, String, Span)>, Stop> {
        let mut expanded = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let name = self.word_text(index, &pair.name, pair.span)?;
            let value = self.word_text(index, &pair.value, pair.span)?;
            expanded.push((name, value, pair.span));
        }
        Ok(expanded)
    }

    fn secret_name(&mut self, instruction: &str, name: &str, span: Span) {
        if checks::looks_secret(name) {
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {name:?})"
            );
            self.report(
                Diagnostic::warning("SecretsUsedInArgOrEnv", message, span)
                    .hint("give it to the RUN that needs it: --mount=type=secret,id=…"),
            );
        }
    }

    fn arg(
        &mut self,
        index: usize,
        instruction: &Instruction,
        arguments: &[Argument],
    ) -> Result<(), Stop> {
        let mut shown = Vec::with_capacity(arguments.len());
        for argument in arguments {
            self.secret_name("ARG", &argument.name, argument.span);
            let given = self.given(&argument.name);
            let value = match (given, &argument.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(self.word_text(index, default, argument.span)?),
                (None, None) => self.global_args.value(&argument.name).map(str::to_owned),
            };
            let own = argument.default.is_some()
                || self.options.build_args.contains_key(&argument.name)
                || value.is_none();
            self.asked_argument(index, instruction, &argument.name, value.clone(), own);
            let stage = &mut self.stages[index];
            if let Some(value) = &value
                && !NOT_VARIABLES.contains(&argument.name.as_str())
            {
                stage.set_env(&argument.name, value);
            }
            shown.push(match &value {
                Some(value) => format!("{}={value}", argument.name),
                None => argument.name.clone(),
            });
            stage.args.push((argument.name.clone(), value));
            self.bound_env(index, argument.span)?;
        }
        self.stages[index].record(format!("ARG {}", shown.join(" ")), false);
        Ok(())
    }

    /// The words of a command as the configuration has them, and whether they are one whole Windows command line.
    fn command_words(
        &mut self,
        index: usize,
        line: &CommandLine,
        name: &str,
    ) -> (Vec<String>, bool) {
        let stage = &self.stages[index];
        if !line.shell {
            return (line.args.clone(), false);
        }
        let given = line.args.join(" ");
        if stage.image.config.shell.is_empty() && !stage.windows() {
            let message = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to OS \
                 signals"
            );
            self.report(Diagnostic::warning("JSONArgsRecommended", message, line.span));
        }
        let stage = &self.stages[index];
        let mut words = stage.shell();
        words.push(given);
        // As Docker on Windows writes it: runtimes take the first string as it is for the command line.
        if stage.windows() { (vec![words.join(" ")], true) } else { (words, false) }
    }

    fn cmd(&mut self, index: usize, instruction: &Instruction, line: &CommandLine) {
        let name = &instruction.keyword.text;
        let (words, whole) = self.command_words(index, line, name);
        self.command_form(index, whole, line.span);
        let stage = &mut self.stages[index];
        let created_by = format!("CMD {}", text::quoted(&words));
        // BuildKit sets it for every system; only Windows reads it.
        stage.image.config.args_escaped = whole || !stage.windows();
        stage.image.config.cmd = Some(words).filter(|words| !words.is_empty());
        stage.cmd_set = true;
        stage.record(created_by, false);
    }

    fn entrypoint(&mut self, index: usize, instruction: &Instruction, line: &CommandLine) {
        let name = &instruction.keyword.text;
        let (words, whole) = self.command_words(index, line, name);
        self.command_form(index, whole, line.span);
        let stage = &mut self.stages[index];
        let created_by = format!("ENTRYPOINT {}", text::quoted(&words));
        if stage.windows() {
            stage.image.config.args_escaped = whole;
        }
        stage.image.config.entrypoint = Some(words).filter(|words| !words.is_empty());
        if !stage.cmd_set {
            stage.image.config.cmd = None;
        }
        stage.record(created_by, false);
    }

    /// On Windows, ENTRYPOINT and CMD of different forms do not go together.
    fn command_form(&mut self, index: usize, whole: bool, span: Span) {
        let stage = &self.stages[index];
        let other = ["CMD", "ENTRYPOINT"].iter().filter(|name| stage.used.contains_key(*name));
        if stage.windows() && other.count() == 2 && stage.image.config.args_escaped != whole {
            let message = "ENTRYPOINT and CMD are one in shell form and one in exec form: Windows \
                           cannot put them together";
            self.report(
                Diagnostic::warning("WindowsCommandForms", message, span)
                    .hint("write both in exec form"),
            );
        }
    }

    fn expose(&mut self, index: usize, words: &[Word]) -> Result<(), Stop> {
        let mut listed = Vec::new();
        for word in words {
            let scope = self.scope(index);
            for spec in self.expand(&word.text, &scope, word.span)?.words {
                let found = match ports::parse(&spec) {
                    Ok(found) => found,
                    Err(message) => {
                        let hint = "write 8080, 8000-8010 or 53/udp";
                        self.report(Diagnostic::error(message, word.span).hint(hint));
                        return Err(Stop);
                    }
                };
                if found.odd_case {
                    let message = format!(
                        "Defined protocol '{spec}' in EXPOSE instruction should be lowercase"
                    );
                    self.report(Diagnostic::warning("ExposeProtoCasing", message, word.span));
                }
                if found.publishes {
                    let message = format!(
                        "EXPOSE instruction should not define an IP address or host-port mapping, \
                         found '{spec}'"
                    );
                    self.report(Diagnostic::warning("ExposeInvalidFormat", message, word.span));
                }
                listed.extend(found.list);
                if listed.len() > MAX_PORTS {
                    self.error(format!("EXPOSE may list {MAX_PORTS} ports"), word.span);
                    return Err(Stop);
                }
            }
        }
        self.budget.spend(listed.iter().map(String::len).sum());
        let stage = &mut self.stages[index];
        for port in &listed {
            stage.image.config.exposed_ports.insert(port.clone(), member());
        }
        stage.record(format!("EXPOSE {}", text::listed(&listed)), false);
        Ok(())
    }

    fn volume(&mut self, index: usize, words: &[Word]) -> Result<(), Stop> {
        let mut volumes = Vec::with_capacity(words.len());
        for word in words {
            let volume = self.word(index, word)?;
            if volume.is_empty() {
                self.error("VOLUME specified can not be an empty string", word.span);
                return Err(Stop);
            }
            volumes.push(volume);
        }
        let stage = &mut self.stages[index];
        for volume in &volumes {
            stage.image.config.volumes.insert(volume.clone(), member());
        }
        stage.record(format!("VOLUME {}", text::listed(&volumes)), false);
        Ok(())
    }

    fn workdir(
        &mut self,
        index: usize,
        instruction: &Instruction,
        word: &Word,
    ) -> Result<(), Stop> {
        let path = self.word(index, word)?;
        let on_windows = self.stages[index].windows();
        if !self.stages[index].workdir_set && !paths::is_absolute(&path, on_windows) {
            let message = format!(
                "Relative workdir {path:?} can have unexpected results if the base image changes"
            );
            self.report(Diagnostic::warning("WorkdirRelativePath", message, word.span));
        }
        self.stages[index].workdir_set = true;
        let current = self.stages[index].image.config.working_dir.clone();
        let dir = match paths::workdir(&current, &path, on_windows) {
            Ok(dir) if dir.len() > MAX_PATH => {
                self.error(format!("a path may have {MAX_PATH} bytes"), word.span);
                return Err(Stop);
            }
            Ok(dir) => dir,
            Err(error) => {
                self.error(format!("normalizing workdir: {error}"), word.span);
                return Err(Stop);
            }
        };
        let stage = &mut self.stages[index];
        stage.image.config.working_dir = paths::configured_workdir(&dir, on_windows);
        stage.dir.clone_from(&dir);
        let layer = dir != "/";
        if layer {
            let platform = self.platform(index);
            let shown = self.options.multi_platform.then_some(&platform);
            let env = self.stages[index].env.clone();
            let how = Expand::words(self.file.escape);
            let code = names::shown(&self.budget, &instruction.code, how, &env);
            let name = names::step(&mut self.stages[index], &code, shown, &env);
            let user = self.stages[index].image.config.user.clone();
            let owner = Some(user).filter(|user| !user.is_empty() && !on_windows);
            let mkdir = FileAction::Mkdir(pb::FileActionMkDir {
                path: paths::in_operation(&dir, &dir, false),
                mode: 0o755,
                make_parents: true,
                owner: owner.map(|user| owner_of(&user)),
                timestamp: self.timestamp(),
            });
            let metadata = Metadata::named(name.clone()).at(ranges(instruction.lines));
            let output = self.graph.file(self.stages[index].output, vec![mkdir], metadata);
            self.stages[index].output = Some(output);
            self.step(output, index, name, platform, instruction.span);
        }
        self.stages[index].record(format!("WORKDIR {dir}"), layer);
        Ok(())
    }

    /// What a stage is for.
    pub(crate) fn platform(&self, index: usize) -> oci::Platform {
        self.stages[index].platform.clone().unwrap_or_else(|| self.options.platform.clone())
    }

    /// Time of what the frontend itself makes: that of `SOURCE_DATE_EPOCH`, or the engine's matter.
    pub(crate) fn timestamp(&self) -> i64 {
        self.epoch.map_or(-1, |seconds| seconds.saturating_mul(1_000_000_000))
    }

    /// What is said about every step of an instruction.
    pub(crate) fn metadata(&self, index: usize, name: &str, instruction: &Instruction) -> Metadata {
        Metadata {
            ignore_cache: self.stages[index].ignore_cache,
            ..Metadata::named(name).at(ranges(instruction.lines))
        }
    }

    /// The same with the instruction's text.
    pub(crate) fn described(
        &self,
        index: usize,
        name: &str,
        instruction: &Instruction,
    ) -> Metadata {
        self.metadata(index, name, instruction)
            .described(attr::DOCKERFILE_COMMAND, instruction.code.clone())
    }
}

/// `user[:group]`, each a name or a number; one that is left out is root.
pub(crate) fn owner_of(text: &str) -> pb::ChownOpt {
    let one = |text: &str| {
        let id = if matches!(text, "root" | "") { Some(0) } else { text.parse::<i32>().ok() };
        let user = id.and_then(|id| u32::try_from(id).ok()).map_or_else(
            || {
                let name = text.to_owned();
                pb::user_opt::User::ByName(pb::NamedUserOpt { name, input: -1 })
            },
            pb::user_opt::User::ById,
        );
        pb::UserOpt { user: Some(user) }
    };
    match text.split_once(':') {
        Some((user, group)) => pb::ChownOpt { user: Some(one(user)), group: Some(one(group)) },
        None => pb::ChownOpt { user: Some(one(text)), group: None },
    }
}
