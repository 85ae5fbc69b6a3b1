//! Large files that a repository keeps elsewhere (Git LFS). `git-lfs` fetches them, where it is installed; what it
//! brings is checked against the digest in the repository.

use std::io;
use std::path::{Path, PathBuf};

use fstree::{Content, RelPath};
use oci::{Digest, Digester};

use super::command::{Run, Runner, args, find};
use super::repository::{Commit, Repository};
use super::{GitError, GitLog};

/// A file that stands for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    digest: Digest,
    size: u64,
}

impl Pointer {
    /// Whether a file is a pointer: `version`, `oid` and `size` on lines of their own.
    pub(crate) fn of(content: &Content) -> Option<Self> {
        let Content::Bytes(bytes) = content else { return None };
        if bytes.len() >= 1024 {
            return None;
        }
        let text = str::from_utf8(bytes).ok()?;
        let rest = text.strip_prefix("version https://git-lfs.github.com/spec/v1\n")?;
        let field = |key: &str| rest.lines().find_map(|line| line.strip_prefix(key));
        let digest = field("oid ")?.parse().ok()?;
        Some(Self { digest, size: field("size ")?.parse().ok()? })
    }
}

/// Puts what pointers stand for in their place. The result is what to tell the user, if anything.
pub(crate) fn fill(
    runner: &Runner<'_>,
    repository: &Repository,
    commit: &Commit,
    pointers: &[(RelPath, Pointer, bool)],
    to: &Path,
    log: GitLog<'_>,
) -> Result<(), GitError> {
    if pointers.is_empty() {
        return Ok(());
    }
    if find(&runner.options.programs, "git-lfs").is_none() {
        log(&format!(
            "{} files are pointers to Git LFS and stay so: the program git-lfs is not installed",
            pointers.len()
        ));
        return Ok(());
    }
    if !runner.options.offline {
        let words = ["lfs", "fetch", "origin", &commit.id];
        let run = Run {
            action: "fetch large files of",
            args: args(words),
            git_dir: Some(&repository.path),
            lock: Some(&repository.lock),
            log,
        };
        runner.run(&run)?;
    }
    for (path, pointer, executable) in pointers {
        let hex = pointer.digest.hex();
        let (Some(one), Some(two)) = (hex.get(..2), hex.get(2..4)) else { continue };
        let object = repository.path.join("lfs/objects").join(one).join(two).join(hex);
        let target = to.join(path.as_path());
        place(&object, pointer, &target, *executable).map_err(|error| GitError::Failed {
            action: "fetch large files of",
            remote: runner.address.shown(),
            message: format!("`{path}`: {error}"),
            hint: None,
        })?;
    }
    Ok(())
}

/// Copies an object over its pointer, if it is what the pointer says.
fn place(object: &Path, pointer: &Pointer, target: &Path, executable: bool) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut from = fs_err::File::open(object)?;
    let mut part: PathBuf = target.to_owned();
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".git-lfs-part");
    part.set_file_name(name);
    let mut to = fs_err::OpenOptions::new().write(true).create_new(true).open(&part)?;
    let mut digester = Digester::sha256();
    let mut buffer = vec![0; 1 << 17];
    let mut size = 0;
    loop {
        let count = io::Read::read(&mut from, &mut buffer)?;
        if count == 0 {
            break;
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        digester.update(bytes);
        io::Write::write_all(&mut to, bytes)?;
        size += count as u64;
    }
    if digester.finish() != pointer.digest || size != pointer.size {
        drop(fs_err::remove_file(&part));
        return Err(io::Error::other("what was fetched is not what the repository names"));
    }
    let mode = if executable { 0o755 } else { 0o644 };
    fs_err::set_permissions(&part, std::fs::Permissions::from_mode(mode))?;
    fs_err::rename(&part, target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_recognised() {
        let hex = "a".repeat(64);
        let text =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{hex}\nsize 12\n");
        let pointer = Pointer::of(&Content::bytes(text.into_bytes())).unwrap();
        assert_eq!((pointer.digest.hex(), pointer.size), (hex.as_str(), 12));
        for text in ["version 1\n", "version https://git-lfs.github.com/spec/v1\noid x\n"] {
            assert_eq!(Pointer::of(&Content::bytes(text.as_bytes().to_vec())), None);
        }
    }
}
