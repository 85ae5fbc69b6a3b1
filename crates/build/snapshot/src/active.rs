use std::path::PathBuf;

use fstree::{Changeset, Entry, Kind, Metadata, TreeForm, read_tree};
use store::{TemporaryDirectory, TreeWriter};

use crate::{Mode, SnapshotError, Snapshots, TreeId};

/// A file system that a step may write on. Dropped without [`Active::commit`], what was written is removed.
pub struct Active {
    snapshots: Snapshots,
    upper: TreeWriter,
    kind: Kept,
}

enum Kept {
    Overlay {
        lowers: Vec<PathBuf>,
        work: TemporaryDirectory,
    },
    /// What the directory held before the step.
    Copy {
        before: Box<Changeset>,
    },
}

/// What a sandbox makes the root directory of a step from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rootfs {
    /// To be mounted as an overlay (`userxattr`).
    Overlay {
        /// Bottom first, never empty.
        lowers: Vec<PathBuf>,
        /// Where changes go; `None`: read-only.
        upper: Option<PathBuf>,
        /// Beside `upper`.
        work: Option<PathBuf>,
    },
    /// To be used as it is.
    Directory(PathBuf),
}

/// A stack of trees to be seen by a step, not to be kept.
pub struct Mounted {
    rootfs: Rootfs,
    _kept: Vec<TemporaryDirectory>,
}

impl Mounted {
    /// What to mount.
    pub fn rootfs(&self) -> &Rootfs {
        &self.rootfs
    }
}

impl Snapshots {
    /// A stack with an empty directory on top for what a step writes.
    pub fn prepare(&self, trees: &[TreeId]) -> Result<Active, SnapshotError> {
        let upper = self.store.new_tree()?;
        let kind = match self.mode() {
            Mode::Overlay => {
                self.prepare_root(upper.path())?;
                Kept::Overlay {
                    lowers: self.lowers(trees)?,
                    work: self.store.temporary_directory()?,
                }
            }
            Mode::Copy { .. } => {
                self.write_into(
                    &self.view_trees(trees)?.flatten()?,
                    upper.path(),
                    TreeForm::Plain,
                )?;
                Kept::Copy {
                    before: Box::new(read_tree(upper.path(), self.owners, TreeForm::Plain)?),
                }
            }
        };
        Ok(Active { snapshots: self.clone(), upper, kind })
    }

    /// A stack to be seen by a step (`RUN --mount=type=bind,from=`). What it writes, if it may, is thrown away.
    pub fn mount(&self, trees: &[TreeId], writable: bool) -> Result<Mounted, SnapshotError> {
        let mut kept = Vec::new();
        let rootfs = match self.mode() {
            Mode::Overlay => {
                let mut lowers = self.lowers(trees)?;
                // An overlay has at least two layers. A lone tree is shown as it is: it has nothing to remove.
                if !writable && lowers.len() == 1 {
                    let path = lowers.pop().unwrap_or_default();
                    return Ok(Mounted { rootfs: Rootfs::Directory(path), _kept: kept });
                }
                let (mut upper, mut work) = (None, None);
                if writable {
                    let directories =
                        (self.store.temporary_directory()?, self.store.temporary_directory()?);
                    self.prepare_root(directories.0.path())?;
                    upper = Some(directories.0.path().to_owned());
                    work = Some(directories.1.path().to_owned());
                    kept.extend([directories.0, directories.1]);
                }
                Rootfs::Overlay { lowers, upper, work }
            }
            Mode::Copy { .. } => {
                let directory = self.store.temporary_directory()?;
                self.write_into(
                    &self.view_trees(trees)?.flatten()?,
                    directory.path(),
                    TreeForm::Plain,
                )?;
                let path = directory.path().to_owned();
                kept.push(directory);
                Rootfs::Directory(path)
            }
        };
        Ok(Mounted { rootfs, _kept: kept })
    }
}

impl Active {
    /// What to mount, writable.
    pub fn rootfs(&self) -> Rootfs {
        match &self.kind {
            Kept::Overlay { lowers, work } => Rootfs::Overlay {
                lowers: lowers.clone(),
                upper: Some(self.upper.path().to_owned()),
                work: Some(work.path().to_owned()),
            },
            Kept::Copy { .. } => Rootfs::Directory(self.upper.path().to_owned()),
        }
    }

    /// Makes what the step wrote a tree. Nothing may be mounted on it or write to it any more.
    pub fn commit(self) -> Result<TreeId, SnapshotError> {
        let id = TreeId(self.snapshots.store.fresh_tree_id());
        match self.kind {
            Kept::Overlay { .. } => self.upper.commit(&id.0)?,
            Kept::Copy { before } => {
                let after = read_tree(self.upper.path(), self.snapshots.owners, TreeForm::Plain)?;
                let changes = difference(&before, &after);
                self.snapshots.write(&changes, &id)?;
            }
        }
        Ok(id)
    }
}

/// What has to change for one tree to become the other, with the directories above.
fn difference(before: &Changeset, after: &Changeset) -> Changeset {
    let mut changes = Changeset::new();
    let mut add = |entry: Entry| {
        for above in entry.path.ancestors() {
            if changes.get(&above).is_none()
                && let Some(directory) = after.get(&above)
            {
                changes.insert(directory.clone());
            }
        }
        changes.insert(entry);
    };
    for entry in after {
        // A file is the same when nothing wrote to it since, which its times and inode tell.
        if before.get(&entry.path) != Some(entry) {
            add(entry.clone());
        }
    }
    for entry in before {
        let parent_stays = entry.path.parent().is_none_or(|parent| {
            parent.is_root() || after.get(&parent).is_some_and(|parent| parent.kind.is_directory())
        });
        if parent_stays && after.get(&entry.path).is_none() {
            add(Entry {
                path: entry.path.clone(),
                kind: Kind::Whiteout,
                meta: Metadata::default(),
            });
        }
    }
    // A hard link needs the file it names beside it.
    let targets: Vec<Entry> = changes
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Hardlink(target) if changes.get(target).is_none() => after.get(target).cloned(),
            _ => None,
        })
        .collect();
    for target in targets {
        for above in target.path.ancestors() {
            if let Some(directory) = after.get(&above) {
                changes.entries.entry(above).or_insert_with(|| directory.clone());
            }
        }
        changes.insert(target);
    }
    changes
}
