//! Mounts by descriptor: nothing here depends on a path that somebody could swap.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat, fstat, open, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
};

use super::{Failure, While as _};
use crate::IdentityKind;
use crate::root_directory::{Found, Want, kind, resolve};
use crate::step::{MountKind, Rootfs, Step};
use crate::system::{self, NODEV, NOEXEC, NOSUID, RDONLY};
use crate::wire::{self, Report, Spec};

/// A new file system of kind `name`, attached nowhere yet.
pub(super) fn fresh(
    name: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A second mount of what `source` leads to, attached nowhere yet.
pub(super) fn bind(source: BorrowedFd<'_>, attributes: u64) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(source, "", flags)?;
    if attributes != 0 {
        system::mount_setattr(tree.as_fd(), attributes, true)?;
    }
    Ok(tree)
}

/// Attaches a mount over what `target` leads to.
pub(super) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, "", target, "", flags)?)
}

/// Opens a path of the host that the caller vouches for.
pub(super) fn open_host(path: &Path) -> Result<OwnedFd, Failure> {
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .or_cannot(format!("open `{}`", path.display()))
}

/// A small file system in memory that holds what is being put together; gone with the sandbox.
pub(super) struct Staging {
    directory: OwnedFd,
    next: u32,
}

/// Any directory will do to attach it to: sources are opened before, and it is unreachable after the pivot.
const ATTACH_TO: [&str; 5] = ["/tmp", "/mnt", "/run", "/var", "/usr"];

