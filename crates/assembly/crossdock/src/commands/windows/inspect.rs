//! `crossdock windows inspect`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use oci::{ImageConfig, media_type};
use serde_json::{Value, json};
use windows_image::{File, FileKind, HiveFile, Security, guess_base};

use super::image::{Looked, Part, look};
use crate::args::{Format, WindowsInspectArgs};
use crate::commands::{print, table};
use crate::failure::Failure;
use crate::progress::{clean, size};
use crate::session::Session;

/// Data of values are shown up to this many bytes.
const DATA: usize = 32;

/// Shows what an image holds.
pub(super) fn inspect(args: &WindowsInspectArgs, session: &Session<'_>) -> Result<(), Failure> {
    let looked = look(&args.image, session)?;
    match args.format {
        Format::Json => {
            let images: Vec<Value> = looked.parts.iter().map(|part| json_of(part, args)).collect();
            print(&format!("{:#}\n", json!({ "image": looked.name, "images": images })))
        }
        Format::Table => {
            let mut out = String::new();
            for part in &looked.parts {
                text(&looked, part, args, &mut out);
            }
            print(&out)
        }
    }
}

/// Files of each kind, and bytes.
#[derive(Default)]
struct Counts {
    files: usize,
    directories: usize,
    links: usize,
    programs: usize,
    bytes: u64,
}

fn counts(part: &Part) -> Counts {
    let mut counts = Counts::default();
    for file in part.contents.files.values() {
        match file.kind {
            FileKind::File => counts.files += 1,
            FileKind::Directory => counts.directories += 1,
            FileKind::Link(_) | FileKind::Junction(_) => counts.links += 1,
        }
        counts.programs += usize::from(file.program.is_some());
        counts.bytes = counts.bytes.saturating_add(file.size);
    }
    counts
}

/// Each descriptor once, with how many files have it; the most used first.
fn securities(part: &Part) -> Vec<(Security, usize)> {
    let mut found: BTreeMap<Security, usize> = BTreeMap::new();
    for security in part.contents.files.values().filter_map(|file| file.security.as_ref()) {
        *found.entry(Arc::clone(security)).or_default() += 1;
    }
    let mut found: Vec<(Security, usize)> = found.into_iter().collect();
    found.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    found
}

/// A descriptor for people.
fn access(security: &[u8]) -> String {
    super::access::text(security)
}

fn text(looked: &Looked, part: &Part, args: &WindowsInspectArgs, out: &mut String) {
    let (base, because) = guess_base(part.config.as_ref(), part.base_name(), &part.contents);
    let _ = writeln!(out, "{} {}", looked.name, part.title());
    if let Some(digest) = &part.digest {
        let _ = writeln!(out, "  digest       {digest}");
    }
    if let Some(config) = &part.config {
        for (name, value) in settings(config) {
            let _ = writeln!(out, "  {name:<12} {}", clean(&value));
        }
    }
    let _ = writeln!(out, "  base         {} ({because})", base.word());
    let count = counts(part);
    let _ = writeln!(
        out,
        "  files        {} files, {} directories, {} links, {} programs and libraries, {}",
        count.files,
        count.directories,
        count.links,
        count.programs,
        size(count.bytes)
    );
    let _ = writeln!(out, "\nlayers");
    indent(&layer_rows(part), out);
    if !part.contents.hives.is_empty() {
        let _ = writeln!(out, "\nregistry hives");
        indent(&hive_rows(&part.contents.hives), out);
    }
    let securities = securities(part);
    if !securities.is_empty() {
        let _ = writeln!(out, "\naccess rights");
        for (number, (security, files)) in securities.iter().enumerate() {
            let _ = writeln!(out, "  #{number} of {files} files: {}", access(security));
        }
    }
    if args.files {
        let _ = writeln!(out, "\nfiles");
        let number = |file: &File| {
            let security = file.security.as_ref()?;
            securities.iter().position(|(known, _)| known == security)
        };
        let mut rows = vec![["ATTR", "SIZE", "LAYER", "ACCESS", "PATH"].map(str::to_owned)];
        for file in part.contents.files.values() {
            rows.push([
                file.letters(),
                if file.kind == FileKind::File { size(file.size) } else { "-".to_owned() },
                file.layer.to_string(),
                number(file).map_or_else(|| "inherited".to_owned(), |number| format!("#{number}")),
                described(file),
            ]);
        }
        indent(&table(&rows), out);
    }
    if args.hives {
        for hive in &part.contents.hives {
            let _ = writeln!(out, "\n{} of layer {}", hive.path, hive.layer);
            match &hive.content {
                Ok(content) => keys(&content.root, 1, out),
                Err(error) => {
                    let _ = writeln!(out, "  {error}");
                }
            }
        }
    }
    out.push('\n');
}

