//! The source, stretch by stretch: what a parsed Dockerfile is printed from, and how its text is changed.

use std::sync::Arc;

use report::Span;

/// What a stretch of the source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// U+FEFF at the very beginning.
    ByteOrderMark,
    /// Spaces, ends of lines, empty lines, and a `--` that ends flags.
    Space,
    /// A comment up to the end of its line.
    Comment,
    /// A parser directive's line.
    Directive,
    /// The first word of an instruction.
    Keyword,
    /// A `--flag` with its value.
    Flag,
    /// What follows keyword and flags, on one line.
    Arguments,
    /// The escape character at the end of a line and that end.
    Continuation,
    /// The lines of a here-document.
    Heredoc,
    /// The name that ends a here-document.
    HeredocEnd,
    /// What comes after the place at which reading was given up.
    Unread,
}

/// A stretch of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is; never empty.
    pub span: Span,
}

/// The whole source in tokens: the first begins at 0, each begins where the one before ends, the last ends with the
/// source. So nothing is lost, whatever was made of it.
#[derive(Clone, Debug, Default)]
pub struct Syntax {
    source: Arc<str>,
    /// Kind and end of each.
    ends: Vec<(TokenKind, u32)>,
}

impl Syntax {
    /// The tokens in order.
    pub fn tokens(&self) -> impl Iterator<Item = Token> {
        let mut start = 0;
        self.ends.iter().map(move |(kind, end)| {
            let span = Span::new(start, *end as usize);
            start = span.end;
            Token { kind: *kind, span }
        })
    }

    /// The token that holds the byte at `offset`.
    pub fn at(&self, offset: usize) -> Option<Token> {
        let index = self.ends.partition_point(|(_, end)| *end as usize <= offset);
        let (kind, end) = self.ends.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.map_or(0, |(_, end)| *end as usize);
        Some(Token { kind: *kind, span: Span::new(start, *end as usize) })
    }

    /// The text of a token.
    pub fn text(&self, token: Token) -> &str {
        self.source.get(token.span.range()).unwrap_or_default()
    }

    /// The source, put together from its tokens.
    pub fn print(&self) -> String {
        self.tokens().map(|token| self.text(token)).collect()
    }
}

/// Tokens in the making.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    ends: Vec<(TokenKind, u32)>,
}

impl Tokens {
    /// Adds what lies between the end of the last token and `end`. Spaces next to spaces become one.
    pub(crate) fn to(&mut self, kind: TokenKind, end: usize) {
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        match self.ends.last_mut() {
            Some((_, last)) if *last >= end => {}
            Some((TokenKind::Space, last)) if kind == TokenKind::Space => *last = end,
            None if end == 0 => {}
            _ => self.ends.push((kind, end)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Cuts the arguments among the tokens from `first` on at `marks`, which are places in the source in order, and
    /// gives what lies between a mark's ends its kind.
    pub(crate) fn mark(&mut self, first: usize, marks: &[(Span, TokenKind)]) {
        let Some(last) = marks.last().map(|(span, _)| span.end) else { return };
        let mut start = match first.checked_sub(1) {
            Some(before) => self.ends.get(before).map_or(0, |(_, end)| *end as usize),
            None => 0,
        };
        let until = first
            + self
                .ends
                .get(first..)
                .unwrap_or_default()
                .partition_point(|(_, end)| (*end as usize) < last);
        let until = (until + 1).min(self.ends.len());
        if first >= until {
            return;
        }
        let tail = self.ends.split_off(until);
        let tokens = self.ends.split_off(first);
        let mut marks = marks.iter().peekable();
        for (kind, end) in tokens {
            let end = end as usize;
            while marks.next_if(|(span, _)| span.end <= start).is_some() {}
            while kind == TokenKind::Arguments && start < end {
                let Some((span, marked)) = marks.peek().filter(|(span, _)| span.start < end) else {
                    break;
                };
                self.to(TokenKind::Space, span.start);
                self.to(*marked, span.end.min(end));
                start = span.end.min(end);
                if span.end > end {
                    break;
                }
                marks.next();
            }
            let space = kind == TokenKind::Arguments && marks.peek().is_none();
            self.to(if space { TokenKind::Space } else { kind }, end);
            start = end;
        }
        for (kind, end) in tail {
            self.to(kind, end as usize);
        }
    }

    pub(crate) fn finish(mut self, source: &Arc<str>) -> Syntax {
        self.to(TokenKind::Unread, source.len());
        self.ends.shrink_to_fit();
        Syntax { source: Arc::clone(source), ends: self.ends }
    }
}

/// A change to a source: what stands at `span` becomes `text`. An empty span inserts, an empty text removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub span: Span,
    /// By what.
    pub text: String,
}

/// Why edits cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Two touch the same bytes.
    #[error("two changes overlap at byte {0}")]
    Overlap(usize),
    /// One is not in the source, or begins or ends within a character.
    #[error("a change at byte {0} is not in the text")]
    Outside(usize),
}

/// `source` with all edits made at once: their spans are places in `source`, in any order. Two insertions at one place
/// are made in the order given.
///
/// # Errors
/// See [`EditError`]; nothing is changed then.
pub fn edit(source: &str, edits: &[Edit]) -> Result<String, EditError> {
    let mut ordered: Vec<&Edit> = edits.iter().collect();
    ordered.sort_by_key(|edit| edit.span);
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    for edit in ordered {
        if edit.span.start < at {
            return Err(EditError::Overlap(edit.span.start));
        }
        let outside = EditError::Outside(edit.span.start);
        source.get(edit.span.range()).ok_or(outside)?;
        out.push_str(source.get(at..edit.span.start).ok_or(outside)?);
        out.push_str(&edit.text);
        at = edit.span.end;
    }
    out.push_str(source.get(at..).unwrap_or_default());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(start: usize, end: usize, text: &str) -> Edit {
        Edit { span: Span::new(start, end), text: text.to_owned() }
    }

    #[test]
    fn edits_are_made_at_once() {
        let source = "FROM a as b\nRUN ü\n";
        let edits =
            [change(16, 18, "x"), change(7, 9, "AS"), change(0, 0, "# 1\n"), change(0, 0, "# 2\n")];
        assert_eq!(edit(source, &edits).as_deref(), Ok("# 1\n# 2\nFROM a AS b\nRUN x\n"));
        assert_eq!(edit(source, &[]).as_deref(), Ok(source));
        assert_eq!(edit(source, &[change(0, 4, ""), change(3, 5, "")]), Err(EditError::Overlap(3)));
        assert_eq!(edit(source, &[change(17, 18, "")]), Err(EditError::Outside(17)));
        assert_eq!(edit(source, &[change(30, 31, "")]), Err(EditError::Outside(30)));
        assert_eq!(edit(source, &[change(3, 2, "")]), Err(EditError::Outside(3)));
    }
}
