use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime, RelPath};
use layer::tar::Limits;
use layer::{Compression, Form, PackOptions, Severity, WindowsBase, WindowsHeaders};

/// A layer's headers are read within the limits, and what is kept of them is read back as the same.
pub(crate) fn windows_headers(data: &[u8]) {
    let limits = Limits { entries: 1000, total_bytes: 1 << 24, ..Limits::default() };
    let Ok(headers) = WindowsHeaders::read(data, limits) else { return };
    assert_eq!(WindowsHeaders::decode(&headers.encode()).as_ref(), Some(&headers));
}

/// Bytes of the store that are no list of headers are refused, whatever they say of sizes.
pub(crate) fn windows_kept(data: &[u8]) {
    if let Some(headers) = WindowsHeaders::decode(data) {
        assert_eq!(WindowsHeaders::decode(&headers.encode()).as_ref(), Some(&headers));
    }
}

/// A layer is judged, as a base and on itself as the base, without a word twice.
pub(crate) fn windows_layer(data: &[u8]) {
    let limits = Limits { entries: 1000, total_bytes: 1 << 24, ..Limits::default() };
    let mut base = WindowsBase::default();
    let _ = base.add_layer(data, limits);
    for base in [None, Some(&base)] {
        let Ok(findings) = layer::windows_check(data, base) else { continue };
        for finding in findings {
            assert!(layer::WINDOWS_RULES.iter().any(|(rule, _)| *rule == finding.rule));
        }
    }
}

/// Files by the lines of a text, `kind path\0target`: a tree of them is refused, or packed to a layer that the checker has no
/// fault to find with, and the same bytes each time.
pub(crate) fn windows_writer(data: &[u8]) {
    let entries = data.split(|byte| *byte == b'\n').take(64).filter_map(|line| {
        let (kind, rest) = line.split_first()?;
        let (path, target) = match rest.iter().position(|byte| *byte == 0) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &b"target"[..]),
        };
        let kind = match kind {
            b'd' => Kind::DIRECTORY,
            b'l' => Kind::Symlink(target.into()),
            b'h' => Kind::Hardlink(RelPath::new(target).ok()?),
            b'w' => Kind::Whiteout,
            _ => Kind::File(Content::bytes(target)),
        };
        let path = RelPath::new(path).ok().filter(|path| !path.is_root())?;
        let time = Mtime::seconds(i64::try_from(target.len()).ok()?);
        Some(Entry { path, kind, meta: Metadata::root_owned(0o644, time) })
    });
    let mut changes = Changeset::new();
    for entry in entries {
        changes.insert(entry);
    }
    // No tree has anything beneath a file, or a second name of something that is none.
    let beneath_a_file = |entry: &Entry| {
        let mut at = entry.path.parent();
        while let Some(path) = at.filter(|path| !path.is_root()) {
            if changes.get(&path).is_some_and(|above| above.kind != Kind::DIRECTORY) {
                return true;
            }
            at = path.parent();
        }
        false
    };
    let strange_link = |entry: &Entry| match &entry.kind {
        Kind::Hardlink(target) => {
            !changes.get(target).is_some_and(|other| matches!(other.kind, Kind::File(_)))
        }
        _ => false,
    };
    if changes.iter().any(|entry| beneath_a_file(entry) || strange_link(entry)) {
        return;
    }
    let options = PackOptions {
        form: Form::Windows,
        compression: Compression::Uncompressed,
        ..PackOptions::default()
    };
    let packed = || {
        let mut tar = Vec::new();
        layer::pack(&changes, &options, &mut tar).ok().map(|_| tar)
    };
    let Some(tar) = packed() else { return };
    assert_eq!(packed().as_ref(), Some(&tar));
    let base = WindowsBase::default();
    let found = layer::windows_check(&*tar, Some(&base)).expect("it is an archive");
    for finding in found {
        assert!(finding.severity != Severity::Error, "{finding:?}");
    }
}

/// A string that is accepted gives a descriptor that is read, and the text of that gives the same descriptor.
pub(crate) fn sddl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match windows::sddl_to_bytes(text) {
        Ok(bytes) => agrees(&bytes),
        Err(error) => {
            // Told with its place, whatever it is.
            let _ = error.to_string();
        }
    }
}

/// Bytes that are a descriptor have a text, and that gives a descriptor of the same text.
pub(crate) fn security_descriptor(data: &[u8]) {
    if windows::sddl_from_bytes(data).is_ok() {
        agrees(data);
    }
}

fn agrees(bytes: &[u8]) {
    let text = windows::sddl_from_bytes(bytes).expect("it can be told");
    // Bytes may hold what text cannot, such as kinds of entries that SDDL has no word for.
    let Ok(again) = windows::sddl_to_bytes(&text) else { return };
    assert_eq!(windows::sddl_from_bytes(&again).as_deref(), Ok(&*text));
}

/// A hive that is read can be written, and is the same when it is read again.
pub(crate) fn regf(data: &[u8]) {
    let Ok(hive) = regf::read(data) else { return };
    if let Ok(written) = regf::write(&hive) {
        assert_eq!(regf::read(&written).expect("what is written can be read"), hive);
    }
}

/// A program's headers are read within bounds.
pub(crate) fn pe(data: &[u8]) {
    if let Ok(image) = pe::read(data) {
        let again = pe::read(data).expect("as before");
        assert_eq!(format!("{image:?}"), format!("{again:?}"));
    }
}
