use std::sync::atomic::Ordering;

use build_api::{AnnotationLevel, Compression};
use serde_json::json;

use super::*;

#[test]
fn one_platform_makes_a_manifest_as_buildkit_writes_it() {
    let place = Place::new();
    let exported = place.export(&place.input(&["linux/amd64"]), &[]).unwrap();
    let root = exported.image.unwrap();
    assert_eq!(root.media_type, oci::media_type::OCI_MANIFEST);
    assert_eq!(place.store.lookup("example.test/app:1").unwrap().as_ref(), Some(&root));
    let manifest = place.json(&root);
    assert_eq!(manifest["config"]["mediaType"], oci::media_type::OCI_CONFIG);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
    assert_eq!(manifest["layers"][0]["mediaType"], oci::media_type::OCI_LAYER_GZIP);

    let config: Descriptor = serde_json::from_value(manifest["config"].clone()).unwrap();
    let config = place.json(&config);
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(config["rootfs"]["type"], "layers");
    let diff_ids: Vec<String> =
        exported.platforms[0].layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    assert_eq!(config["rootfs"]["diff_ids"], json!(diff_ids));
    let expected = json!([
        {"comment": "buildkit.dockerfile.v0", "created": "2023-11-14T22:13:20Z", "created_by": "COPY a /a"},
        {"comment": "buildkit.dockerfile.v0", "created": "2023-11-14T22:13:20Z", "created_by": "ENV X=1", "empty_layer": true},
        {"comment": "buildkit.dockerfile.v0", "created": "2023-11-14T22:13:20Z", "created_by": "RUN b"}
    ]);
    assert_eq!(config["history"], expected);
    let keys: Vec<&str> = exported.metadata.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "containerimage.config.digest",
            "containerimage.descriptor",
            "containerimage.digest",
            "image.name"
        ]
    );
    assert_eq!(exported.metadata["image.name"], "\"example.test/app:1\"");
    assert_eq!(exported.metadata["containerimage.digest"], format!("\"{}\"", root.digest));
    assert_eq!(place.store.verify().unwrap(), []);
}

#[test]
fn several_platforms_make_an_index_and_share_a_layer_that_is_packed_once() {
    let place = Place::new();
    let input = place.input(&["linux/amd64", "linux/arm/v7", "linux/arm64"]);
    let exported = place
        .export(&input, &[OutputSpec::Image(image()), oci_archive(&place.path("a.tar"), image())])
        .unwrap();
    let root = exported.image.unwrap();
    assert_eq!(root.media_type, oci::media_type::OCI_INDEX);
    let index = place.json(&root);
    let platforms: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["platform"].clone())
        .collect();
    assert_eq!(
        platforms,
        [
            json!({"architecture": "amd64", "os": "linux"}),
            json!({"architecture": "arm", "os": "linux", "variant": "v7"}),
            json!({"architecture": "arm64", "os": "linux"}),
        ]
    );
    assert_eq!(place.reads.load(Ordering::Relaxed), 4, "one shared layer and one per platform");
    assert!(!exported.metadata.contains_key("containerimage.config.digest"));
    let shared: Vec<_> =
        exported.platforms.iter().map(|platform| &platform.layers[0].digest).collect();
    assert!(shared.windows(2).all(|pair| pair[0] == pair[1]));

    // A later run finds what was packed.
    let again = place.export(&input, &[]).unwrap();
    assert_eq!(again.image, Some(root));
    assert_eq!(place.reads.load(Ordering::Relaxed), 4);
}

