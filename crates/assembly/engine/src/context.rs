//! Local directories of a build: the main context and named ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build_api::{BuildError, BuildRequest, Context, DockerfileSource, NamedContext};
use fstree::{ContextOptions, ContextTree, RelPath, Root};
use llb::pb::SourceOp;
use report::SourceText;
use store::{Store, TemporaryDirectory};

use crate::error::{failed, refused};
use crate::value::LocalContext;
use crate::windows_rules::WindowsRules;

/// The name under which a frontend asks for the main context.
pub(crate) const MAIN: &str = "context";
/// What follows a Dockerfile's name in that of the file with its Windows rules.
const WINDOWS: &str = ".windows.toml";
/// A Dockerfile or ignore file may have at most this many bytes.
const TEXT_LIMIT: u64 = 16 << 20;

/// Local directories by the name that `local://` sources have.
pub(crate) struct Contexts {
    directories: BTreeMap<String, PathBuf>,
    /// Ignore patterns by the same names.
    pub(crate) excludes: BTreeMap<String, Vec<String>>,
    pub(crate) dockerfile: SourceText,
    /// What files get in Windows images.
    pub(crate) windows: WindowsRules,
    /// What an archive was unpacked to, or the empty directory that stands for no context.
    _made: Option<TemporaryDirectory>,
}

impl Contexts {
    /// Finds the directories of a request and reads its Dockerfile.
    pub(crate) fn of(request: &BuildRequest, store: &Store) -> Result<Self, BuildError> {
        let mut made = None;
        let main = match &request.context {
            Context::Directory(path) => {
                check_directory(path, "the build context")?;
                Some(path.clone())
            }
            Context::Archive(path) => {
                Some(made.insert(crate::unpack::context(store, path)?).path().to_owned())
            }
            Context::Empty => None,
        };
        let in_archive = matches!(request.context, Context::Archive(_));
        let Described { dockerfile, ignore: own_ignore, windows } =
            dockerfile(&request.dockerfile, main.as_deref(), in_archive)?;
        let windows = match windows {
            Some(text) => WindowsRules::parse(&format!("{}{WINDOWS}", dockerfile.name), &text)?,
            None => WindowsRules::default(),
        };
        let main = if let Some(path) = main {
            path
        } else {
            let empty = store
                .temporary_directory()
                .map_err(failed("cannot make an empty build context"))?;
            made.insert(empty).path().to_owned()
        };
        let ignore = match own_ignore {
            Some(text) => Some(text),
            None => read_beneath(&main, ".dockerignore")?,
        };
        let mut excludes = BTreeMap::from([(MAIN.to_owned(), patterns(ignore.as_deref())?)]);
        let mut directories = BTreeMap::from([(MAIN.to_owned(), main)]);
        for (name, context) in &request.contexts {
            if let NamedContext::Directory(path) = context {
                check_directory(path, &format!("build context `{name}`"))?;
                excludes.insert(
                    name.clone(),
                    patterns(read_beneath(path, ".dockerignore")?.as_deref())?,
                );
                directories.insert(name.clone(), path.clone());
            }
        }
        Ok(Self { directories, excludes, dockerfile, windows, _made: made })
    }

    /// Tells what of the main context is left out.
    pub(crate) fn ignored(&self) -> Option<frontend::Excluded> {
        let patterns = fstree::PatternSet::new(self.excludes.get(MAIN)?).ok()?;
        Some(frontend::Excluded::by(move |path| patterns.matches(path.as_bytes())))
    }

    /// Walks the directory that a source names.
    pub(crate) fn open(&self, source: &SourceOp) -> Result<Arc<LocalContext>, BuildError> {
        let name = source.identifier.strip_prefix("local://").unwrap_or_default();
        let path = self.directories.get(name);
        let path =
            path.ok_or_else(|| refused(format!("there is no build context `{name}`"), None))?;
        let fail = failed(format!("cannot read build context {}", path.display()));
        let tree = ContextTree::open(path, &options(source)?).map_err(fail)?;
        Ok(Arc::new(LocalContext::new(tree)))
    }
}

fn check_directory(path: &Path, what: &str) -> Result<(), BuildError> {
    let metadata = fs_err::metadata(path).map_err(failed(format!("cannot use {what}")))?;
    if metadata.is_dir() {
        return Ok(());
    }
    let hint = "pass the directory; name the Dockerfile with --file";
    Err(refused(format!("{what} {} is not a directory", path.display()), Some(hint)))
}

