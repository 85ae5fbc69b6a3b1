//! `SOURCE_DATE_EPOCH`: a number, or the name of what has the time.

use dockerfile::{CopyFiles, Kind, Stage};
use llb::{GitSource, attr, pb};
use report::{Diagnostic, Span};

use crate::compiler::{Compiler, MAIN_CONTEXT, Stop};
use crate::env::Env;
use crate::options::Context;

pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

impl Compiler<'_> {
    /// Reads the number, or remembers the name until stages are known.
    pub(crate) fn read_epoch(&mut self) {
        let given = self.options.build_args.get(NAME).cloned();
        let text = given.or_else(|| self.global_args.value(NAME).map(str::to_owned));
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        match text.parse() {
            Ok(seconds) => self.epoch = Some(seconds),
            Err(_) => self.epoch_name = Some(text),
        }
    }

    /// A build argument as it was given. A time that is given by name is a number to instructions, or not set.
    pub(crate) fn given(&self, name: &str) -> Option<String> {
        if name == NAME && self.epoch_name.is_some() {
            return self.epoch.map(|seconds| seconds.to_string());
        }
        self.options.build_args.get(name).cloned()
    }

    /// Asks for the time of what `SOURCE_DATE_EPOCH` names: the main context, a named one, or a stage that is one ADD of
    /// something remote. Local directories and images have none; then it is as if it were not set.
    pub(crate) fn resolve_epoch(&mut self) -> Result<(), Stop> {
        let Some(name) = self.epoch_name.clone() else { return Ok(()) };
        let stage = self.file.stages.iter().find(|stage| {
            stage.from.name.as_ref().is_some_and(|own| own.text.eq_ignore_ascii_case(&name))
        });
        let (source, span) = if name == MAIN_CONTEXT {
            (source_of(&self.options.context), Span::default())
        } else if let Some(context) = self.context_for(&name) {
            (self.options.contexts.get(context).and_then(source_of), Span::default())
        } else if let Some(stage) = stage {
            (Some(self.epoch_stage(stage)?), stage.start.span)
        } else {
            self.report(
                Diagnostic::error(format!("invalid {NAME}: {name:?}"), Span::default())
                    .hint("give it as seconds since 1970, `context`, a named context or a stage"),
            );
            return Err(Stop);
        };
        if let Some(source) = source {
            match self.resolver.source_time(&source) {
                Ok(time) => self.epoch = time,
                Err(error) => {
                    let message = format!("cannot find the time of {name:?} for {NAME}: {error}");
                    self.report(Diagnostic::error(message, span));
                    return Err(Stop);
                }
            }
        }
        match self.epoch {
            Some(seconds) => self.global_args.set(NAME, &seconds.to_string()),
            None => self.global_args.remove(NAME),
        }
        Ok(())
    }

    fn epoch_stage(&mut self, stage: &Stage) -> Result<pb::SourceOp, Stop> {
        let mut env = self.global_args.clone();
        env.remove(NAME);
        let base = self.expand(&stage.from.base.text, &env, stage.from.base.span)?.text;
        let mut found = None;
        let mut wrong = (base != "scratch").then(|| "must use FROM scratch".to_owned());
        for instruction in &stage.body {
            match &instruction.kind {
                Kind::Arg(_) => self.follow(&mut env, instruction),
                Kind::Add(_) if found.is_some() => {
                    wrong = Some("must contain exactly one remote ADD".to_owned());
                }
                Kind::Add(copy) => found = self.remote_add(copy, &env)?,
                _ => {
                    wrong = Some(format!(
                        "does not meet source-only requirements: unsupported {} instruction",
                        instruction.keyword.text.to_uppercase()
                    ));
                }
            }
        }
        match (found, wrong) {
            (Some(source), None) => Ok(source),
            (_, wrong) => {
                let wrong = wrong.unwrap_or("must contain exactly one remote ADD".to_owned());
                self.report(
                    Diagnostic::error(format!("{NAME} stage {wrong}"), stage.start.span)
                        .hint("write FROM scratch AS name and one ADD of an address"),
                );
                Err(Stop)
            }
        }
    }

    fn remote_add(&mut self, copy: &CopyFiles, env: &Env) -> Result<Option<pb::SourceOp>, Stop> {
        let ([word], []) = (copy.sources.as_slice(), copy.inline.as_slice()) else {
            return Ok(None);
        };
        let address = self.expand(&word.text, env, word.span)?.text;
        let checksum = match &copy.checksum {
            Some(checksum) => self.expand(&checksum.text, env, checksum.span)?.text,
            None => String::new(),
        };
        if let Some(Ok(mut git)) = GitSource::parse(&address).filter(|_| !address.is_empty()) {
            if !checksum.is_empty() {
                git.checksum = checksum;
            }
            return Ok(Some(git.to_op()).filter(|_| !git.looks_local));
        }
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return Ok(None);
        }
        let mut source = http(&address);
        if !checksum.is_empty() {
            source.set_attr(attr::HTTP_CHECKSUM, checksum);
        }
        Ok(Some(source))
    }
}

fn source_of(context: &Context) -> Option<pb::SourceOp> {
    match context {
        Context::Git(git) => Some(git.to_op()),
        Context::Http { address, .. } => Some(http(address)),
        _ => None,
    }
}

fn http(address: &str) -> pb::SourceOp {
    pb::SourceOp { identifier: address.to_owned(), attrs: Vec::new() }
}
