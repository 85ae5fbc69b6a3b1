//! A tree of keys to the bytes of a hive.
//!
//! Cells are laid one after the other into bins, each key with what belongs to it, depth first. What is left of a bin is
//! one free cell. Keys with equal security share one security cell, as Windows has it.

use std::collections::BTreeMap;

use crate::format::{
    BIN_HEADER, BLOCK, KEY_HEADER, LATIN, MAX_DEPTH, MAX_HIVE, MAX_KEY_NAME, MAX_VALUE_NAME,
    NO_DELETE, NONE, PIECE, RESIDENT, ROOT, SECURITY_HEADER, VALUE_HEADER, VALUE_LATIN, checksum,
    folded,
};
use crate::{Hive, Key};

/// Why a tree cannot be a hive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A key has no name, one with `\` or a zero in it, or one that is too long.
    #[error("`{0}` cannot be the name of a registry key")]
    KeyName(String),
    /// A value's name is too long or has a zero in it.
    #[error("`{0}` cannot be the name of a registry value")]
    ValueName(String),
    /// Two keys or two values of one key have names that are one to Windows.
    #[error("`{0}` is there twice in one registry key (case does not count)")]
    Twice(String),
    /// Keys without security cannot be loaded.
    #[error("the registry key `{0}` has no security descriptor")]
    NoSecurity(String),
    /// Keys in keys in keys.
    #[error("registry keys are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than two gigabytes, or more in one list than its count can say.
    #[error("the registry hive would be too large")]
    TooLarge,
    /// There is no such format, or it cannot hold a value.
    #[error("registry hives have no format 1.{0}, or it holds no value of more than 16344 bytes")]
    Version(u32),
}

/// Entries of one list of keys; with more, there are several lists and a list of them.
const LIST: usize = 500;

/// Makes the bytes of a hive: a multiple of 4096, 8192 at least.
pub fn write(hive: &Hive) -> Result<Vec<u8>, WriteError> {
    if !matches!(hive.minor, 3..=6) {
        return Err(WriteError::Version(hive.minor));
    }
    let mut out = Bins { bytes: Vec::new(), bin: 0, used: 0 };
    let mut securities = Securities::default();
    let root = Writer { minor: hive.minor, out: &mut out, securities: &mut securities }
        .key(&hive.root, NONE, 0)?;
    securities.link(&mut out);
    out.close();
    if out.bytes.len() > MAX_HIVE {
        return Err(WriteError::TooLarge);
    }
    let mut bytes = base_block(hive, root, out.bytes.len());
    bytes.append(&mut out.bytes);
    Ok(bytes)
}

fn base_block(hive: &Hive, root: u32, bins: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    put(&mut block, 0, b"regf");
    // Sequence numbers that are equal say that nothing is left to be written.
    put(&mut block, 4, &1_u32.to_le_bytes());
    put(&mut block, 8, &1_u32.to_le_bytes());
    put(&mut block, 12, &hive.written.to_le_bytes());
    put(&mut block, 20, &1_u32.to_le_bytes());
    put(&mut block, 24, &hive.minor.to_le_bytes());
    put(&mut block, 32, &1_u32.to_le_bytes());
    put(&mut block, 36, &root.to_le_bytes());
    put(&mut block, 40, &number(bins).to_le_bytes());
    put(&mut block, 44, &1_u32.to_le_bytes());
    let units: Vec<u16> = hive.file_name.encode_utf16().collect();
    let last = units.get(units.len().saturating_sub(31)..).unwrap_or_default();
    for (index, unit) in last.iter().enumerate() {
        put(&mut block, 48 + index * 2, &unit.to_le_bytes());
    }
    let sum = checksum(&block);
    put(&mut block, 508, &sum.to_le_bytes());
    block
}

/// The part of a hive behind its base block, as it grows.
struct Bins {
    bytes: Vec<u8>,
    /// Where the bin begins that is being filled.
    bin: usize,
    /// How far it is filled.
    used: usize,
}

