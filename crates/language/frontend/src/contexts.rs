//! Contexts that are no images: directories, repositories, files on web servers.

use llb::{FileAction, GitMtime, GitSource, Metadata, Output, attr, pb};
use report::{Diagnostic, Span};

use crate::compiler::{Compiler, MAIN_CONTEXT};
use crate::options::{Context, Step};
use crate::{paths, text};

/// The file that an address in place of a context is.
const HTTP_FILE: &str = "context";

impl Compiler<'_> {
    /// The main context, or the named one.
    fn context(&self, name: &str) -> &Context {
        match self.options.contexts.get(name) {
            Some(context) if name != MAIN_CONTEXT => context,
            _ => &self.options.context,
        }
    }

    /// Whether a context is a directory of the machine.
    pub(crate) fn is_directory(&self, name: &str) -> bool {
        matches!(self.context(name), Context::Directory { .. })
    }

    /// The source of a context that is no image: of the main one or a named one.
    pub(crate) fn context_source(&mut self, name: &str) -> Output {
        if let Some(known) = self.sources.get(name) {
            return *known;
        }
        let output = match self.context(name).clone() {
            Context::Git(git) => self.git_context(name, &git),
            Context::Http { address, archive } => self.http_context(name, &address, archive),
            Context::Directory { excludes } => self.directory(name, &excludes),
            Context::Image(_) | Context::OciLayout => self.directory(name, &[]),
        };
        self.sources.insert(name.to_owned(), output);
        output
    }

    fn directory(&mut self, name: &str, excludes: &[String]) -> Output {
        let mut source = pb::SourceOp { identifier: format!("local://{name}"), attrs: Vec::new() };
        let (shown, hint) = if name == MAIN_CONTEXT {
            ("[internal] load build context".to_owned(), MAIN_CONTEXT.to_owned())
        } else {
            (format!("[context {name}] load from client"), format!("context:{name}"))
        };
        if !excludes.is_empty() {
            source.set_attr(attr::EXCLUDE_PATTERNS, text::json_list(excludes));
        }
        source.set_attr(attr::SHARED_KEY_HINT, hint);
        self.used_paths.entry(name.to_owned()).or_default();
        self.add_source(source, shown)
    }

    fn git_context(&mut self, name: &str, git: &GitSource) -> Output {
        let mut git = git.clone();
        if name == MAIN_CONTEXT {
            if self.keep_git_dir() {
                git.keep_git_dir = Some(true);
            }
            let dated = self.options.build_args.get("SOURCE_DATE_EPOCH");
            if git.mtime == GitMtime::Unset && dated.is_some_and(|epoch| !epoch.is_empty()) {
                git.mtime = GitMtime::Commit;
            }
        }
        let source = git.to_op();
        let mut shown = git.remote;
        if let Some((_, fragment)) = source.identifier.split_once('#') {
            shown = format!("{shown}#{fragment}");
        }
        self.add_source(source, format!("[internal] load git source {shown}"))
    }

    /// `BUILDKIT_CONTEXT_KEEP_GIT_DIR`.
    fn keep_git_dir(&mut self) -> bool {
        let Some(value) = self.options.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR") else {
            return false;
        };
        match value.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
            "0" | "f" | "F" | "FALSE" | "false" | "False" | "" => false,
            other => {
                let message = format!("invalid BUILDKIT_CONTEXT_KEEP_GIT_DIR: {other:?}");
                self.report(Diagnostic::error(message, Span::default()).hint("give it as 1 or 0"));
                false
            }
        }
    }

    fn http_context(&mut self, name: &str, address: &str, archive: bool) -> Output {
        let mut source = pb::SourceOp { identifier: address.to_owned(), attrs: Vec::new() };
        source.set_attr(attr::HTTP_FILENAME, HTTP_FILE);
        if name != MAIN_CONTEXT {
            return self.add_source(source, format!("[context {name}] {address}"));
        }
        let file = self.add_source(source, "[internal] load remote build context".to_owned());
        if !archive {
            return file;
        }
        let unpack = FileAction::Copy {
            from: Some(file),
            copy: pb::FileActionCopy {
                src: paths::join("/", HTTP_FILE),
                dest: "/".to_owned(),
                mode: -1,
                attempt_unpack_docker_compatibility: true,
                timestamp: -1,
                ..pb::FileActionCopy::default()
            },
        };
        self.graph.file(None, vec![unpack], Metadata::named("[internal] unpack build context"))
    }

    fn add_source(&mut self, source: pb::SourceOp, shown: String) -> Output {
        let output = self.graph.source(source, None, Metadata::named(shown.clone()));
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
        if let Some(context) = context.filter(|context| self.is_directory(context)) {
            self.used_paths.entry(context).or_default().insert(paths::join("/", path));
        }
    }
}
