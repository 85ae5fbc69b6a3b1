use std::ops::Range;

use report::{Diagnostic, Severity, SourceText, Span, did_you_mean};

use crate::expand::{Expand, expand};
use crate::flags::{Flag, Flags, Takes};
use crate::instruction::{Dockerfile, From, Heredoc, Instruction, Kind, Stage, Word};
use crate::limits::{MAX_ERRORS, MAX_INSTRUCTIONS, MAX_STAGES, MAX_WARNINGS, MAX_WORDS};
use crate::lines::{Line, Reader};
use crate::split;
use crate::syntax::TokenKind;
use crate::usage;

/// The instructions there are.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// The instruction that a keyword names, in any case.
pub(crate) fn known_keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.into_iter().find(|known| known.eq_ignore_ascii_case(word))
}

/// Reads a Dockerfile. What is wrong with it is told in the result's diagnostics; the rest is read nevertheless.
pub fn parse(source: &SourceText) -> Dockerfile {
    let mut parser = Parser {
        reader: Reader::new(&source.text, '\\', true),
        diagnostics: Vec::new(),
        fixed: None,
        words: 0,
    };
    let mut findings = Findings::default();
    let mut preamble = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut previous = None;
    let mut count = 0;
    while let Some(line) = parser.reader.next() {
        let instruction = parser.instruction(&line, previous.as_ref());
        previous = Some(instruction.keyword.text.clone());
        count += 1;
        let span = instruction.span;
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From(from), _) => {
                let from = From::clone(from);
                stages.push(Stage { start: instruction, from, body: Vec::new() });
            }
            (Kind::Arg(_) | Kind::Invalid, None) => preamble.push(instruction),
            (_, None) => {
                let message = "no build stage in current context";
                parser.diagnostics.push(
                    Diagnostic::error(message, instruction.span)
                        .hint("a stage begins with FROM; only ARG may stand before the first"),
                );
                preamble.push(instruction);
            }
            (_, Some(stage)) => stage.body.push(instruction),
        }
        parser.diagnostics.append(&mut parser.reader.diagnostics);
        findings.take(&mut parser.diagnostics);
        if let Some(reason) = findings.enough(count, stages.len(), parser.words) {
            findings.kept.push(Diagnostic::error(reason, span));
            break;
        }
    }
    let end = Span::new(source.text.len(), source.text.len());
    parser.diagnostics.append(&mut parser.reader.diagnostics);
    findings.take(&mut parser.diagnostics);
    let diagnostics = findings.finish(end);
    let Parser { reader, .. } = parser;
    let mut file = Dockerfile {
        source: source.clone(),
        syntax: reader.tokens.finish(&source.text),
        escape: reader.escape,
        directives: reader.directives,
        preamble,
        stages,
        diagnostics,
    };
    if previous.is_none() && file.diagnostics.is_empty() {
        file.diagnostics.push(
            Diagnostic::error("the Dockerfile has no instructions", end)
                .hint("begin with FROM and the name of an image"),
        );
    } else if file.stages.is_empty() && file.diagnostics.is_empty() {
        file.diagnostics.push(
            Diagnostic::error("dockerfile contains no stages to build", end)
                .hint("begin a stage with FROM and the name of an image"),
        );
    }
    for diagnostic in &mut file.diagnostics {
        diagnostic.source = Some(source.clone());
    }
    file.diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    file
}

