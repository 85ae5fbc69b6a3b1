//! An archive that a Dockerfile's `ADD` takes apart, as a changeset.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use fs_err::File;
use fstree::{Changeset, Content, Entry, Kind, MAX_LINKS, Metadata, Mtime, RelPath, Root};

use crate::decompress::decompress;
use crate::names::clean;
use crate::pack::is_private_xattr;
use crate::tar::{Header, Limits, MemberKind, Reader, TarError};

/// Files up to this size are kept in memory, as long as all of them together do not exceed [`MEMORY_BYTES`].
const SMALL_BYTES: u64 = 4096;
const MEMORY_BYTES: u64 = 16 << 20;

/// Why an archive could not be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no archive that is recognised: there is no first member, or its header does not fit.
    #[error("not a tar archive")]
    NotAnArchive,
    /// It is damaged, hostile or too large.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// A member that cannot be where it wants to be.
    #[error("invalid archive: {what}")]
    Invalid {
        /// What is wrong with which member.
        what: String,
    },
    /// The contents could not be kept.
    #[error("cannot keep `{path}` of the archive")]
    Spool {
        /// Which member.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Reads a tar archive, plain or compressed with gzip, bzip2, xz or zstd. Contents go to files in the directory
/// `spool`, which has to stay for as long as the changeset is used; `.wh.` names mean nothing special.
///
/// Owners, modes, times and attributes are those of the archive. Later members replace earlier ones, and links of the
/// archive are followed in the paths of later members, as when it is unpacked.
pub fn read_archive(
    archive: impl Read + Send,
    spool: &Path,
    limits: &Limits,
) -> Result<Changeset, ArchiveError> {
    let failed = |source| ArchiveError::Spool { path: spool.display().to_string(), source };
    let root = Arc::new(Root::open(spool).map_err(failed)?);
    let plain = decompress(archive, limits.total_bytes)
        .map_err(|source| TarError::Read { offset: 0, source })?;
    let mut reader = Reader::new(plain, limits.clone());
    let mut collector = Collector {
        changes: Changeset::new(),
        root,
        spool,
        spooled: 0,
        in_memory: 0,
        links: BTreeMap::new(),
    };
    let mut first = true;
    loop {
        let header = match reader.next_member() {
            Ok(Some(header)) => header,
            Ok(None) if first => return Err(ArchiveError::NotAnArchive),
            Ok(None) => break,
            Err(TarError::Invalid { .. } | TarError::Truncated { .. }) if first => {
                return Err(ArchiveError::NotAnArchive);
            }
            Err(error) => return Err(error.into()),
        };
        first = false;
        collector.member(&header, &mut reader)?;
    }
    reader.finish()?;
    Ok(order_links(collector.changes))
}

/// Whether [`read_archive`] would take it for an archive. Reads the first header only.
pub fn is_archive(archive: impl Read + Send) -> bool {
    let Ok(plain) = decompress(archive, u64::MAX) else { return true };
    let first = Reader::new(plain, Limits::default()).next_member();
    !matches!(first, Err(TarError::Invalid { .. } | TarError::Truncated { .. }))
}

struct Collector<'a> {
    changes: Changeset,
    root: Arc<Root>,
    spool: &'a Path,
    spooled: u64,
    in_memory: u64,
    /// The other names of files.
    links: BTreeMap<RelPath, BTreeSet<RelPath>>,
}

