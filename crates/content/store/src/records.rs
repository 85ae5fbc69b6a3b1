//! What the database knows: names, facts about layers, records with what they keep alive, digests of files, builds.

use std::collections::BTreeMap;

use oci::{Descriptor, Digest};
use rusqlite::{OptionalExtension as _, Row, Transaction};

use crate::database::{Commit, signed, unsigned};
use crate::session::Item;
use crate::{Store, StoreError, now_ms};

/// A layer as a blob: which uncompressed content it has, and how it was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the blob.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// Media type of its descriptor.
    pub media_type: String,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// `linux`, `windows`, or another word that the writer of layers chooses.
    pub form: String,
    /// `gzip`, `zstd:3`, …: kind and, where it matters, level.
    pub compression: String,
    /// Annotations its descriptor must carry.
    pub annotations: BTreeMap<String, String>,
}

/// A name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// The name.
    pub name: String,
    /// What it names.
    pub descriptor: Descriptor,
    /// When it was given, in milliseconds since 1970.
    pub tagged_ms: i64,
}

/// Something a record needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ref {
    /// One blob.
    Blob(Digest),
    /// An index or manifest and all blobs it names that are here.
    Image(Digest),
    /// A file tree.
    Tree(String),
}

/// A record to be written.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Who it belongs to.
    pub namespace: &'a str,
    /// Under which key.
    pub key: &'a str,
    /// What it says.
    pub value: &'a [u8],
    /// What it keeps alive for as long as it lives.
    pub refs: &'a [Ref],
}

/// Identity of a file as far as `stat` tells: its content cannot have changed while all of these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKey {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Time of the last change of content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Time of the last change of anything, in nanoseconds since 1970.
    pub ctime_ns: i64,
}

/// A build that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRecord {
    /// Counts up.
    pub id: i64,
    /// When it was recorded, in milliseconds since 1970.
    pub recorded_ms: i64,
    /// The record, as JSON.
    pub json: String,
}

/// Builds kept; the oldest go first.
const BUILDS: i64 = 1000;

fn digest_in(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

fn json_in<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Facts about layers and where blobs can be had.
impl Store {
    /// Remembers what a layer's blob is, whether the blob is here or elsewhere.
    pub fn record_layer_blob(&self, layer: &LayerBlob) -> Result<(), StoreError> {
        self.record_layer_blobs(std::slice::from_ref(layer))
    }

    /// Remembers several at once.
    pub fn record_layer_blobs(&self, layers: &[LayerBlob]) -> Result<(), StoreError> {
        if layers.is_empty() {
            return Ok(());
        }
        self.inner.database.write("record a layer", Commit::Lazy, |t| {
            for layer in layers {
                t.prepare_cached(
                    "INSERT OR REPLACE INTO layer_blob VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute((
                    layer.digest.as_str(),
                    layer.diff_id.as_str(),
                    signed(layer.size),
                    &layer.media_type,
                    &layer.form,
                    &layer.compression,
                    json(&layer.annotations),
                ))?;
            }
            Ok(())
        })
    }

    /// All known packings of a layer, in the order of their digests. Look at [`Store::blob_size`] for which are here.
    pub fn layer_blobs(&self, diff_id: &Digest) -> Result<Vec<LayerBlob>, StoreError> {
        self.inner.database.read("look up a layer", |c| {
            let text = "SELECT digest, size, media_type, diff_id, form, compression, annotations FROM layer_blob WHERE diff_id=?1 ORDER BY digest";
            c.prepare_cached(text)?.query_map([diff_id.as_str()], layer_in)?.collect()
        })
    }

    /// What is known of a layer's blob.
    pub fn layer_blob(&self, digest: &Digest) -> Result<Option<LayerBlob>, StoreError> {
        self.inner.database.read("look up a layer", |c| {
            let text = "SELECT digest, size, media_type, diff_id, form, compression, annotations FROM layer_blob WHERE digest=?1";
            c.prepare_cached(text)?.query_row([digest.as_str()], layer_in).optional()
        })
    }

    /// The uncompressed content of a blob, if it is known as a layer.
    pub fn diff_id_of(&self, blob: &Digest) -> Result<Option<Digest>, StoreError> {
        self.inner.database.read("look up a layer", |c| {
            let mut query = c.prepare_cached("SELECT diff_id FROM layer_blob WHERE digest=?1")?;
            query.query_row([blob.as_str()], |row| digest_in(row, 0)).optional()
        })
    }

    /// Remembers that a blob can be had from `repository` (`registry/path`).
    pub fn record_location(&self, blob: &Digest, repository: &str) -> Result<(), StoreError> {
        self.record_locations(&[(blob.clone(), repository.to_owned())])
    }

    /// Remembers several places at once.
    pub fn record_locations(&self, places: &[(Digest, String)]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        let now = now_ms();
        self.inner.database.write("record where a blob is", Commit::Lazy, |t| {
            for (digest, repository) in places {
                t.prepare_cached("INSERT OR REPLACE INTO location VALUES(?1, ?2, ?3)")?
                    .execute((digest.as_str(), repository, now))?;
            }
            Ok(())
        })
    }

    /// Where a blob can be had, the latest place first.
    pub fn locations(&self, blob: &Digest) -> Result<Vec<String>, StoreError> {
        self.inner.database.read("look up where a blob is", |c| {
            let mut query = c.prepare_cached(
                "SELECT repository FROM location WHERE digest=?1 ORDER BY used DESC, repository",
            )?;
            query.query_map([blob.as_str()], |row| row.get(0))?.collect()
        })
    }
}

