use super::{Edit, MakeDirectory, MakeFile, Owner, Remove, Surroundings, Symlink};
use crate::{
    Content, Entry, Kind, Metadata, Mtime, RelPath, TreeError, TreeView, has_wildcards, resolve,
};

/// Owner and times of what is made on the way.
#[derive(Clone, Copy)]
pub(super) struct Making {
    pub(super) mode: u32,
    pub(super) ids: (u32, u32),
    pub(super) mtime: Mtime,
}

/// Makes a directory and those above it. Returns which ones were made.
pub(super) fn make_all(
    edit: &mut Edit,
    path: &RelPath,
    making: Making,
) -> Result<Vec<RelPath>, TreeError> {
    let mut made = Vec::new();
    for directory in path.ancestors().chain((!path.is_root()).then(|| path.clone())) {
        match edit.lookup(&directory)? {
            Some(Entry { kind: Kind::Directory { .. }, .. }) => {}
            Some(_) => return Err(TreeError::NotDirectory { path: format!("/{directory}") }),
            None => {
                edit.put(directory_entry(&directory, making))?;
                made.push(directory);
            }
        }
    }
    Ok(made)
}

fn directory_entry(path: &RelPath, making: Making) -> Entry {
    let (uid, gid) = making.ids;
    let meta = Metadata { uid, gid, ..Metadata::root_owned(making.mode, making.mtime) };
    Entry { path: path.clone(), kind: Kind::DIRECTORY, meta }
}

/// Who gets files that are made, when somebody is named.
pub(super) fn ids(edit: &Edit, owner: Option<&Owner>) -> Result<Option<(u32, u32)>, TreeError> {
    owner.map(|owner| owner.ids(edit)).transpose()
}

/// Fails when the directory above is missing or none.
fn need_parent(edit: &Edit, path: &RelPath) -> Result<(), TreeError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match edit.lookup(&parent)? {
        Some(Entry { kind: Kind::Directory { .. }, .. }) => Ok(()),
        Some(_) => Err(TreeError::NotDirectory { path: format!("/{parent}") }),
        None => Err(TreeError::not_found(format!("/{parent}"))),
    }
}

pub(super) fn make_directory(
    edit: &mut Edit,
    action: &MakeDirectory,
    with: Surroundings<'_>,
) -> Result<(), TreeError> {
    let path = resolve(edit, &RelPath::clean(&action.path), true)?;
    let making = Making {
        mode: action.mode & 0o777,
        ids: ids(edit, action.owner.as_ref())?.unwrap_or((0, 0)),
        mtime: action.timestamp.unwrap_or(with.now),
    };
    if action.parents {
        make_all(edit, &path, making)?;
        return Ok(());
    }
    if edit.lookup(&path)?.is_some() {
        return Ok(());
    }
    need_parent(edit, &path)?;
    edit.put(directory_entry(&path, making))
}

pub(super) fn make_file(
    edit: &mut Edit,
    action: &MakeFile,
    with: Surroundings<'_>,
) -> Result<(), TreeError> {
    let path = resolve(edit, &RelPath::clean(&action.path), true)?;
    let owner = ids(edit, action.owner.as_ref())?;
    let mut meta = match edit.lookup(&path)? {
        // Written over: mode and owner stay, file capabilities do not.
        Some(Entry { kind: Kind::File(_), mut meta, .. }) => {
            meta.xattrs.remove(b"security.capability".as_slice());
            meta
        }
        Some(Entry { kind: Kind::Directory { .. }, .. }) => {
            return Err(TreeError::Invalid(format!(
                "cannot write file `/{path}`: it is a directory"
            )));
        }
        _ => Metadata::root_owned(action.mode & 0o777, with.now),
    };
    meta.mtime = action.timestamp.unwrap_or(with.now);
    if let Some((uid, gid)) = owner {
        (meta.uid, meta.gid) = (uid, gid);
    }
    need_parent(edit, &path)?;
    edit.put(Entry { path, kind: Kind::File(Content::bytes(action.data.clone())), meta })
}

pub(super) fn symlink(
    edit: &mut Edit,
    action: &Symlink,
    with: Surroundings<'_>,
) -> Result<(), TreeError> {
    let path = resolve(edit, &RelPath::clean(&action.path), true)?;
    if edit.lookup(&path)?.is_some() {
        return Err(TreeError::Invalid(format!(
            "cannot make symbolic link `/{path}`: something is there already"
        )));
    }
    need_parent(edit, &path)?;
    let (uid, gid) = ids(edit, action.owner.as_ref())?.unwrap_or((0, 0));
    let meta =
        Metadata { uid, gid, ..Metadata::root_owned(0o777, action.timestamp.unwrap_or(with.now)) };
    edit.put(Entry { path, kind: Kind::Symlink(action.target.clone()), meta })
}

pub(super) fn remove(edit: &mut Edit, action: &Remove) -> Result<(), TreeError> {
    let path = RelPath::clean(&action.path);
    let paths = if action.wildcard { expand(edit, &path, false)? } else { vec![path] };
    for path in paths {
        if path.is_root() {
            return Err(TreeError::Invalid("cannot remove the root directory".to_owned()));
        }
        let parent = resolve(edit, &path.parent().unwrap_or_else(RelPath::root), true)?;
        let at = parent.join(path.name()).map_err(|error| TreeError::Invalid(error.to_string()))?;
        if edit.lookup(&at)?.is_some() {
            edit.remove(&at)?;
        } else if !action.allow_not_found {
            return Err(TreeError::not_found(format!("/{path}")));
        }
    }
    Ok(())
}

/// The paths that a pattern matches, sorted; the path itself when it is no pattern. The part before the first
/// wildcard is resolved, links beyond it are not followed.
pub(crate) fn expand(
    view: &dyn TreeView,
    pattern: &RelPath,
    follow: bool,
) -> Result<Vec<RelPath>, TreeError> {
    let segments: Vec<&[u8]> = pattern.segments().collect();
    let Some(first) = segments.iter().position(|segment| has_wildcards(segment)) else {
        return Ok(vec![pattern.clone()]);
    };
    let (fixed, wild) = segments.split_at(first);
    let fixed = RelPath::clean(fixed.join(&b'/'));
    let base = match (fixed.parent(), follow) {
        (None, _) => fixed,
        (_, true) => resolve(view, &fixed, true)?,
        (Some(parent), false) => {
            let parent = resolve(view, &parent, true)?;
            parent.join(fixed.name()).map_err(|error| TreeError::Invalid(error.to_string()))?
        }
    };
    if view.lookup(&base)?.is_none() {
        return Err(TreeError::not_found(format!("/{base}")));
    }
    let mut found = vec![base];
    for segment in wild {
        let mut next = Vec::new();
        for directory in found {
            for name in view.list(&directory)? {
                // Like Go's walk, which takes a faulty pattern for one that matches nothing.
                if crate::glob_match(segment, &name).unwrap_or(false)
                    && let Ok(path) = directory.join(&name)
                {
                    next.push(path);
                }
            }
        }
        found = next;
    }
    Ok(found)
}
