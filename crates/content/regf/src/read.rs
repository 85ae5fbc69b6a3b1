//! The bytes of a hive to a tree of keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::format::{
    BIN_HEADER, BLOCK, KEY_HEADER, LATIN, MAX_DEPTH, NONE, PIECE, RESIDENT, SECURITY_HEADER,
    VALUE_HEADER, VALUE_LATIN, checksum,
};
use crate::{Hive, Key, Value};

/// Why bytes are not a hive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not `regf` at the start, or too short for anything.
    #[error("this is not a registry hive: {0}")]
    NotAHive(&'static str),
    /// The base block's sum is another.
    #[error("the registry hive is damaged: its checksum is {found:#010x}, not {expected:#010x}")]
    Checksum {
        /// What the hive says.
        found: u32,
        /// What it is.
        expected: u32,
    },
    /// Something points to where it cannot.
    #[error("the registry hive is damaged at byte {at}: {what}")]
    Damaged {
        /// Counted from the start of the file.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
}

/// Takes a hive apart. Volatile keys, of which files have none, are left out; characters that are no UTF-16 are
/// replaced; bytes behind the bins mean nothing.
pub fn read(bytes: &[u8]) -> Result<Hive, ReadError> {
    let block = bytes.get(..BLOCK).ok_or(ReadError::NotAHive("shorter than 4096 bytes"))?;
    if !block.starts_with(b"regf") {
        return Err(ReadError::NotAHive("it does not begin with `regf`"));
    }
    let (found, expected) = (u32_at(block, 508), checksum(block));
    if found != expected {
        return Err(ReadError::Checksum { found, expected });
    }
    if u32_at(block, 20) != 1 || !matches!(u32_at(block, 24), 3..=6) {
        return Err(ReadError::NotAHive("its format is not 1.3 to 1.6"));
    }
    if u32_at(block, 4) != u32_at(block, 8) {
        return Err(damaged(4, "it was not written to its end"));
    }
    let length = usize::try_from(u32_at(block, 40)).unwrap_or(usize::MAX);
    let bins = bytes
        .get(BLOCK..)
        .and_then(|rest| rest.get(..length))
        .ok_or(damaged(40, "it says that it is longer than it is"))?;
    let mut reader =
        Reader { bins, entered: BTreeSet::new(), securities: BTreeMap::new(), left: length };
    reader.check_bins()?;
    let name: Vec<u8> = block[48..112].to_vec();
    let name = utf16(&name);
    Ok(Hive {
        file_name: name.split('\0').next().unwrap_or_default().to_owned(),
        minor: u32_at(block, 24),
        written: u64_at(block, 12),
        root: reader.key(u32_at(block, 36), 0)?,
    })
}

struct Reader<'a> {
    bins: &'a [u8],
    /// Cells that are keys, each of which belongs to one key.
    entered: BTreeSet<u32>,
    /// Security cells, read once each.
    securities: BTreeMap<u32, Arc<[u8]>>,
    /// How many bytes may still be given out: cells that are shared cannot make much of little.
    left: usize,
}

impl<'a> Reader<'a> {
    /// Bins follow each other without a gap.
    fn check_bins(&self) -> Result<(), ReadError> {
        let mut at = 0;
        while at < self.bins.len() {
            let head = self
                .bins
                .get(at..at + BIN_HEADER)
                .filter(|head| head.starts_with(b"hbin"))
                .ok_or(damaged(BLOCK + at, "there is no bin"))?;
            let size = usize::try_from(u32_at(head, 8)).unwrap_or(usize::MAX);
            if usize::try_from(u32_at(head, 4)) != Ok(at) {
                return Err(damaged(BLOCK + at, "the bin is not where it says"));
            }
            if size == 0 || size % BLOCK != 0 || size > self.bins.len() - at {
                return Err(damaged(BLOCK + at, "the bin has an impossible size"));
            }
            at += size;
        }
        Ok(())
    }

