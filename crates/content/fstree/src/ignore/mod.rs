mod index;
mod matcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::index::Index;
use self::matcher::Matcher;
use crate::{TreeError, glob_match, show};

/// How long a `.dockerignore` may be.
const MAX_IGNORE_FILE: usize = 4 << 20;

/// A `.dockerignore`: its lines in order, a later one overruling an earlier one.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    lines: Vec<String>,
    patterns: PatternSet,
}

impl IgnoreRules {
    /// Reads the text of a `.dockerignore`: a byte order mark, comments (`#` in the first column) and blank lines are
    /// dropped, white space around a pattern and a leading `/` are taken off.
    pub fn parse(text: &[u8]) -> Result<Self, TreeError> {
        if text.len() > MAX_IGNORE_FILE {
            let limit = format!("an ignore file may have {MAX_IGNORE_FILE} bytes");
            return Err(TreeError::Limit { path: ".dockerignore".to_owned(), limit });
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut lines = Vec::new();
        for line in String::from_utf8_lossy(text).split('\n') {
            let pattern = line.trim();
            if line.starts_with('#') || pattern.is_empty() {
                continue;
            }
            let (invert, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => ("!", rest.trim()),
                None => ("", pattern),
            };
            let pattern = if pattern.is_empty() { String::new() } else { clean(pattern) };
            let pattern =
                pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
            lines.push(format!("{invert}{pattern}"));
        }
        let patterns = PatternSet::new(&lines)?;
        Ok(Self { lines, patterns })
    }

    /// The patterns, cleaned, in order: what a build context is told to exclude.
    pub fn patterns(&self) -> &[String] {
        &self.lines
    }

    /// Whether nothing is ignored.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether a path of the context, or a directory above it, is ignored.
    pub fn matches(&self, path: &[u8]) -> Result<bool, TreeError> {
        self.patterns.matches(path)
    }
}

/// Patterns as BuildKit matches paths by (`moby/patternmatcher`): `!` takes back, `**` spans directories, and what
/// lies in a matching directory matches too.
#[derive(Clone, Debug, Default)]
pub struct PatternSet {
    patterns: Arc<[Pattern]>,
    index: Arc<Index>,
    /// Of those without and those with a `!`.
    reach: Arc<[Reach; 2]>,
    work: Arc<Work>,
}

#[derive(Debug)]
struct Pattern {
    exception: bool,
    matcher: Matcher,
}

/// Which patterns a directory matched, for use with what lies in it. The default knows nothing.
#[derive(Clone, Debug, Default)]
pub struct MatchInfo(Option<Hits>);

/// Patterns that a directory and those above it matched. Most match no more than the one above, and share its list.
#[derive(Clone, Debug, Default)]
struct Hits(Option<Arc<Level>>);

#[derive(Debug)]
struct Level {
    above: Hits,
    /// In order.
    own: Vec<u32>,
}

impl Hits {
    fn levels(&self) -> impl Iterator<Item = &Level> {
        std::iter::successors(self.0.as_deref(), |level| level.above.0.as_deref())
    }

    /// Whether a pattern is among them, and the last one before it.
    fn look(&self, pattern: u32, steps: &mut u64) -> (bool, Option<u32>) {
        let (mut among, mut last) = (false, None);
        for Level { own, .. } in self.levels() {
            *steps += 8;
            let before = own.partition_point(|hit| *hit < pattern);
            among |= own.get(before) == Some(&pattern);
            last = last.max(before.checked_sub(1).and_then(|at| own.get(at)).copied());
        }
        (among, last)
    }

    fn last(&self) -> Option<u32> {
        self.levels().filter_map(|level| level.own.last()).max().copied()
    }
}

impl PatternSet {
    /// Takes patterns in order. A lone `!` and what `filepath.Match` refuses are errors.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, TreeError> {
        Self::compile(patterns, FEW)
    }

    fn compile<S: AsRef<str>>(patterns: &[S], few: usize) -> Result<Self, TreeError> {
        let mut compiled = Vec::with_capacity(patterns.len());
        let mut reach = [Reach::default(), Reach::default()];
        for pattern in patterns {
            let pattern = pattern.as_ref().trim();
            if pattern.is_empty() {
                continue;
            }
            let cleaned = clean(pattern);
            let (exception, text) = match cleaned.strip_prefix('!') {
                Some("") => {
                    return Err(TreeError::Invalid("illegal exclusion pattern: \"!\"".to_owned()));
                }
                Some(rest) => (true, rest),
                None => (false, cleaned.as_str()),
            };
            glob_match(text.as_bytes(), b".")?;
            reach.get_mut(usize::from(exception)).into_iter().for_each(|reach| reach.add(text));
            compiled.push(Pattern { exception, matcher: Matcher::compile(text) });
        }
        for reach in &mut reach {
            reach.fixed.sort_unstable();
        }
        let index = Index::new(compiled.iter().map(|pattern| &pattern.matcher), few);
        Ok(Self {
            patterns: compiled.into(),
            index: Arc::new(index),
            reach: Arc::new(reach),
            work: Arc::default(),
        })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any pattern starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.reach.get(1).is_some_and(|reach| reach.anywhere || !reach.fixed.is_empty())
    }

