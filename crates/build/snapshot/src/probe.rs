use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use store::Store;

/// How steps write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// On overlay mounts: nothing is copied.
    Overlay,
    /// On a copy of the whole stack, where the kernel or file system has no overlay mounts for us.
    Copy,
}

/// Tries an overlay mount on the store's file system.
pub(crate) fn mode(store: &Store) -> Mode {
    let Ok(scratch) = store.temporary_directory() else { return Mode::Copy };
    if mounts(scratch.path()) { Mode::Overlay } else { Mode::Copy }
}

fn mounts(scratch: &Path) -> bool {
    let names = ["lower", "upper", "work", "merged"].map(|name| scratch.join(name));
    if names.iter().any(|path| fs_err::create_dir(path).is_err()) {
        return false;
    }
    let [lower, upper, work, merged] = &names;
    let options = format!("lowerdir={},upperdir={},workdir={},userxattr", lower.display(), upper.display(), work.display());
    let Ok(options) = std::ffi::CString::new(options) else { return false };
    if mount("overlay", merged, "overlay", MountFlags::NODEV, options.as_c_str()).is_err() {
        return false;
    }
    let writes = fs_err::write(merged.join("probe"), b"").is_ok();
    unmount(merged, UnmountFlags::DETACH).is_ok() && writes
}
