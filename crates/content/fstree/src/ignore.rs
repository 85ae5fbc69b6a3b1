use std::sync::Arc;

use crate::pattern::next_rune;
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
    pub fn matches(&self, path: &[u8]) -> bool {
        self.patterns.matches(path)
    }
}

/// Patterns as BuildKit matches paths by (`moby/patternmatcher`): `!` takes back, `**` spans directories, and what
/// lies in a matching directory matches too.
#[derive(Clone, Debug, Default)]
pub struct PatternSet {
    patterns: Arc<[Pattern]>,
    exceptions: bool,
}

/// Which patterns a directory matched, for use with what lies in it.
#[derive(Clone, Debug, Default)]
pub struct MatchInfo(Vec<bool>);

impl PatternSet {
    /// Takes patterns in order. A lone `!` and what `filepath.Match` refuses are errors.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, TreeError> {
        let mut compiled = Vec::with_capacity(patterns.len());
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
            compiled.push(Pattern {
                exception,
                text: text.to_owned(),
                matcher: Matcher::compile(text),
            });
        }
        let exceptions = compiled.iter().any(|pattern| pattern.exception);
        Ok(Self { patterns: compiled.into(), exceptions })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any pattern starts with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.exceptions
    }

    /// Whether the path or a directory above it matches.
    pub fn matches(&self, path: &[u8]) -> bool {
        let mut matched = false;
        for pattern in &*self.patterns {
            if pattern.exception == matched && pattern.matches_path_or_parent(path) {
                matched = !pattern.exception;
            }
        }
        matched
    }

    /// As [`PatternSet::matches`], when the directory above is known to have matched as `parent` says. The default
    /// `parent` knows nothing.
    pub fn matches_beneath(&self, path: &[u8], parent: &MatchInfo) -> (bool, MatchInfo) {
        let mut matched = false;
        let mut info = vec![false; self.patterns.len()];
        for (index, (pattern, info)) in self.patterns.iter().zip(&mut info).enumerate() {
            let mut hit = parent.0.get(index).copied().unwrap_or(false);
            if !hit {
                if pattern.exception != matched {
                    continue;
                }
                hit = if parent.0.is_empty() {
                    pattern.matches_path_or_parent(path)
                } else {
                    pattern.matcher.matches(path)
                };
            }
            *info = hit;
            if hit {
                matched = !pattern.exception;
            }
        }
        (matched, MatchInfo(info))
    }

    /// Whether any pattern that is an exception (or none, as asked) could match something in `directory`.
    /// Says yes when it cannot tell.
    pub(crate) fn may_match_in(&self, directory: &[u8], exceptions: bool) -> bool {
        let mut chosen =
            self.patterns.iter().filter(|pattern| pattern.exception == exceptions).peekable();
        chosen.peek().is_some()
            && chosen.any(|pattern| {
                let fixed = pattern.text.strip_suffix("/**").unwrap_or(&pattern.text);
                let fixed = fixed.strip_suffix("/*").unwrap_or(fixed);
                fixed.contains(['*', '[', ']', '?', '^', '\\'])
                    || fixed
                        .as_bytes()
                        .strip_prefix(directory)
                        .is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
            })
    }
}

#[derive(Debug)]
struct Pattern {
    exception: bool,
    text: String,
    matcher: Matcher,
}

