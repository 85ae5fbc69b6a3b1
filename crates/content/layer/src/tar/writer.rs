//! Writes members; the bytes depend on the headers and contents alone.

use std::io::{self, Write};

use super::header::{self, Block};
use super::pax;
use super::{BLOCK, Header, MemberKind};

const EXTENSION_LIMIT: usize = 1 << 20;

/// Writes a tar archive to a stream: [`Writer::start`] a member, write exactly its bytes, and [`Writer::finish`].
pub struct Writer<W> {
    out: W,
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Starts an archive; nothing is written yet.
    pub fn new(out: W) -> Self {
        Self { out, left: 0, padding: 0 }
    }

    /// Writes the header of the next member, whose [`Header::size`] bytes are then to be written.
    pub fn start(&mut self, header: &Header) -> io::Result<()> {
        self.pad()?;
        self.out.write_all(&encode(header)?)?;
        self.left = content_size(header);
        self.padding = padding(self.left);
        Ok(())
    }

    /// Ends the archive with two empty blocks.
    pub fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    /// Ends the current member and gives access to the stream between members.
    pub fn between(&mut self) -> io::Result<&mut W> {
        self.pad()?;
        Ok(&mut self.out)
    }

    /// The stream, in the middle of a member too.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes of a member are missing", self.left),
            ));
        }
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&[0; BLOCK][..padding])
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a member has more bytes than its header says",
            ));
        }
        let count = self.out.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn content_size(header: &Header) -> u64 {
    if header.kind == MemberKind::File { header.size } else { 0 }
}

/// How many bytes fill the last block of `size` bytes.
pub(super) fn padding(size: u64) -> usize {
    usize::try_from(size.next_multiple_of(BLOCK as u64) - size).unwrap_or(0)
}

/// The header blocks of a member.
///
/// One ustar block where everything fits; else a PAX header (`x`) before it, with records in byte order of their keys
/// for what does not fit: `path` and `linkpath` beyond 100 bytes or not ASCII, `uid` and `gid` beyond 7 octal digits,
/// `size` beyond 11, `mtime` beyond 11, negative or with a fraction; and all extended attributes and other records.
/// The ustar prefix field, user and group names, and access and change times are never written.
///
/// # Errors
/// For a NUL byte in a text, a device number or mode beyond 7 octal digits, and records of more than 1 MiB.
pub fn encode(header: &Header) -> io::Result<Vec<u8>> {
    let refuse = |what: &str| {
        let path = String::from_utf8_lossy(&header.path);
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("cannot write `{path}` to a tar archive: {what}"),
        )
    };
    let size = content_size(header);
    let mut records = header.records.clone();
    let mut overflow = |key: &[u8], value: String| records.insert(key.to_vec(), value.into_bytes());
    if u64::from(header.uid) > MAX_7 {
        overflow(pax::UID, header.uid.to_string());
    }
    if u64::from(header.gid) > MAX_7 {
        overflow(pax::GID, header.gid.to_string());
    }
    if size > MAX_11 {
        overflow(pax::SIZE, size.to_string());
    }
    if header.mtime.nanos != 0 || !u64::try_from(header.mtime.secs).is_ok_and(|secs| secs <= MAX_11)
    {
        overflow(pax::MTIME, pax::format_time(header.mtime));
    }
    for (key, field) in [(pax::PATH, &header.path), (pax::LINK, &header.link)] {
        if field.contains(&0) {
            return Err(refuse("a NUL byte in a name"));
        }
        if field.len() > header::NAME.len() || !field.is_ascii() {
            records.insert(key.to_vec(), field.clone());
        }
    }
    for (name, value) in &header.xattrs {
        records.insert([pax::XATTR, name].concat(), value.clone());
    }
    if header.path.is_empty()
        || records
            .keys()
            .any(|key| key.is_empty() || key.iter().any(|byte| matches!(byte, 0 | b'=')))
    {
        return Err(refuse("an empty name, or a record that cannot be named"));
    }
    let mut blocks = Vec::with_capacity(BLOCK * 3);
    if !records.is_empty() {
        let mut body = Vec::new();
        for (key, value) in &records {
            pax::push(&mut body, key, value);
        }
        if body.len() > EXTENSION_LIMIT {
            return Err(refuse("more than 1 MiB of attributes"));
        }
        blocks.extend_from_slice(&extension_block(&header.path, body.len() as u64));
        let padding = padding(body.len() as u64);
        blocks.append(&mut body);
        blocks.resize(blocks.len() + padding, 0);
    }
    blocks.extend_from_slice(
        &main_block(header, size).ok_or_else(|| refuse("a number that has no place"))?,
    );
    Ok(blocks)
}

