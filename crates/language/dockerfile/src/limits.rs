//! How much a Dockerfile may have. Far more than anybody writes, and little enough that reading it stays cheap.

/// Bytes of an instruction with its continuation lines joined, without here-documents. A process takes 128 KiB in one
/// argument, so a longer command could not be started either.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// Comments kept with the instruction below them.
pub(crate) const MAX_COMMENTS: usize = 1000;
