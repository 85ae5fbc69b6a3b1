use dockerfile::{CopyFiles, Expand, Instruction, Word};
use llb::{FileAction, GitSource, Metadata, Output, attr, pb};
use oci::Digest;
use report::Diagnostic;

use crate::compiler::{Compiler, MAIN_CONTEXT, Stop};
use crate::dispatch::owner_of;
use crate::names;
use crate::paths;
use crate::stage::Command;
use crate::text::append;

/// COPY or ADD with its words expanded.
struct Plan<'a> {
    copy: &'a CopyFiles,
    instruction: &'a Instruction,
    add: bool,
    /// Destination with its trailing slash.
    dest: String,
    /// Where local paths are taken from.
    source: Option<Output>,
    source_stage: Option<usize>,
    owner: Option<pb::ChownOpt>,
    mode: i32,
    mode_text: String,
    checksum: Option<String>,
    windows: bool,
    /// Name of the step.
    name: String,
}

impl Compiler<'_> {
    pub(crate) fn copy(
        &mut self,
        index: usize,
        command: &Command<'_>,
        copy: &CopyFiles,
        add: bool,
    ) -> Result<(), Stop> {
        let instruction = command.instruction.as_ref();
        self.names_hold(index, command)?;
        let keyword = if add { "ADD" } else { "COPY" };
        let windows = self.stages[index].windows();
        let chown = self.optional_word(index, copy.chown.as_ref())?;
        let chmod = self.optional_word(index, copy.chmod.as_ref())?;
        let mut sources = Vec::with_capacity(copy.sources.len());
        for word in &copy.sources {
            sources.push(self.word(index, word)?);
        }
        let checksum = self.checksum(index, copy, &sources)?;
        let dest = self.word(index, &copy.dest)?;
        let mut inline = Vec::with_capacity(copy.inline.len());
        for file in &copy.inline {
            inline.push(if file.expand {
                self.document(index, &file.data, file.span)?
            } else {
                file.data.clone()
            });
        }

        let (mode, mode_text) = self.mode(copy, chmod.as_deref())?;
        let source_stage = command.sources.first().copied().flatten();
        let source = self.copy_source(index, copy, &sources, source_stage)?;
        let platform = self.platform(index);
        let env = self.stages[index].env.clone();
        let code =
            names::shown(&self.budget, &instruction.code, Expand::words(self.file.escape), &env);
        let shown = self.options.multi_platform.then_some(&platform);
        let place = self.stages[index].step_index;
        let name = names::step(&mut self.stages[index], &code, shown, &env);
        let owner = self.owner(index, copy, chown.as_deref(), windows);
        let dest_path = self.destination(index, &dest, &copy.dest)?;
        let plan = Plan {
            copy,
            instruction,
            add,
            dest: dest_path,
            source,
            source_stage,
            owner,
            mode,
            mode_text,
            checksum,
            windows,
            name: name.clone(),
        };

        let mut created_by = keyword.to_owned();
        if copy.parents {
            created_by.push_str(" --parents");
        }
        for (flag, value) in [("chown", &chown), ("chmod", &chmod)] {
            if let Some(value) = value {
                append(&mut created_by, format_args!(" --{flag}={value}"));
            }
        }
        let mut actions = Vec::with_capacity(sources.len() + inline.len());
        for (path, word) in sources.iter().zip(&copy.sources) {
            append(&mut created_by, format_args!(" {path}"));
            actions.push(self.copy_path(index, &plan, path, word)?);
        }
        for (data, file) in inline.into_iter().zip(&copy.inline) {
            append(&mut created_by, format_args!(" <<{}", file.name));
            actions.push(self.copy_inline(&plan, &file.name, data, file.span)?);
        }
        append(&mut created_by, format_args!(" {dest} # buildkit"));

        let output = if copy.link && chmod.is_none() {
            self.linked(index, &plan, actions, place, &code)
        } else {
            let metadata = self.metadata(index, &name, instruction);
            let output = self.graph.file(self.stages[index].output, actions, metadata);
            self.step(output, index, name, platform, instruction.span);
            Some(output)
        };
        self.stages[index].output = output;
        self.stages[index].record(created_by, true);
        Ok(())
    }

    /// `--link`: made on its own, so that it stays the same whatever is below it. `place` is the step's number.
    fn linked(
        &mut self,
        index: usize,
        plan: &Plan<'_>,
        actions: Vec<FileAction>,
        place: usize,
        code: &str,
    ) -> Option<Output> {
        let Plan { name, instruction, .. } = plan;
        let (base, env) = (self.stages[index].output, self.stages[index].env.clone());
        let platform = self.platform(index);
        let shown = self.options.multi_platform.then_some(&platform);
        let id = format!("link-{}-{place}", self.stages[index].title());
        let group = |weak| Some(pb::ProgressGroup { id: id.clone(), name: name.clone(), weak });
        let copying =
            Metadata { progress_group: group(true), ..self.metadata(index, name, instruction) };
        let alone = self.graph.file(None, actions, copying);
        self.step(alone, index, name.clone(), platform.clone(), instruction.span);
        self.stages[index].step_index = place;
        let linked = names::step(&mut self.stages[index], &format!("LINK {code}"), shown, &env);
        let merging =
            Metadata { progress_group: group(false), ..self.metadata(index, &linked, instruction) };
        let merged = self.graph.merge([base, Some(alone)], merging);
        if let Some(merged) = merged.filter(|merged| *merged != alone) {
            self.step(merged, index, linked, platform, instruction.span);
        }
        merged
    }

    fn optional_word(&mut self, index: usize, word: Option<&Word>) -> Result<Option<String>, Stop> {
        let Some(word) = word else { return Ok(None) };
        Ok(Some(self.word(index, word)?).filter(|text| !text.is_empty()))
    }

    /// `--checksum`: a digest for a file, a commit or the beginning of its name for a repository.
    fn checksum(
        &mut self,
        index: usize,
        copy: &CopyFiles,
        sources: &[String],
    ) -> Result<Option<String>, Stop> {
        let Some(word) = &copy.checksum else { return Ok(None) };
        let text = self.word(index, word)?;
        if text.is_empty() {
            return Ok(None);
        }
        let mut hint = "write --checksum=sha256: and 64 hexadecimal digits, for one address";
        let wrong = match sources {
            [source] if copy.inline.is_empty() && git_source(source).is_some() => {
                let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if hex && (4..=64).contains(&text.len()) {
                    return Ok(Some(text));
                }
                hint = "of a repository it is the commit, or at least the first 4 digits of it";
                format!("invalid checksum {text:?}")
            }
            [source] if copy.inline.is_empty() && is_http(source) => match text.parse::<Digest>() {
                Ok(_) => return Ok(Some(text)),
                Err(_) => format!("invalid checksum {text:?}"),
            },
            [_] if copy.inline.is_empty() => "checksum requires HTTP(S) or Git sources".to_owned(),
            _ => "checksum can't be specified for multiple sources".to_owned(),
        };
        self.report(Diagnostic::error(wrong, word.span).hint(hint));
        Err(Stop)
    }

    /// `--chmod` as octal number, or as symbolic text.
    fn mode(&mut self, copy: &CopyFiles, chmod: Option<&str>) -> Result<(i32, String), Stop> {
        let Some(text) = chmod else { return Ok((-1, String::new())) };
        let span = copy.chmod.as_ref().map(|word| word.span).unwrap_or_default();
        if let Ok(mode) = i32::from_str_radix(text, 8)
            && (0..=0o7777).contains(&mode)
        {
            return Ok((mode, String::new()));
        }
        if is_symbolic_mode(text) {
            return Ok((0, text.to_owned()));
        }
        let message = format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        );
        self.report(
            Diagnostic::error(message, span).hint("or symbolic, as in --chmod=u=rwX,go=rX"),
        );
        Err(Stop)
    }

    fn owner(
        &mut self,
        index: usize,
        copy: &CopyFiles,
        chown: Option<&str>,
        windows: bool,
    ) -> Option<pb::ChownOpt> {
        let chown = chown?;
        // Accounts of Windows are looked up by the builder, which knows them; numbers are none.
        let numbers = chown.split(':').all(|part| part.parse::<u32>().is_ok());
        if !windows || !numbers {
            return Some(owner_of(chown));
        }
        let span = copy.chown.as_ref().map_or(self.stages[index].span, |word| word.span);
        let message = format!("--chown={chown} has no meaning in a Windows image");
        self.report(
            Diagnostic::warning("WindowsChown", message, span)
                .hint("leave it out, or name an account: --chown=ContainerUser"),
        );
        None
    }

    fn copy_source(
        &mut self,
        index: usize,
        copy: &CopyFiles,
        paths: &[String],
        source: Option<usize>,
    ) -> Result<Option<Output>, Stop> {
        let Some(stage) = source else {
            let local = paths.iter().any(|path| !is_http(path) && git_source(path).is_none());
            return Ok(local.then(|| self.context_source(MAIN_CONTEXT)));
        };
        if self.stages[stage].done && stage != index {
            return Ok(self.stages[stage].output);
        }
        let from = copy.from.as_ref();
        let message = format!(
            "cannot copy from stage {:?}, it needs to be defined before current stage {:?}",
            from.map_or("", |from| from.text.as_str()),
            self.stages[index].title()
        );
        let span = from.map_or(self.stages[index].span, |from| from.span);
        self.report(Diagnostic::error(message, span).hint("move that stage before this one"));
        Err(Stop)
    }

    fn destination(&mut self, index: usize, dest: &str, word: &Word) -> Result<String, Stop> {
        let stage = &self.stages[index];
        let windows = stage.windows();
        let normal = paths::without_drive(dest, windows, true).and_then(|dest| {
            if dest.starts_with('/') {
                return paths::normalize("/", &dest, windows, true);
            }
            let dest = if dest.is_empty() || dest == "." { "./" } else { &dest };
            paths::normalize(&stage.dir, dest, windows, true)
        });
        match normal {
            Ok(path) => Ok(paths::in_operation(&stage.dir, &path, true)),
            Err(error) => {
                self.error(format!("destination: {error}"), word.span);
                Err(Stop)
            }
        }
    }

    fn copy_path(
        &mut self,
        index: usize,
        plan: &Plan<'_>,
        path: &str,
        word: &Word,
    ) -> Result<FileAction, Stop> {
        if let Some(git) = git_source(path) {
            if !plan.add {
                self.report(
                    Diagnostic::error("source can't be a git ref for COPY", word.span)
                        .hint("use ADD for repositories"),
                );
                return Err(Stop);
            }
            return self.copy_git(index, plan, git, word);
        }
        if is_http(path) {
            if !plan.add {
                self.report(
                    Diagnostic::error("source can't be a URL for COPY", word.span)
                        .hint("use ADD for addresses"),
                );
                return Err(Stop);
            }
            return Ok(self.copy_http(index, plan, path));
        }
        let action = plan.copy_local(path).map_err(|error| {
            self.error(format!("source: {error}"), word.span);
            Stop
        })?;
        if plan.copy.from.is_none() {
            self.excluded(path, plan.add, word);
        }
        self.uses(plan.source_stage, &paths::to_slash(path, plan.windows));
        Ok(action)
    }

    fn copy_git(
        &mut self,
        index: usize,
        plan: &Plan<'_>,
        git: Result<GitSource, String>,
        word: &Word,
    ) -> Result<FileAction, Stop> {
        let source = git.and_then(|git| plan.git(git)).map_err(|message| {
            self.error(message, word.span);
            Stop
        })?;
        let metadata = Metadata { ignore_cache: false, ..Metadata::named(plan.name.clone()) };
        let output = self.graph.source(source.to_op(), None, metadata);
        let platform = self.platform(index);
        self.step(output, index, plan.name.clone(), platform, plan.instruction.span);
        let copy = pb::FileActionCopy { src: "/".to_owned(), ..plan.action() };
        Ok(FileAction::Copy { from: Some(output), copy })
    }

    /// A file that `.dockerignore` leaves out is not there to be copied. Where patterns take something back, only the
    /// files themselves could tell.
    fn excluded(&mut self, path: &str, add: bool, word: &Word) {
        let Some(excluded) = &self.options.excluded else { return };
        let crate::Context::Directory { excludes: patterns } = &self.options.context else {
            return;
        };
        if patterns.is_empty() || patterns.iter().any(|pattern| pattern.starts_with('!')) {
            return;
        }
        let path = paths::join("/", path);
        let everything = ["*", "**", "**/*"];
        if path == "/" {
            if !patterns.iter().any(|pattern| everything.contains(&pattern.as_str())) {
                return;
            }
        } else if !excluded.has(path.trim_start_matches('/')) {
            return;
        }
        let doing = if add { "Add" } else { "Copy" };
        let shown = if path == "/" { "." } else { path.trim_start_matches('/') };
        let message =
            format!("Attempting to {doing} file {shown:?} that is excluded by .dockerignore");
        self.report(
            Diagnostic::warning("CopyIgnoredFile", message, word.span)
                .hint("take the pattern out of .dockerignore, or do not copy the file"),
        );
    }

    fn copy_http(&mut self, index: usize, plan: &Plan<'_>, address: &str) -> FileAction {
        let file = file_name(address);
        let mut source = pb::SourceOp { identifier: address.to_owned(), attrs: Vec::new() };
        source.set_attr(attr::HTTP_FILENAME, file.clone());
        if let Some(checksum) = &plan.checksum {
            source.set_attr(attr::HTTP_CHECKSUM, checksum.clone());
        }
        let metadata = self.metadata(index, &plan.name, plan.instruction);
        let output = self.graph.source(source, None, Metadata { ignore_cache: false, ..metadata });
        let platform = self.platform(index);
        self.step(output, index, plan.name.clone(), platform, plan.instruction.span);
        let copy = pb::FileActionCopy {
            src: paths::join("/", &file),
            attempt_unpack_docker_compatibility: plan.copy.unpack.unwrap_or(false),
            ..plan.action()
        };
        FileAction::Copy { from: Some(output), copy }
    }

    fn copy_inline(
        &mut self,
        plan: &Plan<'_>,
        name: &str,
        data: String,
        span: report::Span,
    ) -> Result<FileAction, Stop> {
        let file = paths::without_drive(name, plan.windows, false).map_err(|error| {
            self.error(error.to_string(), span);
            Stop
        })?;
        let path = paths::in_operation("/", &file, false);
        let mkfile = FileAction::Mkfile(pb::FileActionMkFile {
            path: path.clone(),
            mode: 0o644,
            data: data.into_bytes(),
            owner: None,
            timestamp: -1,
        });
        let metadata = Metadata::named("[internal] preparing inline document");
        let output = self.graph.file(None, vec![mkfile], metadata);
        let copy = pb::FileActionCopy { src: path, ..plan.action() };
        Ok(FileAction::Copy { from: Some(output), copy })
    }
}