/// Diagnostics of a file, as many as somebody may want to read.
#[derive(Default)]
struct Findings {
    kept: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Findings {
    fn take(&mut self, found: &mut Vec<Diagnostic>) {
        for diagnostic in found.drain(..) {
            let (count, most) = match diagnostic.severity {
                Severity::Error => (&mut self.errors, MAX_ERRORS),
                _ => (&mut self.warnings, MAX_WARNINGS),
            };
            *count += 1;
            if *count <= most {
                self.kept.push(diagnostic);
            }
        }
    }

    /// Why not to read on.
    fn enough(&self, instructions: usize, stages: usize, words: usize) -> Option<String> {
        if self.errors > MAX_ERRORS {
            Some(format!("more than {MAX_ERRORS} errors: what follows is not read"))
        } else if instructions > MAX_INSTRUCTIONS {
            Some(format!("a Dockerfile may have {MAX_INSTRUCTIONS} instructions"))
        } else if stages > MAX_STAGES {
            Some(format!("a Dockerfile may have {MAX_STAGES} stages"))
        } else if words > MAX_WORDS {
            Some(format!("the instructions of a Dockerfile may have {MAX_WORDS} words"))
        } else {
            None
        }
    }

    fn finish(mut self, end: Span) -> Vec<Diagnostic> {
        if let Some(more @ 1..) = self.warnings.checked_sub(MAX_WARNINGS) {
            let message = format!("{more} more warnings are not shown");
            let severity = Severity::Warning;
            self.kept.push(Diagnostic { severity, ..Diagnostic::error(message, end) });
        }
        self.kept
    }
}

/// Reads a trigger: one instruction without directives. Every place in the result is `span`, where it takes effect.
pub fn parse_trigger(text: &str, span: Span) -> Result<Instruction, Vec<Diagnostic>> {
    let mut parser = Parser {
        reader: Reader::new(text, '\\', false),
        diagnostics: Vec::new(),
        fixed: Some(span),
        words: 0,
    };
    let instruction = parser.reader.next().map(|line| parser.instruction(&line, None));
    let more = parser.reader.next().is_some();
    match instruction {
        Some(instruction) if !more => {
            let wrong = |found: &Diagnostic| found.severity == Severity::Error;
            if parser.diagnostics.iter().any(wrong) {
                return Err(parser.diagnostics);
            }
            Ok(instruction)
        }
        _ => Err(vec![Diagnostic::error(
            format!("onbuild trigger should be a single instruction, not {text:?}"),
            span,
        )]),
    }
}

pub(crate) struct Parser<'a> {
    pub(crate) reader: Reader<'a>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The place everything gets; for triggers, which come from elsewhere.
    pub(crate) fixed: Option<Span>,
    /// Words so far, of all instructions.
    pub(crate) words: usize,
}

/// An instruction's parts before they are understood.
pub(crate) struct Parts<'l> {
    pub(crate) line: &'l Line,
    pub(crate) keyword: Word,
    keyword_at: Range<usize>,
    pub(crate) flags: Vec<Flag>,
    /// Arguments without flags.
    pub(crate) rest: &'l str,
    pub(crate) rest_at: usize,
    pub(crate) heredocs: Vec<Heredoc>,
    /// The arguments, where they are a JSON array of strings.
    pub(crate) json: Option<Vec<String>>,
}

