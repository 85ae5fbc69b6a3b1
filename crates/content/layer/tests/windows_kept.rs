//! What a Windows layer says of its files survives being unpacked and packed again.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::collections::BTreeMap;
use std::io::Write as _;

use fstree::{Owners, TreeForm};
use layer::tar::{Header, Limits, MemberKind, Reader, Writer};
use layer::{Compression, Form, PackOptions, UnpackOptions, pack, unpack};

fn owners() -> Owners {
    if rustix::process::geteuid().is_root() { Owners::IDENTITY } else { Owners::Recorded }
}

type Shown = BTreeMap<String, (MemberKind, String, String, String)>;

/// Kind, link, attributes and descriptor of all members beneath `Files`.
fn shown(tar: &[u8]) -> Shown {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut reader = Reader::new(tar, Limits::default());
    let mut all = BTreeMap::new();
    while let Some(header) = reader.next_member().unwrap() {
        let record = |name: &str| header.records.get(name.as_bytes()).map(|it| text(it));
        let attributes = record("MSWINDOWS.fileattr").unwrap_or_default();
        let security = record("MSWINDOWS.rawsd").unwrap_or_default();
        if header.path.starts_with(b"Files/") {
            all.insert(text(&header.path), (header.kind, text(&header.link), attributes, security));
        }
    }
    all
}

#[test]
fn attributes_descriptors_and_links_survive_unpacking_and_packing() {
    use MemberKind::{Directory, File, Hardlink, Symlink};
    let mut tar = Writer::new(Vec::new());
    let mut add = |path: &str, kind: MemberKind, link: &str, attributes: &str, security: &str| {
        let mut header = Header::new(path, kind);
        header.link = link.into();
        header.mtime.secs = 1_700_000_000;
        if !attributes.is_empty() {
            header.records.insert(b"MSWINDOWS.fileattr".to_vec(), attributes.into());
        }
        if !security.is_empty() {
            header.records.insert(b"MSWINDOWS.rawsd".to_vec(), security.into());
        }
        if kind == File {
            header.size = 1;
        }
        tar.start(&header).unwrap();
        if kind == File {
            tar.write_all(b"x").unwrap();
        }
    };
    add("Files", Directory, "", "16", "");
    add("Files/ProgramData", Directory, "", "8210", windows::SD_ADMIN);
    add("Files/ProgramData/hidden.sys", File, "", "39", windows::SD_USER);
    add("Files/ProgramData/second.sys", Hardlink, "Files/ProgramData/hidden.sys", "", "");
    add("Files/ProgramData/up", Symlink, "..\\ProgramData", "1040", "");
    add("Files/ProgramData/alias.sys", Symlink, "hidden.sys", "1056", "");
    let tar = tar.finish().unwrap();

    let directory = tempfile::tempdir().unwrap();
    let options = UnpackOptions { windows: true, ..UnpackOptions::default() };
    unpack(&*tar, directory.path(), owners(), &options).unwrap();
    let tree = fstree::read_tree(directory.path(), owners(), TreeForm::Overlay).unwrap();
    let options = PackOptions {
        form: Form::Windows,
        compression: Compression::Uncompressed,
        ..PackOptions::default()
    };
    let mut again = Vec::new();
    pack(&tree, &options, &mut again).unwrap();
    let mut expected = shown(&tar);
    // Of two names the first in order has the content; it had it before.
    assert_eq!(expected.len(), 5);
    assert_eq!(shown(&again), std::mem::take(&mut expected));

    // In a layer for Linux none of it is left.
    let options = PackOptions { compression: Compression::Uncompressed, ..PackOptions::default() };
    let mut linux = Vec::new();
    pack(&tree, &options, &mut linux).unwrap();
    let mut reader = Reader::new(&*linux, Limits::default());
    while let Some(header) = reader.next_member().unwrap() {
        assert_eq!((header.xattrs, header.records), (BTreeMap::new(), BTreeMap::new()));
    }
}

#[test]
fn a_linux_layer_cannot_smuggle_windows_attributes_in() {
    let mut header = Header::new("a", MemberKind::File);
    header.xattrs.insert(layer::WINDOWS_SECURITY_XATTR.to_vec(), windows::SD_USER.into());
    let mut tar = Writer::new(Vec::new());
    tar.start(&header).unwrap();
    let directory = tempfile::tempdir().unwrap();
    unpack(&*tar.finish().unwrap(), directory.path(), owners(), &UnpackOptions::default()).unwrap();
    let tree = fstree::read_tree(directory.path(), owners(), TreeForm::Overlay).unwrap();
    assert!(tree.iter().all(|entry| entry.meta.xattrs.is_empty()));
}
