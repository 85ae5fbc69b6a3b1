//! From a plain layer to a directory, with nothing outside that directory ever touched.

mod directory;
mod metadata;
mod utility_vm;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use fstree::{OwnerError, Owners, RelPath, Root, show};
use oci::{Digest, Digester, HashingReader};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::names::{Name, clean, layer_name};
use crate::tar::{Header, Limits, MemberKind, Piece, Reader, TarError, Time};
use crate::windows_base::attributes_of;
use directory::Directories;
use utility_vm::UtilityVm;

/// How removals are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// As OverlayFS has them: 0/0 character devices, or where these cannot be made empty files with the attribute
    /// `user.overlay.whiteout`; and the attribute `user.overlay.opaque` on directories.
    #[default]
    Overlay,
    /// By removing what is in the directory from before this layer.
    Apply,
}

/// How a layer is unpacked.
#[derive(Clone, Debug, Default)]
pub struct UnpackOptions {
    /// The layer is in Windows form: what is beneath `Files/` is wanted, without that prefix.
    pub windows: bool,
    /// How removals are kept.
    pub whiteouts: Whiteouts,
    /// How much is accepted.
    pub limits: Limits,
}

/// What came out of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the bytes that were read, to the last.
    pub diff_id: Digest,
    /// Members of the archive.
    pub entries: u64,
    /// Bytes of file contents, with holes.
    pub size: u64,
    /// Directories that the layer has files in but says nothing of. They are root's with mode 0755 here, which must
    /// not hide what a lower layer says of them.
    pub implied: Vec<RelPath>,
    /// What was left out or kept in another way, for people; at most 100 lines.
    pub notes: Vec<String>,
}

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged, hostile or too large.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// A member that cannot be where it wants to be.
    #[error("invalid layer: {what}")]
    Invalid {
        /// What is wrong with which member.
        what: String,
    },
    /// An owner that there is no id for here.
    #[error("cannot give `{path}` its owner")]
    Owner {
        /// Which member.
        path: String,
        /// The id.
        source: OwnerError,
    },
    /// The directory could not be written.
    #[error("cannot {action} `{path}`")]
    Write {
        /// What was being done.
        action: &'static str,
        /// To which member.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Unpacks a plain tar into `directory`, which should be empty.
///
/// Paths are resolved beneath the directory, with the layer's own links followed as if it were the root. Devices
/// other than named pipes are recorded in an attribute ([`fstree::DEVICE_XATTR`]), not made. What is there after an
/// error is of no use.
pub fn unpack(
    reader: impl Read,
    directory: &Path,
    owners: Owners,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let root = Root::open(directory).map_err(|source| UnpackError::Write {
        action: "open",
        path: directory.display().to_string(),
        source,
    })?;
    let mut archive =
        Reader::new(HashingReader::new(reader, Digester::sha256()), options.limits.clone());
    let mut unpacker = Unpacker {
        owners,
        options,
        directories: Directories::new(root),
        times: Vec::new(),
        written: BTreeSet::new(),
        notes: Vec::new(),
        utility_vm: UtilityVm::default(),
        xattr_whiteouts: false,
    };
    let (mut entries, mut size) = (0, 0_u64);
    while let Some(header) = archive.next_member()? {
        entries += 1;
        size = size.saturating_add(header.size);
        unpacker.member(header, &mut archive)?;
    }
    let (implied, notes) = unpacker.finish()?;
    let (_, diff_id, _) = archive.finish()?.finish();
    Ok(Unpacked { diff_id, entries, size, implied, notes })
}

struct Unpacker<'a> {
    owners: Owners,
    options: &'a UnpackOptions,
    directories: Directories,
    /// Times of directories, which are set last because writing into them changes them.
    times: Vec<(RelPath, Time)>,
    /// What this layer wrote; only needed to apply removals.
    written: BTreeSet<RelPath>,
    notes: Vec<String>,
    utility_vm: UtilityVm,
    xattr_whiteouts: bool,
}

