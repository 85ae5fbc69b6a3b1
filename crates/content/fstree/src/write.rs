use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

use crate::disk::{KEPT_XATTR, TreeForm, owner_record, proc_path};
use crate::{
    Changeset, Content, DEVICE_XATTR, Entry, Kind, Metadata, Mtime, OWNER_XATTR, Owners, RelPath,
    Root, TreeError,
};

/// How a tree is written.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// Whose ids the files get on disk.
    pub owners: Owners,
    /// How removals are written; in a plain tree they must not occur.
    pub form: TreeForm,
}

/// Writes a changeset into an empty directory of the host.
///
/// Contents are reflinked where the file system can, else copied within the kernel. Directories that the changeset
/// lacks are made as root's with mode `0755` and the time 0.
pub fn write_tree(
    changes: &Changeset,
    path: &Path,
    options: WriteOptions,
) -> Result<(), TreeError> {
    let root = Root::open(path).map_err(TreeError::io("open", path.display()))?;
    write_root(changes, root, options)
}

/// With fewer entries than this, threads are not worth their start.
const ALONE: usize = 500;
const MAX_THREADS: usize = 8;

/// As [`write_tree`], for an open directory. Directories are made first, then with several threads what is in them,
/// then further names of files.
pub fn write_root(changes: &Changeset, root: Root, options: WriteOptions) -> Result<(), TreeError> {
    let mut writer = TreeWriter::new(root, options);
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    if changes.len() < ALONE || threads < 2 {
        changes.iter().try_for_each(|entry| writer.put(entry))?;
        return writer.finish();
    }
    let (mut files, mut links) = (Vec::new(), Vec::new());
    let mut parent = RelPath::root();
    for entry in changes {
        match &entry.kind {
            Kind::Directory { .. } => {
                writer.put(entry)?;
                continue;
            }
            Kind::Hardlink(_) => links.push(entry),
            _ => files.push(entry),
        }
        let above = entry.path.parent().unwrap_or_else(RelPath::root);
        if above != parent {
            drop(writer.parent_directory(&above)?);
            parent = above;
        }
    }
    let share = files.len().div_ceil(threads * 4).max(1);
    let shares: Vec<&[&Entry]> = files.chunks(share).collect();
    let next = AtomicUsize::new(0);
    let root = &writer.root;
    let work = || -> Result<(), TreeError> {
        let root = root.try_clone().map_err(TreeError::io("open", root.path().display()))?;
        let mut writer = TreeWriter::new(root, options);
        while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = share.iter().try_for_each(|entry| writer.put(entry)) {
                next.store(shares.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = |_| Err(TreeError::Invalid("a writing thread ended unexpectedly".to_owned()));
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(ended))
            .fold(Ok(()), Result::and)
    })?;
    links.into_iter().try_for_each(|entry| writer.put(entry))?;
    writer.finish()
}

/// Puts entries into a directory one by one; [`TreeWriter::finish`] sets what would change while files are added.
pub struct TreeWriter {
    root: Root,
    options: WriteOptions,
    /// Mode and time of directories: set last, since a directory must stay writable until then.
    directories: BTreeMap<RelPath, (u32, Mtime)>,
    /// The directory written into last.
    parent: Option<(RelPath, OwnedFd)>,
    no_clone: AtomicBool,
}

impl TreeWriter {
    /// Starts to write beneath `root`.
    pub fn new(root: Root, options: WriteOptions) -> Self {
        Self {
            root,
            options,
            directories: BTreeMap::new(),
            parent: None,
            no_clone: AtomicBool::new(false),
        }
    }

    /// The directory written into.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Writes an entry in place of what is at its path. A directory that is there already keeps its content.
    pub fn put(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let path = &entry.path;
        if path.is_root() {
            return self.put_root(entry);
        }
        let parent_path = path.parent().unwrap_or_else(RelPath::root);
        let parent = match self.parent.take().filter(|(at, _)| *at == parent_path) {
            Some((_, fd)) => fd,
            None => self.parent_directory(&parent_path)?,
        };
        let result = self.put_in(parent.as_fd(), entry);
        if entry.kind.is_directory() {
            self.directories
                .insert(path.clone(), (self.mode_on_disk(&entry.meta), entry.meta.mtime));
        }
        self.parent = Some((parent_path, parent));
        result
    }

