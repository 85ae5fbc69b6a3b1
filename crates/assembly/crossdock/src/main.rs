//! The program: arguments, settings, terminal, exit codes. What it does is done by the crates below.

mod args;
mod commands;
mod failure;
mod progress;
mod request;
mod session;
mod settings;
mod signals;
mod stdin;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use args::Cli;
use settings::Environment;

fn main() -> ExitCode {
    executor::maybe_sandbox();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let environment = Environment::read();
    let color = environment.wants_color() && io::stderr().is_terminal();
    match commands::run(cli.command, &cli.global, &environment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // Where standard error is closed, the exit code still tells.
            drop(io::stderr().write_all(failure.render(color).as_bytes()));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version go to standard output; anything else is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => {
            args::about_unknown_flag(flag)
        }
        _ => None,
    };
    // Where nobody reads, there is nothing to say.
    drop(error.print());
    if let Some(about) = unknown {
        drop(writeln!(io::stderr(), "\n  {about}"));
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}
