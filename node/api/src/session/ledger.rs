use crate::SessionConfig;
use mainstem_model::Code;
use mainstem_protocol::{ServerMessage, SubscriptionId};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The requests of one session that wait for their answer. Every request gets exactly one.
#[derive(Debug)]
pub(crate) struct Ledger {
    open: Mutex<Open>,
    answered: Notify,
    requests_max: usize,
    subscribes_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    requests: BTreeMap<u64, Asked>,
    subscribes: usize,
    /// Bytes of the batches among them.
    batch_bytes: usize,
    bad_batches: u32,
}

/// What the way back needs to know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A subscription to events of this time range, both ends included.
    Subscribe { from: i64, to: i64 },
    /// The end of a subscription.
    Unsubscribe(SubscriptionId),
    /// A batch of so many bytes that is to be published.
    Publish { bytes: usize },
    /// Anything else.
    Other,
}

impl Ledger {
    pub(crate) fn new(config: &SessionConfig) -> Self {
        Self {
            open: Mutex::default(),
            answered: Notify::new(),
            requests_max: config.requests_open_max.max(1),
            subscribes_max: config.subscribes_open_max.max(1),
        }
    }

    /// Notes a request; `false` when one of its number is open.
    pub(crate) fn ask(&self, request: u64, asked: Asked) -> bool {
        let mut open = self.lock();
        if open.requests.contains_key(&request) {
            return false;
        }
        open.requests.insert(request, asked);
        open.subscribes += usize::from(matches!(asked, Asked::Subscribe { .. }));
        true
    }

    /// Notes that an open request brings a batch; `false`, and nothing noted, when that makes more than `max` bytes on their
    /// way to their acks. One batch may always be on its way.
    ///
    /// IMPORTANT: these are all that the broker counts in the session's window, and those that are still to be proven: who
    /// keeps to the window by the answers that it has is never refused here.
    pub(crate) fn take_window(&self, request: u64, bytes: usize, max: usize) -> bool {
        let mut open = self.lock();
        if open.batch_bytes > 0 && open.batch_bytes + bytes > max {
            return false;
        }
        if let Some(asked) = open.requests.get_mut(&request) {
            *asked = Asked::Publish { bytes };
            open.batch_bytes += bytes;
        }
        true
    }

    /// Strikes a request out; `None` when there is none of that number.
    pub(crate) fn answer(&self, request: u64) -> Option<Asked> {
        let mut open = self.lock();
        let asked = open.requests.remove(&request)?;
        match asked {
            Asked::Subscribe { .. } => open.subscribes -= 1,
            Asked::Publish { bytes } => open.batch_bytes -= bytes,
            Asked::Unsubscribe(_) | Asked::Other => {}
        }
        drop(open);
        self.answered.notify_one();
        Some(asked)
    }

    /// Strikes out the request that a message answers, if it answers one.
    pub(crate) fn answer_by(&self, message: &ServerMessage) -> Option<Asked> {
        match message {
            ServerMessage::Refused { request, refusal } => {
                if refusal.code == Code::Equivocation {
                    self.count_bad_batch();
                }
                self.answer(*request)
            }
            ServerMessage::SignedIn { request }
            | ServerMessage::Ack { request, .. }
            | ServerMessage::Subscribed { request, .. }
            | ServerMessage::Unsubscribed { request } => self.answer(*request),
            ServerMessage::Deliver { .. } | ServerMessage::CaughtUp { .. } | ServerMessage::Ended { .. } => {
                None
            }
        }
    }

    /// Notes a batch that did not prove, or that proves its origin's double play.
    pub(crate) fn count_bad_batch(&self) {
        self.lock().bad_batches += 1;
    }

    pub(crate) fn bad_batches(&self) -> u32 {
        self.lock().bad_batches
    }

    pub(crate) fn has_room(&self) -> bool {
        let open = self.lock();
        open.requests.len() < self.requests_max && open.subscribes < self.subscribes_max
    }

    /// Waits until some request was answered. For one waiter.
    pub(crate) async fn answered(&self) {
        self.answered.notified().await;
    }

    /// Waits until all were.
    pub(crate) async fn all_answered(&self) {
        while !self.lock().requests.is_empty() {
            self.answered().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_one_batch_always_and_others_as_far_as_they_fit() {
        let ledger = Ledger::new(&SessionConfig::default());
        for (request, bytes, fits) in [(1, 150, true), (2, 1, false), (3, 0, false)] {
            assert!(ledger.ask(request, Asked::Other));
            assert_eq!(ledger.take_window(request, bytes, 100), fits, "request {request}");
        }
        // What was not taken gives nothing back.
        ledger.answer(2);
        assert!(!ledger.take_window(3, 1, 100));
        ledger.answer(1);
        assert!(ledger.take_window(3, 60, 100));
        assert!(
            ledger.ask(4, Asked::Other) && !ledger.take_window(4, 41, 100) && ledger.take_window(4, 40, 100)
        );
    }
}
