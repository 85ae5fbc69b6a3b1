//! One payload over the bases of several Windows versions.

use testkit::{Context, Program, Registry, success};

/// In an order that is not that of the versions.
const BASES: [&str; 5] = [
    "linux/amd64",
    "windows(10.0.17763.6775)/amd64",
    "windows(10.0.26100.2894)/amd64",
    "windows(10.0.20348.3091)/amd64",
    "linux/arm64",
];

fn shared_payload(registry: &Registry) -> Context {
    let base = registry.name("base:1");
    Context::with_dockerfile(&format!(
        "FROM --platform=linux/amd64 scratch AS payload\nCOPY app /out/app\n\nFROM {base}\nCOPY --link --from=payload /out/app /app/app\nENV VERSION=$TARGETOSVERSION\n"
    ))
    .file("app", "payload")
}

#[test]
fn five_images_in_one_index_each_over_its_own_base() {
    let program = Program::new();
    let registry = Registry::start();
    registry.add_base("base", "1", &BASES);
    let context = shared_payload(&registry);
    let line = format!(
        "build --platform linux/amd64,linux/arm64,windows(ltsc2019),windows(ltsc2022),windows(ltsc2025) -t {} --push .",
        registry.name("app:1")
    );
    success(program.command(&line).current_dir(context.path()));
    let image = registry.image("app:1");
    // The base's version in full, newest build first.
    let expected = [
        "linux/amd64",
        "linux/arm64",
        "windows(10.0.26100.2894)/amd64",
        "windows(10.0.20348.3091)/amd64",
        "windows(10.0.17763.6775)/amd64",
    ];
    assert_eq!(image.platforms(), expected);
    let payload =
        |platform: &str| image.manifest(platform).layers.last().expect("a layer").digest.clone();
    for platform in expected {
        let config = image.config(platform);
        assert_eq!(config.platform().to_string(), platform);
        let path = if platform.starts_with("windows") { "Files/platform" } else { "platform" };
        let base =
            image.layers(platform).concat().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(base.iter().any(|name| name == "platform" || name == path), "{base:?}");
        assert_eq!(
            image.text(platform, "platform"),
            platform,
            "the layers are those of its own base"
        );
    }
    // The payload is packed once for Windows and once for Linux, and the two never mix.
    assert_eq!(payload(expected[2]), payload(expected[3]));
    assert_eq!(payload(expected[2]), payload(expected[4]));
    assert_eq!(payload(expected[0]), payload(expected[1]));
    assert_ne!(payload(expected[0]), payload(expected[2]));
    let windows = &image.layers(expected[2]);
    assert!(windows.last().expect("a layer").iter().any(|(name, _)| name == "Files/app/app"));
    let linux = &image.layers(expected[0]);
    assert!(linux.last().expect("a layer").iter().any(|(name, _)| name == "app/app"));
}

#[test]
fn versions_as_a_list_give_the_same_index() {
    let program = Program::new();
    let registry = Registry::start();
    registry.add_base("base", "1", &BASES);
    let context = shared_payload(&registry);
    let one = "--platform linux/amd64,windows/amd64 --windows-versions ltsc2019,ltsc2025";
    let other = "--platform windows(ltsc2025),linux/amd64,windows(ltsc2019)";
    let mut digests = Vec::new();
    for (index, platforms) in [one, other].into_iter().enumerate() {
        let line = format!(
            "build {platforms} -t {} --push --iidfile id .",
            registry.name(&format!("app:{index}"))
        );
        success(program.command(&line).current_dir(context.path()));
        digests.push(fs_err::read_to_string(context.join("id")).expect("it was written"));
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_version_that_the_base_has_not_is_an_error_that_lists_what_it_has() {
    let program = Program::new();
    let registry = Registry::start();
    registry.add_base("base", "1", &BASES);
    let context = shared_payload(&registry);
    let output = program
        .command("build --windows-versions ltsc2016 .")
        .current_dir(context.path())
        .output()
        .expect("crossdock can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    for expected in ["10.0.14393", "10.0.26100.2894", "10.0.20348.3091", "10.0.17763.6775"] {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

#[test]
fn each_version_has_its_base_by_a_build_argument() {
    let program = Program::new();
    let registry = Registry::start();
    registry.add_base("old", "1", &["windows(10.0.17763.6775)/amd64"]);
    registry.add_base("new", "1", &["windows(10.0.26100.2894)/amd64"]);
    let context =
        Context::with_dockerfile("ARG BASE\nFROM ${BASE}\nCOPY app /app/app\n").file("app", "x");
    let line = format!(
        "build --windows-versions ltsc2019,ltsc2025 --build-arg windows(ltsc2019)/amd64:BASE={} --build-arg windows/amd64:BASE={} -t {} --push .",
        registry.name("old:1"),
        registry.name("new:1"),
        registry.name("app:1"),
    );
    success(program.command(&line).current_dir(context.path()));
    let platforms = registry.image("app:1").platforms();
    assert_eq!(platforms, ["windows(10.0.26100.2894)/amd64", "windows(10.0.17763.6775)/amd64"]);
}
