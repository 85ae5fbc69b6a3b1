use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use fstree::{Changeset, Entry, Kind, Metadata, Mtime, RelPath, TreeForm, TreeView, resolve};
use oci::Digest;

use crate::lock::{Access, Lock};
use crate::{SnapshotError, Snapshots};

/// Who may use a cache directory at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Anybody.
    #[default]
    Shared,
    /// One step; another one gets a directory of its own.
    Private,
    /// One step; the others wait.
    Locked,
}

/// What a step asks of `RUN --mount=type=cache`.
#[derive(Clone, Copy)]
pub struct CacheRequest<'a> {
    /// Names the cache; any text. It never becomes part of a path.
    pub id: &'a str,
    /// Who may use it at the same time.
    pub sharing: Sharing,
    /// What a new cache holds: this path of a tree.
    pub initial: Option<(&'a dyn TreeView, &'a RelPath)>,
    /// Mode of the root of a new cache.
    pub mode: u32,
    /// Owner of the root of a new cache.
    pub uid: u32,
    /// Group of the root of a new cache.
    pub gid: u32,
}

/// A cache directory in use. The lock ends when this is dropped.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    _lock: Lock,
}

impl CacheMount {
    /// What to mount. A path beneath it that comes from a Dockerfile has to be opened through [`fstree::Root`]: other
    /// steps write in the directory at the same time.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// How many private copies of one cache there may be.
const MAX_PRIVATE: usize = 1000;

impl Snapshots {
    /// Hands out a cache directory, made if it is new. Waits for a locked one until `cancelled` becomes true.
    ///
    /// A cache that starts from a tree, or with an owner or mode of its own, is another one than the plain cache of the
    /// same id: the caller adds what identifies them to the id.
    pub fn cache_mount(
        &self,
        request: CacheRequest<'_>,
        cancelled: &AtomicBool,
    ) -> Result<CacheMount, SnapshotError> {
        let name = |number: usize| {
            let id = Digest::of(format!("{}\0{number}", request.id).as_bytes());
            format!("c-{}", id.hex())
        };
        let wait = |access| {
            let lock = self.locks.lock(&name(0), access, cancelled)?;
            lock.ok_or_else(|| SnapshotError::Cancelled(request.id.to_owned()))
        };
        let (name, lock) = match request.sharing {
            Sharing::Shared => (name(0), wait(Access::Shared)?),
            Sharing::Locked => (name(0), wait(Access::Exclusive)?),
            Sharing::Private => {
                let mut free = None;
                for number in 0..MAX_PRIVATE {
                    let name = name(number);
                    if let Some(lock) = self.locks.try_lock(&name, Access::Exclusive)? {
                        free = Some((name, lock));
                        break;
                    }
                }
                match free {
                    Some(free) => free,
                    None => (name(0), wait(Access::Exclusive)?),
                }
            }
        };
        let directory = self.store.cache_directory(&name)?;
        let path = directory.join("data");
        if fs_err::symlink_metadata(&path).is_err() {
            self.fill(&request, &name, &path)?;
        }
        Ok(CacheMount { path, _lock: lock })
    }

    /// Makes a new cache whole before it gets its name.
    fn fill(
        &self,
        request: &CacheRequest<'_>,
        name: &str,
        path: &Path,
    ) -> Result<(), SnapshotError> {
        let never = AtomicBool::new(false);
        let _making = self.locks.lock(&format!("make {name}"), Access::Exclusive, &never)?;
        if fs_err::symlink_metadata(path).is_ok() {
            return Ok(());
        }
        let mut changes = match request.initial {
            Some((view, from)) => copy_of(view, from)?,
            None => Changeset::new(),
        };
        let root = Metadata {
            uid: request.uid,
            gid: request.gid,
            ..Metadata::root_owned(request.mode & 0o7777, Mtime::default())
        };
        changes.entries.entry(RelPath::root()).or_insert(Entry {
            path: RelPath::root(),
            kind: Kind::DIRECTORY,
            meta: root,
        });
        let new = self.store.temporary_directory()?;
        self.write_into(&changes, new.path(), TreeForm::Plain)?;
        fs_err::rename(new.path(), path).map_err(SnapshotError::io("make cache", path))
    }
}

/// A directory of a view as changes to an empty one, the directory itself included.
fn copy_of(view: &dyn TreeView, from: &RelPath) -> Result<Changeset, SnapshotError> {
    let from = resolve(view, from, true)?;
    let mut changes = Changeset::new();
    let Some(entry) = view.lookup(&from)?.filter(|entry| entry.kind.is_directory()) else {
        return Ok(changes);
    };
    changes.insert(Entry { path: RelPath::root(), ..entry });
    let mut stack = vec![(from, RelPath::root())];
    while let Some((directory, target)) = stack.pop() {
        for name in view.list(&directory)? {
            let invalid = |error: fstree::PathError| fstree::TreeError::Invalid(error.to_string());
            let (at, to) =
                (directory.join(&name).map_err(invalid)?, target.join(&name).map_err(invalid)?);
            let Some(entry) = view.lookup(&at)? else { continue };
            if entry.kind.is_directory() {
                stack.push((at, to.clone()));
            }
            changes.insert(Entry { path: to, ..entry });
        }
    }
    Ok(changes)
}
