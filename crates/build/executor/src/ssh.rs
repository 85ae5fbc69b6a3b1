//! Lends an ssh agent to a step: bytes are relayed, and the agent sees this process as its peer; or it is this process.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use crate::SshServer;

/// Connections served at the same time; more wait for one of them to end.
const MOST_CONNECTIONS: usize = 64;

/// Serves `listener` until dropped.
pub(crate) struct Proxy {
    stop: Option<OwnedFd>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(listener: OwnedFd, agent: SshServer) -> io::Result<Self> {
        let listener = UnixListener::from(listener);
        listener.set_nonblocking(true)?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = thread::Builder::new()
            .name("ssh-agent".to_owned())
            .spawn(move || serve(&listener, &stopped, &agent))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends at once: its pipe closed. A panic in it is nothing a drop can act on.
            let _ignored = thread.join();
        }
    }
}

fn serve(listener: &UnixListener, stopped: &OwnedFd, agent: &SshServer) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let mut both = [
            PollFd::new(stopped, PollFlags::IN),
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
        ];
        if poll(&mut both, None).is_err() && both[0].revents().is_empty() {
            continue;
        }
        if !both[0].revents().is_empty() {
            return;
        }
        let Ok((client, _)) = listener.accept() else { continue };
        if open.load(Ordering::Relaxed) >= MOST_CONNECTIONS {
            continue;
        }
        if client.set_nonblocking(false).is_err() {
            continue;
        }
        let answer: Box<dyn FnOnce() + Send> = match agent {
            SshServer::Agent(socket) => {
                let Ok(server) = UnixStream::connect(socket) else { continue };
                Box::new(move || relay(&client, &server))
            }
            SshServer::Keys(keys) => {
                let keys = Arc::clone(keys);
                // A client that breaks off has what it wanted.
                Box::new(move || keys.serve(client).unwrap_or_default())
            }
        };
        open.fetch_add(1, Ordering::Relaxed);
        let open = Arc::clone(&open);
        let relayed = thread::Builder::new().name("ssh-relay".to_owned()).spawn(move || {
            answer();
            open.fetch_sub(1, Ordering::Relaxed);
        });
        drop(relayed);
    }
}

/// Copies both ways until either side is done. The step's side closes when the step's last process dies.
fn relay(client: &UnixStream, server: &UnixStream) {
    let copy = |from: &UnixStream, to: &UnixStream| {
        // A broken side ends the relay, which is all there is to do.
        let _ignored = io::copy(&mut { from }, &mut { to });
        let _ignored = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(client, server));
        copy(server, client);
        let _ignored = client.shutdown(Shutdown::Both);
    });
}
