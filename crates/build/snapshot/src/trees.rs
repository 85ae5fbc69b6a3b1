use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use fstree::{
    Changeset, DirectoryTree, Entry, Kind, Metadata, Owners, RelPath, Root, TreeError, TreeForm,
    TreeView as _, WriteOptions, mark_implied, read_tree, write_root,
};
use oci::Digest;
use store::{Store, StoreError};

use crate::layer::{BlobLayer, Layer, LayerKind, LayerSource, TreeId};
use crate::lock::{Access, LockFile};
use crate::view::ViewLayer;
use crate::{SnapshotError, View, probe};

/// How steps get a file system to write on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Trees are stacked by OverlayFS.
    Overlay,
    /// Each step gets a copy.
    Copy {
        /// Why overlays cannot be mounted, for people.
        reason: String,
    },
}

/// The trees of a store, stacked. Clones share everything.
#[derive(Clone)]
pub struct Snapshots {
    pub(crate) store: Store,
    pub(crate) owners: Owners,
    pub(crate) locks: LockFile,
    mode: Arc<OnceLock<Mode>>,
}

/// The kernel takes at most 500 lower directories; one is kept for what [`Snapshots::lowers`] may add.
const MAX_LOWERS: usize = 400;
/// How many layers are unpacked at once.
const UNPACKERS: usize = 4;
/// How large a single unpacked layer may be.
const MAX_LAYER: u64 = 1 << 40;

impl Snapshots {
    /// Stacks trees of `store` whose files belong to `owners`. Whether overlays work is tried when it matters.
    pub fn new(store: Store, owners: Owners) -> Self {
        let locks = LockFile::of(store.dir());
        Self { store, owners, locks, mode: Arc::new(OnceLock::new()) }
    }

    /// As [`Snapshots::new`], with the mode decided by the caller.
    pub fn with_mode(store: Store, owners: Owners, mode: Mode) -> Self {
        Self { mode: Arc::new(OnceLock::from(mode)), ..Self::new(store, owners) }
    }

    /// The store the trees are in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How owners are kept on disk.
    pub fn owners(&self) -> Owners {
        self.owners
    }

    /// How steps get a file system to write on; tried once per process.
    pub fn mode(&self) -> &Mode {
        self.mode.get_or_init(|| match self.probe() {
            Ok(()) => Mode::Overlay,
            Err(error) => Mode::Copy { reason: error.to_string() },
        })
    }

    fn probe(&self) -> Result<(), SnapshotError> {
        let scratch = self.store.temporary_directory()?;
        probe::overlay_works(scratch.path())
            .map_err(SnapshotError::io("mount an overlay in", scratch.path()))
    }

    /// The tree of a layer, unpacked first if need be: once per store, however many threads and processes ask.
    pub fn ensure_tree(
        &self,
        layer: &Layer,
        source: &dyn LayerSource,
    ) -> Result<TreeId, SnapshotError> {
        layer.unpack_once(|| match layer.kind() {
            LayerKind::Tree(id) => Ok(id.clone()),
            LayerKind::Changes(changes) => {
                let id = TreeId(self.store.fresh_tree_id());
                self.write(changes, &id)?;
                Ok(id)
            }
            LayerKind::Blob(blob) => self.unpack(blob, source),
        })
    }