fn layer_in(row: &Row<'_>) -> rusqlite::Result<LayerBlob> {
    Ok(LayerBlob {
        digest: digest_in(row, 0)?,
        size: unsigned(row.get(1)?),
        media_type: row.get(2)?,
        diff_id: digest_in(row, 3)?,
        form: row.get(4)?,
        compression: row.get(5)?,
        annotations: json_in(row, 6)?,
    })
}

/// Names of images. They survive a power cut once the call returns.
impl Store {
    /// Names an image, in place of what had the name. Everything it consists of that is here is kept from now on.
    pub fn tag(&self, name: &str, image: &Descriptor) -> Result<(), StoreError> {
        self.tag_all(&[(name.to_owned(), image.clone())])
    }

    /// Gives several names in one step: either all are given or none. A name that has its meaning already costs nothing
    /// and keeps its time.
    pub fn tag_all(&self, names: &[(String, Descriptor)]) -> Result<(), StoreError> {
        let _guard = self
            .inner
            .hold_for_writing(names.iter().map(|(_, image)| Item::Image(image.digest.clone())))?;
        for (_, image) in names {
            if fs_err::symlink_metadata(self.blob_path(&image.digest)).is_err() {
                return Err(StoreError::MissingBlob(image.digest.clone()));
            }
        }
        let same = self.inner.database.read("look up a name", |c| {
            let mut query = c.prepare_cached("SELECT descriptor FROM name WHERE name=?1")?;
            for (name, image) in names {
                if query.query_row([name], |row| row.get::<_, String>(0)).optional()?
                    != Some(json(image))
                {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        if same {
            return Ok(());
        }
        let now = now_ms();
        self.inner.database.write("name an image", Commit::Durable, |t| {
            for (name, image) in names {
                let text = "INSERT OR REPLACE INTO name VALUES(?1, ?2, ?3, ?4)";
                t.prepare_cached(text)?.execute((name, image.digest.as_str(), json(image), now))?;
            }
            count_roots(t)
        })
    }

    /// Takes a name away; says whether it was there. What it named goes with the next collection, unless needed.
    pub fn untag(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.database.write("take a name away", Commit::Durable, |t| {
            let count = t.prepare_cached("DELETE FROM name WHERE name=?1")?.execute([name])?;
            count_roots(t)?;
            Ok(count > 0)
        })
    }

    /// What a name stands for.
    pub fn lookup(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        let find = || {
            self.inner.database.read("look up a name", |c| {
                let mut query = c.prepare_cached("SELECT descriptor FROM name WHERE name=?1")?;
                query.query_row([name], |row| json_in::<Descriptor>(row, 0)).optional()
            })
        };
        let Some(image) = find()? else { return Ok(None) };
        // Noted first, then looked up again: the name may have moved and its image been collected in between.
        let _guard = self.inner.hold(Item::Image(image.digest.clone()))?;
        Ok(find()?.filter(|again| again.digest == image.digest).or(Some(image)))
    }

    /// All names, in order.
    pub fn names(&self) -> Result<Vec<NameEntry>, StoreError> {
        self.inner.database.read("list the names", |c| {
            let mut query =
                c.prepare_cached("SELECT name, descriptor, made FROM name ORDER BY name")?;
            let entries = query.query_map([], |row| {
                Ok(NameEntry {
                    name: row.get(0)?,
                    descriptor: json_in(row, 1)?,
                    tagged_ms: row.get(2)?,
                })
            })?;
            entries.collect()
        })
    }
}

/// Tells collectors that what they marked as garbage may be needed again.
fn count_roots(t: &Transaction<'_>) -> rusqlite::Result<()> {
    t.prepare_cached("UPDATE counter SET value=value+1 WHERE name='roots'")?.execute([]).map(drop)
}

/// Records: small values by key, which keep blobs and trees alive.
impl Store {
    /// The value of a record, whose blobs and trees are safe while this process has a lease. They were here when the
    /// record was written; damage may have removed them since.
    pub fn get(&self, namespace: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let _guard = self.inner.hold(Item::Record(namespace.to_owned(), key.to_owned()))?;
        self.inner.database.read("look up a record", |c| {
            let mut query =
                c.prepare_cached("SELECT value FROM record WHERE namespace=?1 AND key=?2")?;
            query.query_row((namespace, key), |row| row.get(0)).optional()
        })
    }

    /// All keys of a namespace that begin with `prefix`, in order.
    pub fn keys(&self, namespace: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.database.read("list records", |c| {
            let mut query = c.prepare_cached(
                "SELECT key FROM record WHERE namespace=?1 AND key>=?2 ORDER BY key",
            )?;
            let mut keys = Vec::new();
            let mut rows = query.query((namespace, prefix))?;
            while let Some(row) = rows.next()? {
                let key: String = row.get(0)?;
                if !key.starts_with(prefix) {
                    break;
                }
                keys.push(key);
            }
            Ok(keys)
        })
    }

    /// Writes a record, in place of one with the same key.
    ///
    /// # Errors
    /// [`StoreError::MissingBlob`] or [`StoreError::MissingTree`] when something it refers to is not here.
    pub fn put(
        &self,
        namespace: &str,
        key: &str,
        value: &[u8],
        refs: &[Ref],
    ) -> Result<(), StoreError> {
        self.put_many(&[Record { namespace, key, value, refs }])
    }

    /// Writes several records in one step.
    pub fn put_many(&self, records: &[Record<'_>]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let items = records
            .iter()
            .map(|record| Item::Record(record.namespace.to_owned(), record.key.to_owned()));
        let _guard = self.inner.hold_for_writing(items)?;
        let mut images = false;
        for record in records {
            for target in record.refs {
                let (path, missing) = match target {
                    Ref::Blob(digest) | Ref::Image(digest) => {
                        (self.blob_path(digest), StoreError::MissingBlob(digest.clone()))
                    }
                    Ref::Tree(id) => (self.tree_path(id), StoreError::MissingTree(id.clone())),
                };
                images |= matches!(target, Ref::Image(_));
                if fs_err::symlink_metadata(path).is_err() {
                    return Err(missing);
                }
            }
        }
        let now = now_ms();
        self.inner.database.write("write a record", Commit::Lazy, |t| {
            for record in records {
                let id = (record.namespace, record.key);
                t.prepare_cached("DELETE FROM record_ref WHERE namespace=?1 AND key=?2")?
                    .execute(id)?;
                let text = "INSERT OR REPLACE INTO record VALUES(?1, ?2, ?3, ?4, ?4)";
                t.prepare_cached(text)?.execute((
                    record.namespace,
                    record.key,
                    record.value,
                    now,
                ))?;
                for target in record.refs {
                    let (kind, target) = match target {
                        Ref::Blob(digest) => ("b", digest.as_str()),
                        Ref::Image(digest) => ("i", digest.as_str()),
                        Ref::Tree(tree) => ("t", tree.as_str()),
                    };
                    let text = "INSERT OR IGNORE INTO record_ref VALUES(?1, ?2, ?3, ?4)";
                    t.prepare_cached(text)?.execute((
                        record.namespace,
                        record.key,
                        kind,
                        target,
                    ))?;
                }
            }
            if images { count_roots(t) } else { Ok(()) }
        })
    }

    /// Removes a record; says whether it was there.
    pub fn forget(&self, namespace: &str, key: &str) -> Result<bool, StoreError> {
        self.inner.database.write("remove a record", Commit::Lazy, |t| {
            t.prepare_cached("DELETE FROM record_ref WHERE namespace=?1 AND key=?2")?
                .execute((namespace, key))?;
            Ok(t.prepare_cached("DELETE FROM record WHERE namespace=?1 AND key=?2")?
                .execute((namespace, key))?
                > 0)
        })
    }
}

/// Digests of files outside the store, so that unchanged ones are not read again.
impl Store {
    /// The digest of each file, where it is known and the file has not changed since.
    pub fn file_digests(&self, files: &[FileKey]) -> Result<Vec<Option<Digest>>, StoreError> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.database.read("look up digests of files", |c| {
            let text = "SELECT digest FROM file_digest WHERE device=?1 AND inode=?2 AND size=?3 AND mtime=?4 AND ctime=?5";
            let mut query = c.prepare_cached(text)?;
            let find = |file: &FileKey| {
                let key = (file.device.cast_signed(), file.inode.cast_signed(), signed(file.size), file.mtime_ns, file.ctime_ns);
                query.query_row(key, |row| digest_in(row, 0)).optional()
            };
            files.iter().map(find).collect()
        })
    }

    /// Remembers digests of files. A file that changed a moment ago is left out: it could change again within the
    /// resolution of its time stamps.
    pub fn put_file_digests(&self, files: &[(FileKey, Digest)]) -> Result<(), StoreError> {
        let now = now_ms();
        let settled = |file: &FileKey| {
            let coarse = file.mtime_ns % 1_000_000_000 == 0 && file.ctime_ns % 1_000_000_000 == 0;
            let margin_ms = if coarse { 2_000 } else { 40 };
            file.mtime_ns.max(file.ctime_ns) / 1_000_000 + margin_ms < now
        };
        // Transactions are short, so that other processes get their turn.
        for chunk in files.chunks(2_000) {
            self.inner.database.write("record digests of files", Commit::Lazy, |t| {
                let mut insert = t.prepare_cached(
                    "INSERT OR REPLACE INTO file_digest VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?;
                for (file, digest) in chunk.iter().filter(|(file, _)| settled(file)) {
                    let (device, inode) = (file.device.cast_signed(), file.inode.cast_signed());
                    insert.execute((
                        device,
                        inode,
                        signed(file.size),
                        file.mtime_ns,
                        file.ctime_ns,
                        digest.as_str(),
                        now,
                    ))?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Builds.
impl Store {
    /// Records a build and gives it an id.
    pub fn record_build(&self, json: &str) -> Result<i64, StoreError> {
        let now = now_ms();
        self.inner.database.write("record a build", Commit::Lazy, |t| {
            t.prepare_cached("INSERT INTO build(made, record) VALUES(?1, ?2)")?
                .execute((now, json))?;
            let id = t.last_insert_rowid();
            t.prepare_cached("DELETE FROM build WHERE id<=?1")?.execute([id - BUILDS])?;
            Ok(id)
        })
    }

    /// Recorded builds, the latest first.
    pub fn builds(&self) -> Result<Vec<BuildRecord>, StoreError> {
        self.inner.database.read("list builds", |c| {
            let mut query =
                c.prepare_cached("SELECT id, made, record FROM build ORDER BY id DESC")?;
            let rows = query.query_map([], |row| {
                Ok(BuildRecord { id: row.get(0)?, recorded_ms: row.get(1)?, json: row.get(2)? })
            })?;
            rows.collect()
        })
    }
}
