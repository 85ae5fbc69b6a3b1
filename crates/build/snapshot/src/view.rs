use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fstree::{Changeset, DirectoryTree, Entry, Kind, Link, RelPath, TreeError, TreeView, root_entry};

/// A stack of layers looked into from above, as an overlay mount would show it.
#[derive(Clone)]
pub struct View {
    /// Top first.
    layers: Arc<[Sheet]>,
}

/// One layer of a view.
pub(crate) enum Sheet {
    /// A tree, and the directories in it that its layer does not speak of: they are there because something is beneath
    /// them, and lower layers say what they are.
    Tree(DirectoryTree, BTreeSet<RelPath>),
    Changes(Arc<Changeset>),
}

impl Sheet {
    /// What this layer alone says of a path, whiteouts included.
    fn find(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        match self {
            Self::Tree(tree, _) => tree.find(path),
            Self::Changes(changes) => Ok(match changes.get(path) {
                Some(Entry { kind: Kind::Hardlink(target), .. }) => {
                    let target = changes.get(target).filter(|entry| !matches!(entry.kind, Kind::Hardlink(_) | Kind::Whiteout));
                    target.map(|entry| Entry { path: path.clone(), ..entry.clone() })
                }
                entry => entry.cloned(),
            }),
        }
    }

    fn names(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        match self {
            Self::Tree(tree, _) => tree.names(path),
            Self::Changes(changes) => {
                let children = changes.beneath(path).filter(|entry| entry.path.parent().as_ref() == Some(path));
                Ok(children.map(|entry| entry.path.name().to_vec()).collect())
            }
        }
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        match self {
            Self::Tree(tree, _) => tree.link(path),
            Self::Changes(changes) => Ok(match changes.get(path).map(|entry| &entry.kind) {
                Some(Kind::Hardlink(target)) => Some(Link::of_path(target)),
                Some(Kind::File(_)) => Some(Link::of_path(path)),
                _ => None,
            }),
        }
    }

    fn implies(&self, path: &RelPath) -> bool {
        matches!(self, Self::Tree(_, implied) if implied.contains(path))
    }

    /// Whether lower layers are hidden at `path`, which this layer says nothing of itself: something above is removed,
    /// replaced by what is no directory, or opaque.
    fn hides(&self, path: &RelPath) -> Result<bool, TreeError> {
        for ancestor in path.ancestors() {
            if ancestor == *path {
                continue;
            }
            match self.find(&ancestor)?.map(|entry| entry.kind) {
                Some(Kind::Directory { opaque: false }) => return Ok(false),
                Some(_) => return Ok(true),
                None => {}
            }
        }
        Ok(false)
    }
}

impl View {
    /// A view of layers, bottom first.
    pub(crate) fn new(mut layers: Vec<Sheet>) -> Self {
        layers.reverse();
        Self { layers: layers.into() }
    }

    /// The entry that shows, and the position of its layer, counted from the top.
    fn find(&self, path: &RelPath) -> Result<Option<(usize, Entry)>, TreeError> {
        let mut implied = None;
        for (position, sheet) in self.layers.iter().enumerate() {
            match sheet.find(path)? {
                Some(Entry { kind: Kind::Whiteout, .. }) => break,
                Some(entry) if sheet.implies(path) => implied = implied.or(Some((position, entry))),
                // What is no directory cannot be what a directory stands on.
                Some(entry) if implied.is_some() && !entry.kind.is_directory() => break,
                Some(entry) => return Ok(Some((position, entry))),
                None if sheet.hides(path)? => break,
                None => {}
            }
        }
        Ok(implied)
    }

    /// The directories that only implied entries show on an overlay mount, as they should show: a layer for the top.
    pub(crate) fn corrections(&self) -> Result<Changeset, TreeError> {
        let mut corrections = Changeset::new();
        for sheet in self.layers.iter() {
            let Sheet::Tree(_, implied) = sheet else { continue };
            for path in implied {
                if let Some((_, entry)) = self.find(path)?
                    && entry.kind.is_directory()
                {
                    corrections.insert(Entry { kind: Kind::DIRECTORY, ..entry });
                }
            }
        }
        // A directory of a layer for the top shows in place of those below: its parents have to be right too.
        let paths: Vec<RelPath> = corrections.iter().map(|entry| entry.path.clone()).collect();
        for parent in paths.iter().flat_map(RelPath::ancestors).collect::<BTreeSet<_>>() {
            if corrections.get(&parent).is_none()
                && let Some(entry) = self.lookup(&parent)?
            {
                corrections.insert(Entry { kind: Kind::DIRECTORY, ..entry });
            }
        }
        Ok(corrections)
    }

    /// Everything that shows, as changes to an empty tree.
    pub fn flatten(&self) -> Result<Changeset, TreeError> {
        let mut all = Changeset::new();
        let mut links: BTreeMap<Link, RelPath> = BTreeMap::new();
        let mut pending = vec![RelPath::root()];
        while let Some(path) = pending.pop() {
            let Some(mut entry) = self.lookup(&path)? else { continue };
            if let Kind::Directory { opaque } = &mut entry.kind {
                *opaque = false;
                // Popped in order of names, so that a link's first name comes first.
                for name in self.list(&path)?.iter().rev() {
                    pending.push(path.join(name).map_err(|error| TreeError::Invalid(error.to_string()))?);
                }
            } else if let Some(link) = self.link(&path)? {
                if let Some(first) = links.get(&link) {
                    entry.kind = Kind::Hardlink(first.clone());
                } else {
                    links.insert(link, path.clone());
                }
            }
            all.insert(entry);
        }
        Ok(all)
    }
}

impl TreeView for View {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        let found = self.find(path)?.map(|(_, entry)| entry);
        Ok(if found.is_none() && path.is_root() { Some(root_entry()) } else { found })
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        // Name to whether it shows; the topmost layer that has it decides.
        let mut names: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for sheet in self.layers.iter() {
            let entry = sheet.find(path)?;
            match entry.map(|entry| entry.kind) {
                Some(Kind::Directory { opaque }) => {
                    for name in sheet.names(path)? {
                        if names.contains_key(&name) {
                            continue;
                        }
                        let child = path.join(&name).map_err(|error| TreeError::Invalid(error.to_string()))?;
                        let removed = matches!(sheet.find(&child)?, Some(Entry { kind: Kind::Whiteout, .. }));
                        names.insert(name, !removed);
                    }
                    if opaque {
                        break;
                    }
                }
                Some(_) => break,
                None if path.is_root() => {
                    for name in sheet.names(path)? {
                        let child = path.join(&name).map_err(|error| TreeError::Invalid(error.to_string()))?;
                        let removed = matches!(sheet.find(&child)?, Some(Entry { kind: Kind::Whiteout, .. }));
                        names.entry(name).or_insert(!removed);
                    }
                }
                None if sheet.hides(path)? => break,
                None => {}
            }
        }
        Ok(names.into_iter().filter_map(|(name, shows)| shows.then_some(name)).collect())
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        let Some((position, _)) = self.find(path)? else { return Ok(None) };
        Ok(self.layers[position].link(path)?.map(|link| link.in_layer(position)))
    }
}
