//! What stages stand on, and where they run.

use dockerfile::{Dockerfile, Kind, Stage};
use frontend::CompileOptions;
use oci::{Platform, Reference};
use report::Diagnostic;

use super::{Uses, runs};

pub(super) fn find(
    file: &Dockerfile,
    options: &CompileOptions,
    uses: &Uses,
    found: &mut Vec<Diagnostic>,
) {
    for (index, stage) in file.stages.iter().enumerate() {
        if uses.base[index].is_none() {
            unpinned(stage, options, found);
        }
        if uses.only_copied_from(index) {
            constant(stage, found);
            cross(stage, found);
        }
    }
}

fn unpinned(stage: &Stage, options: &CompileOptions, found: &mut Vec<Diagnostic>) {
    let base = &stage.from.base;
    let named = |name: &str| options.contexts.keys().any(|context| context == name);
    if base.text.contains('$') || base.text == "scratch" || named(&base.text) {
        return;
    }
    let Ok(reference) = base.text.parse::<Reference>() else { return };
    let written = base.text.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if reference.digest().is_some() || written && reference.tag() != Some("latest") {
        return;
    }
    let message = format!("base image {} can be another one tomorrow", base.text);
    found.push(
        Diagnostic::warning("UnpinnedBase", message, base.span)
            .hint("name a version, or a digest: NAME:VERSION@sha256:…"),
    );
}

/// Names of arguments that tell what is built for.
const TARGETS: [&str; 4] = ["TARGETARCH", "TARGETOS", "TARGETPLATFORM", "TARGETVARIANT"];

fn constant(stage: &Stage, found: &mut Vec<Diagnostic>) {
    let Some(platform) = &stage.from.platform else { return };
    if platform.text.contains('$') || platform.text.parse::<Platform>().is_err() {
        return;
    }
    let declares = stage.body.iter().any(|instruction| match &instruction.kind {
        Kind::Arg(arguments) => {
            arguments.iter().any(|argument| TARGETS.contains(&argument.name.as_str()))
        }
        _ => false,
    });
    if !declares {
        return;
    }
    let message = format!(
        "this stage compiles for other platforms, and itself always runs on {}: emulated on any \
         other machine",
        platform.text
    );
    found.push(
        Diagnostic::warning("ConstantBuildPlatform", message, platform.span)
            .hint("write --platform=$BUILDPLATFORM"),
    );
}

fn cross(stage: &Stage, found: &mut Vec<Diagnostic>) {
    let base = &stage.from.base.text;
    let image = base.split(['@']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    if stage.from.platform.is_some() || image.split(':').next() != Some("golang") {
        return;
    }
    let mentions = |word: &str| {
        stage.body.iter().any(|one| one.code.contains(word))
            || runs(stage).any(|(_, _, script)| script.contains(word))
    };
    if ["GOARCH", "TARGETARCH", "TARGETPLATFORM", "go install", "xgo", "go generate"]
        .into_iter()
        .any(mentions)
        || !mentions("CGO_ENABLED=0")
    {
        return;
    }
    let builds: Vec<_> = runs(stage)
        .filter(|(_, run, script)| {
            run.command.shell && run.command.heredocs.is_empty() && script.contains("go build")
        })
        .collect();
    let [(instruction, _, _)] = builds.as_slice() else { return };
    let rewritten = instruction.code.replacen("go build", &format!("{TO_TARGET} go build"), 1);
    let message = "for another platform this Go stage runs emulated; it could run here and compile \
                   for that platform";
    found.push(Diagnostic::warning("CrossCompilePossible", message, stage.start.span).hint(
        format!(
            "write\n    FROM --platform=$BUILDPLATFORM {base}{}\n    ARG TARGETOS TARGETARCH\n    \
             {rewritten}",
            stage.from.name.as_ref().map(|name| format!(" AS {}", name.text)).unwrap_or_default()
        ),
    ));
}

/// What tells the Go compiler what to compile for.
pub(crate) const TO_TARGET: &str = "GOOS=$TARGETOS GOARCH=$TARGETARCH";
