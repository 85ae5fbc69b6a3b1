//! An OCI archive as text: by platform, its config and what its layers did to the base.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use oci::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tar::{Archive, EntryType};

use crate::Error;

/// What a build made, by platform (`linux/arm/v7`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described(pub BTreeMap<String, Image>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The config without times and diff ids; `null` for an output that has none.
    pub config: Value,
    /// How many layers lie on the base.
    pub layers: usize,
    /// Path to entry, for what differs from the base; `absent` where the base had something.
    pub tree: BTreeMap<String, String>,
}

type Files = BTreeMap<String, Vec<u8>>;
type Tree = BTreeMap<String, Node>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    text: String,
    directory: bool,
    /// Names of one file have one number.
    inode: u64,
}

/// Reads the OCI archive `tar`; trees are given as differences to whichever of the layouts in `bases` the image is
/// built on.
pub fn describe(tar: &Path, bases: &Path) -> Result<Described, Error> {
    let files = archive_files(tar)?;
    let mut known = Vec::new();
    for entry in fs_err::read_dir(bases)? {
        let layout = entry?.path();
        if layout.join("index.json").is_file() {
            images(&|name| Ok(fs_err::read(layout.join(name))?), &mut |manifest, config| {
                known.push((diff_ids(&config), manifest, layout.clone()));
                Ok(())
            })?;
        }
    }
    let mut described = Described::default();
    let read = |name: &str| {
        files.get(name).cloned().ok_or_else(|| Error::shape("archive", format!("it has no {name}")))
    };
    images(&read, &mut |manifest, config| {
        let own = diff_ids(&config);
        let base = known
            .iter()
            .filter(|(ids, ..)| !ids.is_empty() && own.starts_with(ids))
            .max_by_key(|(ids, ..)| ids.len());
        let tree = flatten(&manifest, &read)?;
        let (skipped, below) = match base {
            Some((ids, manifest, layout)) => {
                (ids.len(), flatten(manifest, &|name| Ok(fs_err::read(layout.join(name))?))?)
            }
            None => (0, Tree::new()),
        };
        let platform =
            [&config["os"], &config["architecture"], &config["variant"], &config["os.version"]];
        let name = platform.iter().filter_map(|part| part.as_str()).collect::<Vec<_>>().join("/");
        let image = Image {
            layers: own.len() - skipped,
            tree: changes(&below, &tree),
            config: without_times(config),
        };
        described.0.insert(name, image);
        Ok(())
    })?;
    Ok(described)
}

/// Reads a tar of a file tree, as `type=tar` makes it.
pub fn describe_tar(tar: &Path) -> Result<Described, Error> {
    let mut tree = Tree::new();
    apply(&mut tree, &mut Archive::new(fs_err::File::open(tar)?), &mut 0)?;
    let image = Image { config: Value::Null, layers: 0, tree: changes(&Tree::new(), &tree) };
    Ok(Described(BTreeMap::from([("tree".into(), image)])))
}

fn archive_files(tar: &Path) -> Result<Files, Error> {
    let mut files = Files::new();
    for entry in Archive::new(fs_err::File::open(tar)?).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content);
    }
    Ok(files)
}

fn json(bytes: &[u8], what: &str) -> Result<Value, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { what: what.into(), source })
}

fn blob_path(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

/// Gives every image below `index.json` to `found`, attestations left out.
fn images(
    read: &dyn Fn(&str) -> Result<Vec<u8>, Error>,
    found: &mut dyn FnMut(Value, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut pending = vec![json(&read("index.json")?, "index.json")?];
    while let Some(document) = pending.pop() {
        if document["config"].is_object() {
            let config = json(&read(&blob_path(&document["config"]))?, "image config")?;
            found(document, config)?;
            continue;
        }
        for child in document["manifests"].as_array().into_iter().flatten() {
            if child["annotations"]["vnd.docker.reference.type"].is_null() {
                pending.push(json(&read(&blob_path(child))?, "manifest")?);
            }
        }
    }
    Ok(())
}

fn diff_ids(config: &Value) -> Vec<String> {
    let ids = config["rootfs"]["diff_ids"].as_array();
    ids.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

fn without_times(mut config: Value) -> Value {
    if let Some(fields) = config.as_object_mut() {
        fields.remove("created");
        fields.remove("rootfs");
    }
    for step in config["history"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = step.as_object_mut() {
            fields.remove("created");
        }
    }
    config
}

/// The tree that the layers of `manifest` make, one upon the other.
fn flatten(manifest: &Value, read: &dyn Fn(&str) -> Result<Vec<u8>, Error>) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let mut inodes = 0;
    for layer in manifest["layers"].as_array().into_iter().flatten() {
        let bytes = read(&blob_path(layer))?;
        let plain: Box<dyn Read> = if bytes.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice()))
        } else {
            Box::new(bytes.as_slice())
        };
        apply(&mut tree, &mut Archive::new(plain), &mut inodes)?;
    }
    Ok(tree)
}

