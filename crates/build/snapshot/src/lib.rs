//! How do layers become file trees that can be looked into, run in, and changed?
//!
//! A [`Layer`] is one changeset in any of three forms: a blob in a registry or the store, changes whose files are read
//! where they are, or a tree of the store. [`Snapshots`] turns one form into another when somebody needs it, at most
//! once per store: [`Snapshots::ensure_tree`]. [`Snapshots::view`] looks into a stack of layers without mounting
//! anything; [`Snapshots::prepare`] gives a step a place to write, and [`Active::commit`] makes what it wrote a layer.
//!
//! Must not know: Dockerfiles, LLB, registries (it asks a [`LayerSource`] for blobs).

mod active;
mod cache_mount;
mod error;
mod layer;
mod probe;
mod snapshots;
mod view;

pub use active::{Active, Place};
pub use cache_mount::{CacheMount, Sharing};
pub use error::SnapshotError;
pub use layer::{Layer, LayerSource};
pub use probe::Mode;
pub use snapshots::Snapshots;
pub use view::View;
