//! Layers in Windows form are what Windows imports, and keep what lower layers say.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::io::Write as _;
use std::sync::Arc;

use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime, Owners, TreeForm};
use layer::tar::{Header, Limits, MemberKind, Reader, Time, Writer};
use layer::{
    Compression, Finding, Form, PackError, PackOptions, Severity, UnpackOptions, WindowsBase, pack,
    unpack, windows_check,
};

const SECOND: i64 = 1_700_000_100;

fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
    Entry {
        path: path.parse().unwrap(),
        kind,
        meta: Metadata::root_owned(mode, Mtime::seconds(SECOND)),
    }
}

fn file(path: &str, text: &str) -> Entry {
    entry(path, Kind::File(Content::bytes(text.as_bytes())), 0o644)
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, Kind::Symlink(target.into()), 0o777)
}

fn packed(
    entries: impl IntoIterator<Item = Entry>,
    base: Option<&WindowsBase>,
) -> Result<(Vec<u8>, Vec<String>), PackError> {
    let options = PackOptions {
        form: Form::Windows,
        compression: Compression::Uncompressed,
        windows_base: base.cloned().map(Arc::new),
        ..PackOptions::default()
    };
    let mut tar = Vec::new();
    let packed = pack(&Changeset::from_iter(entries), &options, &mut tar)?;
    Ok((tar, packed.warnings))
}

/// One line for each member: kind, name, link, attributes, and which descriptor it has.
fn listing(tar: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(tar, Limits::default());
    let mut lines = Vec::new();
    while let Some(header) = reader.next_member().unwrap() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let record = |name: &str| header.records.get(name.as_bytes()).map(|value| text(value));
        let kind = match header.kind {
            MemberKind::Directory => "dir",
            MemberKind::File => "file",
            MemberKind::Symlink => "symlink",
            MemberKind::Hardlink => "hardlink",
            _ => "other",
        };
        let security = match record("MSWINDOWS.rawsd").as_deref() {
            Some(windows::SD_DIR) => "SD_DIR".to_owned(),
            Some(windows::SD_FILE) => "SD_FILE".to_owned(),
            other => other.unwrap_or("-").to_owned(),
        };
        let attributes = record("MSWINDOWS.fileattr").unwrap_or_else(|| "-".into());
        lines.push(format!(
            "{kind} {} > {} {attributes} {security}",
            text(&header.path),
            text(&header.link)
        ));
    }
    lines
}

/// A base as Microsoft's tools write it.
fn base() -> WindowsBase {
    let mut tar = Writer::new(Vec::new());
    let mut add = |path: &str, kind: MemberKind, attributes: &str, security: Option<&str>| {
        let mut header = Header::new(path, kind);
        header.records.insert(b"MSWINDOWS.fileattr".to_vec(), attributes.into());
        header.records.insert(b"LIBARCHIVE.creationtime".to_vec(), b"1500000000.25".to_vec());
        if let Some(security) = security {
            header.records.insert(b"MSWINDOWS.rawsd".to_vec(), security.into());
        }
        tar.start(&header).unwrap();
    };
    add("Files", MemberKind::Directory, "16", None);
    add("Files/ProgramData", MemberKind::Directory, "8210", Some(windows::SD_ADMIN));
    add("Files/Windows", MemberKind::Directory, "16", Some(windows::SD_USER));
    add("Files/Windows/System32", MemberKind::Directory, "16", Some(windows::SD_USER));
    add("Files/Windows/notepad.exe", MemberKind::File, "32", None);
    let mut base = WindowsBase::default();
    base.add_layer(&*tar.finish().unwrap(), Limits::default()).unwrap();
    base
}

