use std::sync::{Arc, OnceLock};

use registry::{Client, ClientOptions};

/// How registries and web servers are reached.
#[derive(Clone)]
pub struct RemoteOptions {
    /// Mirrors, certificates, credentials, proxies.
    pub client: ClientOptions,
    /// Never use the network; what is not here is an error.
    pub offline: bool,
}

/// The way to the network for code that is not async. Runtime, TLS and connections are made on first use.
#[derive(Clone)]
pub struct Remote(Arc<Inner>);

struct Inner {
    options: RemoteOptions,
    runtime: OnceLock<Result<tokio::runtime::Runtime, String>>,
    client: OnceLock<Client>,
}

impl Remote {
    /// Remembers how to reach the network.
    pub fn new(options: RemoteOptions) -> Self {
        Self(Arc::new(Inner { options, runtime: OnceLock::new(), client: OnceLock::new() }))
    }

    /// Whether the network may not be used.
    pub fn is_offline(&self) -> bool {
        self.0.options.offline
    }

    /// The registry client.
    pub fn client(&self) -> &Client {
        self.0.client.get_or_init(|| Client::new(self.0.options.client.clone()))
    }

    /// A client for web servers that are no registries: it follows no redirects and sends no credentials.
    pub fn web_client(&self) -> Result<reqwest::Client, registry::RegistryError> {
        self.client().web_client()
    }

    /// Waits for a future on the shared runtime. Not to be called from within a future.
    ///
    /// # Panics
    /// When the system gives no thread for the runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.handle().block_on(future)
    }

    /// The runtime, to hand to others.
    ///
    /// # Panics
    /// When the system gives no thread for the runtime.
    pub fn handle(&self) -> tokio::runtime::Handle {
        let runtime = self.0.runtime.get_or_init(|| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder
                .worker_threads(2)
                .enable_all()
                .thread_name("network")
                .build()
                .map_err(|error| error.to_string())
        });
        match runtime {
            Ok(runtime) => runtime.handle().clone(),
            Err(error) => panic!("cannot start threads for the network: {error}"),
        }
    }
}
