//! Where are the bytes? The traits that read and write blobs by descriptor, and verification.
//!
//! The narrow waist: store, registry, archive and memory look the same here. It knows no tar and no files in layers.
#![warn(missing_docs)]

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use oci::{Descriptor, Digest, Digester, HashingReader};

/// Why a blob could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// It is not here.
    #[error("blob {0} is not here")]
    Missing(Digest),
    /// Its bytes are not those of its digest, or not as many as its descriptor says.
    #[error("blob {expected} is damaged: its content has digest {found} and {size} bytes")]
    Mismatch {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
        /// How many bytes came.
        size: u64,
    },
    /// More than a caller is ready to hold in memory.
    #[error("blob {digest} has {size} bytes, more than the {limit} accepted here")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// How large.
        size: u64,
        /// What is accepted.
        limit: u64,
    },
    /// The place failed.
    #[error("cannot access blob {digest}")]
    Io {
        /// Which.
        digest: Digest,
        /// Why.
        source: io::Error,
    },
    /// Another kind of place failed.
    #[error("cannot access blob {digest}")]
    Other {
        /// Which.
        digest: Digest,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Finds the bytes of a blob. Callers use [`read_verified`], so implementations need not check them.
pub trait BlobReader: Send + Sync {
    /// Fails with [`BlobError::Missing`] when the blob is not here.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, BlobError>;
}

/// Takes blobs.
pub trait BlobWriter: Send + Sync {
    /// Whether the blob is here already.
    fn has(&self, blob: &Descriptor) -> Result<bool, BlobError>;
    /// Writes the blob, which must have the digest and size of its descriptor; a writer checks both.
    fn put(&self, blob: &Descriptor, content: &mut dyn Read) -> Result<(), BlobError>;
}

/// Reads a whole blob of at most `limit` bytes into memory and checks size and digest.
pub fn read_verified(
    from: &dyn BlobReader,
    blob: &Descriptor,
    limit: u64,
) -> Result<Vec<u8>, BlobError> {
    if blob.size > limit {
        return Err(BlobError::TooLarge { digest: blob.digest.clone(), size: blob.size, limit });
    }
    let mut content = Vec::new();
    let mut reader =
        HashingReader::new(from.open(blob)?.take(blob.size + 1), Digester::like(&blob.digest));
    reader
        .read_to_end(&mut content)
        .map_err(|source| BlobError::Io { digest: blob.digest.clone(), source })?;
    let (_, found, size) = reader.finish();
    if found != blob.digest || size != blob.size {
        return Err(BlobError::Mismatch { expected: blob.digest.clone(), found, size });
    }
    Ok(content)
}

/// Blobs held in memory, for images too small for a disk and for tests.
#[derive(Default)]
pub struct MemoryBlobs(Mutex<BTreeMap<Digest, Arc<[u8]>>>);

impl MemoryBlobs {
    /// Adds a blob under its own digest.
    pub fn add(&self, content: impl Into<Arc<[u8]>>) -> Digest {
        let content = content.into();
        let digest = Digest::of(&content);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone(), content);
        digest
    }
}

impl BlobReader for MemoryBlobs {
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, BlobError> {
        let blobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes =
            blobs.get(&blob.digest).ok_or_else(|| BlobError::Missing(blob.digest.clone()))?;
        Ok(Box::new(Cursor::new(Arc::clone(bytes))))
    }
}

impl BlobWriter for MemoryBlobs {
    fn has(&self, blob: &Descriptor) -> Result<bool, BlobError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&blob.digest))
    }

    fn put(&self, blob: &Descriptor, content: &mut dyn Read) -> Result<(), BlobError> {
        let mut bytes = Vec::new();
        content
            .take(blob.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| BlobError::Io { digest: blob.digest.clone(), source })?;
        let found = Digest::of(&bytes);
        if found != blob.digest {
            return Err(BlobError::Mismatch {
                expected: blob.digest.clone(),
                found,
                size: bytes.len() as u64,
            });
        }
        self.add(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_read_back_and_a_wrong_one_is_refused() {
        let blobs = MemoryBlobs::default();
        let blob = Descriptor::of("text/plain", b"hello");
        assert!(matches!(read_verified(&blobs, &blob, 10), Err(BlobError::Missing(_))));
        blobs.add(*b"hello");
        assert_eq!(read_verified(&blobs, &blob, 10).ok().as_deref(), Some(b"hello".as_slice()));
        let short = Descriptor { size: 4, ..blob.clone() };
        assert!(matches!(read_verified(&blobs, &short, 10), Err(BlobError::Mismatch { .. })));
        assert!(matches!(read_verified(&blobs, &blob, 4), Err(BlobError::TooLarge { .. })));
        assert!(blobs.put(&blob, &mut b"hellO".as_slice()).is_err());
    }
}
