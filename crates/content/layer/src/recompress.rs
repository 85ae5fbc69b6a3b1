//! The same tar in another compression: another blob, the same diff ID.

use std::io::{self, Read, Write};

use oci::{Digester, HashingWriter};

use crate::compress::{Compression, Compressor};
use crate::decompress::decompress;
use crate::pack::{LayerWriter, PackError, PackOptions, Packed};
use crate::tar::{Limits, Reader};

/// Reads a layer, compressed or not, and writes it with the compression of `options`; nothing else of them counts.
///
/// The tar stays as it is to the last byte, except for eStargz, whose table of contents is an entry of the tar: there
/// the layer gets another diff ID. `limit` bounds the bytes of the tar.
///
/// # Errors
/// [`PackError::Read`] when the layer is damaged, [`PackError::Write`] when the new one cannot be written.
pub fn recompress(
    layer: impl Read + Send,
    options: &PackOptions,
    limit: u64,
    sink: impl Write,
) -> Result<Packed, PackError> {
    let read = |source| PackError::Read { path: "the layer".to_owned(), source };
    let write = |source| PackError::Write { source };
    let mut plain = decompress(layer, limit).map_err(read)?;
    if matches!(options.compression, Compression::EStargz { .. }) {
        return to_estargz(plain, options, limit, sink);
    }
    let out = HashingWriter::new(sink);
    let mut out = Compressor::new(options.compression, options.threads, out).map_err(write)?;
    let mut digester = Digester::sha256();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                digester.update(&buffer[..count]);
                out.write_all(&buffer[..count]).map_err(write)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read(error)),
        }
    }
    let uncompressed_size = digester.size();
    let mut out = out.finish().map_err(write)?;
    out.flush().map_err(write)?;
    let (_, digest, size) = out.finish();
    Ok(Packed {
        diff_id: digester.finish(),
        digest,
        size,
        uncompressed_size,
        annotations: std::collections::BTreeMap::new(),
        warnings: Vec::new(),
    })
}

/// Every member again, with the landmark first and the table of contents last.
fn to_estargz(
    plain: impl Read,
    options: &PackOptions,
    limit: u64,
    sink: impl Write,
) -> Result<Packed, PackError> {
    let read = |source: io::Error| PackError::Read { path: "the layer".to_owned(), source };
    let limits = Limits { total_bytes: limit, ..Limits::default() };
    let mut archive = Reader::new(plain, limits);
    let mut out = LayerWriter::new(options, sink).map_err(|source| PackError::Write { source })?;
    out.landmark(false)?;
    while let Some(header) = archive.next_member().map_err(|error| read(error.into()))? {
        if !crate::estargz::is_bookkeeping(&header.path) {
            out.member(&header, &mut archive)?;
        }
    }
    archive.finish().map_err(|error| read(error.into()))?;
    out.finish().map_err(|source| PackError::Write { source })
}
