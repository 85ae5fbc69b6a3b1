use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread;

use fstree::{Changeset, DirectoryTree, Entry, Kind, Owners, RelPath, TreeError, TreeForm, TreeView, WriteOptions};
use oci::{Descriptor, Digest};
use store::{Ref, Store, TreeWriter};

use crate::active::Active;
use crate::probe::{self, Mode};
use crate::view::{Sheet, View};
use crate::{Layer, LayerSource, SnapshotError};

/// Records of the store: directories that a tree has and its layer does not speak of, ended by zero bytes.
const IMPLIED: &str = "implied";
/// A layer may unpack to at most this many bytes.
const UNPACKED_LIMIT: u64 = 256 << 30;

/// Trees of layers, in one store.
#[derive(Clone)]
pub struct Snapshots(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) owners: Owners,
    mode: OnceLock<Mode>,
}

impl Snapshots {
    /// Trees in `store`, their files owned on disk as `owners` says.
    pub fn new(store: Store, owners: Owners) -> Self {
        Self(Arc::new(Shared { store, owners, mode: OnceLock::new() }))
    }

    /// As [`new`](Self::new), without looking for overlay support.
    pub fn with_mode(store: Store, owners: Owners, mode: Mode) -> Self {
        Self(Arc::new(Shared { store, owners, mode: OnceLock::from(mode) }))
    }

    /// Whether steps run on overlay mounts or on copies. Finding out costs a mount, once.
    pub fn mode(&self) -> Mode {
        *self.0.mode.get_or_init(|| probe::mode(&self.0.store))
    }

    pub(crate) fn write_options(&self, form: TreeForm) -> WriteOptions {
        WriteOptions { owners: self.0.owners, form }
    }

