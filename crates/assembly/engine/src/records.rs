//! What the store remembers of vertices that ran.

use llb::pb::op::Kind;
use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};
use snapshot::{BlobLayer, Layer, LayerKind, TreeId};
use store::{Ref, Store, StoreError};

use crate::graph::Node;
use crate::value::StackLayer;

/// Namespace of cache records in the store.
const NAMESPACE: &str = "cache";

/// The layer that a vertex added, in all durable forms that are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    /// What identifies the layer with its times.
    pub(crate) key: String,
    /// The tree in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tree: Option<String>,
    /// The packed layer, its diff ID, and whether it has Windows form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<(Descriptor, Digest, bool)>,
    /// Digest of the content, times left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Digest>,
}

impl LayerRecord {
    /// What is durable of a layer that a build made, with a packed form where the caller knows one; `None` when nothing is.
    pub(crate) fn of(layer: &StackLayer, packed: Option<BlobLayer>) -> Option<Self> {
        let blob = match layer.layer().kind() {
            LayerKind::Blob(blob) => Some(blob.clone()),
            LayerKind::Tree(_) | LayerKind::Changes(_) => packed,
        };
        let tree = layer.layer().known_tree().map(|TreeId(id)| id);
        if tree.is_none() && blob.is_none() {
            return None;
        }
        Some(Self {
            key: layer.key()?.to_owned(),
            tree,
            blob: blob.map(|it| (it.descriptor, it.diff_id, it.windows)),
            content: layer.known_content().cloned(),
        })
    }

    /// The layer, if the store still has it.
    pub(crate) fn layer(&self, store: &Store) -> Option<StackLayer> {
        let tree = self.tree.as_ref().filter(|tree| store.has_tree(tree));
        let layer = match (tree, &self.blob) {
            (Some(tree), _) => Layer::tree(TreeId(tree.clone())),
            (None, Some((descriptor, diff_id, windows))) => {
                store.blob_size(&descriptor.digest)?;
                Layer::blob(BlobLayer {
                    descriptor: descriptor.clone(),
                    diff_id: diff_id.clone(),
                    windows: *windows,
                })
            }
            (None, None) => return None,
        };
        let layer = StackLayer::made(layer, self.key.clone());
        if let Some(content) = &self.content {
            layer.remember_content(content.clone());
        }
        Some(layer)
    }

    fn refs(&self) -> Vec<Ref> {
        let tree = self.tree.iter().map(|tree| Ref::Tree(tree.clone()));
        let blob = self.blob.iter().map(|(blob, ..)| Ref::Blob(blob.digest.clone()));
        tree.chain(blob).collect()
    }
}

/// The key of a record. Those of a process begin with its operation, so that it can be told whether it ever ran.
pub(crate) fn key(node: &Node, digest: &Digest) -> String {
    match operation_prefix(node) {
        Some(prefix) => prefix + digest.as_str(),
        None => digest.to_string(),
    }
}

fn operation_prefix(node: &Node) -> Option<String> {
    matches!(node.kind(), Some(Kind::Exec(_)))
        .then(|| format!("{}/", crate::keys::operation(node).hex()))
}

/// Whether some result of the same process is known, whatever it read. Operations on files are found by what they
/// change, so nothing can be said of them.
pub(crate) fn may_be_known(store: &Store, node: &Node) -> Result<bool, StoreError> {
    match operation_prefix(node) {
        Some(prefix) => Ok(!store.keys(NAMESPACE, &prefix)?.is_empty()),
        None => Ok(true),
    }
}

pub(crate) fn look_up(store: &Store, key: &str) -> Result<Option<LayerRecord>, StoreError> {
    let record = store.get(NAMESPACE, key)?;
    // A record of another version of this program is none.
    Ok(record.and_then(|record| serde_json::from_slice(&record).ok()))
}

pub(crate) fn record(
    store: &Store,
    keys: &[String],
    layer: &LayerRecord,
) -> Result<(), StoreError> {
    let value = serde_json::to_vec(layer).unwrap_or_default();
    let refs = layer.refs();
    let record = |key| store::Record { namespace: NAMESPACE, key, value: &value, refs: &refs };
    let records: Vec<store::Record<'_>> = keys.iter().map(|key| record(key)).collect();
    store.put_many(&records)
}
