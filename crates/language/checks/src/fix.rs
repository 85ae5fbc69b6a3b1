//! How a finding is mended, where that needs no judgement.

use dockerfile::{CommandLine, Dockerfile, Instruction, Kind};
use report::{Diagnostic, SourceText, Span};
use similar::TextDiff;

use crate::own::TO_TARGET;
use crate::{Options, check};

pub use dockerfile::Edit;

/// Edits that mend one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// In the order of the text, without overlap.
    pub edits: Vec<Edit>,
}

/// How often a mended text is checked again: one fix may make room for another.
const ROUNDS: usize = 20;

/// A Dockerfile with its fixes applied.
#[derive(Clone, Debug)]
pub struct Mended {
    /// The text.
    pub text: String,
    /// How many findings were mended.
    pub count: usize,
}

/// Applies all fixes, until there are none or they do not come to an end.
pub fn mend(options: &Options<'_>) -> Mended {
    let Some(first) = options.builds.first() else {
        return Mended { text: String::new(), count: 0 };
    };
    let mut mended = Mended { text: first.source.text.to_string(), count: 0 };
    let source = |text: &str| SourceText { text: text.into(), ..first.source.clone() };
    for _ in 0..ROUNDS {
        let source = source(&mended.text);
        let builds = options.builds.iter();
        let builds = builds
            .map(|build| frontend::CompileOptions { source: source.clone(), ..build.clone() })
            .collect();
        let report = check(&Options { builds, ..*options });
        let mut edits: Vec<Edit> = Vec::new();
        let mut count = 0;
        for fix in report.findings.iter().filter_map(|finding| finding.fix.as_ref()) {
            let apart = |edit: &Edit| {
                let here = edits.partition_point(|other| other.span < edit.span);
                let before = here.checked_sub(1).and_then(|before| edits.get(before));
                before.is_none_or(|before| {
                    before.span.end <= edit.span.start && before.span != edit.span
                }) && edits.get(here).is_none_or(|after| {
                    edit.span.end <= after.span.start && after.span != edit.span
                })
            };
            if fix.edits.iter().all(apart) {
                edits.extend(fix.edits.iter().cloned());
                edits.sort_by_key(|edit| edit.span);
                count += 1;
            }
        }
        match dockerfile::edit(&mended.text, &edits) {
            Ok(text) if count > 0 && text != mended.text => mended.text = text,
            _ => break,
        }
        mended.count += count;
    }
    mended
}

/// A unified diff between two texts of one file; empty if they are the same.
pub fn diff(name: &str, before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .header(&format!("a/{name}"), &format!("b/{name}"))
        .to_string()
}

