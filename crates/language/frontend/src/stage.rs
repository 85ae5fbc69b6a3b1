use std::collections::{BTreeMap, BTreeSet};

use dockerfile::{From, Instruction};
use llb::Output;
use oci::{Digest, HealthConfig, History, ImageConfig, Platform, Reference};
use report::Span;
use serde_json::json;

use crate::env::Env;

/// The directories that programs are looked for in, where an image does not say.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What history entries of a Dockerfile's instructions say made them.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// What a stage stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image, or a named context in its place.
    Image,
    /// A named context that replaces the whole stage.
    Context(String),
}

/// A stage, or an image that an instruction copies or mounts from, while it is compiled.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
pub(crate) struct StageState<'a> {
    /// FROM; `None` for an image that is only named in another instruction.
    pub(crate) from: Option<&'a From>,
    /// The FROM instruction, or the word that names the image.
    pub(crate) span: Span,
    /// Lines of the FROM instruction.
    pub(crate) lines: (usize, usize),
    /// FROM as written.
    pub(crate) code: String,
    /// Name, in lower case.
    pub(crate) name: Option<String>,
    /// Name in the names of steps; empty for the only stage.
    pub(crate) display: String,
    /// Base with variables replaced.
    pub(crate) base_name: String,
    pub(crate) base: Base,
    /// `--platform`, then the platform it is for.
    pub(crate) platform: Option<Platform>,
    pub(crate) commands: Vec<Command<'a>>,
    /// Stages that commands need.
    pub(crate) needs: BTreeSet<usize>,
    pub(crate) ignore_cache: bool,

    /// Its file system.
    pub(crate) output: Option<Output>,
    pub(crate) env: Env,
    pub(crate) dir: String,
    pub(crate) user: String,
    pub(crate) image: ImageConfig,
    /// Name and digest of the image it stands on, also through other stages.
    pub(crate) pinned: Option<(Reference, Digest)>,
    /// The named directory it stands on, also through other stages.
    pub(crate) context: Option<String>,
    /// Arguments that were declared, for history.
    pub(crate) args: Vec<(String, Option<String>)>,
    /// Whether its file system can be used.
    pub(crate) done: bool,
    /// Whether nothing is known of the image it stands on; only in a check.
    pub(crate) unknown_base: bool,
    /// Whether its base was found.
    pub(crate) resolved: bool,
    pub(crate) triggers_read: bool,
    /// Whether its instructions said WORKDIR.
    pub(crate) workdir_set: bool,
    pub(crate) cmd_set: bool,
    pub(crate) used: BTreeMap<&'static str, Span>,
    /// Steps, for their names.
    pub(crate) step_count: usize,
    pub(crate) step_index: usize,
    pub(crate) on_trigger: bool,
}

/// An instruction of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Command<'a> {
    pub(crate) instruction: std::borrow::Cow<'a, Instruction>,
    /// Stages that its `--from` or the `from` of its mounts name, in order; `None` where there is none.
    pub(crate) sources: Vec<Option<usize>>,
    /// Whether it was a trigger of the base.
    pub(crate) trigger: bool,
}

impl StageState<'_> {
    pub(crate) fn new(span: Span) -> Self {
        Self {
            from: None,
            span,
            lines: (0, 0),
            code: String::new(),
            name: None,
            display: String::new(),
            base_name: String::new(),
            base: Base::Scratch,
            platform: None,
            commands: Vec::new(),
            needs: BTreeSet::new(),
            ignore_cache: false,
            output: None,
            env: Env::default(),
            dir: "/".to_owned(),
            user: String::new(),
            image: ImageConfig::default(),
            pinned: None,
            context: None,
            args: Vec::new(),
            done: false,
            unknown_base: false,
            resolved: false,
            triggers_read: false,
            workdir_set: false,
            cmd_set: false,
            used: BTreeMap::new(),
            step_count: 0,
            step_index: 0,
            on_trigger: false,
        }
    }

    /// Whether it is for Windows.
    pub(crate) fn windows(&self) -> bool {
        self.platform.as_ref().is_some_and(Platform::is_windows)
    }

    /// How it is called in messages.
    pub(crate) fn title(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None if self.from.is_none() => &self.base_name,
            None => &self.display,
        }
    }

    /// Sets a variable in the image's configuration.
    pub(crate) fn set_image_env(&mut self, name: &str, value: &str) {
        let windows = self.windows();
        let same = |entry: &String| {
            let known = entry.split('=').next().unwrap_or_default();
            if windows { known.eq_ignore_ascii_case(name) } else { known == name }
        };
        let entry = format!("{name}={value}");
        match self.image.config.env.iter_mut().find(|known| same(known)) {
            Some(known) => *known = entry,
            None => self.image.config.env.push(entry),
        }
    }

    /// Sets a variable for the instructions that follow.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        if self.windows() {
            let other = self.env.names().find(|known| known.eq_ignore_ascii_case(name));
            if let Some(other) = other.map(str::to_owned) {
                self.env.remove(&other);
            }
        }
        self.env.set(name, value);
    }

    /// Adds to the history.
    pub(crate) fn record(&mut self, created_by: String, layer: bool) {
        self.image.history.push(History {
            comment: HISTORY_COMMENT.to_owned(),
            created_by,
            empty_layer: !layer,
            ..History::default()
        });
    }

    /// Takes over what a stage hands on to those that stand on it.
    pub(crate) fn inherit(&mut self, base: &StageState<'_>) {
        self.output = base.output;
        self.platform.clone_from(&base.platform);
        self.image = base.image.clone();
        self.image.config.on_build = Vec::new();
        self.env = base.env.clone();
        self.dir.clone_from(&base.dir);
        self.user.clone_from(&base.user);
        self.pinned.clone_from(&base.pinned);
        self.context.clone_from(&base.context);
        self.workdir_set = base.workdir_set;
        self.unknown_base = base.unknown_base;
        self.args.splice(0..0, base.args.iter().cloned());
    }

    /// `SHELL`, or the system's.
    pub(crate) fn shell(&self) -> Vec<String> {
        if !self.image.config.shell.is_empty() {
            return self.image.config.shell.clone();
        }
        let words: &[&str] = if self.windows() { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// The configuration that `FROM scratch` begins with.
pub(crate) fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig::new(platform);
    if platform.is_windows() {
        // The system knows its own PATH.
        "C:\\".clone_into(&mut image.config.working_dir);
    } else {
        "/".clone_into(&mut image.config.working_dir);
        image.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    }
    image
}

/// A set as Docker writes it: an object with empty objects.
pub(crate) fn member() -> serde_json::Value {
    json!({})
}

/// HEALTHCHECK as the configuration has it.
pub(crate) fn health(check: &dockerfile::Healthcheck) -> HealthConfig {
    HealthConfig {
        test: check.test.clone(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}
