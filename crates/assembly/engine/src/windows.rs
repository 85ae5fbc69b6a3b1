//! Windows stages: where copies go is told by the headers of the base's layers, and the layers of Windows itself are
//! not even fetched unless a copy touches Windows' own folders.
//!
//! What is read of a base depends on the image and the operation alone, never on what the store happens to have, so
//! that the same build gives the same bytes everywhere.

use std::sync::{Arc, Mutex, PoisonError};

use build_api::BuildError;
use fstree::{Changeset, Kind, Mtime, RelPath, TreeError, TreeView, WINDOWS_XATTRS};
use layer::{WINDOWS_ATTRIBUTES_XATTR, WINDOWS_SECURITY_XATTR, WindowsBase, WindowsHeaders};
use llb::pb;
use oci::{History, ImageConfig, Platform, media_type};
use snapshot::{BlobLayer, Layer, LayerKind, LayerSource as _};
use sources::Image;
use store::Ref;
use windows::Sid;

use crate::contents::{self, Times};
use crate::error::failed;
use crate::fileop::{FileError, Making, Trees, evaluate};
use crate::graph::Node;
use crate::inputs::InputViews;
use crate::value::{StackLayer, Value};
use crate::work::Build;

/// A layer of a Windows base may unpack to at most this many bytes.
const BASE_LIMIT: u64 = 64 << 30;
/// Records with the headers of layers, by the digest of the blob.
const NAMESPACE: &str = "windows-headers";

/// Ids from here on stand for accounts. Images of Linux have none: they end at 2^31.
const FIRST_ACCOUNT: u32 = 0xf000_0000;

/// How many layers of an image, from the bottom, are those of Windows itself, as Microsoft publishes them. Its history
/// says so of them, which derived images keep; and no others may be referred to by address.
pub(crate) fn own_layers(image: &Image) -> usize {
    let own_history =
        |text: &str| ["Apply image ", "Install update "].iter().any(|it| text.starts_with(it));
    let made = image.config.value.history.iter().filter(|step| !step.empty_layer);
    let mut made = made.map(|step| own_history(&step.created_by));
    let layers = image.manifest.value.layers.iter();
    layers
        .take_while(|layer| {
            let said = made.next().unwrap_or(false);
            said || media_type::is_foreign_layer(&layer.media_type) && !layer.urls.is_empty()
        })
        .count()
}

