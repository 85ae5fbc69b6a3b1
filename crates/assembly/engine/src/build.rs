//! A build from request to outcome.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use build_api::{
    BuildError, BuildRequest, ForPlatform, ImageOutput, NamedContext, NoCache, Outcome, OutputSpec,
    PlatformOutcome, TimeSource,
};
use exporters::{
    BaseImage, ExportContext, ExportInput, Exported, PlatformResult, ReadChanges, ResultLayer,
};
use frontend::{CompileOptions, Compiled};
use fstree::{Changeset, Mtime};
use oci::Platform;
use report::Progress;
use snapshot::{BlobLayer, Layer, LayerKind, LayerSource, Snapshots};
use solver::{Solver, Status};
use sources::{Downloads, Images, LayoutRef, PullPolicy};
use store::Store;

use crate::Engine;
use crate::context::{Contexts, MAIN};
use crate::driver::drive;
use crate::error::failed;
use crate::exec::Runner;
use crate::fetcher::Fetcher;
use crate::graph::{Graph, Node};
use crate::reporter::Reporter;
use crate::resolver::Resolver;
use crate::times;
use crate::unpack::Archives;
use crate::value::{StackLayer, Value};
use crate::work::{Build, VertexState};

pub(crate) fn build(
    engine: &Engine,
    request: &BuildRequest,
    progress: &dyn Progress,
) -> Result<Outcome, BuildError> {
    let reporter = Reporter::new(progress);
    let _lease = engine.store.lease().map_err(failed("cannot use the store"))?;
    let contexts = Contexts::of(request, &engine.store)?;
    let policy = if request.pull { PullPolicy::Always } else { PullPolicy::Missing };
    let images = Images::new(engine.store.clone(), engine.remote.clone(), policy);
    let downloads = Downloads::new(engine.store.clone(), engine.remote.clone());
    let resolver = Resolver::new(&images, layouts(request), &downloads);
    let compiled = compile(request, &contexts, &resolver)?;
    let graph = Graph::merge(&compiled)?;

    let snapshots = engine.snapshots()?;
    let fetcher = Fetcher::new(&engine.store, &images, reporter);
    let archives = Archives::new(&engine.store);
    let stop = AtomicBool::new(false);
    let runner = Runner {
        snapshots: &snapshots,
        source: &fetcher,
        secrets: &request.secrets,
        ssh: &request.ssh,
        stop: &stop,
        log_dir: engine.store.dir().join("logs"),
        reporter,
    };
    let emulators = engine.emulators(&executed(&graph), progress)?;
    let state = graph.nodes.iter().map(|_| VertexState::default()).collect();
    let mut work = Build {
        graph: &graph,
        store: &engine.store,
        snapshots: &snapshots,
        resolver: &resolver,
        downloads: &downloads,
        fetcher: &fetcher,
        runner: &runner,
        emulators,
        archives: &archives,
        contexts: &contexts,
        dockerfile: &contexts.dockerfile,
        reporter,
        now: 0,
        stop: &stop,
        state,
    };
    let stated = compiled.iter().find_map(|one| one.epoch);
    let epoch = match request.time {
        TimeSource::Epoch(epoch) | TimeSource::Clock(epoch) => epoch,
        TimeSource::NewestInput => match stated {
            Some(epoch) => epoch,
            None => work.newest_local()?.max(resolver.newest()).unwrap_or(0),
        },
    };
    work.now = epoch;

    announce(&work);
    let mut solver = Solver::new(graph.vertices());
    for result in graph.results.iter().flatten() {
        solver.want(result.vertex);
    }
    let solved = drive(&mut solver, &work, engine.options.threads, &engine.options.cancel, &stop);
    // What was found out in vain is found again when the user tries once more.
    let recorded = if solved.is_err() { work.record_made(&[]) } else { Ok(()) };
    solved?;
    recorded?;
    tell_cached(&work, &solver);

    let input = export_input(request, &compiled, &work, epoch)?;
    let outputs = outputs(request);
    if outputs.iter().any(needs_files) {
        for edge in graph.results.iter().flatten() {
            let layers = work.value(*edge)?.plain_layers();
            snapshots
                .ensure_trees(&layers, &fetcher)
                .map_err(failed("cannot unpack the result"))?;
        }
    }
    let context = ExportContext {
        store: &engine.store,
        fetch: &|blob| fetcher.fetch(blob).map_err(Into::into),
        network: &|| engine.network(),
        progress,
        began: reporter.began,
        epoch: Some(epoch),
        threads: engine.options.threads,
        docker_host: engine.options.docker_host.clone(),
    };
    let exported = exporters::export(&input.0, &outputs, &context).map_err(|error| {
        let hint = error.hint();
        BuildError::Failed {
            message: "cannot write the result".to_owned(),
            hint,
            source: Some(Box::new(error)),
        }
    })?;
    work.record_made(&packed(&input.1, &exported))?;
    Ok(outcome(&compiled, &work, &solver, exported, reporter))
}

