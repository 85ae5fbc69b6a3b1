//! The caller's side of a step.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::identity::{Identity, IdentityKind};
use crate::ssh::Proxy;
use crate::step::{MountKind, Rootfs, Stdio, Step};
use crate::wire::{self, Report, Spec, Stub};
use crate::{SANDBOX_NAME, network, root_directory};

/// Which of a step's streams bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a step used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From before the sandbox was set up until it was gone.
    pub wall: Duration,
    /// Processor time in the step's own code (of processes that were waited for).
    pub user: Duration,
    /// Processor time in the kernel on its behalf.
    pub system: Duration,
    /// Largest resident set of any of its processes, in bytes.
    pub max_rss_bytes: u64,
    /// Read from disks, in bytes.
    pub read_bytes: u64,
    /// Written to disks, in bytes.
    pub written_bytes: u64,
}

impl Usage {
    pub(crate) fn of(usage: &libc::rusage) -> Self {
        let time = |time: libc::timeval| {
            Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or_default())
                + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or_default())
        };
        let units = |count: i64, size: u64| u64::try_from(count).unwrap_or_default() * size;
        Self {
            wall: Duration::ZERO,
            user: time(usage.ru_utime),
            system: time(usage.ru_stime),
            max_rss_bytes: units(usage.ru_maxrss, 1024),
            read_bytes: units(usage.ru_inblock, 512),
            written_bytes: units(usage.ru_oublock, 512),
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, when it exited.
    pub code: Option<i32>,
    /// Signal, when it was killed.
    pub signal: Option<i32>,
    /// Whether it was killed because [`Limits::time`](crate::Limits::time) was over.
    pub timed_out: bool,
    /// What it used.
    pub usage: Usage,
    /// What the user should be told once, for example that the network is the host's.
    pub notes: Vec<String>,
}

impl Exit {
    /// Whether it exited with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The exit code a shell would show: 128 and the signal for a killed step.
    pub fn shell_code(&self) -> i32 {
        self.code.or(self.signal.map(|signal| 128 + signal)).unwrap_or(128)
    }
}

/// Why a step was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// [`enter`](crate::enter) was not called.
    #[error("no namespace was entered before running a step")]
    NotEntered,
    /// The caller asked for it.
    #[error("the step was cancelled")]
    Cancelled,
    /// What the step asks for is not in its root: program, user, directory.
    #[error("{0}")]
    Step(String),
    /// The sandbox could not be made.
    #[error("cannot {doing}")]
    Sandbox {
        /// What was being done, and to what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The sandbox ended without telling how the step did.
    #[error("the sandbox of the step died")]
    Died,
}

fn cannot(doing: &str) -> impl FnOnce(io::Error) -> ExecError {
    let doing = doing.to_owned();
    move |source| ExecError::Sandbox { doing, source }
}

/// How often a cancellation is looked for.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 25_000_000 };
/// Bytes handed on at a time, and the size of pipes.
const CHUNK: usize = 64 << 10;

/// Runs `step` to its end. `output` gets its streams as they come, in order within each; a slow `output` slows the
/// step down and nothing is buffered. Once `cancel` is true the step is ended: SIGTERM if it handles that, SIGKILL
/// for everything else in it.
///
/// When this returns, nothing of the step runs or is mounted any more, whatever the result.
///
/// # Errors
/// [`ExecError::Step`] is the step's own fault, [`ExecError::Sandbox`] the machine's.
pub fn run(
    step: &Step,
    output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &AtomicBool,
) -> Result<Exit, ExecError> {
    let started = Instant::now();
    if cancel.load(Ordering::Relaxed) {
        return Err(ExecError::Cancelled);
    }
    let (network, note) = network::plan(step.network);
    let mut notes: Vec<String> = note.into_iter().collect();
    match run_with(step, network, &mut notes, output, cancel, started)? {
        Outcome::Exit(exit) => Ok(exit),
        Outcome::NoRelay(reason) => {
            notes.push(network::relay_failed(&reason));
            match run_with(step, network::Plan::Host, &mut notes, output, cancel, started)? {
                Outcome::Exit(exit) => Ok(exit),
                Outcome::NoRelay(_) => Err(ExecError::Died),
            }
        }
    }
}

enum Outcome {
    Exit(Exit),
    /// The network could not be connected, and nothing was done yet.
    NoRelay(String),
}

