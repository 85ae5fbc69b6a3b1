//! Process 1 of a step, from the fork to the exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use super::devices::{self, Machine};
use super::mounts::{self, NO_SUCH_ID, Places, Staging};
use super::{DONE, Failure, MAP, NAMESPACES, While as _, privileges};
use crate::root_directory::{Want, kind, resolve};
use crate::step::{self, Security, Stdio};
use crate::users::{self, Person};
use crate::wire::{self, Spec};
use crate::{HOSTNAME, IdentityKind, system};

/// Where programs are looked for when the step has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the step's program. Returns only with a reason why it could not.
pub(super) fn become_step(
    spec: &Spec,
    network: UnshareFlags,
    control: &OwnedFd,
    sync: &OwnedFd,
    stdin: Option<&OwnedFd>,
) -> Result<Infallible, Failure> {
    // If the keeper died before this line, its end of `sync` is closed and the first request fails.
    let die_with_keeper = || rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    die_with_keeper().or_cannot("tie the step to its sandbox")?;
    rustix::process::umask(Mode::empty());
    system::raise_open_files();
    system::unshare(
        UnshareFlags::NEWNS
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWCGROUP
            | network,
    )
    .or_cannot("make namespaces for the step")?;
    if !network.is_empty() {
        system::loopback_up().or_cannot("bring the loopback interface up")?;
        // Privileges of the step are not over this network, so what root may do must be open to all.
        let open =
            |name: &str, value: &str| fs_err::write(format!("/proc/sys/net/ipv4/{name}"), value);
        open("ip_unprivileged_port_start", "0").or_cannot("open low ports to the step")?;
        // Not on every kernel, and a convenience only.
        let _ignored = open("ping_group_range", "0 2147483647");
    }
    ask(sync, NAMESPACES)?;
    let hostname = spec.step.hostname.as_deref().unwrap_or(HOSTNAME);
    rustix::system::sethostname(hostname.as_bytes()).or_cannot("name the host of the step")?;
    rustix::system::setdomainname(b"(none)").or_cannot("name the domain of the step")?;

    let machine = Machine::open()?;
    let (rootfs, sources) = mounts::open_sources(&spec.step)?;
    let mut staging = Staging::new()?;
    let root = mounts::root(spec, &rootfs, &mut staging)?;
    let places = Places { root: root.as_fd(), control, owner: (spec.offset, spec.offset) };
    let person = person(spec, &places)?;
    let cwd = places.find(spec.step.cwd.as_bytes(), Want::Directory)?.descriptor;
    if fstat(&cwd).is_ok_and(|stat| kind(&stat) != FileType::Directory) {
        return Err(Failure::step(format!(
            "working directory `{}` is not a directory",
            spec.step.cwd
        )));
    }
    drop(cwd);
    devices::mount_system(spec, &machine, &mut staging, &places)?;
    mounts::mount_all(spec, &sources, &mut staging, &places)?;
    devices::mask(spec, &machine, &places)?;
    if spec.step.read_only_root {
        system::mount_setattr(root.as_fd(), system::RDONLY, false).or_cannot("protect the root")?;
    }
    streams(spec, &machine_null()?, stdin, &person)?;
    mounts::pivot(root.as_fd())?;
    drop((machine, rootfs, sources, staging, root));

    system::unshare(UnshareFlags::NEWUSER).or_cannot("make a user namespace for the step")?;
    ask(sync, MAP)?;
    if spec.step.security == Security::Insecure {
        // A mount namespace that its own privileges are over: it may mount, what is mounted already stays locked.
        system::unshare(UnshareFlags::NEWNS).or_cannot("make namespaces for the step")?;
    }
    // Nothing but the three streams, the control socket and the keeper's may be open when paths are looked up again.
    system::close_on_exec_from(3).or_cannot("close what the step must not see")?;
    privileges::limits(&spec.step)?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let command = Command::new(spec, &person)?;
    // Before the user is set: root may enter a directory that the user may not, as with runc.
    enter_directory(&spec.step.cwd)?;
    privileges::give_up(spec, &person)?;
    die_with_keeper().or_cannot("tie the step to its sandbox")?;
    if spec.step.machine == step::Machine::Compatible32 {
        system::set_compatible32().or_cannot("set the personality of the step")?;
    }
    system::reset_signals();
    if spec.step.security == Security::Sandbox {
        privileges::filter(spec.step.machine == step::Machine::Compatible32)?;
    }
    Err(command.execute())
}

fn machine_null() -> Result<OwnedFd, Failure> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .or_cannot("open `/dev/null`")
}

/// Has the keeper do something.
fn ask(sync: &OwnedFd, request: &[u8]) -> Result<(), Failure> {
    let doing = "talk to the keeper of the step";
    wire::send(sync, request, &[]).or_cannot(doing)?;
    match wire::receive(sync).or_cannot(doing)? {
        Some((answer, _)) if answer == DONE => Ok(()),
        // The keeper has reported why.
        _ => Err(Failure::step("the keeper of the step gave up")),
    }
}