impl Bins {
    /// A new cell with room for this many bytes, all zero; where it is.
    fn cell(&mut self, length: usize) -> Result<u32, WriteError> {
        let length = (length + 4).next_multiple_of(8);
        if length > MAX_HIVE || self.bytes.len() > MAX_HIVE {
            return Err(WriteError::TooLarge);
        }
        if self.used + length > self.bytes.len() {
            self.close();
            let size = (length + BIN_HEADER).next_multiple_of(BLOCK);
            self.bin = self.bytes.len();
            self.used = self.bin + BIN_HEADER;
            self.bytes.resize(self.bin + size, 0);
            let (at, offset) = (self.bin, number(self.bin));
            put(&mut self.bytes, at, b"hbin");
            put(&mut self.bytes, at + 4, &offset.to_le_bytes());
            put(&mut self.bytes, at + 8, &number(size).to_le_bytes());
        }
        let at = self.used;
        // The size of a cell in use is negative.
        put(&mut self.bytes, at, &number(length).wrapping_neg().to_le_bytes());
        self.used += length;
        Ok(number(at))
    }

    /// A new cell with this content.
    fn add(&mut self, content: &[u8]) -> Result<u32, WriteError> {
        let cell = self.cell(content.len())?;
        self.set(cell, 0, content);
        Ok(cell)
    }

    /// Writes into a cell, `at` bytes behind its size.
    fn set(&mut self, cell: u32, at: usize, content: &[u8]) {
        let at = usize::try_from(cell).unwrap_or(usize::MAX / 2) + 4 + at;
        put(&mut self.bytes, at, content);
    }

    /// What is left of the bin is one free cell.
    fn close(&mut self) {
        let left = self.bytes.len() - self.used;
        if left > 0 {
            let at = self.used;
            put(&mut self.bytes, at, &number(left).to_le_bytes());
        }
        self.used = self.bytes.len();
    }
}

/// Security cells: where each is, and of how many keys.
#[derive(Default)]
struct Securities {
    cells: BTreeMap<Vec<u8>, usize>,
    order: Vec<(u32, u32)>,
}

impl Securities {
    fn cell(&mut self, descriptor: &[u8], out: &mut Bins) -> Result<u32, WriteError> {
        if let Some(known) = self.cells.get(descriptor)
            && let Some((cell, count)) = self.order.get_mut(*known)
        {
            *count += 1;
            return Ok(*cell);
        }
        let mut content = vec![0; SECURITY_HEADER];
        put(&mut content, 0, b"sk");
        put(&mut content, 16, &number(descriptor.len()).to_le_bytes());
        content.extend_from_slice(descriptor);
        let cell = out.add(&content)?;
        self.cells.insert(descriptor.to_vec(), self.order.len());
        self.order.push((cell, 1));
        Ok(cell)
    }

    /// All of them are a ring, and each knows how many keys it belongs to.
    fn link(&self, out: &mut Bins) {
        let count = self.order.len();
        for (index, (cell, keys)) in self.order.iter().enumerate() {
            let other = |index: usize| self.order.get(index % count).map_or(NONE, |it| it.0);
            out.set(*cell, 4, &other(index + 1).to_le_bytes());
            out.set(*cell, 8, &other(index + count - 1).to_le_bytes());
            out.set(*cell, 12, &keys.to_le_bytes());
        }
    }
}

struct Writer<'a> {
    minor: u32,
    out: &'a mut Bins,
    securities: &'a mut Securities,
}