impl Parser<'_> {
    pub(crate) fn span(&self, line: &Line, range: &Range<usize>) -> Span {
        self.fixed.unwrap_or_else(|| line.span(range))
    }

    pub(crate) fn error(&mut self, message: impl Into<String>, span: Span) {
        self.diagnostics.push(Diagnostic::error(message, span));
    }

    pub(crate) fn instruction(&mut self, line: &Line, previous: Option<&String>) -> Instruction {
        if let Some(span) = line.gap {
            let message = "Empty continuation line";
            self.diagnostics.push(Diagnostic::warning(
                "NoEmptyContinuation",
                message,
                self.fixed.unwrap_or(span),
            ));
        }
        let mut parts = self.parts(line, 0);
        self.mark(line, &parts);
        self.words += parts.flags.len() + parts.json.as_ref().map_or(0, Vec::len);
        let known = known_keyword(&parts.keyword.text);
        if parts.may_have_heredocs(self.reader.escape) && line.text.contains("<<") {
            parts.heredocs = self.heredocs(line);
        }
        self.words += parts.heredocs.len();
        let kind = if let Some(keyword) = known {
            self.kind(keyword, &parts)
        } else {
            self.unknown(&parts, previous);
            Kind::Invalid
        };
        Instruction {
            keyword: parts.keyword,
            code: line.text.trim().to_owned(),
            span: self.fixed.unwrap_or_else(|| line.whole()),
            lines: (line.lines.0, self.reader.line().max(line.lines.1)),
            comments: line.comments.clone(),
            kind,
        }
    }

    /// Tells the tokens of an instruction apart.
    fn mark(&mut self, line: &Line, parts: &Parts<'_>) {
        if self.fixed.is_some() {
            return;
        }
        let mut marks = Vec::with_capacity(parts.flags.len() + 2);
        marks.push((parts.keyword_at.clone(), TokenKind::Keyword));
        let flags = parts.flags.iter();
        marks.extend(flags.map(|flag| (flag.range.clone(), TokenKind::Flag)));
        marks.push((parts.rest_at..parts.rest_at + parts.rest.len(), TokenKind::Arguments));
        self.reader.mark(line, &marks);
    }

    pub(crate) fn unknown(&mut self, parts: &Parts<'_>, previous: Option<&String>) {
        let word = &parts.keyword.text;
        let mut diagnostic =
            Diagnostic::error(format!("unknown instruction: {word}"), parts.keyword.span);
        if let Some(guess) = did_you_mean(word, KEYWORDS) {
            diagnostic = diagnostic.hint(format!("did you mean {guess}?"));
        } else if previous.is_some_and(|keyword| keyword.eq_ignore_ascii_case("RUN")) {
            let escape = self.reader.escape;
            diagnostic = diagnostic
                .hint(format!("if it continues the RUN above, end that line with `{escape}`"));
        }
        self.diagnostics.push(diagnostic);
    }

    pub(crate) fn parts<'l>(&self, line: &'l Line, from: usize) -> Parts<'l> {
        let text = line.text.get(from..).unwrap_or_default();
        let (keyword, arguments) = split::keyword(text);
        let (keyword, arguments) = (
            from + keyword.start..from + keyword.end,
            from + arguments.start..from + arguments.end,
        );
        let text = line.text.get(arguments.clone()).unwrap_or_default();
        let (flags, rest) = split::flags(text, arguments.start, self.reader.escape);
        let rest_text = text.get(rest..).unwrap_or_default();
        let gap = rest_text.len() - rest_text.trim_start().len();
        let rest_text = rest_text.trim();
        let flags = flags
            .into_iter()
            .map(|flag| Flag {
                text: flag.text,
                span: self.span(line, &flag.range),
                range: flag.range,
            })
            .collect();
        Parts {
            line,
            keyword: Word {
                text: line.text.get(keyword.clone()).unwrap_or_default().to_owned(),
                span: self.span(line, &keyword),
            },
            keyword_at: keyword,
            flags,
            rest: rest_text,
            rest_at: arguments.start + rest + gap,
            heredocs: Vec::new(),
            json: json(rest_text).and_then(Result::ok),
        }
    }

    /// Reads the bodies of the here-documents that a line announces.
    pub(crate) fn heredocs(&mut self, line: &Line) -> Vec<Heredoc> {
        let how =
            Expand { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Expand::words('\\') };
        let words = expand(&line.text, how, &()).map(|expanded| expanded.words).unwrap_or_default();
        let whole = self.fixed.unwrap_or_else(|| line.whole());
        let mut heredocs = Vec::new();
        for word in words {
            match heredoc(&word) {
                Ok(Some(mut found)) => {
                    let body = self.reader.heredoc(&found.name, found.chomp);
                    if body.is_none() {
                        let message = format!("unterminated heredoc `{}`", found.name);
                        self.diagnostics.push(Diagnostic::error(message, whole).hint(format!(
                            "end it with a line that has nothing but `{}`",
                            found.name
                        )));
                        // The file has come to its end; of the others there is nothing to say.
                        return heredocs;
                    }
                    body.unwrap_or_default().clone_into(&mut found.body);
                    heredocs.push(found);
                }
                Ok(None) => {}
                Err(reason) => self.error(reason, whole),
            }
        }
        heredocs
    }

    fn kind(&mut self, keyword: &str, parts: &Parts<'_>) -> Kind {
        let before = self.diagnostics.len();
        if let Some(Err(message)) = json(parts.rest)
            && !matches!(keyword, "ENV" | "LABEL" | "ARG" | "FROM" | "USER" | "WORKDIR")
        {
            let span = self.rest_span(parts);
            self.error(message, span);
            return Kind::Invalid;
        }
        let kind = match keyword {
            "ADD" => self.copy(parts, "ADD").map(Box::new).map(Kind::Add),
            "ARG" => self.arguments(parts).map(Kind::Arg),
            "CMD" => {
                self.no_flags(parts);
                Some(Kind::Cmd(self.command(parts)))
            }
            "COPY" => self.copy(parts, "COPY").map(Box::new).map(Kind::Copy),
            "ENTRYPOINT" => {
                self.no_flags(parts);
                Some(Kind::Entrypoint(self.command(parts)))
            }
            "ENV" => self.pairs(parts, "ENV").map(Kind::Env),
            "EXPOSE" => self.list(parts, "EXPOSE").map(|mut ports| {
                ports.sort_by(|a, b| a.text.cmp(&b.text));
                Kind::Expose(ports)
            }),
            "FROM" => self.from(parts).map(Box::new).map(Kind::From),
            "HEALTHCHECK" => self.healthcheck(parts).map(Box::new).map(Kind::Healthcheck),
            "LABEL" => self.pairs(parts, "LABEL").map(Kind::Label),
            "MAINTAINER" => {
                let message = "Maintainer instruction is deprecated in favor of using label";
                self.diagnostics.push(
                    Diagnostic::warning("MaintainerDeprecated", message, parts.keyword.span)
                        .hint("write LABEL org.opencontainers.image.authors=…"),
                );
                self.single(parts, "MAINTAINER").map(Kind::Maintainer)
            }
            "ONBUILD" => self.onbuild(parts).map(Kind::Onbuild),
            "RUN" => Some(Kind::Run(Box::new(self.run(parts)))),
            "SHELL" => self.shell(parts).map(Kind::Shell),
            "STOPSIGNAL" => self.single(parts, "STOPSIGNAL").map(Kind::StopSignal),
            "USER" => self.single(parts, "USER").map(Kind::User),
            "VOLUME" => self.volumes(parts).map(Kind::Volume),
            "WORKDIR" => self.single(parts, "WORKDIR").map(Kind::Workdir),
            _ => None,
        };
        let wrong = |found: &Diagnostic| found.severity == Severity::Error;
        let failed = self.diagnostics.get(before..).is_some_and(|new| new.iter().any(wrong));
        // A stage is a stage even if a flag of its FROM is wrong: what follows belongs to it.
        match kind {
            Some(kind @ Kind::From(_)) => kind,
            Some(kind) if !failed => kind,
            _ => Kind::Invalid,
        }
    }

    pub(crate) fn rest_span(&self, parts: &Parts<'_>) -> Span {
        let range = parts.rest_at..parts.rest_at + parts.rest.len();
        if range.is_empty() { parts.keyword.span } else { self.span(parts.line, &range) }
    }

    pub(crate) fn word(&self, parts: &Parts<'_>, piece: split::Piece) -> Word {
        Word { span: self.span(parts.line, &piece.range), text: piece.text }
    }

    pub(crate) fn words(&mut self, parts: &Parts<'_>) -> Vec<Word> {
        let pieces = split::by_spaces(parts.rest, parts.rest_at);
        self.words += pieces.len();
        pieces.into_iter().map(|piece| self.word(parts, piece)).collect()
    }

    /// The items of a JSON array, or words separated by spaces.
    pub(crate) fn json_or_words(&mut self, parts: &Parts<'_>) -> Vec<Word> {
        match &parts.json {
            Some(items) => {
                let span = self.rest_span(parts);
                items.iter().map(|text| Word { text: text.clone(), span }).collect()
            }
            None => self.words(parts),
        }
    }

    pub(crate) fn flags(&mut self, parts: &Parts<'_>, known: &[(&'static str, Takes)]) -> Flags {
        Flags::read(&parts.flags, known, &mut self.diagnostics)
    }

    pub(crate) fn no_flags(&mut self, parts: &Parts<'_>) {
        self.flags(parts, &[]);
    }

    pub(crate) fn missing(&mut self, parts: &Parts<'_>, name: &str, message: String) {
        self.diagnostics.push(
            Diagnostic::error(message, parts.keyword.span)
                .hint(format!("write {}", usage::example(name))),
        );
    }

    pub(crate) fn at_least_one(&mut self, parts: &Parts<'_>, name: &str) {
        self.missing(parts, name, format!("{name} requires at least one argument"));
    }

    pub(crate) fn single(&mut self, parts: &Parts<'_>, name: &str) -> Option<Word> {
        self.no_flags(parts);
        if parts.rest.is_empty() {
            self.missing(parts, name, format!("{name} requires exactly one argument"));
            return None;
        }
        Some(Word { text: parts.rest.to_owned(), span: self.rest_span(parts) })
    }

    pub(crate) fn list(&mut self, parts: &Parts<'_>, name: &str) -> Option<Vec<Word>> {
        self.no_flags(parts);
        let words = self.words(parts);
        if words.is_empty() {
            self.at_least_one(parts, name);
            return None;
        }
        Some(words)
    }

    pub(crate) fn volumes(&mut self, parts: &Parts<'_>) -> Option<Vec<Word>> {
        self.no_flags(parts);
        let mut words = self.json_or_words(parts);
        if words.is_empty() {
            self.at_least_one(parts, "VOLUME");
            return None;
        }
        for word in &mut words {
            word.text = word.text.trim().to_owned();
            if word.text.is_empty() {
                self.error("VOLUME specified can not be an empty string", word.span);
            }
        }
        Some(words)
    }

    pub(crate) fn shell(&mut self, parts: &Parts<'_>) -> Option<Vec<String>> {
        self.no_flags(parts);
        match &parts.json {
            Some(items) if !items.is_empty() => Some(items.clone()),
            None if !parts.rest.is_empty() => {
                let span = self.rest_span(parts);
                self.diagnostics.push(
                    Diagnostic::error("SHELL requires the arguments to be in JSON form", span)
                        .hint(r#"write SHELL ["/bin/bash", "-c"]"#),
                );
                None
            }
            _ => {
                self.at_least_one(parts, "SHELL");
                None
            }
        }
    }
}