fn run_with(
    step: &Step,
    network: network::Plan,
    notes: &mut Vec<String>,
    output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &AtomicBool,
    started: Instant,
) -> Result<Outcome, ExecError> {
    let identity = crate::identity().ok_or(ExecError::NotEntered)?;
    let mut running = Running {
        notes: std::mem::take(notes),
        stubs: Vec::new(),
        agents: Vec::new(),
        ended: None,
        failed: None,
        no_relay: None,
    };
    let spec = Spec {
        step: step.clone(),
        kind: identity.kind,
        offset: identity.offset,
        count: identity.count,
        resolv_conf: network::resolv_conf(&network),
        network,
    };
    let mut sandbox = start(&spec, identity)?;
    let pumped = pump(step, &mut sandbox, &mut running, output, cancel, started);
    if pumped.is_err() {
        // Killing the sandbox kills the step (parent death signal).
        let _ignored = sandbox.child.kill();
    }
    let waited = sandbox.child.wait();
    drop(std::mem::take(&mut running.agents));
    remove_stubs(step, &running.stubs);
    let timed_out = pumped?;
    waited.map_err(cannot("wait for the sandbox"))?;
    if let Some(reason) = running.no_relay {
        return Ok(Outcome::NoRelay(reason));
    }
    if let (Some((code, signal, mut usage)), None) = (running.ended, &running.failed) {
        if cancel.load(Ordering::Relaxed) && code != Some(0) {
            return Err(ExecError::Cancelled);
        }
        usage.wall = started.elapsed();
        let exit = Exit { code, signal, timed_out, usage, notes: running.notes };
        return Ok(Outcome::Exit(exit));
    }
    if cancel.load(Ordering::Relaxed) {
        return Err(ExecError::Cancelled);
    }
    Err(match running.failed {
        Some((doing, _, true)) => ExecError::Step(doing),
        Some((doing, errno, false)) => ExecError::Sandbox {
            doing,
            source: errno.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error),
        },
        None => ExecError::Died,
    })
}

struct Sandbox {
    child: Child,
    control: OwnedFd,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

struct Running {
    notes: Vec<String>,
    stubs: Vec<Stub>,
    agents: Vec<Proxy>,
    ended: Option<(Option<i32>, Option<i32>, Usage)>,
    failed: Option<(String, Option<i32>, bool)>,
    no_relay: Option<String>,
}

/// This program, as it was when it was started even if the file was replaced since.
fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

#[expect(clippy::disallowed_methods, reason = "starts this very program as the sandbox")]
fn start(spec: &Spec, identity: &Identity) -> Result<Sandbox, ExecError> {
    let memory = memory_file(spec).map_err(cannot("describe the step to its sandbox"))?;
    let (control, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| cannot("make a socket")(error.into()))?;
    let mut given = vec![memory.as_fd()];
    let inherited = spec.step.stdio == Stdio::Inherited;
    let stdin = io::stdin();
    if inherited {
        given.push(stdin.as_fd());
    }
    wire::send(&control, wire::START, &given)
        .map_err(cannot("describe the step to its sandbox"))?;
    let mut command = Command::new(own_program());
    command.arg0(SANDBOX_NAME).env_clear().stdin(theirs);
    let (mut stdout, mut stderr) = (None, None);
    if !inherited {
        let pipe = || {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
            // The sandbox gives the pipe to the user the step runs as, so that it can open `/dev/stdout`.
            Ok::<_, rustix::io::Errno>((read, write))
        };
        let make = || pipe().map_err(|error| cannot("make a pipe")(error.into()));
        let (read, write) = make()?;
        stdout = Some(read);
        command.stdout(write);
        let (read, write) = make()?;
        stderr = Some(read);
        command.stderr(write);
    }
    let child = command.spawn().map_err(cannot("start the sandbox of a step"))?;
    // The write ends are in `command`; while they are open here the pipes do not end.
    drop(command);
    debug_assert!(identity.kind == IdentityKind::SingleId || identity.count > 1);
    Ok(Sandbox { child, control, stdout, stderr })
}

/// A sealed file in memory: what the sandbox reads is what was written, and secrets in it never reach a disk.
fn memory_file(spec: &Spec) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("step", flags)?;
    let mut file = fs_err::File::from_parts(memory.into(), "step");
    let mut out = io::BufWriter::new(&mut file);
    serde_json::to_writer(&mut out, spec)?;
    io::Write::flush(&mut out)?;
    drop(out);
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into_file().into())
}

