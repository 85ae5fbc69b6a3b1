//! Digests of what changes hold: the keys under which equal results are found.

use std::collections::BTreeMap;

use build_api::BuildError;
use fstree::{Changeset, Content, DigestCache, Entry, FileIdentity, Kind};
use oci::{Digest, Digester};
use store::{FileKey, Store};

use crate::error::failed;

/// Whether times of modification count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// They do: results that differ in them are different layers.
    Count,
    /// They do not: what reads the files behaves the same.
    Ignore,
}

/// Digests changes: path, kind, mode, owners, extended attributes and content of each entry, in order.
pub(crate) fn digest(
    changes: &Changeset,
    times: Times,
    store: &Store,
) -> Result<Digest, BuildError> {
    let files = file_digests(changes, store)?;
    let mut digester = Digester::sha256();
    for entry in changes {
        add(&mut digester, entry, times, &files);
    }
    Ok(digester.finish())
}

/// The digest of each entry, times left out.
pub(crate) fn digest_each<'a>(
    changes: &'a Changeset,
    store: &Store,
) -> Result<Vec<(&'a Entry, Digest)>, BuildError> {
    let files = file_digests(changes, store)?;
    let digest = |entry| {
        let mut digester = Digester::sha256();
        add(&mut digester, entry, Times::Ignore, &files);
        (entry, digester.finish())
    };
    Ok(changes.iter().map(digest).collect())
}

fn add(
    digester: &mut Digester,
    entry: &Entry,
    times: Times,
    files: &BTreeMap<FileIdentity, Digest>,
) {
    let mut field = |bytes: &[u8]| {
        digester.update(&(bytes.len() as u64).to_le_bytes());
        digester.update(bytes);
    };
    field(entry.path.as_bytes());
    if let Kind::Whiteout = entry.kind {
        field(b"whiteout");
        return;
    }
    let (kind, detail): (&[u8], Vec<u8>) = describe(entry, files);
    field(kind);
    field(&detail);
    let meta = &entry.meta;
    for number in [meta.mode, meta.uid, meta.gid] {
        field(&number.to_le_bytes());
    }
    if times == Times::Count {
        field(&meta.mtime.secs.to_le_bytes());
    }
    for (name, value) in &meta.xattrs {
        field(name);
        field(value);
    }
}

fn describe(entry: &Entry, files: &BTreeMap<FileIdentity, Digest>) -> (&'static [u8], Vec<u8>) {
    let device = |major: u32, minor: u32| format!("{major}:{minor}").into_bytes();
    match &entry.kind {
        Kind::Directory { opaque: false } => (b"directory", Vec::new()),
        Kind::Directory { opaque: true } => (b"opaque", Vec::new()),
        Kind::File(Content::Empty) => (b"file", Digest::of(b"").to_string().into_bytes()),
        Kind::File(Content::Bytes(bytes)) => (b"file", Digest::of(bytes).to_string().into_bytes()),
        Kind::File(Content::Disk(file)) => (
            b"file",
            files.get(&file.identity()).map(Digest::to_string).unwrap_or_default().into_bytes(),
        ),
        Kind::Symlink(target) => (b"symlink", target.clone()),
        Kind::Hardlink(target) => (b"hardlink", target.as_bytes().to_vec()),
        Kind::CharDevice { major, minor } => (b"character device", device(*major, *minor)),
        Kind::BlockDevice { major, minor } => (b"block device", device(*major, *minor)),
        Kind::Fifo => (b"fifo", Vec::new()),
        Kind::Whiteout => (b"whiteout", Vec::new()),
    }
}

fn key(identity: &FileIdentity) -> FileKey {
    let nanoseconds = |time: fstree::Mtime| {
        time.secs.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanos))
    };
    FileKey {
        device: identity.dev,
        inode: identity.ino,
        size: identity.size,
        mtime_ns: nanoseconds(identity.mtime),
        ctime_ns: nanoseconds(identity.ctime),
    }
}

/// Digests of files on disk that the store remembers.
pub(crate) struct StoredDigests<'a>(pub(crate) &'a Store);

impl DigestCache for StoredDigests<'_> {
    fn get(&self, files: &[FileIdentity]) -> Vec<Option<Digest>> {
        let keys: Vec<FileKey> = files.iter().map(key).collect();
        // A cache that fails has nothing.
        self.0.file_digests(&keys).unwrap_or_else(|_| vec![None; files.len()])
    }

    fn put(&self, digests: &[(FileIdentity, Digest)]) {
        let digests: Vec<_> =
            digests.iter().map(|(identity, digest)| (key(identity), digest.clone())).collect();
        drop(self.0.put_file_digests(&digests));
    }
}

/// Digests of all files on disk: remembered ones from the store, others read.
fn file_digests(
    changes: &Changeset,
    store: &Store,
) -> Result<BTreeMap<FileIdentity, Digest>, BuildError> {
    let mut wanted: BTreeMap<FileIdentity, &Content> = BTreeMap::new();
    for entry in changes {
        if let Kind::File(content @ Content::Disk(file)) = &entry.kind {
            wanted.insert(file.identity(), content);
        }
    }
    let contents: Vec<&Content> = wanted.values().copied().collect();
    let digests = fstree::file_digests(&contents, &StoredDigests(store))
        .map_err(failed("cannot read the files of a step"))?;
    Ok(wanted.into_keys().zip(digests).collect())
}
