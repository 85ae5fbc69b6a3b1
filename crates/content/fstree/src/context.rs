use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::disk::Reading;
use crate::ignore::show_patterns;
use crate::view::Link;
use crate::walk::{Step, walk, with_links};
use crate::{
    Changeset, DirectoryTree, Entry, Kind, MatchInfo, Mtime, Owners, PatternSet, RelPath, Root,
    TreeError, TreeForm, TreeView,
};
use crate::{glob_match, has_wildcards, resolve, root_entry};

/// What of a local directory a build may see, as BuildKit's local source has it.
#[derive(Clone, Debug, Default)]
pub struct ContextOptions {
    /// Only what matches one of these; everything when there are none.
    pub include: Vec<String>,
    /// Not what matches these (`.dockerignore`).
    pub exclude: Vec<String>,
    /// Paths to include along with what symbolic links on the way lead to. Wildcards are allowed in each segment.
    pub follow: Vec<String>,
}

/// A local directory as a build sees it: filtered, everything owned by root, file contents read in place.
///
/// It is walked once, when it is opened. Modes (set-id bits too), times and links stay; a socket becomes an empty
/// file. Unreadable directories are an error only when something asks for them.
#[derive(Clone, Debug)]
pub struct ContextTree {
    root: Arc<Root>,
    files: Changeset,
    /// Files with further names: so that the many others need no looking up.
    linked: Arc<BTreeSet<RelPath>>,
    /// The time of the directory itself, where it says something.
    time: Mtime,
}

impl ContextTree {
    /// Walks the directory.
    pub fn open(path: &Path, options: &ContextOptions) -> Result<Self, TreeError> {
        let root = Root::open(path).map_err(TreeError::io("open build context", path.display()))?;
        Self::read(Arc::new(root), options)
    }

    /// Walks an open directory.
    pub fn read(root: Arc<Root>, options: &ContextOptions) -> Result<Self, TreeError> {
        let mut include = options.include.clone();
        let mut everything = false;
        if !options.follow.is_empty() {
            match follow_links(&root, &options.follow)? {
                Some(targets) => include.extend(targets),
                // One of them is the root itself: BuildKit then adds nothing.
                None => everything = options.include.is_empty(),
            }
        }
        include.sort();
        include.dedup();
        if everything {
            include.clear();
        }
        let compile = |what: &str, patterns: &[String]| {
            PatternSet::new(patterns).map_err(|error| {
                TreeError::Invalid(format!(
                    "invalid {what} patterns ({}): {error}",
                    show_patterns(patterns)
                ))
            })
        };
        let filter = Filter {
            include: compile("include", &include)?,
            exclude: compile("exclude", &options.exclude)?,
        };
        let found =
            walk(&root, Reading::Context, Matched::default(), |path, directory, parent| {
                filter.choose(path, directory, parent)
            })?;
        let files = with_links(found);
        let linked = files.iter().filter_map(|entry| match &entry.kind {
            Kind::Hardlink(target) => Some(target.clone()),
            _ => None,
        });
        let linked = Arc::new(linked.collect());
        Ok(Self { root, files, linked, time: Mtime::default() })
    }

    /// The same with this time for the directory itself. Else it is 0: when a directory of a machine was changed says
    /// nothing about what is taken of it.
    #[must_use]
    pub fn dated(self, time: Mtime) -> Self {
        Self { time, ..self }
    }

    /// The directory itself.
    pub fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Everything in it. The entry for the root is not there.
    pub fn files(&self) -> &Changeset {
        &self.files
    }
}

impl TreeView for ContextTree {
    fn lookup(&self, path: &RelPath) -> Result<Option<Entry>, TreeError> {
        if path.is_root() {
            let mut root = root_entry();
            root.meta.mtime = self.time;
            return Ok(Some(root));
        }
        self.files.lookup(path)
    }

