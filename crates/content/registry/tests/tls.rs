//! TLS: who is trusted, and what happens when nobody can be.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci::{Descriptor, Reference, media_type};
use registry::server::{Effect, Fault, Server, ServerOptions};
use registry::{
    Client, ClientOptions, ForeignLayers, Host, Hosts, RegistryError, StaticCredentials, silent,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Speaks TLS in front of a server.
async fn front(server: &Server) -> SocketAddr {
    let chain =
        CertificateDer::pem_file_iter(data("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(data("server-key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, behind) = (listener.local_addr().unwrap(), server.address());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut outer) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(behind).await.unwrap();
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await.ok();
            });
        }
    });
    address
}

fn server() -> Server {
    let server = Server::start(ServerOptions::default()).unwrap();
    server.put_manifest("a", "1", media_type::OCI_INDEX, INDEX).unwrap();
    server.put_blob("a", &b"layer"[..]).unwrap();
    server
}

fn client(address: &str, host: Host) -> Client {
    Client::new(ClientOptions {
        hosts: Hosts([(address.to_owned(), host)].into()),
        ..ClientOptions::default()
    })
}

fn image(address: &str) -> Reference {
    format!("{address}/a:1").parse().unwrap()
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_it_is_named() {
    let server = server();
    let address = front(&server).await.to_string();
    let named = Host { ca: Some(data("ca.pem")), ..Host::default() };
    client(&address, named).resolve(&image(&address)).await.unwrap();
    // Verification is on: the server's own certificate is no authority, and signs nothing.
    let other = Host { ca: Some(data("other-ca.pem")), ..Host::default() };
    let error = client(&address, other).resolve(&image(&address)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Tls { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("`ca`"));
    // On this machine, and where it was said, certificates are not asked for.
    client(&address, Host::default()).resolve(&image(&address)).await.unwrap();
    let insecure = Host { insecure: true, ..Host::default() };
    client(&address, insecure).resolve(&image(&address)).await.unwrap();
}

#[tokio::test]
async fn settings_that_cannot_be_read_are_told() {
    let address = front(&server()).await.to_string();
    for (path, what) in [(data("none.pem"), "missing"), (data("README.md"), "no PEM")] {
        let host = Host { ca: Some(path), ..Host::default() };
        let error = client(&address, host).resolve(&image(&address)).await.unwrap_err();
        assert!(matches!(error, RegistryError::Setting { .. }), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_redirect_does_not_leave_tls() {
    let server = server();
    let address = front(&server).await.to_string();
    let client = client(&address, Host::default());
    let blob = Descriptor::of(media_type::OCI_LAYER, b"layer");
    server.inject(Fault::get(
        "/blobs/",
        1,
        Effect::Redirect { to: format!("http://{}", server.address()) },
    ));
    let mut sink = Vec::new();
    let error = client.pull_blob(&image(&address), &blob, &mut sink, &silent()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::Redirect { reason: "it leaves TLS", .. }), "{error:?}");
}

#[tokio::test]
async fn plain_http_is_found_on_this_machine_and_needs_a_word_elsewhere() {
    let server = server();
    let address = server.address();
    client(&address, Host::default()).resolve(&image(&address)).await.unwrap();
    client(&address, Host { plain_http: true, ..Host::default() })
        .resolve(&image(&address))
        .await
        .unwrap();
    // With an authority given, TLS is meant; but a server on this machine that speaks none is still found.
    let named = Host { ca: Some(data("ca.pem")), ..Host::default() };
    client(&address, named).resolve(&image(&address)).await.unwrap();
}

#[tokio::test]
async fn a_layer_from_elsewhere_is_fetched_without_credentials_and_only_where_that_is_allowed() {
    let (registry, elsewhere) = (server(), server());
    let outside = front(&elsewhere).await;
    let digest = elsewhere.put_blob("cdn", &b"foreign"[..]).unwrap();
    let blob = Descriptor {
        urls: vec![
            format!("http://{}/v2/cdn/blobs/{digest}", elsewhere.address()),
            format!("https://u:p@{outside}/v2/cdn/blobs/{digest}"),
            format!("https://{outside}/v2/cdn/blobs/{digest}"),
        ],
        ..Descriptor::of(media_type::DOCKER_LAYER_FOREIGN_GZIP, b"foreign")
    };
    let pull = async |foreign_layers| {
        let named = Host { ca: Some(data("ca.pem")), ..Host::default() };
        let credentials = Arc::new(StaticCredentials::basic(&outside.to_string(), "u", "p"));
        let hosts = Hosts([(outside.to_string(), named)].into());
        let client = Client::new(ClientOptions {
            hosts,
            credentials,
            foreign_layers,
            ..ClientOptions::default()
        });
        let mut sink = Vec::new();
        client
            .pull_blob(&image(&registry.address()), &blob, &mut sink, &silent())
            .await
            .map(|()| sink)
    };
    assert_eq!(pull(ForeignLayers::SameDomain).await.unwrap(), b"foreign");
    // An address of this machine is nowhere a registry may send anybody.
    for refused in [ForeignLayers::Refuse, ForeignLayers::Anywhere] {
        assert!(pull(refused).await.unwrap_err().is_not_found());
    }
    let received = elsewhere.take_received();
    assert_eq!(received.len(), 1, "{received:?}");
    assert!(received.iter().all(|it| it.authorization.is_none()));
}
