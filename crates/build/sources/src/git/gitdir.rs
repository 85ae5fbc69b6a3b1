//! A `.git` that git accepts: the commit and what it holds, nothing of the history, and an index that matches the files.

use std::fmt::Write as _;
use std::path::Path;

use super::GitError;
use super::checkout::{What, Written};
use super::command::{Run, Runner, args};
use super::repository::{Commit, Repository};
use super::submodules::Submodule;

/// What a `.git` says besides its commit.
pub(crate) struct Facts<'a> {
    pub(crate) commit: &'a Commit,
    /// The commit, or the tag object that leads to it.
    pub(crate) object: &'a str,
    /// Branch or tag.
    pub(crate) name: Option<&'a str>,
    pub(crate) submodules: &'a [Submodule],
    /// Where the files are, relative to the directory; `None` is the one above.
    pub(crate) worktree: Option<String>,
}

/// Writes the directory. Equal requests give equal bytes.
pub(crate) fn write(
    runner: &Runner<'_>,
    repository: &Repository,
    facts: &Facts<'_>,
    written: &Written,
    to: &Path,
) -> Result<(), GitError> {
    let failed = |path: &Path, source: std::io::Error| GitError::Write {
        path: path.to_owned(),
        source: source.into(),
    };
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags", "info"] {
        let path = to.join(directory);
        fs_err::create_dir_all(&path).map_err(|error| failed(&path, error))?;
    }
    let put = |name: &str, text: &str| {
        let path = to.join(name);
        let parent = path.parent().map_or(Ok(()), fs_err::create_dir_all);
        parent.and_then(|()| fs_err::write(&path, text)).map_err(|error| failed(&path, error))
    };
    let id = &facts.commit.id;
    put("HEAD", &format!("{id}\n"))?;
    put("config", &config(runner, facts))?;
    if facts.commit.has_parents {
        put("shallow", &format!("{id}\n"))?;
    }
    match facts.name {
        Some(name) if super::refs::check_name(name).is_ok() && name.starts_with("refs/") => {
            put(name, &format!("{}\n", facts.object))?;
        }
        _ => {}
    }
    let mut objects = format!("{id}\n{}\n", facts.commit.tree);
    if facts.object != id {
        writeln!(objects, "{}", facts.object).unwrap_or_default();
    }
    for member in written.members.values().filter(|member| member.what != What::Submodule) {
        writeln!(objects, "{}", member.object).unwrap_or_default();
    }
    let pack = to.join("objects/pack/pack");
    let mut words = args(["pack-objects", "--quiet", "--threads=1", "--no-reuse-delta"]);
    words.extend(args(["--no-reuse-object", "--window=10", "--depth=50", "--"]));
    words.push(pack.into_os_string());
    let run = Run {
        action: "pack",
        args: words,
        git_dir: Some(&repository.path),
        lock: None,
        log: &|_| {},
    };
    let mut printed = Vec::new();
    runner.pipe(&run, objects.as_bytes(), &mut |stdout| {
        std::io::Read::read_to_end(&mut std::io::Read::take(stdout, 1 << 16), &mut printed)
            .map(drop)
    })?;
    let words = args(["-c", "index.version=2", "read-tree", id.as_str()]);
    let run = Run { action: "index", args: words, git_dir: Some(to), lock: None, log: &|_| {} };
    runner.run(&run)?;
    make_readable(to).map_err(|error| failed(to, error))
}

fn config(runner: &Runner<'_>, facts: &Facts<'_>) -> String {
    let mut text = String::from("[core]\n");
    let sha256 = facts.commit.id.len() == 64;
    let version = u8::from(sha256);
    writeln!(text, "\trepositoryformatversion = {version}").unwrap_or_default();
    text.push_str("\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n");
    if let Some(worktree) = &facts.worktree {
        writeln!(text, "\tworktree = \"{}\"", escaped(worktree)).unwrap_or_default();
    }
    if sha256 {
        text.push_str("[extensions]\n\tobjectformat = sha256\n");
    }
    let url = escaped(runner.address.url());
    writeln!(text, "[remote \"origin\"]\n\turl = \"{url}\"").unwrap_or_default();
    text.push_str("\tfetch = +refs/heads/*:refs/remotes/origin/*\n");
    for module in facts.submodules {
        let (name, url) = (escaped(&module.name), escaped(module.address.url()));
        writeln!(text, "[submodule \"{name}\"]\n\tactive = true\n\turl = \"{url}\"")
            .unwrap_or_default();
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"")
}

/// Modes that do not depend on this process's umask.
fn make_readable(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs_err::symlink_metadata(&path)?;
        let packed = path.parent().is_some_and(|parent| parent.ends_with("objects/pack"));
        let mode = match (metadata.is_dir(), packed) {
            (true, _) => 0o755,
            (false, true) => 0o444,
            (false, false) => 0o644,
        };
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        if metadata.is_dir() {
            for entry in fs_err::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}
