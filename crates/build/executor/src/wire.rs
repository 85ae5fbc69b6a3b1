//! What `run` and the sandbox it starts tell each other, over one sequenced-packet socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::identity::IdentityKind;
use crate::network::Plan;
use crate::run::Usage;
use crate::step::Step;

/// Longest report. Reports carry paths and errors, never content.
const LONGEST: usize = 64 << 10;
/// Most descriptors in one packet.
const DESCRIPTORS: usize = 4;

/// Everything the sandbox needs to know, sent once, in a memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) step: Step,
    pub(crate) kind: IdentityKind,
    pub(crate) offset: u32,
    pub(crate) count: u32,
    pub(crate) network: Plan,
    pub(crate) resolv_conf: String,
}

impl Spec {
    /// The id in the caller's namespace of the step's id `id`.
    pub(crate) fn outer(&self, id: u32) -> Option<u32> {
        (id < self.count).then(|| self.offset.checked_add(id)).flatten()
    }
}

/// A mount point that was made because it was missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stub {
    /// Real path beneath the root, no links in it.
    pub(crate) path: Vec<u8>,
    pub(crate) directory: bool,
}

/// From the sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Something was made in the root that must be removed when the step is over.
    Stub(Stub),
    /// Something the user should know.
    Note(String),
    /// A listening socket comes along; connections are for the agent of this mount.
    Agent { mount: usize },
    /// The relay did not start; nothing else was done yet.
    NoRelay { reason: String },
    /// The step cannot be run: a fault of its own making (`user`), or of the machine.
    Failed { doing: String, errno: Option<i32>, user: bool },
    /// The step ended.
    Ended { code: Option<i32>, signal: Option<i32>, usage: Usage },
}

/// To the sandbox.
pub(crate) const START: &[u8] = b"start";
/// To the sandbox, any number of times.
pub(crate) const CANCEL: &[u8] = b"cancel";

pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(&socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(crate) fn report(socket: impl AsFd, report: &Report) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(report)?;
    if bytes.len() > LONGEST {
        bytes = serde_json::to_vec(&Report::Note("a report was too long to be sent".to_owned()))?;
    }
    send(socket, &bytes, &[])
}

/// One packet and what came with it; `None` when the other side is gone.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let received = loop {
        match recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if received.bytes == 0 && descriptors.is_empty() {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some((bytes, descriptors)))
}