impl Plan<'_> {
    /// A repository with what the instruction's flags say of it.
    fn git(&self, git: GitSource) -> Result<GitSource, String> {
        let flag = self.copy.keep_git_dir;
        let keep_git_dir = match (git.keep_git_dir, flag) {
            (Some(query), Some(flag)) if query != flag => {
                return Err("inconsistent keep-git-dir configuration".to_owned());
            }
            (query, flag) => query.or(flag),
        };
        let checksum = match (git.checksum.as_str(), self.checksum.as_deref().unwrap_or("")) {
            (query, flag) if !query.is_empty() && !flag.is_empty() && query != flag => {
                return Err(format!("checksum mismatch {flag:?} != {query:?}"));
            }
            ("", flag) => flag.to_owned(),
            (query, _) => query.to_owned(),
        };
        Ok(GitSource { keep_git_dir, checksum, ..git })
    }

    /// Of a path in a context, stage or image.
    fn copy_local(&self, path: &str) -> Result<FileAction, paths::PathError> {
        let windows = self.windows;
        let mut path = path;
        let mut include_patterns = Vec::new();
        let mut required_paths = Vec::new();
        if self.copy.parents {
            // `a/./b/c`: what is after the pivot keeps its directories.
            let (parent, pattern) = path.split_once("/./").unwrap_or(("/", path));
            let normal = paths::normalize("/", pattern, windows, false)?;
            include_patterns.push(normal.strip_prefix('/').unwrap_or(&normal).to_owned());
            if !has_wildcards(parent) && !has_wildcards(&normal) {
                let joined = paths::join(parent, &normal);
                required_paths.push(paths::normalize("/", &joined, windows, false)?);
            }
            path = parent;
        }
        let src = paths::clean(&paths::normalize("/", path, windows, false)?);
        let copy = pb::FileActionCopy {
            src,
            follow_symlink: true,
            dir_copy_contents: true,
            attempt_unpack_docker_compatibility: self.copy.unpack.unwrap_or(self.add),
            allow_wildcard: true,
            allow_empty_wildcard: true,
            include_patterns,
            required_paths,
            ..self.action()
        };
        Ok(FileAction::Copy { from: self.source, copy })
    }

    /// What all copies of the instruction have in common.
    fn action(&self) -> pb::FileActionCopy {
        pb::FileActionCopy {
            dest: self.dest.clone(),
            owner: self.owner.clone(),
            mode: self.mode,
            mode_str: self.mode_text.clone(),
            create_dest_path: true,
            timestamp: -1,
            exclude_patterns: self.copy.exclude.iter().map(|word| word.text.clone()).collect(),
            ..pb::FileActionCopy::default()
        }
    }
}