    /// The trees of a stack, those that are missing unpacked side by side.
    pub fn ensure_trees(
        &self,
        layers: &[Layer],
        source: &dyn LayerSource,
    ) -> Result<Vec<TreeId>, SnapshotError> {
        let missing: Vec<&Layer> =
            layers.iter().filter(|layer| layer.known_tree().is_none()).collect();
        if missing.len() > 1 {
            let next = AtomicUsize::new(0);
            let work = || -> Result<(), SnapshotError> {
                while let Some(layer) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = self.ensure_tree(layer, source) {
                        next.store(missing.len(), Ordering::Relaxed);
                        return Err(error);
                    }
                }
                Ok(())
            };
            std::thread::scope(|scope| {
                let workers: Vec<_> =
                    (0..UNPACKERS.min(missing.len())).map(|_| scope.spawn(work)).collect();
                // A worker that ended unexpectedly leaves its layer to the loop below.
                workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Ok(())))
            })?;
        }
        layers.iter().map(|layer| self.ensure_tree(layer, source)).collect()
    }

    /// Whether the layer's tree is here already.
    pub fn has_tree(&self, layer: &Layer) -> bool {
        match (layer.known_tree(), layer.kind()) {
            (Some(id), _) => self.store.has_tree(&id.0),
            (None, LayerKind::Blob(blob)) => self.store.has_tree(&self.blob_tree(blob).0),
            (None, _) => false,
        }
    }

    /// What of a stack can be looked into: changes stay in memory, blobs are unpacked.
    pub fn view(&self, layers: &[Layer], source: &dyn LayerSource) -> Result<View, SnapshotError> {
        let blobs: Vec<Layer> = layers
            .iter()
            .filter(|layer| matches!(layer.kind(), LayerKind::Blob(_)))
            .cloned()
            .collect();
        self.ensure_trees(&blobs, source)?;
        let layers = layers
            .iter()
            .map(|layer| match (layer.kind(), layer.known_tree()) {
                (LayerKind::Changes(changes), None) => Ok(ViewLayer::Changes(Arc::clone(changes))),
                _ => self.open_tree(&self.ensure_tree(layer, source)?).map(ViewLayer::Tree),
            })
            .collect::<Result<Vec<ViewLayer>, SnapshotError>>()?;
        Ok(View::new(layers))
    }

    /// A view of trees.
    pub fn view_trees(&self, trees: &[TreeId]) -> Result<View, SnapshotError> {
        let layers = trees.iter().map(|id| self.open_tree(id).map(ViewLayer::Tree));
        Ok(View::new(layers.collect::<Result<Vec<ViewLayer>, SnapshotError>>()?))
    }

    fn open_tree(&self, id: &TreeId) -> Result<DirectoryTree, SnapshotError> {
        // Asking also notes the tree as used, for the lease.
        if !self.store.has_tree(&id.0) {
            return Err(TreeError::not_found(format!("tree {id} of the store")).into());
        }
        Ok(DirectoryTree::open(&self.store.tree_path(&id.0), self.owners, TreeForm::Overlay)?)
    }

    /// What a tree changes, for packing. File contents stay in the tree.
    pub fn changes(&self, tree: &TreeId) -> Result<Changeset, SnapshotError> {
        if !self.store.has_tree(&tree.0) {
            return Err(TreeError::not_found(format!("tree {tree} of the store")).into());
        }
        Ok(read_tree(&self.store.tree_path(&tree.0), self.owners, TreeForm::Overlay)?)
    }

    /// The changes of a layer in any form.
    pub fn layer_changes(
        &self,
        layer: &Layer,
        source: &dyn LayerSource,
    ) -> Result<Arc<Changeset>, SnapshotError> {
        match layer.kind() {
            LayerKind::Changes(changes) => Ok(Arc::clone(changes)),
            _ => Ok(Arc::new(self.changes(&self.ensure_tree(layer, source)?)?)),
        }
    }

    /// Where the trees of a stack are, bottom first, fit for an overlay: never none, never more than the kernel takes,
    /// and with the owners and modes right of directories that layers only imply.
    pub fn lowers(&self, trees: &[TreeId]) -> Result<Vec<PathBuf>, SnapshotError> {
        // The kernel takes a directory only once. One further down is hidden by the same one above it: nothing of it shows.
        let mut trees: Vec<TreeId> = trees
            .iter()
            .enumerate()
            .filter(|(at, id)| !trees.iter().skip(at + 1).any(|above| above == *id))
            .map(|(_, id)| id.clone())
            .collect();
        if trees.is_empty() {
            trees.push(self.derived("empty", &[], |_| Ok(Changeset::new()))?);
        }
        if trees.len() > MAX_LOWERS {
            let (bottom, top) = trees.split_at(trees.len() - MAX_LOWERS + 1);
            let flat = self.derived("flat", bottom, |view| Ok(view.flatten()?))?;
            trees = [&[flat], top].concat();
        }
        if let Some(corrections) = self.corrections(&trees)? {
            trees.push(corrections);
        }
        trees
            .iter()
            .map(|id| {
                if self.store.has_tree(&id.0) {
                    Ok(self.store.tree_path(&id.0))
                } else {
                    Err(TreeError::not_found(format!("tree {id} of the store")).into())
                }
            })
            .collect()
    }

    /// A tree with the directories that some layer only implies, as the layers beneath describe them.
    fn corrections(&self, trees: &[TreeId]) -> Result<Option<TreeId>, SnapshotError> {
        let mut implied = Vec::new();
        for id in trees.iter().skip(1) {
            let tree = self.open_tree(id)?;
            if !tree.has_implied() {
                continue;
            }
            for entry in &read_tree(&self.store.tree_path(&id.0), self.owners, TreeForm::Overlay)? {
                if entry.kind.is_directory() && tree.is_implied(&entry.path)? {
                    implied.push(entry.path.clone());
                }
            }
        }
        if implied.is_empty() {
            return Ok(None);
        }
        self.derived("dirs", trees, |view| {
            let mut changes = Changeset::new();
            for path in implied {
                for path in path.ancestors().chain([path.clone()]) {
                    if let Some(entry) =
                        view.lookup(&path)?.filter(|entry| entry.kind.is_directory())
                    {
                        changes.insert(Entry { kind: Kind::DIRECTORY, ..entry });
                    }
                }
            }
            Ok(changes)
        })
        .map(Some)
    }

    /// A tree made from others, the same for the same ones.
    fn derived(
        &self,
        what: &str,
        trees: &[TreeId],
        make: impl FnOnce(&View) -> Result<Changeset, SnapshotError>,
    ) -> Result<TreeId, SnapshotError> {
        let names: Vec<&str> = trees.iter().map(|id| id.0.as_str()).collect();
        let key = Digest::of(names.join("\n").as_bytes());
        let id = TreeId(format!("{what}-{}-{}", key.hex(), self.owners_tag()));
        self.once(&id, || {
            let changes = make(&self.view_trees(trees)?)?;
            self.write(&changes, &id)
        })?;
        Ok(id)
    }

    fn blob_tree(&self, blob: &BlobLayer) -> TreeId {
        let form = if blob.windows { "windows2-" } else { "" };
        TreeId(format!(
            "{}-{}-{form}{}",
            blob.diff_id.algorithm(),
            blob.diff_id.hex(),
            self.owners_tag()
        ))
    }

    /// Trees whose files belong to other ids are other trees.
    fn owners_tag(&self) -> String {
        match self.owners {
            Owners::Shifted { offset, .. } => format!("u{offset}"),
            Owners::Recorded => "recorded".to_owned(),
        }
    }

    /// Makes a tree unless it is there, one maker at a time in the whole store.
    fn once(
        &self,
        id: &TreeId,
        make: impl FnOnce() -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        if self.store.has_tree(&id.0) {
            return Ok(());
        }
        let never = AtomicBool::new(false);
        let _lock = self.locks.lock(&format!("tree {id}"), Access::Exclusive, &never)?;
        if self.store.has_tree(&id.0) { Ok(()) } else { make() }
    }

    fn unpack(&self, blob: &BlobLayer, source: &dyn LayerSource) -> Result<TreeId, SnapshotError> {
        let id = self.blob_tree(blob);
        self.once(&id, || {
            let digest = || blob.descriptor.digest.clone();
            let fetch = |source| SnapshotError::Fetch { digest: digest(), source };
            let tree = self.store.new_tree()?;
            self.prepare_root(tree.path())?;
            let bytes =
                layer::decompress(source.open(blob).map_err(fetch)?, MAX_LAYER).map_err(fetch)?;
            let options =
                layer::UnpackOptions { windows: blob.windows, ..layer::UnpackOptions::default() };
            let unpacked = layer::unpack(bytes, tree.path(), self.owners, &options)
                .map_err(|source| SnapshotError::Unpack { digest: digest(), source })?;
            if unpacked.diff_id != blob.diff_id {
                let (expected, found) = (blob.diff_id.clone(), unpacked.diff_id);
                return Err(SnapshotError::WrongDiffId { blob: digest(), expected, found });
            }
            let root = Root::open(tree.path()).map_err(SnapshotError::io("open", tree.path()))?;
            mark_implied(&root, &unpacked.implied)?;
            Ok(tree.commit_sized(&id.0, unpacked.size)?)
        })?;
        Ok(id)
    }

    /// Writes changes down as a tree.
    pub(crate) fn write(&self, changes: &Changeset, id: &TreeId) -> Result<(), SnapshotError> {
        let tree = self.store.new_tree()?;
        let size = self.write_into(changes, tree.path(), TreeForm::Overlay)?;
        Ok(tree.commit_sized(&id.0, size)?)
    }

    /// Writes changes into an empty directory, which becomes the image's root directory. Returns the bytes of files.
    pub(crate) fn write_into(
        &self,
        changes: &Changeset,
        path: &Path,
        form: TreeForm,
    ) -> Result<u64, SnapshotError> {
        self.prepare_root(path)?;
        let root = Root::open(path).map_err(SnapshotError::io("open", path))?;
        let content =
            |entry: &Entry| if let Kind::File(content) = &entry.kind { content.size() } else { 0 };
        let size = changes.iter().map(content).sum();
        write_root(changes, root, WriteOptions { owners: self.owners, form })?;
        Ok(size)
    }

    /// The root directory of a tree is root's and open to all: an overlay shows that of its topmost layer.
    pub(crate) fn prepare_root(&self, path: &Path) -> Result<(), SnapshotError> {
        let meta = Metadata { mode: 0o755, ..Metadata::default() };
        let failed = || SnapshotError::io("set owner and mode of", path);
        let id = self
            .owners
            .to_disk(meta.uid)
            .map_err(|error| failed()(std::io::Error::other(error)))?;
        let root = Root::open(path).map_err(failed())?;
        let directory = root
            .open_file(&RelPath::root(), rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)
            .map_err(failed())?;
        if self.owners != Owners::Recorded {
            let (uid, gid) = (rustix::fs::Uid::from_raw(id), rustix::fs::Gid::from_raw(id));
            rustix::fs::fchown(directory.as_fd(), Some(uid), Some(gid))
                .map_err(|error| failed()(error.into()))?;
        }
        rustix::fs::fchmod(&directory, rustix::fs::Mode::from_raw_mode(meta.mode))
            .map_err(|error| failed()(error.into()))
    }

    /// A tree of the store by its name, if it is there.
    pub fn tree(&self, id: &str) -> Result<Option<TreeId>, StoreError> {
        Ok(self.store.has_tree(id).then(|| TreeId(id.to_owned())))
    }
}
