use std::collections::{BTreeMap, HashMap, HashSet};

use oci::Digest;

use crate::definition::Definition;
use crate::pb;

/// An output of a vertex of a [`Graph`]. Where an `Option<Output>` is asked for, `None` is the empty file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Output {
    vertex: usize,
    index: i64,
}

/// The text that vertices come from.
#[derive(Clone, Debug, Default)]
pub struct SourceFile {
    /// Name.
    pub name: String,
    /// Content.
    pub data: Vec<u8>,
    /// `Dockerfile`.
    pub language: String,
}

/// What is said about a vertex without being part of it.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Do it again even if its result is known.
    pub ignore_cache: bool,
    /// Texts by key, see [`crate::attr`].
    pub description: BTreeMap<String, String>,
    /// Group in the progress display.
    pub progress_group: Option<pb::ProgressGroup>,
    /// Lines of the source file.
    pub ranges: Vec<pb::Range>,
}

impl Metadata {
    /// A vertex with a name for people.
    pub fn named(name: impl Into<String>) -> Self {
        let description = BTreeMap::from([(crate::attr::CUSTOM_NAME.to_owned(), name.into())]);
        Self { description, ..Self::default() }
    }

    /// The same from these lines of the source file.
    #[must_use]
    pub fn at(mut self, ranges: Vec<pb::Range>) -> Self {
        self.ranges = ranges;
        self
    }

    /// The same with one more text.
    #[must_use]
    pub fn described(mut self, key: &str, text: impl Into<String>) -> Self {
        self.description.insert(key.to_owned(), text.into());
        self
    }
}

/// A change of files. Input numbers and outputs are filled in by [`Graph::file`], the input of a named owner too.
#[derive(Clone, Debug, PartialEq)]
pub enum FileAction {
    /// Copies.
    Copy {
        /// From what.
        from: Option<Output>,
        /// How.
        copy: pb::FileActionCopy,
    },
    /// Makes a file.
    Mkfile(pb::FileActionMkFile),
    /// Makes a directory.
    Mkdir(pb::FileActionMkDir),
    /// Removes.
    Rm(pb::FileActionRm),
    /// Makes a symbolic link.
    Symlink(pb::FileActionSymlink),
}

/// A process to run.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The process.
    pub meta: pb::Meta,
    /// Its network.
    pub network: pb::NetMode,
    /// Its privileges.
    pub security: pb::SecurityMode,
    /// Its root file system.
    pub root: Option<Output>,
    /// Other file systems.
    pub mounts: Vec<Mount>,
    /// Environment variables with secret values.
    pub secret_env: Vec<pb::SecretEnv>,
    /// Secret files.
    pub secrets: Vec<(String, pb::SecretOpt)>,
    /// Agent sockets.
    pub ssh: Vec<(String, pb::SshOpt)>,
    /// Devices.
    pub devices: Vec<pb::CdiDevice>,
    /// What it runs on.
    pub platform: oci::Platform,
}

/// A file system of a process beside its root.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where.
    pub dest: String,
    /// What is seen there at first.
    pub source: Option<Output>,
    /// Path within the source; empty is all of it.
    pub selector: String,
    /// Cannot be written.
    pub readonly: bool,
    /// What happens to what is written.
    pub kind: MountKind,
}

/// What happens to what is written to a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// It is lost.
    Discard,
    /// It becomes another output of the vertex, unless the mount is read-only.
    Keep,
    /// It is there again in the next build.
    Cache {
        /// Which cache.
        id: String,
        /// How steps share it.
        sharing: pb::CacheSharing,
    },
    /// It is in memory, and lost.
    Tmpfs {
        /// Bytes; 0 is no limit.
        size: i64,
    },
}

#[derive(Clone, Debug)]
struct Node {
    op: pb::Op,
    inputs: Vec<Output>,
    metadata: pb::OpMetadata,
    ranges: Vec<Vec<pb::Range>>,
}

/// A definition in the making. Equal operations on equal inputs become one vertex.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    known: HashMap<(Vec<u8>, Vec<Output>), usize>,
    file: Option<SourceFile>,
}

impl Graph {
    /// An empty graph; `file` is what [`Metadata::ranges`] are lines of.
    pub fn new(file: Option<SourceFile>) -> Self {
        Self { file, ..Self::default() }
    }

    /// Brings something in. `platform` is kept where it matters: for images.
    pub fn source(
        &mut self,
        source: pb::SourceOp,
        platform: Option<&oci::Platform>,
        metadata: Metadata,
    ) -> Output {
        let id = &source.identifier;
        let by_platform = id.starts_with("docker-image://") || id.starts_with("oci-layout://");
        let platform = platform.filter(|_| by_platform).map(Into::into);
        let scheme = match source.identifier.split("://").next().unwrap_or_default() {
            "docker-image" => "source.image",
            "local" => "source.local",
            "git" => "source.git",
            "oci-layout" => "source.ocilayout",
            _ => "source.http",
        };
        let op = operation(pb::op::Kind::Source(source), platform);
        self.add(op, Vec::new(), metadata, &[scheme])
    }

