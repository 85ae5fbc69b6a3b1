use std::sync::Arc;

use super::{changes, directory, entry, file, listing, path, symlink, view};
use crate::fileop::{
    Action, Copy, Edit, Id, MakeDirectory, MakeFile, ModeChange, Owner, Remove, Surroundings,
    Symlink, Unpack,
};
use crate::{Changeset, Content, Entry, Kind, Mtime, TreeError, TreeView};

const NOW: Surroundings<'static> = Surroundings { now: Mtime::seconds(7), unpack: None };

/// A copy as the Dockerfile frontend asks for it.
fn copy(source: &str, destination: &str) -> Copy {
    Copy {
        source: source.as_bytes().to_vec(),
        destination: destination.as_bytes().to_vec(),
        follow_symlink: true,
        directory_contents: true,
        create_destination: true,
        wildcard: true,
        empty_wildcard: true,
        ..Copy::default()
    }
}

fn run(
    base: &Arc<dyn TreeView>,
    source: &Arc<dyn TreeView>,
    actions: Vec<Action>,
) -> Result<Changeset, TreeError> {
    let mut edit = Edit::new(Arc::clone(base));
    for action in actions {
        edit.apply(&action, Some(&**source), NOW)?;
    }
    Ok(edit.finish())
}

fn copied(base: &Arc<dyn TreeView>, source: &Arc<dyn TreeView>, copy: Copy) -> Vec<String> {
    listing(&run(base, source, vec![Action::Copy(copy)]).unwrap())
}

fn scratch() -> Arc<dyn TreeView> {
    view([])
}

fn context() -> Arc<dyn TreeView> {
    view([
        file("f", "1"),
        directory("d"),
        file("d/x.go", "x"),
        file("d/y.txt", "y"),
        entry("d/e", Kind::DIRECTORY, 0o700),
        file("d/e/z.go", "z"),
        symlink("l", "d/e"),
        symlink("lf", "f"),
        symlink("d/in", "x.go"),
    ])
}

#[test]
fn a_file_to_a_name_a_directory_or_an_existing_directory() {
    assert_eq!(copied(&scratch(), &context(), copy("/f", "/g")), ["g 644 0:0 1"]);
    assert_eq!(
        copied(&scratch(), &context(), copy("/f", "/a/b/")),
        ["a/ 755 0:0", "a/b/ 755 0:0", "a/b/f 644 0:0 1"]
    );
    assert_eq!(copied(&scratch(), &context(), copy("/f", "/a/b")), ["a/ 755 0:0", "a/b 644 0:0 1"]);
    let base = view([entry("bin", Kind::DIRECTORY, 0o711)]);
    assert_eq!(copied(&base, &context(), copy("/f", "/bin")), ["bin/ 711 0:0", "bin/f 644 0:0 1"]);
    assert_eq!(copied(&scratch(), &context(), copy("/f", "/")), ["f 644 0:0 1"]);
}

#[test]
fn of_a_directory_the_content_is_copied() {
    let all = [
        "a/ 755 0:0",
        "a/e/ 700 0:0",
        "a/e/z.go 644 0:0 z",
        "a/in -> x.go",
        "a/x.go 644 0:0 x",
        "a/y.txt 644 0:0 y",
    ];
    assert_eq!(copied(&scratch(), &context(), copy("/d", "/a")), all);
    assert_eq!(copied(&scratch(), &context(), copy("/d/", "/a/")), all);
    let whole = Copy { directory_contents: false, ..copy("/d/e", "/a/") };
    assert_eq!(
        copied(&scratch(), &context(), whole),
        ["a/ 755 0:0", "a/e/ 700 0:0", "a/e/z.go 644 0:0 z"]
    );
}

#[test]
fn directories_that_are_there_get_the_metadata_of_those_copied_but_not_the_first() {
    let base = view([
        entry("a", Kind::DIRECTORY, 0o711),
        entry("a/e", Kind::DIRECTORY, 0o711),
        file("a/e/old", "o"),
    ]);
    let found = run(&base, &context(), vec![Action::Copy(copy("/d", "/a"))]).unwrap();
    assert_eq!(found.get(&path("a")).unwrap().meta.mode, 0o711);
    assert_eq!(found.get(&path("a")).unwrap().meta.mtime, directory("d").meta.mtime);
    assert_eq!(found.get(&path("a/e")).unwrap().meta.mode, 0o700);
    assert!(found.get(&path("a/e/old")).is_none());
}

