//! From headers to lists of names.

use std::collections::BTreeSet;
use std::io;

use crate::{Image, Machine, Managed, Source, Subsystem};

/// Why something cannot be read as a program.
#[derive(Debug, thiserror::Error)]
pub enum PeError {
    /// It is no Windows program at all.
    #[error("not a Windows program: {0}")]
    NotAProgram(&'static str),
    /// Its bytes did not come.
    #[error("cannot read the program")]
    Read(#[from] io::Error),
}

/// Libraries that one file may name; real ones name fewer than a hundred.
const MAX_LIBRARIES: usize = 1024;
/// Bytes of a library's name.
const MAX_NAME: usize = 260;
/// What Windows takes.
const MAX_SECTIONS: usize = 96;

/// Number of each table among the data directories.
const IMPORTS: usize = 1;
const CERTIFICATES: usize = 4;
const DELAYED: usize = 13;
const MANAGED: usize = 14;

/// Reads what a program or library says of itself.
///
/// # Errors
/// When it is no PE file, or its headers do not fit. Damaged tables are told in [`Image::problems`].
pub fn read(source: &(impl Source + ?Sized)) -> Result<Image, PeError> {
    let not = PeError::NotAProgram;
    let dos: [u8; 64] = exact(source, 0)?.ok_or(not("it has no DOS header"))?;
    if !dos.starts_with(b"MZ") {
        return Err(not("it does not begin with `MZ`"));
    }
    let start = u64::from(u32_at(&dos, 60));
    let coff: [u8; 24] = exact(source, start)?.ok_or(not("its header is not where it says"))?;
    if !coff.starts_with(b"PE\0\0") {
        return Err(not("it is a program for DOS or for Windows 3"));
    }
    let optional_size = usize::from(u16_at(&coff, 20));
    let mut optional = vec![0; optional_size];
    if fill(source, start + 24, &mut optional)? < optional_size {
        return Err(not("its headers are cut off"));
    }
    let (is_wide, tables_at) = match u16_at(&optional, 0) {
        0x10b => (false, 96),
        0x20b => (true, 112),
        _ => return Err(not("its optional header is of an unknown kind")),
    };
    if optional_size < tables_at {
        return Err(not("its optional header is cut off"));
    }
    let count = usize::from(u16_at(&coff, 6));
    if count > MAX_SECTIONS {
        return Err(not("it has more than 96 sections"));
    }
    let mut sections = vec![0; count * 40];
    let sections_at = start + 24 + optional_size as u64;
    if fill(source, sections_at, &mut sections)? < sections.len() {
        return Err(not("its sections are cut off"));
    }

    let tables = u32_at(&optional, tables_at - 4).min(16);
    let table = |number: usize| {
        let at = tables_at + number * 8;
        (number < usize::try_from(tables).unwrap_or(0) && at + 8 <= optional_size)
            .then(|| (u32_at(&optional, at), u32_at(&optional, at + 4)))
            .filter(|(place, _)| *place != 0)
    };
    let image_base = if is_wide {
        u64::from(u32_at(&optional, 24)) | u64::from(u32_at(&optional, 28)) << 32
    } else {
        u64::from(u32_at(&optional, 28))
    };
    let headers = u32_at(&optional, 60);
    let file = File { source, sections: &sections, headers, image_base };
    let mut problems = Vec::new();
    let imports = match table(IMPORTS) {
        Some((place, _)) => file.libraries(place, &NORMAL, &mut problems)?,
        None => Vec::new(),
    };
    let delayed = match table(DELAYED) {
        Some((place, _)) => file.libraries(place, &LATE, &mut problems)?,
        None => Vec::new(),
    };
    let managed = match table(MANAGED) {
        Some((place, _)) => file.managed(place, is_wide, &mut problems)?,
        None => Managed::No,
    };
    let is_signed = table(CERTIFICATES).is_some_and(|(place, size)| {
        // This place is one in the file.
        size > 8 && u64::from(place) + u64::from(size) <= source.len()
    });
    Ok(Image {
        machine: Machine::of(u16_at(&coff, 4)),
        is_library: u16_at(&coff, 22) & 0x2000 != 0,
        subsystem: Subsystem::of(u16_at(&optional, 68)),
        imports,
        delayed,
        is_signed,
        managed,
        problems,
    })
}

/// How the entries of a table of libraries look.
struct Shape {
    what: &'static str,
    size: u64,
    /// Where in an entry the name's address is.
    name: usize,
    /// Whether old entries have addresses in memory, which the first bit of the entry says are none.
    may_be_absolute: bool,
}

const NORMAL: Shape = Shape { what: "imports", size: 20, name: 12, may_be_absolute: false };
const LATE: Shape = Shape { what: "delayed imports", size: 32, name: 4, may_be_absolute: true };

struct File<'a, S: ?Sized> {
    source: &'a S,
    sections: &'a [u8],
    /// Bytes at the start that lie in memory as they do in the file.
    headers: u32,
    image_base: u64,
}

impl<S: Source + ?Sized> File<'_, S> {
    /// Where in the file a place in memory is.
    fn offset(&self, place: u32) -> Option<u64> {
        for section in self.sections.chunks_exact(40) {
            let (virtual_size, address) = (u32_at(section, 8), u32_at(section, 12));
            let (size, start) = (u32_at(section, 16), u32_at(section, 20));
            let length = if virtual_size == 0 { size } else { virtual_size.min(size) };
            match place.checked_sub(address) {
                // Loaders round the start of a section down to a multiple of 512.
                Some(inside) if inside < length => {
                    return Some(u64::from(start & !511) + u64::from(inside));
                }
                _ => {}
            }
        }
        (place < self.headers).then_some(u64::from(place))
    }

