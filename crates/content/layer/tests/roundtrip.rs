//! Trees become layers and trees again, the same on one thread and on many.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime, Owners, RelPath, TreeForm};
use layer::{Compression, PackOptions, UnpackOptions, decompress, pack, unpack};
use oci::Digest;

/// As root files get their owners; otherwise these are recorded.
fn owners() -> Owners {
    if rustix::process::geteuid().is_root() { Owners::IDENTITY } else { Owners::Recorded }
}

fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
    let path: RelPath = path.parse().unwrap();
    Entry { path, kind, meta: Metadata::root_owned(mode, Mtime::seconds(1_700_000_000)) }
}

fn file(path: &str, bytes: impl Into<Vec<u8>>) -> Entry {
    entry(path, Kind::File(Content::bytes(bytes.into())), 0o644)
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[5] & 0x3f
    };
    (0..size).map(next).collect()
}

fn sample() -> Changeset {
    let mut owned = file("etc/passwd", "root:x:0:0::/:/bin/sh\n");
    (owned.meta.uid, owned.meta.gid, owned.meta.mode) = (1000, 100, 0o4750);
    let mut second = entry("etc/second", Kind::Hardlink("etc/passwd".parse().unwrap()), 0);
    second.meta = owned.meta.clone();
    let mut opaque = entry("var/cache", Kind::Directory { opaque: true }, 0o1777);
    opaque.meta.mtime = Mtime::seconds(5);
    let long = format!("usr/{}/{}", "d".repeat(120), "f".repeat(200));
    Changeset::from_iter([
        entry("bin", Kind::Symlink(b"usr/bin".to_vec()), 0o777),
        entry("etc", Kind::DIRECTORY, 0o755),
        owned,
        file("etc/empty", ""),
        second,
        entry("etc/shadow", Kind::Whiteout, 0),
        entry("run", Kind::DIRECTORY, 0o700),
        entry("run/pipe", Kind::Fifo, 0o622),
        entry("run/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666),
        entry("usr", Kind::DIRECTORY, 0o555),
        entry(&format!("usr/{}", "d".repeat(120)), Kind::DIRECTORY, 0o755),
        file(&long, noise(3_000_000)),
        file("usr/grüße", "hallo"),
        entry("var", Kind::DIRECTORY, 0o755),
        opaque,
    ])
}

fn packed(changes: &Changeset, options: &PackOptions) -> (layer::Packed, Vec<u8>) {
    let mut blob = Vec::new();
    let packed = pack(changes, options, &mut blob).unwrap();
    assert_eq!(packed.digest, Digest::of(&blob));
    assert_eq!(packed.size, blob.len() as u64);
    (packed, blob)
}

fn plain(blob: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    decompress(blob, u64::MAX).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

/// In the place of a content, so that a failing test does not print megabytes.
fn content_digest(content: &Content) -> Content {
    Content::bytes(Digest::of(&content.read(10_000_000).unwrap()).hex().as_bytes().to_vec())
}

/// Everything a layer says, with contents in memory, so that trees can be compared.
fn read(directory: &Path) -> BTreeMap<String, (Kind, Metadata)> {
    let changes = fstree::read_tree(directory, owners(), TreeForm::Overlay).unwrap();
    let entries = changes.iter().filter(|entry| !entry.path.is_root()).map(|entry| {
        let kind = match &entry.kind {
            Kind::File(content) => Kind::File(content_digest(content)),
            other => other.clone(),
        };
        let meta = if kind == Kind::Whiteout { Metadata::default() } else { entry.meta.clone() };
        (entry.path.to_string(), (kind, meta))
    });
    entries.collect()
}

fn expected(changes: &Changeset) -> BTreeMap<String, (Kind, Metadata)> {
    let entries = changes.iter().map(|entry| {
        let meta =
            if entry.kind == Kind::Whiteout { Metadata::default() } else { entry.meta.clone() };
        let kind = match &entry.kind {
            Kind::File(content) => Kind::File(content_digest(content)),
            other => other.clone(),
        };
        (entry.path.to_string(), (kind, meta))
    });
    entries.collect()
}

const ALL: [Compression; 4] =
    [Compression::GZIP, Compression::ZSTD, Compression::ESTARGZ, Compression::Uncompressed];

#[test]
fn a_tree_survives_every_compression() {
    let changes = sample();
    for compression in ALL {
        let (packed, blob) =
            packed(&changes, &PackOptions { compression, ..PackOptions::default() });
        let tar = plain(&blob);
        assert_eq!(packed.diff_id, Digest::of(&tar));
        assert_eq!(packed.uncompressed_size, tar.len() as u64);
        let directory = tempfile::tempdir().unwrap();
        let unpacked =
            unpack(&*tar, directory.path(), owners(), &UnpackOptions::default()).unwrap();
        assert_eq!(unpacked.diff_id, packed.diff_id);
        assert_eq!(unpacked.implied, []);
        let mut found = read(directory.path());
        found.retain(|path, _| !path.contains("landmark") && path != "stargz.index.json");
        assert_eq!(found, expected(&changes), "{compression:?}");
    }
}

#[test]
fn bytes_do_not_depend_on_threads() {
    let changes = sample();
    for compression in ALL {
        let options = |threads| PackOptions { compression, threads, ..PackOptions::default() };
        let one = packed(&changes, &options(1));
        for threads in [0, 2, 3, 8] {
            assert!(
                packed(&changes, &options(threads)) == one,
                "{compression:?} on {threads} threads"
            );
        }
    }
}

#[test]
fn times_are_whole_seconds_and_clamped() {
    let mut late = file("late", "x");
    late.meta.mtime = Mtime { secs: 2_000_000_000, nanos: 7 };
    let changes = Changeset::from_iter([file("a", "x"), late]);
    let options = PackOptions {
        compression: Compression::Uncompressed,
        latest_mtime: Some(1_800_000_000),
        ..PackOptions::default()
    };
    let (_, tar) = packed(&changes, &options);
    let directory = tempfile::tempdir().unwrap();
    unpack(&*tar, directory.path(), owners(), &UnpackOptions::default()).unwrap();
    let found = read(directory.path());
    assert_eq!(found["a"].1.mtime, Mtime::seconds(1_700_000_000));
    assert_eq!(found["late"].1.mtime, Mtime::seconds(1_800_000_000));
}

#[test]
fn nothing_is_an_empty_layer() {
    for compression in [Compression::GZIP, Compression::ZSTD, Compression::Uncompressed] {
        let (_, blob) =
            packed(&Changeset::new(), &PackOptions { compression, ..PackOptions::default() });
        assert_eq!(plain(&blob), vec![0; 1024]);
    }
}

#[test]
fn a_file_that_changed_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f");
    fs_err::write(&path, "before").unwrap();
    let content = Content::disk_path(&path).unwrap();
    let changes = Changeset::from_iter([entry("f", Kind::File(content), 0o644)]);
    let (first, _) = packed(&changes, &PackOptions::default());
    assert!(first.size > 0);
    fs_err::write(&path, "after!").unwrap();
    let error = pack(&changes, &PackOptions::default(), std::io::sink()).unwrap_err();
    assert!(matches!(error, layer::PackError::Changed { .. }), "{error:?}");
}

#[test]
fn names_that_mean_removals_are_not_packed() {
    for path in [".wh.x", "a/.wh..wh..opq", ".wh.d/x"] {
        let error = pack(
            &Changeset::from_iter([file(path, "x")]),
            &PackOptions::default(),
            std::io::sink(),
        )
        .unwrap_err();
        assert!(matches!(error, layer::PackError::Unfit { .. }), "{path}: {error:?}");
    }
}

/// A step's root is another id on disk; capabilities name it, and read back as an image has them.
#[test]
fn owners_and_capabilities_are_shifted_on_disk_and_come_back() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let owners = Owners::Shifted { offset: 1 << 30, count: 1 << 30 };
    let capability = [&[1, 0, 0, 2][..], &[0, 4, 0, 0], &[0; 12]].concat();
    let mut ping = file("ping", "x");
    (ping.meta.uid, ping.meta.gid, ping.meta.mode) = (7, 8, 0o4755);
    ping.meta.xattrs.insert(b"security.capability".to_vec(), capability.clone());
    let options = PackOptions { compression: Compression::Uncompressed, ..PackOptions::default() };
    let (_, tar) = packed(&Changeset::from_iter([ping]), &options);
    let directory = tempfile::tempdir().unwrap();
    let unpacked = unpack(&*tar, directory.path(), owners, &UnpackOptions::default()).unwrap();
    let stat = rustix::fs::stat(directory.path().join("ping")).unwrap();
    assert_eq!(
        (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777),
        ((1 << 30) + 7, (1 << 30) + 8, 0o4755)
    );
    let tree = fstree::read_tree(directory.path(), owners, TreeForm::Overlay).unwrap();
    let entry = tree.get(&"ping".parse().unwrap()).unwrap();
    assert_eq!((entry.meta.uid, entry.meta.gid), (7, 8));
    assert_eq!(
        entry.meta.xattrs[b"security.capability".as_slice()],
        capability,
        "{:?}",
        unpacked.notes
    );
    let few = Owners::Shifted { offset: 0, count: 5 };
    let error = unpack(&*tar, tempfile::tempdir().unwrap().path(), few, &UnpackOptions::default())
        .unwrap_err();
    assert!(matches!(error, layer::UnpackError::Owner { .. }));
}
