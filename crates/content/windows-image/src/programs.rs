//! Rules about programs and libraries.

use std::collections::{BTreeMap, BTreeSet};

use oci::ImageConfig;
use pe::{Image, Machine, Managed, Subsystem};

use crate::finding::{Finding, Severity};
use crate::libraries::{Base, Known, known};
use crate::scan::{Contents, File, FileKind};
use crate::verify::{Subject, about};

use Severity::{Error, Note, Warning};

/// Links that are followed to a file.
const MAX_LINKS: usize = 16;

pub(crate) fn check(subject: Subject<'_>, findings: &mut Vec<Finding>) {
    let contents = subject.contents;
    // What Windows itself brings is not judged.
    let own = |file: &File| {
        let first = file.path.split('/').next().unwrap_or_default();
        first.eq_ignore_ascii_case("Windows")
            || contents.layers.get(file.layer).is_some_and(|layer| layer.is_windows)
    };
    let programs: Vec<(&File, &Image)> = contents
        .files
        .values()
        .filter(|file| !own(file))
        .filter_map(|file| Some((file, file.program.as_deref()?)))
        .collect();
    let search = Search::new(subject);
    let mut missing: BTreeMap<String, Vec<(&File, &Image)>> = BTreeMap::new();
    for (file, program) in &programs {
        machine(subject, file, program, findings);
        surroundings(subject.base, file, program, findings);
        for problem in &program.problems {
            findings.push(of_file("WP05", Warning, file, problem.clone(), None));
        }
        if program.managed != Managed::No {
            // Its one import is the .NET Framework, which .NET loads it without.
            continue;
        }
        for library in program.imports.iter().filter(|library| !search.finds(library, file)) {
            missing.entry(library.to_lowercase()).or_default().push((*file, *program));
        }
    }
    for (library, wanted_by) in missing {
        libraries(subject, &library, &wanted_by, findings);
    }
    signatures(&programs, findings);
    if let Some(config) = subject.config {
        starts(config, subject, &search, findings);
    }
}

fn of_file(
    rule: &'static str,
    severity: Severity,
    file: &File,
    what: String,
    help: Option<&str>,
) -> Finding {
    Finding {
        layer: Some(file.layer),
        ..about(rule, severity, &format!("Files/{}", file.path), what, help)
    }
}

fn machine(subject: Subject<'_>, file: &File, program: &Image, findings: &mut Vec<Finding>) {
    let Some(config) = subject.config else { return };
    let wanted = config.architecture.as_str();
    if program.machine.architecture() == Some(wanted)
        || matches!(program.managed, Managed::Yes { any_machine: true })
    {
        return;
    }
    let kind = if program.is_library { "library" } else { "program" };
    let what = format!("it is a {kind} for {}, but the image is for {wanted}", program.machine);
    let (severity, help) = match (program.machine, subject.base) {
        (Machine::X86, Base::NanoServer) => {
            (Error, Some("nanoserver runs no 32-bit programs; take windows/servercore as base"))
        }
        (Machine::X86, _) => (Note, Some("it runs in Windows' 32-bit surroundings")),
        (Machine::Amd64, _) if wanted == "arm64" => {
            (Warning, Some("it runs under emulation, where the host has it"))
        }
        _ if program.is_library => (Warning, None),
        _ => (Error, Some("build it for the platform of the image")),
    };
    findings.push(of_file("WP01", severity, file, what, help));
}

fn surroundings(base: Base, file: &File, program: &Image, findings: &mut Vec<Finding>) {
    if program.is_library {
        return;
    }
    match program.subsystem {
        Subsystem::Gui if base == Base::NanoServer => {
            let what =
                "it wants a screen, and nanoserver has not even the libraries for one".to_owned();
            findings.push(of_file("WP04", Warning, file, what, Some("build it for a console")));
        }
        Subsystem::Gui => {
            let what = "it wants a screen: nobody sees what it shows or waits for".to_owned();
            findings.push(of_file("WP04", Note, file, what, None));
        }
        Subsystem::Native if !file.path.to_lowercase().ends_with(".sys") => {
            let what = "it is a program of the kernel's, which containers cannot start".to_owned();
            findings.push(of_file("WP04", Warning, file, what, None));
        }
        Subsystem::Native => {
            let what = "it is a driver, which containers cannot load".to_owned();
            let severity = if base == Base::HostProcess { Note } else { Warning };
            findings.push(of_file("WP04", severity, file, what, None));
        }
        Subsystem::Efi => {
            let what = "it is a program for firmware".to_owned();
            findings.push(of_file("WP04", Note, file, what, None));
        }
        _ => {}
    }
}