#[test]
fn links_are_followed_at_the_source_and_kept_in_it() {
    assert_eq!(
        copied(&scratch(), &context(), copy("/lf", "/a/")),
        ["a/ 755 0:0", "a/lf 644 0:0 1"]
    );
    assert_eq!(
        copied(&scratch(), &context(), copy("/l", "/a")),
        ["a/ 755 0:0", "a/z.go 644 0:0 z"]
    );
    assert_eq!(copied(&scratch(), &context(), copy("/l/z.go", "/")), ["z.go 644 0:0 z"]);
    let literal = Copy { follow_symlink: false, ..copy("/lf", "/") };
    assert_eq!(copied(&scratch(), &context(), literal), ["lf -> f"]);
}

#[test]
fn wildcards_copy_several() {
    assert_eq!(
        copied(&scratch(), &context(), copy("/d/*.*", "/o/")),
        ["o/ 755 0:0", "o/x.go 644 0:0 x", "o/y.txt 644 0:0 y"]
    );
    assert_eq!(
        copied(&scratch(), &context(), copy("/*/e", "/o/")),
        ["o/ 755 0:0", "o/z.go 644 0:0 z"]
    );
    assert_eq!(copied(&scratch(), &context(), copy("/none*", "/o/")), [""; 0]);
    let strict = Copy { empty_wildcard: false, ..copy("/none*", "/o/") };
    assert!(run(&scratch(), &context(), vec![Action::Copy(strict)]).is_err());
}

#[test]
fn a_missing_source_is_named_with_what_may_have_been_meant() {
    let error = |source: &str| {
        run(&scratch(), &context(), vec![Action::Copy(copy(source, "/"))]).unwrap_err().to_string()
    };
    assert_eq!(error("/none"), "\"/none\": not found");
    assert_eq!(error("/d/X.goo"), "\"/d/X.goo\": not found, did you mean \"/d/x.go\"?");
    assert_eq!(error("/none/*"), "\"/none/*\": not found");
}

#[test]
fn parents_are_copied_around_what_is_included() {
    let parents = Copy { include: vec!["d/e/*.go".to_owned()], ..copy("/", "/o/") };
    assert_eq!(
        copied(&scratch(), &context(), parents),
        ["o/ 755 0:0", "o/d/ 755 0:0", "o/d/e/ 700 0:0", "o/d/e/z.go 644 0:0 z"]
    );
    let pivot = Copy {
        include: vec!["e/z.go".to_owned()],
        required: vec![b"/d/e/z.go".to_vec()],
        ..copy("/d", "/o/")
    };
    assert_eq!(
        copied(&scratch(), &context(), pivot),
        ["o/ 755 0:0", "o/e/ 700 0:0", "o/e/z.go 644 0:0 z"]
    );
    let required = Copy {
        required: vec![b"/d/none".to_vec()],
        include: vec!["none".to_owned()],
        ..copy("/d", "/o/")
    };
    assert_eq!(
        run(&scratch(), &context(), vec![Action::Copy(required)]).unwrap_err().to_string(),
        "\"/d/none\": not found"
    );
}

#[test]
fn what_is_excluded_stays_out() {
    let exclude = |patterns: &[&str]| Copy {
        exclude: patterns.iter().map(|p| (*p).to_owned()).collect(),
        ..copy("/d", "/o")
    };
    assert_eq!(
        copied(&scratch(), &context(), exclude(&["**/*.go", "in"])),
        ["o/ 755 0:0", "o/e/ 700 0:0", "o/y.txt 644 0:0 y"]
    );
    let back = exclude(&["*", "!e/z.go"]);
    assert_eq!(
        copied(&scratch(), &context(), back),
        ["o/ 755 0:0", "o/e/ 700 0:0", "o/e/z.go 644 0:0 z"]
    );
}

#[test]
fn owners_by_name_come_from_the_base() {
    let base = view([
        directory("etc"),
        file("etc/passwd", "root:x:0:0::/:/sh\nweb:x:33:34::/:/sh\n"),
        symlink("etc/group", "/etc/groups"),
        file("etc/groups", "web:x:35:\n"),
    ]);
    let owned = |user: Option<Id>, group: Option<Id>| Copy {
        owner: Some(Owner { user, group, names: None }),
        ..copy("/f", "/o/")
    };
    let name = |text: &str| Some(Id::Name(text.to_owned()));
    assert_eq!(
        copied(&base, &context(), owned(name("web"), None)),
        ["o/ 755 33:34", "o/f 644 33:34 1"]
    );
    assert_eq!(copied(&base, &context(), owned(name("web"), name("web")))[1], "o/f 644 33:35 1");
    assert_eq!(copied(&base, &context(), owned(Some(Id::Number(5)), None))[1], "o/f 644 5:5 1");
    assert_eq!(copied(&base, &context(), owned(name("nobody"), None))[1], "o/f 644 0:0 1");
}

