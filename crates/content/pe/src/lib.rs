//! What does a Windows program or library say of itself?
//!
//! [`read`] takes what a loader would look at first: machine, subsystem, the libraries that are needed, whether there is
//! a signature, whether it is code of .NET. Nothing is run and no signature is checked.
//!
//! Files come from anybody, so only as much is read as is asked for, through [`Source`]; names and lists are bounded, and
//! what is wrong in a table is told instead of failing the whole.
#![warn(missing_docs)]

mod read;

use std::fmt;
use std::io;

pub use read::{PeError, read};

/// Bytes that can be read anywhere.
pub trait Source {
    /// How many there are.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Fills the buffer from `at`; fewer bytes than asked for only at the end. How many came.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

/// What a program or library says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The processor it is for.
    pub machine: Machine,
    /// Whether it is a library, which others load.
    pub is_library: bool,
    /// What surroundings it wants.
    pub subsystem: Subsystem,
    /// Libraries that must be there when it starts, as written, each once.
    pub imports: Vec<String>,
    /// Libraries that it loads when it first calls into them.
    pub delayed: Vec<String>,
    /// Whether it carries a signature, right or wrong.
    pub is_signed: bool,
    /// What of it is .NET.
    pub managed: Managed,
    /// What is wrong with its tables. Not empty: the lists above may lack something.
    pub problems: Vec<String>,
}

/// The processor that code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// 0x14c
    X86,
    /// 0x8664
    Amd64,
    /// 0xaa64, and libraries with code for both
    Arm64,
    /// 0x1c4
    Arm,
    /// Any other.
    Other(u16),
}

impl Machine {
    /// As images name their architecture.
    pub fn architecture(self) -> Option<&'static str> {
        match self {
            Self::X86 => Some("386"),
            Self::Amd64 => Some("amd64"),
            Self::Arm64 => Some("arm64"),
            Self::Arm => Some("arm"),
            Self::Other(_) => None,
        }
    }

    fn of(number: u16) -> Self {
        match number {
            0x14c => Self::X86,
            0x8664 => Self::Amd64,
            0xaa64 | 0xa641 | 0xa64e => Self::Arm64,
            0x1c0 | 0x1c2 | 0x1c4 => Self::Arm,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.architecture()) {
            (_, Some(name)) => f.write_str(name),
            (Self::Other(number), None) => write!(f, "machine {number:#06x}"),
            _ => f.write_str("an unknown machine"),
        }
    }
}

/// What surroundings a program wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsystem {
    /// None: drivers.
    Native,
    /// Windows on a screen.
    Gui,
    /// A console.
    Console,
    /// Firmware, before there is a system.
    Efi,
    /// Any other.
    Other(u16),
}

impl Subsystem {
    fn of(number: u16) -> Self {
        match number {
            1 => Self::Native,
            2 => Self::Gui,
            3 => Self::Console,
            10..=13 => Self::Efi,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Subsystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Gui => f.write_str("gui"),
            Self::Console => f.write_str("console"),
            Self::Efi => f.write_str("efi"),
            Self::Other(number) => write!(f, "subsystem {number}"),
        }
    }
}

/// What of a file is .NET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed {
    /// Nothing.
    No,
    /// It is .NET code, with native code perhaps.
    Yes {
        /// .NET code only, which runs on any processor.
        any_machine: bool,
    },
}
