//! Recognises and undoes compression, within limits.

use std::io::{self, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// Largest zstd window, as a power of two: 128 MiB, which `zstd --ultra -22` stays within.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Memory that an xz stream may ask for; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;
const MAGIC_BYTES: usize = 6;

/// What a stream of bytes is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all, or with something unknown.
    Plain,
    /// gzip
    Gzip,
    /// zstd
    Zstd,
    /// bzip2
    Bzip2,
    /// xz
    Xz,
}

impl Encoding {
    /// What the first bytes of a stream tell.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A zstd frame, or one of the frames that a reader skips.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

/// The plain bytes of `reader`: gzip with any number of members, zstd, bzip2, xz, or as they are.
///
/// Memory is bounded, and so is the number of bytes that come out, by `limit`: beyond it reading fails with
/// [`io::ErrorKind::FileTooLarge`]. Input that ends early or is damaged fails.
pub fn decompress<'a>(
    mut reader: impl Read + Send + 'a,
    limit: u64,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = [0; MAGIC_BYTES];
    let mut filled = 0;
    while filled < start.len() {
        match reader.read(&mut start[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let encoding = Encoding::of(&start[..filled]);
    let head = Cursor::new(start).take(filled as u64);
    let input = BufReader::with_capacity(128 * 1024, head.chain(reader));
    let plain: Box<dyn Read + Send + 'a> = match encoding {
        Encoding::Plain => Box::new(input),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(input)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Encoding::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Encoding::Xz => Box::new(XzDecoder::new_stream(
            input,
            Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?,
        )),
    };
    Ok(Box::new(Bounded { inner: plain, left: limit, limit }))
}

/// Fails, instead of going on, after so many bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("more than {} bytes come out of it", self.limit),
            )),
        }
    }
}