const MAX_7: u64 = 0o777_7777;
const MAX_11: u64 = 0o777_7777_7777;

fn main_block(header: &Header, size: u64) -> Option<Block> {
    let mut block = [0; BLOCK];
    block[header::TYPE] = match header.kind {
        MemberKind::File => b'0',
        MemberKind::Hardlink => b'1',
        MemberKind::Symlink => b'2',
        MemberKind::CharDevice => b'3',
        MemberKind::BlockDevice => b'4',
        MemberKind::Directory => b'5',
        MemberKind::Fifo => b'6',
        MemberKind::Other(_) => return None,
    };
    put_text(&mut block[header::NAME], &header.path);
    put_text(&mut block[header::LINK], &header.link);
    if u64::from(header.mode) > MAX_7 || u64::from(header.device.0.max(header.device.1)) > MAX_7 {
        return None;
    }
    put_octal(&mut block[header::MODE], u64::from(header.mode));
    put_octal(&mut block[header::UID], u64::from(header.uid));
    put_octal(&mut block[header::GID], u64::from(header.gid));
    put_octal(&mut block[header::SIZE], size);
    put_octal(&mut block[header::MTIME], u64::try_from(header.mtime.secs).unwrap_or(0));
    put_octal(&mut block[header::DEV_MAJOR], u64::from(header.device.0));
    put_octal(&mut block[header::DEV_MINOR], u64::from(header.device.1));
    seal(&mut block);
    Some(block)
}

/// The header of a PAX header, named as Go names it: `dir/PaxHeaders.0/base`, ASCII, at most 100 bytes.
fn extension_block(path: &[u8], size: u64) -> Block {
    let split = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let mut name = path[..split].to_vec();
    name.extend_from_slice(b"PaxHeaders.0/");
    name.extend_from_slice(&path[split..]);
    name.retain(u8::is_ascii);
    name.truncate(header::NAME.len());
    while name.last() == Some(&b'/') {
        name.pop();
    }
    let mut block = [0; BLOCK];
    block[header::TYPE] = b'x';
    put_text(&mut block[header::NAME], &name);
    put_octal(&mut block[header::MODE], 0);
    put_octal(&mut block[header::UID], 0);
    put_octal(&mut block[header::GID], 0);
    put_octal(&mut block[header::SIZE], size);
    put_octal(&mut block[header::MTIME], 0);
    seal(&mut block);
    block
}

/// As many ASCII bytes as fit. A cut name must not end in a slash: old readers would take a file for a directory.
fn put_text(field: &mut [u8], text: &[u8]) {
    let ascii: Vec<u8> = text.iter().copied().filter(u8::is_ascii).collect();
    let mut end = ascii.len().min(field.len());
    if ascii.len() > field.len() {
        while end > 0 && ascii[end - 1] == b'/' {
            end -= 1;
        }
    }
    field[..end].copy_from_slice(&ascii[..end]);
}

/// Zero-padded octal digits and a NUL; zero when it does not fit, since a record says it then.
fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    let text = if text.len() > digits { "0".repeat(digits) } else { text };
    field[..digits].copy_from_slice(text.as_bytes());
}

fn seal(block: &mut Block) {
    block[header::MAGIC].copy_from_slice(b"ustar\x0000");
    block[header::CHECKSUM].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(&mut block[header::CHECKSUM.start..header::CHECKSUM.end - 1], sum);
}
