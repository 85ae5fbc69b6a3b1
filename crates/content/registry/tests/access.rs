//! Credentials: who gets them, and who must not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use oci::{Descriptor, Reference, media_type};
use registry::server::{Access, Effect, Fault, Received, Server, ServerOptions};
use registry::{
    BlobSource, Client, ClientOptions, Credential, Credentials, DockerConfig, Host, Hosts, Mirror,
    Pushed, RegistryError, RetryOptions, StaticCredentials, silent,
};

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn server(access: Access) -> Server {
    let server = Server::start(ServerOptions { access, ..ServerOptions::default() }).unwrap();
    server.put_manifest("a", "1", media_type::OCI_INDEX, INDEX).unwrap();
    server.put_blob("a", &b"layer"[..]).unwrap();
    server
}

fn basic() -> Access {
    Access::Basic { user: "u".to_owned(), password: "p:w".to_owned() }
}

fn client(credentials: impl Credentials + 'static) -> Client {
    with_hosts(credentials, Hosts::default())
}

fn with_hosts(credentials: impl Credentials + 'static, hosts: Hosts) -> Client {
    let retry = RetryOptions { first_delay: Duration::from_millis(5), ..RetryOptions::default() };
    Client::new(ClientOptions {
        retry,
        hosts,
        credentials: Arc::new(credentials),
        ..ClientOptions::default()
    })
}

fn known(server: &Server) -> StaticCredentials {
    StaticCredentials::basic(&server.address(), "u", "p:w")
}

fn image(server: &Server) -> Reference {
    format!("{}/a:1", server.address()).parse().unwrap()
}

fn layer() -> Descriptor {
    Descriptor::of(media_type::OCI_LAYER, b"layer")
}

async fn pull(client: &Client, from: &Reference) -> Result<Vec<u8>, RegistryError> {
    let mut sink = Vec::new();
    client.pull_blob(from, &layer(), &mut sink, &silent()).await.map(|()| sink)
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Effect {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Effect::Answer { status, headers, body: String::new() }
}

fn token_requests(received: &[Received]) -> usize {
    received.iter().filter(|it| it.path.starts_with("/token")).count()
}

#[tokio::test]
async fn a_password_opens_and_its_lack_is_told() {
    let server = server(basic());
    assert!(client(known(&server)).resolve(&image(&server)).await.is_ok());
    let error = client(registry::NoCredentials).resolve(&image(&server)).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { with_credentials: false, .. }),
        "{error:?}"
    );
    assert_eq!(error.hint(), Some(format!("run `crossdock login {}`", server.address())));
    let wrong = StaticCredentials::basic(&server.address(), "u", "wrong");
    let error = client(wrong).resolve(&image(&server)).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { with_credentials: true, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_token_is_fetched_once_per_scope_and_used_for_all() -> Result<(), RegistryError> {
    let server = server(Access::bearer("u", "p:w"));
    let client = client(known(&server));
    let image = image(&server);
    for _ in 0..3 {
        client.resolve(&image).await?;
        assert_eq!(pull(&client, &image).await?, b"layer");
    }
    assert_eq!(token_requests(&server.take_received()), 1);
    let content = Bytes::from_static(b"new");
    let source: Arc<dyn BlobSource> = Arc::new(content.clone());
    let blob = Descriptor::of(media_type::OCI_LAYER, &content);
    assert_eq!(client.push_blob(&image, &blob, &source, &[], &silent()).await?, Pushed::Uploaded);
    client
        .push_manifest(
            &image,
            &Descriptor::of(media_type::OCI_INDEX, INDEX.as_bytes()),
            INDEX.as_bytes(),
        )
        .await?;
    let received = server.take_received();
    assert_eq!(token_requests(&received), 1);
    let scope = "scope=repository%3Aa%3Apull%2Cpush";
    assert!(
        received.iter().any(|it| it.path.starts_with("/token") && it.path.contains(scope)),
        "{received:?}"
    );
    // Borrowing asks for both repositories.
    let other: Reference = format!("{}/b:1", server.address()).parse().unwrap();
    assert_eq!(
        client.push_blob(&other, &blob, &source, &["a".to_owned()], &silent()).await?,
        Pushed::Mounted
    );
    Ok(())
}

#[tokio::test]
async fn a_token_that_ends_is_replaced_even_during_uploads() -> Result<(), RegistryError> {
    let access = Access::Bearer {
        user: "u".to_owned(),
        password: "p:w".to_owned(),
        identity_token: None,
        anonymous_pull: false,
        lifetime: Duration::from_millis(30),
    };
    let server = server(access);
    let client = client(known(&server));
    for size in [10, 1_000_000] {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let content = Bytes::from(vec![7; size]);
        let source: Arc<dyn BlobSource> = Arc::new(content.clone());
        let blob = Descriptor::of(media_type::OCI_LAYER, &content);
        assert_eq!(
            client.push_blob(&image(&server), &blob, &source, &[], &silent()).await?,
            Pushed::Uploaded
        );
        assert_eq!(server.blob(&blob.digest), Some(content));
    }
    Ok(())
}

#[tokio::test]
async fn anonymous_tokens_read_and_do_not_write() -> Result<(), RegistryError> {
    let access = Access::Bearer {
        user: "u".to_owned(),
        password: "p:w".to_owned(),
        identity_token: Some("refresh".to_owned()),
        anonymous_pull: true,
        lifetime: Duration::from_mins(1),
    };
    let server = server(access);
    let anonymous = client(registry::NoCredentials);
    anonymous.resolve(&image(&server)).await?;
    let source: Arc<dyn BlobSource> = Arc::new(Bytes::from_static(b"new"));
    let blob = Descriptor::of(media_type::OCI_LAYER, b"new");
    let error =
        anonymous.push_blob(&image(&server), &blob, &source, &[], &silent()).await.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unauthorized { with_credentials: false, .. }),
        "{error:?}"
    );
    // An identity token is exchanged with POST, and never sent to the registry itself.
    let identity = StaticCredentials(
        [(server.address(), Credential::IdentityToken("refresh".to_owned()))].into(),
    );
    server.take_received();
    assert_eq!(
        client(identity).push_blob(&image(&server), &blob, &source, &[], &silent()).await?,
        Pushed::Uploaded
    );
    let received = server.take_received();
    assert!(received.iter().any(|it| it.method == "POST" && it.path == "/token"));
    assert!(received.iter().all(|it| !format!("{it:?}").contains("refresh")), "{received:?}");
    Ok(())
}

