use super::{
    Api,
    error::{ErrorBody, Problem},
    input::{parse_json, shortened},
    publish::{json_event, json_object},
    socket_subscribe::close,
    time::Time,
};
use crate::{publisher::Submitted, websocket::Stop};
use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use mainstem_model::{
    AckLevel, Address, BatchError, NewEvent, Partition, PartitionKey, Refusal, StreamId, StreamPartition,
    limits,
};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use std::{sync::Arc, time::Duration};

/// What a publishing socket was opened for.
#[derive(Debug)]
pub(super) struct Publishing {
    pub(super) api: Arc<Api>,
    pub(super) stream: StreamId,
    pub(super) identity: Address,
    /// Where events go when no field of theirs says so.
    pub(super) partition: Partition,
    /// The field of the content that an event is filed under.
    pub(super) key_field: Option<String>,
    pub(super) stop: Stop,
}

/// With `payload_metadata`. Of the metadata only the timestamp counts, as with Streamr.
#[derive(Debug, Deserialize)]
struct Wrapped {
    content: Box<RawValue>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    timestamp: Option<Time>,
}

/// Takes events until the client has no more. An event that is refused is answered with an error message; the socket stays.
pub(super) async fn serve(mut socket: WebSocket, publishing: Publishing) {
    let config = &publishing.api.config;
    let mut stop = publishing.stop.clone();
    let mut stopped = None;
    let interval = Duration::from_millis(config.ping_interval_ms);
    let mut waiting = FuturesOrdered::new();
    let mut pinged = false;
    loop {
        if let (Some(refusal), true) = (&stopped, waiting.is_empty()) {
            return close(&mut socket, refusal).await;
        }
        // At a shutdown the events that were taken are still answered for.
        let has_room = stopped.is_none() && waiting.len() < config.socket_publishes_max;
        let step = tokio::select! {
            refusal = stop.asked(), if stopped.is_none() => {
                stopped = Some(refusal);
                Ok(())
            }
            Some(result) = waiting.next(), if !waiting.is_empty() => match result {
                Ok(_) => Ok(()),
                Err(refusal) => tell(&mut socket, &refusal, interval).await,
            },
            heard = tokio::time::timeout(interval, socket.next()), if has_room => match heard {
                Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => Err(()),
                Ok(Some(Ok(message))) => {
                    pinged = false;
                    match publishing.hear(message) {
                        Heard::Ping => send(&mut socket, Message::Text(Utf8Bytes::from_static("pong")), interval).await,
                        Heard::Nothing => Ok(()),
                        Heard::Event(Ok(submitted)) => {
                            waiting.push_back(submitted.wait());
                            Ok(())
                        }
                        Heard::Event(Err(refusal)) => tell(&mut socket, &refusal, interval).await,
                    }
                }
                Err(_) if pinged => Err(()),
                Err(_) => {
                    pinged = true;
                    send(&mut socket, Message::Ping(Bytes::new()), interval).await
                }
            },
        };
        if step.is_err() {
            return;
        }
    }
}

async fn tell(socket: &mut WebSocket, refusal: &Refusal, limit: Duration) -> Result<(), ()> {
    send(socket, Message::Text(ErrorBody::of(refusal).to_text().into()), limit).await
}

/// Fails when the client is gone or takes nothing.
async fn send(socket: &mut WebSocket, message: Message, limit: Duration) -> Result<(), ()> {
    match tokio::time::timeout(2 * limit, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

enum Heard {
    Ping,
    Nothing,
    Event(Result<Submitted, Refusal>),
}

impl Publishing {
    fn hear(&self, message: Message) -> Heard {
        let content = match message {
            Message::Text(text) if text.as_str() == "ping" => return Heard::Ping,
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Heard::Nothing,
        };
        Heard::Event(self.publish(content).map_err(Problem::into_refusal))
    }

    fn publish(&self, message: Bytes) -> Result<Submitted, Problem> {
        let (event, content) = self.event_of(message)?;
        let at = self.place_of(&content)?;
        Ok(self.api.publisher.submit(self.identity, at, vec![event], AckLevel::Stored)?)
    }

    fn event_of(&self, message: Bytes) -> Result<(NewEvent, Map<String, Value>), Problem> {
        let (time, bytes) = if self.api.config.payload_metadata {
            let wrapped: Wrapped = parse_json(&message)?;
            let content = Bytes::from(Box::<str>::from(wrapped.content).into_string());
            (wrapped.metadata.timestamp.unwrap_or_else(Time::now), content)
        } else {
            (Time::now(), message)
        };
        if bytes.len() > limits::CONTENT_BYTES_MAX {
            return Err(BatchError::ContentTooLarge { index: 0, bytes: bytes.len() }.into());
        }
        let content = json_object(&bytes)?;
        Ok((json_event(time, bytes), content))
    }

    fn place_of(&self, content: &Map<String, Value>) -> Result<StreamPartition, Problem> {
        let Some(field) = &self.key_field else { return Ok(self.stream.partition(self.partition)) };
        let key = match content.get(field) {
            Some(Value::String(text)) => PartitionKey::Text(text.clone()),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(number) => PartitionKey::Number(number),
                None => PartitionKey::Text(number.to_string()),
            },
            _ => {
                let message =
                    format!("field {:?} of the content is neither text nor number", shortened(field));
                return Err(Problem::argument(message));
            }
        };
        let partitions = self.api.handle.registry().stream(self.stream).map_or(1, |record| record.partitions);
        Ok(self.stream.partition(Partition::of_key(&key, partitions)))
    }
}
