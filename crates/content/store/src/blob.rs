//! Blobs: `blobs/<algorithm>/<hex>`. A blob is here when its file is: it gets its name only after its bytes are durable.

use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blobs::BlobError;
use fs_err::File;
use oci::{Descriptor, Digest, Digester};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, fdatasync, linkat};
use rustix::io::Errno;

use crate::database::{Commit, signed};
use crate::session::Item;
use crate::{Inner, Store, StoreError, lock, now_ms};

/// Bytes gathered before they are written and digested.
const BUFFER: usize = 128 << 10;

/// A blob being written. Dropped without [`commit`](Self::commit), it is gone.
pub struct BlobWriter {
    inner: Arc<Inner>,
    output: BufWriter<Digesting>,
    /// Its name in the temporary directory, where the file system has no nameless files.
    named: Option<PathBuf>,
}

struct Digesting {
    file: File,
    digester: Digester,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digester.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Store {
    /// Where the blob is, or would be.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.blob_path(digest)
    }

    /// Its size, if it is here.
    pub fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let _guard = self.inner.hold(Item::Blob(digest.clone())).ok()?;
        fs_err::symlink_metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    /// Opens it for reading. Its content is not checked; see [`blobs::read_verified`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let _guard = self.inner.hold(Item::Blob(digest.clone()))?;
        let path = self.blob_path(digest);
        match File::open(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::MissingBlob(digest.clone()))
            }
            Err(source) => Err(StoreError::io("open", path)(source)),
        }
    }

    /// Begins a new blob with a SHA-256 digest.
    pub fn blob_writer(&self) -> Result<BlobWriter, StoreError> {
        self.writer_with(Digester::sha256())
    }

    /// Begins a new blob whose digest has the algorithm of `digest`.
    pub fn blob_writer_like(&self, digest: &Digest) -> Result<BlobWriter, StoreError> {
        self.writer_with(Digester::like(digest))
    }

    fn writer_with(&self, digester: Digester) -> Result<BlobWriter, StoreError> {
        let (file, named) = self.inner.temporary_file()?;
        let output = BufWriter::with_capacity(BUFFER, Digesting { file, digester });
        Ok(BlobWriter { inner: Arc::clone(&self.inner), output, named })
    }

    /// Stores bytes that are in memory.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.blob_size(&digest) == Some(bytes.len() as u64) {
            return Ok(digest);
        }
        let mut writer = self.blob_writer()?;
        writer.write_all(bytes).map_err(StoreError::io("write", self.blob_path(&digest)))?;
        Ok(writer.commit(Some(&digest))?.0)
    }

    /// A download that goes on where an earlier one ended. Another process that downloads the same blob is waited for;
    /// check [`Partial::is_complete`] first.
    pub fn partial(&self, digest: &Digest) -> Result<Partial, StoreError> {
        let path = self.inner.dir.join("partial").join(digest.hex());
        loop {
            let file = lock::open(&path)?;
            let mut waited = (0_u32, 0_u64);
            loop {
                match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => break,
                    Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                    Err(errno) => return Err(StoreError::errno("lock", &path)(errno)),
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
                let size = file.metadata().map_or(0, |metadata| metadata.len());
                waited = if size == waited.1 { (waited.0 + 1, size) } else { (0, size) };
                if waited.0 > 1500 {
                    // The other one does not move: get our own.
                    let (file, named) = self.inner.temporary_file()?;
                    return Ok(Partial::new(self, file, named, digest, false));
                }
            }
            let same = match (file.metadata(), fs_err::symlink_metadata(&path)) {
                (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
                _ => false,
            };
            if self.blob_size(digest).is_some() {
                if same {
                    drop(fs_err::remove_file(&path));
                }
                return Ok(Partial::new(self, file, None, digest, true));
            }
            // A name that now belongs to another file: its first owner has finished it.
            if same {
                let mut partial = Partial::new(self, file, Some(path), digest, false);
                partial.keep = true;
                partial.catch_up()?;
                return Ok(partial);
            }
        }
    }

    /// Takes a damaged blob out of use; it can be fetched or made again. Its bytes are kept for inspection until the next
    /// prune.
    pub fn quarantine(&self, digest: &Digest) -> Result<(), StoreError> {
        let _exclusive = self.inner.collection.exclusive()?;
        let from = self.blob_path(digest);
        let to = self.inner.dir.join("quarantine").join(format!(
            "{}.{}",
            digest.hex(),
            crate::session::random_name()
        ));
        match fs_err::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::io("quarantine", from)(source)),
        }
        self.inner.database.write("forget a damaged blob", Commit::Lazy, |t| {
            t.prepare_cached("DELETE FROM blob WHERE digest=?1")?
                .execute([digest.as_str()])
                .map(drop)
        })
    }
}

