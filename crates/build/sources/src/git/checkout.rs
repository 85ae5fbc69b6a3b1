//! Writes the files of a commit. git only hands out objects; where they go is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use fstree::{
    Content, Entry, Kind, Metadata, Mtime, Owners, RelPath, Root, TreeForm, TreeWriter,
    WriteOptions,
};
use store::Store;

use super::GitError;
use super::command::{Run, Runner, args};
use super::repository::{Commit, Repository};

/// Files and directories that a tree may have.
const ENTRY_LIMIT: usize = 4_000_000;
/// Bytes that its files may have together.
const BYTES_LIMIT: u64 = 64 << 30;
/// A link's target may have.
const LINK_LIMIT: u64 = 4096;
/// Larger files are not held in memory.
const MEMORY_LIMIT: u64 = 8 << 20;

/// What of a commit is written where.
pub(crate) struct Wanted<'a> {
    pub(crate) commit: &'a Commit,
    /// Directory inside the repository; empty is all of it.
    pub(crate) subdir: &'a str,
    pub(crate) store: &'a Store,
}

/// What a tree holds at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) what: What,
    pub(crate) object: String,
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    File { executable: bool },
    Symlink,
    Submodule,
}

/// What was written.
pub(crate) struct Written {
    /// Everything in the commit, by path from the root of the repository.
    pub(crate) members: BTreeMap<RelPath, Member>,
    /// Files that stand for others in a large file store, relative to what was written.
    pub(crate) pointers: Vec<(RelPath, super::lfs::Pointer, bool)>,
}

/// Writes the files of a commit into an empty directory.
pub(crate) fn write(
    runner: &Runner<'_>,
    repository: &Repository,
    wanted: &Wanted<'_>,
    to: &Path,
) -> Result<Written, GitError> {
    let remote = || runner.address.shown();
    let words = ["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", &wanted.commit.tree];
    let listed = repository.read(runner, &words)?;
    let members =
        read_listing(&listed).map_err(|reason| GitError::Hostile { remote: remote(), reason })?;
    let no_directory = || GitError::Subdir {
        remote: remote(),
        subdir: wanted.subdir.to_owned(),
        commit: wanted.commit.id.clone(),
    };
    let subdir = RelPath::new(wanted.subdir.as_bytes()).map_err(|_| no_directory())?;
    // Every part must be a directory: no links are followed.
    let is_directory = |path: &RelPath| {
        path.is_root() || members.get(path).is_some_and(|it| it.what == What::Directory)
    };
    if !is_directory(&subdir) {
        return Err(no_directory());
    }
    let failed =
        |source: fstree::TreeError| GitError::Write { path: to.to_owned(), source: source.into() };
    let root = Root::open(to)
        .map_err(|source| GitError::Write { path: to.to_owned(), source: source.into() })?;
    let options = WriteOptions { owners: Owners::Recorded, form: TreeForm::Plain };
    let mut writer = TreeWriter::new(root, options);
    let entry = |path: RelPath, kind: Kind, mode: u32| Entry {
        path,
        kind,
        meta: Metadata::root_owned(mode, Mtime::seconds(wanted.commit.time)),
    };
    writer.put(&entry(RelPath::root(), Kind::DIRECTORY, 0o755)).map_err(failed)?;
    let mut objects = String::new();
    let mut files = Vec::new();
    for (path, member) in &members {
        let Some(path) = path.beneath(&subdir).filter(|path| !path.is_root()) else { continue };
        match member.what {
            What::Directory | What::Submodule => {
                writer.put(&entry(path, Kind::DIRECTORY, 0o755)).map_err(failed)?;
            }
            What::File { .. } | What::Symlink => {
                objects.push_str(&member.object);
                objects.push('\n');
                files.push((path, member));
            }
        }
    }
    let spool = wanted.store.temporary_directory().map_err(super::store_error(runner.address))?;
    let mut pointers = Vec::new();
    let mut problem = None;
    let mut take = |stdout: &mut dyn Read| -> io::Result<()> {
        let mut objects = BufReader::with_capacity(1 << 18, stdout);
        for (path, member) in &files {
            let size = header(&mut objects, &member.object)?;
            if size != member.size {
                return Err(io::Error::other("an object has not the size that its tree says"));
            }
            let content = content(&mut objects, size, spool.path())?;
            let (kind, mode) = match member.what {
                What::Symlink => {
                    if size > LINK_LIMIT || size == 0 {
                        return Err(io::Error::other(format!("`{path}` is no valid link")));
                    }
                    (Kind::Symlink(content.read(LINK_LIMIT)?), 0o777)
                }
                what => {
                    let executable = what == What::File { executable: true };
                    if let Some(pointer) = super::lfs::Pointer::of(&content) {
                        pointers.push((path.clone(), pointer, executable));
                    }
                    (Kind::File(content), if executable { 0o755 } else { 0o644 })
                }
            };
            if let Err(error) = writer.put(&entry(path.clone(), kind, mode)) {
                problem = Some(error);
                return Ok(());
            }
        }
        Ok(())
    };
    let run = Run {
        action: "read",
        args: args(["cat-file", "--batch"]),
        git_dir: Some(&repository.path),
        lock: None,
        log: &|_| {},
    };
    let outcome = runner.pipe(&run, objects.as_bytes(), &mut take);
    if let Some(error) = problem {
        return Err(failed(error));
    }
    outcome.map_err(|error| match error {
        GitError::Start { source, .. } => repository.damaged(source.to_string()),
        GitError::Failed { message, .. } => repository.damaged(message),
        other => other,
    })?;
    writer.finish().map_err(failed)?;
    Ok(Written { members, pointers })
}

