//! Compressors whose bytes depend on what goes in and on the level, never on threads, sizes of writes or time.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use libdeflater::{CompressionLvl, Compressor as Deflate};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip, which everything reads: one member for each MiB. Levels 1 to 12 (of libdeflate).
    Gzip {
        /// 1 to 12.
        level: u8,
    },
    /// zstd. Levels 1 to 22.
    Zstd {
        /// 1 to 22.
        level: u8,
    },
    /// gzip with a table of contents, so that containerd's stargz snapshotter can fetch single files.
    EStargz {
        /// 1 to 12.
        level: u8,
    },
    /// As it is.
    Uncompressed,
}

impl Default for Compression {
    fn default() -> Self {
        Self::GZIP
    }
}

impl Compression {
    /// gzip at the default level.
    pub const GZIP: Self = Self::Gzip { level: 5 };
    /// zstd at the default level.
    pub const ZSTD: Self = Self::Zstd { level: 3 };
    /// eStargz at the default level.
    pub const ESTARGZ: Self = Self::EStargz { level: 5 };

    /// Media type of a layer compressed so (OCI).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip { .. } | Self::EStargz { .. } => oci::media_type::OCI_LAYER_GZIP,
            Self::Zstd { .. } => oci::media_type::OCI_LAYER_ZSTD,
            Self::Uncompressed => oci::media_type::OCI_LAYER,
        }
    }

    /// `gzip`, `zstd`, `estargz` or `uncompressed`, as in BuildKit's exporter options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Zstd { .. } => "zstd",
            Self::EStargz { .. } => "estargz",
            Self::Uncompressed => "uncompressed",
        }
    }

    /// Whether the level exists.
    pub fn is_valid(self) -> bool {
        match self {
            Self::Gzip { level } | Self::EStargz { level } => (1..=12).contains(&level),
            Self::Zstd { level } => (1..=22).contains(&level),
            Self::Uncompressed => true,
        }
    }
}

