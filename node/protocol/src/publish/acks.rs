//! Acks: what is said to whoever waits for a batch.

use super::{Asker, Waiter};
use crate::{OutEvent, PeerMessage, ServerMessage, SessionId, context::Context, copies};
use mainstem_model::{AckLevel, SeriesKey, VerifiedBatch};

/// Tells who waits for a batch that it has come so far.
pub(super) fn answer(waiter: &Waiter, batch: &VerifiedBatch, level: AckLevel, cx: &mut Context<'_>) {
    let header = batch.header();
    let (series, next_sequence, last) = (SeriesKey::of(header), header.next_sequence(), batch.id());
    match waiter.asker {
        Asker::Client { session, request } => {
            cx.release(session, waiter.bytes);
            if !waiter.told {
                send_ack(cx, session, request, batch, level, waiter.duplicate);
            }
        }
        Asker::Copies => copies::held(cx.network.me(), series, next_sequence, last, level, cx),
        Asker::Peer(peer) => {
            let durable = level == AckLevel::Durable;
            cx.tell(peer, PeerMessage::Held { series, next_sequence, last, durable });
        }
    }
}

pub(super) fn send_ack(
    cx: &mut Context<'_>,
    session: SessionId,
    request: u64,
    batch: &VerifiedBatch,
    level: AckLevel,
    duplicate: bool,
) {
    let message = ServerMessage::Ack { request, batch: batch.id(), ack: level.into(), duplicate };
    cx.out.push(OutEvent::Send { session, message });
}
