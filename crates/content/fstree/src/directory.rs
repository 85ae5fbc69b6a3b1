use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;

use crate::disk::{Reading, TreeForm, proc_path, read_entry};
use crate::view::Link;
use crate::walk::{Step, walk, with_links};
use crate::{Changeset, Entry, Kind, Owners, RelPath, Root, TreeError, TreeView};

/// A directory on disk that is looked into when asked, file by file. It must not be renamed about meanwhile.
#[derive(Clone, Debug)]
pub struct DirectoryTree {
    root: Arc<Root>,
    owners: Owners,
    form: TreeForm,
    has_implied: bool,
    last: Arc<Mutex<LastDirectory>>,
}

/// The directory asked for last, kept open.
type LastDirectory = Option<(RelPath, Arc<OwnedFd>)>;

impl DirectoryTree {
    /// Opens a directory of the host.
    pub fn open(path: &Path, owners: Owners, form: TreeForm) -> Result<Self, TreeError> {
        let root = Root::open(path).map_err(TreeError::io("open", path.display()))?;
        Ok(Self::of_root(Arc::new(root), owners, form))
    }

    /// Takes an open directory.
    pub fn of_root(root: Arc<Root>, owners: Owners, form: TreeForm) -> Self {
        let has_implied = form == TreeForm::Overlay && has_mark(root.as_fd(), b".");
        Self { root, owners, form, has_implied, last: Arc::default() }
    }

    /// The directory itself.
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Files are asked for directory by directory: the last one stays open.
    fn open_parent(&self, path: &RelPath) -> std::io::Result<Arc<OwnedFd>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, directory)) = &*last
            && at == path
        {
            return Ok(Arc::clone(directory));
        }
        let directory = Arc::new(self.root.open_directory(path)?);
        *last = Some((path.clone(), Arc::clone(&directory)));
        Ok(directory)
    }

    /// What the directory says of `path`, whiteouts and opaque directories included. Links are not followed.
    pub fn find(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(self.find_linked(path)?.map(|(entry, _)| entry))
    }

    /// As [`DirectoryTree::find`], and which file it is when it has further names.
    pub fn find_linked(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        let failed = || TreeError::io("look at", self.root.show(path));
        let parent = match self.open_parent(&path.parent().unwrap_or_else(RelPath::root)) {
            Ok(parent) => parent,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed()(error)),
        };
        let name = if path.is_root() { b"." } else { path.name() };
        let entry = rustix::fs::statat(&*parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .map_err(std::io::Error::from)
            .and_then(|stat| {
                let reading = Reading::Tree { owners: self.owners, form: self.form };
                let entry = read_entry(&self.root, parent.as_fd(), name, path, &stat, reading)?;
                let linked = stat.st_nlink > 1 && !entry.kind.is_directory();
                Ok((entry, linked.then(|| Link::of_inode(stat.st_dev, stat.st_ino))))
            });
        match entry {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(failed()(error)),
        }
    }

    /// Whether the tree has this directory only because something is in it: what a lower layer says of its owner and
    /// mode holds. See [`mark_implied`].
    pub fn is_implied(&self, path: &RelPath) -> Result<bool, TreeError> {
        if !self.has_implied {
            return Ok(false);
        }
        let parent = match self.root.open_directory(&path.parent().unwrap_or_else(RelPath::root)) {
            Ok(parent) => parent,
            Err(error) if is_missing(&error) => return Ok(false),
            Err(error) => return Err(TreeError::io("look at", self.root.show(path))(error)),
        };
        let name = if path.is_root() { b"." } else { path.name() };
        Ok(has_mark(parent.as_fd(), name))
    }

    /// Whether any directory is implied.
    pub fn has_implied(&self) -> bool {
        self.has_implied
    }

    /// The names in a directory, sorted, and which of them are whiteouts.
    pub fn marked_names(&self, path: &RelPath) -> Result<Vec<(Vec<u8>, bool)>, TreeError> {
        let failed = || TreeError::io("read directory", self.root.show(path));
        let directory = match self.root.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed()(error)),
        };
        let mut names = Vec::new();
        for item in Dir::read_from(&directory).map_err(|error| failed()(error.into()))? {
            let item = item.map_err(|error| failed()(error.into()))?;
            let name = item.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            // Only these kinds of file can be whiteouts.
            let possible = matches!(
                item.file_type(),
                FileType::CharacterDevice | FileType::RegularFile | FileType::Unknown
            );
            let whiteout = self.form == TreeForm::Overlay
                && possible
                && self.is_whiteout(directory.as_fd(), name);
            names.push((name.to_vec(), whiteout));
        }
        names.sort();
        Ok(names)
    }

    fn is_whiteout(&self, directory: BorrowedFd<'_>, name: &[u8]) -> bool {
        let Ok(stat) = rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        else {
            return false;
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => stat.st_rdev == 0,
            FileType::RegularFile if stat.st_size == 0 => {
                let reading = Reading::Tree { owners: self.owners, form: self.form };
                RelPath::new(name).is_ok_and(|path| {
                    read_entry(&self.root, directory, name, &path, &stat, reading)
                        .is_ok_and(|entry| entry.kind == Kind::Whiteout)
                })
            }
            _ => false,
        }
    }
}

impl TreeView for DirectoryTree {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(self.find(path)?.filter(|entry| entry.kind != Kind::Whiteout))
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let names = self.marked_names(path)?.into_iter();
        Ok(names.filter(|(_, whiteout)| !whiteout).map(|(name, _)| name).collect())
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        Ok(self.find_linked(path)?.and_then(|(_, link)| link))
    }

    fn lookup_linked(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        Ok(self.find_linked(path)?.filter(|(entry, _)| entry.kind != Kind::Whiteout))
    }
}

/// Reads all of a directory. Several names of one file become hard links to the first; file contents stay on disk.
pub fn read_tree(path: &Path, owners: Owners, form: TreeForm) -> Result<Changeset, TreeError> {
    let root = Root::open(path).map_err(TreeError::io("open", path.display()))?;
    read_root(&Arc::new(root), owners, form)
}

/// As [`read_tree`], for an open directory.
pub fn read_root(root: &Arc<Root>, owners: Owners, form: TreeForm) -> Result<Changeset, TreeError> {
    Ok(with_links(walk(root, Reading::Tree { owners, form }, (), |_, _, ()| Ok(Step::Take(())))?))
}

/// Whether there is nothing at a path, or something above it is no directory.
pub(crate) fn is_missing(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

/// The mark of directories that a layer only implies, and of the root of a tree that has such.
const IMPLIED: &[u8] = b"user.crossdock.implied";

fn has_mark(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    proc_path(parent, name)
        .is_ok_and(|path| rustix::fs::lgetxattr(&path, IMPLIED, &mut [0; 8]).is_ok())
}

/// Marks directories of a tree that its layer only implies (it has files in them but says nothing of them).
pub fn mark_implied(root: &Root, directories: &[RelPath]) -> Result<(), TreeError> {
    if directories.is_empty() {
        return Ok(());
    }
    for path in directories.iter().chain([&RelPath::root()]) {
        let mark = || {
            let directory = root.open_directory(path)?;
            let path = proc_path(directory.as_fd(), b".")?;
            Ok(rustix::fs::setxattr(&path, IMPLIED, b"y", rustix::fs::XattrFlags::empty())?)
        };
        mark().map_err(TreeError::io("mark", root.show(path)))?;
    }
    Ok(())
}
