//! One 512-byte header block: fields, numbers, checksum.

use super::BLOCK;

pub(super) type Block = [u8; BLOCK];

pub(super) const NAME: std::ops::Range<usize> = 0..100;
pub(super) const MODE: std::ops::Range<usize> = 100..108;
pub(super) const UID: std::ops::Range<usize> = 108..116;
pub(super) const GID: std::ops::Range<usize> = 116..124;
pub(super) const SIZE: std::ops::Range<usize> = 124..136;
pub(super) const MTIME: std::ops::Range<usize> = 136..148;
pub(super) const CHECKSUM: std::ops::Range<usize> = 148..156;
pub(super) const TYPE: usize = 156;
pub(super) const LINK: std::ops::Range<usize> = 157..257;
pub(super) const MAGIC: std::ops::Range<usize> = 257..265;
pub(super) const DEV_MAJOR: std::ops::Range<usize> = 329..337;
pub(super) const DEV_MINOR: std::ops::Range<usize> = 337..345;
pub(super) const PREFIX: std::ops::Range<usize> = 345..500;
const STAR_PREFIX: std::ops::Range<usize> = 345..476;
const STAR_TRAILER: std::ops::Range<usize> = 508..512;
const GNU_ATIME: std::ops::Range<usize> = 345..357;
const GNU_CTIME: std::ops::Range<usize> = 357..369;

/// Which dialect a block speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

pub(super) fn dialect(block: &Block) -> Dialect {
    match &block[MAGIC] {
        magic if magic == b"ustar  \0" => Dialect::Gnu,
        magic if magic.starts_with(b"ustar\0") && &block[STAR_TRAILER] == b"tar\0" => Dialect::Star,
        magic if magic.starts_with(b"ustar\0") => Dialect::Ustar,
        _ => Dialect::V7,
    }
}

/// The bytes of a field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An octal or base-256 number. Empty is zero; `None` for anything else, and beyond 63 bits.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => binary(field),
        _ => octal(field),
    }
}

/// Octal digits among spaces and NULs.
pub(super) fn octal(field: &[u8]) -> Option<i64> {
    let padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !padding(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !padding(byte)).map_or(start, |last| last + 1);
    let mut value = 0_i64;
    for byte in text(&field[start..end]) {
        let digit = match byte {
            b'0'..=b'7' => byte - b'0',
            _ => return None,
        };
        value = value.checked_mul(8)?.checked_add(i64::from(digit))?;
    }
    Some(value)
}

/// Two's complement in all bits but the first.
fn binary(field: &[u8]) -> Option<i64> {
    let negative = field.first()? & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (index, byte) in field.iter().enumerate() {
        let byte = match (index, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = value.checked_mul(256)? + i128::from(byte);
        if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Whether the block carries the sum of its bytes; signed sums are accepted as everywhere.
pub(super) fn checksum_fits(block: &Block) -> bool {
    let Some(found) = octal(&block[CHECKSUM]) else { return false };
    let (mut unsigned, mut signed) = (0_i64, 0_i64);
    for (index, byte) in block.iter().enumerate() {
        let byte = if CHECKSUM.contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(i8::from_ne_bytes([byte]));
    }
    found == unsigned || found == signed
}

/// The name with its prefix, where the dialect has one.
pub(super) fn name(block: &Block) -> Vec<u8> {
    let prefix = match dialect(block) {
        Dialect::V7 => &[][..],
        Dialect::Ustar => text(&block[PREFIX]),
        Dialect::Star => text(&block[STAR_PREFIX]),
        Dialect::Gnu => stray_prefix(block),
    };
    let name = text(&block[NAME]);
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// Go before 1.8 wrote GNU headers with a ustar prefix. It shows where the access time is no number.
fn stray_prefix(block: &Block) -> &[u8] {
    let broken = |field: &[u8]| field.first() != Some(&0) && number(field).is_none();
    if broken(&block[GNU_ATIME]) || broken(&block[GNU_CTIME]) {
        let prefix = text(&block[PREFIX]);
        if prefix.is_ascii() {
            return prefix;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000755\0"), Some(0o755));
        assert_eq!(number(b"  755 \0\0"), Some(0o755));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"00000000\0"), Some(0));
        assert_eq!(number(b"0000789\0"), None);
        assert_eq!(number(b"-000001\0"), None);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 8]), Some(-1));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(
            number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
        assert_eq!(
            number(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Some(i64::MAX)
        );
        assert_eq!(number(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