impl Pattern {
    fn matches_path_or_parent(&self, path: &[u8]) -> bool {
        if self.matcher.matches(path) {
            return true;
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.filter_map(|(at, _)| path.get(..at)).any(|parent| self.matcher.matches(parent))
    }
}

/// What moby compiles a pattern to: plain comparisons where they suffice, else a small regular expression.
#[derive(Debug)]
enum Matcher {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Tokens(Vec<Token>),
}

#[derive(Debug)]
enum Token {
    Literal(char),
    /// `[^/]`
    One,
    /// `[^/]*`
    Star,
    /// `.*`
    Rest,
    /// `(.*/)?`
    Directories,
    /// `[a-z]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Exact,
    Prefix,
    Suffix,
    Tokens,
}

impl Matcher {
    fn compile(text: &str) -> Self {
        let mut form = Form::Exact;
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        let mut first = true;
        while let Some(char) = chars.next() {
            match char {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    let _slash = chars.next_if_eq(&'/');
                    if chars.peek().is_some() {
                        tokens.push(Token::Directories);
                        form = Form::Tokens;
                    } else if form == Form::Exact {
                        form = Form::Prefix;
                    } else {
                        tokens.push(Token::Rest);
                        form = Form::Tokens;
                    }
                    if first {
                        form = Form::Suffix;
                    }
                }
                '*' => {
                    tokens.push(Token::Star);
                    form = Form::Tokens;
                }
                '?' => {
                    tokens.push(Token::One);
                    form = Form::Tokens;
                }
                '\\' => match chars.next() {
                    Some(escaped) => {
                        tokens.push(Token::Literal(escaped));
                        form = Form::Tokens;
                    }
                    None => tokens.push(Token::Literal('\\')),
                },
                '[' => {
                    tokens.push(class(&mut chars));
                    form = Form::Tokens;
                }
                literal => {
                    if literal == ']' {
                        form = Form::Tokens;
                    }
                    tokens.push(Token::Literal(literal));
                }
            }
            first = false;
        }
        let bytes = text.as_bytes();
        match form {
            Form::Exact => Self::Exact(bytes.to_vec()),
            Form::Prefix => Self::Prefix(bytes.strip_suffix(b"**").unwrap_or(bytes).to_vec()),
            Form::Suffix => Self::Suffix(bytes.strip_prefix(b"**").unwrap_or(bytes).to_vec()),
            Form::Tokens => Self::Tokens(tokens),
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|name| name == path)
            }
            Self::Tokens(tokens) => matches_tokens(tokens, path),
        }
    }
}

/// The inside of a class, behind `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Token {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges: Vec<(char, char)> = Vec::new();
    while let Some(mut low) = chars.next() {
        if low == ']' && !ranges.is_empty() {
            break;
        }
        if low == '\\' {
            low = chars.next().unwrap_or('\\');
        }
        let mut high = low;
        let mut ahead = chars.clone();
        if ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']') {
            let _dash = chars.next();
            high = chars.next().unwrap_or(low);
            if high == '\\' {
                high = chars.next().unwrap_or('\\');
            }
        }
        ranges.push((low, high));
    }
    Token::Class { negated, ranges }
}

/// Runs all ways through the tokens at once, so that no pattern takes more than `tokens × path` steps.
fn matches_tokens(tokens: &[Token], path: &[u8]) -> bool {
    // A bit for each token and one for the end.
    if tokens.len() < 64 { run::<u64>(tokens, path) } else { run::<Vec<bool>>(tokens, path) }
}

/// A set of positions in a list of tokens.
trait Positions: Clone {
    fn none(tokens: usize) -> Self;
    fn has(&self, position: usize) -> bool;
    fn add(&mut self, position: usize);
}

impl Positions for u64 {
    fn none(_tokens: usize) -> Self {
        0
    }

    fn has(&self, position: usize) -> bool {
        self >> position & 1 == 1
    }

    fn add(&mut self, position: usize) {
        *self |= 1 << position;
    }
}

impl Positions for Vec<bool> {
    fn none(tokens: usize) -> Self {
        vec![false; tokens + 1]
    }

    fn has(&self, position: usize) -> bool {
        self.get(position).copied().unwrap_or(false)
    }

    fn add(&mut self, position: usize) {
        if let Some(slot) = self.get_mut(position) {
            *slot = true;
        }
    }
}

