//! `crossdock k8s`: manifests for Windows containers.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use engine::Engine;
use kubernetes::{
    CheckOptions, GenerateError, GenerateOptions, ImageFacts, Images, RULES, Variant, Workload,
};
use report::{DescribedRule, Severity, SourceText};

use super::print;
use crate::args::{CheckManifestsArgs, GenerateArgs, WorkloadKind};
use crate::failure::{self, Failure};
use crate::findings::{self, FindingsFormat};
use crate::request::{UsageError, reference};
use crate::session::Session;

/// Where the rules are explained.
const PAGE: &str = "https://github.com/crossdock/crossdock/blob/main/docs/guide/kubernetes.md";

/// `crossdock k8s check`.
pub(crate) fn check(args: &CheckManifestsArgs, session: &Session<'_>) -> Result<(), Failure> {
    let files = read(&args.files)?;
    let today = super::day(args.date.as_deref())?;
    if let Some(version) = &args.containerd
        && windows::Rule::of_containerd(version).is_none()
    {
        let message = format!("--containerd: `{version}` is no release of containerd");
        return Err(UsageError::new(message, "write it as 1.7.28").into());
    }
    let options =
        CheckOptions { today, builds: builds(&args.nodes)?, containerd: args.containerd.clone() };
    let checked = if args.no_images {
        kubernetes::check(&files, &NoImages, &options)
    } else {
        let engine = session.engine()?;
        kubernetes::check(&files, &Known { engine: &engine }, &options)
    };
    let checked =
        checked.map_err(|errors| Failure::Build(build_api::BuildError::Invalid(errors)))?;
    let rules: Vec<DescribedRule> = RULES
        .iter()
        .map(|rule| DescribedRule {
            id: rule.id,
            title: rule.title,
            page: Some(format!("{PAGE}#{}", rule.id.to_lowercase())),
            ..DescribedRule::default()
        })
        .collect();
    let color = io::stdout().is_terminal() && session.environment.wants_color();
    print(&findings::write(args.format, &rules, &checked.findings, color))?;
    if args.format == FindingsFormat::Text {
        let count =
            |severity| checked.findings.iter().filter(|one| one.severity == severity).count();
        let mut summary = format!(
            "{} of {} pods are for Windows: {} errors, {} warnings, {} notes\n",
            checked.windows_pods,
            checked.pods,
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Note)
        );
        for (image, reason) in &checked.unknown {
            summary.extend(["not looked at: ", image, " (", reason, ")\n"]);
        }
        let between = if checked.findings.is_empty() { "" } else { "\n" };
        print(&format!("{between}{summary}"))?;
    } else {
        for (image, reason) in &checked.unknown {
            // Where standard error is closed, nobody wants to know.
            drop(writeln!(io::stderr(), "not looked at: {image} ({reason})"));
        }
    }
    let fatal = if args.strict { Severity::Warning } else { Severity::Error };
    let failed = checked.findings.iter().any(|finding| finding.severity >= fatal);
    if failed { Err(Failure::Exit(1)) } else { Ok(()) }
}

/// `crossdock k8s generate`.
pub(crate) fn generate(args: &GenerateArgs, session: &Session<'_>) -> Result<(), Failure> {
    let options = GenerateOptions {
        image: args.image.clone(),
        kind: match args.kind {
            WorkloadKind::Deployment => Workload::Deployment,
            WorkloadKind::DaemonSet => Workload::DaemonSet,
        },
        name: args.name.clone(),
        host_process: args.hpc,
        builds: builds(&args.nodes)?,
    };
    let image = reference("image", &args.image)?;
    let engine = session.engine()?;
    let facts = facts(&engine.describe(&image)?);
    let text = kubernetes::generate(&facts, &options).map_err(|error| {
        let hint = match &error {
            GenerateError::NotWindows(_) => {
                "for Linux no help is needed: `kubectl create deployment`"
            }
            GenerateError::NeedsHostProcess => "add --hpc, or build it on nanoserver or servercore",
            GenerateError::Name(_) => "choose another --name",
            GenerateError::Image(_) => "names look like registry.example/app:1.0",
            GenerateError::Build(..) => "build the image for that release too: --windows-versions",
        };
        Failure::hint(error.to_string(), hint)
    })?;
    match &args.output {
        Some(path) => fs_err::write(path, text)
            .map_err(|error| Failure::because("cannot write the manifest", error)),
        None => print(&text),
    }
}

/// Build numbers of releases, versions or builds.
fn builds(names: &[String]) -> Result<Vec<u32>, UsageError> {
    Ok(super::windows::hosts("--nodes", names)?.iter().map(|host| host.build).collect())
}

/// Manifests of files and of directories, in the order of their names.
fn read(paths: &[PathBuf]) -> Result<Vec<SourceText>, Failure> {
    let mut sources = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            let mut stdin = io::stdin().lock().take(kubernetes::LARGEST as u64 + 1);
            stdin
                .read_to_string(&mut text)
                .map_err(|error| Failure::because("cannot read standard input", error))?;
            sources.push(SourceText { name: "<stdin>".to_owned(), text: text.into() });
        } else if path.is_dir() {
            let entries = fs_err::read_dir(path)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(|error| Failure::because("cannot read a directory", error))?;
            let mut files: Vec<PathBuf> = entries.iter().map(fs_err::DirEntry::path).collect();
            let is_manifest = |file: &Path| {
                let extension = file.extension().and_then(|extension| extension.to_str());
                matches!(extension, Some("yaml" | "yml" | "json")) && file.is_file()
            };
            files.retain(|file| is_manifest(file));
            files.sort();
            if files.is_empty() {
                return Err(Failure::hint(
                    format!("there is no manifest in {}", path.display()),
                    "manifests end in .yaml, .yml or .json; subdirectories are not searched",
                ));
            }
            for file in files {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(path)?);
        }
    }
    Ok(sources)
}

fn read_file(path: &Path) -> Result<SourceText, Failure> {
    let failed = |error: io::Error| Failure::because("cannot read a manifest", error);
    let mut text = String::new();
    let file = fs_err::File::open(path).map_err(failed)?;
    file.take(kubernetes::LARGEST as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok(SourceText { name: path.display().to_string(), text: text.into() })
}

/// What the rules need of a described image.
fn facts(described: &engine::Described) -> ImageFacts {
    let variants = described.images.iter().map(|image| {
        let config = &image.config.config;
        Variant {
            platform: image.platform.clone(),
            health_check: config
                .healthcheck
                .as_ref()
                .is_some_and(|check| check.test.first().is_some_and(|first| first != "NONE")),
            user: config.user.clone(),
        }
    });
    ImageFacts { is_index: described.is_index, variants: variants.collect() }
}

/// Images of the store and of registries.
struct Known<'a> {
    engine: &'a Engine,
}

impl Images for Known<'_> {
    fn facts(&self, reference: &str) -> Result<ImageFacts, String> {
        let reference = reference.parse().map_err(|error| format!("{error}"))?;
        match self.engine.describe(&reference) {
            Ok(described) => Ok(facts(&described)),
            Err(error) => Err(failure::one_line(&error)),
        }
    }
}

struct NoImages;

impl Images for NoImages {
    fn facts(&self, _: &str) -> Result<ImageFacts, String> {
        Err("--no-images".to_owned())
    }
}