impl Staging {
    pub(super) fn new() -> Result<Self, Failure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = ATTACH_TO
            .iter()
            .find_map(|path| open(*path, flags, Mode::empty()).ok())
            .ok_or_else(|| Failure::step("this machine has none of the usual directories"))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
        let tree = fresh("tmpfs", &[("mode", "0755")], attributes)
            .or_cannot("make a file system in memory")?;
        attach(tree.as_fd(), below.as_fd()).or_cannot("mount a file system in memory")?;
        Ok(Self { directory: tree, next: 0 })
    }

    fn name(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    /// A new empty directory.
    pub(super) fn directory(&mut self) -> Result<OwnedFd, Failure> {
        let name = self.name("d");
        let doing = "make a directory in memory";
        rustix::fs::mkdirat(&self.directory, &name, Mode::from_raw_mode(0o755)).or_cannot(doing)?;
        self.open(&name).or_cannot(doing)
    }

    fn open(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        openat(&self.directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
    }

    /// A new file. Owner and group are ids of the sandbox's own namespace.
    pub(super) fn file(
        &mut self,
        content: &[u8],
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Result<OwnedFd, Failure> {
        let name = self.name("f");
        let doing = "make a file in memory";
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            openat(&self.directory, &name, flags, Mode::from_raw_mode(0o600)).or_cannot(doing)?;
        let mut file = fs_err::File::from_parts(file.into(), &name);
        io::Write::write_all(&mut file, content).or_cannot(doing)?;
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .or_cannot(doing)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).or_cannot(doing)?;
        self.open(&name).or_cannot(doing)
    }

    /// A listening socket and its place in the file system.
    fn socket(&mut self, mode: u32, (uid, gid): (u32, u32)) -> Result<(OwnedFd, OwnedFd), Failure> {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
        let name = self.name("s");
        let doing = "make the socket of an ssh agent";
        let flags = SocketFlags::CLOEXEC;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                .or_cannot(doing)?;
        rustix::process::fchdir(&self.directory).or_cannot(doing)?;
        let address = SocketAddrUnix::new(name.as_str()).or_cannot(doing)?;
        rustix::net::bind(&listener, &address).or_cannot(doing)?;
        rustix::net::listen(&listener, 64).or_cannot(doing)?;
        let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        chownat(&self.directory, &name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)
            .or_cannot(doing)?;
        rustix::fs::chmodat(&self.directory, &name, Mode::from_raw_mode(mode), AtFlags::empty())
            .or_cannot(doing)?;
        Ok((listener, self.open(&name).or_cannot(doing)?))
    }

    /// An overlay of `lowers` (bottom first), attached within the staging area.
    ///
    /// Layers are named by short links, so that any number fits the kernel's page of options, and so that a step
    /// sees no path of the host in its list of mounts.
    pub(super) fn overlay(
        &mut self,
        lowers: &[OwnedFd],
        upper: Option<(&OwnedFd, &OwnedFd)>,
        volatile: bool,
    ) -> Result<OwnedFd, Failure> {
        let doing = "mount the layers of the step as one file system";
        let workshop = self.directory()?;
        let link = |descriptor: &OwnedFd, name: &str| {
            let number = std::os::fd::AsRawFd::as_raw_fd(descriptor);
            rustix::fs::symlinkat(format!("/proc/self/fd/{number}"), &workshop, name)
        };
        rustix::fs::mkdirat(&workshop, "e", Mode::from_raw_mode(0o755)).or_cannot(doing)?;
        rustix::fs::mkdirat(&workshop, "m", Mode::from_raw_mode(0o755)).or_cannot(doing)?;
        let mut names = Vec::with_capacity(lowers.len() + 1);
        for (index, lower) in lowers.iter().enumerate().rev() {
            let name = index.to_string();
            link(lower, &name).or_cannot(doing)?;
            names.push(name);
        }
        // At least one lower, and two where there is no upper.
        if names.is_empty() || (names.len() == 1 && upper.is_none()) {
            names.push("e".to_owned());
        }
        let mut options = format!("userxattr,lowerdir={}", names.join(":"));
        let mut flags = MountFlags::NODEV;
        if let Some((upper, work)) = upper {
            link(upper, "u").or_cannot(doing)?;
            link(work, "w").or_cannot(doing)?;
            options.push_str(",upperdir=u,workdir=w");
            if volatile {
                options.push_str(",volatile");
            }
        } else {
            flags |= MountFlags::RDONLY;
        }
        rustix::process::fchdir(&workshop).or_cannot(doing)?;
        let options = std::ffi::CString::new(options).map_err(io::Error::from).or_cannot(doing)?;
        rustix::mount::mount("overlay", "m", "overlay", flags, options.as_c_str())
            .or_cannot(doing)?;
        openat(&workshop, "m", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).or_cannot(doing)
    }
}

/// A mount whose sources are open. Sources are opened before the staging area may hide them.
pub(super) enum Opened {
    Bind { source: OwnedFd },
    Overlay { lowers: Vec<OwnedFd>, upper: Option<(OwnedFd, OwnedFd)> },
    Made,
}

pub(super) fn open_sources(step: &Step) -> Result<(Opened, Vec<Opened>), Failure> {
    let all =
        |paths: &[PathBuf]| paths.iter().map(|path| open_host(path)).collect::<Result<_, _>>();
    let rootfs = match &step.rootfs {
        Rootfs::Directory(path) => Opened::Bind { source: open_host(path)? },
        Rootfs::Overlay { lowers, upper, work, .. } => Opened::Overlay {
            lowers: all(lowers)?,
            upper: Some((open_host(upper)?, open_host(work)?)),
        },
    };
    let mut mounts = Vec::with_capacity(step.mounts.len());
    for mount in &step.mounts {
        mounts.push(match &mount.kind {
            MountKind::Bind { source, .. } | MountKind::Device { source } => {
                Opened::Bind { source: open_host(source)? }
            }
            MountKind::Overlay { lowers, upper, .. } => Opened::Overlay {
                lowers: all(lowers)?,
                upper: match upper {
                    Some((upper, work)) => Some((open_host(upper)?, open_host(work)?)),
                    None => None,
                },
            },
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Ssh(_) => Opened::Made,
        });
    }
    Ok((rootfs, mounts))
}

/// Makes the root and attaches it in the staging area. The descriptor is of the mounted root.
pub(super) fn root(
    spec: &Spec,
    opened: &Opened,
    staging: &mut Staging,
) -> Result<OwnedFd, Failure> {
    match opened {
        Opened::Bind { source } => {
            let tree =
                bind(source.as_fd(), NODEV).or_cannot("mount the root directory of the step")?;
            let place = staging.directory()?;
            attach(tree.as_fd(), place.as_fd())
                .or_cannot("mount the root directory of the step")?;
            Ok(tree)
        }
        Opened::Overlay { lowers, upper } => {
            let volatile = matches!(spec.step.rootfs, Rootfs::Overlay { volatile, .. } if volatile);
            let upper = upper.as_ref().map(|(upper, work)| (upper, work));
            staging.overlay(lowers, upper, volatile)
        }
        Opened::Made => Err(Failure::step("a step needs a root")),
    }
}

/// A place in the root that something is mounted over; what had to be made for it is reported.
pub(super) struct Places<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) control: &'a OwnedFd,
    /// The step's root user, as an id of the sandbox's namespace.
    pub(super) owner: (u32, u32),
}

