//! How the lines of a Dockerfile make up its instructions: continuations are joined, comments left out, directives read
//! and here-documents taken as they are.

use std::ops::Range;

use report::{Diagnostic, Span};

use crate::limits::{MAX_COMMENTS, MAX_LINE};
use crate::syntax::{TokenKind, Tokens};

/// A parser directive: `# escape=` and its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// In lower case.
    pub name: String,
    /// Value.
    pub value: String,
    /// The line.
    pub span: Span,
}

/// An instruction's text with its continuation lines joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// Where pieces of `text` come from: offset in it, offset in the source.
    pieces: Vec<(u32, u32)>,
    /// Number of the first token of its text.
    first_token: usize,
    /// First and last line in the source, from 1.
    pub(crate) lines: (usize, usize),
    /// Comments right above it.
    pub(crate) comments: Vec<String>,
    /// An empty line among its continuation lines.
    pub(crate) gap: Option<Span>,
}

impl Line {
    fn push(&mut self, text: &str, source: usize) {
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        self.pieces.push((offset(self.text.len()), offset(source)));
        self.text.push_str(text);
    }

    /// Where a part of `text` stands in the source.
    pub(crate) fn span(&self, range: &Range<usize>) -> Span {
        let start = self.place(range.start);
        if range.is_empty() {
            return Span::new(start, start);
        }
        Span::new(start, self.place(range.end - 1) + 1)
    }

    fn place(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|(logical, _)| *logical as usize <= offset);
        let (logical, source) = self.pieces.get(after.saturating_sub(1)).copied().unwrap_or((0, 0));
        source as usize + offset.saturating_sub(logical as usize)
    }

    /// Where it stands in the source, without here-documents.
    pub(crate) fn whole(&self) -> Span {
        let start = self.text.len() - self.text.trim_start().len();
        let end = self.text.trim_end().len().max(start);
        self.span(&(start..end))
    }
}

/// Reads a Dockerfile line by line.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    pub(crate) escape: char,
    pub(crate) directives: Vec<Directive>,
    directives_done: bool,
    /// A `#!` line came first: behind it BuildKit still finds `syntax` and `check`, but no `escape`.
    shebang: bool,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) tokens: Tokens,
}