#[tokio::test]
async fn a_login_is_checked() -> Result<(), RegistryError> {
    let (with_basic, with_tokens, open) =
        (server(basic()), server(Access::bearer("u", "p:w")), server(Access::Open));
    let client = client(registry::NoCredentials);
    let good = Credential::Basic { user: "u".to_owned(), password: "p:w".to_owned() };
    let bad = Credential::Basic { user: "u".to_owned(), password: "x".to_owned() };
    for server in [&with_basic, &with_tokens] {
        client.check_login(&server.address(), &good).await?;
        let error = client.check_login(&server.address(), &bad).await.unwrap_err();
        assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    }
    client.check_login(&open.address(), &bad).await
}

#[tokio::test]
async fn a_realm_on_another_server_gets_nothing() {
    let (server, evil) = (server(Access::bearer("u", "p:w")), server(Access::bearer("u", "p:w")));
    let client = client(known(&server));
    let realms = [
        format!("http://{}/token", evil.address()),
        format!("//{}/token", evil.address()),
        format!("http://u@{}/token", server.address()),
        "file:///etc/passwd".to_owned(),
        "http://169.254.169.254/latest".to_owned(),
        format!("https://{}/token", server.address()),
    ];
    for realm in realms {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"x\"");
        server.inject(Fault::any(
            "/manifests/",
            2,
            answer(401, &[("www-authenticate", &challenge)]),
        ));
        let error = client.manifest(&image(&server), None).await.unwrap_err();
        server.heal();
        assert!(matches!(&error, RegistryError::Realm { .. }), "{realm}: {error:?}");
        assert!(error.hint().is_some());
    }
    assert!(evil.take_received().is_empty());
    // Of two challenges the one that is bound to the registry is used, in either order.
    let good = format!("Bearer realm=\"http://{}/token\",service=\"x\"", server.address());
    let bad = format!("Bearer realm=\"http://{}/token\",service=\"x\"", evil.address());
    for (first, second) in [(&good, &bad), (&bad, &good)] {
        let fresh = self::client(known(&server));
        let headers = [("www-authenticate", first.as_str()), ("www-authenticate", second.as_str())];
        server.inject(Fault::any("/manifests/", 1, answer(401, &headers)));
        fresh.manifest(&image(&server), None).await.unwrap();
    }
    assert!(evil.take_received().is_empty());
}