/// The repository that a source names. What could be a path as well is a path.
fn git_source(source: &str) -> Option<Result<GitSource, String>> {
    let found = GitSource::parse(source)?;
    if found.as_ref().is_ok_and(|git| git.looks_local) { None } else { Some(found) }
}

/// Whether a source is an address, rather than a path.
fn is_http(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The name of the file at an address.
fn file_name(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let base = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let base = percent_decoded(base);
    match base.as_str() {
        "" | "." | "/" => "__unnamed__".to_owned(),
        _ => base,
    }
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(decoded) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(decoded);
            at += 3;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    // A name from an address must not become a path.
    String::from_utf8_lossy(&out).replace('/', "_")
}

fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// `u=rwX,go=rX` and the like.
fn is_symbolic_mode(text: &str) -> bool {
    !text.is_empty()
        && text.split(',').all(|clause| {
            let rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
            rest.starts_with(['+', '-', '=']) && rest.chars().all(|c| "+-=rwxXstugo".contains(c))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        assert!(git_source("https://github.com/a/b.git").is_some());
        assert!(git_source("github.com/a/b").is_none());
        assert!(is_http("https://x/a.tgz") && !is_http("a.tgz"));
        assert_eq!(file_name("https://aka.ms/vs/17/vc_redist.x64.exe?x=/1"), "vc_redist.x64.exe");
        assert_eq!(file_name("https://x"), "__unnamed__");
        assert_eq!(file_name("https://x/a%2fb"), "a_b");
    }

    #[test]
    fn modes_may_be_symbolic() {
        assert!(is_symbolic_mode("u=rwX,go=rX") && is_symbolic_mode("+x"));
        assert!(!is_symbolic_mode("x") && !is_symbolic_mode("0999") && !is_symbolic_mode(""));
    }
}
