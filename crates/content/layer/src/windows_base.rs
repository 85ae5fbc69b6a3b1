//! What the layers below a Windows layer say of their files, from tar headers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime, RelPath, TreeError, TreeView};

use crate::pack::{WINDOWS_ATTRIBUTES_XATTR, WINDOWS_SECURITY_XATTR};
use crate::tar::{Limits, TarError};
use crate::windows_headers::{HeaderKind, WindowsHeaders};

/// An index of lower layers, case folded as Windows does. As a [`TreeView`] it shows what is where, without contents:
/// enough to tell where a copy goes.
///
/// The layers of Windows itself may be left out ([`unread`](Self::unread)). What is asked of Windows' own folders then
/// is noted, and whoever asked reads them after all.
#[derive(Clone, Debug, Default)]
pub struct WindowsBase {
    files: BTreeMap<Vec<u8>, BaseFile>,
    unread: Option<Arc<AtomicBool>>,
}

/// What a lower layer says of one path beneath `Files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFile {
    /// The path with its letters as the layer has them, without `Files/`.
    pub path: RelPath,
    /// Whether it is a directory, or a link that stands for one.
    pub is_directory: bool,
    /// For a link, its target as the layer has it.
    pub target: Option<Vec<u8>>,
    /// Its `MSWINDOWS.` and `LIBARCHIVE.` records, of directories and links.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970 UTC.
    pub mtime: i64,
}

impl WindowsBase {
    /// Without the layers of Windows itself, whose own folders are taken as empty until somebody asks for them.
    pub fn unread() -> Self {
        Self { unread: Some(Arc::default()), ..Self::default() }
    }

    /// Whether something was asked that only the layers left out can answer.
    pub fn was_missed(&self) -> bool {
        self.unread.as_ref().is_some_and(|missed| missed.load(Ordering::Relaxed))
    }

    /// Adds the next layer (a plain tar), lowest first.
    pub fn add_layer(&mut self, layer: impl Read, limits: Limits) -> Result<(), TarError> {
        self.add_headers(&WindowsHeaders::read(layer, limits)?);
        Ok(())
    }

    /// Adds the next layer by its headers, lowest first.
    pub fn add_headers(&mut self, headers: &WindowsHeaders) {
        for member in &headers.members {
            let (is_directory, target) = match &member.kind {
                HeaderKind::Whiteout => {
                    self.remove(&member.path);
                    continue;
                }
                HeaderKind::Directory => (true, None),
                HeaderKind::File => (false, None),
                HeaderKind::Link { target, to_directory } => (*to_directory, Some(target.clone())),
            };
            let path = self.spelled(&member.path);
            if !is_directory || target.is_some() {
                self.remove(&path);
            }
            let file = BaseFile {
                path: path.clone(),
                is_directory,
                target,
                records: member.records.clone(),
                mode: member.mode,
                mtime: member.mtime,
            };
            self.files.insert(windows::fold(path.as_bytes()), file);
        }
    }

    /// Adds a layer that is not packed yet.
    pub fn add_changes(&mut self, changes: &Changeset) {
        for entry in changes {
            if entry.path.is_root() {
                continue;
            }
            let kept = self.get(&entry.path).filter(|file| {
                file.is_directory && file.target.is_none() && entry.kind.is_directory()
            });
            let records = kept.map_or_else(|| new_records(entry), |file| file.records.clone());
            if matches!(entry.kind, Kind::Whiteout) || kept.is_none() {
                self.remove(&entry.path);
            }
            let (is_directory, target) = match &entry.kind {
                Kind::Whiteout => continue,
                Kind::Directory { opaque } => {
                    if *opaque {
                        self.remove(&entry.path);
                    }
                    (true, None)
                }
                Kind::Symlink(target) => {
                    let found = self.directory_behind(&entry.path, target);
                    (found, Some(windows::link_target_to_windows(target)))
                }
                _ => (false, None),
            };
            let path = self.spelled(&entry.path);
            let folded = windows::fold(path.as_bytes());
            let (mode, mtime) = (entry.meta.mode, entry.meta.mtime.secs);
            self.files
                .insert(folded, BaseFile { path, is_directory, target, records, mode, mtime });
        }
    }

    /// Whether a link leads straight to a directory that is known.
    fn directory_behind(&self, link: &RelPath, target: &[u8]) -> bool {
        let parent = link.parent().unwrap_or_else(RelPath::root);
        let whole = if target.starts_with(b"/") {
            target.to_vec()
        } else {
            [parent.as_bytes(), b"/", target].concat()
        };
        let whole = RelPath::clean(whole);
        whole.is_root() || self.get(&whole).is_some_and(|file| file.is_directory)
    }

