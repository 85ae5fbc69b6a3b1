//! Unpacked file trees, `trees/<id>/`, and directories that outlive builds, `caches/<id>/`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with, syncfs};
use rustix::io::Errno;

use crate::database::{Commit, signed};
use crate::session::{Item, random_name};
use crate::{Inner, Store, StoreError, now_ms, remove};

/// A tree being made, in a directory of its own. Dropped without [`commit`](Self::commit), it is removed.
pub struct TreeWriter {
    dir: TemporaryDirectory,
}

/// A directory that is removed when dropped, whatever is in it, or by another process if this one is killed.
pub struct TemporaryDirectory {
    inner: Arc<Inner>,
    path: PathBuf,
}

impl Store {
    /// Where the tree is, or would be.
    pub fn tree_path(&self, id: &str) -> PathBuf {
        self.inner.dir.join("trees").join(id)
    }

    /// Whether the tree is here, complete.
    pub fn has_tree(&self, id: &str) -> bool {
        let Ok(_guard) = self.inner.hold(Item::Tree(id.to_owned())) else { return false };
        fs_err::symlink_metadata(self.tree_path(id)).is_ok_and(|metadata| metadata.is_dir())
    }

    /// A new id for a tree that has no content-derived one.
    pub fn fresh_tree_id(&self) -> String {
        format!("t-{}{}", random_name(), random_name())
    }

    /// Begins a tree.
    pub fn new_tree(&self) -> Result<TreeWriter, StoreError> {
        Ok(TreeWriter { dir: self.temporary_directory()? })
    }

    /// Makes an empty directory (mode 0700) on the file system of the trees.
    pub fn temporary_directory(&self) -> Result<TemporaryDirectory, StoreError> {
        let path = self.inner.session()?.fresh_path();
        make_directory(&path)?;
        Ok(TemporaryDirectory { inner: Arc::clone(&self.inner), path })
    }

    /// The directory of a cache mount, made when it is not there. Collection leaves it alone while this process has a
    /// lease.
    pub fn cache_directory(&self, id: &str) -> Result<PathBuf, StoreError> {
        check_id(id)?;
        let _guard = self.inner.hold_for_writing([Item::Cache(id.to_owned())])?;
        let path = self.inner.dir.join("caches").join(id);
        match make_directory(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            }
            other => other?,
        }
        let now = now_ms();
        self.inner.database.write("record a cache directory", Commit::Lazy, |t| {
            let text = "INSERT INTO cache VALUES(?1, ?2, ?2) ON CONFLICT(id) DO UPDATE SET used=max(used, excluded.used)";
            t.prepare_cached(text)?.execute((id, now)).map(drop)
        })?;
        Ok(path)
    }

    /// Takes a tree out of the store, for one found damaged.
    pub fn remove_tree(&self, id: &str) -> Result<(), StoreError> {
        let trash = {
            let _exclusive = self.inner.collection.exclusive()?;
            self.inner.database.write("forget a tree", Commit::Lazy, |t| {
                t.prepare_cached("DELETE FROM tree WHERE id=?1")?.execute([id]).map(drop)
            })?;
            self.inner.to_trash(&self.tree_path(id))?
        };
        match trash {
            Some(path) => remove::remove(&path)
                .map_err(|source| StoreError::removing(&self.tree_path(id), source)),
            None => Ok(()),
        }
    }
}

impl Inner {
    /// Renames something away, to be removed at leisure. `None`: it was not there.
    pub(crate) fn to_trash(&self, path: &Path) -> Result<Option<PathBuf>, StoreError> {
        let trash = self.session()?.fresh_path();
        match fs_err::rename(path, &trash) {
            Ok(()) => Ok(Some(trash)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::removing(path, source)),
        }
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    rustix::fs::mkdir(path, Mode::RWXU).map_err(StoreError::errno("make", path))
}

pub(crate) fn check_id(id: &str) -> Result<(), StoreError> {
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain && (1..=200).contains(&id.len()) && !id.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(StoreError::InvalidId(id.to_owned()))
}

impl TreeWriter {
    /// Where to write. The directory itself becomes the root of the tree: its mode, owner and times are kept.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the tree durable, and known as `id`. If another process has committed the same id first, that one stays.
    pub fn commit(self, id: &str) -> Result<(), StoreError> {
        self.finish(id, None)
    }

    /// As [`commit`](Self::commit), with the size of its files in bytes, where the caller has counted them.
    pub fn commit_sized(self, id: &str, size: u64) -> Result<(), StoreError> {
        self.finish(id, Some(size))
    }

    fn finish(self, id: &str, size: Option<u64>) -> Result<(), StoreError> {
        check_id(id)?;
        let inner = &self.dir.inner;
        let trees = inner.dir.join("trees");
        let target = trees.join(id);
        let handle = rustix::fs::open(
            &trees,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let handle = handle.map_err(StoreError::errno("open", &trees))?;
        let sync = || syncfs(&handle).map_err(io::Error::from);
        inner.tree_sync.run(sync).map_err(StoreError::io("make durable", &target))?;

        let guard = inner.hold_for_writing([Item::Tree(id.to_owned())])?;
        let renamed = match renameat_with(CWD, self.path(), CWD, &target, RenameFlags::NOREPLACE) {
            // A file system without this flag: an empty directory would be replaced, which no committed tree loses by.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::rename(self.path(), &target),
            other => other,
        };
        match renamed {
            Ok(()) => inner.sync_directory(&trees)?,
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(StoreError::errno("name", &target)(errno)),
        }
        let now = now_ms();
        inner.database.write("record a file tree", Commit::Lazy, |t| {
            let text = "INSERT INTO tree VALUES(?1, ?2, ?3, ?3) ON CONFLICT(id) DO UPDATE SET used=max(used, excluded.used)";
            t.prepare_cached(text)?.execute((id, size.map(signed), now)).map(drop)
        })?;
        drop(guard);
        Ok(())
    }
}

impl TemporaryDirectory {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it now, telling of failure.
    pub fn remove(self) -> Result<(), StoreError> {
        remove::remove(&self.path).map_err(|source| StoreError::removing(&self.path, source))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        // What cannot be removed now goes with the session, or with a later sweep.
        drop(remove::remove(&self.path));
    }
}
