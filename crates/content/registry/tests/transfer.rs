//! Pull and push against the in-process registry, well and badly behaved.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use oci::{Descriptor, Document, Index, Manifest, Reference, media_type};
use registry::server::{Effect, Fault, Server, ServerOptions};
use registry::{
    BlobSource, Capability, Client, ClientOptions, FileSink, Host, Hosts, Mirror, Notice,
    ProgressFn, ProxyOptions, Pushed, RegistryError, RetryOptions, silent,
};

fn server() -> Server {
    Server::start(ServerOptions::default()).unwrap()
}

fn options() -> ClientOptions {
    let retry = RetryOptions { first_delay: Duration::from_millis(5), ..RetryOptions::default() };
    ClientOptions { retry, response_timeout: Duration::from_secs(5), ..ClientOptions::default() }
}

fn client() -> Client {
    Client::new(options())
}

fn reference(server: &Server, name: &str) -> Reference {
    format!("{}/{name}", server.address()).parse().unwrap()
}

/// Bytes that differ everywhere.
fn content(size: usize) -> Bytes {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect::<Vec<u8>>().into()
}

fn source(content: &Bytes) -> Arc<dyn BlobSource> {
    Arc::new(content.clone())
}

fn blob_of(content: &Bytes) -> Descriptor {
    Descriptor::of("application/octet-stream", content)
}

async fn pull(
    client: &Client,
    from: &Reference,
    blob: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let mut sink = Vec::new();
    client.pull_blob(from, blob, &mut sink, &silent()).await.map(|()| sink)
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    server
        .take_received()
        .into_iter()
        .filter(|it| it.path.contains("/blobs/sha256") && it.method == "GET")
        .map(|it| it.range)
        .collect()
}

#[tokio::test]
async fn an_image_is_pushed_and_pulled_back() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let image = reference(&server, "team/app:v1");
    let (config, layer) = (Bytes::from_static(b"{}"), content(1_000_000));
    let mut layers = Vec::new();
    for (content, kind) in [(&config, media_type::OCI_CONFIG), (&layer, media_type::OCI_LAYER_GZIP)]
    {
        let blob = Descriptor::of(kind, content);
        assert_eq!(
            client.push_blob(&image, &blob, &source(content), &[], &silent()).await?,
            Pushed::Uploaded
        );
        assert_eq!(
            client.push_blob(&image, &blob, &source(content), &[], &silent()).await?,
            Pushed::Exists
        );
        layers.push(blob);
    }
    let manifest = Document::write(Manifest::new(layers.remove(0), layers.clone()));
    let descriptor = manifest.descriptor(media_type::OCI_MANIFEST);
    client.push_manifest_by_digest(&image, &descriptor, &manifest.raw).await?;
    let index = Document::write(Index::new(vec![descriptor.clone()]));
    let index_descriptor = index.descriptor(media_type::OCI_INDEX);
    client.push_manifest(&image, &index_descriptor, &index.raw).await?;

    let found = client.resolve(&image).await?;
    assert_eq!(found, index_descriptor);
    let (found, raw) = client.manifest(&image, Some(&found)).await?;
    assert_eq!((found, raw.as_ref()), (index_descriptor.clone(), index.raw.as_ref()));
    assert_eq!(client.manifest(&image, None).await?.0, index_descriptor);
    let pinned = image.with_digest(descriptor.digest.clone());
    assert_eq!(client.resolve(&pinned).await?, descriptor);
    assert_eq!(pull(&client, &image, &layers[0]).await?, layer);
    assert_eq!(server.tags("team/app"), ["v1"]);
    Ok(())
}

