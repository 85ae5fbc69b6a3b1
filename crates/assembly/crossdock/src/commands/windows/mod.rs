//! `crossdock windows`.

mod base;

use crate::args::{WindowsBaseCommand, WindowsCommand};
use crate::failure::Failure;
use crate::session::Session;

/// Does what the command says.
pub(super) fn run(command: WindowsCommand, session: &Session<'_>) -> Result<(), Failure> {
    match command {
        WindowsCommand::Base { command: WindowsBaseCommand::Hpc(args) } => {
            base::hpc(&args, session)
        }
    }
}
