use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use fstree::Changeset;
use oci::{Descriptor, Digest};

/// The name of a tree in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeId(pub String);

impl fmt::Display for TreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One changeset of a stack. Clones are the same layer: what one has unpacked the other has too.
#[derive(Clone)]
pub struct Layer {
    inner: Arc<Inner>,
}

struct Inner {
    kind: LayerKind,
    tree: Mutex<Option<TreeId>>,
}

/// In which form a layer came.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "always behind the `Arc` of its layer")]
pub enum LayerKind {
    /// A tree in the store.
    Tree(TreeId),
    /// Changes in memory whose file contents lie elsewhere on this machine.
    Changes(Arc<Changeset>),
    /// A blob, here or elsewhere.
    Blob(BlobLayer),
}

/// A layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobLayer {
    /// The compressed bytes.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed bytes, as the image's configuration has it.
    pub diff_id: Digest,
    /// Whether it is in Windows form.
    pub windows: bool,
}

/// Where the bytes of layers come from. Called from several threads.
pub trait LayerSource: Send + Sync {
    /// Opens the compressed bytes of a layer, fetching them first if need be. They are checked against the diff ID.
    fn open(&self, layer: &BlobLayer) -> io::Result<Box<dyn Read + Send>>;
}

impl Layer {
    /// A tree in the store.
    pub fn tree(id: TreeId) -> Self {
        Self::new(LayerKind::Tree(id.clone()), Some(id))
    }

    /// Changes in memory.
    pub fn changes(changes: Arc<Changeset>) -> Self {
        Self::new(LayerKind::Changes(changes), None)
    }

    /// A layer of an image.
    pub fn blob(blob: BlobLayer) -> Self {
        Self::new(LayerKind::Blob(blob), None)
    }

    fn new(kind: LayerKind, tree: Option<TreeId>) -> Self {
        Self { inner: Arc::new(Inner { kind, tree: Mutex::new(tree) }) }
    }

    /// In which form it came.
    pub fn kind(&self) -> &LayerKind {
        &self.inner.kind
    }

    /// Its tree, if it has been unpacked through this value or a clone.
    pub fn known_tree(&self) -> Option<TreeId> {
        self.inner.tree.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds the layer while it is being unpacked, so that threads do not do so twice.
    pub(crate) fn unpack_once<E>(
        &self,
        unpack: impl FnOnce() -> Result<TreeId, E>,
    ) -> Result<TreeId, E> {
        let mut tree = self.inner.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = &*tree {
            return Ok(tree.clone());
        }
        Ok(tree.insert(unpack()?).clone())
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.kind {
            LayerKind::Tree(id) => write!(f, "tree {id}"),
            LayerKind::Changes(changes) => write!(f, "{} changes", changes.len()),
            LayerKind::Blob(blob) => write!(f, "blob {}", blob.descriptor.digest),
        }
    }
}
