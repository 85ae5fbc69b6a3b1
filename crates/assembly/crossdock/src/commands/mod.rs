//! What each command does.

mod archive;
mod build;
mod check;
mod image;
mod kubernetes;
mod login;
mod plan;
mod run;
mod transfer;
mod usage;
mod windows;

use std::io::{self, Write};
use std::path::Path;

use clap::CommandFactory;
use store::StoreError;

use crate::args::{BuildxCommand, Cli, Command, GlobalArgs, ImageCommand, KubernetesCommand};
use crate::failure::Failure;
use crate::request::UsageError;
use crate::session::Session;
use crate::settings::{self, Environment};

/// Does what the command line asks for.
pub(crate) fn run(
    command: Command,
    global: &GlobalArgs,
    environment: &Environment,
) -> Result<(), Failure> {
    let session = || Session::new(global, environment);
    match command {
        Command::Version => version(),
        Command::Completion { shell } => completion(shell),
        Command::Build(args) | Command::Buildx { command: BuildxCommand::Build(args) } => {
            build::build(&args, &session()?)
        }
        Command::Plan(args) => plan::plan(&args, &session()?),
        Command::Check(args) => check::check(&args, &session()?),
        Command::Images(args) | Command::Image { command: ImageCommand::Ls(args) } => {
            image::list(&args, &session()?)
        }
        Command::Image { command: ImageCommand::Inspect(args) } => {
            image::inspect(&args, &session()?)
        }
        Command::Image { command: ImageCommand::Rm { names } } => {
            image::remove(&names, &session()?)
        }
        Command::Image { command: ImageCommand::Tag { image, names } } => {
            image::tag(&image, &names, &session()?)
        }
        Command::Kubernetes { command: KubernetesCommand::Check(args) } => {
            kubernetes::check(&args, &session()?)
        }
        Command::Kubernetes { command: KubernetesCommand::Generate(args) } => {
            kubernetes::generate(&args, &session()?)
        }
        Command::Du(args) => usage::usage(&args, &session()?),
        Command::Prune(args) => usage::prune(&args, &session()?),
        Command::Login(args) => login::login(&args, &session()?),
        Command::Logout(args) => login::logout(&args, &session()?),
        Command::Pull(args) => transfer::pull(&args, &session()?),
        Command::Push(args) => transfer::push(&args, &session()?),
        Command::Run(args) => run::run(&args, &session()?),
        Command::Windows { command } => windows::run(command, &session()?),
        Command::Platforms(args) => run::platforms_here(&args, &session()?),
        Command::Image { command: ImageCommand::Save(args) } => archive::save(&args, &session()?),
        Command::Image { command: ImageCommand::Load(args) } => archive::load(&args, &session()?),
    }
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::because("cannot write to standard output", error))
}

/// Writes a file in one step, so that nobody reads half of it. What is no file (`/dev/stdout`) is written to.
fn write_file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::because(format!("cannot write {}", path.display()), error);
    if !::archive::may_be_replaced(path) {
        return fs_err::write(path, content).map_err(failed);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written =
        fs_err::write(&temporary, content).and_then(|()| fs_err::rename(&temporary, path));
    written.map_err(|error| {
        // It may not even exist.
        drop(fs_err::remove_file(&temporary));
        failed(error)
    })
}

/// One line each.
fn lines(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().fold(String::new(), |all, text| all + &text + "\n")
}

/// A day as `YYYY-MM-DD`: the one that was given, else today in UTC.
fn day(given: Option<&str>) -> Result<String, Failure> {
    if let Some(text) = given {
        let day = text.parse::<jiff::civil::Date>().map_err(|_| {
            UsageError::new(format!("--date: `{text}` is no day"), "write it as 2026-11-30")
        })?;
        return Ok(day.to_string());
    }
    let seconds = i64::try_from(settings::now().as_secs()).unwrap_or(i64::MAX);
    let now = jiff::Timestamp::from_second(seconds)
        .map_err(|error| Failure::because("the clock is wrong", error))?;
    Ok(jiff::tz::TimeZone::UTC.to_datetime(now).date().to_string())
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What was being done to the store when it failed.
fn store_failure(doing: &'static str) -> impl Fn(StoreError) -> Failure {
    move |error| Failure::because(format!("cannot {doing}"), error)
}

fn version() -> Result<(), Failure> {
    print(&format!("crossdock {} {}\n", env!("CARGO_PKG_VERSION"), oci::Platform::host()))
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "crossdock", &mut script);
    print_bytes(&script)
}
