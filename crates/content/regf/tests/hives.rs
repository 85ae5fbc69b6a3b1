//! Hives that are written are what is read, by this crate and by hivex.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "hivex is asked, and who has none is told that it was not"
)]

use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use regf::{Hive, Key, ReadError, Value, WriteError, base_hive, kind, read, write};

fn security() -> Arc<[u8]> {
    regf::ROOT_SECURITY.into()
}

fn key(name: &str, values: Vec<Value>, keys: Vec<Key>) -> Key {
    Key { name: name.to_owned(), security: security(), values, keys, ..Key::default() }
}

fn hive(root: Key) -> Hive {
    Hive {
        file_name: "\\config\\SYSTEM".to_owned(),
        minor: 5,
        written: 0x01d0_0000_0000_0000,
        root,
    }
}

fn text(value: &str) -> Vec<u8> {
    value.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn large() -> Hive {
    let value = |name: &str, kind, data| Value { name: name.to_owned(), kind, data };
    let many = (0..1203).map(|number| key(&format!("Key{number:04}"), Vec::new(), Vec::new()));
    let deep = (0..500).fold(key("end", Vec::new(), Vec::new()), |below, number| {
        key(&format!("d{number}"), Vec::new(), vec![below])
    });
    hive(key(
        "ROOT",
        vec![
            value("", kind::TEXT, text("default")),
            value("Number", kind::NUMBER, 7_u32.to_le_bytes().to_vec()),
            value("Nothing", kind::BINARY, Vec::new()),
            value("Five", kind::BINARY, vec![1, 2, 3, 4, 5]),
            value("Large", kind::BINARY, (0..40_000_u32).flat_map(u32::to_le_bytes).collect()),
            value("Edge", kind::BINARY, vec![9; 16_344]),
            value("Namé☃", kind::TEXT, text("ü☃")),
        ],
        vec![
            key("Many", Vec::new(), many.collect()),
            key("deep", Vec::new(), vec![deep]),
            Key {
                class: Some("shape".to_owned()),
                security: [regf::ROOT_SECURITY, b"\0\0\0\0"].concat().into(),
                ..key("Ключ", Vec::new(), Vec::new())
            },
        ],
    ))
}

#[test]
fn the_hive_of_a_base_layer_is_8192_bytes_and_never_changes() {
    let bytes = base_hive();
    assert_eq!(bytes.len(), 8192);
    let hive = read(&bytes).unwrap();
    assert_eq!(
        (hive.root.name.as_str(), hive.root.keys.len(), hive.root.values.len()),
        ("ROOT", 0, 0)
    );
    assert_eq!(*hive.root.security, *regf::ROOT_SECURITY);
    assert_eq!(write(&hive).as_deref(), Ok(bytes.as_slice()));
    assert_eq!(&bytes[508..512], &[SUM[0], SUM[1], SUM[2], SUM[3]], "the base block's checksum");
}

/// By hand: the words of the base block that are not zero, exclusive or.
const SUM: [u8; 4] = (0x6667_6572_u32 ^ 1 ^ 1 ^ 1 ^ 5 ^ 1 ^ 0x20 ^ 0x1000 ^ 1).to_le_bytes();

#[test]
fn large_trees_come_back_as_they_went() {
    let mut wanted = large();
    let found = read(&write(&wanted).unwrap()).unwrap();
    // What is in a list is in the order of names.
    wanted.root.keys.sort_by_key(|key| key.name.to_uppercase());
    assert_eq!(found, wanted);
    wanted.minor = 3;
    assert_eq!(write(&wanted), Err(WriteError::Version(3)));
    wanted.root.values.retain(|value| value.name != "Large");
    assert_eq!(read(&write(&wanted).unwrap()).unwrap(), wanted);
}

#[test]
fn trees_that_windows_cannot_have_are_refused() {
    let with = |keys| write(&hive(key("ROOT", Vec::new(), keys)));
    let child = |name: &str| key(name, Vec::new(), Vec::new());
    assert_eq!(with(vec![child("a"), child("A")]), Err(WriteError::Twice("a".to_owned())));
    for name in ["", "a\\b", "a\0", &"x".repeat(256)] {
        assert_eq!(with(vec![child(name)]), Err(WriteError::KeyName(name.to_owned())));
    }
    assert_eq!(
        with(vec![Key { security: Arc::default(), ..child("a") }]),
        Err(WriteError::NoSecurity("a".to_owned()))
    );
    let deep = (0..600).fold(child("a"), |below, _| key("a", Vec::new(), vec![below]));
    assert_eq!(with(vec![deep]), Err(WriteError::TooDeep));
}

#[test]
fn damage_is_named_with_its_place() {
    assert_eq!(read(b""), Err(ReadError::NotAHive("shorter than 4096 bytes")));
    assert_eq!(read(&[0; 8192]), Err(ReadError::NotAHive("it does not begin with `regf`")));
    let mut bytes = base_hive();
    bytes[100] ^= 1;
    assert!(matches!(read(&bytes), Err(ReadError::Checksum { .. })));
    let mut bytes = base_hive();
    bytes[4096] = b'x';
    assert_eq!(read(&bytes), Err(ReadError::Damaged { at: 4096, what: "there is no bin" }));
    assert!(matches!(read(&base_hive()[..5000]), Err(ReadError::Damaged { at: 40, .. })));
    // A key beneath itself.
    let mut bytes =
        write(&hive(key("R", Vec::new(), vec![key("a", Vec::new(), Vec::new())]))).unwrap();
    let list = bytes.windows(2).rposition(|pair| pair == b"lh").unwrap();
    bytes[list + 4..list + 8].copy_from_slice(&0x20_u32.to_le_bytes());
    assert!(matches!(
        read(&bytes),
        Err(ReadError::Damaged { what: "a key is beneath two others, or beneath itself", .. })
    ));
}

/// What `hivexml` says, or nothing where it is not installed.
fn hivexml(bytes: &[u8]) -> Option<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let Ok(output) = Command::new("hivexml").arg(file.path()).output() else {
        eprintln!("SKIPPED: hivexml is not installed (Debian: libhivex-bin)");
        return None;
    };
    assert!(output.status.success(), "hivexml: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn hivex_reads_what_is_written() {
    let Some(xml) = hivexml(&base_hive()) else { return };
    assert!(xml.contains("<node name=\"ROOT\" root=\"1\">"), "{xml}");
    let Some(xml) = hivexml(&write(&large()).unwrap()) else { return };
    assert!(xml.contains("value=\"default\""));
    assert_eq!(xml.matches("<node name=\"Key").count(), 1203);
    assert_eq!(xml.matches("<node name=\"d").count(), 501);
    assert!(xml.contains("Ключ"), "names in other scripts");
}

#[test]
fn hivexsh_walks_what_is_written() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&write(&large()).unwrap()).unwrap();
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(b"cd \\Many\\Key1202\nls\ncd \\\nlsval Number\n").unwrap();
    let Ok(output) = Command::new("hivexsh").arg("-f").arg(script.path()).arg(file.path()).output()
    else {
        eprintln!("SKIPPED: hivexsh is not installed (Debian: libhivex-bin)");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().any(|line| line.trim() == "7"), "{said}");
}

