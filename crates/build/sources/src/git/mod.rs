//! Trees of git repositories.
//!
//! A [`GitRequest`] is pinned to a commit ([`Git::pin`]) and then fetched ([`Git::fetch`]): the system's `git` brings the
//! objects into a bare repository of the store, one for each address, and this module writes the files of the commit into
//! a tree of the store. `git checkout` is never run, so nothing a repository says is executed: no hooks, no filters, no
//! configuration of its own. What is fetched once is found again by its commit, without a network.

mod address;
mod auth;
mod checkout;
mod command;
mod error;
mod gitdir;
mod lfs;
mod moved;
mod refs;
mod repository;
mod submodules;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fstree::RelPath;
use oci::Digest;
use serde::{Deserialize, Serialize};
use store::{Ref, Store};

pub use auth::{GitAuth, SecretFn, SshKeys};
pub use error::GitError;

use crate::Remote;

use address::Address;
use auth::Scope;
use command::Runner;
use refs::Resolved;
use repository::{Commit, Repository};
use submodules::Submodule;

/// What of which repository is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRequest {
    /// `https://…`, `http://…`, `git://…`, `ssh://…` or `user@host:path`.
    pub remote: String,
    /// Branch, tag or commit; empty is the default branch.
    pub reference: String,
    /// Directory inside the repository; empty is all of it.
    pub subdir: String,
    /// Commit, or the beginning of its name, that `reference` must be.
    pub checksum: String,
    /// Whether the tree has a `.git`. Only for whole repositories, as in BuildKit.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// Whether `checksum` is fetched without asking what `reference` is now.
    pub fetch_by_commit: bool,
}

/// How repositories are reached.
#[derive(Clone, Default)]
pub struct GitOptions {
    /// Directories with programs (`git`, `ssh`, `git-lfs`), in order.
    pub programs: Vec<PathBuf>,
    /// Proxies, as variables for git.
    pub proxies: Vec<(String, String)>,
    /// Files with the keys of ssh servers.
    pub known_hosts: Vec<PathBuf>,
    /// Never use the network.
    pub offline: bool,
    /// Set when the user interrupts.
    pub cancel: Arc<AtomicBool>,
}

/// A request that cannot mean something else any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitPin {
    /// As it was asked for.
    pub request: GitRequest,
    /// The commit.
    pub commit: String,
    /// Full name of the branch or tag, where it was one.
    name: Option<String>,
    /// What the name leads to: the commit, or a tag object that leads to it.
    object: String,
}

/// A tree in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitTree {
    /// Where it is.
    pub path: PathBuf,
    /// When the commit was made, in seconds since 1970.
    pub time: i64,
    /// The commit.
    pub commit: String,
}

/// What is remembered of a tree.
#[derive(Serialize, Deserialize)]
struct TreeRecord {
    time: i64,
    commit: String,
}

/// Told a line of what git says.
pub type GitLog<'a> = &'a (dyn Fn(&str) + Sync);

/// Fetches trees of repositories.
#[derive(Clone)]
pub struct Git {
    store: Store,
    remote: Remote,
    options: GitOptions,
}

impl Git {
    /// Fetches into `store`; `remote` asks servers where what moved is. Starts nothing yet.
    pub fn new(store: Store, remote: Remote, options: GitOptions) -> Self {
        Self { store, remote, options }
    }

    /// Finds out which commit is meant. A full commit is taken at its word, without asking anybody.
    pub fn pin(
        &self,
        request: &GitRequest,
        auth: &GitAuth,
        log: GitLog<'_>,
    ) -> Result<GitPin, GitError> {
        let address = Address::parse(&request.remote)?;
        refs::check_name(&request.reference)?;
        refs::check_checksum(&request.checksum)?;
        let pin = |resolved: Resolved| GitPin {
            request: request.clone(),
            commit: resolved.commit,
            name: resolved.name,
            object: resolved.object,
        };
        let by_commit = request.fetch_by_commit || request.reference.is_empty();
        if refs::is_full(&request.checksum) && by_commit {
            let mut resolved = Resolved::commit(&request.checksum);
            resolved.name = refs::full_name(&request.reference);
            return Ok(pin(resolved));
        }
        if refs::is_full(&request.reference) {
            let resolved = Resolved::commit(&request.reference);
            return refs::matching(resolved, &request.checksum, &address.shown()).map(pin);
        }
        let key = Digest::of(format!("{}\n{}", address.url(), request.reference).as_bytes());
        if self.options.offline {
            let known = self.store.get("git-ref", key.hex()).map_err(store_error(&address))?;
            let known = known.and_then(|raw| serde_json::from_slice::<Resolved>(&raw).ok());
            let known = known.ok_or_else(|| GitError::Offline { remote: address.shown() })?;
            return refs::matching(known, &request.checksum, &address.shown()).map(pin);
        }
        let runner = Runner::new(&self.store, &self.options, &address, auth, Scope::AnyHost)?;
        let listed = match runner.list_refs(&request.reference, log) {
            Err(GitError::Elsewhere { .. }) => {
                let (store, remote) = (&self.store, &self.remote);
                let runner = runner.followed(store, remote, auth, Scope::AnyHost, log)?;
                runner.list_refs(&request.reference, log)?
            }
            listed => listed?,
        };
        let resolved = refs::choose(&listed, &request.reference, &address.shown())?;
        let record = serde_json::to_vec(&resolved).unwrap_or_default();
        self.store.put("git-ref", key.hex(), &record, &[]).map_err(store_error(&address))?;
        refs::matching(resolved, &request.checksum, &address.shown()).map(pin)
    }

