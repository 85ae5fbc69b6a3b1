//! What this process uses: a locked lease file that lists it, and a temporary directory that dies with it.
//!
//! `leases/<session>` is held with a kernel lock for as long as the process lives. While it has a [`Lease`], every item
//! it reads or writes is first appended to that file; collectors read the files whose lock is held. `tmp/<session>/`
//! holds unfinished files. Whoever finds a lease file whose lock is free removes both.

use std::collections::HashSet;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err::File;
use oci::Digest;
use serde::{Deserialize, Serialize};

use crate::{Inner, StoreError, lock, remove};

/// Something that collection could remove.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Item {
    #[serde(rename = "b")]
    Blob(Digest),
    /// A blob, and if it is an index or a manifest, all that it names.
    #[serde(rename = "i")]
    Image(Digest),
    #[serde(rename = "t")]
    Tree(String),
    #[serde(rename = "c")]
    Cache(String),
    #[serde(rename = "r")]
    Record(String, String),
}

pub(crate) struct Session {
    store_dir: PathBuf,
    id: String,
    file: File,
    counter: AtomicU64,
    journal: Mutex<Journal>,
}

#[derive(Default)]
struct Journal {
    leases: usize,
    written: HashSet<Item>,
}

/// Whatever this process reads or writes in the store between taking and dropping a lease is safe from collection.
/// When the process dies, its leases end by themselves.
#[must_use = "a lease ends when it is dropped"]
pub struct Lease {
    inner: Arc<Inner>,
    session: Arc<Session>,
}

impl Session {
    pub(crate) fn begin(store_dir: &Path) -> Result<Self, StoreError> {
        loop {
            let id = format!("{}-{}", std::process::id(), random_name());
            let path = store_dir.join("leases").join(&id);
            let file = lock::open(&path)?;
            let locked = lock::try_exclusive(&file).map_err(StoreError::io("lock", &path))?;
            // Between making and locking it, a sweep may have taken it for a dead one.
            if !locked || !is_same_file(&file, &path) {
                continue;
            }
            let dir = store_dir.join("tmp").join(&id);
            fs_err::create_dir(&dir).map_err(StoreError::io("make", &dir))?;
            let journal = Mutex::new(Journal::default());
            return Ok(Self {
                store_dir: store_dir.to_owned(),
                id,
                file,
                counter: AtomicU64::new(0),
                journal,
            });
        }
    }

    /// A path in the temporary directory that nothing else uses.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.store_dir.join("tmp").join(&self.id).join(number.to_string())
    }

    /// Whether the item need not be noted: it is, or nobody holds a lease.
    pub(crate) fn is_noted(&self, item: &Item) -> bool {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.leases == 0 || journal.written.contains(item)
    }

    /// Appends to the lease file. The collection lock must be held.
    pub(crate) fn note(&self, item: Item) -> Result<(), StoreError> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if journal.leases == 0 || journal.written.contains(&item) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(&item).unwrap_or_default();
        line.push(b'\n');
        (&self.file).write_all(&line).map_err(StoreError::io("write", self.file.path()))?;
        journal.written.insert(item);
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is found by the next sweep, because the lock ends here.
        drop(remove::remove(&self.store_dir.join("tmp").join(&self.id)));
        drop(fs_err::remove_file(self.file.path()));
    }
}

impl Lease {
    pub(crate) fn take(inner: Arc<Inner>, session: Arc<Session>) -> Self {
        session.journal.lock().unwrap_or_else(PoisonError::into_inner).leases += 1;
        Self { inner, session }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut journal = self.session.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.leases -= 1;
        if journal.leases > 0 {
            return;
        }
        let used = std::mem::take(&mut journal.written);
        // Emptying the list takes no lock: a collector that still sees it keeps more than it must.
        drop(self.session.file.set_len(0).and_then(|()| (&self.session.file).rewind()));
        drop(journal);
        let mut used: Vec<Item> = used.into_iter().collect();
        used.sort_unstable();
        // Use times only order what is pruned first.
        drop(self.inner.record_use(&used));
    }
}

/// What all living processes (this one too) have noted.
pub(crate) fn held_items(store_dir: &Path) -> Result<HashSet<Item>, StoreError> {
    let mut held = HashSet::new();
    let dir = store_dir.join("leases");
    for entry in fs_err::read_dir(&dir).map_err(StoreError::io("list", &dir))? {
        let path = entry.map_err(StoreError::io("list", &dir))?.path();
        let text = match fs_err::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(StoreError::io("read", &path)(source)),
        };
        if text.is_empty() || !is_alive(&path)? {
            continue;
        }
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        held.extend(lines.filter_map(|line| serde_json::from_slice::<Item>(line).ok()));
    }
    Ok(held)
}

/// Whether the lock of a lease file is held. A free one is left alone for the sweep.
fn is_alive(path: &Path) -> Result<bool, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(StoreError::io("open", path)(source)),
    };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(StoreError::errno("lock", path)(errno)),
    }
}

/// Names in `tmp/` and `leases/` whose process is gone, without removing anything.
pub(crate) fn dead_sessions(store_dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut dead = Vec::new();
    // The temporary directory is made after the lease file and removed before it.
    for folder in ["tmp", "leases"] {
        let dir = store_dir.join(folder);
        for entry in fs_err::read_dir(&dir).map_err(StoreError::io("list", &dir))? {
            let entry = entry.map_err(StoreError::io("list", &dir))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !dead.contains(&name) && !is_alive(&store_dir.join("leases").join(&name))? {
                dead.push(name);
            }
        }
    }
    dead.sort_unstable();
    Ok(dead)
}

/// Removes what dead processes left. Several processes may do so at once.
pub(crate) fn sweep(store_dir: &Path) -> Result<usize, StoreError> {
    let mut swept = 0;
    let mut first_failure = None;
    for name in dead_sessions(store_dir)? {
        let lease = store_dir.join("leases").join(&name);
        let file = File::options().read(true).write(true).open(&lease).ok();
        if let Some(file) = &file
            && !lock::try_exclusive(file).map_err(StoreError::io("lock", &lease))?
        {
            continue;
        }
        let tmp = store_dir.join("tmp").join(&name);
        if let Err(source) = remove::remove(&tmp) {
            first_failure.get_or_insert(StoreError::removing(&tmp, source));
            continue;
        }
        if file.as_ref().is_some_and(|file| is_same_file(file, &lease)) {
            drop(fs_err::remove_file(&lease));
        }
        swept += 1;
    }
    first_failure.map_or(Ok(swept), Err)
}

fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(open), Ok(there)) = (file.metadata(), fs_err::symlink_metadata(path)) else {
        return false;
    };
    open.dev() == there.dev() && open.ino() == there.ino()
}

/// Sixteen hexadecimal digits that no other process chooses.
pub(crate) fn random_name() -> String {
    let mut bytes = [0_u8; 8];
    let count =
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    if count < bytes.len() {
        // No randomness this early in a machine's life: process and clock are distinct enough.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let mixed = now.tv_nsec.cast_unsigned()
            ^ (u64::from(std::process::id()) << 32)
            ^ now.tv_sec.cast_unsigned();
        bytes = mixed.to_be_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}