impl Writer<'_> {
    /// Writes a key and everything beneath it.
    fn key(&mut self, key: &Key, parent: u32, depth: usize) -> Result<u32, WriteError> {
        if depth > MAX_DEPTH {
            return Err(WriteError::TooDeep);
        }
        check_key(key)?;
        let keys = sorted(key)?;
        let (name, latin) = encoded(&key.name);
        let class: Vec<u8> =
            key.class.iter().flat_map(|it| it.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let cell = self.out.cell(KEY_HEADER + name.len())?;

        let mut flags = if latin { LATIN } else { 0 };
        if depth == 0 {
            flags |= ROOT | NO_DELETE;
        }
        let security = self.securities.cell(&key.security, self.out)?;
        let class_cell = if class.is_empty() { NONE } else { self.out.add(&class)? };
        let values = self.values(key)?;
        let mut offsets = Vec::with_capacity(keys.len());
        for (folded, key) in &keys {
            offsets.push((self.key(key, cell, depth + 1)?, folded.as_slice()));
        }
        let list = self.list(&offsets)?;

        let widest = |lengths: &mut dyn Iterator<Item = usize>| number(lengths.max().unwrap_or(0));
        let units = |text: &str| text.encode_utf16().count() * 2;
        let mut head = [0; KEY_HEADER];
        put(&mut head, 0, b"nk");
        put(&mut head, 2, &flags.to_le_bytes());
        put(&mut head, 4, &key.written.to_le_bytes());
        put(&mut head, 16, &parent.to_le_bytes());
        put(&mut head, 20, &number(keys.len()).to_le_bytes());
        put(&mut head, 28, &list.to_le_bytes());
        put(&mut head, 32, &NONE.to_le_bytes());
        put(&mut head, 36, &number(key.values.len()).to_le_bytes());
        put(&mut head, 40, &values.to_le_bytes());
        put(&mut head, 44, &security.to_le_bytes());
        put(&mut head, 48, &class_cell.to_le_bytes());
        let names = widest(&mut key.keys.iter().map(|it| units(&it.name)));
        put(&mut head, 52, &names.to_le_bytes());
        let classes = widest(&mut key.keys.iter().filter_map(|it| it.class.as_deref()).map(units));
        put(&mut head, 56, &classes.to_le_bytes());
        let names = widest(&mut key.values.iter().map(|it| units(&it.name)));
        put(&mut head, 60, &names.to_le_bytes());
        let data = widest(&mut key.values.iter().map(|it| it.data.len()));
        put(&mut head, 64, &data.to_le_bytes());
        put(&mut head, 72, &short(name.len())?.to_le_bytes());
        put(&mut head, 74, &short(class.len())?.to_le_bytes());
        self.out.set(cell, 0, &head);
        self.out.set(cell, KEY_HEADER, &name);
        Ok(cell)
    }

    /// The values of a key, and the list of them.
    fn values(&mut self, key: &Key) -> Result<u32, WriteError> {
        if key.values.is_empty() {
            return Ok(NONE);
        }
        let mut list = Vec::with_capacity(key.values.len() * 4);
        for value in &key.values {
            let (name, latin) = encoded(&value.name);
            let length = number(value.data.len());
            let (size, place) = if value.data.len() <= 4 {
                let mut place = [0; 4];
                put(&mut place, 0, &value.data);
                (length | RESIDENT, u32::from_le_bytes(place))
            } else {
                (length, self.data(&value.data)?)
            };
            let mut content = vec![0; VALUE_HEADER];
            put(&mut content, 0, b"vk");
            put(&mut content, 2, &short(name.len())?.to_le_bytes());
            put(&mut content, 4, &size.to_le_bytes());
            put(&mut content, 8, &place.to_le_bytes());
            put(&mut content, 12, &value.kind.to_le_bytes());
            put(&mut content, 16, &(if latin { VALUE_LATIN } else { 0 }).to_le_bytes());
            content.extend_from_slice(&name);
            list.extend_from_slice(&self.out.add(&content)?.to_le_bytes());
        }
        self.out.add(&list)
    }

    fn data(&mut self, data: &[u8]) -> Result<u32, WriteError> {
        if data.len() <= PIECE {
            return self.out.add(data);
        }
        if self.minor < 4 {
            return Err(WriteError::Version(self.minor));
        }
        let mut pieces = Vec::new();
        for piece in data.chunks(PIECE) {
            pieces.extend_from_slice(&self.out.add(piece)?.to_le_bytes());
        }
        let count = short(pieces.len() / 4)?;
        let list = self.out.add(&pieces)?;
        let mut content = [0; 8];
        put(&mut content, 0, b"db");
        put(&mut content, 2, &count.to_le_bytes());
        put(&mut content, 4, &list.to_le_bytes());
        self.out.add(&content)
    }

    /// The list of keys that a key holds.
    fn list(&mut self, keys: &[(u32, &[u16])]) -> Result<u32, WriteError> {
        let mut lists = Vec::new();
        for part in keys.chunks(LIST) {
            let mut content = Vec::with_capacity(4 + part.len() * 8);
            content.extend_from_slice(if self.minor < 5 { b"lf" } else { b"lh" });
            content.extend_from_slice(&short(part.len())?.to_le_bytes());
            for (cell, folded) in part {
                content.extend_from_slice(&cell.to_le_bytes());
                content.extend_from_slice(&self.hint(folded));
            }
            lists.push(self.out.add(&content)?);
        }
        if let [] | [_] = lists.as_slice() {
            return Ok(lists.first().copied().unwrap_or(NONE));
        }
        let mut content = b"ri".to_vec();
        content.extend_from_slice(&short(lists.len())?.to_le_bytes());
        content.extend(lists.iter().flat_map(|list| list.to_le_bytes()));
        self.out.add(&content)
    }

    /// What helps to find a name in a list: its hash, or its first characters.
    fn hint(&self, folded: &[u16]) -> [u8; 4] {
        if self.minor >= 5 {
            let hash = folded
                .iter()
                .fold(0_u32, |hash, unit| hash.wrapping_mul(37).wrapping_add(u32::from(*unit)));
            return hash.to_le_bytes();
        }
        let mut hint = [0; 4];
        for (byte, unit) in hint.iter_mut().zip(folded) {
            *byte = u8::try_from(*unit).unwrap_or(0);
        }
        hint
    }
}

