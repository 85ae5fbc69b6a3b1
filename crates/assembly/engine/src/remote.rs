//! Git repositories and files on web servers, for one build: each is asked for once, whoever needs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use build_api::{BuildError, BuildRequest, SecretSource, SshSource};
use fstree::{Changeset, Content, ContextOptions, ContextTree, Mtime};
use llb::GitSource;
use oci::Digest;
use report::Output;
use sources::{
    Download, DownloadError, DownloadRequest, Downloads, Git, GitAuth, GitError, GitOptions,
    GitPin, GitRequest, SshKeys,
};
use store::Store;

use crate::Engine;
use crate::error::{failed, refused};
use crate::reporter::Reporter;
use crate::value::LocalContext;

/// Where an archive is said to come from that was given on standard input, as BuildKit says it.
const GIVEN: &str = "http://buildkit-session/";

/// What one build takes from elsewhere.
pub(crate) struct Remotes<'a> {
    store: &'a Store,
    git: Git,
    downloads: Downloads,
    secrets: Arc<BTreeMap<String, SecretSource>>,
    ssh: &'a BTreeMap<String, SshSource>,
    reporter: Reporter<'a>,
    repositories: Mutex<BTreeMap<String, Arc<Known>>>,
    files: Mutex<BTreeMap<String, Download>>,
}

/// What is known of a repository so far.
#[derive(Default)]
struct Known {
    pin: Mutex<Option<GitPin>>,
    tree: OnceLock<FetchedTree>,
    fetching: Mutex<()>,
}

/// Files of a repository.
#[derive(Clone)]
pub(crate) struct FetchedTree {
    pub(crate) context: Arc<LocalContext>,
    pub(crate) path: std::path::PathBuf,
    /// When the commit was made, in seconds.
    pub(crate) time: i64,
}

impl Engine {
    /// What `request` may take from elsewhere. Asks nobody yet.
    pub(crate) fn remotes<'a>(
        &'a self,
        request: &'a BuildRequest,
        reporter: Reporter<'a>,
    ) -> Remotes<'a> {
        let options = GitOptions {
            programs: self.options.program_dirs.clone(),
            proxies: self.options.proxies.clone().into_iter().collect(),
            known_hosts: self.options.known_hosts.clone(),
            offline: self.options.offline,
            cancel: Arc::clone(&self.options.cancel),
        };
        Remotes {
            store: &self.store,
            git: Git::new(self.store.clone(), self.remote.clone(), options),
            downloads: Downloads::new(self.store.clone(), self.remote.clone()),
            secrets: Arc::new(request.secrets.clone()),
            ssh: &request.ssh,
            reporter,
            repositories: Mutex::default(),
            files: Mutex::default(),
        }
    }
}

