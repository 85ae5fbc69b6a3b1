//! What is in a Windows image, and would Windows run it?
//!
//! [`hpc_base`] makes the smallest image there is: the base of HostProcess containers.
//!
//! Knows layers and their bytes; not where they are kept, nor manifests of other systems, nor builds.
#![warn(missing_docs)]

mod hpc;

pub use hpc::{hpc_base, hpc_files};