    /// What is known of a path, whatever its letters' case.
    pub fn find(&self, path: &RelPath) -> Option<&BaseFile> {
        self.note(path);
        self.get(path)
    }

    /// The path as lower layers spell it, as far as they have it.
    pub fn spelling(&self, path: &RelPath) -> RelPath {
        self.note(path);
        self.spelled(path)
    }

    /// Everything that is known, in the order of folded paths.
    pub fn files(&self) -> impl Iterator<Item = &BaseFile> {
        self.note(&RelPath::root());
        self.files.values()
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Notes that a layer that was left out would have had the say.
    fn note(&self, path: &RelPath) {
        if let Some(missed) = &self.unread
            && path.segments().next().is_none_or(windows::is_own_name)
        {
            missed.store(true, Ordering::Relaxed);
        }
    }

    fn get(&self, path: &RelPath) -> Option<&BaseFile> {
        self.files.get(&windows::fold(path.as_bytes()))
    }

    fn spelled(&self, path: &RelPath) -> RelPath {
        let mut spelled = RelPath::root();
        for segment in path.segments() {
            let Ok(next) = spelled.join(segment) else { return path.clone() };
            spelled = self.get(&next).map_or(next, |known| known.path.clone());
        }
        spelled
    }

    fn remove(&mut self, path: &RelPath) {
        let folded = windows::fold(path.as_bytes());
        for known in self.beneath(&folded).chain([folded.clone()]).collect::<Vec<_>>() {
            self.files.remove(&known);
        }
    }

    /// Folded paths from `folded/` up to the next byte, without looking at everything else.
    fn beneath(&self, folded: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let (first, after) = ([folded, b"/"].concat(), [folded, b"0"].concat());
        self.files.range(first..after).map(|(known, _)| known.clone())
    }
}

impl TreeView for WindowsBase {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        if path.is_root() {
            return Ok(Some(fstree::root_entry()));
        }
        let Some(file) = self.find(path) else { return Ok(None) };
        let unix = file.target.as_ref().map(|target| {
            let unix = windows::link_target_from_windows(target);
            unix.unwrap_or_else(|| target.clone())
        });
        let (kind, mode) = match (unix, file.is_directory) {
            (Some(target), _) => (Kind::Symlink(target), 0o777),
            (None, true) => (Kind::DIRECTORY, file.mode | 0o755),
            (None, false) => (Kind::File(Content::Empty), file.mode | 0o644),
        };
        let mut meta = Metadata::root_owned(mode, Mtime::seconds(file.mtime));
        if kind.is_directory() {
            meta.xattrs = attributes_of(&file.records);
        }
        Ok(Some(Entry { path: path.clone(), kind, meta }))
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        self.note(path);
        let folded = windows::fold(path.as_bytes());
        let depth = path.segments().count() + 1;
        let all: Box<dyn Iterator<Item = &BaseFile>> = if path.is_root() {
            Box::new(self.files.values())
        } else {
            let (first, after) = ([&*folded, b"/"].concat(), [&*folded, b"0"].concat());
            Box::new(self.files.range(first..after).map(|(_, file)| file))
        };
        let names = all.filter(|file| file.path.segments().count() == depth);
        let names: BTreeSet<Vec<u8>> = names.map(|file| file.path.name().to_vec()).collect();
        Ok(names.into_iter().collect())
    }
}

/// A header's records as the extended attributes that stand for them in a tree.
pub(crate) fn attributes_of(records: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs = [
        (windows::records::ATTRIBUTES, WINDOWS_ATTRIBUTES_XATTR),
        (windows::records::SECURITY, WINDOWS_SECURITY_XATTR),
    ];
    let found = pairs.into_iter().filter_map(|(record, xattr)| {
        Some((xattr.to_vec(), records.get(record.as_bytes())?.clone()))
    });
    found.collect()
}

/// What is written for a directory that no lower layer has.
fn new_records(entry: &Entry) -> BTreeMap<Vec<u8>, Vec<u8>> {
    if !entry.kind.is_directory() {
        return BTreeMap::new();
    }
    let attributes = windows::attributes::DIRECTORY.to_string();
    let records = [
        (windows::records::ATTRIBUTES, attributes.as_str()),
        (windows::records::SECURITY, windows::SD_DIR),
    ];
    records.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).into()
}