    /// Whether the path or a directory above it matches. Fails when so many patterns had to be tried with so many
    /// paths that it takes too long.
    pub fn matches(&self, path: &[u8]) -> Result<bool, TreeError> {
        let mut steps = 0;
        // The last that matches decides.
        let candidates = self.index.candidates(path, true, &mut steps).into_iter().rev();
        let last = candidates
            .filter_map(|index| self.patterns.get(index as usize))
            .find(|Pattern { matcher, .. }| matcher.matches(path, true, &mut steps));
        let matched = last.is_some_and(|pattern| !pattern.exception);
        self.work.spend(steps, path, self.patterns.len())?;
        Ok(matched)
    }

    /// As [`PatternSet::matches`], when the directory above is known to have matched as `parent` says. Where it is not
    /// known, directories above are looked at too.
    ///
    /// As in moby, a pattern that would have changed nothing for a directory was not tried with it, and does not count
    /// for what lies in it.
    pub fn matches_beneath(
        &self,
        path: &[u8],
        parent: &MatchInfo,
    ) -> Result<(bool, MatchInfo), TreeError> {
        let mut steps = 0;
        let above = parent.0.is_none();
        let hits = parent.0.clone().unwrap_or_default();
        let excludes = |last: Option<u32>| {
            let last = last.and_then(|last| self.patterns.get(last as usize));
            last.is_some_and(|pattern| !pattern.exception)
        };
        let last_hit = hits.last();
        let mut own: Vec<u32> = Vec::new();
        for index in self.index.candidates(path, above, &mut steps) {
            let Some(pattern) = self.patterns.get(index as usize) else { continue };
            let (among, before) = match last_hit {
                Some(last) if index <= last => hits.look(index, &mut steps),
                _ => (false, last_hit),
            };
            if !among
                && pattern.exception == excludes(before.max(own.last().copied()))
                && pattern.matcher.matches(path, above, &mut steps)
            {
                own.push(index);
            }
        }
        let matched = excludes(last_hit.max(own.last().copied()));
        self.work.spend(steps, path, self.patterns.len())?;
        let hits =
            if own.is_empty() { hits } else { Hits(Some(Arc::new(Level { above: hits, own }))) };
        Ok((matched, MatchInfo(Some(hits))))
    }

    /// Whether any pattern that is an exception (or none, as asked) could match something in `directory`.
    /// Says yes when it cannot tell.
    pub(crate) fn may_match_in(&self, directory: &[u8], exceptions: bool) -> bool {
        self.reach.get(usize::from(exceptions)).is_some_and(|reach| reach.into(directory))
    }
}

/// Where patterns may match something.
#[derive(Debug, Default)]
struct Reach {
    anywhere: bool,
    /// Paths at and beneath which, in order.
    fixed: Vec<Vec<u8>>,
}

impl Reach {
    fn add(&mut self, pattern: &str) {
        let fixed = pattern.strip_suffix("/**").unwrap_or(pattern);
        let fixed = fixed.strip_suffix("/*").unwrap_or(fixed);
        if fixed.contains(['*', '[', ']', '?', '^', '\\']) {
            self.anywhere = true;
        } else {
            self.fixed.push(fixed.as_bytes().to_vec());
        }
    }

    fn into(&self, directory: &[u8]) -> bool {
        let first = |text: &[u8]| {
            let at = self.fixed.partition_point(|fixed| fixed.as_slice() < text);
            self.fixed.get(at).is_some_and(|fixed| fixed.starts_with(text))
        };
        self.anywhere
            || self.fixed.binary_search_by(|fixed| fixed.as_slice().cmp(directory)).is_ok()
            || first(&[directory, b"/"].concat())
    }
}

/// What matching may take in all: so much, and so much more for each path.
#[derive(Debug)]
struct Work {
    steps: AtomicU64,
    most: u64,
}

/// Up to how many patterns trying each is as fast as looking for those that may match.
const FEW: usize = 32;

/// Steps of a few nanoseconds each.
const MAX_STEPS: u64 = 1 << 31;
/// Far more than the patterns that people write need for a path.
const STEPS_FOR_A_PATH: u64 = 1 << 14;

impl Default for Work {
    fn default() -> Self {
        Self { steps: AtomicU64::new(0), most: MAX_STEPS }
    }
}

impl Work {
    fn spend(&self, steps: u64, path: &[u8], patterns: usize) -> Result<(), TreeError> {
        // Most paths take so little that they need not be counted.
        let Some(more) = steps.checked_sub(STEPS_FOR_A_PATH) else { return Ok(()) };
        if self.steps.fetch_add(more, Ordering::Relaxed) <= self.most {
            return Ok(());
        }
        let limit = format!(
            "trying {patterns} patterns with each path takes too long; give fewer of them, or such as begin or end \
             with a plain name"
        );
        Err(TreeError::Limit { path: show(path), limit })
    }
}

/// Go's `filepath.Clean`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| *last != "..") => drop(segments.pop()),
            ".." if rooted => {}
            name => segments.push(name),
        }
    }
    let joined = segments.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Patterns for a message.
pub(crate) fn show_patterns(patterns: &[String]) -> String {
    patterns.iter().map(|pattern| show(pattern.as_bytes())).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
