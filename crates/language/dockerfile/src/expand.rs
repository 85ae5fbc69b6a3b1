use std::collections::BTreeSet;

use crate::pattern::Pattern;

/// Where values of variables come from.
pub trait Variables {
    /// The value of a variable, if it is set.
    fn get(&self, name: &str) -> Option<String>;
}

/// No variables at all.
impl Variables for () {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

impl<F: Fn(&str) -> Option<String>> Variables for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// How a text is expanded.
#[expect(clippy::struct_excessive_bools, reason = "each is a behaviour of its own")]
#[derive(Clone, Copy, Debug)]
pub struct Expand {
    /// The character that takes the meaning of the next: `\` or `` ` ``.
    pub escape: char,
    /// Keep quotes.
    pub raw_quotes: bool,
    /// Keep escape characters.
    pub raw_escapes: bool,
    /// Quotes mean nothing, as in a here-document.
    pub ignore_quotes: bool,
    /// Leave references to variables that are not set as they are.
    pub skip_unset: bool,
}

impl Expand {
    /// As in the words of an instruction.
    pub fn words(escape: char) -> Self {
        Self {
            escape,
            raw_quotes: false,
            raw_escapes: false,
            ignore_quotes: false,
            skip_unset: false,
        }
    }

    /// As in the body of a here-document.
    pub fn heredoc() -> Self {
        Self { ignore_quotes: true, ..Self::words('\\') }
    }
}

/// An expanded text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// As one word.
    pub text: String,
    /// Split at spaces that were not quoted or escaped.
    pub words: Vec<String>,
    /// Names of variables that were asked for and are set.
    pub matched: BTreeSet<String>,
    /// Names of variables that were asked for and are not set.
    pub unmatched: BTreeSet<String>,
    /// What it cost, about one for each byte that was looked at: who expands many texts bounds the sum.
    pub work: usize,
}

/// Why a text could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {text:?}: {reason}")]
pub struct ExpandError {
    /// The text, or its beginning.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
    /// What finding out cost.
    pub work: usize,
}

impl ExpandError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        if self.reason.ends_with("-quote") {
            Some("close the quote, or escape it if it is meant as it stands")
        } else if self.reason.starts_with("syntax error: missing '}'") {
            Some("close the braces, or escape the $ if it is meant as it stands")
        } else {
            None
        }
    }
}

/// Replaces variables, quotes and escapes in `text`.
pub fn expand(text: &str, how: Expand, variables: &dyn Variables) -> Result<Expanded, ExpandError> {
    let mut lexer = Lexer {
        how,
        rest: text,
        raw_escapes: how.raw_escapes,
        variables,
        room: text.len() + ROOM,
        depth: 0,
        work: text.len(),
        matched: BTreeSet::new(),
        unmatched: BTreeSet::new(),
    };
    match lexer.until(None, how.raw_escapes) {
        Ok((text, words)) => {
            let (matched, unmatched) = (lexer.matched, lexer.unmatched);
            Ok(Expanded { work: lexer.work + text.len(), text, words, matched, unmatched })
        }
        Err(reason) => {
            // What is quoted in them may have been put together of large values.
            let text = text.chars().take(SHOWN).collect();
            let reason = match reason.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
                None => reason,
            };
            Err(ExpandError { text, reason, work: lexer.work })
        }
    }
}

/// What variables may add to a text, in bytes: `ENV A=$A$A` a hundred times must not fill the memory.
const ROOM: usize = 1 << 20;
/// Bytes of values that may be looked at for one text, and steps of patterns in it.
const WORK: usize = 1 << 26;
/// What asking for a variable costs besides its value.
const LOOKUP: usize = 1024;
/// Characters of a text, or of what is wrong with it, that an error shows.
const SHOWN: usize = 200;
/// How deep `${a:-${b:-…}}` may go.
const DEPTH: usize = 64;

