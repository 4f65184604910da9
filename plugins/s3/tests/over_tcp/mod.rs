//! A server over the network.

use mainstem_plugin_sdk::{Failure, HttpRequest, HttpResponse};
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// Over a plain connection of its own, as `http` would.
pub(crate) fn over_tcp(request: &HttpRequest<'_>) -> Result<HttpResponse, Failure> {
    let (authority, path) = request.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    let mut head =
        format!("{} /{path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n", request.method);
    for (name, value) in request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream.write_all(&[head.as_bytes(), request.body].concat()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap();
    Ok(HttpResponse { status, headers: Vec::new(), body: bytes.split_off(at + 4) })
}