    /// The names in a table of libraries, each once.
    fn libraries(
        &self,
        place: u32,
        shape: &Shape,
        problems: &mut Vec<String>,
    ) -> Result<Vec<String>, PeError> {
        let Some(start) = self.offset(place) else {
            problems.push(format!("the table of {} is outside of the file", shape.what));
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        let mut seen = BTreeSet::new();
        for number in 0.. {
            let Some(entry) = exact::<32>(self.source, start + number * shape.size)?
                .or(self.short_entry(start + number * shape.size, shape)?)
            else {
                problems.push(format!("the table of {} has no end", shape.what));
                break;
            };
            let mut name = u32_at(&entry, shape.name);
            if name == 0 {
                break;
            }
            if names.len() == MAX_LIBRARIES || number > MAX_LIBRARIES as u64 {
                problems.push(format!("there are more than {MAX_LIBRARIES} {}", shape.what));
                break;
            }
            if shape.may_be_absolute && u32_at(&entry, 0) & 1 == 0 {
                let relative = u64::from(name).checked_sub(self.image_base);
                name = relative.and_then(|name| u32::try_from(name).ok()).unwrap_or(0);
            }
            match self.name(name)? {
                Some(name) => {
                    if seen.insert(name.to_ascii_lowercase()) {
                        names.push(name);
                    }
                }
                None => {
                    problems.push(format!("entry {number} of the {} has no name", shape.what));
                }
            }
            if problems.len() > 16 {
                break;
            }
        }
        Ok(names)
    }

    /// The last entry may end with the file.
    fn short_entry(&self, at: u64, shape: &Shape) -> io::Result<Option<[u8; 32]>> {
        let mut entry = [0; 32];
        let wanted = usize::try_from(shape.size).unwrap_or(32).min(32);
        let count = fill(self.source, at, &mut entry[..wanted])?;
        Ok((count == wanted).then_some(entry))
    }

    fn name(&self, place: u32) -> io::Result<Option<String>> {
        let Some(at) = self.offset(place) else { return Ok(None) };
        let mut bytes = [0; MAX_NAME];
        let count = fill(self.source, at, &mut bytes)?;
        let end = bytes[..count].iter().position(|byte| *byte == 0);
        let name = end.and_then(|end| std::str::from_utf8(&bytes[..end]).ok());
        Ok(name
            .filter(|name| !name.is_empty() && !name.contains(char::is_control))
            .map(str::to_owned))
    }

    fn managed(
        &self,
        place: u32,
        is_wide: bool,
        problems: &mut Vec<String>,
    ) -> Result<Managed, PeError> {
        let header = match self.offset(place) {
            Some(at) => exact::<72>(self.source, at)?,
            None => None,
        };
        let Some(header) = header.filter(|header| u32_at(header, 0) >= 72) else {
            problems.push("the .NET header is damaged".to_owned());
            return Ok(Managed::No);
        };
        // ILONLY set, 32BITREQUIRED not.
        let flags = u32_at(&header, 16);
        Ok(Managed::Yes { any_machine: !is_wide && flags & 0b11 == 0b01 })
    }
}

/// Exactly so many bytes, or nothing where the file ends before.
fn exact<const N: usize>(source: &(impl Source + ?Sized), at: u64) -> io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    Ok((fill(source, at, &mut bytes)? == N).then_some(bytes))
}

fn fill(source: &(impl Source + ?Sized), at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    if at >= source.len() { Ok(0) } else { source.read_at(at, buffer) }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let pair = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u16::from_le_bytes(pair.copied().unwrap_or_default())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_le_bytes(four.copied().unwrap_or_default())
}
