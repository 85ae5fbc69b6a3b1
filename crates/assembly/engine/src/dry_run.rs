//! The solver's actions, answered as in a build as far as that needs no step to run and no layer to be fetched.
//!
//! Keys and look-ups are those of the build itself. A process that would run results in nothing here, so keys of what
//! depends on its result by content are not known. An operation on files is known before it is done, where all it looks
//! into is here.

use std::sync::{Mutex, PoisonError};

use build_api::{BuildError, Reason, StepKind, Verdict};
use fstree::fileop::Unpack;
use fstree::{Changeset, Content, TreeError};
use llb::pb::op::Kind;
use oci::Digest;
use snapshot::{Layer, LayerKind};

use crate::driver::Work;
use crate::error::failed;
use crate::fetcher::NOT_HERE;
use crate::last_build::image_name;
use crate::plan::kind;
use crate::records;
use crate::value::{StackLayer, Value};
use crate::work::Build;

/// What was found out about a vertex.
#[derive(Clone, Default)]
pub(crate) struct Finding {
    pub(crate) verdict: Option<Verdict>,
    /// Why its content key is not known.
    pub(crate) until: Option<Reason>,
}

/// A build that does nothing.
pub(crate) struct DryRun<'a> {
    pub(crate) build: &'a Build<'a>,
    findings: Vec<Mutex<Finding>>,
}

impl<'a> DryRun<'a> {
    pub(crate) fn new(build: &'a Build<'a>) -> Self {
        let findings = build.graph.nodes.iter().map(|_| Mutex::default()).collect();
        Self { build, findings }
    }

    pub(crate) fn finding(&self, vertex: usize) -> Finding {
        self.findings[vertex].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, vertex: usize, change: impl FnOnce(&mut Finding)) {
        change(&mut self.findings[vertex].lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn has_value(&self, vertex: usize) -> bool {
        self.build.state[vertex].value.get().is_some()
    }

    /// Why it is not known what a vertex holds.
    fn missing(&self, vertex: usize) -> Option<Reason> {
        if self.has_value(vertex) {
            return None;
        }
        let (node, finding) = (self.build.node(vertex), self.finding(vertex));
        if let Some(until) = finding.until.filter(|_| finding.verdict != Some(Verdict::Runs)) {
            return Some(until);
        }
        if node.is_trivial() {
            let beneath = node.inputs.iter().find_map(|edge| self.missing(edge.vertex));
            return beneath.or_else(|| Some(self.unread(vertex)));
        }
        if finding.verdict == Some(Verdict::Cached) {
            let base = node.base().and_then(|at| node.inputs.get(at));
            return base.and_then(|edge| self.missing(edge.vertex));
        }
        Some(Reason::UntilRan(node.name.clone()))
    }

    /// A source whose content is not here.
    fn unread(&self, vertex: usize) -> Reason {
        let node = self.build.node(vertex);
        match image_name(node) {
            Some(image) => Reason::UntilResolved(image),
            None => Reason::UntilRan(node.name.clone()),
        }
    }

    /// Why the content key of a vertex cannot be computed without doing anything.
    fn obstacle(&self, vertex: usize) -> Result<Option<Reason>, BuildError> {
        let node = self.build.node(vertex);
        if let Some(reason) = node.inputs.iter().find_map(|edge| self.missing(edge.vertex)) {
            return Ok(Some(reason));
        }
        for (at, edge) in node.inputs.iter().enumerate() {
            let Value::Stack(layers) = self.build.value(*edge)? else { continue };
            // Of what a process writes on only the identity counts.
            let looked_into = match node.kind() {
                Some(Kind::Exec(exec)) => exec.mounts.iter().any(|mount| {
                    usize::try_from(mount.input) == Ok(at) && mount.readonly && mount.dest != "/"
                }),
                _ => true,
            };
            // Of Windows bases only headers are read, and not of all layers: whether that needs a layer is seen then.
            let windows = node.platform().is_some_and(|platform| platform.is_windows());
            let absent = |layer: &StackLayer| !windows && self.is_absent(layer, looked_into);
            if layers.iter().any(absent) {
                return Ok(Some(self.until_pulled(edge.vertex)));
            }
        }
        if let Some(Kind::File(file)) = node.kind() {
            let packed = Packed::default();
            let outcome = self.build.changes_with(vertex, file, &packed);
            if packed.was_met() {
                return Ok(Some(Reason::UntilUnpacked));
            }
            match outcome {
                Err(error) if crate::error::chain(&error).contains(NOT_HERE) => {
                    return Ok(Some(self.until_pulled(vertex)));
                }
                outcome => outcome?,
            };
        }
        Ok(None)
    }

    fn until_pulled(&self, vertex: usize) -> Reason {
        let image = self.image_beneath(vertex).map(|at| self.build.node(at));
        let name = image.and_then(image_name);
        Reason::UntilPulled(name.unwrap_or_else(|| self.build.node(vertex).name.clone()))
    }

    /// Whether a layer's files would have to be fetched or unpacked to be looked at.
    fn is_absent(&self, layer: &StackLayer, looked_into: bool) -> bool {
        let identified = layer.key().is_none() || layer.known_content().is_some();
        let needed = looked_into || !identified;
        needed
            && matches!(layer.layer().kind(), LayerKind::Blob(_))
            && !self.build.snapshots.has_tree(layer.layer())
    }

    /// The image that a file system begins with.
    pub(crate) fn image_beneath(&self, vertex: usize) -> Option<usize> {
        let node = self.build.node(vertex);
        if kind(node) == StepKind::Image {
            return Some(vertex);
        }
        let base = match node.kind() {
            Some(Kind::Merge(_) | Kind::Diff(_)) => node.inputs.first(),
            _ => node.base().and_then(|at| node.inputs.get(at)),
        };
        self.image_beneath(base?.vertex)
    }

    /// Notes that a step would run, or that this cannot be known.
    fn would_run(&self, vertex: usize) -> Result<(), BuildError> {
        let node = self.build.node(vertex);
        let until = self.finding(vertex).until;
        // With another image in its place, the operation is not the one that would run.
        let stands_in = matches!(until, Some(Reason::UntilResolved(_)));
        let certain =
            until.is_none() || node.ignore_cache || (!stands_in && !self.may_be_found(vertex)?);
        let verdict = if certain { Verdict::Runs } else { Verdict::Unknown };
        self.note(vertex, |finding| finding.verdict = Some(verdict));
        Ok(())
    }

    /// Whether some earlier result may turn out to be the step's.
    fn may_be_found(&self, vertex: usize) -> Result<bool, BuildError> {
        let node = self.build.node(vertex);
        if let Some(Kind::Exec(_)) = node.kind() {
            return records::may_be_known(self.build.store, node)
                .map_err(failed("cannot look up a step"));
        }
        // Files that some other step happened to make the same are not reckoned with.
        let operation = crate::keys::operation(node);
        let lasts = node.results.iter().filter_map(|at| self.build.last.get(*at));
        Ok(lasts.into_iter().any(|last| last.has(&operation)))
    }
}

impl Work for DryRun<'_> {
    fn fast_key(&self, vertex: usize, inputs: &[Digest]) -> Result<Option<Digest>, BuildError> {
        if let Some(Kind::Source(source)) = self.build.node(vertex).kind()
            && self.build.resolver.stand_in(&source.identifier).is_some()
        {
            return Ok(None);
        }
        self.build.fast_key(vertex, inputs)
    }

    fn look_up(&self, vertex: usize, key: &Digest) -> Result<bool, BuildError> {
        self.build.look_up(vertex, key)
    }

    fn content_key(&self, vertex: usize) -> Result<Option<Digest>, BuildError> {
        if let Some(reason) = self.obstacle(vertex)? {
            self.note(vertex, |finding| finding.until = Some(reason));
            return Ok(None);
        }
        self.build.content_key(vertex)
    }

    fn load(&self, vertex: usize) -> Result<bool, BuildError> {
        let found = &self.build.state[vertex].found;
        let Some(layer) = found.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(false);
        };
        self.note(vertex, |finding| finding.verdict = Some(Verdict::Cached));
        self.stack(vertex, layer)?;
        Ok(true)
    }