/// OCI layouts among the named contexts.
fn layouts(request: &BuildRequest) -> BTreeMap<String, LayoutRef> {
    let layout = |(name, context): (&String, &NamedContext)| match context {
        NamedContext::OciLayout { path, tag, digest } => Some((
            name.clone(),
            LayoutRef { path: path.clone(), tag: tag.clone(), digest: digest.clone() },
        )),
        NamedContext::Directory(_) | NamedContext::Image(_) => None,
    };
    request.contexts.iter().filter_map(layout).collect()
}

/// Compiles the Dockerfile for every platform, side by side: each may wait for registries.
fn compile(
    request: &BuildRequest,
    contexts: &Contexts,
    resolver: &Resolver<'_>,
) -> Result<Vec<Compiled>, BuildError> {
    let implied = request.platforms.is_empty();
    let mut platforms: Vec<Platform> = Vec::new();
    for platform in if implied { vec![Platform::host()] } else { request.platforms.clone() } {
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    let several = platforms.len() > 1 || multi_platform(request);
    let options: Vec<CompileOptions> = platforms
        .iter()
        .map(|platform| compile_options(request, contexts, platform, implied, several))
        .collect();
    let outcomes: Vec<_> = match options.as_slice() {
        [one] => vec![frontend::compile(one, resolver)],
        several => thread::scope(|scope| {
            let workers: Vec<_> = several
                .iter()
                .map(|one| scope.spawn(|| frontend::compile(one, resolver)))
                .collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            workers.into_iter().map(join).collect()
        }),
    };
    let mut compiled = Vec::new();
    let mut findings = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(one) => compiled.push(one),
            // The same mistake is found for every platform; it is told once.
            Err(found) => findings.extend(found.into_iter().map(|it| {
                if it.source.is_some() { it } else { it.in_source(&contexts.dockerfile) }
            })),
        }
    }
    if findings.is_empty() {
        return Ok(compiled);
    }
    let mut unique = Vec::new();
    for finding in findings {
        if !unique.contains(&finding) {
            unique.push(finding);
        }
    }
    Err(BuildError::Invalid(unique))
}

fn compile_options(
    request: &BuildRequest,
    contexts: &Contexts,
    platform: &Platform,
    implied: bool,
    several: bool,
) -> CompileOptions {
    let named = request.contexts.iter().map(|(name, context)| {
        let context = match context {
            NamedContext::Directory(_) => frontend::Context::Directory {
                excludes: contexts.excludes.get(name).cloned().unwrap_or_default(),
            },
            NamedContext::Image(reference) => frontend::Context::Image(reference.clone()),
            NamedContext::OciLayout { .. } => frontend::Context::OciLayout,
        };
        (name.clone(), context)
    });
    CompileOptions {
        platform: platform.clone(),
        platform_implied: implied,
        multi_platform: several,
        target: request.target.clone(),
        build_args: ForPlatform::merged(
            &request.build_args,
            &request.build_args_by_platform,
            platform,
        ),
        labels: ForPlatform::merged(&request.labels, &request.labels_by_platform, platform),
        allow_insecure: request.allow.insecure,
        allow_host_network: request.allow.host_network,
        allow_devices: match &request.allow.devices {
            build_api::AllowDevices::All => frontend::AllowDevices::All,
            build_api::AllowDevices::Named(names) => frontend::AllowDevices::Named(names.clone()),
        },
        contexts: named.collect(),
        context: frontend::Context::Directory {
            excludes: contexts.excludes.get(MAIN).cloned().unwrap_or_default(),
        },
        excluded: contexts.ignored(),
        no_cache: match &request.no_cache {
            NoCache::Never => frontend::NoCache::Never,
            NoCache::Always => frontend::NoCache::Always,
            NoCache::Stages(stages) => frontend::NoCache::Stages(stages.clone()),
        },
        network: match request.network {
            build_api::Network::Default => llb::pb::NetMode::Unset,
            build_api::Network::None => llb::pb::NetMode::None,
            build_api::Network::Host => llb::pb::NetMode::Host,
        },
        add_hosts: request.add_hosts.clone(),
        shm_size: request.shm_size,
        ulimits: request
            .ulimits
            .iter()
            .map(|limit| llb::pb::Ulimit {
                name: limit.name.clone(),
                soft: limit.soft,
                hard: limit.hard,
            })
            .collect(),
        pull: request.pull,
        ..CompileOptions::new(contexts.dockerfile.clone())
    }
}

