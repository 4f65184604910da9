//! The fallback transport: everything on one WebSocket, in the native frames.

use crate::{
    ClientConfig, ClientError, ErrorKind, TransportConfig, frame,
    session::{Front, Session},
    tls,
};
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{
            HeaderValue,
            header::{HOST, SEC_WEBSOCKET_PROTOCOL},
        },
        protocol::WebSocketConfig,
    },
};

/// The native frames in binary messages.
const SUB_PROTOCOL: &str = "mainstem.capnp.v1";
/// Bytes of one message: a batch and what stands around it.
const MESSAGE_BYTES_MAX: usize = mainstem_model::limits::BATCH_BYTES_MAX + (8 << 10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Debug)]
pub(crate) struct WebSocketLink {
    pub(crate) sink: SplitSink<Socket, Message>,
    pub(crate) stream: SplitStream<Socket>,
    /// What a sign-in to exactly this server is for.
    pub(crate) audience: String,
}

pub(crate) async fn connect(url: &str, config: &ClientConfig) -> Result<WebSocketLink, ClientError> {
    let mut request =
        url.into_client_request().map_err(|error| ClientError::argument(format!("{url}: {error}")))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUB_PROTOCOL));
    // What a broker takes sign-ins for when no web page asks.
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let audience = host.unwrap_or_default().to_owned();
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let tls = tls::client_config(config.broker.pin, b"http/1.1")?;
    let connector = Connector::Rustls(Arc::new(tls));
    let connected = connect_async_tls_with_config(request, Some(limits), true, Some(connector)).await;
    let (socket, response) = connected.map_err(|error| refused(url, &error))?;
    let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
    if chosen.is_none_or(|chosen| chosen.as_bytes() != SUB_PROTOCOL.as_bytes()) {
        return Err(ClientError::protocol(format!("{url} does not speak {SUB_PROTOCOL}")));
    }
    let (sink, stream) = socket.split();
    Ok(WebSocketLink { sink, stream, audience })
}

fn refused(url: &str, error: &Error) -> ClientError {
    let Error::Http(response) = error else {
        return ClientError::disconnected(format!("{url}: {error}"));
    };
    let status = response.status();
    let kind = match status.as_u16() {
        401 | 403 => ErrorKind::MissingPermission,
        // The broker has enough to do: it is asked again.
        408 | 425 | 429 | 503 => ErrorKind::Overloaded,
        _ => ErrorKind::Disconnected,
    };
    ClientError::new(kind, format!("{url} answers with status {}", status.as_u16()))
}

/// Writes what the session has to say until it ends.
pub(crate) async fn write(session: Arc<Session>, mut front: Front, mut sink: SplitSink<Socket, Message>) {
    let mut chunks: Vec<Bytes> = Vec::new();
    while front.take(&session, &mut chunks).await {
        let mut pieces = chunks.drain(..).peekable();
        while let Some(front) = pieces.next() {
            // A front says whether a body follows.
            let body = if body_follows(&front) { pieces.next().unwrap_or_default() } else { Bytes::new() };
            if let Err(error) = sink.feed(Message::Binary(frame::message_of(&front, &body))).await {
                return session.fail(ClientError::disconnected(format!("the socket was lost: {error}")));
            }
        }
        drop(pieces);
        if let Err(error) = sink.flush().await {
            return session.fail(ClientError::disconnected(format!("the socket was lost: {error}")));
        }
    }
    let _ = sink.close().await;
}

fn body_follows(front: &Bytes) -> bool {
    front.first_chunk::<4>().is_some_and(|length| u32::from_le_bytes(*length) as usize > front.len() - 4)
}

/// Reads until the session ends.
pub(crate) async fn read(session: Arc<Session>, mut stream: SplitStream<Socket>) {
    while let Some(message) = stream.next().await {
        session.hear();
        match message {
            Ok(Message::Binary(message)) => match frame::read_message(&message) {
                Ok(told) => session.take(told),
                Err(error) => return session.fail(error),
            },
            Ok(Message::Close(close)) => {
                let why = close.map(|close| close.reason.to_string()).unwrap_or_default();
                let error = match why.as_str() {
                    "" => ClientError::disconnected("the broker closed the socket"),
                    code => frame::told_error(code, "the broker closed the socket"),
                };
                return session.fail(error);
            }
            Ok(Message::Text(_)) => {
                return session.fail(ClientError::protocol("the broker sent text on a binary socket"));
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => {
                return session.fail(ClientError::disconnected(format!("the socket was lost: {error}")));
            }
        }
    }
    session.fail(ClientError::disconnected("the broker closed the socket"));
}

/// Asks for a sign of life while it is quiet, and gives a silent socket up.
pub(crate) async fn keep_alive(session: Arc<Session>, config: TransportConfig) {
    loop {
        tokio::time::sleep(config.keep_alive).await;
        let quiet = session.heard_for();
        if quiet > config.idle {
            return session.fail(ClientError::disconnected("the broker is silent"));
        }
        if quiet >= config.keep_alive / 2 {
            session.ping();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::http::Response;

    #[test]
    fn only_a_missing_right_is_told_as_one() {
        for (status, kind) in [
            (401, ErrorKind::MissingPermission),
            (403, ErrorKind::MissingPermission),
            (404, ErrorKind::Disconnected),
            (429, ErrorKind::Overloaded),
            (500, ErrorKind::Disconnected),
            (503, ErrorKind::Overloaded),
        ] {
            let response = Response::builder().status(status).body(None).unwrap();
            assert_eq!(refused("ws://h", &Error::Http(response.into())).kind, kind, "{status}");
        }
    }
}
