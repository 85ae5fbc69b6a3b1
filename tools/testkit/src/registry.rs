use std::ops::Deref;

use ::registry::server::{Server, ServerOptions};
use oci::{Descriptor, Index, Manifest, Platform, Reference, media_type};

use crate::Image;

/// A registry in this process, on a thread of its own, gone when dropped. All that [`Server`] can do can be done with it.
pub struct Registry {
    /// `127.0.0.1:port`.
    pub address: String,
    server: Server,
}

impl Registry {
    /// One that is empty and open to everybody.
    pub fn start() -> Self {
        Self::with(ServerOptions::default())
    }

    /// One with options: another place for its content, users, tokens.
    pub fn with(options: ServerOptions) -> Self {
        let server = Server::start(options).expect("a registry can be started");
        Self { address: server.address(), server }
    }

    /// A name in this registry: `name("app:v1")` is `127.0.0.1:port/app:v1`.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// The same as a reference.
    pub fn reference(&self, image: &str) -> Reference {
        self.name(image).parse().expect("an image name is valid")
    }

    /// Puts a small image with these files as its only layer (not compressed) into the registry, without a tag.
    pub fn add_image(
        &self,
        repository: &str,
        platform: &Platform,
        files: &[(&str, &[u8])],
    ) -> Descriptor {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(0);
            tar.append_data(&mut header, path, *content).expect("a tar can be written");
        }
        let layer = tar.into_inner().expect("a tar can be written");
        let layer_descriptor = Descriptor::of(media_type::OCI_LAYER, &layer);
        let mut config = oci::ImageConfig::new(platform);
        config.rootfs.diff_ids = vec![layer_descriptor.digest.clone()];
        let config = serde_json::to_vec(&config).expect("a config can be written");
        let config_descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
        let manifest =
            serde_json::to_vec(&Manifest::new(config_descriptor, vec![layer_descriptor]))
                .expect("a manifest can be written");
        self.server.put_blob(repository, layer).expect("a blob can be kept");
        self.server.put_blob(repository, config).expect("a blob can be kept");
        let tag = format!("only-{}", platform.file_name().replace(['(', ')'], "-"));
        let mut descriptor = self
            .server
            .put_manifest(repository, &tag, media_type::OCI_MANIFEST, manifest)
            .expect("a manifest can be kept");
        descriptor.platform = Some(platform.clone());
        descriptor
    }

    /// Puts an index of such images under a tag; every platform has a file `platform` with its own name.
    pub fn add_base(&self, repository: &str, tag: &str, platforms: &[&str]) -> Descriptor {
        let add = |text: &&str| {
            let platform: Platform = text.parse().expect("a platform is valid");
            self.add_image(repository, &platform, &[("platform", text.as_bytes())])
        };
        let index = Index::new(platforms.iter().map(add).collect());
        let raw = serde_json::to_vec(&index).expect("an index can be written");
        self.server
            .put_manifest(repository, tag, media_type::OCI_INDEX, raw)
            .expect("an index can be kept")
    }

    /// What is in the registry under a name like `app:v1`.
    pub fn image(&self, image: &str) -> Image<'_> {
        Image::of(&self.server, image)
    }
}

impl Deref for Registry {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
