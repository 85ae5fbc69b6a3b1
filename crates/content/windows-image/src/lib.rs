//! What is in a Windows image, and would Windows run it?
//!
//! A [`Scan`] takes the layers of an image, lowest first, each read once, and becomes [`Contents`]: the files that a
//! container sees with what Windows keeps of them, programs, registry hives. [`verify`] tells what is wrong with it; each
//! finding names its rule, of which [`rules`] has the list. [`hpc_base`] makes the smallest image there is: the base of
//! HostProcess containers.
//!
//! Knows layers and their bytes; not where they are kept, nor manifests of other systems, nor builds. Memory is bounded
//! by the number of files, not by their sizes.
#![warn(missing_docs)]

mod config;
mod finding;
mod hpc;
mod libraries;
mod programs;
mod scan;
mod verify;

pub use finding::{Finding, Severity, rules};
pub use hpc::{hpc_base, hpc_files};
pub use libraries::{Base, Known, known, libraries_as_of};
pub use scan::{Contents, File, FileKind, HiveFile, LayerContents, Scan, ScanError, Security};
pub use verify::{Subject, guess_base, verify};