    /// The tree of a pinned request, if the store has it.
    pub fn stored(&self, pin: &GitPin) -> Result<Option<GitTree>, GitError> {
        let address = Address::parse(&pin.request.remote)?;
        self.known(&self.tree_id(pin, &address), &address)
    }

    /// Makes sure that the store has the tree.
    pub fn fetch(
        &self,
        pin: &GitPin,
        auth: &GitAuth,
        log: GitLog<'_>,
    ) -> Result<GitTree, GitError> {
        let address = Address::parse(&pin.request.remote)?;
        let id = self.tree_id(pin, &address);
        if let Some(tree) = self.known(&id, &address)? {
            return Ok(tree);
        }
        let writer = self.store.new_tree().map_err(store_error(&address))?;
        let source = Source {
            address: &address,
            scope: Scope::AnyHost,
            commit: &pin.commit,
            object: &pin.object,
            name: pin.name.as_deref(),
            subdir: &pin.request.subdir,
        };
        let keeps = pin.request.keep_git_dir && pin.request.subdir.is_empty();
        let mut place = Place {
            root: writer.path(),
            path: RelPath::root(),
            git_dir: keeps.then(|| RelPath::clean(".git")),
            submodules: pin.request.submodules,
            depth: 0,
            left: submodules::MAX_COUNT,
            known: Some(&id),
        };
        let Some(commit) = self.write(&source, auth, &mut place, log)? else {
            // Another process has made it while this one waited for the repository.
            return self.known(&id, &address)?.ok_or_else(|| GitError::Damaged {
                remote: address.shown(),
                reason: "a tree of it vanished".to_owned(),
            });
        };
        checkout::set_times(writer.path(), commit.time)?;
        writer.commit(&id).map_err(store_error(&address))?;
        let record = TreeRecord { time: commit.time, commit: commit.id.clone() };
        let record = serde_json::to_vec(&record).unwrap_or_default();
        let refs = [Ref::Tree(id.clone())];
        self.store.put("git", &id, &record, &refs).map_err(store_error(&address))?;
        Ok(GitTree { path: self.store.tree_path(&id), time: commit.time, commit: commit.id })
    }

    /// Writes a commit and its submodules; `None` when the tree it is for was made meanwhile.
    fn write(
        &self,
        source: &Source<'_>,
        auth: &GitAuth,
        place: &mut Place<'_>,
        log: GitLog<'_>,
    ) -> Result<Option<Commit>, GitError> {
        let address = source.address;
        let mut runner = Runner::new(&self.store, &self.options, address, auth, source.scope)?;
        let repository = Repository::open(&self.store, address, source.commit, &self.options)?;
        if let Some(id) = place.known
            && self.known(id, address)?.is_some()
        {
            return Ok(None);
        }
        // What the server says of another place is asked before anything is fetched from it.
        let mut fetched = repository.fetch(&runner, &source.object(), log);
        if let Err(GitError::Elsewhere { .. }) = fetched {
            runner = runner.followed(&self.store, &self.remote, auth, source.scope, log)?;
            fetched = repository.fetch(&runner, &source.object(), log);
        }
        let written =
            fetched.and_then(|()| self.write_files(source, &runner, &repository, place, log));
        let (commit, modules) = match written {
            // What a killed process left may be damaged in ways git does not mend: begin anew, once.
            Err(GitError::Damaged { .. }) => {
                repository.clear()?;
                let to = place.root.join(place.path.as_path());
                empty(&to).map_err(|error| GitError::Write { path: to, source: error.into() })?;
                repository.fetch(&runner, &source.object(), log)?;
                self.write_files(source, &runner, &repository, place, log)?
            }
            written => written?,
        };
        // Not while submodules are fetched: they may be this repository again, and other processes wait for it.
        drop(repository);
        for module in modules {
            self.write_submodule(source, auth, &module, place, log)?;
        }
        Ok(Some(commit))
    }

