use std::collections::BTreeMap;

use super::action::{Making, expand, ids, make_all};
use super::{Copy, Edit, ModeChange, Surroundings};
use crate::{
    Entry, Kind, Link, MatchInfo, Metadata, Mtime, PatternSet, RelPath, TreeError, TreeView,
    resolve,
};

pub(super) fn copy(
    edit: &mut Edit,
    action: &Copy,
    source: &dyn TreeView,
    with: Surroundings<'_>,
) -> Result<(), TreeError> {
    for required in &action.required {
        let path = RelPath::clean(required);
        if source.lookup(&resolve(source, &path, action.follow_symlink)?)?.is_none() {
            return Err(missing(source, &path));
        }
    }
    let destination = Destination::of(&action.destination);
    if !action.create_destination {
        let path = resolve(edit, &destination.path, true)?;
        let parent = path.parent().unwrap_or_else(RelPath::root);
        if edit.lookup(&parent)?.is_none() {
            return Err(TreeError::not_found(format!("/{}", destination.path)));
        }
    }
    let from = RelPath::clean(&action.source);
    let sources = if action.wildcard {
        let found = match expand(source, &from, action.follow_symlink) {
            Err(TreeError::NotFound { .. }) => return Err(missing(source, &from)),
            found => found?,
        };
        if found.is_empty() && !action.empty_wildcard {
            return Err(missing(source, &from));
        }
        found
    } else {
        vec![from]
    };
    let owner = ids(edit, action.owner.as_ref())?;
    let patterns = |what: &str, patterns: &[String]| {
        PatternSet::new(patterns)
            .map_err(|error| TreeError::Invalid(format!("invalid {what} patterns: {error}")))
    };
    let include = patterns("include", &action.include)?;
    let exclude = patterns("exclude", &action.exclude)?;
    for path in sources {
        let mut copier = Copier {
            edit: &mut *edit,
            source,
            action,
            owner,
            parents: Making {
                mode: ModeChange::of_parents(action.mode.as_ref()),
                ids: owner.unwrap_or((0, 0)),
                mtime: action.timestamp.unwrap_or(with.now),
            },
            include: &include,
            exclude: &exclude,
            links: BTreeMap::new(),
            pending: Vec::new(),
        };
        if action.unpack && copier.unpack(&path, &destination, with)? {
            continue;
        }
        copier.copy_one(&path, &destination)?;
    }
    Ok(())
}

/// `"/x": not found`, with names that may have been meant.
fn missing(source: &dyn TreeView, path: &RelPath) -> TreeError {
    TreeError::NotFound { path: format!("/{path}"), candidates: similar(source, path) }
}

