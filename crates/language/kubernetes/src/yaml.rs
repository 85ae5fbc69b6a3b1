//! YAML with places: a tree whose nodes know where in the text they are.
//!
//! Bounded: a text of at most [`LARGEST`] bytes, [`DEEPEST`] levels, and aliases that stand for their anchor without being
//! copied.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Marker, Parser, ScalarStyle};
use report::{Diagnostic, SourceText, Span};

/// Bytes of a file that is read; manifests of whole clusters are smaller.
pub const LARGEST: usize = 8 << 20;
/// Levels of nesting.
pub const DEEPEST: usize = 100;

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A plain scalar that says nothing: empty, `~`, `null`.
    Null,
    /// Text, with whether it was quoted: `"true"` is not `true`.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Rc<Vec<Node>>),
    Map(Rc<Vec<(Node, Node)>>),
}

impl Node {
    /// The value of a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A key of a map and its value; one that is null counts as not there.
    pub(crate) fn entry(&self, key: &str) -> Option<(&Self, &Self)> {
        let found = self.entries().iter().find(|(name, _)| name.text() == Some(key));
        found
            .filter(|(_, value)| !matches!(value.value, Value::Null))
            .map(|(key, value)| (key, value))
    }

    /// The value at the end of a path of keys.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Keys and values, where it is a map.
    pub(crate) fn entries(&self) -> &[(Self, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items, where it is a list.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// Text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A scalar that says true.
    pub(crate) fn is_true(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if matches!(text.as_str(), "true" | "True" | "TRUE"))
    }
}

/// The documents of a text.
pub(crate) fn documents(source: &SourceText) -> Result<Vec<Node>, Box<Diagnostic>> {
    let text = &source.text;
    if text.len() > LARGEST {
        let message = format!("{} bytes is more than the {LARGEST} that are read", text.len());
        return Err(Box::new(Diagnostic::error(message, Span::default()).in_source(source)));
    }
    let byte = |at: Marker| at.byte_offset().unwrap_or(text.len()).min(text.len());
    let mut tree = Tree { source, open: Vec::new(), anchors: HashMap::new(), done: Vec::new() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = byte(*error.marker());
            let template = text.contains("{{");
            let found = Diagnostic::error(format!("this is not YAML: {}", error.info()), Span::new(at, at + 1));
            let found = if template {
                found.hint("it looks like a template: render it first (`helm template`, `kustomize build`)")
            } else {
                found
            };
            Box::new(found.in_source(source))
        })?;
        let span = Span::new(byte(span.start), byte(span.end));
        tree.take(event, span)?;
    }
    Ok(tree.done)
}

/// A collection that is not at its end.
enum Open {
    List(Vec<Node>),
    Map(Vec<(Node, Node)>, Option<Node>),
}

struct Tree<'a> {
    source: &'a SourceText,
    open: Vec<(Open, usize, usize)>,
    anchors: HashMap<usize, Node>,
    done: Vec<Node>,
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Diagnostic>> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let quoted = style != ScalarStyle::Plain;
                let value = if !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned(), quoted }
                };
                self.put(Node { value, span }, anchor, span)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(Open::List(Vec::new()), anchor, span),
            Event::MappingStart(_, anchor, _) => {
                self.begin(Open::Map(Vec::new(), None), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((open, anchor, start)) = self.open.pop() else { return Ok(()) };
                let value = match open {
                    Open::List(items) => Value::List(Rc::new(items)),
                    Open::Map(entries, _) => Value::Map(Rc::new(entries)),
                };
                let whole = Span::new(start, span.end.max(start));
                self.put(Node { value, span: whole }, anchor, span)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Box::new(self.refuse("an alias without its anchor", span)));
                };
                self.put(Node { span, ..node }, 0, span)
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            // What else there may be (remarks, anchors' names) is no node, or was not asked for.
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open, anchor: usize, span: Span) -> Result<(), Box<Diagnostic>> {
        if self.open.len() >= DEEPEST {
            return Err(Box::new(
                self.refuse(&format!("more than {DEEPEST} levels of nesting"), span),
            ));
        }
        self.open.push((open, anchor, span.start));
        Ok(())
    }

    fn put(&mut self, node: Node, anchor: usize, at: Span) -> Result<(), Box<Diagnostic>> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.done.push(node),
            Some((Open::List(items), ..)) => items.push(node),
            Some((Open::Map(entries, key), ..)) => match key.take() {
                None => *key = Some(node),
                Some(name) => {
                    // The API server takes the last of two equal keys; a reader sees the first.
                    let text = name.text().map(str::to_owned);
                    let twice = text.is_some_and(|text| {
                        entries.len() < 1000
                            && entries.iter().any(|(other, _)| other.text() == Some(&text))
                    });
                    if twice {
                        return Err(Box::new(self.refuse("a key that is there twice", at)));
                    }
                    entries.push((name, node));
                }
            },
        }
        Ok(())
    }

    fn refuse(&self, what: &str, span: Span) -> Diagnostic {
        Diagnostic::error(format!("this YAML has {what}"), span).in_source(self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, Box<Diagnostic>> {
        documents(&SourceText { name: "pod.yaml".into(), text: text.into() })
    }

    #[test]
    fn values_know_their_places() {
        let text = "a:\n  - ü: {b: 'true', c: true}\n---\nd: ~\n";
        let documents = read(text).expect("YAML");
        assert_eq!(documents.len(), 2);
        let map = documents[0]
            .get("a")
            .and_then(|list| list.items().first())
            .and_then(|item| item.get("ü"));
        let map = map.expect("a map");
        let c = map.get("c").expect("c");
        assert!(c.is_true() && !map.get("b").expect("b").is_true());
        assert_eq!(text.get(c.span.range()), Some("true"));
        assert!(documents[1].get("d").is_none());
    }

    #[test]
    fn hostile_texts_are_refused() {
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
        let deep = format!("{}{}", "[".repeat(DEEPEST + 1), "]".repeat(DEEPEST + 1));
        assert!(read(&deep).expect_err("deep").message.contains("levels"));
        let error = read("a: {{ .Values.x }}\nb: [").expect_err("template");
        assert!(error.hint.is_some_and(|hint| hint.contains("render")));
        assert!(read("a: 1\na: 2\n").expect_err("twice").message.contains("twice"));
        // Nine levels of ten aliases each would be a billion copies.
        let mut bomb = "a0: &a0 [x]\n".to_owned();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.extend([
                "a",
                &level.to_string(),
                ": &a",
                &level.to_string(),
                " [",
                &aliases,
                "]\n",
            ]);
        }
        assert_eq!(read(&bomb).expect("small").len(), 1);
    }
}
