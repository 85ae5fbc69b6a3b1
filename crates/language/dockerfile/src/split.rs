//! How the arguments of an instruction fall into words.

use std::ops::Range;

/// A word and where it stands in the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) range: Range<usize>,
}

/// The spaces that separate words in most instructions; a newline cannot occur.
pub(crate) fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// `KEYWORD rest`: the keyword's range, and that of the rest without spaces around it.
pub(crate) fn keyword(line: &str) -> (Range<usize>, Range<usize>) {
    let start = line.len() - line.trim_start().len();
    let end = line.trim_end().len().max(start);
    let body = line.get(start..end).unwrap_or_default();
    let length = body.find(is_space).unwrap_or(body.len());
    let rest = body.get(length..).unwrap_or_default();
    let gap = rest.len() - rest.trim_start_matches(is_space).len();
    (start..start + length, start + length + gap..end)
}

/// Words separated by spaces, without a thought for quotes.
pub(crate) fn by_spaces(text: &str, offset: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, is_space(c)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                let text = text.get(from..at).unwrap_or_default().to_owned();
                pieces.push(Piece { text, range: offset + from..offset + at });
                start = None;
            }
            _ => {}
        }
    }
    pieces
}

/// Words separated by spaces outside of quotes; quotes and escapes stay.
pub(crate) fn by_quotes(text: &str, offset: usize, escape: char) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut chars = text.char_indices().peekable();
    let mut word = String::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    while let Some((at, c)) = chars.next() {
        if let Some(open) = quote {
            if c == open {
                quote = None;
            }
            word.push(c);
            if c == escape && open != '\'' {
                match chars.next() {
                    Some((_, next)) => word.push(next),
                    // An escape character at the very end is dropped.
                    None => {
                        word.pop();
                    }
                }
            }
            continue;
        }
        if c.is_whitespace() {
            if let Some(from) = start.take()
                && !word.is_empty()
            {
                let range = offset + from..offset + at;
                pieces.push(Piece { text: std::mem::take(&mut word), range });
            }
            continue;
        }
        start = start.or(Some(at));
        if c == '\'' || c == '"' {
            quote = Some(c);
        }
        if c == escape {
            if let Some((_, next)) = chars.next() {
                word.push(c);
                word.push(next);
            }
            continue;
        }
        word.push(c);
    }
    if let Some(from) = start.filter(|_| !word.is_empty()) {
        pieces.push(Piece { text: word, range: offset + from..offset + text.len() });
    }
    pieces
}

/// The `--flags` at the beginning of an instruction's arguments, unquoted, and where the rest begins.
pub(crate) fn flags(text: &str, offset: usize, escape: char) -> (Vec<Piece>, usize) {
    let mut flags = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let gap = rest.len() - rest.trim_start().len();
        at += gap;
        let rest = text.get(at..).unwrap_or_default();
        if !rest.starts_with("--") {
            return (flags, at);
        }
        let (word, length) = flag(rest, escape);
        if word == "--" {
            return (flags, at + length);
        }
        flags.push(Piece { text: word, range: offset + at..offset + at + length });
        at += length;
    }
}

/// One flag at the beginning of `text`: unquoted, and its length in `text`.
fn flag(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c.is_whitespace() => return (word, at),
            None if c == '\'' || c == '"' => quote = Some(c),
            _ if c == escape => word.extend(chars.next().map(|(_, next)| next)),
            _ => word.push(c),
        }
    }
    (word, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: Vec<Piece>) -> Vec<String> {
        pieces.into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn a_line_is_a_keyword_and_the_rest() {
        assert_eq!(keyword("  RUN \t a b "), (2..5, 8..11));
        assert_eq!(keyword("RUN"), (0..3, 3..3));
        assert_eq!(keyword(""), (0..0, 0..0));
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            texts(by_quotes(r#"a="b c" d\ e 'f g'"#, 0, '\\')),
            [r#"a="b c""#, r"d\ e", "'f g'"]
        );
        assert_eq!(texts(by_quotes(r#"a="x\"y z" b"#, 0, '\\')), [r#"a="x\"y z""#, "b"]);
        assert_eq!(texts(by_quotes("  ", 0, '\\')), [""; 0]);
    }

    #[test]
    fn flags_come_first() {
        let (found, rest) = flags("--a=1 --b='x y' c --d", 10, '\\');
        assert_eq!(texts(found.clone()), ["--a=1", "--b=x y"]);
        assert_eq!(found[1].range, 16..25);
        assert_eq!(rest, 16);
        assert_eq!(flags("-- --x", 0, '\\').1, 2);
    }
}
