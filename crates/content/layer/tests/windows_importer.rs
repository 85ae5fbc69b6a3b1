//! The checker against Microsoft's importer (hcsshim `ociwclayer` and its layer writer, go-winio `backuptar`), which was run
//! on exactly these layers under Wine by `tools/windows-importer`. What it said is in `windows_importer.tsv`; where the
//! checker is stricter, or Wine stood in the importer's way, the reason is told here.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::collections::BTreeMap;
use std::io::Write as _;

use layer::tar::{Header, Limits, MemberKind, Writer};
use layer::{Severity, WindowsBase, windows_check};
use windows::records;

/// What the importer did, and what the checker is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Imported, and nothing is wrong with it.
    Accepted,
    /// Refused.
    Refused,
    /// Imported, but it is not to be written: mostly, a container does not see what was meant.
    Useless(&'static str),
    /// Nothing is wrong with it, but the importer needs for it what Wine lacks.
    BeyondWine(&'static str),
}
use Verdict::{Accepted, BeyondWine, Refused, Useless};

/// A member: path, kind (`d`, `f`, `h`, `s` and `D` for links to files and directories), target, and a record in place of the usual one.
type Member<'a> = (String, char, String, Option<(&'a str, &'a str)>);

fn tar(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (path, kind, link, record) in members {
        let (kind, attributes) = match kind {
            'd' => (MemberKind::Directory, "16"),
            'h' => (MemberKind::Hardlink, ""),
            's' => (MemberKind::Symlink, "1056"),
            'D' => (MemberKind::Symlink, "1040"),
            _ => (MemberKind::File, "32"),
        };
        let mut header = Header::new(path.as_bytes(), kind);
        header.link = link.clone().into_bytes();
        let mut set = |name: &str, value: &str| {
            header.records.insert(name.as_bytes().to_vec(), value.as_bytes().to_vec())
        };
        if !attributes.is_empty() && !path.contains("/.wh.") {
            set(records::ATTRIBUTES, attributes);
        }
        if let Some((name, value)) = record {
            set(name, value);
            if value.is_empty() {
                header.records.remove(name.as_bytes());
            }
        }
        header.size = u64::from(kind == MemberKind::File);
        tar.start(&header).unwrap();
        if kind == MemberKind::File {
            tar.write_all(b"x").unwrap();
        }
    }
    tar.finish().unwrap()
}

/// `Files/d` and a file in it, by several names: plain, with spaces, not ASCII, deep.
const NAMES: [(&str, &str); 6] = [
    ("app", "a.txt"),
    ("Program Files", "my tool.exe"),
    ("grün", "ärger.dll"),
    ("x", "file"),
    ("Windows", "System32.dat"),
    ("Inetpub", "index.html"),
];

fn other_case(name: &str) -> String {
    name.chars()
        .map(
            |it| {
                if it.is_uppercase() { it.to_lowercase().next() } else { it.to_uppercase().next() }
            },
        )
        .map(Option::unwrap)
        .collect()
}

type Case<'a> = (&'static str, Verdict, Vec<Member<'a>>);

fn cases(directory: &str, file: &str) -> Vec<Case<'static>> {
    let dir = |path: &str| -> Member<'static> { (path.to_owned(), 'd', String::new(), None) };
    let plain = |path: String| -> Member<'static> { (path, 'f', String::new(), None) };
    let link =
        |path: String, kind, target: String| -> Member<'static> { (path, kind, target, None) };
    let top = || vec![dir("Hives"), dir("Files")];
    let inside = format!("Files/{directory}");
    let path = format!("{inside}/{file}");
    let start = |more: Vec<Member<'static>>| [top(), vec![dir(&inside)], more].concat();
    let odd = |name: &str| start(vec![plain(format!("{inside}/{name}"))]);
    let recorded =
        |name, value| start(vec![(path.clone(), 'f', String::new(), Some((name, value)))]);
    let shout = other_case(directory);
    vec![
        ("a file in its directory", Accepted, start(vec![plain(path.clone())])),
        ("no Hives", Accepted, vec![dir("Files"), dir(&inside), plain(path.clone())]),
        ("no Files", Refused, vec![dir("Hives"), dir(&inside)]),
        ("no parent", Refused, [top(), vec![plain(path.clone())]].concat()),
        ("a parent too late", Refused, [top(), vec![plain(path.clone()), dir(&inside)]].concat()),
        ("a directory twice", Refused, start(vec![dir(&inside)])),
        ("a directory in two cases", Refused, start(vec![dir(&format!("Files/{shout}"))])),
        ("a parent in another case", Accepted, start(vec![plain(format!("Files/{shout}/{file}"))])),
        (
            "a file in two cases",
            Refused,
            start(vec![plain(path.clone()), plain(format!("{inside}/{}", other_case(file)))]),
        ),
        (
            "a hard link after its target",
            Accepted,
            start(vec![plain(path.clone()), link(format!("{inside}/z"), 'h', path.clone())]),
        ),
        (
            "a hard link before its target",
            Refused,
            start(vec![link(format!("{inside}/z"), 'h', path.clone()), plain(path.clone())]),
        ),
        (
            "a hard link without Files/",
            Refused,
            start(vec![
                plain(path.clone()),
                link(format!("{inside}/z"), 'h', format!("{directory}/{file}")),
            ]),
        ),
        (
            "a hard link to another case",
            Refused,
            start(vec![
                plain(path.clone()),
                link(format!("{inside}/z"), 'h', format!("{inside}/{}", other_case(file))),
            ]),
        ),
        (
            "a hard link to a file of the base",
            Accepted,
            start(vec![link(format!("{inside}/z"), 'h', "Files/Base/tool.exe".to_owned())]),
        ),
        (
            "a hard link to nothing",
            Refused,
            start(vec![link(format!("{inside}/z"), 'h', "Files/none".to_owned())]),
        ),
        (
            "a removal without parents",
            Accepted,
            [top(), vec![plain(format!("Files/q/r/.wh.{file}"))]].concat(),
        ),
        ("a removal at the top", Refused, [top(), vec![plain(format!(".wh.{file}"))]].concat()),
        (
            "a removal of a hive",
            Refused,
            [top(), vec![plain(format!("Hives/.wh.{file}"))]].concat(),
        ),
        ("a stream of no file", Refused, odd(&format!("{file}:stream"))),
        (
            "a stream after its file",
            Accepted,
            start(vec![plain(path.clone()), plain(format!("{path}:stream"))]),
        ),
        ("a question mark", Refused, odd(&format!("{file}?"))),
        ("a back-slash", Refused, odd(&format!("none\\{file}"))),
        ("an absolute path", Refused, start(vec![plain(format!("/{path}"))])),
        (
            "a path from here",
            Useless("a path has one spelling, for who looks it up"),
            start(vec![plain(format!("./{path}"))]),
        ),
        ("a long name", Refused, odd(&file.repeat(256))),
        ("a utility VM without its directory", Refused, start(vec![dir("UtilityVM/Files")])),
        (
            "a utility VM with a slash",
            Refused,
            start(vec![dir("UtilityVM/"), dir("UtilityVM/Files")]),
        ),
        (
            "a utility VM with a slash and nothing in it",
            Useless("it becomes an ordinary directory"),
            start(vec![dir("UtilityVM/")]),
        ),
        (
            "a utility VM",
            BeyondWine("the base's is copied with BackupRead"),
            start(vec![dir("UtilityVM"), dir("UtilityVM/Files")]),
        ),
        (
            "a hive's changes",
            BeyondWine("hives are written with BackupWrite"),
            start(vec![plain("Hives/System_Delta".to_owned())]),
        ),
        (
            "a link to a directory",
            BeyondWine("the directory that stands for the link cannot be removed"),
            start(vec![
                dir(&format!("{inside}/to")),
                link(format!("{inside}/l"), 'D', "to".to_owned()),
            ]),
        ),
        ("hexadecimal attributes", Refused, recorded(records::ATTRIBUTES, "0x20")),
        ("a descriptor that is no base64", Refused, recorded(records::SECURITY, "!")),
        ("a descriptor", Accepted, recorded(records::SECURITY, windows::SD_FILE)),
        (
            "a relative link",
            Accepted,
            start(vec![plain(path.clone()), link(format!("{inside}/l"), 's', file.to_owned())]),
        ),
        (
            "an absolute link",
            Accepted,
            start(vec![
                plain(path.clone()),
                link(format!("{inside}/l"), 's', format!("C:\\{directory}\\{file}")),
            ]),
        ),
        (
            "a link as BuildKit writes it",
            Useless("it leads to Files\\… beside itself"),
            start(vec![
                plain(path.clone()),
                (
                    format!("{inside}/l"),
                    's',
                    format!("Files/{file}"),
                    Some((records::ATTRIBUTES, "")),
                ),
            ]),
        ),
        (
            "an opaque directory",
            Useless("the importer removes a file named `.wh..opq`"),
            start(vec![plain(format!("{inside}/.wh..wh..opq"))]),
        ),
        (
            "a file and its removal",
            Useless("removals come last, so the file is gone"),
            start(vec![plain(path.clone()), plain(format!("{inside}/.wh.{file}"))]),
        ),
        ("a device's name", Useless("Win32 programs cannot open it"), odd("aux.txt")),
        ("a dot at the end", Useless("Win32 programs cannot open it"), odd("name.")),
        (
            "a layer for Linux",
            Useless("it lies outside of C:"),
            vec![dir(directory), plain(format!("{directory}/{file}"))],
        ),
    ]
}

