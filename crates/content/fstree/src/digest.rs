use std::collections::BTreeMap;
use std::io::Read as _;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::{Digest, Digester};

use crate::fileop::expand;
use crate::{
    Content, Entry, FileIdentity, Kind, Link, MatchInfo, PatternSet, RelPath, TreeError, TreeView,
    resolve,
};

/// What of a tree counts for a content digest. The default is all of it.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    /// Where to begin.
    pub path: Vec<u8>,
    /// `path` is a pattern.
    pub wildcard: bool,
    /// A link at `path` itself is followed.
    pub follow_links: bool,
    /// Only paths (relative to `path`) that match.
    pub include: Vec<String>,
    /// Not paths that match.
    pub exclude: Vec<String>,
    /// Paths that must be there.
    pub required: Vec<Vec<u8>>,
}

/// Remembers the digests of files between builds. A file that changed less than a second or two ago may change again
/// without its identity changing: an implementation must not keep such a one.
pub trait DigestCache: Send + Sync {
    /// The digests that are known, in the same order.
    fn get(&self, files: &[FileIdentity]) -> Vec<Option<Digest>>;
    /// Keeps digests.
    fn put(&self, digests: &[(FileIdentity, Digest)]);
}

/// Remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

impl DigestCache for NoCache {
    fn get(&self, files: &[FileIdentity]) -> Vec<Option<Digest>> {
        vec![None; files.len()]
    }

    fn put(&self, _digests: &[(FileIdentity, Digest)]) {}
}

/// Digests parts of a tree so that equal parts agree on every host and in every kind of view.
///
/// An entry counts for its path beneath the selected one, kind, mode, uid, gid, extended attributes, content, what a
/// link says, and which earlier entry it is another name of; not for times. The name of a selected path counts, the
/// directories above it do not.
pub fn content_digest(
    view: &dyn TreeView,
    selectors: &[Selector],
    cache: &dyn DigestCache,
) -> Result<Digest, TreeError> {
    let everything = [Selector::default()];
    let selectors = if selectors.is_empty() { &everything } else { selectors };
    let mut list = Vec::new();
    for selector in selectors {
        list.push(Line::Selector);
        for required in &selector.required {
            let path = RelPath::clean(required);
            if view.lookup(&resolve(view, &path, selector.follow_links)?)?.is_none() {
                return Err(TreeError::not_found(format!("/{path}")));
            }
        }
        let start = RelPath::clean(&selector.path);
        let starts = if selector.wildcard {
            expand(view, &start, selector.follow_links)?
        } else {
            vec![start]
        };
        let invalid = |error: TreeError| TreeError::Invalid(format!("invalid patterns: {error}"));
        let mut selection = Selection {
            view,
            include: PatternSet::new(&selector.include).map_err(invalid)?,
            exclude: PatternSet::new(&selector.exclude).map_err(invalid)?,
            list: &mut list,
            links: BTreeMap::new(),
        };
        for path in starts {
            let at = resolve(view, &path, selector.follow_links)?;
            let Some((entry, link)) = view.lookup_linked(&at)? else {
                return Err(TreeError::not_found(format!("/{path}")));
            };
            selection.list.push(Line::Start(path.name().to_vec()));
            selection.add(entry, link, &at)?;
        }
    }
    let contents: Vec<&Content> = list
        .iter()
        .filter_map(|line| match line {
            Line::Entry { entry: Entry { kind: Kind::File(content), .. }, link: None, .. } => {
                Some(content)
            }
            _ => None,
        })
        .collect();
    let digests = file_digests(&contents, cache)?;
    let mut digests = digests.iter();
    let mut digester = Digester::sha256();
    for line in &list {
        match line {
            Line::Selector => digester.update(b"S"),
            Line::Start(name) => {
                digester.update(b"P");
                text(&mut digester, name);
            }
            Line::Entry { relative, entry, link } => {
                encode(&mut digester, relative, entry);
                match (&entry.kind, link) {
                    (Kind::File(_), Some(first)) => {
                        digester.update(b"l");
                        text(&mut digester, first.as_bytes());
                    }
                    (Kind::File(_), None) => {
                        digester.update(b"f");
                        text(
                            &mut digester,
                            digests.next().map_or(b"", |digest| digest.as_str().as_bytes()),
                        );
                    }
                    (kind, _) => encode_kind(&mut digester, kind),
                }
            }
        }
    }
    Ok(digester.finish())
}