#[test]
fn modes_apply_to_all_that_is_copied() {
    let octal = Copy { mode: Some(ModeChange::Bits(0o4750)), ..copy("/d", "/o") };
    let found = copied(&scratch(), &context(), octal);
    assert_eq!(found[..3], ["o/ 750 0:0", "o/e/ 4750 0:0", "o/e/z.go 4750 0:0 z"]);
    let symbolic = Copy { mode: Some(ModeChange::parse("u=rwX,go=").unwrap()), ..copy("/d", "/o") };
    let found = copied(&scratch(), &context(), symbolic);
    assert_eq!(found[..3], ["o/ 755 0:0", "o/e/ 700 0:0", "o/e/z.go 600 0:0 z"]);
}

#[test]
fn links_of_the_base_are_resolved_in_its_root() {
    let base = view([
        symlink("dst", "/"),
        symlink("out", "../../../etc"),
        directory("real"),
        symlink("r", "real"),
        symlink("f", "/else/f"),
    ]);
    assert_eq!(copied(&base, &context(), copy("/f", "/dst/x")), ["x 644 0:0 1"]);
    assert_eq!(copied(&base, &context(), copy("/f", "/out/")), ["etc/ 755 0:0", "etc/f 644 0:0 1"]);
    assert_eq!(
        copied(&base, &context(), copy("/d/e", "/r")),
        ["real/ 755 0:0", "real/z.go 644 0:0 z"]
    );
    // The link itself is followed when it is the destination, replaced when it is in a directory.
    assert_eq!(copied(&base, &context(), copy("/f", "/f")), ["else/ 755 0:0", "else/f 644 0:0 1"]);
    assert_eq!(copied(&base, &context(), copy("/f", "/")), ["f 644 0:0 1"]);
}

#[test]
fn a_directory_does_not_replace_a_file_unless_asked_to() {
    let base = view([
        directory("o"),
        file("o/e", "was"),
        entry("o/x.go", Kind::DIRECTORY, 0o755),
        file("o/x.go/old", ""),
    ]);
    let fails = run(&base, &context(), vec![Action::Copy(copy("/d", "/o"))]).unwrap_err();
    assert_eq!(fails.to_string(), "cannot copy to non-directory: /o/e");
    let replacing = Copy { replace_existing: true, ..copy("/d", "/o") };
    let found = copied(&base, &context(), replacing);
    assert_eq!(found[1..3], ["o/e/ 700 0:0", "o/e/z.go 644 0:0 z"]);
    assert!(found.contains(&"o/x.go 644 0:0 x".to_owned()));
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let source = view([
        directory("d"),
        file("d/a", "1"),
        entry("d/b", Kind::Hardlink(path("d/a")), 0o644),
        file("d/c", "1"),
    ]);
    assert_eq!(
        copied(&scratch(), &source, copy("/d", "/o")),
        ["o/ 755 0:0", "o/a 644 0:0 1", "o/b = o/a", "o/c 644 0:0 1"]
    );
    let gone = vec![
        Action::Copy(copy("/d", "/o")),
        Action::Remove(Remove { path: b"/o/a".to_vec(), allow_not_found: false, wildcard: false }),
    ];
    assert_eq!(
        listing(&run(&scratch(), &source, gone).unwrap()),
        ["o/ 755 0:0", "o/b 644 0:0 1", "o/c 644 0:0 1"]
    );
}

#[test]
fn removal_leaves_whiteouts_only_over_the_base() {
    let remove = |text: &str, wildcard| {
        Action::Remove(Remove { path: text.as_bytes().to_vec(), allow_not_found: false, wildcard })
    };
    let base = context();
    assert_eq!(
        listing(&run(&base, &scratch(), vec![remove("/d/x.go", false)]).unwrap()),
        ["d/ 755 0:0", "d/x.go removed"]
    );
    assert_eq!(
        listing(&run(&base, &scratch(), vec![remove("/l/z.go", false)]).unwrap())[2],
        "d/e/z.go removed"
    );
    assert_eq!(
        listing(&run(&base, &scratch(), vec![remove("/d/*o", true)]).unwrap()),
        ["d/ 755 0:0", "d/x.go removed"]
    );
    assert!(run(&base, &scratch(), vec![remove("/none", false)]).is_err());
    assert!(run(&base, &scratch(), vec![remove("/", false)]).is_err());
    let again = vec![
        remove("/d", false),
        Action::MakeDirectory(MakeDirectory {
            path: b"/d".to_vec(),
            mode: 0o755,
            parents: false,
            owner: None,
            timestamp: None,
        }),
        Action::Copy(copy("/f", "/d/n")),
    ];
    let found = run(&base, &context(), again).unwrap();
    assert_eq!(listing(&found), ["d/ opaque 755 0:0", "d/n 644 0:0 1"]);
}

