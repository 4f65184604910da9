use crate::{ChainError, RpcConfig};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Request, Uri, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::{error::Error, fmt, sync::Arc, time::Duration};

/// Requests to one address: bounded in time and size, connections kept.
#[derive(Clone)]
pub(crate) struct Endpoint {
    uri: Uri,
    name: String,
    client: HttpClient,
    timeout: Duration,
    response_bytes_max: usize,
}

type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl Endpoint {
    /// All endpoints of a configuration; they share their connections.
    pub(crate) fn all(config: &RpcConfig) -> Result<Vec<Self>, ChainError> {
        let uris = config.urls.iter().map(|url| parse(url)).collect::<Result<Vec<_>, _>>()?;
        let client = client(uris.iter().any(|uri| uri.scheme_str() == Some("https")))?;
        Ok(uris
            .into_iter()
            .map(|uri| Self {
                name: format!(
                    "{}://{}",
                    uri.scheme_str().unwrap_or_default(),
                    uri.authority().map_or("", |authority| match authority.as_str().rsplit_once('@') {
                        Some((_, host)) => host,
                        None => authority.as_str(),
                    })
                ),
                uri,
                client: client.clone(),
                timeout: config.timeout(),
                response_bytes_max: config.response_bytes_max,
            })
            .collect())
    }

    /// Scheme, host and port: what may be logged.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Posts JSON and reads the answer whatever its status: nodes put errors of JSON-RPC into 4xx and 5xx too.
    pub(crate) async fn post(&self, body: Vec<u8>) -> Result<(u16, Bytes), ChainError> {
        match tokio::time::timeout(self.timeout, self.exchange(body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ChainError::Timeout {
                endpoint: self.name.clone(),
                after_ms: self.timeout.as_millis().try_into().unwrap_or(u64::MAX),
            }),
        }
    }

    async fn exchange(&self, body: Vec<u8>) -> Result<(u16, Bytes), ChainError> {
        let request = Request::post(self.uri.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(|error| self.transport(&error))?;
        let response = self.client.request(request).await.map_err(|error| self.transport(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), self.response_bytes_max).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => {
                ChainError::TooLong { endpoint: self.name.clone(), bytes_max: self.response_bytes_max }
            }
            None => self.transport(&*error),
        })?;
        Ok((status, body.to_bytes()))
    }

    pub(crate) fn unusable(&self, reason: impl Into<String>) -> ChainError {
        ChainError::Answer { endpoint: self.name.clone(), reason: reason.into() }
    }

    /// With all causes, as the outermost one says only "client error".
    fn transport(&self, error: &(dyn Error + 'static)) -> ChainError {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        ChainError::Transport { endpoint: self.name.clone(), reason }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.name)
    }
}

fn parse(url: &str) -> Result<Uri, ChainError> {
    let wrong = || ChainError::Config("an RPC url is http:// or https://, a host, perhaps a port".to_owned());
    let uri: Uri = url.trim().parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(wrong()),
    }
}

/// Trusts the system's certificate authorities. They are read only if some endpoint is https.
fn client(with_tls: bool) -> Result<HttpClient, ChainError> {
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ChainError::Config(format!("TLS cannot be set up: {error}")))?;
    let tls = if with_tls {
        hyper_rustls::ConfigBuilderExt::with_native_roots(tls)
            .map_err(|error| {
                ChainError::Config(format!(
                    "the system has no certificate authorities for https: {error}; install them (ca-certificates)"
                ))
            })?
            .with_no_client_auth()
    } else {
        tls.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .build(connector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_endpoint_holds_neither_path_nor_password() {
        let config = RpcConfig::one("http://user:secret@node.example:8545/v3/accesskey?x=key");
        let endpoint = Endpoint::all(&config).unwrap().remove(0);
        assert_eq!(endpoint.name(), "http://node.example:8545");
        assert!(!format!("{endpoint:?} {config:?}").contains("key"));
    }

    #[test]
    fn other_schemes_and_text_without_a_host_are_refused() {
        for url in ["", "ws://a", "localhost:1", "http://", "/x", "http:///x"] {
            assert!(Endpoint::all(&RpcConfig::one(url)).is_err(), "{url}");
        }
    }
}
