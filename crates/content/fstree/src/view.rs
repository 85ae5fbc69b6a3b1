use std::io;

use crate::{Changeset, Entry, Kind, Metadata, RelPath};

/// Why a tree could not be read, written or changed.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call or a reader failed.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A path that is not there.
    #[error("{}", not_found(path, candidates))]
    NotFound {
        /// The path asked for.
        path: String,
        /// Names that may have been meant.
        candidates: Vec<String>,
    },
    /// A path beneath something that is no directory.
    #[error("`{path}` is not a directory")]
    NotDirectory {
        /// Which one.
        path: String,
    },
    /// Symbolic links that lead in a circle, or too many of them.
    #[error("too many symbolic links at `{path}`")]
    Loop {
        /// Where it began.
        path: String,
    },
    /// A pattern that Go's `filepath.Match` refuses.
    #[error("syntax error in pattern `{0}`")]
    Pattern(String),
    /// What was asked for cannot be done; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// More entries, deeper paths or larger texts than a tree may have.
    #[error("`{path}` exceeds a limit: {limit}")]
    Limit {
        /// Where.
        path: String,
        /// Which one.
        limit: String,
    },
    /// An owner that this namespace has no id for.
    #[error("cannot give `{path}` its owner")]
    Owner {
        /// Of what.
        path: String,
        /// Which id.
        source: crate::OwnerError,
    },
}

fn not_found(path: &str, candidates: &[String]) -> String {
    match candidates {
        [] => format!("\"{path}\": not found"),
        [one] => format!("\"{path}\": not found, did you mean \"{one}\"?"),
        many => format!("\"{path}\": not found, did you mean one of \"{}\"?", many.join("\", \"")),
    }
}

impl TreeError {
    /// Wraps a failed system call.
    pub fn io(action: &'static str, path: impl ToString) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_string(), source }
    }

    /// A path that is not there.
    pub fn not_found(path: impl Into<String>) -> Self {
        Self::NotFound { path: path.into(), candidates: Vec::new() }
    }

    /// Whether a file changed while it was being read: the step may be tried again.
    pub fn is_changed(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::FileChanged::caused(source))
    }
}

/// A file tree that can be looked into: a directory, a changeset, or a stack of layers.
///
/// Paths are taken literally; symbolic links are resolved by [`resolve`], once, for every kind of view.
pub trait TreeView: Send + Sync {
    /// The entry at `path`, or `None` when there is none or a directory above is none. The root is always there.
    /// Never gives [`Kind::Hardlink`] or [`Kind::Whiteout`]: a second name of a file is that file again, its
    /// [`crate::Content::Disk`] having the same identity.
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError>;

    /// The names in a directory, sorted by bytes; none when it is no directory.
    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError>;

    /// Which file it is, for a file that has (or may have) several names in this view.
    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        let _ = path;
        Ok(None)
    }

    /// Both at once, for views in which that is less work.
    fn lookup_linked(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        match self.lookup(path)? {
            Some(entry) => {
                let link = if let Kind::File(_) = entry.kind { self.link(path)? } else { None };
                Ok(Some((entry, link)))
            }
            None => Ok(None),
        }
    }
}

/// Tells the files of one view apart: names with equal links are names of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link(Vec<u8>);

impl Link {
    pub(crate) fn of_inode(dev: u64, ino: u64) -> Self {
        Self(format!("{dev}:{ino}").into_bytes())
    }

    /// The file whose first name this is.
    pub fn of_path(path: &RelPath) -> Self {
        Self(path.as_bytes().to_vec())
    }

    /// This link among those of one layer of several.
    #[must_use]
    pub fn in_layer(self, layer: usize) -> Self {
        let mut bytes = format!("{layer}/").into_bytes();
        bytes.extend(self.0);
        Self(bytes)
    }
}

/// A tree without anything in it: `FROM scratch`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyTree;

impl TreeView for EmptyTree {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(path.is_root().then(root_entry))
    }

    fn list(&self, _path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        Ok(Vec::new())
    }
}

/// What the root of a tree is when nothing says otherwise: root's, `0755`.
pub fn root_entry() -> Entry {
    Entry {
        path: RelPath::root(),
        kind: Kind::DIRECTORY,
        meta: Metadata { mode: 0o755, ..Metadata::default() },
    }
}

impl TreeView for Changeset {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        match self.get(path) {
            Some(Entry { kind: Kind::Whiteout, .. }) => Ok(None),
            Some(Entry { kind: Kind::Hardlink(target), .. }) => Ok(self
                .get(target)
                .filter(|entry| !matches!(entry.kind, Kind::Hardlink(_) | Kind::Whiteout))
                .map(|entry| Entry { path: path.clone(), ..entry.clone() })),
            Some(entry) => Ok(Some(entry.clone())),
            None if path.is_root() => Ok(Some(root_entry())),
            None => Ok(None),
        }
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut names: Vec<Vec<u8>> = self
            .children(path)
            .filter(|entry| entry.kind != Kind::Whiteout)
            .map(|entry| entry.path.name().to_vec())
            .collect();
        names.sort();
        Ok(names)
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        Ok(match self.get(path).map(|entry| &entry.kind) {
            Some(Kind::Hardlink(target)) => Some(Link::of_path(target)),
            Some(Kind::File(_) | Kind::Symlink(_)) => Some(Link::of_path(path)),
            _ => None,
        })
    }
}

/// How many symbolic links are followed before a path counts as circular, as Linux does.
pub const MAX_LINKS: usize = 40;

/// Follows symbolic links beneath the root of `view`: in every segment but the last, and in the last too when
/// `follow_last`. Absolute links start at the root again and `..` never leaves it.
///
/// What does not exist is kept as it is, so that the result can be created: `link/new` → `target/new`.
pub fn resolve(
    view: &dyn TreeView,
    path: &RelPath,
    follow_last: bool,
) -> Result<RelPath, TreeError> {
    let mut pending: Vec<Vec<u8>> = path.segments().rev().map(<[u8]>::to_vec).collect();
    let mut at = RelPath::root();
    let mut links = 0;
    while let Some(segment) = pending.pop() {
        if segment == b".." {
            at = at.parent().unwrap_or_else(RelPath::root);
            continue;
        }
        let next = at.join(&segment).map_err(|error| TreeError::Invalid(error.to_string()))?;
        let followed = !pending.is_empty() || follow_last;
        if followed && let Some(Entry { kind: Kind::Symlink(target), .. }) = view.lookup(&next)? {
            links += 1;
            if links > MAX_LINKS {
                return Err(TreeError::Loop { path: path.to_string() });
            }
            if target.starts_with(b"/") {
                at = RelPath::root();
            }
            let segments = target.split(|byte| *byte == b'/').rev();
            pending
                .extend(segments.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
            continue;
        }
        at = next;
    }
    Ok(at)
}