    fn write_files(
        &self,
        source: &Source<'_>,
        runner: &Runner<'_>,
        repository: &Repository,
        place: &Place<'_>,
        log: GitLog<'_>,
    ) -> Result<(Commit, Vec<Submodule>), GitError> {
        let commit = repository.commit(runner, source.object)?;
        let to = place.root.join(place.path.as_path());
        let what = checkout::Wanted { commit: &commit, subdir: source.subdir, store: &self.store };
        let written = checkout::write(runner, repository, &what, &to)?;
        let modules = if place.submodules {
            let subdir = RelPath::clean(source.subdir);
            submodules::of(runner, repository, &commit, &written, &subdir)?
        } else {
            Vec::new()
        };
        if let Some(git_dir) = &place.git_dir {
            let up = git_dir.segments().count();
            let worktree = format!("{}{}", "../".repeat(up), place.path);
            let facts = gitdir::Facts {
                commit: &commit,
                object: source.object,
                name: source.name,
                submodules: &modules,
                worktree: (!place.path.is_root()).then_some(worktree),
            };
            let directory = place.root.join(git_dir.as_path());
            gitdir::write(runner, repository, &facts, &written, &directory)?;
        }
        lfs::fill(runner, repository, &commit, &written.pointers, &to, log)?;
        Ok((commit, modules))
    }

    fn write_submodule(
        &self,
        parent: &Source<'_>,
        auth: &GitAuth,
        module: &Submodule,
        place: &mut Place<'_>,
        log: GitLog<'_>,
    ) -> Result<(), GitError> {
        let refuse = |reason: String| GitError::Hostile { remote: parent.address.shown(), reason };
        if place.depth == submodules::MAX_DEPTH || place.left == 0 {
            return Err(refuse("its submodules are too many, or too deep".to_owned()));
        }
        place.left -= 1;
        let beneath = module.path.beneath(&RelPath::clean(parent.subdir));
        let beneath = beneath.ok_or_else(|| refuse("a submodule is elsewhere".to_owned()))?;
        let path = place.path.join_path(&beneath);
        let git_dir = place.git_dir.as_ref().map(|directory| {
            directory.join_path(&RelPath::clean(format!("modules/{}", module.name)))
        });
        log(&format!("submodule {} is {}", module.path, module.address.shown()));
        let same =
            module.address.origin() == parent.address.origin() && parent.scope == Scope::AnyHost;
        let source = Source {
            address: &module.address,
            scope: if same { Scope::AnyHost } else { Scope::NamedHostOnly },
            commit: &module.commit,
            object: &module.commit,
            name: None,
            subdir: "",
        };
        let mut inner = Place {
            root: place.root,
            path: path.clone(),
            git_dir: git_dir.clone(),
            submodules: true,
            depth: place.depth + 1,
            left: place.left,
            known: None,
        };
        self.write(&source, auth, &mut inner, log)?;
        place.left = inner.left;
        if let Some(git_dir) = git_dir {
            let file = place.root.join(path.as_path()).join(".git");
            let text = format!("gitdir: {}{git_dir}\n", "../".repeat(path.segments().count()));
            fs_err::write(&file, text)
                .map_err(|error| GitError::Write { path: file, source: error.into() })?;
        }
        Ok(())
    }

    fn known(&self, id: &str, address: &Address) -> Result<Option<GitTree>, GitError> {
        let record = self.store.get("git", id).map_err(store_error(address))?;
        let record = record.and_then(|raw| serde_json::from_slice::<TreeRecord>(&raw).ok());
        Ok(record.filter(|_| self.store.has_tree(id)).map(|record| GitTree {
            path: self.store.tree_path(id),
            time: record.time,
            commit: record.commit,
        }))
    }

    /// Trees that could differ have different ids.
    fn tree_id(&self, pin: &GitPin, address: &Address) -> String {
        let request = &pin.request;
        let text = serde_json::json!([
            "git tree 1",
            address.url(),
            pin.commit,
            request.subdir,
            request.keep_git_dir.then(|| (pin.name.clone(), pin.object.clone())),
            request.submodules,
            command::find(&self.options.programs, "git-lfs").is_some(),
        ]);
        format!("git-{}", Digest::of(text.to_string().as_bytes()).hex())
    }
}

/// A commit of a repository.
struct Source<'a> {
    address: &'a Address,
    scope: Scope,
    commit: &'a str,
    object: &'a str,
    name: Option<&'a str>,
    subdir: &'a str,
}

impl Source<'_> {
    fn object(&self) -> repository::Object<'_> {
        repository::Object { id: self.object, commit: self.commit, name: self.name }
    }
}

/// Where it is written.
struct Place<'a> {
    root: &'a Path,
    /// Beneath the root.
    path: RelPath,
    /// Beneath the root.
    git_dir: Option<RelPath>,
    submodules: bool,
    depth: usize,
    /// How many submodules there may still be.
    left: usize,
    /// The tree that this is for.
    known: Option<&'a str>,
}

/// Removes what is in a directory.
fn empty(directory: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let path = entry?.path();
        if fs_err::symlink_metadata(&path)?.is_dir() {
            fs_err::remove_dir_all(&path)?;
        } else {
            fs_err::remove_file(&path)?;
        }
    }
    Ok(())
}

fn store_error(address: &Address) -> impl FnOnce(store::StoreError) -> GitError {
    let remote = address.shown();
    move |source| GitError::Store { remote, source: Box::new(source) }
}
