//! The rules: one table, from which documentation, help and output formats are made.

mod buildkit;
mod own;

pub use report::Severity;

/// A severity in lower case, for output. A note never fails a check, a warning does, an error a build too.
pub fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// Whose rule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// BuildKit has it under the same name; builds tell it too.
    BuildKit,
    /// Crossdock alone has it.
    Crossdock,
}

/// What a check looks for.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Name, as `# check=skip=` takes it.
    pub id: &'static str,
    /// How much it weighs.
    pub severity: Severity,
    /// Whose it is.
    pub origin: Origin,
    /// Whether it speaks only where `# check=experimental=` names it.
    pub experimental: bool,
    /// In one sentence, without a full stop.
    pub summary: &'static str,
    /// Why, and what to do, in Markdown.
    pub why: &'static str,
    /// Where BuildKit documents it.
    pub url: Option<&'static str>,
    /// A Dockerfile that it finds something in.
    pub triggers: Example,
    /// The same without a finding.
    pub fine: Example,
    /// What `--fix` does; `None` where it takes judgement.
    pub fix: Option<&'static str>,
}

/// A Dockerfile with what else a check depends on.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The text.
    pub dockerfile: &'static str,
    /// The platform asked for.
    pub platform: &'static str,
    /// Lines of a `.dockerignore`.
    pub ignore: &'static [&'static str],
    /// The platforms of its base image, where the check may ask for it.
    pub base_has: &'static [&'static str],
}

impl Example {
    const fn of(dockerfile: &'static str) -> Self {
        Self { dockerfile, platform: "linux/amd64", ignore: &[], base_has: &[] }
    }

    const fn windows(dockerfile: &'static str) -> Self {
        Self { platform: "windows/amd64", ..Self::of(dockerfile) }
    }
}

/// All rules, BuildKit's first.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    buildkit::RULES.iter().chain(own::RULES)
}

/// The rule of this name.
pub fn rule(id: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.id == id)
}

impl Rule {
    /// The page that explains it, from the root of the documentation.
    pub fn page(&self) -> String {
        format!("docs/reference/checks/{}.md", self.id)
    }

    /// Where to read about it: BuildKit's page, else ours.
    pub fn link(&self) -> String {
        self.url.map_or_else(
            || self.page(),
            |name| format!("https://docs.docker.com/go/dockerfile/rule/{name}/"),
        )
    }
}
