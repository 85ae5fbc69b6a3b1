use std::ops::Range;

use report::{Diagnostic, SourceText, Span, did_you_mean};

use crate::expand::{Expand, expand};
use crate::flags::{Flag, Flags, Takes};
use crate::instruction::{
    Argument, CommandLine, CopyFiles, Dockerfile, From, Healthcheck, Heredoc, InlineFile,
    Instruction, Kind, Network, Onbuild, Pair, Run, Security, Stage, Word,
};
use crate::lines::{Line, Reader};
use crate::split;

/// The instructions there are.
const KEYWORDS: [&str; 18] = [
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

/// Reads a Dockerfile. What is wrong with it is told in the result's diagnostics; the rest is read nevertheless.
pub fn parse(source: &SourceText) -> Dockerfile {
    let mut parser = Parser {
        reader: Reader::new(&source.text, '\\', true),
        diagnostics: Vec::new(),
        fixed: None,
    };
    let mut preamble = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut previous = None;
    while let Some(line) = parser.reader.next() {
        let instruction = parser.instruction(&line, previous.as_ref());
        previous = Some(instruction.keyword.text.to_uppercase());
        match (&instruction.kind, stages.last_mut()) {
            (Kind::From(from), _) => {
                let from = from.clone();
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
    }
    let end = Span::new(source.text.len(), source.text.len());
    if previous.is_none() {
        parser.diagnostics.push(
            Diagnostic::error("the Dockerfile has no instructions", end)
                .hint("begin with FROM and the name of an image"),
        );
    } else if stages.is_empty() && parser.diagnostics.is_empty() {
        parser.diagnostics.push(
            Diagnostic::error("dockerfile contains no stages to build", end)
                .hint("begin a stage with FROM and the name of an image"),
        );
    }
    let Parser { mut reader, mut diagnostics, .. } = parser;
    diagnostics.append(&mut reader.diagnostics);
    for diagnostic in &mut diagnostics {
        diagnostic.source = Some(source.clone());
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span);
    Dockerfile {
        source: source.clone(),
        escape: reader.escape,
        directives: reader.directives,
        preamble,
        stages,
        diagnostics,
    }
}

/// Reads a trigger: one instruction without directives. Every place in the result is `span`, where it takes effect.
pub fn parse_trigger(text: &str, span: Span) -> Result<Instruction, Vec<Diagnostic>> {
    let mut parser = Parser {
        reader: Reader::new(text, '\\', false),
        diagnostics: Vec::new(),
        fixed: Some(span),
    };
    let instruction = parser.reader.next().map(|line| parser.instruction(&line, None));
    let more = parser.reader.next().is_some();
    match instruction {
        Some(instruction) if !more => {
            let wrong = |found: &Diagnostic| found.severity == report::Severity::Error;
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

struct Parser<'a> {
    reader: Reader<'a>,
    diagnostics: Vec<Diagnostic>,
    /// The place everything gets; for triggers, which come from elsewhere.
    fixed: Option<Span>,
}

/// An instruction's parts before they are understood.
struct Parts<'l> {
    line: &'l Line,
    keyword: Word,
    flags: Vec<Flag>,
    /// Arguments without flags.
    rest: &'l str,
    rest_at: usize,
    heredocs: Vec<Heredoc>,
    /// The arguments, where they are a JSON array of strings.
    json: Option<Vec<String>>,
}

impl Parser<'_> {
    fn span(&self, line: &Line, range: &Range<usize>) -> Span {
        self.fixed.unwrap_or_else(|| line.span(range))
    }

    fn error(&mut self, message: impl Into<String>, span: Span) {
        self.diagnostics.push(Diagnostic::error(message, span));
    }

    fn instruction(&mut self, line: &Line, previous: Option<&String>) -> Instruction {
        if let Some(span) = line.gap {
            let message = "Empty continuation line found in instruction";
            self.diagnostics.push(Diagnostic::warning(
                "NoEmptyContinuation",
                message,
                self.fixed.unwrap_or(span),
            ));
        }
        let mut parts = self.parts(line, 0);
        let known = KEYWORDS.contains(&parts.keyword.text.to_uppercase().as_str());
        if parts.may_have_heredocs(self.reader.escape) && line.text.contains("<<") {
            parts.heredocs = self.heredocs(line);
        }
        let kind = if known {
            self.kind(&parts)
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

    fn unknown(&mut self, parts: &Parts<'_>, previous: Option<&String>) {
        let word = &parts.keyword.text;
        let mut diagnostic =
            Diagnostic::error(format!("unknown instruction: {word}"), parts.keyword.span);
        if let Some(guess) = did_you_mean(word, KEYWORDS) {
            diagnostic = diagnostic.hint(format!("did you mean {guess}?"));
        } else if previous.is_some_and(|keyword| keyword == "RUN") {
            let escape = self.reader.escape;
            diagnostic = diagnostic
                .hint(format!("if it continues the RUN above, end that line with `{escape}`"));
        }
        self.diagnostics.push(diagnostic);
    }

    fn parts<'l>(&self, line: &'l Line, from: usize) -> Parts<'l> {
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
            .map(|flag| Flag { text: flag.text, span: self.span(line, &flag.range) })
            .collect();
        Parts {
            line,
            keyword: Word {
                text: line.text.get(keyword.clone()).unwrap_or_default().to_owned(),
                span: self.span(line, &keyword),
            },
            flags,
            rest: rest_text,
            rest_at: arguments.start + rest + gap,
            heredocs: Vec::new(),
            json: json(rest_text).and_then(Result::ok),
        }
    }

    /// Reads the bodies of the here-documents that a line announces.
    fn heredocs(&mut self, line: &Line) -> Vec<Heredoc> {
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
                    }
                    found.body = body.unwrap_or_default();
                    heredocs.push(found);
                }
                Ok(None) => {}
                Err(reason) => self.error(reason, whole),
            }
        }
        heredocs
    }

    fn kind(&mut self, parts: &Parts<'_>) -> Kind {
        let before = self.diagnostics.len();
        let keyword = parts.keyword.text.to_uppercase();
        if let Some(Err(message)) = json(parts.rest)
            && !matches!(keyword.as_str(), "ENV" | "LABEL" | "ARG" | "FROM" | "USER" | "WORKDIR")
        {
            let span = self.rest_span(parts);
            self.error(message, span);
            return Kind::Invalid;
        }
        let kind = match keyword.as_str() {
            "ADD" => self.copy(parts, "ADD").map(Kind::Add),
            "ARG" => self.arguments(parts).map(Kind::Arg),
            "CMD" => {
                self.no_flags(parts);
                Some(Kind::Cmd(self.command(parts)))
            }
            "COPY" => self.copy(parts, "COPY").map(Kind::Copy),
            "ENTRYPOINT" => {
                self.no_flags(parts);
                Some(Kind::Entrypoint(self.command(parts)))
            }
            "ENV" => self.pairs(parts, "ENV").map(Kind::Env),
            "EXPOSE" => self.list(parts, "EXPOSE").map(|mut ports| {
                ports.sort_by(|a, b| a.text.cmp(&b.text));
                Kind::Expose(ports)
            }),
            "FROM" => self.from(parts).map(Kind::From),
            "HEALTHCHECK" => self.healthcheck(parts).map(Kind::Healthcheck),
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
        let wrong = |found: &Diagnostic| found.severity == report::Severity::Error;
        let failed = self.diagnostics.get(before..).is_some_and(|new| new.iter().any(wrong));
        // A stage is a stage even if a flag of its FROM is wrong: what follows belongs to it.
        match kind {
            Some(kind @ Kind::From(_)) => kind,
            Some(kind) if !failed => kind,
            _ => Kind::Invalid,
        }
    }

    fn rest_span(&self, parts: &Parts<'_>) -> Span {
        let range = parts.rest_at..parts.rest_at + parts.rest.len();
        if range.is_empty() { parts.keyword.span } else { self.span(parts.line, &range) }
    }

    fn word(&self, parts: &Parts<'_>, piece: split::Piece) -> Word {
        Word { span: self.span(parts.line, &piece.range), text: piece.text }
    }

    fn words(&self, parts: &Parts<'_>) -> Vec<Word> {
        let pieces = split::by_spaces(parts.rest, parts.rest_at);
        pieces.into_iter().map(|piece| self.word(parts, piece)).collect()
    }

    /// The items of a JSON array, or words separated by spaces.
    fn json_or_words(&self, parts: &Parts<'_>) -> Vec<Word> {
        match &parts.json {
            Some(items) => {
                let span = self.rest_span(parts);
                items.iter().map(|text| Word { text: text.clone(), span }).collect()
            }
            None => self.words(parts),
        }
    }

    fn flags(&mut self, parts: &Parts<'_>, known: &[(&'static str, Takes)]) -> Flags {
        Flags::read(&parts.flags, known, &mut self.diagnostics)
    }

    fn no_flags(&mut self, parts: &Parts<'_>) {
        self.flags(parts, &[]);
    }

    fn at_least_one(&mut self, parts: &Parts<'_>, name: &str) {
        self.error(format!("{name} requires at least one argument"), parts.keyword.span);
    }

    fn single(&mut self, parts: &Parts<'_>, name: &str) -> Option<Word> {
        self.no_flags(parts);
        if parts.rest.is_empty() {
            self.error(format!("{name} requires exactly one argument"), parts.keyword.span);
            return None;
        }
        Some(Word { text: parts.rest.to_owned(), span: self.rest_span(parts) })
    }

    fn list(&mut self, parts: &Parts<'_>, name: &str) -> Option<Vec<Word>> {
        self.no_flags(parts);
        let words = self.words(parts);
        if words.is_empty() {
            self.at_least_one(parts, name);
            return None;
        }
        Some(words)
    }

    fn volumes(&mut self, parts: &Parts<'_>) -> Option<Vec<Word>> {
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

    fn shell(&mut self, parts: &Parts<'_>) -> Option<Vec<String>> {
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

    fn command(&mut self, parts: &Parts<'_>) -> CommandLine {
        let span = self.rest_span(parts);
        if let Some(items) = &parts.json {
            return CommandLine { args: items.clone(), shell: false, heredocs: Vec::new(), span };
        }
        if parts.rest.starts_with("['") && parts.rest.ends_with(']') {
            let message = "not a JSON array: the shell form is used";
            self.diagnostics.push(
                Diagnostic::warning("JSONArgsSyntax", message, span)
                    .hint("JSON strings stand in double quotes"),
            );
        }
        let args = Some(parts.rest.to_owned()).filter(|rest| !rest.is_empty());
        CommandLine {
            args: args.into_iter().collect(),
            shell: true,
            heredocs: parts.heredocs.clone(),
            span,
        }
    }

    fn run(&mut self, parts: &Parts<'_>) -> Run {
        let known = [
            ("mount", Takes::Texts),
            ("network", Takes::Text),
            ("security", Takes::Text),
            ("device", Takes::Texts),
        ];
        let flags = self.flags(parts, &known);
        let mounts = flags.texts("mount");
        for mount in &mounts {
            if let Err(error) = crate::mounts_from(&mount.text) {
                let mut diagnostic = Diagnostic::error(error.message, mount.span);
                diagnostic.hint = error.hint;
                self.diagnostics.push(diagnostic);
            }
        }
        let network = match flags.text("network") {
            None => Network::Default,
            Some(word) => match word.text.as_str() {
                "default" => Network::Default,
                "none" => Network::None,
                "host" => Network::Host,
                other => {
                    let guess = did_you_mean(other, ["default", "none", "host"]);
                    self.choice(format!("network {other:?} is not valid"), word.span, guess);
                    Network::Default
                }
            },
        };
        let security = match flags.text("security") {
            None => Security::Sandbox,
            Some(word) => match word.text.as_str() {
                "sandbox" => Security::Sandbox,
                "insecure" => Security::Insecure,
                other => {
                    let guess = did_you_mean(other, ["sandbox", "insecure"]);
                    self.choice(format!("security {other:?} is not valid"), word.span, guess);
                    Security::Sandbox
                }
            },
        };
        let devices = flags.texts("device");
        Run { command: self.command(parts), mounts, network, security, devices }
    }

    fn choice(&mut self, message: String, span: Span, guess: Option<&str>) {
        let mut diagnostic = Diagnostic::error(message, span);
        diagnostic.hint = guess.map(|guess| format!("did you mean {guess}?"));
        self.diagnostics.push(diagnostic);
    }

    fn copy(&mut self, parts: &Parts<'_>, name: &'static str) -> Option<CopyFiles> {
        let add = name == "ADD";
        let mut known = vec![
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Bool),
            ("exclude", Takes::Texts),
        ];
        if add {
            known.extend([
                ("keep-git-dir", Takes::Bool),
                ("checksum", Takes::Text),
                ("unpack", Takes::Bool),
            ]);
        } else {
            known.extend([("from", Takes::Text), ("parents", Takes::Bool)]);
        }
        let flags = self.flags(parts, &known);
        let mut words = self.json_or_words(parts);
        let Some(dest) = words.pop().filter(|_| !words.is_empty()) else {
            let message = format!(
                "{name} requires at least two arguments, but only one was provided. Destination \
                 could not be determined"
            );
            self.error(message, parts.keyword.span);
            return None;
        };
        if heredoc(&dest.text).is_ok_and(|found| found.is_some()) {
            self.error(format!("{name} cannot accept a heredoc as a destination"), dest.span);
        }
        let mut sources = Vec::new();
        let mut inline = Vec::new();
        for word in words {
            let announced = heredoc(&word.text).ok().flatten().filter(|_| parts.json.is_none());
            let Some(announced) = announced else {
                sources.push(word);
                continue;
            };
            // Of two with the same name, the last body counts, as in BuildKit.
            let body = parts.heredocs.iter().rev().find(|found| found.name == announced.name);
            let body = body.map(|found| found.body.clone()).unwrap_or_default();
            let data = Heredoc { body, ..announced.clone() }.content();
            inline.push(InlineFile {
                name: announced.name,
                data,
                expand: announced.expand,
                span: word.span,
            });
        }
        if let Some(from) = flags.text("from")
            && expand(&from.text, Expand::words(self.reader.escape), &())
                .is_ok_and(|expanded| expanded.text != from.text)
        {
            let message = "variable expansion is not supported for --from, define a new stage with \
                           FROM using ARG from global scope as a workaround";
            self.diagnostics.push(
                Diagnostic::error(message, from.span)
                    .hint("write `FROM $image AS name` and COPY --from=name"),
            );
        }
        Some(CopyFiles {
            sources,
            inline,
            dest,
            from: flags.text("from").filter(|from| !from.text.is_empty()),
            chown: flags.text("chown").filter(|word| !word.text.is_empty()),
            chmod: flags.text("chmod").filter(|word| !word.text.is_empty()),
            link: flags.switch("link").unwrap_or(false),
            parents: flags.switch("parents").unwrap_or(false),
            exclude: flags.texts("exclude"),
            keep_git_dir: flags.switch("keep-git-dir"),
            checksum: flags.text("checksum").filter(|word| !word.text.is_empty()),
            unpack: flags.switch("unpack"),
        })
    }

    fn from(&mut self, parts: &Parts<'_>) -> Option<From> {
        let flags = self.flags(parts, &[("platform", Takes::Text)]);
        let words = self.words(parts);
        let (base, name) = match words.as_slice() {
            [base] => (base, None),
            [base, middle, name] if middle.text.eq_ignore_ascii_case("as") => {
                self.stage_name(parts, middle, name);
                let lower = Word { text: name.text.to_lowercase(), span: name.span };
                (base, Some(lower))
            }
            words => {
                let span = words.get(1).map_or(parts.keyword.span, |word| word.span);
                let message = "FROM requires either one or three arguments";
                self.diagnostics
                    .push(Diagnostic::error(message, span).hint("write FROM image AS name"));
                (words.first()?, None)
            }
        };
        Some(From { platform: flags.text("platform"), base: base.clone(), name })
    }

    fn stage_name(&mut self, parts: &Parts<'_>, middle: &Word, name: &Word) {
        let lower = name.text.to_lowercase();
        let letter = lower.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if !letter || !lower.chars().all(rest) {
            let message = format!(
                "invalid name for build stage: {:?}, name can't start with a number or contain \
                 symbols",
                name.text
            );
            self.error(message, name.span);
        } else if lower != name.text {
            let message = format!("Stage name '{}' should be lowercase", name.text);
            self.diagnostics.push(Diagnostic::warning("StageNameCasing", message, name.span));
        }
        let keyword = &parts.keyword.text;
        let is_upper = *keyword == keyword.to_uppercase();
        let is_lower = *keyword == keyword.to_lowercase();
        let fits = match (is_upper, is_lower) {
            (true, _) => middle.text == middle.text.to_uppercase(),
            (_, true) => middle.text == middle.text.to_lowercase(),
            _ => true,
        };
        if !fits {
            let message =
                format!("'{}' and '{keyword}' keywords' casing do not match", middle.text);
            self.diagnostics.push(Diagnostic::warning("FromAsCasing", message, middle.span));
        }
    }

    fn arguments(&mut self, parts: &Parts<'_>) -> Option<Vec<Argument>> {
        self.no_flags(parts);
        let pieces = split::by_quotes(parts.rest, parts.rest_at, self.reader.escape);
        if pieces.is_empty() {
            self.at_least_one(parts, "ARG");
            return None;
        }
        let mut arguments = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let word = self.word(parts, piece);
            let (name, default) = match word.text.split_once('=') {
                Some((name, default)) => (name.to_owned(), Some(default.to_owned())),
                None => (word.text, None),
            };
            if name.is_empty() {
                self.error("ARG names can not be blank", word.span);
            }
            arguments.push(Argument { name, default, span: word.span });
        }
        Some(arguments)
    }

    fn pairs(&mut self, parts: &Parts<'_>, name: &str) -> Option<Vec<Pair>> {
        self.no_flags(parts);
        let pieces = split::by_quotes(parts.rest, parts.rest_at, self.reader.escape);
        let Some(first) = pieces.first() else {
            self.at_least_one(parts, name);
            return None;
        };
        if !first.text.contains('=') {
            let span = self.rest_span(parts);
            let Some((key, value)) = parts.rest.split_once(split::is_space) else {
                self.diagnostics.push(
                    Diagnostic::error(format!("{name} must have two arguments"), span)
                        .hint(format!("write {name} {}=VALUE", parts.rest)),
                );
                return None;
            };
            let value = value.trim_start_matches(split::is_space).to_owned();
            let message = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            self.diagnostics.push(Diagnostic::warning("LegacyKeyValueFormat", message, span));
            return Some(vec![Pair { name: key.to_owned(), value, legacy: true, span }]);
        }
        let mut pairs = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let word = self.word(parts, piece);
            let Some((key, value)) = word.text.split_once('=') else {
                self.diagnostics.push(
                    Diagnostic::error(
                        format!(
                            "can't find = in {:?}, it must be of the form name=value",
                            word.text
                        ),
                        word.span,
                    )
                    .hint("a value with spaces stands in quotes"),
                );
                continue;
            };
            if key.is_empty() {
                self.error(format!("{name} names can not be blank"), word.span);
            }
            let (key, value) = (key.to_owned(), value.to_owned());
            pairs.push(Pair { name: key, value, legacy: false, span: word.span });
        }
        Some(pairs)
    }

    fn healthcheck(&mut self, parts: &Parts<'_>) -> Option<Healthcheck> {
        let known = [
            ("interval", Takes::Text),
            ("timeout", Takes::Text),
            ("start-period", Takes::Text),
            ("start-interval", Takes::Text),
            ("retries", Takes::Text),
        ];
        let flags = self.flags(parts, &known);
        let (kind, rest) = match parts.rest.split_once(char::is_whitespace) {
            Some((kind, rest)) => (kind, rest.trim_start()),
            None => (parts.rest, ""),
        };
        let span = self.rest_span(parts);
        let test = match kind.to_uppercase().as_str() {
            "" => {
                self.at_least_one(parts, "HEALTHCHECK");
                return None;
            }
            "NONE" if rest.is_empty() => vec!["NONE".to_owned()],
            "NONE" => {
                self.error("HEALTHCHECK NONE takes no arguments", span);
                return None;
            }
            "CMD" => match json(rest) {
                Some(Err(message)) => {
                    self.error(message, span);
                    return None;
                }
                Some(Ok(items)) if !items.is_empty() => {
                    std::iter::once("CMD".to_owned()).chain(items).collect()
                }
                None if !rest.is_empty() => vec!["CMD-SHELL".to_owned(), rest.to_owned()],
                _ => {
                    self.error("missing command after HEALTHCHECK CMD", span);
                    return None;
                }
            },
            other => {
                self.diagnostics.push(
                    Diagnostic::error(format!("unknown type {other:?} in HEALTHCHECK"), span)
                        .hint("write HEALTHCHECK CMD … or HEALTHCHECK NONE"),
                );
                return None;
            }
        };
        let mut time = |name: &str| {
            let Some(word) = flags.text(name) else { return 0 };
            match duration(&word.text) {
                Some(nanoseconds) if nanoseconds == 0 || nanoseconds >= 1_000_000 => nanoseconds,
                Some(_) => {
                    self.error(format!("interval \"{name}\" cannot be less than 1ms"), word.span);
                    0
                }
                None => {
                    let message = format!("invalid duration {:?}", word.text);
                    self.diagnostics
                        .push(Diagnostic::error(message, word.span).hint("write 30s or 1m30s"));
                    0
                }
            }
        };
        let (interval, timeout) = (time("interval"), time("timeout"));
        let (start_period, start_interval) = (time("start-period"), time("start-interval"));
        let retries = flags.text("retries").filter(|word| !word.text.is_empty());
        let retries = retries.map_or(0, |word| match word.text.parse::<i32>() {
            Ok(retries) if retries >= 0 => i64::from(retries),
            _ => {
                self.error(format!("invalid number of retries {:?}", word.text), word.span);
                0
            }
        });
        if test == ["NONE"] {
            return Some(Healthcheck { test, ..Healthcheck::default() });
        }
        Some(Healthcheck { test, interval, timeout, start_period, start_interval, retries })
    }

    fn onbuild(&mut self, parts: &Parts<'_>) -> Option<Onbuild> {
        self.no_flags(parts);
        if parts.rest.is_empty() {
            self.at_least_one(parts, "ONBUILD");
            return None;
        }
        let inner = self.parts(parts.line, parts.rest_at);
        match inner.keyword.text.to_uppercase().as_str() {
            "ONBUILD" => {
                let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                self.error(message, inner.keyword.span);
                return None;
            }
            keyword @ ("MAINTAINER" | "FROM") => {
                let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
                self.error(message, inner.keyword.span);
                return None;
            }
            keyword if !KEYWORDS.contains(&keyword) => {
                self.unknown(&inner, None);
                return None;
            }
            _ => {}
        }
        let mut trigger = parts.line.text.get(parts.rest_at..).unwrap_or_default().to_owned();
        for heredoc in &parts.heredocs {
            trigger.push('\n');
            trigger.push_str(&heredoc.body);
            trigger.push_str(&heredoc.name);
        }
        Some(Onbuild { trigger })
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
fn json(text: &str) -> Option<Result<Vec<String>, String>> {
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
fn heredoc(word: &str) -> Result<Option<Heredoc>, String> {
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

/// `1h2m3.5s` in nanoseconds, as Go reads it.
fn duration(text: &str) -> Option<i64> {
    if text.is_empty() || text == "0" {
        return Some(0);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
    (0.0..9.2e18).contains(&total).then_some(total.round() as i64)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
