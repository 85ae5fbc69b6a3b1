use rustix::fs::OFlags;

use super::{path, plant};
use crate::Root;

#[test]
fn links_never_lead_out() {
    let outer = tempfile::tempdir().unwrap();
    plant(
        outer.path(),
        &[
            "secret=no",
            "root/in=yes",
            "root/up -> ../../../secret",
            "root/abs -> /secret",
            "root/d/e -> /in",
            "root/loop -> loop",
        ],
    );
    let root = Root::open(&outer.path().join("root")).unwrap();
    assert!(root.open_file(&path("up"), OFlags::RDONLY).is_err());
    assert!(root.open_in_root(&path("up"), OFlags::RDONLY).is_err());
    assert!(root.open_in_root(&path("abs"), OFlags::RDONLY).is_err());
    assert!(root.open_in_root(&path("loop"), OFlags::RDONLY).is_err());
    assert!(root.open_in_root(&path("d/e"), OFlags::RDONLY).is_ok());
    assert!(root.open_file(&path("d/e"), OFlags::RDONLY).is_err());
    assert_eq!(root.read_link(&path("d/e")).unwrap(), b"/in");
}

#[test]
fn the_way_without_openat2_gives_the_same_answers() {
    use rustix::fs::ResolveFlags;
    use std::os::fd::AsFd as _;
    let outer = tempfile::tempdir().unwrap();
    plant(
        outer.path(),
        &[
            "secret=no",
            "root/in=yes",
            "root/up -> ../../secret",
            "root/abs -> /secret",
            "root/d/e -> ../in",
            "root/x -> d",
            "root/l -> l",
        ],
    );
    let root = Root::open(&outer.path().join("root")).unwrap();
    for name in ["in", "d", "up", "abs", "d/e", "x/e", "x", "l", "none", "in/x", "d/none"] {
        for resolve in [ResolveFlags::IN_ROOT, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS] {
            let mut flags = OFlags::RDONLY | OFlags::CLOEXEC;
            if !resolve.contains(ResolveFlags::IN_ROOT) {
                flags |= OFlags::NOFOLLOW;
            }
            let fast = crate::root::open_beneath(
                root.as_fd(),
                &path(name),
                flags,
                rustix::fs::Mode::empty(),
                resolve,
            );
            let slow = crate::root::open_by_segments(
                root.as_fd(),
                &path(name),
                flags,
                rustix::fs::Mode::empty(),
                resolve,
            );
            let inode = |opened: std::io::Result<std::os::fd::OwnedFd>| {
                opened.ok().map(|opened| rustix::fs::fstat(opened).unwrap().st_ino)
            };
            assert_eq!(inode(fast), inode(slow), "{name} {resolve:?}");
        }
    }
}
