//! The tar format itself: members in, members out, and nothing about images.
//!
//! [`Reader`] understands ustar, PAX, GNU long names, the four sparse forms, V7 and star, as Go's `archive/tar` does,
//! because that is what registries' images are written and read by; where GNU tar and Go differ on where the next
//! member starts, it refuses. [`Writer`] writes ustar, and PAX records for exactly those fields that do not fit
//! (the rules are at [`encode`]), byte for byte as Go does with `Format: PAX`.

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

use std::collections::BTreeMap;
use std::io;

pub use reader::{Piece, Reader};
pub use writer::{Writer, encode};

/// Tar works in blocks of this many bytes.
pub const BLOCK: usize = 512;

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// `0`, NUL, `7`, and the sparse forms.
    File,
    /// `1`; the target is a path in the archive.
    Hardlink,
    /// `2`
    Symlink,
    /// `3`
    CharDevice,
    /// `4`
    BlockDevice,
    /// `5`
    Directory,
    /// `6`
    Fifo,
    /// Anything else, which readers may skip.
    Other(u8),
}

/// A point in time: seconds since 1970 UTC, and nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// What an archive says of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The name as written, any bytes but NUL; not safe to use as a path.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Target of a symbolic or hard link, as written.
    pub link: Vec<u8>,
    /// Permission bits, perhaps with the type bits of Unix.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of content bytes, holes included. Zero for what has no content.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Device number, of devices.
    pub device: (u32, u32),
    /// Extended attributes (`SCHILY.xattr.` records).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All other PAX records that do not stand for a field above, such as `MSWINDOWS.rawsd`.
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether the content was stored as a sparse file, or GNU extensions were needed for the name.
    pub gnu: bool,
}

impl Header {
    /// A header with everything else zero or empty.
    pub fn new(path: impl Into<Vec<u8>>, kind: MemberKind) -> Self {
        Self {
            path: path.into(),
            kind,
            link: Vec::new(),
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time::default(),
            device: (0, 0),
            xattrs: BTreeMap::new(),
            records: BTreeMap::new(),
            gnu: false,
        }
    }
}

/// A PAX time, `[-]seconds[.fraction]`.
pub fn parse_time(text: &[u8]) -> Option<Time> {
    pax::time(text)
}

/// How much of an archive is accepted. The defaults are far above real images and far below what hurts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Members.
    pub entries: u64,
    /// Bytes of a name or link target.
    pub path_bytes: usize,
    /// Components of a name.
    pub depth: usize,
    /// Bytes of one PAX header or GNU long name.
    pub extension_bytes: u64,
    /// Pieces of one sparse file.
    pub segments: usize,
    /// Bytes of the archive, and of all contents with their holes.
    pub total_bytes: u64,
    /// Whether an archive that stops after a member, without the two empty blocks of the end, is refused.
    pub end_required: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            path_bytes: 32 * 1024,
            depth: 4096,
            extension_bytes: 1 << 20,
            segments: 1 << 18,
            total_bytes: 1 << 40,
            end_required: true,
        }
    }
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes did not come.
    #[error("cannot read the archive after {offset} bytes")]
    Read {
        /// How many came before.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// It ends inside a member, or without an end.
    #[error("the archive is cut off after {offset} bytes")]
    Truncated {
        /// How many bytes there are.
        offset: u64,
    },
    /// It is not a tar archive, or one that readers would disagree about.
    #[error("invalid archive: {what} (at byte {offset})")]
    Invalid {
        /// Where the block with the mistake starts.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// It is larger than accepted.
    #[error("the archive has more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        limit: u64,
    },
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read { source, .. } => source,
            TarError::Truncated { .. } => Self::new(io::ErrorKind::UnexpectedEof, error),
            _ => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