enum Line {
    Selector,
    Start(Vec<u8>),
    Entry { relative: RelPath, entry: Entry, link: Option<RelPath> },
}

struct Selection<'a> {
    view: &'a dyn TreeView,
    include: PatternSet,
    exclude: PatternSet,
    list: &'a mut Vec<Line>,
    links: BTreeMap<Link, RelPath>,
}

struct Waiting {
    at: RelPath,
    relative: RelPath,
    entry: Entry,
    link: Option<Link>,
    include: MatchInfo,
    exclude: MatchInfo,
}

impl Selection<'_> {
    /// Adds an entry and what is in it, in order.
    fn add(&mut self, entry: Entry, link: Option<Link>, at: &RelPath) -> Result<(), TreeError> {
        let (include, exclude) = (MatchInfo::default(), MatchInfo::default());
        let mut stack = vec![Waiting {
            at: at.clone(),
            relative: RelPath::root(),
            entry,
            link,
            include,
            exclude,
        }];
        // Directories that do not match themselves count only with something in them.
        let mut looked_into: Vec<(RelPath, Entry)> = Vec::new();
        while let Some(Waiting { at, relative, entry, link, mut include, mut exclude }) =
            stack.pop()
        {
            looked_into.retain(|(above, _)| relative.starts_with(above));
            let mut taken = true;
            let mut excluded = false;
            if !relative.is_root() {
                if !self.include.is_empty() {
                    (taken, include) =
                        self.include.matches_beneath(relative.as_bytes(), &include)?;
                }
                if !self.exclude.is_empty() {
                    (excluded, exclude) =
                        self.exclude.matches_beneath(relative.as_bytes(), &exclude)?;
                    taken &= !excluded;
                }
            } else if !self.include.is_empty() && entry.kind.is_directory() {
                taken = false;
            }
            let directory = entry.kind.is_directory();
            if directory && (!excluded || self.exclude.may_match_in(relative.as_bytes(), true)) {
                let possible = taken
                    || relative.is_root()
                    || self.include.may_match_in(relative.as_bytes(), false)
                    || excluded;
                let names = if possible { self.view.list(&at)? } else { Vec::new() };
                for name in names.into_iter().rev() {
                    let child = |path: &RelPath| {
                        path.join(&name).map_err(|error| TreeError::Invalid(error.to_string()))
                    };
                    let at = child(&at)?;
                    let Some((entry, link)) = self.view.lookup_linked(&at)? else { continue };
                    let relative = child(&relative)?;
                    stack.push(Waiting {
                        at,
                        relative,
                        entry,
                        link,
                        include: include.clone(),
                        exclude: exclude.clone(),
                    });
                }
            }
            if taken {
                for (relative, entry) in looked_into.drain(..) {
                    self.list.push(Line::Entry { relative, entry, link: None });
                }
                let mut first = None;
                if let (Kind::File(_), Some(link)) = (&entry.kind, link) {
                    first = self.links.get(&link).cloned();
                    self.links.entry(link).or_insert_with(|| relative.clone());
                }
                self.list.push(Line::Entry { relative, entry, link: first });
            } else if directory {
                looked_into.push((relative, entry));
            }
        }
        Ok(())
    }
}

fn encode(digester: &mut Digester, relative: &RelPath, entry: &Entry) {
    digester.update(b"E");
    text(digester, relative.as_bytes());
    for number in [entry.meta.mode, entry.meta.uid, entry.meta.gid] {
        digester.update(&number.to_be_bytes());
    }
    digester.update(&(entry.meta.xattrs.len() as u64).to_be_bytes());
    for (name, value) in &entry.meta.xattrs {
        text(digester, name);
        text(digester, value);
    }
}

