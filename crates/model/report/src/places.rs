//! Lines and columns of many places in one text.

use crate::SourceText;

/// Where the lines of a text begin, so that a place is found without reading the text from its beginning.
pub struct Places<'t> {
    text: &'t str,
    lines: Vec<usize>,
}

/// Two places, as lines and columns from 1; the end is one past the last character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First line.
    pub line: usize,
    /// First column, in characters.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// Column past the last.
    pub end_column: usize,
}

impl<'t> Places<'t> {
    /// Looks for the lines once.
    pub fn of(source: &'t SourceText) -> Self {
        let text: &str = &source.text;
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(breaks).collect() }
    }

    /// The line and the column of byte `offset`, from 1; past the end means the last, within a character its first byte.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The region of a span.
    pub fn region(&self, span: crate::Span) -> Region {
        let (line, column) = self.place(span.start);
        let (end_line, end_column) = self.place(span.end.max(span.start));
        Region { line, column, end_line, end_column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_that_a_search_from_the_beginning_finds() {
        let source = SourceText { name: "x".into(), text: "a\nRÜN b\n\nend".into() };
        let places = Places::of(&source);
        for offset in 0..=source.text.len() + 2 {
            assert_eq!(places.place(offset), source.line_column(offset), "{offset}");
        }
    }
}
