//! What each line of the Dockerfile reference says, one test for each.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod add_git;
mod antrea;
mod arguments;
mod contexts;
mod copies;
mod errors;
mod extensions;
mod instructions;
mod mounts;
mod onbuild;
mod options;
mod permissions;
mod support;
mod text;
mod variables;
