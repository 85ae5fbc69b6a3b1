use std::path::Path;
use std::sync::Arc;

use super::{
    changes, directory, entry, file, in_memory, is_root, may_give_away, path, plant, symlink,
};
use crate::{
    Changeset, Content, DirectoryTree, Entry, FileChanged, Kind, Mtime, NoCache, Owners, RelPath,
    Root, Selector, TreeForm, TreeView as _, WriteOptions, content_digest, read_tree, resolve,
    write_tree,
};

/// Every kind of entry, with owners that need translation.
fn everything() -> Changeset {
    let mut tree = changes([
        directory("d"),
        file("d/a", "text"),
        entry("d/b", Kind::Hardlink(path("d/a")), 0o644),
        file("d/empty", ""),
        entry("d/fifo", Kind::Fifo, 0o600),
        entry("d/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666),
        entry("d/disk", Kind::BlockDevice { major: 8, minor: 1 }, 0o660),
        entry("d/gone", Kind::Whiteout, 0),
        entry("d/o", Kind::Directory { opaque: true }, 0o1777),
        entry("d/locked", Kind::DIRECTORY, if is_root() { 0 } else { 0o500 }),
        file("d/locked/in", "x"),
        symlink("d/link", "../else where"),
        file("su", "program"),
    ]);
    let odd = RelPath::new(b"d/\xff\xfe").unwrap();
    tree.insert(Entry { path: odd, ..file("x", "odd") });
    for (name, uid, gid, mode) in [
        ("su", 0, 0, 0o4755),
        ("d/empty", 33, 44, 0o640),
        ("d/o", 33, 0, 0o1777),
        ("d/null", 0, 6, 0o666),
    ] {
        let meta = &mut tree.entries.get_mut(&path(name)).unwrap().meta;
        (meta.uid, meta.gid, meta.mode) = (uid, gid, mode);
    }
    let meta = &mut tree.entries.get_mut(&path("su")).unwrap().meta;
    meta.xattrs.insert(b"user.note".to_vec(), b"a\n\0b".to_vec());
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    meta.xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    tree
}

fn write(tree: &Changeset, directory: &Path, owners: Owners) {
    write_tree(tree, directory, WriteOptions { owners, form: TreeForm::Overlay }).unwrap();
}

#[test]
fn a_tree_comes_back_as_it_was_written() {
    let mut kinds = vec![Owners::Recorded];
    if may_give_away() {
        kinds.extend([Owners::IDENTITY, Owners::Shifted { offset: 100_000, count: 65536 }]);
    }
    for owners in kinds {
        let disk = tempfile::tempdir().unwrap();
        write(&everything(), disk.path(), owners);
        let mut expected = everything();
        // Neither has a place for these: whiteouts have no metadata, links and pipes no user attributes.
        let found = read_tree(disk.path(), owners, TreeForm::Overlay).unwrap();
        expected.entries.get_mut(&path("d/gone")).unwrap().meta =
            found.get(&path("d/gone")).unwrap().meta.clone();
        // A second name has the metadata of the first.
        expected.entries.get_mut(&path("d/b")).unwrap().meta =
            found.get(&path("d/a")).unwrap().meta.clone();
        assert_eq!(in_memory(&found), expected, "{owners:?}");
    }
}

#[test]
fn set_id_files_of_one_user_are_not_set_id_on_disk() {
    let disk = tempfile::tempdir().unwrap();
    write(&everything(), disk.path(), Owners::Recorded);
    let stat = rustix::fs::stat(disk.path().join("su")).unwrap();
    assert_eq!(stat.st_mode & 0o7777, 0o755);
}

#[test]
fn a_view_of_a_directory_hides_what_is_removed() {
    let disk = tempfile::tempdir().unwrap();
    write(&everything(), disk.path(), Owners::Recorded);
    let tree = DirectoryTree::open(disk.path(), Owners::Recorded, TreeForm::Overlay).unwrap();
    assert!(tree.lookup(&path("d/gone")).unwrap().is_none());
    assert!(!tree.list(&path("d")).unwrap().contains(&b"gone".to_vec()));
    assert_eq!(tree.find(&path("d/gone")).unwrap().unwrap().kind, Kind::Whiteout);
    assert_eq!(tree.link(&path("d/a")).unwrap(), tree.link(&path("d/b")).unwrap());
    assert!(tree.link(&path("d/a")).unwrap().is_some());
    assert!(tree.lookup(&path("d/a/x")).unwrap().is_none());
}

#[test]
fn writing_twice_replaces() {
    let disk = tempfile::tempdir().unwrap();
    write(
        &changes([
            directory("a"),
            directory("a/b"),
            file("a/b/c", "1"),
            file("f", "1"),
            symlink("l", "f"),
        ]),
        disk.path(),
        Owners::Recorded,
    );
    write(
        &changes([file("a", "2"), directory("f"), file("l", "3")]),
        disk.path(),
        Owners::Recorded,
    );
    let found = in_memory(&read_tree(disk.path(), Owners::Recorded, TreeForm::Overlay).unwrap());
    assert_eq!(found, changes([file("a", "2"), directory("f"), file("l", "3")]));
}

#[test]
fn writing_never_goes_through_links() {
    let outer = tempfile::tempdir().unwrap();
    plant(outer.path(), &["out/", "in/l -> ../out", "in/f -> ../out/f"]);
    let inside = outer.path().join("in");
    let options = WriteOptions { owners: Owners::Recorded, form: TreeForm::Overlay };
    assert!(write_tree(&changes([file("l/x", "1")]), &inside, options).is_err());
    write_tree(&changes([file("f", "1")]), &inside, options).unwrap();
    assert_eq!(fs_err::read_dir(outer.path().join("out")).unwrap().count(), 0);
}

#[test]
fn a_file_that_changes_is_noticed() {
    let disk = tempfile::tempdir().unwrap();
    plant(disk.path(), &["f=before", "g=x"]);
    let root = Arc::new(Root::open(disk.path()).unwrap());
    let content = Content::disk(&root, &path("f")).unwrap();
    assert_eq!(content.read(100).unwrap(), b"before");
    fs_err::write(disk.path().join("f"), "after!").unwrap();
    assert!(FileChanged::caused(&content.read(100).unwrap_err()));
    let content = Content::disk(&root, &path("g")).unwrap();
    fs_err::remove_file(disk.path().join("g")).unwrap();
    fs_err::os::unix::fs::symlink("f", disk.path().join("g")).unwrap();
    assert!(content.read(100).is_err());
}

#[test]
fn content_digests_ignore_times_and_the_kind_of_view() {
    let digest = |view: &dyn crate::TreeView, selector: Selector| {
        content_digest(view, &[selector], &NoCache).unwrap()
    };
    let mut tree = everything();
    tree.entries.remove(&path("d/gone"));
    tree.entries.get_mut(&path("d/o")).unwrap().kind = Kind::DIRECTORY;
    let disk = tempfile::tempdir().unwrap();
    write(&tree, disk.path(), Owners::Recorded);
    let on_disk = DirectoryTree::open(disk.path(), Owners::Recorded, TreeForm::Overlay).unwrap();
    let part = || Selector { path: b"/d".to_vec(), ..Selector::default() };
    assert_eq!(digest(&tree, part()), digest(&on_disk, part()));

    let mut later = tree.clone();
    later.entries.get_mut(&path("d/a")).unwrap().meta.mtime = Mtime::seconds(1);
    later.entries.get_mut(&path("su")).unwrap().meta.mode = 0o700;
    assert_eq!(digest(&tree, part()), digest(&later, part()));
    later.entries.get_mut(&path("d/a")).unwrap().meta.mode = 0o600;
    assert_ne!(digest(&tree, part()), digest(&later, part()));
    let without = || Selector { exclude: vec!["a".to_owned(), "b".to_owned()], ..part() };
    assert_eq!(digest(&tree, without()), digest(&later, without()));
    let missing = Selector { path: b"/none".to_vec(), ..Selector::default() };
    assert_eq!(
        content_digest(&tree, &[missing], &NoCache).unwrap_err().to_string(),
        "\"/none\": not found"
    );
}

#[test]
fn an_included_file_counts_with_the_directories_above_it() {
    let tree = changes([
        directory("a"),
        directory("a/b"),
        file("a/b/c", "1"),
        directory("a/x"),
        file("a/x/y", "1"),
    ]);
    let select =
        |include: &str| Selector { include: vec![include.to_owned()], ..Selector::default() };
    let digest =
        |tree: &Changeset, include| content_digest(tree, &[select(include)], &NoCache).unwrap();
    let before = digest(&tree, "a/b/c");
    let mut other = tree;
    other.entries.get_mut(&path("a/x/y")).unwrap().meta.mode = 0;
    other.entries.get_mut(&path("a/x")).unwrap().meta.mode = 0;
    assert_eq!(before, digest(&other, "a/b/c"));
    other.entries.get_mut(&path("a/b")).unwrap().meta.mode = 0;
    assert_ne!(before, digest(&other, "a/b/c"));
}

#[test]
fn links_resolve_beneath_the_root_of_a_view() {
    let tree = changes([
        directory("a"),
        symlink("a/up", "../../b"),
        directory("b"),
        file("b/f", "1"),
        symlink("abs", "/a/up"),
        symlink("loop", "loop"),
        symlink("new", "b/made"),
    ]);
    let at = |text: &str| resolve(&tree, &path(text), true).map(|path| path.to_string());
    assert_eq!(at("a/up/f").unwrap(), "b/f");
    assert_eq!(at("abs/f").unwrap(), "b/f");
    assert_eq!(at("new/x").unwrap(), "b/made/x");
    assert_eq!(resolve(&tree, &path("abs"), false).unwrap().to_string(), "abs");
    assert!(at("loop").is_err());
}

#[test]
fn children_are_listed_without_walking_what_is_beneath() {
    let tree = changes([
        directory("a"),
        file("a/x", ""),
        file("a/y/z", ""),
        file("a-b", ""),
        file("a\u{1}", ""),
        file("b", ""),
    ]);
    assert_eq!(
        tree.list(&RelPath::root()).unwrap(),
        [b"a".to_vec(), b"a\x01".to_vec(), b"a-b".to_vec(), b"b".to_vec()]
    );
    assert_eq!(tree.list(&path("a")).unwrap(), [b"x".to_vec()]);
}

#[test]
fn a_large_directory_is_walked_whole_and_in_order() {
    let disk = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for number in 0..60 {
        names.push(format!("d{number}/e{number}/f=x"));
        names.push(format!("d{number}/g"));
    }
    plant(disk.path(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    let first = read_tree(disk.path(), Owners::Recorded, TreeForm::Plain).unwrap();
    assert_eq!(first.len(), 60 * 4);
    assert_eq!(first, read_tree(disk.path(), Owners::Recorded, TreeForm::Plain).unwrap());
}

#[test]
fn a_large_tree_is_written_whole() {
    let mut tree = Changeset::new();
    for number in 0..700 {
        let parent = format!("d{}/e{}", number % 7, number % 35);
        tree.insert(directory(&format!("d{}", number % 7)));
        tree.insert(entry(&parent, Kind::DIRECTORY, 0o711));
        tree.insert(file(&format!("{parent}/f{number}"), &number.to_string()));
    }
    tree.insert(entry("z", Kind::Hardlink(path("d0/e0/f0")), 0o644));
    let disk = tempfile::tempdir().unwrap();
    write(&tree, disk.path(), Owners::Recorded);
    assert_eq!(
        in_memory(&read_tree(disk.path(), Owners::Recorded, TreeForm::Overlay).unwrap()),
        tree
    );

    // Directories that nothing says anything of are made.
    tree.entries.retain(|_, entry| !entry.kind.is_directory());
    let disk = tempfile::tempdir().unwrap();
    write(&tree, disk.path(), Owners::Recorded);
    let found = read_tree(disk.path(), Owners::Recorded, TreeForm::Overlay).unwrap();
    assert_eq!(found.get(&path("d0/e0")).unwrap().meta.mode, 0o755);
    assert_eq!(found.iter().filter(|entry| !entry.kind.is_directory()).count(), 701);

    tree.insert(entry("broken", Kind::Hardlink(path("none")), 0o644));
    let disk = tempfile::tempdir().unwrap();
    let options = WriteOptions { owners: Owners::Recorded, form: TreeForm::Overlay };
    assert!(write_tree(&tree, disk.path(), options).is_err());
}
