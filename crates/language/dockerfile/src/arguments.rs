//! What stands behind the keyword of each instruction that takes more than words.

use report::{Diagnostic, Span, did_you_mean};

use crate::flags::Takes;
use crate::instruction::{
    Argument, CommandLine, CopyFiles, From, Healthcheck, Heredoc, InlineFile, Network, Onbuild,
    Pair, Run, Security, Word,
};
use crate::parse::{Parser, Parts, heredoc, json, known_keyword};
use crate::split;

impl Parser<'_> {
    pub(crate) fn command(&mut self, parts: &Parts<'_>) -> CommandLine {
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

    pub(crate) fn run(&mut self, parts: &Parts<'_>) -> Run {
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
                    let known = ["default", "none", "host"];
                    let message = format!("network {other:?} is not valid");
                    self.choice(message, word.span, other, &known);
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
                    let message = format!("security {other:?} is not valid");
                    self.choice(message, word.span, other, &["sandbox", "insecure"]);
                    Security::Sandbox
                }
            },
        };
        let mut devices = Vec::new();
        for word in flags.texts("device") {
            match crate::Device::parse(&word.text) {
                Ok(device) => devices.push((device, word.span)),
                Err(error) => {
                    let mut diagnostic = Diagnostic::error(error.message, word.span);
                    diagnostic.hint = error.hint;
                    self.diagnostics.push(diagnostic);
                }
            }
        }
        Run { command: self.command(parts), mounts, network, security, devices }
    }

    fn choice(&mut self, message: String, span: Span, given: &str, known: &[&str]) {
        let hint = match did_you_mean(given, known.iter().copied()) {
            Some(guess) => format!("did you mean {guess}?"),
            None => format!("it can be {}", known.join(", ")),
        };
        self.diagnostics.push(Diagnostic::error(message, span).hint(hint));
    }

    pub(crate) fn copy(&mut self, parts: &Parts<'_>, name: &'static str) -> Option<CopyFiles> {
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
            self.missing(parts, name, message);
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

    pub(crate) fn from(&mut self, parts: &Parts<'_>) -> Option<From> {
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

    pub(crate) fn stage_name(&mut self, parts: &Parts<'_>, middle: &Word, name: &Word) {
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

    pub(crate) fn arguments(&mut self, parts: &Parts<'_>) -> Option<Vec<Argument>> {
        self.no_flags(parts);
        let pieces = split::by_quotes(parts.rest, parts.rest_at, self.reader.escape);
        self.words += pieces.len();
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

    pub(crate) fn pairs(&mut self, parts: &Parts<'_>, name: &str) -> Option<Vec<Pair>> {
        self.no_flags(parts);
        let pieces = split::by_quotes(parts.rest, parts.rest_at, self.reader.escape);
        self.words += pieces.len();
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
            let keyword = &parts.keyword.text;
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" \
                 format"
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

    pub(crate) fn healthcheck(&mut self, parts: &Parts<'_>) -> Option<Healthcheck> {
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

    pub(crate) fn onbuild(&mut self, parts: &Parts<'_>) -> Option<Onbuild> {
        self.no_flags(parts);
        if parts.rest.is_empty() {
            self.at_least_one(parts, "ONBUILD");
            return None;
        }
        let inner = self.parts(parts.line, parts.rest_at);
        match known_keyword(&inner.keyword.text) {
            Some("ONBUILD") => {
                let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                self.error(message, inner.keyword.span);
                return None;
            }
            Some(keyword @ ("MAINTAINER" | "FROM")) => {
                let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
                self.error(message, inner.keyword.span);
                return None;
            }
            None => {
                self.unknown(&inner, None);
                return None;
            }
            Some(_) => {}
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
