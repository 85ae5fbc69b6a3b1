//! What the last build of the same Dockerfile, target and platform had, so that it can be told why a step runs again.
//!
//! One small record per platform, written in one step when a build has come to its end. Values of variables and files
//! are kept as digests only. A record that is missing, damaged or from another version costs reasons, never a build.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use build_api::{BuildError, BuildRequest, Context, DockerfileSource};
use fstree::{Changeset, Content, Kind as FileKind, RelPath};
use llb::pb;
use llb::pb::op::Kind;
use oci::{Digest, Platform};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use store::Store;

use crate::contents::digest_each;
use crate::error::failed;
use crate::graph::Node;
use crate::keys::{makes_files, operation};
use crate::remote::without_password;
use crate::work::Build;

/// Namespace of the records in the store.
const NAMESPACE: &str = "last-build";
/// Changes with the form of the records.
const VERSION: u32 = 1;
/// Records kept; others go when one more is written.
const RECORDS: usize = 500;
/// A build with more steps is not remembered.
const MAX_STEPS: usize = 4_000;
/// A step that reads more files is remembered by the folders they are in.
const MAX_FILES: usize = 2_000;
/// So are all steps of a build once they have read this many together.
const MAX_ALL_FILES: usize = 10_000;
/// Characters of an instruction that are kept.
const MAX_TEXT: usize = 200;

/// A build as it is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LastBuild {
    version: u32,
    /// Tells one outcome from another.
    outcome: String,
    /// Names of the build arguments that were given.
    arguments: BTreeSet<String>,
    steps: Vec<LastStep>,
}

/// A step as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastStep {
    pub(crate) stage: String,
    /// The instruction.
    pub(crate) text: String,
    /// Digest of the operation.
    pub(crate) operation: Digest,
    pub(crate) key: Option<Digest>,
    /// Digest of the command of a process, or of what is done to files.
    pub(crate) command: String,
    /// Digests of the values of variables, by name.
    pub(crate) variables: BTreeMap<String, String>,
    /// Name (of images only) and identity of what it needs.
    pub(crate) inputs: Vec<(String, String)>,
    /// What it takes from local directories: digest and time, by path.
    pub(crate) files: BTreeMap<String, (String, i64)>,
    /// The build's time, where that counts.
    pub(crate) time: Option<i64>,
}

/// The builds that a request may be compared with.
pub(crate) struct LastBuilds<'a> {
    store: &'a Store,
    /// What the request has in common with earlier ones, but for the platform.
    identity: String,
    /// Platforms of the results, in order.
    platforms: Vec<Platform>,
    pub(crate) arguments: BTreeSet<String>,
    loaded: Mutex<BTreeMap<usize, Option<Arc<LastBuild>>>>,
}

impl<'a> LastBuilds<'a> {
    pub(crate) fn of(request: &BuildRequest, store: &'a Store, platforms: Vec<Platform>) -> Self {
        let canonical = |path: &std::path::Path| {
            fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
        };
        let context = match &request.context {
            Context::Directory(path) => canonical(path),
            Context::Archive(_) => "archive".to_owned(),
            // A branch that moves is still the same context.
            Context::Remote(address) => without_password(address),
            Context::Empty => "empty".to_owned(),
        };
        let dockerfile = match &request.dockerfile {
            DockerfileSource::Default => "default".to_owned(),
            DockerfileSource::Path(path) => canonical(path),
            DockerfileSource::Remote(address) => without_password(address),
            DockerfileSource::Text { name, .. } => name.clone(),
        };
        // Several Dockerfiles that come without a place are told apart by what they are built as.
        let names: Vec<String> = match (&request.context, &request.dockerfile) {
            (Context::Directory(_), DockerfileSource::Default | DockerfileSource::Path(_)) => {
                Vec::new()
            }
            _ => request.tags.iter().map(ToString::to_string).collect(),
        };
        let identity = format!("{context}\n{dockerfile}\n{:?}\n{names:?}", request.target);
        let by_platform = request.build_args_by_platform.iter().flat_map(|it| it.values.keys());
        let arguments = request.build_args.keys().chain(by_platform).cloned().collect();
        Self { store, identity, platforms, arguments, loaded: Mutex::default() }
    }

    fn key(&self, result: usize) -> String {
        let platform = self.platforms.get(result).map(ToString::to_string).unwrap_or_default();
        Digest::of(format!("{platform}\n{}", self.identity).as_bytes()).hex().to_owned()
    }