#[test]
fn the_bytes_depend_neither_on_threads_nor_on_the_store() {
    let digests = [1, 2, 7].into_iter().map(|threads| {
        let place = Place { threads, ..Place::new() };
        let input = place.input(&["linux/amd64", "linux/arm64"]);
        let output = oci_archive(
            &place.path("a.tar"),
            ImageOutput { compression: Compression::Zstd, ..image() },
        );
        let exported = place.export(&input, &[output]).unwrap();
        (exported.image, Digest::of(&fs_err::read(place.path("a.tar")).unwrap()))
    });
    let digests: Vec<_> = digests.collect();
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn windows_layers_have_their_own_form() {
    let place = Place::new();
    let mut input = place.input(&["linux/amd64", "windows/amd64"]);
    input.platforms[1].config.os_version = "10.0.20348.2227".to_owned();
    let exported = place.export(&input, &[]).unwrap();
    let [linux, windows] = exported.platforms.as_slice() else { panic!("two platforms") };
    assert_ne!(linux.layers[0].diff_id, windows.layers[0].diff_id);
    assert_eq!(
        (linux.layers[0].form.as_str(), windows.layers[0].form.as_str()),
        ("linux", "windows")
    );
    let index = place.json(&exported.image.unwrap());
    assert_eq!(index["manifests"][1]["platform"]["os.version"], "10.0.20348.2227");
}

#[test]
fn annotations_go_where_they_are_meant_to() {
    let place = Place::new();
    let annotation = |level, platform: Option<&str>, value: &str| Annotation {
        level,
        platform: platform.map(|platform| platform.parse().unwrap()),
        key: "k".to_owned(),
        value: value.to_owned(),
    };
    let mut input = place.input(&["linux/amd64", "linux/arm64"]);
    input.annotations = vec![
        annotation(AnnotationLevel::Manifest, Some("linux/arm64"), "arm"),
        annotation(AnnotationLevel::Manifest, None, "all"),
        annotation(AnnotationLevel::Index, None, "index"),
        annotation(AnnotationLevel::IndexDescriptor, None, "layout"),
    ];
    let output = ImageOutput {
        annotations: vec![annotation(AnnotationLevel::ManifestDescriptor, None, "entry")],
        ..image()
    };
    let output = OutputSpec::Archive {
        image: output,
        format: ArchiveFormat::Oci,
        dest: Destination::Path(place.path("layout")),
        tar: false,
    };
    let exported = place.export(&input, &[output]).unwrap();
    let index = place.json(&exported.image.unwrap());
    assert_eq!(index["annotations"]["k"], "index");
    assert_eq!(index["manifests"][0]["annotations"]["k"], "entry");
    let manifests: Vec<_> = exported
        .platforms
        .iter()
        .map(|platform| place.json(&platform.manifest)["annotations"]["k"].clone())
        .collect();
    assert_eq!(manifests, ["all", "arm"]);
    let layout: serde_json::Value =
        serde_json::from_slice(&fs_err::read(place.path("layout/index.json")).unwrap()).unwrap();
    assert_eq!(layout["manifests"][0]["annotations"]["k"], "layout");

    let mut single = place.input(&["linux/amd64"]);
    single.annotations = vec![annotation(AnnotationLevel::Index, None, "index")];
    assert!(
        matches!(place.export(&single, &[]), Err(ExportError::IndexAnnotation(key)) if key == "k")
    );
}

#[test]
fn docker_media_types_are_used_when_asked_for_and_possible() {
    let place = Place::new();
    let input = place.input(&["linux/amd64"]);
    let docker = ImageOutput { oci_media_types: Some(false), ..image() };
    let exported = place.export(&input, &[OutputSpec::Image(docker.clone())]).unwrap();
    let root = exported.image.unwrap();
    assert_eq!(root.media_type, oci::media_type::DOCKER_MANIFEST);
    assert_eq!(place.json(&root)["layers"][0]["mediaType"], oci::media_type::DOCKER_LAYER_GZIP);
    let zstd = ImageOutput { compression: Compression::Zstd, ..docker };
    let exported = place.export(&input, &[OutputSpec::Image(zstd)]).unwrap();
    assert_eq!(exported.image.unwrap().media_type, oci::media_type::OCI_MANIFEST);
    assert_eq!(exported.warnings.len(), 1);
}

#[test]
fn base_layers_stay_as_they_are_unless_conversion_is_forced() {
    let place = Place::new();
    let (input, base) = place.based("example.test/base", true);
    let zstd = ImageOutput { compression: Compression::Zstd, ..image() };
    let kept = place.export(&input, &[OutputSpec::Image(zstd.clone())]).unwrap();
    assert_eq!(kept.platforms[0].layers[0].digest, Digest::of(&base));
    let manifest = place.json(&kept.platforms[0].manifest);
    let types: Vec<_> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["mediaType"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            oci::media_type::OCI_LAYER_GZIP,
            oci::media_type::OCI_LAYER_ZSTD,
            oci::media_type::OCI_LAYER_ZSTD
        ]
    );

    let forced = ImageOutput { force_compression: true, ..zstd };
    let forced = place.export(&input, &[OutputSpec::Image(forced)]).unwrap();
    assert_ne!(forced.platforms[0].layers[0].digest, Digest::of(&base));
    assert_eq!(forced.platforms[0].layers[0].diff_id, kept.platforms[0].layers[0].diff_id);
    assert_eq!(
        place.json(&forced.platforms[0].manifest)["layers"][0]["mediaType"],
        oci::media_type::OCI_LAYER_ZSTD
    );
}

