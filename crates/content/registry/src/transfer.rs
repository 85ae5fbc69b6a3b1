//! Where the bytes of a transfer come from and go to.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use blobs::BlobReader;
use bytes::Bytes;
use fs_err::File;
use oci::Descriptor;

/// Told the number of bytes of the blob that are transferred so far. May fall when a transfer starts over.
pub type ProgressFn = Arc<dyn Fn(u64) + Send + Sync>;

/// Progress that nobody watches.
pub fn silent() -> ProgressFn {
    Arc::new(|_| {})
}

/// Takes the bytes of a blob as they arrive, possibly over several connections or runs of the program.
pub trait BlobSink: Send {
    /// How many bytes it holds from earlier attempts.
    fn offset(&self) -> u64;
    /// Those bytes from the first on; they are digested again before a transfer is resumed.
    fn held(&mut self) -> io::Result<Box<dyn Read + Send + '_>>;
    /// Appends bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forgets everything it holds.
    fn restart(&mut self) -> io::Result<()>;
}

impl BlobSink for Vec<u8> {
    fn offset(&self) -> u64 {
        self.len() as u64
    }

    fn held(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.as_slice()))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

/// A sink that is a file, opened for reading and writing; what it holds already is resumed.
pub struct FileSink {
    file: File,
    length: u64,
}

impl FileSink {
    /// Goes on where `file` ends.
    pub fn new(mut file: File) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, length })
    }

    /// The file.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl BlobSink for FileSink {
    fn offset(&self) -> u64 {
        self.length
    }

    fn held(&mut self) -> io::Result<Box<dyn Read + Send + '_>> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(Box::new(io::BufReader::with_capacity(1 << 18, (&self.file).take(self.length))))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.length = 0;
        Ok(())
    }
}

/// Gives the bytes of a blob, from any place on, as often as an upload has to be resumed.
pub trait BlobSource: Send + Sync {
    /// The bytes from `offset` to the end.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

impl BlobSource for Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self.slice(from..))))
    }
}

/// A blob in any place that reads blobs.
pub struct ReaderSource {
    /// Where.
    pub from: Arc<dyn BlobReader>,
    /// Which.
    pub blob: Descriptor,
}

impl BlobSource for ReaderSource {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut reader = self.from.open(&self.blob).map_err(io::Error::other)?;
        let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink())?;
        if skipped < offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(reader)
    }
}

impl<F> BlobSource for F
where
    F: Fn(u64) -> io::Result<Box<dyn Read + Send>> + Send + Sync,
{
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        self(offset)
    }
}