impl Build<'_> {
    /// What a file operation changes on a Windows file system.
    pub(crate) fn windows_changes(
        &self,
        node: &Node,
        file: &pb::FileOp,
        making: &Making<'_>,
    ) -> Result<Changeset, FileError> {
        let mut own = false;
        loop {
            let views = WindowsViews {
                inner: InputViews { build: self, node },
                own,
                bases: Mutex::default(),
                accounts: Mutex::default(),
            };
            let changes = evaluate(file, node.inputs.len(), &views, making);
            let bases = views.bases.into_inner().unwrap_or_else(PoisonError::into_inner);
            if !own && bases.iter().any(|(_, base)| base.was_missed()) {
                own = true;
                continue;
            }
            let base = bases.into_iter().next().map(|(_, base)| base).unwrap_or_default();
            let accounts = views.accounts.into_inner().unwrap_or_else(PoisonError::into_inner);
            let mut changes = canonical(changes?, &base, &accounts);
            self.contexts.windows.apply(&mut changes);
            self.tell_meaningless(node, file);
            return Ok(changes);
        }
    }

    /// Says of `--chmod` that Windows does not know it.
    fn tell_meaningless(&self, node: &Node, file: &pb::FileOp) {
        use pb::file_action::Action;
        let copies = file.actions.iter().filter_map(|action| match &action.action {
            Some(Action::Copy(copy)) => Some(copy),
            _ => None,
        });
        for copy in copies {
            if !copy.mode_str.is_empty() || copy.mode > 0 {
                self.reporter.note(format!(
                    "{}: --chmod means nothing to Windows; access lists and attributes are set in \
                     Dockerfile.windows.toml",
                    node.name
                ));
            }
        }
    }

    /// What the layers of a stack say of their files, with or without those of Windows itself.
    fn windows_stack(&self, layers: &[StackLayer], own: bool) -> Result<WindowsBase, BuildError> {
        let leave_out = !own && layers.iter().any(StackLayer::is_own_of_windows);
        let mut base = if leave_out { WindowsBase::unread() } else { WindowsBase::default() };
        for layer in layers {
            match layer.layer().kind() {
                _ if layer.is_own_of_windows() && !own => {}
                LayerKind::Blob(blob) if blob.windows => {
                    base.add_headers(&self.windows_headers(blob)?);
                }
                _ => {
                    let changes = self
                        .snapshots
                        .layer_changes(layer.layer(), self.fetcher)
                        .map_err(failed("cannot read a layer"))?;
                    base.add_changes(&changes);
                }
            }
        }
        Ok(base)
    }

    /// The headers of a layer, read once per store.
    fn windows_headers(&self, blob: &BlobLayer) -> Result<WindowsHeaders, BuildError> {
        let digest = &blob.descriptor.digest;
        let what = format!("cannot read base layer {digest}");
        let known = self.store.get(NAMESPACE, digest.as_str()).map_err(failed(what.as_str()))?;
        if let Some(headers) = known.and_then(|bytes| WindowsHeaders::decode(&bytes)) {
            return Ok(headers);
        }
        let reader = self.fetcher.open(blob).map_err(failed(what.as_str()))?;
        let plain = layer::decompress(reader, BASE_LIMIT).map_err(failed(what.as_str()))?;
        let headers = WindowsHeaders::read(plain, layer::tar::Limits::default())
            .map_err(failed(what.as_str()))?;
        self.store
            .put(NAMESPACE, digest.as_str(), &headers.encode(), &[Ref::Blob(digest.clone())])
            .map_err(failed(what))?;
        Ok(headers)
    }

    /// For a Windows result that stands on no image: the base that Windows asks for, five registry hives. Without them no
    /// Windows imports the bottom layer; with them every Windows runs the image as a HostProcess container.
    pub(crate) fn windows_from_scratch(
        &self,
        platform: &Platform,
        layers: &[StackLayer],
        config: &ImageConfig,
    ) -> Result<Option<(StackLayer, History)>, BuildError> {
        if !platform.is_windows() || layers.iter().any(|layer| layer.key().is_none()) {
            return Ok(None);
        }
        if let Some(bottom) = layers.first() {
            let changes = self
                .snapshots
                .layer_changes(bottom.layer(), self.fetcher)
                .map_err(failed("cannot read a layer"))?;
            let has = |hive: &str| changes.get(&RelPath::clean(hive)).is_some();
            if windows::layout::BASE_HIVES.into_iter().all(has) {
                return Ok(None);
            }
        }
        let changes = windows_image::hpc_files(Mtime::seconds(self.now));
        let key = contents::digest(&changes, Times::Count, self.store)?;
        let history = History {
            created: config.created.clone(),
            created_by: "FROM scratch # five empty registry hives, without which no Windows imports an image"
                .to_owned(),
            ..History::default()
        };
        let layer = StackLayer::made(Layer::changes(Arc::new(changes)), key.to_string());
        Ok(Some((layer, history)))
    }

    /// For a Windows result: what its base's layers say of the files that layers on top have to repeat.
    pub(crate) fn windows_base(
        &self,
        platform: &Platform,
        layers: &[StackLayer],
    ) -> Result<Option<Arc<WindowsBase>>, BuildError> {
        // Also of layers that were packed in an earlier build: over another base they are packed again.
        if !platform.is_windows() || layers.iter().all(|layer| layer.key().is_none()) {
            return Ok(None);
        }
        let of_image: Vec<StackLayer> =
            layers.iter().filter(|layer| layer.key().is_none()).cloned().collect();
        let base = self.windows_stack(&of_image, false)?;
        for layer in layers.iter().filter(|layer| layer.key().is_some()) {
            if let LayerKind::Blob(blob) = layer.layer().kind()
                && blob.windows
            {
                for (path, target) in self.windows_headers(blob)?.paths() {
                    ask(&base, path, target);
                }
                continue;
            }
            let changes = self
                .snapshots
                .layer_changes(layer.layer(), self.fetcher)
                .map_err(failed("cannot read a layer"))?;
            for entry in changes.iter().filter(|entry| !entry.path.is_root()) {
                match &entry.kind {
                    Kind::Symlink(target) => ask(&base, &entry.path, Some(target)),
                    // What it hides is removed name by name.
                    Kind::Directory { opaque: true } => drop(base.files().next()),
                    _ => ask(&base, &entry.path, None),
                }
            }
        }
        let base = if base.was_missed() { self.windows_stack(&of_image, true)? } else { base };
        Ok(Some(Arc::new(base)))
    }
}

