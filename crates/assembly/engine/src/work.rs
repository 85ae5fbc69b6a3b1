//! The vertices of a build: what they read, what they result in, and how they run.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use build_api::{BuildError, StepFailure};
use fstree::fileop::Unpack;
use fstree::{Changeset, Mtime, TreeView};
use llb::Edge;
use llb::pb::op::Kind;
use oci::{Digest, Platform};
use report::{Diagnostic, SourceText, Span};
use snapshot::{BlobLayer, Layer, LayerKind, Snapshots};
use store::Store;

use crate::contents::{self, Times};
use crate::context::Contexts;
use crate::error::{chain, failed, refused};
use crate::exec::{Failed, Runner};
use crate::fetcher::Fetcher;
use crate::fileop::{FileError, Making, evaluate};
use crate::graph::{Graph, Node};
use crate::inputs::{InputViews, LocalOnly, NoArchives};
use crate::last_build::LastBuilds;
use crate::records::{self, LayerRecord};
use crate::remote::Remotes;
use crate::reporter::Reporter;
use crate::resolver::Resolver;
use crate::unpack::Archives;
use crate::value::{LocalContext, StackLayer, Value};

/// Everything the vertices of one build share.
pub(crate) struct Build<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) store: &'a Store,
    pub(crate) snapshots: &'a Snapshots,
    pub(crate) resolver: &'a Resolver<'a>,
    pub(crate) remotes: &'a Remotes<'a>,
    pub(crate) fetcher: &'a Fetcher<'a>,
    pub(crate) runner: &'a Runner<'a>,
    pub(crate) emulators: &'a emulation::Emulators,
    pub(crate) archives: &'a Archives,
    pub(crate) contexts: &'a Contexts,
    pub(crate) dockerfile: &'a SourceText,
    pub(crate) reporter: Reporter<'a>,
    /// The time of what the build itself makes.
    pub(crate) now: i64,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) state: Vec<VertexState>,
    /// What earlier builds of the same had.
    pub(crate) last: LastBuilds<'a>,
}

/// What is known of a vertex while it is solved.
#[derive(Default)]
pub(crate) struct VertexState {
    pub(crate) value: OnceLock<Value>,
    /// Its fast key, where it has one and was asked for it.
    pub(crate) fast: OnceLock<Digest>,
    pub(crate) found: Mutex<Option<StackLayer>>,
    /// For a file operation: what it changes, and the digest of that with its times.
    pub(crate) changes: OnceLock<(Arc<Changeset>, Digest)>,
    /// When it began and ended to run, since the build began.
    pub(crate) ran: OnceLock<(Duration, Duration)>,
    /// Keys under which its layer is recorded once that is durable.
    keys: Mutex<Vec<Digest>>,
}

