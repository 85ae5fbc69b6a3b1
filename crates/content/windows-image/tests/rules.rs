//! Rules about configurations, on images that are made here.

use fstree::Mtime;
use layer::{Compression, Form, PackOptions, pack};
use oci::{ContainerConfig, Descriptor, ImageConfig, Platform, media_type};
use windows_image::{
    Base, Contents, Finding, Scan, Subject, guess_base, hpc_base, hpc_files, rules, verify,
};

type Change = fn(&mut ContainerConfig);

/// What the layers of an HPC base hold.
fn contents() -> Contents {
    let options = PackOptions {
        form: Form::Windows,
        compression: Compression::Uncompressed,
        ..PackOptions::default()
    };
    let mut tar = Vec::new();
    pack(&hpc_files(Mtime::default()), &options, &mut tar).expect("it can be packed");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut scan = Scan::new(directory.path());
    scan.layer(tar.as_slice(), None, false).expect("it can be read");
    scan.finish()
}

fn config(change: impl FnOnce(&mut ImageConfig)) -> ImageConfig {
    let mut config = hpc_base(&Platform::new("windows", "amd64"), "1970-01-01T00:00:00Z");
    change(&mut config);
    config
}

fn found(config: &ImageConfig, base: Base) -> Vec<Finding> {
    let contents = contents();
    verify(Subject { config: Some(config), platform: None, layers: &[], contents: &contents, base })
}

/// Which rules an image breaks.
fn broken(base: Base, change: Change) -> Vec<&'static str> {
    let config = config(|config| change(&mut config.config));
    found(&config, base).iter().map(|finding| finding.rule).collect()
}

#[test]
fn an_hpc_base_breaks_no_rule() {
    assert_eq!(found(&config(|_| {}), Base::HostProcess), []);
    assert_eq!(found(&config(|_| {}), Base::ServerCore), []);
}

#[test]
fn each_rule_of_configurations_is_broken_by_what_breaks_it() {
    let cases: &[(&str, Change)] = &[
        ("WC05", |it| {
            it.env = ["Path", "PATH"].map(|name| format!("{name}=C:\\Windows\\system32")).to_vec();
        }),
        ("WC05", |it| it.env = vec!["PATH=C:\\app;".into()]),
        ("WC05", |it| it.env = vec!["NAME".into()]),
        ("WC06", |it| it.cmd = Some(vec!["/bin/sh".into()])),
        ("WC06", |it| {
            it.args_escaped = true;
            it.entrypoint = Some(vec!["C:\\Program Files\\a.exe".into()]);
            it.cmd = Some(vec!["cmd /S /C x".into()]);
        }),
        ("WC07", |it| it.working_dir = "app".into()),
        ("WC07", |it| it.working_dir = "\\app".into()),
        ("WC08", |it| it.user = "a/b".into()),
        ("WC08", |it| it.user = "1000".into()),
        ("WC08", |it| it.user = "x".repeat(21)),
        ("WC09", |it| drop(it.volumes.insert("C:\\".into(), serde_json::Value::Null))),
        ("WC09", |it| drop(it.volumes.insert("data".into(), serde_json::Value::Null))),
    ];
    for (rule, change) in cases {
        let found = broken(Base::ServerCore, *change);
        assert!(found.contains(rule), "{rule}: {found:?}");
    }
    let good: &[Change] = &[
        |it| it.user = "NT AUTHORITY\\SYSTEM".into(),
        |it| it.user = "ContainerAdministrator".into(),
        |it| it.working_dir = "C:\\app".into(),
        |it| drop(it.volumes.insert("D:".into(), serde_json::Value::Null)),
        |it| drop(it.volumes.insert("C:\\data".into(), serde_json::Value::Null)),
        |it| it.env = vec!["PATH=C:\\app;%PATH%".into()],
    ];
    for change in good {
        assert_eq!(broken(Base::ServerCore, *change), [""; 0]);
    }
}

#[test]
fn rules_for_host_process_containers_hold_for_those_only() {
    let change: Change = |it| {
        it.working_dir = "C:\\app".into();
        it.user = "ContainerUser".into();
        it.volumes.insert("C:\\data".into(), serde_json::Value::Null);
        it.entrypoint = Some(vec!["C:\\Windows\\System32\\config\\SYSTEM".into()]);
    };
    assert_eq!(broken(Base::HostProcess, change), ["WH05", "WH03", "WH04", "WH02"]);
    assert_eq!(broken(Base::ServerCore, change), [""; 0]);
    let versioned = config(|it| it.os_version = "10.0.20348.1".into());
    let rules: Vec<&str> = found(&versioned, Base::HostProcess).iter().map(|it| it.rule).collect();
    assert_eq!(rules, ["WH01"]);
}

#[test]
fn platform_digests_and_media_types_must_agree() {
    let mut config = config(|it| it.os_version = "10.0.20348".into());
    config.rootfs.diff_ids = vec![oci::Digest::of(b"another")];
    let contents = contents();
    let platform: Platform = "windows(10.0.17763.1)/arm64".parse().expect("a platform");
    let rules_of = |media_type: &str| -> Vec<&'static str> {
        let layers = [Descriptor::of(media_type, b"layer")];
        let subject = Subject {
            config: Some(&config),
            platform: Some(&platform),
            layers: &layers,
            contents: &contents,
            base: Base::ServerCore,
        };
        verify(subject).iter().map(|it| it.rule).collect()
    };
    let found = rules_of("application/x-unknown");
    for rule in ["WC01", "WC02", "WC03", "WC04"] {
        assert!(found.contains(&rule), "{rule}: {found:?}");
    }
    assert!(rules_of(media_type::OCI_LAYER_ZSTD).contains(&"WC04"));
    assert!(!rules_of(media_type::OCI_LAYER_GZIP).contains(&"WC04"));
}

#[test]
fn the_base_is_told_by_what_is_said_and_held() {
    let contents = contents();
    let guess = |config: &ImageConfig, named| guess_base(Some(config), named, &contents).0;
    let nano = config(|it| {
        it.os_version = "10.0.20348.1".into();
        it.config.user = "ContainerUser".into();
    });
    assert_eq!(guess(&config(|_| {}), None), Base::HostProcess);
    assert_eq!(guess(&nano, None), Base::NanoServer);
    let named = "mcr.microsoft.com/windows/servercore:ltsc2022@sha256:00";
    assert_eq!(guess(&nano, Some(named)), Base::ServerCore);
    assert_eq!(guess(&nano, Some("mcr.microsoft.com/windows/server:ltsc2022")), Base::Server);
}

#[test]
fn every_rule_is_listed_once() {
    let all: Vec<&str> = rules().map(|(id, _)| id).collect();
    let once: std::collections::BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!((once.len(), all.len()), (32, 32));
}