fn base() -> WindowsBase {
    let member =
        |path: &str, kind| -> Member<'static> { (path.to_owned(), kind, String::new(), None) };
    let layer =
        [member("Files", 'd'), member("Files/Base", 'd'), member("Files/Base/tool.exe", 'f')];
    let mut base = WindowsBase::default();
    base.add_layer(&*tar(&layer), Limits::default()).unwrap();
    base
}

/// The layer's name in the record: `a-parent-too-late.2`.
fn slug(case: &str, at: usize) -> String {
    let words: Vec<_> = case.split(|it: char| !it.is_ascii_alphanumeric()).collect();
    format!("{}.{at}", words.join("-").trim_matches('-').to_lowercase())
}

/// Writes the layers for `tools/windows-importer`.
#[test]
#[ignore = "writes files: for tools/windows-importer"]
#[expect(clippy::disallowed_methods, reason = "the tool says where")]
fn write_the_layers() {
    let directory = std::env::var_os("WINDOWS_IMPORTER_LAYERS").unwrap();
    for (at, (directory_name, file)) in NAMES.into_iter().enumerate() {
        for (case, _, members) in cases(directory_name, file) {
            let name = format!("{}.tar", slug(case, at));
            fs_err::write(std::path::Path::new(&directory).join(name), tar(&members)).unwrap();
        }
    }
}

