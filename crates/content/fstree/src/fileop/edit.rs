use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Changeset, Entry, Kind, Link, Metadata, RelPath, TreeError, TreeView};

/// A tree being changed: a base that stays as it is, and what lies over it.
#[derive(Clone)]
pub struct Edit {
    base: Arc<dyn TreeView>,
    upper: BTreeMap<RelPath, Node>,
    /// Directories of which nothing shows through from the base.
    fresh: BTreeSet<RelPath>,
    groups: u64,
}

#[derive(Clone)]
struct Node {
    /// Never a hard link: see `group`.
    entry: Entry,
    /// Names with the same number are names of one file.
    group: Option<u64>,
}

impl Edit {
    /// Starts without changes.
    pub fn new(base: Arc<dyn TreeView>) -> Self {
        Self { base, upper: BTreeMap::new(), fresh: BTreeSet::new(), groups: 0 }
    }

    /// The changes. Names of one file are hard links to the first of them.
    pub fn finish(self) -> Changeset {
        let mut first: BTreeMap<u64, RelPath> = BTreeMap::new();
        let mut changes = Changeset::new();
        for (path, Node { mut entry, group }) in self.upper {
            if let Some(group) = group {
                match first.get(&group) {
                    Some(target) => entry.kind = Kind::Hardlink(target.clone()),
                    None => drop(first.insert(group, path)),
                }
            }
            changes.insert(entry);
        }
        changes
    }

    /// Whether the base shows through at `path`. The nearest directory above that is in the upper layer decides: one
    /// that is not fresh has none above it that is.
    fn base_shows(&self, path: &RelPath) -> bool {
        let mut above = path.parent();
        while let Some(directory) = above {
            if let Some(node) = self.upper.get(&directory) {
                return node.entry.kind.is_directory() && !self.fresh.contains(&directory);
            }
            above = directory.parent();
        }
        true
    }

    fn in_base(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        if self.base_shows(path) { self.base.lookup(path) } else { Ok(None) }
    }

    /// Puts an entry over whatever is at its path. What was in a directory that is replaced by something else goes.
    /// The directories above must be there.
    pub(super) fn put(&mut self, entry: Entry) -> Result<(), TreeError> {
        self.put_node(Node { entry, group: None })
    }

    fn put_node(&mut self, mut node: Node) -> Result<(), TreeError> {
        let path = node.entry.path.clone();
        if path.is_root() {
            // The root's own metadata is not part of a layer.
            return Ok(());
        }
        self.copy_up_parents(&path)?;
        if node.entry.kind.is_directory() {
            let (merges, hides) = match self.upper.get(&path) {
                Some(Node { entry: Entry { kind: Kind::Directory { opaque }, .. }, .. }) => {
                    (true, *opaque)
                }
                // A directory in place of something removed or replaced: the base must not show in it again.
                Some(_) => {
                    (false, self.in_base(&path)?.is_some_and(|entry| entry.kind.is_directory()))
                }
                None => {
                    (self.in_base(&path)?.is_some_and(|entry| entry.kind.is_directory()), false)
                }
            };
            node.entry.kind = Kind::Directory { opaque: hides };
            if !merges {
                self.fresh.insert(path.clone());
            }
        } else {
            self.drop_beneath(&path);
            self.fresh.remove(&path);
        }
        self.upper.insert(path, node);
        Ok(())
    }

    /// Gives a file that is in the upper layer a second name.
    pub(super) fn link(&mut self, target: &RelPath, mut entry: Entry) -> Result<(), TreeError> {
        let Some(node) = self.upper.get_mut(target) else {
            return self.put(entry);
        };
        let group = *node.group.get_or_insert_with(|| {
            self.groups += 1;
            self.groups
        });
        entry.kind = node.entry.kind.clone();
        self.put_node(Node { entry, group: Some(group) })
    }