    fn run(&self, vertex: usize, keys: &[Digest]) -> Result<(), BuildError> {
        let node = self.build.node(vertex);
        match node.kind() {
            Some(Kind::Source(source)) => {
                let unread = self.build.resolver.stand_in(&source.identifier).is_some()
                    || kind(node) == StepKind::Download;
                if !unread {
                    let value = self.build.source(vertex, source)?;
                    self.build.finish(vertex, value);
                }
            }
            Some(Kind::File(file)) => {
                if node.ignore_cache
                    && let Some(reason) = self.obstacle(vertex)?
                {
                    self.note(vertex, |finding| finding.until = Some(reason));
                }
                self.would_run(vertex)?;
                if self.finding(vertex).until.is_none() {
                    let (changes, key) = self.build.changes(vertex, file)?;
                    let layer = StackLayer::made(Layer::changes(changes), key.to_string());
                    self.stack(vertex, layer)?;
                }
            }
            Some(Kind::Exec(_)) => self.would_run(vertex)?,
            _ if node.inputs.iter().all(|edge| self.has_value(edge.vertex)) => {
                self.build.run_vertex(vertex, keys)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn remember(&self, _: usize, _: &Digest) -> Result<(), BuildError> {
        // A plan changes nothing that a build would see.
        Ok(())
    }
}

impl DryRun<'_> {
    /// Puts a layer on its base, where that is known.
    fn stack(&self, vertex: usize, layer: StackLayer) -> Result<(), BuildError> {
        let node = self.build.node(vertex);
        let base = node.base().and_then(|at| node.inputs.get(at));
        if base.is_none_or(|edge| self.has_value(edge.vertex)) {
            self.build.finish_layer(vertex, layer)?;
        }
        Ok(())
    }
}

/// Notices archives instead of unpacking them.
#[derive(Default)]
struct Packed(Mutex<bool>);

impl Packed {
    fn was_met(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unpack for Packed {
    fn unpack(&self, file: &Content) -> Result<Option<Changeset>, TreeError> {
        let reader = file.open().map_err(TreeError::io("open", "archive"))?;
        if !layer::is_archive(reader) {
            return Ok(None);
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Err(TreeError::Invalid("an archive is not unpacked for a plan".to_owned()))
    }
}
