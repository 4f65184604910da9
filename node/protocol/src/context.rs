//! What the parts of a node share while they handle one event.

use crate::{
    Config, Counters, Now, OutEvent, PeerMessage, ReadToken, ServerMessage, SessionId,
    changes::Changes,
    clock::Clock,
    copies::Copies,
    links::Links,
    network::Network,
    offer::{Offer, Source},
    peers::{Hello, Peers},
    rule::Rule,
    session::Sessions,
};
use mainstem_model::{Address, Code, Refusal, Registry, Right, SeriesKey, StreamId, StreamPartition};
use std::collections::BTreeSet;

/// What ingest needs of the rest of the node while it handles one event.
pub(crate) struct Context<'a> {
    pub(crate) config: &'a Config,
    pub(crate) registry: &'a Registry,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) counters: &'a mut Counters,
    pub(crate) former: &'a BTreeSet<(StreamId, Address)>,
    pub(crate) network: &'a mut Network,
    pub(crate) peers: &'a mut Peers,
    pub(crate) copies: &'a mut Copies,
    pub(crate) links: &'a mut Links,
    pub(crate) changes: &'a mut Changes,
    /// This broker serves what it is to keep.
    pub(crate) ready: bool,
    /// It has all of that.
    pub(crate) whole: bool,
    pub(crate) next_read: &'a mut u64,
    pub(crate) clock: &'a Clock,
    pub(crate) now: Now,
    pub(crate) out: &'a mut Vec<OutEvent>,
}

impl Context<'_> {
    /// See [`Config::keeps`].
    #[cfg_attr(
        not(feature = "test-utils"),
        expect(clippy::missing_const_for_fn, reason = "it looks something up in tests")
    )]
    #[inline]
    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.config.keeps(rule)
    }

    pub(crate) fn refuse(&mut self, session: SessionId, request: u64, refusal: Refusal) {
        self.counters.count_refusal(refusal.code);
        self.out.push(OutEvent::Send { session, message: ServerMessage::Refused { request, refusal } });
    }

    pub(crate) fn read_token(&mut self) -> ReadToken {
        *self.next_read += 1;
        ReadToken(*self.next_read)
    }

    pub(crate) fn release(&mut self, session: SessionId, bytes: usize) {
        if let Some(session) = self.sessions.find(session) {
            session.publish_bytes = session.publish_bytes.saturating_sub(bytes);
        }
    }

    /// Refuses a batch that was admitted.
    pub(crate) fn refuse_offer(&mut self, offer: &Offer, refusal: Refusal) {
        match offer.source {
            Source::Client { session, request, .. } => {
                self.release(session, offer.batch.bytes().len());
                self.refuse(session, request, refusal);
            }
            Source::Store { peer, .. } => {
                *self.counters.offers_refused.entry(refusal.code).or_default() += 1;
                let (series, batch) = (SeriesKey::of(offer.batch.header()), offer.batch.id());
                self.tell(peer, PeerMessage::NotHeld { series, batch, refusal });
            }
            Source::Feed { .. } | Source::Repair { .. } => {
                *self.counters.offers_refused.entry(refusal.code).or_default() += 1;
            }
        }
    }

    /// Whether there is no session with a broker, and none is to be hoped for in a moment.
    pub(crate) fn is_lost(&self, peer: Address) -> bool {
        !self.peers.is_up(peer) && !self.peers.is_reached_for(peer, self.now.up_ms, self.config)
    }

    /// Whether an origin may publish or once could.
    pub(crate) fn check_past(&self, at: StreamPartition, origin: Option<Address>) -> Result<(), Refusal> {
        let Err(refusal) = self.registry.check(at, origin, Right::Publish, self.now.unix_s()) else {
            return Ok(());
        };
        let had = origin.is_some_and(|origin| self.former.contains(&(at.stream, origin)))
            || self.former.contains(&(at.stream, Address::ZERO));
        if refusal.code == Code::MissingPermission && had { Ok(()) } else { Err(refusal) }
    }

    /// Whether a broker says to have all that it is to keep, and knows that a partition is of that.
    ///
    /// IMPORTANT: one that sees an epoch late is ready for the one before, and has nothing yet of what it was given since.
    pub(crate) fn has_all(&self, peer: Address, at: StreamPartition) -> bool {
        let since = self.network.given_in(peer, at);
        let sees =
            |hello: Hello| since.is_none_or(|since| hello.epoch >= since || !self.keeps(Rule::ReadyInEpoch));
        self.peers.hello(peer).is_some_and(|hello| hello.ready && sees(hello))
    }

    /// Whether series may begin later here than elsewhere: as a reader of the partition this broker began them in the middle.
    /// After a restart it does not know of which it did.
    pub(crate) fn may_lack_past(&self, at: StreamPartition) -> bool {
        !self.whole && self.network.is_mine(at) && self.keeps(Rule::FillsUp)
    }

    /// Whether what others have of a partition fills up history here.
    pub(crate) fn fills_up(&self, at: StreamPartition) -> bool {
        !self.ready && self.network.is_mine(at) && self.network.is_new(at) && self.keeps(Rule::NewIsHistory)
    }
}
