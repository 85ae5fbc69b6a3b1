//! The utility VM of Windows base layers is not wanted on Linux, but files may be hard links to what it holds.

use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};

use fstree::RelPath;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::directory::{Directories, remove};
use super::{UnpackError, content_error, copy_content, create, invalid, write_error};
use crate::tar::{Header, MemberKind, Reader};

/// Where files of the utility VM are kept while the layer is unpacked.
const HOLD: &[u8] = b".crossdock-utility-vm";

/// Keeps the files of the utility VM beside the tree until the layer is done.
#[derive(Default)]
pub(super) struct UtilityVm {
    hold: Option<OwnedFd>,
}

impl UtilityVm {
    /// Takes a member that is not beneath `Files`.
    pub(super) fn member(
        &mut self,
        path: &RelPath,
        header: &Header,
        target: Option<&RelPath>,
        archive: &mut Reader<impl Read>,
        directories: &mut Directories,
    ) -> Result<(), UnpackError> {
        if !path.starts_with(&RelPath::clean(windows::layout::UTILITY_VM)) {
            return Ok(());
        }
        let failed = |error: rustix::io::Errno| write_error("keep", path, error.into());
        let name = hold_name(path);
        if let Some(target) = target {
            let Some((from, from_name)) = self.source(target, directories)? else { return Ok(()) };
            let hold = self.hold(directories)?;
            remove(hold.as_fd(), &name).map_err(|error| write_error("keep", path, error))?;
            return match rustix::fs::linkat(&from, &*from_name, hold, &*name, AtFlags::empty()) {
                Err(rustix::io::Errno::NOENT) => Ok(()),
                done => done.map_err(failed),
            };
        }
        if header.kind != MemberKind::File {
            return Ok(());
        }
        let hold = self.hold(directories)?;
        remove(hold.as_fd(), &name).map_err(|error| write_error("keep", path, error))?;
        let file = create(hold.as_fd(), &name).map_err(failed)?;
        copy_content(archive, &file).map_err(|error| content_error(path, error))
    }

    /// Makes `path` a hard link to a file of the utility VM.
    pub(super) fn copy(
        &mut self,
        target: &RelPath,
        path: &RelPath,
        directories: &mut Directories,
    ) -> Result<(), UnpackError> {
        let missing = || {
            invalid(format!("`{path}` is a hard link to `{target}`, which is not in this layer"))
        };
        let (from, name) = self.source(target, directories)?.ok_or_else(missing)?;
        let parent = directories.parent(path)?;
        if remove(parent.as_fd(), path.name())
            .map_err(|error| write_error("replace", path, error))?
        {
            directories.forget();
        }
        rustix::fs::linkat(&from, &*name, &parent, path.name(), AtFlags::empty())
            .map_err(|_| missing())
    }

    /// Removes what was kept.
    pub(super) fn remove(&mut self, directories: &Directories) -> Result<(), UnpackError> {
        if self.hold.take().is_some() {
            remove(directories.root(), HOLD)
                .map_err(|error| write_error("remove", &RelPath::clean(HOLD), error))?;
        }
        Ok(())
    }

    /// Directory and name of a file that a link in the archive points to.
    fn source(
        &mut self,
        target: &RelPath,
        directories: &mut Directories,
    ) -> Result<Option<(OwnedFd, Vec<u8>)>, UnpackError> {
        if let Some(target) = target.beneath(&RelPath::clean(windows::layout::FILES)) {
            let parent = directories.existing(&target.parent().unwrap_or_else(RelPath::root))?;
            return Ok(parent.map(|parent| (parent, target.name().to_vec())));
        }
        let Some(hold) = &self.hold else { return Ok(None) };
        let hold = hold.try_clone().map_err(|error| write_error("open", target, error))?;
        Ok(Some((hold, hold_name(target))))
    }

    fn hold(&mut self, directories: &Directories) -> Result<&OwnedFd, UnpackError> {
        if self.hold.is_none() {
            let failed = |error: rustix::io::Errno| {
                write_error("create", &RelPath::clean(HOLD), error.into())
            };
            rustix::fs::mkdirat(directories.root(), HOLD, Mode::from(0o700)).map_err(failed)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.hold = Some(
                rustix::fs::openat(directories.root(), HOLD, flags, Mode::empty())
                    .map_err(failed)?,
            );
        }
        self.hold.as_ref().ok_or_else(|| invalid("no utility VM"))
    }
}

/// One flat name for a path.
fn hold_name(path: &RelPath) -> Vec<u8> {
    oci::Digest::of(path.as_bytes()).hex().as_bytes().to_vec()
}
