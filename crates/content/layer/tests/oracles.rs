//! The same archives, read and written by others: the `tar` crate, GNU tar, Python's `tarfile` and `gzip`.
//! Where a program is not installed, its part is left out.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]
#![expect(clippy::disallowed_methods, reason = "oracles are programs of the host")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use layer::tar::{Header, Limits, MemberKind, Reader, Time, Writer};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

/// What an archive says, in one form for all readers: name, type, link, mode, owner, size, time, content digest.
type Listing = Vec<String>;

fn line(
    path: &str,
    kind: char,
    link: &str,
    numbers: (u32, u32, u32, i64),
    content: &[u8],
) -> String {
    let (mode, uid, gid, mtime) = numbers;
    let digest = oci::Digest::of(content);
    format!(
        "{path} {kind} {link} {mode:o} {uid} {gid} {} {mtime} {}",
        content.len(),
        digest.short()
    )
}

fn kind_of(kind: MemberKind) -> char {
    match kind {
        MemberKind::File => '0',
        MemberKind::Hardlink => '1',
        MemberKind::Symlink => '2',
        MemberKind::CharDevice => '3',
        MemberKind::BlockDevice => '4',
        MemberKind::Directory => '5',
        MemberKind::Fifo => '6',
        MemberKind::Other(_) => '?',
    }
}

fn ours(bytes: &[u8]) -> Listing {
    let mut reader = Reader::new(bytes, Limits::default());
    let mut lines = Vec::new();
    while let Some(header) = reader.next_member().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('/').to_owned();
        let numbers = (header.mode & 0o7777, header.uid, header.gid, header.mtime.secs);
        lines.push(line(
            &text(&header.path),
            kind_of(header.kind),
            &text(&header.link),
            numbers,
            &content,
        ));
    }
    lines
}

fn tar_crate(bytes: &[u8]) -> Listing {
    let mut archive = tar::Archive::new(bytes);
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('/').to_owned();
        let kind = char::from(header.entry_type().as_byte());
        let numbers = (
            header.mode().unwrap() & 0o7777,
            u32::try_from(header.uid().unwrap()).unwrap(),
            u32::try_from(header.gid().unwrap()).unwrap(),
            i64::try_from(header.mtime().unwrap()).unwrap(),
        );
        let link = entry.link_name_bytes().map_or_else(String::new, |link| text(&link));
        lines.push(line(&text(&entry.path_bytes()), kind, &link, numbers, &content));
    }
    lines
}

/// Python reads from a file, because sparse members need seeking.
fn python(path: &Path) -> Option<Listing> {
    let script = r"
import sys, tarfile, hashlib, math
t = tarfile.open(sys.argv[1], encoding='utf-8', errors='replace')
for m in t:
    c = t.extractfile(m).read() if m.isreg() else b''
    k = '0' if m.isreg() else m.type.decode()
    print(m.name.rstrip('/'), k, m.linkname.rstrip('/'), '%o' % (m.mode & 0o7777), m.uid, m.gid, len(c), math.floor(m.mtime), hashlib.sha256(c).hexdigest()[:12])
";
    let output = Command::new("python3").arg("-c").arg(script).arg(path).output().ok()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!message.contains("tarfile."), "{message}");
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn write(members: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new());
    for (header, content) in members {
        tar.start(header).unwrap();
        tar.write_all(content).unwrap();
    }
    tar.finish().unwrap()
}

