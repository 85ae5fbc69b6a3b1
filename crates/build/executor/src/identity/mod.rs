//! Who the process is: the user namespace all work is done in.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{getegid, geteuid, getpid};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::system::{self, Forked};

mod chroot;
mod ranges;

/// How the ids of images are kept on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdentityKind {
    /// Started as root: every id exists, those of steps are shifted far up.
    Root,
    /// An ordinary user with a range of subordinate ids.
    SubIds,
    /// One id only: owners are recorded, not applied.
    SingleId,
}

/// The namespace [`enter`] made, as the rest of the program needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// How ids are kept.
    pub kind: IdentityKind,
    /// Id `i` of an image is id `i + offset` of this process's namespace, and on disk.
    pub offset: u32,
    /// How many ids an image can use: `0..count`.
    pub count: u32,
    /// What the user should be told once, with a way out.
    pub note: Option<String>,
}

/// What [`enter`] may be told.
#[derive(Clone, Debug)]
pub struct EnterOptions {
    /// Directories searched for `newuidmap` and `newgidmap`.
    pub search: Vec<PathBuf>,
    /// `/etc/subuid` and `/etc/subgid`, elsewhere in tests.
    pub subuid: PathBuf,
    /// See `subuid`.
    pub subgid: PathBuf,
    /// Use one id even where there are more.
    pub single_id: bool,
}

impl Default for EnterOptions {
    fn default() -> Self {
        Self {
            search: ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from).into(),
            subuid: PathBuf::from("/etc/subuid"),
            subgid: PathBuf::from("/etc/subgid"),
            single_id: false,
        }
    }
}

/// Why no namespace could be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The kernel, or what this process runs in, forbids user namespaces.
    #[error("cannot make a user namespace: {hint}")]
    Forbidden {
        /// What to change.
        hint: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else went wrong.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn cannot(doing: &'static str) -> impl FnOnce(io::Error) -> EnterError {
    move |source| EnterError::Io { doing, source }
}

static ENTERED: OnceLock<Identity> = OnceLock::new();

/// Who this process is since [`enter`]; `None` before.
pub fn identity() -> Option<&'static Identity> {
    ENTERED.get()
}

/// Ids of steps start here when every id exists: far above any real user, so that host users are never mapped.
const ROOT_OFFSET: u32 = 1 << 30;
/// As many as lie between [`ROOT_OFFSET`] and the ids the kernel keeps for itself.
const ROOT_COUNT: u32 = 1 << 30;

/// Moves this process into a user namespace in which it is root, and a mount namespace of its own.
///
/// The process stays the same: same id, terminal, signals, files. To be called before any thread is started.
/// Calling it again returns what the first call did.
///
/// # Errors
/// [`EnterError::Forbidden`] says what has to be changed on the machine, [`EnterError::Io`] is anything else.
pub fn enter(options: &EnterOptions) -> Result<Identity, EnterError> {
    if let Some(entered) = ENTERED.get() {
        return Ok(entered.clone());
    }
    let privileged = geteuid().is_root();
    let plan = ranges::plan(privileged, options).map_err(cannot("read which ids may be used"))?;
    let mut mapped = map_with(&plan);
    let refused = matches!(mapped, Err(MapError::Enter(EnterError::Forbidden { .. })));
    // If it was not a chroot that stood in the way, the first answer is the one that helps.
    if refused && privileged && keeping_directory(chroot::leave).is_ok() {
        mapped = map_with(&plan);
    }
    let identity = match mapped {
        Ok(()) => plan.identity,
        Err(MapError::Helper(reason)) => {
            // The namespace exists but has no ids yet: one of them can always be had.
            map_single()?;
            Identity {
                kind: IdentityKind::SingleId,
                offset: 0,
                count: 1,
                note: Some(ranges::single_id_note(&reason)),
            }
        }
        Err(MapError::Enter(error)) => return Err(error),
    };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(io::Error::from)
        .map_err(powerless("make mounts private"))?;
    let entered = ENTERED.get_or_init(|| identity);
    Ok(entered.clone())
}

/// Changes of the root also change the working directory.
fn keeping_directory(change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let before = rustix::process::getcwd(Vec::new());
    change()?;
    // A directory outside the root has no path, and cannot be kept.
    let path = before.ok().filter(|path| path.as_bytes().starts_with(b"/"));
    Ok(rustix::process::chdir(path.as_deref().unwrap_or(c"/"))?)
}

enum MapError {
    /// The ranges were not granted; the text says why.
    Helper(String),
    Enter(EnterError),
}

