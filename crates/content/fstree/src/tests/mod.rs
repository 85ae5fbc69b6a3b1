//! Behaviour of whole trees, on real directories.

mod context;
mod fileop;
mod root;
mod trees;

use std::path::Path;
use std::sync::Arc;

use crate::{Changeset, Content, Entry, Kind, Metadata, Mtime, RelPath, TreeView};

pub(crate) fn path(text: &str) -> RelPath {
    text.parse().unwrap()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether files can be given to others: not as an ordinary user, nor as the root of a namespace with one id.
pub(crate) fn may_give_away() -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    let other = (rustix::fs::Uid::from_raw(100_000), rustix::fs::Gid::from_raw(100_000));
    rustix::fs::chown(file.path(), Some(other.0), Some(other.1)).is_ok()
}

pub(crate) fn entry(at: &str, kind: Kind, mode: u32) -> Entry {
    let meta = Metadata::root_owned(mode, Mtime { secs: 1_600_000_000, nanos: 123_456_789 });
    Entry { path: path(at), kind, meta }
}

pub(crate) fn file(at: &str, bytes: &str) -> Entry {
    entry(at, Kind::File(Content::bytes(bytes.as_bytes().to_vec())), 0o644)
}

pub(crate) fn directory(at: &str) -> Entry {
    entry(at, Kind::DIRECTORY, 0o755)
}

pub(crate) fn symlink(at: &str, target: &str) -> Entry {
    entry(at, Kind::Symlink(target.as_bytes().to_vec()), 0o777)
}

pub(crate) fn changes(entries: impl IntoIterator<Item = Entry>) -> Changeset {
    entries.into_iter().collect()
}

pub(crate) fn view(entries: impl IntoIterator<Item = Entry>) -> Arc<dyn TreeView> {
    Arc::new(changes(entries))
}

/// Contents read into memory, so that changesets compare by what they hold.
pub(crate) fn in_memory(changes: &Changeset) -> Changeset {
    let read = |entry: &Entry| {
        let mut entry = entry.clone();
        if let Kind::File(content) = &entry.kind {
            entry.kind = Kind::File(Content::bytes(content.read(1 << 20).unwrap()));
        }
        entry
    };
    changes.iter().map(read).collect()
}

/// `path kind mode uid:gid content`, a line each.
pub(crate) fn listing(changes: &Changeset) -> Vec<String> {
    changes
        .iter()
        .map(|entry| {
            let meta = &entry.meta;
            let rest = format!("{:o} {}:{}", meta.mode, meta.uid, meta.gid);
            match &entry.kind {
                Kind::Directory { opaque } => {
                    format!("{}/{} {rest}", entry.path, if *opaque { " opaque" } else { "" })
                }
                Kind::File(content) => {
                    let text = String::from_utf8(content.read(1 << 20).unwrap()).unwrap();
                    format!("{} {rest} {text}", entry.path).trim_end().to_owned()
                }
                Kind::Symlink(target) => format!("{} -> {}", entry.path, crate::show(target)),
                Kind::Hardlink(target) => format!("{} = {target}", entry.path),
                Kind::Whiteout => format!("{} removed", entry.path),
                other => format!("{} {other:?}", entry.path),
            }
        })
        .collect()
}

/// Writes files of a context: `a/` is a directory, `a -> b` a link, else `path=content`.
pub(crate) fn plant(root: &Path, files: &[&str]) {
    for file in files {
        if let Some((link, target)) = file.split_once(" -> ") {
            let link = root.join(link);
            fs_err::create_dir_all(link.parent().unwrap()).unwrap();
            fs_err::os::unix::fs::symlink(target, link).unwrap();
        } else if let Some(directory) = file.strip_suffix('/') {
            fs_err::create_dir_all(root.join(directory)).unwrap();
        } else {
            let (name, content) = file.split_once('=').unwrap_or((file, ""));
            fs_err::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs_err::write(root.join(name), content).unwrap();
        }
    }
}
