//! From a changeset to a layer: one pass from the source files to the compressed blob.

mod linux;
mod windows_form;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use fstree::{Changeset, Content, FileChanged, Mtime, RelPath};
use oci::{Digest, Digester, HashingWriter};

use crate::compress::{Compression, Compressor};
use crate::estargz::{Contents, LANDMARK_CONTENT, NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK};
use crate::tar::{self, Header, Time};
use crate::windows_base::WindowsBase;

pub(crate) use linux::is_private_xattr;
pub use windows_form::{WINDOWS_ATTRIBUTES_XATTR, WINDOWS_SECURITY_XATTR};

/// What a layer is to be unpacked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Files at the top, owners, modes and extended attributes.
    #[default]
    Linux,
    /// Files beneath `Files/`, with Windows attributes and security descriptors in PAX records.
    Windows,
}

/// How layers are written. The default is gzip in Linux form on one thread, with times as they are.
#[derive(Clone, Debug, Default)]
pub struct PackOptions {
    /// For Linux or for Windows.
    pub form: Form,
    /// Which compressor, and how hard it tries.
    pub compression: Compression,
    /// Seconds since 1970 UTC; later file times are lowered to it. `None` keeps them.
    pub latest_mtime: Option<i64>,
    /// Threads that compress; the bytes do not depend on it. 0 is taken as 1.
    pub threads: usize,
    /// eStargz only: what a container reads first, in this order; it comes first in the layer.
    pub prefetch: Vec<RelPath>,
    /// Windows form only: what lower layers say of their files, for parents and the targets of links.
    pub windows_base: Option<Arc<WindowsBase>>,
}

/// A layer as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the uncompressed tar, which the image configuration lists.
    pub diff_id: Digest,
    /// Digest of the bytes written.
    pub digest: Digest,
    /// How many bytes were written.
    pub size: u64,
    /// How many bytes the tar has.
    pub uncompressed_size: u64,
    /// What the layer's descriptor is to carry.
    pub annotations: BTreeMap<String, String>,
    /// What a user should know of how files were written; at most 100 lines.
    pub warnings: Vec<String>,
}

/// Why a layer could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Which, in the layer.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file was written to while it was being packed.
    #[error("`{path}` changed while it was being packed")]
    Changed {
        /// Which, in the layer.
        path: String,
        /// What differs.
        source: io::Error,
    },
    /// A path or attribute that a layer cannot hold.
    #[error("cannot put `{path}` into a {form} layer: {why}")]
    Unfit {
        /// Which, in the layer.
        path: String,
        /// `Linux` or `Windows`.
        form: &'static str,
        /// The rule that it breaks.
        why: String,
    },
    /// The layer could not be written.
    #[error("cannot write the layer")]
    Write {
        /// Why.
        source: io::Error,
    },
}

/// Packs a changeset into a layer. Files are read where they are, once.
///
/// # Errors
/// [`PackError::Changed`] when a file is not what it was when the changeset was made.
pub fn pack(
    changeset: &Changeset,
    options: &PackOptions,
    sink: impl Write,
) -> Result<Packed, PackError> {
    let mut out = LayerWriter::new(options, sink).map_err(|source| PackError::Write { source })?;
    match options.form {
        Form::Linux => linux::emit(changeset, options, &mut out)?,
        Form::Windows => windows_form::emit(changeset, options, &mut out)?,
    }
    out.finish().map_err(|source| PackError::Write { source })
}

/// Writes a whole tree as a plain tar archive, as `--output type=tar` wants it. Removals are left out.
pub fn write_tar(
    changeset: &Changeset,
    latest_mtime: Option<i64>,
    out: impl Write,
) -> Result<(), PackError> {
    let options = PackOptions {
        compression: Compression::Uncompressed,
        latest_mtime,
        ..PackOptions::default()
    };
    let mut out = LayerWriter::new(&options, out).map_err(|source| PackError::Write { source })?;
    linux::emit_tree(changeset, &options, &mut out)?;
    out.finish().map(drop).map_err(|source| PackError::Write { source })
}

/// Members go in, a compressed layer with its digests comes out.
pub(crate) struct LayerWriter<W: Write> {
    tar: tar::Writer<Tee<W>>,
    contents: Option<Contents>,
    buffer: Vec<u8>,
    warnings: Vec<String>,
}

/// Digests the plain bytes on their way to the compressor.
pub(crate) struct Tee<W: Write> {
    plain: Digester,
    pub(crate) compressor: Compressor<HashingWriter<W>>,
}

