//! What does this machine hold already? Blobs, file trees, names and records in one directory that many processes share.
//!
//! There is no daemon and no process is special. Bytes are files; `SQLite` (write-ahead log) holds what is relational.
//! The way of a blob: a nameless file → `fsync` → its name in `blobs/` → a row. The way of a tree: a directory in `tmp/`
//! → `syncfs` → its name in `trees/` → a row. So what has a name is whole, and a row names something durable, whenever
//! a process is killed or the power fails. What a living process uses is listed in its lease file, which the kernel
//! unlocks when the process ends; see `session`. Collection is in `collect`.
//!
//! The store does not know what a blob means, except that it follows manifests and indexes to keep an image whole. It
//! may not assume that it is alone.
#![warn(missing_docs)]

mod blob;
mod collect;
mod database;
mod error;
mod lock;
mod picture;
mod records;
mod remove;
mod session;
mod sync;
mod tree;
mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use blob::{BlobWriter, Partial};
pub use collect::{Kind, PruneOptions, Pruned, Usage, UsageEntry};
pub use error::StoreError;
pub use records::{BuildRecord, FileKey, LayerBlob, NameEntry, Record, Ref};
pub use session::Lease;
pub use tree::{TemporaryDirectory, TreeWriter};
pub use verify::Damage;

use database::{Commit, Database};
use lock::CollectionLock;
use session::{Item, Session};
use sync::GroupSync;

/// The local store. Clones share everything.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    dir: PathBuf,
    database: Database,
    collection: CollectionLock,
    directory_sync: GroupSync,
    tree_sync: GroupSync,
    session: Mutex<Option<Arc<Session>>>,
}

const FOLDERS: [&str; 8] =
    ["blobs", "blobs/sha256", "blobs/sha512", "trees", "caches", "tmp", "leases", "quarantine"];

impl Store {
    /// Opens the store in `dir`, making it where there is none. The database is opened at its first use.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock_path = dir.join("collection.lock");
        if fs_err::symlink_metadata(&lock_path).is_err() {
            create(dir)?;
        }
        refuse_network(dir)?;
        let inner = Inner {
            dir: dir.to_owned(),
            database: Database::new(dir),
            collection: CollectionLock::open(&lock_path)?,
            directory_sync: GroupSync::default(),
            tree_sync: GroupSync::default(),
            session: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Keeps what this process reads and writes from now on safe from collection, until the last lease is dropped.
    /// Also clears, in the background, what killed processes left.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let session = self.inner.session()?;
        let lease = Lease::take(Arc::clone(&self.inner), session);
        if session::dead_sessions(&self.inner.dir)?.is_empty() {
            return Ok(lease);
        }
        let dir = self.inner.dir.clone();
        let sweeper = std::thread::Builder::new().name("store-sweep".into());
        // What one sweep cannot remove stays for the next.
        drop(sweeper.spawn(move || session::sweep(&dir)));
        Ok(lease)
    }

    /// Removes what killed processes left, and says how many of them there were.
    pub fn sweep(&self) -> Result<usize, StoreError> {
        session::sweep(&self.inner.dir)
    }
}

impl Inner {
    pub(crate) fn session(&self) -> Result<Arc<Session>, StoreError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.as_ref() {
            return Ok(Arc::clone(session));
        }
        let new = Arc::new(Session::begin(&self.dir)?);
        *session = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Notes that an item is about to be looked for. As long as the guard lives, no collector runs; afterwards the lease
    /// protects the item. Without a lease there is nothing to protect, and no cost.
    pub(crate) fn hold(&self, item: Item) -> Result<Option<lock::Shared<'_>>, StoreError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(session) = session else { return Ok(None) };
        if session.is_noted(&item) {
            return Ok(None);
        }
        let guard = self.collection.shared()?;
        session.note(item)?;
        Ok(Some(guard))
    }

    /// As `hold`, but always keeps collectors away until file and row are both written.
    pub(crate) fn hold_for_writing(
        &self,
        items: impl IntoIterator<Item = Item>,
    ) -> Result<lock::Shared<'_>, StoreError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let guard = self.collection.shared()?;
        if let Some(session) = session {
            for item in items {
                session.note(item)?;
            }
        }
        Ok(guard)
    }

    /// Moves use times forward.
    pub(crate) fn record_use(&self, items: &[Item]) -> Result<(), StoreError> {
        if items.is_empty() {
            return Ok(());
        }
        let now = now_ms();
        self.database.write("record what was used", Commit::Lazy, |t| {
            for item in items {
                match item {
                    Item::Blob(digest) | Item::Image(digest) => t
                        .prepare_cached("UPDATE blob SET used=?2 WHERE digest=?1")?
                        .execute((digest.as_str(), now))?,
                    Item::Tree(id) => t
                        .prepare_cached("UPDATE tree SET used=?2 WHERE id=?1")?
                        .execute((id, now))?,
                    Item::Cache(id) => t
                        .prepare_cached("UPDATE cache SET used=?2 WHERE id=?1")?
                        .execute((id, now))?,
                    Item::Record(namespace, key) => {
                        let text = "UPDATE record SET used=?3 WHERE namespace=?1 AND key=?2";
                        t.prepare_cached(text)?.execute((namespace, key, now))?
                    }
                };
            }
            Ok(())
        })
    }
}

fn create(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::create_dir_all(dir).map_err(StoreError::io("make", dir))?;
    refuse_network(dir)?;
    // Trees hold setuid programs of images: nobody else may reach them.
    fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
        .map_err(StoreError::io("protect", dir))?;
    for folder in FOLDERS.into_iter().chain(["partial"]) {
        let path = dir.join(folder);
        match fs_err::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(StoreError::io("make", path)(source)),
        }
    }
    Ok(())
}

/// Several processes share `SQLite`'s log through mapped memory, which network file systems do not keep coherent.
fn refuse_network(dir: &Path) -> Result<(), StoreError> {
    let kind = rustix::fs::statfs(dir).map_err(StoreError::errno("examine", dir))?.f_type;
    match network_name(kind) {
        Some(kind) => Err(StoreError::Network { dir: dir.to_owned(), kind }),
        None => Ok(()),
    }
}

/// Magic numbers of `statfs(2)`.
fn network_name(magic: rustix::fs::FsWord) -> Option<&'static str> {
    // Some architectures extend the sign of the 32-bit number.
    Some(match magic & 0xFFFF_FFFF {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 => "CIFS",
        0xFE53_4D42 => "SMB2",
        0x00C3_6400 => "Ceph",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0102_1997 => "9P",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        _ => return None,
    })
}

/// Milliseconds since 1970. For use times, which order what is pruned first and never reach a result.
#[expect(
    clippy::disallowed_methods,
    reason = "use times are about this machine, not about a build's result"
)]
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
