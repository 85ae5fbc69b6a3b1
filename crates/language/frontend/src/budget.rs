//! What compiling may cost, so that a small Dockerfile cannot take all memory or all day.

use std::cell::Cell;

use dockerfile::{Expand, ExpandError, Expanded, Variables, expand};
use oci::ImageConfig;

/// Work of all expansions together, in the unit of [`Expanded::work`]; a large Dockerfile needs a hundredth.
const MAX_WORK: usize = 1 << 27;
/// Bytes of an image's configuration; registries and builders read no longer ones.
const MAX_CONFIG: usize = 4 << 20;
/// Bytes of the configurations of all stages.
const MAX_CONFIGS: usize = 32 << 20;
/// Instructions of one stage.
pub(crate) const MAX_INSTRUCTIONS: usize = 10_000;
/// Triggers that all stages of a build take over from their bases.
pub(crate) const MAX_TRIGGERS: usize = 10_000;
/// Steps of a build.
pub(crate) const MAX_STEPS: usize = 10_000;
/// Bytes of a path inside an image, which systems take no longer.
pub(crate) const MAX_PATH: usize = 4096;
/// Ports of one EXPOSE: there are 65535 of each protocol.
pub(crate) const MAX_PORTS: usize = 3 * 65_535;
/// Diagnostics after which a stage is left.
pub(crate) const MAX_DIAGNOSTICS: usize = 1000;

/// Work between two looks at the size of a configuration.
const LOOK: usize = 1 << 20;
/// What an instruction costs besides its text.
const INSTRUCTION: usize = 2048;

/// What was spent so far.
#[derive(Default)]
pub(crate) struct Budget {
    work: Cell<usize>,
    looked: Cell<usize>,
    configs: Cell<usize>,
    triggers: Cell<usize>,
}

impl Budget {
    /// [`dockerfile::expand`], as long as there is something left.
    pub(crate) fn expand(
        &self,
        text: &str,
        how: Expand,
        variables: &dyn Variables,
    ) -> Result<Expanded, ExpandError> {
        if self.work.get() > MAX_WORK {
            return Err(ExpandError {
                text: text.chars().take(200).collect(),
                reason: "replacing the variables of this Dockerfile takes too long".to_owned(),
                work: 0,
            });
        }
        let expanded = expand(text, how, variables);
        self.spend(expanded.as_ref().map_or_else(|error| error.work, |expanded| expanded.work));
        expanded
    }

    /// Counts bytes that go into configurations or steps without being expanded.
    pub(crate) fn spend(&self, bytes: usize) {
        self.work.set(self.work.get().saturating_add(bytes));
    }

    /// Whether the configuration of a stage got too large with an instruction. Looks only now and then.
    pub(crate) fn refuses(&self, image: &ImageConfig, instruction: &str) -> bool {
        self.spend(instruction.len() + INSTRUCTION);
        if self.work.get() - self.looked.get() < LOOK {
            return false;
        }
        self.looked.set(self.work.get());
        size(image) > MAX_CONFIG
    }

    /// Counts triggers of a base; whether they are too many.
    pub(crate) fn refuses_triggers(&self, count: usize) -> bool {
        self.triggers.set(self.triggers.get().saturating_add(count));
        self.triggers.get() > MAX_TRIGGERS
    }

    /// Why to stop after a stage that has `image` now.
    pub(crate) fn stage_done(&self, image: &ImageConfig) -> Option<String> {
        let size = size(image);
        self.configs.set(self.configs.get() + size);
        if size > MAX_CONFIG {
            Some(too_large())
        } else if self.configs.get() > MAX_CONFIGS {
            Some("the configurations of all stages are too large together".to_owned())
        } else {
            None
        }
    }
}

/// What is said of a configuration that is too large.
pub(crate) fn too_large() -> String {
    format!("the configuration of an image may have {MAX_CONFIG} bytes")
}

/// About how many bytes a configuration has.
fn size(image: &ImageConfig) -> usize {
    let config = &image.config;
    let pairs = config.labels.iter().map(|(name, value)| name.len() + value.len());
    let commands = [&config.cmd, &config.entrypoint].into_iter().flatten();
    let lists = commands.chain([&config.env, &config.on_build, &config.shell]).flatten();
    let sets = config.exposed_ports.keys().chain(config.volumes.keys());
    let texts = image.history.iter().map(|entry| 160 + entry.created_by.len());
    let texts = texts.chain(lists.chain(sets).map(String::len)).chain(pairs);
    texts.map(|length| length + 8).sum()
}
