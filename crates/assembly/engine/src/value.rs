//! What a vertex results in.

use std::sync::{Arc, OnceLock};

use fstree::ContextTree;
use oci::Digest;
use snapshot::Layer;

/// A layer, and what the engine found out about it.
#[derive(Clone)]
pub(crate) struct StackLayer(Arc<Inner>);

struct Inner {
    layer: Layer,
    /// Digest of what it changes, times left out.
    content: OnceLock<Digest>,
    /// For layers made by builds: identifies it with its times, also in later runs.
    key: Option<String>,
    /// A layer of Windows itself: outside of Windows' own folders it holds nothing.
    own_of_windows: bool,
}

impl StackLayer {
    /// A layer of an image.
    pub(crate) fn of_image(layer: Layer) -> Self {
        Self(Arc::new(Inner { layer, content: OnceLock::new(), key: None, own_of_windows: false }))
    }

    /// A layer of Windows itself, beneath all others of an image.
    pub(crate) fn of_windows(layer: Layer) -> Self {
        let content = OnceLock::new();
        Self(Arc::new(Inner { layer, content, key: None, own_of_windows: true }))
    }

    /// A layer that a build made.
    pub(crate) fn made(layer: Layer, key: String) -> Self {
        Self(Arc::new(Inner {
            layer,
            content: OnceLock::new(),
            key: Some(key),
            own_of_windows: false,
        }))
    }

    pub(crate) fn layer(&self) -> &Layer {
        &self.0.layer
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    pub(crate) fn is_own_of_windows(&self) -> bool {
        self.0.own_of_windows
    }

    pub(crate) fn known_content(&self) -> Option<&Digest> {
        self.0.content.get()
    }

    /// Keeps the content digest; one that is known already stays, and is returned.
    pub(crate) fn remember_content(&self, content: Digest) -> Digest {
        self.0.content.get_or_init(|| content).clone()
    }

    /// Whether both are one layer in memory.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A result.
#[derive(Clone)]
pub(crate) enum Value {
    /// A file system: layers, bottom first.
    Stack(Arc<Vec<StackLayer>>),
    /// A local directory, read in place.
    Context(Arc<LocalContext>),
}

/// A local directory as a vertex selects from it.
pub(crate) struct LocalContext {
    pub(crate) tree: Arc<ContextTree>,
    /// The same as a layer, for steps that mount it.
    layer: OnceLock<StackLayer>,
}

impl LocalContext {
    pub(crate) fn new(tree: ContextTree) -> Self {
        Self { tree: Arc::new(tree), layer: OnceLock::new() }
    }
}

impl Value {
    pub(crate) fn empty() -> Self {
        Self::Stack(Arc::default())
    }

    /// The result as layers.
    pub(crate) fn layers(&self) -> Arc<Vec<StackLayer>> {
        match self {
            Self::Stack(layers) => Arc::clone(layers),
            Self::Context(context) => {
                let layer = context.layer.get_or_init(|| {
                    StackLayer::of_image(Layer::changes(Arc::new(context.tree.files().clone())))
                });
                Arc::new(vec![layer.clone()])
            }
        }
    }

    /// The same, for `snapshot`.
    pub(crate) fn plain_layers(&self) -> Vec<Layer> {
        self.layers().iter().map(|layer| layer.layer().clone()).collect()
    }

    /// This file system with one more layer.
    pub(crate) fn with(&self, layer: StackLayer) -> Self {
        let mut layers = self.layers().as_ref().clone();
        layers.push(layer);
        Self::Stack(Arc::new(layers))
    }
}
