use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256, SHA512, digest};
use serde::{Deserialize, Serialize};

/// A content digest, `algorithm:hex` (image-spec 1.1, `descriptor.md`). Only SHA-256 and SHA-512 are accepted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a digest: expected `sha256:` and 64, or `sha512:` and 128 lower-case hexadecimal digits"
)]
pub struct DigestError(pub String);

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash("sha256", digest(&SHA256, bytes).as_ref())
    }

    fn from_hash(algorithm: &str, hash: &[u8]) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(algorithm.len() + 1 + hash.len() * 2);
        text.push_str(algorithm);
        text.push(':');
        for byte in hash {
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Self(text)
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hexadecimal part.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first twelve hexadecimal digits, for people.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let length = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => 64,
            Some(("sha512", hex)) if hex.len() == 128 => 128,
            _ => return Err(DigestError(text.to_owned())),
        };
        let hex = text.as_bytes().iter().rev().take(length);
        if !hex.into_iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Computes a digest of bytes as they pass.
pub struct Digester {
    context: Context,
    algorithm: &'static str,
    size: u64,
}

impl Default for Digester {
    fn default() -> Self {
        Self::sha256()
    }
}

impl Digester {
    /// Starts a SHA-256 digest.
    pub fn sha256() -> Self {
        Self { context: Context::new(&SHA256), algorithm: "sha256", size: 0 }
    }

    /// Starts a digest of the kind that `digest` is, to check bytes against it.
    pub fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self { context: Context::new(&SHA512), algorithm: "sha512", size: 0 },
            _ => Self::sha256(),
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// How many bytes were added.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest::from_hash(self.algorithm, self.context.finish().as_ref())
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Passes bytes on to a writer and digests them.
pub struct HashingWriter<W> {
    inner: W,
    digester: Digester,
}

impl<W> HashingWriter<W> {
    /// Digests (SHA-256) what is written to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, digester: Digester::sha256() }
    }

    /// The writer, the digest of what went into it, and how many bytes that were.
    pub fn finish(self) -> (W, Digest, u64) {
        let size = self.digester.size();
        (self.inner, self.digester.finish(), size)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digester.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Digests bytes as they are read.
pub struct HashingReader<R> {
    inner: R,
    digester: Digester,
}

impl<R> HashingReader<R> {
    /// Digests what is read from `inner`, with the algorithm of `digester`.
    pub fn new(inner: R, digester: Digester) -> Self {
        Self { inner, digester }
    }

    /// The reader, the digest of what came out of it, and how many bytes that were.
    pub fn finish(self) -> (R, Digest, u64) {
        let size = self.digester.size();
        (self.inner, self.digester.finish(), size)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digester.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_digest_is_the_known_one() {
        let expected = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), expected);
        assert_eq!(expected.parse(), Ok(Digest::of(b"")));
    }

    #[test]
    fn upper_case_short_and_unknown_digests_are_refused() {
        for text in ["sha256:E3B0", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256", ""] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
        let upper = Digest::of(b"").as_str().to_uppercase().replace("SHA256", "sha256");
        assert!(upper.parse::<Digest>().is_err());
    }

    #[test]
    fn a_digest_of_parts_is_the_digest_of_the_whole() {
        let mut digester = Digester::sha256();
        digester.update(b"he");
        digester.update(b"llo");
        assert_eq!(digester.size(), 5);
        assert_eq!(digester.finish(), Digest::of(b"hello"));
    }
}
