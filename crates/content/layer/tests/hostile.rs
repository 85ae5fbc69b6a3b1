//! Layers made to do harm: nothing outside the directory changes, nothing hangs, memory stays small.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fstree::{Kind, Owners, TreeForm};
use layer::tar::{BLOCK, Header, Limits, MemberKind, Reader, TarError, Writer};
use layer::{UnpackError, UnpackOptions, Unpacked, Whiteouts, decompress, read_archive, unpack};

fn owners() -> Owners {
    if rustix::process::geteuid().is_root() { Owners::IDENTITY } else { Owners::Recorded }
}

/// Members in a short form: `F path text`, `D path mode`, `S path>target`, `H path>target`, `W path`, `C`, `P`.
fn archive(members: &[&str]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for member in members {
        let (kind, rest) = member.split_at(2);
        let (path, argument) = rest.split_once(['>', '=']).unwrap_or((rest, ""));
        let kind = match kind {
            "D " => MemberKind::Directory,
            "S " => MemberKind::Symlink,
            "H " => MemberKind::Hardlink,
            "C " => MemberKind::CharDevice,
            "B " => MemberKind::BlockDevice,
            "P " => MemberKind::Fifo,
            _ => MemberKind::File,
        };
        let mut header = Header::new(path, kind);
        header.mode = 0o755;
        match kind {
            MemberKind::Directory if !argument.is_empty() => {
                header.mode = u32::from_str_radix(argument, 8).unwrap();
            }
            MemberKind::Symlink | MemberKind::Hardlink => header.link = argument.into(),
            MemberKind::CharDevice | MemberKind::BlockDevice => {
                let (major, minor) = argument.split_once(',').unwrap();
                header.device = (major.parse().unwrap(), minor.parse().unwrap());
            }
            MemberKind::File => header.size = argument.len() as u64,
            _ => {}
        }
        tar.start(&header).unwrap();
        if kind == MemberKind::File {
            tar.write_all(argument.as_bytes()).unwrap();
        }
    }
    tar.finish().unwrap()
}

/// A directory to unpack into, beside a canary that must not change. `$HC` in members is the canary's directory.
struct Arena {
    directory: tempfile::TempDir,
}

impl Arena {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs_err::create_dir(directory.path().join("root")).unwrap();
        fs_err::create_dir(directory.path().join("hc")).unwrap();
        fs_err::write(directory.path().join("hc/canary"), "alive").unwrap();
        fs_err::set_permissions(
            directory.path().join("hc"),
            std::fs::Permissions::from_mode(0o751),
        )
        .unwrap();
        Self { directory }
    }

    fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("root")
    }

    fn unpack(&self, members: &[&str], whiteouts: Whiteouts) -> Result<Unpacked, UnpackError> {
        let outside = self.directory.path().join("hc");
        let members: Vec<String> =
            members.iter().map(|member| member.replace("$HC", outside.to_str().unwrap())).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let options = UnpackOptions { whiteouts, ..UnpackOptions::default() };
        let result = unpack(&*archive(&members), &self.root(), owners(), &options);
        self.check(&format!("{members:?}"));
        result
    }

    fn check(&self, what: &str) {
        let outside = self.directory.path().join("hc");
        assert_eq!(fs_err::read_to_string(outside.join("canary")).unwrap(), "alive", "{what}");
        assert_eq!(
            fs_err::metadata(&outside).unwrap().permissions().mode() & 0o7777,
            0o751,
            "{what}"
        );
        let names = |path: &Path| fs_err::read_dir(path).unwrap().count();
        assert_eq!(names(&outside), 1, "{what}");
        assert_eq!(names(self.directory.path()), 2, "{what}");
    }
}

