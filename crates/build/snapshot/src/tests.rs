use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fstree::{
    Changeset, Content, Entry, Kind, Metadata, Mtime, Owners, RelPath, Root, TreeForm,
    TreeView as _, WriteOptions, read_root, write_tree,
};
use oci::{Descriptor, Digest};
use rustix::fs::{AtFlags, Mode as FileMode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};
use store::Store;
use tempfile::TempDir;

use crate::{
    BlobLayer, CacheRequest, Layer, LayerSource, Mode, Rootfs, Sharing, SnapshotError, Snapshots,
    TreeId, View,
};

fn path(text: &str) -> RelPath {
    text.parse().unwrap()
}

fn entry(at: &str, kind: Kind, mode: u32) -> Entry {
    Entry {
        path: path(at),
        kind,
        meta: Metadata::root_owned(mode, Mtime { secs: 1_600_000_000, nanos: 5 }),
    }
}

fn file(at: &str, text: &str) -> Entry {
    entry(at, Kind::File(Content::bytes(text.as_bytes().to_vec())), 0o644)
}

fn directory(at: &str) -> Entry {
    entry(at, Kind::DIRECTORY, 0o755)
}

fn changes(entries: impl IntoIterator<Item = Entry>) -> Changeset {
    entries.into_iter().collect()
}

fn layer(entries: impl IntoIterator<Item = Entry>) -> Layer {
    Layer::changes(Arc::new(changes(entries)))
}

/// Contents in memory, so that trees compare by what they hold.
fn plain(changes: &Changeset) -> BTreeMap<String, (String, u32, u32, i64)> {
    changes
        .iter()
        .map(|entry| {
            let kind = match &entry.kind {
                Kind::File(content) => {
                    format!("file {}", String::from_utf8(content.read(1 << 20).unwrap()).unwrap())
                }
                other => format!("{other:?}"),
            };
            let meta = &entry.meta;
            // An overlay gives a directory whose layers it merged the time of the topmost one, as a view does.
            (entry.path.to_string(), (kind, meta.mode, meta.uid, meta.mtime.secs))
        })
        .collect()
}

/// Other ids where files can be given to others, else (ordinary user, namespace with one id) records.
fn owners() -> Owners {
    let file = tempfile::NamedTempFile::new().unwrap();
    let other = (rustix::fs::Uid::from_raw(1000), rustix::fs::Gid::from_raw(1000));
    match rustix::fs::chown(file.path(), Some(other.0), Some(other.1)) {
        Ok(()) => Owners::Shifted { offset: 1000, count: 65536 },
        Err(_) => Owners::Recorded,
    }
}

fn snapshots(mode: Option<Mode>) -> (TempDir, Snapshots) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let snapshots = match mode {
        Some(mode) => Snapshots::with_mode(store, owners(), mode),
        None => Snapshots::new(store, owners()),
    };
    (directory, snapshots)
}

fn copying() -> Mode {
    Mode::Copy { reason: "asked for".to_owned() }
}

/// Serves one layer, counting how often.
#[derive(Default)]
struct Blobs {
    blobs: BTreeMap<String, Vec<u8>>,
    opened: AtomicUsize,
}

impl LayerSource for Blobs {
    fn open(&self, layer: &BlobLayer) -> io::Result<Box<dyn Read + Send>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let bytes =
            self.blobs.get(layer.descriptor.digest.as_str()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes.clone())))
    }
}

impl Blobs {
    fn add(&mut self, changes: &Changeset) -> BlobLayer {
        let mut bytes = Vec::new();
        let packed = layer::pack(changes, &layer::PackOptions::default(), &mut bytes).unwrap();
        self.blobs.insert(packed.digest.to_string(), bytes);
        let descriptor = Descriptor::new(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            packed.digest,
            packed.size,
        );
        BlobLayer { descriptor, diff_id: packed.diff_id, windows: false }
    }
}

