use report::{Diagnostic, SourceText, Span};

use crate::lines::Directive;
use crate::syntax::Syntax;

/// A Dockerfile, as far as it could be understood.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// The text.
    pub source: SourceText,
    /// The text in tokens, nothing left out.
    pub syntax: Syntax,
    /// The escape character, `\` unless a directive says `` ` ``.
    pub escape: char,
    /// The directives at its top.
    pub directives: Vec<Directive>,
    /// The instructions before the first FROM; only ARG makes sense there.
    pub preamble: Vec<Instruction>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// What is wrong or doubtful.
    pub diagnostics: Vec<Diagnostic>,
}

impl Dockerfile {
    /// All instructions in order.
    pub fn instructions(&self) -> impl Iterator<Item = &Instruction> {
        let stages = self.stages.iter();
        self.preamble
            .iter()
            .chain(stages.flat_map(|stage| std::iter::once(&stage.start).chain(&stage.body)))
    }

    /// The value of a directive.
    pub fn directive(&self, name: &str) -> Option<&str> {
        let found = self.directives.iter().find(|directive| directive.name == name)?;
        Some(&found.value)
    }
}

/// FROM and what follows it.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The FROM instruction itself.
    pub start: Instruction,
    /// What it says.
    pub from: From,
    /// The other instructions.
    pub body: Vec<Instruction>,
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Its keyword as written.
    pub keyword: Word,
    /// Its text with continuation lines joined, without here-documents and spaces around.
    pub code: String,
    /// Where it stands, without here-documents.
    pub span: Span,
    /// First and last line, here-documents included, from 1.
    pub lines: (usize, usize),
    /// The comments right above it.
    pub comments: Vec<String>,
    /// What it says.
    pub kind: Kind,
}

/// A word and its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// As written, quotes and variables included; of flags, the value.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// What an instruction says.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `ADD`.
    Add(Box<CopyFiles>),
    /// `ARG`.
    Arg(Vec<Argument>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Box<CopyFiles>),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<Pair>),
    /// `EXPOSE`.
    Expose(Vec<Word>),
    /// `FROM`.
    From(Box<From>),
    /// `HEALTHCHECK`.
    Healthcheck(Box<Healthcheck>),
    /// `LABEL`.
    Label(Vec<Pair>),
    /// `MAINTAINER`.
    Maintainer(Word),
    /// `ONBUILD`.
    Onbuild(Onbuild),
    /// `RUN`.
    Run(Box<Run>),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(Word),
    /// `USER`.
    User(Word),
    /// `VOLUME`.
    Volume(Vec<Word>),
    /// `WORKDIR`.
    Workdir(Word),
    /// Not understood; a diagnostic says why.
    Invalid,
}

/// `FROM [--platform=P] BASE [AS NAME]`.
#[derive(Clone, Debug, Default)]
pub struct From {
    /// `--platform`.
    pub platform: Option<Word>,
    /// Image or stage.
    pub base: Word,
    /// Name, in lower case.
    pub name: Option<Word>,
}

/// An item of ARG.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Name.
    pub name: String,
    /// Default, not expanded.
    pub default: Option<String>,
    /// Where.
    pub span: Span,
}

/// An item of ENV or LABEL, not expanded.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// Whether it was written `NAME VALUE`, without `=`.
    pub legacy: bool,
    /// Where.
    pub span: Span,
}

/// The command of RUN, CMD and ENTRYPOINT.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Of the exec form the arguments; of the shell form one text, or none when empty.
    pub args: Vec<String>,
    /// Whether a shell runs it.
    pub shell: bool,
    /// Here-documents of the shell form.
    pub heredocs: Vec<Heredoc>,
    /// Where, without flags.
    pub span: Span,
}

/// A here-document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heredoc {
    /// Terminator, without quotes.
    pub name: String,
    /// The lines, as written.
    pub body: String,
    /// `<<-`: leading tabs are taken off.
    pub chomp: bool,
    /// Not quoted: variables are replaced.
    pub expand: bool,
    /// File descriptor before `<<`.
    pub descriptor: u64,
}

impl Heredoc {
    /// The body, without leading tabs where they are to be taken off.
    pub fn content(&self) -> String {
        if !self.chomp {
            return self.body.clone();
        }
        let lines = self.body.split_inclusive('\n');
        lines.map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// `RUN`.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// `--mount`, values as written: [`crate::Mount::parse`] reads them when variables are known.
    pub mounts: Vec<Word>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`, each with its place.
    pub devices: Vec<(crate::Device, Span)>,
}

/// `RUN --network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// As the build says.
    #[default]
    Default,
    /// None.
    None,
    /// The machine's.
    Host,
}

/// `RUN --security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As few privileges as possible.
    #[default]
    Sandbox,
    /// All.
    Insecure,
}

/// `COPY` and `ADD`. Words are not expanded.
#[derive(Clone, Debug, Default)]
pub struct CopyFiles {
    /// Paths (and, of ADD, addresses) to copy from.
    pub sources: Vec<Word>,
    /// Files written in the Dockerfile.
    pub inline: Vec<InlineFile>,
    /// Where to.
    pub dest: Word,
    /// `--from`.
    pub from: Option<Word>,
    /// `--chown`.
    pub chown: Option<Word>,
    /// `--chmod`.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<Word>,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<Word>,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// A here-document as source of COPY or ADD.
#[derive(Clone, Debug, Default)]
pub struct InlineFile {
    /// Name of the file.
    pub name: String,
    /// Content.
    pub data: String,
    /// Whether variables in it are replaced.
    pub expand: bool,
    /// Where its word stands.
    pub span: Span,
}

/// `HEALTHCHECK`; durations in nanoseconds, 0 where not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// As in the image configuration.
    pub test: Vec<String>,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

/// `ONBUILD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Onbuild {
    /// The instruction, with its here-documents.
    pub trigger: String,
}
