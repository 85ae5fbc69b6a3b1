//! `crossdock windows`.

mod access;
mod base;
mod catalogue;
mod image;
mod inspect;
mod smoke;
mod verify;

pub(super) use catalogue::hosts;

use crate::args::{WindowsBaseCommand, WindowsCommand};
use crate::failure::Failure;
use crate::session::Session;

/// Does what the command says.
pub(super) fn run(command: WindowsCommand, session: &Session<'_>) -> Result<(), Failure> {
    match command {
        WindowsCommand::Base { command: WindowsBaseCommand::Hpc(args) } => {
            base::hpc(&args, session)
        }
        WindowsCommand::Bases(args) => catalogue::bases(&args, session),
        WindowsCommand::Compat(args) => catalogue::compat(&args, session),
        WindowsCommand::Verify(args) => verify::verify(&args, session),
        WindowsCommand::Inspect(args) => inspect::inspect(&args, session),
        WindowsCommand::Smoke(args) => smoke::smoke(&args, session),
    }
}