/// Names in the directory of `path` that differ little from its own.
fn similar(source: &dyn TreeView, path: &RelPath) -> Vec<String> {
    const SHOWN: usize = 3;
    let parent = path.parent().unwrap_or_else(RelPath::root);
    let Ok(directory) = resolve(source, &parent, true) else { return Vec::new() };
    let names = source.list(&directory).unwrap_or_default();
    let wanted = path.name().to_ascii_lowercase();
    let mut near: Vec<(usize, &Vec<u8>)> = names
        .iter()
        .map(|name| (distance(&wanted, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= wanted.len().div_ceil(3).min(3))
        .collect();
    near.sort();
    near.iter()
        .take(SHOWN)
        .filter_map(|(_, name)| parent.join(name).ok())
        .map(|path| format!("/{path}"))
        .collect()
}

/// How many single-byte changes lead from one name to the other.
fn distance(left: &[u8], right: &[u8]) -> usize {
    if left.len().abs_diff(right.len()) > 3 || left.len() > 255 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.iter().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (slot, b) in row.iter_mut().skip(1).zip(right) {
            let change = diagonal + usize::from(a != b);
            diagonal = *slot;
            *slot = change.min(*slot + 1).min(before + 1);
            before = *slot;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Where a copy goes.
struct Destination {
    path: RelPath,
    /// Written with a `/` or `/.` at its end: a directory even if it is not there yet.
    directory: bool,
}

impl Destination {
    fn of(text: &[u8]) -> Self {
        let directory =
            text.is_empty() || text.ends_with(b"/") || text.ends_with(b"/.") || text == b".";
        Self { path: RelPath::clean(text), directory }
    }
}

/// Copies one source.
struct Copier<'a> {
    edit: &'a mut Edit,
    source: &'a dyn TreeView,
    action: &'a Copy,
    owner: Option<(u32, u32)>,
    parents: Making,
    include: &'a PatternSet,
    exclude: &'a PatternSet,
    /// Files with several names that were copied: where to, and what they are there.
    links: BTreeMap<Link, (RelPath, Metadata)>,
    /// The directories above what is being copied.
    pending: Vec<Pending>,
}

struct Pending {
    entry: Entry,
    target: RelPath,
    copied: bool,
}

/// One file or directory to be copied.
struct Item {
    from: RelPath,
    /// Path relative to the source; the root for the source itself.
    relative: RelPath,
    target: RelPath,
    /// What the directory above matched.
    include: MatchInfo,
    exclude: MatchInfo,
}

enum Task {
    Visit(Item),
    /// All that is in the last of the pending directories has been copied.
    Leave(Left),
}

#[derive(Clone, Copy)]
struct Left {
    included: bool,
    /// The directory gets all metadata of the one copied.
    replace: bool,
}

impl Copier<'_> {
    fn copy_one(&mut self, path: &RelPath, destination: &Destination) -> Result<(), TreeError> {
        // `a/b/` and `a/b/.` ask for the directory itself, `a/b` for the one above.
        let ensured = if destination.directory {
            Some(destination.path.clone())
        } else {
            destination.path.parent()
        };
        if let Some(ensured) = ensured {
            let at = resolve(self.edit, &ensured, true)?;
            make_all(self.edit, &at, self.parents)?;
        }
        let mut target = resolve(self.edit, &destination.path, true)?;
        let from = if self.action.follow_symlink {
            resolve(self.source, path, true)?
        } else {
            resolve(self.source, path, false)?
        };
        let Some(entry) = self.source.lookup(&from)? else {
            return Err(missing(self.source, path));
        };
        let directory = entry.kind.is_directory();
        let existing = self.edit.lookup(&target)?;
        let contents = self.action.directory_contents && directory;
        let into = match &existing {
            Some(_) if directory => !contents,
            Some(existing) => existing.kind.is_directory(),
            None => false,
        };
        if into && !path.is_root() {
            target =
                target.join(path.name()).map_err(|error| TreeError::Invalid(error.to_string()))?;
        }
        let made =
            if contents && existing.is_none() { Some(target.clone()) } else { target.parent() };
        if let Some(made) = made {
            make_all(self.edit, &made, self.parents)?;
        }
        let (include, exclude) = (MatchInfo::default(), MatchInfo::default());
        self.copy_all(Item { from, relative: RelPath::root(), target, include, exclude })
    }

    /// Copies a file or a directory with what is in it. What is still to do lies on the heap: trees may be deep.
    fn copy_all(&mut self, first: Item) -> Result<(), TreeError> {
        let mut tasks = vec![Task::Visit(first)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Visit(item) => self.visit(item, &mut tasks)?,
                Task::Leave(left) => self.leave(left)?,
            }
        }
        Ok(())
    }

    fn visit(&mut self, item: Item, tasks: &mut Vec<Task>) -> Result<(), TreeError> {
        // A directory that is there already gets the metadata of the one copied, but for the first.
        let overwrite = !item.relative.is_root();
        let mut included = true;
        let mut excluded = false;
        let (mut include, mut exclude) = (MatchInfo::default(), MatchInfo::default());
        if overwrite {
            if !self.include.is_empty() {
                (included, include) =
                    self.include.matches_beneath(item.relative.as_bytes(), &item.include)?;
            }
            if !self.exclude.is_empty() {
                (excluded, exclude) =
                    self.exclude.matches_beneath(item.relative.as_bytes(), &item.exclude)?;
                included &= !excluded;
            }
            if !included && self.include.is_empty() && !self.exclude.has_exceptions() {
                return Ok(());
            }
        }
        let Some((entry, link)) = self.source.lookup_linked(&item.from)? else { return Ok(()) };
        let directory = entry.kind.is_directory();
        if !included && !directory {
            return Ok(());
        }
        if included {
            if self.action.replace_existing
                && let Some(existing) = self.edit.lookup(&item.target)?
                && !(directory && existing.kind.is_directory())
            {
                self.edit.remove(&item.target)?;
            }
            self.make_pending(overwrite)?;
        }
        if !directory {
            return self.copy_file(entry, link, item);
        }
        let created = included && self.make_directory(&entry, &item.target, overwrite)?;
        let looked_into = (!excluded || self.exclude.has_exceptions())
            && self.may_hold_included(&item.relative)?;
        let names = if looked_into { self.source.list(&item.from)? } else { Vec::new() };
        self.pending.push(Pending { entry, target: item.target.clone(), copied: included });
        tasks.push(Task::Leave(Left { included, replace: created || overwrite }));
        for name in names.into_iter().rev() {
            let child = |path: &RelPath| {
                path.join(&name).map_err(|error| TreeError::Invalid(error.to_string()))
            };
            tasks.push(Task::Visit(Item {
                from: child(&item.from)?,
                relative: child(&item.relative)?,
                target: child(&item.target)?,
                include: include.clone(),
                exclude: exclude.clone(),
            }));
        }
        Ok(())
    }

    fn leave(&mut self, left: Left) -> Result<(), TreeError> {
        let Some(Pending { entry, target, .. }) = self.pending.pop().filter(|_| left.included)
        else {
            return Ok(());
        };
        let meta = self.metadata(&entry);
        if left.replace {
            self.edit.describe(&target, |old| replace(old, meta))
        } else {
            // The directory that the content went into: only its time is the source's.
            self.edit.describe(&target, |old| old.mtime = meta.mtime)
        }
    }

    fn copy_file(&mut self, entry: Entry, link: Option<Link>, item: Item) -> Result<(), TreeError> {
        if let Some(Entry { kind: Kind::Directory { .. }, .. }) = self.edit.lookup(&item.target)? {
            return Err(TreeError::Invalid(format!(
                "cannot replace to directory /{} with file",
                item.target
            )));
        }
        let meta = self.metadata(&entry);
        let link = link.filter(|_| matches!(entry.kind, Kind::File(_)));
        let copied = Entry { path: item.target.clone(), kind: entry.kind, meta };
        if let Some(link) = link {
            if let Some((first, meta)) = self.links.get(&link)
                && *meta == copied.meta
            {
                let first = first.clone();
                return self.edit.link(&first, copied);
            }
            self.links.insert(link, (item.target, copied.meta.clone()));
        }
        self.edit.put(copied)
    }

    /// Whether something in a directory that did not match itself could.
    fn may_hold_included(&self, relative: &RelPath) -> Result<bool, TreeError> {
        Ok(self.include.is_empty()
            || relative.is_root()
            || self.include.may_match_in(relative.as_bytes(), false)
            || self.include.matches(relative.as_bytes())?)
    }

    /// Makes directories whose turn came because something in them matched.
    fn make_pending(&mut self, overwrite: bool) -> Result<(), TreeError> {
        let mut pending = std::mem::take(&mut self.pending);
        let result = pending.iter_mut().filter(|pending| !pending.copied).try_for_each(|pending| {
            let created = self.make_directory(&pending.entry, &pending.target, overwrite)?;
            if created {
                let meta = self.metadata(&pending.entry);
                self.edit.describe(&pending.target, |old| replace(old, meta))?;
            }
            pending.copied = true;
            Ok(())
        });
        self.pending = pending;
        result
    }

    fn make_directory(
        &mut self,
        entry: &Entry,
        target: &RelPath,
        overwrite: bool,
    ) -> Result<bool, TreeError> {
        match self.edit.lookup(target)? {
            None => {
                let meta = self.metadata(entry);
                self.edit.put(Entry { path: target.clone(), kind: Kind::DIRECTORY, meta })?;
                Ok(true)
            }
            Some(Entry { kind: Kind::Directory { .. }, .. }) => {
                if overwrite {
                    self.edit.describe(target, |meta| meta.mode = entry.meta.mode)?;
                }
                Ok(false)
            }
            Some(_) => Err(TreeError::Invalid(format!("cannot copy to non-directory: /{target}"))),
        }
    }

    /// What a copy has besides its content.
    fn metadata(&self, entry: &Entry) -> Metadata {
        let mut meta = entry.meta.clone();
        if let Some((uid, gid)) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        if let Some(mode) = &self.action.mode
            && !matches!(entry.kind, Kind::Symlink(_))
        {
            meta.mode = mode.apply(meta.mode, entry.kind.is_directory());
        }
        if let Some(timestamp) = self.action.timestamp {
            meta.mtime = timestamp;
        } else if entry.path.is_root() && meta.mtime == Mtime::default() {
            // The root of a context has no time of its own: the directory is one that is made.
            meta.mtime = self.parents.mtime;
        }
        meta
    }

    /// Unpacks the source if it is an archive.
    fn unpack(
        &mut self,
        path: &RelPath,
        destination: &Destination,
        with: Surroundings<'_>,
    ) -> Result<bool, TreeError> {
        let Some(unpack) = with.unpack else { return Ok(false) };
        let from = resolve(self.source, path, true)?;
        let Some(Entry { kind: Kind::File(content), .. }) = self.source.lookup(&from)? else {
            return Ok(false);
        };
        let Some(archive) = unpack.unpack(&content)? else { return Ok(false) };
        let top = resolve(self.edit, &destination.path, true)?;
        make_all(self.edit, &top, Making { mode: 0o755, ..self.parents })?;
        let mut placed: BTreeMap<RelPath, RelPath> = BTreeMap::new();
        for entry in &archive {
            let parent = entry.path.parent().unwrap_or_else(RelPath::root);
            // Links in the way are followed as if the destination were the root.
            let parent = resolve(&Beneath { view: &*self.edit, top: &top }, &parent, true)?;
            let parent = top.join_path(&parent);
            // Directories that an archive leaves out are root's, whatever owner its entries are given.
            make_all(self.edit, &parent, Making { mode: 0o755, ids: (0, 0), ..self.parents })?;
            let Ok(target) = parent.join(entry.path.name()) else { continue };
            self.place(entry, target, &mut placed)?;
        }
        Ok(true)
    }

    fn place(
        &mut self,
        entry: &Entry,
        target: RelPath,
        placed: &mut BTreeMap<RelPath, RelPath>,
    ) -> Result<(), TreeError> {
        let mut meta = entry.meta.clone();
        if let Some((uid, gid)) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        let existing = self.edit.lookup(&target)?;
        let both = existing.as_ref().is_some_and(|existing| existing.kind.is_directory())
            && entry.kind.is_directory();
        if existing.is_some() && !both {
            self.edit.remove(&target)?;
        }
        placed.insert(entry.path.clone(), target.clone());
        match &entry.kind {
            Kind::Whiteout => {
                placed.remove(&entry.path);
                Ok(())
            }
            Kind::Hardlink(first) => {
                let shown = || TreeError::not_found(format!("/{first}"));
                let first = placed.get(first).ok_or_else(shown)?.clone();
                let original = self.edit.lookup(&first)?.ok_or_else(shown)?;
                self.edit.link(&first, Entry { path: target, ..original })
            }
            Kind::Directory { .. } if both => self.edit.describe(&target, |old| replace(old, meta)),
            Kind::Directory { .. } => {
                self.edit.put(Entry { path: target, kind: Kind::DIRECTORY, meta })
            }
            kind => self.edit.put(Entry { path: target, kind: kind.clone(), meta }),
        }
    }
}

/// Gives a directory the metadata of another. Extended attributes come on top of those that are there.
fn replace(old: &mut Metadata, mut new: Metadata) {
    let mut xattrs = std::mem::take(&mut old.xattrs);
    xattrs.append(&mut new.xattrs);
    *old = Metadata { xattrs, ..new };
}

/// A directory of a view as if it were the root.
struct Beneath<'a> {
    view: &'a dyn TreeView,
    top: &'a RelPath,
}

impl TreeView for Beneath<'_> {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        self.view.lookup(&self.top.join_path(path))
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        self.view.list(&self.top.join_path(path))
    }
}
