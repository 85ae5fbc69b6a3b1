//! The headers of one layer in Windows form, kept so that its bytes need not be read again.

use std::collections::BTreeMap;
use std::io::Read;

use fstree::RelPath;
use windows::records;

use crate::names::clean;
use crate::tar::{Header, Limits, MemberKind, Reader, TarError};

/// The first bytes of a stored list; another version begins with others.
const MAGIC: &[u8] = b"crossdock windows headers 1\n";
/// A stored list may have this many bytes when it is not compressed.
const LIMIT: u64 = 2 << 30;

/// What one layer says of the files beneath `Files`, in its own order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowsHeaders {
    pub(crate) members: Vec<Member>,
}

/// One member of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: RelPath,
    pub(crate) kind: HeaderKind,
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
    /// `MSWINDOWS.` and `LIBARCHIVE.` records of directories and links.
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderKind {
    /// A directory.
    Directory,
    /// A file, or another name of one.
    File,
    /// A link or junction: its target as the layer has it, and whether it stands for a directory.
    Link {
        /// With back-slashes and perhaps a drive.
        target: Vec<u8>,
        /// Which of the two kinds of links it is.
        to_directory: bool,
    },
    /// A removal.
    Whiteout,
}

impl WindowsHeaders {
    /// Reads a layer (a plain tar) to its end and keeps its headers.
    pub fn read(layer: impl Read, limits: Limits) -> Result<Self, TarError> {
        let mut archive = Reader::new(layer, limits);
        let mut headers = Self::default();
        while let Some(header) = archive.next_member()? {
            headers.add(header);
        }
        archive.finish()?;
        Ok(headers)
    }

    /// Adds the next member of a layer, if it concerns files.
    pub fn add(&mut self, header: Header) {
        let Ok(path) = clean(&header.path) else { return };
        let files = RelPath::clean(windows::layout::FILES);
        let Some(path) = path.beneath(&files).filter(|path| !path.is_root()) else { return };
        let attributes = header.records.get(records::ATTRIBUTES.as_bytes());
        let attributes = attributes
            .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u32>().ok())
            .unwrap_or(0);
        let (path, kind) = if let Some(name) = path.name().strip_prefix(b".wh.") {
            let parent = path.parent().unwrap_or_else(RelPath::root);
            let Ok(removed) = parent.join(name) else { return };
            (removed, HeaderKind::Whiteout)
        } else {
            let to_directory = attributes & windows::attributes::DIRECTORY != 0
                || header.records.contains_key(records::MOUNT_POINT.as_bytes());
            let kind = match header.kind {
                MemberKind::Directory => HeaderKind::Directory,
                MemberKind::Symlink => HeaderKind::Link { target: header.link, to_directory },
                _ => HeaderKind::File,
            };
            (path, kind)
        };
        let kept = match kind {
            HeaderKind::Directory | HeaderKind::Link { .. } => header.records,
            HeaderKind::File | HeaderKind::Whiteout => BTreeMap::new(),
        };
        let kept = kept
            .into_iter()
            .filter(|(key, _)| key.starts_with(b"MSWINDOWS.") || key.starts_with(b"LIBARCHIVE."));
        self.members.push(Member {
            path,
            kind,
            mode: header.mode & 0o7777,
            mtime: header.mtime.secs,
            records: kept.collect(),
        });
    }

    /// The paths that the layer has something at or removes; for links with their targets as the layer has them.
    pub fn paths(&self) -> impl Iterator<Item = (&RelPath, Option<&[u8]>)> {
        self.members.iter().map(|member| match &member.kind {
            HeaderKind::Link { target, .. } => (&member.path, Some(target.as_slice())),
            _ => (&member.path, None),
        })
    }

    /// As bytes that [`decode`](Self::decode) takes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let mut bytes = |bytes: &[u8]| {
            out.extend((u32::try_from(bytes.len()).unwrap_or(u32::MAX)).to_le_bytes());
            out.extend(bytes);
        };
        for member in &self.members {
            bytes(member.path.as_bytes());
            match &member.kind {
                HeaderKind::Directory => bytes(b"d"),
                HeaderKind::File => bytes(b"f"),
                HeaderKind::Whiteout => bytes(b"w"),
                HeaderKind::Link { target, to_directory } => {
                    bytes(if *to_directory { b"D" } else { b"F" });
                    bytes(target);
                }
            }
            bytes(&member.mode.to_le_bytes());
            bytes(&member.mtime.to_le_bytes());
            bytes(&u32::try_from(member.records.len()).unwrap_or(0).to_le_bytes());
            for (name, value) in &member.records {
                bytes(name);
                bytes(value);
            }
        }
        // Compressing into memory fails for no input.
        zstd::bulk::compress(&out, 3).unwrap_or_default()
    }

    /// What [`encode`](Self::encode) wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut plain = Vec::new();
        zstd::stream::read::Decoder::new(bytes).ok()?.take(LIMIT).read_to_end(&mut plain).ok()?;
        let mut fields = Fields(plain.strip_prefix(MAGIC)?);
        let mut members = Vec::new();
        while !fields.0.is_empty() {
            let path = RelPath::new(fields.bytes()?).ok()?;
            let kind = match fields.bytes()? {
                b"d" => HeaderKind::Directory,
                b"f" => HeaderKind::File,
                b"w" => HeaderKind::Whiteout,
                b"D" => HeaderKind::Link { target: fields.bytes()?.to_vec(), to_directory: true },
                b"F" => HeaderKind::Link { target: fields.bytes()?.to_vec(), to_directory: false },
                _ => return None,
            };
            let mode = u32::from_le_bytes(fields.bytes()?.try_into().ok()?);
            let mtime = i64::from_le_bytes(fields.bytes()?.try_into().ok()?);
            let count = u32::from_le_bytes(fields.bytes()?.try_into().ok()?);
            let mut records = BTreeMap::new();
            for _ in 0..count {
                records.insert(fields.bytes()?.to_vec(), fields.bytes()?.to_vec());
            }
            members.push(Member { path, kind, mode, mtime, records });
        }
        Some(Self { members })
    }
}

