//! What is allowed and yet doubtful, by the names of BuildKit's rules, and the `check` directive that silences them.

use std::collections::{BTreeMap, BTreeSet};

use dockerfile::{Dockerfile, Expanded, Instruction, Kind, Word};
use oci::Platform;
use report::{Diagnostic, Severity, Span};

/// Rules that speak only where `# check=experimental=` names them.
const EXPERIMENTAL: [&str; 1] = ["InvalidDefinitionDescription"];

/// Checks that need nothing but the text.
pub(crate) fn before(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for stage in &file.stages {
        let Some(name) = &stage.from.name else { continue };
        if ["scratch", "context"].contains(&name.text.as_str()) {
            let message = format!(
                "Stage name should not use the same name as reserved stage {:?}",
                name.text
            );
            found.push(Diagnostic::warning("ReservedStageName", message, name.span));
        }
        if !names.insert(&name.text) {
            let message =
                format!("Duplicate stage name {:?}, stage names should be unique", name.text);
            found.push(Diagnostic::warning("DuplicateStageName", message, name.span));
        }
    }
    casing(file, found);
    for instruction in file.instructions() {
        description(instruction, found);
    }
}

/// Keywords are all in upper case, or all in lower. What stands before the first FROM does not count.
fn casing(file: &Dockerfile, found: &mut Vec<Diagnostic>) {
    let upper = |word: &str| word == word.to_uppercase();
    let lower = |word: &str| word == word.to_lowercase();
    let (mut uppers, mut lowers) = (0, 0);
    let instructions = || file.instructions().skip(file.preamble.len());
    for instruction in instructions() {
        uppers += usize::from(upper(&instruction.keyword.text));
        lowers += usize::from(lower(&instruction.keyword.text));
    }
    let major_is_lower = lowers > uppers;
    for instruction in instructions() {
        let word = &instruction.keyword.text;
        let fits = if major_is_lower { lower(word) } else { upper(word) };
        if !fits && !matches!(instruction.kind, Kind::Invalid) {
            let (wanted, name) = if major_is_lower {
                (word.to_lowercase(), "lowercase")
            } else {
                (word.to_uppercase(), "uppercase")
            };
            let message =
                format!("Command '{word}' should match the case of the command majority ({name})");
            found.push(
                Diagnostic::warning(
                    "ConsistentInstructionCasing",
                    message,
                    instruction.keyword.span,
                )
                .hint(format!("write {wanted}")),
            );
        }
    }
}

/// A comment above a stage or an argument describes it, and then begins with its name.
fn description(instruction: &Instruction, found: &mut Vec<Diagnostic>) {
    let Some(comment) = instruction.comments.last() else { return };
    let (keyword, names): (_, Vec<&str>) = match &instruction.kind {
        Kind::From(from) => ("FROM", from.name.iter().map(|name| name.text.as_str()).collect()),
        Kind::Arg(arguments) => {
            ("ARG", arguments.iter().map(|argument| argument.name.as_str()).collect())
        }
        _ => return,
    };
    let first = comment.split(' ').next().unwrap_or_default();
    let wanted = match names.as_slice() {
        [] => return,
        names if names.contains(&first) => return,
        [only] => only,
        _ => "<arg_key>",
    };
    let message =
        format!("Comment for {keyword} should follow the format: `# {wanted} <description>`");
    found.push(
        Diagnostic::warning("InvalidDefinitionDescription", message, instruction.span)
            .hint("an empty line between them makes it an ordinary comment"),
    );
}

/// `FROM --platform` with a constant, or with what is the default anyway.
pub(crate) fn platform(
    word: &Word,
    expanded: &Expanded,
    target: &str,
    stage: &dockerfile::Stage,
    found: &mut Vec<Diagnostic>,
) {
    if !expanded.unmatched.is_empty() {
        return;
    }
    let mut matched = expanded.matched.iter();
    match (matched.next(), matched.next()) {
        (Some(name), None) if name == "TARGETPLATFORM" && expanded.text == target => {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default \
                 behavior",
                word.text
            );
            found.push(
                Diagnostic::warning("RedundantTargetPlatform", message, word.span)
                    .hint("leave the flag out"),
            );
        }
        (None, _) => {
            let Ok(platform) = expanded.text.parse::<Platform>() else { return };
            // A stage whose name says its platform means it.
            let named = stage.from.name.as_ref().is_some_and(|name| {
                name.text.contains(&platform.os) || name.text.contains(&platform.architecture)
            });
            if !named {
                let message = format!(
                    "FROM --platform flag should not use constant value {:?}",
                    expanded.text
                );
                found.push(Diagnostic::warning(
                    "FromPlatformFlagConstDisallowed",
                    message,
                    word.span,
                ));
            }
        }
        _ => {}
    }
}

