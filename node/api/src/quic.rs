//! The QUIC listener: one connection is one session.
//!
//! The client opens one bidirectional stream, the session stream, by its first frame (a ping will do); its requests go up
//! there, and the hello, answers and refusals come down there. What a subscription is told (deliveries, caught up, ended)
//! comes on a stream of its own that the node opens, so one that stalls holds up nothing else. A connection ends with
//! application code [`CLOSE_DONE`], or [`CLOSE_REFUSED`] and the refusal as text, `CODE: sentence`.

mod connection;
mod delivery;
mod transport;

use crate::{
    ApiError, NodeHandle, QuicConfig, SessionConfig, TlsIdentity, Workers, config::ms, shares::Shares,
};
use connection::{Connections, serve_connection};
use mainstem_model::{Code, Refusal};
use quinn::{Endpoint, Incoming, VarInt};
use std::{future::Future, net::SocketAddr, sync::Arc};
use tokio::{
    sync::{Semaphore, watch},
    time::timeout,
};

/// The connection ended as its client wanted.
pub const CLOSE_DONE: VarInt = VarInt::from_u32(0);
/// The node ended the connection; the reason is a refusal as text.
pub const CLOSE_REFUSED: VarInt = VarInt::from_u32(1);

/// Connections over the limit that are told so at a time; further ones are refused without a word.
const TOLD_MAX: usize = 16;

/// Takes native clients in.
#[derive(Debug)]
pub struct QuicListener {
    endpoint: Endpoint,
    connections: Arc<Connections>,
    address: SocketAddr,
}

impl QuicListener {
    /// Opens the port. From here on clients' packets are held for [`QuicListener::serve`].
    ///
    /// # Errors
    /// [`ApiError::Listen`], [`ApiError::Tls`].
    pub fn bind(
        config: QuicConfig,
        session: SessionConfig,
        identity: &TlsIdentity,
        handle: NodeHandle,
        workers: Workers,
    ) -> Result<Self, ApiError> {
        let listen = |source| ApiError::Listen { address: config.listen, source };
        let endpoint = transport::endpoint(&config, identity, handle.node())?;
        let address = endpoint.local_addr().map_err(listen)?;
        let audience = identity.audience();
        let connections = Arc::new(Connections { config, session, handle, workers, audience });
        Ok(Self { endpoint, connections, address })
    }

    /// Where it listens; with port 0 in the configuration, the port that the system chose.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then refuses newcomers, tells everyone, and waits for connections to end, for a while.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { endpoint, connections, address } = self;
        let open = Arc::new(Semaphore::new(connections.config.connections_max));
        let shares = Shares::new(connections.config.connections_per_address_max);
        let told = Arc::new(Semaphore::new(TOLD_MAX));
        let (stopping, stopped) = watch::channel(false);
        tokio::pin!(stop);
        tracing::info!(%address, "quic listens");
        loop {
            let incoming = tokio::select! {
                () = &mut stop => break,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => incoming,
                    None => break,
                },
            };
            let address = incoming.remote_address().ip();
            let (place, share) = (open.clone().try_acquire_owned().ok(), shares.take(address));
            let is_share_full = share.is_none();
            if let (Some(place), Some(share)) = (place, share) {
                // IMPORTANT: an address that was not proven may be somebody else's: whoever claims it takes half at most.
                let is_crowded = is_crowded(&open, &connections.config) || shares.is_crowded(address);
                if is_crowded && may_retry(&incoming) {
                    if let Err(error) = incoming.retry() {
                        error.into_incoming().refuse();
                    }
                    continue;
                }
                let (connections, stopped) = (connections.clone(), stopped.clone());
                tokio::spawn(async move {
                    serve_connection(incoming, &connections, stopped).await;
                    drop((place, share));
                });
            } else if let Ok(place) = told.clone().try_acquire_owned() {
                let connections = connections.clone();
                tokio::spawn(async move {
                    tell_full(incoming, &connections.config, is_share_full).await;
                    drop(place);
                });
            } else {
                incoming.refuse();
            }
        }
        endpoint.set_server_config(None);
        let _ = stopping.send(true);
        if timeout(ms(connections.config.shutdown_ms), endpoint.wait_idle()).await.is_err() {
            let reason = Refusal::new(Code::ShuttingDown, "the node is shutting down").to_string();
            endpoint.close(CLOSE_REFUSED, reason.as_bytes());
            let _ = timeout(ms(connections.config.shutdown_ms), endpoint.wait_idle()).await;
        }
        tracing::info!(%address, "quic has stopped");
    }
}

fn is_crowded(open: &Semaphore, config: &QuicConfig) -> bool {
    open.available_permits() < config.connections_max / 2
}

fn may_retry(incoming: &Incoming) -> bool {
    !incoming.remote_address_validated() && incoming.may_retry()
}

async fn tell_full(incoming: Incoming, config: &QuicConfig, is_share_full: bool) {
    let message = if is_share_full {
        format!(
            "the limit of {} connections of one address is reached; share one",
            config.connections_per_address_max
        )
    } else {
        format!("the limit of {} connections is reached; try another broker", config.connections_max)
    };
    let handshake = async {
        let connection = incoming.accept().ok()?.await.ok()?;
        let refusal = Refusal::new(Code::LimitReached, message);
        connection.close(CLOSE_REFUSED, refusal.to_string().as_bytes());
        connection.closed().await;
        Some(())
    };
    let _ = timeout(ms(config.handshake_ms), handshake).await;
}
