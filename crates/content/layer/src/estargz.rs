//! eStargz: a layer that is a plain gzip layer to everybody, and to containerd's stargz snapshotter also a table of
//! contents with the offset of every file (stargz-snapshotter, `docs/estargz.md`).
//!
//! Every file's content starts a gzip member of its own; the last entry of the tar is the table, in a member of its
//! own, and 51 bytes of footer tell where that member starts.

use std::collections::BTreeMap;
use std::io::{self, Write};

use oci::{Digest, Digester};

use crate::compress::Compressor;
use crate::pack::Tee;
use crate::tar::{self, Header, MemberKind};

/// Name of the table of contents in the tar.
pub const TABLE: &str = "stargz.index.json";
/// Divides what is wanted first from the rest.
pub const PREFETCH_LANDMARK: &str = ".prefetch.landmark";
/// Says that nothing is wanted first.
pub const NO_PREFETCH_LANDMARK: &str = ".no.prefetch.landmark";
/// What a landmark holds.
pub(crate) const LANDMARK_CONTENT: [u8; 1] = [0x0f];
/// Annotation with the digest of the table of contents.
pub const TABLE_ANNOTATION: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Annotation with the size of the tar.
pub const SIZE_ANNOTATION: &str = "io.containers.estargz.uncompressed-size";
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 51;

const CHUNK_BYTES: u64 = 4 << 20;

/// Whether a member is there for eStargz alone.
pub(crate) fn is_bookkeeping(path: &[u8]) -> bool {
    let path = path.strip_prefix(b"./").unwrap_or(path);
    [TABLE, PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK].iter().any(|name| name.as_bytes() == path)
}

/// Gathers the table of contents while members are written.
#[derive(Default)]
pub(crate) struct Contents {
    entries: Vec<TableEntry>,
    /// The file being written: the index of its first entry, its size, and what was read so far.
    file: Option<OpenFile>,
}

struct OpenFile {
    first: usize,
    name: String,
    size: u64,
    read: u64,
    digester: Digester,
    chunk: Option<(usize, u64, Digester)>,
}

/// One line of the table. `mark` stands for the offset until it is known.
#[derive(Clone, Debug, Default)]
struct TableEntry {
    name: String,
    kind: &'static str,
    header: Option<Header>,
    size: u64,
    mark: Option<usize>,
    chunk_offset: u64,
    chunk_size: u64,
    chunk_digest: Option<Digest>,
    digest: Option<Digest>,
}

impl Contents {
    pub(crate) fn start(&mut self, header: &Header) {
        let kind = match header.kind {
            MemberKind::File | MemberKind::Other(_) => "reg",
            MemberKind::Directory => "dir",
            MemberKind::Symlink => "symlink",
            MemberKind::Hardlink => "hardlink",
            MemberKind::CharDevice => "char",
            MemberKind::BlockDevice => "block",
            MemberKind::Fifo => "fifo",
        };
        let name = String::from_utf8_lossy(&header.path).into_owned();
        let size = if kind == "reg" { header.size } else { 0 };
        let first = self.entries.len();
        let digest = (kind == "reg" && size == 0).then(|| Digest::of(b""));
        self.entries.push(TableEntry {
            name: name.clone(),
            kind,
            header: Some(header.clone()),
            size,
            digest,
            ..TableEntry::default()
        });
        self.file = (size > 0).then(|| OpenFile {
            first,
            name,
            size,
            read: 0,
            digester: Digester::sha256(),
            chunk: None,
        });
    }

    /// How many bytes may be written before the next gzip member has to start; starts it when that is now.
    pub(crate) fn chunk_room<W: Write>(
        &mut self,
        compressor: &mut Compressor<W>,
    ) -> io::Result<u64> {
        let Some(file) = &mut self.file else { return Ok(u64::MAX) };
        if let Some((_, left, _)) = &file.chunk {
            return Ok(*left);
        }
        let gzip = compressor.gzip().ok_or_else(|| io::Error::other("eStargz needs gzip"))?;
        let mark = gzip.mark()?;
        let left = file.size - file.read;
        let index = if file.read == 0 {
            file.first
        } else {
            self.entries.push(TableEntry {
                name: file.name.clone(),
                kind: "chunk",
                ..TableEntry::default()
            });
            self.entries.len() - 1
        };
        let entry = &mut self.entries[index];
        entry.mark = Some(mark);
        entry.chunk_offset = file.read;
        entry.chunk_size = if left >= CHUNK_BYTES { CHUNK_BYTES } else { 0 };
        let room = left.min(CHUNK_BYTES);
        file.chunk = Some((index, room, Digester::sha256()));
        Ok(room)
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        file.read += bytes.len() as u64;
        file.digester.update(bytes);
        if let Some((index, mut left, mut digester)) = file.chunk.take() {
            digester.update(bytes);
            left = left.saturating_sub(bytes.len() as u64);
            if left == 0 {
                self.entries[index].chunk_digest = Some(digester.finish());
            } else {
                file.chunk = Some((index, left, digester));
            }
        }
    }

    pub(crate) fn end(&mut self) {
        if let Some(file) = self.file.take() {
            self.entries[file.first].digest = Some(file.digester.finish());
        }
    }

