//! How much a Dockerfile may have. Far more than anybody writes, and little enough that reading it stays cheap.

/// Bytes of an instruction with its continuation lines joined, without here-documents. A process takes 128 KiB in one
/// argument, so a longer command could not be started either.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// Comments kept with the instruction below them.
pub(crate) const MAX_COMMENTS: usize = 1000;

/// Instructions of a file.
pub(crate) const MAX_INSTRUCTIONS: usize = 320_000;

/// Words, flags, variables and here-documents of all instructions.
pub(crate) const MAX_WORDS: usize = 1_000_000;

/// Errors after which reading ends.
pub(crate) const MAX_ERRORS: usize = 200;

/// Warnings that are kept.
pub(crate) const MAX_WARNINGS: usize = 1000;

/// Stages of a file.
pub(crate) const MAX_STAGES: usize = 2000;