/// One finding for each library that is not there, with all that want it.
fn libraries(
    subject: Subject<'_>,
    library: &str,
    wanted_by: &[(&File, &Image)],
    findings: &mut Vec<Finding>,
) {
    let base = subject.base;
    let program = wanted_by.iter().find(|(_, image)| !image.is_library);
    let Some((file, _)) = program.or(wanted_by.first()) else { return };
    let others = match wanted_by.len() - 1 {
        0 => String::new(),
        1 => " (and one other file needs it)".to_owned(),
        count => format!(" (and {count} other files need it)"),
    };
    // A library that nobody loads does no harm.
    let at_least =
        |severity: Severity| if program.is_some() { severity } else { Warning.min(severity) };
    let finding = match known(base, library) {
        Known::There => return,
        Known::Missing { runtime: Some(runtime), instead } => {
            let severity = if base == Base::HostProcess { Warning } else { Error };
            let place =
                if base == Base::HostProcess { "hosts need not have it" } else { "no base has it" };
            let what = format!(
                "it needs {library}, of {runtime}, which is not in the image; {place}{others}"
            );
            of_file("WP03", at_least(severity), file, what, Some(instead))
        }
        Known::Missing { runtime: None, instead } => {
            let what = format!("it needs {library}, which is not in {}{others}", base.word());
            of_file("WP02", at_least(Error), file, what, Some(instead))
        }
        Known::Nothing => {
            let what = format!(
                "it needs {library}, which is not in the image and not known to be in {}{others}",
                base.word()
            );
            // Where all of Windows was read, what was not found is not there.
            let severity = if subject.contents.has_windows() && subject.contents.is_whole() {
                Error
            } else {
                Warning
            };
            of_file("WP02", at_least(severity), file, what, Some("copy it beside the program"))
        }
    };
    findings.push(finding);
}

fn signatures(programs: &[(&File, &Image)], findings: &mut Vec<Finding>) {
    let unsigned: Vec<&str> = programs
        .iter()
        .filter(|(_, program)| !program.is_signed && !program.is_library)
        .map(|(file, _)| file.path.as_str())
        .collect();
    let Some(first) = unsigned.first() else { return };
    let what = match unsigned.len() {
        1 => "it carries no signature".to_owned(),
        count => format!("it and {} other programs carry no signature", count - 1),
    };
    findings.push(Finding {
        path: format!("Files/{first}"),
        ..about(
            "WP06",
            Note,
            "",
            what,
            Some("hosts with application control refuse programs without one"),
        )
    });
}

/// Whether what the image starts is there.
fn starts(
    config: &ImageConfig,
    subject: Subject<'_>,
    search: &Search<'_>,
    findings: &mut Vec<Finding>,
) {
    let command = &config.config;
    let Some(first) = command.entrypoint.iter().chain(&command.cmd).flatten().next() else {
        return;
    };
    // A whole command line: its first word, or what is in its first quotes.
    let program = if command.args_escaped {
        match first.strip_prefix('"') {
            Some(rest) => rest.split('"').next().unwrap_or(rest),
            None => first.split(' ').next().unwrap_or(first),
        }
    } else {
        first
    };
    if program.is_empty() || program.contains(['%', '$']) {
        return;
    }
    let path = program.replace('\\', "/");
    let path = path.strip_prefix("C:").or_else(|| path.strip_prefix("c:")).unwrap_or(&path);
    let is_in_windows = path.trim_start_matches('/').to_lowercase().starts_with("windows/");
    if path.contains(':') || (is_in_windows && !subject.contents.has_windows()) {
        return;
    }
    let is_there = |path: &str| {
        [path.to_owned(), format!("{path}.exe")]
            .iter()
            .any(|path| subject.contents.find(path).is_some())
    };
    let found = if path.starts_with('/') {
        is_there(path)
    } else {
        search.directories().any(|directory| is_there(&format!("{directory}/{path}")))
    };
    // A name alone may be one of the base's programs.
    let may_be_elsewhere =
        !(path.contains('/') || subject.contents.is_whole() && subject.contents.has_windows());
    if !found && !may_be_elsewhere && subject.contents.is_whole() {
        let severity = if subject.base == Base::HostProcess { Note } else { Error };
        let what = format!("the image starts `{program}`, which is not in it");
        findings.push(about("WP07", severity, "config.Entrypoint", what, None));
    }
}

