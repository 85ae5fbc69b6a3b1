//! Finding, making and removing directories beneath the root of a tree that is being unpacked.
//!
//! Every step opens one name in an open directory, never following a link by itself, so that no link in a hostile
//! layer leads out.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use fstree::{MAX_LINKS, RelPath, Root};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{UnpackError, invalid, write_error};

const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directories of the tree.
pub(super) struct Directories {
    root: Root,
    /// The directory that was asked for last; most members are in the same one as the member before.
    last: Option<(RelPath, OwnedFd)>,
    implied: BTreeSet<RelPath>,
}

/// What to do where a directory is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Tell,
}

impl Directories {
    pub(super) fn new(root: Root) -> Self {
        Self { root, last: None, implied: BTreeSet::new() }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that holds `path`, made if need be.
    pub(super) fn parent(&mut self, path: &RelPath) -> Result<OwnedFd, UnpackError> {
        self.create(&path.parent().unwrap_or_else(RelPath::root))
    }

    /// The directory at `path`, made if need be.
    pub(super) fn create(&mut self, path: &RelPath) -> Result<OwnedFd, UnpackError> {
        let found = self.find(path, Missing::Make)?;
        found.ok_or_else(|| write_error("create", path, io::ErrorKind::NotFound.into()))
    }

    /// The directory at `path` where there is one.
    pub(super) fn existing(&mut self, path: &RelPath) -> Result<Option<OwnedFd>, UnpackError> {
        self.find(path, Missing::Tell)
    }

    /// The layer says something of this directory.
    pub(super) fn named(&mut self, path: &RelPath) {
        self.implied.remove(path);
    }

    /// Something was removed, so handles may be of what is no longer there.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Directories that were made because something is in them, and that are still there.
    pub(super) fn implied(self) -> Vec<RelPath> {
        let there = |path: &RelPath| self.root.open_directory(path).is_ok();
        self.implied.iter().filter(|path| there(path)).cloned().collect()
    }

    fn find(&mut self, path: &RelPath, missing: Missing) -> Result<Option<OwnedFd>, UnpackError> {
        let failed = |error: io::Error| write_error("open", path, error);
        let copy = |handle: &OwnedFd| handle.try_clone().map_err(failed);
        if let Some((last, handle)) = &self.last
            && last == path
        {
            return copy(handle).map(Some);
        }
        let found = match self.root.open_in_root(path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(found) => Some(found),
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
                self.walk(path, missing)?
            }
            Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => {
                if missing == Missing::Tell {
                    return Ok(None);
                }
                return Err(invalid(format!("`{path}` is used as a directory but is none")));
            }
            Err(error) => return Err(failed(error)),
        };
        if let Some(found) = &found {
            self.last = Some((path.clone(), copy(found)?));
        }
        Ok(found)
    }

    /// One part after the other; links are followed by hand, as if the tree were all there is.
    fn walk(&mut self, path: &RelPath, missing: Missing) -> Result<Option<OwnedFd>, UnpackError> {
        let failed = |error: Errno| write_error("open", path, error.into());
        let mut pending: Vec<Vec<u8>> = path.segments().rev().map(<[u8]>::to_vec).collect();
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                let _left = (above.pop(), names.pop());
                continue;
            }
            let at = above.last().map_or(self.root.as_fd(), |handle| handle.as_fd());
            let next = match rustix::fs::openat(at, &*name, STEP, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) if missing == Missing::Make => {
                    rustix::fs::mkdirat(at, &*name, Mode::from(0o755)).map_err(failed)?;
                    // The process' umask counts here.
                    rustix::fs::chmodat(at, &*name, Mode::from(0o755), AtFlags::empty())
                        .map_err(failed)?;
                    let next =
                        rustix::fs::openat(at, &*name, STEP | OFlags::DIRECTORY, Mode::empty())
                            .map_err(failed)?;
                    let made: Vec<&[u8]> =
                        names.iter().map(Vec::as_slice).chain([&*name]).collect();
                    self.implied.insert(RelPath::clean(made.join(&b'/')));
                    next
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&next).map_err(failed)?.st_mode);
            match kind {
                FileType::Directory => {
                    above.push(next);
                    names.push(name);
                }
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(invalid(format!("`{path}` leads through too many links")));
                    }
                    let target = rustix::fs::readlinkat(&next, c"", Vec::new())
                        .map_err(failed)?
                        .into_bytes();
                    if target.starts_with(b"/") {
                        above.clear();
                        names.clear();
                    }
                    let parts = target.split(|byte| *byte == b'/').rev();
                    pending.extend(
                        parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec),
                    );
                }
                _ if missing == Missing::Tell => return Ok(None),
                _ => return Err(invalid(format!("`{path}` is used as a directory but is none"))),
            }
        }
        match above.pop() {
            Some(found) => Ok(Some(found)),
            None => Ok(Some(
                self.root
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(|error| write_error("open", path, error))?,
            )),
        }
    }
}

/// Removes whatever `name` is in an open directory; false when there was nothing.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    empty(directory.as_fd(), &RelPath::root(), &|_| true, 0)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(true)
}

/// Removes what is in a directory, as far as `condition` says so of its path; a directory goes when it is empty then.
pub(super) fn remove_beneath(
    directory: BorrowedFd<'_>,
    path: &RelPath,
    condition: &dyn Fn(&RelPath) -> bool,
) -> io::Result<()> {
    empty(directory, path, condition, 0)
}

/// Deeper than this a hostile layer would exhaust the stack.
const MAX_DEPTH: usize = 2048;

fn empty(
    directory: BorrowedFd<'_>,
    path: &RelPath,
    condition: &dyn Fn(&RelPath) -> bool,
    depth: usize,
) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "directories are nested too deep"));
    }
    let handle = super::reopen(directory)?;
    let mut names = Vec::new();
    for item in Dir::new(handle)? {
        let name = item?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    for name in names {
        let path = path.join(&name).map_err(io::Error::other)?;
        let stat = rustix::fs::statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(directory, &*name, flags, Mode::empty())?;
            empty(inner.as_fd(), &path, condition, depth + 1)?;
        }
        if condition(&path) {
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            match rustix::fs::unlinkat(directory, &*name, flags) {
                Err(Errno::NOTEMPTY) => {}
                done => done?,
            }
        }
    }
    Ok(())
}
