//! Paths within a root that somebody else filled: links are followed as if the root were `/`.
//!
//! One component is opened at a time, never through a link, and `..` goes back to the descriptor it came from. So
//! nothing outside is ever reached, whatever is swapped meanwhile.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timestamps, UTIME_OMIT, chownat, fstat, openat, statat,
    unlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::wire::Stub;

/// What a path must lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Anything that exists.
    Existing,
    /// A directory, made when missing.
    Directory,
    /// A file, made empty when missing.
    File,
}

/// Where a path led.
#[derive(Debug)]
pub(crate) struct Found {
    /// Opened with `O_PATH`.
    pub(crate) descriptor: OwnedFd,
    /// What was made on the way, outermost first.
    pub(crate) made: Vec<Stub>,
}

/// Links followed in one path, as in the kernel.
const MOST_LINKS: u32 = 40;
/// Longest path, as in the kernel.
const LONGEST: usize = 4096;

/// Opens `path` within `root`. What is missing is made with the owner `(uid, gid)`, mode 0755 or, for a file, 0644;
/// the times of directories that were there stay.
pub(crate) fn resolve(
    root: BorrowedFd<'_>,
    path: &[u8],
    want: Want,
    owner: (u32, u32),
) -> io::Result<Found> {
    if path.len() >= LONGEST {
        return Err(Errno::NAMETOOLONG.into());
    }
    let mut stack: Vec<(OsString, OwnedFd)> = Vec::new();
    let mut made = Vec::new();
    let mut links = 0;
    // Components still to walk, last one first.
    let mut ahead = components(path);
    let base = root.try_clone_to_owned()?;
    while let Some(name) = ahead.pop() {
        if name.as_bytes() == b".." {
            stack.pop();
            continue;
        }
        let here = stack.last().map_or(base.as_fd(), |(_, descriptor)| descriptor.as_fd());
        let opened = match open_plain(here, &name) {
            Ok(opened) => opened,
            Err(Errno::NOENT) if want != Want::Existing => {
                let directory = want == Want::Directory || !ahead.is_empty();
                // Another step on the same directory may have been faster: then it is not ours to remove.
                if make(here, &name, directory, owner, made.is_empty())? {
                    let parts = stack.iter().map(|(name, _)| name).chain([&name]);
                    let parts: Vec<_> = parts.map(|name| name.as_bytes()).collect();
                    made.push(Stub { path: parts.join(&b'/'), directory });
                }
                open_plain(here, &name)?
            }
            Err(error) => return Err(error.into()),
        };
        if kind(&fstat(&opened)?) == FileType::Symlink {
            links += 1;
            if links > MOST_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(here, &name, Vec::new())?;
            if target.as_bytes().starts_with(b"/") {
                stack.clear();
            }
            ahead.extend(components(target.as_bytes()));
        } else {
            stack.push((name, opened));
        }
    }
    let descriptor = match stack.pop() {
        Some((_, descriptor)) => descriptor,
        None => base,
    };
    Ok(Found { descriptor, made })
}

/// Components, last one first, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<OsString> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .rev()
        .collect()
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn open_plain(directory: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes a directory or an empty file. `false`: it was there already.
fn make(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    directory: bool,
    (uid, gid): (u32, u32),
    keep_times: bool,
) -> io::Result<bool> {
    let before = fstat(parent)?;
    let result = if directory {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(parent, name, flags | OFlags::WRONLY, Mode::from_raw_mode(0o644)).map(drop)
    };
    match result {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if keep_times {
        restore_times(parent, &before)?;
    }
    Ok(true)
}

fn restore_times(directory: BorrowedFd<'_>, before: &Stat) -> io::Result<()> {
    let modified = rustix::fs::Timespec {
        tv_sec: before.st_mtime,
        tv_nsec: i64::try_from(before.st_mtime_nsec).unwrap_or_default(),
    };
    let omitted = rustix::fs::Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: omitted, last_modification: modified };
    utimensat(directory, ".", &times, AtFlags::empty())?;
    Ok(())
}

/// Removes mount points that were made for a step, those that are still empty and still what was made: a link or a
/// full directory in their place is the step's own work and stays.
pub(crate) fn remove_stubs(root: BorrowedFd<'_>, stubs: &[Stub]) {
    for stub in stubs.iter().rev() {
        // Whatever stands in the way was put there by the step.
        let _ignored = remove_stub(root, stub);
    }
}

fn remove_stub(root: BorrowedFd<'_>, stub: &Stub) -> io::Result<()> {
    let mut parts = components(&stub.path);
    let Some(name) = (!parts.is_empty()).then(|| parts.remove(0)) else { return Ok(()) };
    let mut parent = root.try_clone_to_owned()?;
    while let Some(part) = parts.pop() {
        parent = open_plain(parent.as_fd(), &part)?;
        if kind(&fstat(&parent)?) != FileType::Directory {
            return Ok(());
        }
    }
    let stat = statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    let before = fstat(&parent)?;
    match (kind(&stat), stub.directory) {
        (FileType::Directory, true) => unlinkat(&parent, &name, AtFlags::REMOVEDIR)?,
        (FileType::RegularFile, false) if stat.st_size == 0 => {
            unlinkat(&parent, &name, AtFlags::empty())?;
        }
        _ => return Ok(()),
    }
    restore_times(parent.as_fd(), &before)
}
