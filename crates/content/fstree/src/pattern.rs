use crate::{TreeError, show};

/// Whether `name` matches a shell pattern by the rules of Go's `filepath.Match`: `*` and `?` stop at `/`, `[a-z]`
/// and `[^a]` are classes, `\` takes the next character literally. The whole name has to match.
pub fn glob_match(pattern: &[u8], name: &[u8]) -> Result<bool, TreeError> {
    matches(pattern, name).map_err(|BadPattern| TreeError::Pattern(show(pattern)))
}

/// Whether a path holds `*`, `?` or `[` that is not behind a `\`.
pub fn has_wildcards(pattern: &[u8]) -> bool {
    let mut bytes = pattern.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

struct BadPattern;

fn matches(mut pattern: &[u8], mut name: &[u8]) -> Result<bool, BadPattern> {
    'pattern: while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        if let Some(left) = match_chunk(chunk, name)?
            && (left.is_empty() || !pattern.is_empty())
        {
            name = left;
            continue;
        }
        if star {
            for skipped in 1..=name.len() {
                if name.get(skipped - 1) == Some(&b'/') {
                    break;
                }
                if let Some(left) = match_chunk(chunk, name.get(skipped..).unwrap_or_default())? {
                    if pattern.is_empty() && !left.is_empty() {
                        continue;
                    }
                    name = left;
                    continue 'pattern;
                }
            }
        }
        // No match, but a faulty rest is still an error.
        while !pattern.is_empty() {
            let (_, chunk, rest) = next_chunk(pattern);
            match_chunk(chunk, b"")?;
            pattern = rest;
        }
        return Ok(false);
    }
    Ok(name.is_empty())
}

/// Leading stars, and what comes up to the next star.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|byte| **byte == b'*').count();
    let pattern = pattern.get(stars..).unwrap_or_default();
    let mut in_class = false;
    let mut at = 0;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' if at + 1 < pattern.len() => at += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        at += 1;
    }
    let (chunk, rest) = pattern.split_at(at);
    (stars > 0, chunk, rest)
}

/// What remains of `name` behind a chunk without stars; `None` when it does not match.
fn match_chunk<'n>(mut chunk: &[u8], name: &'n [u8]) -> Result<Option<&'n [u8]>, BadPattern> {
    // `None` once it has failed: the rest of the chunk is only checked for faults.
    let mut left = Some(name);
    while let Some((first, rest)) = chunk.split_first() {
        if left.is_some_and(<[u8]>::is_empty) {
            left = None;
        }
        chunk = rest;
        match first {
            b'[' => {
                let taken = left.map(next_rune);
                let negated = chunk.first() == Some(&b'^');
                if negated {
                    chunk = chunk.get(1..).unwrap_or_default();
                }
                let mut found = false;
                let mut ranges = 0;
                loop {
                    if ranges > 0
                        && let [b']', rest @ ..] = chunk
                    {
                        chunk = rest;
                        break;
                    }
                    let (low, rest) = class_rune(chunk)?;
                    chunk = rest;
                    let mut high = low;
                    if let [b'-', rest @ ..] = chunk {
                        (high, chunk) = class_rune(rest)?;
                    }
                    found |= taken.is_some_and(|(rune, _)| low <= rune && rune <= high);
                    ranges += 1;
                }
                left = taken.filter(|_| found != negated).map(|(_, rest)| rest);
            }
            b'?' => {
                left =
                    left.filter(|name| name.first() != Some(&b'/')).map(|name| next_rune(name).1);
            }
            literal => {
                let mut literal = *literal;
                if literal == b'\\' {
                    let (escaped, rest) = chunk.split_first().ok_or(BadPattern)?;
                    literal = *escaped;
                    chunk = rest;
                }
                left = left
                    .and_then(|name| name.split_first())
                    .filter(|(byte, _)| **byte == literal)
                    .map(|(_, rest)| rest);
            }
        }
    }
    Ok(left)
}

/// One possibly escaped character of a class. The class must go on behind it.
fn class_rune(chunk: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let chunk = match chunk {
        [] | [b'-' | b']', ..] => return Err(BadPattern),
        [b'\\', rest @ ..] => rest,
        other => other,
    };
    if chunk.is_empty() {
        return Err(BadPattern);
    }
    let (rune, rest) = next_rune(chunk);
    let invalid = rune == char::REPLACEMENT_CHARACTER && chunk.len() - rest.len() == 1;
    if invalid || rest.is_empty() { Err(BadPattern) } else { Ok((rune, rest)) }
}

/// The first character; a byte that is not UTF-8 counts as one U+FFFD, as in Go.
pub(crate) fn next_rune(bytes: &[u8]) -> (char, &[u8]) {
    if let Some((first, rest)) = bytes.split_first()
        && first.is_ascii()
    {
        return (char::from(*first), rest);
    }
    let head = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    let valid = match str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => head
            .get(..error.valid_up_to())
            .and_then(|head| str::from_utf8(head).ok())
            .unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(rune) => (rune, bytes.get(rune.len_utf8()..).unwrap_or_default()),
        None => (char::REPLACEMENT_CHARACTER, bytes.get(1..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the table of Go's `path/filepath/match_test.go`.
    #[test]
    fn agrees_with_go() {
        let cases: &[(&str, &str, Option<bool>)] = &[
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "a", None),
            ("a[", "ab", None),
            ("a[", "x", None),
            ("a/b[", "x", None),
            ("*x", "xxx", Some(true)),
            ("a\\", "a", None),
        ];
        for (pattern, name, expected) in cases {
            let found = glob_match(pattern.as_bytes(), name.as_bytes()).ok();
            assert_eq!(found, *expected, "{pattern} {name}");
        }
    }
}
