//! Dockerfiles that are compiled against a table of images.

use std::collections::BTreeMap;

use frontend::{
    CompileOptions, Compiled, ImageName, ImageResolver, ResolveError, ResolvedImage, compile,
};
use llb::pb;
use llb::pb::file_action::Action;
use llb::pb::op::Kind;
use oci::{Digest, ImageConfig, Platform};
use report::SourceText;

/// A registry in which every image exists, with the triggers given by name; `gone…` does not.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) triggers: BTreeMap<String, Vec<String>>,
}

impl ImageResolver for Images {
    fn resolve(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let name = match name {
            ImageName::Reference(reference) => reference.familiar(),
            ImageName::Layout(name) => name.to_owned(),
        };
        if name.starts_with("gone") {
            return Err(ResolveError::NotFound(name));
        }
        let mut config = ImageConfig::new(platform);
        config.rootfs.diff_ids.push(Digest::of(b"layer"));
        if !platform.is_windows() {
            config.config.env.push("PATH=/bin".to_owned());
        }
        let short = name.trim_end_matches(":latest");
        config.config.on_build = self.triggers.get(short).cloned().unwrap_or_default();
        Ok(ResolvedImage { digest: Digest::of(name.as_bytes()), config })
    }

    fn source_time(&self, source: &pb::SourceOp) -> Result<Option<i64>, ResolveError> {
        let git = source.identifier.starts_with("git://");
        Ok(Some(if git { 1_700_000_000 } else { 1_600_000_000 }))
    }
}

pub(crate) fn options(text: &str) -> CompileOptions {
    let source = SourceText { name: "Dockerfile".to_owned(), text: text.into() };
    CompileOptions {
        platform: Platform::new("linux", "amd64"),
        build_platform: Platform::new("linux", "amd64"),
        platform_implied: false,
        ..CompileOptions::new(source)
    }
}

pub(crate) fn with_args(text: &str, args: &[(&str, &str)]) -> CompileOptions {
    let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CompileOptions { build_args: args.collect(), ..options(text) }
}

pub(crate) fn build_with(options: &CompileOptions, images: &Images) -> Compiled {
    compile(options, images).unwrap_or_else(|wrong| {
        panic!("{}", wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

pub(crate) fn build(options: &CompileOptions) -> Compiled {
    build_with(options, &Images::default())
}

/// What a user is told, a line each.
pub(crate) fn told_with(options: &CompileOptions, images: &Images) -> String {
    let found = match compile(options, images) {
        Ok(compiled) => compiled.warnings,
        Err(wrong) => wrong,
    };
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) fn told(options: &CompileOptions) -> String {
    told_with(options, &Images::default())
}

/// What is told of one instruction after `FROM a`.
pub(crate) fn told_of(instruction: &str) -> String {
    told(&options(&format!("FROM a\n{instruction}\n")))
}

/// Names of steps in order, and what each does.
pub(crate) fn vertices(compiled: &Compiled) -> Vec<(String, Kind)> {
    let resolved = compiled.definition.resolve().unwrap();
    let vertices = resolved.vertices.iter();
    vertices
        .map(|vertex| (vertex.name().unwrap_or("?").to_owned(), vertex.kind().clone()))
        .collect()
}

pub(crate) fn names(compiled: &Compiled) -> Vec<String> {
    vertices(compiled).into_iter().map(|(name, _)| name).collect()
}

pub(crate) fn execs(compiled: &Compiled) -> Vec<pb::ExecOp> {
    let all = vertices(compiled).into_iter();
    all.filter_map(|(_, kind)| if let Kind::Exec(exec) = kind { Some(exec) } else { None })
        .collect()
}

pub(crate) fn sources(compiled: &Compiled) -> Vec<pb::SourceOp> {
    let all = vertices(compiled).into_iter();
    all.filter_map(|(_, kind)| if let Kind::Source(it) = kind { Some(it) } else { None }).collect()
}

pub(crate) fn actions(compiled: &Compiled) -> Vec<Action> {
    let all = vertices(compiled).into_iter();
    let files = all.filter_map(|(_, kind)| match kind {
        Kind::File(file) => Some(file.actions.into_iter().filter_map(|action| action.action)),
        _ => None,
    });
    files.flatten().collect()
}

pub(crate) fn copies(compiled: &Compiled) -> Vec<pb::FileActionCopy> {
    let all = actions(compiled).into_iter();
    all.filter_map(|action| if let Action::Copy(copy) = action { Some(copy) } else { None })
        .collect()
}

/// The only RUN of what follows `FROM a`.
pub(crate) fn run(instructions: &str) -> pb::ExecOp {
    let compiled = build(&options(&format!("FROM a\n{instructions}\n")));
    execs(&compiled).pop().unwrap()
}

/// The only mount of a RUN besides its root, after `FROM a`.
pub(crate) fn mount(instructions: &str) -> pb::Mount {
    let mounts = run(instructions).mounts.into_iter().filter(|mount| mount.dest != "/");
    let mounts: Vec<_> = mounts.collect();
    assert_eq!(mounts.len(), 1, "{mounts:?}");
    mounts.into_iter().next().unwrap()
}

/// The only copy of what follows `FROM a`.
pub(crate) fn copy(instructions: &str) -> pb::FileActionCopy {
    let mut copies = copies(&build(&options(&format!("FROM a\n{instructions}\n"))));
    assert_eq!(copies.len(), 1);
    copies.pop().unwrap()
}

/// The configuration of what follows `FROM a`.
pub(crate) fn config(instructions: &str) -> oci::ContainerConfig {
    build(&options(&format!("FROM a\n{instructions}\n"))).config.config
}
