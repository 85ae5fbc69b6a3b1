//! What does a Dockerfile say, and where?
//!
//! [`parse`] takes a text and always answers with a [`Dockerfile`]: the instructions it understood, each with the place
//! of every word, and a [`report::Diagnostic`] for everything it did not. Lines are joined and here-documents cut out in
//! `lines`, words are split in `split`, and `instruction` gives them types. [`expand`] replaces variables, which only who
//! evaluates a Dockerfile can do. This crate knows neither images nor LLB.
//!
//! Grammar: Dockerfile reference and BuildKit's parser, whose decisions count where the reference is silent.

mod arguments;
mod device;
mod expand;
mod flags;
mod foreign;
mod instruction;
mod limits;
mod lines;
mod mount;
mod parse;
mod pattern;
pub mod reference;
#[cfg(test)]
mod reference_tests;
mod signal;
mod split;
mod syntax;
mod usage;

pub use device::Device;
pub use expand::{Expand, ExpandError, Expanded, Variables, expand};
pub use foreign::foreign_syntax;
pub use instruction::{
    Argument, CommandLine, CopyFiles, Dockerfile, From, Healthcheck, Heredoc, InlineFile,
    Instruction, Kind, Network, Onbuild, Pair, Run, Security, Stage, Word,
};
pub use lines::Directive;
pub use mount::{Mount, MountError, MountKind, Sharing, mounts_from};
pub use parse::{is_heredoc, parse, parse_trigger};
pub use signal::is_signal;
pub use syntax::{Edit, EditError, Syntax, Token, TokenKind, edit};
