//! Pull and push against the in-process registry, well and badly behaved.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod pulls;
mod pushes;
mod ways;

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