#[test]
fn a_layer_has_the_form_that_windows_imports() {
    let (tar, warnings) = packed(
        [
            entry("app", Kind::DIRECTORY, 0o755),
            file("app/a.txt", "text"),
            link("app/alias.txt", "a.txt"),
            link("app/up", "/k"),
            entry("app/second.txt", Kind::Hardlink("app/a.txt".parse().unwrap()), 0o644),
            entry("k", Kind::DIRECTORY, 0o755),
            file("K/antrea/file.exe", "MZ"),
        ],
        Some(&WindowsBase::default()),
    )
    .unwrap();
    assert_eq!(
        listing(&tar),
        [
            "dir Hives >  16 -",
            "dir Files >  16 -",
            "dir Files/app >  16 SD_DIR",
            "file Files/app/a.txt >  32 SD_FILE",
            "symlink Files/app/alias.txt > a.txt 1056 -",
            "hardlink Files/app/second.txt > Files/app/a.txt - -",
            "symlink Files/app/up > C:\\k 1040 -",
            "dir Files/k >  16 SD_DIR",
            "dir Files/k/antrea >  16 SD_DIR",
            "file Files/k/antrea/file.exe >  32 SD_FILE",
        ]
    );
    assert_eq!(warnings, [""; 0]);
    assert_eq!(windows_check(&*tar, Some(&WindowsBase::default())).unwrap(), []);
}

#[test]
fn headers_are_those_of_the_known_good_layers() {
    let (tar, _) = packed([file("app/a.txt", "text")], None).unwrap();
    let hives = b"38 LIBARCHIVE.creationtime=1700000100\n25 MSWINDOWS.fileattr=16\n";
    assert_eq!(&tar[..100].split(|byte| *byte == 0).next().unwrap(), b"PaxHeaders.0/Hives");
    assert_eq!(tar[156], b'x');
    assert_eq!(&tar[512..512 + hives.len()], hives);
    assert_eq!(&tar[1024..1029], b"Hives");
    assert_eq!(&tar[1024 + 100..1024 + 107], b"0040555");
    let mut reader = Reader::new(&*tar, Limits::default());
    while let Some(header) = reader.next_member().unwrap() {
        assert_eq!((header.uid, header.gid, header.mtime), (0, 0, Time { secs: SECOND, nanos: 0 }));
        let created = &header.records[b"LIBARCHIVE.creationtime".as_slice()];
        assert_eq!(created, SECOND.to_string().as_bytes());
    }
}

#[test]
fn what_the_base_says_of_a_directory_is_kept() {
    let base = base();
    let (tar, _) = packed(
        [
            entry("WINDOWS", Kind::DIRECTORY, 0o755),
            entry("WINDOWS/system32", Kind::DIRECTORY, 0o755),
            file("WINDOWS/system32/new.dll", "MZ"),
            file("programdata/x/conf", "1"),
        ],
        Some(&base),
    )
    .unwrap();
    let user = windows::SD_USER;
    assert_eq!(
        listing(&tar)[2..],
        [
            format!("dir Files/ProgramData >  8210 {}", windows::SD_ADMIN),
            "dir Files/ProgramData/x >  16 SD_DIR".to_owned(),
            "file Files/ProgramData/x/conf >  32 SD_FILE".to_owned(),
            format!("dir Files/Windows >  16 {user}"),
            format!("dir Files/Windows/System32 >  16 {user}"),
            "file Files/Windows/System32/new.dll >  32 SD_FILE".to_owned(),
        ]
    );
    assert_eq!(windows_check(&*tar, Some(&base)).unwrap(), []);
}

#[test]
fn removals_are_one_by_one() {
    let base = base();
    let (tar, _) = packed(
        [
            entry("gone", Kind::Whiteout, 0),
            entry("windows", Kind::Directory { opaque: true }, 0o755),
            entry("windows/kept", Kind::DIRECTORY, 0o755),
            entry("ProgramData", Kind::Whiteout, 0),
        ],
        Some(&base),
    )
    .unwrap();
    let names: Vec<String> = listing(&tar)[2..]
        .iter()
        .map(|line| line.split(" > ").next().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "file Files/.wh.gone",
            "file Files/.wh.ProgramData",
            "dir Files/Windows",
            "dir Files/Windows/kept",
            "file Files/Windows/.wh.notepad.exe",
            "file Files/Windows/.wh.System32",
        ]
    );
    assert_eq!(windows_check(&*tar, Some(&base)).unwrap(), []);
}

