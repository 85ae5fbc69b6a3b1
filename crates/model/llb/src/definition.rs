use std::collections::{BTreeMap, HashMap};

use oci::Digest;
use prost::Message;

use crate::pb;

/// A definition with the bytes of its vertices as they were written or received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// The ops, each after those it needs, by digest. The last is the terminal op: one input, the result. Nothing at
    /// all is the empty file system.
    pub ops: Vec<(Digest, Vec<u8>)>,
    /// What is said about vertices.
    pub metadata: BTreeMap<Digest, pb::OpMetadata>,
    /// The places they come from.
    pub source: Option<pb::Source>,
}

/// Why a definition is not one.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// Bytes are no protobuf message of the kind.
    #[error("the {what} is not well formed")]
    Malformed {
        /// Of what.
        what: &'static str,
        /// Where it stops making sense.
        source: prost::DecodeError,
    },
    /// Too much.
    #[error("the definition has {0} vertices, more than {MAX_VERTICES}")]
    TooLarge(usize),
    /// An edge leads nowhere.
    #[error("vertex {vertex} needs `{missing}`, which the definition does not have before it")]
    UnknownInput {
        /// Whose edge.
        vertex: Digest,
        /// Where it leads.
        missing: String,
    },
    /// An op of a kind that this crate does not know.
    #[error("vertex {0} is an operation that crossdock does not know")]
    UnknownOperation(Digest),
    /// A number that refers to an input, and there is none.
    #[error("vertex {vertex} refers to input {input}, and has {inputs}")]
    BadIndex {
        /// Whose.
        vertex: Digest,
        /// The number.
        input: i64,
        /// How many there are.
        inputs: usize,
    },
    /// The last op does not name a result.
    #[error("the definition does not end with its result")]
    NoResult,
}

/// More than any build has, few enough to keep in memory.
const MAX_VERTICES: usize = 100_000;

/// A definition's vertices, referring to each other by position.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Each after those it needs.
    pub vertices: Vec<Vertex>,
    /// The result; `None` is the empty file system.
    pub result: Option<Edge>,
}

/// A vertex of a [`Resolved`].
#[derive(Clone, Debug)]
pub struct Vertex {
    /// Digest of its bytes.
    pub digest: Digest,
    /// The operation.
    pub op: pb::Op,
    /// The op's inputs, in its order.
    pub inputs: Vec<Edge>,
    /// What is said about it.
    pub metadata: pb::OpMetadata,
    /// The places it comes from.
    pub locations: Vec<pb::Location>,
}

impl Vertex {
    /// What it does.
    pub fn kind(&self) -> &pb::op::Kind {
        static NOTHING: pb::op::Kind = pb::op::Kind::Merge(pb::MergeOp { inputs: Vec::new() });
        // `Definition::resolve` made sure that there is one.
        self.op.op.as_ref().unwrap_or(&NOTHING)
    }

    /// Its name for people.
    pub fn name(&self) -> Option<&str> {
        self.metadata.description.get(crate::attr::CUSTOM_NAME).map(String::as_str)
    }
}

/// An output of a vertex of a [`Resolved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// Position of the vertex.
    pub vertex: usize,
    /// Number of its output.
    pub output: i64,
}

