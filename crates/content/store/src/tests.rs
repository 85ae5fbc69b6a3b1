use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use blobs::{BlobReader as _, BlobWriter as _, read_verified};

use oci::{Descriptor, Digest, Index, Manifest, media_type};
use tempfile::TempDir;

use super::*;

fn fresh() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    (dir, store)
}

fn put_blob(store: &Store, blob: &Descriptor, mut content: &[u8]) -> Result<(), blobs::BlobError> {
    blobs::BlobWriter::put(store, blob, &mut content)
}

/// Stores an image with one config and one layer.
fn image(store: &Store, layer: &[u8]) -> (Descriptor, Vec<Digest>) {
    let config = Descriptor::of(media_type::OCI_CONFIG, layer);
    let config = Descriptor {
        digest: store.put_bytes(&[layer, b"config"].concat()).unwrap(),
        size: layer.len() as u64 + 6,
        ..config
    };
    let blob = Descriptor::of(media_type::OCI_LAYER, layer);
    store.put_bytes(layer).unwrap();
    let manifest = serde_json::to_vec(&Manifest::new(config.clone(), vec![blob.clone()])).unwrap();
    let digest = store.put_bytes(&manifest).unwrap();
    let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    assert_eq!(digest, descriptor.digest);
    (descriptor, vec![digest, config.digest, blob.digest])
}

fn tree(store: &Store, id: &str, files: &[(&str, &str)]) {
    let tree = store.new_tree().unwrap();
    for (name, text) in files {
        fs_err::write(tree.path().join(name), text).unwrap();
    }
    tree.commit(id).unwrap();
}

#[test]
fn a_blob_is_written_read_and_found_again_by_another_process() {
    let (dir, store) = fresh();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"hello ").unwrap();
    writer.write_all(b"world").unwrap();
    assert_eq!(writer.size(), 11);
    let (digest, size) = writer.commit(None).unwrap();
    assert_eq!((digest.clone(), size), (Digest::of(b"hello world"), 11));

    let other = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!(other.blob_size(&digest), Some(11));
    let blob = Descriptor::of("x", b"hello world");
    assert_eq!(read_verified(&other, &blob, 100).unwrap(), b"hello world");
    assert!(other.has(&blob).unwrap());
    assert!(!other.has(&Descriptor { size: 4, ..blob }).unwrap());
    assert!(matches!(other.open_blob(&Digest::of(b"?")), Err(StoreError::MissingBlob(_))));
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn a_wrong_or_abandoned_blob_leaves_nothing() {
    let (_dir, store) = fresh();
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"hellO").unwrap();
    let expected = Digest::of(b"hello");
    assert!(matches!(writer.commit(Some(&expected)), Err(StoreError::Mismatch { size: 5, .. })));
    let mut writer = store.blob_writer().unwrap();
    writer.write_all(b"hello").unwrap();
    drop(writer);
    let blob = Descriptor::of("x", b"hello");
    assert!(matches!(put_blob(&store, &blob, b"hello!"), Err(blobs::BlobError::Mismatch { .. })));
    assert!(matches!(put_blob(&store, &blob, b"hell"), Err(blobs::BlobError::Mismatch { .. })));
    assert!(matches!(store.open(&blob), Err(blobs::BlobError::Missing(_))));
    assert!(collect::list(&store.dir().join("blobs/sha256")).unwrap().is_empty());
    put_blob(&store, &blob, b"hello").unwrap();
    assert_eq!(store.blob_size(&blob.digest), Some(5));
}

