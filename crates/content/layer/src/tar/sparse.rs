//! Which parts of a sparse file are stored.

use super::header::{self, Block};
use super::pax;

/// A stored part of a sparse file; what lies between parts is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) size: u64,
}

const BAD: &str = "a malformed sparse map";

/// Checks that segments are in order and within `size`, and hold `stored` bytes together.
pub(super) fn check(segments: &[Segment], size: u64, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut sum) = (0, 0_u64);
    for segment in segments {
        if segment.offset < end {
            return Err(BAD);
        }
        end = segment.offset.checked_add(segment.size).ok_or(BAD)?;
        sum += segment.size;
    }
    if end > size || sum != stored { Err(BAD) } else { Ok(()) }
}

/// `offset,size,offset,size…`, as in PAX sparse format 0.1.
pub(super) fn parse_map(text: &[u8], limit: usize) -> Result<Vec<Segment>, &'static str> {
    let mut segments = Vec::new();
    if text.is_empty() {
        return Ok(segments);
    }
    let mut numbers = text.split(|byte| *byte == b',');
    while let Some(offset) = numbers.next() {
        let offset = pax::decimal(offset).ok_or(BAD)?;
        let size = pax::decimal(numbers.next().ok_or(BAD)?).ok_or(BAD)?;
        if segments.len() == limit {
            return Err("a sparse map with too many parts");
        }
        segments.push(Segment { offset, size });
    }
    Ok(segments)
}

/// Entries of the old GNU format, which stand in the header and in blocks after it.
pub(super) fn old_entries(
    field: &[u8],
    segments: &mut Vec<Segment>,
    limit: usize,
) -> Result<(), &'static str> {
    for entry in field.chunks_exact(24) {
        if entry[0] == 0 {
            break;
        }
        let read = |part: &[u8]| {
            header::number(part).and_then(|value| u64::try_from(value).ok()).ok_or(BAD)
        };
        let segment = Segment { offset: read(&entry[..12])?, size: read(&entry[12..])? };
        if segments.len() == limit {
            return Err("a sparse map with too many parts");
        }
        segments.push(segment);
    }
    Ok(())
}

/// The entries of a header, whether more blocks follow it, and the size with holes.
pub(super) fn old_header(block: &Block) -> Result<(&[u8], bool, u64), &'static str> {
    let size =
        header::number(&block[483..495]).and_then(|value| u64::try_from(value).ok()).ok_or(BAD)?;
    Ok((&block[386..482], block[482] != 0, size))
}

/// The entries of a block after the header, and whether another follows.
pub(super) fn old_extension(block: &Block) -> (&[u8], bool) {
    (&block[..504], block[504] != 0)
}

/// Reads the map that PAX sparse format 1.0 puts before the content, fed byte by byte.
pub(super) struct MapParser {
    limit: usize,
    expected: Option<u64>,
    offset: Option<u64>,
    digits: Vec<u8>,
    pub(super) segments: Vec<Segment>,
}

impl MapParser {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, expected: None, offset: None, digits: Vec::new(), segments: Vec::new() }
    }

    /// Takes one block; true when the map is complete.
    pub(super) fn feed(&mut self, block: &Block) -> Result<bool, &'static str> {
        for byte in block {
            if *byte != b'\n' {
                self.digits.push(*byte);
                if self.digits.len() > 20 {
                    return Err(BAD);
                }
                continue;
            }
            let value = pax::decimal(&self.digits).ok_or(BAD)?;
            self.digits.clear();
            match (self.expected, self.offset.take()) {
                (None, _) => {
                    if value > self.limit as u64 {
                        return Err("a sparse map with too many parts");
                    }
                    self.expected = Some(value);
                }
                (Some(_), None) => self.offset = Some(value),
                (Some(_), Some(offset)) => self.segments.push(Segment { offset, size: value }),
            }
            if self.offset.is_none() && self.expected == Some(self.segments.len() as u64) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
