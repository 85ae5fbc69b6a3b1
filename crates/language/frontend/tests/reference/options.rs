//! Options of a frontend, as a builder may be asked for them, and what each changes.

use frontend::{CompileOptions, NoCache};
use llb::pb::NetMode;

use crate::support::{build, execs, names, options, sources, told};

const TWO: &str = "FROM a AS one\nRUN x\nFROM b AS two\nRUN y\nCOPY --from=one /x /\n";

#[test]
fn target_builds_a_stage_and_what_it_needs() {
    let target = |name: &str| CompileOptions { target: Some(name.to_owned()), ..options(TWO) };
    assert_eq!(execs(&build(&target("one"))).len(), 1);
    assert_eq!(execs(&build(&target("TWO"))).len(), 2, "in any case");
    assert_eq!(execs(&build(&target("0"))).len(), 1, "or by number");
    assert!(told(&target("three")).contains("three"));
}

#[test]
fn platform_is_what_bases_are_asked_for() {
    let platform = "linux/arm64".parse().unwrap();
    let compiled = build(&CompileOptions { platform, ..options("FROM a\nRUN x\n") });
    assert_eq!(compiled.config.architecture, "arm64");
    assert_eq!(compiled.platform.to_string(), "linux/arm64");
}

#[test]
fn no_cache_is_for_all_stages_or_some() {
    let ignored = |no_cache| {
        let compiled = build(&CompileOptions { no_cache, ..options(TWO) });
        let steps = compiled.steps.values().filter(|step| step.ignore_cache);
        let mut stages: Vec<String> = steps.map(|step| step.stage.clone()).collect();
        stages.sort();
        stages.dedup();
        stages
    };
    assert!(ignored(NoCache::default()).is_empty());
    assert_eq!(ignored(NoCache::Always), ["one", "two"]);
    assert_eq!(ignored(NoCache::Stages(["one".to_owned()].into())), ["one"]);
}

#[test]
fn labels_of_a_build_are_stronger_than_those_of_the_file() {
    let labels = [("a", "2"), ("b", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let text = "FROM x\nLABEL a=1 c=4\n";
    let it = build(&CompileOptions { labels: labels.into(), ..options(text) }).config.config;
    let labels: Vec<_> = it.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["a=2", "b=3", "c=4"]);
}

#[test]
fn hosts_and_the_name_of_the_host_reach_steps() {
    let it = CompileOptions {
        add_hosts: vec![("db".to_owned(), "10.0.0.2".to_owned())],
        hostname: Some("box".to_owned()),
        ..options("FROM a\nRUN x\n")
    };
    let meta = execs(&build(&it)).pop().unwrap().meta.unwrap();
    let hosts: Vec<_> =
        meta.extra_hosts.iter().map(|it| (it.host.as_str(), it.ip.as_str())).collect();
    assert_eq!((hosts, meta.hostname.as_str()), (vec![("db", "10.0.0.2")], "box"));
}

#[test]
fn a_network_for_all_steps_gives_way_to_that_of_one() {
    let it = CompileOptions {
        network: NetMode::None,
        allow_host_network: true,
        ..options("FROM a\nRUN x\nRUN --network=host y\n")
    };
    let modes: Vec<i32> = execs(&build(&it)).iter().map(|exec| exec.network).collect();
    assert_eq!(modes, [NetMode::None as i32, NetMode::Host as i32]);
}

#[test]
fn shared_memory_and_limits_reach_steps() {
    let ulimit = llb::pb::Ulimit { name: "nofile".to_owned(), soft: 64, hard: 128 };
    let it = CompileOptions {
        shm_size: Some(1 << 20),
        ulimits: vec![ulimit.clone()],
        ..options("FROM a\nRUN x\n")
    };
    let exec = execs(&build(&it)).pop().unwrap();
    assert_eq!(exec.meta.unwrap().ulimit, [ulimit]);
    let shm = exec.mounts.iter().find(|mount| mount.dest == "/dev/shm").unwrap();
    assert_eq!(shm.tmpfs_opt.as_ref().unwrap().size, 1 << 20);
}

#[test]
fn pull_asks_registries_though_the_image_is_here() {
    let it = CompileOptions { pull: true, ..options("FROM a\nRUN x\n") };
    assert_eq!(sources(&build(&it)).len(), 1);
}

#[test]
fn names_of_steps_tell_platforms_where_there_are_several() {
    let it = CompileOptions { multi_platform: true, ..options("FROM a\nRUN x\n") };
    assert!(names(&build(&it)).iter().all(|name| name.contains("linux/amd64")));
    assert!(!names(&build(&options("FROM a\nRUN x\n"))).join("").contains("linux/amd64"));
}

#[test]
fn buildkit_build_name_and_multi_platform_are_no_variables_of_steps() {
    let args = [("BUILDKIT_BUILD_NAME", "n"), ("BUILDKIT_MULTI_PLATFORM", "true")];
    let compiled = build(&crate::support::with_args("FROM a\nRUN x\n", &args));
    let meta = execs(&compiled).pop().unwrap().meta.unwrap();
    assert!(meta.env.iter().all(|pair| !pair.contains("BUILDKIT")), "{:?}", meta.env);
    assert_eq!(
        compiled.config.history.len(),
        build(&options("FROM a\nRUN x\n")).config.history.len()
    );
}