/// A mounted overlay that no path leads to.
fn mount(rootfs: &Rootfs) -> OwnedFd {
    let Rootfs::Overlay { lowers, upper, work } = rootfs else {
        panic!("{rootfs:?} is no overlay")
    };
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_flag(context.as_fd(), c"userxattr").unwrap();
    let handle = |path: &Path| {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, FileMode::empty()).unwrap()
    };
    let name = |handle: &OwnedFd| format!("/proc/self/fd/{}", handle.as_raw_fd());
    let lowers: Vec<OwnedFd> = lowers.iter().rev().map(|path| handle(path)).collect();
    let list: Vec<String> = lowers.iter().map(name).collect();
    fsconfig_set_string(context.as_fd(), c"lowerdir", list.join(":")).unwrap();
    if let (Some(upper), Some(work)) = (upper, work) {
        let (upper, work) = (handle(upper), handle(work));
        fsconfig_set_string(context.as_fd(), c"upperdir", name(&upper)).unwrap();
        fsconfig_set_string(context.as_fd(), c"workdir", name(&work)).unwrap();
        fsconfig_create(context.as_fd()).unwrap();
    } else {
        fsconfig_create(context.as_fd()).unwrap();
    }
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

fn seen(mounted: &OwnedFd) -> Changeset {
    let directory =
        rustix::fs::openat(mounted, c".", OFlags::PATH | OFlags::CLOEXEC, FileMode::empty())
            .unwrap();
    read_root(
        &Arc::new(Root::from_fd(directory, PathBuf::from("overlay"))),
        owners(),
        TreeForm::Plain,
    )
    .unwrap()
}

fn has_overlay(snapshots: &Snapshots) -> bool {
    match snapshots.mode() {
        Mode::Overlay => true,
        Mode::Copy { reason } => {
            assert!(!rustix::process::geteuid().is_root(), "root has overlays here: {reason}");
            false
        }
    }
}

/// Small numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn random_layer(numbers: &mut Numbers, bottom: bool) -> Changeset {
    let mut found = Changeset::new();
    for _ in 0..numbers.below(14) {
        let mut at = RelPath::root();
        for depth in 0..=numbers.below(3) {
            let inner = found.get(&at).is_none_or(|entry| entry.kind.is_directory());
            if !inner {
                break;
            }
            if depth > 0 && found.get(&at).is_none() {
                let opaque = !bottom && numbers.below(4) == 0;
                found.insert(Entry {
                    kind: Kind::Directory { opaque },
                    ..directory(&at.to_string())
                });
            }
            at = at.join([b"abc"[usize::try_from(numbers.below(3)).unwrap()]]).unwrap();
        }
        if found.get(&at).is_some() {
            continue;
        }
        let name = at.to_string();
        let kind = numbers.below(if bottom { 4 } else { 6 });
        let mut made = match kind {
            0 | 1 => file(&name, &format!("{}", numbers.below(1000))),
            2 => entry(&name, Kind::Symlink(b"a".to_vec()), 0o777),
            3 => directory(&name),
            _ => entry(&name, Kind::Whiteout, 0),
        };
        if kind == 3 {
            made.meta.mode = 0o700 + u32::try_from(numbers.below(8)).unwrap();
        }
        made.meta.mtime = Mtime::seconds(i64::try_from(numbers.below(1_000_000)).unwrap());
        found.insert(made);
    }
    found
}

#[test]
fn views_show_what_an_overlay_shows() {
    let (_directory, snapshots) = snapshots(None);
    let overlay = has_overlay(&snapshots);
    let mut numbers = Numbers(1);
    for round in 0..60 {
        let layers: Vec<Layer> = (0..4)
            .map(|index| Layer::changes(Arc::new(random_layer(&mut numbers, index == 0))))
            .collect();
        let in_memory =
            plain(&snapshots.view(&layers, &Blobs::default()).unwrap().flatten().unwrap());
        let trees = snapshots.ensure_trees(&layers, &Blobs::default()).unwrap();
        let on_disk = plain(&snapshots.view_trees(&trees).unwrap().flatten().unwrap());
        assert_eq!(in_memory, on_disk, "round {round}: {layers:?}");
        if overlay {
            let mounted = snapshots.mount(&trees, false).unwrap();
            let overlay = plain(&seen(&mount(mounted.rootfs())));
            assert_eq!(overlay, on_disk, "round {round}");
        }
    }
}

