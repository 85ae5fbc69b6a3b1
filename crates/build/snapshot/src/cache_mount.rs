use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fs_err::File;
use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use store::TemporaryDirectory;

use crate::{SnapshotError, Snapshots};

/// How several steps use one cache mount at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All at once.
    Shared,
    /// Each its own; the first has the lasting one, others one that is thrown away.
    Private,
    /// One after the other.
    Locked,
}

/// A directory that outlives the step. Dropped, it is free for others.
pub struct CacheMount {
    path: PathBuf,
    /// The kernel releases it when the process ends, however it ends.
    _lock: Option<File>,
    _own: Option<TemporaryDirectory>,
}

impl CacheMount {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

const POLL: Duration = Duration::from_millis(50);

impl Snapshots {
    /// The cache mount `id`. `fill` makes its first content, in the directory it is given. With [`Sharing::Locked`] it
    /// waits until no other step uses it, or `cancel` is set.
    pub fn cache_mount(
        &self,
        id: &str,
        sharing: Sharing,
        cancel: &AtomicBool,
        fill: &dyn Fn(&Path) -> Result<(), SnapshotError>,
    ) -> Result<CacheMount, SnapshotError> {
        // Ids are the user's text; directories are named by what cannot escape or collide.
        let name = Digest::of(id.as_bytes()).hex().to_owned();
        let store = &self.0.store;
        let directory = store.cache_directory(&name)?;
        let lock_path = directory.join("lock");
        let content = directory.join("content");
        let lock = open_lock(&lock_path)?;
        let own = |lock: Option<File>| CacheMount { path: content.clone(), _lock: lock, _own: None };
        let lock = match sharing {
            Sharing::Shared => {
                wait(&lock, FlockOperation::NonBlockingLockShared, id, cancel)?;
                lock
            }
            Sharing::Locked => {
                wait(&lock, FlockOperation::NonBlockingLockExclusive, id, cancel)?;
                lock
            }
            Sharing::Private => match flock(lock.as_fd(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => lock,
                Err(_) => {
                    let own = store.temporary_directory()?;
                    let path = own.path().join("content");
                    self.begin(&path, fill)?;
                    return Ok(CacheMount { path, _lock: None, _own: Some(own) });
                }
            },
        };
        self.begin(&content, fill)?;
        Ok(own(Some(lock)))
    }

    /// Fills the directory before it gets its name, so that nobody sees it half filled.
    fn begin(&self, content: &Path, fill: &dyn Fn(&Path) -> Result<(), SnapshotError>) -> Result<(), SnapshotError> {
        if fs_err::symlink_metadata(content).is_ok() {
            return Ok(());
        }
        let scratch = self.0.store.temporary_directory()?;
        let fresh = scratch.path().join("content");
        fs_err::create_dir(&fresh).map_err(SnapshotError::io("make", &fresh))?;
        fill(&fresh)?;
        match fs_err::rename(&fresh, content) {
            Ok(()) => Ok(()),
            // Another step with shared access was faster.
            Err(_) if fs_err::symlink_metadata(content).is_ok() => Ok(()),
            Err(source) => Err(SnapshotError::io("name", content)(source)),
        }
    }
}

fn open_lock(path: &Path) -> Result<File, SnapshotError> {
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(SnapshotError::io("open", path))
}

fn wait(lock: &File, kind: FlockOperation, id: &str, cancel: &AtomicBool) -> Result<(), SnapshotError> {
    loop {
        match flock(lock.as_fd(), kind) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(SnapshotError::io("lock", lock.path())(errno.into())),
        }
        if cancel.load(Ordering::Relaxed) {
            return Err(SnapshotError::CacheBusy(id.to_owned()));
        }
        std::thread::sleep(POLL);
    }
}
