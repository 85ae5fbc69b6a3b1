//! What the layers below a Windows layer say of their files, from tar headers alone.

use std::collections::BTreeMap;
use std::io::Read;

use fstree::{Changeset, Entry, Kind, RelPath};

use crate::names::clean;
use crate::tar::{Limits, MemberKind, Reader, TarError};

/// An index of lower layers, case folded as Windows does.
#[derive(Clone, Debug, Default)]
pub struct WindowsBase {
    files: BTreeMap<Vec<u8>, BaseFile>,
}

/// What a lower layer says of one path beneath `Files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseFile {
    /// The path with its letters as the layer has them, without `Files/`.
    pub path: RelPath,
    /// Whether it is a directory, or a link that stands for one.
    pub is_directory: bool,
    /// Its `MSWINDOWS.` and `LIBARCHIVE.` records.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl WindowsBase {
    /// Adds the next layer (a plain tar), lowest first.
    pub fn add_layer(&mut self, layer: impl Read, limits: Limits) -> Result<(), TarError> {
        let mut archive = Reader::new(layer, limits);
        while let Some(header) = archive.next_member()? {
            let Ok(path) = clean(&header.path) else { continue };
            let Some(path) = path.beneath(&RelPath::clean(windows::layout::FILES)) else {
                continue;
            };
            if path.is_root() {
                continue;
            }
            if let Some(name) = path.name().strip_prefix(b".wh.") {
                let parent = path.parent().unwrap_or_else(RelPath::root);
                if let Ok(removed) = parent.join(name) {
                    self.remove(&removed);
                }
                continue;
            }
            let attributes = header.records.get(windows::records::ATTRIBUTES.as_bytes());
            let attributes = attributes
                .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u32>().ok())
                .unwrap_or(0);
            let is_directory = header.kind == MemberKind::Directory
                || attributes & windows::attributes::DIRECTORY != 0;
            let path = self.spelling(&path);
            let records = header.records.into_iter().filter(|(key, _)| {
                key.starts_with(b"MSWINDOWS.") || key.starts_with(b"LIBARCHIVE.")
            });
            self.files.insert(
                windows::fold(path.as_bytes()),
                BaseFile { path, is_directory, records: records.collect() },
            );
        }
        archive.finish().map(drop)
    }

    /// Adds a layer that is not packed yet.
    pub fn add_changes(&mut self, changes: &Changeset) {
        for entry in changes {
            if entry.path.is_root() {
                continue;
            }
            let kept = self
                .find(&entry.path)
                .filter(|file| file.is_directory && entry.kind.is_directory());
            let records = kept.map_or_else(|| new_records(entry), |file| file.records.clone());
            if matches!(entry.kind, Kind::Whiteout) || kept.is_none() {
                self.remove(&entry.path);
            }
            if matches!(entry.kind, Kind::Whiteout) {
                continue;
            }
            if matches!(entry.kind, Kind::Directory { opaque: true }) {
                self.remove(&entry.path);
            }
            let path = self.spelling(&entry.path);
            let folded = windows::fold(path.as_bytes());
            self.files.insert(
                folded,
                BaseFile { path, is_directory: entry.kind.is_directory(), records },
            );
        }
    }

    /// What is known of a path, whatever its letters' case.
    pub fn find(&self, path: &RelPath) -> Option<&BaseFile> {
        self.files.get(&windows::fold(path.as_bytes()))
    }

    /// The path as lower layers spell it, as far as they have it.
    pub fn spelling(&self, path: &RelPath) -> RelPath {
        if let Some(known) = self.find(path) {
            return known.path.clone();
        }
        match path.parent() {
            Some(parent) if !parent.is_root() => {
                self.spelling(&parent).join(path.name()).unwrap_or_else(|_| path.clone())
            }
            _ => path.clone(),
        }
    }

    /// Everything that is known, in the order of folded paths.
    pub fn files(&self) -> impl Iterator<Item = &BaseFile> {
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

    fn remove(&mut self, path: &RelPath) {
        let folded = windows::fold(path.as_bytes());
        // From `folded/` up to the next byte, without looking at everything else.
        let (first, after) = ([&*folded, b"/"].concat(), [&*folded, b"0"].concat());
        let beneath: Vec<Vec<u8>> =
            self.files.range(first..after).map(|(known, _)| known.clone()).collect();
        for known in beneath.iter().chain([&folded]) {
            self.files.remove(known);
        }
    }
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
