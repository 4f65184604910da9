use super::{HttpAnswer, NoResponse, Web, request::Asked};
use crate::{Config, HttpHost, http_host::is_public};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Response, body::Body, body::Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    task::{Context, Poll},
    time::Duration,
    vec,
};
use tower_service::Service;

/// Connections to a server that are kept for the next request.
const IDLE_MAX: usize = 4;
/// How long.
const IDLE: Duration = Duration::from_secs(30);
/// Headers of a response, and bytes of all of them together. More is no answer.
const RESPONSE_HEADERS_MAX: usize = 100;
const RESPONSE_HEADER_BYTES_MAX: usize = 64 << 10;

type HttpClient = Client<HttpsConnector<HttpConnector<Lookup>>, Full<Bytes>>;

/// What one plugin may reach.
#[derive(Debug)]
pub(crate) struct Reach {
    web: Arc<Web>,
    servers: Vec<Server>,
    wait: Duration,
    bytes_max: usize,
}

/// A server that was granted. Each has connections of its own, so that what may be looked up for one serves no other.
pub(crate) struct Server {
    host: HttpHost,
    client: OnceLock<Result<HttpClient, String>>,
}

impl Reach {
    pub(crate) fn new(web: Arc<Web>, hosts: impl IntoIterator<Item = HttpHost>, config: &Config) -> Self {
        Self {
            web,
            servers: hosts.into_iter().map(|host| Server { host, client: OnceLock::new() }).collect(),
            wait: Duration::from_millis(config.http_wait_ms_max.into()),
            bytes_max: config.http_response_bytes_max as usize,
        }
    }

    /// The server that a URL leads to, if it was granted.
    pub(super) fn server(&self, https: bool, host: &str, port: u16) -> Option<&Server> {
        self.servers.iter().find(|server| server.host.is(https, host, port))
    }

    /// How long a response's body may be, of one that wants as much at most.
    pub(super) fn bytes_max(&self, wanted: u32) -> usize {
        self.bytes_max.min(wanted as usize)
    }

    /// Sends a request and waits for its response, for `wait_max` at most. Redirects are responses like others: nothing is followed.
    pub(super) fn send(&self, asked: Asked<'_>, wait_max: Duration) -> Result<HttpAnswer, NoResponse> {
        let Asked { server, request, bytes_max, .. } = asked;
        let client = server.client(&self.web).map_err(NoResponse::Unavailable)?;
        let runtime = self.web.runtime().map_err(|error| NoResponse::Unavailable(error.into()))?;
        let room = self.web.room().map_err(NoResponse::Unavailable)?;
        let host = server.host.clone();
        let (tell, told) = sync_channel(1);
        let task = runtime.spawn(async move {
            let answer = exchange(&client, request, bytes_max, &host).await;
            // IMPORTANT: before it is told, so that who asks again finds room.
            drop(room);
            drop(tell.send(answer));
        });
        let wait = self.wait.min(wait_max);
        match told.recv_timeout(wait) {
            Ok(answer) => answer,
            Err(ended) => {
                task.abort();
                let host = &server.host;
                Err(NoResponse::Unavailable(match ended {
                    RecvTimeoutError::Timeout => {
                        let ms = wait.as_millis();
                        let bound = if wait < self.wait {
                            "the time that the call has fuel for"
                        } else {
                            "plugins.http_wait_ms_max"
                        };
                        format!(
                            "{host} did not answer within {bound}, {ms} ms; it may have done what was asked"
                        )
                    }
                    RecvTimeoutError::Disconnected => format!("the request to {host} was broken off"),
                }))
            }
        }
    }
}

