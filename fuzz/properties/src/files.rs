use fstree::{IgnoreRules, RelPath, glob_match};
use layer::tar::{Limits, Piece, Reader};

/// Rules and a path, separated by a zero byte: matching ends, and agrees with matching from above.
pub(crate) fn dockerignore(data: &[u8]) {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let (rules, path) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    let Ok(rules) = IgnoreRules::parse(rules) else { return };
    let matched = rules.matches(path);
    assert_eq!(matched, rules.matches(path));
    assert!(!rules.is_empty() || !matched);
}

/// A pattern and a name, separated by a zero byte.
pub(crate) fn glob(data: &[u8]) {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let (pattern, name) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    if let Ok(matched) = glob_match(pattern, name)
        && !pattern.iter().any(|byte| b"*?[\\".contains(byte))
    {
        assert_eq!(matched, pattern == name);
    }
}

/// A path that is accepted stays beneath its root.
pub(crate) fn path(data: &[u8]) {
    let stays = |path: &RelPath| {
        assert!(path.segments().all(|name| !matches!(name, b"" | b"." | b"..")));
        assert!(!path.as_bytes().starts_with(b"/") && !path.as_bytes().contains(&0));
    };
    if let Ok(path) = RelPath::new(data) {
        stays(&path);
    }
}

/// Members and their contents come to an end within the limits.
pub(crate) fn tar(data: &[u8]) {
    let limits = Limits { entries: 1000, total_bytes: 1 << 24, ..Limits::default() };
    let mut reader = Reader::new(data, limits);
    let mut buffer = [0; 4096];
    while let Ok(Some(header)) = reader.next_member() {
        assert!(!header.path.contains(&0));
        let mut size = 0;
        loop {
            match reader.piece(&mut buffer) {
                Ok(Piece::Data(length)) => size += length as u64,
                Ok(Piece::Hole(length)) => size += length,
                Ok(Piece::End) => break,
                Err(_) => return,
            }
        }
        assert_eq!(size, header.size);
    }
}