/// The fix of a finding, if there is one at this place.
pub(crate) fn of(
    rule: &str,
    file: &Dockerfile,
    instruction: Option<&Instruction>,
    finding: &Diagnostic,
) -> Option<Fix> {
    let one = instruction?;
    let text = &*file.source.text;
    let here = Place { text, span: finding.span, written: text.get(finding.span.range())? };
    let edits = match rule {
        "StageNameCasing" => here.replace(here.written.to_lowercase()),
        "FromAsCasing" => {
            let upper = one.keyword.text == one.keyword.text.to_uppercase();
            here.replace(if upper { "AS" } else { "as" })
        }
        "ConsistentInstructionCasing" => {
            here.replace(if finding.message.ends_with("(lowercase)") {
                here.written.to_lowercase()
            } else {
                here.written.to_uppercase()
            })
        }
        "NoEmptyContinuation" => Some(blank_lines(text, one.span)),
        "JSONArgsRecommended" => match &one.kind {
            Kind::Cmd(line) | Kind::Entrypoint(line) => here.replace(as_array(line)?),
            _ => None,
        },
        "JSONArgsSyntax" => (!here.written.contains('"') && !here.written.contains('\\'))
            .then(|| here.replace(here.written.replace('\'', "\"")))
            .flatten(),
        "MaintainerDeprecated" => maintainer(text, one),
        "MultipleInstructionsDisallowed" => match &one.kind {
            Kind::Cmd(_) | Kind::Entrypoint(_) | Kind::Healthcheck(_) => {
                whole_lines(text, one.span)
            }
            _ => None,
        },
        "LegacyKeyValueFormat" => match &one.kind {
            Kind::Env(pairs) | Kind::Label(pairs) => {
                let pair = pairs.first().filter(|pair| pair.legacy)?;
                here.replace(format!("{}={}", pair.name, value(&pair.value)?))
            }
            _ => None,
        },
        "RedundantTargetPlatform" | "WindowsChown" => without_flag(text, one, finding.span),
        "ExposeProtoCasing" => here.replace(here.literal()?.to_lowercase()),
        "ExposeInvalidFormat" => here.replace(here.literal()?.rsplit(':').next()?),
        "ConstantBuildPlatform" => here.replace(match here.written.split_once('=') {
            Some((flag, _)) => format!("{flag}=$BUILDPLATFORM"),
            None => "$BUILDPLATFORM".to_owned(),
        }),
        "CrossCompilePossible" => cross(file, one),
        "AptUpdateAlone" => joined(file, one),
        "CacheMountEmptied" => match &one.kind {
            Kind::Run(run) if finding.message.contains("docker-clean") && plain(&run.command) => {
                let at = run.command.span.start;
                let text = "rm -f /etc/apt/apt.conf.d/docker-clean; ".to_owned();
                Some(vec![Edit { span: Span::new(at, at), text }])
            }
            _ => None,
        },
        "WindowsPath" => match &one.kind {
            Kind::Env(_) => None,
            _ if here.written.to_lowercase().starts_with("/c/") => {
                here.replace(format!("C:{}", here.written.get(2..)?))
            }
            _ => here.replace(here.written.replace('\\', "/")),
        },
        _ => None,
    }?;
    Some(Fix { edits })
}

/// Where a finding is.
struct Place<'a> {
    text: &'a str,
    span: Span,
    written: &'a str,
}

impl Place<'_> {
    /// Writes something else there. What goes over several lines is left alone.
    fn replace(&self, text: impl Into<String>) -> Option<Vec<Edit>> {
        let one_line = !self.written.contains('\n') && self.text.get(self.span.range()).is_some();
        one_line.then(|| vec![Edit { span: self.span, text: text.into() }])
    }

    /// What is written, unless it has variables.
    fn literal(&self) -> Option<&str> {
        (!self.written.contains('$') && !self.written.contains(char::is_whitespace))
            .then_some(self.written)
    }
}

fn plain(command: &CommandLine) -> bool {
    command.shell && command.heredocs.is_empty() && !command.args.is_empty()
}

/// A command of plain words as a JSON array.
fn as_array(command: &CommandLine) -> Option<String> {
    let [script] = command.args.as_slice() else { return None };
    let simple = |c: char| c.is_ascii_alphanumeric() || " _./:=,@%+-".contains(c);
    let words: Vec<&str> = script.split_whitespace().collect();
    let words = words.strip_prefix(&["exec"]).unwrap_or(&words);
    let first = words.first()?;
    let builtin = ["cd", ".", "source", "export", "set", "ulimit", "umask", "eval", "exec", "trap"];
    if !script.chars().all(simple) || first.contains('=') || builtin.contains(first) {
        return None;
    }
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Some(format!("[{}]", words.join(", ")))
}

/// A value of the old form in the new one.
fn value(text: &str) -> Option<String> {
    let quoted = |quote: char| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote) && !inner.contains('\\')).then_some(())
    };
    if quoted('"').or(quoted('\'')).is_some() || !text.contains([' ', '\t', '"', '\'', '\\']) {
        return Some(text.to_owned());
    }
    (!text.contains(['"', '\'', '\\'])).then(|| format!("\"{text}\""))
}