/// Byte strings, each after its length.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (bytes, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> WindowsHeaders {
        let record = (b"MSWINDOWS.fileattr".to_vec(), b"8210".to_vec());
        let member = |path: &str, kind: HeaderKind| Member {
            path: path.parse().unwrap(),
            kind,
            mode: 0o755,
            mtime: -5,
            records: BTreeMap::from([record.clone()]),
        };
        let junction = HeaderKind::Link { target: b"C:\\Users".to_vec(), to_directory: true };
        let link = HeaderKind::Link { target: b"a".to_vec(), to_directory: false };
        WindowsHeaders {
            members: vec![
                member("ProgramData", HeaderKind::Directory),
                member("Documents and Settings", junction),
                member("b", link),
                member("a", HeaderKind::File),
                member("gone", HeaderKind::Whiteout),
            ],
        }
    }

    #[test]
    fn headers_are_the_same_after_a_time_in_the_store() {
        assert_eq!(WindowsHeaders::decode(&sample().encode()), Some(sample()));
        assert_eq!(
            WindowsHeaders::decode(&WindowsHeaders::default().encode()),
            Some(WindowsHeaders::default())
        );
    }

    #[test]
    fn damaged_headers_are_none() {
        let plain = zstd::stream::decode_all(&*sample().encode()).unwrap();
        for end in MAGIC.len() + 1..plain.len() {
            let cut = zstd::bulk::compress(&plain[..end], 1).unwrap();
            // A cut between two members cannot be told from a shorter list.
            assert_ne!(WindowsHeaders::decode(&cut), Some(sample()), "{end}");
        }
        assert_eq!(WindowsHeaders::decode(b"other"), None);
    }
}