#[test]
fn no_path_leaves_the_root() {
    let escaping: &[&[&str]] = &[
        &["F ../x=1"],
        &["F a/../../x=1"],
        &["F ./../x=1"],
        &["H x>../../../../../../../..$HC/canary"],
        &["H x>$HC/canary"],
        &["H x>/etc/passwd"],
        &["S l>$HC", "H x>l/canary"],
        &["S a>b", "S b>a", "F a/x=1"],
        &["F a=1", "F a/b=2"],
        &["H x>x"],
        &["D d", "H x>d"],
        &["S e>"],
        &["F .wh...=", "F x=1"],
        &["F .wh..="],
        &["F etc/.wh...="],
        &["F etc/.wh..="],
        &["F .wh.="],
        &["F .wh.a/b=x"],
        &["F d/../../.wh.x="],
    ];
    for members in escaping {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Apply] {
            let result = Arena::new().unpack(members, whiteouts);
            assert!(result.is_err(), "{members:?} {result:?}");
        }
    }
    let contained: &[(&[&str], &str)] = &[
        (&["F /x=1"], "x"),
        (&["S e>/", "F e/hc/x=1"], "hc/x"),
        (&["S e>../../..", "F e/x=1"], "x"),
        (&["S a>/b", "S b>../../c", "S c>/../d", "F a/x=1"], "d/x"),
        (&["S e>$HC", "D e=0"], "e"),
        (&["S e>$HC", "F e=1"], "e"),
        (&["D d", "F d/x=1", "S d>$HC", "D d", "F d/y=1"], "d/y"),
        (&["F x=1", "S x>y", "F x=2"], "x"),
        (&["S e>$HC", "F e/.wh.canary=", "F ok=1"], "ok"),
        (&["S e>$HC", "F e/.wh..wh..opq=", "F ok=1"], "ok"),
        (&["S e>$HC", "F e/canary=0", "F ok=1"], "ok"),
        (&["S x>$HC/canary", "H y>x", "F ok=1"], "ok"),
    ];
    for (members, expected) in contained {
        for whiteouts in [Whiteouts::Overlay, Whiteouts::Apply] {
            let arena = Arena::new();
            arena.unpack(members, whiteouts).unwrap();
            let found = fs_err::symlink_metadata(arena.root().join(expected)).unwrap();
            assert!(!found.is_symlink(), "{members:?}");
        }
    }
}

#[test]
fn a_second_layer_cannot_use_links_of_the_first_to_get_out() {
    for second in [
        &["F e/canary=0"][..],
        &["D e=777"],
        &["F e/.wh.canary="],
        &["F e/.wh..wh..opq="],
        &["D e", "F e/x=1"],
        &["H x>e/canary"],
    ] {
        let arena = Arena::new();
        arena.unpack(&["S e>$HC"], Whiteouts::Apply).unwrap();
        let _either = arena.unpack(second, Whiteouts::Apply);
        arena.check(&format!("{second:?}"));
    }
}

#[test]
fn removals_apply_to_what_was_there_before_only() {
    let arena = Arena::new();
    arena
        .unpack(
            &["D d", "F d/old=1", "D d/sub", "F d/sub/x=1", "F top=1", "F both=1"],
            Whiteouts::Apply,
        )
        .unwrap();
    arena
        .unpack(
            &["F d/new=1", "F d/.wh..wh..opq=", "F .wh.top=", "F both=2", "F .wh.both="],
            Whiteouts::Apply,
        )
        .unwrap();
    let tree = fstree::read_tree(&arena.root(), owners(), TreeForm::Plain).unwrap();
    let paths: Vec<String> =
        tree.iter().map(|entry| entry.path.to_string()).filter(|path| !path.is_empty()).collect();
    assert_eq!(paths, ["both", "d", "d/new"]);
}

