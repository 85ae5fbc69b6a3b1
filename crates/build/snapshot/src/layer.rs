use std::sync::{Arc, Mutex, OnceLock};

use fstree::Changeset;
use oci::{Descriptor, Digest};

/// One changeset, in one or more of its forms. Clones share what is found out about it.
#[derive(Clone, Debug)]
pub struct Layer(pub(crate) Arc<Inner>);

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// The blob it came as, and its diff ID.
    pub(crate) blob: Option<(Descriptor, Digest)>,
    /// Whether the blob has the form of Windows layers.
    pub(crate) windows: bool,
    /// Changes in memory, their files where they are.
    pub(crate) changes: Option<Arc<Changeset>>,
    /// The tree in the store.
    pub(crate) tree: OnceLock<String>,
    /// Digest of what it changes, times left out.
    pub(crate) content: OnceLock<Digest>,
    /// Held while the tree is made.
    pub(crate) making: Mutex<()>,
}

impl Layer {
    /// A layer of an image: its blob is in the store, or a [`LayerSource`] can bring it there. `windows` tells that it
    /// has the form of Windows layers.
    pub fn from_blob(blob: Descriptor, diff_id: Digest, windows: bool) -> Self {
        Self(Arc::new(Inner { blob: Some((blob, diff_id)), windows, ..Inner::default() }))
    }

    /// Changes whose files are read where they are.
    pub fn from_changes(changes: Changeset) -> Self {
        Self(Arc::new(Inner { changes: Some(Arc::new(changes)), ..Inner::default() }))
    }

    /// A tree of the store, in overlay form.
    pub fn from_tree(id: impl Into<String>) -> Self {
        Self(Arc::new(Inner { tree: OnceLock::from(id.into()), ..Inner::default() }))
    }

    /// As [`from_tree`](Self::from_tree), with what is known to be its content's digest.
    pub fn from_tree_with_content(id: impl Into<String>, content: Digest) -> Self {
        Self(Arc::new(Inner { tree: OnceLock::from(id.into()), content: OnceLock::from(content), ..Inner::default() }))
    }

    /// The blob it came as, and its diff ID. `None` for what was made here.
    pub fn blob(&self) -> Option<(&Descriptor, &Digest)> {
        self.0.blob.as_ref().map(|(descriptor, diff_id)| (descriptor, diff_id))
    }

    /// Whether its blob has the form of Windows layers.
    pub fn is_windows_form(&self) -> bool {
        self.0.windows
    }

    /// The changes in memory, if it has that form.
    pub fn changes(&self) -> Option<&Arc<Changeset>> {
        self.0.changes.as_ref()
    }

    /// The tree, if it has that form already.
    pub fn tree(&self) -> Option<&str> {
        self.0.tree.get().map(String::as_str)
    }

    /// The content digest, if it is known already.
    pub fn known_content(&self) -> Option<&Digest> {
        self.0.content.get()
    }

    /// Whether both are one layer in memory.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Brings blobs into the store.
pub trait LayerSource: Sync {
    /// Makes sure that the blob is in the store, verified. Called from several threads for different blobs.
    fn fetch(&self, blob: &Descriptor) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}