struct Lexer<'a> {
    how: Expand,
    rest: &'a str,
    raw_escapes: bool,
    variables: &'a dyn Variables,
    room: usize,
    depth: usize,
    work: usize,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

/// The words of a text in the making.
#[derive(Default)]
struct Words {
    current: String,
    ended: Vec<String>,
    inside: bool,
}

impl Words {
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.push_raw(c);
        } else if self.inside && !self.current.is_empty() {
            self.ended.push(std::mem::take(&mut self.current));
            self.inside = false;
        }
    }

    fn push_raw(&mut self, c: char) {
        self.current.push(c);
        self.inside = true;
    }

    fn push_str_raw(&mut self, text: &str) {
        self.current.push_str(text);
        self.inside = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.ended.push(self.current);
        }
        self.ended
    }
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Up to `stop`, which is consumed, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(format!("variables are nested more than {DEPTH} deep"));
        }
        let before = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let result = self.scan(stop);
        self.raw_escapes = before;
        self.depth -= 1;
        result
    }

    fn scan(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), String> {
        let mut text = String::new();
        let mut words = Words::default();
        loop {
            if text.len() > self.room {
                return Err(format!("the result is larger than {} bytes", self.room));
            }
            let Some(c) = self.peek() else { break };
            if stop == Some(c) {
                self.next();
                return Ok((text, words.finish()));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    value.chars().for_each(|c| words.push(c));
                }
                '<' => {
                    let value = self.angle();
                    text.push_str(&value);
                    words.push_str_raw(&value);
                }
                '\'' if !self.how.ignore_quotes => {
                    let value = self.single_quotes()?;
                    text.push_str(&value);
                    words.push_str_raw(&value);
                }
                '"' if !self.how.ignore_quotes => {
                    let value = self.double_quotes()?;
                    text.push_str(&value);
                    words.push_str_raw(&value);
                }
                _ if c == self.how.escape => {
                    self.next();
                    if self.raw_escapes {
                        text.push(c);
                        words.push_raw(c);
                    }
                    let Some(c) = self.next() else { break };
                    text.push(c);
                    words.push_raw(c);
                }
                _ => {
                    self.next();
                    text.push(c);
                    words.push(c);
                }
            }
        }
        match stop {
            Some(stop) => {
                Err(format!("unexpected end of statement while looking for matching {stop}"))
            }
            None => Ok((text, words.finish())),
        }
    }

    fn single_quotes(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let quote = self.next();
        text.extend(quote.filter(|_| self.how.raw_quotes));
        loop {
            match self.next() {
                None => {
                    return Err("unexpected end of statement while looking for matching \
                                single-quote"
                        .to_owned());
                }
                Some('\'') => {
                    text.extend(quote.filter(|_| self.how.raw_quotes));
                    return Ok(text);
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn double_quotes(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let quote = self.next();
        text.extend(quote.filter(|_| self.how.raw_quotes));
        loop {
            if text.len() > self.room {
                return Err(format!("the result is larger than {} bytes", self.room));
            }
            match self.peek() {
                None => {
                    return Err("unexpected end of statement while looking for matching \
                                double-quote"
                        .to_owned());
                }
                Some('"') => {
                    self.next();
                    text.extend(quote.filter(|_| self.how.raw_quotes));
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(c) if c == self.how.escape => {
                    self.next();
                    if self.raw_escapes {
                        text.push(c);
                    }
                    match self.peek() {
                        None => {}
                        // Only these can be escaped; before anything else the character stands for itself.
                        Some(next) if next == '"' || next == '$' || next == self.how.escape => {
                            self.next();
                            text.push(next);
                        }
                        Some(_) => text.push(c),
                    }
                }
                Some(c) => {
                    self.next();
                    text.push(c);
                }
            }
        }
    }

    /// `<`, or `<<` with the spaces after it, which belong to the word.
    fn angle(&mut self) -> String {
        self.next();
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        self.next();
        let mut text = "<<".to_owned();
        while let Some(c @ ('\t' | '\r' | ' ')) = self.peek() {
            text.push(c);
            self.next();
        }
        text
    }

    fn dollar(&mut self) -> Result<String, String> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.get(&name)? {
                None if self.how.skip_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err("syntax error: missing '}'".to_owned()),
            Some('}') => Ok(match self.get(&name)? {
                None if self.how.skip_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => {
                let modifier = self.next().ok_or("syntax error: missing '}'")?;
                self.modified(&name, modifier, true)
            }
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, modifier, false),
            Some('/') => self.replaced(&name),
            Some(other) => Err(format!("unsupported modifier ({other}) in substitution")),
        }
    }

    /// `${name<modifier>word}`; with `colon`, an empty value counts as not set.
    fn modified(&mut self, name: &str, modifier: char, colon: bool) -> Result<String, String> {
        let spelled = if colon { format!(":{modifier}") } else { modifier.to_string() };
        let cuts = matches!(modifier, '#' | '%');
        if !matches!(modifier, '+' | '-' | '?' | '#' | '%') || colon && cuts {
            return Err(format!("unsupported modifier ({spelled}) in substitution"));
        }
        let (word, _) = self.word_until('}', cuts)?;
        let value = self.get(name)?;
        if self.how.skip_unset && value.is_none() {
            return Ok(format!("${{{name}{spelled}{word}}}"));
        }
        let counts = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        match modifier {
            '-' => Ok(value.filter(|_| counts).unwrap_or(word)),
            '+' => Ok(if counts { word } else { String::new() }),
            '?' if counts => Ok(value.unwrap_or_default()),
            '?' => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let reason = match word.as_str() {
                    "" => format!("is not allowed to be {state}"),
                    word => word.to_owned(),
                };
                Err(format!("{name}: {reason}"))
            }
            _ => {
                let longest = word.starts_with(modifier);
                let text = word.strip_prefix(modifier).unwrap_or(&word);
                let invalid = |error| format!("invalid pattern ({text}) in substitution: {error}");
                let left = WORK.saturating_sub(self.work);
                let mut pattern = Pattern::parse(text, left).map_err(invalid)?;
                let value = value.unwrap_or_default();
                let cut = match modifier {
                    '#' => pattern.trim_start(&value, longest),
                    _ => pattern.trim_end(&value, longest),
                };
                self.work += pattern.cost();
                cut.map_err(invalid)
            }
        }
    }

    /// `${name/pattern/replacement}`, `${name//pattern/replacement}`.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let ended = |lexer: &Self, error, what| {
            if lexer.rest.is_empty() { format!("syntax error: missing {what}") } else { error }
        };
        let text = match self.until(Some('/'), true) {
            Ok((text, _)) => text,
            Err(error) => return Err(ended(self, error, "'/' in ${}")),
        };
        let replacement = match self.until(Some('}'), true) {
            Ok((replacement, _)) => replacement,
            Err(error) => return Err(ended(self, error, "'}'")),
        };
        let value = self.get(name)?;
        if self.how.skip_unset && value.is_none() {
            return Ok(format!("${{{name}/{text}/{replacement}}}"));
        }
        let invalid = |error| format!("invalid pattern ({text}) in substitution: {error}");
        let left = WORK.saturating_sub(self.work);
        let mut pattern = Pattern::parse(&text, left).map_err(invalid)?;
        let replaced = pattern.replace(&value.unwrap_or_default(), &replacement, all, self.room);
        self.work += pattern.cost();
        replaced.map_err(invalid)
    }

    fn word_until(
        &mut self,
        stop: char,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), String> {
        self.until(Some(stop), raw_escapes).map_err(|error| {
            if self.rest.is_empty() && error.starts_with("unexpected end") {
                "syntax error: missing '}'".to_owned()
            } else {
                error
            }
        })
    }

    /// A name: digits, one special character, or letters, digits and `_`.
    fn name(&mut self) -> String {
        let length = match self.peek() {
            Some(c) if c.is_numeric() => {
                self.rest.find(|c: char| !c.is_numeric()).unwrap_or(self.rest.len())
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => self
                .rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(self.rest.len()),
        };
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name.to_owned()
    }

    fn get(&mut self, name: &str) -> Result<Option<String>, String> {
        let value = self.variables.get(name);
        self.work += LOOKUP + value.as_ref().map_or(0, String::len);
        if self.work > WORK {
            return Err("replacing its variables takes too long".to_owned());
        }
        let seen = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<String, String> {
        let get = |name: &str| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        expand(text, Expand::words('\\'), &get)
            .map(|expanded| expanded.text)
            .map_err(|error| error.reason)
    }

    #[test]
    fn every_form_of_a_variable_is_replaced() {
        let variables = [("x", "foo.tar.gz"), ("e", ""), ("p", "/a/b/c")];
        for (text, expected) in [
            ("$x", "foo.tar.gz"),
            ("${x}y", "foo.tar.gzy"),
            ("$u|${u}", "|"),
            ("${u:-d}", "d"),
            ("${u-d}", "d"),
            ("${e:-d}", "d"),
            ("${e-d}", ""),
            ("${x:+a}", "a"),
            ("${x+a}", "a"),
            ("${e:+a}", ""),
            ("${e+a}", "a"),
            ("${u+a}", ""),
            ("${x:?no}", "foo.tar.gz"),
            ("${x#*.}", "tar.gz"),
            ("${x##*.}", "gz"),
            ("${x%.*}", "foo.tar"),
            ("${x%%.*}", "foo"),
            ("${p/\\//-}", "-a/b/c"),
            ("${p//\\//-}", "-a-b-c"),
            ("${x//o/0}", "f00.tar.gz"),
            ("${u:-${x}}", "foo.tar.gz"),
            ("${u:-a b}", "a b"),
            ("\\$x", "$x"),
            ("'$x'", "$x"),
            ("\"$x\"", "foo.tar.gz"),
            ("\"\\$x\"", "$x"),
            ("a\\b", "ab"),
            ("\"a\\b\"", "a\\b"),
            ("$", "$"),
            ("$/x", "$/x"),
            ("$1x", "x"),
            ("a<b", "a<b"),
        ] {
            assert_eq!(with(text, &variables).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_well_formed_says_why() {
        for (text, reason) in [
            ("${x", "syntax error: missing '}'"),
            ("${", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${x:-a", "syntax error: missing '}'"),
            ("${x:?gone}", "x: gone"),
            ("${x?}", "x: is not allowed to be unset"),
            ("${x:#a}", "unsupported modifier (:#) in substitution"),
            ("${x^}", "unsupported modifier (^) in substitution"),
            ("'a", "unexpected end of statement while looking for matching single-quote"),
            ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ] {
            assert_eq!(with(text, &[]), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_are_short_whatever_they_quote() {
        let big = "\\u".repeat(1 << 16);
        for text in ["${x:?$b}", "${b#$b}", "${b/$b/}"] {
            let error = with(text, &[("b", &big)]).unwrap_err();
            assert!(error.chars().count() <= SHOWN + 1, "{text}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let big = "x".repeat(1 << 20);
        let error = with("$b$b$b", &[("b", &big)]).unwrap_err();
        assert!(error.starts_with("the result is larger"), "{error}");
        let nested = format!("{}x{}", "${a:-".repeat(1000), "}".repeat(1000));
        assert_eq!(with(&nested, &[]), Err("variables are nested more than 64 deep".to_owned()));
    }

    #[test]
    fn words_are_split_where_nothing_protects_the_space() {
        let get = |name: &str| (name == "a").then(|| "1 2".to_owned());
        let expanded = expand("$a \"$a\" b\\ c", Expand::words('\\'), &get).unwrap();
        assert_eq!(expanded.words, ["1", "2", "1 2", "b c"]);
    }
}
