//! What Antrea's Dockerfiles ask of the language. What has to run is in the program's own tests.

use frontend::{CompileOptions, Context};
use llb::pb;
use oci::Platform;

use crate::support::{
    build, config, copies, execs, mount, names, options, run, sources, told, vertices, with_args,
};

fn for_platform(text: &str, platform: &str) -> CompileOptions {
    CompileOptions { platform: platform.parse().unwrap(), ..options(text) }
}

#[test]
fn f01_arg_before_from_without_default() {
    let text = "ARG GO_VERSION\nFROM golang:${GO_VERSION} AS build\n";
    let first = told(&options(text)).lines().next().unwrap().to_owned();
    insta::assert_snapshot!(first, @"Dockerfile:2:6: variable $GO_VERSION in FROM is not set (ARG GO_VERSION has no default: pass --build-arg GO_VERSION=…)");
    let compiled = build(&with_args(text, &[("GO_VERSION", "1.24")]));
    assert!(names(&compiled)[0].contains("golang:1.24@"));
}

#[test]
fn f02_registry_host_with_quoted_default_and_override() {
    let text = "ARG DOCKER_REGISTRY=\"docker.io\"\nARG OVS_VERSION\n\
                FROM ${DOCKER_REGISTRY}/antrea/windows-ovs:${OVS_VERSION} AS antrea-ovs\n";
    let first =
        |args: &[(&str, &str)]| sources(&build(&with_args(text, args)))[0].identifier.clone();
    assert!(
        first(&[("OVS_VERSION", "3")])
            .starts_with("docker-image://docker.io/antrea/windows-ovs:3@")
    );
    let mirror = first(&[("OVS_VERSION", "3"), ("DOCKER_REGISTRY", "mirror:5000/hub")]);
    assert!(mirror.starts_with("docker-image://mirror:5000/hub/antrea/windows-ovs:3@"), "{mirror}");
}

#[test]
fn f03_targetarch_in_from_without_arg() {
    for (platform, arch) in
        [("linux/amd64", "amd64"), ("linux/arm64", "arm64"), ("linux/arm/v7", "arm")]
    {
        for form in ["${TARGETARCH}", "$TARGETARCH"] {
            let text = format!("FROM antrea/base-{form}:1\n");
            let found = sources(&build(&for_platform(&text, platform)))[0].identifier.clone();
            assert!(found.contains(&format!("antrea/base-{arch}:1@")), "{platform}: {found}");
        }
    }
}

#[test]
fn f04_from_a_named_context() {
    let mut options = options("FROM antrea-openvswitch\n");
    let image = Context::Image("antrea/openvswitch-amd64:1".parse().unwrap());
    options.contexts.insert("antrea-openvswitch".to_owned(), image);
    let found = sources(&build(&options));
    assert_eq!(found.len(), 1, "the bare name is not looked up");
    assert!(found[0].identifier.contains("antrea/openvswitch-amd64:1@"));
}

#[test]
fn f05_constant_platform_in_a_windows_build_only_warns() {
    let text = "FROM --platform=linux/amd64 golang AS build\nRUN make\nFROM mcr/windows\nCOPY --from=build /a /a\n";
    let options = for_platform(text, "windows/amd64");
    let compiled = build(&options);
    assert_eq!(execs(&compiled).len(), 1);
    assert!(told(&options).contains("should not use constant value \"linux/amd64\""));
    let platform = compiled.definition.resolve().unwrap().vertices.into_iter().find_map(|vertex| {
        matches!(vertex.kind(), pb::op::Kind::Exec(_)).then_some(vertex.op.platform).flatten()
    });
    assert_eq!(platform.unwrap().os, "linux");
}

#[test]
fn f06_a_windows_image_may_be_only_a_source_of_copies() {
    let text = "FROM antrea/windows-ovs AS antrea-ovs\nFROM mcr/windows\nCOPY --from=antrea-ovs /openvswitch /openvswitch\n";
    let compiled = build(&for_platform(text, "windows/amd64"));
    assert!(execs(&compiled).is_empty());
    assert_eq!(copies(&compiled)[0].src, "/openvswitch", "paths of images are without Files/");
}

