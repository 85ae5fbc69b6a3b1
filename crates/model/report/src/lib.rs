//! What is a user told? Places in source text, diagnostics, and the events of a build.
//!
//! One stream of [`Event`]s feeds the terminal, plain text, JSON lines and later clients. This crate knows no terminal,
//! no colour, and not which part of the program speaks.
#![warn(missing_docs)]

mod diagnostic;
mod event;
mod exchange;
mod places;

pub use diagnostic::{Diagnostic, Severity, SourceText, Span, did_you_mean};
pub use event::{Event, Output, Progress, Silent, VertexId};
pub use exchange::{DescribedRule, github, json_findings, sarif};
pub use places::{Places, Region};
