//! What the store holds at one moment: items, what records refer to, and what names and leases keep.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use oci::Digest;
use rusqlite::Connection;

use crate::collect::{Kind, UsageEntry, list, size_of_tree};
use crate::database::unsigned;
use crate::session::{self, Item};
use crate::{Store, StoreError};

/// Id, size, time of last use.
type Row = (String, i64, i64);
/// Namespace and key of a record; kind and id of what it refers to.
type Reference = (String, String, String, String);

/// A picture of the store, taken without stopping anyone.
pub(crate) struct Picture {
    pub(crate) roots: i64,
    pub(crate) total: u64,
    pub(crate) items: BTreeMap<Item, UsageEntry>,
    /// Record → what it refers to, images spread out.
    pub(crate) refs: BTreeMap<Item, BTreeSet<Item>>,
}

/// What the database says.
struct Recorded {
    roots: i64,
    blobs: Vec<Row>,
    trees: Vec<Row>,
    /// Namespace, key, size, time of last use.
    records: Vec<(String, String, i64, i64)>,
    references: Vec<Reference>,
    caches: Vec<Row>,
}

impl Recorded {
    fn read(c: &Connection) -> rusqlite::Result<Self> {
        let rows = |sql: &str| -> rusqlite::Result<Vec<Row>> {
            let mut query = c.prepare_cached(sql)?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        let mut query =
            c.prepare_cached("SELECT namespace, key, length(value), used FROM record")?;
        let records = query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut query = c.prepare_cached("SELECT namespace, key, kind, id FROM record_ref")?;
        let references = query
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut query = c.prepare_cached("SELECT value FROM counter WHERE name='roots'")?;
        Ok(Self {
            roots: query.query_row([], |row| row.get(0))?,
            blobs: rows("SELECT digest, size, used FROM blob")?,
            trees: rows("SELECT id, ifnull(size, -1), used FROM tree")?,
            records,
            references,
            caches: rows("SELECT id, 0, used FROM cache")?,
        })
    }
}

fn entry(kind: Kind, id: &str, size: u64, used: i64) -> UsageEntry {
    let id = id.to_owned();
    UsageEntry { kind, id, size, last_used_ms: used, held: false, referenced: false }
}

impl Store {
    /// Looks at everything once, without keeping anybody from working.
    pub(crate) fn picture(&self) -> Result<Picture, StoreError> {
        let recorded = self.inner.database.read("list what is recorded", Recorded::read)?;
        let roots = recorded.roots;
        let refs = self.references(&recorded.references);
        let mut items = self.recorded_items(recorded)?;
        self.add_lost_items(&mut items)?;
        let named = self.names()?.into_iter().map(|name| Item::Image(name.descriptor.digest));
        let mut held = self.spread(named.chain(session::held_items(self.dir())?).collect());
        let by_records: Vec<Item> =
            held.iter().filter_map(|item| refs.get(item)).flatten().cloned().collect();
        held.extend(by_records);
        let referenced: HashSet<&Item> = refs.values().flatten().collect();
        for (item, entry) in &mut items {
            entry.held = held.contains(item);
            entry.referenced = referenced.contains(item);
        }
        let total = items.values().map(|entry| entry.size).sum();
        Ok(Picture { roots, total, items, refs })
    }

    /// What has a row.
    fn recorded_items(&self, recorded: Recorded) -> Result<BTreeMap<Item, UsageEntry>, StoreError> {
        let mut items = BTreeMap::new();
        for (digest, size, used) in recorded.blobs {
            if let Ok(parsed) = digest.parse() {
                items.insert(Item::Blob(parsed), entry(Kind::Blob, &digest, unsigned(size), used));
            }
        }
        for (id, size, used) in recorded.trees {
            let size = if size < 0 { self.measure_tree(&id)? } else { unsigned(size) };
            let tree = entry(Kind::Tree, &id, size, used);
            items.insert(Item::Tree(id), tree);
        }
        for (id, _, used) in recorded.caches {
            let size = size_of_tree(&self.dir().join("caches").join(&id));
            let cache = entry(Kind::Cache, &id, size, used);
            items.insert(Item::Cache(id), cache);
        }
        for (namespace, key, size, used) in recorded.records {
            let record = entry(Kind::Record, &format!("{namespace}/{key}"), unsigned(size), used);
            items.insert(Item::Record(namespace, key), record);
        }
        Ok(items)
    }

    /// Adds files whose row was lost with the process that should have written it.
    fn add_lost_items(&self, items: &mut BTreeMap<Item, UsageEntry>) -> Result<(), StoreError> {
        for algorithm in ["sha256", "sha512"] {
            let dir = self.dir().join("blobs").join(algorithm);
            for name in list(&dir)? {
                let Ok(digest) = format!("{algorithm}:{name}").parse::<Digest>() else { continue };
                let Ok(metadata) = fs_err::symlink_metadata(dir.join(&name)) else { continue };
                let blob = entry(Kind::Blob, &digest.to_string(), metadata.len(), 0);
                items.entry(Item::Blob(digest)).or_insert(blob);
            }
        }
        for (folder, kind) in [("trees", Kind::Tree), ("caches", Kind::Cache)] {
            let dir = self.dir().join(folder);
            for id in list(&dir)? {
                let item = match kind {
                    Kind::Tree => Item::Tree(id.clone()),
                    _ => Item::Cache(id.clone()),
                };
                items
                    .entry(item)
                    .or_insert_with(|| entry(kind, &id, size_of_tree(&dir.join(&id)), 0));
            }
        }
        Ok(())
    }

    /// Record → what it refers to; an image stands for all its blobs.
    fn references(&self, references: &[Reference]) -> BTreeMap<Item, BTreeSet<Item>> {
        let mut refs: BTreeMap<Item, BTreeSet<Item>> = BTreeMap::new();
        for (namespace, key, kind, id) in references {
            let targets = refs.entry(Item::Record(namespace.clone(), key.clone())).or_default();
            match (kind.as_str(), id.parse::<Digest>()) {
                ("t", _) => {
                    targets.insert(Item::Tree(id.clone()));
                }
                ("i", Ok(digest)) => {
                    targets.extend(self.image(&digest).into_iter().map(Item::Blob));
                }
                (_, Ok(digest)) => {
                    targets.insert(Item::Blob(digest));
                }
                _ => {}
            }
        }
        refs
    }
}
