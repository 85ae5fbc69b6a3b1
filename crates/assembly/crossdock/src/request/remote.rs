//! Addresses in place of directories and files.

use std::path::Path;

use llb::GitSource;

use super::{Surroundings, UsageError};

/// Something that is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// A git repository.
    Repository(String),
    /// A file on a web server.
    File(String),
}

impl Remote {
    pub(crate) fn into_address(self) -> String {
        match self {
            Self::Repository(address) | Self::File(address) => address,
        }
    }
}

/// The address that a text is, if it is one: `https://…`, `ssh://…`, `git://…`, `USER@HOST:PATH`, `github.com/…`. A path
/// that exists is a path.
pub(crate) fn remote(
    what: &str,
    text: &str,
    around: &Surroundings<'_>,
) -> Result<Option<Remote>, UsageError> {
    if !text.contains("://") && (around.exists)(Path::new(text)) {
        return Ok(None);
    }
    match GitSource::parse(text) {
        Some(Ok(_)) => return Ok(Some(Remote::Repository(text.to_owned()))),
        Some(Err(reason)) => {
            let hint = "write ADDRESS#REF:DIRECTORY, or ADDRESS?ref=REF&subdir=DIRECTORY; keys are \
                        ref, tag, branch, commit, checksum, subdir, submodules, keep-git-dir, mtime \
                        and fetch-by-commit";
            return Err(UsageError::new(format!("{what}: {reason}"), hint));
        }
        None => {}
    }
    let Some((scheme, _)) = text.split_once("://") else { return Ok(None) };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    match scheme {
        "http" | "https" => Ok(Some(Remote::File(text.to_owned()))),
        scheme if !scheme.is_empty() && scheme.bytes().all(plain) => Err(UsageError::new(
            format!("{what}: addresses that begin with `{scheme}://` are not supported"),
            "use a path, https://, http://, ssh://, git:// or USER@HOST:PATH",
        )),
        _ => Ok(None),
    }
}
