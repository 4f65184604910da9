//! Connecting: hello, who the broker is, who the client is.

use super::{Session, Waiter};
use crate::{
    BrokerUrl, ClientConfig, ClientError, ErrorKind, Identity,
    frame::{Hello, Request},
    publishing::Publishing,
    quic::{self, QuicLink},
    websocket::{self, WebSocketLink},
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// A session and what keeps it going. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) session: Arc<Session>,
    pub(crate) hello: Hello,
    _tasks: JoinSet<()>,
    link: Link,
}

#[derive(Debug)]
enum Link {
    Quic(quinn::Connection, quinn::Endpoint),
    WebSocket,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.fail(ClientError::disconnected("the connection was closed"));
        if let Link::Quic(connection, _) = &self.link {
            quic::close(connection);
        }
    }
}

impl Running {
    /// Ends the connection and waits a while until the broker knows.
    pub(crate) async fn close(self, limit: Duration) {
        let endpoint = match &self.link {
            Link::Quic(_, endpoint) => Some(endpoint.clone()),
            Link::WebSocket => None,
        };
        drop(self);
        if let Some(endpoint) = endpoint {
            quic::closed(&endpoint, limit).await;
        }
    }
}

/// Connects, hears the hello, checks who the broker is and signs in.
pub(crate) async fn open(
    config: &ClientConfig,
    publishing: &Arc<Publishing>,
) -> Result<Running, ClientError> {
    let limit = config.transport.connect_timeout;
    match timeout(limit, open_patiently(config, publishing)).await {
        Ok(opened) => opened,
        Err(_) => Err(ClientError::new(
            ErrorKind::Timeout,
            format!("the broker did not answer within {} ms", limit.as_millis()),
        )),
    }
}

async fn open_patiently(config: &ClientConfig, publishing: &Arc<Publishing>) -> Result<Running, ClientError> {
    let (session, front) = Session::new(config, publishing);
    let mut tasks = JoinSet::new();
    // The node hears of the session stream by its first frame.
    session.post(&Request::Ping, Waiter::Nobody);
    let (link, audience) = match &config.broker.url {
        BrokerUrl::Quic { .. } => {
            let QuicLink { endpoint, connection, up, down, audience } = quic::connect(config).await?;
            tasks.spawn(quic::write(session.clone(), front, up));
            tasks.spawn(quic::read(session.clone(), down));
            tasks.spawn(quic::accept(session.clone(), connection.clone()));
            tasks.spawn(quic::allow(session.clone(), connection.clone(), config.transport.clone()));
            (Link::Quic(connection, endpoint), audience)
        }
        BrokerUrl::WebSocket(url) => {
            let WebSocketLink { sink, stream, audience } = websocket::connect(url, config).await?;
            tasks.spawn(websocket::write(session.clone(), front, sink));
            tasks.spawn(websocket::read(session.clone(), stream));
            tasks.spawn(websocket::keep_alive(session.clone(), config.transport.clone()));
            (Link::WebSocket, audience)
        }
    };
    let hello = session.hello().await?;
    check_hello(config, &hello)?;
    let running = Running { session, hello, _tasks: tasks, link };
    if let Identity::Wallet(key) | Identity::Session { key, .. } = &config.identity {
        check_audience(&running.hello, &audience)?;
        running.session.sign_in(key, &running.hello).await?;
    }
    Ok(running)
}

/// IMPORTANT: nothing is signed for another server than the one that was connected to. Else a broker could pass another
/// broker's hello on and be signed in there in the client's name.
fn check_audience(hello: &Hello, connected: &str) -> Result<(), ClientError> {
    if hello.audience.eq_ignore_ascii_case(connected) {
        return Ok(());
    }
    Err(ClientError::new(
        ErrorKind::InvalidSignIn,
        format!(
            "the broker asks for a sign-in to {}, the connection is to {connected}; nothing was signed",
            hello.audience
        ),
    ))
}

fn check_hello(config: &ClientConfig, hello: &Hello) -> Result<(), ClientError> {
    if hello.version != 1 {
        return Err(ClientError::protocol(format!(
            "the broker speaks version {} of the protocol, this client version 1",
            hello.version
        )));
    }
    if hello.network != config.network.id() {
        return Err(ClientError::new(
            ErrorKind::WrongNetwork,
            format!(
                "the broker serves network {}, the configuration names {}: check chain id and registry",
                hello.network,
                config.network.id()
            ),
        ));
    }
    match config.broker.node {
        Some(node) if node != hello.node => Err(ClientError::new(
            ErrorKind::InvalidSignIn,
            format!("the broker's node is {}, the configuration names {node}", hello.node),
        )),
        _ => Ok(()),
    }
}
