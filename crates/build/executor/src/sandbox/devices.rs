//! `/proc`, `/sys`, `/dev` and the few files of `/etc` that belong to the sandbox and not to the image.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chownat, openat, symlinkat};
use rustix::mount::MountAttrFlags;

use super::mounts::{Places, Staging, attach, bind, device, fresh, make_directory};
use super::{Failure, While as _};
use crate::root_directory::{Want, resolve};
use crate::step::Security;
use crate::system::{NODEV, NOEXEC, NOSUID, RDONLY, mount_setattr};
use crate::wire::{self, Report, Spec};
use crate::{HOSTNAME, IdentityKind, network};

/// Hidden from steps: they tell about the machine, or allow more than a step should do.
const MASKED: [&str; 18] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/cgroup",
    "/sys/kernel/debug",
];
/// Readable, not writable.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Devices of the machine that a step may use.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];
/// Bytes of `/dev/shm` when nothing else is asked for, as in Docker.
const SHM_SIZE: u64 = 64 << 20;

const NO_PROC: &str = "`/proc` of steps shows the processes of the surrounding container, because that container \
                       hides a part of its own `/proc` (start it with `--security-opt systempaths=unconfined`)";

fn safe() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
}

/// Opened before anything is mounted, since the staging area may hide them.
pub(super) struct Machine {
    devices: Vec<(&'static str, OwnedFd)>,
    null: OwnedFd,
    proc: OwnedFd,
    sys: Option<OwnedFd>,
}

impl Machine {
    pub(super) fn open() -> Result<Self, Failure> {
        let mut devices = Vec::new();
        for (name, major, minor) in DEVICES {
            let path = format!("/dev/{name}");
            // A container may lack some; only `null` is needed.
            if let Ok(opened) = device(&path, major, minor) {
                devices.push((name, opened));
            }
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let open = |path: &str| rustix::fs::open(path, flags, Mode::empty());
        Ok(Self {
            devices,
            null: device("/dev/null", 1, 3).or_cannot("open `/dev/null`")?,
            proc: open("/proc").or_cannot("open `/proc`")?,
            sys: open("/sys").ok(),
        })
    }
}

/// Mounts `/proc`, `/sys` and `/dev`. Their mount points stay in the image when they were missing, as with BuildKit.
pub(super) fn mount_system(
    spec: &Spec,
    machine: &Machine,
    staging: &mut Staging,
    places: &Places<'_>,
) -> Result<(), Failure> {
    let directory = |path: &[u8]| {
        let found = places.find(path, Want::Directory)?;
        if found.made.len() > 1 {
            return Err(Failure::step(format!(
                "`{}` of the image is a link to where nothing is",
                String::from_utf8_lossy(path)
            )));
        }
        Ok(found.descriptor)
    };
    let proc = directory(b"/proc")?;
    let tree = if let Ok(tree) = fresh("proc", &[], safe()) {
        tree
    } else {
        wire::report(places.control, &Report::Note(NO_PROC.to_owned())).or_cannot("report")?;
        bind(machine.proc.as_fd(), NODEV | NOSUID | NOEXEC).or_cannot("mount `/proc`")?
    };
    attach(tree.as_fd(), proc.as_fd()).or_cannot("mount `/proc`")?;
    let sys = directory(b"/sys")?;
    let attributes = safe() | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let tree = match (fresh("sysfs", &[], attributes), &machine.sys) {
        (Ok(tree), _) => Some(tree),
        (Err(_), Some(outer)) => bind(outer.as_fd(), RDONLY | NODEV | NOSUID | NOEXEC).ok(),
        (Err(_), None) => None,
    };
    if let Some(tree) = tree {
        attach(tree.as_fd(), sys.as_fd()).or_cannot("mount `/sys`")?;
    }
    let dev = directory(b"/dev")?;
    let tree = make_dev(spec, machine).or_cannot("make `/dev`")?;
    attach(tree.as_fd(), dev.as_fd()).or_cannot("mount `/dev`")?;
    fill_dev(spec, machine, places).or_cannot("make `/dev`")?;
    mount_etc(spec, staging, places)
}

/// `/dev` itself, with the names that things are mounted over later.
fn make_dev(spec: &Spec, machine: &Machine) -> io::Result<OwnedFd> {
    let (uid, gid) = owner(spec);
    let (uid_text, gid_text) = (uid.to_string(), gid.to_string());
    let options =
        [("mode", "0755"), ("size", "64k"), ("uid", uid_text.as_str()), ("gid", gid_text.as_str())];
    // Devices are mounted over files one by one: nothing made in this file system itself is a device.
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let tree = fresh("tmpfs", &options, attributes | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let own = |name: &str| chownat(&tree, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
    for (name, _) in &machine.devices {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&tree, *name, flags, Mode::from_raw_mode(0o666))?;
        own(name)?;
    }
    for (name, target) in LINKS {
        symlinkat(target, &tree, name)?;
        own(name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        make_directory(&tree, OsStr::new(name), 0o755)?;
        own(name)?;
    }
    Ok(tree)
}

fn owner(spec: &Spec) -> (u32, u32) {
    (spec.offset, spec.offset)
}

fn fill_dev(spec: &Spec, machine: &Machine, places: &Places<'_>) -> io::Result<()> {
    let at = |path: String| {
        resolve(places.root, path.as_bytes(), Want::Existing, places.owner).map(|at| at.descriptor)
    };
    for (name, device) in &machine.devices {
        let tree = bind(device.as_fd(), NOSUID | NOEXEC)?;
        attach(tree.as_fd(), at(format!("/dev/{name}"))?.as_fd())?;
    }
    let tty_group = spec.outer(5).map(|gid| gid.to_string());
    let mut options = vec![("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    if let Some(gid) = tty_group.as_deref().filter(|_| spec.kind != IdentityKind::SingleId) {
        options.push(("gid", gid));
    }
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = fresh("devpts", options.get(1..).unwrap_or_default(), quiet)?;
    attach(pts.as_fd(), at("/dev/pts".to_owned())?.as_fd())?;
    let (uid, gid) = (spec.offset.to_string(), spec.offset.to_string());
    let size = match spec.step.shm_size {
        0 => SHM_SIZE,
        size => size,
    };
    let size = size.to_string();
    let options =
        [("mode", "1777"), ("size", size.as_str()), ("uid", uid.as_str()), ("gid", gid.as_str())];
    let shm = fresh("tmpfs", &options, safe())?;
    attach(shm.as_fd(), at("/dev/shm".to_owned())?.as_fd())?;
    // Kernels without message queues do without.
    if let Ok(queues) = fresh("mqueue", &[], safe()) {
        attach(queues.as_fd(), at("/dev/mqueue".to_owned())?.as_fd())?;
    }
    Ok(())
}

/// `/etc/hosts` and `/etc/resolv.conf`, read-only and never part of the result. `/etc/hostname` is left to the image:
/// BuildKit does so, and Dockerfiles write it.
fn mount_etc(spec: &Spec, staging: &mut Staging, places: &Places<'_>) -> Result<(), Failure> {
    let hostname = spec.step.hostname.as_deref().unwrap_or(HOSTNAME);
    let files = [
        ("/etc/hosts", network::hosts(hostname, &spec.step.add_hosts)),
        ("/etc/resolv.conf", spec.resolv_conf.clone()),
    ];
    for (path, content) in files {
        let file = staging.file(content.as_bytes(), 0o644, owner(spec))?;
        let tree = bind(file.as_fd(), RDONLY | NODEV | NOSUID | NOEXEC)
            .or_cannot(format!("make `{path}`"))?;
        let place = places.stub(path.as_bytes(), Want::File)?;
        attach(tree.as_fd(), place.as_fd()).or_cannot(format!("mount `{path}`"))?;
    }
    Ok(())
}

/// Hides and protects parts of `/proc` and `/sys`. With devices opened before the image could replace them.
pub(super) fn mask(spec: &Spec, machine: &Machine, places: &Places<'_>) -> Result<(), Failure> {
    if spec.step.security == Security::Insecure {
        return Ok(());
    }
    let attributes = safe() | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let existing =
        |path: &str| match resolve(places.root, path.as_bytes(), Want::Existing, places.owner) {
            Ok(found) => Ok(Some(found.descriptor)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).or_cannot(format!("look at `{path}`")),
        };
    for path in MASKED {
        let Some(place) = existing(path)? else { continue };
        let is_directory = rustix::fs::fstat(&place).is_ok_and(|stat| {
            crate::root_directory::kind(&stat) == rustix::fs::FileType::Directory
        });
        let cover = if is_directory {
            fresh("tmpfs", &[("mode", "0555"), ("size", "4k")], attributes)
        } else {
            bind(machine.null.as_fd(), RDONLY | NOSUID | NOEXEC)
        };
        let cover = cover.or_cannot(format!("hide `{path}`"))?;
        attach(cover.as_fd(), place.as_fd()).or_cannot(format!("hide `{path}`"))?;
    }
    for path in READ_ONLY {
        let Some(place) = existing(path)? else { continue };
        let doing = || format!("protect `{path}`");
        let tree = bind(place.as_fd(), 0).or_cannot(doing())?;
        mount_setattr(tree.as_fd(), RDONLY | NODEV | NOSUID | NOEXEC, true).or_cannot(doing())?;
        attach(tree.as_fd(), place.as_fd()).or_cannot(doing())?;
    }
    Ok(())
}
