use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

use crate::{Content, RelPath};

/// A time of modification: seconds and nanoseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Whole seconds, negative before 1970.
    pub secs: i64,
    /// Nanoseconds on top, below 1,000,000,000.
    pub nanos: u32,
}

impl Mtime {
    /// A whole second.
    pub const fn seconds(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// What a file has besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// Owner, as the image sees it.
    pub uid: u32,
    /// Group, as the image sees it.
    pub gid: u32,
    /// Time of modification.
    pub mtime: Mtime,
    /// Extended attributes by full name (`user.x`, `security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Metadata {
    /// Root's, with the given mode and time, without extended attributes.
    pub fn root_owned(mode: u32, mtime: Mtime) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory {
        /// Hides everything that lower layers have beneath it.
        opaque: bool,
    },
    /// A regular file.
    File(Content),
    /// A symbolic link and what it says, unresolved.
    Symlink(Vec<u8>),
    /// Another name of a file of the same changeset; the target sorts first.
    Hardlink(RelPath),
    /// A character device (never 0/0, which is a whiteout).
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// Removes what lower layers have at this path.
    Whiteout,
}

impl Kind {
    /// A directory that shows what lower layers have beneath it.
    pub const DIRECTORY: Self = Self::Directory { opaque: false };

    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

/// One file, directory, link or removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// Owner, mode, times, extended attributes. Meaningless for a whiteout.
    pub meta: Metadata,
}

/// A set of changes to a tree: at most one entry per path, directories before what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changeset {
    /// Entries by path. A hard link's target is in the same map and sorts before it.
    pub entries: BTreeMap<RelPath, Entry>,
}

impl Changeset {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, replacing the one with the same path.
    pub fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.path.clone(), entry);
    }

    /// The entry at `path`.
    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, directories before what they hold.
    pub fn iter(&self) -> btree_map::Values<'_, RelPath, Entry> {
        self.entries.values()
    }

    /// The entries directly in a directory, in order.
    pub fn children(&self, directory: &RelPath) -> impl Iterator<Item = &Entry> {
        let mut from = Bound::Excluded(directory.clone());
        let directory = directory.clone();
        std::iter::from_fn(move || {
            loop {
                let (path, entry) = self.entries.range((from.clone(), Bound::Unbounded)).next()?;
                let rest = path.beneath(&directory)?;
                let name = rest.segments().next()?;
                let child = directory.join(name).ok()?;
                from = Bound::Included(child.after_subtree());
                // Entries beneath a child that has none of its own are not the directory's.
                if child == *path {
                    return Some(entry);
                }
            }
        })
    }

    /// The entry and everything beneath it, in order.
    pub fn beneath<'a>(&'a self, directory: &'a RelPath) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .range(directory.clone()..)
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.path.starts_with(directory))
    }
}

impl<'a> IntoIterator for &'a Changeset {
    type Item = &'a Entry;
    type IntoIter = btree_map::Values<'a, RelPath, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Entry> for Changeset {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.path.clone(), entry)).collect() }
    }
}
