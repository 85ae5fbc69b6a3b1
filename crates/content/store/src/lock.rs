//! Locks between processes: kernel locks on files, which end with the process that holds them.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};
use rustix::fs::{FlockOperation, flock};

use crate::StoreError;

/// How long a lock is waited for before saying who holds it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Opens or makes a file that only serves as a lock.
pub(crate) fn open(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(StoreError::io("open", path))
}

/// Takes the lock if it is free now.
pub(crate) fn try_exclusive(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits for a lock, patiently but not for ever.
pub(crate) fn wait(
    file: &File,
    operation: FlockOperation,
    what: &'static str,
) -> Result<(), StoreError> {
    let begin = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(StoreError::errno("lock", file.path())(errno)),
        }
        if begin.elapsed() > PATIENCE {
            return Err(StoreError::Locked { what, holder: holder(file.path()) });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// The process that wrote its id into a lock file.
pub(crate) fn holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    File::open(path).ok()?.take(64).read_to_string(&mut text).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Keeps collection and use apart. Users hold it shared for the moment in which they note what they use and look
/// whether it is there; a collector holds it exclusively for the moment in which it decides and renames away.
pub(crate) struct CollectionLock {
    file: File,
    readers: Mutex<usize>,
    threads: RwLock<()>,
}

pub(crate) struct Shared<'a> {
    lock: &'a CollectionLock,
    _threads: RwLockReadGuard<'a, ()>,
}

pub(crate) struct Exclusive<'a> {
    lock: &'a CollectionLock,
    _threads: RwLockWriteGuard<'a, ()>,
}

const WHAT: &str = "the store's collection lock";

impl CollectionLock {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { file: open(path)?, readers: Mutex::new(0), threads: RwLock::new(()) })
    }

    pub(crate) fn shared(&self) -> Result<Shared<'_>, StoreError> {
        let threads = self.threads.read().unwrap_or_else(PoisonError::into_inner);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        // A kernel lock belongs to the open file, not to the thread: the first takes it, the last gives it back.
        if *readers == 0 {
            wait(&self.file, FlockOperation::NonBlockingLockShared, WHAT)?;
        }
        *readers += 1;
        drop(readers);
        Ok(Shared { lock: self, _threads: threads })
    }

    pub(crate) fn exclusive(&self) -> Result<Exclusive<'_>, StoreError> {
        let threads = self.threads.write().unwrap_or_else(PoisonError::into_inner);
        wait(&self.file, FlockOperation::NonBlockingLockExclusive, WHAT)?;
        write_holder(&self.file);
        Ok(Exclusive { lock: self, _threads: threads })
    }
}

/// Leaves the process id in a lock file, for the message of whoever waits. Only a courtesy, so failure is no error.
pub(crate) fn write_holder(mut file: &File) {
    let text = format!("{}\n", std::process::id());
    drop(file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(text.as_bytes())));
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        let mut readers = self.lock.readers.lock().unwrap_or_else(PoisonError::into_inner);
        *readers -= 1;
        if *readers == 0 {
            unlock(&self.lock.file);
        }
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        unlock(&self.lock.file);
    }
}

/// Cannot fail for a file that is open; if it did, the end of the process would unlock it.
fn unlock(file: &File) {
    if flock(file, FlockOperation::Unlock).is_err() {}
}
