//! What goes to a registry: borrowed, resumed, in pieces.

use super::*;

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
