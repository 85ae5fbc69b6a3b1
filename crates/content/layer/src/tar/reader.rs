//! Reads members one after the other, in bounded memory.

use std::io::{self, Read, Seek, SeekFrom};

use super::header::{self, Block, Dialect};
use super::pax::{self, Records};
use super::sparse::{self, MapParser, Segment};
use super::{BLOCK, Header, Limits, MemberKind, TarError, Time};

/// Reads a tar archive from a stream.
///
/// [`Reader::next_member`] goes to the next member, skipping what was not read of the last. The content of the
/// current member is read through [`Read`], with the holes of sparse files as zeros, or piece by piece with
/// [`Reader::piece`].
pub struct Reader<R> {
    source: R,
    limits: Limits,
    offset: u64,
    entries: u64,
    /// Bytes of all contents so far, with their holes.
    expanded: u64,
    /// Stored bytes of the current member that were not read yet, and the padding after them.
    stored: u64,
    padding: u64,
    holes: Option<Holes>,
    ended: bool,
    /// Goes on by so many bytes without reading them.
    skip: Option<fn(&mut R, u64) -> io::Result<()>>,
}

/// Where reading is in a sparse file.
struct Holes {
    segments: std::vec::IntoIter<Segment>,
    current: Option<Segment>,
    position: u64,
    size: u64,
}

/// The next part of a member's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes were put into the buffer.
    Data(usize),
    /// So many zeros, not put anywhere.
    Hole(u64),
    /// There is no more.
    End,
}