impl Inner {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let mut path = self.dir.join("blobs");
        path.push(digest.algorithm());
        path.push(digest.hex());
        path
    }

    fn temporary_file(&self) -> Result<(File, Option<PathBuf>), StoreError> {
        let dir = self.dir.join("blobs");
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(&dir, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH) {
            Ok(fd) => Ok((File::from_parts(fd.into(), dir.join("(new blob)")), None)),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                let path = self.session()?.fresh_path();
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .map_err(StoreError::io("make", &path))?;
                Ok((file, Some(path)))
            }
            Err(errno) => Err(StoreError::errno("make a file in", dir)(errno)),
        }
    }

    /// Gives durable bytes their name and records them. Equal bytes that are there already win.
    fn name_blob(
        &self,
        file: &File,
        named: Option<&Path>,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        let target = self.blob_path(digest);
        fdatasync(file).map_err(StoreError::errno("make durable", &target))?;
        let guard = self.hold_for_writing([Item::Blob(digest.clone())])?;
        if fs_err::symlink_metadata(&target).is_ok_and(|metadata| metadata.len() == size) {
            if let Some(path) = named {
                drop(fs_err::remove_file(path));
            }
        } else {
            let from = if let Some(path) = named {
                path.to_owned()
            } else {
                let path = self.session()?.fresh_path();
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
                linkat(CWD, link, CWD, &path, AtFlags::SYMLINK_FOLLOW)
                    .map_err(StoreError::errno("name", &target))?;
                path
            };
            fs_err::rename(&from, &target).map_err(StoreError::io("name", &target))?;
            let folder = self.dir.join("blobs").join(digest.algorithm());
            self.sync_directory(&folder)?;
        }
        let now = now_ms();
        self.database.write("record a blob", Commit::Lazy, |t| {
            let text = "INSERT INTO blob VALUES(?1, ?2, ?3, ?3) ON CONFLICT(digest) DO UPDATE SET used=max(used, excluded.used), size=excluded.size";
            t.prepare_cached(text)?.execute((digest.as_str(), signed(size), now)).map(drop)
        })?;
        drop(guard);
        Ok(())
    }

    pub(crate) fn sync_directory(&self, dir: &Path) -> Result<(), StoreError> {
        let sync = || File::open(dir)?.sync_all();
        self.directory_sync.run(sync).map_err(StoreError::io("make durable", dir))
    }
}

impl BlobWriter {
    /// Makes the bytes durable and the blob known under its digest, which must be `expected` if one is.
    pub fn commit(mut self, expected: Option<&Digest>) -> Result<(Digest, u64), StoreError> {
        self.output.flush().map_err(StoreError::io("write", self.inner.dir.join("blobs")))?;
        let part = self.output.get_mut();
        let size = part.digester.size();
        let found = std::mem::take(&mut part.digester).finish();
        if let Some(expected) = expected
            && *expected != found
        {
            return Err(StoreError::Mismatch { expected: expected.clone(), found, size });
        }
        let named = self.named.take();
        let result =
            self.inner.name_blob(&self.output.get_ref().file, named.as_deref(), &found, size);
        if result.is_err() {
            self.named = named;
        }
        result.map(|()| (found, size))
    }

