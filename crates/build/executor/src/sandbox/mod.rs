//! The sandbox of one step: what this program is when it is started as [`SANDBOX_NAME`].
//!
//! Two processes. The *keeper* stays outside: it forks, writes the id maps, connects the network, passes on a
//! cancellation and reports how it ended. The child is process 1 of the step: it makes the mounts with the
//! privileges of the outer user namespace, gives them up, and becomes the step's program.

mod devices;
mod init;
mod mounts;
mod privileges;

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::UnshareFlags;

use crate::network::{Plan, Relay};
use crate::run::Usage;
use crate::step::Stdio;
use crate::system::{self, Ended, Forked};
use crate::wire::{self, Report, Spec};
use crate::{IdentityKind, SANDBOX_NAME};

/// The child has its namespaces; the keeper may connect the network.
const NAMESPACES: &[u8] = b"namespaces";
/// The child is in its user namespace; the keeper writes the maps.
const MAP: &[u8] = b"map";
/// The keeper did what was asked.
const DONE: &[u8] = b"done";

/// Why no step was started.
#[derive(Debug)]
pub(crate) struct Failure {
    doing: String,
    errno: Option<i32>,
    /// The step asks for what is not there.
    user: bool,
    /// No relay connects the network; nothing else was done yet.
    relay: bool,
}

impl Failure {
    pub(crate) fn step(message: impl Into<String>) -> Self {
        Self { doing: message.into(), errno: None, user: true, relay: false }
    }
}

impl Failure {
    fn report(self) -> Report {
        let Self { doing, errno, user, relay } = self;
        if relay {
            Report::NoRelay { reason: doing }
        } else {
            Report::Failed { doing, errno, user }
        }
    }
}

/// Says what was being done when a system call failed.
pub(crate) trait While<T> {
    fn or_cannot(self, doing: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn or_cannot(self, doing: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            Failure { doing: doing.into(), errno: error.raw_os_error(), user: false, relay: false }
        })
    }
}

/// Becomes the sandbox of a step when this process was started as one, and then never returns.
///
/// To be called first thing in `main`, before threads, arguments or settings.
pub fn maybe_sandbox() {
    if std::env::args_os().next().is_some_and(|name| name == SANDBOX_NAME) {
        system::exit_now(match keep() {
            Ok(()) => 0,
            Err(_) => 125,
        });
    }
}

/// Runs the keeper to its end; failures are reported to the caller.
fn keep() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let control = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)?;
    system::place_at(null()?, 0)?;
    system::close_on_exec_from(3)?;
    match keep_step(&control) {
        Ok(report) => wire::report(&control, &report),
        Err(failure) => wire::report(&control, &failure.report()),
    }
}

fn keep_step(control: &OwnedFd) -> Result<Report, Failure> {
    let (spec, stdin) = receive_spec(control)?;
    if spec.step.stdio == Stdio::Captured {
        // Ctrl-C on the terminal is for the program alone, which ends its sandboxes itself. A step that was given
        // the terminal stays in its session, so that shells can control jobs.
        rustix::process::setsid().or_cannot("leave the terminal")?;
    }
    let (sync, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .or_cannot("make a socket")?;
    let network = match &spec.network {
        Plan::Host => UnshareFlags::empty(),
        Plan::Loopback | Plan::Relay(_) => UnshareFlags::NEWNET,
    };
    let child = match system::fork_process_one().or_cannot("make a process namespace")? {
        Forked::Parent(child) => child,
        Forked::Child => {
            drop(sync);
            // Returns only when there is no step.
            let Err(failure) = init::become_step(&spec, network, control, &theirs, stdin.as_ref());
            // Nobody is left to be told when this fails.
            let _ignored = wire::report(control, &failure.report());
            system::exit_now(125)
        }
    };
    drop((theirs, stdin));
    let mut relay = None;
    let kept = quiet_streams()
        .and_then(|()| serve(&spec, child, &sync, &mut relay))
        .and_then(|()| watch(&spec, child, control));
    if kept.is_err() {
        system::kill(child, Signal::KILL);
    }
    if let Some(mut relay) = relay {
        // It may have ended with the namespace it served.
        let _ignored = relay.kill();
        let _ignored = relay.wait();
    }
    let (ended, usage) = kept?;
    Ok(match ended {
        Ended::Code(code) => Report::Ended { code: Some(code), signal: None, usage },
        Ended::Signal(signal) => Report::Ended { code: None, signal: Some(signal), usage },
    })
}

fn receive_spec(control: &OwnedFd) -> Result<(Spec, Option<OwnedFd>), Failure> {
    let doing = "learn which step to run";
    let (bytes, mut descriptors) = wire::receive(control)
        .or_cannot(doing)?
        .ok_or_else(|| Failure::step("the caller of the sandbox is gone"))?;
    if bytes != wire::START || descriptors.is_empty() {
        return Err(Failure::step("the sandbox was called by something else"));
    }
    let mut file = fs_err::File::from_parts(descriptors.remove(0).into(), "step");
    let mut text = Vec::new();
    io::Seek::seek(&mut file, io::SeekFrom::Start(0)).or_cannot(doing)?;
    file.read_to_end(&mut text).or_cannot(doing)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(io::Error::from).or_cannot(doing)?;
    let stdin = (spec.step.stdio == Stdio::Inherited).then(|| descriptors.pop()).flatten();
    Ok((spec, stdin))
}

/// The step's pipes end when the step does: the keeper must not hold them open.
fn quiet_streams() -> Result<(), Failure> {
    let null = null().or_cannot("open `/dev/null`")?;
    for number in 0..3 {
        system::place_at(&null, number).or_cannot("close the streams of the step")?;
    }
    Ok(())
}

fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
}

