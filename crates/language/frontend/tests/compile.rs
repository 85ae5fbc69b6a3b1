//! What users write, and what they are told about it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write as _;
use std::time::Instant;

use frontend::{
    CompileOptions, Compiled, Context, ImageName, ImageResolver, NoCache, ResolveError,
    ResolvedImage, compile,
};
use llb::attr;
use llb::pb::op::Kind;
use oci::{Digest, ImageConfig, Platform};
use report::SourceText;

/// A registry with a few images: `windows…` is for Windows, `arm` for arm64 only, `gone` is not there.
struct Images;

impl ImageResolver for Images {
    fn resolve(
        &self,
        name: ImageName<'_>,
        platform: &Platform,
    ) -> Result<ResolvedImage, ResolveError> {
        let name = match name {
            ImageName::Reference(reference) => reference.to_string(),
            ImageName::Layout(name) => name.to_owned(),
        };
        if name.contains("gone") {
            return Err(ResolveError::NotFound(name));
        }
        let windows = name.contains("windows");
        let available = match () {
            () if windows => vec![Platform {
                os_version: "10.0.20348.1".to_owned(),
                ..Platform::new("windows", "amd64")
            }],
            () if name.contains("/arm") => vec![Platform::new("linux", "arm64")],
            () => vec![platform.clone()],
        };
        let Some(found) = available.iter().find(|have| have.satisfies(platform)) else {
            let platform = Box::new(platform.clone());
            return Err(ResolveError::NoPlatform { image: name, platform, available });
        };
        let mut config = ImageConfig::new(found);
        config.rootfs.diff_ids.push(Digest::of(b"layer"));
        if !windows {
            config.config.env.push("PATH=/bin".to_owned());
        }
        Ok(ResolvedImage { digest: Digest::of(name.as_bytes()), config })
    }
}

fn options(text: &str) -> CompileOptions {
    let source = SourceText { name: "Dockerfile".to_owned(), text: text.into() };
    CompileOptions {
        platform: Platform::new("linux", "amd64"),
        build_platform: Platform::new("linux", "amd64"),
        platform_implied: false,
        ..CompileOptions::new(source)
    }
}

fn windows(text: &str) -> CompileOptions {
    CompileOptions { platform: Platform::new("windows", "amd64"), ..options(text) }
}