    /// How many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.output.get_ref().digester.size() + self.output.buffer().len() as u64
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            drop(fs_err::remove_file(path));
        }
    }
}

/// A download under way. Dropped without [`commit`](Self::commit), its bytes stay for the next try.
pub struct Partial {
    inner: Arc<Inner>,
    file: File,
    path: Option<PathBuf>,
    digest: Digest,
    digester: Digester,
    complete: bool,
    /// Whether what is there when dropped is of use to others.
    keep: bool,
}

impl Partial {
    fn new(
        store: &Store,
        file: File,
        path: Option<PathBuf>,
        digest: &Digest,
        complete: bool,
    ) -> Self {
        let digester = Digester::like(digest);
        Self {
            inner: Arc::clone(&store.inner),
            file,
            path,
            digest: digest.clone(),
            digester,
            complete,
            keep: false,
        }
    }

    /// Digests what an earlier try left.
    fn catch_up(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.file.read(&mut buffer).map_err(StoreError::io("read", self.file.path()))? {
                0 => return Ok(()),
                count => self.digester.update(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    /// The blob is in the store: there is nothing to download.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many bytes are here.
    pub fn offset(&self) -> u64 {
        self.digester.size()
    }

    /// The bytes that are here, from the first on.
    pub fn held(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(io::BufReader::with_capacity(
            BUFFER,
            Held { file: &self.file, at: 0, end: self.offset() },
        )))
    }

    /// Begins again, after bytes that turned out wrong or a server that cannot resume.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(StoreError::io("empty", self.file.path()))?;
        self.file.seek(SeekFrom::Start(0)).map_err(StoreError::io("empty", self.file.path()))?;
        self.digester = Digester::like(&self.digest);
        Ok(())
    }

    /// Makes the bytes durable and the blob known. Bytes with another digest are dropped, so that the next try begins anew.
    pub fn commit(mut self) -> Result<(Digest, u64), StoreError> {
        if self.complete {
            let size = fs_err::symlink_metadata(self.inner.blob_path(&self.digest))
                .map_or(0, |metadata| metadata.len());
            return Ok((self.digest.clone(), size));
        }
        let size = self.digester.size();
        let found = std::mem::take(&mut self.digester).finish();
        if found != self.digest {
            self.keep = false;
            return Err(StoreError::Mismatch { expected: self.digest.clone(), found, size });
        }
        self.inner.name_blob(&self.file, self.path.as_deref(), &self.digest, size)?;
        self.path = None;
        Ok((found, size))
    }
}

/// Reads a file without moving the place at which it is written.
struct Held<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Held<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = rustix::io::pread(self.file, &mut buffer[..length], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digester.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && !self.keep
        {
            drop(fs_err::remove_file(path));
        }
    }
}

impl blobs::BlobReader for Store {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, BlobError> {
        match self.open_blob(&blob.digest) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(error.of_blob(&blob.digest)),
        }
    }
}

impl blobs::BlobWriter for Store {
    fn has(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.blob_size(&blob.digest) == Some(blob.size))
    }

    fn put(&self, blob: &Descriptor, content: &mut dyn Read) -> Result<(), BlobError> {
        let fail = |error: StoreError| error.of_blob(&blob.digest);
        let mut writer = self.blob_writer_like(&blob.digest).map_err(fail)?;
        let copied = io::copy(&mut content.take(blob.size + 1), &mut writer);
        let size =
            copied.map_err(|source| BlobError::Io { digest: blob.digest.clone(), source })?;
        if size != blob.size {
            writer
                .flush()
                .map_err(|source| BlobError::Io { digest: blob.digest.clone(), source })?;
            let found = std::mem::take(&mut writer.output.get_mut().digester).finish();
            return Err(BlobError::Mismatch { expected: blob.digest.clone(), found, size });
        }
        writer.commit(Some(&blob.digest)).map(drop).map_err(fail)
    }
}