/// Hands on output and reports until the sandbox closes its ends. Says whether time ran out.
fn pump(
    step: &Step,
    sandbox: &mut Sandbox,
    running: &mut Running,
    output: &mut dyn FnMut(Stream, &[u8]),
    cancel: &AtomicBool,
    started: Instant,
) -> Result<bool, ExecError> {
    let mut buffer = vec![0; CHUNK];
    let (mut told, mut timed_out, mut control_open) = (false, false, true);
    while control_open || sandbox.stdout.is_some() || sandbox.stderr.is_some() {
        timed_out |= step.limits.time.is_some_and(|time| started.elapsed() >= time);
        if (timed_out || cancel.load(Ordering::Relaxed)) && !told && control_open {
            // A closed socket means that it is over already.
            let _ignored = wire::send(&sandbox.control, wire::CANCEL, &[]);
            told = true;
        }
        let ready = wait_for(sandbox, control_open).map_err(cannot("wait for the step"))?;
        let [control, stdout, stderr] = ready;
        if stdout {
            drain(&mut sandbox.stdout, &mut buffer, |bytes| output(Stream::Stdout, bytes))?;
        }
        if stderr {
            drain(&mut sandbox.stderr, &mut buffer, |bytes| output(Stream::Stderr, bytes))?;
        }
        if control {
            let received =
                wire::receive(&sandbox.control).map_err(cannot("hear from the sandbox"))?;
            match received {
                None => control_open = false,
                Some((bytes, descriptors)) => note_report(step, running, &bytes, descriptors)?,
            }
        }
    }
    Ok(timed_out)
}

/// Which of control, output and error have something to read.
fn wait_for(sandbox: &Sandbox, control_open: bool) -> io::Result<[bool; 3]> {
    let sources = [
        control_open.then(|| sandbox.control.as_fd()),
        sandbox.stdout.as_ref().map(AsFd::as_fd),
        sandbox.stderr.as_ref().map(AsFd::as_fd),
    ];
    let mut polled: Vec<_> =
        sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut polled, Some(&TICK)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut polled = polled.iter();
    Ok(sources.map(|source| {
        source.is_some() && polled.next().is_some_and(|polled| !polled.revents().is_empty())
    }))
}

/// Reads what is there, once; at the end of the stream forgets it.
fn drain(
    stream: &mut Option<OwnedFd>,
    buffer: &mut [u8],
    mut output: impl FnMut(&[u8]),
) -> Result<(), ExecError> {
    let Some(open) = stream else { return Ok(()) };
    match rustix::io::read(&*open, &mut *buffer) {
        Ok(0) => *stream = None,
        Ok(length) => output(buffer.get(..length).unwrap_or_default()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
        Err(error) => return Err(cannot("read the output of the step")(error.into())),
    }
    Ok(())
}

fn note_report(
    step: &Step,
    running: &mut Running,
    bytes: &[u8],
    descriptors: Vec<OwnedFd>,
) -> Result<(), ExecError> {
    let report = serde_json::from_slice(bytes)
        .map_err(|error| cannot("understand the sandbox")(error.into()))?;
    match report {
        Report::Stub(stub) => running.stubs.push(stub),
        Report::Note(note) => running.notes.push(note),
        Report::Ended { code, signal, usage } => running.ended = Some((code, signal, usage)),
        Report::NoRelay { reason } => running.no_relay = Some(reason),
        // The first failure is the cause of any other.
        Report::Failed { doing, errno, user } => {
            running.failed.get_or_insert((doing, errno, user));
        }
        Report::Agent { mount } => {
            let agent = step.mounts.get(mount).map(|mount| &mount.kind);
            if let (Some(MountKind::Ssh(agent)), Some(listener)) =
                (agent, descriptors.into_iter().next())
            {
                let proxy = Proxy::start(listener, agent.server.clone())
                    .map_err(cannot("relay the ssh agent"))?;
                running.agents.push(proxy);
            }
        }
    }
    Ok(())
}

/// Mount points were made in what the step wrote to; its mounts are gone now.
fn remove_stubs(step: &Step, stubs: &[Stub]) {
    let written: &PathBuf = match &step.rootfs {
        Rootfs::Directory(directory) => directory,
        Rootfs::Overlay { upper, .. } => upper,
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if stubs.is_empty() {
        return;
    }
    if let Ok(root) = rustix::fs::open(written, flags, rustix::fs::Mode::empty()) {
        root_directory::remove_stubs(root.as_fd(), stubs);
    }
}