    /// Sets attributes of a source that were not known when it was made: what of a context is used at all.
    pub fn set_source_attr(&mut self, source: Output, key: &str, value: &str) {
        if let Some(node) = self.nodes.get_mut(source.vertex)
            && let Some(pb::op::Kind::Source(source)) = &mut node.op.op
        {
            source.set_attr(key, value);
        }
    }

    /// Changes files of `base`, one action after the other.
    pub fn file(
        &mut self,
        base: Option<Output>,
        actions: Vec<FileAction>,
        metadata: Metadata,
    ) -> Output {
        let mut inputs = Vec::new();
        let base = position(&mut inputs, base);
        let froms: Vec<i64> = actions
            .iter()
            .map(|action| match action {
                FileAction::Copy { from, .. } => position(&mut inputs, *from),
                _ => -1,
            })
            .collect();
        let last = actions.len().saturating_sub(1);
        let mut written = Vec::with_capacity(actions.len());
        for (index, (action, from)) in actions.into_iter().zip(froms).enumerate() {
            written.push(pb::FileAction {
                input: match index {
                    0 => base,
                    later => number(inputs.len() + later - 1),
                },
                secondary_input: from,
                output: if index == last { 0 } else { -1 },
                action: Some(action.into_wire(base)),
            });
        }
        let op = operation(pb::op::Kind::File(pb::FileOp { actions: written }), None);
        self.add(op, inputs, metadata, &["file.base"])
    }

    /// Runs a process; the output is its root file system afterwards.
    pub fn exec(&mut self, exec: Exec, metadata: Metadata) -> Output {
        let Exec { mut meta, network, security, root, mut mounts, .. } = exec;
        let mut caps = vec!["exec.meta.base", "exec.meta.setsdefaultpath"];
        let root = Mount {
            dest: "/".to_owned(),
            source: root,
            selector: String::new(),
            readonly: false,
            kind: MountKind::Keep,
        };
        mounts.insert(0, root);
        mounts.sort_by(|a, b| a.dest.cmp(&b.dest));
        let mut ssh = exec.ssh;
        for (index, (dest, _)) in ssh.iter_mut().enumerate() {
            if dest.is_empty() {
                *dest = format!("/run/buildkit/ssh_agent.{index}");
            }
        }
        if let Some((dest, _)) = ssh.first()
            && !meta.env.iter().any(|variable| variable.starts_with("SSH_AUTH_SOCK="))
        {
            meta.env.push(format!("SSH_AUTH_SOCK={dest}"));
        }
        if network != pb::NetMode::Unset {
            caps.push("exec.meta.network");
        }
        if security != pb::SecurityMode::Sandbox {
            caps.push("exec.meta.security");
        }
        if meta.proxy_env.is_some() {
            caps.push("exec.meta.proxyenv");
        }
        if !meta.ulimit.is_empty() {
            caps.push("exec.meta.ulimit");
        }

        let mut inputs = Vec::new();
        let mut outputs = 0;
        let mut written = Vec::with_capacity(mounts.len() + exec.secrets.len() + ssh.len());
        for mount in mounts {
            written.push(mount.into_wire(&mut inputs, &mut outputs, &mut caps));
        }
        if !exec.secrets.is_empty() || !exec.secret_env.is_empty() {
            caps.push("exec.mount.secret");
        }
        if !exec.devices.is_empty() {
            caps.push("exec.cdi");
        }
        if !exec.secret_env.is_empty() {
            caps.push("exec.secretenv");
        }
        for (dest, secret) in exec.secrets {
            written.push(pb::Mount {
                input: -1,
                dest,
                mount_type: pb::MountType::Secret.into(),
                secret_opt: Some(secret),
                ..pb::Mount::default()
            });
        }
        if !ssh.is_empty() {
            caps.push("exec.mount.ssh");
        }
        for (dest, agent) in ssh {
            written.push(pb::Mount {
                input: -1,
                dest,
                mount_type: pb::MountType::Ssh.into(),
                ssh_opt: Some(agent),
                ..pb::Mount::default()
            });
        }
        let exec_op = pb::ExecOp {
            meta: Some(meta),
            mounts: written,
            network: network.into(),
            security: security.into(),
            secretenv: exec.secret_env,
            cdi_devices: exec.devices,
        };
        let op = operation(pb::op::Kind::Exec(exec_op), Some((&exec.platform).into()));
        self.add(op, inputs, metadata, &caps)
    }