impl Build<'_> {
    pub(crate) fn node(&self, vertex: usize) -> &Node {
        &self.graph.nodes[vertex]
    }

    /// The result of an edge. Asked for only when its vertex is done.
    pub(crate) fn value(&self, edge: Edge) -> Result<Value, BuildError> {
        let value = self.state[edge.vertex].value.get();
        value.cloned().ok_or_else(|| {
            refused("a step was started before what it needs (a bug in crossdock)", None)
        })
    }

    fn inputs(&self, node: &Node) -> Result<Vec<Value>, BuildError> {
        node.inputs.iter().map(|edge| self.value(*edge)).collect()
    }

    pub(crate) fn finish(&self, vertex: usize, value: Value) {
        drop(self.state[vertex].value.set(value));
    }

    /// The local directory of a source vertex, walked once.
    pub(crate) fn local(&self, vertex: usize) -> Result<Option<Arc<LocalContext>>, BuildError> {
        match self.node(vertex).kind() {
            Some(Kind::Source(source)) if source.identifier.starts_with("local://") => {
                if let Some(Value::Context(context)) = self.state[vertex].value.get() {
                    return Ok(Some(Arc::clone(context)));
                }
                let context = self.contexts.open(source)?;
                self.finish(vertex, Value::Context(Arc::clone(&context)));
                Ok(Some(context))
            }
            _ => Ok(None),
        }
    }

    /// The newest time of anything that the build reads from local directories, in seconds.
    pub(crate) fn newest_local(&self) -> Result<Option<i64>, BuildError> {
        let mut newest = None;
        for vertex in 0..self.graph.nodes.len() {
            if let Some(context) = self.local(vertex)? {
                newest = newest
                    .max(context.tree.files().iter().map(|entry| entry.meta.mtime.secs).max());
            }
        }
        Ok(newest)
    }

    /// An error with the lines of the Dockerfile that it is about, where there are some.
    pub(crate) fn placed(&self, node: &Node, error: BuildError) -> BuildError {
        let BuildError::Failed { message, hint, source } = error else { return error };
        let has_place = node.step.as_ref().is_some_and(|step| step.span != Span::default());
        if !has_place {
            return BuildError::Failed { message, hint, source };
        }
        let message = match &source {
            Some(source) => format!("{message}: {}", chain(source.as_ref())),
            None => message,
        };
        match self.step_failure(node, message, None, Vec::new(), None) {
            BuildError::Step(mut failure) => {
                failure.hint = hint;
                BuildError::Step(failure)
            }
            other => other,
        }
    }

    /// Digest of what an operation reads from local directories, so that it has a key before anything is done.
    pub(crate) fn local_reads(&self, node: &Node) -> Result<Option<Vec<Digest>>, BuildError> {
        let mut digests = Vec::new();
        match node.kind() {
            Some(Kind::File(file)) => {
                let mut reads_local = false;
                for edge in &node.inputs {
                    reads_local |= self.local(edge.vertex)?.is_some();
                }
                if !reads_local {
                    return Ok(Some(digests));
                }
                let Some(changes) = self.local_changes(node, file)? else { return Ok(None) };
                digests.push(contents::digest(&changes, Times::Count, self.store)?);
            }
            Some(Kind::Exec(exec)) => {
                for mount in &exec.mounts {
                    let Some(edge) =
                        usize::try_from(mount.input).ok().and_then(|at| node.inputs.get(at))
                    else {
                        continue;
                    };
                    let Some(context) = self.local(edge.vertex)? else { continue };
                    digests.push(self.selected(node, context.tree.as_ref(), &mount.selector)?);
                }
            }
            _ => {}
        }
        Ok(Some(digests))
    }

    /// What a file operation takes from local directories; `None` where it fails. It will fail again when it runs, and
    /// say so then.
    pub(crate) fn local_changes(
        &self,
        node: &Node,
        file: &llb::pb::FileOp,
    ) -> Result<Option<Changeset>, BuildError> {
        // What is copied is the same onto whatever it is copied.
        let trees = LocalOnly { build: self, node };
        let making = Making { now: Mtime::default(), unpack: &NoArchives, ignore_base: true };
        match evaluate(file, node.inputs.len(), &trees, &making) {
            Ok(changes) => Ok(Some(changes)),
            Err(FileError::Tree(_)) => Ok(None),
            Err(FileError::Build(error)) => Err(error),
        }
    }

    /// Digest of what `view` shows at `path`, where the step `node` reads it; times left out.
    pub(crate) fn selected(
        &self,
        node: &Node,
        view: &dyn TreeView,
        path: &str,
    ) -> Result<Digest, BuildError> {
        let selection = fstree::Selector {
            path: path.as_bytes().to_vec(),
            follow_links: true,
            ..fstree::Selector::default()
        };
        let cache = contents::StoredDigests(self.store);
        fstree::content_digest(view, &[selection], &cache).map_err(|error| {
            let message = format!("cannot mount what the step reads: {}", chain(&error));
            self.step_failure(node, message, None, Vec::new(), None)
        })
    }

    /// Identity of a stack of layers by content.
    pub(crate) fn stack_key(&self, value: &Value) -> Result<Digest, BuildError> {
        let mut text = String::from("stack\n");
        for layer in value.layers().iter() {
            text.push_str(self.content(layer)?.as_str());
            text.push('\n');
        }
        Ok(Digest::of(text.as_bytes()))
    }

    /// Identity of a layer by content, times left out.
    fn content(&self, layer: &StackLayer) -> Result<Digest, BuildError> {
        if let Some(content) = layer.known_content() {
            return Ok(content.clone());
        }
        let content = match layer.layer().kind() {
            LayerKind::Blob(blob) if layer.key().is_none() => blob.diff_id.clone(),
            _ => {
                let changes = self
                    .snapshots
                    .layer_changes(layer.layer(), self.fetcher)
                    .map_err(failed("cannot read a layer"))?;
                contents::digest(&changes, Times::Ignore, self.store)?
            }
        };
        Ok(layer.remember_content(content))
    }

    /// What a file operation changes, found out once.
    pub(crate) fn changes(
        &self,
        vertex: usize,
        file: &llb::pb::FileOp,
    ) -> Result<(Arc<Changeset>, Digest), BuildError> {
        self.changes_with(vertex, file, self.archives)
    }

    /// As [`changes`](Self::changes), with archives read by `unpack`.
    pub(crate) fn changes_with(
        &self,
        vertex: usize,
        file: &llb::pb::FileOp,
        unpack: &dyn Unpack,
    ) -> Result<(Arc<Changeset>, Digest), BuildError> {
        if let Some(known) = self.state[vertex].changes.get() {
            return Ok(known.clone());
        }
        let node = self.node(vertex);
        let making = Making { now: Mtime::seconds(self.now), unpack, ignore_base: false };
        let changes = if node.platform().is_some_and(|platform| platform.is_windows()) {
            self.windows_changes(node, file, &making)
        } else {
            evaluate(file, node.inputs.len(), &InputViews { build: self, node }, &making)
                .map(crate::windows::forget)
        };
        let changes = match changes {
            Ok(changes) => Arc::new(changes),
            Err(FileError::Build(error)) => return Err(error),
            Err(FileError::Tree(error)) => {
                let hint = match &error {
                    fstree::TreeError::NotFound { path, .. } => self.missing_hint(node, file, path),
                    _ => None,
                };
                let failure = self.step_failure(node, chain(&error), None, Vec::new(), None);
                return Err(match failure {
                    BuildError::Step(step) => {
                        BuildError::Step(Box::new(StepFailure { hint, ..*step }))
                    }
                    other => other,
                });
            }
        };
        let digest = contents::digest(&changes, Times::Count, self.store)?;
        Ok(self.state[vertex].changes.get_or_init(|| (changes, digest)).clone())
    }

    fn step_failure(
        &self,
        node: &Node,
        message: String,
        code: Option<i32>,
        tail: Vec<String>,
        log: Option<std::path::PathBuf>,
    ) -> BuildError {
        let place = node
            .step
            .as_ref()
            .map(|step| Diagnostic::error(message.clone(), step.span).in_source(self.dockerfile));
        BuildError::Step(Box::new(StepFailure {
            message,
            step: node.name.clone(),
            platform: node.platform(),
            place,
            exit_code: code,
            log_tail: tail,
            log_file: log,
            hint: None,
            source: None,
        }))
    }

    pub(crate) fn run_vertex(&self, vertex: usize, keys: &[Digest]) -> Result<(), BuildError> {
        let node = self.node(vertex);
        match node.kind() {
            Some(Kind::Source(source)) => {
                let value = self.source(vertex, source)?;
                self.finish(vertex, value);
            }
            Some(Kind::File(file)) => {
                let (changes, key) = self.changes(vertex, file)?;
                let layer = StackLayer::made(Layer::changes(changes), key.to_string());
                self.finish_layer(vertex, layer)?;
                // Recorded when it is durable, see `record_made`.
                self.state[vertex]
                    .keys
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(keys);
            }
            Some(Kind::Exec(exec)) => {
                let platform = node.platform().unwrap_or_else(Platform::host);
                let emulation = self
                    .emulators
                    .prepare(&platform)
                    .map_err(|error| emulation_error(&node.name, error))?;
                let tree = match self.runner.run(&node.id, exec, &self.inputs(node)?, &emulation) {
                    Ok(tree) => tree,
                    Err(Failed::Before(error)) => return Err(error),
                    Err(Failed::Exit { message, code, tail, log }) => {
                        return Err(self.step_failure(node, message, code, tail, log));
                    }
                };
                let layer = StackLayer::made(Layer::tree(tree.clone()), tree.0);
                self.content(&layer)?;
                if let Some(record) = LayerRecord::of(&layer, None) {
                    let keys: Vec<String> =
                        keys.iter().map(|key| records::key(node, key)).collect();
                    records::record(self.store, &keys, &record)
                        .map_err(failed("cannot remember a step"))?;
                }
                self.finish_layer(vertex, layer)?;
            }
            Some(Kind::Merge(merge)) => {
                let mut layers = Vec::new();
                for input in &merge.inputs {
                    let edge = usize::try_from(input.input).ok().and_then(|at| node.inputs.get(at));
                    if let Some(edge) = edge {
                        layers.extend(self.value(*edge)?.layers().iter().cloned());
                    }
                }
                self.finish(vertex, Value::Stack(Arc::new(layers)));
            }
            Some(Kind::Diff(diff)) => {
                let side =
                    |input: Option<llb::pb::InputRef>| -> Result<Arc<Vec<StackLayer>>, BuildError> {
                        let edge = input
                            .and_then(|it| usize::try_from(it.input).ok())
                            .and_then(|at| node.inputs.get(at));
                        edge.map_or(Ok(Arc::default()), |edge| Ok(self.value(*edge)?.layers()))
                    };
                let (lower, upper) = (side(diff.lower)?, side(diff.upper)?);
                if lower.len() > upper.len()
                    || !lower.iter().zip(upper.iter()).all(|(a, b)| same_layer(a, b))
                {
                    return Err(refused(
                        "a difference of two unrelated file systems is not supported yet",
                        None,
                    ));
                }
                self.finish(
                    vertex,
                    Value::Stack(Arc::new(upper.iter().skip(lower.len()).cloned().collect())),
                );
            }
            _ => {
                return Err(refused(
                    format!("operation `{}` is not supported yet", node.name),
                    None,
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn finish_layer(&self, vertex: usize, layer: StackLayer) -> Result<(), BuildError> {
        let node = self.node(vertex);
        let base = match node.base() {
            Some(at) => self.value(node.inputs[at])?,
            None => Value::empty(),
        };
        self.finish(vertex, base.with(layer));
        Ok(())
    }

    /// Remembers file operations whose layers became durable in the meantime: as trees, or as the blobs of `packed`.
    pub(crate) fn record_made(&self, packed: &[(StackLayer, BlobLayer)]) -> Result<(), BuildError> {
        for (node, state) in self.graph.nodes.iter().zip(&self.state) {
            let windows = node.platform().is_some_and(|it| it.is_windows());
            let keys =
                std::mem::take(&mut *state.keys.lock().unwrap_or_else(PoisonError::into_inner));
            let (false, Some(Value::Stack(layers))) = (keys.is_empty(), state.value.get()) else {
                continue;
            };
            let Some(layer) = layers.last() else { continue };
            // A Windows layer does not hold the owners and modes that a Linux one made of the same files has.
            let blob = packed.iter().find(|(it, blob)| it.is(layer) && blob.windows == windows);
            // Packed, a layer that was made on its own has the folders of what it was put on, which may be another next time.
            let alone = windows && node.base().is_none();
            let blob = blob.filter(|_| !alone).map(|(_, blob)| blob.clone());
            if let Some(record) = LayerRecord::of(layer, blob) {
                let keys: Vec<String> = keys.iter().map(|key| records::key(node, key)).collect();
                records::record(self.store, &keys, &record)
                    .map_err(failed("cannot remember a step"))?;
            }
        }
        Ok(())
    }
}

/// Says what is missing, and how to get it.
pub(crate) fn emulation_error(step: &str, error: emulation::EmulationError) -> BuildError {
    let hint = match &error {
        emulation::EmulationError::Missing { hint, .. } => Some(hint.clone()),
        emulation::EmulationError::Register { .. } => None,
    };
    BuildError::Failed {
        message: format!("cannot run {step}"),
        hint,
        source: Some(Box::new(error)),
    }
}

fn same_layer(a: &StackLayer, b: &StackLayer) -> bool {
    let same = match (a.layer().kind(), b.layer().kind()) {
        (LayerKind::Blob(a), LayerKind::Blob(b)) => a.diff_id == b.diff_id,
        (LayerKind::Tree(a), LayerKind::Tree(b)) => a == b,
        _ => false,
    };
    same || a.is(b) || (a.key().is_some() && a.key() == b.key())
}

pub(crate) fn plain(layers: &[StackLayer]) -> Vec<Layer> {
    layers.iter().map(|layer| layer.layer().clone()).collect()
}
