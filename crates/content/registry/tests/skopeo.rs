//! The server against another client: `skopeo`. Skipped, and says so, where it is not installed.
#![expect(clippy::print_stderr, reason = "what is not tested is said")]

use std::process::{Command, Output};

use bytes::Bytes;
use oci::{Descriptor, Document, ImageConfig, Index, Manifest, Platform, media_type};
use registry::server::{Access, Server, ServerOptions};

fn skopeo(arguments: &[&str]) -> Option<Output> {
    #[expect(clippy::disallowed_methods, reason = "the other side of the test")]
    let output = Command::new("skopeo").args(arguments).output();
    if output.is_err() {
        eprintln!("skipped: `skopeo` is not installed (Debian package skopeo)");
    }
    output.ok()
}

fn copied(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn another_client_copies_an_index_from_server_to_server() {
    let (from, to) = (
        Server::start(ServerOptions::default()).unwrap(),
        Server::start(ServerOptions::default()).unwrap(),
    );
    let layer = Bytes::from(vec![0; 10240]);
    let layer_blob = Descriptor::of(media_type::OCI_LAYER, &layer);
    from.put_blob("team/app", layer).unwrap();
    let mut entries = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let platform = Platform::new("linux", architecture);
        let mut config = ImageConfig::new(&platform);
        config.rootfs.diff_ids = vec![layer_blob.digest.clone()];
        let config = Document::write(config);
        from.put_blob("team/app", config.raw.to_vec()).unwrap();
        let manifest = Document::write(Manifest::new(
            config.descriptor(media_type::OCI_CONFIG),
            vec![layer_blob.clone()],
        ));
        let entry = from
            .put_manifest("team/app", architecture, media_type::OCI_MANIFEST, manifest.raw.to_vec())
            .unwrap();
        entries.push(Descriptor { platform: Some(platform), ..entry });
    }
    let index = Document::write(Index::new(entries));
    let stored =
        from.put_manifest("team/app", "v1", media_type::OCI_INDEX, index.raw.to_vec()).unwrap();

    let (source, target) = (
        format!("docker://{}/team/app:v1", from.address()),
        format!("docker://{}/other/app:v2", to.address()),
    );
    let arguments = [
        "copy",
        "--all",
        "--preserve-digests",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &source,
        &target,
    ];
    let Some(output) = skopeo(&arguments) else { return };
    copied(&output);
    assert_eq!(to.manifest("other/app", "v2").map(|(found, _)| found), Some(stored));
    assert_eq!(to.repositories(), ["other/app"]);
}

#[test]
fn another_client_gets_tokens() {
    let server = Server::start(ServerOptions {
        access: Access::bearer("u", "p"),
        ..ServerOptions::default()
    })
    .unwrap();
    server
        .put_manifest("a", "1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let image = format!("docker://{}/a:1", server.address());
    let Some(output) =
        skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", "u:p", &image])
    else {
        return;
    };
    copied(&output);
    let refused = skopeo(&["inspect", "--raw", "--tls-verify=false", "--creds", "u:wrong", &image]);
    assert!(refused.is_some_and(|output| !output.status.success()));
}
