//! What tests of all crates share: build contexts, a registry and a web server in the process, the real program, and a look into images.
//!
//! Everything here panics with a clear message when something is wrong: it is only for tests.

mod context;
mod image;
mod program;
mod registry;
mod web;
mod windows_base;
mod windows_program;

pub use context::Context;
pub use image::{Entry, Image, Kind, entries, overlay};
pub use program::{Program, busybox, outcome, success, with_shell};
pub use registry::Registry;
pub use web::{Asked, Page, Repository, Web};
pub use windows_base::WindowsLayer;
pub use windows_program::WindowsProgram;

pub use ::registry::server::{Access, Effect, Fault, Received, ServerOptions};
