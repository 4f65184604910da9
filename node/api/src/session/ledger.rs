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
    bad_batches: u32,
}

/// What the way back needs to know of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A subscription to events of this time range, both ends included.
    Subscribe { from: i64, to: i64 },
    /// The end of a subscription.
    Unsubscribe(SubscriptionId),
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

    /// Strikes a request out; `None` when there is none of that number.
    pub(crate) fn answer(&self, request: u64) -> Option<Asked> {
        let mut open = self.lock();
        let asked = open.requests.remove(&request)?;
        open.subscribes -= usize::from(matches!(asked, Asked::Subscribe { .. }));
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
