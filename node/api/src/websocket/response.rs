use super::{Asked, Outgoing};
use crate::{
    frame::{Hello, ServerFrame, VERSION},
    http::{EventBody, Time, event_id},
};
use bytes::Bytes;
use mainstem_model::{Ack, Batch, BatchId, Challenge, Cursor, Refusal};
use mainstem_protocol::{ServerMessage, SubscriptionId};
use serde::Serialize;
use std::collections::BTreeMap;

/// Tells a session in JSON.
#[derive(Debug, Default)]
pub(super) struct JsonWriter {
    /// Time ranges of the open subscriptions: batches come whole, events outside are left out here.
    ranges: BTreeMap<SubscriptionId, (i64, i64)>,
}

/// A message to the client. Numbers of requests and subscriptions are the client's and the node's.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Told {
    /// The first message.
    Hello {
        node: String,
        nonce: String,
        network: String,
        audience: String,
        now: String,
        version: u16,
        /// `signIn` has the signature (`personal_sign`) of this text with `issuedAt`, in milliseconds, behind it.
        challenge: String,
    },
    SignedIn {
        request: u64,
    },
    Ack {
        request: u64,
        batch_id: String,
        level: Ack,
        duplicate: bool,
        /// Of a publish that the node signed.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        events: Vec<String>,
    },
    Subscribed {
        request: u64,
        subscription: u32,
    },
    Event {
        subscription: u32,
        /// Resuming with this goes on behind this event.
        cursor: String,
        #[serde(flatten)]
        event: EventBody,
    },
    CaughtUp {
        subscription: u32,
        cursor: String,
        events: u64,
        /// Batches that are damaged here and were left out since the last message of this kind.
        #[serde(skip_serializing_if = "is_zero")]
        damaged: u64,
        /// The past is not all told yet: this tells only of damage.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    },
    Ended {
        subscription: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
        complete: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorBody>,
    },
    Unsubscribed {
        request: u64,
    },
    Pong {
        request: u64,
    },
    Refused {
        /// 0: the connection as a whole, or a message whose number could not be read.
        request: u64,
        #[serde(flatten)]
        error: ErrorBody,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct ErrorBody {
    code: &'static str,
    message: String,
}

impl From<Refusal> for ErrorBody {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code.as_str(), message: refusal.message }
    }
}

impl JsonWriter {
    /// The messages that tell a frame: one, but a delivery has one for each event.
    pub(super) fn texts(&mut self, outgoing: &Outgoing) -> Vec<String> {
        match &outgoing.frame {
            ServerFrame::Message(ServerMessage::Deliver { subscription, cursor, received_at, batch }) => {
                self.events(*subscription, *cursor, *received_at, batch)
            }
            ServerFrame::Message(message) => vec![text(&self.message(message.clone(), outgoing.answers))],
            ServerFrame::Hello(hello) => vec![text(&told_hello(hello))],
            ServerFrame::Pong { request } => vec![text(&Told::Pong { request: *request })],
            ServerFrame::Published { request, published, count } => {
                let places = published.first_index..published.first_index.saturating_add(*count);
                let events = places.map(|index| event_id(published.batch, index)).collect();
                vec![text(&told_ack(*request, published.batch, published.ack, published.duplicate, events))]
            }
        }
    }

    fn message(&mut self, message: ServerMessage, answers: Option<Asked>) -> Told {
        match message {
            ServerMessage::SignedIn { request } => Told::SignedIn { request },
            ServerMessage::Ack { request, batch, ack, duplicate } => {
                told_ack(request, batch, ack, duplicate, vec![])
            }
            ServerMessage::Subscribed { request, subscription } => {
                if let Some(Asked::Subscribe { from, to }) = answers {
                    self.ranges.insert(subscription, (from, to));
                }
                Told::Subscribed { request, subscription: subscription.0 }
            }
            ServerMessage::CaughtUp { subscription, cursor, events, damaged, more } => Told::CaughtUp {
                subscription: subscription.0,
                cursor: cursor.to_string(),
                events,
                damaged,
                more,
            },
            ServerMessage::Ended { subscription, cursor, refusal } => {
                self.ranges.remove(&subscription);
                Told::Ended {
                    subscription: subscription.0,
                    cursor: cursor.map(|cursor| cursor.to_string()),
                    complete: refusal.is_none(),
                    error: refusal.map(ErrorBody::from),
                }
            }
            ServerMessage::Unsubscribed { request } => {
                if let Some(Asked::Unsubscribe(subscription)) = answers {
                    self.ranges.remove(&subscription);
                }
                Told::Unsubscribed { request }
            }
            ServerMessage::Refused { request, refusal } => Told::Refused { request, error: refusal.into() },
            // Told event by event, above.
            ServerMessage::Deliver { subscription, cursor, .. } => Told::CaughtUp {
                subscription: subscription.0,
                cursor: cursor.to_string(),
                events: 0,
                damaged: 0,
                more: true,
            },
        }
    }

    fn events(
        &self,
        subscription: SubscriptionId,
        cursor: Cursor,
        received_at: i64,
        batch: &Bytes,
    ) -> Vec<String> {
        // What comes for one that was ended meanwhile is not wanted any more.
        let Some((from, to)) = self.ranges.get(&subscription) else { return vec![] };
        let batch = match Batch::parse(batch.clone()) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "a stored batch cannot be read");
                return vec![];
            }
        };
        (0_u16..)
            .zip(batch.events())
            .skip(usize::from(cursor.skip()))
            .filter(|(_, event)| (*from..=*to).contains(&event.timestamp))
            .map(|(index, event)| {
                text(&Told::Event {
                    subscription: subscription.0,
                    cursor: cursor.with_skip(index + 1).to_string(),
                    event: EventBody::of(&batch, index, &event, received_at),
                })
            })
            .collect()
    }
}

fn told_hello(hello: &Hello) -> Told {
    let challenge =
        Challenge { node: hello.node, audience: hello.audience.clone(), nonce: hello.nonce }.text(0);
    Told::Hello {
        node: hello.node.to_string(),
        nonce: hex::encode(hello.nonce),
        network: hello.network.to_string(),
        audience: hello.audience.clone(),
        now: Time { unix_ms: hello.now }.to_string(),
        version: VERSION,
        challenge: challenge.strip_suffix('0').unwrap_or(&challenge).to_owned(),
    }
}

fn told_ack(request: u64, batch: BatchId, level: Ack, duplicate: bool, events: Vec<String>) -> Told {
    Told::Ack { request, batch_id: batch.to_string(), level, duplicate, events }
}

fn text(told: &Told) -> String {
    // IMPORTANT: numbers, strings and checked JSON always have a JSON form.
    serde_json::to_string(told).unwrap_or_default()
}