#[test]
fn removals_become_what_overlayfs_understands() {
    let arena = Arena::new();
    let members = &[
        "F a=1",
        "F .wh.a=",
        "F .wh.b=",
        "D b",
        "D c",
        "F c/x=1",
        "F .wh.c=",
        "F d/.wh..wh..opq=",
        "F e/f/.wh.g=",
    ];
    let unpacked = arena.unpack(members, Whiteouts::Overlay).unwrap();
    let tree = fstree::read_tree(&arena.root(), owners(), TreeForm::Overlay).unwrap();
    let opaque = |path: &str| {
        tree.get(&path.parse().unwrap()).unwrap().kind == Kind::Directory { opaque: true }
    };
    assert!(opaque("b") && opaque("c") && opaque("d"));
    assert!(!opaque("e"));
    assert!(matches!(tree.get(&"a".parse().unwrap()).unwrap().kind, Kind::File(_)));
    assert_eq!(tree.get(&"e/f/g".parse().unwrap()).unwrap().kind, Kind::Whiteout);
    let implied: Vec<String> = unpacked.implied.iter().map(ToString::to_string).collect();
    assert_eq!(implied, ["d", "e", "e/f"]);
}

#[test]
fn bookkeeping_of_overlayfs_does_not_come_from_a_layer() {
    let mut tar = Writer::new(Vec::new());
    let mut header = Header::new("d/", MemberKind::Directory);
    for name in [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.overlay.metacopy",
        "user.overlay.whiteout",
        "user.crossdock.owner",
        "security.selinux",
    ] {
        header.xattrs.insert(name.into(), b"y".to_vec());
    }
    header.xattrs.insert(b"user.mine".to_vec(), b"\n\0=".to_vec());
    header.mode = 0o755;
    tar.start(&header).unwrap();
    let mut device = Header::new("lower", MemberKind::CharDevice);
    device.mode = 0o644;
    tar.start(&device).unwrap();
    let arena = Arena::new();
    let unpacked =
        unpack(&*tar.finish().unwrap(), &arena.root(), owners(), &UnpackOptions::default())
            .unwrap();
    assert_eq!(unpacked.notes.len(), 7, "{:?}", unpacked.notes);
    let tree = fstree::read_tree(&arena.root(), owners(), TreeForm::Overlay).unwrap();
    let entry = tree.get(&"d".parse().unwrap()).unwrap();
    assert_eq!(entry.kind, Kind::DIRECTORY);
    assert_eq!(entry.meta.xattrs.keys().collect::<Vec<_>>(), [b"user.mine"]);
    assert!(tree.get(&"lower".parse().unwrap()).is_none());
}

#[test]
fn devices_are_recorded_and_not_made() {
    let arena = Arena::new();
    arena.unpack(&["B disk>8,0", "C mem>1,1", "P pipe"], Whiteouts::Overlay).unwrap();
    for name in ["disk", "mem"] {
        assert!(fs_err::symlink_metadata(arena.root().join(name)).unwrap().is_file());
    }
    let tree = fstree::read_tree(&arena.root(), owners(), TreeForm::Overlay).unwrap();
    assert_eq!(
        tree.get(&"disk".parse().unwrap()).unwrap().kind,
        Kind::BlockDevice { major: 8, minor: 0 }
    );
    assert_eq!(
        tree.get(&"mem".parse().unwrap()).unwrap().kind,
        Kind::CharDevice { major: 1, minor: 1 }
    );
    assert_eq!(tree.get(&"pipe".parse().unwrap()).unwrap().kind, Kind::Fifo);
}