    fn list(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, TreeError> {
        self.files.list(path)
    }

    fn link(&self, path: &RelPath) -> Result<Option<Link>, TreeError> {
        match self.files.get(path).map(|entry| &entry.kind) {
            Some(Kind::Hardlink(_)) => self.files.link(path),
            _ if self.linked.contains(path) => self.files.link(path),
            _ => Ok(None),
        }
    }
}

struct Filter {
    include: PatternSet,
    exclude: PatternSet,
}

/// What the directory above matched.
#[derive(Clone, Debug, Default)]
struct Matched {
    include: MatchInfo,
    exclude: MatchInfo,
}

impl Filter {
    fn choose(
        &self,
        path: &RelPath,
        directory: bool,
        parent: &Matched,
    ) -> Result<Step<Matched>, TreeError> {
        let mut matched = Matched::default();
        let mut take = true;
        if !self.include.is_empty() {
            let (hit, info) = self.include.matches_beneath(path.as_bytes(), &parent.include)?;
            matched.include = info;
            if !hit {
                if !directory || !self.include.may_match_in(path.as_bytes(), false) {
                    return Ok(Step::Skip);
                }
                take = false;
            }
        }
        if !self.exclude.is_empty() {
            let found = self.exclude.matches_beneath(path.as_bytes(), &parent.exclude);
            let (hit, info) = found.map_err(|error| match error {
                TreeError::Limit { path, limit } => {
                    let path = format!("the ignore file (.dockerignore) at {path}");
                    TreeError::Limit { path, limit }
                }
                error => error,
            })?;
            matched.exclude = info;
            if hit {
                if !directory || !self.exclude.may_match_in(path.as_bytes(), true) {
                    return Ok(Step::Skip);
                }
                take = false;
            }
        }
        Ok(if take { Step::Take(matched) } else { Step::Look(matched) })
    }
}

/// The given paths and what links on the way lead to, without those that lie in another; `None` when the root is one.
fn follow_links(root: &Arc<Root>, paths: &[String]) -> Result<Option<Vec<String>>, TreeError> {
    let tree = DirectoryTree::of_root(Arc::clone(root), Owners::IDENTITY, TreeForm::Plain);
    let mut resolved: BTreeSet<RelPath> = BTreeSet::new();
    // Each path is looked at once; the limit stops a hostile tree of links and wildcards.
    let mut waiting: Vec<RelPath> =
        paths.iter().map(|path| RelPath::clean(path.as_bytes())).collect();
    let mut looked_at = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !looked_at.insert(path.clone()) {
            continue;
        }
        if looked_at.len() > MAX_FOLLOWED {
            let limit = format!("links of a build context may lead to {MAX_FOLLOWED} paths");
            return Err(TreeError::Limit { path: path.to_string(), limit });
        }
        let mut current = RelPath::root();
        let segments: Vec<&[u8]> = path.segments().collect();
        let mut targets = Vec::new();
        for (index, segment) in segments.iter().enumerate() {
            let Ok(next) = current.join(segment) else { break };
            targets = link_targets(&tree, &current, segment)?;
            current = next;
            if !targets.is_empty() {
                let rest = segments.get(index + 1..).unwrap_or_default().join(&b'/');
                for target in &targets {
                    waiting.push(RelPath::clean([target.as_slice(), b"/", &rest].concat()));
                }
                break;
            }
        }
        if targets.is_empty() || !current.is_root() {
            resolved.insert(current);
        }
    }
    let mut kept: Vec<RelPath> = Vec::new();
    for path in resolved {
        if path.is_root() {
            return Ok(None);
        }
        if !kept.last().is_some_and(|last| path.starts_with(last)) {
            kept.push(path);
        }
    }
    Ok(Some(
        kept.iter().map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned()).collect(),
    ))
}

const MAX_FOLLOWED: usize = 10_000;

/// Where the links lead that are at `segment`, which may be a pattern, in `directory`.
fn link_targets(
    tree: &DirectoryTree,
    directory: &RelPath,
    segment: &[u8],
) -> Result<Vec<Vec<u8>>, TreeError> {
    let names = if has_wildcards(segment) {
        let mut names = tree.list(directory)?;
        names.retain(|name| glob_match(segment, name).unwrap_or(false));
        names
    } else {
        vec![segment.to_vec()]
    };
    let mut targets = Vec::new();
    for name in names {
        let Ok(path) = directory.join(&name) else { continue };
        if let Some(Entry { kind: Kind::Symlink(target), .. }) = tree.lookup(&path)? {
            if target.starts_with(b"/") {
                targets.push(target);
            } else {
                targets.push([b"/", directory.as_bytes(), b"/", &target].concat());
            }
        }
    }
    Ok(targets)
}

/// Reads a small file of a context (`Dockerfile`, `.dockerignore`), links resolved beneath the context. `None` when
/// it is not there. Anything but a regular file and files larger than `limit` bytes are refused.
pub fn read_context_file(
    root: &Arc<Root>,
    path: &RelPath,
    limit: u64,
) -> Result<Option<Vec<u8>>, TreeError> {
    let tree = DirectoryTree::of_root(Arc::clone(root), Owners::IDENTITY, TreeForm::Plain);
    let at = resolve(&tree, path, true)?;
    match tree.lookup(&at)? {
        None => Ok(None),
        Some(Entry { kind: Kind::File(content), .. }) => {
            content.read(limit).map(Some).map_err(TreeError::io("read", root.show(path)))
        }
        Some(_) => Err(TreeError::Invalid(format!("`{}` is not a regular file", root.show(path)))),
    }
}
