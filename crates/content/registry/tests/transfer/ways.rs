//! The way there: retries, rate limits, mirrors, proxies, and what failures say.

use super::*;

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