fn encode_kind(digester: &mut Digester, kind: &Kind) {
    let device = |digester: &mut Digester, letter: &[u8], major: u32, minor: u32| {
        digester.update(letter);
        digester.update(&major.to_be_bytes());
        digester.update(&minor.to_be_bytes());
    };
    match kind {
        Kind::Directory { opaque } => digester.update(if *opaque { b"o" } else { b"d" }),
        Kind::Symlink(target) => {
            digester.update(b"s");
            text(digester, target);
        }
        Kind::CharDevice { major, minor } => device(digester, b"c", *major, *minor),
        Kind::BlockDevice { major, minor } => device(digester, b"b", *major, *minor),
        Kind::Fifo => digester.update(b"p"),
        Kind::Whiteout => digester.update(b"w"),
        Kind::Hardlink(target) => {
            digester.update(b"l");
            text(digester, target.as_bytes());
        }
        Kind::File(_) => digester.update(b"f"),
    }
}

/// Bytes behind their length, so that no two lists of texts look the same.
fn text(digester: &mut Digester, bytes: &[u8]) {
    digester.update(&(bytes.len() as u64).to_be_bytes());
    digester.update(bytes);
}

const MAX_THREADS: usize = 16;

/// The SHA-256 digests of contents, in the same order, read with several threads.
pub fn file_digests(
    contents: &[&Content],
    cache: &dyn DigestCache,
) -> Result<Vec<Digest>, TreeError> {
    let on_disk: Vec<(usize, FileIdentity)> = contents
        .iter()
        .enumerate()
        .filter_map(|(index, content)| match content {
            Content::Disk(file) => Some((index, file.identity())),
            _ => None,
        })
        .collect();
    let identities: Vec<FileIdentity> = on_disk.iter().map(|(_, identity)| *identity).collect();
    let known = if identities.is_empty() { Vec::new() } else { cache.get(&identities) };
    let mut digests: BTreeMap<usize, Digest> = BTreeMap::new();
    let mut unknown = Vec::new();
    for ((index, identity), known) in
        on_disk.iter().zip(known.into_iter().chain(std::iter::repeat(None)))
    {
        match known {
            Some(digest) => drop(digests.insert(*index, digest)),
            None => unknown.push((*index, *identity)),
        }
    }
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Digest)>, TreeError> {
        let mut done = Vec::new();
        let mut buffer = vec![0; 128 << 10];
        while let Some((index, _)) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(content) = contents.get(*index) else { break };
            done.push((*index, digest_of(content, &mut buffer)?));
        }
        Ok(done)
    };
    let bytes: u64 = unknown.iter().map(|(_, identity)| identity.size).sum();
    let threads = std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(MAX_THREADS)
        .min(unknown.len());
    // A thread costs about as much as hashing this much.
    let computed = if threads < 2 || (unknown.len() < 16 && bytes < 1 << 20) {
        work()?
    } else {
        let parts: Vec<Result<Vec<(usize, Digest)>, TreeError>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let failed =
                |_| Err(TreeError::Invalid("a hashing thread ended unexpectedly".to_owned()));
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(failed)).collect()
        });
        let mut all = Vec::new();
        for part in parts {
            all.extend(part?);
        }
        all
    };
    digests.extend(computed);
    if !unknown.is_empty() {
        let fresh: Vec<(FileIdentity, Digest)> = unknown
            .iter()
            .filter_map(|(index, identity)| Some((*identity, digests.get(index)?.clone())))
            .collect();
        cache.put(&fresh);
    }
    let mut buffer = Vec::new();
    contents
        .iter()
        .enumerate()
        .map(|(index, content)| match digests.remove(&index) {
            Some(digest) => Ok(digest),
            None => digest_of(content, &mut buffer),
        })
        .collect()
}

fn digest_of(content: &Content, buffer: &mut Vec<u8>) -> Result<Digest, TreeError> {
    match content {
        Content::Empty => Ok(Digest::of(b"")),
        Content::Bytes(bytes) => Ok(Digest::of(bytes)),
        Content::Disk(file) => {
            let failed = || TreeError::io("read", file.root().show(file.path()));
            if buffer.is_empty() {
                buffer.resize(128 << 10, 0);
            }
            let mut reader = content.open().map_err(failed())?;
            let mut digester = Digester::sha256();
            loop {
                let read = reader.read(buffer).map_err(failed())?;
                if read == 0 {
                    return Ok(digester.finish());
                }
                digester.update(buffer.get(..read).unwrap_or_default());
            }
        }
    }
}
