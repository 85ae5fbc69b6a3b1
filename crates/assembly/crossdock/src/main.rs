//! The program: arguments, settings, terminal, exit codes. What it does is done by the crates below.

mod args;
mod commands;
mod failure;
mod findings;
mod plan;
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
use failure::Failure;
use request::UsageError;
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
        Err(failure) => fail(&failure, color),
    }
}

/// Help and version go to standard output; anything else is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg)
        && let Some(about) = args::about_unknown_flag(flag)
    {
        let failure = Failure::Usage(UsageError::new(format!("crossdock has no {flag}"), about));
        return fail(&failure, io::stderr().is_terminal());
    }
    // Where nobody reads, there is nothing to say.
    drop(error.print());
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn fail(failure: &Failure, color: bool) -> ExitCode {
    // Where standard error is closed, the exit code still tells.
    drop(io::stderr().write_all(failure.render(color).as_bytes()));
    ExitCode::from(failure.exit_code())
}