#[tokio::test]
async fn a_reference_is_resolved_once_however_many_ask() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    server
        .put_manifest("a", "1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let image = reference(&server, "a:1");
    server.inject(Fault::any("/manifests/", 1, Effect::Delay(Duration::from_millis(50))));
    let asked = futures_util::future::join_all((0..8).map(|_| client.resolve_once(&image))).await;
    assert!(asked.iter().all(Result::is_ok));
    client.resolve_once(&image).await?;
    assert_eq!(
        server.take_received().iter().filter(|it| it.path.contains("/manifests/")).count(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_registry_without_head_or_digest_header_is_asked_with_get() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let stored = server
        .put_manifest("a", "1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let image = reference(&server, "a:1");
    let no_head = Effect::Answer { status: 405, headers: vec![], body: String::new() };
    server.inject(Fault::on(Method::HEAD, "/manifests/", 1, no_head));
    assert_eq!(client.resolve(&image).await?, stored);
    server.inject(Fault::on(
        Method::HEAD,
        "/manifests/",
        1,
        Effect::Header { name: "docker-content-digest".into(), value: None },
    ));
    assert_eq!(client.resolve(&image).await?, stored);
    Ok(())
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(300_000);
    server.put_blob("a", layer.clone()).unwrap();
    let (image, blob) = (reference(&server, "a:1"), blob_of(&layer));
    for after in [0, 100_000, 50_000] {
        server.inject(Fault::get("/blobs/", 1, Effect::Truncate { after }));
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&seen);
    let progress: ProgressFn = Arc::new(move |bytes| watched.lock().unwrap().push(bytes));
    let mut sink = Vec::new();
    client.pull_blob(&image, &blob, &mut sink, &progress).await?;
    assert_eq!(sink, layer);
    let expected = [None, None, Some("bytes=100000-".to_owned()), Some("bytes=150000-".to_owned())];
    assert_eq!(ranges(&server), expected);
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&300_000));
    Ok(())
}

#[tokio::test]
async fn a_download_goes_on_in_a_later_run() -> Result<(), Box<dyn std::error::Error>> {
    let (server, client) = (server(), client());
    let layer = content(200_000);
    server.put_blob("a", layer.clone())?;
    let (image, blob) = (reference(&server, "a:1"), blob_of(&layer));
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("blob");
    for (start, expected) in [
        (layer.slice(..70_000), vec![Some("bytes=70000-".to_owned())]),
        // What was there is wrong: found out at the end, and mended.
        (content(70_000).slice(1..), vec![Some("bytes=69999-".to_owned()), None]),
        // All there.
        (layer.clone(), vec![]),
        // More than all.
        (content(200_001), vec![None]),
    ] {
        fs_err::write(&path, &start)?;
        let file = fs_err::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut sink = FileSink::new(file)?;
        client.pull_blob(&image, &blob, &mut sink, &silent()).await?;
        assert_eq!(fs_err::read(&path)?, layer);
        assert_eq!(ranges(&server), expected);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_beginning() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(100_000);
    server.put_blob("a", layer.clone()).unwrap();
    server.inject(Fault::get("/blobs/", 1, Effect::Truncate { after: 50_000 }));
    server.inject(Fault::get("/blobs/", 1, Effect::IgnoreRange));
    assert_eq!(pull(&client, &reference(&server, "a:1"), &blob_of(&layer)).await?, layer);
    Ok(())
}

#[tokio::test]
async fn a_body_that_ends_early_without_a_sign_is_noticed() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(100_000);
    server.put_blob("a", layer.clone()).unwrap();
    server.inject(Fault::get("/blobs/", 1, Effect::EndEarly { after: 60_000 }));
    assert_eq!(pull(&client, &reference(&server, "a:1"), &blob_of(&layer)).await?, layer);
    Ok(())
}

#[tokio::test]
async fn damaged_blobs_are_refused_and_nothing_of_them_is_kept() {
    let (server, client) = (server(), client());
    let layer = content(100_000);
    server.put_blob("a", layer.clone()).unwrap();
    let (image, blob) = (reference(&server, "a:1"), blob_of(&layer));
    server.inject(Fault::get("/blobs/", 1, Effect::Corrupt));
    let mut sink = Vec::new();
    let error = client.pull_blob(&image, &blob, &mut sink, &silent()).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::Mismatch { expected, .. } if *expected == blob.digest),
        "{error}"
    );
    assert!(sink.is_empty());
    assert!(error.hint().is_some());
    for size in [0, 99_999, 100_001, 1 << 62] {
        let lying = Descriptor { size, ..blob.clone() };
        let error = client.pull_blob(&image, &lying, &mut sink, &silent()).await.unwrap_err();
        assert!(
            matches!(&error, RegistryError::Size { .. } | RegistryError::Mismatch { .. }),
            "{size}: {error}"
        );
        assert!(sink.is_empty());
    }
}