#[test]
fn f07_cache_mounts_with_a_trailing_slash_are_shared_and_root_owned() {
    let it = mount("RUN --mount=type=cache,target=/root/.cache/go-build/ go build");
    let opt = it.cache_opt.unwrap();
    assert_eq!((opt.id.as_str(), opt.sharing), ("//root/.cache/go-build", 0));
    assert_eq!(it.input, -1);
}

#[test]
fn f08_bind_of_a_single_file_relative_to_workdir() {
    let text = "FROM golang\nWORKDIR /antrea\n\
                RUN --mount=type=bind,source=go.sum,target=go.sum --mount=type=bind,source=go.mod,target=go.mod go mod download\n";
    let compiled = build(&options(text));
    let dests: Vec<String> =
        execs(&compiled)[0].mounts.iter().map(|mount| mount.dest.clone()).collect();
    assert_eq!(dests, ["/", "/antrea/go.mod", "/antrea/go.sum"]);
    let used = compiled.context_paths["context"].clone().unwrap();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["go.mod", "go.sum"]);
    assert!(execs(&compiled)[0].meta.as_ref().unwrap().remove_mount_stubs_recursive);
}

#[test]
fn f09_bind_from_a_stage_is_read_only_and_not_in_the_layer() {
    let text = "FROM a AS ovs-rpms\nRUN rpmbuild\nFROM ubi\n\
                RUN --mount=type=bind,from=ovs-rpms,source=/tmp/,target=/tmp/build rpm -i /tmp/build/*\n";
    let compiled = build(&options(text));
    let exec = execs(&compiled).pop().unwrap();
    let mount = &exec.mounts[1];
    assert!(mount.readonly);
    assert_eq!((mount.selector.as_str(), mount.output), ("/tmp", -1));
}

#[test]
fn f10_shell_text_is_handed_on_as_it_is() {
    let text = "RUN set -eux; \\\n# a comment\n\tdpkgArch=\"$(dpkg --print-architecture)\"; \\\n\
                \tcase \"${dpkgArch##*-}\" in \\\n  # another\n\t\tamd64) x=1 ;; \\\n\tesac";
    let args = run(text).meta.unwrap().args;
    assert_eq!(
        args[2],
        "set -eux; \tdpkgArch=\"$(dpkg --print-architecture)\"; \tcase \"${dpkgArch##*-}\" in \t\tamd64) x=1 ;; \tesac"
    );
}

#[test]
fn f11_add_of_an_address_is_renamed_and_not_unpacked() {
    let text = "FROM a\nARG V=1\nADD https://github.com/o/r/releases/download/v$V/cni.tgz cni.tgz\n\
                ADD https://aka.ms/vs/17/release/vc_redist.x64.exe vc.exe\n";
    let compiled = build(&options(text));
    let copies = copies(&compiled);
    assert_eq!((copies[0].src.as_str(), copies[0].dest.as_str()), ("/cni.tgz", "/cni.tgz"));
    assert_eq!(
        (copies[1].src.as_str(), copies[1].dest.as_str()),
        ("/vc_redist.x64.exe", "/vc.exe")
    );
    assert!(copies.iter().all(|copy| !copy.attempt_unpack_docker_compatibility));
    assert!(
        copies.iter().all(|copy| copy.mode == -1),
        "the file keeps the mode 0600 it is fetched with"
    );
}

#[test]
fn f12_copy_of_the_whole_context_takes_everything() {
    let mut options = options("FROM golang\nCOPY . /antrea\n");
    options.context = Context::Directory { excludes: vec!["bin".to_owned(), "!bin/x".to_owned()] };
    let compiled = build(&options);
    assert_eq!(compiled.context_paths["context"], None, "nothing is left out, .git neither");
    let local =
        &sources(&compiled).into_iter().find(|it| it.identifier == "local://context").unwrap();
    assert_eq!(local.attr(llb::attr::EXCLUDE_PATTERNS), Some("[\"bin\",\"!bin/x\"]"));
}

#[test]
fn f13_globs_of_several_sources_go_to_a_directory_without_a_slash() {
    let text =
        "FROM a AS build\nFROM b\nCOPY --from=build /opt/cni/bin/* /antrea/bin/* /usr/local/bin\n";
    let copies = copies(&build(&options(text)));
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|copy| copy.allow_wildcard && copy.dest == "/usr/local/bin"));
}