/// Cut after every block, plain and compressed, an archive is an error.
#[test]
fn an_archive_that_is_cut_off_is_an_error() {
    let members: Vec<String> = (0..20)
        .flat_map(|n| [format!("D d{n}"), format!("F d{n}/f={}", "x".repeat(n * 97))])
        .collect();
    let whole = archive(&members.iter().map(String::as_str).collect::<Vec<_>>());
    let arena = Arena::new();
    let reading = |bytes: &mut dyn Read| {
        let mut reader = Reader::new(bytes, Limits::default());
        loop {
            match reader.next_member() {
                Ok(Some(_)) => {}
                Ok(None) => return reader.finish().map(drop),
                Err(error) => return Err(error),
            }
        }
    };
    for end in (0..whole.len() - BLOCK).step_by(BLOCK) {
        assert!(
            matches!(reading(&mut &whole[..end]), Err(TarError::Truncated { .. })),
            "cut at {end}"
        );
        let error =
            unpack(&whole[..end], &arena.root(), owners(), &UnpackOptions::default()).unwrap_err();
        assert!(
            matches!(error, UnpackError::Archive(TarError::Truncated { .. })),
            "cut at {end}: {error:?}"
        );
    }
    for compression in [layer::Compression::GZIP, layer::Compression::ZSTD] {
        let options = layer::PackOptions { compression, ..layer::PackOptions::default() };
        let mut packed = Vec::new();
        layer::recompress(&*whole, &options, 1 << 30, &mut packed).unwrap();
        for end in 1..packed.len() {
            let cut = decompress(&packed[..end], 1 << 30).map(|mut plain| reading(&mut plain));
            assert!(!matches!(cut, Ok(Ok(()))), "{compression:?} cut at {end} of {}", packed.len());
        }
    }
}

/// One block with the given type and size field, and a right checksum.
fn raw_header(name: &str, kind: u8, size: &[u8]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..124 + size.len()].copy_from_slice(size);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let mut text = String::new();
    write!(text, "{sum:06o}\0").unwrap();
    block[148..155].copy_from_slice(text.as_bytes());
    block
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(BLOCK), 0);
    padded
}

fn names(bytes: &[u8]) -> Result<Vec<String>, TarError> {
    let mut reader = Reader::new(bytes, Limits::default());
    let mut names = Vec::new();
    while let Some(header) = reader.next_member()? {
        names.push(format!("{} {}", String::from_utf8_lossy(&header.path), header.size));
    }
    Ok(names)
}

/// What Go and GNU tar would see, or an error: never a third reading.
#[test]
fn sizes_that_disagree_hide_nothing() {
    let octal = |size: usize| format!("{size:011o}\0").into_bytes();
    let pax =
        |body: &str| [raw_header("x", b'x', &octal(body.len())), padded(body.as_bytes())].concat();
    let end = vec![0; 2 * BLOCK];
    let inner = [raw_header("hidden", b'0', &octal(0)), vec![0; 1024]].concat();
    // The record counts, so the header in the content is content.
    let smuggled = [
        pax("13 size=1536\n"),
        raw_header("a", b'0', &octal(0)),
        inner,
        raw_header("b", b'0', &octal(0)),
        end.clone(),
    ]
    .concat();
    assert_eq!(names(&smuggled).unwrap(), ["a 1536", "b 0"]);
    let shown = [
        pax("10 size=0\n"),
        raw_header("a", b'0', &octal(1536)),
        raw_header("b", b'0', &octal(0)),
        end.clone(),
    ]
    .concat();
    assert_eq!(names(&shown).unwrap(), ["a 0", "b 0"]);
    let two = [pax("9 path=x\n"), pax("9 path=y\n"), raw_header("a", b'0', &octal(0)), end.clone()]
        .concat();
    assert!(names(&two).is_err());
    for body in [
        "11 size=-1\n",
        "11 size=+1\n",
        "27 size=99999999999999999\n9",
        "14 size=0x100\n",
        "11 uid=-1\n",
    ] {
        let bytes = [pax(body), raw_header("a", b'0', &octal(0)), end.clone()].concat();
        assert!(names(&bytes).is_err(), "{body}");
    }
    let long = [raw_header("l", b'L', b"17777777777\0"), end.clone()].concat();
    assert!(matches!(names(&long), Err(TarError::Limit { .. })));
    let global = [
        raw_header("g", b'g', &octal(9)),
        padded(b"9 path=x\n"),
        raw_header("a", b'0', &octal(0)),
        end.clone(),
    ]
    .concat();
    assert!(names(&global).is_err());
    let comment = [
        raw_header("g", b'g', &octal(14)),
        padded(b"14 comment=ab\n"),
        raw_header("a", b'0', &octal(0)),
        end.clone(),
    ]
    .concat();
    assert_eq!(names(&comment).unwrap(), ["a 0"]);
    // Directories have no content, whatever their header says.
    let directory =
        [raw_header("d/", b'5', &octal(512)), raw_header("b", b'0', &octal(0)), end.clone()]
            .concat();
    assert_eq!(names(&directory).unwrap(), ["d/ 0", "b 0"]);
    let negative = [raw_header("a", b'0', &[0xff; 12]), end].concat();
    assert!(names(&negative).is_err());
    let mut wrong = archive(&["F a=1"]);
    wrong[0] ^= 1;
    assert!(matches!(names(&wrong), Err(TarError::Invalid { .. })));
}

