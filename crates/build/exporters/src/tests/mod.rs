//! Results are written for real: to a store, files, an in-process registry and a socket.

mod images;
mod places;

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use fstree::{Content, Entry, Kind, Metadata, Mtime, RelPath};
use report::Silent;
use tempfile::TempDir;

use super::*;

pub(crate) const EPOCH: i64 = 1_700_000_000;

/// Files by path; a path that ends with `/` is a directory.
pub(crate) fn changes(files: &[(&str, &str)]) -> Changeset {
    let entry = |(path, text): &(&str, &str)| {
        let mtime = Mtime::seconds(EPOCH + 5);
        match path.strip_suffix('/') {
            Some(path) => Entry {
                path: RelPath::clean(path),
                kind: Kind::DIRECTORY,
                meta: Metadata::root_owned(0o755, mtime),
            },
            None => Entry {
                path: RelPath::clean(path),
                kind: Kind::File(Content::Bytes(text.as_bytes().into())),
                meta: Metadata { uid: 7, gid: 8, ..Metadata::root_owned(0o644, mtime) },
            },
        }
    };
    files.iter().map(entry).collect()
}

pub(crate) fn made(key: &str, files: &[(&str, &str)], reads: &Arc<AtomicUsize>) -> ResultLayer {
    let (changes, reads) = (Arc::new(changes(files)), Arc::clone(reads));
    let read = move || {
        reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Arc::clone(&changes))
    };
    ResultLayer::Made { key: key.to_owned(), lasting: true, changes: Arc::new(read) }
}

pub(crate) fn history(created_by: &str, empty_layer: bool) -> History {
    History {
        created_by: created_by.to_owned(),
        comment: "buildkit.dockerfile.v0".to_owned(),
        empty_layer,
        ..History::default()
    }
}

/// Two layers, one of which all platforms share.
pub(crate) fn result(platform: &str, reads: &Arc<AtomicUsize>) -> PlatformResult {
    let platform: Platform = platform.parse().unwrap();
    let mut config = ImageConfig::new(&platform);
    config.history =
        vec![history("COPY a /a", false), history("ENV X=1", true), history("RUN b", false)];
    config.config.env = vec!["X=1".to_owned()];
    let name = platform.to_string();
    let own = format!("own {name}");
    let all = changes(&[("a", "shared"), ("d/", ""), ("d/b", &name)]);
    PlatformResult {
        config,
        base: None,
        layers: vec![
            made("shared", &[("a", "shared")], reads),
            made(&own, &[("d/", ""), ("d/b", &name)], reads),
        ],
        files: Arc::new(move || Ok(all.clone())),
        windows_base: None,
        platform,
    }
}

pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) reads: Arc<AtomicUsize>,
    pub(crate) docker_host: Option<String>,
    pub(crate) threads: usize,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store, reads: Arc::default(), docker_host: None, threads: 2 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn input(&self, platforms: &[&str]) -> ExportInput {
        let platforms = platforms.iter().map(|platform| result(platform, &self.reads)).collect();
        ExportInput {
            always_index: false,
            tags: vec!["example.test/app:1".parse().unwrap()],
            annotations: Vec::new(),
            platforms,
        }
    }

    pub(crate) fn export(
        &self,
        input: &ExportInput,
        outputs: &[OutputSpec],
    ) -> Result<Exported, ExportError> {
        self.export_with(input, outputs, &|blob| Err(format!("{} is nowhere", blob.digest).into()))
    }

    pub(crate) fn export_with(
        &self,
        input: &ExportInput,
        outputs: &[OutputSpec],
        fetch: &(dyn Fn(&Descriptor) -> Result<(), Cause> + Sync),
    ) -> Result<Exported, ExportError> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let network = || Network {
            client: registry::Client::new(registry::ClientOptions::default()),
            runtime: runtime.handle().clone(),
        };
        let context = ExportContext {
            store: &self.store,
            fetch,
            network: &network,
            progress: &Silent,
            began: Instant::now(),
            epoch: Some(EPOCH),
            threads: self.threads,
            docker_host: self.docker_host.clone(),
        };
        export(input, outputs, &context)
    }

    pub(crate) fn json(&self, descriptor: &Descriptor) -> serde_json::Value {
        let bytes = blobs::read_verified(&self.store, descriptor, 1 << 20).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// A base image with one gzip layer, its blob in the store only if `here`.
    pub(crate) fn based(&self, repository: &str, here: bool) -> (ExportInput, Vec<u8>) {
        let mut bytes = Vec::new();
        let packed =
            layer::pack(&changes(&[("base", "base")]), &layer::PackOptions::default(), &mut bytes)
                .unwrap();
        if here {
            self.store.put_bytes(&bytes).unwrap();
        }
        let blob = Descriptor::new(oci::media_type::OCI_LAYER_GZIP, packed.digest, packed.size);
        let mut input = self.input(&["linux/amd64"]);
        let result = &mut input.platforms[0];
        let created = Some("2020-01-01T00:00:00Z".to_owned());
        let base = History { created, ..history("base", false) };
        result.config.history.insert(0, base.clone());
        result.layers.insert(0, ResultLayer::Blob { blob, diff_id: packed.diff_id });
        result.base = Some(BaseImage {
            reference: format!("{repository}:1").parse().unwrap(),
            history: vec![base],
        });
        (input, bytes)
    }
}

pub(crate) fn image() -> ImageOutput {
    ImageOutput { store: true, ..ImageOutput::default() }
}

pub(crate) fn oci_archive(path: &Path, image: ImageOutput) -> OutputSpec {
    OutputSpec::Archive {
        image,
        format: ArchiveFormat::Oci,
        dest: Destination::Path(path.to_owned()),
        tar: true,
    }
}