/// Where Windows looks for libraries.
struct Search<'a> {
    contents: &'a Contents,
    base: Base,
    /// Directories of the image, from the configuration.
    path: Vec<String>,
    /// Libraries in a directory that was asked before.
    system: BTreeSet<Vec<u8>>,
}

impl<'a> Search<'a> {
    fn new(subject: Subject<'a>) -> Self {
        let config = subject.config.map(|config| &config.config);
        let variables = config.map(|config| config.env.as_slice()).unwrap_or_default();
        let path = variables
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .find(|(name, _)| name.eq_ignore_ascii_case("PATH"))
            .map_or("", |(_, value)| value);
        let working = config.map_or("", |config| config.working_dir.as_str());
        let on_c = |directory: &str| {
            let directory = directory.trim().trim_matches('"').replace('\\', "/");
            let rest = directory.strip_prefix("C:").or_else(|| directory.strip_prefix("c:"));
            rest.unwrap_or(&directory).trim_matches('/').to_owned()
        };
        let path =
            path.split(';').filter(|it| !it.is_empty()).map(on_c).chain([on_c(working)]).collect();
        let system = ["Windows/System32", "Windows"]
            .iter()
            .map(|directory| windows::fold(directory.as_bytes()))
            .collect();
        Self { contents: subject.contents, base: subject.base, path, system }
    }

    fn directories(&self) -> impl Iterator<Item = &str> {
        self.path.iter().map(String::as_str).chain(["Windows/System32", "Windows", ""])
    }

    /// Whether a file's library is there: beside it, in the system's directories, in those of PATH, or in the base.
    fn finds(&self, library: &str, file: &File) -> bool {
        if matches!(known(self.base, library), Known::There) {
            return true;
        }
        let library = windows::fold(library.as_bytes());
        let beside = file.path.rfind('/').and_then(|slash| file.path.get(..slash)).unwrap_or("");
        let beside = windows::fold(beside.as_bytes());
        let path = self.path.iter().map(|directory| windows::fold(directory.as_bytes()));
        let mut all = [beside].into_iter().chain(self.system.iter().cloned()).chain(path);
        all.any(|directory| {
            let whole = if directory.is_empty() {
                library.clone()
            } else {
                [&*directory, b"/", &library].concat()
            };
            self.leads_to_file(whole)
        })
    }

    fn leads_to_file(&self, mut path: Vec<u8>) -> bool {
        for _ in 0..MAX_LINKS {
            match self.contents.files.get(&path).map(|file| &file.kind) {
                Some(FileKind::File) => return true,
                Some(FileKind::Link(target)) => {
                    let Some(target) = windows::link_target_from_windows(target.as_bytes()) else {
                        return false;
                    };
                    let parent = path
                        .iter()
                        .rposition(|byte| *byte == b'/')
                        .map_or(&path[..0], |slash| &path[..slash]);
                    let whole = if target.starts_with(b"/") {
                        target
                    } else {
                        [parent, b"/", &target].concat()
                    };
                    path = windows::fold(fstree::RelPath::clean(whole).as_bytes());
                }
                _ => return false,
            }
        }
        false
    }
}