#[tokio::test]
async fn manifests_that_are_not_what_was_asked_for_are_refused() {
    let (server, client) = (server(), client());
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    let other = r#"{"schemaVersion":2,"manifests":[ ]}"#;
    let stored = server.put_manifest("a", "1", media_type::OCI_INDEX, index).unwrap();
    let image = reference(&server, "a:1").with_digest(stored.digest.clone());
    let digest_header = |digest: &oci::Digest| Effect::Header {
        name: "docker-content-digest".into(),
        value: Some(digest.to_string()),
    };

    // B is served for A, with A's digest in the header.
    let headers = vec![
        ("docker-content-digest".to_owned(), stored.digest.to_string()),
        ("content-type".to_owned(), media_type::OCI_INDEX.to_owned()),
    ];
    server.inject(Fault::get(
        "/manifests/",
        1,
        Effect::Answer { status: 200, headers, body: other.to_owned() },
    ));
    assert!(matches!(client.manifest(&image, None).await, Err(RegistryError::Mismatch { .. })));
    // HEAD says another digest than was asked for.
    server.inject(Fault::on(Method::HEAD, "/manifests/", 1, digest_header(&oci::Digest::of(b"x"))));
    assert!(matches!(client.resolve(&image).await, Err(RegistryError::Mismatch { .. })));
    // HEAD says A, GET gives B.
    let tagged = reference(&server, "a:1");
    server.inject(Fault::on(Method::HEAD, "/manifests/", 1, digest_header(&oci::Digest::of(b"x"))));
    let found = client.resolve(&tagged).await.unwrap();
    assert!(client.manifest(&tagged, Some(&found)).await.is_err());
    // Sizes that do not fit.
    for size in [stored.size - 1, stored.size + 1, 1 << 62] {
        let lying = Descriptor { size, ..stored.clone() };
        let error = client.manifest(&tagged, Some(&lying)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Size { .. } | RegistryError::TooLarge { .. }));
    }
    // Another kind of document than the descriptor says.
    let lying = Descriptor { media_type: media_type::OCI_MANIFEST.to_owned(), ..stored.clone() };
    assert!(matches!(
        client.manifest(&tagged, Some(&lying)).await,
        Err(RegistryError::Manifest { .. })
    ));
    // Two documents in one.
    let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
    server.put_manifest("a", "both", media_type::OCI_INDEX, both).unwrap();
    assert!(matches!(
        client.manifest(&reference(&server, "a:both"), None).await,
        Err(RegistryError::Manifest { .. })
    ));
    // Endless.
    let headers = vec![("content-type".to_owned(), media_type::OCI_INDEX.to_owned())];
    server.inject(Fault::get(
        "/manifests/",
        1,
        Effect::Answer { status: 200, headers, body: " ".repeat(5 << 20) },
    ));
    assert!(matches!(client.manifest(&tagged, None).await, Err(RegistryError::TooLarge { .. })));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_nothing_else() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let stored = server
        .put_manifest("a", "1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let image = reference(&server, "a:1");
    let status =
        |status| Effect::Answer { status, headers: vec![], body: "upstream is tired".to_owned() };
    for effect in [
        status(500),
        status(502),
        status(503),
        status(504),
        status(408),
        Effect::Close,
        Effect::RateLimit { retry_after: None },
    ] {
        server.inject(Fault::any("/manifests/", 2, effect));
        assert_eq!(client.resolve(&image).await?, stored);
        assert_eq!(client.manifest(&image, None).await?.0, stored);
    }
    server.take_received();
    for (effect, times) in
        [(status(400), 1), (status(404), 1), (status(403), 1), (status(501), 1), (status(503), 6)]
    {
        server.inject(Fault::get("/manifests/", 100, effect));
        let error = client.manifest(&image, None).await.unwrap_err();
        server.heal();
        assert_eq!(server.take_received().len(), times, "{error}");
    }
    server.inject(Fault::get("/manifests/", 100, status(503)));
    let error = client.manifest(&image, None).await.unwrap_err();
    let expected = format!(
        "{} failed with 503 Service Unavailable when asked for {}/a:1: upstream is tired",
        server.address(),
        server.address()
    );
    assert_eq!(error.to_string(), expected);
    Ok(())
}

