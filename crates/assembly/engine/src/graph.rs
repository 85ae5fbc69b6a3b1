//! All definitions of a build as one graph, in which equal vertices are one.

use std::collections::BTreeMap;

use build_api::BuildError;
use frontend::{Compiled, Step};
use llb::Edge;
use llb::pb::op::Kind;
use oci::{Digest, Platform};

/// A vertex of the merged graph.
#[derive(Debug)]
pub(crate) struct Node {
    /// Digest of the operation.
    pub(crate) id: Digest,
    pub(crate) op: llb::pb::Op,
    pub(crate) inputs: Vec<Edge>,
    /// What it is in terms of the Dockerfile, where it is an instruction.
    pub(crate) step: Option<Step>,
    pub(crate) name: String,
    pub(crate) ignore_cache: bool,
    /// Which of the build's results need it, by position.
    pub(crate) results: Vec<usize>,
}

impl Node {
    pub(crate) fn kind(&self) -> Option<&Kind> {
        self.op.op.as_ref()
    }

    /// The platform of the operation; of the step where the operation has none.
    pub(crate) fn platform(&self) -> Option<Platform> {
        let stated = self.op.platform.as_ref().map(|it| {
            Platform {
                architecture: it.architecture.clone(),
                os: it.os.clone(),
                os_version: it.os_version.clone(),
                os_features: it.os_features.clone(),
                variant: it.variant.clone(),
            }
            .normalized()
        });
        stated.or_else(|| self.step.as_ref().map(|step| step.platform.clone()))
    }

    /// Which input the result is stacked on, by position in `inputs`.
    pub(crate) fn base(&self) -> Option<usize> {
        let position =
            |number: i64| usize::try_from(number).ok().filter(|at| *at < self.inputs.len());
        match self.kind()? {
            Kind::Exec(exec) => {
                let root = exec.mounts.iter().find(|mount| mount.dest == llb_root())?;
                position(root.input)
            }
            Kind::File(file) => first_input(file).and_then(position),
            _ => None,
        }
    }

    /// Sources and merges have nothing worth remembering: making them again costs nothing.
    pub(crate) fn is_trivial(&self) -> bool {
        !matches!(self.kind(), Some(Kind::Exec(_) | Kind::File(_)))
    }
}

pub(crate) fn llb_root() -> &'static str {
    "/"
}

/// The input that the first action of a file operation changes.
pub(crate) fn first_input(file: &llb::pb::FileOp) -> Option<i64> {
    file.actions.first().map(|action| action.input).filter(|input| *input >= 0)
}

/// The merged graph.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Each after those it needs.
    pub(crate) nodes: Vec<Node>,
    /// What each definition ends in, in the order given; `None` is the empty file system.
    pub(crate) results: Vec<Option<Edge>>,
}

impl Graph {
    pub(crate) fn merge(compiled: &[Compiled]) -> Result<Self, BuildError> {
        let mut graph = Self::default();
        let mut positions: BTreeMap<Digest, usize> = BTreeMap::new();
        for one in compiled {
            let resolved = one.definition.resolve().map_err(|source| BuildError::Failed {
                message: "the compiled build is malformed".to_owned(),
                hint: None,
                source: Some(Box::new(source)),
            })?;
            let mut moved: Vec<usize> = Vec::with_capacity(resolved.vertices.len());
            for vertex in resolved.vertices {
                let inputs = vertex
                    .inputs
                    .iter()
                    .map(|edge| Edge { vertex: moved[edge.vertex], output: edge.output });
                let inputs: Vec<Edge> = inputs.collect();
                let step = one.steps.get(&vertex.digest).cloned();
                let ignore_cache = vertex.metadata.ignore_cache
                    || step.as_ref().is_some_and(|step| step.ignore_cache);
                if let Some(&position) = positions.get(&vertex.digest) {
                    graph.nodes[position].ignore_cache |= ignore_cache;
                    moved.push(position);
                    continue;
                }
                let name = vertex
                    .name()
                    .map(str::to_owned)
                    .or_else(|| step.as_ref().map(|step| step.name.clone()));
                let name = name.unwrap_or_else(|| describe(vertex.kind()));
                positions.insert(vertex.digest.clone(), graph.nodes.len());
                moved.push(graph.nodes.len());
                let node = Node {
                    id: vertex.digest,
                    op: vertex.op,
                    inputs,
                    step,
                    name,
                    ignore_cache,
                    results: Vec::new(),
                };
                graph.nodes.push(node);
            }
            graph.results.push(
                resolved
                    .result
                    .map(|edge| Edge { vertex: moved[edge.vertex], output: edge.output }),
            );
        }
        graph.mark();
        Ok(graph)
    }

    /// Notes at each vertex which results need it.
    fn mark(&mut self) {
        for (result, edge) in self.results.iter().enumerate() {
            let mut pending: Vec<usize> = edge.iter().map(|edge| edge.vertex).collect();
            while let Some(at) = pending.pop() {
                let node = &mut self.nodes[at];
                if node.results.last() != Some(&result) {
                    node.results.push(result);
                    pending.extend(node.inputs.iter().map(|edge| edge.vertex));
                }
            }
        }
    }

    /// The graph as the solver sees it.
    pub(crate) fn vertices(&self) -> Vec<solver::Vertex> {
        let vertex = |node: &Node| solver::Vertex {
            inputs: node.inputs.iter().map(|edge| edge.vertex).collect(),
            base: node.base(),
            ignore_cache: node.ignore_cache,
            trivial: node.is_trivial(),
        };
        self.nodes.iter().map(vertex).collect()
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Source(source) => source.identifier.clone(),
        Kind::Exec(exec) => exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default(),
        Kind::File(_) => "change files".to_owned(),
        Kind::Merge(_) => "merge".to_owned(),
        Kind::Diff(_) => "diff".to_owned(),
        _ => "operation".to_owned(),
    }
}
