//! The record of a build's LLB, and what the frontend has to be told for the same build.

use std::collections::BTreeMap;
use std::path::Path;

use conformance::Case;
use frontend::{
    CompileOptions, Compiled, Context, ImageName, ImageResolver, NoCache, ResolveError,
    ResolvedImage,
};
use oci::{Digest, ImageConfig, Platform};
use report::SourceText;
use serde::Deserialize;
use serde_json::Value;

use crate::shape;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// `llb.json`.
#[derive(Deserialize)]
pub(crate) struct Record {
    /// What the frontend was asked, in `BuildKit`'s own names.
    pub(crate) args: BTreeMap<String, String>,
    platforms: BTreeMap<String, Vec<Vertex>>,
}

#[derive(Deserialize)]
pub(crate) struct Vertex {
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default, rename = "progressGroup")]
    pub(crate) progress_group: Option<Group>,
    /// Position of the vertex and number of its output.
    pub(crate) inputs: Vec<(usize, i64)>,
    pub(crate) op: Value,
}

#[derive(Deserialize)]
pub(crate) struct Group {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) weak: bool,
}

impl Vertex {
    /// What it is called in a report.
    pub(crate) fn label(&self) -> &str {
        if self.name.is_empty() { "?" } else { &self.name }
    }
}

impl Record {
    /// The vertices for a platform, one of `platforms`, without the terminal one.
    pub(crate) fn vertices(&self, platform: &str, platforms: usize) -> Result<&[Vertex], Failure> {
        // BuildKit tells nothing of a build that does nothing.
        if self.platforms.is_empty() {
            return Ok(&[]);
        }
        let found = self.platforms.iter().find(|(name, _)| platforms == 1 || *name == platform);
        let (_, vertices) = found.ok_or_else(|| format!("llb.json has no {platform}"))?;
        Ok(vertices.split_last().map_or(&[], |(_, vertices)| vertices))
    }
}

/// Reads a record.
pub(crate) fn read(text: &str) -> Result<Record, Failure> {
    let mut record: Record = serde_json::from_str(text)?;
    for vertex in record.platforms.values_mut().flatten() {
        vertex.op = shape::settled(&vertex.op);
    }
    Ok(record)
}

/// What crossdock compiled, in the form of the record.
pub(crate) fn ours(compiled: &Compiled) -> Result<Vec<Vertex>, Failure> {
    let resolved = compiled.definition.resolve()?;
    let vertices = resolved.vertices.into_iter().map(|vertex| Vertex {
        digest: vertex.digest.to_string(),
        name: vertex.name().unwrap_or_default().to_owned(),
        progress_group: vertex
            .metadata
            .progress_group
            .as_ref()
            .map(|group| Group { name: group.name.clone(), weak: group.weak }),
        inputs: vertex.inputs.iter().map(|edge| (edge.vertex, edge.output)).collect(),
        op: shape::op(&vertex.op),
    });
    Ok(vertices.collect())
}

/// The configs of the base images by name.
pub(crate) type Bases = BTreeMap<String, Vec<ImageConfig>>;

pub(crate) fn bases(file: &Path) -> Result<Bases, Failure> {
    let mut bases: Bases = serde_json::from_str(&fs_err::read_to_string(file)?)?;
    for config in bases.values_mut().flatten() {
        // Which layers a base has is not in a definition, only whether it has any.
        config.rootfs.diff_ids.push(Digest::of(b"layer"));
    }
    Ok(bases)
}

/// Knows the base images. Their digests stand in records as digests of their names.
pub(crate) struct Known<'a> {
    pub(crate) bases: &'a Bases,
    pub(crate) record: &'a Record,
}

