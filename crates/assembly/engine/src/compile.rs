//! A request's Dockerfile, compiled for each of its platforms.

use std::thread;

use build_api::{BuildError, BuildRequest, ForPlatform, NamedContext, NoCache};
use frontend::{CompileOptions, Compiled};
use oci::Platform;

use crate::context::{Contexts, MAIN};
use crate::resolver::Resolver;

/// Compiles the Dockerfile for every platform, side by side: each may wait for registries.
pub(crate) fn compile(
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

pub(crate) fn compile_options(
    request: &BuildRequest,
    contexts: &Contexts,
    platform: &Platform,
    implied: bool,
    several: bool,
) -> CompileOptions {
    let named = request.contexts.iter().map(|(name, context)| {
        let context = match context {
            NamedContext::Directory(_) | NamedContext::Remote(_) => contexts.context(name),
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
        context: contexts.context(MAIN),
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
pub(crate) fn multi_platform(request: &BuildRequest) -> bool {
    let value = request.build_args.get("BUILDKIT_MULTI_PLATFORM").map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "True" | "TRUE"))
}
