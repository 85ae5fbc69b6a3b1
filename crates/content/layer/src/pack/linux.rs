//! The Linux form (image-spec 1.1, `layer.md`).

use std::collections::BTreeSet;
use std::io::{self, Write};

use fstree::{Changeset, Content, Entry, Kind, RelPath};

use super::{LayerWriter, PackError, PackOptions, clamp};
use crate::compress::Compression;
use crate::tar::{Header, MemberKind};

/// Writes all changes: directories before what they hold, removals as `.wh.` files.
pub(super) fn emit<W: Write>(
    changeset: &Changeset,
    options: &PackOptions,
    out: &mut LayerWriter<W>,
) -> Result<(), PackError> {
    if !matches!(options.compression, Compression::EStargz { .. }) {
        for entry in changeset {
            emit_entry(changeset, entry, options, out)?;
        }
        return Ok(());
    }
    let first = prefetched(changeset, &options.prefetch);
    for path in &first {
        if let Some(entry) = changeset.get(path) {
            emit_entry(changeset, entry, options, out)?;
        }
    }
    out.landmark(!first.is_empty())?;
    let first: BTreeSet<&RelPath> = first.iter().collect();
    for entry in changeset {
        if !first.contains(&entry.path) {
            emit_entry(changeset, entry, options, out)?;
        }
    }
    Ok(())
}

/// What is wanted first, each after its parents and the target of its link, each once.
fn prefetched(changeset: &Changeset, wanted: &[RelPath]) -> Vec<RelPath> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    let mut add = |path: RelPath| {
        if changeset.get(&path).is_some() && seen.insert(path.clone()) {
            order.push(path);
        }
    };
    for path in wanted {
        let target = match changeset.get(path).map(|entry| &entry.kind) {
            Some(Kind::Hardlink(target)) => Some(target.clone()),
            _ => None,
        };
        for path in target.iter().chain([path]) {
            path.ancestors().for_each(&mut add);
            add(path.clone());
        }
    }
    order
}

/// Writes a whole tree: no removals.
pub(super) fn emit_tree<W: Write>(
    changeset: &Changeset,
    options: &PackOptions,
    out: &mut LayerWriter<W>,
) -> Result<(), PackError> {
    for entry in changeset {
        if entry.path.is_root() || matches!(entry.kind, Kind::Whiteout) {
            continue;
        }
        emit_member(changeset, entry, options, out)?;
    }
    Ok(())
}

fn emit_entry<W: Write>(
    changeset: &Changeset,
    entry: &Entry,
    options: &PackOptions,
    out: &mut LayerWriter<W>,
) -> Result<(), PackError> {
    if entry.path.is_root() {
        return match entry.kind {
            Kind::Directory { opaque: true } => marker(b".wh..wh..opq".to_vec(), out),
            _ => Ok(()),
        };
    }
    if entry.path.segments().any(|segment| segment.starts_with(b".wh.")) {
        return Err(unfit(entry, "names that begin with `.wh.` mean a removal in a layer"));
    }
    if matches!(entry.kind, Kind::Whiteout) {
        let parent = entry.path.parent().unwrap_or_else(RelPath::root);
        return marker(beneath(&parent, &[b".wh.", entry.path.name()].concat()), out);
    }
    emit_member(changeset, entry, options, out)?;
    if matches!(entry.kind, Kind::Directory { opaque: true }) {
        marker(beneath(&entry.path, b".wh..wh..opq"), out)?;
    }
    Ok(())
}

fn emit_member<W: Write>(
    changeset: &Changeset,
    entry: &Entry,
    options: &PackOptions,
    out: &mut LayerWriter<W>,
) -> Result<(), PackError> {
    let mut header = Header::new(entry.path.as_bytes(), MemberKind::File);
    header.mode = entry.meta.mode & 0o7777;
    header.uid = entry.meta.uid;
    header.gid = entry.meta.gid;
    header.mtime = clamp(entry.meta.mtime, options.latest_mtime);
    let xattrs = entry.meta.xattrs.iter().filter(|(name, _)| !is_private_xattr(name));
    header.xattrs = xattrs.map(|(name, value)| (name.clone(), value.clone())).collect();
    match &entry.kind {
        Kind::File(content) => {
            header.size = content.size();
            return out.file(&header, content);
        }
        Kind::Directory { .. } => {
            header.kind = MemberKind::Directory;
            header.path.push(b'/');
        }
        Kind::Symlink(target) => {
            header.kind = MemberKind::Symlink;
            header.link.clone_from(target);
        }
        Kind::Hardlink(target) => {
            let Some(Kind::File(_)) = changeset.get(target).map(|entry| &entry.kind) else {
                return Err(unfit(
                    entry,
                    &format!("it is a hard link to `{target}`, which is no file of this layer"),
                ));
            };
            header.kind = MemberKind::Hardlink;
            header.link = target.as_bytes().to_vec();
            header.xattrs.clear();
        }
        Kind::CharDevice { major, minor } => {
            header.kind = MemberKind::CharDevice;
            header.device = (*major, *minor);
        }
        Kind::BlockDevice { major, minor } => {
            header.kind = MemberKind::BlockDevice;
            header.device = (*major, *minor);
        }
        Kind::Fifo => header.kind = MemberKind::Fifo,
        Kind::Whiteout => return Ok(()),
    }
    out.file(&header, &Content::Empty)
}

/// An empty file whose name is what matters.
fn marker<W: Write>(path: Vec<u8>, out: &mut LayerWriter<W>) -> Result<(), PackError> {
    out.member(&Header::new(path, MemberKind::File), &mut io::empty())
}

fn beneath(directory: &RelPath, name: &[u8]) -> Vec<u8> {
    if directory.is_root() { name.to_vec() } else { [directory.as_bytes(), b"/", name].concat() }
}

fn unfit(entry: &Entry, why: &str) -> PackError {
    PackError::Unfit { path: entry.path.to_string(), form: "Linux", why: why.to_owned() }
}

/// Whether an extended attribute is bookkeeping of overlayfs or of crossdock, or of the host's own policy,
/// and so never goes into a layer or comes out of one.
pub(crate) fn is_private_xattr(name: &[u8]) -> bool {
    [
        &b"user.overlay."[..],
        b"trusted.overlay.",
        b"user.crossdock.",
        b"security.selinux",
        b"security.ima",
        b"security.evm",
    ]
    .iter()
    .any(|private| name.starts_with(private))
}