#[test]
fn f14_directory_to_directory_copies_the_contents() {
    let text = "FROM a AS build\nFROM scratch\nCOPY --from=build /go/k /k\n";
    let copy = &copies(&build(&options(text)))[0];
    assert!(copy.dir_copy_contents && copy.create_dest_path);
    assert_eq!((copy.src.as_str(), copy.dest.as_str()), ("/go/k", "/k"));
}

#[test]
fn f15_copy_from_an_external_image_is_for_the_target_platform() {
    let text = "FROM --platform=linux/amd64 a\nCOPY --from=antrea/tool:1 /x /x\n";
    let compiled = build(&for_platform(text, "linux/arm64"));
    let resolved = compiled.definition.resolve().unwrap();
    let platforms: Vec<Option<Platform>> = resolved
        .vertices
        .iter()
        .filter(|vertex| matches!(vertex.kind(), pb::op::Kind::Source(it) if it.identifier.contains("tool:1")))
        .map(|vertex| vertex.op.platform.as_ref().map(Platform::from))
        .collect();
    assert_eq!(platforms, [Some(Platform::new("linux", "arm64"))]);
}

#[test]
fn f16_workdir_and_env_expand_from_env_and_the_legacy_form_warns() {
    let text = "FROM golang\nENV GOPATH /go\nENV PATH $GOPATH/bin:/usr/local/go/bin:$PATH\nWORKDIR $GOPATH\n";
    let compiled = build(&options(text));
    assert_eq!(compiled.config.config.working_dir, "/go");
    assert_eq!(compiled.config.config.env, ["PATH=/go/bin:/usr/local/go/bin:/bin", "GOPATH=/go"]);
    assert_eq!(told(&options(text)).matches("legacy \"ENV key value\"").count(), 2);
}

#[test]
fn f17_windows_path_in_env_keeps_every_byte() {
    let path = r"C:\Windows\system32;C:\Windows;C:\WINDOWS\System32\WindowsPowerShell\v1.0\;C:\Windows\System32\wbem;";
    let text = format!("FROM mcr/windows\nENV PATH=\"{path}\"\n");
    let compiled = build(&for_platform(&text, "windows/amd64"));
    assert_eq!(compiled.config.config.env, [format!("PATH={path}")]);
}

#[test]
fn f18_user_entrypoint_cmd_and_labels_are_in_the_configuration() {
    let found = config(
        "USER root\nLABEL maintainer=\"antrea\"\nLABEL description=\"a b\"\nENTRYPOINT [ \"antrea-agent\" ]\nCMD [\"/pause\"]",
    );
    assert_eq!(found.user, "root");
    assert_eq!(found.entrypoint, Some(vec!["antrea-agent".to_owned()]));
    assert_eq!(found.cmd, Some(vec!["/pause".to_owned()]));
    assert_eq!(found.labels.len(), 2);
}

#[test]
fn f19_global_arguments_are_scoped_and_unused_ones_do_no_harm() {
    let text = "ARG GO_VERSION\nARG OVS_VERSION=2\nFROM a AS one\nARG OVS_VERSION\nENV A=$OVS_VERSION\nRUN echo $GO_VERSION\n\
                FROM one\nARG GO_VERSION\nARG OVS_VERSION\nENV B=$GO_VERSION-$OVS_VERSION\n";
    let compiled = build(&with_args(text, &[("GO_VERSION", "1.24"), ("NEVER_USED", "x")]));
    let env = &compiled.config.config.env;
    assert!(env.contains(&"A=2".to_owned()) && env.contains(&"B=1.24-2".to_owned()), "{env:?}");
    let first = execs(&compiled)[0].meta.clone().unwrap().env;
    assert!(
        !first.iter().any(|entry| entry.starts_with("GO_VERSION=")),
        "not declared in that stage"
    );
}

#[test]
fn f20_a_windows_stage_of_copy_and_env_keeps_the_base() {
    let text = "FROM --platform=linux/amd64 golang AS build\nRUN make\nFROM mcr/windows\nENV A=b\nCOPY --from=build /k /k\n";
    let compiled = build(&for_platform(text, "windows/amd64"));
    assert_eq!((compiled.config.os.as_str(), compiled.config.os_version.as_str()), ("windows", ""));
    assert!(vertices(&compiled).len() > 3);
}