fn build(options: &CompileOptions) -> Compiled {
    compile(options, &Images).unwrap_or_else(|wrong| {
        panic!("{}", wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// What a user is told.
fn told(options: &CompileOptions) -> String {
    let found = match compile(options, &Images) {
        Ok(compiled) => compiled.warnings,
        Err(wrong) => wrong,
    };
    let mut text = String::new();
    for diagnostic in found {
        writeln!(text, "{diagnostic}").unwrap();
    }
    text
}

fn names(compiled: &Compiled) -> Vec<String> {
    let vertices = compiled.definition.resolve().unwrap().vertices;
    vertices.iter().map(|vertex| vertex.name().unwrap_or("?").to_owned()).collect()
}

#[test]
fn only_what_the_target_needs_is_asked_for_and_done() {
    let text = "FROM gone AS unused\nRUN a\nFROM a AS b\nRUN b\nFROM scratch\nCOPY --from=b /x /\n";
    let compiled = build(&options(text));
    let images = ["FROM docker.io/library/a:latest@", "RUN b", "COPY --from=b /x /"];
    for (name, part) in names(&compiled).iter().zip(images) {
        assert!(name.contains(part), "{name}");
    }
    let first = CompileOptions { target: Some("B".to_owned()), ..options(text) };
    assert_eq!(names(&build(&first)).len(), 2);
    let zero = CompileOptions { target: Some("0".to_owned()), ..options(text) };
    insta::assert_snapshot!(told(&zero), @"Dockerfile:1:6: image docker.io/library/gone:latest does not exist");
    let bad = CompileOptions { target: Some("unusd".to_owned()), ..options(text) };
    insta::assert_snapshot!(told(&bad), @r#"Dockerfile:1:1: target stage "unusd" could not be found (did you mean unused?)"#);
}

#[test]
fn names_tell_platforms_when_there_are_several() {
    let text = "FROM --platform=$BUILDPLATFORM go AS build\nARG TARGETARCH\nRUN make\nFROM base\nCOPY --from=build /x /x\n";
    let compiled = build(&CompileOptions {
        platform: "linux/arm/v7".parse().unwrap(),
        multi_platform: true,
        ..options(text)
    });
    let names = names(&compiled);
    assert!(names[0].starts_with("[linux/arm/v7 stage-1 1/2] FROM docker.io/library/base"));
    assert!(names[1].starts_with("[linux/amd64 build 1/2] FROM docker.io/library/go"));
    assert_eq!(
        names[2..],
        [
            "[linux/amd64->arm/v7 build 2/2] RUN make",
            "[linux/arm/v7 stage-1 2/2] COPY --from=build /x /x"
        ]
    );
    assert_eq!(compiled.config.variant, "v7");
    let span = compiled.steps.values().find(|step| step.name == names[2]).unwrap().span;
    assert_eq!(text.get(span.range()), Some("RUN make"));
}

#[test]
fn named_contexts_replace_images_and_stages() {
    let text = "FROM antrea-openvswitch AS base\nCOPY --from=files a /\nCOPY --from=stage /x /\nFROM gone AS stage\n";
    let mut options = options(text);
    options.target = Some("base".to_owned());
    let image = Context::Image("registry:5000/ovs:1".parse().unwrap());
    options.contexts.insert("antrea-openvswitch".to_owned(), image);
    options
        .contexts
        .insert("files".to_owned(), Context::Directory { excludes: vec!["*.o".into()] });
    options.contexts.insert("stage".to_owned(), Context::OciLayout);
    let text = "FROM antrea-openvswitch AS base\nFROM gone AS stage\nRUN nothing\nFROM base AS last\nCOPY --from=files a /\nCOPY --from=stage /x /\n";
    options.source.text = text.into();
    options.target = None;
    let compiled = build(&options);
    let resolved = compiled.definition.resolve().unwrap();
    let sources: Vec<String> = resolved
        .vertices
        .iter()
        .filter_map(|vertex| match vertex.kind() {
            Kind::Source(source) => Some(source.identifier.clone()),
            _ => None,
        })
        .collect();
    assert!(sources[0].starts_with("docker-image://registry:5000/ovs:1@sha256:"));
    assert_eq!(sources[1], "local://files");
    assert!(sources[2].starts_with("oci-layout://docker.io/library/stage@sha256:"));
    assert_eq!(sources.len(), 3);
    let Kind::Source(files) = resolved.vertices[1].kind() else { panic!() };
    assert_eq!(files.attr(attr::FOLLOW_PATHS), Some("[\"a\"]"));
    assert_eq!(files.attr(attr::EXCLUDE_PATTERNS), Some("[\"*.o\"]"));
}

#[test]
fn the_context_is_used_no_further_than_needed() {
    let text = "FROM scratch\nCOPY a/b ./c d/\nADD https://x/y.tgz /\n";
    let paths = build(&options(text)).context_paths["context"].clone().unwrap();
    assert_eq!(paths.into_iter().collect::<Vec<_>>(), ["a/b", "c"]);
    assert_eq!(build(&options("FROM scratch\nCOPY . /\n")).context_paths["context"], None);
    assert!(build(&options("FROM a\nRUN x\n")).context_paths.is_empty());
}

#[test]
fn steps_can_be_run_again_by_stage() {
    let text = "FROM a AS one\nRUN 1\nFROM one AS two\nRUN 2\n";
    let compiled = build(&CompileOptions {
        no_cache: NoCache::Stages(vec!["TWO".to_owned()]),
        ..options(text)
    });
    let ignored: Vec<bool> = compiled
        .definition
        .resolve()
        .unwrap()
        .vertices
        .iter()
        .map(|vertex| vertex.metadata.ignore_cache)
        .collect();
    assert_eq!(ignored, [false, false, true]);
}

#[test]
fn mistakes_are_told_with_place_and_way_out() {
    insta::assert_snapshot!(told(&options(
        "ARG GO_VERSION\nFROM golang:${GO_VERSION}\n")), @"
    Dockerfile:2:6: variable $GO_VERSION in FROM is not set (ARG GO_VERSION has no default: pass --build-arg GO_VERSION=…)
    Dockerfile:2:6: Default value for ARG golang:${GO_VERSION} results in empty or invalid base image name
    ");
    insta::assert_snapshot!(told(&options("FROM arm\n")), @"Dockerfile:1:6: base image docker.io/library/arm:latest is not available for linux/amd64 (it has linux/arm64)");
    insta::assert_snapshot!(told(&options("FROM a AS x\nCOPY --from=y / /\nFROM x AS y\nCOPY --from=x / /\n")), @"Dockerfile:4:1: circular dependency detected on stage: x (a stage can use only stages that stand before it in the Dockerfile)");
    insta::assert_snapshot!(told(&options("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nFROM x\n")), @r#"Dockerfile:2:6: cannot copy from stage "y", it needs to be defined before current stage "x" (move that stage before this one)"#);
    insta::assert_snapshot!(told(&options(
        "FROM a\nRUN --mount=type=cache,targt=/x y\nRUN --security=insecure y\nCOPY https://x/y /\nADD https://github.com/a/b.git /x\nCOPY --chmod=rwx a b\nEXPOSE 99999\nSTOPSIGNAL SIGNOPE\nCOPY --from=7 a b\n")), @"Dockerfile:9:6: invalid stage index 7 (stages are numbered from 0 to 0)");
    insta::assert_snapshot!(told(&options(
        "FROM a\nRUN --mount=type=cache,targt=/x y\nRUN --security=insecure y\nCOPY https://x/y /\nADD https://github.com/a/b.git /x\nCOPY --chmod=rwx a b\nEXPOSE 99999\nSTOPSIGNAL SIGNOPE\nENV A=\"${B:?must be set}\"\nRUN --mount=target=/ x\nADD --checksum=sha256:1 a b\n")), @r#"
    Dockerfile:2:5: unexpected key 'targt' in 'targt=/x' (did you mean target?)
    Dockerfile:3:1: RUN --security=insecure is not allowed for this build (allow it with --allow security.insecure, for Dockerfiles you trust)
    Dockerfile:4:6: source can't be a URL for COPY (use ADD for addresses)
    Dockerfile:6:6: invalid chmod parameter: 'rwx'. it should be octal string and between 0 and 07777 (or symbolic, as in --chmod=u=rwX,go=rX)
    Dockerfile:7:8: invalid containerPort: 99999 (write 8080, 8000-8010 or 53/udp)
    Dockerfile:8:12: invalid signal: SIGNOPE (write SIGTERM or a number)
    Dockerfile:9:5: failed to process "\"${B:?must be set}\"": B: must be set
    Dockerfile:10:5: invalid mount target "/" (give a target= other than the root)
    Dockerfile:11:5: checksum requires HTTP(S) or Git sources (write --checksum=sha256: and 64 hexadecimal digits, for one address)
    "#);
}

#[test]
fn doubtful_things_are_warned_of_unless_silenced() {
    let text = "FROM --platform=linux/amd64 a AS Base\nfrom a as base\nENV API_TOKEN=x $nope=y\nWORKDIR x\nCMD a\nCMD b\n";
    insta::assert_snapshot!(told(&options(text)), @r#"
    Dockerfile:1:6: FROM --platform flag should not use constant value "linux/amd64"
    Dockerfile:1:34: Stage name 'Base' should be lowercase
    Dockerfile:2:1: Command 'from' should match the case of the command majority (uppercase) (write FROM)
    Dockerfile:2:11: Duplicate stage name "base", stage names should be unique
    Dockerfile:3:5: Do not use ARG or ENV instructions for sensitive data (ENV "API_TOKEN") (give it to the RUN that needs it: --mount=type=secret,id=…)
    Dockerfile:3:17: Usage of undefined variable '$nope'
    Dockerfile:4:9: Relative workdir "x" can have unexpected results if the base image changes
    Dockerfile:5:1: Multiple CMD instructions should not be used in the same stage because only the last one will be used
    Dockerfile:5:5: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
    Dockerfile:6:5: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals
    "#);
    let silent = format!("# check=skip=all\n{text}");
    assert_eq!(told(&options(&silent)), "");
    let strict = format!("# check=error=true\n{text}");
    assert!(compile(&options(&strict), &Images).is_err());
}

#[test]
fn windows_images_are_made_without_run() {
    let text = "FROM --platform=linux/amd64 golang AS build\nRUN make\nFROM windows/ovs AS ovs\n\
                FROM windows/host\nCOPY --from=build /go/k /k\nCOPY --from=ovs /openvswitch C:/ovs/\n\
                ENV PATH=\"C:\\Windows\\system32;C:\\v1.0\\;C:\\wbem;\"\nWORKDIR C:\\\\app\\\\Sub\n\
                ENTRYPOINT app.exe -v\n";
    let compiled = build(&windows(text));
    let config = &compiled.config;
    assert_eq!((config.os.as_str(), config.os_version.as_str()), ("windows", "10.0.20348.1"));
    assert_eq!(config.config.env, ["PATH=C:\\Windows\\system32;C:\\v1.0\\;C:\\wbem;"]);
    assert_eq!(config.config.working_dir, r"C:\app\Sub");
    assert_eq!(config.config.entrypoint, Some(vec!["cmd /S /C app.exe -v".to_owned()]));
    assert!(config.config.args_escaped);
    let resolved = compiled.definition.resolve().unwrap();
    let copies: Vec<String> = resolved
        .vertices
        .iter()
        .filter_map(|vertex| match vertex.kind() {
            Kind::File(file) => file.actions.first()?.action.clone(),
            _ => None,
        })
        .filter_map(|action| match action {
            llb::pb::file_action::Action::Copy(copy) => Some(copy.dest),
            llb::pb::file_action::Action::Mkdir(mkdir) => Some(mkdir.path),
            _ => None,
        })
        .collect();
    assert_eq!(copies, ["/k", "/ovs/", "/app/Sub"]);

    insta::assert_snapshot!(told(&windows("FROM windows/servercore:ltsc2022 AS final\nRUN powershell -Command Expand-Archive app.zip\n")), @r#"
    Dockerfile:2:1: RUN cannot execute in a Windows stage on a Linux builder: stage "final" is FROM windows/servercore:ltsc2022 (windows/amd64) (`Expand-Archive app.zip`: in a Linux stage, whose result is copied
        FROM --platform=$BUILDPLATFORM alpine AS prep
        COPY app.zip /
        RUN unzip /app.zip -d /out
        FROM windows/servercore:ltsc2022
        COPY --from=prep /out/ C:/app/)
    "#);
    insta::assert_snapshot!(told(&windows("FROM windows/nanoserver\nENV PATH=C:/app;$Path\nCOPY x D:/y\n")), @r#"
    Dockerfile:3:8: destination: the path "D:/y" is not on the system drive (C:)
    Dockerfile:2:5: the base image keeps its PATH in the registry; it is taken to be "C:\\Windows\\system32;C:\\Windows;"
    "#);
}

#[test]
fn variables_cannot_fill_the_memory() {
    let mut text = "FROM a\nENV A=0123456789\n".to_owned();
    for _ in 0..40 {
        text.push_str("ENV A=$A$A\n");
    }
    let start = Instant::now();
    assert!(told(&options(&text)).contains("the result is larger than"));
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn too_many_variables_are_refused_quickly() {
    let mut text = "FROM a\n".to_owned();
    for variable in 0..9_000 {
        writeln!(text, "ENV V{variable}=1").unwrap();
    }
    let start = Instant::now();
    assert!(told(&options(&text)).contains("more variables than a process can be started with"));
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn a_very_long_dockerfile_is_compiled() {
    let mut text = "FROM a\n".to_owned();
    for step in 0..9_000 {
        writeln!(text, "RUN echo {step} && \\\n  make").unwrap();
    }
    let start = Instant::now();
    assert_eq!(names(&build(&options(&text))).len(), 9_001);
    assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
}
