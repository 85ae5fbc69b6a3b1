//! Removes file trees that may be hostile: any depth, any mode, links to anywhere.
//!
//! Everything is done through directory handles; no link is followed, no mount entered. Directories deeper than
//! [`DEPTH`] are moved up beside the tree and removed from there, so that neither stack nor handles run out.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, openat, openat2, renameat,
    unlinkat,
};
use rustix::io::Errno;

const DEPTH: usize = 32;

/// Removes what is at `path`, of whatever kind; nothing there is fine. The parent of `path` must be trusted.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let name = CString::new(name.as_bytes())?;
    let mut removal =
        Removal { top: parent.as_fd(), moved: 0, queue: vec![name.clone()], prefix: name };
    while let Some(name) = removal.queue.pop() {
        removal.one(removal.top, &name, 0)?;
    }
    Ok(())
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    prefix: CString,
    moved: usize,
    queue: Vec<CString>,
}

impl Removal<'_> {
    fn one(&mut self, dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.directory(dir, name, depth)
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let child = enter(dir, name)?;
        // Removing while listing may make some file systems skip entries, hence several rounds.
        for _ in 0..16 {
            self.contents(child.as_fd(), depth)?;
            match unlinkat(dir, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::NOTEMPTY.into())
    }

    fn contents(&mut self, dir: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match entry.file_type() {
                FileType::Directory if depth >= DEPTH => self.move_up(dir, name)?,
                FileType::Directory => self.directory(dir, name, depth + 1)?,
                FileType::Unknown if depth >= DEPTH => {
                    match unlinkat(dir, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::NOENT) => {}
                        Err(_) => self.move_up(dir, name)?,
                    }
                }
                _ => self.one(dir, name, depth + 1)?,
            }
        }
        Ok(())
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        // Moving a directory changes its `..`, for which it must be writable.
        drop(enter(dir, name)?);
        self.moved += 1;
        let new =
            CString::new([self.prefix.to_bytes(), format!(".{}", self.moved).as_bytes()].concat())?;
        renameat(dir, name, self.top, &new)?;
        self.queue.push(new);
        Ok(())
    }
}

/// Opens a directory for listing and removing in it, giving its owner the right to do so where the mode forbids it.
fn enter(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = match open_here(dir, name, flags) {
        Err(Errno::ACCESS) => {
            let handle = open_here(
                dir,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            )?;
            // `fchmod` refuses a path handle; its link in /proc leads to the very same directory.
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle));
            rustix::fs::chmod(link, Mode::RWXU)?;
            open_here(dir, name, flags)?
        }
        other => other?,
    };
    if fstat(&fd)?.st_mode & 0o700 != 0o700 {
        fchmod(&fd, Mode::RWXU)?;
    }
    Ok(fd)
}

fn open_here(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(dir, name, flags, Mode::empty(), resolve) {
        // Some container runtimes hide the call; a single name without links needs no more than this.
        Err(Errno::NOSYS | Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        other => other,
    }
}
