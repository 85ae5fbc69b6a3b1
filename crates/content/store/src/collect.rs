//! What takes room, and what of it can go.
//!
//! Names and leases keep what they reach; records keep what they refer to, but are themselves only worth their use. A
//! collector marks without any lock, then removes in small batches: each batch holds the collection lock for a moment,
//! looks again at leases, names and records, deletes rows, renames files away, and deletes those after letting go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oci::Digest;
use rusqlite::Transaction;

use crate::database::{Commit, signed};
use crate::picture::Picture;
use crate::session::{self, Item};
use crate::{Store, StoreError, now_ms, remove};

/// What an entry of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Bytes by digest.
    Blob,
    /// An unpacked file tree.
    Tree,
    /// The directory of a cache mount.
    Cache,
    /// A record, such as the result of a build step.
    Record,
}

/// One thing that takes room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageEntry {
    /// What it is.
    pub kind: Kind,
    /// Digest, tree id, cache id, or `namespace/key`.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// In milliseconds since 1970.
    pub last_used_ms: i64,
    /// A name or a running process needs it.
    pub held: bool,
    /// A record refers to it.
    pub referenced: bool,
}

/// What takes room.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Everything, blobs first, each kind in the order of ids.
    pub entries: Vec<UsageEntry>,
}

impl Usage {
    /// Bytes of all entries of a kind.
    pub fn size_of(&self, kind: Kind) -> u64 {
        self.entries.iter().filter(|entry| entry.kind == kind).map(|entry| entry.size).sum()
    }

    /// Bytes of everything.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }
}

/// What is to go. Nothing set: blobs and trees that no name, process or record needs.
#[derive(Clone, Debug, Default)]
pub struct PruneOptions {
    /// Everything but what names and running processes need.
    pub all: bool,
    /// Only what was not used for so long.
    pub older_than: Option<Duration>,
    /// Until no more than this is left, the longest unused first.
    pub keep_bytes: Option<u64>,
    /// Only these kinds; empty means all.
    pub kinds: Vec<Kind>,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// What was removed.
    pub entries: Vec<UsageEntry>,
    /// Bytes freed.
    pub size: u64,
    /// Leftovers of killed processes removed.
    pub swept: usize,
    /// What could not be removed, and why, one line each.
    pub problems: Vec<String>,
}

/// Removed while the collection lock is held once.
const BATCH: usize = 96;
/// How long logs of builds are kept.
const LOGS: Duration = Duration::from_hours(7 * 24);
/// Manifests and indexes larger than this are not followed.
const DOCUMENT: u64 = 8 << 20;

