//! A bare repository of the store: one for each address, used by one process at a time.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use fs_err::File;
use oci::Digest;
use rustix::fs::{FlockOperation, flock};
use store::Store;

use super::address::Address;
use super::command::{Run, Runner, args};
use super::{GitError, GitLog, GitOptions};

pub(crate) struct Repository {
    pub(crate) path: PathBuf,
    pub(crate) lock: Lock,
    remote: String,
}

/// A lock that lasts as long as this process or one that it shared the lock with.
pub(crate) struct Lock(File);

impl Lock {
    /// For a child to hold.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.0.file().try_clone().map(Into::into)
    }
}

/// What is to be fetched.
pub(crate) struct Object<'a> {
    /// The commit, or the tag object that leads to it.
    pub(crate) id: &'a str,
    pub(crate) commit: &'a str,
    /// Branch or tag.
    pub(crate) name: Option<&'a str>,
}

/// A commit that the repository has, with its tree.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) tree: String,
    pub(crate) time: i64,
    pub(crate) has_parents: bool,
}

impl Repository {
    /// Opens the repository for an address, made if it is new. Waits while another process uses it.
    pub(crate) fn open(
        store: &Store,
        address: &Address,
        commit: &str,
        options: &GitOptions,
    ) -> Result<Self, GitError> {
        // Object names of different lengths cannot be in one repository.
        let key = format!("{}\n{}", address.url(), commit.len());
        let id = format!("git-{}", Digest::of(key.as_bytes()).hex());
        let directory = store.cache_directory(&id).map_err(super::store_error(address))?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| GitError::Write { path, source: source.into() }
        };
        let lock_path = directory.join("lock");
        let mut open = fs_err::OpenOptions::new();
        let lock = open.read(true).write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path))?;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(&lock_path)(errno.into())),
            }
            if options.cancel.load(Ordering::Relaxed) {
                return Err(GitError::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let path = directory.join("bare");
        sweep(&path, 0);
        Ok(Self { path, lock: Lock(lock), remote: address.shown() })
    }

    /// Forgets everything it has.
    pub(crate) fn clear(&self) -> Result<(), GitError> {
        match fs_err::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(GitError::Write { path: self.path.clone(), source: error.into() })
            }
            _ => Ok(()),
        }
    }

    fn run(
        &self,
        runner: &Runner<'_>,
        action: &'static str,
        words: &[&str],
        log: GitLog<'_>,
    ) -> Result<Vec<u8>, GitError> {
        let (git_dir, lock) = (Some(self.path.as_path()), Some(&self.lock));
        runner.run(&Run { action, args: args(words), git_dir, lock, log })
    }

    /// Reads something that must be there.
    pub(crate) fn read(&self, runner: &Runner<'_>, words: &[&str]) -> Result<Vec<u8>, GitError> {
        self.run(runner, "read", words, &|_| {}).map_err(|error| match error {
            GitError::Failed { message, .. } => self.damaged(message),
            other => other,
        })
    }

    pub(crate) fn damaged(&self, reason: impl Into<String>) -> GitError {
        GitError::Damaged { remote: self.remote.clone(), reason: reason.into() }
    }

    /// Makes sure that the commit and its files are here: by its name where the server gives commits by name, else by the
    /// branch or tag, else all there is.
    pub(crate) fn fetch(
        &self,
        runner: &Runner<'_>,
        pin: &Object<'_>,
        log: GitLog<'_>,
    ) -> Result<(), GitError> {
        let format = if pin.commit.len() == 64 { "sha256" } else { "sha1" };
        if fs_err::symlink_metadata(self.path.join("HEAD")).is_err() {
            self.clear()?;
            let directory = self.path.as_os_str();
            let mut words = args(["init", "--bare", "--quiet", "--template="]);
            // Older programs know SHA-1 only, and not the option.
            words.extend((format != "sha1").then(|| format!("--object-format={format}").into()));
            words.extend([std::ffi::OsString::from("--"), directory.to_owned()]);
            let lock = Some(&self.lock);
            runner.run(&Run { action: "prepare", args: words, git_dir: None, lock, log })?;
        }
        // A name is given only after git has seen that nothing is missing.
        let mark = format!("refs/crossdock/{}", pin.id);
        if self.has(runner, &mark) {
            return Ok(());
        }
        if runner.options.offline {
            return Err(GitError::Offline { remote: self.remote.clone() });
        }
        let url = runner.url();
        let fetch = |depth: &str, what: &[&str]| {
            let mut words = vec!["fetch", "--no-tags", "--force", "--no-write-fetch-head", depth];
            words.extend(["--refmap=", "--update-shallow", "--", url]);
            words.extend(what);
            self.run(runner, "fetch", &words, log)
        };
        let error = match fetch("--depth=1", &[&format!("{}:{mark}", pin.id)]) {
            Ok(_) => return Ok(()),
            Err(error @ GitError::Failed { .. }) => error,
            Err(other) => return Err(other),
        };
        let refused = matches!(&error, GitError::Failed { message, .. }
            if ["not our ref", "unadvertised object", "remote error", "couldn't find remote ref"]
                .iter().any(|text| message.contains(text)));
        if !refused {
            return Err(error);
        }
        if let Some(name) = &pin.name {
            let outcome = fetch("--depth=1", &[&format!("{name}:refs/crossdock-new")]);
            if outcome.is_ok() && self.accept(runner, pin, &mark)? {
                return Ok(());
            }
        }
        log("the server does not give a single commit; fetching all branches and tags");
        let all = ["+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*"];
        fetch("--depth=2147483647", &all)?;
        if self.accept(runner, pin, &mark)? {
            return Ok(());
        }
        Err(GitError::NotFound {
            remote: self.remote.clone(),
            name: pin.commit.to_owned(),
            near: Vec::new(),
        })
    }

    fn has(&self, runner: &Runner<'_>, name: &str) -> bool {
        self.run(runner, "read", &["rev-parse", "--verify", "--quiet", name], &|_| {}).is_ok()
    }

    /// Whether the object came along with something else; then it gets its name.
    fn accept(&self, runner: &Runner<'_>, pin: &Object<'_>, mark: &str) -> Result<bool, GitError> {
        if !self.has(runner, &format!("{}^{{tree}}", pin.id)) {
            return Ok(false);
        }
        self.read(runner, &["update-ref", mark, pin.id])?;
        Ok(true)
    }

    /// The commit that a commit's or tag's name leads to.
    pub(crate) fn commit(&self, runner: &Runner<'_>, id: &str) -> Result<Commit, GitError> {
        let peeled = format!("{id}^{{commit}}");
        let found = self.read(runner, &["rev-parse", "--verify", &peeled])?;
        let id = String::from_utf8_lossy(&found).trim().to_owned();
        let raw = self.read(runner, &["cat-file", "commit", &id])?;
        let text = String::from_utf8_lossy(&raw);
        let (mut tree, mut time, mut has_parents) = (None, None, false);
        for line in text.lines().take_while(|line| !line.is_empty()) {
            match line.split_once(' ') {
                Some(("tree", it)) if super::refs::is_full(it) => tree = Some(it.to_owned()),
                Some(("parent", _)) => has_parents = true,
                Some(("committer", it)) => {
                    let mut words = it.rsplit(' ');
                    words.next();
                    time = words.next().and_then(|seconds| seconds.parse::<i64>().ok());
                }
                _ => {}
            }
        }
        let tree = tree.ok_or_else(|| self.damaged("a commit has no tree"))?;
        // A time that no clock shows is none.
        let time = time.filter(|time| (0..=253_402_300_799).contains(time)).unwrap_or(0);
        Ok(Commit { id, tree, time, has_parents })
    }
}

/// Removes what a killed git left: locks that nobody holds, and unfinished packs. Nobody else is in the repository.
fn sweep(directory: &Path, depth: usize) {
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
        let name = name.to_string_lossy();
        if kind.is_dir() && depth < 8 {
            sweep(&entry.path(), depth + 1);
        } else if name.ends_with(".lock") || name.starts_with("tmp_") || name.starts_with(".tmp-") {
            // What stays is told by git.
            drop(fs_err::remove_file(entry.path()));
        }
    }
}