impl Collector<'_> {
    fn member(
        &mut self,
        header: &Header,
        archive: &mut Reader<impl Read>,
    ) -> Result<(), ArchiveError> {
        let path = self.locate(&clean(&header.path).map_err(invalid)?)?;
        let xattrs = header.xattrs.iter().filter(|(name, _)| !is_private_xattr(name));
        let mut meta = Metadata {
            mode: header.mode & 0o7777,
            uid: header.uid,
            gid: header.gid,
            mtime: Mtime { secs: header.mtime.secs, nanos: header.mtime.nanos },
            xattrs: xattrs.map(|(name, value)| (name.clone(), value.clone())).collect(),
        };
        let (major, minor) = header.device;
        let kind = match header.kind {
            MemberKind::Directory => Kind::DIRECTORY,
            MemberKind::File => Kind::File(self.content(&path, header.size, archive)?),
            MemberKind::Symlink if header.link.is_empty() => {
                return Err(invalid(format!("`{path}` is a link to nothing")));
            }
            MemberKind::Symlink => {
                meta.mode = 0o777;
                Kind::Symlink(header.link.clone())
            }
            MemberKind::Hardlink => return self.hardlink(path, &header.link),
            // OverlayFS takes it for a removal.
            MemberKind::CharDevice if header.device == (0, 0) => return Ok(()),
            MemberKind::CharDevice => Kind::CharDevice { major, minor },
            MemberKind::BlockDevice => Kind::BlockDevice { major, minor },
            MemberKind::Fifo => Kind::Fifo,
            MemberKind::Other(b'V') => return Ok(()),
            MemberKind::Other(_) => return Err(invalid(format!("`{path}` is of an unknown kind"))),
        };
        self.insert(Entry { path, kind, meta })
    }

    fn insert(&mut self, entry: Entry) -> Result<(), ArchiveError> {
        if entry.path.is_root() {
            if entry.kind.is_directory() {
                self.changes.insert(entry);
                return Ok(());
            }
            return Err(invalid("the root of the archive is no directory".to_owned()));
        }
        let was_directory =
            self.changes.get(&entry.path).is_some_and(|old| old.kind.is_directory());
        if was_directory && !entry.kind.is_directory() {
            self.remove_beneath(&entry.path);
        }
        self.release(&entry.path);
        self.changes.insert(entry);
        Ok(())
    }

    /// A hard link is another name of whatever its target is.
    fn hardlink(&mut self, path: RelPath, link: &[u8]) -> Result<(), ArchiveError> {
        let target = self.locate(&clean(link).map_err(invalid)?)?;
        if target == path {
            return Ok(());
        }
        let missing = || {
            invalid(format!(
                "`{path}` is a hard link to `{target}`, which is not in the archive before it"
            ))
        };
        let entry = self.changes.get(&target).ok_or_else(missing)?;
        let (kind, meta) = match &entry.kind {
            Kind::Directory { .. } | Kind::Whiteout => return Err(missing()),
            Kind::File(_) => (Kind::Hardlink(target.clone()), entry.meta.clone()),
            Kind::Hardlink(first) if *first == path => return Ok(()),
            Kind::Hardlink(first) => (Kind::Hardlink(first.clone()), entry.meta.clone()),
            other => (other.clone(), entry.meta.clone()),
        };
        self.insert(Entry { path: path.clone(), kind: kind.clone(), meta })?;
        if let Kind::Hardlink(target) = kind {
            self.links.entry(target).or_default().insert(path);
        }
        Ok(())
    }

    /// Before the file at `path` is replaced, the first of its other names takes its place.
    fn release(&mut self, path: &RelPath) {
        if let Some(Kind::Hardlink(target)) = self.changes.get(path).map(|entry| &entry.kind)
            && let Some(names) = self.links.get_mut(target)
        {
            names.remove(path);
        }
        let Some(mut names) = self.links.remove(path) else { return };
        let Some(heir) = names.pop_first() else { return };
        let Some(kind) = self.changes.get(path).map(|entry| entry.kind.clone()) else { return };
        if let Some(entry) = self.changes.entries.get_mut(&heir) {
            entry.kind = kind;
        }
        for name in &names {
            if let Some(entry) = self.changes.entries.get_mut(name) {
                entry.kind = Kind::Hardlink(heir.clone());
            }
        }
        self.links.insert(heir, names);
    }

    fn remove_beneath(&mut self, directory: &RelPath) {
        let paths: Vec<RelPath> =
            self.changes.beneath(directory).map(|entry| entry.path.clone()).collect();
        for path in paths.iter().rev().filter(|path| *path != directory) {
            self.release(path);
            self.changes.entries.remove(path);
        }
    }

    /// Where `path` leads when links of the archive above its last part are followed.
    fn locate(&self, path: &RelPath) -> Result<RelPath, ArchiveError> {
        let mut pending: Vec<Vec<u8>> = path.segments().rev().map(<[u8]>::to_vec).collect();
        let mut found = RelPath::root();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                found = found.parent().unwrap_or_else(RelPath::root);
                continue;
            }
            let next = found.join(&part).map_err(|error| invalid(error.to_string()))?;
            if pending.is_empty() {
                return Ok(next);
            }
            match self.changes.get(&next).map(|entry| &entry.kind) {
                None | Some(Kind::Directory { .. }) => found = next,
                Some(Kind::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(invalid(format!("`{path}` leads through too many links")));
                    }
                    if target.starts_with(b"/") {
                        found = RelPath::root();
                    }
                    let parts = target.split(|byte| *byte == b'/').rev();
                    pending.extend(
                        parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec),
                    );
                }
                Some(_) => {
                    return Err(invalid(format!(
                        "`{path}` is beneath `{next}`, which is no directory"
                    )));
                }
            }
        }
        Ok(found)
    }

    fn content(
        &mut self,
        path: &RelPath,
        size: u64,
        archive: &mut Reader<impl Read>,
    ) -> Result<Content, ArchiveError> {
        if size == 0 {
            return Ok(Content::Empty);
        }
        let failed = |source| ArchiveError::Spool { path: path.to_string(), source };
        if size <= SMALL_BYTES && self.in_memory + size <= MEMORY_BYTES {
            self.in_memory += size;
            let mut bytes = Vec::new();
            archive
                .read_to_end(&mut bytes)
                .map_err(|source| TarError::Read { offset: archive.offset(), source })?;
            return Ok(Content::bytes(bytes));
        }
        let name = format!("{:08}", self.spooled);
        self.spooled += 1;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(self.spool.join(&name))
            .map_err(failed)?;
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = archive
                .read(&mut buffer)
                .map_err(|source| TarError::Read { offset: archive.offset(), source })?;
            if count == 0 {
                break;
            }
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        drop(file);
        Content::disk(&self.root, &RelPath::clean(name)).map_err(failed)
    }
}

/// Makes the first name of every file, in the order of paths, the one that has the content.
fn order_links(mut changes: Changeset) -> Changeset {
    let links = changes.iter().filter_map(|entry| match &entry.kind {
        Kind::Hardlink(target) => Some((target.clone(), entry.path.clone())),
        _ => None,
    });
    let mut groups = BTreeMap::<RelPath, BTreeSet<RelPath>>::new();
    for (target, name) in links {
        groups.entry(target).or_default().insert(name);
    }
    for (target, names) in groups {
        let Some(first) = names.first().filter(|first| **first < target).cloned() else { continue };
        let Some(kind) = changes.get(&target).map(|entry| entry.kind.clone()) else { continue };
        for name in names.iter().chain([&target]) {
            if let Some(entry) = changes.entries.get_mut(name) {
                entry.kind =
                    if *name == first { kind.clone() } else { Kind::Hardlink(first.clone()) };
            }
        }
    }
    changes
}

fn invalid(what: String) -> ArchiveError {
    ArchiveError::Invalid { what }
}