#[tokio::test]
async fn a_redirect_takes_no_credentials_along() -> Result<(), RegistryError> {
    for access in [basic(), Access::bearer("u", "p:w")] {
        let (server, other) = (server(access), server(Access::Open));
        let client = client(known(&server));
        let to = format!("http://{}", other.address());
        client.resolve(&image(&server)).await?;
        server.inject(Fault::get("/blobs/", 1, Effect::Redirect { to: to.clone() }));
        assert_eq!(pull(&client, &image(&server)).await?, b"layer");
        server.inject(Fault::get("/manifests/", 1, Effect::Redirect { to: to.clone() }));
        client.manifest(&image(&server), None).await?;
        server.inject(Fault::on(
            Method::HEAD,
            "/manifests/",
            1,
            Effect::Redirect { to: to.clone() },
        ));
        client.resolve(&image(&server)).await?;
        // An upload that is to go on elsewhere.
        let content = Bytes::from_static(b"elsewhere");
        let blob = Descriptor::of(media_type::OCI_LAYER, &content);
        let source: Arc<dyn BlobSource> = Arc::new(content);
        server.inject(Fault::on(Method::POST, "/uploads/", 1, Effect::Redirect { to: to.clone() }));
        client.push_blob(&image(&server), &blob, &source, &[], &silent()).await?;
        // It asks for credentials itself.
        let challenges = [("www-authenticate", "Basic realm=\"x\"")];
        server.inject(Fault::get("/blobs/", 1, Effect::Redirect { to: to.clone() }));
        other.inject(Fault::any("/", 1, answer(401, &challenges)));
        assert!(pull(&client, &image(&server)).await.is_err());
        let received = other.take_received();
        assert!(received.len() >= 5, "{received:?}");
        assert!(received.iter().all(|it| it.authorization.is_none()), "{received:?}");
    }
    Ok(())
}

#[tokio::test]
async fn redirects_that_lead_astray_are_not_followed() {
    let server = server(Access::Open);
    let client = client(registry::NoCredentials);
    let round = format!("/v2/a/blobs/{}", layer().digest);
    for (to, times) in [
        ("ftp://x/", 1),
        ("http://u:p@127.0.0.1/", 1),
        ("", 1),
        ("http://", 1),
        (round.as_str(), 20),
    ] {
        server.inject(Fault::get("/blobs/", times, answer(302, &[("location", to)])));
        let error = pull(&client, &image(&server)).await.unwrap_err();
        server.heal();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{to}: {error:?}");
    }
    let source: Arc<dyn BlobSource> = Arc::new(Bytes::from_static(b"x"));
    server.inject(Fault::on(
        Method::PUT,
        "/uploads/",
        1,
        answer(302, &[("location", "/v2/elsewhere")]),
    ));
    let blob = Descriptor::of(media_type::OCI_LAYER, b"x");
    assert!(matches!(
        client.push_blob(&image(&server), &blob, &source, &[], &silent()).await,
        Err(RegistryError::Redirect { .. })
    ));
}

#[tokio::test]
async fn plain_http_gets_no_credentials_unless_it_is_said_or_near() {
    let server = server(basic());
    // This machine by another name, so that it does not look near.
    let far = StaticCredentials::basic("registry.invalid", "u", "p:w");
    let mirror = Mirror::new(&format!("http://{}", server.address()));
    let near = StaticCredentials::basic(&server.address(), "u", "p:w");
    let hosts = Hosts(
        [("registry.invalid".to_owned(), Host { mirrors: vec![mirror], ..Host::default() })].into(),
    );
    let image: Reference = "registry.invalid/a:1".parse().unwrap();
    // The mirror has credentials of its own, not those of the registry it stands for.
    assert!(with_hosts(far, hosts.clone()).resolve(&image).await.is_err());
    assert!(server.take_received().iter().all(|it| it.authorization.is_none()));
    assert!(with_hosts(near, hosts).resolve(&image).await.is_ok());
}

/// A directory with a credential helper that answers with `script`.
fn helper(script: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let name = "crossdock-test";
    let path = directory.path().join(format!("docker-credential-{name}"));
    fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    (directory, name.to_owned())
}