impl Store {
    /// Everything in the store, with sizes and use times.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let picture = self.picture()?;
        let mut entries: Vec<UsageEntry> = picture.items.into_values().collect();
        entries.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
        Ok(Usage { entries })
    }

    /// Removes what `options` say, and what killed processes left. Builds may run meanwhile.
    pub fn prune(&self, options: &PruneOptions) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        match self.sweep() {
            Ok(swept) => pruned.swept = swept,
            Err(error) => pruned.problems.push(describe(&error)),
        }
        let quarantine = self.dir().join("quarantine");
        for name in list(&quarantine)? {
            drop(fs_err::remove_file(quarantine.join(name)));
        }
        self.prune_partials()?;
        self.prune_logs(options);
        // New names change what may go; look again, though not for ever: what is left goes next time.
        for _ in 0..20 {
            let picture = self.picture()?;
            let victims = choose(&picture, options);
            if self.remove_batches(&picture, &victims, &mut pruned)? {
                break;
            }
        }
        if options.all {
            self.inner.database.write("forget facts without use", Commit::Lazy, |t| {
                t.execute_batch(
                    "DELETE FROM file_digest; DELETE FROM layer_blob WHERE digest NOT IN (SELECT digest FROM blob);
                     DELETE FROM location WHERE digest NOT IN (SELECT digest FROM blob);",
                )
            })?;
        }
        Ok(pruned)
    }

    /// Logs that builds left in `logs/`. They are for people, so that one too many is no error.
    fn prune_logs(&self, options: &PruneOptions) {
        let age = if options.all { Duration::ZERO } else { options.older_than.unwrap_or(LOGS) };
        let cutoff = now_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let dir = self.dir().join("logs");
        for name in list(&dir).unwrap_or_default() {
            let path = dir.join(name);
            let Ok(metadata) = fs_err::symlink_metadata(&path) else { continue };
            if metadata.is_file() && metadata.mtime().saturating_mul(1000) <= cutoff {
                drop(fs_err::remove_file(&path));
            }
        }
    }

    /// Unfinished downloads that nobody works on.
    fn prune_partials(&self) -> Result<(), StoreError> {
        let dir = self.dir().join("partial");
        for name in list(&dir)? {
            let path = dir.join(name);
            let Ok(file) = fs_err::File::options().read(true).write(true).open(&path) else {
                continue;
            };
            if crate::lock::try_exclusive(&file).map_err(StoreError::io("lock", &path))? {
                drop(fs_err::remove_file(&path));
            }
        }
        Ok(())
    }

    /// `false`: names changed, so the picture is out of date.
    fn remove_batches(
        &self,
        picture: &Picture,
        victims: &[Item],
        pruned: &mut Pruned,
    ) -> Result<bool, StoreError> {
        for batch in victims.chunks(BATCH) {
            let mut trash = Vec::new();
            {
                let _exclusive = self.inner.collection.exclusive()?;
                let held = self.spread(session::held_items(self.dir())?);
                let decided = self.inner.database.write(
                    "remove what is not needed",
                    Commit::Durable,
                    |t| {
                        if roots(t)? != picture.roots {
                            return Ok(None);
                        }
                        let mut gone = Vec::new();
                        for item in batch {
                            // A record that a process has just read keeps what it refers to, although it may go itself.
                            let needed = held.contains(item)
                                || held
                                    .iter()
                                    .filter(|holder| matches!(holder, Item::Record(..)))
                                    .any(|holder| {
                                        picture
                                            .refs
                                            .get(holder)
                                            .is_some_and(|refs| refs.contains(item))
                                    });
                            if !needed && delete(t, item)? {
                                gone.push(item);
                            }
                        }
                        Ok(Some(gone))
                    },
                )?;
                let Some(gone) = decided else { return Ok(false) };
                for item in gone {
                    let path = match item {
                        Item::Blob(digest) | Item::Image(digest) => Some(self.blob_path(digest)),
                        Item::Tree(id) => Some(self.tree_path(id)),
                        Item::Cache(id) => Some(self.dir().join("caches").join(id)),
                        Item::Record(..) => None,
                    };
                    match path.as_ref().map(|path| self.inner.to_trash(path)).transpose() {
                        Ok(away) => trash.push((item, path.unwrap_or_default(), away.flatten())),
                        Err(error) => pruned.problems.push(describe(&error)),
                    }
                }
            }
            for (item, path, away) in trash {
                if let Some(Err(source)) = away.map(|away| remove::remove(&away)) {
                    pruned.problems.push(describe(&StoreError::removing(&path, source)));
                    continue;
                }
                pruned.entries.extend(picture.items.get(item).cloned());
                pruned.size += picture.items.get(item).map_or(0, |entry| entry.size);
            }
        }
        Ok(true)
    }

    /// Images become all their blobs.
    pub(crate) fn spread(&self, items: HashSet<Item>) -> HashSet<Item> {
        let mut all = HashSet::with_capacity(items.len());
        #[expect(clippy::iter_over_hash_type, reason = "a set is made of a set")]
        for item in items {
            match item {
                Item::Image(digest) => all.extend(self.image(&digest).into_iter().map(Item::Blob)),
                other => {
                    all.insert(other);
                }
            }
        }
        all
    }

    /// A blob, and if it is an index or a manifest, all that it names.
    pub(crate) fn image(&self, digest: &Digest) -> BTreeSet<Digest> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![(digest.clone(), true)];
        while let Some((digest, document)) = queue.pop() {
            if document && !seen.contains(&digest) && seen.len() < 100_000 {
                queue.extend(self.children(&digest));
            }
            seen.insert(digest);
        }
        seen
    }

    /// What a document names, and whether that is a document with children again.
    fn children(&self, digest: &Digest) -> Vec<(Digest, bool)> {
        #[derive(serde::Deserialize)]
        struct Named {
            digest: Digest,
        }
        #[derive(serde::Deserialize)]
        struct Document {
            config: Option<Named>,
            layers: Option<Vec<Named>>,
            manifests: Option<Vec<Named>>,
            blobs: Option<Vec<Named>>,
        }
        let path = self.blob_path(digest);
        let small =
            fs_err::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() <= DOCUMENT);
        let Some(bytes) = small.then(|| fs_err::read(&path).ok()).flatten() else {
            return Vec::new();
        };
        // Whatever is no such document has no children.
        let Ok(document) = serde_json::from_slice::<Document>(&bytes) else { return Vec::new() };
        let plain = document
            .config
            .into_iter()
            .chain(document.layers.into_iter().flatten())
            .chain(document.blobs.into_iter().flatten());
        let deeper = document.manifests.into_iter().flatten();
        plain
            .map(|named| (named.digest, false))
            .chain(deeper.map(|named| (named.digest, true)))
            .collect()
    }

    pub(crate) fn measure_tree(&self, id: &str) -> Result<u64, StoreError> {
        let size = size_of_tree(&self.tree_path(id));
        self.inner.database.write("record the size of a tree", Commit::Lazy, |t| {
            t.prepare_cached("UPDATE tree SET size=?2 WHERE id=?1")?
                .execute((id, signed(size)))
                .map(drop)
        })?;
        Ok(size)
    }
}

