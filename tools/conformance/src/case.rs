//! A case on disk, and its context laid out the same way wherever it is built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use serde::Deserialize;

use crate::{Error, archive};

/// One folder below `conformance/cases`. Most have their Dockerfile in it and are built with the files that all share,
/// `conformance/context`; those that need others have a `context` of their own.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub folder: PathBuf,
    pub plan: Plan,
}

/// `case.toml`; every key may be left out. In `args`, `context` and `stdin` stand `{dir}` for the folder that holds
/// the prepared `context/`, and `{http}` for a server of the files in `http/`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// What the case is there for, in a few words.
    pub shows: String,
    /// Further arguments of `build`.
    pub args: Vec<String>,
    pub platforms: Vec<String>,
    /// The positional argument, `{dir}/context` unless said.
    pub context: String,
    /// A file of the case given on standard input.
    pub stdin: Option<String>,
    /// What is compared: `oci` (tree and config) or `tar` (the tree alone).
    pub output: String,
    /// The build must fail, and crossdock's message must have these words.
    pub fails: Option<String>,
    /// `expected.json` was written by hand, from the reference's text, and is not recorded.
    pub by_hand: bool,
    /// Its steps are or make files of several users, which takes root or sub-ids.
    pub needs_ids: bool,
    /// Environment of the build.
    pub env: BTreeMap<String, String>,
    /// Entries that cannot be kept in a repository as they should be.
    pub make: Vec<Make>,
    /// Why no `llb.json` is recorded or compared; left out where one is.
    pub no_llb: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            shows: String::new(),
            args: Vec::new(),
            platforms: vec!["linux/amd64".into()],
            context: "{dir}/context".into(),
            stdin: None,
            output: "oci".into(),
            fails: None,
            by_hand: false,
            needs_ids: false,
            env: BTreeMap::new(),
            make: Vec::new(),
            no_llb: None,
        }
    }
}

/// An entry to make or change below the case's prepared folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Make {
    /// Relative to the prepared folder; `\xNN` stands for a byte.
    pub path: String,
    pub kind: Kind,
    /// Octal, as in `"0640"`.
    pub mode: Option<String>,
    #[serde(default)]
    pub content: String,
    /// How often `content` is written.
    pub times: Option<usize>,
    /// Of a link.
    #[serde(default)]
    pub target: String,
    /// Of an archive: `gzip`, `bzip2`, `xz`, `zstd`; none unless said.
    #[serde(default)]
    pub compression: String,
    /// Of an archive.
    #[serde(default)]
    pub entries: Vec<Entry>,
}

/// An entry of an archive.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Written as it is, `..` and slashes included.
    pub path: String,
    /// As in the header: `0` is a file, `1` a hard link, `2` a symlink, `5` a directory; a file unless said.
    pub flag: Option<char>,
    /// Octal.
    pub mode: Option<String>,
    #[serde(default)]
    pub uid: u64,
    #[serde(default)]
    pub gid: u64,
    #[serde(default)]
    pub content: String,
    #[serde(default)]
    pub target: String,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Dir,
    File,
    /// `content` at the end of a file that is there.
    Append,
    Symlink,
    Hardlink,
    Fifo,
    /// A tar.
    Archive,
    /// Takes away a file that is there.
    Remove,
    /// Only changes the mode of what is there.
    Keep,
}

