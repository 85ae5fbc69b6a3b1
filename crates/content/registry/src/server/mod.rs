//! A registry in this process: small, whole, and on request unreliable.
//!
//! It speaks the distribution specification 1.1 (push, pull, mount, chunked and resumed uploads, ranges, tags, delete),
//! checks what it stores, and can be told to fail in ways that tests need ([`Fault`]). `routes` answers requests,
//! `storage` keeps content, `access` hands out tokens, `faults` spoils answers.

mod access;
mod faults;
mod routes;
mod storage;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use oci::{Descriptor, Digest};
use tokio::sync::oneshot;

pub use access::Access;
pub use faults::{Effect, Fault};
pub use storage::Place;

use crate::auth::lock;
use access::Tokens;
use faults::Faults;
use storage::Storage;

/// How a server behaves. The default keeps everything in memory and lets everybody in.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Where content is kept.
    pub place: Place,
    /// Who may do what.
    pub access: Access,
    /// Where it listens; by default a free port of this machine's loopback address.
    pub listen: Option<SocketAddr>,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// `GET`.
    pub method: String,
    /// With query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Range` or `Content-Range` header.
    pub range: Option<String>,
}

struct State {
    storage: Mutex<Storage>,
    access: Access,
    tokens: Mutex<Tokens>,
    faults: Mutex<Faults>,
    received: Mutex<Vec<Received>>,
}

/// A running server, on a thread of its own. Stopped when dropped.
pub struct Server {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server.
    pub fn start(options: ServerOptions) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(
            options.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
        )?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            storage: Mutex::new(Storage::open(options.place)?),
            access: options.access,
            tokens: Mutex::default(),
            faults: Mutex::default(),
            received: Mutex::default(),
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let router = routes::router(Arc::clone(&state));
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                // Connections in use are cut: whoever stops a server is done with it.
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("registry".to_owned()).spawn(serve)?;
        Ok(Self { address, state, stop: Some(stop), thread: Some(thread) })
    }

    /// `127.0.0.1:port`, to be used in references.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        lock(&self.state.faults).0.push(fault);
    }

    /// Takes away all faults.
    pub fn heal(&self) {
        lock(&self.state.faults).0.clear();
    }

    /// The requests since the last call, in the order they came.
    pub fn take_received(&self) -> Vec<Received> {
        std::mem::take(&mut lock(&self.state.received))
    }

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, content: impl Into<Bytes>) -> io::Result<Digest> {
        let content = content.into();
        let digest = Digest::of(&content);
        lock(&self.state.storage).add_blob(repository, &digest, content)?;
        Ok(digest)
    }

    /// Puts a manifest into a repository, whatever it says, under its digest and `tag`.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        raw: impl Into<Bytes>,
    ) -> io::Result<Descriptor> {
        let raw = raw.into();
        let descriptor = Descriptor::of(media_type, &raw);
        lock(&self.state.storage).add_manifest(repository, Some(tag), &descriptor, raw)?;
        Ok(descriptor)
    }

    /// A manifest by tag or digest: its descriptor and its bytes.
    pub fn manifest(&self, repository: &str, tag_or_digest: &str) -> Option<(Descriptor, Bytes)> {
        lock(&self.state.storage).manifest(repository, tag_or_digest)
    }

    /// The content of a blob, in whatever repository it is.
    pub fn blob(&self, digest: &Digest) -> Option<Bytes> {
        lock(&self.state.storage).blob_content(digest)
    }

    /// The names of all repositories.
    pub fn repositories(&self) -> Vec<String> {
        lock(&self.state.storage).repositories()
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        lock(&self.state.storage).tags(repository).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked in a way that matters here.
            thread.join().ok();
        }
    }
}
