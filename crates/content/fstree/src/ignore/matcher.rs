//! One pattern, compiled.

use std::collections::BTreeSet;

use crate::pattern::next_rune;

/// What moby compiles a pattern to: plain comparisons where they suffice, else a small regular expression.
#[derive(Debug)]
pub(super) enum Matcher {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
    Tokens(Vec<Token>),
}

#[derive(Debug)]
pub(super) enum Token {
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
    pub(super) fn compile(text: &str) -> Self {
        let mut form = Form::Exact;
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        let mut first = true;
        while let Some(char) = chars.next() {
            match char {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    let _slash = chars.next_if_eq(&'/');
                    if chars.peek().is_some() {
                        // Several in a row say no more than one.
                        if !matches!(tokens.last(), Some(Token::Directories)) {
                            tokens.push(Token::Directories);
                        }
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

    /// Whether it matches the path, or with `above` a directory above it. Adds to `steps` what that took.
    pub(super) fn matches(&self, path: &[u8], above: bool, steps: &mut u64) -> bool {
        *steps += 1;
        match self {
            Self::Exact(text) => path
                .strip_prefix(text.as_slice())
                .is_some_and(|rest| rest.is_empty() || above && rest.first() == Some(&b'/')),
            // What begins a directory's path begins all paths in it.
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => {
                let ends = |path: &[u8]| {
                    path.ends_with(suffix)
                        || suffix.strip_prefix(b"/").is_some_and(|name| name == path)
                };
                ends(path)
                    || above
                        && directories_above(path).any(|path| {
                            *steps += 1;
                            ends(path)
                        })
            }
            // A bit for each token and one for the end.
            Self::Tokens(tokens) if tokens.len() < 64 => run::<u64>(tokens, path, above, steps),
            Self::Tokens(tokens) => {
                *steps += (tokens.len() * path.len()) as u64;
                run::<BTreeSet<usize>>(tokens, path, above, steps)
            }
        }
    }

    /// Plain text that every path it matches begins with, and such that it ends with.
    pub(super) fn ends(&self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Exact(text) => (text.clone(), Vec::new()),
            Self::Prefix(prefix) => (prefix.clone(), Vec::new()),
            Self::Suffix(suffix) => (Vec::new(), suffix.clone()),
            Self::Tokens(tokens) => {
                // Bytes that are no character are read as this one.
                let plain = |token: &&Token| match token {
                    Token::Literal(char::REPLACEMENT_CHARACTER) => None,
                    Token::Literal(literal) => Some(*literal),
                    _ => None,
                };
                let start: String = tokens.iter().map_while(|token| plain(&token)).collect();
                let end: Vec<char> = tokens.iter().rev().map_while(|token| plain(&token)).collect();
                let end: String = end.into_iter().rev().collect();
                (start.into_bytes(), end.into_bytes())
            }
        }
    }
}

/// The directories above a path, from the outermost.
pub(super) fn directories_above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.filter_map(|(at, _)| path.get(..at))
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

/// A set of positions in a list of tokens.
trait Positions: Default {
    fn has(&self, position: usize) -> bool;
    fn add(&mut self, position: usize);
    /// The first position from `from` on that is in one of the two.
    fn next(&self, other: &Self, from: usize) -> Option<usize>;
}

impl Positions for u64 {
    fn has(&self, position: usize) -> bool {
        self >> position & 1 == 1
    }

    fn add(&mut self, position: usize) {
        *self |= 1 << position;
    }

    fn next(&self, other: &Self, from: usize) -> Option<usize> {
        let bits = (self | other) >> from;
        (bits != 0).then(|| from + bits.trailing_zeros() as usize)
    }
}

impl Positions for BTreeSet<usize> {
    fn has(&self, position: usize) -> bool {
        self.contains(&position)
    }

    fn add(&mut self, position: usize) {
        self.insert(position);
    }

    fn next(&self, other: &Self, from: usize) -> Option<usize> {
        let first = |set: &Self| set.range(from..).next().copied();
        first(self).into_iter().chain(first(other)).min()
    }
}

/// Runs all ways through the tokens at once, so that no pattern takes more than `tokens × path` steps.
fn run<P: Positions>(tokens: &[Token], mut path: &[u8], above: bool, steps: &mut u64) -> bool {
    // Tokens that come next, and those whose directories the path is in.
    let mut before = P::default();
    let mut inside = P::default();
    reach(tokens, &mut before, 0);
    while !path.is_empty() {
        if above && path.first() == Some(&b'/') && before.has(tokens.len()) {
            return true;
        }
        let (char, rest) = next_rune(path);
        path = rest;
        let mut next = P::default();
        let mut next_inside = P::default();
        let mut position = 0;
        *steps += 1;
        while let Some(index) = before.next(&inside, position) {
            let Some(token) = tokens.get(index) else { break };
            position = index + 1;
            *steps += 1;
            let here = before.has(index);
            match token {
                Token::Literal(literal) if here && *literal == char => {
                    reach(tokens, &mut next, index + 1);
                }
                Token::One if here && char != '/' => reach(tokens, &mut next, index + 1),
                Token::Star if here && char != '/' => reach(tokens, &mut next, index),
                Token::Rest if here => reach(tokens, &mut next, index),
                Token::Directories => {
                    next_inside.add(index);
                    if char == '/' {
                        reach(tokens, &mut next, index + 1);
                    }
                }
                Token::Class { negated, ranges } if here => {
                    *steps += ranges.len() as u64;
                    let found = ranges.iter().any(|(low, high)| *low <= char && char <= *high);
                    if found != *negated {
                        reach(tokens, &mut next, index + 1);
                    }
                }
                _ => {}
            }
        }
        (before, inside) = (next, next_inside);
        if before.next(&inside, 0).is_none() {
            return false;
        }
    }
    before.has(tokens.len())
}

/// Adds a position, and what comes behind it without a character.
fn reach<P: Positions>(tokens: &[Token], set: &mut P, mut position: usize) {
    set.add(position);
    while let Some(Token::Star | Token::Rest | Token::Directories) = tokens.get(position) {
        position += 1;
        set.add(position);
    }
}