    /// Sets modes and times of directories, deepest first.
    pub fn finish(self) -> Result<(), TreeError> {
        for (path, (mode, mtime)) in self.directories.iter().rev() {
            let failed = || TreeError::io("set mode and time of", self.root.show(path));
            let directory =
                self.root.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed())?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(*mode))
                .map_err(|error| failed()(error.into()))?;
            rustix::fs::futimens(&directory, &timestamps(*mtime))
                .map_err(|error| failed()(error.into()))?;
        }
        Ok(())
    }

    fn put_root(&mut self, entry: &Entry) -> Result<(), TreeError> {
        let directory = self.parent_directory(&RelPath::root())?;
        self.describe(directory.as_fd(), b".", entry)?;
        self.directories
            .insert(RelPath::root(), (self.mode_on_disk(&entry.meta), entry.meta.mtime));
        Ok(())
    }

    /// Opens a directory, making it and those above it when they are missing.
    fn parent_directory(&mut self, path: &RelPath) -> Result<OwnedFd, TreeError> {
        match self.root.open_directory(path) {
            Ok(directory) => Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_root() => {
                let meta = Metadata { mode: 0o755, ..Metadata::default() };
                self.put(&Entry { path: path.clone(), kind: Kind::DIRECTORY, meta })?;
                self.root.open_directory(path).map_err(TreeError::io("open", self.root.show(path)))
            }
            Err(error) => Err(TreeError::io("open", self.root.show(path))(error)),
        }
    }

    fn put_in(&self, parent: BorrowedFd<'_>, entry: &Entry) -> Result<(), TreeError> {
        let path = &entry.path;
        let name = path.name();
        let failed = |action: &'static str| {
            move |error: Errno| TreeError::io(action, self.root.show(path))(error.into())
        };
        match &entry.kind {
            Kind::Directory { opaque } => {
                // Writable until `finish`.
                match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
                    Ok(()) => {}
                    Err(Errno::EXIST) if is_directory(parent, name) => {}
                    Err(Errno::EXIST) => {
                        self.remove(parent, path)?;
                        rustix::fs::mkdirat(parent, name, Mode::RWXU)
                            .map_err(failed("make directory"))?;
                    }
                    Err(error) => return Err(failed("make directory")(error)),
                }
                self.describe(parent, name, entry)?;
                if *opaque && self.options.form == TreeForm::Overlay {
                    set_xattr(parent, name, b"user.overlay.opaque", b"y")
                        .map_err(TreeError::io("mark", self.root.show(path)))?;
                }
                return Ok(());
            }
            Kind::File(content) => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let open = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR);
                let file = match open() {
                    Err(Errno::EXIST) => {
                        self.remove(parent, path)?;
                        open()
                    }
                    opened => opened,
                };
                let file = file.map_err(failed("create"))?;
                self.fill(file, content).map_err(TreeError::io("write", self.root.show(path)))?;
            }
            Kind::Hardlink(target) => {
                // A name of the tree itself, so never through a link.
                let source = self
                    .root
                    .open_directory(&target.parent().unwrap_or_else(RelPath::root))
                    .map_err(TreeError::io("open", self.root.show(target)))?;
                let link =
                    || rustix::fs::linkat(&source, target.name(), parent, name, AtFlags::empty());
                let done = match link() {
                    Err(Errno::EXIST) if target != path => {
                        self.remove(parent, path)?;
                        link()
                    }
                    done => done,
                };
                // Owner, mode and attributes are those of the file it names.
                return done.map_err(failed("link"));
            }
            Kind::Symlink(target) => {
                let make = || rustix::fs::symlinkat(target.as_slice(), parent, name);
                self.make(parent, path, "make symbolic link", make)?;
            }
            Kind::Fifo => {
                let make = || {
                    rustix::fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                };
                self.make(parent, path, "make pipe", make)?;
            }
            Kind::Whiteout => return self.put_whiteout(parent, path),
            Kind::CharDevice { major, minor } => {
                self.put_device(parent, path, FileType::CharacterDevice, (*major, *minor))?;
            }
            Kind::BlockDevice { major, minor } => {
                self.put_device(parent, path, FileType::BlockDevice, (*major, *minor))?;
            }
        }
        self.describe(parent, name, entry)?;
        if !matches!(entry.kind, Kind::Symlink(_)) {
            let mode = Mode::from_raw_mode(self.mode_on_disk(&entry.meta));
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
                .map_err(failed("set mode of"))?;
        }
        rustix::fs::utimensat(
            parent,
            name,
            &timestamps(entry.meta.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed("set time of"))
    }

    fn make(
        &self,
        parent: BorrowedFd<'_>,
        path: &RelPath,
        action: &'static str,
        make: impl Fn() -> rustix::io::Result<()>,
    ) -> Result<(), TreeError> {
        let done = match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, path)?;
                make()
            }
            done => done,
        };
        done.map_err(|error| TreeError::io(action, self.root.show(path))(error.into()))
    }

    fn put_whiteout(&self, parent: BorrowedFd<'_>, path: &RelPath) -> Result<(), TreeError> {
        if self.options.form == TreeForm::Plain {
            return self.remove(parent, path);
        }
        let name = path.name();
        let make =
            || rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0);
        let done = match make() {
            Err(Errno::EXIST) => {
                self.remove(parent, path)?;
                make()
            }
            done => done,
        };
        match done {
            // File systems without device nodes: the other form that OverlayFS knows (Linux 6.7).
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.put_marked_whiteout(parent, path)
            }
            done => done.map_err(|error| {
                TreeError::io("make whiteout", self.root.show(path))(error.into())
            }),
        }
    }

    fn put_marked_whiteout(&self, parent: BorrowedFd<'_>, path: &RelPath) -> Result<(), TreeError> {
        let failed = || TreeError::io("make whiteout", self.root.show(path));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(parent, path.name(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed()(error.into()))?;
        set_xattr(parent, path.name(), b"user.overlay.whiteout", b"y").map_err(failed())?;
        if rustix::fs::lgetxattr(
            &proc_path(parent, b".").map_err(failed())?,
            c"user.overlay.opaque",
            &mut [0; 8],
        )
        .is_ok()
        {
            return Ok(());
        }
        // Tells OverlayFS to look for such files in this directory.
        set_xattr(parent, b".", b"user.overlay.opaque", b"x").map_err(failed())
    }

    fn put_device(
        &self,
        parent: BorrowedFd<'_>,
        path: &RelPath,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), TreeError> {
        let failed = || TreeError::io("make device", self.root.show(path));
        let name = path.name();
        // A real device node would be a way around the sandbox, and a user namespace may not make one: an empty
        // file remembers it for the layer.
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = || rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map(drop);
        self.make(parent, path, "make device", make)?;
        let letter = if kind == FileType::BlockDevice { 'b' } else { 'c' };
        set_xattr(parent, name, DEVICE_XATTR, format!("{letter}:{major}:{minor}").as_bytes())
            .map_err(failed())
    }

    fn remove(&self, parent: BorrowedFd<'_>, path: &RelPath) -> Result<(), TreeError> {
        remove_all(parent, path.name()).map_err(TreeError::io("remove", self.root.show(path)))
    }

    /// Owner and extended attributes.
    fn describe(
        &self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), TreeError> {
        let meta = &entry.meta;
        let failed = |action| TreeError::io(action, self.root.show(&entry.path));
        let link = matches!(entry.kind, Kind::Symlink(_));
        match self.options.owners {
            Owners::Recorded => {
                if let Some(record) =
                    owner_record(meta).filter(|_| may_have_user_xattrs(&entry.kind))
                {
                    set_xattr(parent, name, OWNER_XATTR, record.as_bytes())
                        .map_err(failed("record the owner of"))?;
                }
            }
            owners @ Owners::Shifted { .. } => {
                let id = |id| {
                    owners.to_disk(id).map_err(|source| TreeError::Owner {
                        path: self.root.show(&entry.path).to_string(),
                        source,
                    })
                };
                let (uid, gid) = (
                    rustix::fs::Uid::from_raw(id(meta.uid)?),
                    rustix::fs::Gid::from_raw(id(meta.gid)?),
                );
                rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failed("set owner of")(error.into()))?;
            }
        }
        for (key, value) in &meta.xattrs {
            if key.starts_with(b"user.") && !may_have_user_xattrs(&entry.kind) {
                continue;
            }
            match set_xattr(parent, name, key, value) {
                Err(error) if !link && is_refused(&error) => {
                    let kept = [KEPT_XATTR, key].concat();
                    set_xattr(parent, name, &kept, value).map_err(failed("set an attribute of"))?;
                }
                done => done.map_err(failed("set an attribute of"))?,
            }
        }
        Ok(())
    }

    fn mode_on_disk(&self, meta: &Metadata) -> u32 {
        match self.options.owners {
            // The file belongs to the user: what is set-id in the image must not be so here.
            Owners::Recorded => meta.mode & 0o1777,
            Owners::Shifted { .. } => meta.mode & 0o7777,
        }
    }

    fn fill(&self, file: OwnedFd, content: &Content) -> io::Result<()> {
        match content {
            Content::Empty => Ok(()),
            Content::Bytes(bytes) => std_file(file).write_all(bytes),
            Content::Disk(source) => {
                let from = source.open()?;
                if !self.no_clone.load(Ordering::Relaxed) {
                    match rustix::fs::ioctl_ficlone(&file, &from) {
                        Ok(()) => return source.check(from.as_fd()),
                        Err(_) => self.no_clone.store(true, Ordering::Relaxed),
                    }
                }
                copy(&from, &file, content.size())?;
                source.check(from.as_fd())
            }
        }
    }
}