    /// Stacks results, bottom first. Empty ones are left out; nothing but empty ones is empty.
    pub fn merge(
        &mut self,
        inputs: impl IntoIterator<Item = Option<Output>>,
        metadata: Metadata,
    ) -> Option<Output> {
        let inputs: Vec<Output> = inputs.into_iter().flatten().collect();
        match inputs.as_slice() {
            [] => None,
            [only] => Some(*only),
            several => {
                let count = several.len();
                let positions = (0..count).map(|at| pb::InputRef { input: number(at) }).collect();
                let merge = pb::op::Kind::Merge(pb::MergeOp { inputs: positions });
                Some(self.add(operation(merge, None), inputs, metadata, &["mergeop"]))
            }
        }
    }

    /// What `upper` adds to `lower`.
    pub fn diff(
        &mut self,
        lower: Option<Output>,
        upper: Option<Output>,
        metadata: Metadata,
    ) -> Option<Output> {
        // What anything adds to nothing is itself.
        let Some(lower) = lower else { return upper };
        let inputs: Vec<Output> = [Some(lower), upper].into_iter().flatten().collect();
        let upper = pb::InputRef { input: if upper.is_some() { 1 } else { -1 } };
        let diff = pb::DiffOp { lower: Some(pb::InputRef { input: 0 }), upper: Some(upper) };
        Some(self.add(operation(pb::op::Kind::Diff(diff), None), inputs, metadata, &["diffop"]))
    }

    /// The definition of `result`: its vertices and those they need, each after what it needs, and the terminal op.
    pub fn definition(&self, result: Option<Output>) -> Definition {
        self.write(result).0
    }

    /// The definition of `result`, and the digests that vertices have in it, by their first output.
    pub fn write(&self, result: Option<Output>) -> (Definition, BTreeMap<Output, Digest>) {
        let Some(result) = result else { return Default::default() };
        let mut writer = Writer {
            graph: self,
            digests: HashMap::new(),
            written: HashSet::new(),
            definition: Definition::default(),
        };
        writer.visit(result.vertex);
        let mut digests = BTreeMap::new();
        for (vertex, _) in self.nodes.iter().enumerate() {
            if let Some(digest) = writer.digests.get(&vertex) {
                digests.insert(Output { vertex, index: 0 }, digest.clone());
            }
        }
        (writer.finish(result, self.file.as_ref()), digests)
    }

    fn add(
        &mut self,
        op: pb::Op,
        inputs: Vec<Output>,
        metadata: Metadata,
        caps: &[&str],
    ) -> Output {
        let key = (op.to_bytes(), inputs.clone());
        let vertex = *self.known.entry(key).or_insert_with(|| {
            let (metadata, ranges) = (pb::OpMetadata::default(), Vec::new());
            self.nodes.push(Node { op, inputs, metadata, ranges });
            self.nodes.len() - 1
        });
        if let Some(node) = self.nodes.get_mut(vertex) {
            node.metadata.ignore_cache |= metadata.ignore_cache;
            node.metadata.description.extend(metadata.description);
            node.metadata.caps.extend(caps.iter().map(|cap| ((*cap).to_owned(), true)));
            if metadata.progress_group.is_some() {
                node.metadata.progress_group = metadata.progress_group;
            }
            if !metadata.ranges.is_empty() && !node.ranges.contains(&metadata.ranges) {
                node.ranges.push(metadata.ranges);
            }
        }
        Output { vertex, index: 0 }
    }
}

