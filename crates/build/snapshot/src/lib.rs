//! What does a stack of layers look like, and how does a step write on top of it?
//!
//! A [`Layer`] is a changeset in one of its forms. [`Snapshots::view`] looks into a stack of them without mounting
//! anything; [`Snapshots::ensure_trees`] unpacks them, each once per store, into trees that overlay mounts stack;
//! [`Snapshots::prepare`] hands out what a sandbox mounts for a step, and [`Active::commit`] makes what the step wrote a
//! tree. Where overlays cannot be mounted a step gets a copy, and what it changed is found by comparing.
//!
//! Must not know: images, LLB, the solver, how a sandbox is made, where blobs come from.

mod active;
mod cache;
mod error;
mod layer;
mod lock;
mod probe;
#[cfg(test)]
mod tests;
mod trees;
mod view;

pub use active::{Active, Mounted, Rootfs};
pub use cache::{CacheMount, CacheRequest, Sharing};
pub use error::SnapshotError;
pub use layer::{BlobLayer, Layer, LayerKind, LayerSource, TreeId};
pub use trees::{Mode, Snapshots};
pub use view::View;
