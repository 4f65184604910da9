use rustls::{ClientConfig, crypto::ring};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Threads that look up names. They cannot be broken off, so there are few.
const LOOKUP_THREADS: usize = 4;

/// What all plugins of a host reach servers by: a thread that is started with the first request, and certificate authorities.
pub(crate) struct Web {
    runtime: OnceLock<Result<Runtime, String>>,
    tls: OnceLock<Result<ClientConfig, String>>,
    room: Arc<Semaphore>,
    requests_max: usize,
}

impl Web {
    /// So many requests at once.
    pub(crate) fn new(requests_max: usize) -> Self {
        let room = Arc::new(Semaphore::new(requests_max));
        Self { runtime: OnceLock::new(), tls: OnceLock::new(), room, requests_max }
    }

    /// The same, which trusts these authorities instead of the system's.
    #[cfg(test)]
    pub(super) fn trusting(requests_max: usize, roots: rustls::RootCertStore) -> Self {
        let web = Self::new(requests_max);
        let tls = builder().map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
        drop(web.tls.set(tls));
        web
    }

    /// Where requests are made.
    pub(super) fn runtime(&self) -> Result<&Handle, &str> {
        let start = || {
            let mut builder = Builder::new_multi_thread();
            builder
                .worker_threads(1)
                .max_blocking_threads(LOOKUP_THREADS)
                .thread_name("plugin-http")
                .enable_all();
            builder.build().map_err(|error| format!("no thread for requests can be started: {error}"))
        };
        self.runtime.get_or_init(start).as_ref().map(Runtime::handle).map_err(String::as_str)
    }

    /// What https trusts: the system's certificate authorities.
    pub(super) fn tls(&self) -> Result<&ClientConfig, &str> {
        let read = || {
            let with_roots = hyper_rustls::ConfigBuilderExt::with_native_roots(builder()?).map_err(|error| {
                format!("the system has no certificate authorities for https: {error}; install them (ca-certificates)")
            })?;
            Ok(with_roots.with_no_client_auth())
        };
        self.tls.get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// Room for one request, as long as it is kept.
    pub(super) fn room(&self) -> Result<OwnedSemaphorePermit, String> {
        self.room.clone().try_acquire_owned().map_err(|_| {
            let max = self.requests_max;
            format!("{max} requests are under way, the most at once: try again later, or raise plugins.http_requests_max")
        })
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(Ok(runtime)) = self.runtime.take() {
            // IMPORTANT: the last plugin may go on a thread that must not wait.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").field("requests_max", &self.requests_max).finish_non_exhaustive()
    }
}
