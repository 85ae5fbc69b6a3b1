//! What is done to the workspace itself: `cargo xtask <task>`.
//!
//! - `ci`: everything that a change has to pass: format, layers, lints, tests.
//! - `layers`: rewrites `layers.toml` from the `Cargo.toml`s; its diff is what a reviewer looks at.
//! - `layers --check`: only says where they differ.
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a program for the terminal")]

mod layers;

use std::error::Error;
use std::process::{Command, ExitCode};

/// A name to print, and a cargo command line.
const CI: [(&str, &[&str]); 5] = [
    ("format", &["fmt", "--all", "--check"]),
    ("layers", &["test", "--locked", "--package", "xtask"]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]),
    ("tests", &["test", "--workspace", "--locked", "--no-fail-fast"]),
    ("documentation", &["doc", "--workspace", "--locked", "--no-deps", "--document-private-items"]),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["ci"] => ci(),
        ["layers"] => rewrite_layers(),
        ["layers", "--check"] => check_layers(),
        _ => {
            eprintln!("usage: cargo xtask ci | layers [--check]");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<(), Box<dyn Error>> {
    for (name, arguments) in CI {
        println!("== {name}: cargo {}", arguments.join(" "));
        #[expect(clippy::disallowed_methods, reason = "cargo, run for the developer who ran this")]
        let mut command = Command::new(env!("CARGO"));
        if name == "documentation" {
            command.env("RUSTDOCFLAGS", "--deny warnings");
        }
        if !command.args(arguments).status()?.success() {
            return Err(format!("{name} failed").into());
        }
    }
    println!("== all passed");
    Ok(())
}

fn rewrite_layers() -> Result<(), Box<dyn Error>> {
    let found = layers::found()?;
    let root = cargo_metadata::MetadataCommand::new().no_deps().exec()?.workspace_root;
    fs_err::write(root.join("layers.toml"), layers::written(&found))?;
    let violations = layers::violations(&found);
    if violations.is_empty() { Ok(()) } else { Err(violations.trim_end().into()) }
}

fn check_layers() -> Result<(), Box<dyn Error>> {
    let (found, listed) = (layers::found()?, layers::listed()?);
    let problems = layers::differences(&found, &listed) + &layers::violations(&found);
    if problems.is_empty() { Ok(()) } else { Err(problems.trim_end().into()) }
}
