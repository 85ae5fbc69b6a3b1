#![expect(unsafe_code, reason = "open-file-description locks on a range are in libc only")]
//! Locks between threads and processes on any number of names, all in one file: a name is a byte of it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oci::Digest;
use rustix::fs::{Mode, OFlags};

use crate::SnapshotError;

/// The lock file of a store.
#[derive(Clone, Debug)]
pub(crate) struct LockFile(PathBuf);

/// A lock that ends when it is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Shared,
    Exclusive,
}

impl LockFile {
    pub(crate) fn of(store: &Path) -> Self {
        Self(store.join("snapshots.lock"))
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_lock(
        &self,
        name: &str,
        access: Access,
    ) -> Result<Option<Lock>, SnapshotError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&self.0, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| SnapshotError::io("open", &self.0)(error.into()))?;
        let kind = match access {
            Access::Shared => libc::F_RDLCK,
            Access::Exclusive => libc::F_WRLCK,
        };
        // SAFETY: a `flock` of zeroes is one.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = i16::try_from(kind).unwrap_or_default();
        range.l_whence = i16::try_from(libc::SEEK_SET).unwrap_or_default();
        range.l_start = position(name);
        range.l_len = 1;
        // SAFETY: the file is open and `range` outlives the call.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const range) };
        if done == 0 {
            return Ok(Some(Lock { _file: file }));
        }
        let error = std::io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(None),
            _ => Err(SnapshotError::io("lock", &self.0)(error)),
        }
    }

    /// Waits for the lock; `None` when `cancelled` becomes true.
    pub(crate) fn lock(
        &self,
        name: &str,
        access: Access,
        cancelled: &AtomicBool,
    ) -> Result<Option<Lock>, SnapshotError> {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(lock) = self.try_lock(name, access)? {
                return Ok(Some(lock));
            }
            if cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Two names share a byte once in 2^62 pairs, and then only wait for one another.
fn position(name: &str) -> i64 {
    let digest = Digest::of(name.as_bytes());
    let head = digest.hex().get(..15).unwrap_or_default();
    i64::from_str_radix(head, 16).unwrap_or(0)
}