impl Remotes<'_> {
    fn known(&self, source: &GitSource) -> Arc<Known> {
        let key = format!("{:?}", source.to_op());
        let mut all = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_default())
    }

    /// The commit that a source means, found out once in a build.
    pub(crate) fn pin(&self, source: &GitSource) -> Result<GitPin, BuildError> {
        let known = self.known(source);
        let mut pin = known.pin.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pin) = pin.as_ref() {
            return Ok(pin.clone());
        }
        let (request, auth) = (request(source), self.auth(source)?);
        let found = self.git.pin(&request, &auth, &|_| {}).map_err(|error| git_error(&error))?;
        Ok(pin.insert(found).clone())
    }

    /// What tells the tree of a source from others: its commit, and what else is in it.
    pub(crate) fn git_key(&self, source: &GitSource) -> Result<String, BuildError> {
        let pin = self.pin(source)?;
        let request = &pin.request;
        // Submodules may lie beside the repository, and a `.git` names it.
        let place = (request.submodules || request.keep_git_dir).then_some(&request.remote);
        let (keep, modules) = (request.keep_git_dir, request.submodules);
        let reference = keep.then_some(&request.reference);
        Ok(format!(
            "git {} {:?} {keep} {modules} {reference:?} {place:?}\n",
            pin.commit, request.subdir
        ))
    }

    /// The files of a source, fetched once in a build and kept in the store.
    pub(crate) fn tree(&self, source: &GitSource) -> Result<FetchedTree, BuildError> {
        let known = self.known(source);
        let _one_at_a_time = known.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = known.tree.get() {
            return Ok(tree.clone());
        }
        let pin = self.pin(source)?;
        let tree = if let Some(tree) = self.git.stored(&pin).map_err(|it| git_error(&it))? {
            tree
        } else {
            let short = pin.commit.get(..12).unwrap_or(&pin.commit);
            let name = format!("fetch {} ({short})", shown(source));
            let id = Digest::of(format!("{name}{:?}", source.to_op()).as_bytes());
            self.reporter.vertex(&id, &name, None, None);
            self.reporter.started(&id);
            let log = |line: &str| {
                self.reporter.log(&id, Output::Stderr, format!("{line}\n").as_bytes());
            };
            let auth = self.auth(source)?;
            let fetched = self.git.fetch(&pin, &auth, &log);
            let said = fetched.as_ref().err().map(|error| crate::error::chain(error));
            self.reporter.finished(&id, said);
            fetched.map_err(|error| git_error(&error))?
        };
        let files = ContextTree::open(&tree.path, &ContextOptions::default())
            .map_err(failed(format!("cannot read the files of {}", shown(source))))?
            .dated(Mtime::seconds(tree.time));
        let fetched = FetchedTree {
            context: Arc::new(LocalContext::new(files)),
            path: tree.path,
            time: tree.time,
        };
        Ok(known.tree.get_or_init(|| fetched).clone())
    }

    fn auth(&self, source: &GitSource) -> Result<GitAuth, BuildError> {
        let secrets = Arc::clone(&self.secrets);
        let find = move |id: &str| {
            secret(&secrets, id).map_err(|error| GitError::Secret {
                id: id.to_owned(),
                reason: crate::error::chain(&error),
            })
        };
        let ssh = match self.ssh.get(source.ssh_agent.as_str()) {
            Some(SshSource::Agent(socket)) => Some(SshKeys::Agent(socket.clone())),
            Some(SshSource::Keys(keys)) => Some(SshKeys::Files(
                keys.iter()
                    .map(|key| {
                        // git runs ssh in a directory of its own.
                        fs_err::canonicalize(key).map_err(failed("cannot use a key of --ssh"))
                    })
                    .collect::<Result<_, _>>()?,
            )),
            None => None,
        };
        Ok(GitAuth {
            secrets: Arc::new(find),
            token: source.token_secret.clone(),
            header: source.header_secret.clone(),
            ssh,
            known_hosts: source.known_hosts.clone(),
        })
    }

    /// A file that this build has asked for already.
    pub(crate) fn file(&self, address: &str) -> Option<Download> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(address).cloned()
    }

    /// A file on a web server. `secret_id` names a secret with a whole `Authorization` header, where the source has one.
    pub(crate) fn download(
        &self,
        address: &str,
        checksum: Option<&Digest>,
        secret_id: Option<&str>,
        progress: &(dyn Fn(u64, Option<u64>) + Sync),
    ) -> Result<Download, BuildError> {
        let known = self.file(address);
        if let Some(known) = known.filter(|it| checksum.is_none_or(|it2| *it2 == it.digest)) {
            return Ok(known);
        }
        let authorization = self.authorization(address, secret_id)?;
        let request = DownloadRequest { url: address, checksum, authorization };
        let download =
            self.downloads.fetch(&request, progress).map_err(|error| download_error(&error))?;
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(address.to_owned(), download.clone());
        Ok(download)
    }

    /// A file on a web server that the build needs before its steps are known.
    pub(crate) fn fetch(&self, address: &str) -> Result<Download, BuildError> {
        let name = format!("fetch {}", without_password(address));
        let id = Digest::of(name.as_bytes());
        self.reporter.vertex(&id, &name, None, None);
        self.reporter.started(&id);
        let progress =
            |done, total| self.reporter.transfer(&id, "file", done, total, total == Some(done));
        let outcome = self.download(address, None, None, &progress);
        self.reporter.finished(&id, outcome.as_ref().err().map(|error| crate::error::chain(error)));
        outcome
    }

    /// The `Authorization` for a server, from the secrets that are named after it.
    fn authorization(
        &self,
        address: &str,
        secret_id: Option<&str>,
    ) -> Result<Option<String>, BuildError> {
        let host = host(address);
        let bare = host.split(':').next().unwrap_or_default();
        let mut wanted: Vec<(String, &str)> = Vec::new();
        wanted.extend(secret_id.map(|id| (id.to_owned(), "")));
        for host in [host, bare] {
            wanted.push((format!("HTTP_AUTH_HEADER_{host}"), ""));
            wanted.push((format!("HTTP_AUTH_TOKEN_{host}"), "Bearer "));
        }
        for (id, prefix) in wanted {
            let Some(bytes) = secret(&self.secrets, &id)? else { continue };
            let text = String::from_utf8(bytes)
                .map_err(failed(format!("secret `{id}` is no text, so it cannot be a header")))?;
            let text = text.trim();
            if text.is_empty() || text.contains(char::is_control) {
                let message = format!("secret `{id}` is empty or has several lines");
                return Err(refused(message, Some("a header is one line")));
            }
            return Ok(Some(format!("{prefix}{text}")));
        }
        Ok(None)
    }

    /// Keeps an archive that was given to the build, and gives it an address.
    pub(crate) fn keep(&self, archive: &Path) -> Result<(String, Download), BuildError> {
        let what = || failed("cannot keep the build context");
        let mut file = fs_err::File::open(archive).map_err(what())?;
        let mut writer =
            self.store.blob_writer().map_err(failed("cannot keep the build context"))?;
        std::io::copy(&mut file, &mut writer).map_err(what())?;
        let (digest, size) =
            writer.commit(None).map_err(failed("cannot keep the build context"))?;
        let address = format!("{GIVEN}{}", digest.hex());
        let download = Download { digest, size, modified: None, server_name: None, etag: None };
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.insert(address.clone(), download.clone());
        Ok((address, download))
    }

    /// What was fetched, to be read.
    pub(crate) fn content(&self, download: &Download) -> Result<Content, BuildError> {
        if download.size == 0 {
            return Ok(Content::Empty);
        }
        Content::disk_path(&self.store.blob_path(&download.digest))
            .map_err(failed("cannot read what was fetched"))
    }
}

