use std::sync::Arc;

use super::{is_root, path, plant};
use crate::{
    Content, ContextOptions, ContextTree, IgnoreRules, Kind, Root, TreeView as _, read_context_file,
};

fn paths(tree: &ContextTree) -> Vec<String> {
    tree.files().iter().map(|entry| entry.path.to_string()).collect()
}

fn open(files: &[&str], options: &ContextOptions) -> Vec<String> {
    let disk = tempfile::tempdir().unwrap();
    plant(disk.path(), files);
    paths(&ContextTree::open(disk.path(), options).unwrap())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

const FILES: &[&str] =
    &["a/x.go", "a/y.txt", "a/deep/z.go", "b/secret", "b/ok", "top.go", "empty/", "l -> a/deep"];

#[test]
fn everything_without_rules() {
    let found = open(FILES, &ContextOptions::default());
    assert_eq!(
        found,
        [
            "a",
            "a/deep",
            "a/deep/z.go",
            "a/x.go",
            "a/y.txt",
            "b",
            "b/ok",
            "b/secret",
            "empty",
            "l",
            "top.go"
        ]
    );
}

#[test]
fn what_is_ignored_is_not_there_and_exceptions_bring_it_back() {
    let ignore = |text: &str| ContextOptions {
        exclude: IgnoreRules::parse(text.as_bytes()).unwrap().patterns().to_vec(),
        ..ContextOptions::default()
    };
    assert_eq!(open(FILES, &ignore("**/*.go\nb")), ["a", "a/deep", "a/y.txt", "empty", "l"]);
    assert_eq!(open(FILES, &ignore("*\n!a/deep")), ["a", "a/deep", "a/deep/z.go"]);
    assert_eq!(
        open(FILES, &ignore("*\n!**/*.go")),
        ["a", "a/deep", "a/deep/z.go", "a/x.go", "top.go"]
    );
    assert_eq!(open(FILES, &ignore("*\n!b\nb/secret")), ["b", "b/ok"]);
}

#[test]
fn only_what_is_included_with_its_directories() {
    let include = |patterns: &[&str]| ContextOptions {
        include: texts(patterns),
        ..ContextOptions::default()
    };
    assert_eq!(
        open(FILES, &include(&["a/deep/*.go", "top.go"])),
        ["a", "a/deep", "a/deep/z.go", "top.go"]
    );
    assert_eq!(open(FILES, &include(&["a"])), ["a", "a/deep", "a/deep/z.go", "a/x.go", "a/y.txt"]);
    assert_eq!(open(FILES, &include(&["none"])), [""; 0]);
}

#[test]
fn followed_paths_bring_what_links_lead_to() {
    let follow =
        |paths: &[&str]| ContextOptions { follow: texts(paths), ..ContextOptions::default() };
    assert_eq!(open(FILES, &follow(&["l"])), ["a", "a/deep", "a/deep/z.go", "l"]);
    assert_eq!(open(FILES, &follow(&["l/z.go"])), ["a", "a/deep", "a/deep/z.go", "l"]);
    assert_eq!(open(FILES, &follow(&["/"])).len(), 11);
    assert_eq!(open(FILES, &follow(&["*.go"])), ["top.go"]);
    let files = &["x -> y", "y -> x", "out -> ../../../etc", "w1 -> t", "t=1"];
    assert_eq!(open(files, &follow(&["x"])), ["x", "y"]);
    assert_eq!(open(files, &follow(&["out/passwd"])), ["out"]);
    assert_eq!(open(files, &follow(&["w*"])), ["t", "w1"]);
}

#[test]
fn files_are_roots_and_keep_mode_time_and_links() {
    let disk = tempfile::tempdir().unwrap();
    plant(disk.path(), &["f=1"]);
    fs_err::hard_link(disk.path().join("f"), disk.path().join("g")).unwrap();
    rustix::fs::chmod(disk.path().join("f"), rustix::fs::Mode::from_raw_mode(0o4751)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(disk.path().join("socket")).unwrap();
    let tree = ContextTree::open(disk.path(), &ContextOptions::default()).unwrap();
    let f = tree.lookup(&path("f")).unwrap().unwrap();
    assert_eq!((f.meta.uid, f.meta.gid, f.meta.mode), (0, 0, 0o4751));
    assert_ne!(f.meta.mtime.nanos, 0);
    assert_eq!(tree.files().get(&path("g")).unwrap().kind, Kind::Hardlink(path("f")));
    assert_eq!(tree.lookup(&path("socket")).unwrap().unwrap().kind, Kind::File(Content::Empty));
}

#[test]
fn a_directory_that_cannot_be_read_matters_only_when_wanted() {
    if is_root() {
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    plant(disk.path(), &["locked/f=1", "open/f=1"]);
    rustix::fs::chmod(disk.path().join("locked"), rustix::fs::Mode::empty()).unwrap();
    let excluding =
        ContextOptions { exclude: texts(&["locked", "!open/f"]), ..ContextOptions::default() };
    assert_eq!(paths(&ContextTree::open(disk.path(), &excluding).unwrap()), ["open", "open/f"]);
    let error = ContextTree::open(disk.path(), &ContextOptions::default()).unwrap_err().to_string();
    assert!(error.contains("locked"), "{error}");
    rustix::fs::chmod(disk.path().join("locked"), rustix::fs::Mode::RWXU).unwrap();
}

#[test]
fn control_files_are_read_beneath_the_context_only() {
    let outer = tempfile::tempdir().unwrap();
    plant(
        outer.path(),
        &["secret=no", "c/real=yes", "c/in -> real", "c/out -> ../secret", "c/dir/"],
    );
    rustix::fs::mknodat(
        rustix::fs::CWD,
        outer.path().join("c/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let root = Arc::new(Root::open(&outer.path().join("c")).unwrap());
    let read = |name: &str| read_context_file(&root, &path(name), 10);
    assert_eq!(read("in").unwrap().unwrap(), b"yes");
    assert_eq!(read("none").unwrap(), None);
    assert_eq!(read("out").unwrap(), None);
    assert!(read("dir").is_err());
    assert!(read("pipe").is_err());
}

#[test]
fn a_context_that_is_swapped_about_never_shows_what_is_outside() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let outer = tempfile::tempdir().unwrap();
    plant(outer.path(), &["secret/f=SECRET", "c/f=ok", "c/d/f=ok"]);
    let context = outer.path().join("c");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A file and a directory take turns with links that lead out.
            while !done.load(Ordering::Relaxed) {
                for (name, target) in [("f", "../secret/f"), ("d", "../secret")] {
                    let (here, away) = (context.join(name), outer.path().join("away"));
                    fs_err::rename(&here, &away).unwrap();
                    fs_err::os::unix::fs::symlink(target, &here).unwrap();
                    fs_err::remove_file(&here).unwrap();
                    fs_err::rename(&away, &here).unwrap();
                }
            }
        });
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..300 {
            // It may fail, or miss a file, but what it reads is the context's.
            let Ok(tree) = ContextTree::open(&context, &ContextOptions::default()) else {
                continue;
            };
            for entry in tree.files() {
                if let Kind::File(content) = &entry.kind
                    && let Ok(bytes) = content.read(100)
                {
                    seen.insert(bytes);
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(seen, [b"ok".to_vec()].into());
    });
}