#[test]
fn names_keep_their_bytes() {
    let long = "n".repeat(255);
    let cases: &[&[u8]] = &[
        b"\xff\xfe",
        b"new\nline",
        b"a\\b",
        b"C:\\x",
        b"con",
        b"dot.",
        b"space ",
        long.as_bytes(),
    ];
    for name in cases {
        let mut tar = Writer::new(Vec::new());
        tar.start(&Header::new(*name, MemberKind::File)).unwrap();
        let arena = Arena::new();
        unpack(&*tar.finish().unwrap(), &arena.root(), owners(), &UnpackOptions::default())
            .unwrap();
        let tree = fstree::read_tree(&arena.root(), owners(), TreeForm::Overlay).unwrap();
        let found: Vec<&[u8]> = tree
            .iter()
            .map(|entry| entry.path.as_bytes())
            .filter(|path| !path.is_empty())
            .collect();
        assert_eq!(found, [*name]);
    }
    for name in ["n".repeat(256), "d/".repeat(5000) + "f", "d/".repeat(20_000)] {
        let mut tar = Writer::new(Vec::new());
        tar.start(&Header::new(name.as_bytes(), MemberKind::File)).unwrap();
        let arena = Arena::new();
        let result =
            unpack(&*tar.finish().unwrap(), &arena.root(), owners(), &UnpackOptions::default());
        assert!(result.is_err(), "{} bytes", name.len());
    }
}