/// Copies `size` bytes within the kernel where it can, holes left out where the file system does so itself.
fn copy(from: &OwnedFd, to: &OwnedFd, size: u64) -> io::Result<()> {
    let mut left = size;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, None, to, None, wanted) {
            Ok(0) => break,
            Ok(copied) => left -= (copied as u64).min(left),
            Err(Errno::INTR) => {}
            Err(
                Errno::XDEV
                | Errno::NOSYS
                | Errno::OPNOTSUPP
                | Errno::INVAL
                | Errno::PERM
                | Errno::IO,
            ) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if left > 0 {
        let mut from = std_file(from.try_clone()?).take(left);
        let mut to = std_file(to.try_clone()?);
        let copied = io::copy(&mut from, &mut to)?;
        if copied < left {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was copied",
            ));
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_types, reason = "made from an open handle: there is no path to name")]
fn std_file(fd: OwnedFd) -> std::fs::File {
    fd.into()
}

fn timestamps(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: i64::from(mtime.nanos) },
    }
}

fn is_directory(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn may_have_user_xattrs(kind: &Kind) -> bool {
    !matches!(kind, Kind::Symlink(_) | Kind::Fifo)
}

fn is_refused(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS))
}

fn set_xattr(parent: BorrowedFd<'_>, name: &[u8], key: &[u8], value: &[u8]) -> io::Result<()> {
    let path = proc_path(parent, name)?;
    Ok(rustix::fs::lsetxattr(&path, key, value, XattrFlags::empty())?)
}

