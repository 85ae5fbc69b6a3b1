use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;

use registry::server::{Server, ServerOptions};

use super::*;

fn pushed(names: &[String]) -> OutputSpec {
    let names = names.iter().map(|name| name.parse().unwrap()).collect();
    OutputSpec::Image(ImageOutput { push: true, names, ..image() })
}

#[test]
fn an_index_is_pushed_children_first_and_tags_last() {
    let place = Place::new();
    let server = Server::start(ServerOptions::default()).unwrap();
    let host = server.address();
    let input = place.input(&["linux/amd64", "linux/arm64"]);
    let names =
        [format!("{host}/a/app:1"), format!("{host}/a/app:latest"), format!("{host}/b/app:1")];
    let exported = place.export(&input, &[pushed(&names)]).unwrap();
    let root = exported.image.unwrap();
    for (repository, tag) in [("a/app", "1"), ("a/app", "latest"), ("b/app", "1")] {
        assert_eq!(
            server.manifest(repository, tag).unwrap().0.digest,
            root.digest,
            "{repository}:{tag}"
        );
    }
    let received = server.take_received();
    let puts: Vec<&str> = received
        .iter()
        .filter(|request| request.method == "PUT" && request.path.contains("/manifests/"))
        .map(|request| request.path.as_str())
        .collect();
    assert_eq!(puts.len(), 7, "{puts:#?}");
    assert!(puts[..4].iter().all(|path| path.contains("/manifests/sha256:")), "{puts:#?}");
    assert!(
        puts[4..].iter().all(|path| path.ends_with(":1") || !path.contains("sha256:")),
        "{puts:#?}"
    );
    // The second repository borrows from the first instead of being sent everything again.
    let mounts = received.iter().filter(|request| request.path.contains("mount=")).count();
    assert!(mounts >= 5, "{mounts}");

    let again = place.export(&input, &[pushed(&names)]).unwrap();
    assert_eq!(again.image, Some(root));
    let received = server.take_received();
    assert!(
        !received
            .iter()
            .any(|request| request.method == "POST" || request.path.contains("/blobs/uploads/")),
        "{received:#?}"
    );
}

#[test]
fn what_the_store_holds_is_pushed_as_it_is() {
    let place = Place::new();
    let exported = place.export(&place.input(&["linux/amd64", "linux/arm64"]), &[]).unwrap();
    let root = exported.image.unwrap();
    let server = Server::start(ServerOptions::default()).unwrap();
    let name = format!("{}/app:2", server.address()).parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let network = || Network {
        client: registry::Client::new(registry::ClientOptions::default()),
        runtime: runtime.handle().clone(),
    };
    let context = ExportContext {
        store: &place.store,
        fetch: &|_| Err("nothing is to be fetched".into()),
        network: &network,
        progress: &Silent,
        began: Instant::now(),
        epoch: None,
        threads: 1,
        docker_host: None,
    };
    push_stored(&root, &name, &context).unwrap();
    assert_eq!(server.manifest("app", "2").unwrap().0.digest, root.digest);
    for platform in &exported.platforms {
        assert!(server.manifest("app", platform.manifest.digest.as_str()).is_some());
        assert!(platform.layers.iter().all(|layer| server.blob(&layer.digest).is_some()));
    }
}

#[test]
fn a_push_by_digest_leaves_no_tag() {
    let place = Place::new();
    let server = Server::start(ServerOptions::default()).unwrap();
    let name = format!("{}/app:1", server.address()).parse().unwrap();
    let output = OutputSpec::Image(ImageOutput {
        push: true,
        push_by_digest: true,
        names: vec![name],
        ..ImageOutput::default()
    });
    let exported = place.export(&place.input(&["linux/amd64"]), &[output]).unwrap();
    assert!(server.tags("app").is_empty());
    assert!(server.manifest("app", exported.image.unwrap().digest.as_str()).is_some());
}

#[test]
fn a_base_layer_that_the_registry_has_is_mounted_without_its_bytes() {
    let place = Place::new();
    let server = Server::start(ServerOptions::default()).unwrap();
    let host = server.address();
    let (input, base) = place.based(&format!("{host}/base"), false);
    server.put_blob("base", base).unwrap();
    let exported = place.export(&input, &[pushed(&[format!("{host}/app:1")])]).unwrap();
    let layer = &exported.platforms[0].layers[0].digest;
    assert!(
        server
            .take_received()
            .iter()
            .any(|request| request.path.contains(&format!("mount={layer}"))
                || request.path.contains(&format!("mount={}", layer.as_str().replace(':', "%3A"))))
    );
    assert_eq!(place.store.blob_size(layer), None);
}

#[test]
fn a_base_layer_that_no_one_lends_is_fetched_and_sent() {
    let place = Place::new();
    let server = Server::start(ServerOptions::default()).unwrap();
    let (input, base) = place.based("elsewhere.test/base", false);
    let fetch = |_: &Descriptor| place.store.put_bytes(&base).map(drop).map_err(Into::into);
    let names = [format!("{}/app:1", server.address())];
    place.export_with(&input, &[pushed(&names)], &fetch).unwrap();
    assert!(server.blob(&Digest::of(&base)).is_some());

    let place = Place::new();
    let (input, _) = place.based("elsewhere.test/base", false);
    let server = Server::start(ServerOptions::default()).unwrap();
    let error =
        place.export(&input, &[pushed(&[format!("{}/app:1", server.address())])]).unwrap_err();
    assert!(matches!(error, ExportError::Push { .. }), "{error:?}");
    assert!(server.tags("app").is_empty());
    assert_eq!(place.store.lookup(&names[0]).unwrap(), None);
}

