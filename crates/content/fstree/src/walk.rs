//! Walks a directory with several threads; the result does not depend on how many.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};
use rustix::io::Errno;

use crate::disk::{Reading, read_entry};
use crate::{Entry, Kind, RelPath, Root, TreeError};

/// What to do with a file that was found.
pub(crate) enum Step<S> {
    /// Neither it nor anything in it.
    Skip,
    /// It only if something in it is taken.
    Look(S),
    /// Take it.
    Take(S),
}

/// A file that was found.
pub(crate) struct Found {
    pub(crate) entry: Entry,
    /// Which file it is, when it has further names.
    pub(crate) link: Option<(u64, u64)>,
    taken: bool,
}

struct Work<S> {
    path: RelPath,
    state: S,
    taken: bool,
}

struct Queue<S> {
    waiting: Vec<Work<S>>,
    busy: usize,
    failed: bool,
}

/// How many directories are read before threads are worth their start.
const ALONE: usize = 16;
const MAX_THREADS: usize = 8;

/// Everything beneath `root` that `choose` takes. It is asked once for each file that is not beneath something
/// skipped, with what it said of the directory above.
pub(crate) fn walk<S, F>(
    root: &Arc<Root>,
    reading: Reading,
    start: S,
    choose: F,
) -> Result<BTreeMap<RelPath, Found>, TreeError>
where
    S: Send,
    F: Fn(&RelPath, bool, &S) -> Result<Step<S>, TreeError> + Sync,
{
    let mut found = Vec::new();
    let mut waiting = vec![Work { path: RelPath::root(), state: start, taken: true }];
    for _ in 0..ALONE {
        let Some(work) = waiting.pop() else { break };
        read_directory(root, reading, &work, &choose, &mut found, &mut waiting)?;
    }
    if !waiting.is_empty() {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let queue = Mutex::new(Queue { waiting, busy: 0, failed: false });
        let changed = Condvar::new();
        let results: Vec<Result<Vec<Found>, TreeError>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|_| scope.spawn(|| drain(root, reading, &choose, &queue, &changed)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err(panicked(root))))
                .collect()
        });
        for result in results {
            found.extend(result?);
        }
    }
    let mut found: BTreeMap<RelPath, Found> =
        found.into_iter().map(|found| (found.entry.path.clone(), found)).collect();
    keep_taken(&mut found);
    Ok(found)
}

fn panicked(root: &Root) -> TreeError {
    TreeError::io("walk", root.show(&RelPath::root()))(io::Error::other(
        "a thread ended unexpectedly",
    ))
}

fn drain<S, F>(
    root: &Arc<Root>,
    reading: Reading,
    choose: &F,
    queue: &Mutex<Queue<S>>,
    changed: &Condvar,
) -> Result<Vec<Found>, TreeError>
where
    F: Fn(&RelPath, bool, &S) -> Result<Step<S>, TreeError>,
{
    let mut found = Vec::new();
    loop {
        let mut state = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let work = loop {
            if state.failed || (state.waiting.is_empty() && state.busy == 0) {
                return Ok(found);
            }
            if let Some(work) = state.waiting.pop() {
                break work;
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.busy += 1;
        drop(state);
        let mut more = Vec::new();
        let result = read_directory(root, reading, &work, choose, &mut found, &mut more);
        let mut state = queue.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        state.waiting.extend(more);
        state.failed |= result.is_err();
        drop(state);
        changed.notify_all();
        result?;
    }
}

fn read_directory<S, F>(
    root: &Arc<Root>,
    reading: Reading,
    work: &Work<S>,
    choose: &F,
    found: &mut Vec<Found>,
    more: &mut Vec<Work<S>>,
) -> Result<(), TreeError>
where
    F: Fn(&RelPath, bool, &S) -> Result<Step<S>, TreeError>,
{
    let failed = |action: &'static str, path: &RelPath, error: Errno| {
        TreeError::io(action, root.show(path))(error.into())
    };
    let directory = match root.open_file(&work.path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(directory) => directory,
        // Nobody asked for it: it was only looked into.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !work.taken => {
            return Ok(());
        }
        // Gone since it was listed, or no directory any more.
        Err(error)
            if !work.path.is_root()
                && matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(TreeError::io("read directory", root.show(&work.path))(error)),
    };
    let entries =
        Dir::read_from(&directory).map_err(|error| failed("read directory", &work.path, error))?;
    for item in entries {
        let item = item.map_err(|error| failed("read directory", &work.path, error))?;
        let name = item.file_name().to_bytes();
        let Ok(path) = work.path.join(name) else { continue };
        let mut stat = None;
        let kind = match item.file_type() {
            FileType::Unknown => {
                match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(read) => FileType::from_raw_mode(stat.insert(read).st_mode),
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(failed("look at", &path, error)),
                }
            }
            known => known,
        };
        let is_directory = kind == FileType::Directory;
        let (state, taken) = match choose(&path, is_directory, &work.state)? {
            Step::Skip => continue,
            Step::Look(_) if !is_directory => continue,
            Step::Look(state) => (state, false),
            Step::Take(state) => (state, true),
        };
        let stat = match stat
            .map_or_else(|| rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW), Ok)
        {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(failed("look at", &path, error)),
        };
        let entry = match read_entry(root, directory.as_fd(), name, &path, &stat, reading) {
            Ok(entry) => entry,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(TreeError::io("read", root.show(&path))(error)),
        };
        if entry.kind.is_directory() {
            more.push(Work { path, state, taken });
        }
        let link =
            (stat.st_nlink > 1 && !entry.kind.is_directory()).then_some((stat.st_dev, stat.st_ino));
        found.push(Found { entry, link, taken });
    }
    Ok(())
}

/// Drops directories that were only looked into and in which nothing was taken.
fn keep_taken(found: &mut BTreeMap<RelPath, Found>) {
    if found.values().all(|found| found.taken) {
        return;
    }
    let mut wanted: std::collections::BTreeSet<RelPath> = std::collections::BTreeSet::new();
    for (path, found) in found.iter().rev() {
        if found.taken || wanted.contains(path) {
            wanted.extend(path.parent());
        }
    }
    found.retain(|path, found| found.taken || wanted.contains(path));
}

/// Turns second names of a file into hard links to the first.
pub(crate) fn with_links(found: BTreeMap<RelPath, Found>) -> crate::Changeset {
    let mut first: BTreeMap<(u64, u64), RelPath> = BTreeMap::new();
    let mut changes = crate::Changeset::new();
    for (path, Found { mut entry, link, taken: _ }) in found {
        // Whiteouts may share an inode, as OverlayFS makes them; they stay what they are.
        if let Some(link) = link
            && matches!(entry.kind, Kind::File(_) | Kind::Symlink(_))
        {
            match first.get(&link) {
                Some(target) => entry.kind = Kind::Hardlink(target.clone()),
                None => drop(first.insert(link, path)),
            }
        }
        changes.insert(entry);
    }
    changes
}