/// Removes a file, or a directory and all that is in it, without following links. What is not there is no error.
pub fn remove_all(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if is_directory(parent, name) => {}
        Err(error) => return Err(error.into()),
    }
    // Depth is on the heap: a hostile tree may be deep.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |at: BorrowedFd<'_>, name: &[u8]| match rustix::fs::openat(
        at,
        name,
        flags,
        Mode::empty(),
    ) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
            rustix::fs::openat(at, name, flags, Mode::empty())
        }
        opened => opened,
    };
    let mut stack: Vec<(OwnedFd, Vec<u8>)> = vec![(open(parent, name)?, name.to_vec())];
    while let Some((directory, _)) = stack.last() {
        let mut deeper = None;
        let mut names = Vec::new();
        for item in rustix::fs::Dir::read_from(directory)? {
            let item = item?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        for name in names {
            let removed = match rustix::fs::unlinkat(directory, &*name, AtFlags::empty()) {
                Err(Errno::ACCESS) => {
                    rustix::fs::fchmod(directory, Mode::RWXU)?;
                    rustix::fs::unlinkat(directory, &*name, AtFlags::empty())
                }
                done => done,
            };
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) if is_directory(directory.as_fd(), &name) => {
                    deeper = Some((open(directory.as_fd(), &name)?, name));
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(next) = deeper {
            stack.push(next);
            continue;
        }
        let name = stack.pop().map(|(_, name)| name).unwrap_or_default();
        let above = stack.last().map_or(parent, |(directory, _)| directory.as_fd());
        match rustix::fs::unlinkat(above, &*name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