/// One line of the source.
struct Physical<'a> {
    /// Without its end.
    text: &'a str,
    start: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str, escape: char, directives: bool) -> Self {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut tokens = Tokens::default();
        tokens.to(TokenKind::ByteOrderMark, at);
        Self {
            text,
            at,
            line: 0,
            escape,
            directives: Vec::new(),
            directives_done: !directives,
            shebang: false,
            diagnostics: Vec::new(),
            tokens,
        }
    }

    /// The next instruction's text; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Line> {
        let mut comments = Vec::new();
        let mut line = Line::default();
        loop {
            let physical = self.physical()?;
            let trimmed = physical.text.trim_start();
            let indent = physical.text.len() - trimmed.len();
            self.tokens.to(TokenKind::Space, physical.start + indent);
            let directive = self.directive(trimmed, &physical);
            if let Some(comment) = trimmed.strip_prefix('#') {
                let kind = if directive { TokenKind::Directive } else { TokenKind::Comment };
                self.tokens.to(kind, self.at);
                match comment.trim() {
                    _ if directive => {}
                    "" => comments.clear(),
                    comment if comments.len() < MAX_COMMENTS => comments.push(comment.to_owned()),
                    _ => {}
                }
                continue;
            }
            let (text, more) = self.continued(trimmed);
            if !more && text.is_empty() || self.too_long(&line, &physical) {
                self.tokens.to(TokenKind::Space, self.at);
                continue;
            }
            line.first_token = self.tokens.len();
            self.piece(&mut line, text, physical.start + indent, more);
            line.lines = (self.line, self.line);
            if more {
                self.continuation(&mut line);
            }
            line.lines.1 = self.line;
            line.comments = comments;
            return Some(line);
        }
    }

    /// Appends continuation lines up to one that ends the instruction.
    fn continuation(&mut self, line: &mut Line) {
        let mut refused = false;
        while let Some(physical) = self.physical() {
            let trimmed = physical.text.trim_start();
            if trimmed.starts_with('#') {
                let indent = physical.text.len() - trimmed.len();
                self.tokens.to(TokenKind::Space, physical.start + indent);
                self.tokens.to(TokenKind::Comment, self.at);
                continue;
            }
            if trimmed.is_empty() {
                let here = Span::new(physical.start, physical.start + physical.text.len());
                line.gap.get_or_insert(here);
                self.tokens.to(TokenKind::Space, self.at);
                continue;
            }
            let (text, more) = self.continued(physical.text);
            refused = refused || self.too_long(line, &physical);
            if refused {
                self.tokens.to(TokenKind::Unread, self.at);
            } else {
                self.piece(line, text, physical.start, more);
            }
            if !more {
                return;
            }
        }
    }

    /// Adds a piece of an instruction, of the line read last.
    fn piece(&mut self, line: &mut Line, text: &str, start: usize, more: bool) {
        line.push(text, start);
        self.tokens.to(TokenKind::Arguments, start + text.len());
        self.tokens.to(if more { TokenKind::Continuation } else { TokenKind::Space }, self.at);
    }

    /// Whether an instruction gets too long with another line; says so then.
    fn too_long(&mut self, line: &Line, physical: &Physical<'_>) -> bool {
        if line.text.len() + physical.text.len() <= MAX_LINE {
            return false;
        }
        let start = physical.start;
        let message =
            format!("an instruction with its continuation lines may have {MAX_LINE} bytes");
        self.diagnostics.push(
            Diagnostic::error(message, Span::new(start, start + physical.text.len()))
                .hint("keep what is that long in a file of the build context"),
        );
        true
    }

    /// Gives the parts of an instruction's text their kinds; `marks` are places in it in order.
    pub(crate) fn mark(&mut self, line: &Line, marks: &[(Range<usize>, TokenKind)]) {
        let marks = marks.iter().filter(|(range, _)| !range.is_empty());
        let marks: Vec<_> = marks.map(|(range, kind)| (line.span(range), *kind)).collect();
        self.tokens.mark(line.first_token, &marks);
    }

    /// The body of a here-document up to its terminator; `None` when that is missing. Then the rest of the file is gone:
    /// lines of a document, read as instructions, would only make noise.
    pub(crate) fn heredoc(&mut self, name: &str, chomp: bool) -> Option<&'a str> {
        let start = self.at;
        while let Some(physical) = self.physical() {
            let end = physical.text;
            let bare = if chomp { end.trim_start_matches('\t') } else { end };
            if bare == name {
                let name_start = physical.start + end.len() - bare.len();
                self.tokens.to(TokenKind::Heredoc, physical.start);
                self.tokens.to(TokenKind::Space, name_start);
                self.tokens.to(TokenKind::HeredocEnd, name_start + bare.len());
                self.tokens.to(TokenKind::Space, self.at);
                return Some(self.text.get(start..physical.start).unwrap_or_default());
            }
        }
        self.tokens.to(TokenKind::Heredoc, self.at);
        None
    }

    /// Number of the line read last, from 1.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    fn physical(&mut self) -> Option<Physical<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let full = rest.get(..length).unwrap_or(rest);
        let start = self.at;
        self.at += length;
        self.line += 1;
        Some(Physical { text: full.trim_end_matches(['\r', '\n']), start })
    }

    /// `text` without a continuation at its end, and whether there was one. An escape character that is itself escaped
    /// does not continue.
    fn continued<'b>(&self, text: &'b str) -> (&'b str, bool) {
        let body = text.trim_end_matches([' ', '\t']);
        match body.strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (text, false),
        }
    }

    /// Reads a directive from a line, if it is one; directives end with the first line that is none.
    fn directive(&mut self, trimmed: &str, physical: &Physical<'_>) -> bool {
        if self.directives_done {
            return false;
        }
        if self.line == 1 && trimmed.starts_with("#!") {
            self.shebang = true;
            return false;
        }
        let parsed = trimmed.strip_prefix('#').and_then(|comment| {
            let (name, value) = comment.split_once('=')?;
            let name = name.trim();
            let value = value.trim();
            let first = name.starts_with(|c: char| c.is_ascii_alphabetic());
            let word = first && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            (word && !value.is_empty()).then(|| (name.to_lowercase(), value.to_owned()))
        });
        let known =
            |(name, _): &(String, String)| ["syntax", "escape", "check"].contains(&name.as_str());
        let Some((name, value)) = parsed.filter(known) else {
            self.directives_done = true;
            return false;
        };
        let span = Span::new(physical.start, physical.start + physical.text.len());
        if self.directives.iter().any(|directive| directive.name == name) {
            self.diagnostics.push(
                Diagnostic::error(format!("only one {name} parser directive can be used"), span)
                    .hint("remove this one"),
            );
            return true;
        }
        if name == "escape" && self.shebang {
            let message = "the escape directive has no meaning behind a #! line";
            self.diagnostics
                .push(Diagnostic::error(message, span).hint("remove the #! line or the directive"));
        } else if name == "escape" {
            match value.as_str() {
                "\\" => self.escape = '\\',
                "`" => self.escape = '`',
                _ => self.diagnostics.push(
                    Diagnostic::error(format!("invalid escape token `{value}`"), span)
                        .hint("it can be \\ or `"),
                ),
            }
        }
        self.directives.push(Directive { name, value, span });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Line>, Vec<Directive>) {
        let mut reader = Reader::new(text, '\\', true);
        let mut lines = Vec::new();
        while let Some(line) = reader.next() {
            lines.push(line);
        }
        (lines, reader.directives)
    }

    #[test]
    fn continuation_lines_are_joined_without_comments() {
        let text = "RUN a && \\\n  # why\n\n\tb \\ \n c\nFROM x \\\\\nCMD y";
        let (lines, _) = read(text);
        let texts: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["RUN a && \tb  c", "FROM x \\\\", "CMD y"]);
        assert_eq!(lines[0].lines, (1, 5));
        assert!(lines[0].gap.is_some());
        let b = lines[0].text.find('b').unwrap();
        assert_eq!(text.get(lines[0].span(&(b..b + 1)).range()), Some("b"));
        let c = lines[0].text.find('c').unwrap();
        assert_eq!(text.get(lines[0].span(&(c..c + 1)).range()), Some("c"));
    }

    #[test]
    fn directives_come_first() {
        let (lines, directives) = read(
            "\u{feff}# syntax=docker/dockerfile:1\n#escape = `\n# more\n# check=skip=all\nRUN a `\nb",
        );
        assert_eq!(directives.len(), 2);
        assert_eq!(lines[0].text, "RUN a b");
        assert_eq!(lines[0].comments, ["more", "check=skip=all"]);
    }

    #[test]
    fn a_here_document_ends_with_its_name() {
        let mut reader = Reader::new("RUN <<E\n a\n\tE\nE\nX", '\\', true);
        reader.next().unwrap();
        assert_eq!(reader.heredoc("E", false), Some(" a\n\tE\n"));
        assert_eq!(reader.next().unwrap().text, "X");
        assert_eq!(reader.heredoc("E", false), None);
    }
}