/// Build argument `BUILDKIT_MULTI_PLATFORM`: one platform is treated as several are.
fn multi_platform(request: &BuildRequest) -> bool {
    let value = request.build_args.get("BUILDKIT_MULTI_PLATFORM").map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "True" | "TRUE"))
}

/// The platforms of which processes may have to be run; this machine's when there are none.
fn executed(graph: &Graph) -> Vec<Platform> {
    let steps =
        graph.nodes.iter().filter(|node| matches!(node.kind(), Some(llb::pb::op::Kind::Exec(_))));
    steps.filter_map(Node::platform).chain([Platform::host()]).collect()
}

/// Tells which steps there are.
fn announce(work: &Build<'_>) {
    for node in work.graph.nodes.iter().filter(|node| !node.results.is_empty()) {
        let platform = node.platform();
        let emulator = match (node.kind(), &platform) {
            (Some(llb::pb::op::Kind::Exec(_)), Some(platform)) => {
                match work.emulators.how(platform) {
                    emulation::How::Emulated(emulator) => Some(
                        format!("{} {}", emulator.name, emulator.version).trim_end().to_owned(),
                    ),
                    emulation::How::Native | emulation::How::Missing { .. } => None,
                }
            }
            _ => None,
        };
        work.reporter.vertex(&node.id, &node.name, platform, emulator);
    }
}

/// Steps that were not looked at because what depends on them was found are as good as found.
fn tell_cached(work: &Build<'_>, solver: &Solver) {
    for (vertex, node) in work.graph.nodes.iter().enumerate() {
        if !node.results.is_empty() && solver.status(vertex) == Status::Open {
            work.reporter.cached(&node.id);
        }
    }
}

/// The results for the exporters, and the engine's own layers at the same positions.
type Results = (ExportInput, Vec<Vec<StackLayer>>);

fn export_input(
    request: &BuildRequest,
    compiled: &[Compiled],
    work: &Build<'_>,
    epoch: i64,
) -> Result<Results, BuildError> {
    let latest = request.reproducible.then_some(epoch);
    let mut platforms = Vec::new();
    let mut stacks = Vec::new();
    for (one, edge) in compiled.iter().zip(&work.graph.results) {
        let value = edge.map_or_else(|| Ok(Value::empty()), |edge| work.value(edge))?;
        let mut layers = value.layers().as_ref().clone();
        let (mut config, base) = times::dated(one, work.resolver, epoch)?;
        if let Some((layer, history)) =
            work.windows_from_scratch(&one.platform, &layers, &config)?
        {
            layers.insert(0, layer);
            config.history.insert(0, history);
        }
        platforms.push(PlatformResult {
            platform: one.platform.clone(),
            config,
            base: base.map(|(reference, history)| BaseImage { reference, history }),
            layers: layers.iter().map(|layer| result_layer(layer, work.snapshots)).collect(),
            files: files(&value.plain_layers(), work.snapshots, latest),
            windows_base: work.windows_base(&one.platform, &layers)?,
        });
        stacks.push(layers);
    }
    let input = ExportInput {
        always_index: multi_platform(request),
        tags: request.tags.clone(),
        annotations: request.annotations.clone(),
        platforms,
    };
    Ok((input, stacks))
}

/// A layer as the exporters take it.
fn result_layer(layer: &StackLayer, snapshots: &Snapshots) -> ResultLayer {
    match (layer.key(), layer.layer().kind()) {
        (None, LayerKind::Blob(blob)) => {
            ResultLayer::Blob { blob: blob.descriptor.clone(), diff_id: blob.diff_id.clone() }
        }
        (key, _) => {
            let (snapshots, layer) = (snapshots.clone(), layer.layer().clone());
            ResultLayer::Made {
                key: key.unwrap_or_default().to_owned(),
                lasting: key.is_some(),
                changes: Arc::new(move || {
                    Ok(snapshots.layer_changes(&layer, &Stored(snapshots.store()))?)
                }),
            }
        }
    }
}