/// The line before an object: `NAME blob SIZE`.
fn header(from: &mut impl io::BufRead, object: &str) -> io::Result<u64> {
    let mut line = Vec::new();
    from.by_ref().take(200).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let size = line.strip_prefix(object).and_then(|rest| rest.strip_prefix(" blob "));
    let size = size.and_then(|size| size.trim_end().parse().ok());
    size.ok_or_else(|| io::Error::other(format!("object {object} is missing or no file")))
}

fn content(from: &mut impl Read, size: u64, spool: &Path) -> io::Result<Content> {
    let mut end = [0];
    if size <= MEMORY_LIMIT {
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        from.read_exact(&mut bytes)?;
        from.read_exact(&mut end)?;
        return Ok(Content::bytes(bytes));
    }
    let path = spool.join("object");
    let mut file = fs_err::File::create(&path)?;
    if io::copy(&mut from.by_ref().take(size), &mut file)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    from.read_exact(&mut end)?;
    drop(file);
    let root = Arc::new(Root::open(spool)?);
    Content::disk(&root, &RelPath::clean("object"))
}

/// Reads `git ls-tree -r -t -z -l`. Names that git would not check out, and trees that contradict themselves, are refused.
fn read_listing(listed: &[u8]) -> Result<BTreeMap<RelPath, Member>, String> {
    let mut members = BTreeMap::new();
    let mut total: u64 = 0;
    for line in listed.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
        let tab = line.iter().position(|byte| *byte == b'\t');
        let (Some(facts), Some(name)) =
            (tab.and_then(|at| line.get(..at)), tab.and_then(|at| line.get(at + 1..)))
        else {
            return Err("its listing cannot be read".to_owned());
        };
        let facts = String::from_utf8_lossy(facts).into_owned();
        let mut facts = facts.split_ascii_whitespace();
        let (mode, _, object, size) =
            (facts.next(), facts.next(), facts.next().unwrap_or_default(), facts.next());
        let shown = || fstree::show(name);
        for part in name.split(|byte| *byte == b'/') {
            // Some file systems take further spellings for `.git`; what is built may end up on one.
            if part.is_empty()
                || part == b"."
                || part == b".."
                || part.eq_ignore_ascii_case(b".git")
            {
                return Err(format!("it has the file name `{}`", shown()));
            }
        }
        let path = RelPath::new(name).map_err(|error| format!("`{}`: {error}", shown()))?;
        let what = match mode {
            Some("040000") => What::Directory,
            Some("120000") => What::Symlink,
            Some("160000") => What::Submodule,
            Some("100755") => What::File { executable: true },
            Some("100644" | "100664") => What::File { executable: false },
            other => {
                return Err(format!("`{path}` has the mode {}", other.unwrap_or("?")));
            }
        };
        if !super::refs::is_full(object) {
            return Err("its listing cannot be read".to_owned());
        }
        let size = size.and_then(|size| size.parse::<u64>().ok()).unwrap_or(0);
        total = total.saturating_add(size);
        if total > BYTES_LIMIT || members.len() >= ENTRY_LIMIT {
            return Err("it is too large".to_owned());
        }
        let object = object.to_owned();
        if members.insert(path.clone(), Member { what, object, size }).is_some() {
            return Err(format!("it has `{path}` twice"));
        }
    }
    let directories: BTreeSet<&RelPath> =
        members.iter().filter(|(_, it)| it.what == What::Directory).map(|(path, _)| path).collect();
    for path in members.keys() {
        let parent = path.parent().unwrap_or_else(RelPath::root);
        if !parent.is_root() && !directories.contains(&parent) {
            return Err(format!("`{path}` is beneath something that is no directory"));
        }
    }
    Ok(members)
}

/// Gives everything in a directory one time.
pub(crate) fn set_times(directory: &Path, seconds: i64) -> Result<(), GitError> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let failed = |path: &Path, source: io::Error| GitError::Write {
        path: path.to_owned(),
        source: source.into(),
    };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let mut waiting = vec![(directory.to_owned(), false)];
    while let Some((path, entered)) = waiting.pop() {
        let kind = fs_err::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
        if kind.is_dir() && !entered {
            waiting.push((path.clone(), true));
            for entry in fs_err::read_dir(&path).map_err(|error| failed(&path, error))? {
                waiting.push((entry.map_err(|error| failed(&path, error))?.path(), false));
            }
            continue;
        }
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed(&path, error.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[&str]) -> Result<BTreeMap<RelPath, Member>, String> {
        let object = "a".repeat(40);
        let lines = lines.iter().map(|line| {
            let (mode, path) = line.split_once(' ').unwrap();
            format!("{mode} kind {object}      10\t{path}\0")
        });
        read_listing(lines.collect::<String>().as_bytes())
    }

    #[test]
    fn a_plain_tree_is_read() {
        let members = listing(&["040000 d", "100755 d/run", "120000 link", "160000 sub"]).unwrap();
        let what: Vec<What> = members.values().map(|member| member.what).collect();
        assert_eq!(
            what,
            [What::Directory, What::File { executable: true }, What::Symlink, What::Submodule]
        );
    }

    #[test]
    fn trees_that_lead_elsewhere_are_refused() {
        for lines in [
            &["100644 .git/config"][..],
            &["040000 a", "100644 a/.GIT"],
            &["100644 ../x"],
            &["100644 a/../x"],
            &["100644 /etc/x"],
            &["100644 a//b"],
            &["120000 a", "100644 a/b"],
            &["160000 a", "100644 a/b"],
            &["100644 a", "120000 a"],
            &["060000 device"],
        ] {
            assert!(listing(lines).is_err(), "{lines:?}");
        }
    }
}