#[test]
fn a_sha512_blob_is_kept_under_its_own_algorithm() {
    let (_dir, store) = fresh();
    let mut digester = oci::Digester::like(&format!("sha512:{}", "0".repeat(128)).parse().unwrap());
    digester.update(b"hello");
    let digest = digester.finish();
    let blob = Descriptor::new("x", digest.clone(), 5);
    put_blob(&store, &blob, b"hello").unwrap();
    assert!(store.blob_path(&digest).starts_with(store.dir().join("blobs/sha512")));
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn a_download_goes_on_where_it_ended() {
    let (dir, store) = fresh();
    let digest = Digest::of(b"0123456789");
    let mut partial = store.partial(&digest).unwrap();
    assert_eq!((partial.offset(), partial.is_complete()), (0, false));
    partial.write_all(b"0123").unwrap();
    drop(partial);

    let other = Store::open(&dir.path().join("store")).unwrap();
    let mut partial = other.partial(&digest).unwrap();
    assert_eq!(partial.offset(), 4);
    partial.write_all(b"456789").unwrap();
    assert_eq!(partial.commit().unwrap(), (digest.clone(), 10));
    assert!(store.partial(&digest).unwrap().is_complete());
    assert!(collect::list(&store.dir().join("partial")).unwrap().is_empty());

    let wrong = Digest::of(b"other");
    let mut partial = store.partial(&wrong).unwrap();
    partial.write_all(b"nonsense").unwrap();
    assert!(matches!(partial.commit(), Err(StoreError::Mismatch { .. })));
    let mut partial = store.partial(&wrong).unwrap();
    assert_eq!(partial.offset(), 0);
    partial.write_all(b"otter").unwrap();
    partial.restart().unwrap();
    partial.write_all(b"other").unwrap();
    partial.commit().unwrap();
    assert_eq!(store.verify().unwrap(), []);
}

#[test]
fn two_downloads_of_one_blob_do_the_work_once() {
    let (_dir, store) = fresh();
    let digest = Digest::of(b"hello");
    let mut first = store.partial(&digest).unwrap();
    let second =
        std::thread::spawn(move || store.partial(&Digest::of(b"hello")).unwrap().is_complete());
    first.write_all(b"hello").unwrap();
    std::thread::sleep(Duration::from_millis(60));
    first.commit().unwrap();
    assert!(second.join().unwrap());
}

#[test]
fn a_tree_appears_whole_and_the_first_of_two_stays() {
    let (_dir, store) = fresh();
    assert!(!store.has_tree("t-1"));
    let (first, second) = (store.new_tree().unwrap(), store.new_tree().unwrap());
    fs_err::write(first.path().join("a"), "first").unwrap();
    fs_err::write(second.path().join("a"), "second").unwrap();
    first.commit("t-1").unwrap();
    second.commit_sized("t-1", 6).unwrap();
    assert!(store.has_tree("t-1"));
    assert_eq!(fs_err::read_to_string(store.tree_path("t-1").join("a")).unwrap(), "first");
    for bad in ["", "..", "a/b", ".a", "-a", &"a".repeat(201)] {
        assert!(
            matches!(store.new_tree().unwrap().commit(bad), Err(StoreError::InvalidId(_))),
            "{bad}"
        );
    }
    let abandoned = store.new_tree().unwrap();
    let path = abandoned.path().to_owned();
    drop(abandoned);
    assert!(!path.exists());
    assert_eq!(store.verify().unwrap(), []);
    store.remove_tree("t-1").unwrap();
    assert!(!store.has_tree("t-1"));
}

#[test]
fn names_move_and_are_listed_in_order() {
    let (_dir, store) = fresh();
    let (a, _) = image(&store, b"a");
    let (b, _) = image(&store, b"b");
    store.tag("docker.io/library/y:1", &a).unwrap();
    store
        .tag_all(&[
            ("docker.io/library/x:1".into(), a.clone()),
            ("docker.io/library/y:1".into(), b.clone()),
        ])
        .unwrap();
    let names: Vec<_> =
        store.names().unwrap().into_iter().map(|entry| (entry.name, entry.descriptor)).collect();
    assert_eq!(
        names,
        [
            ("docker.io/library/x:1".to_owned(), a.clone()),
            ("docker.io/library/y:1".to_owned(), b.clone())
        ]
    );
    assert_eq!(store.lookup("docker.io/library/x:1").unwrap(), Some(a));
    assert!(store.untag("docker.io/library/x:1").unwrap());
    assert!(!store.untag("docker.io/library/x:1").unwrap());
    assert_eq!(store.lookup("docker.io/library/x:1").unwrap(), None);
    let tagged = store.names().unwrap()[0].tagged_ms;
    std::thread::sleep(Duration::from_millis(3));
    store.tag("docker.io/library/y:1", &b).unwrap();
    assert_eq!(store.names().unwrap()[0].tagged_ms, tagged, "the same again is no change");
    let absent = Descriptor::of(media_type::OCI_MANIFEST, b"absent");
    assert!(matches!(store.tag("z", &absent), Err(StoreError::MissingBlob(_))));
}

#[test]
fn records_and_facts_are_read_back() {
    let (_dir, store) = fresh();
    let blob = store.put_bytes(b"layer").unwrap();
    store.put("step", "key", b"value", &[Ref::Blob(blob.clone())]).unwrap();
    assert_eq!(store.get("step", "key").unwrap().as_deref(), Some(b"value".as_slice()));
    assert_eq!(store.get("step", "other").unwrap(), None);
    let missing = store.put("step", "bad", b"", &[Ref::Tree("t-none".into())]);
    assert!(matches!(missing, Err(StoreError::MissingTree(_))));
    store.put_many(&[Record { namespace: "step", key: "kez", value: b"", refs: &[] }]).unwrap();
    assert_eq!(store.keys("step", "ke").unwrap(), ["key", "kez"]);
    assert!(store.forget("step", "kez").unwrap());
    assert!(!store.forget("step", "kez").unwrap());

    let diff_id = Digest::of(b"tar");
    let layer = LayerBlob {
        digest: blob.clone(),
        size: 5,
        media_type: media_type::OCI_LAYER_GZIP.into(),
        diff_id: diff_id.clone(),
        form: "linux".into(),
        compression: "gzip:6".into(),
        annotations: BTreeMap::from([("a".into(), "b".into())]),
    };
    store.record_layer_blob(&layer).unwrap();
    assert_eq!(store.layer_blobs(&diff_id).unwrap(), std::slice::from_ref(&layer));
    assert_eq!(store.layer_blob(&blob).unwrap(), Some(layer));
    assert_eq!(store.diff_id_of(&blob).unwrap(), Some(diff_id));
    store.record_location(&blob, "localhost:5000/a").unwrap();
    assert_eq!(store.locations(&blob).unwrap(), ["localhost:5000/a"]);
    let id = store.record_build("{}").unwrap();
    assert_eq!(store.builds().unwrap().iter().map(|build| build.id).collect::<Vec<_>>(), [id]);
}

#[test]
fn a_file_digest_holds_until_the_file_changes() {
    let (_dir, store) = fresh();
    let file = FileKey { device: u64::MAX, inode: 7, size: 3, mtime_ns: -5, ctime_ns: 5 };
    let digest = Digest::of(b"abc");
    let now = FileKey { inode: 8, mtime_ns: now_ms() * 1_000_000 + 1, ..file };
    store.put_file_digests(&[(file, digest.clone()), (now, digest.clone())]).unwrap();
    let changed = FileKey { ctime_ns: 6, ..file };
    assert_eq!(store.file_digests(&[file, changed, now]).unwrap(), [Some(digest), None, None]);
}

#[test]
fn a_plain_prune_keeps_what_anything_needs() {
    let (_dir, store) = fresh();
    let (named, named_blobs) = image(&store, b"named");
    let index = serde_json::to_vec(&Index::new(vec![named])).unwrap();
    let index_digest = store.put_bytes(&index).unwrap();
    store.tag("n", &Descriptor::of(media_type::OCI_INDEX, &index)).unwrap();
    let (kept, kept_blobs) = image(&store, b"kept by a record");
    tree(&store, "t-kept", &[("a", "a")]);
    tree(&store, "t-loose", &[("a", "a")]);
    store.put("step", "key", b"", &[Ref::Image(kept.digest), Ref::Tree("t-kept".into())]).unwrap();
    let loose = store.put_bytes(b"loose").unwrap();

    let pruned = store.prune(&PruneOptions::default()).unwrap();
    let gone: Vec<_> = pruned.entries.into_iter().map(|entry| entry.id).collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert!(
        !store.has_tree("t-loose") && store.blob_size(&loose).is_none() && store.has_tree("t-kept")
    );
    for digest in named_blobs.iter().chain(&kept_blobs).chain([&index_digest]) {
        assert!(store.blob_size(digest).is_some(), "{digest}");
    }

    let pruned = store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert_eq!(pruned.problems, Vec::<String>::new());
    assert!(store.get("step", "key").unwrap().is_none() && !store.has_tree("t-kept"));
    assert!(kept_blobs.iter().all(|digest| store.blob_size(digest).is_none()));
    assert!(named_blobs.iter().all(|digest| store.blob_size(digest).is_some()));
    assert_eq!(store.verify().unwrap(), []);
    store.untag("n").unwrap();
    store.prune(&PruneOptions::default()).unwrap();
    assert_eq!(store.usage().unwrap().entries, []);
}

#[test]
fn a_lease_protects_what_is_read_written_and_named_under_it() {
    let (dir, store) = fresh();
    let read = store.put_bytes(b"read").unwrap();
    let (read_image, image_blobs) = image(&store, b"image");
    store.tag("n", &read_image).unwrap();
    tree(&store, "t-ref", &[]);
    store.put("step", "key", b"", &[Ref::Tree("t-ref".into())]).unwrap();

    let other = Store::open(&dir.path().join("store")).unwrap();
    let everything = PruneOptions { all: true, ..PruneOptions::default() };
    let lease = store.lease().unwrap();
    assert!(store.blob_size(&read).is_some());
    assert!(store.get("step", "key").unwrap().is_some());
    assert!(store.lookup("n").unwrap().is_some());
    let written = store.put_bytes(b"written").unwrap();
    store.cache_directory("c1").unwrap();
    other.untag("n").unwrap();
    let pruned = other.prune(&everything).unwrap();
    assert_eq!(pruned.entries, []);
    for digest in image_blobs.iter().chain([&read, &written]) {
        assert!(store.blob_size(digest).is_some());
    }
    assert!(store.has_tree("t-ref"));

    drop(lease);
    other.prune(&everything).unwrap();
    assert_eq!(other.usage().unwrap().entries, []);
    assert_eq!(other.verify().unwrap(), []);
}

#[test]
fn pruning_by_size_takes_the_longest_unused_first() {
    let (_dir, store) = fresh();
    let old = store.put_bytes(&[1; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    let new = store.put_bytes(&[2; 1000]).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    {
        let _lease = store.lease().unwrap();
        store.open_blob(&old).unwrap();
    }
    store.prune(&PruneOptions { keep_bytes: Some(1500), ..PruneOptions::default() }).unwrap();
    assert_eq!((store.blob_size(&old), store.blob_size(&new)), (Some(1000), None));
    store
        .prune(&PruneOptions {
            older_than: Some(Duration::from_mins(1)),
            ..PruneOptions::default()
        })
        .unwrap();
    assert_eq!(store.blob_size(&old), Some(1000));
    std::thread::sleep(Duration::from_millis(5));
    store
        .prune(&PruneOptions {
            older_than: Some(Duration::from_millis(1)),
            ..PruneOptions::default()
        })
        .unwrap();
    assert_eq!(store.blob_size(&old), None);
}

#[test]
fn damage_is_found_and_put_aside() {
    let (_dir, store) = fresh();
    let (good, bad, lost) = (
        store.put_bytes(b"good").unwrap(),
        store.put_bytes(b"bad").unwrap(),
        store.put_bytes(b"lost").unwrap(),
    );
    tree(&store, "t-lost", &[]);
    store.put("step", "key", b"", &[Ref::Blob(lost.clone())]).unwrap();
    fs_err::write(store.blob_path(&bad), b"BAD").unwrap();
    fs_err::remove_file(store.blob_path(&lost)).unwrap();
    fs_err::remove_dir(store.tree_path("t-lost")).unwrap();
    fs_err::write(store.dir().join("blobs/sha256/stray"), b"").unwrap();
    let found = store.verify().unwrap();
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found.contains(&Damage::Content { expected: bad.clone(), found: Digest::of(b"BAD") }));
    assert!(
        found.contains(&Damage::LostBlob(lost))
            && found.contains(&Damage::LostTree("t-lost".into()))
    );

    store.quarantine(&bad).unwrap();
    assert_eq!(store.blob_size(&bad), None);
    assert_eq!(collect::list(&store.dir().join("quarantine")).unwrap().len(), 1);
    store.put_bytes(b"bad").unwrap();
    assert_eq!(store.verify().unwrap().len(), 4);
    assert_eq!(store.blob_size(&good), Some(4));
}

#[test]
fn a_file_whose_row_was_lost_is_no_damage() {
    let (_dir, store) = fresh();
    let digest = Digest::of(b"orphan");
    fs_err::write(store.blob_path(&digest), b"orphan").unwrap();
    fs_err::create_dir(store.tree_path("t-orphan")).unwrap();
    assert_eq!(store.verify().unwrap(), []);
    assert_eq!(store.usage().unwrap().entries.len(), 2);
    store.prune(&PruneOptions::default()).unwrap();
    assert_eq!(store.usage().unwrap().entries, []);
}

#[test]
fn leftovers_of_a_dead_process_are_swept_and_those_of_a_living_one_are_not() {
    let (dir, store) = fresh();
    let alive = store.new_tree().unwrap();
    let tmp = store.dir().join("tmp/12345-dead/0/deep");
    fs_err::create_dir_all(&tmp).unwrap();
    fs_err::write(store.dir().join("leases/12345-dead"), "\"nonsense\"\n").unwrap();
    let other = Store::open(&dir.path().join("store")).unwrap();
    assert_eq!(other.sweep().unwrap(), 1);
    assert!(
        !store.dir().join("tmp/12345-dead").exists()
            && !store.dir().join("leases/12345-dead").exists()
    );
    assert!(alive.path().exists());
}

#[test]
fn a_hostile_tree_is_removed_and_nothing_outside_of_it() {
    let (dir, store) = fresh();
    let canary = dir.path().join("canary");
    fs_err::create_dir(&canary).unwrap();
    fs_err::write(canary.join("file"), "alive").unwrap();
    let tree = store.new_tree().unwrap();
    std::os::unix::fs::symlink(&canary, tree.path().join("link")).unwrap();
    std::os::unix::fs::symlink("..", tree.path().join("up")).unwrap();
    fs_err::create_dir(tree.path().join("closed")).unwrap();
    fs_err::write(tree.path().join("closed/file"), "").unwrap();
    fs_err::create_dir(tree.path().join("closed/sealed")).unwrap();
    for path in ["closed/sealed", "closed"] {
        fs_err::set_permissions(tree.path().join(path), std::fs::Permissions::from_mode(0o0))
            .unwrap();
    }
    // A chain far deeper than any path may be long, made through handles.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let mut at = rustix::fs::open(tree.path(), flags, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..600 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    tree.commit("t-hostile").unwrap();
    store.remove_tree("t-hostile").unwrap();
    assert!(!store.has_tree("t-hostile"));
    assert_eq!(fs_err::read_to_string(canary.join("file")).unwrap(), "alive");
    let session = collect::list(&store.dir().join("tmp")).unwrap();
    assert_eq!(session.len(), 1);
    assert!(collect::list(&store.dir().join("tmp").join(&session[0])).unwrap().is_empty());
}

#[test]
fn a_newer_layout_is_refused() {
    let (dir, store) = fresh();
    store.put("a", "b", b"", &[]).unwrap();
    drop(store);
    let path = dir.path().join("store");
    let connection = rusqlite::Connection::open(path.join("store.db")).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let error = Store::open(&path).unwrap().get("a", "b").unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 999, .. }), "{error}");
}