    /// The last build for the platform of a result.
    pub(crate) fn get(&self, result: usize) -> Option<Arc<LastBuild>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let load = || {
            let record = self.store.get(NAMESPACE, &self.key(result)).ok()??;
            let last: LastBuild = serde_json::from_slice(&record).ok()?;
            (last.version == VERSION).then(|| Arc::new(last))
        };
        loaded.entry(result).or_insert_with(load).clone()
    }

    fn put(&self, result: usize, last: &LastBuild) -> Result<(), BuildError> {
        let (key, doing) = (self.key(result), "cannot remember the build");
        let value = serde_json::to_vec(last).map_err(failed(doing))?;
        self.store.put(NAMESPACE, &key, &value, &[]).map_err(failed(doing))?;
        let keys = self.store.keys(NAMESPACE, "").map_err(failed(doing))?;
        let others = keys.iter().filter(|other| **other != key);
        for other in others.take(keys.len().saturating_sub(RECORDS)) {
            self.store.forget(NAMESPACE, other).map_err(failed(doing))?;
        }
        Ok(())
    }
}

impl LastBuild {
    /// The step that stood where `step` stands: with the same instruction, else at the same position of its stage.
    /// `still_there` says of an instruction whether the stage still has it.
    pub(crate) fn counterpart(
        &self,
        step: &LastStep,
        position: usize,
        still_there: &dyn Fn(&str) -> bool,
    ) -> Option<&LastStep> {
        let same_stage = || self.steps.iter().filter(|it| it.stage == step.stage);
        let same_text = || same_stage().filter(|it| it.text == step.text);
        same_text()
            .find(|it| it.operation == step.operation)
            .or_else(|| same_text().next())
            .or_else(|| {
                // What stands there under its own name elsewhere is another step.
                same_stage().nth(position).filter(|it| !still_there(&it.text))
            })
    }

    /// Whether it had a step that does the same.
    pub(crate) fn has(&self, operation: &Digest) -> bool {
        self.steps.iter().any(|step| step.operation == *operation)
    }

    /// Whether a build argument of this name was given.
    pub(crate) fn had_argument(&self, name: &str) -> bool {
        self.arguments.contains(name)
    }
}

impl Build<'_> {
    /// A step as it will be remembered.
    pub(crate) fn describe(&self, vertex: usize) -> Result<LastStep, BuildError> {
        let node = self.node(vertex);
        let mut step = LastStep {
            stage: node.step.as_ref().map(|step| step.stage.clone()).unwrap_or_default(),
            text: kept_text(node),
            operation: operation(node),
            key: self.state[vertex].fast.get().cloned(),
            command: String::new(),
            variables: BTreeMap::new(),
            inputs: node.inputs.iter().map(|edge| self.input(edge.vertex)).collect(),
            files: BTreeMap::new(),
            time: None,
        };
        match node.kind() {
            Some(Kind::Exec(exec)) => {
                if let Some(meta) = &exec.meta {
                    step.command = short(meta.args.join("\0").as_bytes());
                    for entry in &meta.env {
                        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                        step.variables.insert(name.to_owned(), short(value.as_bytes()));
                    }
                }
                for mount in &exec.mounts {
                    let edge = usize::try_from(mount.input).ok().and_then(|at| node.inputs.get(at));
                    let Some(edge) = edge else { continue };
                    let Some(context) = self.local(edge.vertex)? else { continue };
                    let beneath = RelPath::clean(&mount.selector);
                    let mut changes = Changeset::new();
                    for entry in context.tree.files() {
                        if entry.path == beneath || entry.path.beneath(&beneath).is_some() {
                            changes.insert(entry.clone());
                        }
                    }
                    self.note_files(&changes, &mut step.files)?;
                }
            }
            Some(Kind::File(file)) => {
                step.command = short(&file_command(file));
                step.time = makes_files(file).then_some(self.now);
                let mut reads_local = false;
                for edge in &node.inputs {
                    reads_local |= self.local(edge.vertex)?.is_some();
                }
                if reads_local && let Some(changes) = self.local_changes(node, file)? {
                    self.note_files(&changes, &mut step.files)?;
                }
            }
            _ => {}
        }
        Ok(step)
    }

    /// Where a step stands among those of its stage.
    pub(crate) fn position(&self, vertex: usize) -> usize {
        let stage = |node: &Node| node.step.as_ref().map(|step| step.stage.clone());
        let own = self.node(vertex);
        let before = self.graph.nodes.iter().take(vertex).filter(|node| !node.is_trivial());
        before.filter(|node| stage(node) == stage(own) && shares_result(node, own)).count()
    }

    fn input(&self, vertex: usize) -> (String, String) {
        let node = self.node(vertex);
        let identity = self.state[vertex].fast.get().unwrap_or(&node.id);
        (image_name(node).unwrap_or_default(), short(identity.as_str().as_bytes()))
    }

    fn note_files(
        &self,
        changes: &Changeset,
        files: &mut BTreeMap<String, (String, i64)>,
    ) -> Result<(), BuildError> {
        for (entry, digest) in digest_each(changes, self.store)? {
            let path = match &entry.kind {
                FileKind::File(Content::Disk(file)) => file.path(),
                _ => &entry.path,
            };
            let mut name = String::from_utf8_lossy(path.as_bytes()).into_owned();
            if matches!(entry.kind, FileKind::Directory { .. }) {
                name.push('/');
            }
            files.insert(name, (digest.hex().chars().take(16).collect(), entry.meta.mtime.secs));
        }
        if files.len() > MAX_FILES {
            *files = by_folder(files);
        }
        Ok(())
    }

    /// Remembers this build for the next one. Costs one look when the last one came to the same.
    pub(crate) fn remember_build(&self) -> Result<(), BuildError> {
        // Several platforms may have it.
        let mut described: Vec<Option<LastStep>> = vec![None; self.graph.nodes.len()];
        let mut read = 0;
        for (result, edge) in self.graph.results.iter().enumerate() {
            let outcome = edge.map_or_else(String::new, |edge| {
                let vertex = self.node(edge.vertex);
                self.state[edge.vertex].fast.get().unwrap_or(&vertex.id).to_string()
            });
            let last = self.last.get(result);
            if last.as_ref().is_some_and(|last| last.outcome == outcome) {
                continue;
            }
            let of_result = |(vertex, node): (usize, &Node)| {
                (node.results.contains(&result) && !node.is_trivial()).then_some(vertex)
            };
            let vertices: Vec<usize> =
                self.graph.nodes.iter().enumerate().filter_map(of_result).collect();
            if vertices.len() > MAX_STEPS {
                continue;
            }
            let mut steps = Vec::with_capacity(vertices.len());
            for vertex in vertices {
                if described[vertex].is_none() {
                    let mut step = self.describe(vertex)?;
                    read += step.files.len();
                    if read > MAX_ALL_FILES {
                        step.files = by_folder(&step.files);
                    }
                    described[vertex] = Some(step);
                }
                steps.extend(described[vertex].clone());
            }
            let arguments = self.last.arguments.clone();
            self.last.put(result, &LastBuild { version: VERSION, outcome, arguments, steps })?;
        }
        Ok(())
    }
}

