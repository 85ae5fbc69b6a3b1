//! Shell patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and escapes.

/// What went wrong with a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("invalid escape `\\{0}`")]
    Escape(String),
    #[error("it takes too long to match")]
    Budget,
    #[error("the result is larger than {0} bytes")]
    Room(usize),
}

/// Steps after which matching is given up; a real Dockerfile needs thousands.
const BUDGET: usize = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Many,
    One,
    Just(char),
}

/// A compiled pattern, with the work it may still do.
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    given: usize,
    budget: usize,
}

impl Pattern {
    /// Reads a pattern, which may do `work` steps and no more.
    pub(crate) fn parse(text: &str, work: usize) -> Result<Self, PatternError> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' => tokens.push(Token::Many),
                '?' => tokens.push(Token::One),
                // Inside `${}` these two are escaped, and the escape is not part of the pattern.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\')) => tokens.push(Token::Just(c)),
                    other => {
                        return Err(PatternError::Escape(
                            other.map(String::from).unwrap_or_default(),
                        ));
                    }
                },
                c => tokens.push(Token::Just(c)),
            }
        }
        let given = work.min(BUDGET);
        Ok(Self { tokens, given, budget: given })
    }

    /// Steps done so far; all there were when they did not suffice.
    pub(crate) fn cost(&self) -> usize {
        self.given - self.budget
    }

    /// `value` without the shortest (or longest) beginning that matches.
    pub(crate) fn trim_start(
        &mut self,
        value: &str,
        longest: bool,
    ) -> Result<String, PatternError> {
        let chars: Vec<char> = value.chars().collect();
        let end = self.match_at(&chars, longest)?.unwrap_or(0);
        Ok(chars.iter().skip(end).collect())
    }

    /// `value` without the shortest (or longest) end that matches.
    pub(crate) fn trim_end(&mut self, value: &str, longest: bool) -> Result<String, PatternError> {
        self.tokens.reverse();
        let chars: Vec<char> = value.chars().rev().collect();
        let end = self.match_at(&chars, longest)?.unwrap_or(0);
        Ok(chars.iter().skip(end).rev().collect())
    }

    /// `value` with the first (or every) longest match replaced. Where every one is, the replacement is what Go takes
    /// for a template: `$0` and `${0}` are what matched, `$$` is `$`, and other names have no value.
    pub(crate) fn replace(
        &mut self,
        value: &str,
        replacement: &str,
        all: bool,
        room: usize,
    ) -> Result<String, PatternError> {
        let chars: Vec<char> = value.chars().collect();
        let mut out = String::with_capacity(value.len());
        let mut at = 0;
        let mut after_match = false;
        loop {
            if out.len() > room {
                return Err(PatternError::Room(room));
            }
            let rest = chars.get(at..).unwrap_or_default();
            match self.match_at(rest, true)? {
                Some(0) if after_match => {}
                Some(length) => {
                    if all {
                        template(
                            &mut out,
                            replacement,
                            rest.get(..length).unwrap_or_default(),
                            room,
                        );
                    } else {
                        out.push_str(replacement);
                    }
                    at += length;
                    if !all {
                        break;
                    }
                    after_match = length > 0;
                    if length > 0 {
                        continue;
                    }
                }
                None => {}
            }
            after_match = false;
            let Some(c) = chars.get(at) else { return Ok(out) };
            out.push(*c);
            at += 1;
        }
        out.extend(chars.iter().skip(at));
        Ok(out)
    }

    /// Length of the longest (or shortest) match at the beginning of `value`.
    fn match_at(&mut self, value: &[char], longest: bool) -> Result<Option<usize>, PatternError> {
        let count = self.tokens.len();
        // Setting up costs as much as a step.
        let Some(left) = self.budget.checked_sub(count + 1) else {
            self.budget = 0;
            return Err(PatternError::Budget);
        };
        self.budget = left;
        let mut states = vec![false; count + 1];
        states[0] = true;
        self.close(&mut states);
        let mut found = states[count].then_some(0);
        let mut next = vec![false; count + 1];
        for (index, c) in value.iter().enumerate() {
            if found.is_some() && !longest {
                break;
            }
            let Some(left) = self.budget.checked_sub(count + 1) else {
                self.budget = 0;
                return Err(PatternError::Budget);
            };
            self.budget = left;
            next.fill(false);
            for (state, token) in self.tokens.iter().enumerate() {
                if !states[state] {
                    continue;
                }
                match token {
                    Token::Many if *c != '\n' => next[state] = true,
                    Token::One if *c != '\n' => next[state + 1] = true,
                    Token::Just(wanted) if wanted == c => next[state + 1] = true,
                    _ => {}
                }
            }
            self.close(&mut next);
            std::mem::swap(&mut states, &mut next);
            if states[count] {
                found = Some(index + 1);
            }
            if !states.contains(&true) {
                break;
            }
        }
        Ok(found)
    }

    /// `*` also matches nothing.
    fn close(&self, states: &mut [bool]) {
        for (state, token) in self.tokens.iter().enumerate() {
            if states[state] && *token == Token::Many {
                states[state + 1] = true;
            }
        }
    }
}

