//! One file of a directory on disk as an [`Entry`], and what names mean there that an image does not see.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::{
    Content, DEVICE_XATTR, Entry, Kind, Metadata, Mtime, OWNER_XATTR, Owners, RelPath, Root,
    WINDOWS_XATTRS,
};

/// How a directory on disk says what is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeForm {
    /// It does not: every file is a file.
    Plain,
    /// As OverlayFS does in an upper directory: whiteouts are 0/0 character devices (or empty files with the
    /// attribute `overlay.whiteout`), opaque directories have the attribute `overlay.opaque`.
    Overlay,
}

/// Whose files are read, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reading {
    /// A directory of the user: everything becomes root's, only file capabilities are kept of the attributes.
    Context,
    /// A tree that crossdock wrote or a step left.
    Tree { owners: Owners, form: TreeForm },
}

/// Attributes that could not be set under their own name are kept under this prefix.
pub(crate) const KEPT_XATTR: &[u8] = b"user.crossdock.xattr.";
const CAPABILITY: &[u8] = b"security.capability";
const MAX_XATTRS: usize = 256 << 10;

/// What is at `name` in the open directory `parent`, which is `path` beneath `root`.
pub(crate) fn read_entry(
    root: &Arc<Root>,
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &RelPath,
    stat: &Stat,
    reading: Reading,
) -> io::Result<Entry> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut xattrs = read_xattrs(parent, name)?;
    let mut meta = Metadata {
        mode: stat.st_mode & 0o7777,
        uid: 0,
        gid: 0,
        mtime: Mtime { secs: stat.st_mtime, nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) },
        xattrs: BTreeMap::new(),
    };
    let mut device = None;
    let mut whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
    let mut opaque = false;
    match reading {
        Reading::Context => {
            whiteout = false;
            xattrs.retain(|name, _| name == CAPABILITY);
        }
        Reading::Tree { owners, form } => {
            meta.uid = owners.from_disk(stat.st_uid);
            meta.gid = owners.from_disk(stat.st_gid);
            if let Some(record) = xattrs.remove(OWNER_XATTR)
                && let Some((uid, gid, mode)) = parse_owner(&record)
            {
                (meta.uid, meta.gid, meta.mode) = (uid, gid, mode);
            }
            device = xattrs.remove(DEVICE_XATTR).and_then(|record| parse_device(&record));
            let overlay = |xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, name: &str| {
                let find = |prefix: &str| {
                    xattrs.get(format!("{prefix}.overlay.{name}").as_bytes()).cloned()
                };
                find("user").or_else(|| find("trusted"))
            };
            if form == TreeForm::Overlay {
                opaque = overlay(&xattrs, "opaque").is_some_and(|value| value == b"y");
                whiteout |= kind == FileType::RegularFile
                    && stat.st_size == 0
                    && device.is_none()
                    && overlay(&xattrs, "whiteout").is_some();
            } else {
                whiteout = false;
            }
            let kept: Vec<(Vec<u8>, Vec<u8>)> = xattrs
                .iter()
                .filter_map(|(name, value)| {
                    Some((name.strip_prefix(KEPT_XATTR)?.to_vec(), value.clone()))
                })
                .collect();
            xattrs.extend(kept);
            xattrs.retain(|name, _| belongs_to_image(name));
        }
    }
    for (name, value) in xattrs {
        let value = if name == CAPABILITY { plain_capability(value) } else { value };
        meta.xattrs.insert(name, value);
    }
    let major_minor = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    let kind = match (kind, device) {
        _ if whiteout => Kind::Whiteout,
        (FileType::RegularFile, Some(device)) => device,
        (FileType::Directory, _) => Kind::Directory { opaque },
        (FileType::Symlink, _) => {
            meta.mode = 0o777;
            Kind::Symlink(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
        }
        (FileType::CharacterDevice, _) => {
            Kind::CharDevice { major: major_minor.0, minor: major_minor.1 }
        }
        (FileType::BlockDevice, _) => {
            Kind::BlockDevice { major: major_minor.0, minor: major_minor.1 }
        }
        (FileType::Fifo, _) => Kind::Fifo,
        // BuildKit makes a socket an empty file, too.
        (FileType::Socket, _) => Kind::File(Content::Empty),
        _ if stat.st_size == 0 => Kind::File(Content::Empty),
        _ => Kind::File(Content::of_stat(root, path, stat)),
    };
    Ok(Entry { path: path.clone(), kind, meta })
}