/// What the frontend selects.
fn options(source: &SourceOp) -> Result<ContextOptions, BuildError> {
    let list = |key: &str| -> Result<Vec<String>, BuildError> {
        let text = source.attr(key).filter(|text| !text.is_empty());
        let parse =
            |text| serde_json::from_str(text).map_err(failed(format!("malformed attribute {key}")));
        text.map_or(Ok(Vec::new()), parse)
    };
    Ok(ContextOptions {
        include: list(llb::attr::INCLUDE_PATTERNS)?,
        exclude: list(llb::attr::EXCLUDE_PATTERNS)?,
        follow: list(llb::attr::FOLLOW_PATHS)?,
    })
}

/// A Dockerfile and the texts of files that belong to it alone.
struct Described {
    dockerfile: SourceText,
    ignore: Option<String>,
    windows: Option<String>,
}

/// The Dockerfile and what lies beside it.
fn dockerfile(
    source: &DockerfileSource,
    main: Option<&Path>,
    in_archive: bool,
) -> Result<Described, BuildError> {
    let hint = "name it with --file, or pass - to read it from standard input";
    let name = match source {
        DockerfileSource::Text { name, text } => {
            let dockerfile = SourceText { name: name.clone(), text: text.as_str().into() };
            return Ok(Described { dockerfile, ignore: None, windows: None });
        }
        DockerfileSource::Path(path) if !in_archive => {
            let text = read_whole(path)?;
            let beside = |suffix: &str| {
                let mut path = path.clone().into_os_string();
                path.push(suffix);
                let path = PathBuf::from(path);
                path.is_file().then(|| read_whole(&path)).transpose()
            };
            let dockerfile = SourceText { name: path.display().to_string(), text: text.into() };
            return Ok(Described {
                dockerfile,
                ignore: beside(".dockerignore")?,
                windows: beside(WINDOWS)?,
            });
        }
        DockerfileSource::Path(path) => path.display().to_string(),
        DockerfileSource::Default => "Dockerfile".to_owned(),
    };
    let main = main
        .ok_or_else(|| refused("there is neither a build context nor a Dockerfile", Some(hint)))?;
    let mut shown = name.clone();
    let mut found = read_beneath(main, &name)?;
    if found.is_none() && matches!(source, DockerfileSource::Default) {
        // The spelling that Docker tries next.
        "dockerfile".clone_into(&mut shown);
        found = read_beneath(main, &shown)?;
    }
    let text = found
        .ok_or_else(|| refused(format!("there is no {name} in {}", main.display()), Some(hint)))?;
    let ignore = read_beneath(main, &format!("{shown}.dockerignore"))?;
    let windows = read_beneath(main, &format!("{shown}{WINDOWS}"))?;
    Ok(Described { dockerfile: SourceText { name: shown, text: text.into() }, ignore, windows })
}

fn read_whole(path: &Path) -> Result<String, BuildError> {
    let fail = || failed(format!("cannot read {}", path.display()));
    let metadata = fs_err::metadata(path).map_err(fail())?;
    if metadata.is_dir() {
        return Err(refused(format!("{} is a directory, not a Dockerfile", path.display()), None));
    }
    if metadata.len() > TEXT_LIMIT {
        return Err(refused(
            format!("{} has {} bytes, more than {TEXT_LIMIT}", path.display(), metadata.len()),
            None,
        ));
    }
    text(path, fs_err::read(path).map_err(fail())?)
}

/// A file of a context, links resolved beneath it.
fn read_beneath(directory: &Path, name: &str) -> Result<Option<String>, BuildError> {
    let fail = || failed(format!("cannot read {name} in {}", directory.display()));
    let root = Arc::new(Root::open(directory).map_err(fail())?);
    let bytes = fstree::read_context_file(&root, &RelPath::clean(name), TEXT_LIMIT);
    let bytes = bytes.map_err(failed(format!("cannot read {name} in {}", directory.display())))?;
    bytes.map(|bytes| text(Path::new(name), bytes)).transpose()
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, BuildError> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(offset);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        refused(
            format!("{}:{line}: the file is not UTF-8 text (byte {offset})", path.display()),
            Some("save it as UTF-8"),
        )
    })
}

/// The patterns of an ignore file.
fn patterns(text: Option<&str>) -> Result<Vec<String>, BuildError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let rules =
        fstree::IgnoreRules::parse(text.as_bytes()).map_err(failed("cannot use .dockerignore"))?;
    Ok(rules.patterns().to_vec())
}
