use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use fstree::{
    Changeset, DirectoryTree, Entry, Kind, Link, RelPath, TreeError, TreeView, root_entry,
};

/// A stack of layers looked into as one tree, without mounting it.
pub struct View {
    /// Bottom first.
    layers: Vec<Stacked>,
}

struct Stacked {
    source: Source,
    /// What this layer alone says of directories that were asked for.
    directories: Mutex<HashMap<RelPath, Status>>,
}

enum Source {
    Tree(DirectoryTree),
    Changes(Arc<Changeset>),
}

/// What one layer says of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nothing: the layers beneath decide.
    Absent,
    /// It is there, along with what the layers beneath have in it.
    Merged,
    /// It is there, and hides what the layers beneath have in it.
    Opaque,
    /// It is removed, or no directory.
    Hidden,
}

impl View {
    pub(crate) fn new(layers: Vec<ViewLayer>) -> Self {
        let source = |layer| match layer {
            ViewLayer::Tree(tree) => Source::Tree(tree),
            ViewLayer::Changes(changes) => Source::Changes(changes),
        };
        let stacked =
            |layer| Stacked { source: source(layer), directories: Mutex::new(HashMap::new()) };
        Self { layers: layers.into_iter().map(stacked).collect() }
    }

    /// All of it as changes to an empty tree, file contents left where they are.
    pub fn flatten(&self) -> Result<Changeset, TreeError> {
        let mut found: BTreeMap<RelPath, (Entry, Option<Link>)> = BTreeMap::new();
        let mut stack = vec![RelPath::root()];
        while let Some(directory) = stack.pop() {
            for name in self.list(&directory)? {
                let path =
                    directory.join(name).map_err(|error| TreeError::Invalid(error.to_string()))?;
                let Some((mut entry, link)) = self.find(&path)? else { continue };
                if let Kind::Directory { opaque } = &mut entry.kind {
                    *opaque = false;
                    stack.push(path.clone());
                }
                found.insert(path, (entry, link));
            }
        }
        let mut first: BTreeMap<Link, RelPath> = BTreeMap::new();
        let mut changes = Changeset::new();
        for (path, (mut entry, link)) in found {
            if let Some(link) = link
                && matches!(entry.kind, Kind::File(_))
            {
                match first.get(&link) {
                    Some(target) => entry.kind = Kind::Hardlink(target.clone()),
                    None => drop(first.insert(link, path)),
                }
            }
            changes.insert(entry);
        }
        Ok(changes)
    }

    fn find(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        // A directory that a layer only implies is described by the layers beneath, if they have it.
        let mut implied: Option<Entry> = None;
        for (index, layer) in self.layers.iter().enumerate().rev() {
            if !path.is_root() {
                let parent = path.parent().unwrap_or_else(RelPath::root);
                match layer.status(&parent)? {
                    Status::Hidden => break,
                    Status::Absent => continue,
                    Status::Merged | Status::Opaque => {}
                }
            }
            match layer.find(path)? {
                Some((Entry { kind: Kind::Whiteout, .. }, _)) => break,
                Some((entry, _)) if entry.kind.is_directory() => {
                    if !layer.implies(path)? {
                        return Ok(Some((entry, None)));
                    }
                    implied.get_or_insert(entry);
                }
                Some(_) if implied.is_some() => break,
                Some((entry, link)) => {
                    return Ok(Some((entry, link.map(|link| link.in_layer(index)))));
                }
                None => {}
            }
            if !path.is_root() && layer.hides_below(path)? {
                break;
            }
        }
        Ok(match implied {
            Some(entry) => Some((entry, None)),
            None if path.is_root() => Some((root_entry(), None)),
            None => None,
        })
    }
}

impl TreeView for View {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(self.find(path)?.map(|(entry, _)| entry))
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut names: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut removed: BTreeSet<Vec<u8>> = BTreeSet::new();
        for layer in self.layers.iter().rev() {
            let status = layer.status(path)?;
            match status {
                Status::Absent => continue,
                Status::Hidden => break,
                Status::Merged | Status::Opaque => {}
            }
            for (name, whiteout) in layer.names(path)? {
                if removed.contains(&name) {
                    continue;
                }
                if !whiteout {
                    names.insert(name);
                } else if !names.contains(&name) {
                    removed.insert(name);
                }
            }
            if status == Status::Opaque {
                break;
            }
        }
        Ok(names.into_iter().collect())
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        Ok(self.find(path)?.and_then(|(_, link)| link))
    }

    fn lookup_linked(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        self.find(path)
    }
}

/// One layer as a view takes it.
pub(crate) enum ViewLayer {
    Tree(DirectoryTree),
    Changes(Arc<Changeset>),
}

impl Stacked {
    /// What this layer alone says, whiteouts too. Second names of a file come as the file.
    fn find(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        match &self.source {
            Source::Tree(tree) => tree.find_linked(path),
            Source::Changes(changes) => match changes.get(path) {
                Some(entry @ Entry { kind: Kind::Whiteout, .. }) => Ok(Some((entry.clone(), None))),
                Some(_) => Ok(changes.lookup(path)?.zip(Some(changes.link(path)?))),
                None => Ok(None),
            },
        }
    }

    fn implies(&self, path: &RelPath) -> Result<bool, TreeError> {
        match &self.source {
            Source::Tree(tree) => tree.is_implied(path),
            Source::Changes(_) => Ok(path.is_root()),
        }
    }

    /// Names, and whether they are removals.
    fn names(&self, path: &RelPath) -> Result<Vec<(Vec<u8>, bool)>, TreeError> {
        match &self.source {
            Source::Tree(tree) => tree.marked_names(path),
            Source::Changes(changes) => Ok(changes
                .children(path)
                .map(|entry| (entry.path.name().to_vec(), entry.kind == Kind::Whiteout))
                .collect()),
        }
    }

    /// Whether an entry at `path` ends what the layers beneath say of it.
    fn hides_below(&self, path: &RelPath) -> Result<bool, TreeError> {
        let parent = path.parent().unwrap_or_else(RelPath::root);
        Ok(self.status(&parent)? == Status::Opaque
            || matches!(self.status(path)?, Status::Opaque | Status::Hidden))
    }

    fn status(&self, path: &RelPath) -> Result<Status, TreeError> {
        if path.is_root() {
            return Ok(Status::Merged);
        }
        let known =
            self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let parent = path.parent().unwrap_or_else(RelPath::root);
        let status = match self.status(&parent)? {
            Status::Absent => Status::Absent,
            Status::Hidden => Status::Hidden,
            above @ (Status::Merged | Status::Opaque) => match self.find(path)? {
                Some((Entry { kind: Kind::Directory { opaque: true }, .. }, _)) => Status::Opaque,
                // What is in an opaque directory has nothing beneath it.
                Some((Entry { kind: Kind::Directory { .. }, .. }, _)) => above,
                Some(_) => Status::Hidden,
                None if above == Status::Opaque => Status::Hidden,
                None => Status::Absent,
            },
        };
        self.directories
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(path.clone(), status);
        Ok(status)
    }
}