fn indent(rows: &str, out: &mut String) {
    for row in rows.lines() {
        let _ = writeln!(out, "  {row}");
    }
}

fn settings(config: &ImageConfig) -> Vec<(&'static str, String)> {
    let some = |name, value: &str| (!value.is_empty()).then(|| (name, value.to_owned()));
    let words = |name, list: &Option<Vec<String>>| Some((name, json!(list.as_ref()?).to_string()));
    let version = match windows::build_of(&config.os_version).and_then(windows::release_of_build) {
        Some(release) => format!("{} ({})", config.os_version, release.name),
        None if config.os_version.is_empty() => "none: it runs on every release".to_owned(),
        None => config.os_version.clone(),
    };
    let container = &config.config;
    [
        Some(("os.version", version)),
        some("os.features", &config.os_features.join(", ")),
        some("user", &container.user),
        some("directory", &container.working_dir),
        words("entrypoint", &container.entrypoint),
        words("command", &container.cmd),
        some("environment", &container.env.join(" ")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn is_foreign(part: &Part, number: usize) -> bool {
    part.layers().get(number).is_some_and(|layer| media_type::is_foreign_layer(&layer.media_type))
}

fn layer_rows(part: &Part) -> String {
    let mut rows = vec![["LAYER", "SIZE", "UNPACKED", "MEMBERS", "DIGEST", ""].map(str::to_owned)];
    for (number, layer) in part.contents.layers.iter().enumerate() {
        let descriptor = part.layers().get(number);
        let mut notes = Vec::new();
        if !layer.was_read {
            notes.push("not here; --complete fetches it");
        }
        if layer.is_windows {
            notes.push("Windows itself");
        }
        if is_foreign(part, number) {
            notes.push("foreign");
        }
        let unknown = || "-".to_owned();
        rows.push([
            number.to_string(),
            descriptor.map_or_else(unknown, |it| size(it.size)),
            if layer.was_read { size(layer.size) } else { unknown() },
            if layer.was_read { layer.members.to_string() } else { unknown() },
            descriptor.map_or_else(unknown, |it| it.digest.short().to_owned()),
            notes.join(", "),
        ]);
    }
    table(&rows)
}

fn hive_rows(hives: &[HiveFile]) -> String {
    let mut rows = vec![["HIVE", "LAYER", "SIZE", "ROOT", "KEYS", "VALUES"].map(str::to_owned)];
    for hive in hives {
        let [root, keys, values] = match &hive.content {
            Ok(content) => {
                let (keys, values) = totals(&content.root);
                [clean(&content.root.name), keys.to_string(), values.to_string()]
            }
            Err(error) => [error.clone(), "-".to_owned(), "-".to_owned()],
        };
        rows.push([clean(&hive.path), hive.layer.to_string(), size(hive.size), root, keys, values]);
    }
    table(&rows)
}

fn totals(key: &regf::Key) -> (usize, usize) {
    key.keys.iter().map(totals).fold((1, key.values.len()), |(keys, values), (more, others)| {
        (keys + more, values + others)
    })
}

fn keys(key: &regf::Key, depth: usize, out: &mut String) {
    let _ = writeln!(out, "{:width$}{}\\", "", clean(&key.name), width = depth * 2);
    for value in &key.values {
        let name = if value.name.is_empty() { "(default)" } else { &value.name };
        let width = depth * 2 + 2;
        let _ = writeln!(out, "{:width$}{} = {}", "", clean(name), shown(value));
    }
    key.keys.iter().for_each(|key| keys(key, depth + 1, out));
}

/// The data of a value for people.
fn shown(value: &regf::Value) -> String {
    let data = &value.data;
    let text = || {
        let units: Vec<u16> =
            data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match (value.kind, data.as_slice()) {
        (regf::kind::TEXT | regf::kind::EXPANDABLE, _) => {
            json!(text().trim_end_matches('\0')).to_string()
        }
        (regf::kind::TEXTS, _) => {
            let all = text();
            let words: Vec<&str> = all.split('\0').filter(|word| !word.is_empty()).collect();
            json!(words).to_string()
        }
        (regf::kind::NUMBER, [a, b, c, d]) => u32::from_le_bytes([*a, *b, *c, *d]).to_string(),
        _ => {
            let hex = super::access::hex(data.get(..DATA).unwrap_or(data));
            let more = if data.len() > DATA { "…" } else { "" };
            format!("kind {}, {} bytes: {hex}{more}", value.kind, data.len())
        }
    }
}

/// Path, target, and what a program says of itself.
fn described(file: &File) -> String {
    let mut text = clean(&file.path);
    match &file.kind {
        FileKind::Directory => text.push('/'),
        FileKind::Link(target) => text.extend([" -> ", &clean(target)]),
        FileKind::Junction(target) => text.extend([" => ", &clean(target)]),
        FileKind::File => {}
    }
    if let Some(program) = &file.program {
        let signed = if program.is_signed { ", signed" } else { "" };
        let managed = if program.managed == pe::Managed::No { "" } else { ", .NET" };
        let _ = write!(text, "  ({}, {}{managed}{signed})", program.machine, program.subsystem);
    }
    text
}

fn json_of(part: &Part, args: &WindowsInspectArgs) -> Value {
    let (base, because) = guess_base(part.config.as_ref(), part.base_name(), &part.contents);
    let count = counts(part);
    let layers = part.contents.layers.iter().enumerate().map(|(number, layer)| {
        let descriptor = part.layers().get(number);
        json!({
            "digest": descriptor.map(|it| &it.digest), "mediaType": descriptor.map(|it| &it.media_type),
            "urls": descriptor.map(|it| &it.urls), "foreign": is_foreign(part, number),
            "size": descriptor.map(|it| it.size), "read": layer.was_read,
            "diffId": layer.diff_id, "unpacked": layer.size, "members": layer.members,
            "windows": layer.is_windows,
        })
    });
    let hives = part.contents.hives.iter().map(|hive| {
        let content = match &hive.content {
            Ok(content) => {
                let (keys, values) = totals(&content.root);
                let tree = args.hives.then(|| key_json(&content.root));
                json!({ "root": content.root.name, "keys": keys, "values": values, "tree": tree })
            }
            Err(error) => json!({ "error": error }),
        };
        json!({ "path": hive.path, "layer": hive.layer, "size": hive.size, "content": content })
    });
    let rights = securities(part).into_iter().map(|(security, files)| {
        json!({ "files": files, "access": access(&security), "bytes": windows::base64(&security) })
    });
    let files = args.files.then(|| part.contents.files.values().map(file_json).collect::<Vec<_>>());
    json!({
        "platform": part.title(), "digest": part.digest,
        "osVersion": part.config.as_ref().map(|config| &config.os_version),
        "osFeatures": part.config.as_ref().map(|config| &config.os_features),
        "config": part.config.as_ref().map(|config| &config.config),
        "base": { "kind": base.word(), "because": because },
        "counts": {
            "files": count.files, "directories": count.directories, "links": count.links,
            "programs": count.programs, "bytes": count.bytes,
        },
        "layers": layers.collect::<Vec<Value>>(), "hives": hives.collect::<Vec<Value>>(),
        "access": rights.collect::<Vec<Value>>(), "files": files,
    })
}

fn key_json(key: &regf::Key) -> Value {
    let values = key
        .values
        .iter()
        .map(|value| json!({ "name": value.name, "kind": value.kind, "data": shown(value) }));
    json!({
        "name": key.name, "values": values.collect::<Vec<Value>>(),
        "keys": key.keys.iter().map(key_json).collect::<Vec<Value>>(),
    })
}

fn file_json(file: &File) -> Value {
    let (kind, target) = match &file.kind {
        FileKind::Directory => ("directory", None),
        FileKind::File => ("file", None),
        FileKind::Link(target) => ("link", Some(target)),
        FileKind::Junction(target) => ("junction", Some(target)),
    };
    let program = file.program.as_ref().map(|program| {
        json!({
            "machine": program.machine.to_string(), "subsystem": program.subsystem.to_string(),
            "library": program.is_library, "signed": program.is_signed,
            "managed": program.managed != pe::Managed::No,
            "imports": program.imports, "delayed": program.delayed,
        })
    });
    json!({
        "path": file.path, "kind": kind, "target": target, "size": file.size,
        "attributes": file.attributes, "access": file.security.as_deref().map(access),
        "layer": file.layer, "modified": file.modified, "program": program,
    })
}
