//! The numbers of the format, for reader and writer.

/// Bytes of the base block, and the unit in which bins grow.
pub(crate) const BLOCK: usize = 4096;
/// Bytes of a bin's header.
pub(crate) const BIN_HEADER: usize = 32;
/// Bytes of a key's cell before its name.
pub(crate) const KEY_HEADER: usize = 76;
/// Bytes of a value's cell before its name.
pub(crate) const VALUE_HEADER: usize = 20;
/// Bytes of a security cell before its descriptor.
pub(crate) const SECURITY_HEADER: usize = 20;
/// "There is none", where an offset is expected.
pub(crate) const NONE: u32 = u32::MAX;

/// Key: the root of a hive.
pub(crate) const ROOT: u16 = 0x4;
/// Key: cannot be deleted.
pub(crate) const NO_DELETE: u16 = 0x8;
/// Key: its name is Latin-1, not UTF-16.
pub(crate) const LATIN: u16 = 0x20;
/// Value: its name is Latin-1, not UTF-16.
pub(crate) const VALUE_LATIN: u16 = 0x1;
/// Value: its data lie in the place of their offset.
pub(crate) const RESIDENT: u32 = 0x8000_0000;

/// Bytes of data in one piece; more are cut into pieces of as many.
pub(crate) const PIECE: usize = 16_344;
/// UTF-16 units of a key's name.
pub(crate) const MAX_KEY_NAME: usize = 255;
/// UTF-16 units of a value's name.
pub(crate) const MAX_VALUE_NAME: usize = 16_383;
/// Keys in keys, as Windows allows.
pub(crate) const MAX_DEPTH: usize = 512;
/// Bytes of a hive, as Windows allows.
pub(crate) const MAX_HIVE: usize = 0x7fff_f000;

/// The sum over the base block, which stands behind the bytes that it is of.
pub(crate) fn checksum(block: &[u8]) -> u32 {
    let sum = block
        .get(..508)
        .unwrap_or_default()
        .chunks_exact(4)
        .fold(0, |sum, word| sum ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    match sum {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

/// A name as Windows compares it: upper case, character by character.
pub(crate) fn folded(name: &str) -> Vec<u16> {
    let upper = |character: char| {
        let mut upper = character.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(single), None) => single,
            _ => character,
        }
    };
    let mut units = Vec::with_capacity(name.len());
    for character in name.chars() {
        units.extend_from_slice(upper(character).encode_utf16(&mut [0; 2]));
    }
    units
}