impl Places<'_> {
    /// Finds or makes a mount point that is removed again after the step.
    pub(super) fn stub(&self, target: &[u8], want: Want) -> Result<OwnedFd, Failure> {
        let found = self.find(target, want)?;
        for stub in found.made {
            wire::report(self.control, &Report::Stub(stub)).or_cannot("report a mount point")?;
        }
        Ok(found.descriptor)
    }

    /// Finds or makes something that stays.
    pub(super) fn find(&self, target: &[u8], want: Want) -> Result<Found, Failure> {
        resolve(self.root, target, want, self.owner).or_cannot(format!(
            "find `{}` in the root of the step",
            String::from_utf8_lossy(target)
        ))
    }
}

/// Mounts everything a step asked for, outermost targets first.
pub(super) fn mount_all(
    spec: &Spec,
    opened: &[Opened],
    staging: &mut Staging,
    places: &Places<'_>,
) -> Result<(), Failure> {
    let step = &spec.step;
    let target = |index: usize| -> Vec<u8> {
        let target = step.mounts.get(index).map_or("", |mount| mount.target.as_str());
        if target.starts_with('/') {
            target.as_bytes().to_vec()
        } else {
            format!("{}/{target}", step.cwd).into_bytes()
        }
    };
    let mut order: Vec<usize> = (0..step.mounts.len()).collect();
    let depth = |target: &[u8]| {
        target.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").count()
    };
    order.sort_by_key(|&index| depth(&target(index)));
    for index in order {
        let (Some(mount), Some(opened)) = (step.mounts.get(index), opened.get(index)) else {
            continue;
        };
        let target = target(index);
        let shown = String::from_utf8_lossy(&target).into_owned();
        if depth(&target) == 0 {
            return Err(Failure::step(format!("nothing can be mounted over `{shown}`")));
        }
        let tree = tree(spec, index, &mount.kind, opened, staging, places)?;
        let is_directory = fstat(&tree).is_ok_and(|stat| kind(&stat) == FileType::Directory);
        let want = if is_directory { Want::Directory } else { Want::File };
        let place = places.stub(&target, want)?;
        if rustix::fs::fstatfs(&place).is_ok_and(|fs| fs.f_type == PROC_SUPER_MAGIC) {
            return Err(Failure::step(format!(
                "`{shown}` is within `/proc`, where nothing can be mounted"
            )));
        }
        attach(tree.as_fd(), place.as_fd()).or_cannot(format!("mount `{shown}`"))?;
    }
    Ok(())
}

fn tree(
    spec: &Spec,
    index: usize,
    kind: &MountKind,
    opened: &Opened,
    staging: &mut Staging,
    places: &Places<'_>,
) -> Result<OwnedFd, Failure> {
    let writable = |read_only: bool| NODEV | if read_only { RDONLY } else { 0 };
    let owner = |uid: u32, gid: u32| match (spec.outer(uid), spec.outer(gid)) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(Failure::step(format!(
            "the owner {uid}:{gid} of a mount cannot be had here: {NO_SUCH_ID}"
        ))),
    };
    match (kind, opened) {
        (MountKind::Bind { subpath, read_only, .. }, Opened::Bind { source }) => {
            let inside = within(source.as_fd(), subpath.as_deref(), places)?;
            bind(inside.as_fd(), writable(*read_only)).or_cannot("mount a directory of the host")
        }
        (MountKind::Device { source: path }, Opened::Bind { source }) => {
            usable_device(spec, path, source)?;
            bind(source.as_fd(), NOSUID | NOEXEC).or_cannot("mount a device of the host")
        }
        (
            MountKind::Overlay { subpath, read_only, upper, .. },
            Opened::Overlay { lowers, upper: opened_upper },
        ) => {
            let opened_upper = opened_upper.as_ref().map(|(upper, work)| (upper, work));
            let mounted = staging.overlay(lowers, opened_upper, true)?;
            let inside = within(mounted.as_fd(), subpath.as_deref(), places)?;
            bind(inside.as_fd(), writable(*read_only || upper.is_none()))
                .or_cannot("mount a part of a stage")
        }
        (MountKind::Tmpfs { size, mode }, _) => {
            let (uid, gid) = places.owner;
            let size = size.map_or_else(|| "50%".to_owned(), |size| size.to_string());
            let options = [
                ("mode", format!("{mode:o}")),
                ("uid", uid.to_string()),
                ("gid", gid.to_string()),
                ("size", size),
            ];
            let options: Vec<_> =
                options.iter().map(|(key, value)| (*key, value.as_str())).collect();
            fresh(
                "tmpfs",
                &options,
                MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
            )
            .or_cannot("make a file system in memory")
        }
        (MountKind::Secret { bytes, mode, uid, gid }, _) => {
            let file = staging.file(bytes, *mode, owner(*uid, *gid)?)?;
            bind(file.as_fd(), RDONLY | NODEV | NOSUID | NOEXEC).or_cannot("mount a secret")
        }
        (MountKind::Ssh(agent), _) => {
            let (listener, place) = staging.socket(agent.mode, owner(agent.uid, agent.gid)?)?;
            let report = serde_json::to_vec(&Report::Agent { mount: index })
                .map_err(io::Error::from)
                .or_cannot("lend the ssh agent")?;
            wire::send(places.control, &report, &[listener.as_fd()])
                .or_cannot("lend the ssh agent")?;
            bind(place.as_fd(), NODEV | NOSUID | NOEXEC).or_cannot("mount the ssh agent's socket")
        }
        _ => Err(Failure::step("a mount and its source do not match")),
    }
}

