//! The kernel makes no user namespace for a process in a chroot, so that none escapes it that way. Root, who may
//! leave a chroot anyhow, steps out of it and makes the same directory the true root of a mount namespace.

use std::io;
use std::os::fd::AsFd as _;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change};
use rustix::process::{chdir, chroot, fchdir};
use rustix::thread::UnshareFlags;

use crate::system;

/// Deeper than any directory a chroot is in.
const DEEPEST: usize = 4096;

/// Gives this process a mount namespace whose root is what its root is now. What it sees stays the same.
pub(super) fn leave() -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    system::unshare(UnshareFlags::NEWNS)?;
    // Only mounts of the new namespace can be copied.
    let root = open("/", flags, Mode::empty())?;
    climb_out(&root)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&root, "", flags)?;
    let outside = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), "", outside.as_fd(), "", flags)?;
    fchdir(&tree)?;
    chroot(".")?;
    Ok(())
}

/// A process whose root is beneath its working directory can walk up.
fn climb_out(root: &impl std::os::fd::AsFd) -> io::Result<()> {
    let below = fs_err::read_dir("/")?
        .flatten()
        .find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .ok_or(io::ErrorKind::NotFound)?;
    fchdir(root)?;
    chroot(below.path().as_path())?;
    for _ in 0..DEEPEST {
        let here = fstat(open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?;
        chdir("..")?;
        let above = fstat(open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?;
        debug_assert_eq!(FileType::from_raw_mode(above.st_mode), FileType::Directory);
        if (here.st_dev, here.st_ino) == (above.st_dev, above.st_ino) {
            break;
        }
    }
    Ok(chroot(".")?)
}
