use crate::{Config, SessionId, SubscriptionId};
use mainstem_model::{Address, Code, Refusal};
use std::collections::BTreeMap;

/// Who is connected, and what each has under way.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: BTreeMap<SessionId, Session>,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) identity: Option<Address>,
    /// Bytes of batches on their way to their acks.
    pub(crate) publish_bytes: usize,
    /// Open ones, and ended ones whose last read has not returned.
    pub(crate) subscriptions: usize,
    /// Bytes of batches handed to its subscriptions and not yet taken by the transport.
    pub(crate) handed_bytes: usize,
    /// Room for pages that are being read for them, or are going to be.
    pub(crate) reserved_bytes: usize,
    /// When the transport last took some of `handed_bytes`, or when the first of them were handed out; milliseconds.
    pub(crate) flushed_at: i64,
    /// It was told that it ends because it took nothing.
    told_stalled: bool,
    next_subscription: u32,
}

impl Sessions {
    pub(crate) fn open(
        &mut self,
        id: SessionId,
        identity: Option<Address>,
        config: &Config,
    ) -> Result<(), Refusal> {
        if self.open.len() >= config.sessions_max {
            return Err(limit("sessions", config.sessions_max, "try again later or at another broker"));
        }
        self.open.insert(id, Session { identity, ..Session::default() });
        Ok(())
    }

    pub(crate) fn close(&mut self, id: SessionId) {
        self.open.remove(&id);
    }

    pub(crate) fn find(&mut self, id: SessionId) -> Option<&mut Session> {
        self.open.get_mut(&id)
    }

    pub(crate) fn identity(&self, id: SessionId) -> Option<Address> {
        self.open.get(&id).and_then(|session| session.identity)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Sessions whose transport has taken nothing since `before` although there is something; each is told of once.
    pub(crate) fn stalled(&mut self, before: i64) -> Vec<SessionId> {
        let mut stalled = Vec::new();
        for (id, session) in &mut self.open {
            if session.handed_bytes > 0 && session.flushed_at <= before && !session.told_stalled {
                session.told_stalled = true;
                stalled.push(*id);
            }
        }
        stalled
    }

    /// A session has one identity for life, so that nothing it began under one name goes on under another.
    pub(crate) fn sign_in(&mut self, id: SessionId, address: Address) -> Result<(), Refusal> {
        let Some(session) = self.open.get_mut(&id) else { return Ok(()) };
        match session.identity {
            Some(other) if other != address => Err(Refusal::new(
                Code::InvalidSignIn,
                format!("this connection is signed in as {other}; open another one for {address}"),
            )),
            _ => {
                session.identity = Some(address);
                Ok(())
            }
        }
    }
}

impl Session {
    /// Takes room for a batch in the session's publish window. One batch may always be on its way.
    pub(crate) fn take_window(&mut self, bytes: usize, config: &Config) -> Result<(), Refusal> {
        if self.publish_bytes > 0 && self.publish_bytes + bytes > config.publish_window_bytes {
            return Err(Refusal::new(
                Code::Overloaded,
                format!(
                    "more than {} bytes wait for their ack; send on as acks come",
                    config.publish_window_bytes
                ),
            ));
        }
        self.publish_bytes += bytes;
        Ok(())
    }

    pub(crate) fn next_subscription(&mut self, config: &Config) -> Result<SubscriptionId, Refusal> {
        if self.subscriptions >= config.subscriptions_per_session_max {
            return Err(limit("subscriptions", config.subscriptions_per_session_max, "end one first"));
        }
        self.subscriptions += 1;
        self.next_subscription = self.next_subscription.wrapping_add(1);
        Ok(SubscriptionId(self.next_subscription))
    }
}

pub(crate) fn limit(what: &str, max: usize, remedy: &str) -> Refusal {
    Refusal::new(Code::LimitReached, format!("the limit of {max} {what} is reached; {remedy}"))
}