/// Does for the child what only its outside can, until it becomes the step or dies.
fn serve(
    spec: &Spec,
    child: Pid,
    sync: &OwnedFd,
    relay: &mut Option<Child>,
) -> Result<(), Failure> {
    let process = child.as_raw_nonzero().get();
    while let Some((request, _)) = wire::receive(sync).or_cannot("hear from the step")? {
        match request.as_slice() {
            NAMESPACES => {
                if let Plan::Relay(kind) = &spec.network {
                    *relay = Some(connect(kind, process)?);
                }
            }
            MAP => write_maps(spec, process).or_cannot("map the ids of the step")?,
            _ => return Err(Failure::step("the step's sandbox is confused")),
        }
        wire::send(sync, DONE, &[]).or_cannot("talk to the step")?;
    }
    Ok(())
}

/// How long a relay may take to start.
const RELAY_START: Duration = Duration::from_secs(5);

/// Starts a relay and waits for a default route to appear.
fn connect(kind: &Relay, process: i32) -> Result<Child, Failure> {
    let no_relay = |reason| Failure { doing: reason, errno: None, user: false, relay: true };
    let mut relay = kind.start(process).map_err(|error| no_relay(error.to_string()))?;
    let started = Instant::now();
    loop {
        let routes = fs_err::read_to_string(format!("/proc/{process}/net/route"))
            .or_cannot("look at the step's network")?;
        let ended = relay.try_wait().is_ok_and(|ended| ended.is_some());
        if routes.lines().count() > 1 && !ended {
            return Ok(relay);
        }
        if ended || started.elapsed() > RELAY_START {
            return Err(no_relay(kind.reason(relay)));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn write_maps(spec: &Spec, process: i32) -> io::Result<()> {
    let map = format!("0 {} {}\n", spec.offset, spec.count);
    if spec.kind == IdentityKind::SingleId {
        // A kernel that lets single ids be mapped without this does not have the file.
        fs_err::write(format!("/proc/{process}/setgroups"), "deny")?;
    }
    fs_err::write(format!("/proc/{process}/uid_map"), &map)?;
    fs_err::write(format!("/proc/{process}/gid_map"), &map)
}

/// Waits for the step to end, ending it when asked to, or when the caller is gone.
fn watch(spec: &Spec, child: Pid, control: &OwnedFd) -> Result<(Ended, Usage), Failure> {
    let ended =
        rustix::process::pidfd_open(child, PidfdFlags::empty()).or_cannot("watch the step")?;
    let (mut listening, mut kill_at) = (true, None::<Instant>);
    loop {
        if let Some(result) = system::try_wait(child).or_cannot("wait for the step")? {
            return Ok(result);
        }
        let left = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            system::kill(child, Signal::KILL);
            kill_at = None;
        }
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        if wait_for(&ended, listening.then(|| control.as_fd()), timeout.as_ref())
            .or_cannot("wait for the step")?
        {
            match wire::receive(control) {
                Ok(Some((message, _))) if message == wire::CANCEL => {
                    if handles_term(child) {
                        system::kill(child, Signal::TERM);
                        kill_at = Some(Instant::now() + spec.step.limits.grace);
                    } else {
                        system::kill(child, Signal::KILL);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    system::kill(child, Signal::KILL);
                    listening = false;
                }
            }
        }
    }
}

/// Whether the control socket has something.
fn wait_for(
    ended: &OwnedFd,
    control: Option<BorrowedFd<'_>>,
    timeout: Option<&Timespec>,
) -> io::Result<bool> {
    let mut polled = vec![PollFd::new(ended, PollFlags::IN)];
    polled.extend(control.map(|control| PollFd::from_borrowed_fd(control, PollFlags::IN)));
    match poll(&mut polled, timeout) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled.get(1).is_some_and(|polled| !polled.revents().is_empty()))
}

/// Process 1 of a namespace gets no signal it does not handle, so asking would only cost time.
fn handles_term(child: Pid) -> bool {
    const TERM: u64 = 1 << (libc::SIGTERM - 1);
    let status = fs_err::read_to_string(format!("/proc/{}/status", child.as_raw_nonzero()));
    status.is_ok_and(|status| {
        status.lines().find_map(|line| line.strip_prefix("SigCgt:")).is_some_and(|caught| {
            u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught & TERM != 0)
        })
    })
}