fn operation(kind: pb::op::Kind, platform: Option<pb::Platform>) -> pb::Op {
    pb::Op {
        inputs: Vec::new(),
        op: Some(kind),
        platform,
        constraints: Some(pb::WorkerConstraints::default()),
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Position of `output` among `inputs`, where it is added if new; -1 for the empty file system.
fn position(inputs: &mut Vec<Output>, output: Option<Output>) -> i64 {
    let Some(output) = output else { return -1 };
    let at = inputs.iter().position(|known| *known == output).unwrap_or_else(|| {
        inputs.push(output);
        inputs.len() - 1
    });
    number(at)
}

impl FileAction {
    fn into_wire(self, base: i64) -> pb::file_action::Action {
        use pb::file_action::Action;
        let place = |owner: &mut Option<pb::ChownOpt>| {
            let Some(owner) = owner else { return };
            for user in [&mut owner.user, &mut owner.group].into_iter().flatten() {
                if let Some(pb::user_opt::User::ByName(named)) = &mut user.user {
                    named.input = base;
                }
            }
        };
        match self {
            Self::Copy { mut copy, .. } => {
                place(&mut copy.owner);
                Action::Copy(copy)
            }
            Self::Mkfile(mut file) => {
                place(&mut file.owner);
                Action::Mkfile(file)
            }
            Self::Mkdir(mut directory) => {
                place(&mut directory.owner);
                Action::Mkdir(directory)
            }
            Self::Symlink(mut link) => {
                place(&mut link.owner);
                Action::Symlink(link)
            }
            Self::Rm(rm) => Action::Rm(rm),
        }
    }
}

impl Mount {
    fn into_wire(
        self,
        inputs: &mut Vec<Output>,
        outputs: &mut i64,
        caps: &mut Vec<&'static str>,
    ) -> pb::Mount {
        if !self.selector.is_empty() {
            caps.push("exec.mount.selector");
        }
        let mut mount = pb::Mount {
            input: position(inputs, self.source),
            selector: self.selector,
            dest: self.dest,
            output: -1,
            readonly: self.readonly,
            ..pb::Mount::default()
        };
        match self.kind {
            MountKind::Keep if !self.readonly => {
                mount.output = *outputs;
                *outputs += 1;
            }
            MountKind::Keep | MountKind::Discard => {}
            MountKind::Cache { id, sharing } => {
                caps.extend(["exec.mount.cache", "exec.mount.cache.sharing"]);
                mount.mount_type = pb::MountType::Cache.into();
                mount.cache_opt = Some(pb::CacheOpt { id, sharing: sharing.into() });
            }
            MountKind::Tmpfs { size } => {
                caps.push("exec.mount.tmpfs");
                if size > 0 {
                    caps.push("exec.mount.tmpfs.size");
                }
                mount.mount_type = pb::MountType::Tmpfs.into();
                mount.tmpfs_opt = Some(pb::TmpfsOpt { size });
            }
        }
        if mount.mount_type == i32::from(pb::MountType::Bind) && self.source.is_some() {
            caps.push("exec.mount.bind");
        }
        mount
    }
}

struct Writer<'a> {
    graph: &'a Graph,
    digests: HashMap<usize, Digest>,
    written: HashSet<Digest>,
    definition: Definition,
}

impl Writer<'_> {
    /// Writes `root` and what it needs, without recursion: graphs are as deep as Dockerfiles are long.
    fn visit(&mut self, root: usize) {
        let mut stack = vec![(root, false)];
        while let Some((vertex, ready)) = stack.pop() {
            if self.digests.contains_key(&vertex) {
                continue;
            }
            let Some(node) = self.graph.nodes.get(vertex) else { continue };
            if ready {
                self.write(vertex, node);
                continue;
            }
            stack.push((vertex, true));
            stack.extend(node.inputs.iter().rev().map(|input| (input.vertex, false)));
        }
    }

    fn write(&mut self, vertex: usize, node: &Node) {
        let mut op = node.op.clone();
        op.inputs = node.inputs.iter().map(|input| self.input(*input)).collect();
        let bytes = op.to_bytes();
        let digest = Digest::of(&bytes);
        self.digests.insert(vertex, digest.clone());
        let metadata = self.definition.metadata.entry(digest.clone()).or_default();
        metadata.ignore_cache |= node.metadata.ignore_cache;
        metadata.description.extend(node.metadata.description.clone());
        metadata.caps.extend(node.metadata.caps.clone());
        if let Some(group) = &node.metadata.progress_group {
            metadata.progress_group = Some(group.clone());
        }
        if !node.ranges.is_empty() {
            let source = self.definition.source.get_or_insert_default();
            let places = source.locations.entry(digest.to_string()).or_default();
            let ranges = node.ranges.iter().cloned();
            places.locations.extend(ranges.map(|ranges| pb::Location { source_index: 0, ranges }));
        }
        if self.written.insert(digest.clone()) {
            self.definition.ops.push((digest, bytes));
        }
    }

    fn input(&self, output: Output) -> pb::Input {
        let digest = self.digests.get(&output.vertex).map(ToString::to_string);
        pb::Input { digest: digest.unwrap_or_default(), index: output.index }
    }

    fn finish(mut self, result: Output, file: Option<&SourceFile>) -> Definition {
        let terminal = pb::Op { inputs: vec![self.input(result)], ..pb::Op::default() };
        let bytes = terminal.to_bytes();
        let digest = Digest::of(&bytes);
        let ignored = self.definition.metadata.values().any(|vertex| vertex.ignore_cache);
        let metadata = self.definition.metadata.entry(digest.clone()).or_default();
        let mut caps = vec!["constraints", "platform", "meta.description"];
        if ignored {
            caps.push("meta.ignorecache");
        }
        metadata.caps = caps.into_iter().map(|cap| (cap.to_owned(), true)).collect();
        self.definition.ops.push((digest, bytes));
        if let (Some(source), Some(file)) = (&mut self.definition.source, file) {
            source.infos.push(pb::SourceInfo {
                filename: file.name.clone(),
                data: file.data.clone(),
                definition: None,
                language: file.language.clone(),
            });
        }
        self.definition
    }
}
