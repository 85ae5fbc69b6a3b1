//! What a server keeps: blobs by digest, and what each repository has of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

/// Where content is kept.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// Gone with the server.
    #[default]
    Memory,
    /// A directory, which is made if need be.
    Directory(PathBuf),
}

/// What a repository has.
#[derive(Default, Serialize, Deserialize)]
struct Repository {
    blobs: BTreeSet<Digest>,
    /// Media types, by digest.
    manifests: BTreeMap<Digest, String>,
    tags: BTreeMap<String, Digest>,
}

/// An upload that is under way.
#[derive(Default)]
pub(super) struct Session {
    pub(super) repository: String,
    pub(super) content: BytesMut,
}

pub(super) struct Storage {
    /// Blobs in memory.
    blobs: BTreeMap<Digest, Bytes>,
    directory: Option<PathBuf>,
    repositories: BTreeMap<String, Repository>,
    sessions: BTreeMap<String, Session>,
    count: u64,
}

impl Storage {
    pub(super) fn open(place: Place) -> io::Result<Self> {
        let mut storage = Self {
            blobs: BTreeMap::new(),
            directory: None,
            repositories: BTreeMap::new(),
            sessions: BTreeMap::new(),
            count: 0,
        };
        if let Place::Directory(directory) = place {
            fs_err::create_dir_all(directory.join("blobs"))?;
            match fs_err::read(directory.join("repositories.json")) {
                Ok(text) => storage.repositories = serde_json::from_slice(&text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            storage.directory = Some(directory);
        }
        Ok(storage)
    }

    fn save(&self) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let temporary = directory.join("repositories.json.new");
        fs_err::write(&temporary, serde_json::to_vec(&self.repositories)?)?;
        fs_err::rename(temporary, directory.join("repositories.json"))
    }

    fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join("blobs").join(format!(
            "{}-{}",
            digest.algorithm(),
            digest.hex()
        )))
    }

    fn keep(&mut self, digest: &Digest, content: Bytes) -> io::Result<()> {
        if let Some(path) = self.blob_path(digest) {
            let temporary = path.with_extension("new");
            fs_err::write(&temporary, &content)?;
            fs_err::rename(temporary, path)
        } else {
            self.blobs.insert(digest.clone(), content);
            Ok(())
        }
    }

    pub(super) fn blob_content(&self, digest: &Digest) -> Option<Bytes> {
        match self.blob_path(digest) {
            Some(path) => fs_err::read(path).ok().map(Bytes::from),
            None => self.blobs.get(digest).cloned(),
        }
    }

    pub(super) fn add_blob(
        &mut self,
        repository: &str,
        digest: &Digest,
        content: Bytes,
    ) -> io::Result<()> {
        self.keep(digest, content)?;
        self.repositories.entry(repository.to_owned()).or_default().blobs.insert(digest.clone());
        self.save()
    }

    /// A blob that the repository has.
    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        let known = self.repositories.get(repository)?;
        let here = known.blobs.contains(digest) || known.manifests.contains_key(digest);
        here.then(|| self.blob_content(digest)).flatten()
    }

    /// Lets a repository have a blob of another one. Says whether that has it.
    pub(super) fn mount(&mut self, into: &str, from: &str, digest: &Digest) -> io::Result<bool> {
        if !self.repositories.get(from).is_some_and(|known| known.blobs.contains(digest)) {
            return Ok(false);
        }
        self.repositories.entry(into.to_owned()).or_default().blobs.insert(digest.clone());
        self.save()?;
        Ok(true)
    }

    pub(super) fn remove_blob(&mut self, repository: &str, digest: &Digest) -> io::Result<bool> {
        let removed =
            self.repositories.get_mut(repository).is_some_and(|known| known.blobs.remove(digest));
        self.save()?;
        Ok(removed)
    }

    pub(super) fn add_manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        descriptor: &Descriptor,
        raw: Bytes,
    ) -> io::Result<()> {
        self.keep(&descriptor.digest, raw)?;
        let known = self.repositories.entry(repository.to_owned()).or_default();
        known.manifests.insert(descriptor.digest.clone(), descriptor.media_type.clone());
        if let Some(tag) = tag {
            known.tags.insert(tag.to_owned(), descriptor.digest.clone());
        }
        self.save()
    }

    pub(super) fn manifest(
        &self,
        repository: &str,
        tag_or_digest: &str,
    ) -> Option<(Descriptor, Bytes)> {
        let known = self.repositories.get(repository)?;
        let digest =
            tag_or_digest.parse().ok().or_else(|| known.tags.get(tag_or_digest).cloned())?;
        let media_type = known.manifests.get(&digest)?;
        let raw = self.blob_content(&digest)?;
        Some((Descriptor::new(media_type, digest, raw.len() as u64), raw))
    }

    /// Removes a tag, or a manifest with all its tags.
    pub(super) fn remove_manifest(
        &mut self,
        repository: &str,
        tag_or_digest: &str,
    ) -> io::Result<bool> {
        let Some(known) = self.repositories.get_mut(repository) else { return Ok(false) };
        let removed = match tag_or_digest.parse::<Digest>() {
            Ok(digest) => {
                known.tags.retain(|_, tagged| *tagged != digest);
                known.manifests.remove(&digest).is_some()
            }
            Err(_) => known.tags.remove(tag_or_digest).is_some(),
        };
        self.save()?;
        Ok(removed)
    }

    /// Whether the repository has what a manifest names.
    pub(super) fn has(&self, repository: &str, digest: &Digest) -> bool {
        self.repositories.get(repository).is_some_and(|known| {
            known.blobs.contains(digest) || known.manifests.contains_key(digest)
        })
    }

    pub(super) fn repositories(&self) -> Vec<String> {
        self.repositories.keys().cloned().collect()
    }

    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        self.repositories.get(repository).map(|known| known.tags.keys().cloned().collect())
    }

    /// Opens an upload.
    pub(super) fn begin(&mut self, repository: &str) -> String {
        self.count += 1;
        let id = format!("upload-{}", self.count);
        self.sessions.insert(
            id.clone(),
            Session { repository: repository.to_owned(), content: BytesMut::new() },
        );
        id
    }

    pub(super) fn session(&mut self, repository: &str, id: &str) -> Option<&mut Session> {
        self.sessions.get_mut(id).filter(|session| session.repository == repository)
    }

    pub(super) fn end(&mut self, id: &str) -> Option<Session> {
        self.sessions.remove(id)
    }
}