impl Case {
    /// All cases, by name.
    pub fn all(root: &Path) -> Result<Vec<Self>, Error> {
        let mut cases = Vec::new();
        for entry in fs_err::read_dir(root)? {
            let entry = entry?;
            if ["context", "case.toml", "Dockerfile"]
                .iter()
                .any(|name| entry.path().join(name).exists())
            {
                cases.push(Self::read(&entry.path())?);
            }
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    fn read(folder: &Path) -> Result<Self, Error> {
        let name =
            folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let path = folder.join("case.toml");
        let plan = match fs_err::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|source| Error::Toml {
                path: path.display().to_string(),
                source: Box::new(source),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Plan::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { name, folder: folder.into(), plan })
    }

    /// The arguments of `build` up to the output, with placeholders filled in. `dir` is the prepared folder as the
    /// builder sees it, `bases` the folder of base images likewise.
    pub fn arguments(&self, dir: &str, bases: &str, http: &str) -> Vec<String> {
        let fill = |text: &str| {
            text.replace("{dir}", dir).replace("{http}", http).replace("{bases}", bases)
        };
        let mut arguments = vec!["build".to_owned(), "--progress=plain".into()];
        for base in ["busybox", "rich", "windows-hpc", "windows-versions"] {
            arguments.push("--build-context".into());
            arguments.push(format!("{base}=oci-layout://{bases}/{base}:latest"));
        }
        arguments.push(format!("--platform={}", self.plan.platforms.join(",")));
        arguments.extend(self.plan.args.iter().map(|text| fill(text)));
        arguments.push(fill(&self.plan.context));
        arguments
    }
}

/// Lays out the files that cases share, `context/` and `http/` of the case below `to`: directories 0755, files 0644 or, where executable, 0755,
/// all times the same, then what `make` asks for.
pub fn prepare(case: &Case, to: &Path) -> Result<(), Error> {
    fs_err::create_dir_all(to)?;
    if !case.folder.join("context").is_dir() {
        copy(&case.folder.join("../../context"), &to.join("context"))?;
    }
    for name in ["Dockerfile", ".dockerignore", "Dockerfile.dockerignore"] {
        if case.folder.join(name).is_file() {
            copy(&case.folder.join(name), &to.join("context").join(name))?;
        }
    }
    for part in ["context", "named", "http", "files"] {
        if case.folder.join(part).is_dir() {
            copy(&case.folder.join(part), &to.join(part))?;
        }
    }
    for make in &case.plan.make {
        apply(make, to)?;
    }
    settle(to)
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let kind = fs_err::symlink_metadata(from)?;
    if kind.is_dir() {
        fs_err::create_dir_all(to)?;
        fs_err::set_permissions(to, PermissionsExt::from_mode(0o755))?;
        for entry in fs_err::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_symlink() {
        fs_err::os::unix::fs::symlink(fs_err::read_link(from)?, to)?;
    } else {
        fs_err::copy(from, to)?;
        let mode = if kind.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        fs_err::set_permissions(to, PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}

fn apply(make: &Make, to: &Path) -> Result<(), Error> {
    let path = to.join(unescape(&make.path));
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    if make.kind == Kind::Remove {
        return Ok(fs_err::remove_file(&path)?);
    }
    match make.kind {
        Kind::Dir => fs_err::create_dir_all(&path)?,
        Kind::File => fs_err::write(&path, make.content.repeat(make.times.unwrap_or(1)))?,
        Kind::Append => {
            let mut file = fs_err::OpenOptions::new().append(true).open(&path)?;
            file.write_all(make.content.repeat(make.times.unwrap_or(1)).as_bytes())?;
        }
        Kind::Archive => fs_err::write(&path, archive::pack(&make.entries, &make.compression)?)?,
        Kind::Symlink => fs_err::os::unix::fs::symlink(unescape(&make.target), &path)?,
        Kind::Hardlink => fs_err::hard_link(to.join(&make.target), &path)?,
        Kind::Fifo => {
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0)
                .map_err(std::io::Error::from)?;
        }
        Kind::Keep | Kind::Remove => {}
    }
    if let Some(mode) = &make.mode {
        let mode = u32::from_str_radix(mode, 8)
            .map_err(|_| Error::shape("mode in case.toml", format!("{mode} is not octal")))?;
        fs_err::set_permissions(&path, PermissionsExt::from_mode(mode))?;
    }
    Ok(())
}

/// Gives every entry a time that is the same each time, children before parents. Files of different content have
/// different times: `BuildKit` takes those of one size and time for the same, whichever case they are of.
fn settle(path: &Path) -> Result<(), Error> {
    let metadata = fs_err::symlink_metadata(path)?;
    let mut tv_sec = 1_500_000_000;
    if metadata.is_dir() {
        for entry in fs_err::read_dir(path)? {
            settle(&entry?.path())?;
        }
    } else if metadata.is_file() {
        let sum = fs_err::read(path)?.iter().fold(0_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5)
        });
        tv_sec += i64::try_from(sum % 100_000_000).unwrap_or_default();
    }
    let time = Timespec { tv_sec, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(std::io::Error::from)?;
    Ok(())
}

fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = rest
            .strip_prefix(b"\\x")
            .and_then(|hex| hex.get(..2))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = rest.get(4..).unwrap_or_default();
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    OsString::from_vec(bytes)
}