fn roots(t: &Transaction<'_>) -> rusqlite::Result<i64> {
    t.prepare_cached("SELECT value FROM counter WHERE name='roots'")?
        .query_row([], |row| row.get(0))
}

/// Deletes the row of an item, unless a record has come to need it. Says whether the item may go.
fn delete(t: &Transaction<'_>, item: &Item) -> rusqlite::Result<bool> {
    let (kind, id) = match item {
        Item::Record(namespace, key) => {
            t.prepare_cached("DELETE FROM record_ref WHERE namespace=?1 AND key=?2")?
                .execute((namespace, key))?;
            t.prepare_cached("DELETE FROM record WHERE namespace=?1 AND key=?2")?
                .execute((namespace, key))?;
            return Ok(true);
        }
        Item::Cache(id) => {
            t.prepare_cached("DELETE FROM cache WHERE id=?1")?.execute([id])?;
            return Ok(true);
        }
        Item::Blob(digest) | Item::Image(digest) => ("b", digest.as_str()),
        Item::Tree(id) => ("t", id.as_str()),
    };
    if t.prepare_cached("SELECT 1 FROM record_ref WHERE kind=?1 AND id=?2")?.exists((kind, id))? {
        return Ok(false);
    }
    let text = if kind == "t" {
        "DELETE FROM tree WHERE id=?1"
    } else {
        "DELETE FROM blob WHERE digest=?1"
    };
    t.prepare_cached(text)?.execute([id])?;
    Ok(true)
}

/// What is to go, in an order in which records go before what they refer to.
fn choose(picture: &Picture, options: &PruneOptions) -> Vec<Item> {
    let garbage_only = !options.all && options.older_than.is_none() && options.keep_bytes.is_none();
    let cutoff =
        options.older_than.map(|age| now_ms() - i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let mut needed: BTreeMap<&Item, usize> = BTreeMap::new();
    for target in picture.refs.values().flatten() {
        *needed.entry(target).or_default() += 1;
    }
    let mut queue = BinaryHeap::new();
    for (item, entry) in &picture.items {
        let root = matches!(entry.kind, Kind::Record | Kind::Cache);
        if !(entry.held || needed.contains_key(item) || garbage_only && root) {
            queue.push(Reverse((entry.last_used_ms, item)));
        }
    }
    let mut victims = Vec::new();
    let mut total = picture.total;
    while let Some(Reverse((used, item))) = queue.pop() {
        let Some(entry) = picture.items.get(item) else { continue };
        if options.keep_bytes.is_some_and(|keep| total <= keep) {
            break;
        }
        if cutoff.is_some_and(|cutoff| used > cutoff)
            || !(options.kinds.is_empty() || options.kinds.contains(&entry.kind))
        {
            continue;
        }
        victims.push(item.clone());
        total = total.saturating_sub(entry.size);
        for target in picture.refs.get(item).into_iter().flatten() {
            let count = needed.entry(target).or_default();
            *count = count.saturating_sub(1);
            if *count == 0
                && let Some(entry) = picture.items.get(target)
                && !entry.held
            {
                queue.push(Reverse((entry.last_used_ms, target)));
            }
        }
    }
    victims
}

/// Names in a directory, in order. What other processes remove meanwhile is left out.
pub(crate) fn list(dir: &Path) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(dir).map_err(StoreError::io("list", dir))? {
        let entry = entry.map_err(StoreError::io("list", dir))?;
        names.extend(entry.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Bytes that a tree takes on disk, as far as it can be read; hard links count once.
pub(crate) fn size_of_tree(path: &Path) -> u64 {
    let mut size = 0;
    let mut links = HashSet::new();
    let mut queue: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(path) = queue.pop() {
        let Ok(metadata) = fs_err::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            let entries = fs_err::read_dir(&path).into_iter().flatten();
            queue.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
        } else if metadata.nlink() > 1 && !links.insert(metadata.ino()) {
            continue;
        }
        size += metadata.blocks() * 512;
    }
    size
}

fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
