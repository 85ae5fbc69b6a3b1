//! eStargz layers: plain gzip to everybody, and single files by offset to those who know.
#![expect(clippy::unwrap_used, reason = "a test says why it fails by failing")]

use std::io::Read;

use fstree::{Changeset, Content, Entry, Kind, Metadata, Mtime};
use layer::{Compression, PackOptions, decompress, estargz, pack, recompress};
use oci::Digest;
use serde_json::Value;

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.parse().unwrap(),
        kind,
        meta: Metadata::root_owned(0o755, Mtime::seconds(1_700_000_000)),
    }
}

fn big() -> Vec<u8> {
    (0..9_000_000_u32).flat_map(|n| (n / 3).to_le_bytes()).take(9_000_000).collect()
}

fn sample() -> Changeset {
    let mut tagged = entry("usr/tagged", Kind::File(Content::bytes(*b"<tagged>")));
    tagged.meta.xattrs.insert(b"user.a".to_vec(), b"1".to_vec());
    Changeset::from_iter([
        entry("usr", Kind::DIRECTORY),
        entry("usr/bin", Kind::DIRECTORY),
        entry("usr/bin/app", Kind::File(Content::bytes(*b"#!/bin/sh\n"))),
        entry("usr/big", Kind::File(Content::bytes(big()))),
        entry("usr/empty", Kind::File(Content::Empty)),
        entry("usr/link", Kind::Symlink(b"bin/app".to_vec())),
        tagged,
        entry("usr/twin", Kind::Hardlink("usr/bin/app".parse().unwrap())),
    ])
}

fn packed(options: &PackOptions) -> (layer::Packed, Vec<u8>) {
    let mut blob = Vec::new();
    (pack(&sample(), options, &mut blob).unwrap(), blob)
}

/// The table of contents, found from the footer alone.
fn table(blob: &[u8]) -> (Vec<u8>, Value) {
    let (rest, footer) = blob.split_at(blob.len() - estargz::FOOTER_BYTES);
    let offset = usize::try_from(estargz::table_offset(footer).unwrap()).unwrap();
    let mut tar = layer::tar::Reader::new(flate(&rest[offset..]), layer::tar::Limits::default());
    assert_eq!(tar.next_member().unwrap().unwrap().path, estargz::TABLE.as_bytes());
    let mut text = Vec::new();
    tar.read_to_end(&mut text).unwrap();
    let table = serde_json::from_slice(&text).unwrap();
    (text, table)
}

fn flate(bytes: &[u8]) -> Box<dyn Read + Send + '_> {
    decompress(bytes, u64::MAX).unwrap()
}

#[test]
fn every_chunk_is_found_at_its_offset() {
    let options =
        PackOptions { compression: Compression::ESTARGZ, threads: 2, ..PackOptions::default() };
    let (packed, blob) = packed(&options);
    let (text, table) = table(&blob);
    assert_eq!(packed.annotations[estargz::TABLE_ANNOTATION], Digest::of(&text).to_string());
    assert_eq!(packed.annotations[estargz::SIZE_ANNOTATION], packed.uncompressed_size.to_string());
    assert_eq!(table["version"], 1);
    let entries = table["entries"].as_array().unwrap();
    let mut contents = std::collections::BTreeMap::<String, Vec<u8>>::new();
    let mut sizes = std::collections::BTreeMap::<String, u64>::new();
    for entry in entries {
        let number = |key: &str| entry[key].as_u64().unwrap_or(0);
        let name = entry["name"].as_str().unwrap().to_owned();
        if entry["type"] == "reg" {
            sizes.insert(name.clone(), number("size"));
        }
        if !matches!(entry["type"].as_str(), Some("reg" | "chunk")) || sizes[&name] == 0 {
            continue;
        }
        let size = if number("chunkSize") == 0 {
            sizes[&name] - number("chunkOffset")
        } else {
            number("chunkSize")
        };
        let mut chunk = Vec::new();
        let offset = usize::try_from(number("offset")).unwrap();
        flate(&blob[offset..]).take(size).read_to_end(&mut chunk).unwrap();
        assert_eq!(entry["chunkDigest"], Digest::of(&chunk).to_string(), "{name}");
        contents.entry(name).or_default().extend(chunk);
    }
    for entry in entries.iter().filter(|entry| entry["type"] == "reg") {
        let name = entry["name"].as_str().unwrap();
        let content = contents.get(name).cloned().unwrap_or_default();
        assert_eq!(entry["digest"], Digest::of(&content).to_string(), "{name}");
    }
    assert!(contents["usr/big"] == big());
    assert_eq!(entries.iter().filter(|entry| entry["type"] == "chunk").count(), 2);
    assert_eq!(entries[0]["name"], estargz::NO_PREFETCH_LANDMARK);
    let tagged = entries.iter().find(|entry| entry["name"] == "usr/tagged").unwrap();
    assert_eq!(tagged["xattrs"]["user.a"], "MQ==");
    assert_eq!(tagged["modtime"], "2023-11-14T22:13:20Z");
    assert_eq!(tagged["mode"], 0o755);
}

#[test]
fn what_is_wanted_first_comes_first() {
    let prefetch = vec!["usr/twin".parse().unwrap(), "usr/missing".parse().unwrap()];
    let options =
        PackOptions { compression: Compression::ESTARGZ, prefetch, ..PackOptions::default() };
    let (_, blob) = packed(&options);
    let (_, table) = table(&blob);
    let names: Vec<&str> = table["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .take(6)
        .collect();
    assert_eq!(
        names,
        ["usr/", "usr/bin/", "usr/bin/app", "usr/twin", estargz::PREFETCH_LANDMARK, "usr/big"]
    );
}

#[test]
fn a_gzip_layer_becomes_an_estargz_layer_and_back() {
    let (plain, gzip) = packed(&PackOptions::default());
    let options = PackOptions { compression: Compression::ESTARGZ, ..PackOptions::default() };
    let mut blob = Vec::new();
    let stargz = recompress(&*gzip, &options, 1 << 30, &mut blob).unwrap();
    assert_ne!(stargz.diff_id, plain.diff_id);
    let direct = packed(&options);
    assert_eq!(direct.0.diff_id, stargz.diff_id);
    let mut again = Vec::new();
    recompress(&*blob, &options, 1 << 30, &mut again).unwrap();
    assert!(again == blob);
    let mut zstd = Vec::new();
    let zstd_options = PackOptions { compression: Compression::ZSTD, ..PackOptions::default() };
    assert_eq!(
        recompress(&*gzip, &zstd_options, 1 << 30, &mut zstd).unwrap().diff_id,
        plain.diff_id
    );
}