impl<W: Write> Write for Tee<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.compressor.write_all(bytes)?;
        self.plain.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.compressor.flush()
    }
}

impl<W: Write> LayerWriter<W> {
    pub(crate) fn new(options: &PackOptions, sink: W) -> io::Result<Self> {
        let compressor =
            Compressor::new(options.compression, options.threads, HashingWriter::new(sink))?;
        let contents =
            matches!(options.compression, Compression::EStargz { .. }).then(Contents::default);
        Ok(Self {
            tar: tar::Writer::new(Tee { plain: Digester::sha256(), compressor }),
            contents,
            buffer: vec![0; 128 * 1024],
            warnings: Vec::new(),
        })
    }

    /// Writes one member with its content, which must have the size of the header.
    pub(crate) fn member(
        &mut self,
        header: &Header,
        content: &mut dyn Read,
    ) -> Result<(), PackError> {
        let write = |source| PackError::Write { source };
        let unfit = |source: io::Error| match source.kind() {
            io::ErrorKind::InvalidInput => PackError::Unfit {
                path: fstree::show(&header.path),
                form: "tar",
                why: source.to_string(),
            },
            _ => PackError::Write { source },
        };
        let read = |source: io::Error| {
            let path = fstree::show(&header.path);
            if FileChanged::caused(&source) {
                PackError::Changed { path, source }
            } else {
                PackError::Read { path, source }
            }
        };
        self.tar.start(header).map_err(unfit)?;
        if let Some(contents) = &mut self.contents {
            contents.start(header);
        }
        let mut left = if header.kind == tar::MemberKind::File { header.size } else { 0 };
        while left > 0 {
            let room = match &mut self.contents {
                Some(contents) => {
                    contents.chunk_room(&mut self.tar.out().compressor).map_err(write)?
                }
                None => u64::MAX,
            };
            let wanted =
                usize::try_from(left.min(room)).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = match content.read(&mut self.buffer[..wanted]) {
                Ok(0) => return Err(read(io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read(error)),
            };
            self.tar.write_all(&self.buffer[..count]).map_err(write)?;
            if let Some(contents) = &mut self.contents {
                contents.update(&self.buffer[..count]);
            }
            left -= count as u64;
        }
        if let Some(contents) = &mut self.contents {
            contents.end();
        }
        Ok(())
    }

    pub(crate) fn warn(&mut self, warning: String) {
        if self.warnings.len() < 100 {
            self.warnings.push(warning);
        }
    }

    /// Writes the file that divides what an eStargz layer wants read first from the rest.
    pub(crate) fn landmark(&mut self, prefetch: bool) -> Result<(), PackError> {
        let name = if prefetch { PREFETCH_LANDMARK } else { NO_PREFETCH_LANDMARK };
        let mut header = Header::new(name, tar::MemberKind::File);
        header.size = LANDMARK_CONTENT.len() as u64;
        self.member(&header, &mut &LANDMARK_CONTENT[..])
    }

    /// As [`LayerWriter::member`], with the content of a changeset's entry.
    pub(crate) fn file(&mut self, header: &Header, content: &Content) -> Result<(), PackError> {
        let path = || fstree::show(&header.path);
        let mut reader = content.open().map_err(|source| {
            if FileChanged::caused(&source) {
                PackError::Changed { path: path(), source }
            } else {
                PackError::Read { path: path(), source }
            }
        })?;
        self.member(header, &mut reader)
    }

    pub(crate) fn finish(mut self) -> io::Result<Packed> {
        let mut annotations = BTreeMap::new();
        let warnings = std::mem::take(&mut self.warnings);
        let tee = match self.contents.take() {
            None => self.tar.finish()?,
            Some(contents) => contents.finish(self.tar, &mut annotations)?,
        };
        let uncompressed_size = tee.plain.size();
        let diff_id = tee.plain.finish();
        let mut out = tee.compressor.finish()?;
        out.flush()?;
        let (_, digest, size) = out.finish();
        if !annotations.is_empty() {
            annotations
                .insert(crate::estargz::SIZE_ANNOTATION.to_owned(), uncompressed_size.to_string());
        }
        Ok(Packed { diff_id, digest, size, uncompressed_size, annotations, warnings })
    }
}

/// A time as layers hold it: whole seconds, not after `latest`.
fn clamp(mtime: Mtime, latest: Option<i64>) -> Time {
    Time { secs: latest.map_or(mtime.secs, |latest| mtime.secs.min(latest)), nanos: 0 }
}