impl Server {
    fn client(&self, web: &Web) -> Result<HttpClient, String> {
        let make = || {
            let mut connector = HttpConnector::new_with_resolver(Lookup { private: self.host.private });
            connector.enforce_http(false);
            connector.set_nodelay(true);
            let tls = HttpsConnectorBuilder::new();
            let connector = if self.host.https {
                tls.with_tls_config(web.tls()?.clone()).https_only().enable_http1().wrap_connector(connector)
            } else {
                tls.with_tls_config(nobody()?).https_or_http().enable_http1().wrap_connector(connector)
            };
            Ok(Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_MAX)
                .http1_max_headers(RESPONSE_HEADERS_MAX)
                .http1_max_buf_size(RESPONSE_HEADER_BYTES_MAX)
                .build(connector))
        };
        self.client.get_or_init(make).clone()
    }
}

/// TLS for servers that are asked without.
fn nobody() -> Result<rustls::ClientConfig, String> {
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let versions = builder
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    Ok(versions.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

async fn exchange(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
    host: &HttpHost,
) -> Result<HttpAnswer, NoResponse> {
    let response = client.request(request).await.map_err(|error| broken(host, &error))?;
    let too_long =
        || NoResponse::Limit(format!("the answer of {host} has a body of more than {bytes_max} bytes"));
    if response.body().size_hint().lower() > bytes_max as u64 {
        return Err(too_long());
    }
    let (status, headers) = (response.status().as_u16(), headers(&response));
    let body = Limited::new(response.into_body(), bytes_max).collect().await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => too_long(),
        None => broken(host, &*error),
    })?;
    Ok(HttpAnswer { status, headers, body: body.to_bytes().into() })
}

fn headers(response: &Response<Incoming>) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    response
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect()
}

/// With all causes, as the outermost one says only "client error". Paths are not told: there are keys in them.
fn broken(host: &HttpHost, error: &(dyn Error + 'static)) -> NoResponse {
    let mut reason = error.to_string();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(private) = inner.and_then(|inner| inner.downcast_ref::<Private>()) {
            return NoResponse::Denied(format!("{private}: if that is right, grant it as {host}=private"));
        }
        cause = error.source();
        if let Some(cause) = cause {
            reason = format!("{reason}: {cause}");
        }
    }
    NoResponse::Unavailable(format!("{host} gave no answer: {reason}"))
}

/// Looks up where a name leads.
#[derive(Clone, Copy, Debug)]
struct Lookup {
    /// Private addresses serve too.
    private: bool,
}

/// A name that leads to private addresses alone.
#[derive(Debug)]
struct Private {
    name: String,
    ip: IpAddr,
}

impl fmt::Display for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leads to {}, which is a private address", self.name, self.ip)
    }
}

impl Error for Private {}

impl Lookup {
    /// Those of a name's addresses that may be used.
    fn allowed(self, name: &str, found: Vec<SocketAddr>) -> io::Result<vec::IntoIter<SocketAddr>> {
        let first = found.first().map(SocketAddr::ip);
        let allowed: Vec<_> =
            found.into_iter().filter(|address| self.private || is_public(address.ip())).collect();
        if let Some(ip) = first
            && allowed.is_empty()
        {
            return Err(io::Error::other(Private { name: name.into(), ip }));
        }
        Ok(allowed.into_iter())
    }
}

impl Service<Name> for Lookup {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookup = *self;
        Box::pin(async move {
            // IMPORTANT: what is connected to is what was looked at here: nobody looks the name up again.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            lookup.allowed(name.as_str(), found.collect())
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_names_addresses_only_public_ones_serve_unless_private_ones_were_granted() {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let kept = |private, ips: &[&str]| {
            let found = ips.iter().map(|ip| at(ip)).collect();
            let kept = Lookup { private }.allowed("name", found);
            kept.map(|kept| kept.map(|address| address.ip().to_string()).collect::<Vec<_>>())
        };
        assert_eq!(kept(false, &["1.1.1.1", "10.0.0.1"]).unwrap(), ["1.1.1.1"]);
        assert_eq!(kept(true, &["1.1.1.1", "10.0.0.1"]).unwrap(), ["1.1.1.1", "10.0.0.1"]);
        assert_eq!(kept(false, &[]).unwrap(), [""; 0]);
        assert!(kept(false, &["127.0.0.1", "::1"]).unwrap_err().to_string().contains("private"));
    }
}