#[test]
fn a_layer_is_unpacked_once() {
    let (directory, snapshots) = snapshots(None);
    let mut blobs = Blobs::default();
    let content = changes([
        directory_of("d"),
        file("d/f", "text"),
        entry("d/l", Kind::Hardlink(path("d/f")), 0o644),
    ]);
    let blob = blobs.add(&content);
    let other = Snapshots::new(Store::open(directory.path()).unwrap(), owners());
    let trees: Vec<TreeId> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|index| {
                let (snapshots, layer, blobs) = (
                    if index % 2 == 0 { &snapshots } else { &other },
                    Layer::blob(blob.clone()),
                    &blobs,
                );
                scope.spawn(move || snapshots.ensure_tree(&layer, blobs).unwrap())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(trees.iter().all(|tree| *tree == trees[0]));
    assert_eq!(blobs.opened.load(Ordering::Relaxed), 1);
    assert_eq!(plain(&snapshots.changes(&trees[0]).unwrap()), plain(&content));
    assert!(snapshots.has_tree(&Layer::blob(blob)));
}

fn directory_of(at: &str) -> Entry {
    directory(at)
}

#[test]
fn a_layer_that_is_not_what_the_image_says_is_refused() {
    let (_directory, snapshots) = snapshots(None);
    let mut blobs = Blobs::default();
    let mut blob = blobs.add(&changes([file("f", "1")]));
    blob.diff_id = Digest::of(b"something else");
    let refused = snapshots.ensure_tree(&Layer::blob(blob.clone()), &blobs).unwrap_err();
    assert!(matches!(refused, SnapshotError::WrongDiffId { .. }), "{refused}");
    assert!(!snapshots.has_tree(&Layer::blob(blob)));
}

#[test]
fn directories_that_a_layer_only_implies_keep_what_lower_layers_say() {
    let (_directory, snapshots) = snapshots(None);
    let mut blobs = Blobs::default();
    let base =
        layer([entry("tmp", Kind::DIRECTORY, 0o1777), entry("tmp/a", Kind::DIRECTORY, 0o711)]);
    let blob = blobs.add(&changes([file("tmp/a/b/f", "1")]));
    let layers = [base, Layer::blob(blob)];
    let mode = |view: &View, at: &str| view.lookup(&path(at)).unwrap().unwrap().meta.mode;
    let view = snapshots.view(&layers, &blobs).unwrap();
    assert_eq!(
        (mode(&view, "tmp"), mode(&view, "tmp/a"), mode(&view, "tmp/a/b")),
        (0o1777, 0o711, 0o755)
    );
    let trees = snapshots.ensure_trees(&layers, &blobs).unwrap();
    let lowers = snapshots.lowers(&trees).unwrap();
    assert_eq!(lowers.len(), 3);
    if has_overlay(&snapshots) {
        let active = snapshots.prepare(&trees).unwrap();
        let seen = seen(&mount(&active.rootfs()));
        let mode = |at: &str| seen.get(&path(at)).unwrap().meta.mode;
        assert_eq!((mode("tmp"), mode("tmp/a"), mode("tmp/a/b")), (0o1777, 0o711, 0o755));
        assert!(seen.get(&path("tmp/a/b/f")).is_some());
    }
}

fn base_of_step() -> [Layer; 2] {
    [
        layer([
            directory("d"),
            file("d/keep", "1"),
            file("d/change", "1"),
            file("d/remove", "1"),
            directory("gone"),
            file("gone/x", "1"),
        ]),
        layer([
            directory("d"),
            file("d/second", "2"),
            entry("d/third", Kind::Hardlink(path("d/second")), 0o644),
        ]),
    ]
}

#[test]
fn what_a_step_writes_on_an_overlay_is_its_layer() {
    let (_directory, snapshots) = snapshots(None);
    if !has_overlay(&snapshots) {
        return;
    }
    let trees = snapshots.ensure_trees(&base_of_step(), &Blobs::default()).unwrap();
    let active = snapshots.prepare(&trees).unwrap();
    let mounted = mount(&active.rootfs());
    let create = |name: &str| {
        let file = rustix::fs::openat(
            &mounted,
            name,
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
            FileMode::RUSR,
        )
        .unwrap();
        rustix::io::write(&file, b"new").unwrap();
    };
    create("d/change");
    create("d/made");
    for (name, flags) in
        [("d/remove", AtFlags::empty()), ("gone/x", AtFlags::empty()), ("gone", AtFlags::REMOVEDIR)]
    {
        rustix::fs::unlinkat(&mounted, name, flags).unwrap();
    }
    drop(mounted);
    let tree = active.commit().unwrap();
    let found = plain(&snapshots.changes(&tree).unwrap());
    let kinds: Vec<(&str, &str)> =
        found.iter().map(|(path, (kind, ..))| (path.as_str(), kind.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("d", "Directory { opaque: false }"),
            ("d/change", "file new"),
            ("d/made", "file new"),
            ("d/remove", "Whiteout"),
            ("gone", "Whiteout")
        ]
    );
    let after = snapshots.view_trees(&[trees, vec![tree]].concat()).unwrap();
    assert_eq!(after.list(&RelPath::root()).unwrap(), [b"d".to_vec()]);
    assert_eq!(after.list(&path("d")).unwrap().len(), 5);
}

#[test]
fn without_overlays_a_step_gets_a_copy_and_the_difference_is_its_layer() {
    let (_directory, snapshots) = snapshots(Some(copying()));
    let trees = snapshots.ensure_trees(&base_of_step(), &Blobs::default()).unwrap();
    let active = snapshots.prepare(&trees).unwrap();
    let Rootfs::Directory(root) = active.rootfs() else { panic!("a copy was asked for") };
    assert_eq!(fs_err::read(root.join("d/third")).unwrap(), b"2");
    fs_err::write(root.join("d/change"), "new").unwrap();
    fs_err::write(root.join("d/made"), "new").unwrap();
    fs_err::remove_file(root.join("d/remove")).unwrap();
    fs_err::remove_dir_all(root.join("gone")).unwrap();
    let tree = active.commit().unwrap();
    let found = plain(&snapshots.changes(&tree).unwrap());
    let kinds: Vec<(&str, &str)> =
        found.iter().map(|(path, (kind, ..))| (path.as_str(), kind.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("d", "Directory { opaque: false }"),
            ("d/change", "file new"),
            ("d/made", "file new"),
            ("d/remove", "Whiteout"),
            ("gone", "Whiteout")
        ]
    );
    let unchanged = snapshots.prepare(&trees).unwrap().commit().unwrap();
    assert!(snapshots.changes(&unchanged).unwrap().is_empty());
}

#[test]
fn a_step_on_nothing_and_what_is_shown_read_only() {
    let (_directory, snapshots) = snapshots(None);
    let active = snapshots.prepare(&[]).unwrap();
    if has_overlay(&snapshots) {
        let mounted = mount(&active.rootfs());
        assert_eq!(seen(&mounted).len(), 0);
        let stat = rustix::fs::fstat(&mounted).unwrap();
        assert_eq!((stat.st_mode & 0o7777, stat.st_uid), (0o755, owners().to_disk(0).unwrap()));
    }
    let trees = snapshots.ensure_trees(&base_of_step()[..1], &Blobs::default()).unwrap();
    let shown = snapshots.mount(&trees, false).unwrap();
    let Rootfs::Directory(root) = shown.rootfs() else { panic!("one tree needs no overlay") };
    assert_eq!(fs_err::read(root.join("d/keep")).unwrap(), b"1");
    drop(snapshots.mount(&[], false).unwrap());
}

#[test]
fn a_layer_that_is_in_a_stack_twice_is_mounted_once() {
    let (_directory, snapshots) = snapshots(None);
    let one = layer([file("f", "1"), file("only", "1")]);
    let layers = [one.clone(), layer([file("f", "2")]), one];
    let trees = snapshots.ensure_trees(&layers, &Blobs::default()).unwrap();
    assert_eq!(snapshots.lowers(&trees).unwrap().len(), 2);
    if has_overlay(&snapshots) {
        let active = snapshots.prepare(&trees).unwrap();
        let shown = plain(&seen(&mount(&active.rootfs())));
        assert_eq!(shown, plain(&snapshots.view_trees(&trees).unwrap().flatten().unwrap()));
    }
}

#[test]
fn very_many_layers_are_stacked_all_the_same() {
    let (_directory, snapshots) = snapshots(None);
    let make = |number: usize| {
        layer([
            file(&format!("f{number}"), "1"),
            entry("last", Kind::File(Content::bytes(number.to_string().into_bytes())), 0o644),
        ])
    };
    // Written side by side: every commit waits for the disk.
    let layers: Vec<Layer> = (0..420).map(make).collect();
    let trees: Vec<TreeId> = layers
        .iter()
        .enumerate()
        .map(|(number, layer)| {
            let id = TreeId(format!("t-{number}"));
            let target = snapshots.store().tree_path(&id.0);
            fs_err::create_dir_all(&target).unwrap();
            let crate::LayerKind::Changes(changes) = layer.kind() else {
                panic!("made as changes")
            };
            write_tree(
                changes,
                &target,
                WriteOptions { owners: owners(), form: TreeForm::Overlay },
            )
            .unwrap();
            id
        })
        .collect();
    let lowers = snapshots.lowers(&trees).unwrap();
    assert_eq!(lowers.len(), 400);
    assert_eq!(fs_err::read(lowers[0].join("last")).unwrap(), b"20");
    assert_eq!(fs_err::read(lowers[0].join("f0")).unwrap(), b"1");
}

fn request(id: &str, sharing: Sharing) -> CacheRequest<'_> {
    CacheRequest { id, sharing, initial: None, mode: 0o755, uid: 0, gid: 0 }
}