/// Appends a replacement by the rules of Go's `Regexp.Expand`, for an expression without groups.
fn template(out: &mut String, mut replacement: &str, matched: &[char], room: usize) {
    while let Some((before, rest)) = replacement.split_once('$') {
        out.push_str(before);
        if out.len() > room {
            return;
        }
        let (inner, braced) = match rest.strip_prefix('{') {
            Some(inner) => (inner, true),
            None => (rest, false),
        };
        let length = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, behind) = inner.split_at(length);
        let end = if braced { behind.strip_prefix('}') } else { Some(behind) };
        replacement = match end {
            _ if rest.starts_with('$') => {
                out.push('$');
                rest.get(1..).unwrap_or_default()
            }
            Some(behind) if !name.is_empty() => {
                if name == "0" {
                    out.extend(matched);
                }
                behind
            }
            _ => {
                out.push('$');
                rest
            }
        };
    }
    out.push_str(replacement);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text, BUDGET).unwrap()
    }

    #[test]
    fn beginnings_and_ends_are_cut_off() {
        assert_eq!(pattern("*/").trim_start("a/b/c", false).unwrap(), "b/c");
        assert_eq!(pattern("*/").trim_start("a/b/c", true).unwrap(), "c");
        assert_eq!(pattern("/*").trim_end("a/b/c", false).unwrap(), "a/b");
        assert_eq!(pattern("/*").trim_end("a/b/c", true).unwrap(), "a");
        assert_eq!(pattern("x").trim_end("abc", true).unwrap(), "abc");
        assert_eq!(pattern(r"\*").trim_start("*a", true).unwrap(), "a");
    }

    #[test]
    fn matches_are_replaced() {
        assert_eq!(pattern("o").replace("foo boo", "0", false, 100).unwrap(), "f0o boo");
        assert_eq!(pattern("o").replace("foo boo", "0", true, 100).unwrap(), "f00 b00");
        assert_eq!(pattern("o*").replace("foo boo", "x", true, 100).unwrap(), "fx");
        assert_eq!(pattern(r"\/").replace("a/b/c", "-", true, 100).unwrap(), "a-b-c");
    }

    #[test]
    fn a_replacement_of_all_is_a_template() {
        for (replacement, expected) in [
            ("<$0$0>", "f<oo><oo>"),
            ("$$", "f$$"),
            ("${0}y", "foyoy"),
            ("$1z", "f"),
            ("${1}z", "fzz"),
            ("$0a", "f"),
            ("$00", "f"),
            ("${", "f${${"),
            ("${0", "f${0${0"),
            ("$", "f$$"),
            ("$-", "f$-$-"),
            ("$$0", "f$0$0"),
        ] {
            let replaced = pattern("o").replace("foo", replacement, true, 100);
            assert_eq!(replaced.as_deref(), Ok(expected), "{replacement}");
        }
        let long = "a".repeat(1000);
        let replaced = pattern("*").replace(&long, &"$0".repeat(1000), true, 5000);
        assert_eq!(replaced, Err(PatternError::Room(5000)));
        assert_eq!(pattern("o").replace("foo", "$0$0", false, 100).unwrap(), "f$0$0o");
    }

    #[test]
    fn a_pattern_that_would_take_forever_is_an_error() {
        let value = "a".repeat(100_000);
        let error = pattern("*a*a*a*b").replace(&value, "", true, 1 << 20);
        assert_eq!(error, Err(PatternError::Budget));
    }
}