/// Asks of the base all that packing will ask of a path: what is there, and where a link leads.
fn ask(base: &WindowsBase, path: &RelPath, link: Option<&[u8]>) {
    base.find(path);
    // Followed through links of the base, too.
    if let Some(target) = link.and_then(|target| windows_target(path, target))
        && let Ok(target) = fstree::resolve(base, &target, true)
        && !target.is_root()
    {
        base.find(&target);
    }
}

fn windows_target(link: &RelPath, target: &[u8]) -> Option<RelPath> {
    let unix = windows::link_target_from_windows(target)?;
    let parent = link.parent().unwrap_or_else(RelPath::root);
    Some(RelPath::clean(if unix.starts_with(b"/") {
        unix
    } else {
        [parent.as_bytes(), b"/", &unix].concat()
    }))
}

/// Changes as a Windows layer can hold them: spelled as the base does, without owners, extended attributes and
/// permissions of Linux. A layer that is packed and read again is then the same.
fn canonical(changes: Changeset, base: &WindowsBase, accounts: &[Sid]) -> Changeset {
    let mut result = Changeset::new();
    for mut entry in changes.entries.into_values() {
        entry.path = base.spelling(&entry.path);
        if let Kind::Hardlink(target) = &mut entry.kind {
            *target = base.spelling(target);
        }
        let account = |id: u32| {
            id.checked_sub(FIRST_ACCOUNT).and_then(|at| accounts.get(usize::try_from(at).ok()?))
        };
        let (owner, group) = (account(entry.meta.uid), account(entry.meta.gid));
        (entry.meta.uid, entry.meta.gid) = (0, 0);
        entry.meta.mode =
            entry.meta.mode & 0o777 | if entry.kind.is_directory() { 0o755 } else { 0o644 };
        entry.meta.xattrs.retain(|name, _| {
            [WINDOWS_ATTRIBUTES_XATTR, WINDOWS_SECURITY_XATTR].contains(&name.as_slice())
        });
        if let Some(owner) = owner
            && matches!(entry.kind, Kind::File(_) | Kind::Directory { .. })
        {
            let group = group.filter(|group| *group != owner);
            let descriptor = windows::owned_by(owner, group, entry.kind.is_directory());
            entry.meta.xattrs.insert(WINDOWS_SECURITY_XATTR.to_vec(), descriptor.into_bytes());
        }
        result.insert(entry);
    }
    result
}

/// Files of a Windows stage as others take them: without what only Windows knows of them.
pub(crate) fn forget(mut changes: Changeset) -> Changeset {
    for entry in changes.entries.values_mut() {
        entry.meta.xattrs.retain(|name, _| !name.starts_with(WINDOWS_XATTRS));
    }
    changes
}

/// As [`InputViews`], with Windows file systems that are changed told by headers alone.
struct WindowsViews<'a> {
    inner: InputViews<'a>,
    /// Whether the layers of Windows itself are read.
    own: bool,
    bases: Mutex<Vec<(usize, WindowsBase)>>,
    /// Accounts that were named; a file of the first belongs to [`FIRST_ACCOUNT`] for as long as the operation lasts.
    accounts: Mutex<Vec<Sid>>,
}

impl Trees for WindowsViews<'_> {
    fn view(&self, input: usize) -> Result<Arc<dyn TreeView>, BuildError> {
        self.inner.view(input)
    }

    fn base(&self, input: usize) -> Result<Arc<dyn TreeView>, BuildError> {
        let Value::Stack(layers) = self.inner.value(input)? else { return self.inner.view(input) };
        let base = self.inner.build.windows_stack(&layers, self.own)?;
        // Clones share the note of what was asked for in vain.
        self.bases.lock().unwrap_or_else(PoisonError::into_inner).push((input, base.clone()));
        Ok(Arc::new(base))
    }

    fn owner(&self, name: &str) -> Result<Option<u32>, TreeError> {
        let unknown = || {
            TreeError::Invalid(format!(
                "--chown: not every Windows knows the account `{name}`; ContainerUser, ContainerAdministrator, \
                 Administrators, Users, Everyone, SYSTEM and the like can be named, others by SID (S-1-5-…)"
            ))
        };
        let sid = windows::account(name).ok_or_else(unknown)?;
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let at = accounts.iter().position(|known| *known == sid).unwrap_or_else(|| {
            accounts.push(sid);
            accounts.len() - 1
        });
        Ok(u32::try_from(at).ok().map(|at| FIRST_ACCOUNT + at))
    }
}