    /// What a cell in use holds.
    fn cell(&self, offset: u32) -> Result<&'a [u8], ReadError> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let wrong = |what| damaged(at.saturating_add(BLOCK), what);
        if !at.is_multiple_of(8) {
            return Err(wrong("cells begin at multiples of 8"));
        }
        let rest = self.bins.get(at..).filter(|rest| rest.len() >= 8);
        let rest = rest.ok_or(wrong("there is no cell"))?;
        let size = i32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
        if size >= 0 {
            return Err(wrong("the cell is not in use"));
        }
        let size = usize::try_from(size.unsigned_abs()).unwrap_or(usize::MAX);
        rest.get(4..size).ok_or(wrong("the cell ends outside of the hive"))
    }

    /// A cell that begins with its kind and has this many bytes at least.
    fn record(&self, offset: u32, kind: [u8; 2], least: usize) -> Result<&'a [u8], ReadError> {
        let cell = self.cell(offset)?;
        if cell.starts_with(&kind) && cell.len() >= least {
            Ok(cell)
        } else {
            Err(damaged_cell(offset, "the cell is not of the kind that it is used as"))
        }
    }

    /// Counts what is given out.
    fn take(&mut self, bytes: usize, offset: u32) -> Result<(), ReadError> {
        self.left = self
            .left
            .checked_sub(bytes)
            .ok_or(damaged_cell(offset, "cells are used more often than they can be"))?;
        Ok(())
    }

    fn key(&mut self, offset: u32, depth: usize) -> Result<Key, ReadError> {
        if depth > MAX_DEPTH {
            return Err(damaged_cell(offset, "keys are nested too deep"));
        }
        if !self.entered.insert(offset) {
            return Err(damaged_cell(offset, "a key is beneath two others, or beneath itself"));
        }
        let cell = self.record(offset, *b"nk", KEY_HEADER)?;
        let flags = u16_at(cell, 2);
        let name = cell
            .get(KEY_HEADER..)
            .and_then(|rest| rest.get(..usize::from(u16_at(cell, 72))))
            .ok_or(damaged_cell(offset, "the name is longer than its cell"))?;
        let class = match (u32_at(cell, 48), u16_at(cell, 74)) {
            (NONE, _) | (_, 0) => None,
            (class, length) => {
                self.take(usize::from(length), class)?;
                let text = self.cell(class)?.get(..usize::from(length));
                Some(utf16(text.ok_or(damaged_cell(class, "the class is longer than its cell"))?))
            }
        };
        let security = match u32_at(cell, 44) {
            NONE => Arc::default(),
            security => self.security(security)?,
        };
        let values = self.values(cell, offset)?;
        let mut keys = Vec::new();
        if u32_at(cell, 20) > 0 {
            let mut offsets = Vec::new();
            self.list(u32_at(cell, 28), true, &mut offsets)?;
            if u32::try_from(offsets.len()) != Ok(u32_at(cell, 20)) {
                return Err(damaged_cell(offset, "the key has not as many keys as it says"));
            }
            for key in offsets {
                keys.push(self.key(key, depth + 1)?);
            }
        }
        let name = if flags & LATIN != 0 { latin(name) } else { utf16(name) };
        Ok(Key { name, class, written: u64_at(cell, 4), security, values, keys })
    }

    fn security(&mut self, offset: u32) -> Result<Arc<[u8]>, ReadError> {
        if let Some(known) = self.securities.get(&offset) {
            return Ok(Arc::clone(known));
        }
        let cell = self.record(offset, *b"sk", SECURITY_HEADER)?;
        let length = usize::try_from(u32_at(cell, 16)).unwrap_or(usize::MAX);
        let descriptor = cell.get(SECURITY_HEADER..).and_then(|rest| rest.get(..length));
        let descriptor: Arc<[u8]> = descriptor
            .ok_or(damaged_cell(offset, "the descriptor is longer than its cell"))?
            .into();
        self.take(descriptor.len(), offset)?;
        self.securities.insert(offset, Arc::clone(&descriptor));
        Ok(descriptor)
    }

    /// The keys in a list, or in the lists of a list.
    fn list(&mut self, offset: u32, may_nest: bool, keys: &mut Vec<u32>) -> Result<(), ReadError> {
        let cell = self.cell(offset)?;
        let kind = cell.get(..2).unwrap_or_default();
        let step = match kind {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => return Err(damaged_cell(offset, "the cell is no list of keys")),
        };
        let count = usize::from(u16_at(cell, 2));
        let entries = cell
            .get(4..)
            .and_then(|rest| rest.get(..count * step))
            .ok_or(damaged_cell(offset, "the list is longer than its cell"))?;
        self.take(entries.len(), offset)?;
        for entry in entries.chunks_exact(step) {
            let cell = u32_at(entry, 0);
            match (kind, may_nest) {
                (b"ri", true) => self.list(cell, false, keys)?,
                (b"ri", false) => {
                    return Err(damaged_cell(offset, "lists of keys are nested too deep"));
                }
                _ => keys.push(cell),
            }
        }
        Ok(())
    }

    fn values(&mut self, key: &[u8], offset: u32) -> Result<Vec<Value>, ReadError> {
        let count = usize::try_from(u32_at(key, 36)).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(Vec::new());
        }
        let list = self.cell(u32_at(key, 40))?;
        let entries = count.checked_mul(4).and_then(|length| list.get(..length));
        let entries = entries.ok_or(damaged_cell(offset, "the list of values is too short"))?;
        self.take(entries.len(), offset)?;
        entries.chunks_exact(4).map(|entry| self.value(u32_at(entry, 0))).collect()
    }

    fn value(&mut self, offset: u32) -> Result<Value, ReadError> {
        let cell = self.record(offset, *b"vk", VALUE_HEADER)?;
        self.take(cell.len(), offset)?;
        let name = cell
            .get(VALUE_HEADER..)
            .and_then(|rest| rest.get(..usize::from(u16_at(cell, 2))))
            .ok_or(damaged_cell(offset, "the name is longer than its cell"))?;
        let name = if u16_at(cell, 16) & VALUE_LATIN != 0 { latin(name) } else { utf16(name) };
        let size = u32_at(cell, 4);
        let length = usize::try_from(size & !RESIDENT).unwrap_or(usize::MAX);
        let data = if size & RESIDENT != 0 {
            let place = cell.get(8..12).unwrap_or_default();
            let data = place.get(..length);
            data.ok_or(damaged_cell(offset, "data in place have four bytes at most"))?.to_vec()
        } else if length == 0 {
            Vec::new()
        } else {
            self.take(length, offset)?;
            self.data(u32_at(cell, 8), length)?
        };
        Ok(Value { name, kind: u32_at(cell, 12), data })
    }

    fn data(&self, offset: u32, length: usize) -> Result<Vec<u8>, ReadError> {
        let cell = self.cell(offset)?;
        if length <= PIECE || !cell.starts_with(b"db") {
            let data = cell.get(..length);
            return Ok(data
                .ok_or(damaged_cell(offset, "the data are longer than their cell"))?
                .to_vec());
        }
        if cell.len() < 8 {
            return Err(damaged_cell(offset, "the cell is not of the kind that it is used as"));
        }
        let count = usize::from(u16_at(cell, 2));
        let list = self.cell(u32_at(cell, 4))?.get(..count * 4);
        let list = list.ok_or(damaged_cell(offset, "the list of pieces is too short"))?;
        let mut data = Vec::new();
        for entry in list.chunks_exact(4) {
            let piece = self.cell(u32_at(entry, 0))?;
            let wanted = PIECE.min(length - data.len());
            let piece = piece.get(..wanted);
            data.extend_from_slice(
                piece.ok_or(damaged_cell(offset, "a piece of the data is too short"))?,
            );
        }
        if data.len() == length {
            Ok(data)
        } else {
            Err(damaged_cell(offset, "pieces of the data are missing"))
        }
    }
}

fn damaged(at: usize, what: &'static str) -> ReadError {
    ReadError::Damaged { at, what }
}

fn damaged_cell(offset: u32, what: &'static str) -> ReadError {
    damaged(usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(BLOCK), what)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}
