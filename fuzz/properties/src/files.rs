use std::os::fd::AsFd as _;

use fstree::{IgnoreRules, MatchInfo, Owners, PatternSet, RelPath, glob_match};
use layer::tar::{Limits, Piece, Reader};
use layer::{UnpackOptions, Whiteouts};

/// Rules and a path, separated by a zero byte: the last rule that matches decides, however many there are.
pub(crate) fn dockerignore(data: &[u8]) {
    let mut pieces = data.splitn(2, |byte| *byte == 0);
    let (rules, path) = (pieces.next().unwrap_or_default(), pieces.next().unwrap_or_default());
    let Ok(rules) = IgnoreRules::parse(rules) else { return };
    if rules.patterns().len() > 100 || path.len() > 4096 {
        return;
    }
    let expected = rules.patterns().iter().rev().find_map(|rule| {
        let exception = rule.starts_with('!');
        // An exception alone says nothing.
        let rules = if exception { vec!["**", rule] } else { vec![rule.as_str()] };
        let matched = PatternSet::new(&rules).unwrap().matches(path).unwrap();
        (matched != exception).then_some(matched)
    });
    assert_eq!(rules.matches(path).unwrap(), expected.unwrap_or(false));
    // Many are found by an index.
    let many: Vec<_> = (0..40).flat_map(|_| rules.patterns()).collect();
    let many = PatternSet::new(&many).unwrap();
    assert_eq!(many.matches(path).unwrap(), expected.unwrap_or(false));
    // From above, as a walk asks.
    let mut info = MatchInfo::default();
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]).take(20) {
        (_, info) = many.matches_beneath(&path[..end], &info).unwrap();
    }
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

/// A layer unpacks beneath its directory or not at all.
pub(crate) fn unpack(data: &[u8]) {
    let Some((how, data)) = data.split_last() else { return };
    let place = tempfile::tempdir().unwrap();
    let (inside, outside) = (place.path().join("inside"), place.path().join("outside"));
    fs_err::create_dir(&inside).unwrap();
    fs_err::write(&outside, "untouched").unwrap();
    let before = fs_err::symlink_metadata(&outside).unwrap().modified().unwrap();
    let options = UnpackOptions {
        windows: how & 1 == 1,
        whiteouts: if how & 2 == 2 { Whiteouts::Apply } else { Whiteouts::Overlay },
        limits: Limits { entries: 100, total_bytes: 1 << 20, ..Limits::default() },
    };
    let done = layer::unpack(data, &inside, Owners::IDENTITY, &options);
    assert!(done.is_err() || done.is_ok_and(|done| done.entries <= 100 && done.size <= 1 << 20));
    assert_eq!(fs_err::read_to_string(&outside).unwrap(), "untouched");
    assert_eq!(fs_err::symlink_metadata(&outside).unwrap().modified().unwrap(), before);
    assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 2);
    let parent = std::fs::File::open(place.path()).unwrap();
    fstree::remove_all(parent.as_fd(), b"inside").unwrap();
}