#[test]
fn helpers_are_asked_as_docker_asks_them() {
    let config = |script: &str| {
        let (directory, name) = helper(script);
        let text = format!(
            r#"{{"auths":{{"r.example":{{}}}},"credHelpers":{{"r.example":"{name}","other.example":"none"}}}}"#
        );
        let path = directory.path().join("config.json");
        let config = DockerConfig::parse(&path, text.as_bytes())
            .unwrap()
            .search_in(vec![directory.path().to_owned()]);
        (config.helper_time(Duration::from_millis(500)), directory)
    };
    let (found, _kept) = config(
        r#"read url; [ "$1 $url" = "get r.example" ] && echo '{"ServerURL":"r.example","Username":"u","Secret":"s"}'"#,
    );
    let expected = Credential::Basic { user: "u".to_owned(), password: "s".to_owned() };
    assert_eq!(found.credential("r.example").unwrap(), Some(expected.clone()));
    assert_eq!(found.credential("unknown.example").unwrap(), None);
    assert!(found.credential("other.example").is_err(), "its helper does not exist");
    let (token, _kept) = config(r#"echo '{"ServerURL":"","Username":"<token>","Secret":"t"}'"#);
    assert_eq!(
        token.credential("r.example").unwrap(),
        Some(Credential::IdentityToken("t".to_owned()))
    );
    let (none, _kept) = config("echo 'credentials not found in native keychain'; exit 1");
    assert_eq!(none.credential("r.example").unwrap(), None);
    for (script, message) in [
        ("echo locked; exit 1", "locked"),
        ("echo locked >&2; exit 3", "locked"),
        ("exit 1", "exit status: 1"),
        ("echo garbage", "something else than credentials"),
        (r#"echo '{"ServerURL":"evil.example","Username":"u","Secret":"s"}'"#, "another registry"),
        ("sleep 5", "did not answer"),
        ("exec yes", "y y y"),
    ] {
        let (config, _kept) = config(script);
        let error = config.credential("r.example").unwrap_err().to_string();
        assert!(error.contains(message), "{script}: {error}");
    }
    // Login and logout go to the helper too.
    let (mut kept, directory) = config(
        r#"cat > "$(dirname "$0")/$1"; [ $1 = get ] && echo '{"ServerURL":"r.example","Username":"u","Secret":"s"}'; exit 0"#,
    );
    kept.store("r.example", &expected).unwrap();
    let stored = fs_err::read_to_string(directory.path().join("store")).unwrap();
    assert_eq!(stored, r#"{"Secret":"s","ServerURL":"r.example","Username":"u"}"#);
    let saved = fs_err::read_to_string(directory.path().join("config.json")).unwrap();
    assert!(!saved.contains("\"s\""), "{saved}");
    assert!(kept.erase("r.example").unwrap());
    assert_eq!(fs_err::read_to_string(directory.path().join("erase")).unwrap(), "r.example");
}

#[tokio::test]
async fn an_upload_that_is_sent_elsewhere_takes_no_credentials_along() {
    let (server, other) = (server(basic()), server(Access::Open));
    let client = client(known(&server));
    let elsewhere = other.address();
    let upload = |name: &str| format!("/v2/{name}/blobs/uploads/upload-1?state=x");
    let cases = [
        (format!("http://{elsewhere}{}", upload("a")), true),
        (format!("//{elsewhere}{}", upload("a")), true),
        (format!("http://u:p@{elsewhere}{}", upload("a")), false),
        ("gopher://x/".to_owned(), false),
        (String::new(), false),
    ];
    for (number, (location, followed)) in cases.into_iter().enumerate() {
        let content = Bytes::from(format!("content {number}"));
        let blob = Descriptor::of(media_type::OCI_LAYER, &content);
        let source: Arc<dyn BlobSource> = Arc::new(content);
        let header = Effect::Header { name: "location".to_owned(), value: Some(location.clone()) };
        // The first request is the one that is answered with 401.
        server.inject(Fault::on(Method::POST, "/uploads/", 1, header));
        let outcome = client.push_blob(&image(&server), &blob, &source, &[], &silent()).await;
        server.heal();
        let received = other.take_received();
        assert_eq!(!received.is_empty(), followed, "{location}: {outcome:?}");
        assert!(received.iter().all(|it| it.authorization.is_none()), "{received:?}");
        // What the other server does not know is begun again where it should be.
        assert_eq!(outcome.is_ok(), followed, "{location}: {outcome:?}");
        assert_eq!(server.blob(&blob.digest).is_some(), followed);
    }
}