#[test]
fn an_oci_archive_holds_everything_and_is_read_back() {
    let place = Place::new();
    let (input, base) = place.based("elsewhere.test/base", false);
    let fetches = AtomicUsize::new(0);
    let fetch = |_: &Descriptor| {
        fetches.fetch_add(1, Ordering::Relaxed);
        place.store.put_bytes(&base).map(drop).map_err(Into::into)
    };
    let path = place.path("image.tar");
    let exported = place.export_with(&input, &[oci_archive(&path, image())], &fetch).unwrap();
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    let archive = archive::open(&path).unwrap();
    let images = archive.images();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].root.digest, exported.image.unwrap().digest);
    assert_eq!(images[0].names, ["example.test/app:1"]);
    let layer = Descriptor::new("", Digest::of(&base), base.len() as u64);
    assert_eq!(blobs::read_verified(archive.as_ref(), &layer, 1 << 20).unwrap(), base);
}

#[test]
fn a_failed_archive_leaves_the_old_file_alone() {
    let place = Place::new();
    let (input, _) = place.based("elsewhere.test/base", false);
    let path = place.path("image.tar");
    fs_err::write(&path, "old").unwrap();
    assert!(place.export(&input, &[oci_archive(&path, image())]).is_err());
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "old");
    assert_eq!(fs_err::read_dir(place.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_damaged_blob_is_put_aside() {
    let place = Place::new();
    let (input, base) = place.based("elsewhere.test/base", true);
    let digest = Digest::of(&base);
    let path = place.store.blob_path(&digest);
    let mut bytes = base;
    bytes[20] ^= 1;
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, bytes).unwrap();
    let error =
        place.export(&input, &[oci_archive(&place.path("image.tar"), image())]).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("again")), "{error:?}");
    assert_eq!(place.store.blob_size(&digest), None);
}

#[test]
fn files_of_several_platforms_go_to_folders_of_their_own() {
    let place = Place::new();
    let input = place.input(&["linux/amd64", "linux/arm/v7"]);
    let dest = place.path("out");
    fs_err::create_dir(&dest).unwrap();
    fs_err::write(dest.join("kept"), "kept").unwrap();
    let exported = place
        .export(&input, &[OutputSpec::Local { dest: dest.clone(), platform_split: None }])
        .unwrap();
    assert!(exported.image.is_none() && exported.metadata.is_empty());
    assert_eq!(fs_err::read_to_string(dest.join("linux_amd64/d/b")).unwrap(), "linux/amd64");
    assert_eq!(fs_err::read_to_string(dest.join("linux_arm_v7/d/b")).unwrap(), "linux/arm/v7");
    assert_eq!(fs_err::read_to_string(dest.join("kept")).unwrap(), "kept");

    let single = place.input(&["linux/amd64"]);
    place
        .export(&single, &[OutputSpec::Local { dest: dest.clone(), platform_split: None }])
        .unwrap();
    let file = dest.join("d/b");
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
    assert_eq!(place.reads.load(Ordering::Relaxed), 0, "no layer is packed for files");
}

#[test]
fn a_link_in_the_directory_of_the_user_leads_nothing_outside() {
    let place = Place::new();
    let (dest, outside) = (place.path("out"), place.path("outside"));
    fs_err::create_dir(&dest).unwrap();
    fs_err::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, dest.join("d")).unwrap();
    let input = place.input(&["linux/amd64"]);
    drop(place.export(&input, &[OutputSpec::Local { dest, platform_split: None }]));
    assert_eq!(fs_err::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn a_tar_of_files_has_a_folder_per_platform() {
    let place = Place::new();
    let path = place.path("files.tar");
    let output =
        OutputSpec::Tar { dest: Destination::Path(path.clone()), platform_split: Some(true) };
    place.export(&place.input(&["linux/amd64"]), &[output]).unwrap();
    let bytes = fs_err::read(&path).unwrap();
    let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("linux_amd64/d/b") && has("linux_amd64/a"));
}

/// Takes one request and answers it.
fn docker(place: &Place, answer: &'static str) -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let path = place.path("docker.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"0\r\n\r\n") {
            match socket.read(&mut buffer).unwrap() {
                0 => break,
                count => request.extend_from_slice(&buffer[..count]),
            }
        }
        socket.write_all(answer.as_bytes()).unwrap();
        request
    });
    (format!("unix://{}", path.display()), server)
}

#[test]
fn an_image_is_loaded_over_the_socket_of_docker() {
    let mut place = Place::new();
    let body = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                1e\r\n{\"stream\":\"Loaded image: app\"}\r\n0\r\n\r\n";
    let (host, server) = docker(&place, body);
    place.docker_host = Some(host);
    place.export(&place.input(&["linux/amd64"]), &[OutputSpec::Load(image())]).unwrap();
    let request = server.join().unwrap();
    assert!(request.starts_with(b"POST /images/load?quiet=1 HTTP/1.1\r\n"));
    let has = |name: &str| request.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("manifest.json") && has("example.test/app:1"));
}

#[test]
fn what_docker_says_is_passed_on() {
    let mut place = Place::new();
    let body = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 27\r\n\r\n{\"message\":\"no space left\"}";
    let (host, server) = docker(&place, body);
    place.docker_host = Some(host);
    let error =
        place.export(&place.input(&["linux/amd64"]), &[OutputSpec::Load(image())]).unwrap_err();
    assert!(error.to_string().ends_with(": no space left"), "{error}");
    server.join().unwrap();
    place.docker_host = Some("unix:///nowhere/docker.sock".to_owned());
    let error =
        place.export(&place.input(&["linux/amd64"]), &[OutputSpec::Load(image())]).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("DOCKER_HOST")), "{error:?}");
}
