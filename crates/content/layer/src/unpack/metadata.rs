//! Owners, modes, times and attributes of unpacked files, in the form that `fstree` reads them back in.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use fstree::{DEVICE_XATTR, OWNER_XATTR, Owners, RelPath, WINDOWS_XATTRS};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::{UnpackError, Unpacker, write_error};
use crate::pack::is_private_xattr;
use crate::tar::{Header, MemberKind, Time};

/// Where `fstree` finds attributes that could not be set under their own name.
const KEPT_XATTR: &[u8] = b"user.crossdock.xattr.";
const CAPABILITY: &[u8] = b"security.capability";

impl Unpacker<'_> {
    /// Everything but the content, of an open file or directory.
    pub(super) fn metadata(
        &mut self,
        path: &RelPath,
        header: &Header,
        handle: BorrowedFd<'_>,
        device: Option<String>,
    ) -> Result<(), UnpackError> {
        let failed = |action| move |error: Errno| write_error(action, path, error.into());
        if let Some((uid, gid)) = self.owner(path, header)? {
            rustix::fs::fchown(handle, Some(uid), Some(gid))
                .map_err(failed("change the owner of"))?;
        }
        for (name, value) in &header.xattrs {
            self.xattr(path, handle, name, value)?;
        }
        if let Some(record) = device {
            set_xattr(handle, DEVICE_XATTR, record.as_bytes())
                .map_err(failed("record the device"))?;
        }
        let mode = header.mode & 0o7777;
        let disk_mode = self.disk_mode(header);
        if self.owners == Owners::Recorded
            && (header.uid != 0 || header.gid != 0 || mode != disk_mode)
        {
            let record = format!("{}:{}:{mode:o}", header.uid, header.gid);
            set_xattr(handle, OWNER_XATTR, record.as_bytes())
                .map_err(failed("record the owner of"))?;
        }
        rustix::fs::fchmod(handle, Mode::from(disk_mode)).map_err(failed("change the mode of"))?;
        if header.kind == MemberKind::Directory {
            return Ok(());
        }
        set_times(handle, header.mtime).map_err(failed("set the times of"))
    }

    /// Owner and times of a symbolic link, which has nothing else.
    pub(super) fn link_metadata(
        &mut self,
        path: &RelPath,
        header: &Header,
        parent: BorrowedFd<'_>,
    ) -> Result<(), UnpackError> {
        let failed = |action| move |error: Errno| write_error(action, path, error.into());
        if let Some((uid, gid)) = self.owner(path, header)? {
            rustix::fs::chownat(
                parent,
                path.name(),
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
            .map_err(failed("change the owner of"))?;
        }
        if !header.xattrs.is_empty() {
            self.note(format!("attributes of the link `{path}` were left out"));
        }
        rustix::fs::utimensat(
            parent,
            path.name(),
            &timestamps(header.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed("set the times of"))
    }

    /// Owner, mode and times of a named pipe, which must not be opened.
    pub(super) fn node_metadata(
        &mut self,
        path: &RelPath,
        header: &Header,
        parent: BorrowedFd<'_>,
    ) -> Result<(), UnpackError> {
        let failed = |action| move |error: Errno| write_error(action, path, error.into());
        self.link_metadata(path, header, parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(parent, path.name(), flags, Mode::empty())
            .map_err(failed("open"))?;
        // An O_PATH handle takes no fchmod; its name in /proc does.
        let name = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
        rustix::fs::chmod(name.as_str(), Mode::from(self.disk_mode(header)))
            .map_err(failed("change the mode of"))
    }

    /// The owner on disk; `None` when all files belong to the one id there is.
    fn owner(&self, path: &RelPath, header: &Header) -> Result<Option<(Uid, Gid)>, UnpackError> {
        if self.owners == Owners::Recorded {
            return Ok(None);
        }
        let id = |id| {
            self.owners
                .to_disk(id)
                .map_err(|source| UnpackError::Owner { path: path.to_string(), source })
        };
        Ok(Some((Uid::from_raw(id(header.uid)?), Gid::from_raw(id(header.gid)?))))
    }

    /// The mode on disk. With one id, files stay readable for it, and no set-id bit takes effect.
    fn disk_mode(&self, header: &Header) -> u32 {
        let mode = header.mode & 0o7777;
        match (self.owners, header.kind) {
            (Owners::Shifted { .. }, _) => mode,
            (Owners::Recorded, MemberKind::Directory) => mode & 0o1777 | 0o700,
            (Owners::Recorded, _) => mode & 0o1777 | 0o600,
        }
    }

    fn xattr(
        &mut self,
        path: &RelPath,
        handle: BorrowedFd<'_>,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), UnpackError> {
        // Of a Windows layer these come from its own records, of any other they are a forgery.
        let of_windows = self.options.windows && name.starts_with(WINDOWS_XATTRS);
        if is_private_xattr(name) && !of_windows {
            self.note(format!("attribute {} of `{path}` was left out", fstree::show(name)));
            return Ok(());
        }
        let value = if name == CAPABILITY { self.capability(value) } else { value.to_vec() };
        let done = match set_xattr(handle, name, &value) {
            Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL) => {
                set_xattr(handle, &[KEPT_XATTR, name].concat(), &value)
            }
            done => done,
        };
        match done {
            Err(Errno::OPNOTSUPP | Errno::PERM | Errno::RANGE | Errno::NOSPC | Errno::TOOBIG) => {
                self.note(format!(
                    "attribute {} of `{path}` cannot be kept on this file system",
                    fstree::show(name)
                ));
                Ok(())
            }
            done => done.map_err(|error| write_error("set an attribute of", path, error.into())),
        }
    }

    /// Capabilities as they take effect in a step, whose root is another id here: version 3 with that id
    /// (`linux/capability.h`).
    fn capability(&self, value: &[u8]) -> Vec<u8> {
        let root = match self.owners {
            Owners::Shifted { .. } => self.owners.to_disk(0).unwrap_or(0),
            Owners::Recorded => 0,
        };
        let plain =
            if value.len() == 24 && value.get(3) == Some(&3) { &value[..20] } else { value };
        let mut value = plain.to_vec();
        if let (20, Some(version @ (2 | 3))) = (value.len(), value.get_mut(3)) {
            *version = 2;
            if root != 0 {
                *version = 3;
                value.extend_from_slice(&root.to_le_bytes());
            }
        }
        value
    }
}

pub(super) fn set_times(handle: BorrowedFd<'_>, time: Time) -> rustix::io::Result<()> {
    match rustix::fs::futimens(handle, &timestamps(time)) {
        // A handle of the path only.
        Err(Errno::BADF) => {
            let name = format!("/proc/self/fd/{}", handle.as_raw_fd());
            rustix::fs::utimensat(
                rustix::fs::CWD,
                name.as_str(),
                &timestamps(time),
                AtFlags::empty(),
            )
        }
        done => done,
    }
}

fn timestamps(time: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: time.secs, tv_nsec: i64::from(time.nanos) },
    }
}

pub(super) fn set_xattr(
    handle: BorrowedFd<'_>,
    name: &[u8],
    value: &[u8],
) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(handle, name, value, XattrFlags::empty())
}

pub(super) fn has_xattr(handle: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::fgetxattr(handle, name, &mut [0_u8; 16]).is_ok_and(|size| size > 0)
}