fn any_key() -> impl Strategy<Value = Key> {
    let value = ("[a-zé☃𝄞]{0,6}", any::<u32>(), proptest::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(name, kind, data)| Value { name, kind, data });
    let values = proptest::collection::vec(value, 0..6);
    let leaf = ("[A-Za-zéß☃𝄞]{1,8}", values.clone(), any::<u64>(), 0_u8..3).prop_map(
        |(name, values, written, security)| Key {
            name,
            class: None,
            written,
            security: vec![security; 1 + usize::from(security)].into(),
            values,
            keys: Vec::new(),
        },
    );
    leaf.prop_recursive(4, 40, 8, move |inner| {
        ("[A-Za-z]{1,8}", proptest::collection::vec(inner, 0..8), values.clone(), "[a-z]{1,5}")
            .prop_map(|(name, keys, values, class)| Key {
                class: Some(class),
                ..key(&name, values, keys)
            })
    })
}

/// Names once each, keys in order.
fn normal(key: &mut Key) {
    let upper = |name: &str| name.to_uppercase().encode_utf16().collect::<Vec<_>>();
    key.keys.sort_by_key(|it| upper(&it.name));
    key.keys.dedup_by_key(|it| upper(&it.name));
    let mut names = std::collections::BTreeSet::new();
    key.values.retain(|it| names.insert(upper(&it.name)));
    key.keys.iter_mut().for_each(normal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn reading_gives_what_was_written(mut root in any_key(), minor in 3_u32..=6) {
        normal(&mut root);
        // Simple and full upper case differ for `ß`, which sorts after it either way.
        let wanted = Hive { minor, ..hive(root) };
        match write(&wanted) {
            Ok(bytes) => {
                prop_assert_eq!(bytes.len() % 4096, 0);
                let found = read(&bytes).unwrap();
                prop_assert_eq!(write(&found).unwrap(), bytes);
                prop_assert_eq!(count(&found.root), count(&wanted.root));
                if !format!("{wanted:?}").contains('ß') {
                    prop_assert_eq!(found, wanted);
                }
            }
            Err(error) => prop_assert!(matches!(error, WriteError::Twice(_)), "{}", error),
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fail_in_another_way(changes in proptest::collection::vec((0_usize..12_288, any::<u8>()), 1..20)) {
        let small = hive(key("R", vec![Value { name: "v".into(), kind: 3, data: vec![1; 30] }],
            (0..20).map(|number| key(&format!("k{number}"), Vec::new(), Vec::new())).collect()));
        let mut bytes = write(&small).unwrap();
        for (at, value) in changes {
            let length = bytes.len();
            bytes[at % length] = value;
        }
        let sum = bytes[..508].chunks(4).fold(0, |sum, it| sum ^ u32::from_le_bytes([it[0], it[1], it[2], it[3]]));
        bytes[508..512].copy_from_slice(&sum.to_le_bytes());
        if let Ok(hive) = read(&bytes) {
            drop(write(&hive));
        }
    }
}

fn count(key: &Key) -> usize {
    1 + key.values.len() + key.keys.iter().map(count).sum::<usize>()
}
