//! What brokers have on their way to each other, counted where it leaves them and comes back: by bounds of their own they keep to.

use crate::{Config, InEvent, PeerMessage};
use mainstem_model::{Address, SeriesKey, StreamPartition};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes on their way from each broker.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    links: BTreeMap<(usize, Address), BTreeMap<StreamPartition, usize>>,
    copies: BTreeMap<(usize, Address), BTreeMap<(SeriesKey, u64), Sent>>,
    /// When each has last answered for a copy, and when the newest of those was last sent.
    answered: BTreeMap<(usize, Address), [i64; 2]>,
    /// Who is told all batches of a partition.
    told: BTreeMap<usize, BTreeMap<StreamPartition, BTreeSet<Address>>>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    bytes: usize,
    at: i64,
    /// When it was sent again.
    again_at: i64,
    durable: bool,
}

impl Windows {
    /// Broker `n` tells something; what is wrong with that.
    pub(crate) fn tell(
        &mut self,
        n: usize,
        peer: Address,
        message: &PeerMessage,
        now: i64,
        config: &Config,
    ) -> Option<String> {
        match message {
            PeerMessage::Feed { batch } => {
                let bytes = batch.bytes().len();
                let at = batch.stream_partition()?;
                let before = self.links.entry((n, peer)).or_default().entry(at).or_default();
                let over = *before > 0 && *before + bytes > config.link_window_bytes;
                *before += bytes;
                over.then(|| format!("broker {n} has {before} bytes on their way over a link to {peer}"))
            }
            PeerMessage::Store { batch, durable } => {
                let (header, bytes) = (batch.header(), batch.bytes().len());
                let sent = self.copies.entry((n, peer)).or_default();
                // A broker that goes on answering is waited for much longer than one that does not.
                sent.retain(|_, sent| now - sent.at < 20 * config.outstanding_ms);
                // The room of what is old may have been given back, now or a moment ago.
                let young = sent.values().filter(|sent| now - sent.at < config.outstanding_ms * 3 / 4);
                let before: usize = young.map(|sent| sent.bytes).sum();
                let key = (SeriesKey::of(header), header.next_sequence());
                if let Some(before) = sent.get_mut(&key) {
                    before.again_at = now;
                    let goes_on = self.answered.get(&(n, peer)).is_some_and(|[answered_at, up_to]| {
                        now.saturating_sub(*answered_at) < config.copies_resend_ms * 3 / 4
                            && before.at > *up_to
                    });
                    let young = now - before.at < config.outstanding_ms * 3 / 4;
                    return (goes_on && young && before.durable == *durable)
                        .then(|| format!("broker {n} sends {peer} again what it is about to come to"));
                }
                sent.insert(key, Sent { bytes, at: now, again_at: now, durable: *durable });
                let over = before > 0 && before + bytes > config.replica_window_bytes;
                over.then(|| {
                    format!("broker {n} has {before} bytes of copies and more on their way to {peer}")
                })
            }
            PeerMessage::Followed { at, full: true, .. } => {
                let told = self.told.entry(n).or_default().entry(*at).or_default();
                told.insert(peer);
                let (has, max) = (told.len(), config.relay_degree);
                (has > max).then(|| format!("broker {n} tells {has} others each batch"))
            }
            PeerMessage::Followed { at, full: false, .. } | PeerMessage::NotFollowed { at, .. } => {
                self.end_link(n, peer, *at);
                None
            }
            _ => None,
        }
    }

    fn end_link(&mut self, n: usize, peer: Address, at: StreamPartition) {
        if let Some(told) = self.told.get_mut(&n).and_then(|told| told.get_mut(&at)) {
            told.remove(&peer);
        }
    }

    fn answer(
        &mut self,
        n: usize,
        peer: Address,
        of: impl Fn(&(SeriesKey, u64)) -> bool,
        now: i64,
        config: &Config,
    ) {
        let Some(sent) = self.copies.get_mut(&(n, peer)) else { return };
        sent.retain(|key, sent| {
            if of(key) {
                let [at, up_to] = self.answered.entry((n, peer)).or_insert([i64::MIN; 2]);
                *up_to = (*up_to).max(sent.again_at);
                // What is older may be forgotten there, and then says nothing.
                if now - sent.at < config.outstanding_ms * 3 / 4 {
                    *at = now;
                }
            }
            !of(key)
        });
    }

    /// Broker `n` takes something in.
    pub(crate) fn take_in(&mut self, n: usize, event: &InEvent, now: i64, config: &Config) {
        match event {
            InEvent::Peer { peer, message: PeerMessage::Fed { at, bytes } } => {
                let sent = self.links.get_mut(&(n, *peer)).and_then(|sent| sent.get_mut(at));
                if let Some(before) = sent {
                    *before = before.saturating_sub(usize::try_from(*bytes).unwrap_or(usize::MAX));
                }
            }
            InEvent::Peer {
                peer,
                message: PeerMessage::Follow { at, .. } | PeerMessage::Unfollow { at },
            } => {
                if let Some(sent) = self.links.get_mut(&(n, *peer)) {
                    sent.remove(at);
                }
                self.end_link(n, *peer, *at);
            }
            InEvent::Peer { peer, message: PeerMessage::Held { series, next_sequence, .. } } => {
                self.answer(n, *peer, |key| *key == (*series, *next_sequence), now, config);
            }
            InEvent::Peer { peer, message: PeerMessage::NotHeld { series, .. } } => {
                self.answer(n, *peer, |(of, _)| of == series, now, config);
            }
            InEvent::PeerUp { peer } | InEvent::PeerDown { peer } => {
                self.links.remove(&(n, *peer));
                self.copies.remove(&(n, *peer));
                self.answered.remove(&(n, *peer));
                for told in self.told.get_mut(&n).into_iter().flat_map(BTreeMap::values_mut) {
                    told.remove(peer);
                }
            }
            _ => {}
        }
    }

    /// The process of broker `n` is another one.
    pub(crate) fn forget(&mut self, n: usize) {
        self.links.retain(|(from, _), _| *from != n);
        self.copies.retain(|(from, _), _| *from != n);
        self.answered.retain(|(from, _), _| *from != n);
        self.told.remove(&n);
    }
}
