use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use ::registry::server::Server;
use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};

/// An image or index as a registry has it.
pub struct Image<'a> {
    server: &'a Server,
    repository: String,
    /// What the name leads to.
    pub descriptor: Descriptor,
    /// Its manifests with their platforms; of an image without index, one.
    pub manifests: Vec<(Descriptor, Manifest)>,
}

/// What an entry of a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with this content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(String),
    /// Another name of this entry.
    Hardlink(String),
    /// Something else, by its tar type.
    Other(u8),
}

/// An entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Extended attributes and other PAX records.
    pub pax: BTreeMap<String, Vec<u8>>,
}

impl<'a> Image<'a> {
    pub(crate) fn of(server: &'a Server, name: &str) -> Self {
        let (repository, which) =
            name.split_once('@').or_else(|| name.rsplit_once(':')).unwrap_or((name, "latest"));
        let (descriptor, raw) = server
            .manifest(repository, which)
            .unwrap_or_else(|| panic!("{name} is in the registry"));
        let manifests = if media_type::is_index(&descriptor.media_type) {
            let index: Index = serde_json::from_slice(&raw).expect("an index is valid");
            let each = index.manifests.into_iter().map(|entry| {
                let (_, raw) = server
                    .manifest(repository, entry.digest.as_str())
                    .expect("an index names what is there");
                assert_eq!(raw.len() as u64, entry.size, "an index names sizes that are true");
                (entry, serde_json::from_slice(&raw).expect("a manifest is valid"))
            });
            each.collect()
        } else {
            vec![(descriptor.clone(), serde_json::from_slice(&raw).expect("a manifest is valid"))]
        };
        Self { server, repository: repository.to_owned(), descriptor, manifests }
    }

    /// The repository it is in.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The platforms of an index, in its order.
    pub fn platforms(&self) -> Vec<String> {
        self.manifests
            .iter()
            .filter_map(|(entry, _)| entry.platform.as_ref())
            .map(ToString::to_string)
            .collect()
    }

    /// The manifest for a platform, or the only one.
    pub fn manifest(&self, platform: &str) -> &Manifest {
        let wanted: Platform = platform.parse().expect("a platform is valid");
        let fits = |entry: &Descriptor| {
            entry.platform.as_ref().is_none_or(|found| found.satisfies(&wanted))
        };
        let found = self.manifests.iter().find(|(entry, _)| fits(entry));
        &found.unwrap_or_else(|| panic!("{platform} is among {:?}", self.platforms())).1
    }

    /// The configuration for a platform.
    pub fn config(&self, platform: &str) -> ImageConfig {
        let raw = self
            .server
            .blob(&self.manifest(platform).config.digest)
            .expect("a config is in the registry");
        serde_json::from_slice(&raw).expect("a config is valid")
    }

    /// The entries of each layer for a platform, bottom first. Checks that digests, sizes and diff IDs are true.
    pub fn layers(&self, platform: &str) -> Vec<Vec<(String, Entry)>> {
        let (manifest, config) = (self.manifest(platform), self.config(platform));
        assert_eq!(
            manifest.layers.len(),
            config.rootfs.diff_ids.len(),
            "there are as many layers as diff IDs"
        );
        let each = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(|(layer, diff_id)| {
            let content = self.server.blob(&layer.digest).expect("a layer is in the registry");
            assert_eq!(
                (content.len() as u64, Digest::of(&content)),
                (layer.size, layer.digest.clone()),
                "a layer's descriptor is true"
            );
            let tar = decompress(&content, &layer.media_type);
            assert_eq!(Digest::of(&tar), *diff_id, "a diff ID is true");
            entries(&tar)
        });
        each.collect()
    }

    /// The file tree that the layers for a platform make: paths without leading and closing slash.
    pub fn tree(&self, platform: &str) -> BTreeMap<String, Entry> {
        overlay(self.layers(platform))
    }

    /// The content of a file for a platform, as text.
    pub fn text(&self, platform: &str, path: &str) -> String {
        let tree = self.tree(platform);
        match tree.get(path).map(|entry| &entry.kind) {
            Some(Kind::File(content)) => String::from_utf8_lossy(content).into_owned(),
            other => panic!("{path} is a file, not {other:?}; there are {:?}", tree.keys()),
        }
    }
}

fn decompress(content: &[u8], media_type: &str) -> Vec<u8> {
    let mut tar = Vec::new();
    if media_type.ends_with("gzip") {
        flate2::read::MultiGzDecoder::new(content).read_to_end(&mut tar).expect("a layer is gzip");
    } else if media_type.ends_with("zstd") {
        tar = zstd::decode_all(content).expect("a layer is zstd");
    } else {
        tar = content.to_vec();
    }
    tar
}

/// All entries of a tar in their order, paths without closing slash.
pub fn entries(tar: &[u8]) -> Vec<(String, Entry)> {
    let mut archive = tar::Archive::new(Cursor::new(tar));
    let read = |entry: std::io::Result<tar::Entry<'_, Cursor<&[u8]>>>| {
        let mut entry = entry.expect("a tar entry can be read");
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let link = entry
            .link_name_bytes()
            .map(|name| String::from_utf8_lossy(&name).into_owned())
            .unwrap_or_default();
        let mut pax = BTreeMap::new();
        if let Some(records) = entry.pax_extensions().expect("PAX records can be read") {
            for record in records {
                let record = record.expect("a PAX record can be read");
                pax.insert(
                    record.key().expect("a PAX key is text").to_owned(),
                    record.value_bytes().to_vec(),
                );
            }
        }
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            tar::EntryType::Regular => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("a file can be read");
                Kind::File(content)
            }
            tar::EntryType::Directory => Kind::Directory,
            tar::EntryType::Symlink => Kind::Symlink(link),
            tar::EntryType::Link => Kind::Hardlink(link),
            other => Kind::Other(other.as_byte()),
        };
        let number = |value: std::io::Result<u64>| value.expect("a header is valid");
        let (uid, gid, mtime) =
            (number(header.uid()), number(header.gid()), number(header.mtime()));
        (
            path,
            Entry {
                kind,
                mode: header.mode().expect("a header is valid") & 0o7777,
                uid,
                gid,
                mtime,
                pax,
            },
        )
    };
    archive.entries().expect("a tar can be read").map(read).collect()
}

/// Layers on top of each other, whiteouts applied.
pub fn overlay(layers: impl IntoIterator<Item = Vec<(String, Entry)>>) -> BTreeMap<String, Entry> {
    let mut tree: BTreeMap<String, Entry> = BTreeMap::new();
    for layer in layers {
        let beneath = |path: &str, parent: &str| {
            path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
        };
        // Whiteouts are about the layers below, wherever they stand in their own.
        for (path, _) in &layer {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if name == ".wh..wh..opq" {
                tree.retain(|known, _| !(parent.is_empty() || beneath(known, parent)));
            } else if let Some(name) = name.strip_prefix(".wh.") {
                let gone =
                    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
                tree.retain(|known, _| *known != gone && !beneath(known, &gone));
            }
        }
        for (path, entry) in layer {
            if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
                continue;
            }
            if entry.kind != Kind::Directory {
                tree.retain(|known, _| !beneath(known, &path));
            }
            tree.insert(path, entry);
        }
    }
    tree
}
