//! Which submodules a commit has, and where they come from.

use std::collections::BTreeMap;

use fstree::RelPath;

use super::GitError;
use super::address::Address;
use super::checkout::{What, Written};
use super::command::Runner;
use super::repository::{Commit, Repository};

/// Submodules within submodules.
pub(crate) const MAX_DEPTH: usize = 10;
/// Submodules of one tree, those of submodules included.
pub(crate) const MAX_COUNT: usize = 500;

/// A repository within a repository.
#[derive(Clone, Debug)]
pub(crate) struct Submodule {
    pub(crate) name: String,
    /// From the root of the repository it is in.
    pub(crate) path: RelPath,
    pub(crate) commit: String,
    pub(crate) address: Address,
}

/// The submodules beneath `subdir`.
pub(crate) fn of(
    runner: &Runner<'_>,
    repository: &Repository,
    commit: &Commit,
    written: &Written,
    subdir: &RelPath,
) -> Result<Vec<Submodule>, GitError> {
    let wanted: Vec<_> = written
        .members
        .iter()
        .filter(|(path, it)| it.what == What::Submodule && path.starts_with(subdir))
        .collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |reason: String| GitError::Hostile { remote: runner.address.shown(), reason };
    let modules = match written.members.get(&RelPath::clean(".gitmodules")) {
        Some(it) if matches!(it.what, What::File { .. }) => {
            let blob = format!("{}:.gitmodules", commit.id);
            let words = ["config", "--blob", &blob, "--no-includes", "-z", "--list"];
            read(&repository.read(runner, &words)?)
        }
        _ => BTreeMap::new(),
    };
    let mut found = Vec::new();
    for (path, member) in wanted {
        let module = modules.iter().find(|(_, it)| {
            it.path.as_deref().is_some_and(|it| RelPath::clean(it.as_bytes()) == *path)
        });
        let (name, url) = match module {
            Some((name, Module { url: Some(url), .. })) => (name.clone(), url.clone()),
            _ => {
                return Err(GitError::Failed {
                    action: "fetch the submodules of",
                    remote: runner.address.shown(),
                    message: format!("`.gitmodules` has no address for `{path}`"),
                    hint: Some("leave submodules out with ?submodules=false".to_owned()),
                });
            }
        };
        if !is_plain(&name) {
            return Err(refuse(format!("a submodule has the name `{}`", name.escape_debug())));
        }
        let address = runner.address.beside(&url)?;
        found.push(Submodule { name, path: path.clone(), commit: member.object.clone(), address });
    }
    Ok(found)
}

#[derive(Default)]
struct Module {
    path: Option<String>,
    url: Option<String>,
}

/// Reads `git config -z --list`: keys and values, of which only paths and addresses count.
fn read(listed: &[u8]) -> BTreeMap<String, Module> {
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    for item in listed.split(|byte| *byte == 0) {
        let Ok(item) = str::from_utf8(item) else { continue };
        let Some((key, value)) = item.split_once('\n') else { continue };
        let Some((name, key)) =
            key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let module = modules.entry(name.to_owned()).or_default();
        match key {
            "path" => module.path = Some(value.to_owned()),
            "url" => module.url = Some(value.to_owned()),
            _ => {}
        }
    }
    modules
}

/// A name becomes a directory.
fn is_plain(name: &str) -> bool {
    name.len() <= 1000
        && !name.contains('\\')
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["", "../x", "a/../../x", "/x", "a//b", "-x", "a\\b", "a\n"] {
            assert!(!is_plain(name), "{name}");
        }
        assert!(is_plain("libs/a.b-c"));
    }

    #[test]
    fn only_paths_and_addresses_count() {
        let text = b"submodule.a.b.path\nlibs/a\0submodule.a.b.url\n../a.git\0submodule.a.b.update\n!touch x\0core.sshcommand\nx\0";
        let modules = read(text);
        let module = &modules["a.b"];
        assert_eq!(
            (module.path.as_deref(), module.url.as_deref(), modules.len()),
            (Some("libs/a"), Some("../a.git"), 1)
        );
    }
}