#[test]
fn the_checker_judges_as_the_importer_does() {
    let base = base();
    let recorded = include_str!("windows_importer.tsv");
    let mut record: BTreeMap<_, _> =
        recorded.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let (mut same, mut wrong) = (0, Vec::new());
    for (at, (directory, file)) in NAMES.into_iter().enumerate() {
        for (name, verdict, members) in cases(directory, file) {
            let layer = tar(&members);
            let said: Vec<_> =
                record.remove(&*slug(name, at)).expect(name).splitn(3, '\t').collect();
            assert_eq!(
                said[0],
                oci::Digest::of(&layer).hex(),
                "{name} is another layer now: run tools/windows-importer"
            );
            let imported = said[1] == "accepted";
            let findings = windows_check(&*layer, Some(&base)).unwrap();
            let errors: Vec<_> =
                findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
            let fits = match verdict {
                Accepted => imported && errors.is_empty(),
                Refused => !imported && !errors.is_empty(),
                Useless(_) => imported && !errors.is_empty(),
                BeyondWine(_) => !imported && errors.is_empty(),
            };
            if !fits {
                wrong.push(format!("{name} ({directory}/{file}): {said:?}, but {errors:?}"));
            }
            same += usize::from(matches!(verdict, Accepted | Refused));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(record.keys().collect::<Vec<_>>(), Vec::<&&str>::new(), "recorded of no layer");
    assert!(same >= 150, "{same} verdicts are equal without more words");
}

/// What this workspace packs is among what the importer accepts, whatever the tree.
#[test]
fn packed_layers_are_accepted() {
    use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime};
    let base = base();
    for (at, (directory, file)) in NAMES.into_iter().enumerate() {
        let entry = |path: String, kind: Kind| Entry {
            path: path.parse().unwrap(),
            kind,
            meta: Metadata::root_owned(0o644, Mtime::seconds(1_700_000_000)),
        };
        let content = || Kind::File(Content::bytes(b"x".as_slice()));
        let changes = Changeset::from_iter([
            entry(format!("{directory}/{file}"), content()),
            entry(format!("{}/deep/{file}", other_case(directory)), content()),
            entry(
                format!("{directory}/zz"),
                Kind::Hardlink(format!("{directory}/{file}").parse().unwrap()),
            ),
            entry(format!("{directory}/l"), Kind::Symlink(format!("/{directory}").into_bytes())),
            entry(format!("{directory}/m"), Kind::Symlink(file.as_bytes().to_vec())),
            entry("base/tool.EXE".to_owned(), Kind::Whiteout),
            entry(format!("base/{at}"), content()),
        ]);
        let options = layer::PackOptions {
            form: layer::Form::Windows,
            compression: layer::Compression::Uncompressed,
            windows_base: Some(std::sync::Arc::new(base.clone())),
            ..layer::PackOptions::default()
        };
        let mut packed = Vec::new();
        layer::pack(&changes, &options, &mut packed).unwrap();
        assert_eq!(windows_check(&*packed, Some(&base)).unwrap(), [], "{directory}");
    }
}
