//! Against the registry that most people run: Debian's `docker-registry`. Skipped, and says so, where it is not installed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what is not tested is said")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use oci::{Descriptor, Document, Index, Manifest, Reference, media_type};
use registry::{BlobSource, Client, ClientOptions, Pushed, RegistryError, RetryOptions, silent};

struct DockerRegistry {
    process: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl DockerRegistry {
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let config = directory.path().join("config.yml");
        let root = directory.path().join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: '{address}'}}\n",
            root.display()
        );
        fs_err::write(&config, text).unwrap();
        #[expect(clippy::disallowed_methods, reason = "the other side of the test")]
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            eprintln!(
                "skipped: `docker-registry` is not installed (Debian package docker-registry)"
            );
            return None;
        };
        let started = Self { process, address, _directory: directory };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&started.address).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(started)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn client(chunk: Option<u64>) -> Client {
    let retry = RetryOptions { first_delay: Duration::from_millis(20), ..RetryOptions::default() };
    Client::new(ClientOptions { retry, upload_chunk: chunk, ..ClientOptions::default() })
}

fn content(size: usize) -> Bytes {
    let mut state = u32::try_from(size).unwrap();
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect::<Vec<u8>>().into()
}

/// Passes connections on, and cuts the first `cuts` that sent, or received, more than `after` bytes.
fn cutting_proxy(to: &str, cuts: usize, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (to, left) = (to.to_owned(), Arc::new(AtomicUsize::new(cuts)));
    std::thread::spawn(move || {
        for inner in listener.incoming() {
            let (inner, outer) = (inner.unwrap(), TcpStream::connect(&to).unwrap());
            for (mut from, mut into) in
                [(inner.try_clone().unwrap(), outer.try_clone().unwrap()), (outer, inner)]
            {
                let left = Arc::clone(&left);
                std::thread::spawn(move || {
                    let (mut buffer, mut total) = (vec![0; 16 << 10], 0);
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        total += count;
                        let cut = total > after
                            && left
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                                    left.checked_sub(1)
                                })
                                .is_ok();
                        if cut || into.write_all(buffer.get(..count).unwrap_or_default()).is_err() {
                            break;
                        }
                    }
                    into.shutdown(Shutdown::Both).ok();
                    from.shutdown(Shutdown::Both).ok();
                });
            }
        }
    });
    address
}

async fn round_trip(
    client: &Client,
    image: &Reference,
    size: usize,
) -> Result<Descriptor, RegistryError> {
    let layer = content(size);
    let blob = Descriptor::of(media_type::OCI_LAYER_GZIP, &layer);
    let source: Arc<dyn BlobSource> = Arc::new(layer.clone());
    assert_eq!(client.push_blob(image, &blob, &source, &[], &silent()).await?, Pushed::Uploaded);
    let mut sink = Vec::new();
    client.pull_blob(image, &blob, &mut sink, &silent()).await?;
    assert_eq!(sink, layer);
    Ok(blob)
}

#[tokio::test(flavor = "multi_thread")]
async fn images_go_there_and_back() -> Result<(), RegistryError> {
    let Some(server) = DockerRegistry::start() else { return Ok(()) };
    let client = client(None);
    let image: Reference = format!("{}/team/app:v1", server.address).parse().unwrap();
    let layer = round_trip(&client, &image, 5_000_000).await?;
    let config = Bytes::from_static(b"{}");
    let config_blob = Descriptor::of(media_type::OCI_CONFIG, &config);
    let source: Arc<dyn BlobSource> = Arc::new(config);
    client.push_blob(&image, &config_blob, &source, &[], &silent()).await?;
    assert_eq!(
        client.push_blob(&image, &config_blob, &source, &[], &silent()).await?,
        Pushed::Exists
    );
    let manifest = Document::write(Manifest::new(config_blob, vec![layer.clone()]));
    let descriptor = manifest.descriptor(media_type::OCI_MANIFEST);
    client.push_manifest_by_digest(&image, &descriptor, &manifest.raw).await?;
    let index = Document::write(Index::new(vec![descriptor.clone()]));
    let index_descriptor = index.descriptor(media_type::OCI_INDEX);
    client.push_manifest(&image, &index_descriptor, &index.raw).await?;
    assert_eq!(client.resolve(&image).await?, index_descriptor);
    assert_eq!(client.manifest(&image, Some(&descriptor)).await?.1.as_ref(), manifest.raw.as_ref());
    assert!(client.resolve(&image.with_tag("none")).await.unwrap_err().is_not_found());

    let other: Reference = format!("{}/team/other:v1", server.address).parse().unwrap();
    let unused: Arc<dyn BlobSource> = Arc::new(Bytes::new());
    assert_eq!(
        client.push_blob(&other, &layer, &unused, &["team/app".to_owned()], &silent()).await?,
        Pushed::Mounted
    );
    round_trip(&client, &other, 0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_in_pieces() -> Result<(), RegistryError> {
    let Some(server) = DockerRegistry::start() else { return Ok(()) };
    let image: Reference = format!("{}/app:v1", server.address).parse().unwrap();
    for size in [999_999, 1_000_000, 2_500_000] {
        round_trip(&client(Some(1_000_000)), &image, size).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_are_survived_both_ways() -> Result<(), RegistryError> {
    let Some(server) = DockerRegistry::start() else { return Ok(()) };
    for (number, after) in [1_000_000, 3_000_000].into_iter().enumerate() {
        let proxy = cutting_proxy(&server.address, 3, after);
        let image: Reference = format!("{proxy}/app{number}:v1").parse().unwrap();
        round_trip(&client(None), &image, 8_000_000).await?;
    }
    Ok(())
}