#[test]
fn network_file_systems_are_recognised() {
    assert_eq!(network_name(0x6969), Some("NFS"));
    assert_eq!(network_name(i64::from(0xFF53_4D42_u32.cast_signed())), Some("CIFS"));
    assert_eq!(network_name(0xEF53), None);
}

#[test]
fn opening_and_a_first_lookup_take_little_time() {
    let (dir, store) = fresh();
    for number in 0..200 {
        store.put("step", &number.to_string(), b"value", &[]).unwrap();
    }
    drop(store);
    let best = (0..10).map(|_| {
        let begin = Instant::now();
        let store = Store::open(&dir.path().join("store")).unwrap();
        assert!(store.get("step", "100").unwrap().is_some());
        begin.elapsed()
    });
    let best = best.min().unwrap();
    println!("open and first lookup: {best:?}");
    assert!(best < Duration::from_millis(10), "{best:?}");
}

#[test]
fn many_threads_share_one_store() {
    let (_dir, store) = fresh();
    let _lease = store.lease().unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4_u8 {
            let store = store.clone();
            scope.spawn(move || {
                for number in 0..10_u8 {
                    let digest = store.put_bytes(&[number; 100]).unwrap();
                    tree(&store, &format!("t-{number}"), &[("f", "x")]);
                    let refs = [Ref::Blob(digest), Ref::Tree(format!("t-{number}"))];
                    store.put("step", &format!("{worker}-{number}"), b"", &refs).unwrap();
                    if number == 5 {
                        store
                            .prune(&PruneOptions { all: true, ..PruneOptions::default() })
                            .unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(store.verify().unwrap(), []);
    assert_eq!(store.keys("step", "").unwrap().len(), 40);
}

#[test]
fn logs_go_when_they_are_old_or_everything_goes() {
    let (_dir, store) = fresh();
    let logs = store.dir().join("logs");
    fs_err::create_dir(&logs).unwrap();
    fs_err::write(logs.join("build.log"), "text").unwrap();
    store.prune(&PruneOptions::default()).unwrap();
    assert!(logs.join("build.log").exists());
    store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
    assert!(!logs.join("build.log").exists());
}