#[test]
fn times_are_rewritten_only_when_asked_for() {
    let place = Place::new();
    let input = place.input(&["linux/amd64"]);
    let plain = place.export(&input, &[]).unwrap();
    let rewritten = ImageOutput { rewrite_timestamp: true, ..image() };
    let rewritten = place.export(&input, &[OutputSpec::Image(rewritten)]).unwrap();
    assert_ne!(plain.platforms[0].layers[0].diff_id, rewritten.platforms[0].layers[0].diff_id);
}

#[test]
fn impossible_wishes_are_refused_before_any_work() {
    let place = Place::new();
    let nameless = ExportInput { tags: Vec::new(), ..place.input(&["linux/amd64"]) };
    let push = OutputSpec::Image(ImageOutput { push: true, ..image() });
    assert!(matches!(place.export(&nameless, &[push]), Err(ExportError::NoName)));
    let two = place.input(&["linux/amd64", "linux/arm64"]);
    assert!(matches!(
        place.export(&two, &[OutputSpec::Load(image())]),
        Err(ExportError::DockerIndex(_))
    ));
    let level = OutputSpec::Image(ImageOutput { compression_level: Some(10), ..image() });
    assert!(matches!(place.export(&two, &[level]), Err(ExportError::Level { level: 10, .. })));
    let tar = OutputSpec::Tar { dest: Destination::Stdout, platform_split: None };
    assert!(matches!(place.export(&two, &[tar.clone(), tar]), Err(ExportError::StdoutTwice)));
    assert_eq!(place.reads.load(Ordering::Relaxed), 0);
}

#[test]
fn a_full_disk_is_told_with_a_way_out() {
    let source =
        Box::new(layer::PackError::Write { source: std::io::ErrorKind::StorageFull.into() });
    let error = ExportError::Pack { platform: Box::new(Platform::host()), source };
    assert!(error.hint().is_some_and(|hint| hint.contains("crossdock prune")));
}

/// Dump of BuildKit: a foreign layer becomes an ordinary one, or keeps its type and addresses.
#[test]
fn foreign_default_and_foreign_kept() {
    let url = "https://mcr.microsoft.com/v2/windows/servercore/blobs/sha256:6e";
    for (oci, foreign, own) in [
        (true, oci::media_type::OCI_LAYER_FOREIGN_GZIP, oci::media_type::OCI_LAYER_GZIP),
        (false, oci::media_type::DOCKER_LAYER_FOREIGN_GZIP, oci::media_type::DOCKER_LAYER_GZIP),
    ] {
        let place = Place::new();
        let mut input = place.input(&["windows/amd64"]);
        let layers = &mut input.platforms[0].layers;
        let blob = Descriptor {
            urls: vec![url.to_owned()],
            ..Descriptor::of(oci::media_type::DOCKER_LAYER_FOREIGN_GZIP, b"layer")
        };
        layers[0] = ResultLayer::Blob { diff_id: Digest::of(b"plain"), blob };
        let layer = |keep_foreign_layers| {
            let oci_media_types = Some(oci);
            let wanted = ImageOutput { keep_foreign_layers, oci_media_types, ..image() };
            let root = place.export(&input, &[OutputSpec::Image(wanted)]).unwrap().image.unwrap();
            let layer = &place.json(&root)["layers"][0];
            (layer["mediaType"].clone(), layer["urls"].clone())
        };
        assert_eq!(layer(false), (json!(own), json!(null)));
        assert_eq!(layer(true), (json!(foreign), json!([url])));
    }
}
