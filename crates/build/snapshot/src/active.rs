use std::path::{Path, PathBuf};
use std::sync::Arc;

use fstree::{Changeset, Entry, Kind, TreeForm};
use store::{TemporaryDirectory, TreeWriter};

use crate::view::View;
use crate::{Layer, SnapshotError, Snapshots};

/// A stack of layers with a place on top for a step to write to. Dropped without [`commit`](Self::commit), what was
/// written is gone.
pub struct Active {
    snapshots: Snapshots,
    kind: Form,
}

enum Form {
    Overlay { lowers: Vec<PathBuf>, upper: TreeWriter, work: TemporaryDirectory, corrections: Option<TemporaryDirectory> },
    /// All of the stack, copied; and what it was, to find out what changed.
    Copy { directory: TemporaryDirectory, before: Arc<Changeset> },
}

/// How a step gets at an [`Active`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// To be mounted as an overlay.
    Overlay {
        /// Bottom first.
        lowers: Vec<PathBuf>,
        /// Takes the changes.
        upper: PathBuf,
        /// Empty, on the same file system.
        work: PathBuf,
    },
    /// To be used as it is.
    Directory(PathBuf),
}

impl Active {
    pub(crate) fn overlay(snapshots: &Snapshots, mut lowers: Vec<PathBuf>, view: &View) -> Result<Self, SnapshotError> {
        let store = &snapshots.0.store;
        let upper = store.new_tree()?;
        // The root of the mount shows the owner and mode of the upper directory.
        snapshots.dress_root(upper.path(), view)?;
        let work = store.temporary_directory()?;
        let wrong = view.corrections()?;
        let mut corrections = None;
        if !wrong.is_empty() {
            let directory = store.temporary_directory()?;
            fstree::write_tree(&wrong, directory.path(), snapshots.write_options(TreeForm::Overlay))?;
            lowers.push(directory.path().to_owned());
            corrections = Some(directory);
        }
        Ok(Self { snapshots: snapshots.clone(), kind: Form::Overlay { lowers, upper, work, corrections } })
    }

    pub(crate) fn copy(snapshots: &Snapshots, view: &View) -> Result<Self, SnapshotError> {
        let directory = snapshots.0.store.temporary_directory()?;
        let all = view.flatten()?;
        fstree::write_tree(&all, directory.path(), snapshots.write_options(TreeForm::Plain))?;
        let before = fstree::read_tree(directory.path(), snapshots.0.owners, TreeForm::Plain)?;
        Ok(Self { snapshots: snapshots.clone(), kind: Form::Copy { directory, before: Arc::new(before) } })
    }

    /// How a step gets at it.
    pub fn place(&self) -> Place {
        match &self.kind {
            Form::Overlay { lowers, upper, work, .. } => {
                Place::Overlay { lowers: lowers.clone(), upper: upper.path().to_owned(), work: work.path().to_owned() }
            }
            Form::Copy { directory, .. } => Place::Directory(directory.path().to_owned()),
        }
    }

    /// Makes what was written a layer.
    pub fn commit(self) -> Result<Layer, SnapshotError> {
        let store = &self.snapshots.0.store;
        let id = store.fresh_tree_id();
        match self.kind {
            Form::Overlay { upper, work, corrections, .. } => {
                upper.commit(&id)?;
                work.remove()?;
                corrections.map_or(Ok(()), TemporaryDirectory::remove)?;
            }
            Form::Copy { directory, before } => {
                let changed = changes_since(directory.path(), &before, &self.snapshots)?;
                self.snapshots.write(&changed)?.commit(&id)?;
                directory.remove()?;
            }
        }
        Ok(Layer::from_tree(id))
    }
}

/// What differs in `directory` from what it was.
fn changes_since(directory: &Path, before: &Changeset, snapshots: &Snapshots) -> Result<Changeset, SnapshotError> {
    let after = fstree::read_tree(directory, snapshots.0.owners, TreeForm::Plain)?;
    let mut changed = Changeset::new();
    for entry in after.iter() {
        match before.get(&entry.path) {
            Some(old) if is_same(old, entry) => {}
            Some(old) => {
                let mut entry = entry.clone();
                // What was no directory had nothing beneath it, and what replaces one hides all of it.
                if let (Kind::Directory { opaque }, false) = (&mut entry.kind, old.kind.is_directory()) {
                    *opaque = true;
                }
                changed.insert(entry);
            }
            None => changed.insert(entry.clone()),
        }
    }
    for old in before.iter() {
        let parent_stays = old.path.parent().is_none_or(|parent| after.get(&parent).is_some_and(|it| it.kind.is_directory()));
        if after.get(&old.path).is_none() && parent_stays {
            changed.insert(Entry { path: old.path.clone(), kind: Kind::Whiteout, meta: old.meta.clone() });
        }
    }
    complete(&mut changed, &after);
    Ok(changed)
}

/// Adds what changes need to stand: their parents, and the first names of hard links.
fn complete(changed: &mut Changeset, after: &Changeset) {
    let mut needed: Vec<Entry> = Vec::new();
    for entry in changed.iter() {
        let parents = entry.path.ancestors().filter(|path| !path.is_root());
        needed.extend(parents.filter_map(|path| after.get(&path)).filter(|it| it.kind.is_directory()).cloned());
        if let Kind::Hardlink(target) = &entry.kind {
            needed.extend(after.get(target).cloned());
        }
    }
    for entry in needed {
        if changed.get(&entry.path).is_none() {
            changed.insert(entry);
        }
    }
}

/// Files are told apart by what a write changes: identity on disk, size and the time of the last change.
fn is_same(old: &Entry, new: &Entry) -> bool {
    let same_kind = match (&old.kind, &new.kind) {
        (Kind::File(old), Kind::File(new)) => old == new,
        (old, new) => old == new,
    };
    same_kind && old.meta == new.meta
}