#[test]
fn layers_of_the_same_build_are_known_too() {
    let mut base = base();
    base.add_changes(&Changeset::from_iter([
        entry("App", Kind::DIRECTORY, 0o755),
        file("App/old", "1"),
        entry("windows", Kind::DIRECTORY, 0o755),
        entry("windows/notepad.EXE", Kind::Whiteout, 0),
        file("programdata", "now a file"),
    ]));
    let spelled = |path: &str| base.spelling(&path.parse().unwrap()).to_string();
    assert_eq!(spelled("app/OLD"), "App/old");
    assert_eq!(spelled("windows/system32/x"), "Windows/System32/x");
    assert!(base.find(&"Windows/notepad.exe".parse().unwrap()).is_none());
    assert!(!base.find(&"ProgramData".parse().unwrap()).unwrap().is_directory);
    let (tar, _) =
        packed([entry("app", Kind::Directory { opaque: true }, 0o755)], Some(&base)).unwrap();
    assert_eq!(listing(&tar)[2..], ["dir Files/App >  16 SD_DIR", "file Files/App/.wh.old >  - -"]);
}

#[test]
fn what_windows_cannot_hold_is_refused_with_its_path() {
    let pipe = entry("pipe", Kind::Fifo, 0o644);
    let cases = [
        vec![file("aux.txt", "x")],
        vec![file("que?.txt", "x")],
        vec![file("a/col:on", "x")],
        vec![file("trail.", "x")],
        vec![file("back\\slash", "x")],
        vec![file("File.txt", "x"), file("file.TXT", "x")],
        vec![file("d", "x"), entry("D", Kind::DIRECTORY, 0o755)],
        vec![pipe],
        vec![file(".wh.x", "x")],
    ];
    for case in cases {
        let name = case[0].path.clone();
        let error = packed(case, None).unwrap_err();
        assert!(matches!(&error, PackError::Unfit { form: "Windows", .. }), "{name}: {error}");
    }
}

#[test]
fn a_dangling_link_is_a_link_to_a_file_and_said_so() {
    let (tar, warnings) = packed(
        [link("a", "nowhere"), link("b", "C:\\Windows"), link("loop", "loop")],
        Some(&base()),
    )
    .unwrap();
    assert_eq!(
        listing(&tar)[2..],
        [
            "symlink Files/a > nowhere 1056 -",
            "symlink Files/b > C:\\Windows 1040 -",
            "symlink Files/loop > loop 1056 -"
        ]
    );
    assert_eq!(warnings.len(), 2);
}

#[test]
fn owners_and_bytes_do_not_depend_on_the_host() {
    let mut owned = file("a", "x");
    (owned.meta.uid, owned.meta.gid) = (1000, 1000);
    assert!(packed([owned], None).unwrap().0 == packed([file("a", "x")], None).unwrap().0);
}