/// Compresses what is written to it.
pub(crate) enum Compressor<W: Write> {
    Plain(W),
    Gzip(Gzip<W>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> Compressor<W> {
    pub(crate) fn new(compression: Compression, threads: usize, out: W) -> io::Result<Self> {
        if !compression.is_valid() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{compression:?} has no such level"),
            ));
        }
        Ok(match compression {
            Compression::Uncompressed => Self::Plain(out),
            Compression::Gzip { level } | Compression::EStargz { level } => {
                Self::Gzip(Gzip::new(level, threads, out)?)
            }
            Compression::Zstd { level } => {
                let mut encoder = zstd::stream::write::Encoder::new(out, i32::from(level))?;
                encoder.include_checksum(true)?;
                // One worker and none give different bytes; any other numbers the same.
                encoder.multithread(u32::try_from(threads.clamp(1, 64)).unwrap_or(1))?;
                Self::Zstd(Box::new(encoder))
            }
        })
    }

    pub(crate) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }

    /// The gzip compressor, when it is one.
    pub(crate) fn gzip(&mut self) -> Option<&mut Gzip<W>> {
        match self {
            Self::Gzip(gzip) => Some(gzip),
            Self::Plain(_) | Self::Zstd(_) => None,
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MEMBER_BYTES: usize = 1 << 20;

/// gzip members of fixed size, compressed side by side and written in order.
pub(crate) struct Gzip<W> {
    out: W,
    written: u64,
    member: Vec<u8>,
    members: u64,
    engine: Engine,
    pending: VecDeque<Pending>,
    in_flight: usize,
    marks: Vec<u64>,
}

enum Engine {
    Inline(Box<Deflate>),
    Pool { jobs: SyncSender<Job>, threads: Vec<JoinHandle<()>> },
}

struct Job {
    plain: Vec<u8>,
    done: SyncSender<io::Result<Vec<u8>>>,
}

enum Pending {
    Member(Receiver<io::Result<Vec<u8>>>),
    Mark,
}

impl<W: Write> Gzip<W> {
    fn new(level: u8, threads: usize, out: W) -> io::Result<Self> {
        let level = CompressionLvl::new(i32::from(level))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let engine = if threads <= 1 {
            Engine::Inline(Box::new(Deflate::new(level)))
        } else {
            pool(level, threads.min(64))?
        };
        Ok(Self {
            out,
            written: 0,
            member: Vec::new(),
            members: 0,
            engine,
            pending: VecDeque::new(),
            in_flight: 0,
            marks: Vec::new(),
        })
    }

    /// Ends the current member. The offset of the next one will be at the returned place in [`Gzip::offsets`].
    pub(crate) fn mark(&mut self) -> io::Result<usize> {
        self.end_member()?;
        self.pending.push_back(Pending::Mark);
        let marks = self.pending.iter().filter(|pending| matches!(pending, Pending::Mark)).count();
        Ok(self.marks.len() + marks - 1)
    }

    /// Writes everything out, and tells where the marked members start.
    pub(crate) fn offsets(&mut self) -> io::Result<&[u64]> {
        self.end_member()?;
        self.drain(0)?;
        Ok(&self.marks)
    }

    /// Writes bytes as they are, after everything written so far.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offsets()?;
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn end_member(&mut self) -> io::Result<()> {
        if self.member.is_empty() {
            return Ok(());
        }
        let plain = std::mem::take(&mut self.member);
        self.submit(plain)
    }

    fn submit(&mut self, plain: Vec<u8>) -> io::Result<()> {
        self.members += 1;
        match &mut self.engine {
            Engine::Inline(deflate) => {
                let packed = gzip_member(deflate, &plain)?;
                self.drain(0)?;
                self.written += packed.len() as u64;
                self.out.write_all(&packed)?;
                self.member = plain;
                self.member.clear();
                Ok(())
            }
            Engine::Pool { jobs, threads } => {
                let limit = threads.len() * 2;
                let (done, result) = sync_channel(1);
                jobs.send(Job { plain, done }).map_err(|_| stopped())?;
                self.pending.push_back(Pending::Member(result));
                self.in_flight += 1;
                self.drain(limit)
            }
        }
    }

    /// Writes finished members until no more than `keep` are under way.
    fn drain(&mut self, keep: usize) -> io::Result<()> {
        while self.in_flight > keep || matches!(self.pending.front(), Some(Pending::Mark)) {
            match self.pending.pop_front() {
                Some(Pending::Mark) => self.marks.push(self.written),
                Some(Pending::Member(result)) => {
                    self.in_flight -= 1;
                    let packed = result.recv().map_err(|_| stopped())??;
                    self.written += packed.len() as u64;
                    self.out.write_all(&packed)?;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        if self.members == 0 && self.member.is_empty() && self.written == 0 {
            self.submit(Vec::new())?;
        }
        self.offsets()?;
        if let Engine::Pool { jobs, threads } = self.engine {
            drop(jobs);
            for thread in threads {
                thread.join().map_err(|_| stopped())?;
            }
        }
        Ok(self.out)
    }
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(MEMBER_BYTES - self.member.len());
        self.member.extend_from_slice(&bytes[..count]);
        if self.member.len() == MEMBER_BYTES {
            self.end_member()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pool(level: CompressionLvl, count: usize) -> io::Result<Engine> {
    let (jobs, queue) = sync_channel::<Job>(count);
    let queue = Arc::new(Mutex::new(queue));
    let mut threads = Vec::with_capacity(count);
    for _ in 0..count {
        let queue = Arc::clone(&queue);
        let work = move || {
            let mut deflate = Deflate::new(level);
            loop {
                let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                // Nobody waits any more when the writer has failed.
                let _unheard = job.done.send(gzip_member(&mut deflate, &job.plain));
            }
        };
        threads.push(std::thread::Builder::new().name("gzip".to_owned()).spawn(work)?);
    }
    Ok(Engine::Pool { jobs, threads })
}

fn gzip_member(deflate: &mut Deflate, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; deflate.gzip_compress_bound(plain.len())];
    let size = deflate.gzip_compress(plain, &mut packed).map_err(io::Error::other)?;
    packed.truncate(size);
    // The header's hint about the level says nothing that should differ.
    if let Some(hint) = packed.get_mut(8) {
        *hint = 0;
    }
    Ok(packed)
}

fn stopped() -> io::Error {
    io::Error::other("a compression thread stopped")
}