impl Unpacker<'_> {
    fn member(
        &mut self,
        mut header: Header,
        archive: &mut Reader<impl Read>,
    ) -> Result<(), UnpackError> {
        if header.kind == MemberKind::Other(b'V') {
            return Ok(());
        }
        if self.options.windows && !self.windows_member(&mut header, archive)? {
            return Ok(());
        }
        match layer_name(&header.path).map_err(invalid)? {
            Name::Ignored => Ok(()),
            Name::Whiteout(path) => self.whiteout(&path),
            Name::Opaque(path) => self.opaque(&path),
            Name::Path(path) if path.is_root() => {
                if header.kind != MemberKind::Directory {
                    return Err(invalid(format!(
                        "`{}` is the root but no directory",
                        show(&header.path)
                    )));
                }
                self.directory(&path, &header)
            }
            Name::Path(path) => self.entry(&path, &header, archive),
        }
    }

    /// Takes `Files/` off; false when the member is of no use here.
    fn windows_member(
        &mut self,
        header: &mut Header,
        archive: &mut Reader<impl Read>,
    ) -> Result<bool, UnpackError> {
        let path = clean(&header.path).map_err(invalid)?;
        let files = RelPath::clean(windows::layout::FILES);
        let target = (header.kind == MemberKind::Hardlink)
            .then(|| clean(&header.link))
            .transpose()
            .map_err(invalid)?;
        let Some(path) = path.beneath(&files) else {
            self.utility_vm.member(
                &path,
                header,
                target.as_ref(),
                archive,
                &mut self.directories,
            )?;
            return Ok(false);
        };
        if path.is_root() {
            return Ok(false);
        }
        header.path = path.as_bytes().to_vec();
        (header.uid, header.gid) = (0, 0);
        header.mode = match header.kind {
            MemberKind::Directory => header.mode & 0o7777 | 0o755,
            _ => header.mode & 0o7777 | 0o644,
        };
        if let Some(target) = target {
            let Some(target) = target.beneath(&files) else {
                self.utility_vm.copy(&target, &path, &mut self.directories)?;
                return Ok(false);
            };
            header.link = target.as_bytes().to_vec();
        }
        if header.kind == MemberKind::Symlink
            && let Some(target) = windows::link_target_from_windows(&header.link)
        {
            header.link = target;
        }
        header.xattrs = match header.kind {
            MemberKind::File | MemberKind::Directory => attributes_of(&header.records),
            _ => BTreeMap::new(),
        };
        Ok(true)
    }

    fn entry(
        &mut self,
        path: &RelPath,
        header: &Header,
        archive: &mut Reader<impl Read>,
    ) -> Result<(), UnpackError> {
        if header.kind == MemberKind::Directory {
            return self.directory(path, header);
        }
        let failed = |action| move |error: Errno| write_error(action, path, error.into());
        if header.kind == MemberKind::Hardlink {
            return self.hardlink(path, header);
        }
        let parent = self.directories.parent(path)?;
        let name = path.name();
        if (header.kind, header.device) == (MemberKind::CharDevice, (0, 0)) {
            self.note(format!(
                "`{path}` is the character device 0/0, which means a removal to OverlayFS; left out"
            ));
            return Ok(());
        }
        self.make_room(path, parent.as_fd())?;
        self.remember(path);
        match header.kind {
            MemberKind::File => {
                let file = create(parent.as_fd(), name).map_err(failed("create"))?;
                copy_content(archive, &file).map_err(|error| content_error(path, error))?;
                self.metadata(path, header, file.as_fd(), None)
            }
            MemberKind::Symlink => {
                if header.link.is_empty() {
                    return Err(invalid(format!("`{path}` is a link to nothing")));
                }
                rustix::fs::symlinkat(&*header.link, &parent, name).map_err(failed("create"))?;
                self.link_metadata(path, header, parent.as_fd())
            }
            MemberKind::Fifo => {
                rustix::fs::mknodat(&parent, name, FileType::Fifo, Mode::from(0o600), 0)
                    .map_err(failed("create"))?;
                self.node_metadata(path, header, parent.as_fd())
            }
            MemberKind::CharDevice | MemberKind::BlockDevice => {
                let kind = if header.kind == MemberKind::CharDevice { 'c' } else { 'b' };
                let record = format!("{kind}:{}:{}", header.device.0, header.device.1);
                let file = create(parent.as_fd(), name).map_err(failed("create"))?;
                self.note(format!("`{path}` is a device, which is recorded but not made"));
                self.metadata(path, header, file.as_fd(), Some(record))
            }
            MemberKind::Directory | MemberKind::Hardlink | MemberKind::Other(_) => {
                Err(invalid(format!("`{path}` is of an unknown kind")))
            }
        }
    }

    fn directory(&mut self, path: &RelPath, header: &Header) -> Result<(), UnpackError> {
        let failed = |action| move |error: Errno| write_error(action, path, error.into());
        let mut fresh = false;
        if !path.is_root() {
            let parent = self.directories.parent(path)?;
            match rustix::fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                Ok(stat) => {
                    fresh = stat.st_rdev == 0
                        && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
                    self.make_room(path, parent.as_fd())?;
                    rustix::fs::mkdirat(&parent, path.name(), Mode::from(0o700))
                        .map_err(failed("create"))?;
                }
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&parent, path.name(), Mode::from(0o700))
                        .map_err(failed("create"))?;
                }
                Err(error) => return Err(failed("look at")(error)),
            }
        }
        self.directories.named(path);
        self.remember(path);
        let handle = self.open_directory(path)?;
        if fresh {
            // It was a whiteout before: what lies below stays hidden.
            self.set_opaque(path, handle.as_fd(), b"y")?;
        }
        self.times.push((path.clone(), header.mtime));
        self.metadata(path, header, handle.as_fd(), None)
    }

    fn hardlink(&mut self, path: &RelPath, header: &Header) -> Result<(), UnpackError> {
        let target = clean(&header.link).map_err(invalid)?;
        if target == *path || target.is_root() {
            return Err(invalid(format!("`{path}` is a hard link to `{target}`")));
        }
        let missing = || {
            invalid(format!("`{path}` is a hard link to `{target}`, which is not in this layer"))
        };
        let source = self
            .directories
            .existing(&target.parent().unwrap_or_else(RelPath::root))?
            .ok_or_else(missing)?;
        let stat = match rustix::fs::statat(&source, target.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(missing()),
            Err(error) => return Err(write_error("look at", &target, error.into())),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory || kind == FileType::CharacterDevice {
            return Err(missing());
        }
        let parent = self.directories.parent(path)?;
        if let Ok(there) = rustix::fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW)
            && (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino)
        {
            return Ok(());
        }
        self.make_room(path, parent.as_fd())?;
        self.remember(path);
        rustix::fs::linkat(&source, target.name(), &parent, path.name(), AtFlags::empty())
            .map_err(|error| write_error("link", path, error.into()))
    }

    fn whiteout(&mut self, path: &RelPath) -> Result<(), UnpackError> {
        let parent = match self.options.whiteouts {
            Whiteouts::Overlay => self.directories.parent(path)?,
            Whiteouts::Apply => {
                let holder = path.parent().unwrap_or_else(RelPath::root);
                if self.written.contains(path) {
                    return Ok(());
                }
                return match self.directories.existing(&holder)? {
                    Some(parent) => self.make_room(path, parent.as_fd()),
                    None => Ok(()),
                };
            }
        };
        match rustix::fs::statat(&parent, path.name(), AtFlags::SYMLINK_NOFOLLOW) {
            // This layer has the path itself; what is removed is only what lies below.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let handle = self.open_directory(path)?;
                return self.set_opaque(path, handle.as_fd(), b"y");
            }
            Ok(_) => return Ok(()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(write_error("look at", path, error.into())),
        }
        if !self.xattr_whiteouts {
            match rustix::fs::mknodat(
                &parent,
                path.name(),
                FileType::CharacterDevice,
                Mode::empty(),
                0,
            ) {
                Ok(()) => return Ok(()),
                Err(Errno::PERM) => self.xattr_whiteouts = true,
                Err(error) => return Err(write_error("remove", path, error.into())),
            }
        }
        let file = create(parent.as_fd(), path.name())
            .map_err(|error| write_error("remove", path, error.into()))?;
        metadata::set_xattr(file.as_fd(), b"user.overlay.whiteout", b"y")
            .map_err(|error| write_error("remove", path, error.into()))?;
        let holder = path.parent().unwrap_or_else(RelPath::root);
        let handle = self.open_directory(&holder)?;
        if metadata::has_xattr(handle.as_fd(), b"user.overlay.opaque") {
            return Ok(());
        }
        self.set_opaque(&holder, handle.as_fd(), b"x")
    }

    fn opaque(&mut self, path: &RelPath) -> Result<(), UnpackError> {
        if self.options.whiteouts == Whiteouts::Apply {
            let Some(directory) = self.directories.existing(path)? else { return Ok(()) };
            let written = &self.written;
            return directory::remove_beneath(directory.as_fd(), path, &|path| {
                !written.contains(path)
            })
            .map_err(|error| write_error("empty", path, error));
        }
        let handle = self.directories.create(path)?;
        let handle =
            reopen(handle.as_fd()).map_err(|error| write_error("open", path, error.into()))?;
        self.set_opaque(path, handle.as_fd(), b"y")
    }

    fn set_opaque(
        &self,
        path: &RelPath,
        directory: BorrowedFd<'_>,
        value: &[u8],
    ) -> Result<(), UnpackError> {
        if self.options.whiteouts == Whiteouts::Apply {
            return Ok(());
        }
        metadata::set_xattr(directory, b"user.overlay.opaque", value)
            .map_err(|error| write_error("mark as opaque", path, error.into()))
    }

    /// Removes what is in the way of a file.
    fn make_room(&mut self, path: &RelPath, parent: BorrowedFd<'_>) -> Result<(), UnpackError> {
        let removed = directory::remove(parent, path.name())
            .map_err(|error| write_error("replace", path, error))?;
        if removed {
            self.directories.forget();
            if self.options.whiteouts == Whiteouts::Apply {
                self.written.retain(|written| !written.starts_with(path));
            }
        }
        Ok(())
    }

    fn remember(&mut self, path: &RelPath) {
        if self.options.whiteouts == Whiteouts::Apply {
            self.written.insert(path.clone());
            self.written.extend(path.ancestors());
        }
    }

    /// A handle for attributes of a directory that was made or found in the place of `path`, its last part no link.
    fn open_directory(&mut self, path: &RelPath) -> Result<OwnedFd, UnpackError> {
        let failed = |error: Errno| write_error("open", path, error.into());
        if path.is_root() {
            return reopen(self.directories.root()).map_err(failed);
        }
        let parent = self.directories.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&parent, path.name(), flags, Mode::empty()).map_err(failed)
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < 100 {
            self.notes.push(note);
        }
    }

    fn finish(mut self) -> Result<(Vec<RelPath>, Vec<String>), UnpackError> {
        self.utility_vm.remove(&self.directories)?;
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            // It may have been replaced by a file since.
            if let Ok(Some(directory)) = self.directories.existing(&path) {
                metadata::set_times(directory.as_fd(), time)
                    .map_err(|error| write_error("set the times of", &path, error.into()))?;
            }
        }
        Ok((self.directories.implied(), self.notes))
    }
}