#[test]
fn what_one_action_makes_the_next_one_sees() {
    let mut edit = Edit::new(context());
    let apply = |edit: &mut Edit, action: &Action| edit.apply(action, None, NOW).unwrap();
    apply(
        &mut edit,
        &Action::MakeDirectory(MakeDirectory {
            path: b"/a/b".to_vec(),
            mode: 0o1777,
            parents: true,
            owner: None,
            timestamp: Some(Mtime::seconds(1)),
        }),
    );
    let data: Arc<[u8]> = Arc::from(b"new".as_slice());
    apply(
        &mut edit,
        &Action::MakeFile(MakeFile {
            path: b"/a/b/f".to_vec(),
            mode: 0o600,
            data: data.clone(),
            owner: None,
            timestamp: None,
        }),
    );
    apply(
        &mut edit,
        &Action::MakeFile(MakeFile {
            path: b"/f".to_vec(),
            mode: 0o600,
            data: data.clone(),
            owner: Some(Owner::numbers(1, 2)),
            timestamp: None,
        }),
    );
    apply(
        &mut edit,
        &Action::Symlink(Symlink {
            target: b"b".to_vec(),
            path: b"/a/s".to_vec(),
            owner: None,
            timestamp: None,
        }),
    );
    let lost = Action::MakeFile(MakeFile {
        path: b"/none/f".to_vec(),
        mode: 0,
        data,
        owner: None,
        timestamp: None,
    });
    assert!(edit.apply(&lost, None, NOW).is_err());
    assert_eq!(edit.list(&path("a")).unwrap(), [b"b".to_vec(), b"s".to_vec()]);
    assert_eq!(edit.list(&path("d/e")).unwrap(), [b"z.go".to_vec()]);
    let found = edit.finish();
    assert_eq!(
        listing(&found),
        ["a/ 777 0:0", "a/b/ 777 0:0", "a/b/f 600 0:0 new", "a/s -> b", "f 644 1:2 new"]
    );
    assert_eq!(found.get(&path("a")).unwrap().meta.mtime, Mtime::seconds(1));
    assert_eq!(found.get(&path("a/b/f")).unwrap().meta.mtime, Mtime::seconds(7));
}

/// Knows one archive.
struct OneArchive;

impl Unpack for OneArchive {
    fn unpack(&self, file: &Content) -> Result<Option<Changeset>, TreeError> {
        let archive = || {
            changes([
                file_in("x/a", "1"),
                entry("x/b", Kind::Hardlink(path("x/a")), 0o644),
                file_in("lnk/c", "2"),
            ])
        };
        Ok((file.read(100).unwrap() == b"1").then(archive))
    }
}

fn file_in(at: &str, bytes: &str) -> Entry {
    let mut entry = file(at, bytes);
    entry.meta.uid = 9;
    entry
}

#[test]
fn archives_are_unpacked_beneath_the_destination() {
    let base = view([
        directory("o"),
        symlink("o/lnk", "/inner"),
        directory("o/x"),
        entry("o/x/b", Kind::DIRECTORY, 0o755),
    ]);
    let add = |source: &str, destination: &str| Copy { unpack: true, ..copy(source, destination) };
    let mut edit = Edit::new(Arc::clone(&base));
    let with = Surroundings { unpack: Some(&OneArchive), ..NOW };
    edit.apply(&Action::Copy(add("/f", "/o")), Some(&*context()), with).unwrap();
    let found = listing(&edit.finish());
    assert_eq!(
        found,
        [
            "o/ 755 0:0",
            "o/inner/ 755 0:0",
            "o/inner/c 644 9:0 2",
            "o/x/ 755 0:0",
            "o/x/a 644 9:0 1",
            "o/x/b = o/x/a"
        ]
    );
    let mut edit = Edit::new(scratch());
    edit.apply(&Action::Copy(add("/d/x.go", "/o/")), Some(&*context()), with).unwrap();
    assert_eq!(listing(&edit.finish()), ["o/ 755 0:0", "o/x.go 644 0:0 x"]);
}

#[test]
fn a_very_deep_tree_takes_no_stack() {
    let mut entries = vec![];
    let mut at = String::from("d");
    for _ in 0..300 {
        entries.push(directory(&at));
        at.push_str("/d");
    }
    let source = view(entries);
    assert_eq!(run(&scratch(), &source, vec![Action::Copy(copy("/", "/"))]).unwrap().len(), 300);
}

#[test]
fn a_directory_made_for_a_whole_context_has_the_time_of_what_is_made() {
    let made = run(&scratch(), &context(), vec![Action::Copy(copy("/", "/new/"))]).unwrap();
    let entry = made.get(&path("new")).expect("it was made");
    assert_eq!(entry.meta.mtime, NOW.now);
}