impl Parts<'_> {
    /// Whether `<<` has a meaning here: in RUN, COPY and ADD without JSON, also as a trigger.
    fn may_have_heredocs(&self, escape: char) -> bool {
        let may = |keyword: &str| {
            ["RUN", "COPY", "ADD"].iter().any(|known| keyword.eq_ignore_ascii_case(known))
        };
        if !self.keyword.text.eq_ignore_ascii_case("ONBUILD") {
            return may(&self.keyword.text) && self.json.is_none();
        }
        let (keyword, rest) = split::keyword(self.rest);
        let rest = self.rest.get(rest).unwrap_or_default();
        let (_, arguments) = split::flags(rest, 0, escape);
        let arguments = rest.get(arguments..).unwrap_or_default();
        may(self.rest.get(keyword).unwrap_or_default()) && !matches!(json(arguments), Some(Ok(_)))
    }
}

/// A JSON array of strings; `None` when it is no JSON array, an error when it holds something else.
pub(crate) fn json(text: &str) -> Option<Result<Vec<String>, String>> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return None;
    }
    let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let strings = values.into_iter().map(|value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => {
            Err("when using JSON array syntax, arrays must be comprised of strings only".to_owned())
        }
    });
    Some(strings.collect())
}

/// Whether a text is one here-document's announcement and nothing else: `<<EOF`.
pub fn is_heredoc(text: &str) -> bool {
    heredoc(text).is_ok_and(|found| found.is_some())
}

/// What `3<<-"NAME"` announces, without a body.
pub(crate) fn heredoc(word: &str) -> Result<Option<Heredoc>, String> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (descriptor, rest) = word.split_at(digits);
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let chomp = rest.starts_with('-');
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim_start();
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = Expand { skip_unset: true, ..Expand::words('\\') };
    let unquoted = expand(rest, plain, &()).map_err(|error| error.to_string())?;
    let [name] = unquoted.words.as_slice() else { return Ok(None) };
    let raw = expand(rest, Expand { raw_quotes: true, ..plain }, &())
        .map_err(|error| error.to_string())?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let quoted = raw.words.first().is_none_or(|raw| quotes(raw) != quotes(name));
    Ok(Some(Heredoc {
        name: name.clone(),
        body: String::new(),
        chomp,
        expand: !quoted,
        descriptor: descriptor.parse().unwrap_or(0),
    }))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
