use super::{Reach, Stop, reach::Server};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Uri,
    header::{self, HeaderName, HeaderValue},
};
use mainstem_plugin_abi::{
    limits::{HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_URL_BYTES_MAX},
    plugin_capnp::{FailureCode, http_request},
};

/// What is between two servers and not between those who talk, or is the node's to say.
const KEPT: [HeaderName; 12] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request that may be sent.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) server: &'a Server,
    pub(super) request: Request<Full<Bytes>>,
    /// Bytes of the response's body.
    pub(super) bytes_max: usize,
    body_bytes: u64,
}

impl Asked<'_> {
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }
}

/// Reads what a plugin asks for.
pub(super) fn read<'a>(reach: &'a Reach, asked: http_request::Reader<'_>) -> Result<Asked<'a>, Stop> {
    let method = read_method(asked.get_method()?.as_bytes())?;
    let (server, uri) = read_url(reach, asked.get_url()?.as_bytes())?;
    let body = Bytes::copy_from_slice(asked.get_body()?);
    if !body.is_empty() && (method == Method::GET || method == Method::HEAD) {
        return Err(invalid(format!("{method} has no body")));
    }
    let body_bytes = body.len() as u64;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let (headers, mut bytes) = (asked.get_headers()?, 0);
    if headers.len() > HTTP_HEADERS_MAX {
        return Err(Stop::limit(headers.len(), "headers", HTTP_HEADERS_MAX));
    }
    for header in headers {
        let (name, value) = (header.get_name()?.as_bytes(), header.get_value()?.as_bytes());
        bytes += name.len() + value.len();
        let (name, value) = read_header(name, value)?;
        request.headers_mut().append(name, value);
    }
    if bytes > HTTP_HEADER_BYTES_MAX as usize {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        return Err(Stop::limit(bytes, "bytes of headers", HTTP_HEADER_BYTES_MAX));
    }
    let bytes_max = reach.bytes_max(asked.get_body_bytes_max());
    Ok(Asked { server, request, bytes_max, body_bytes })
}

fn read_method(method: &[u8]) -> Result<Method, Stop> {
    let known = [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];
    let found = known.into_iter().find(|known| known.as_str().as_bytes() == method);
    found.ok_or_else(|| {
        let method: String = String::from_utf8_lossy(method).chars().take(20).collect();
        invalid(format!("the method {method:?} is none of GET, HEAD, PUT, POST and DELETE"))
    })
}

fn read_url<'a>(reach: &'a Reach, url: &[u8]) -> Result<(&'a Server, Uri), Stop> {
    if url.len() > HTTP_URL_BYTES_MAX as usize {
        let bytes = u32::try_from(url.len()).unwrap_or(u32::MAX);
        return Err(Stop::limit(bytes, "bytes of a URL", HTTP_URL_BYTES_MAX));
    }
    let none =
        || invalid("the URL is none: it is http:// or https://, a host, perhaps a port, and a path".into());
    let uri = Uri::try_from(url).map_err(|_| none())?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        Some(_) | None => return Err(none()),
    };
    // A name or password before the host is for headers to say.
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(none)?;
    let (host, port) = (authority.host(), authority.port_u16().unwrap_or(if https { 443 } else { 80 }));
    let server = reach.server(https, host, port).ok_or_else(|| {
        let scheme = if https { "https" } else { "http" };
        let host: String = host.chars().take(253).collect();
        Stop::Failed(
            FailureCode::Denied,
            format!(
                "{scheme}://{host}:{port} is not granted: have the node's operator grant it, with --http-host"
            ),
        )
    })?;
    Ok((server, uri))
}

fn read_header(name: &[u8], value: &[u8]) -> Result<(HeaderName, HeaderValue), Stop> {
    let shown = || String::from_utf8_lossy(name).chars().take(60).collect::<String>();
    let read = HeaderName::from_bytes(name).map_err(|_| invalid(format!("{:?} names no header", shown())))?;
    if KEPT.contains(&read) {
        return Err(invalid(format!("the header {read} is the node's to say")));
    }
    let value = HeaderValue::from_bytes(value)
        .map_err(|_| invalid(format!("the header {read} has a value with control characters")))?;
    Ok((read, value))
}

fn invalid(what: String) -> Stop {
    Stop::Failed(FailureCode::Invalid, what)
}