#[tokio::test]
async fn a_rate_limit_is_obeyed_by_all_requests_and_told_when_too_long() -> Result<(), RegistryError>
{
    let server = server();
    let told = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&told);
    let notice: Notice = Arc::new(move |text| notices.lock().unwrap().push(text.to_owned()));
    let client = Client::new(ClientOptions { notice: Some(notice), ..options() });
    server
        .put_manifest("a", "1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let image = reference(&server, "a:1");
    server.inject(Fault::any("/manifests/", 1, Effect::RateLimit { retry_after: Some(2) }));
    let start = Instant::now();
    let (one, other) = tokio::join!(client.resolve(&image), client.manifest(&image, None));
    one?;
    other?;
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(
        told.lock().unwrap().first().is_some_and(|text| text.ends_with("; trying again in 2 s")),
        "{told:?}"
    );
    server.inject(Fault::any("/manifests/", 1, Effect::RateLimit { retry_after: Some(7200) }));
    let error = client.manifest(&image, None).await.unwrap_err();
    assert!(
        matches!(&error, RegistryError::RateLimited { retry_after: Some(after), .. } if after.as_secs() == 7200)
    );
    assert!(error.to_string().ends_with("you have reached your pull rate limit"), "{error}");
    assert!(error.hint().unwrap().starts_with("try again in 120 minutes"));
    Ok(())
}

#[tokio::test]
async fn a_blob_is_borrowed_from_another_repository() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(50_000);
    server.put_blob("base/image", layer.clone()).unwrap();
    let (image, blob) = (reference(&server, "app:1"), blob_of(&layer));
    let unused: Arc<dyn BlobSource> = Arc::new(|_: u64| -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::NotFound.into())
    });
    let from = [
        "elsewhere.example/base/image".to_owned(),
        "no/such".to_owned(),
        format!("{}/base/image", server.address()),
    ];
    assert_eq!(client.push_blob(&image, &blob, &unused, &from, &silent()).await?, Pushed::Mounted);
    assert!(client.has_blob(&image, &blob).await?);
    let asked: Vec<String> = server
        .take_received()
        .into_iter()
        .filter(|it| it.method == "POST")
        .map(|it| it.path)
        .collect();
    assert_eq!(asked.len(), 2, "{asked:?}");

    // One that lends nothing gets an upload instead, in the session it opened.
    let other = content(50_001);
    let blob = blob_of(&other);
    let from = ["base/image".to_owned()];
    assert_eq!(
        client.push_blob(&image, &blob, &source(&other), &from, &silent()).await?,
        Pushed::Uploaded
    );
    assert_eq!(server.take_received().iter().filter(|it| it.method == "POST").count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_it_broke() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(3_000_000);
    let (image, blob) = (reference(&server, "a:1"), blob_of(&layer));
    server.inject(Fault::on(
        Method::PUT,
        "/blobs/uploads/",
        1,
        Effect::CutUpload { after: 1_000_000 },
    ));
    server.inject(Fault::on(
        Method::PATCH,
        "/blobs/uploads/",
        1,
        Effect::CutUpload { after: 500_000 },
    ));
    assert_eq!(
        client.push_blob(&image, &blob, &source(&layer), &[], &silent()).await?,
        Pushed::Uploaded
    );
    let received = server.take_received();
    let pieces: Vec<_> = received
        .iter()
        .filter(|it| it.method == "PATCH")
        .map(|it| it.range.clone().unwrap())
        .collect();
    assert_eq!(pieces, ["1000000-2999999", "1500000-2999999"]);
    assert_eq!(server.blob(&blob.digest), Some(layer));
    Ok(())
}

