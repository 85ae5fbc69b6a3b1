//! What comes from a registry: resolved once, resumed, verified.

use super::*;

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