#[test]
fn cache_directories_are_shared_kept_apart_or_waited_for() {
    let (directory, snapshots) = snapshots(None);
    let other = Snapshots::new(Store::open(directory.path()).unwrap(), owners());
    let go_on = AtomicBool::new(false);
    let stop = AtomicBool::new(true);
    let first = snapshots.cache_mount(request("../../etc", Sharing::Shared), &go_on).unwrap();
    assert!(first.path().starts_with(directory.path().join("caches")));
    fs_err::write(first.path().join("f"), "kept").unwrap();
    let second = other.cache_mount(request("../../etc", Sharing::Shared), &go_on).unwrap();
    assert_eq!(fs_err::read(second.path().join("f")).unwrap(), b"kept");
    let refused = other.cache_mount(request("../../etc", Sharing::Locked), &stop).unwrap_err();
    assert!(matches!(refused, SnapshotError::Cancelled(_)), "{refused}");
    let private = other.cache_mount(request("../../etc", Sharing::Private), &go_on).unwrap();
    assert_ne!(private.path(), first.path());
    drop((first, second, private));
    let locked = other.cache_mount(request("../../etc", Sharing::Locked), &stop).unwrap();
    assert_eq!(fs_err::read(locked.path().join("f")).unwrap(), b"kept");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            snapshots.cache_mount(request("../../etc", Sharing::Locked), &go_on).map(drop)
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert!(!waiting.is_finished());
        drop(locked);
        waiting.join().unwrap()
    });
    waiting.unwrap();
}

#[test]
fn a_new_cache_starts_with_what_it_is_given() {
    let (_directory, snapshots) = snapshots(None);
    let go_on = AtomicBool::new(false);
    let from = changes([
        directory("seed"),
        entry("seed/sub", Kind::DIRECTORY, 0o700),
        file("seed/sub/f", "1"),
    ]);
    let at = path("seed");
    let request = CacheRequest { initial: Some((&from, &at)), ..request("id", Sharing::Shared) };
    let cache = snapshots.cache_mount(request, &go_on).unwrap();
    assert_eq!(fs_err::read(cache.path().join("sub/f")).unwrap(), b"1");
    fs_err::write(cache.path().join("sub/f"), "2").unwrap();
    drop(cache);
    let cache = snapshots.cache_mount(request, &go_on).unwrap();
    assert_eq!(fs_err::read(cache.path().join("sub/f")).unwrap(), b"2");
}
