use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Descriptor, Digest};

/// A JSON document with the bytes it came as, or was first written as. Its digest is that of those bytes.
#[derive(Clone, Debug)]
pub struct Document<T> {
    /// The bytes, never serialised again.
    pub raw: Arc<[u8]>,
    /// What they say.
    pub value: T,
}

/// Why bytes are not the document expected.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {what}")]
pub struct DocumentError {
    /// What was expected: `image manifest`, `image index`, `image configuration`.
    pub what: &'static str,
    /// What the JSON reader found.
    pub source: serde_json::Error,
}

impl<T> Document<T> {
    /// Digest of the raw bytes.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.raw)
    }

    /// A descriptor of the raw bytes.
    pub fn descriptor(&self, media_type: &str) -> Descriptor {
        Descriptor::of(media_type, &self.raw)
    }
}

impl<T: DeserializeOwned> Document<T> {
    /// Reads a document, keeping its bytes. `what` is for the error.
    pub fn parse(raw: impl Into<Arc<[u8]>>, what: &'static str) -> Result<Self, DocumentError> {
        let raw = raw.into();
        let value =
            serde_json::from_slice(&raw).map_err(|source| DocumentError { what, source })?;
        Ok(Self { raw, value })
    }
}

impl<T: Serialize> Document<T> {
    /// Writes a new document, as compact JSON in the order of the fields.
    pub fn write(value: T) -> Self {
        // Only a map with keys that are no text can fail here, and no type of this crate has one.
        let raw = serde_json::to_vec(&value).unwrap_or_default();
        Self { raw: raw.into(), value }
    }
}

/// Go writes `null` for an empty list or map; it means the same as leaving the field out.
pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}
