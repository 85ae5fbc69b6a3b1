//! Everything of a build up to its first step. A plan begins the same way.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use build_api::{BuildError, BuildRequest, NamedContext, TimeSource};
use frontend::Compiled;
use oci::Platform;
use report::Progress;
use sources::{Images, LayoutRef, PullPolicy};

use crate::Engine;
use crate::compile::compile;
use crate::context::Contexts;
use crate::error::failed;
use crate::exec::Runner;
use crate::fetcher::Fetcher;
use crate::graph::{Graph, Node};
use crate::last_build::LastBuilds;
use crate::reporter::Reporter;
use crate::resolver::{Resolver, Unanswered};
use crate::unpack::Archives;
use crate::work::{Build, VertexState};

/// A build of which no step has run.
pub(crate) struct Prepared<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) compiled: &'a [Compiled],
    pub(crate) work: Build<'a>,
}

/// Compiles the request and hands what is to be done to `then`.
pub(crate) fn prepare<T>(
    engine: &Engine,
    request: &BuildRequest,
    progress: &dyn Progress,
    unanswered: Unanswered,
    then: impl FnOnce(Prepared<'_>) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let reporter = Reporter::new(progress);
    let _lease = engine.store.lease().map_err(failed("cannot use the store"))?;
    let remotes = engine.remotes(request, reporter);
    let archives = Archives::new(&engine.store);
    let contexts = Contexts::of(request, &engine.store, &remotes, &archives)?;
    let policy = if request.pull { PullPolicy::Always } else { PullPolicy::Missing };
    let images = Images::new(engine.store.clone(), engine.remote.clone(), policy);
    let resolver = Resolver::new(&images, layouts(request), &remotes, unanswered);
    let compiled = compile(request, &contexts, &resolver)?;
    let graph = Graph::merge(&compiled)?;

    let snapshots = engine.snapshots()?;
    let fetcher = match unanswered {
        Unanswered::Fail => Fetcher::new(&engine.store, &images, reporter),
        Unanswered::StandIn => Fetcher::only_here(&engine.store, &images, reporter),
    };
    let stop = AtomicBool::new(false);
    let runner = Runner {
        snapshots: &snapshots,
        source: &fetcher,
        secrets: &request.secrets,
        ssh: &request.ssh,
        stop: &stop,
        log_dir: engine.store.dir().join("logs"),
        device_dirs: &engine.options.device_dirs,
        reporter,
    };
    let emulators = engine.emulators(&executed(&graph), progress)?;
    let platforms = compiled.iter().map(|one| one.platform.clone()).collect();
    let state = graph.nodes.iter().map(|_| VertexState::default()).collect();
    let mut work = Build {
        graph: &graph,
        store: &engine.store,
        snapshots: &snapshots,
        resolver: &resolver,
        remotes: &remotes,
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
        last: LastBuilds::of(request, &engine.store, platforms),
    };
    work.pin_repositories()?;
    let stated = compiled.iter().find_map(|one| one.epoch);
    work.now = match request.time {
        TimeSource::Epoch(epoch) | TimeSource::Clock(epoch) => epoch,
        TimeSource::NewestInput => {
            let newest = || -> Result<i64, BuildError> {
                let inputs = work.newest_local()?.max(work.newest_git()?).max(contexts.newest);
                Ok(inputs.max(resolver.newest()).unwrap_or(0))
            };
            stated.map_or_else(newest, Ok)?
        }
    };
    then(Prepared { request, compiled: &compiled, work })
}

/// OCI layouts among the named contexts.
pub(crate) fn layouts(request: &BuildRequest) -> BTreeMap<String, LayoutRef> {
    let layout = |(name, context): (&String, &NamedContext)| match context {
        NamedContext::OciLayout { path, tag, digest } => Some((
            name.clone(),
            LayoutRef { path: path.clone(), tag: tag.clone(), digest: digest.clone() },
        )),
        NamedContext::Directory(_) | NamedContext::Image(_) | NamedContext::Remote(_) => None,
    };
    request.contexts.iter().filter_map(layout).collect()
}

/// The platforms of which processes may have to be run; this machine's when there are none.
fn executed(graph: &Graph) -> Vec<Platform> {
    let steps =
        graph.nodes.iter().filter(|node| matches!(node.kind(), Some(llb::pb::op::Kind::Exec(_))));
    steps.filter_map(Node::platform).chain([Platform::host()]).collect()
}