fn apply<R: Read>(
    tree: &mut Tree,
    archive: &mut Archive<R>,
    inodes: &mut u64,
) -> Result<(), Error> {
    let mut added = BTreeSet::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path_bytes());
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            let below = format!("{parent}/");
            tree.retain(|path, _| !path.starts_with(&below) || added.contains(path));
            continue;
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            remove(tree, &format!("{parent}/{hidden}"));
            continue;
        }
        if path.is_empty() {
            continue;
        }
        let node = if entry.header().entry_type() == EntryType::Link {
            let target = clean(&entry.link_name_bytes().unwrap_or_default());
            tree.get(&target)
                .cloned()
                .ok_or_else(|| Error::shape(&path, format!("it links to absent {target}")))?
        } else {
            *inodes += 1;
            node(&mut entry, *inodes)?
        };
        if !node.directory || tree.get(&path).is_some_and(|old| !old.directory) {
            remove(tree, &path);
        }
        added.insert(path.clone());
        tree.insert(path, node);
    }
    Ok(())
}

fn remove(tree: &mut Tree, path: &str) {
    let below = format!("{path}/");
    tree.retain(|other, _| other != path && !other.starts_with(&below));
}

/// `/`-separated with a leading `/`, bytes that are not text as `\xNN`.
fn clean(path: &[u8]) -> String {
    let mut text = String::new();
    for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        text.push('/');
        text.push_str(&printable(part));
    }
    text
}

fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

fn node<R: Read>(entry: &mut tar::Entry<'_, R>, inode: u64) -> Result<Node, Error> {
    let mut notes = String::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let key = printable(record.key_bytes());
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            notes.extend([" ", name, "=", &printable(record.value_bytes())]);
        } else if key == "MSWINDOWS.fileattr" {
            notes.extend([" fileattr=", &printable(record.value_bytes())]);
        }
    }
    let header = entry.header();
    let (kind, mode) = (header.entry_type(), header.mode()? & 0o7777);
    let owner = format!("{mode:04o} {}:{}", header.uid()?, header.gid()?);
    let text = match kind {
        EntryType::Directory => format!("dir {owner}"),
        EntryType::Symlink => {
            format!(
                "symlink {owner} -> {}",
                printable(&entry.link_name_bytes().unwrap_or_default())
            )
        }
        EntryType::Char | EntryType::Block => {
            let (major, minor) =
                (header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
            format!(
                "{} {owner} {major}:{minor}",
                if kind == EntryType::Char { "char" } else { "block" }
            )
        }
        EntryType::Fifo => format!("fifo {owner}"),
        EntryType::Regular | EntryType::Continuous => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            format!("file {owner} {} {}", content.len(), Digest::of(&content))
        }
        other => format!("{other:?} {owner}"),
    };
    Ok(Node { text: text + &notes, directory: kind == EntryType::Directory, inode })
}

fn changes(below: &Tree, tree: &Tree) -> BTreeMap<String, String> {
    let mut names: BTreeMap<u64, &String> = BTreeMap::new();
    let mut changes = BTreeMap::new();
    for (path, node) in tree {
        let first = *names.entry(node.inode).or_insert(path);
        if below.get(path).is_some_and(|old| old.text == node.text) {
            continue;
        }
        let text =
            if first == path { node.text.clone() } else { format!("the same file as {first}") };
        changes.insert(path.clone(), text);
    }
    for path in below.keys().filter(|path| !tree.contains_key(*path)) {
        changes.insert(path.clone(), "absent".into());
    }
    changes
}
