//! What does a file operation change? BuildKit's copy, mkfile, mkdir, rm and symlink on a view of a tree.
//!
//! Nothing is mounted or written: an [`Edit`] lies over its base, each action reads both and adds entries, and
//! [`Edit::finish`] gives the changes with, as an overlay's upper directory would have them, the directories above.
//! The rules are those of `solver/llbsolver/file` in BuildKit and `copy` in fsutil.

mod action;
mod copy;
mod edit;
mod mode;
mod owner;

use std::sync::Arc;

pub(crate) use action::expand;
pub use edit::Edit;
pub use mode::ModeChange;
pub use owner::{Id, Owner};

use crate::{Changeset, Content, Mtime, TreeError, TreeView};

/// One action of a file operation. Paths are as given: `/`-separated, taken from the root, `..` never leaving it.
#[derive(Clone, Debug)]
pub enum Action {
    /// Copies files of another tree.
    Copy(Copy),
    /// Makes a file with the given content.
    MakeFile(MakeFile),
    /// Makes a directory.
    MakeDirectory(MakeDirectory),
    /// Removes files.
    Remove(Remove),
    /// Makes a symbolic link.
    Symlink(Symlink),
}

/// Copies files of a source tree, `pb.FileActionCopy`.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of the wire format, each on its own"
)]
pub struct Copy {
    /// What to copy.
    pub source: Vec<u8>,
    /// Where to.
    pub destination: Vec<u8>,
    /// Whose the copies are; as in the source when `None`.
    pub owner: Option<Owner>,
    /// Mode of the copies and of directories made for them; as in the source when `None`.
    pub mode: Option<ModeChange>,
    /// A link at `source` itself is followed.
    pub follow_symlink: bool,
    /// Of a directory the content is copied, not the directory.
    pub directory_contents: bool,
    /// An archive is unpacked instead of copied.
    pub unpack: bool,
    /// Missing directories above the destination are made.
    pub create_destination: bool,
    /// `source` is a pattern.
    pub wildcard: bool,
    /// A pattern may match nothing.
    pub empty_wildcard: bool,
    /// Time of the copies; as in the source when `None`.
    pub timestamp: Option<Mtime>,
    /// Only paths (relative to the source) that match.
    pub include: Vec<String>,
    /// Not paths that match.
    pub exclude: Vec<String>,
    /// What is in the way is removed, whatever it is.
    pub replace_existing: bool,
    /// Paths of the source tree that must be there.
    pub required: Vec<Vec<u8>>,
}

/// Makes a file, `pb.FileActionMkFile`.
#[derive(Clone, Debug)]
pub struct MakeFile {
    /// Where.
    pub path: Vec<u8>,
    /// Permission bits, `0o777`.
    pub mode: u32,
    /// What it holds.
    pub data: Arc<[u8]>,
    /// Whose it is; root's when `None`.
    pub owner: Option<Owner>,
    /// Its time; that of the operation when `None`.
    pub timestamp: Option<Mtime>,
}

/// Makes a directory, `pb.FileActionMkDir`.
#[derive(Clone, Debug)]
pub struct MakeDirectory {
    /// Where.
    pub path: Vec<u8>,
    /// Permission bits, `0o777`.
    pub mode: u32,
    /// Those above it too.
    pub parents: bool,
    /// Whose it is; root's when `None`.
    pub owner: Option<Owner>,
    /// Its time; that of the operation when `None`.
    pub timestamp: Option<Mtime>,
}

/// Removes files, `pb.FileActionRm`.
#[derive(Clone, Debug)]
pub struct Remove {
    /// What.
    pub path: Vec<u8>,
    /// It may be missing.
    pub allow_not_found: bool,
    /// `path` is a pattern.
    pub wildcard: bool,
}

/// Makes a symbolic link, `pb.FileActionSymlink`.
#[derive(Clone, Debug)]
pub struct Symlink {
    /// What it says.
    pub target: Vec<u8>,
    /// Where it is.
    pub path: Vec<u8>,
    /// Whose it is; root's when `None`.
    pub owner: Option<Owner>,
    /// Its time; that of the operation when `None`.
    pub timestamp: Option<Mtime>,
}

/// Reads archives for copies that unpack.
pub trait Unpack: Send + Sync {
    /// What is in an archive, links as they stand in it; `None` when it is no archive.
    fn unpack(&self, file: &Content) -> Result<Option<Changeset>, TreeError>;
}

/// What an action needs besides its trees.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Time of what is made and has none of its own.
    pub now: Mtime,
    /// Reads archives; without one nothing is unpacked.
    pub unpack: Option<&'a dyn Unpack>,
}

impl Edit {
    /// Carries out one action. A copy reads `source`, the view of its other input; the rest do without.
    ///
    /// Names of owners are looked up in the view that the owner itself holds, else in this edit's.
    pub fn apply(
        &mut self,
        action: &Action,
        source: Option<&dyn TreeView>,
        with: Surroundings<'_>,
    ) -> Result<(), TreeError> {
        match action {
            Action::Copy(copy) => {
                let missing = || TreeError::Invalid("a copy needs a source".to_owned());
                copy::copy(self, copy, source.ok_or_else(missing)?, with)
            }
            Action::MakeFile(file) => action::make_file(self, file, with),
            Action::MakeDirectory(directory) => action::make_directory(self, directory, with),
            Action::Remove(remove) => action::remove(self, remove),
            Action::Symlink(link) => action::symlink(self, link, with),
        }
    }
}
