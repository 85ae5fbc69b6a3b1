//! A file system of Windows as Windows looks names up in it: whatever their letters' case.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use fstree::{Entry, Link, RelPath, TreeError, TreeView};

/// Directories of different layers that are one to Windows (`app`, `APP`); more spellings of one are left out.
const MAX_SPELLINGS: usize = 64;

/// A view in which names are found by their folded form. Entries are shown under the path that was asked for.
pub(crate) struct AnyCase<V> {
    view: V,
    names: Mutex<HashMap<RelPath, Arc<Names>>>,
}

/// Folded names of a directory, and how they are spelled.
type Names = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

impl<V: TreeView> AnyCase<V> {
    pub(crate) fn new(view: V) -> Self {
        Self { view, names: Mutex::default() }
    }

    fn names(&self, directory: &RelPath) -> Result<Arc<Names>, TreeError> {
        let lock = || self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(directory) {
            return Ok(Arc::clone(known));
        }
        let mut names = Names::new();
        for name in self.view.list(directory)? {
            names.entry(windows::fold(&name)).or_default().push(name);
        }
        let names = Arc::new(names);
        lock().insert(directory.clone(), Arc::clone(&names));
        Ok(names)
    }

    /// All paths of the view that are this one to Windows, the one as written first.
    fn spellings(&self, path: &RelPath) -> Result<Vec<RelPath>, TreeError> {
        let mut found = vec![RelPath::root()];
        for segment in path.segments() {
            let mut next = Vec::new();
            for directory in &found {
                let names = self.names(directory)?;
                let Some(spelled) = names.get(&windows::fold(segment)) else { continue };
                let exact = spelled.iter().filter(|name| *name == segment);
                let others = spelled.iter().filter(|name| *name != segment);
                next.extend(exact.chain(others).filter_map(|name| directory.join(name).ok()));
            }
            next.truncate(MAX_SPELLINGS);
            found = next;
        }
        Ok(found)
    }
}

impl<V: TreeView> TreeView for AnyCase<V> {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        Ok(self.lookup_linked(path)?.map(|(entry, _)| entry))
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut all: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for spelling in self.spellings(path)? {
            for (folded, names) in self.names(&spelling)?.iter() {
                if let Some(name) = names.first() {
                    all.entry(folded.clone()).or_insert_with(|| name.clone());
                }
            }
        }
        Ok(all.into_values().collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        Ok(self.lookup_linked(path)?.and_then(|(_, link)| link))
    }

    fn lookup_linked(&self, path: &RelPath) -> Result<Option<(Entry, Option<Link>)>, TreeError> {
        for spelling in self.spellings(path)? {
            if let Some((entry, link)) = self.view.lookup_linked(&spelling)? {
                return Ok(Some((Entry { path: path.clone(), ..entry }, link)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fstree::{Changeset, Kind, Metadata};

    #[test]
    fn names_are_found_in_any_case_and_directories_of_layers_are_one() {
        let entry = |path: &str, kind: Kind| Entry {
            path: path.parse().unwrap(),
            kind,
            meta: Metadata::default(),
        };
        let view = AnyCase::new(Changeset::from_iter([
            entry("Windows", Kind::DIRECTORY),
            entry("Windows/System32", Kind::DIRECTORY),
            entry("Windows/System32/cmd.exe", Kind::File(fstree::Content::Empty)),
            entry("WINDOWS", Kind::DIRECTORY),
            entry("WINDOWS/system32", Kind::DIRECTORY),
            entry("WINDOWS/system32/my.dll", Kind::File(fstree::Content::Empty)),
            entry("Documents and Settings", Kind::Symlink(b"/USERS".to_vec())),
            entry("Users", Kind::DIRECTORY),
        ]));
        let path = |text: &str| text.parse::<RelPath>().unwrap();
        for there in
            ["windows/SYSTEM32/CMD.EXE", "Windows/System32/my.dll", "documents AND settings"]
        {
            let found = view.lookup(&path(there)).unwrap();
            assert_eq!(found.map(|entry| entry.path), Some(path(there)));
        }
        assert!(view.lookup(&path("windows/none")).unwrap().is_none());
        assert_eq!(
            view.list(&path("windows/system32")).unwrap(),
            [b"cmd.exe".to_vec(), b"my.dll".to_vec()]
        );
        assert_eq!(
            fstree::resolve(&view, &path("Documents and settings"), true).unwrap(),
            path("USERS")
        );
        assert!(view.lookup(&path("USERS")).unwrap().is_some());
    }
}
