use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{OFlags, Stat};

use crate::{Mtime, RelPath, Root};

/// What a regular file holds, without holding it in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// What a file on disk holds, read in place.
    Disk(DiskFile),
}

/// A file on disk as it was when it was looked at.
#[derive(Clone)]
pub struct DiskFile {
    root: Arc<Root>,
    path: RelPath,
    identity: FileIdentity,
}

/// What tells one state of one file from another. Any write to the file changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIdentity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last write.
    pub mtime: Mtime,
    /// Time of the last change of any kind.
    pub ctime: Mtime,
}

impl FileIdentity {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: Mtime {
                secs: stat.st_mtime,
                nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            ctime: Mtime {
                secs: stat.st_ctime,
                nanos: u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
            },
        }
    }
}

/// A file that changed after it was looked at. Comes as the inner error of an [`io::Error`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` changed while the build was using it")]
pub struct FileChanged {
    /// Which file.
    pub path: String,
}

impl FileChanged {
    /// Whether `error` says that a file changed while it was used.
    pub fn caused(error: &io::Error) -> bool {
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<Self>)
    }
}

impl Content {
    /// These bytes, or [`Content::Empty`].
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Bytes(bytes) }
    }

    /// The file at `path` beneath `root` as it is now. Fails when it is no regular file.
    pub fn disk(root: &Arc<Root>, path: &RelPath) -> io::Result<Self> {
        let stat = root.stat(path)?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{path}` is not a regular file"),
            ));
        }
        Ok(Self::of_stat(root, path, &stat))
    }

    /// The file at `path` on the host as it is now, its directory opened as a root of its own.
    pub fn disk_path(path: &Path) -> io::Result<Self> {
        use std::os::unix::ffi::OsStrExt as _;
        let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let parent =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let root = Arc::new(Root::open(parent)?);
        Self::disk(&root, &RelPath::new(name.as_bytes()).map_err(io::Error::other)?)
    }

    pub(crate) fn of_stat(root: &Arc<Root>, path: &RelPath, stat: &Stat) -> Self {
        Self::Disk(DiskFile {
            root: Arc::clone(root),
            path: path.clone(),
            identity: FileIdentity::of(stat),
        })
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Disk(file) => file.identity.size,
        }
    }

    /// Opens it for reading. The reader gives exactly [`Content::size`] bytes or fails, see [`FileChanged`].
    pub fn open(&self) -> io::Result<ContentReader> {
        Ok(ContentReader(match self {
            Self::Empty => Source::Bytes { bytes: Arc::from([].as_slice()), at: 0 },
            Self::Bytes(bytes) => Source::Bytes { bytes: Arc::clone(bytes), at: 0 },
            Self::Disk(file) => {
                Source::Disk { fd: file.open()?, left: file.identity.size, file: file.clone() }
            }
        }))
    }

    /// All of it in memory; fails when it is larger than `limit` bytes.
    pub fn read(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.size() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {limit} bytes"),
            ));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(self.size()).unwrap_or(0));
        self.open()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl DiskFile {
    /// What it was when it was looked at.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// The root that [`DiskFile::path`] is beneath.
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Where it is beneath the root.
    pub fn path(&self) -> &RelPath {
        &self.path
    }

    /// Opens it for reading and checks that it is what it was.
    pub fn open(&self) -> io::Result<OwnedFd> {
        // O_NONBLOCK: a file swapped for a pipe must not hang the build.
        let fd = self
            .root
            .open_file(&self.path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW)?;
        self.check(fd.as_fd())?;
        Ok(fd)
    }

    /// Fails with [`FileChanged`] when the open file is not what it was.
    pub fn check(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if FileIdentity::of(&rustix::fs::fstat(fd)?) == self.identity {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> io::Error {
        io::Error::other(FileChanged { path: self.root.show(&self.path).to_string() })
    }
}

impl PartialEq for DiskFile {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for DiskFile {}

impl fmt::Debug for DiskFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({} bytes)", self.root.show(&self.path), self.identity.size)
    }
}

/// Reads a [`Content`].
pub struct ContentReader(Source);

enum Source {
    Bytes { bytes: Arc<[u8]>, at: usize },
    Disk { fd: OwnedFd, left: u64, file: DiskFile },
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Source::Bytes { bytes, at } => {
                let read = bytes.get(*at..).unwrap_or_default().read(buffer)?;
                *at += read;
                Ok(read)
            }
            Source::Disk { fd, left, file } => {
                if *left == 0 || buffer.is_empty() {
                    return Ok(0);
                }
                let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let read = rustix::io::retry_on_intr(|| {
                    rustix::io::read(&*fd, buffer.get_mut(..wanted).unwrap_or_default())
                })?;
                if read == 0 {
                    return Err(file.changed());
                }
                *left -= read as u64;
                if *left == 0 {
                    file.check(fd.as_fd())?;
                }
                Ok(read)
            }
        }
    }
}
