//! What does a registry hive say, and how is one written?
//!
//! A hive is the file (`regf`) in which Windows keeps a tree of registry keys. [`write`] makes one of a [`Hive`], always
//! the same bytes for the same tree; [`read`] takes one apart. [`base_hive`] is what a Windows base layer needs five of:
//! a hive with a root key and nothing in it.
//!
//! Functions over bytes: no files, no clock, no Windows. What is read may come from anybody, so every offset is checked,
//! no cell is entered twice as a key, and what a hive gives is never more than a small multiple of its own bytes.
//! The format is described in `docs/internals/regf.md`.
#![warn(missing_docs)]

mod format;
mod read;
mod write;

use std::sync::Arc;

pub use read::{ReadError, read};
pub use write::{WriteError, write};

/// A registry hive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hive {
    /// Name of the file it was made for, at most 31 UTF-16 units; the last ones of a longer one.
    pub file_name: String,
    /// Second part of the format's version: 3, or 5 for hives with large values and hashed lists.
    pub minor: u32,
    /// When it was written: units of 100 ns since 1601.
    pub written: u64,
    /// The key that all others lie beneath.
    pub root: Key,
}

/// A key: a name with values and further keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Its name, without the way to it.
    pub name: String,
    /// Its class, which few keys have; never empty.
    pub class: Option<String>,
    /// When it was written: units of 100 ns since 1601.
    pub written: u64,
    /// Who may do what: a self-relative security descriptor, which keys share. Empty only where a hive that was read has none.
    pub security: Arc<[u8]>,
    /// Its values, in the order of the hive.
    pub values: Vec<Value>,
    /// The keys beneath it, in the order in which Windows compares names.
    pub keys: Vec<Self>,
}

/// A value of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    /// Its name; empty for the key's default value.
    pub name: String,
    /// What its data are, as in [`kind`].
    pub kind: u32,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Kinds of values that are met most.
pub mod kind {
    /// Text, UTF-16 with a zero at the end.
    pub const TEXT: u32 = 1;
    /// Text with `%VARIABLES%` in it.
    pub const EXPANDABLE: u32 = 2;
    /// Any bytes.
    pub const BINARY: u32 = 3;
    /// A number of 32 bits.
    pub const NUMBER: u32 = 4;
    /// Several texts.
    pub const TEXTS: u32 = 7;
    /// A number of 64 bits.
    pub const LONG_NUMBER: u32 = 11;
}

/// `O:BAG:SYD:(A;CI;KA;;;SY)(A;CI;KA;;;BA)(A;CI;KR;;;WD)`: administrators and the system do everything, all others read.
pub const ROOT_SECURITY: &[u8] = &[
    // revision 1, self-relative, with a discretionary list; owner at 20, group at 36, list at 48
    1, 0, 0x04, 0x80, 20, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, //
    // owner S-1-5-32-544
    1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0, //
    // group S-1-5-18
    1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, //
    // list of three entries, 72 bytes
    2, 0, 72, 0, 3, 0, 0, 0, //
    0, 2, 20, 0, 0x3f, 0, 0x0f, 0, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0, //
    0, 2, 24, 0, 0x3f, 0, 0x0f, 0, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0, //
    0, 2, 20, 0, 0x19, 0, 0x02, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
];

/// What each of the five hives of a Windows base layer is when there is nothing to say: 8192 bytes, which hosts up to
/// and including Windows Server 2025 load. They refuse hives that are empty files.
pub fn base_hive() -> Vec<u8> {
    let root = Key { name: "ROOT".to_owned(), security: ROOT_SECURITY.into(), ..Key::default() };
    let hive = Hive { file_name: String::new(), minor: 5, written: 0, root };
    // The tree is fixed and fits; a test holds that.
    write(&hive).unwrap_or_default()
}
