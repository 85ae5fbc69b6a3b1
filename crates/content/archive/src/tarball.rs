//! A tar file whose members can be opened one by one.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use fs_err::File;
use layer::tar::{Limits, MemberKind, Reader};
use layer::{Encoding, decompress};

use crate::ArchiveError;

/// Where the members of a tar file are. Only names and places are held in memory.
pub(crate) struct Tarball {
    path: PathBuf,
    members: BTreeMap<String, Member>,
}

enum Member {
    Content { offset: u64, size: u64 },
    Link(String),
}

const MAX_MEMBERS: u64 = 200_000;
const MAX_LINKS: usize = 8;

impl Tarball {
    /// Reads all headers. Of two members with one name the later counts.
    pub(crate) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let read = |source| ArchiveError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let mut start = Vec::new();
        (&mut file).take(6).read_to_end(&mut start).map_err(read)?;
        if Encoding::of(&start) != Encoding::Plain {
            return Err(ArchiveError::Compressed { path: path.to_owned() });
        }
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        let limits = Limits { entries: MAX_MEMBERS, path_bytes: 4096, ..Limits::default() };
        let mut reader = Reader::seekable(file, limits);
        let mut members = BTreeMap::new();
        while let Some(header) = reader.next_member().map_err(|error| read(error.into()))? {
            let Some(name) = normal(&header.path) else { continue };
            match header.kind {
                MemberKind::File if !reader.is_sparse() => {
                    members.insert(
                        name,
                        Member::Content { offset: reader.offset(), size: header.size },
                    );
                }
                MemberKind::Hardlink => {
                    if let Some(target) = normal(&header.link) {
                        members.insert(name, Member::Link(target));
                    }
                }
                MemberKind::Symlink => {
                    // `docker save` of old links equal layers: `../<id>/layer.tar`.
                    let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
                    if let Some(target) =
                        normal(&[directory.as_bytes(), b"/", &header.link].concat())
                    {
                        members.insert(name, Member::Link(target));
                    }
                }
                _ => {}
            }
        }
        Ok(Self { path: path.to_owned(), members })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Offset and size of a member.
    pub(crate) fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = normal(name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&name)? {
                Member::Content { offset, size } => return Some((*offset, *size)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }

    pub(crate) fn open_range(&self, (offset, size): (u64, u64)) -> io::Result<io::Take<File>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file.take(size))
    }

    /// A whole member of at most `limit` bytes.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let place = self.find(name).ok_or_else(|| ArchiveError::Absent {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        if place.1 > limit {
            return Err(ArchiveError::TooLarge {
                path: self.path.clone(),
                name: name.to_owned(),
                limit,
            });
        }
        let mut bytes = Vec::new();
        let done = self.open_range(place).and_then(|mut reader| reader.read_to_end(&mut bytes));
        done.map_err(|source| ArchiveError::Read { path: self.path.clone(), source })?;
        Ok(bytes)
    }
}

/// `./a//b/../c` → `a/c`; `None` for what leads out or is no text.
fn normal(path: &[u8]) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in std::str::from_utf8(path).ok()?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Writes what `reader` gives, decompressed if it is compressed, to a new file at `path`, so that it can be opened as
/// an archive. Fails beyond `limit` bytes.
pub fn spool(reader: impl Read + Send, path: &Path, limit: u64) -> Result<(), ArchiveError> {
    let mut plain = decompress(reader, limit)
        .map_err(|source| ArchiveError::Read { path: path.to_owned(), source })?;
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| ArchiveError::Write { source })?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                file.write_all(&buffer[..count])
                    .map_err(|source| ArchiveError::Write { source })?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(ArchiveError::Read { path: path.to_owned(), source }),
        }
    }
}
