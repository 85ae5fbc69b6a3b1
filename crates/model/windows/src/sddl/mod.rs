//! Security descriptors as text (SDDL, MS-DTYP 2.5.1), and from and to their binary form.
//!
//! Entries that hold conditions (`XA`, `XD`, `XU`, `ZA`) or resource attributes (`RA`) are refused as text and kept as
//! they are only in binary form: they mean nothing to a container, which belongs to no domain.

mod binary;
mod text;
mod words;

pub use text::SddlError;

/// A security identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sid {
    /// The six bytes after the revision, as a number.
    authority: u64,
    /// At most fifteen.
    parts: Vec<u32>,
}

/// A security descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityDescriptor {
    owner: Option<Sid>,
    group: Option<Sid>,
    dacl: Option<List>,
    sacl: Option<List>,
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    /// Control bits of this list, already at the list's own place in the descriptor.
    control: u16,
    /// `None`: a list that is present and null, which allows everything.
    entries: Option<Vec<AccessEntry>>,
}

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AccessEntry {
    kind: u8,
    flags: u8,
    mask: u32,
    /// Of object entries: which object, and which kind of objects inherits it.
    objects: [Option<Guid>; 2],
    sid: Sid,
}

/// As it stands in an entry.
type Guid = [u8; 16];

/// The binary form of a descriptor written as text.
///
/// # Errors
/// The place of the first mistake, in bytes from the start.
pub fn sddl_to_bytes(text: &str) -> Result<Vec<u8>, SddlError> {
    let descriptor = text.parse::<SecurityDescriptor>()?;
    descriptor.to_bytes().ok_or_else(|| SddlError::new(0, "the descriptor is larger than 64 KiB"))
}

/// A binary descriptor as text.
///
/// # Errors
/// When it is malformed, or holds entries that have no text here.
pub fn sddl_from_bytes(descriptor: &[u8]) -> Result<String, crate::SdError> {
    Ok(SecurityDescriptor::from_bytes(descriptor)?.to_string())
}

#[cfg(test)]
mod tests;