    /// Changes the metadata of what is at `path`.
    pub(super) fn describe(
        &mut self,
        path: &RelPath,
        change: impl FnOnce(&mut Metadata),
    ) -> Result<(), TreeError> {
        if path.is_root() {
            return Ok(());
        }
        let mut entry = match self.upper.get(path) {
            Some(node) if node.entry.kind != Kind::Whiteout => node.entry.clone(),
            Some(_) => return Ok(()),
            None => match self.in_base(path)? {
                Some(entry) => Entry { path: path.clone(), ..entry },
                None => return Ok(()),
            },
        };
        change(&mut entry.meta);
        self.put(entry)
    }

    /// Removes what is at `path` and beneath it.
    pub(super) fn remove(&mut self, path: &RelPath) -> Result<(), TreeError> {
        let in_base = self.in_base(path)?.is_some();
        self.drop_beneath(path);
        self.upper.remove(path);
        self.fresh.remove(path);
        if in_base {
            self.copy_up_parents(path)?;
            let entry =
                Entry { path: path.clone(), kind: Kind::Whiteout, meta: Metadata::default() };
            self.upper.insert(path.clone(), Node { entry, group: None });
        }
        Ok(())
    }

    fn drop_beneath(&mut self, path: &RelPath) {
        let from = std::ops::Bound::Excluded(path.clone());
        let beneath: Vec<RelPath> = self
            .upper
            .range((from, std::ops::Bound::Unbounded))
            .map(|(path, _)| path.clone())
            .take_while(|candidate| candidate.starts_with(path))
            .collect();
        for path in beneath {
            self.fresh.remove(&path);
            self.upper.remove(&path);
        }
    }

    /// Directories above a change are part of its layer, unchanged.
    fn copy_up_parents(&mut self, path: &RelPath) -> Result<(), TreeError> {
        // A directory that is in the upper layer has those above it there, too.
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(directory) = above.filter(|directory| !directory.is_root()) {
            if self.upper.get(&directory).is_some_and(|node| node.entry.kind.is_directory()) {
                break;
            }
            above = directory.parent();
            missing.push(directory);
        }
        missing.reverse();
        for above in missing {
            match self.lookup(&above)? {
                Some(Entry { kind: Kind::Directory { .. }, meta, .. }) => {
                    let entry = Entry { path: above.clone(), kind: Kind::DIRECTORY, meta };
                    self.upper.insert(above, Node { entry, group: None });
                }
                Some(_) => return Err(TreeError::NotDirectory { path: format!("/{above}") }),
                None => return Err(TreeError::not_found(format!("/{above}"))),
            }
        }
        Ok(())
    }
}

impl TreeView for Edit {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        match self.upper.get(path) {
            Some(node) if node.entry.kind == Kind::Whiteout => Ok(None),
            Some(node) => Ok(Some(node.entry.clone())),
            None => self.in_base(path),
        }
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        let hidden = self.fresh.contains(path)
            || self
                .upper
                .get(path)
                .is_some_and(|node| !matches!(node.entry.kind, Kind::Directory { opaque: false }));
        if !hidden && self.base_shows(path) {
            names.extend(self.base.list(path)?);
        }
        let from = std::ops::Bound::Excluded(path.clone());
        let mut next = from;
        while let Some((found, node)) = self.upper.range((next, std::ops::Bound::Unbounded)).next()
        {
            let Some(name) =
                found.beneath(path).and_then(|rest| rest.segments().next().map(<[u8]>::to_vec))
            else {
                break;
            };
            let Ok(child) = path.join(&name) else { break };
            if child == *found {
                if node.entry.kind == Kind::Whiteout {
                    names.remove(&name)
                } else {
                    names.insert(name)
                };
            }
            next = std::ops::Bound::Included(child.after_subtree());
        }
        Ok(names.into_iter().collect())
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        match self.upper.get(path) {
            Some(node) => {
                Ok(node.group.map(|group| Link::of_path(&RelPath::clean(group.to_string()))))
            }
            None if self.base_shows(path) => Ok(self.base.link(path)?.map(|link| link.in_layer(0))),
            None => Ok(None),
        }
    }
}