#[test]
fn quotas_end_bombs() {
    let limits = Limits { entries: 10, total_bytes: 1 << 20, ..Limits::default() };
    let options = UnpackOptions { limits: limits.clone(), ..UnpackOptions::default() };
    let many: Vec<String> = (0..11).map(|n| format!("F {n}=")).collect();
    let arena = Arena::new();
    let tar = archive(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let error = unpack(&*tar, &arena.root(), owners(), &options).unwrap_err();
    assert!(
        matches!(error, UnpackError::Archive(TarError::Limit { what: "entries", .. })),
        "{error:?}"
    );
    // A sparse file of 8 EiB in a few bytes.
    let body = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n43 GNU.sparse.realsize=9223372036854775807\n";
    let tar = [
        raw_header("x", b'x', format!("{:011o}\0", body.len()).as_bytes()),
        padded(body.as_bytes()),
        raw_header("a", b'0', b"00000001000\0"),
        padded(b"0\n"),
        vec![0; 1024],
    ]
    .concat();
    let error = unpack(&*tar, &arena.root(), owners(), &options).unwrap_err();
    assert!(matches!(error, UnpackError::Archive(TarError::Limit { .. })), "{error:?}");
    // Zeros, compressed.
    for compression in [layer::Compression::GZIP, layer::Compression::ZSTD] {
        let pack = layer::PackOptions { compression, ..layer::PackOptions::default() };
        let mut bomb = Vec::new();
        layer::recompress(std::io::repeat(0).take(50 << 20), &pack, 1 << 30, &mut bomb).unwrap();
        assert!(bomb.len() < 200_000);
        let mut plain = decompress(&*bomb, 1 << 20).unwrap();
        let error = std::io::copy(&mut plain, &mut std::io::sink()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
        let spool = tempfile::tempdir().unwrap();
        assert!(
            read_archive(&*bomb, spool.path(), &limits).is_err()
                || compression == layer::Compression::GZIP
        );
    }
    // A zstd frame that wants a window of 2 GiB.
    let mut huge = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8];
    huge.extend([0; 20]);
    let result = decompress(&*huge, 1 << 30)
        .and_then(|mut plain| std::io::copy(&mut plain, &mut std::io::sink()));
    assert!(result.is_err());
}

#[test]
fn unknown_bytes_and_empty_streams_are_told() {
    let spool = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    for bytes in [
        &b""[..],
        b"hello",
        b"PK\x03\x04",
        &[0x1f, 0x8b, 1, 2, 3],
        &[0xfd, b'7', b'z', b'X', b'Z', 0, 1],
        b"BZh9xxxx",
        &[0xff; 2048],
    ] {
        assert!(read_archive(bytes, spool.path(), &limits).is_err(), "{bytes:?}");
    }
    // Garbage after the end of a gzip member is refused; a second member is read.
    let mut gzip = Vec::new();
    layer::recompress(&*archive(&["F a=1"]), &layer::PackOptions::default(), 1 << 20, &mut gzip)
        .unwrap();
    let garbage = [&gzip[..], b"garbage"].concat();
    let mut plain = decompress(&*garbage, 1 << 20).unwrap();
    assert!(std::io::copy(&mut plain, &mut std::io::sink()).is_err());
    let twice = [&gzip[..], &gzip[..]].concat();
    assert_eq!(
        std::io::copy(&mut decompress(&*twice, 1 << 20).unwrap(), &mut std::io::sink()).unwrap(),
        2 * 2048
    );
}

#[test]
fn an_archive_becomes_a_changeset_whatever_its_order() {
    let spool = tempfile::tempdir().unwrap();
    let big = "x".repeat(10_000);
    let members = [
        "S lib>usr/lib",
        "F lib/a=1",
        "F z=content",
        "H a>z",
        "F m=old",
        "H n>m",
        "F m=new",
        "D gone",
        "F gone/x=1",
        "F gone=2",
        "F .wh.literal=yes",
        &format!("F big={big}"),
        "C zero>0,0",
    ];
    let changes = read_archive(&*archive(&members), spool.path(), &Limits::default()).unwrap();
    let lines: Vec<String> = changes
        .iter()
        .map(|entry| match &entry.kind {
            Kind::File(content) => {
                let text = String::from_utf8(content.read(1 << 20).unwrap()).unwrap();
                format!("{} = {}", entry.path, text.get(..10).unwrap_or(&text))
            }
            Kind::Hardlink(target) => format!("{} -> {target}", entry.path),
            Kind::Symlink(target) => {
                format!("{} > {}", entry.path, String::from_utf8_lossy(target))
            }
            other => format!("{} {other:?}", entry.path),
        })
        .collect();
    assert_eq!(
        lines,
        [
            ".wh.literal = yes",
            "a = content",
            "big = xxxxxxxxxx",
            "gone = 2",
            "lib > usr/lib",
            "m = new",
            "n = old",
            "usr/lib/a = 1",
            "z -> a"
        ]
    );
    assert_eq!(fs_err::read_dir(spool.path()).unwrap().count(), 1);
    for bad in
        [&["F ../x=1"][..], &["S a>b", "S b>a", "F a/x=1"], &["F a=1", "F a/b=1"], &["H a>b"]]
    {
        assert!(read_archive(&*archive(bad), spool.path(), &Limits::default()).is_err(), "{bad:?}");
    }
}