#[test]
fn a_windows_layer_is_unpacked_without_its_prefix() {
    let owners =
        if rustix::process::geteuid().is_root() { Owners::IDENTITY } else { Owners::Recorded };
    let mut tar = Writer::new(Vec::new());
    let mut add = |path: &str, kind: MemberKind, link: &str, bytes: &[u8]| {
        let mut header = Header::new(path, kind);
        header.link = link.into();
        header.size = bytes.len() as u64;
        tar.start(&header).unwrap();
        tar.write_all(bytes).unwrap();
    };
    add("UtilityVM", MemberKind::Directory, "", b"");
    add("UtilityVM/Files/boot.exe", MemberKind::File, "", b"boot");
    add("Hives", MemberKind::Directory, "", b"");
    add("Hives/System_Delta", MemberKind::File, "", b"regf");
    add("Files", MemberKind::Directory, "", b"");
    add("Files/Users", MemberKind::Directory, "", b"");
    add("Files/Documents and Settings", MemberKind::Symlink, "C:\\Users", b"");
    add("Files/boot.exe", MemberKind::Hardlink, "UtilityVM/Files/boot.exe", b"");
    add("Files/Users/x", MemberKind::File, "", b"x");
    add("Files/Users/y", MemberKind::Hardlink, "Files/Users/x", b"");
    add("Files/Users/.wh.z", MemberKind::File, "", b"");
    let tar = tar.finish().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = UnpackOptions { windows: true, ..UnpackOptions::default() };
    unpack(&*tar, directory.path(), owners, &options).unwrap();
    let tree = fstree::read_tree(directory.path(), owners, TreeForm::Overlay).unwrap();
    let kinds: Vec<String> = tree
        .iter()
        .filter(|entry| !entry.path.is_root())
        .map(|entry| match &entry.kind {
            Kind::File(content) => format!(
                "{} = {}",
                entry.path,
                String::from_utf8(content.read(10).unwrap()).unwrap()
            ),
            Kind::Symlink(target) => {
                format!("{} > {}", entry.path, String::from_utf8_lossy(target))
            }
            Kind::Hardlink(target) => format!("{} = {target}", entry.path),
            other => format!("{} {other:?}", entry.path),
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "Documents and Settings > /Users",
            "Users Directory { opaque: false }",
            "Users/x = x",
            "Users/y = Users/x",
            "Users/z Whiteout",
            "boot.exe = boot",
        ]
    );
}

/// What the importer was seen to refuse (and what programs cannot open) is found.
#[test]
fn the_checker_finds_what_windows_refuses() {
    type Members = &'static [(&'static str, u8, &'static str, &'static str)];
    let cases: &[(Members, &str)] = &[
        (&[("Files/app", b'd', "", "")], "its directory is not in the layer before it"),
        (
            &[("Files", b'd', "", ""), ("Files/app/a", b'f', "", "")],
            "its directory is not in the layer before it",
        ),
        (&[("Files", b'd', "", ""), ("Files/a", b'd', "", ""), ("Files/A", b'd', "", "")], "twice"),
        (
            &[
                ("Files", b'd', "", ""),
                ("Files/F.txt", b'f', "", ""),
                ("Files/f.TXT", b'f', "", ""),
            ],
            "twice",
        ),
        (
            &[("Files", b'd', "", ""), ("Files/b", b'h', "Files/a", ""), ("Files/a", b'f', "", "")],
            "not in the layer before it",
        ),
        (
            &[("Files", b'd', "", ""), ("Files/a", b'f', "", ""), ("Files/b", b'h', "a", "")],
            "must begin with `Files/`",
        ),
        (&[("Files", b'd', "", ""), (".wh.z", b'f', "", "")], "only `Files`"),
        (
            &[("Files", b'd', "", ""), ("Hives", b'd', "", ""), ("Hives/.wh.z", b'f', "", "")],
            "beneath `Files` only",
        ),
        (&[("Files", b'd', "", ""), ("Files/.wh..wh..opq", b'f', "", "")], "opaque"),
        (
            &[("Files", b'd', "", ""), ("Files/a", b'f', "", ""), ("Files/.wh.a", b'f', "", "")],
            "also in this layer",
        ),
        (&[("Files", b'd', "", ""), ("Files/a:b", b'f', "", "")], "':'"),
        (&[("Files", b'd', "", ""), ("Files/a?", b'f', "", "")], "'?'"),
        (&[("Files", b'd', "", ""), ("Files/a\\b", b'f', "", "")], "'\\\\'"),
        (&[("Files", b'd', "", ""), ("Files/aux", b'f', "", "")], "device"),
        (&[("Files", b'd', "", ""), ("Files/a.", b'f', "", "")], "dot or space"),
        (&[("/Files", b'd', "", "")], "relative"),
        (&[("./Files", b'd', "", "")], "relative"),
        (&[("UtilityVM/", b'd', "", "")], "slash"),
        (&[("app", b'd', "", "")], "at the top"),
        (&[], "no `Files`"),
        (&[("Files", b'd', "", "0x20")], "decimal"),
        (&[("Files", b'd', "", "32")], "disagree"),
        (&[("Files", b'd', "", ""), ("Files/l", b's', "a", "32")], "0x400"),
        (&[("Files", b'd', "", ""), ("Files/l", b's', "Files/a", "1056")], "without `Files`"),
        (&[("Files", b'd', "", ""), ("Files/p", b'p', "", "")], "only files"),
        (
            &[("Files", b'd', "", ""), ("Files/d", b'd', "", ""), ("Files/l", b's', "d", "1056")],
            "link to a directory",
        ),
        (
            &[
                ("Files", b'd', "", ""),
                ("Files/f", b'f', "", ""),
                ("Files/l", b's', "C:\\f", "1040"),
            ],
            "link to a file",
        ),
    ];
    for (members, expected) in cases {
        let mut tar = Writer::new(Vec::new());
        for (path, kind, link, attributes) in *members {
            let kind = match kind {
                b'd' => MemberKind::Directory,
                b'h' => MemberKind::Hardlink,
                b's' => MemberKind::Symlink,
                b'p' => MemberKind::Fifo,
                _ => MemberKind::File,
            };
            let mut header = Header::new(*path, kind);
            header.link = (*link).into();
            if !attributes.is_empty() {
                header.records.insert(b"MSWINDOWS.fileattr".to_vec(), (*attributes).into());
            }
            tar.start(&header).unwrap();
        }
        let findings =
            windows_check(&*tar.finish().unwrap(), Some(&WindowsBase::default())).unwrap();
        let found = |finding: &Finding| {
            finding.severity == Severity::Error && finding.what.contains(expected)
        };
        assert!(findings.iter().any(found), "{members:?}: {findings:?}");
    }
}