    /// How files are owned on disk.
    pub fn owners(&self) -> Owners {
        self.0.owners
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The layer's tree, made if it is not there yet.
    pub fn ensure_tree(&self, layer: &Layer, source: &dyn LayerSource) -> Result<PathBuf, SnapshotError> {
        let store = &self.0.store;
        let _making = layer.0.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = layer.tree()
            && store.has_tree(id)
        {
            return Ok(store.tree_path(id));
        }
        let id = if let Some((blob, diff_id)) = layer.blob() {
            let id = self.blob_tree_id(diff_id);
            if !store.has_tree(&id) {
                self.unpack(blob, diff_id, layer.is_windows_form(), &id, source)?;
            }
            id
        } else if let Some(changes) = layer.changes() {
            let id = store.fresh_tree_id();
            let writer = self.write(changes)?;
            writer.commit(&id)?;
            id
        } else {
            let id = layer.tree().unwrap_or_default();
            return Err(SnapshotError::io("find", store.tree_path(id))(std::io::ErrorKind::NotFound.into()));
        };
        let path = store.tree_path(&id);
        // Set already only where another holder of the same lock did it, which is impossible.
        drop(layer.0.tree.set(id));
        Ok(path)
    }

    /// The trees of several layers, made in parallel, in the order of the layers.
    pub fn ensure_trees(&self, layers: &[Layer], source: &dyn LayerSource) -> Result<Vec<PathBuf>, SnapshotError> {
        let missing = layers.iter().filter(|layer| layer.tree().is_none()).count();
        if missing < 2 {
            return layers.iter().map(|layer| self.ensure_tree(layer, source)).collect();
        }
        thread::scope(|scope| {
            let workers: Vec<_> = layers.iter().map(|layer| scope.spawn(move || self.ensure_tree(layer, source))).collect();
            workers
                .into_iter()
                .map(|worker| match worker.join() {
                    Ok(path) => path,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        })
    }

    /// Trees of the same layer differ by how their files are owned on disk.
    fn blob_tree_id(&self, diff_id: &Digest) -> String {
        match self.0.owners {
            Owners::Shifted { offset, .. } => format!("{}-{}-{offset}", diff_id.algorithm(), diff_id.hex()),
            Owners::Recorded => format!("{}-{}-r", diff_id.algorithm(), diff_id.hex()),
        }
    }

    fn unpack(
        &self,
        blob: &Descriptor,
        diff_id: &Digest,
        windows: bool,
        id: &str,
        source: &dyn LayerSource,
    ) -> Result<(), SnapshotError> {
        let store = &self.0.store;
        let digest = || blob.digest.clone();
        if store.blob_size(&blob.digest).is_none() {
            source.fetch(blob).map_err(|source| SnapshotError::Fetch { digest: digest(), source })?;
        }
        let file = store.open_blob(&blob.digest)?;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| SnapshotError::Unpack { digest: digest(), source };
        let writer = store.new_tree()?;
        let reader = layer::decompress(file, UNPACKED_LIMIT).map_err(|error| failed(error.into()))?;
        let options = layer::UnpackOptions { windows, ..layer::UnpackOptions::default() };
        let unpacked = layer::unpack(reader, writer.path(), self.0.owners, &options)
            .map_err(|error| failed(error.into()))?;
        if unpacked.diff_id != *diff_id {
            let (expected, found) = (diff_id.clone(), unpacked.diff_id);
            return Err(SnapshotError::DiffId { digest: digest(), expected, found });
        }
        if !unpacked.implied.is_empty() {
            let mut list = Vec::new();
            for path in &unpacked.implied {
                list.extend_from_slice(path.as_bytes());
                list.push(0);
            }
            store.put(IMPLIED, id, &list, &[Ref::Tree(id.to_owned())])?;
        }
        writer.commit_sized(id, unpacked.size)?;
        Ok(())
    }

    /// The directories of a tree that its layer does not speak of.
    fn implied(&self, id: &str) -> Result<BTreeSet<RelPath>, SnapshotError> {
        if !id.starts_with("sha") {
            return Ok(BTreeSet::new());
        }
        let list = self.0.store.get(IMPLIED, id)?.unwrap_or_default();
        Ok(list.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(RelPath::clean).collect())
    }

    /// Writes changes as a tree in overlay form.
    pub(crate) fn write(&self, changes: &Changeset) -> Result<TreeWriter, SnapshotError> {
        let writer = self.0.store.new_tree()?;
        fs_err::set_permissions(writer.path(), Permissions::from_mode(0o755)).map_err(SnapshotError::io("protect", writer.path()))?;
        fstree::write_tree(changes, writer.path(), self.write_options(TreeForm::Overlay))?;
        Ok(writer)
    }

    /// What a layer changes, for packing. Files stay where they are.
    pub fn changes(&self, layer: &Layer, source: &dyn LayerSource) -> Result<Arc<Changeset>, SnapshotError> {
        if let Some(changes) = layer.changes() {
            return Ok(Arc::clone(changes));
        }
        let path = self.ensure_tree(layer, source)?;
        Ok(Arc::new(fstree::read_tree(&path, self.0.owners, TreeForm::Overlay)?))
    }

    /// Looks into a stack of layers, bottom first.
    pub fn view(&self, layers: &[Layer], source: &dyn LayerSource) -> Result<View, SnapshotError> {
        let missing: Vec<Layer> = layers.iter().filter(|layer| layer.changes().is_none()).cloned().collect();
        self.ensure_trees(&missing, source)?;
        let sheets = layers.iter().map(|layer| {
            if let Some(changes) = layer.changes() {
                return Ok(Sheet::Changes(Arc::clone(changes)));
            }
            let path = self.ensure_tree(layer, source)?;
            let implied = self.implied(layer.tree().unwrap_or_default())?;
            Ok(Sheet::Tree(DirectoryTree::open(&path, self.0.owners, TreeForm::Overlay)?, implied))
        });
        Ok(View::new(sheets.collect::<Result<_, SnapshotError>>()?))
    }

    /// A place for a step to write on top of `layers`, bottom first.
    pub fn prepare(&self, layers: &[Layer], source: &dyn LayerSource) -> Result<Active, SnapshotError> {
        let lowers = self.ensure_trees(layers, source)?;
        let view = self.view(layers, source)?;
        match self.mode() {
            Mode::Overlay => Active::overlay(self, lowers, &view),
            Mode::Copy => Active::copy(self, &view),
        }
    }

    /// Writes what a stack shows at `path` into a directory: the first content of a cache mount.
    pub fn fill(&self, directory: &Path, layers: &[Layer], path: &str, source: &dyn LayerSource) -> Result<(), SnapshotError> {
        let view = self.view(layers, source)?;
        let from = fstree::resolve(&view, &RelPath::clean(path), true)?;
        let mut all = Changeset::new();
        if view.lookup(&from)?.is_none() {
            return Err(TreeError::not_found(path).into());
        }
        for entry in view.flatten()?.iter() {
            let Some(path) = entry.path.beneath(&from) else { continue };
            let kind = match &entry.kind {
                Kind::Hardlink(target) => match target.beneath(&from) {
                    Some(target) => Kind::Hardlink(target),
                    None => view.lookup(&entry.path)?.map_or(Kind::Whiteout, |entry| entry.kind),
                },
                kind => kind.clone(),
            };
            all.insert(Entry { path, kind, meta: entry.meta.clone() });
        }
        fstree::write_tree(&all, directory, self.write_options(TreeForm::Plain))?;
        Ok(())
    }

    /// Gives a directory the owner, mode and times of the root that `view` shows.
    pub(crate) fn dress_root(&self, directory: &Path, view: &dyn TreeView) -> Result<(), SnapshotError> {
        let root = view.lookup(&RelPath::root())?.unwrap_or_else(fstree::root_entry);
        let mut only = Changeset::new();
        only.insert(root);
        fstree::write_tree(&only, directory, self.write_options(TreeForm::Overlay))?;
        Ok(())
    }
}
