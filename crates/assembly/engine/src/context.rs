//! The contexts of a build, the main one and named ones, and its Dockerfile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use build_api::{BuildError, BuildRequest, Context, DockerfileSource, NamedContext};
use fstree::{
    Changeset, Content, ContextOptions, ContextTree, Entry, Kind, RelPath, Root, TreeView,
};
use llb::GitSource;
use llb::pb::SourceOp;
use report::SourceText;
use store::{Store, TemporaryDirectory};

use crate::error::{failed, refused};
use crate::remote::{Remotes, newest, without_password};
use crate::unpack::Archives;
use crate::value::LocalContext;
use crate::windows_rules::WindowsRules;

/// The name under which a frontend asks for the main context.
pub(crate) const MAIN: &str = "context";
/// What follows a Dockerfile's name in that of the file with its Windows rules.
const WINDOWS: &str = ".windows.toml";
/// A Dockerfile or ignore file may have at most this many bytes.
const TEXT_LIMIT: u64 = 16 << 20;

/// What the names of contexts stand for.
pub(crate) struct Contexts {
    directories: BTreeMap<String, PathBuf>,
    /// Ignore patterns of directories, by the same names.
    excludes: BTreeMap<String, Vec<String>>,
    /// Contexts that are elsewhere, as the frontend takes them; the main one too.
    elsewhere: BTreeMap<String, frontend::Context>,
    pub(crate) dockerfile: SourceText,
    /// What files get in Windows images.
    pub(crate) windows: WindowsRules,
    /// The newest time in a main context that is no directory, in seconds.
    pub(crate) newest: Option<i64>,
    /// The empty directory that stands for no context.
    _made: Option<TemporaryDirectory>,
}

/// Where a Dockerfile and what belongs to it are read from.
enum Files {
    None,
    Directory(PathBuf),
    Archive(Changeset),
    /// A single file, which is the Dockerfile.
    Single {
        name: String,
        content: Content,
    },
}

/// The main context.
struct Main {
    files: Files,
    /// As the frontend takes it, where it is no directory of this machine.
    elsewhere: Option<frontend::Context>,
    newest: Option<i64>,
    /// Whether relative paths of Dockerfiles are inside, and absolute ones too.
    inside: Inside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    No,
    Relative,
    All,
}

impl Main {
    fn of(
        request: &BuildRequest,
        remotes: &Remotes<'_>,
        archives: &Archives,
    ) -> Result<Self, BuildError> {
        let local = |files| Self { files, elsewhere: None, newest: None, inside: Inside::No };
        match &request.context {
            Context::Directory(path) => {
                check_directory(path, "the build context")?;
                Ok(local(Files::Directory(path.clone())))
            }
            Context::Empty => Ok(local(Files::None)),
            Context::Archive(path) => {
                let (address, download) = remotes.keep(path)?;
                let archive = unpack(archives, &remotes.content(&download)?)?;
                let archive = archive.ok_or_else(|| refused(NO_ARCHIVE, None))?;
                Ok(Self {
                    newest: newest(&archive),
                    files: Files::Archive(archive),
                    elsewhere: Some(frontend::Context::Http { address, archive: true }),
                    inside: Inside::All,
                })
            }
            Context::Remote(address) => match git_source(address)? {
                Some(mut git) => {
                    let keeps = request.build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR");
                    if keeps.is_some_and(|text| {
                        ["1", "t", "T", "true", "True", "TRUE"].contains(&text.as_str())
                    }) {
                        git.keep_git_dir = Some(true);
                    }
                    let tree = remotes.tree(&git)?;
                    Ok(Self {
                        files: Files::Directory(tree.path),
                        elsewhere: Some(frontend::Context::Git(Box::new(git))),
                        newest: Some(tree.time),
                        inside: Inside::Relative,
                    })
                }
                None => Self::file(address, remotes, archives),
            },
        }
    }

    /// A file on a web server: an archive with the context, or a Dockerfile.
    fn file(address: &str, remotes: &Remotes<'_>, archives: &Archives) -> Result<Self, BuildError> {
        let download = remotes.fetch(address)?;
        let content = remotes.content(&download)?;
        let archive = unpack(archives, &content)?;
        let elsewhere = Some(frontend::Context::Http {
            address: address.to_owned(),
            archive: archive.is_some(),
        });
        let newest = archive.as_ref().map_or(download.modified, newest);
        let name = without_password(address);
        let files = archive.map_or(Files::Single { name, content }, Files::Archive);
        Ok(Self { files, elsewhere, newest, inside: Inside::Relative })
    }
}

const NO_ARCHIVE: &str = "the build context on standard input is no tar archive";

fn unpack(archives: &Archives, content: &Content) -> Result<Option<Changeset>, BuildError> {
    fstree::fileop::Unpack::unpack(archives, content)
        .map_err(failed("cannot unpack the build context"))
}