/// Names that look as if a secret were kept in an image: one of these words between underscores, and none that says it
/// is something else.
pub(crate) fn looks_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    let lower = name.to_lowercase();
    let has = |known: &[&str]| lower.split('_').any(|word| known.contains(&word));
    has(&SECRET) && !has(&["public", "file", "version"])
}

/// What `# check=` asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckConfig {
    /// Rules that are silent; `all` is every rule.
    pub skip: BTreeSet<String>,
    /// Experimental rules that speak; `all` is every one.
    pub experimental: BTreeSet<String>,
    /// Whether a finding ends a build.
    pub error: bool,
}

impl CheckConfig {
    /// Reads `skip=A,B;error=true;experimental=C`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut config = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(config);
        }
        for part in text.splitn(3, ';') {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!("invalid check option {part:?}"));
            };
            let value = value.trim();
            let rules = || value.split(',').map(|rule| rule.trim().to_owned()).collect();
            match key.trim() {
                "skip" => config.skip = rules(),
                "experimental" => config.experimental = rules(),
                "error" => {
                    config.error = match value {
                        "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
                        "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
                        _ => return Err(format!("invalid check option {part:?}")),
                    }
                }
                key => return Err(format!("invalid check option {key:?}")),
            }
        }
        // `all` is a word of its own, not one of a list.
        for rules in [&mut config.skip, &mut config.experimental] {
            if rules.len() > 1 {
                rules.remove("all");
            }
        }
        Ok(config)
    }

    /// Whether findings of a rule are told.
    pub fn tells(&self, rule: &str) -> bool {
        let names = |rules: &BTreeSet<String>| rules.contains(rule) || rules.contains("all");
        if EXPERIMENTAL.contains(&rule) { names(&self.experimental) } else { !names(&self.skip) }
    }
}

/// The configuration of a Dockerfile's checks: that of `BUILDKIT_DOCKERFILE_CHECK`, else of its directive.
///
/// # Errors
/// What is wrong with it.
pub fn configuration(
    file: &Dockerfile,
    build_args: &BTreeMap<String, String>,
) -> Result<CheckConfig, Box<Diagnostic>> {
    let given = build_args.get("BUILDKIT_DOCKERFILE_CHECK");
    let directive = file.directives.iter().find(|directive| directive.name == "check");
    let (text, span) = match (given, directive) {
        (Some(text), _) => (text.as_str(), Span::default()),
        // What follows a space is taken for a remark.
        (None, Some(directive)) => {
            (directive.value.split(' ').next().unwrap_or_default(), directive.span)
        }
        (None, None) => return Ok(CheckConfig::default()),
    };
    CheckConfig::parse(text).map_err(|message| {
        let message = format!("failed to parse check options: {message}");
        Box::new(Diagnostic::error(message, span).hint("write skip=RULE,RULE;error=true"))
    })
}

/// Instructions with a `# check=skip=` of their own right above them, by where they begin.
fn own(file: &Dockerfile) -> BTreeMap<usize, (usize, BTreeSet<String>)> {
    let skips = file.instructions().filter_map(|instruction| {
        let config = instruction.comments.iter().find_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let first = value.trim().split(' ').next()?;
            (name.trim().eq_ignore_ascii_case("check"))
                .then(|| CheckConfig::parse(first).ok())
                .flatten()
        })?;
        Some((instruction.span.start, (instruction.span.end, config.skip)))
    });
    skips.collect()
}

/// What the `check` directives silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silences {
    /// Only what does not end a build.
    Warnings,
    /// A check may be silent on what a build refuses.
    Everything,
}

/// Drops what the `check` directives skip; with `error=true` warnings are errors.
pub(crate) fn filter(
    file: &Dockerfile,
    config: &CheckConfig,
    found: Vec<Diagnostic>,
    silences: Silences,
) -> Vec<Diagnostic> {
    let own = own(file);
    let own_tells = |rule: &str, at: usize| {
        let here = own.range(..=at).next_back().filter(|(_, (end, _))| at <= *end);
        here.is_none_or(|(_, (_, skip))| !skip.contains(rule) && !skip.contains("all"))
    };
    let tells = |diagnostic: &Diagnostic| {
        diagnostic.severity == Severity::Error && silences == Silences::Warnings
            || diagnostic
                .rule
                .is_none_or(|rule| config.tells(rule) && own_tells(rule, diagnostic.span.start))
    };
    let mut kept: Vec<Diagnostic> = found.into_iter().filter(tells).collect();
    for diagnostic in &mut kept {
        if config.error && diagnostic.rule.is_some() {
            diagnostic.severity = Severity::Error;
        }
    }
    kept
}