/// Refuses what is no device, and what a step could not open anyway: its root is nobody to the machine.
fn usable_device(spec: &Spec, path: &Path, source: &OwnedFd) -> Result<(), Failure> {
    let shown = path.display();
    let stat = fstat(source).or_cannot(format!("look at `{shown}`"))?;
    if !matches!(kind(&stat), FileType::CharacterDevice | FileType::BlockDevice) {
        return Err(Failure::step(format!("`{shown}` is not a device")));
    }
    if stat.st_mode & 0o006 != 0o006 && spec.kind != IdentityKind::SingleId {
        return Err(Failure::step(format!(
            "device `{shown}` (mode {:04o}) is not open to everybody, and to this machine a step is nobody \
             (`chmod o+rw {shown}`, or a udev rule that says MODE=\"0666\")",
            stat.st_mode & 0o7777
        )));
    }
    Ok(())
}

/// What `statfs` says of `/proc` (`linux/magic.h`).
const PROC_SUPER_MAGIC: rustix::fs::FsWord = 0x9fa0;

/// Why an owner may be out of reach.
pub(super) const NO_SUCH_ID: &str =
    "this user has no range of subordinate ids (`usermod --add-subuids … --add-subgids …`)";

fn within(
    source: BorrowedFd<'_>,
    subpath: Option<&str>,
    places: &Places<'_>,
) -> Result<OwnedFd, Failure> {
    let path = subpath.unwrap_or_default();
    match resolve(source, path.as_bytes(), Want::Existing, places.owner) {
        Ok(found) => Ok(found.descriptor),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::step(format!("`{path}` is not found in the source of a mount")))
        }
        Err(error) => Err(error).or_cannot(format!("find `{path}` in the source of a mount")),
    }
}

/// Makes the new root `/` and lets go of everything else.
pub(super) fn pivot(root: BorrowedFd<'_>) -> Result<(), Failure> {
    let doing = "enter the root of the step";
    rustix::process::fchdir(root).or_cannot(doing)?;
    match rustix::process::pivot_root(".", ".") {
        // The old root lies over the new one now.
        Ok(()) => {
            rustix::mount::unmount(".", rustix::mount::UnmountFlags::DETACH).or_cannot(doing)?;
        }
        // The machine runs from its initial memory file system, which cannot be exchanged, only covered.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_move(".", "/").or_cannot(doing)?;
            rustix::process::chroot(".").or_cannot(doing)?;
        }
        Err(error) => return Err(error).or_cannot(doing),
    }
    rustix::process::chdir("/").or_cannot(doing)
}

/// A directory entry made in something that is already private to the sandbox.
pub(super) fn make_directory(at: impl AsFd, name: &OsStr, mode: u32) -> io::Result<OwnedFd> {
    rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(mode))?;
    Ok(openat(&at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a device of the machine after looking that it is that device, whatever its name says.
pub(super) fn device(path: &str, major: u32, minor: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let device = openat(CWD, path, flags, Mode::empty())?;
    let stat = fstat(&device)?;
    if kind(&stat) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(major, minor)
    {
        Ok(device)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}
