use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;

use crate::disk::{Reading, TreeForm, read_entry};
use crate::view::Link;
use crate::walk::{Step, walk, with_links};
use crate::{Changeset, Entry, Kind, Owners, RelPath, Root, TreeError, TreeView};

/// A directory on disk that is looked into when asked, file by file.
#[derive(Clone, Debug)]
pub struct DirectoryTree {
    root: Arc<Root>,
    owners: Owners,
    form: TreeForm,
}

impl DirectoryTree {
    /// Opens a directory of the host.
    pub fn open(path: &Path, owners: Owners, form: TreeForm) -> Result<Self, TreeError> {
        let root = Root::open(path).map_err(TreeError::io("open", path.display()))?;
        Ok(Self { root: Arc::new(root), owners, form })
    }

    /// Takes an open directory.
    pub fn of_root(root: Arc<Root>, owners: Owners, form: TreeForm) -> Self {
        Self { root, owners, form }
    }

    /// The directory itself.
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// What the directory says of `path`, whiteouts and opaque directories included. Links are not followed.
    pub fn find(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(self.find_linked(path)?.map(|(entry, _)| entry))
    }

    fn find_linked(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        let failed = || TreeError::io("look at", self.root.show(path));
        let parent = match self.root.open_directory(&path.parent().unwrap_or_else(RelPath::root)) {
            Ok(parent) => parent,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(failed()(error)),
        };
        let name = if path.is_root() { b"." } else { path.name() };
        let entry = rustix::fs::statat(&parent, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
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

    /// The names in a directory, sorted, whiteouts included.
    pub fn names(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let failed = || TreeError::io("read directory", self.root.show(path));
        let directory = match self.root.open_file(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(error) if is_missing(&error) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed()(error)),
        };
        let mut names = Vec::new();
        for item in Dir::read_from(&directory).map_err(|error| failed()(error.into()))? {
            let item = item.map_err(|error| failed()(error.into()))?;
            let name = item.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort();
        Ok(names)
    }
}

impl TreeView for DirectoryTree {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(self.find(path)?.filter(|entry| entry.kind != Kind::Whiteout))
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let names = self.names(path)?;
        if self.form == TreeForm::Plain {
            return Ok(names);
        }
        let mut visible = Vec::with_capacity(names.len());
        for name in names {
            let Ok(child) = path.join(&name) else { continue };
            if self.lookup(&child)?.is_some() {
                visible.push(name);
            }
        }
        Ok(visible)
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        Ok(self.find_linked(path)?.and_then(|(_, link)| link))
    }
}

/// Reads all of a directory. Several names of one file become hard links to the first; file contents stay on disk.
pub fn read_tree(path: &Path, owners: Owners, form: TreeForm) -> Result<Changeset, TreeError> {
    let root = Root::open(path).map_err(TreeError::io("open", path.display()))?;
    read_root(&Arc::new(root), owners, form)
}

/// As [`read_tree`], for an open directory.
pub fn read_root(root: &Arc<Root>, owners: Owners, form: TreeForm) -> Result<Changeset, TreeError> {
    Ok(with_links(walk(root, Reading::Tree { owners, form }, (), |_, _, ()| Step::Take(()))?))
}

/// Whether there is nothing at a path, or something above it is no directory.
pub(crate) fn is_missing(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}