fn create(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::from(0o600))
}

/// A handle that attributes can be set through, of a directory that is held by path only.
fn reopen(directory: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(
        directory,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Why a file's content could not be copied: the archive's fault or the disk's.
enum ContentError {
    Archive(TarError),
    Disk(Errno),
}

fn content_error(path: &RelPath, error: ContentError) -> UnpackError {
    match error {
        ContentError::Archive(error) => UnpackError::Archive(error),
        ContentError::Disk(error) => write_error("write", path, error.into()),
    }
}

/// Writes the current member's content, with holes where it has some.
fn copy_content(archive: &mut Reader<impl Read>, file: &OwnedFd) -> Result<(), ContentError> {
    let mut buffer = vec![0; 128 * 1024];
    let mut position = 0_u64;
    let mut hole_at_end = false;
    loop {
        match archive.piece(&mut buffer).map_err(ContentError::Archive)? {
            Piece::End => break,
            Piece::Hole(size) => {
                position += size;
                hole_at_end = true;
            }
            Piece::Data(count) => {
                let mut data = &buffer[..count];
                while !data.is_empty() {
                    let written =
                        rustix::io::retry_on_intr(|| rustix::io::pwrite(file, data, position))
                            .map_err(ContentError::Disk)?;
                    position += written as u64;
                    data = &data[written..];
                }
                hole_at_end = false;
            }
        }
    }
    if hole_at_end {
        rustix::fs::ftruncate(file, position).map_err(ContentError::Disk)?;
    }
    Ok(())
}

fn invalid(what: impl Into<String>) -> UnpackError {
    UnpackError::Invalid { what: what.into() }
}

fn write_error(action: &'static str, path: &RelPath, source: io::Error) -> UnpackError {
    UnpackError::Write { action, path: path.to_string(), source }
}