/// What a layer may carry: programs' own attributes and file capabilities. Labels, ACLs and integrity records
/// belong to the machine, the rest to OverlayFS and to crossdock.
fn belongs_to_image(name: &[u8]) -> bool {
    name == CAPABILITY
        || (name.starts_with(b"user.")
            && !name.starts_with(b"user.overlay.")
            && (!name.starts_with(b"user.crossdock.") || name.starts_with(WINDOWS_XATTRS)))
}

/// A capability set from within a user namespace names that namespace's root (version 3); an image's does not
/// (version 2). See `linux/capability.h`.
fn plain_capability(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() == 24 && value.get(3) == Some(&3) {
        value.truncate(20);
        if let Some(version) = value.get_mut(3) {
            *version = 2;
        }
    }
    value
}

fn parse_owner(record: &[u8]) -> Option<(u32, u32, u32)> {
    let mut parts = str::from_utf8(record).ok()?.split(':');
    let uid = parts.next()?.parse().ok()?;
    let gid = parts.next()?.parse().ok()?;
    let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
    (mode <= 0o7777 && parts.next().is_none()).then_some((uid, gid, mode))
}

fn parse_device(record: &[u8]) -> Option<Kind> {
    let mut parts = str::from_utf8(record).ok()?.split(':');
    let kind = parts.next()?;
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    match (kind, parts.next()) {
        ("c", None) => Some(Kind::CharDevice { major, minor }),
        ("b", None) => Some(Kind::BlockDevice { major, minor }),
        _ => None,
    }
}

/// The path of a name in an open directory for calls that take no directory handle. The kernel goes to the directory
/// itself, wherever it is now; the last segment must not be followed by the caller.
pub(crate) fn proc_path(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(if name.is_empty() { b"." } else { name });
    Ok(CString::new(path)?)
}

fn read_xattrs(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let path = proc_path(parent, name)?;
    let mut names = [0; 1024];
    let mut more = Vec::new();
    let names = match rustix::fs::llistxattr(&path, &mut names) {
        Ok(0) => return Ok(BTreeMap::new()),
        Ok(size) => names.get(..size).unwrap_or_default(),
        Err(Errno::RANGE) => {
            more.resize(MAX_XATTRS, 0);
            let size = rustix::fs::llistxattr(&path, &mut more)?;
            more.get(..size).unwrap_or_default()
        }
        Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::PERM | Errno::ACCESS) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error.into()),
    };
    let mut xattrs = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = [0; 1024];
        let value = match rustix::fs::lgetxattr(&path, name, &mut value) {
            Ok(size) => value.get(..size).unwrap_or_default().to_vec(),
            Err(Errno::RANGE) => {
                let mut value = vec![0; MAX_XATTRS];
                let size = rustix::fs::lgetxattr(&path, name, &mut value)?;
                value.truncate(size);
                value
            }
            // Not ours to read, or gone since.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => continue,
            Err(error) => return Err(error.into()),
        };
        xattrs.insert(name.to_vec(), value);
    }
    Ok(xattrs)
}

/// Whether an owner has to be recorded besides, and as what.
pub(crate) fn owner_record(meta: &Metadata) -> Option<String> {
    let special = meta.mode & 0o6000 != 0;
    (meta.uid != 0 || meta.gid != 0 || special)
        .then(|| format!("{}:{}:{:o}", meta.uid, meta.gid, meta.mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_records_count() {
        assert_eq!(parse_owner(b"1:2:4755"), Some((1, 2, 0o4755)));
        for bad in ["", "1:2", "1:2:8", "1:2:10000", "1:2:644:0", "-1:0:644"] {
            assert_eq!(parse_owner(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_device(b"c:1:3"), Some(Kind::CharDevice { major: 1, minor: 3 }));
        assert_eq!(parse_device(b"x:1:3"), None);
    }

    #[test]
    fn a_namespaced_capability_loses_its_namespace() {
        let mut value = vec![1, 0, 0, 3];
        value.extend([7; 16]);
        value.extend([1, 0, 0, 0]);
        let plain = plain_capability(value);
        assert_eq!(plain.len(), 20);
        assert_eq!(plain[..4], [1, 0, 0, 2]);
    }
}