#[test]
fn a_stream_after_its_file_is_no_mistake() {
    let mut tar = Writer::new(Vec::new());
    for (path, kind) in [
        ("Files", MemberKind::Directory),
        ("Files/a", MemberKind::File),
        ("Files/a:stream", MemberKind::File),
        ("Files/a:2", MemberKind::File),
    ] {
        tar.start(&Header::new(path, kind)).unwrap();
    }
    assert_eq!(windows_check(&*tar.finish().unwrap(), Some(&WindowsBase::default())).unwrap(), []);
}

#[test]
fn a_base_layer_needs_its_hives_and_removes_nothing() {
    let (tar, _) = packed([entry("x", Kind::Whiteout, 0)], None).unwrap();
    let findings = windows_check(&*tar, None).unwrap();
    assert_eq!(findings.iter().filter(|finding| finding.what.contains("regf")).count(), 5);
    assert!(findings.iter().any(|finding| finding.what.contains("cannot remove")));
    let hives = windows::layout::BASE_HIVES.iter().map(|path| file(path, "regf"));
    let (tar, _) = packed(hives, None).unwrap();
    assert_eq!(windows_check(&*tar, None).unwrap(), []);
}

#[test]
fn links_and_directories_that_only_linux_tells_apart() {
    // Two slashes are one on Linux, and no share of Windows.
    let entries = [entry("app", Kind::DIRECTORY, 0o755), link("to-app", "//app")];
    let (tar, _) = packed(entries, None).unwrap();
    let attributes = windows::attributes::DIRECTORY_LINK.to_string();
    let lines = listing(&tar);
    assert!(
        lines.iter().any(|line| line.contains("to-app") && line.contains(&attributes)),
        "{lines:?}"
    );
    // A relative target is no path of the layer.
    let (tar, _) = packed([link("x", "Files/y")], None).unwrap();
    assert!(listing(&tar).iter().any(|line| line.contains(".\\Files\\y")));
    let why = |entries: Vec<Entry>| packed(entries, None).unwrap_err().to_string();
    assert!(why(vec![link("x", "")]).contains("its target is empty"));
    let twice = why(vec![file("ap/link", "1"), file("AP", "2")]);
    assert!(twice.contains("Windows cannot tell its directory from `AP`"), "{twice}");
}