/// The newest time in a tree, in seconds.
pub(crate) fn newest(files: &Changeset) -> Option<i64> {
    files.iter().map(|entry| entry.meta.mtime.secs).max()
}

fn request(source: &GitSource) -> GitRequest {
    GitRequest {
        remote: source.remote.clone(),
        reference: source.reference.clone(),
        subdir: source.subdir.clone(),
        checksum: source.checksum.clone(),
        keep_git_dir: source.keep_git_dir == Some(true),
        submodules: source.submodules != Some(false),
        fetch_by_commit: source.fetch_by_commit,
    }
}

/// A repository for people.
fn shown(source: &GitSource) -> String {
    let place = without_password(&source.remote);
    match (source.reference.as_str(), source.subdir.as_str()) {
        ("", "") => place,
        (reference, "") => format!("{place}#{reference}"),
        (reference, subdir) => format!("{place}#{reference}:{subdir}"),
    }
}

/// An address without user name, password and query.
pub(crate) fn without_password(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Host and port of an address.
fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn secret(
    secrets: &BTreeMap<String, SecretSource>,
    id: &str,
) -> Result<Option<Vec<u8>>, BuildError> {
    match secrets.get(id) {
        None => Ok(None),
        Some(SecretSource::Value(bytes)) => Ok(Some(bytes.clone())),
        Some(SecretSource::File(path)) => {
            fs_err::read(path).map(Some).map_err(failed(format!("cannot read secret `{id}`")))
        }
    }
}

fn git_error(error: &GitError) -> BuildError {
    if matches!(error, GitError::Interrupted) {
        return BuildError::Interrupted;
    }
    let hint = error.hint();
    let message = error.to_string();
    let source = std::error::Error::source(error).map(|cause| crate::error::chain(cause).into());
    BuildError::Failed { message, hint, source }
}

fn download_error(error: &DownloadError) -> BuildError {
    let hint = match error {
        DownloadError::Status { status, url } if matches!(status.as_u16(), 401 | 403) => {
            let host = host(url);
            Some(format!(
                "pass a token: --secret id=HTTP_AUTH_TOKEN_{host},env=NAME, or a whole header as HTTP_AUTH_HEADER_{host}"
            ))
        }
        _ => None,
    };
    let message = error.to_string();
    let source = std::error::Error::source(error).map(|cause| crate::error::chain(cause).into());
    BuildError::Failed { message, hint, source }
}
