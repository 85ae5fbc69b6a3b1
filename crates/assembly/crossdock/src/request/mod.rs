//! From arguments to what is asked of a builder. Pure: files, clock and network are not looked at here.

mod arguments;
mod build;
mod call;
mod output;
mod remote;
mod text;
mod values;

use std::fmt;

pub(crate) use arguments::read_text;
pub(crate) use build::{Stdin, StdinUse, Surroundings, build_request, stdin_use};
pub(crate) use call::{Call, Method, call};
pub(crate) use text::{bytes, duration};
pub(crate) use values::{key_value, network, platforms, reference};

/// The command line is wrong: what, and a way out. Ends the program with code 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsageError {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl UsageError {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for UsageError {}