fn member() -> impl Strategy<Value = (Header, Vec<u8>)> {
    let name = prop_oneof![
        "[a-z]{1,8}(/[a-z]{1,8}){0,3}",
        "[a-zäöü€]{1,40}(/[a-z]{1,60}){0,4}",
        "[a-z]{90,110}",
        "[a-z]{60,90}/[a-z]{60,120}",
    ];
    let kind = prop_oneof![
        Just(MemberKind::File),
        Just(MemberKind::Directory),
        Just(MemberKind::Symlink),
        Just(MemberKind::Hardlink),
        Just(MemberKind::Fifo),
        Just(MemberKind::CharDevice),
    ];
    let numbers = (0..0o10000_u32, any::<u32>(), 0..3_000_000_u32, 0..20_000_000_000_i64);
    let content = proptest::collection::vec(any::<u8>(), 0..2000);
    let xattrs = proptest::collection::btree_map(
        "user\\.[a-z]{1,10}",
        proptest::collection::vec(any::<u8>(), 1..300),
        0..3,
    );
    (name.clone(), kind, name, numbers, content, xattrs).prop_map(
        |(path, kind, link, (mode, uid, gid, mtime), content, xattrs)| {
            let mut header = Header::new(path, kind);
            (header.mode, header.uid, header.gid) = (mode, uid, gid);
            header.mtime = Time { secs: mtime, nanos: 0 };
            header.xattrs =
                xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            match kind {
                MemberKind::Symlink | MemberKind::Hardlink => header.link = link.into_bytes(),
                MemberKind::CharDevice => header.device = (uid % 4096, gid % 100_000),
                MemberKind::Directory => header.path.push(b'/'),
                _ => {}
            }
            let content = if kind == MemberKind::File { content } else { Vec::new() };
            header.size = content.len() as u64;
            (header, content)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(members in proptest::collection::vec(member(), 0..12)) {
        let bytes = write(&members);
        prop_assert!(bytes == write(&members));
        let mut reader = Reader::new(&*bytes, Limits::default());
        for (header, content) in &members {
            let found = reader.next_member().unwrap().unwrap();
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            prop_assert_eq!(&found, header);
            prop_assert_eq!(&bytes, content);
        }
        prop_assert!(reader.next_member().unwrap().is_none());
    }

    #[test]
    fn the_tar_crate_reads_the_same(mut members in proptest::collection::vec(member(), 0..12)) {
        // It reads owners and times of headers only, and cuts attributes at newlines.
        for (header, _) in &mut members {
            header.uid %= 2_000_000;
            header.gid %= 2_000_000;
            header.mtime.secs %= 8_000_000_000;
            header.xattrs = BTreeMap::new();
        }
        let bytes = write(&members);
        prop_assert_eq!(ours(&bytes), tar_crate(&bytes));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut members in proptest::collection::vec(member(), 1..4), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        members.truncate(4);
        let mut bytes = write(&members);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
            // With a checksum that fits, the change is looked at.
            let block = at / 512 * 512;
            if let Some(header) = bytes.get_mut(block..block + 512).filter(|header| &header[257..262] == b"ustar") {
                header[148..156].fill(b' ');
                let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
                header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
        let limits = Limits { total_bytes: 1 << 24, ..Limits::default() };
        let mut reader = Reader::new(&*bytes, limits);
        let mut buffer = [0; 1000];
        while let Ok(Some(_)) = reader.next_member() {
            while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
    }
}

#[test]
fn python_reads_what_we_write() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..6 {
        let members =
            proptest::collection::vec(member(), 12).new_tree(&mut runner).unwrap().current();
        let bytes = write(&members);
        let path = directory.path().join("a.tar");
        fs_err::write(&path, &bytes).unwrap();
        let Some(found) = python(&path) else { return };
        assert_eq!(found, ours(&bytes));
    }
}

/// GNU tar in all its formats, with long names, sparse files and attributes; Python says what is right.
#[test]
fn archives_of_gnu_tar_are_read_as_python_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("tree");
    let deep = tree.join("d".repeat(120)).join("e".repeat(130));
    fs_err::create_dir_all(&deep).unwrap();
    fs_err::write(deep.join("file"), "deep").unwrap();
    fs_err::write(tree.join("plain"), vec![1; 3000]).unwrap();
    fs_err::hard_link(tree.join("plain"), tree.join("second")).unwrap();
    std::os::unix::fs::symlink("x".repeat(200), tree.join("link")).unwrap();
    // Holes at the start, between and at the end; and enough parts for a second block of the map.
    let mut sparse = fs_err::File::create(tree.join("sparse")).unwrap();
    for part in 1..40_u64 {
        std::io::Seek::seek(&mut sparse, std::io::SeekFrom::Start(part * 100_000)).unwrap();
        sparse.write_all(&[7; 5000]).unwrap();
    }
    sparse.file().set_len(9_000_000).unwrap();
    drop(sparse);
    fs_err::File::create(tree.join("hole")).unwrap().file().set_len(1_000_000).unwrap();
    let formats: &[&[&str]] = &[
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=oldgnu", "--sparse"],
        &["--format=pax"],
        &["--format=pax", "--sparse", "--sparse-version=0.0"],
        &["--format=pax", "--sparse", "--sparse-version=0.1"],
        &["--format=pax", "--sparse", "--sparse-version=1.0"],
        &["--format=pax", "--pax-option=delete=atime,delete=ctime"],
    ];
    for format in formats {
        let path = directory.path().join("gnu.tar");
        let tar = Command::new("tar")
            .args(*format)
            .arg("-cf")
            .arg(&path)
            .arg("-C")
            .arg(&tree)
            .args(["--sort=name", "."])
            .output();
        let Ok(tar) = tar else { return };
        if !tar.status.success() {
            return;
        }
        let bytes = fs_err::read(&path).unwrap();
        let listing: Listing =
            ours(&bytes).into_iter().map(|line| line.trim_start_matches("./").to_owned()).collect();
        let Some(expected) = python(&path) else { return };
        let expected: Listing =
            expected.into_iter().map(|line| line.trim_start_matches("./").to_owned()).collect();
        println!("compared {format:?}: {} members", listing.len());
        assert_eq!(listing, expected, "{format:?}");
    }
}

#[test]
fn gnu_tar_lists_what_we_write() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let members = proptest::collection::vec(member(), 20).new_tree(&mut runner).unwrap().current();
    let bytes = write(&members);
    let Ok(mut tar) = Command::new("tar")
        .args(["-tf", "-", "--quoting-style=literal"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        return;
    };
    let mut input = tar.stdin.take().unwrap();
    input.write_all(&bytes).unwrap();
    drop(input);
    let output = tar.wait_with_output().unwrap();
    let listed: Vec<String> =
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let expected: Vec<String> = members
        .iter()
        .map(|(header, _)| String::from_utf8_lossy(&header.path).into_owned())
        .collect();
    assert_eq!(listed, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn gzip_zstd_and_friends_agree() {
    let plain: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7 % 251) as u8).collect();
    let run = |program: &str, arguments: &[&str], input: &[u8]| -> Option<Vec<u8>> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take()?;
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().ok()?;
        feeder.join().unwrap().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        Some(output.stdout)
    };
    for (program, compression) in
        [("gzip", layer::Compression::GZIP), ("zstd", layer::Compression::ZSTD)]
    {
        let mut packed = Vec::new();
        let options =
            layer::PackOptions { compression, threads: 2, ..layer::PackOptions::default() };
        layer::recompress(&*plain, &options, 1 << 30, &mut packed).unwrap();
        if let Some(unpacked) = run(program, &["-dc"], &packed) {
            assert!(unpacked == plain, "{program}");
        }
    }
    for program in ["gzip", "zstd", "xz", "bzip2"] {
        if let Some(packed) = run(program, &["-c"], &plain) {
            let mut unpacked = Vec::new();
            layer::decompress(&*packed, 1 << 30).unwrap().read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == plain, "{program}");
        }
    }
}