impl ImageResolver for Known<'_> {
    fn resolve(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let name = match name {
            ImageName::Layout(name) => name.to_owned(),
            ImageName::Reference(reference) => reference.to_string(),
        };
        let given = self.record.args.get(&format!("context:{name}"));
        let base = given.and_then(|given| given.strip_prefix("oci-layout:")).unwrap_or(&name);
        let configs = self.bases.get(base).ok_or_else(|| ResolveError::NotFound(name.clone()))?;
        let found = configs.iter().find(|config| config.platform().satisfies(platform));
        let config = found.ok_or_else(|| ResolveError::NoPlatform {
            image: name.clone(),
            platform: Box::new(platform.clone()),
            available: configs.iter().map(ImageConfig::platform).collect(),
        })?;
        Ok(ResolvedImage { digest: Digest::of(base.as_bytes()), config: config.clone() })
    }
}

/// The options of the build that was recorded, of a case that was prepared below `dir`.
pub(crate) fn options(
    case: &Case,
    record: &Record,
    dir: &Path,
    platform: &str,
) -> Result<CompileOptions, Failure> {
    let file = record.args.get("filename").map_or("Dockerfile", String::as_str);
    let context = dir.join("context");
    let text = match &case.plan.stdin {
        Some(file) => fs_err::read_to_string(case.folder.join(file))?,
        None => fs_err::read_to_string(context.join(file))?,
    };
    let source = SourceText { name: file.to_owned(), text: text.into() };
    let mut options = CompileOptions {
        platform: platform.parse()?,
        build_platform: Platform::new("linux", "amd64"),
        platform_implied: false,
        multi_platform: case.plan.platforms.len() > 1,
        context: Context::Directory { excludes: excludes(&context, file)? },
        ..CompileOptions::new(source)
    };
    for base in ["busybox", "rich", "windows-hpc", "windows-versions"] {
        options.contexts.insert(base.to_owned(), Context::OciLayout);
    }
    for (key, value) in &record.args {
        argument(&mut options, key, value)?;
    }
    Ok(options)
}

fn excludes(context: &Path, file: &str) -> Result<Vec<String>, Failure> {
    for name in [format!("{file}.dockerignore"), ".dockerignore".to_owned()] {
        if let Ok(text) = fs_err::read(context.join(name)) {
            return Ok(fstree::IgnoreRules::parse(&text)?.patterns().to_vec());
        }
    }
    Ok(Vec::new())
}

/// One of the arguments that a client gives to the frontend.
fn argument(options: &mut CompileOptions, key: &str, value: &str) -> Result<(), Failure> {
    let list = || value.split(',').filter(|item| !item.is_empty()).map(str::to_owned);
    match key.split_once(':').unwrap_or((key, "")) {
        ("build-arg", name) => {
            options.build_args.insert(name.into(), value.into());
        }
        ("label", name) => {
            options.labels.insert(name.into(), value.into());
        }
        ("context", name) => {
            let context = match value.split_once(':') {
                Some(("oci-layout", _)) => Context::OciLayout,
                Some(("local", _)) => Context::Directory { excludes: Vec::new() },
                _ => return Err(format!("unknown context {value}").into()),
            };
            options.contexts.insert(name.into(), context);
        }
        ("target", _) => options.target = Some(value.into()),
        ("add-hosts", _) => {
            let pairs = list().filter_map(|item| {
                item.split_once('=').map(|(name, address)| (name.to_owned(), address.to_owned()))
            });
            options.add_hosts = pairs.collect();
        }
        ("ulimit", _) => {
            for item in list() {
                let (name, limits) = item.split_once('=').ok_or("a ulimit has no `=`")?;
                let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
                options.ulimits.push(llb::pb::Ulimit {
                    name: name.into(),
                    soft: soft.parse()?,
                    hard: hard.parse()?,
                });
            }
        }
        ("shm-size", _) => options.shm_size = Some(value.parse()?),
        ("hostname", _) => options.hostname = Some(value.into()),
        ("force-network-mode", _) => {
            options.network = match value {
                "none" => llb::pb::NetMode::None,
                "host" => llb::pb::NetMode::Host,
                other => return Err(format!("unknown network {other}").into()),
            };
        }
        ("no-cache", _) => options.no_cache = NoCache::Stages(list().collect()),
        ("platform" | "filename", _) => {}
        (other, _) => return Err(format!("the frontend argument {other} is not known here").into()),
    }
    Ok(())
}
