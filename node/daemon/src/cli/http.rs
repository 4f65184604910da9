use super::failure::Failure;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// For one request, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer; a longer one is an error.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Asks the node's HTTP listener; `http://` only, as it listens on the local machine or behind a proxy.
pub(crate) async fn get(base: &str, path: &str) -> Result<(StatusCode, Bytes), Failure> {
    let unavailable =
        |why: String| Failure::unavailable(format!("the node at {base} does not answer: {why}"));
    let uri: Uri = base
        .parse()
        .map_err(|_| Failure::usage(format!("{base:?} is not a URL of a node, as http://127.0.0.1:7171")))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Failure::usage(format!("{base:?} is not a URL of a node, as http://127.0.0.1:7171")));
    };
    let asking = async {
        let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
        let socket = TcpStream::connect(address).await.map_err(|error| unavailable(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        tokio::spawn(connection);
        let request = Request::get(path)
            .header("host", authority.as_str())
            .header("accept", "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::usage(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| unavailable(error.to_string()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(TIMEOUT, asking).await.map_err(|_| unavailable("no answer in 10 s".to_owned()))?
}

/// Asks for JSON; a refusal becomes a failure with the node's own code and words.
pub(crate) async fn get_json(base: &str, path: &str) -> Result<Value, Failure> {
    let (status, body) = get(base, path).await?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if status.is_success() {
        return Ok(value);
    }
    let text = |name: &str| value.get(name).or_else(|| value.get("error")?.get(name)).and_then(Value::as_str);
    let exit = match status.as_u16() {
        401 | 403 => super::failure::PERMISSION,
        400..500 => super::failure::DATA,
        _ => super::failure::UNAVAILABLE,
    };
    let code = text("code").unwrap_or("HTTP");
    let message = text("message").map_or_else(|| format!("the node answered {status}"), str::to_owned);
    Err(Failure::new(exit, code, message))
}

/// `name=value` pairs as a query, `?` included; nothing for none.
pub(crate) fn query(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        out.push(if out.is_empty() { '?' } else { '&' });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(query(&[]), "");
        assert_eq!(query(&[("term", "a b&ü"), ("limit", "2")]), "?term=a%20b%26%C3%BC&limit=2");
    }
}