/// All files of a stack, for outputs that are file trees, with times lowered to `latest`. Its blobs are in the store by
/// then.
fn files(layers: &[Layer], snapshots: &Snapshots, latest: Option<i64>) -> ReadChanges<Changeset> {
    let (snapshots, layers) = (snapshots.clone(), layers.to_vec());
    Arc::new(move || {
        let mut files = snapshots.view(&layers, &Stored(snapshots.store()))?.flatten()?;
        for entry in files.entries.values_mut() {
            let mtime = &mut entry.meta.mtime;
            *mtime = latest.map_or(*mtime, |latest| (*mtime).min(Mtime::seconds(latest)));
            entry.meta.xattrs.retain(|name, _| !name.starts_with(fstree::WINDOWS_XATTRS));
        }
        Ok(files)
    })
}

/// Layers whose blobs are in the store.
struct Stored<'a>(&'a Store);

impl LayerSource for Stored<'_> {
    fn open(&self, layer: &BlobLayer) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(self.0.open_blob(&layer.descriptor.digest).map_err(io::Error::other)?))
    }
}

/// Whether an output needs the files of a result, not only its layers.
fn needs_files(output: &OutputSpec) -> bool {
    matches!(output, OutputSpec::Tar { .. } | OutputSpec::Local { .. })
}

/// What was packed of the layers that this build made.
fn packed(stacks: &[Vec<StackLayer>], exported: &Exported) -> Vec<(StackLayer, BlobLayer)> {
    let mut all = Vec::new();
    for (stack, platform) in stacks.iter().zip(&exported.platforms) {
        // An export drops nothing and adds nothing; where it did, positions would mean nothing.
        if stack.len() != platform.layers.len() {
            continue;
        }
        for (layer, blob) in
            stack.iter().zip(&platform.layers).filter(|(layer, _)| layer.key().is_some())
        {
            let descriptor = oci::Descriptor {
                annotations: blob.annotations.clone(),
                ..oci::Descriptor::new(&blob.media_type, blob.digest.clone(), blob.size)
            };
            let windows = platform.platform.is_windows();
            all.push((
                layer.clone(),
                BlobLayer { descriptor, diff_id: blob.diff_id.clone(), windows },
            ));
        }
    }
    all
}

/// Where a result goes, the local store where nothing is said.
pub(crate) fn outputs(request: &BuildRequest) -> Vec<OutputSpec> {
    let mut outputs = request.outputs.clone();
    if outputs.is_empty() {
        outputs.push(OutputSpec::Image(ImageOutput { store: true, ..ImageOutput::default() }));
    }
    if request.reproducible {
        for output in &mut outputs {
            match output {
                OutputSpec::Image(image)
                | OutputSpec::Archive { image, .. }
                | OutputSpec::Load(image) => image.rewrite_timestamp = true,
                _ => {}
            }
        }
    }
    outputs
}

fn outcome(
    compiled: &[Compiled],
    work: &Build<'_>,
    solver: &Solver,
    exported: Exported,
    reporter: Reporter<'_>,
) -> Outcome {
    for warning in &exported.warnings {
        reporter.note(warning.clone());
    }
    let took = |result: usize| {
        let nodes = work.graph.nodes.iter().zip(&work.state);
        let times = nodes.filter(|(node, _)| node.results.contains(&result));
        let times: Vec<_> = times.filter_map(|(_, state)| state.ran.get()).collect();
        let first = times.iter().map(|(began, _)| *began).min().unwrap_or_default();
        let last = times.iter().map(|(_, ended)| *ended).max().unwrap_or_default();
        last.saturating_sub(first)
    };
    let platforms = compiled.iter().enumerate().map(|(result, one)| {
        let steps = || {
            work.graph
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| node.results.contains(&result) && !node.is_trivial())
        };
        let ran = steps().filter(|(vertex, _)| solver.status(*vertex) == Status::Ran).count();
        let written = exported.platforms.get(result);
        PlatformOutcome {
            platform: one.platform.clone(),
            manifest: written.map(|it| it.manifest.clone()),
            config: written.map(|it| it.config.clone()),
            size: written.map_or(0, |it| it.size),
            cached: steps().count() - ran,
            ran,
            took: took(result),
        }
    });
    let mut warnings = Vec::new();
    for warning in compiled.iter().flat_map(|one| &one.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    Outcome {
        image: exported.image.clone(),
        platforms: platforms.collect(),
        written: exported.written,
        warnings,
        took: reporter.began.elapsed(),
        metadata: exported.metadata,
    }
}