/// Standard input is empty unless inherited. Pipes are given to the step's user, who may open them again by name.
fn streams(
    spec: &Spec,
    null: &OwnedFd,
    stdin: Option<&OwnedFd>,
    person: &Person,
) -> Result<(), Failure> {
    let doing = "set up the streams of the step";
    system::place_at(stdin.unwrap_or(null), 0).or_cannot(doing)?;
    if spec.step.stdio == Stdio::Captured {
        let (uid, gid) = (spec.outer(person.uid), spec.outer(person.gid));
        let owner = (uid.map(rustix::fs::Uid::from_raw), gid.map(rustix::fs::Gid::from_raw));
        rustix::fs::fchown(io::stdout(), owner.0, owner.1).or_cannot(doing)?;
        rustix::fs::fchown(io::stderr(), owner.0, owner.1).or_cannot(doing)?;
    }
    Ok(())
}

/// Reads a file of the image that a user could have made anything of.
fn small_file(places: &Places<'_>, path: &str) -> Result<Vec<u8>, Failure> {
    let found = match resolve(places.root, path.as_bytes(), Want::Existing, places.owner) {
        Ok(found) => found.descriptor,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).or_cannot(format!("look at `{path}` of the image")),
    };
    let stat = fstat(&found).or_cannot(format!("look at `{path}` of the image"))?;
    if kind(&stat) != FileType::RegularFile {
        return Err(Failure::step(format!("`{path}` of the image is not a file")));
    }
    let number = std::os::fd::AsRawFd::as_raw_fd(&found);
    let file = fs_err::File::open(format!("/proc/self/fd/{number}"))
        .or_cannot(format!("open `{path}` of the image"))?;
    let mut text = Vec::new();
    file.take(users::LONGEST_FILE + 1)
        .read_to_end(&mut text)
        .or_cannot(format!("read `{path}` of the image"))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > users::LONGEST_FILE) {
        return Err(Failure::step(format!("`{path}` of the image is larger than 4 MiB")));
    }
    Ok(text)
}

fn person(spec: &Spec, places: &Places<'_>) -> Result<Person, Failure> {
    let passwd = small_file(places, "/etc/passwd")?;
    let group = small_file(places, "/etc/group")?;
    let mut person = users::resolve(&spec.step.user, &passwd, &group)
        .map_err(|error| Failure::step(error.to_string()))?;
    if spec.kind == IdentityKind::SingleId {
        // There is one group and `setgroups` is denied: root's other groups would have no effect.
        person.groups.clear();
    }
    let ids = person.groups.iter().chain([&person.uid, &person.gid]);
    let missing = ids.copied().find(|&id| spec.outer(id).is_none());
    match missing {
        None => Ok(person),
        Some(id) => Err(Failure::step(format!("cannot run as id {id}: {NO_SUCH_ID}"))),
    }
}

fn enter_directory(cwd: &str) -> Result<(), Failure> {
    rustix::process::chdir(cwd).or_cannot(format!("enter the working directory `{cwd}`"))?;
    // A magic link could have led out of the root: then the kernel knows no path for it.
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
        _ => Err(Failure::step(format!("working directory `{cwd}` is not in the image"))),
    }
}

/// What is executed, made ready before privileges are given up.
struct Command {
    name: String,
    candidates: Vec<CString>,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    fn new(spec: &Spec, person: &Person) -> Result<Self, Failure> {
        let text = |bytes: &[u8]| {
            CString::new(bytes).map_err(|_| {
                Failure::step("an argument or environment variable contains a zero byte")
            })
        };
        let step = &spec.step;
        let name = step.args.first().cloned().ok_or_else(|| Failure::step("no command to run"))?;
        let args = step.args.iter().map(|arg| text(arg.as_bytes())).collect::<Result<_, _>>()?;
        let mut env =
            step.env.iter().map(|entry| text(entry.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        if !step.env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(text(&[b"HOME=", person.home.as_slice()].concat())?);
        }
        let path = step.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
        let candidates = if name.contains('/') {
            vec![text(name.as_bytes())?]
        } else {
            path.unwrap_or(DEFAULT_PATH)
                .split(':')
                .map(|place| if place.is_empty() { "." } else { place })
                .map(|place| text(format!("{place}/{name}").as_bytes()))
                .collect::<Result<_, _>>()?
        };
        Ok(Self { name, candidates, args, env })
    }

    /// Executes the first candidate that can be. Returns only with a reason.
    fn execute(self) -> Failure {
        let mut worst = Errno::NOENT;
        for candidate in &self.candidates {
            let error = system::execve(candidate, &self.args, &self.env);
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
            match errno {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => worst = Errno::ACCESS,
                other => {
                    worst = other;
                    break;
                }
            }
        }
        let name = &self.name;
        let by_path = name.contains('/');
        Failure::step(match worst {
            Errno::NOENT if by_path => {
                format!(
                    "exec: \"{name}\": no such file or directory (or its interpreter is missing)"
                )
            }
            Errno::NOENT => format!("exec: \"{name}\": executable file not found in $PATH"),
            Errno::ACCESS => format!("exec: \"{name}\": permission denied"),
            Errno::NOEXEC => format!(
                "exec: \"{name}\": exec format error: neither a program for this platform nor a script with `#!`"
            ),
            other => format!("exec: \"{name}\": {}", io::Error::from(other)),
        })
    }
}