/// Whether some result needs both.
fn shares_result(a: &Node, b: &Node) -> bool {
    a.results.iter().any(|result| b.results.contains(result))
}

/// The instruction in the name of a step: `[build 2/5] RUN make` is `RUN make`.
pub(crate) fn instruction(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((_, instruction)) => instruction,
        None => name,
    }
}

/// The beginning of a step's instruction, by which it is known again.
pub(crate) fn kept_text(node: &Node) -> String {
    instruction(&node.name).chars().take(MAX_TEXT).collect()
}

/// The name of the image that a source vertex is.
pub(crate) fn image_name(node: &Node) -> Option<String> {
    let Some(Kind::Source(source)) = node.kind() else { return None };
    if let Some(name) = source.identifier.strip_prefix("docker-image://") {
        let name = name.split('@').next().unwrap_or_default();
        return Some(
            name.parse().map_or_else(|_| name.to_owned(), |it: oci::Reference| it.familiar()),
        );
    }
    let layout = source.identifier.strip_prefix("oci-layout://")?;
    let store = source.attr(llb::attr::OCI_STORE).filter(|name| !name.is_empty());
    Some(store.unwrap_or(layout).to_owned())
}

/// What a file operation does, for comparing.
fn file_command(file: &pb::FileOp) -> Vec<u8> {
    file.encode_to_vec()
}

fn short(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().chars().take(16).collect()
}

/// Files of one folder, or at the top, as one entry each.
fn by_folder(files: &BTreeMap<String, (String, i64)>) -> BTreeMap<String, (String, i64)> {
    let mut folders: BTreeMap<String, (String, i64)> = BTreeMap::new();
    for (path, (digest, time)) in files {
        let folder = match path.split_once('/') {
            Some((folder, _)) => format!("{folder}/"),
            None => "files at the top".to_owned(),
        };
        let (text, newest) = folders.entry(folder).or_insert((String::new(), i64::MIN));
        text.push_str(path);
        text.push_str(digest);
        *newest = (*newest).max(*time);
    }
    folders
        .into_iter()
        .map(|(folder, (text, time))| (folder, (short(text.as_bytes()), time)))
        .collect()
}