/// What extension headers before a member said.
#[derive(Default)]
struct Extensions {
    records: Option<Records>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read + Seek> Reader<R> {
    /// Starts reading a file, in which content that nobody reads is skipped.
    pub fn seekable(source: R, limits: Limits) -> Self {
        let skip = |source: &mut R, size| {
            let size =
                i64::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            source.seek(SeekFrom::Current(size)).map(drop)
        };
        Self { skip: Some(skip), ..Self::new(source, limits) }
    }
}

impl<R: Read> Reader<R> {
    /// Starts reading; nothing is read yet.
    pub fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            limits,
            offset: 0,
            entries: 0,
            expanded: 0,
            stored: 0,
            padding: 0,
            holes: None,
            ended: false,
            skip: None,
        }
    }

    /// The next member, or `None` at the end of the archive.
    pub fn next_member(&mut self) -> Result<Option<Header>, TarError> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        while let Some(block) = self.header_block()? {
            let size = self.size_field(&block)?;
            match block[header::TYPE] {
                b'x' => {
                    let body = self.extension(size)?;
                    let records = self.checked(pax::parse(&body))?;
                    if extensions.records.replace(records).is_some() {
                        return Err(self.invalid("two extended headers for one member"));
                    }
                }
                b'g' => {
                    let body = self.extension(size)?;
                    let records = self.checked(pax::parse(&body))?;
                    let moves = |key: &[u8]| {
                        matches!(key, pax::PATH | pax::LINK | pax::SIZE)
                            || key.starts_with(pax::SPARSE)
                    };
                    if records.keys().any(|key| moves(key)) {
                        return Err(self.invalid("a global header that names or sizes members"));
                    }
                }
                b'L' => {
                    let name = header::text(&self.extension(size)?).to_vec();
                    if extensions.name.replace(name).is_some() {
                        return Err(self.invalid("two long names for one member"));
                    }
                }
                b'K' => {
                    let link = header::text(&self.extension(size)?).to_vec();
                    if extensions.link.replace(link).is_some() {
                        return Err(self.invalid("two long link targets for one member"));
                    }
                }
                _ => return self.member(&block, size, extensions).map(Some),
            }
        }
        if extensions.records.is_some() || extensions.name.is_some() || extensions.link.is_some() {
            return Err(TarError::Truncated { offset: self.offset });
        }
        Ok(None)
    }

    /// The next part of the current member's content; `buffer` must not be empty.
    pub fn piece(&mut self, buffer: &mut [u8]) -> Result<Piece, TarError> {
        let Some(holes) = &mut self.holes else {
            let wanted = usize::try_from(self.stored).unwrap_or(usize::MAX).min(buffer.len());
            return self.stored_bytes(&mut buffer[..wanted]);
        };
        loop {
            let Some(segment) = &mut holes.current else {
                let left = holes.size - holes.position;
                holes.position = holes.size;
                return Ok(if left == 0 { Piece::End } else { Piece::Hole(left) });
            };
            if holes.position < segment.offset {
                let hole = segment.offset - holes.position;
                holes.position = segment.offset;
                return Ok(Piece::Hole(hole));
            }
            let left = segment.offset + segment.size - holes.position;
            if left == 0 {
                holes.current = holes.segments.next();
                continue;
            }
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = self.stored_bytes(&mut buffer[..wanted])?;
            if let (Piece::Data(count), Some(holes)) = (piece, &mut self.holes) {
                holes.position += count as u64;
            }
            return Ok(piece);
        }
    }

    /// How many bytes of the archive were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the current member's content is not stored as it is, so that it is not at [`Reader::offset`].
    pub fn is_sparse(&self) -> bool {
        self.holes.is_some()
    }

    /// Reads and drops what follows the end of the archive, and gives back the stream.
    pub fn finish(mut self) -> Result<R, TarError> {
        while self.next_member()?.is_some() {}
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.source.read(&mut buffer) {
                Ok(0) => return Ok(self.source),
                Ok(count) => self.count(count as u64)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
    }

    fn member(
        &mut self,
        block: &Block,
        size: u64,
        extensions: Extensions,
    ) -> Result<Header, TarError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(TarError::Limit { what: "entries", limit: self.limits.entries });
        }
        let mut records = extensions.records.unwrap_or_default();
        // An empty value takes a record back.
        records.retain(|key, value| !value.is_empty() || key.starts_with(pax::XATTR));
        let mut header = self.fixed_fields(block)?;
        header.gnu =
            extensions.name.is_some() || extensions.link.is_some() || block[header::TYPE] == b'S';
        self.merge_text(&mut header.path, records.remove(pax::PATH), extensions.name)?;
        self.merge_text(&mut header.link, records.remove(pax::LINK), extensions.link)?;
        let mut stored = size;
        if let Some(value) = records.remove(pax::SIZE) {
            stored = pax::decimal(&value)
                .filter(|size| i64::try_from(*size).is_ok())
                .ok_or_else(|| self.invalid("a malformed size"))?;
        }
        for (key, field) in [(pax::UID, &mut header.uid), (pax::GID, &mut header.gid)] {
            if let Some(value) = records.remove(key) {
                *field = pax::decimal(&value)
                    .and_then(|id| u32::try_from(id).ok())
                    .ok_or_else(|| self.invalid("an owner that is no 32-bit number"))?;
            }
        }
        if let Some(value) = records.remove(pax::MTIME) {
            header.mtime = pax::time(&value).ok_or_else(|| self.invalid("a malformed time"))?;
        }
        if has_content(header.kind) {
            self.stored = stored;
            self.padding = stored.next_multiple_of(BLOCK as u64) - stored;
            header.size = stored;
            if block[header::TYPE] == b'S' {
                self.old_sparse(block, &mut header)?;
            } else if records.keys().any(|key| key.starts_with(pax::SPARSE)) {
                self.pax_sparse(&mut records, &mut header)?;
            }
        }
        if matches!(block[header::TYPE], 0) && header.path.ends_with(b"/") {
            header.kind = MemberKind::Directory;
        }
        self.expanded = self.expanded.saturating_add(header.size);
        if self.expanded > self.limits.total_bytes {
            return Err(TarError::Limit {
                what: "bytes of content",
                limit: self.limits.total_bytes,
            });
        }
        for (key, value) in records {
            match key.strip_prefix(pax::XATTR) {
                Some(name) if !name.is_empty() => {
                    header.xattrs.insert(name.to_vec(), value);
                }
                _ if matches!(
                    key.as_slice(),
                    b"uname"
                        | b"gname"
                        | b"atime"
                        | b"ctime"
                        | b"charset"
                        | b"comment"
                        | b"hdrcharset"
                ) =>
                {
                    // The access and change times matter to Windows layers only, which say them again.
                    if matches!(key.as_slice(), b"atime" | b"ctime") {
                        header.records.insert(key, value);
                    }
                }
                _ => {
                    header.records.insert(key, value);
                }
            }
        }
        self.check_path(&header)?;
        Ok(header)
    }

    fn fixed_fields(&self, block: &Block) -> Result<Header, TarError> {
        let kind = match block[header::TYPE] {
            b'0' | 0 | b'7' | b'S' => MemberKind::File,
            b'1' => MemberKind::Hardlink,
            b'2' => MemberKind::Symlink,
            b'3' => MemberKind::CharDevice,
            b'4' => MemberKind::BlockDevice,
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => MemberKind::Other(other),
        };
        let id = |range: std::ops::Range<usize>, what: &str| {
            header::number(&block[range])
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| self.invalid(what))
        };
        let mut header = Header::new(header::name(block), kind);
        header.link = header::text(&block[header::LINK]).to_vec();
        header.mode = id(header::MODE, "a malformed mode")?;
        header.uid = id(header::UID, "an owner that is no 32-bit number")?;
        header.gid = id(header::GID, "a group that is no 32-bit number")?;
        let secs = header::number(&block[header::MTIME])
            .ok_or_else(|| self.invalid("a malformed time"))?;
        header.mtime = Time { secs, nanos: 0 };
        if matches!(kind, MemberKind::CharDevice | MemberKind::BlockDevice)
            && header::dialect(block) != Dialect::V7
        {
            header.device = (
                id(header::DEV_MAJOR, "a malformed device")?,
                id(header::DEV_MINOR, "a malformed device")?,
            );
        }
        Ok(header)
    }

    /// The header's text, or what an extension says. Two extensions must agree: readers differ on which counts.
    fn merge_text(
        &self,
        field: &mut Vec<u8>,
        pax: Option<Vec<u8>>,
        gnu: Option<Vec<u8>>,
    ) -> Result<(), TarError> {
        match (pax, gnu) {
            (Some(pax), Some(gnu)) if pax != gnu => {
                return Err(self.invalid("a PAX and a GNU name that differ"));
            }
            (Some(text), _) | (None, Some(text)) => *field = text,
            (None, None) => {}
        }
        Ok(())
    }

    fn check_path(&self, header: &Header) -> Result<(), TarError> {
        for path in [&header.path, &header.link] {
            if path.len() > self.limits.path_bytes {
                return Err(TarError::Limit {
                    what: "bytes in a path",
                    limit: self.limits.path_bytes as u64,
                });
            }
            if path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).count()
                > self.limits.depth
            {
                return Err(TarError::Limit {
                    what: "parts in a path",
                    limit: self.limits.depth as u64,
                });
            }
        }
        Ok(())
    }

    fn old_sparse(&mut self, block: &Block, header: &mut Header) -> Result<(), TarError> {
        let (entries, mut more, size) = self.checked(sparse::old_header(block))?;
        let mut segments = Vec::new();
        let limit = self.limits.segments;
        self.checked(sparse::old_entries(entries, &mut segments, limit))?;
        while more {
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            let (entries, next) = sparse::old_extension(&block);
            self.checked(sparse::old_entries(entries, &mut segments, limit))?;
            more = next;
        }
        self.set_holes(segments, size, header)
    }

    fn pax_sparse(&mut self, records: &mut Records, header: &mut Header) -> Result<(), TarError> {
        let mut take =
            |name: &str| records.remove([pax::SPARSE, name.as_bytes()].concat().as_slice());
        let version = (take("major"), take("minor"));
        let name = take("name");
        let size = take("realsize");
        let size = take("size").or(size).as_deref().and_then(pax::decimal);
        let map = take("map");
        let blocks = take("numblocks").as_deref().and_then(pax::decimal);
        let size = size
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| self.invalid("a sparse file without a size"))?;
        let segments = match (version.0.as_deref(), version.1.as_deref()) {
            (Some(b"1"), Some(b"0")) => self.stored_map()?,
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {
                let segments = self
                    .checked(sparse::parse_map(&map.unwrap_or_default(), self.limits.segments))?;
                if blocks.is_some_and(|blocks| blocks != segments.len() as u64) {
                    return Err(self.invalid("a malformed sparse map"));
                }
                segments
            }
            _ => return Err(self.invalid("an unknown sparse format")),
        };
        if let Some(name) = name {
            header.path = name;
        }
        header.gnu = true;
        self.set_holes(segments, size, header)
    }

    /// The map that sparse format 1.0 keeps at the start of the stored bytes.
    fn stored_map(&mut self) -> Result<Vec<Segment>, TarError> {
        let mut parser = MapParser::new(self.limits.segments);
        loop {
            if self.stored < BLOCK as u64 {
                return Err(self.invalid("a malformed sparse map"));
            }
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            self.stored -= BLOCK as u64;
            if self.checked(parser.feed(&block))? {
                return Ok(parser.segments);
            }
        }
    }

    fn set_holes(
        &mut self,
        segments: Vec<Segment>,
        size: u64,
        header: &mut Header,
    ) -> Result<(), TarError> {
        if i64::try_from(size).is_err() {
            return Err(self.invalid("a malformed sparse map"));
        }
        self.checked(sparse::check(&segments, size, self.stored))?;
        let mut segments = segments.into_iter();
        self.holes = Some(Holes { current: segments.next(), segments, position: 0, size });
        header.size = size;
        Ok(())
    }

    /// The next header, or `None` at the end: two empty blocks, or one and nothing after it.
    fn header_block(&mut self) -> Result<Option<Block>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.block_or_end()? else {
            self.ended = true;
            return if self.limits.end_required {
                Err(TarError::Truncated { offset: self.offset })
            } else {
                Ok(None)
            };
        };
        if block.iter().any(|byte| *byte != 0) {
            if !header::checksum_fits(&block) {
                return Err(self.invalid("a header with a wrong checksum"));
            }
            return Ok(Some(block));
        }
        self.ended = true;
        match self.block_or_end()? {
            Some(block) if block.iter().any(|byte| *byte != 0) => {
                Err(self.invalid("a single empty block among members"))
            }
            _ => Ok(None),
        }
    }

    fn size_field(&self, block: &Block) -> Result<u64, TarError> {
        header::number(&block[header::SIZE])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| self.invalid("a malformed size"))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > self.limits.extension_bytes {
            return Err(TarError::Limit {
                what: "bytes in an extended header",
                limit: self.limits.extension_bytes,
            });
        }
        let padded = usize::try_from(size.next_multiple_of(BLOCK as u64)).unwrap_or(usize::MAX);
        let mut body = vec![0; padded];
        self.fill(&mut body)?;
        body.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        Ok(body)
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        self.holes = None;
        if let Some(skip) = self.skip
            && self.stored > 0
        {
            let size = std::mem::take(&mut self.stored);
            skip(&mut self.source, size)
                .map_err(|source| TarError::Read { offset: self.offset, source })?;
            self.count(size)?;
        }
        if self.stored > 0 {
            let mut buffer = vec![0; 64 * 1024];
            while self.stored > 0 {
                let wanted = usize::try_from(self.stored).unwrap_or(usize::MAX).min(buffer.len());
                self.stored_bytes(&mut buffer[..wanted])?;
            }
        }
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or(0);
        self.fill(&mut [0; BLOCK][..padding])
    }

    fn stored_bytes(&mut self, buffer: &mut [u8]) -> Result<Piece, TarError> {
        if buffer.is_empty() {
            return Ok(Piece::End);
        }
        let count = self.read_some(buffer)?;
        if count == 0 {
            return Err(TarError::Truncated { offset: self.offset });
        }
        self.stored -= count as u64;
        Ok(Piece::Data(count))
    }

    fn block_or_end(&mut self) -> Result<Option<Block>, TarError> {
        let mut block = [0; BLOCK];
        let first = self.read_some(&mut block)?;
        if first == 0 {
            return Ok(None);
        }
        self.fill(&mut block[first..])?;
        Ok(Some(block))
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), TarError> {
        while !buffer.is_empty() {
            let count = self.read_some(buffer)?;
            if count == 0 {
                return Err(TarError::Truncated { offset: self.offset });
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            match self.source.read(buffer) {
                Ok(count) => {
                    self.count(count as u64)?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { offset: self.offset, source }),
            }
        }
    }

    fn count(&mut self, count: u64) -> Result<(), TarError> {
        self.offset = self.offset.saturating_add(count);
        if self.offset > self.limits.total_bytes {
            return Err(TarError::Limit { what: "bytes", limit: self.limits.total_bytes });
        }
        Ok(())
    }

    fn checked<T>(&self, result: Result<T, &'static str>) -> Result<T, TarError> {
        result.map_err(|what| self.invalid(what))
    }

    fn invalid(&self, what: &str) -> TarError {
        TarError::Invalid {
            offset: self.offset.saturating_sub(BLOCK as u64),
            what: what.to_owned(),
        }
    }
}

/// Directories, links and devices have none, whatever their size field says (as in Go).
fn has_content(kind: MemberKind) -> bool {
    matches!(kind, MemberKind::File | MemberKind::Other(_))
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.piece(buffer)? {
            Piece::Data(count) => Ok(count),
            Piece::End => Ok(0),
            Piece::Hole(size) => {
                let count = usize::try_from(size).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..count].fill(0);
                // Give back what of the hole did not fit.
                if let Some(holes) = &mut self.holes {
                    holes.position -= size - count as u64;
                }
                Ok(count)
            }
        }
    }
}
