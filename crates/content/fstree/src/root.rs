use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{RelPath, show};

/// A directory that nothing done through it can leave.
///
/// Every path is resolved by the kernel beneath the open directory (`openat2`), so that links and `..` inside a
/// hostile tree, and changes made to it meanwhile, lead nowhere else. Kernels without `openat2` get a walk that
/// opens one segment after the other and refuses links.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// For people only.
    path: PathBuf,
}

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

impl Root {
    /// Opens a directory of the host. Links in `path` itself are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {}", path.display(), io::Error::from(error)))
        })?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// A second handle of the same directory.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, path: self.path.clone() })
    }

    /// Takes an open directory; `path` is only what people are told.
    pub fn from_fd(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    /// Opens the directory at `path` beneath this root as a root of its own, without following links.
    pub fn subroot(&self, path: &RelPath) -> io::Result<Self> {
        Ok(Self { fd: self.open_directory(path)?, path: self.path.join(path.as_path()) })
    }

    /// Where the directory was opened. Only for messages: it may have moved since.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `path` as people would write it on the host, made when it is printed.
    pub fn show<'a>(&'a self, path: &'a RelPath) -> Shown<'a> {
        Shown { root: &self.path, path }
    }

    /// Opens what is at `path` without following any link (`O_NOFOLLOW` and `O_CLOEXEC` are added).
    pub fn open_file(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_mode(path, flags, Mode::empty())
    }

    /// As [`Root::open_file`], with the mode of a file that is created.
    pub fn open_mode(&self, path: &RelPath, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        open_beneath(
            self.fd.as_fd(),
            path,
            flags,
            mode,
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
    }

    /// Opens what is at `path`, links resolved as a process would that has this root as its `/`.
    pub fn open_in_root(&self, path: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        open_beneath(self.fd.as_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// A handle (`O_PATH`) of the directory at `path`, no link followed.
    pub fn open_directory(&self, path: &RelPath) -> io::Result<OwnedFd> {
        self.open_file(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// What is at `path`, no link followed.
    pub fn stat(&self, path: &RelPath) -> io::Result<Stat> {
        let Some(parent) = path.parent() else {
            return Ok(rustix::fs::fstat(&self.fd)?);
        };
        if parent.is_root() {
            return Ok(rustix::fs::statat(&self.fd, path.as_path(), AtFlags::SYMLINK_NOFOLLOW)?);
        }
        let handle = self.open_file(path, OFlags::PATH)?;
        Ok(rustix::fs::fstat(&handle)?)
    }

    /// What the link at `path` says.
    pub fn read_link(&self, path: &RelPath) -> io::Result<Vec<u8>> {
        let handle = self.open_file(path, OFlags::PATH)?;
        Ok(rustix::fs::readlinkat(&handle, c"", Vec::new())?.into_bytes())
    }
}

/// A path beneath a root, for people.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    root: &'a Path,
    path: &'a RelPath,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_root() {
            self.root.to_owned()
        } else {
            self.root.join(self.path.as_path())
        };
        f.write_str(&show(path.as_os_str().as_bytes()))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &RelPath,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: something was renamed while `..` or a link was resolved.
        for _ in 0..128 {
            match rustix::fs::openat2(root, path.as_path(), flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS | Errno::PERM) if !openat2_works() => break,
                done => return Ok(done?),
            }
        }
        if !NO_OPENAT2.load(Ordering::Relaxed) {
            return Err(Errno::AGAIN.into());
        }
    }
    open_by_segments(root, path, flags, mode, resolve)
}

fn openat2_works() -> bool {
    let works = rustix::fs::openat2(
        CWD,
        c".",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::empty(),
    );
    if matches!(works, Err(Errno::NOSYS | Errno::PERM)) {
        NO_OPENAT2.store(true, Ordering::Relaxed);
    }
    works.is_ok()
}

/// One segment after the other; links are followed by hand when `resolve` allows them.
pub(crate) fn open_by_segments(
    root: BorrowedFd<'_>,
    path: &RelPath,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    const STEP: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let follow = resolve.contains(ResolveFlags::IN_ROOT);
    let mut pending: Vec<Vec<u8>> = path.segments().rev().map(<[u8]>::to_vec).collect();
    // The directories above the current one: `..` pops instead of asking the kernel.
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(segment) = pending.pop() {
        if segment == b".." {
            let _popped = above.pop();
            continue;
        }
        let at = above.last().map_or(root, AsFd::as_fd);
        let last = pending.is_empty();
        if last && (!follow || flags.contains(OFlags::NOFOLLOW)) {
            return Ok(rustix::fs::openat(at, &*segment, flags | OFlags::NOFOLLOW, mode)?);
        }
        let next = match rustix::fs::openat(at, &*segment, STEP, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) if last && flags.contains(OFlags::CREATE) => {
                return Ok(rustix::fs::openat(at, &*segment, flags | OFlags::NOFOLLOW, mode)?);
            }
            Err(error) => return Err(error.into()),
        };
        let stat = rustix::fs::fstat(&next)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink {
            links += 1;
            if !follow || links > crate::MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = rustix::fs::readlinkat(&next, c"", Vec::new())?.into_bytes();
            if target.starts_with(b"/") {
                above.clear();
            }
            let segments = target.split(|byte| *byte == b'/').rev();
            pending
                .extend(segments.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
            continue;
        }
        if last {
            return Ok(rustix::fs::openat(at, &*segment, flags | OFlags::NOFOLLOW, mode)?);
        }
        above.push(next);
    }
    let at = above.last().map_or(root, AsFd::as_fd);
    Ok(rustix::fs::openat(at, c".", flags, mode)?)
}