fn run<P: Positions>(tokens: &[Token], mut path: &[u8]) -> bool {
    // Tokens that come next, and those whose directories the path is in.
    let mut before = P::none(tokens.len());
    let mut inside = P::none(tokens.len());
    before.add(0);
    skip_empty(tokens, &mut before);
    while !path.is_empty() {
        let (char, rest) = next_rune(path);
        path = rest;
        let mut next = P::none(tokens.len());
        let mut next_inside = P::none(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            let here = before.has(index);
            let (stay, go) = match token {
                Token::Literal(literal) => (false, here && *literal == char),
                Token::One => (false, here && char != '/'),
                Token::Star => (here && char != '/', false),
                Token::Rest => (here, false),
                Token::Directories => {
                    let taken = here || inside.has(index);
                    if taken {
                        next_inside.add(index);
                    }
                    (false, taken && char == '/')
                }
                Token::Class { negated, ranges } => {
                    let found = || ranges.iter().any(|(low, high)| *low <= char && char <= *high);
                    (false, here && found() != *negated)
                }
            };
            if stay {
                next.add(index);
            }
            if go {
                next.add(index + 1);
            }
        }
        skip_empty(tokens, &mut next);
        (before, inside) = (next, next_inside);
    }
    before.has(tokens.len())
}

/// Tokens that may match nothing are passed without a character.
fn skip_empty<P: Positions>(tokens: &[Token], before: &mut P) {
    for (index, token) in tokens.iter().enumerate() {
        if before.has(index) && matches!(token, Token::Star | Token::Rest | Token::Directories) {
            before.add(index + 1);
        }
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
mod tests {
    use super::*;

    fn rules(text: &str) -> IgnoreRules {
        IgnoreRules::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines_are_cleaned_as_docker_does() {
        let read = rules(
            "\u{feff}# no\n  # yes \n\n/a/\n./b/../c  \r\n ! /d \n!\t\n".trim_end_matches("!\t\n"),
        );
        assert_eq!(read.patterns(), ["# yes", "a", "c", "!d"]);
        assert!(IgnoreRules::parse(b"!").is_err());
        assert!(IgnoreRules::parse(b"a[").is_err());
    }

    /// From the tables of `moby/patternmatcher` (`patternmatcher_test.go`).
    #[test]
    fn agrees_with_moby() {
        let cases: &[(&str, &str, bool)] = &[
            ("**", "file", true),
            ("**", "file/", true),
            ("**/", "file", true),
            ("**", "/", true),
            ("**", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", true),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/**/*.txt", "dir/dir/file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/file.txt", true),
            ("a/*.txt", "a/dir/file.txt", false),
            ("a/*.txt", "a/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcdef", false),
            ("abc.def", "abc.def", true),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abcdef", false),
            ("a\\\\", "a\\", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            (
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
                true,
            ),
            ("docs", "docs/a/b", true),
        ];
        for (pattern, path, expected) in cases {
            let set = PatternSet::new(&[*pattern]).unwrap();
            assert_eq!(set.matches(path.as_bytes()), *expected, "{pattern} {path}");
        }
    }

    #[test]
    fn exceptions_take_back_in_order() {
        let read = rules("*\n!docs/**\ndocs/secret\n!docs/secret/ok");
        assert!(read.matches(b"x"));
        assert!(!read.matches(b"docs/a"));
        assert!(read.matches(b"docs/secret/b"));
        assert!(!read.matches(b"docs/secret/ok"));
    }

    #[test]
    fn parents_results_give_the_same_answers() {
        let sets = [
            vec!["*", "!a/b/*.go", "a/b/x.go"],
            vec!["a", "!a/b"],
            vec!["**/t", "!a/t/k"],
            vec!["a/*", "!a/t"],
        ];
        let paths: [&[&str]; 3] =
            [&["a", "a/b", "a/b/x.go"], &["a", "a/b", "a/b/y.go"], &["a", "a/t", "a/t/k"]];
        for patterns in sets {
            let set = PatternSet::new(&patterns).unwrap();
            for chain in paths {
                let mut info = MatchInfo::default();
                for path in chain {
                    let (matched, next) = set.matches_beneath(path.as_bytes(), &info);
                    assert_eq!(matched, set.matches(path.as_bytes()), "{patterns:?} {path}");
                    info = next;
                }
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_bounded_time() {
        let set = PatternSet::new(&["a**/*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b".repeat(3)]).unwrap();
        assert!(!set.matches("a/".repeat(200).as_bytes()));
    }
}