impl Definition {
    /// Digest of the vertex that makes the result; `None` for the empty file system.
    pub fn head(&self) -> Option<Digest> {
        let (_, last) = self.ops.last()?;
        let op = pb::Op::decode(last.as_slice()).ok()?;
        op.inputs.first()?.digest.parse().ok()
    }

    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        pb::Definition::from(self).encode_to_vec()
    }

    /// Reads the wire form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DefinitionError> {
        let message = pb::Definition::decode(bytes)
            .map_err(|source| DefinitionError::Malformed { what: "definition", source })?;
        Ok(message.into())
    }

    /// Decodes the ops and connects them.
    pub fn resolve(&self) -> Result<Resolved, DefinitionError> {
        if self.ops.len() > MAX_VERTICES {
            return Err(DefinitionError::TooLarge(self.ops.len()));
        }
        let Some(((_, last), vertices)) = self.ops.split_last() else {
            return Ok(Resolved::default());
        };
        let mut positions: HashMap<String, usize> = HashMap::new();
        let mut resolved = Vec::with_capacity(vertices.len());
        for (digest, bytes) in vertices {
            let op = decode_op(bytes)?;
            if op.op.is_none() {
                return Err(DefinitionError::UnknownOperation(digest.clone()));
            }
            check(digest, &op)?;
            let inputs = connect(digest, &op, &positions)?;
            if positions.contains_key(digest.as_str()) {
                continue;
            }
            positions.insert(digest.to_string(), resolved.len());
            let place = self.source.as_ref().and_then(|s| s.locations.get(digest.as_str()));
            resolved.push(Vertex {
                digest: digest.clone(),
                op,
                inputs,
                metadata: self.metadata.get(digest).cloned().unwrap_or_default(),
                locations: place.map(|place| place.locations.clone()).unwrap_or_default(),
            });
        }
        let terminal = decode_op(last)?;
        let [result] = terminal.inputs.as_slice() else { return Err(DefinitionError::NoResult) };
        if terminal.op.is_some() || result.index < 0 {
            return Err(DefinitionError::NoResult);
        }
        let vertex = *positions.get(&result.digest).ok_or(DefinitionError::NoResult)?;
        let result = Some(Edge { vertex, output: result.index });
        Ok(Resolved { vertices: resolved, result })
    }
}

impl From<&Definition> for pb::Definition {
    fn from(definition: &Definition) -> Self {
        let metadata = definition.metadata.iter();
        Self {
            def: definition.ops.iter().map(|(_, bytes)| bytes.clone()).collect(),
            metadata: metadata.map(|(digest, entry)| (digest.to_string(), entry.clone())).collect(),
            source: definition.source.clone(),
        }
    }
}

impl From<pb::Definition> for Definition {
    fn from(message: pb::Definition) -> Self {
        let metadata = message.metadata.into_iter();
        Self {
            ops: message.def.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect(),
            metadata: metadata
                .filter_map(|(digest, entry)| Some((digest.parse().ok()?, entry)))
                .collect(),
            source: message.source,
        }
    }
}

fn decode_op(bytes: &[u8]) -> Result<pb::Op, DefinitionError> {
    pb::Op::decode(bytes).map_err(|source| DefinitionError::Malformed { what: "operation", source })
}

fn connect(
    digest: &Digest,
    op: &pb::Op,
    positions: &HashMap<String, usize>,
) -> Result<Vec<Edge>, DefinitionError> {
    let edge = |input: &pb::Input| match positions.get(&input.digest) {
        Some(vertex) if input.index >= 0 => Ok(Edge { vertex: *vertex, output: input.index }),
        _ => Err(DefinitionError::UnknownInput {
            vertex: digest.clone(),
            missing: format!("{}#{}", input.digest, input.index),
        }),
    };
    op.inputs.iter().map(edge).collect()
}

/// Every number that refers to an input refers to one.
fn check(digest: &Digest, op: &pb::Op) -> Result<(), DefinitionError> {
    let inputs = op.inputs.len();
    let within = |input: i64, limit: usize| {
        if input == -1 || usize::try_from(input).is_ok_and(|input| input < limit) {
            return Ok(());
        }
        Err(DefinitionError::BadIndex { vertex: digest.clone(), input, inputs: limit })
    };
    match &op.op {
        Some(pb::op::Kind::Exec(exec)) => {
            exec.mounts.iter().try_for_each(|mount| within(mount.input, inputs))
        }
        Some(pb::op::Kind::File(file)) => {
            file.actions.iter().enumerate().try_for_each(|(index, action)| {
                // An action may use the results of those before it.
                within(action.input, inputs + index)?;
                within(action.secondary_input, inputs + index)
            })
        }
        Some(pb::op::Kind::Merge(merge)) => {
            merge.inputs.iter().try_for_each(|input| within(input.input, inputs))
        }
        Some(pb::op::Kind::Diff(diff)) => {
            let both = [&diff.lower, &diff.upper].into_iter().flatten();
            both.into_iter().try_for_each(|input| within(input.input, inputs))
        }
        _ => Ok(()),
    }
}