impl From<EnterError> for MapError {
    fn from(error: EnterError) -> Self {
        Self::Enter(error)
    }
}

/// Unshares, with a child left behind in the old namespace that writes the maps.
fn map_with(plan: &ranges::Plan) -> Result<(), MapError> {
    let me = getpid();
    let (go_read, go_write) = pipe()?;
    let (answer_read, answer_write) = pipe()?;
    let helper = match system::fork().map_err(cannot("start a helper"))? {
        Forked::Parent(helper) => helper,
        Forked::Child => {
            drop((go_write, answer_read));
            let answer = help(&go_read, || plan.write(me));
            // Nobody is left to be told when this fails.
            let _ignored = rustix::io::write(&answer_write, answer.as_bytes());
            system::exit_now(0);
        }
    };
    drop((go_read, answer_write));
    let unshared = system::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS);
    if unshared.is_ok() {
        // The helper answers, or its end of the pipe closes.
        let _ignored = rustix::io::write(&go_write, b"g");
    }
    drop(go_write);
    let mut answer = String::new();
    let read = fs_err::File::from_parts(answer_read.into(), "pipe").read_to_string(&mut answer);
    system::wait(helper).map_err(cannot("wait for the helper that maps ids"))?;
    unshared.map_err(|error| MapError::Enter(forbidden(error)))?;
    read.map_err(cannot("hear from the helper that maps ids"))?;
    match answer.as_str() {
        "ok" => {}
        "" => return Err(MapError::Helper("the helper that maps ids died".to_owned())),
        reason => return Err(MapError::Helper(reason.to_owned())),
    }
    become_root().map_err(MapError::from)
}

fn help(go: &OwnedFd, write: impl FnOnce() -> Result<(), String>) -> String {
    let mut byte = [0];
    match rustix::io::read(go, &mut byte) {
        Ok(1) => match write() {
            Ok(()) => "ok".to_owned(),
            Err(reason) => reason,
        },
        _ => String::new(),
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), EnterError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(io::Error::from)
        .map_err(cannot("make a pipe"))
}

/// Ids after `unshare` show as the overflow id, so they are looked up before.
fn map_single() -> Result<(), EnterError> {
    let (uid, gid) = ranges::real_ids();
    let write = |file: &str, text: String| fs_err::write(format!("/proc/self/{file}"), text);
    write("setgroups", "deny".to_owned())
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .and_then(|()| write("uid_map", format!("0 {uid} 1\n")))
        .and_then(|()| write("gid_map", format!("0 {gid} 1\n")))
        .map_err(powerless("map this user to root in its own namespace"))?;
    become_root()
}

/// Ids inside may differ from 0 (a map that keeps the user's own): all work is done as 0.
fn become_root() -> Result<(), EnterError> {
    let (root, wheel) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    if !getegid().is_root() {
        rustix::thread::set_thread_res_gid(wheel, wheel, wheel)
            .map_err(io::Error::from)
            .map_err(cannot("become group 0 of the new namespace"))?;
    }
    if !geteuid().is_root() {
        rustix::thread::set_thread_res_uid(root, root, root)
            .map_err(io::Error::from)
            .map_err(cannot("become user 0 of the new namespace"))?;
    }
    Ok(())
}

/// Some systems let everybody make a user namespace and then withhold the privileges that come with it.
fn powerless(doing: &'static str) -> impl FnOnce(io::Error) -> EnterError {
    move |error| match error.kind() {
        io::ErrorKind::PermissionDenied => forbidden(error),
        _ => cannot(doing)(error),
    }
}

fn forbidden(source: io::Error) -> EnterError {
    let setting = |path: &str| fs_err::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let hint = if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "they are switched off; `sysctl -w kernel.unprivileged_userns_clone=1` allows them"
    } else if setting("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        "they are switched off; `sysctl -w user.max_user_namespaces=15000` allows them"
    } else if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref()
        == Some("1")
        && source.kind() == io::ErrorKind::PermissionDenied
    {
        "AppArmor restricts them; `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor \
         profile with `userns,` for this program, allows them"
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        "this process runs in a container or chroot that forbids it; start the container with `--privileged`, or \
         with seccomp and AppArmor profiles that allow user namespaces and mounts in them"
    } else if source.raw_os_error() == Some(libc::ENOSPC)
        || source.raw_os_error() == Some(libc::EUSERS)
    {
        "there are too many already; raise `sysctl user.max_user_namespaces`"
    } else {
        "the kernel refused it"
    };
    EnterError::Forbidden { hint: hint.to_owned(), source }
}
