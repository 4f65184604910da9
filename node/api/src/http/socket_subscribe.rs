use super::{
    Api,
    error::ErrorBody,
    event::{MetadataBody, streamr_content},
    reader::{Session, parse},
};
use crate::websocket::{Stop, close_message};
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt, StreamExt};
use mainstem_model::{Address, Batch, Partition, ReadFilter, ReadStart, Refusal, StreamId};
use mainstem_protocol::{InEvent, ServerMessage, Subscribe, SubscriptionId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// What a subscribing socket was opened for.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) api: Arc<Api>,
    pub(super) stream: StreamId,
    pub(super) partitions: Vec<Partition>,
    pub(super) identity: Option<Address>,
    pub(super) stop: Stop,
}

/// With `payload_metadata`.
#[derive(Debug, Serialize)]
struct Wrapped {
    content: Box<RawValue>,
    metadata: MetadataBody,
}

/// Why a socket ends.
enum End {
    /// The client is gone, or takes nothing.
    Gone,
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Tells live events until either side has enough.
pub(super) async fn serve(mut socket: WebSocket, mut subscribing: Subscribing) {
    let Err(end) = tell(&mut socket, &mut subscribing).await else { return };
    if let End::Refused(refusal) = end {
        close(&mut socket, &refusal).await;
    }
}

/// Says why, in a message and in the close frame. The client may be gone.
pub(super) async fn close(socket: &mut WebSocket, refusal: &Refusal) {
    let text = ErrorBody::of(refusal).to_text();
    if socket.send(Message::Text(text.into())).await.is_ok() {
        let _ = socket.send(close_message(Some(refusal))).await;
    }
}

async fn tell(socket: &mut WebSocket, subscribing: &mut Subscribing) -> Result<(), End> {
    let Subscribing { api, stream, partitions, identity, stop } = subscribing;
    let mut session = Session::open(&api.handle, *identity).await?;
    for (request, partition) in (1_u64..).zip(partitions) {
        let subscribe = Subscribe {
            at: stream.partition(*partition),
            start: ReadStart::Now,
            filter: ReadFilter::ALL,
            live: true,
        };
        session.send(|session| InEvent::Subscribe { session, request, subscribe }).await?;
    }
    let interval = Duration::from_millis(api.config.ping_interval_ms);
    let mut open: BTreeSet<SubscriptionId> = BTreeSet::new();
    let mut pinged = false;
    loop {
        tokio::select! {
            refusal = stop.asked() => return Err(refusal.into()),
            message = session.hear() => match message? {
                ServerMessage::Deliver { subscription, batch, .. } => {
                    let bytes = batch.len();
                    let batch = parse(batch)?;
                    let told = tell_batch(socket, &batch, api.config.payload_metadata);
                    match tokio::time::timeout(2 * interval, told).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) | Err(_) => return Err(End::Gone),
                    }
                    session.send(|session| InEvent::Flushed { session, subscription, bytes }).await?;
                }
                ServerMessage::Subscribed { subscription, .. } => {
                    open.insert(subscription);
                }
                ServerMessage::Refused { refusal, .. } => return Err(refusal.into()),
                ServerMessage::Ended { subscription, refusal, .. } => {
                    open.remove(&subscription);
                    if let Some(refusal) = refusal {
                        return Err(refusal.into());
                    }
                }
                ServerMessage::SignedIn { .. }
                | ServerMessage::Ack { .. }
                | ServerMessage::CaughtUp { .. }
                | ServerMessage::Unsubscribed { .. } => {}
            },
            heard = tokio::time::timeout(interval, socket.next()) => match heard {
                Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return Err(End::Gone),
                Ok(Some(Ok(message))) => {
                    pinged = false;
                    answer_ping(socket, &message).await?;
                }
                Err(_) if pinged => return Err(End::Gone),
                Err(_) => {
                    pinged = true;
                    socket.send(Message::Ping(Default::default())).await.map_err(|_| End::Gone)?;
                }
            },
        }
    }
}

/// Streamr's clients ping in text.
async fn answer_ping(socket: &mut WebSocket, message: &Message) -> Result<(), End> {
    match message {
        Message::Text(text) if text.as_str() == "ping" => {
            socket.send(Message::Text(Utf8Bytes::from_static("pong"))).await.map_err(|_| End::Gone)
        }
        // A subscriber has nothing else to say.
        Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {
            Ok(())
        }
    }
}

async fn tell_batch(socket: &mut WebSocket, batch: &Batch, with_metadata: bool) -> Result<(), axum::Error> {
    for (index, event) in (0_u16..).zip(batch.events()) {
        let content = streamr_content(&event);
        let text = if with_metadata {
            let wrapped = Wrapped { content, metadata: MetadataBody::of(batch, index, &event) };
            // IMPORTANT: numbers, strings and checked JSON always have a JSON form.
            serde_json::to_string(&wrapped).unwrap_or_default()
        } else {
            content.get().to_owned()
        };
        socket.feed(Message::Text(text.into())).await?;
    }
    socket.flush().await
}
