//! What is in a file tree, and how is it walked, filtered, changed, digested and written down?
//!
//! A tree comes as a directory of the host behind a [`Root`], as a [`Changeset`] in memory or as a stack of layers
//! (crate `snapshot`); all are looked into through [`TreeView`]. File operations ([`fileop`]) read such views and
//! give a changeset, whose file contents stay where they are until a layer is packed or [`write_tree`] copies them.
//!
//! Must not know: tar, compression, images, LLB, the store, Dockerfiles.

mod content;
mod context;
mod digest;
mod directory;
mod disk;
mod entry;
pub mod fileop;
mod ignore;
mod owners;
mod path;
mod pattern;
mod root;
#[cfg(test)]
mod tests;
mod view;
mod walk;
mod write;

pub use content::{Content, ContentReader, DiskFile, FileChanged, FileIdentity};
pub use context::{ContextOptions, ContextTree, read_context_file};
pub use digest::{DigestCache, NoCache, Selector, content_digest, file_digests};
pub use directory::{DirectoryTree, mark_implied, read_root, read_tree};
pub use disk::TreeForm;
pub use entry::{Changeset, Entry, Kind, Metadata, Mtime};
pub use ignore::{IgnoreRules, MatchInfo, PatternSet};
pub use owners::{DEVICE_XATTR, NOBODY, OWNER_XATTR, OwnerError, Owners, WINDOWS_XATTRS};
pub use path::{PathError, RelPath, show};
pub use pattern::{glob_match, has_wildcards};
pub use root::{Root, Shown};
pub use view::{EmptyTree, Link, MAX_LINKS, TreeError, TreeView, resolve, root_entry};
pub use write::{TreeWriter, WriteOptions, remove_all, write_root, write_tree};