/// The repository that an address names; `None` is a file on a web server.
fn git_source(address: &str) -> Result<Option<GitSource>, BuildError> {
    match GitSource::parse(address) {
        Some(Ok(git)) => Ok(Some(git)),
        Some(Err(reason)) => {
            let message = format!("cannot use `{}`: {reason}", without_password(address));
            Err(refused(message, None))
        }
        None if address.starts_with("http://") || address.starts_with("https://") => Ok(None),
        None => {
            let message = format!("`{}` is no address of a context", without_password(address));
            Err(refused(message, Some("use https://, http://, ssh://, git:// or USER@HOST:PATH")))
        }
    }
}

impl Contexts {
    /// Finds the contexts of a request and reads its Dockerfile.
    pub(crate) fn of(
        request: &BuildRequest,
        store: &Store,
        remotes: &Remotes<'_>,
        archives: &Archives,
    ) -> Result<Self, BuildError> {
        let main = Main::of(request, remotes, archives)?;
        let Described { dockerfile, ignore: own_ignore, windows } = match &request.dockerfile {
            DockerfileSource::Remote(address) => {
                let content = remotes.content(&remotes.fetch(address)?)?;
                Described::alone(read_content(&without_password(address), &content)?)
            }
            source => dockerfile(source, &main)?,
        };
        let windows = match windows {
            Some(text) => WindowsRules::parse(&format!("{}{WINDOWS}", dockerfile.name), &text)?,
            None => WindowsRules::default(),
        };
        let (mut directories, mut excludes, mut elsewhere) =
            (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut made = None;
        if let Some(context) = main.elsewhere {
            // As in BuildKit, ignore files count for directories of this machine only.
            elsewhere.insert(MAIN.to_owned(), context);
        } else {
            let directory = if let Files::Directory(path) = main.files {
                path
            } else {
                let empty = store
                    .temporary_directory()
                    .map_err(failed("cannot make an empty build context"))?;
                made.insert(empty).path().to_owned()
            };
            let ignore = match own_ignore {
                Some(text) => Some(text),
                None => read_beneath(&directory, ".dockerignore")?,
            };
            excludes.insert(MAIN.to_owned(), patterns(ignore.as_deref())?);
            directories.insert(MAIN.to_owned(), directory);
        }
        for (name, context) in &request.contexts {
            match context {
                NamedContext::Directory(path) => {
                    check_directory(path, &format!("build context `{name}`"))?;
                    excludes.insert(
                        name.clone(),
                        patterns(read_beneath(path, ".dockerignore")?.as_deref())?,
                    );
                    directories.insert(name.clone(), path.clone());
                }
                NamedContext::Remote(address) => {
                    let context = match git_source(address)? {
                        Some(git) => frontend::Context::Git(Box::new(git)),
                        None => {
                            frontend::Context::Http { address: address.clone(), archive: false }
                        }
                    };
                    elsewhere.insert(name.clone(), context);
                }
                NamedContext::Image(_) | NamedContext::OciLayout { .. } => {}
            }
        }
        let newest = main.newest;
        Ok(Self { directories, excludes, elsewhere, dockerfile, windows, newest, _made: made })
    }

    /// A directory or what is elsewhere, as the frontend takes it.
    pub(crate) fn context(&self, name: &str) -> frontend::Context {
        self.elsewhere.get(name).cloned().unwrap_or_else(|| frontend::Context::Directory {
            excludes: self.excludes.get(name).cloned().unwrap_or_default(),
        })
    }

    /// A directory with all that its ignore file leaves, also what no step asked for.
    pub(crate) fn whole(&self, source: &SourceOp) -> Option<ContextTree> {
        let name = source.identifier.strip_prefix("local://").unwrap_or_default();
        let exclude = self.excludes.get(name).cloned().unwrap_or_default();
        let options = ContextOptions { exclude, ..ContextOptions::default() };
        ContextTree::open(self.directories.get(name)?, &options).ok()
    }

    /// Whether a path of a directory is there, and its ignore file leaves it out.
    pub(crate) fn is_left_out(&self, source: &SourceOp, path: &str) -> bool {
        let name = source.identifier.strip_prefix("local://").unwrap_or_default();
        let (Some(directory), Some(excludes)) =
            (self.directories.get(name), self.excludes.get(name))
        else {
            return false;
        };
        let path = RelPath::clean(path);
        let there = fs_err::symlink_metadata(directory.join(path.as_path())).is_ok();
        there
            && fstree::PatternSet::new(excludes)
                .and_then(|patterns| patterns.matches(path.as_bytes()))
                .unwrap_or(false)
    }

    /// As [`Contexts::of`], but only what lies on this machine, and without a store.
    pub(crate) fn of_texts(request: &BuildRequest) -> Result<Self, BuildError> {
        let elsewhere = |what| {
            let hint = "fetch and unpack it, or send the Dockerfile alone on standard input";
            Err(refused(
                format!("a check reads a Dockerfile of this machine, not {what}"),
                Some(hint),
            ))
        };
        let files = match &request.context {
            Context::Directory(path) => {
                check_directory(path, "the build context")?;
                Files::Directory(path.clone())
            }
            Context::Empty => Files::None,
            Context::Archive(_) => return elsewhere("one in an archive"),
            // Its ignore file does not count, and the Dockerfile may be here all the same.
            Context::Remote(_) if matches!(request.dockerfile, DockerfileSource::Text { .. }) => {
                Files::None
            }
            Context::Remote(_) => return elsewhere("one at an address"),
        };
        if let DockerfileSource::Remote(_) = &request.dockerfile {
            return elsewhere("one at an address");
        }
        let main = Main { files, elsewhere: None, newest: None, inside: Inside::No };
        let Described { dockerfile, ignore, .. } = dockerfile(&request.dockerfile, &main)?;
        let (mut directories, mut excludes) = (BTreeMap::new(), BTreeMap::new());
        if let Files::Directory(path) = main.files {
            let ignore = match ignore {
                Some(text) => Some(text),
                None => read_beneath(&path, ".dockerignore")?,
            };
            excludes.insert(MAIN.to_owned(), patterns(ignore.as_deref())?);
            directories.insert(MAIN.to_owned(), path);
        }
        Ok(Self {
            directories,
            excludes,
            elsewhere: BTreeMap::new(),
            dockerfile,
            windows: WindowsRules::default(),
            newest: None,
            _made: None,
        })
    }

    /// Tells what of the main context is left out.
    pub(crate) fn ignored(&self) -> Option<frontend::Excluded> {
        let patterns = fstree::PatternSet::new(self.excludes.get(MAIN)?).ok()?;
        Some(frontend::Excluded::by(move |path| {
            // What cannot be told here fails when the files are read.
            patterns.matches(path.as_bytes()).unwrap_or(false)
        }))
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

impl Described {
    fn alone(dockerfile: SourceText) -> Self {
        Self { dockerfile, ignore: None, windows: None }
    }
}

/// Reads a file of a context.
type ReadFile<'a> = Box<dyn Fn(&str) -> Result<Option<String>, BuildError> + 'a>;

/// The Dockerfile and what lies beside it.
fn dockerfile(source: &DockerfileSource, main: &Main) -> Result<Described, BuildError> {
    let hint = "name it with --file, or pass - to read it from standard input";
    let name = match source {
        DockerfileSource::Text { name, text } => {
            return Ok(Described::alone(SourceText {
                name: name.clone(),
                text: text.as_str().into(),
            }));
        }
        DockerfileSource::Path(path)
            if main.inside == Inside::No
                || main.inside == Inside::Relative && path.is_absolute() =>
        {
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
        DockerfileSource::Default | DockerfileSource::Remote(_) => "Dockerfile".to_owned(),
    };
    let (read, place): (ReadFile<'_>, String) = match &main.files {
        Files::None => {
            let message = "there is neither a build context nor a Dockerfile";
            return Err(refused(message, Some(hint)));
        }
        Files::Single { name: address, content } if *source == DockerfileSource::Default => {
            return Ok(Described::alone(read_content(address, content)?));
        }
        Files::Single { name: address, .. } => {
            let message = format!("there is no {name} in {address}: it is no archive");
            return Err(refused(message, Some("leave out --file, or name an archive")));
        }
        Files::Directory(path) => {
            (Box::new(|name| read_beneath(path, name)), path.display().to_string())
        }
        Files::Archive(files) => {
            (Box::new(|name| read_inside(files, name)), "the archive".to_owned())
        }
    };
    let mut shown = name.clone();
    let mut found = read(&name)?;
    if found.is_none() && matches!(source, DockerfileSource::Default) {
        // The spelling that Docker tries next.
        "dockerfile".clone_into(&mut shown);
        found = read(&shown)?;
    }
    let place = if main.inside == Inside::Relative { "the build context" } else { &place };
    let text =
        found.ok_or_else(|| refused(format!("there is no {name} in {place}"), Some(hint)))?;
    let ignore = read(&format!("{shown}.dockerignore"))?;
    let windows = read(&format!("{shown}{WINDOWS}"))?;
    Ok(Described { dockerfile: SourceText { name: shown, text: text.into() }, ignore, windows })
}

/// A file of an archive, links resolved within it.
fn read_inside(files: &Changeset, name: &str) -> Result<Option<String>, BuildError> {
    let what = || failed(format!("cannot read {name} in the archive"));
    let path = fstree::resolve(files, &RelPath::clean(name), true)
        .map_err(failed(format!("cannot read {name} in the archive")))?;
    match files.lookup(&path).map_err(failed(format!("cannot read {name} in the archive")))? {
        None => Ok(None),
        Some(Entry { kind: Kind::File(content), .. }) => {
            let bytes = content.read(TEXT_LIMIT).map_err(what())?;
            text(Path::new(name), bytes).map(Some)
        }
        Some(_) => Err(refused(format!("{name} in the archive is no regular file"), None)),
    }
}

fn read_content(name: &str, content: &Content) -> Result<SourceText, BuildError> {
    let bytes = content.read(TEXT_LIMIT).map_err(failed(format!("cannot read {name}")))?;
    let text = text(Path::new(name), bytes)?;
    Ok(SourceText { name: name.to_owned(), text: text.into() })
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