fn check_key(key: &Key) -> Result<(), WriteError> {
    let wrong = |character: char| character == '\\' || character == '\0';
    let length = key.name.encode_utf16().count();
    if length == 0 || length > MAX_KEY_NAME || key.name.contains(wrong) {
        return Err(WriteError::KeyName(key.name.clone()));
    }
    if key.security.is_empty() {
        return Err(WriteError::NoSecurity(key.name.clone()));
    }
    let mut names: Vec<Vec<u16>> = Vec::with_capacity(key.values.len());
    for value in &key.values {
        if value.name.encode_utf16().count() > MAX_VALUE_NAME || value.name.contains('\0') {
            return Err(WriteError::ValueName(value.name.clone()));
        }
        names.push(folded(&value.name));
    }
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(WriteError::Twice(String::from_utf16_lossy(&pair[0]))),
        None => Ok(()),
    }
}

/// The keys of a key in the order that Windows searches them by.
fn sorted(key: &Key) -> Result<Vec<(Vec<u16>, &Key)>, WriteError> {
    let mut keys: Vec<(Vec<u16>, &Key)> =
        key.keys.iter().map(|key| (folded(&key.name), key)).collect();
    keys.sort_by(|one, other| one.0.cmp(&other.0));
    match keys.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(WriteError::Twice(pair[0].1.name.clone())),
        None => Ok(keys),
    }
}

/// A name in one byte for each character where that is possible, else in UTF-16; and which of both.
fn encoded(name: &str) -> (Vec<u8>, bool) {
    let latin: Option<Vec<u8>> = name.chars().map(|it| u8::try_from(u32::from(it)).ok()).collect();
    match latin {
        Some(latin) => (latin, true),
        None => (name.encode_utf16().flat_map(u16::to_le_bytes).collect(), false),
    }
}

/// Writes into a buffer; nothing where it is too short.
fn put(buffer: &mut [u8], at: usize, content: &[u8]) {
    if let Some(place) = buffer.get_mut(at..at + content.len()) {
        place.copy_from_slice(content);
    }
}

/// Sizes are below [`MAX_HIVE`] when they are written.
fn number(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn short(count: usize) -> Result<u16, WriteError> {
    u16::try_from(count).map_err(|_| WriteError::TooLarge)
}
