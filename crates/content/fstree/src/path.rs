use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// A path beneath a root: bytes separated by `/`, without a leading `/`, `.`, `..`, NUL or empty segments.
///
/// The empty path is the root itself. The order puts a directory directly before everything beneath it
/// (segment by segment, not byte by byte: `a/b` comes before `a-b`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Arc<[u8]>);

/// Why bytes are not a path beneath a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a relative path without `.` and `..`")]
pub struct PathError(pub String);

impl RelPath {
    /// The root itself.
    pub fn root() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// Takes bytes that already have the right form.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() || bytes.split(|byte| *byte == b'/').all(is_segment) {
            return Ok(Self(Arc::from(bytes)));
        }
        Err(PathError(show(bytes)))
    }

    /// Cleans a path as if it were rooted at `/`: `a//b/./c` → `a/b/c`, `/../a/../b` → `b`. NUL bytes are dropped.
    ///
    /// This is lexical: `..` removes a segment without asking whether it is a symbolic link.
    pub fn clean(bytes: impl AsRef<[u8]>) -> Self {
        let mut segments: Vec<&[u8]> = Vec::new();
        let bytes: Vec<u8> = bytes.as_ref().iter().copied().filter(|byte| *byte != 0).collect();
        for segment in bytes.split(|byte| *byte == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => drop(segments.pop()),
                name => segments.push(name),
            }
        }
        Self(Arc::from(segments.join(&b'/')))
    }

    /// The bytes, `/`-separated.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative [`Path`]; the root is `.`.
    pub fn as_path(&self) -> &Path {
        if self.0.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(&self.0)) }
    }

    /// Whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds this; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => self.0.get(..slash).map(|parent| Self(Arc::from(parent))),
            None => Some(Self::root()),
        }
    }

    /// The last segment; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// This path and one more segment.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let name = name.as_ref();
        if !is_segment(name) {
            return Err(PathError(show(name)));
        }
        Ok(self.append(name))
    }

    /// This path followed by another.
    #[must_use]
    pub fn join_path(&self, other: &Self) -> Self {
        if other.is_root() { self.clone() } else { self.append(&other.0) }
    }

    fn append(&self, tail: &[u8]) -> Self {
        if self.is_root() {
            return Self(Arc::from(tail));
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + tail.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(tail);
        Self(Arc::from(bytes))
    }

    /// The segments from the top; none for the root.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
    }

    /// The directories above this, from the top, without the root and without this path.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .filter_map(|(at, _)| self.0.get(..at).map(|bytes| Self(Arc::from(bytes))))
    }

    /// A bound that sorts behind everything beneath this path, and before or at what follows. No path to use.
    pub(crate) fn after_subtree(&self) -> Self {
        // `/` sorts as 0, so what follows the subtree is at least this path and a byte of 1.
        let mut bytes = self.0.to_vec();
        bytes.push(1);
        Self(Arc::from(bytes))
    }

    /// What remains of this path beneath `directory`; the root when they are equal, `None` when it is not beneath.
    pub fn beneath(&self, directory: &Self) -> Option<Self> {
        if directory.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&*directory.0)? {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(Arc::from(rest))),
            _ => None,
        }
    }

    /// Whether this is `directory` or beneath it.
    pub fn starts_with(&self, directory: &Self) -> bool {
        directory.is_root()
            || self
                .0
                .strip_prefix(&*directory.0)
                .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }
}

fn is_segment(segment: &[u8]) -> bool {
    !matches!(segment, b"" | b"." | b"..") && !segment.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Bytes of a path as text for people: bytes that are not UTF-8 and control characters are escaped.
pub fn show(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.extend(std::ascii::escape_default(*byte).map(char::from));
        }
    }
    text
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // Paths of one tree have long beginnings in common: those are compared in words.
        const WORD: usize = 16;
        let words = self.0.chunks_exact(WORD).zip(other.0.chunks_exact(WORD));
        let shared = words.take_while(|(one, another)| one == another).count() * WORD;
        let one = self.0.get(shared..).unwrap_or_default();
        let another = other.0.get(shared..).unwrap_or_default();
        let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        one.iter().map(rank).cmp(another.iter().map(rank))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", show(&self.0))
    }
}

impl std::str::FromStr for RelPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_never_leaves_the_root() {
        assert_eq!(RelPath::clean("/a//b/./c/").as_bytes(), b"a/b/c");
        assert_eq!(RelPath::clean("/../../a/../b").as_bytes(), b"b");
        assert!(RelPath::clean("..").is_root());
    }

    #[test]
    fn only_clean_relative_paths_are_taken() {
        for bad in ["/a", "a/", "a//b", "./a", "a/..", "..", "a\0b"] {
            assert!(RelPath::new(bad).is_err(), "{bad}");
        }
        assert!(RelPath::new(b"\xff/b").is_ok());
    }

    #[test]
    fn a_directory_sorts_directly_before_what_is_beneath_it() {
        let mut paths: Vec<RelPath> =
            ["a-b", "a/b", "a", "a/b/c", "b"].iter().map(|p| p.parse().unwrap()).collect();
        paths.sort();
        let sorted: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["a", "a/b", "a/b/c", "a-b", "b"]);
    }

    #[test]
    fn parents_and_remainders() {
        let path: RelPath = "a/b/c".parse().unwrap();
        assert_eq!(path.parent().unwrap().to_string(), "a/b");
        assert_eq!(path.ancestors().map(|p| p.to_string()).collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(path.beneath(&"a".parse().unwrap()).unwrap().to_string(), "b/c");
        assert!(path.beneath(&"a/b/".trim_end_matches('/').parse().unwrap()).is_some());
        assert!(!path.starts_with(&"a/bb".parse().unwrap()));
    }
}
