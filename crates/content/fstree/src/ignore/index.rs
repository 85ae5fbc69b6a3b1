//! Finds the patterns that may match a path without trying each: a hostile ignore file has a hundred thousand.

use std::collections::{BTreeMap, HashMap};

use super::matcher::{Matcher, directories_above};

#[derive(Debug, Default)]
pub(super) struct Index {
    /// Patterns that may match any path.
    any: Vec<u32>,
    exact: HashMap<Vec<u8>, Vec<u32>>,
    /// By what the path begins with.
    starts: Starts,
    /// By what the path with a `/` before it ends with, back to front.
    ends: Starts,
}

impl Index {
    /// Up to `few` patterns are tried one by one.
    pub(super) fn new<'a>(
        matchers: impl ExactSizeIterator<Item = &'a Matcher>,
        few: usize,
    ) -> Self {
        let few = matchers.len() <= few;
        let mut index = Self::default();
        let (mut starts, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for (number, matcher) in (0..).zip(matchers) {
            let (start, mut end) = matcher.ends();
            let found: &mut Vec<u32> = if few {
                &mut index.any
            } else if let Matcher::Exact(text) = matcher {
                index.exact.entry(text.clone()).or_default()
            } else if start.is_empty() && end.is_empty() {
                &mut index.any
            } else if start.len() >= end.len() {
                starts.entry(start).or_default()
            } else {
                end.reverse();
                ends.entry(end).or_default()
            };
            found.push(number);
        }
        index.starts = Starts::new(starts);
        index.ends = Starts::new(ends);
        index
    }

    /// All patterns that may match the path, or with `above` a directory above it, in order.
    pub(super) fn candidates(&self, path: &[u8], above: bool, steps: &mut u64) -> Vec<u32> {
        let mut found = self.any.clone();
        let any = found.len();
        self.find(path, &mut found);
        if above && !(self.exact.is_empty() && self.starts.is_empty() && self.ends.is_empty()) {
            for path in directories_above(path) {
                *steps += 1;
                self.find(path, &mut found);
            }
        }
        *steps += 1 + found.len() as u64;
        if found.len() > any {
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    fn find(&self, path: &[u8], found: &mut Vec<u32>) {
        found.extend(self.exact.get(path).into_iter().flatten());
        self.starts.find(path, found);
        if !self.ends.is_empty() {
            let back: Vec<u8> = path.iter().rev().chain(b"/").copied().collect();
            self.ends.find(&back, found);
        }
    }
}

/// Texts, to find those that another begins with.
#[derive(Debug, Default)]
struct Starts(Vec<Start>);

#[derive(Debug)]
struct Start {
    text: Vec<u8>,
    patterns: Vec<u32>,
    /// The longest other one that this begins with.
    shorter: Option<usize>,
}

impl Starts {
    fn new(texts: BTreeMap<Vec<u8>, Vec<u32>>) -> Self {
        let mut starts: Vec<Start> = Vec::with_capacity(texts.len());
        for (text, patterns) in texts {
            // What this begins with comes before it in order, and the one right before begins with that too.
            let mut shorter = starts.len().checked_sub(1);
            while let Some(start) = shorter.and_then(|at| starts.get(at)) {
                if text.starts_with(&start.text) {
                    break;
                }
                shorter = start.shorter;
            }
            starts.push(Start { text, patterns, shorter });
        }
        Self(starts)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, text: &[u8], found: &mut Vec<u32>) {
        let after = self.0.partition_point(|start| start.text.as_slice() <= text);
        let Some(start) = after.checked_sub(1).and_then(|at| self.0.get(at)) else { return };
        let common = start.text.iter().zip(text).take_while(|(one, other)| one == other).count();
        let mut start = Some(start);
        while let Some(Start { text, patterns, shorter }) = start {
            if text.len() <= common {
                found.extend(patterns);
            }
            start = shorter.and_then(|at| self.0.get(at));
        }
    }
}