#[tokio::test]
async fn an_upload_that_the_registry_forgot_begins_again() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(1_000_000);
    let (image, blob) = (reference(&server, "a:1"), blob_of(&layer));
    let gone = Effect::Answer { status: 404, headers: vec![], body: String::new() };
    server.inject(Fault::on(Method::PUT, "/blobs/uploads/", 1, gone.clone()));
    assert_eq!(
        client.push_blob(&image, &blob, &source(&layer), &[], &silent()).await?,
        Pushed::Uploaded
    );
    let other = content(1_000_001);
    server.inject(Fault::on(Method::PUT, "/blobs/uploads/", 1, Effect::CutUpload { after: 1000 }));
    server.inject(Fault::get("/blobs/uploads/", 1, gone));
    assert_eq!(
        client.push_blob(&image, &blob_of(&other), &source(&other), &[], &silent()).await?,
        Pushed::Uploaded
    );
    assert_eq!(server.blob(&blob_of(&other).digest), Some(other));
    Ok(())
}

#[tokio::test]
async fn uploads_go_in_pieces_where_that_is_wanted() -> Result<(), RegistryError> {
    let server = server();
    let client = Client::new(ClientOptions { upload_chunk: Some(400_000), ..options() });
    for size in [0, 1, 400_000, 1_000_000, 1_200_000] {
        let layer = content(size);
        let blob = blob_of(&layer);
        assert_eq!(
            client
                .push_blob(&reference(&server, "a:1"), &blob, &source(&layer), &[], &silent())
                .await?,
            Pushed::Uploaded
        );
        assert_eq!(server.blob(&blob.digest), Some(layer));
    }
    // A proxy that limits the size of requests.
    let client = Client::new(options());
    let layer = content(1_500_000);
    let too_large = Effect::Answer { status: 413, headers: vec![], body: String::new() };
    server.inject(Fault::on(Method::PUT, "/blobs/uploads/", 1, too_large));
    assert_eq!(
        client
            .push_blob(
                &reference(&server, "b:1"),
                &blob_of(&layer),
                &source(&layer),
                &[],
                &silent()
            )
            .await?,
        Pushed::Uploaded
    );
    Ok(())
}

#[tokio::test]
async fn a_source_that_cannot_be_read_or_lies_fails_the_push() {
    let (server, client) = (server(), client());
    let layer = content(1_000_000);
    let blob = blob_of(&layer);
    let image = reference(&server, "a:1");
    let short = source(&layer.slice(..900_000));
    let error = client.push_blob(&image, &blob, &short, &[], &silent()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Source { .. }), "{error:?}");
    let other = source(&content(1_000_001).slice(1..));
    let error = client.push_blob(&image, &blob, &other, &[], &silent()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. }), "{error:?}");
    assert_eq!(server.blob(&blob.digest), None);
}

#[tokio::test]
async fn progress_of_an_upload_ends_with_its_size() -> Result<(), RegistryError> {
    let (server, client) = (server(), client());
    let layer = content(2_000_000);
    let last = Arc::new(AtomicU64::new(0));
    let watched = Arc::clone(&last);
    let progress: ProgressFn = Arc::new(move |bytes| watched.store(bytes, Ordering::Relaxed));
    client
        .push_blob(&reference(&server, "a:1"), &blob_of(&layer), &source(&layer), &[], &progress)
        .await?;
    assert_eq!(last.load(Ordering::Relaxed), 2_000_000);
    Ok(())
}

