//! Whether overlays can be mounted here, found by trying: a detached mount that no path leads to.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::mount::{fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen};

/// Mounts an overlay over directories in `scratch` (empty, on the file system of the trees) and writes through it.
pub(crate) fn overlay_works(scratch: &Path) -> io::Result<()> {
    let directory = rustix::fs::open(
        scratch,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    for name in [c"lower", c"upper", c"work"] {
        rustix::fs::mkdirat(&directory, name, Mode::RWXU)?;
    }
    let open = |at: &OwnedFd, name: &std::ffi::CStr, flags: OFlags| {
        rustix::fs::openat(at, name, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
    };
    let create = OFlags::WRONLY | OFlags::CREATE;
    let lower = open(&directory, c"lower", OFlags::PATH)?;
    drop(open(&lower, c"removed", create)?);
    let upper = open(&directory, c"upper", OFlags::PATH)?;
    let work = open(&directory, c"work", OFlags::PATH)?;

    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(context.as_fd(), c"userxattr")?;
    for (key, handle) in [(c"lowerdir", &lower), (c"upperdir", &upper), (c"workdir", &work)] {
        use std::os::fd::AsRawFd as _;
        // A value may have 256 bytes; paths of stores are longer than that, those of handles never.
        fsconfig_set_string(context.as_fd(), key, format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    }
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    drop(open(&mounted, c"written", create)?);
    rustix::fs::unlinkat(&mounted, c"removed", AtFlags::empty())?;
    drop(mounted);
    let whiteout = rustix::fs::statat(&upper, c"removed", AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(whiteout.st_mode) != FileType::CharacterDevice
        || whiteout.st_rdev != 0
    {
        return Err(io::Error::other("a removed file leaves no whiteout"));
    }
    Ok(())
}