    /// Writes the table of contents, the end of the tar and the footer.
    pub(crate) fn finish<W: Write>(
        self,
        mut tar: tar::Writer<Tee<W>>,
        annotations: &mut BTreeMap<String, String>,
    ) -> io::Result<Tee<W>> {
        let no_gzip = || io::Error::other("eStargz needs gzip");
        let gzip = tar.between()?.compressor.gzip().ok_or_else(no_gzip)?;
        let table_mark = gzip.mark()?;
        let offsets = gzip.offsets()?;
        let table_offset = offsets.get(table_mark).copied().unwrap_or_default();
        let table = self.table(offsets);
        let mut header = Header::new(TABLE, MemberKind::File);
        header.size = table.len() as u64;
        tar.start(&header)?;
        tar.write_all(&table)?;
        let mut tee = tar.finish()?;
        tee.compressor.gzip().ok_or_else(no_gzip)?.raw(&footer(table_offset))?;
        annotations.insert(TABLE_ANNOTATION.to_owned(), Digest::of(&table).to_string());
        Ok(tee)
    }

    fn table(&self, offsets: &[u64]) -> Vec<u8> {
        let mut text = String::from("{\n\t\"version\": 1,\n\t\"entries\": [");
        for (index, entry) in self.entries.iter().enumerate() {
            text.push_str(if index == 0 { "\n\t\t{" } else { ",\n\t\t{" });
            let mut first = true;
            for (key, value) in entry.fields(offsets) {
                text.push_str(if first { "\n\t\t\t" } else { ",\n\t\t\t" });
                first = false;
                text.push_str(&json_string(key));
                text.push_str(": ");
                text.push_str(&value);
            }
            text.push_str("\n\t\t}");
        }
        text.push_str(if self.entries.is_empty() { "]\n}" } else { "\n\t]\n}" });
        text.into_bytes()
    }
}

impl TableEntry {
    /// Keys and JSON values in the order of Go's `estargz.TOCEntry`, without those that are empty.
    fn fields(&self, offsets: &[u64]) -> Vec<(&'static str, String)> {
        let mut fields = vec![("name", json_string(&self.name)), ("type", json_string(self.kind))];
        let mut number = |key, value: u64| {
            if value != 0 {
                fields.push((key, value.to_string()));
            }
        };
        number("size", self.size);
        let offset = self.mark.and_then(|mark| offsets.get(mark)).copied().unwrap_or_default();
        if let Some(header) = &self.header {
            if header.mtime.secs != 0 {
                fields.push(("modtime", json_string(&rfc3339(header.mtime.secs))));
            }
            if !header.link.is_empty() {
                fields.push(("linkName", json_string(&String::from_utf8_lossy(&header.link))));
            }
            let mut number = |key, value: u64| {
                if value != 0 {
                    fields.push((key, value.to_string()));
                }
            };
            number("mode", u64::from(header.mode));
            number("uid", u64::from(header.uid));
            number("gid", u64::from(header.gid));
            number("offset", offset);
            number("devMajor", u64::from(header.device.0));
            number("devMinor", u64::from(header.device.1));
            if !header.xattrs.is_empty() {
                let pairs = header.xattrs.iter().map(|(name, value)| {
                    format!(
                        "\n\t\t\t\t{}: {}",
                        json_string(&String::from_utf8_lossy(name)),
                        json_string(&windows::base64(value))
                    )
                });
                fields.push((
                    "xattrs",
                    format!("{{{}\n\t\t\t}}", pairs.collect::<Vec<_>>().join(",")),
                ));
            }
        } else if offset != 0 {
            fields.push(("offset", offset.to_string()));
        }
        if let Some(digest) = &self.digest {
            fields.push(("digest", json_string(digest.as_str())));
        }
        for (key, value) in [("chunkOffset", self.chunk_offset), ("chunkSize", self.chunk_size)] {
            if value != 0 {
                fields.push((key, value.to_string()));
            }
        }
        if let Some(digest) = &self.chunk_digest {
            fields.push(("chunkDigest", json_string(digest.as_str())));
        }
        fields
    }
}

/// An empty gzip member whose extra field tells where the table of contents starts.
fn footer(table_offset: u64) -> [u8; FOOTER_BYTES] {
    let mut footer = [0; FOOTER_BYTES];
    footer[..16]
        .copy_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 26, 0, b'S', b'G', 22, 0]);
    footer[16..38].copy_from_slice(format!("{table_offset:016x}STARGZ").as_bytes());
    footer[38..43].copy_from_slice(&[1, 0, 0, 0xff, 0xff]);
    footer
}

/// Where the table of contents starts, told by the last [`FOOTER_BYTES`] bytes of a layer.
pub fn table_offset(footer: &[u8]) -> Option<u64> {
    let hex = std::str::from_utf8(footer.get(16..32)?).ok()?;
    let offset = u64::from_str_radix(hex, 16).ok()?;
    (footer == self::footer(offset)).then_some(offset)
}

/// A JSON string, escaped as Go's `encoding/json` does.
fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                json.push_str("\\u");
                json.push_str(&four_digits(u32::from(character)));
            }
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

fn four_digits(number: u32) -> String {
    format!("{number:04x}")
}

/// `1970-01-01T00:00:00Z` and on (proleptic Gregorian calendar).
pub(crate) fn rfc3339(secs: i64) -> String {
    let (days, second) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Howard Hinnant's `civil_from_days`: years begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}