#[tokio::test]
async fn mirrors_are_asked_first_and_replaced_when_they_fail() -> Result<(), RegistryError> {
    let (upstream, mirror) = (server(), server());
    let layer = content(100_000);
    let raw = r#"{"schemaVersion":2,"manifests":[]}"#;
    for server in [&upstream, &mirror] {
        server.put_blob("a", layer.clone()).unwrap();
        server.put_manifest("a", "1", media_type::OCI_INDEX, raw).unwrap();
    }
    let dead = Mirror::new("http://127.0.0.1:1");
    let pull_only = Mirror {
        capabilities: vec![Capability::Pull],
        ..Mirror::new(&format!("http://{}", mirror.address()))
    };
    let host = Host { mirrors: vec![dead, pull_only], ..Host::default() };
    let client = Client::new(ClientOptions {
        hosts: Hosts([(upstream.address(), host)].into()),
        ..options()
    });
    let (image, blob) = (reference(&upstream, "a:1"), blob_of(&layer));

    client.resolve(&image).await?;
    assert!(mirror.take_received().is_empty(), "it may not be asked what names mean");
    assert!(!upstream.take_received().is_empty());
    assert_eq!(pull(&client, &image, &blob).await?, layer);
    assert!(upstream.take_received().is_empty());
    let asked = mirror.take_received();
    assert!(
        asked.iter().any(|it| it
            .path
            .ends_with(&format!("?ns={}", upstream.address().replace(':', "%3A")))),
        "{asked:?}"
    );

    // What the mirror has is damaged, cut, or not there.
    for effect in [
        Effect::Corrupt,
        Effect::Answer { status: 404, headers: vec![], body: String::new() },
        Effect::Answer { status: 500, headers: vec![], body: String::new() },
    ] {
        mirror.inject(Fault::any("/blobs/", 100, effect));
        assert_eq!(pull(&client, &image, &blob).await?, layer);
        assert!(!upstream.take_received().is_empty());
        mirror.heal();
    }
    // Pushes go to the registry itself.
    mirror.take_received();
    let more = content(10);
    client.push_blob(&image, &blob_of(&more), &source(&more), &[], &silent()).await?;
    assert!(mirror.take_received().is_empty());
    Ok(())
}

#[tokio::test]
async fn failures_say_what_is_wrong_and_what_helps() {
    let (server, client) = (server(), client());
    server.put_blob("a", content(1)).unwrap();
    let missing = client.resolve(&reference(&server, "a:none")).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let nobody: Reference = format!("127.0.0.1:{port}/a:1").parse().unwrap();
    let refused = client.resolve(&nobody).await.unwrap_err();
    assert!(matches!(refused, RegistryError::ConnectionRefused { .. }), "{refused:?}");
    let nowhere: Reference = "no-such-host.invalid/a:1".parse().unwrap();
    let unknown = client.resolve(&nowhere).await.unwrap_err();
    assert!(matches!(unknown, RegistryError::Dns { .. }), "{unknown:?}");
    for error in [missing, refused, unknown] {
        assert!(error.hint().is_some());
    }
    // A server that says nothing.
    let silent_server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent_server.local_addr().unwrap();
    let host = Host { plain_http: true, ..Host::default() };
    let retry = RetryOptions { attempts: 1, ..RetryOptions::default() };
    let hosts = Hosts([(address.to_string(), host)].into());
    let client = Client::new(ClientOptions {
        retry,
        hosts,
        response_timeout: Duration::from_millis(100),
        ..options()
    });
    let error = client.resolve(&format!("{address}/a:1").parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn a_proxy_is_used_except_where_it_is_not_to_be() {
    let server = server();
    server
        .put_manifest("a", "1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#)
        .unwrap();
    let image: Reference = "registry.invalid/a:1".parse().unwrap();
    let with = |no_proxy: &str| {
        let hosts = Hosts([("*".to_owned(), Host { plain_http: true, ..Host::default() })].into());
        let http = Some(format!("http://{}", server.address()));
        let proxy = ProxyOptions { http, https: None, no_proxy: no_proxy.to_owned() };
        Client::new(ClientOptions { hosts, proxy, ..options() })
    };
    with("").resolve(&image).await.unwrap();
    assert!(server.take_received().iter().any(|it| it.path.starts_with("/v2/a/manifests/")));
    with("other.invalid").resolve(&image).await.unwrap();
    let error = with("registry.invalid").resolve(&image).await.unwrap_err();
    assert!(matches!(error, RegistryError::Dns { .. }), "{error:?}");
    // This machine is always reached directly: nobody proxies `localhost`.
    let nobody =
        ProxyOptions { http: Some("http://127.0.0.1:1".to_owned()), ..ProxyOptions::default() };
    let client = Client::new(ClientOptions { proxy: nobody, ..options() });
    client.resolve(&reference(&server, "a:1")).await.unwrap();
}
