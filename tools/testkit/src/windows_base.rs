use oci::{Descriptor, Digest, History, ImageConfig, Manifest, Platform, media_type};

use crate::Registry;

/// A layer of a Windows image as Microsoft's tools write them, member by member.
pub struct WindowsLayer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for WindowsLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl WindowsLayer {
    /// Without members.
    pub fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()) }
    }

    /// A directory with its Win32 attributes and its security descriptor (base64), if it has one.
    #[must_use]
    pub fn directory(self, path: &str, attributes: u32, security: &str) -> Self {
        let attributes = attributes.to_string();
        let mut records = vec![("MSWINDOWS.fileattr", attributes.as_str())];
        if !security.is_empty() {
            records.push(("MSWINDOWS.rawsd", security));
        }
        self.member(path, tar::EntryType::Directory, "", &records, b"")
    }

    /// A file with ordinary attributes.
    #[must_use]
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        let records = [("MSWINDOWS.fileattr", "32")];
        self.member(path, tar::EntryType::Regular, "", &records, content)
    }

    /// Another name of a file; `target` begins with `Files/`.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(path, tar::EntryType::Link, target, &[], b"")
    }

    /// A junction, hidden as those of Windows are.
    #[must_use]
    pub fn junction(self, path: &str, target: &str) -> Self {
        let records = [("MSWINDOWS.fileattr", "9238"), ("MSWINDOWS.mountpoint", "1")];
        self.member(path, tar::EntryType::Symlink, target, &records, b"")
    }

    fn member(
        mut self,
        path: &str,
        kind: tar::EntryType,
        link: &str,
        records: &[(&str, &str)],
        content: &[u8],
    ) -> Self {
        self.tar
            .append_pax_extensions(records.iter().map(|(name, value)| (*name, value.as_bytes())))
            .expect("a tar can be written");
        let mut header = tar::Header::new_ustar();
        header.set_path(path).expect("a path is short");
        if !link.is_empty() {
            header.set_link_name_literal(link).expect("a target is short");
        }
        header.set_entry_type(kind);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.tar.append(&header, content).expect("a tar can be written");
        self
    }

    /// The tar.
    pub fn finish(self) -> Vec<u8> {
        self.tar.into_inner().expect("a tar can be written")
    }
}

impl Registry {
    /// Puts an image of plain Windows layers under a tag. `made_by` is the history, one line per layer.
    pub fn add_windows_image(
        &self,
        repository: &str,
        tag: &str,
        platform: &Platform,
        layers: Vec<Vec<u8>>,
        made_by: &[&str],
    ) -> Descriptor {
        let mut config = ImageConfig::new(platform);
        let created = Some("2023-11-14T22:13:20Z".to_owned());
        config.created.clone_from(&created);
        config.rootfs.diff_ids = layers.iter().map(|layer| Digest::of(layer)).collect();
        let history = |line: &&str| History {
            created: created.clone(),
            created_by: (*line).to_owned(),
            ..History::default()
        };
        config.history = made_by.iter().map(history).collect();
        let config = serde_json::to_vec(&config).expect("a config can be written");
        let descriptors =
            layers.iter().map(|layer| Descriptor::of(media_type::OCI_LAYER, layer)).collect();
        let manifest = Manifest::new(Descriptor::of(media_type::OCI_CONFIG, &config), descriptors);
        for blob in layers.into_iter().chain([config]) {
            self.put_blob(repository, blob).expect("a blob can be kept");
        }
        let manifest = serde_json::to_vec(&manifest).expect("a manifest can be written");
        let mut descriptor = self
            .put_manifest(repository, tag, media_type::OCI_MANIFEST, manifest)
            .expect("a manifest can be kept");
        descriptor.platform = Some(platform.clone());
        descriptor
    }
}
