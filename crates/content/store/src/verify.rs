//! Is everything what it says it is?

use std::io;
use std::path::Path;

use fs_err::File;
use oci::{Digest, Digester, HashingReader};

use crate::collect::list;
use crate::database::{Commit, signed};
use crate::{Store, StoreError, now_ms};

/// Something wrong in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// A blob's bytes are not those of its digest.
    Content {
        /// Its name.
        expected: Digest,
        /// What its bytes give.
        found: Digest,
    },
    /// A blob is recorded but its file is gone.
    LostBlob(Digest),
    /// A tree is recorded but its directory is gone.
    LostTree(String),
    /// A record needs something that is gone.
    Dangling {
        /// Namespace of the record.
        namespace: String,
        /// Its key.
        key: String,
        /// Digest or tree id.
        target: String,
    },
    /// A name whose manifest or index is gone.
    LostName {
        /// The name.
        name: String,
        /// What it named.
        digest: Digest,
    },
    /// A file that does not belong where it is.
    Stray(String),
    /// The database itself is damaged.
    Database(String),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content { expected, found } => {
                write!(f, "blob {expected} is damaged: its content has digest {found}")
            }
            Self::LostBlob(digest) => write!(f, "blob {digest} is recorded, but its file is gone"),
            Self::LostTree(id) => {
                write!(f, "file tree {id} is recorded, but its directory is gone")
            }
            Self::Dangling { namespace, key, target } => {
                write!(f, "record {namespace}/{key} needs {target}, which is gone")
            }
            Self::LostName { name, digest } => {
                write!(f, "name {name} stands for {digest}, which is gone")
            }
            Self::Stray(path) => write!(f, "{path} does not belong there"),
            Self::Database(text) => write!(f, "the database is damaged: {text}"),
        }
    }
}

impl Store {
    /// Reads every blob and compares its digest, looks for every tree, and checks that names and records lead somewhere.
    /// Others may use the store meanwhile. Whole files whose row was lost (a process killed between the two) are
    /// recorded again: they are not damage.
    pub fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        let mut damage = Vec::new();
        let integrity: String = self.inner.database.read("check the database", |c| {
            c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        })?;
        if integrity != "ok" {
            damage.push(Damage::Database(integrity));
        }
        self.verify_blobs(&mut damage)?;
        self.verify_rows(&mut damage)?;
        damage.sort_unstable();
        damage.dedup();
        Ok(damage)
    }

    fn verify_blobs(&self, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        for algorithm in ["sha256", "sha512"] {
            let dir = self.dir().join("blobs").join(algorithm);
            for name in list(&dir)? {
                let Ok(digest) = format!("{algorithm}:{name}").parse::<Digest>() else {
                    damage.push(Damage::Stray(dir.join(&name).display().to_string()));
                    continue;
                };
                let Some((found, size)) = digest_of(&dir.join(&name), &digest)? else { continue };
                if found == digest {
                    self.adopt_blob(&digest, size)?;
                } else {
                    damage.push(Damage::Content { expected: digest, found });
                }
            }
        }
        Ok(())
    }

    fn adopt_blob(&self, digest: &Digest, size: u64) -> Result<(), StoreError> {
        let known = self.inner.database.read("look up a blob", |c| {
            c.prepare_cached("SELECT 1 FROM blob WHERE digest=?1")?.exists([digest.as_str()])
        })?;
        if known {
            return Ok(());
        }
        let _guard = self.inner.collection.shared()?;
        if fs_err::symlink_metadata(self.blob_path(digest)).is_err() {
            return Ok(());
        }
        self.inner.database.write("record a blob", Commit::Lazy, |t| {
            let insert = "INSERT OR IGNORE INTO blob VALUES(?1, ?2, ?3, ?3)";
            t.prepare_cached(insert)?.execute((digest.as_str(), signed(size), now_ms())).map(drop)
        })
    }

    fn verify_rows(&self, damage: &mut Vec<Damage>) -> Result<(), StoreError> {
        // Collectors remove row and file in one step under this lock, so what is seen now fits together.
        let _guard = self.inner.collection.shared()?;
        let (blobs, trees, refs) = self.inner.database.read("list what is recorded", |c| {
            let mut query = c.prepare_cached("SELECT digest FROM blob")?;
            let blobs = query
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            let mut query = c.prepare_cached("SELECT id FROM tree")?;
            let trees = query
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            let mut query = c.prepare_cached("SELECT namespace, key, kind, id FROM record_ref")?;
            let refs = query
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            let refs = refs.collect::<rusqlite::Result<Vec<(String, String, String, String)>>>()?;
            Ok((blobs, trees, refs))
        })?;
        let is_here = |path: &Path| fs_err::symlink_metadata(path).is_ok();
        let has_blob = |text: &str| {
            text.parse::<Digest>().is_ok_and(|digest| is_here(&self.blob_path(&digest)))
        };
        for digest in blobs.iter().filter(|digest| !has_blob(digest)) {
            damage.push(
                digest.parse().map_or_else(|_| Damage::Stray(digest.clone()), Damage::LostBlob),
            );
        }
        damage.extend(
            trees.into_iter().filter(|id| !is_here(&self.tree_path(id))).map(Damage::LostTree),
        );
        for (namespace, key, kind, target) in refs {
            let here =
                if kind == "t" { is_here(&self.tree_path(&target)) } else { has_blob(&target) };
            if !here {
                damage.push(Damage::Dangling { namespace, key, target });
            }
        }
        for entry in self.names()? {
            if !is_here(&self.blob_path(&entry.descriptor.digest)) {
                damage.push(Damage::LostName { name: entry.name, digest: entry.descriptor.digest });
            }
        }
        Ok(())
    }
}

/// `None`: it is gone, removed by a collector.
fn digest_of(path: &Path, like: &Digest) -> Result<Option<(Digest, u64)>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::io("open", path)(source)),
    };
    let mut reader = HashingReader::new(file, Digester::like(like));
    let mut sink = io::sink();
    io::copy(&mut reader, &mut sink).map_err(StoreError::io("read", path))?;
    let (_, found, size) = reader.finish();
    Ok(Some((found, size)))
}