fn maintainer(text: &str, one: &Instruction) -> Option<Vec<Edit>> {
    let Kind::Maintainer(name) = &one.kind else { return None };
    let keyword = if one.keyword.text == "maintainer" { "label" } else { "LABEL" };
    let mut author = String::new();
    for c in name.text.trim_matches('"').chars() {
        if matches!(c, '"' | '\\' | '$') {
            author.push('\\');
        }
        author.push(c);
    }
    let written = text.get(one.span.range())?;
    let label = format!("{keyword} org.opencontainers.image.authors=\"{author}\"");
    (!written.contains('\n')).then(|| vec![Edit { span: one.span, text: label }])
}

/// Takes out the empty lines within a range.
fn blank_lines(text: &str, span: Span) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut at = span.start;
    for line in text.get(span.range()).unwrap_or_default().split_inclusive('\n') {
        if line.trim().is_empty() && line.ends_with('\n') {
            edits.push(Edit { span: Span::new(at, at + line.len()), text: String::new() });
        }
        at += line.len();
    }
    edits
}

/// Takes out an instruction with the end of its line.
fn whole_lines(text: &str, span: Span) -> Option<Vec<Edit>> {
    let after = text.get(span.end..)?;
    let end = after.find('\n').map_or(text.len(), |newline| span.end + newline + 1);
    let rest = text.get(span.end..end)?;
    rest.trim()
        .is_empty()
        .then(|| vec![Edit { span: Span::new(span.start, end), text: String::new() }])
}

/// Takes out a flag and the space after it.
fn without_flag(text: &str, one: &Instruction, value: Span) -> Option<Vec<Edit>> {
    let before = text.get(one.span.start..value.start)?;
    let start = if text.get(value.range())?.starts_with("--") {
        value.start
    } else {
        one.span.start + before.rfind("--")?
    };
    let after = text.get(value.end..)?;
    let gap = after.len() - after.trim_start_matches([' ', '\t']).len();
    Some(vec![Edit { span: Span::new(start, value.end + gap), text: String::new() }])
}

/// The stage that an instruction is in.
fn stage_of<'a>(file: &'a Dockerfile, one: &Instruction) -> Option<&'a dockerfile::Stage> {
    let after = file.stages.partition_point(|stage| stage.start.span.start <= one.span.start);
    file.stages.get(after.checked_sub(1)?)
}

/// Joins an update with the RUN right after it.
fn joined(file: &Dockerfile, one: &Instruction) -> Option<Vec<Edit>> {
    let stage = stage_of(file, one)?;
    let at = stage.body.binary_search_by_key(&one.span, |other| other.span).ok()?;
    let next = stage.body.get(at + 1)?;
    let (Kind::Run(first), Kind::Run(second)) = (&one.kind, &next.kind) else { return None };
    let bare = |run: &dockerfile::Run| {
        run.mounts.is_empty()
            && run.devices.is_empty()
            && run.network == dockerfile::Network::Default
            && run.security == dockerfile::Security::Sandbox
            && plain(&run.command)
    };
    let between = file.source.text.get(one.span.end..next.span.start)?;
    let joined = second.command.args.join(" ");
    if !bare(first) || !bare(second) || !between.trim().is_empty() || !joined.contains("install") {
        return None;
    }
    let span = Span::new(one.span.end, second.command.span.start);
    Some(vec![Edit { span, text: format!(" && {}\n    ", file.escape) }])
}

/// Lets a Go stage run where the build runs.
fn cross(file: &Dockerfile, from: &Instruction) -> Option<Vec<Edit>> {
    let stage = stage_of(file, from)?;
    let build = stage.body.iter().find(|one| {
        matches!(&one.kind, Kind::Run(run) if plain(&run.command)) && one.code.contains("go build")
    })?;
    let written = file.source.text.get(build.span.range())?;
    let base = stage.from.base.span.start;
    let mut edits = vec![
        Edit { span: Span::new(base, base), text: "--platform=$BUILDPLATFORM ".to_owned() },
        Edit {
            span: Span::new(build.span.start, build.span.start),
            text: "ARG TARGETOS TARGETARCH\n".to_owned(),
        },
    ];
    for (at, _) in written.match_indices("go build") {
        let at = build.span.start + at;
        edits.push(Edit { span: Span::new(at, at), text: format!("{TO_TARGET} ") });
    }
    Some(edits)
}
