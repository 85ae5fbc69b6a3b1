use std::io;
use std::path::PathBuf;

use store::StoreError;

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The address makes no sense, or is of a kind that is not allowed.
    #[error("`{remote}` cannot be used as the address of a git repository: {reason}")]
    Address {
        /// The address, without what may be a password.
        remote: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A branch, tag or commit that no repository can have.
    #[error("`{name}` is not a valid name of a branch, tag or commit")]
    Reference {
        /// As written.
        name: String,
    },
    /// A program is not installed.
    #[error("the program `{program}` is not installed")]
    NoProgram {
        /// Which.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// git could not be started, or talked to.
    #[error("cannot run git for {remote}")]
    Start {
        /// For which repository.
        remote: String,
        /// Why.
        source: io::Error,
    },
    /// git said no.
    #[error("cannot {action} {remote}: {message}")]
    Failed {
        /// What was being done.
        action: &'static str,
        /// With which repository.
        remote: String,
        /// What git said, without secrets.
        message: String,
        /// A way out, where one is known.
        hint: Option<String>,
    },
    /// The server says that the repository is elsewhere, and nobody goes there.
    #[error("cannot reach {remote}: the server says that it is at {to}, {reason}")]
    Moved {
        /// Which repository.
        remote: String,
        /// Where it is said to be.
        to: String,
        /// Why nobody goes there.
        reason: &'static str,
    },
    /// git was led elsewhere, which it does not follow by itself.
    #[error("cannot {action} {remote}: it is elsewhere")]
    Elsewhere {
        /// What was being done.
        action: &'static str,
        /// With which repository.
        remote: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{remote} has no branch, tag or commit `{name}`")]
    NotFound {
        /// Which repository.
        remote: String,
        /// What was asked for.
        name: String,
        /// Branches and tags with similar names.
        near: Vec<String>,
    },
    /// The commit is another one than was asked for.
    #[error("{remote}: expected commit {expected}, but `{name}` is {found}")]
    Checksum {
        /// Which repository.
        remote: String,
        /// As written.
        expected: String,
        /// The commit it is.
        found: String,
        /// The branch or tag.
        name: String,
    },
    /// The directory is not there, or is none.
    #[error("{remote} has no directory `{subdir}` in commit {commit}")]
    Subdir {
        /// Which repository.
        remote: String,
        /// As written.
        subdir: String,
        /// The commit.
        commit: String,
    },
    /// A tree that no honest git makes.
    #[error("{remote} is refused: {reason}")]
    Hostile {
        /// Which repository.
        remote: String,
        /// What is wrong.
        reason: String,
    },
    /// The repository in the store is damaged.
    #[error("the copy of {remote} in the store is damaged: {reason}")]
    Damaged {
        /// Which repository.
        remote: String,
        /// How it was noticed.
        reason: String,
    },
    /// The network may not be used.
    #[error("{remote} is not in the store, and the network is switched off")]
    Offline {
        /// Which repository.
        remote: String,
    },
    /// A secret that cannot be used.
    #[error("secret `{id}` cannot be used for git: {reason}")]
    Secret {
        /// Its id.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store failed.
    #[error("cannot use the store for {remote}")]
    Store {
        /// For which repository.
        remote: String,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
}

impl GitError {
    /// A way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoProgram { package, .. } => Some(format!(
                "install it: the package is called `{package}` in most distributions"
            )),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Moved { .. } | Self::Elsewhere { .. } => {
                Some("use the address at which the repository is now".to_owned())
            }
            Self::NotFound { near, .. } if !near.is_empty() => {
                Some(format!("did you mean {}?", near.join(" or ")))
            }
            Self::Offline { .. } => Some(
                "name a commit that was fetched before, or build once with the network".to_owned(),
            ),
            Self::Address { .. } => Some(
                "write https://HOST/PATH.git, ssh://USER@HOST/PATH, git://HOST/PATH or USER@HOST:PATH"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
