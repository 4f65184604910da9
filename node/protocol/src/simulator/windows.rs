//! What brokers have on their way to each other, counted where it leaves them and comes back: by bounds of their own they keep to.

use crate::{Config, InEvent, PeerMessage};
use mainstem_model::{Address, SeriesKey, StreamPartition};
use std::collections::BTreeMap;

/// Bytes on their way from each broker.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    links: BTreeMap<(usize, Address, StreamPartition), usize>,
    copies: BTreeMap<(usize, Address), BTreeMap<(SeriesKey, u64), Sent>>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    bytes: usize,
    at: i64,
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
                let before = self.links.entry((n, peer, batch.header().stream_partition)).or_default();
                let over = *before > 0 && *before + bytes > config.link_window_bytes;
                *before += bytes;
                over.then(|| format!("broker {n} has {before} bytes on their way over a link to {peer}"))
            }
            PeerMessage::Store { batch, .. } => {
                let (header, bytes) = (batch.header(), batch.bytes().len());
                let sent = self.copies.entry((n, peer)).or_default();
                sent.retain(|_, sent| now - sent.at < 2 * config.outstanding_ms);
                // The room of what is old may have been given back, now or a moment ago.
                let young = sent.values().filter(|sent| now - sent.at < config.outstanding_ms * 3 / 4);
                let before: usize = young.map(|sent| sent.bytes).sum();
                let key = (SeriesKey::of(header), header.next_sequence());
                if sent.contains_key(&key) {
                    return None;
                }
                sent.insert(key, Sent { bytes, at: now });
                let over = before > 0 && before + bytes > config.replica_window_bytes;
                over.then(|| {
                    format!("broker {n} has {before} bytes of copies and more on their way to {peer}")
                })
            }
            _ => None,
        }
    }

    /// Broker `n` takes something in.
    pub(crate) fn take_in(&mut self, n: usize, event: &InEvent) {
        match event {
            InEvent::Peer { peer, message: PeerMessage::Fed { at, bytes } } => {
                if let Some(before) = self.links.get_mut(&(n, *peer, *at)) {
                    *before = before.saturating_sub(usize::try_from(*bytes).unwrap_or(usize::MAX));
                }
            }
            InEvent::Peer {
                peer,
                message: PeerMessage::Follow { at, .. } | PeerMessage::Unfollow { at },
            } => {
                self.links.remove(&(n, *peer, *at));
            }
            InEvent::Peer { peer, message: PeerMessage::Held { series, next_sequence, .. } } => {
                if let Some(sent) = self.copies.get_mut(&(n, *peer)) {
                    sent.remove(&(*series, *next_sequence));
                }
            }
            InEvent::Peer { peer, message: PeerMessage::NotHeld { series, .. } } => {
                if let Some(sent) = self.copies.get_mut(&(n, *peer)) {
                    sent.retain(|(of, _), _| of != series);
                }
            }
            InEvent::PeerUp { peer } | InEvent::PeerDown { peer } => {
                self.links.retain(|(from, to, _), _| *from != n || to != peer);
                self.copies.remove(&(n, *peer));
            }
            _ => {}
        }
    }

    /// The process of broker `n` is another one.
    pub(crate) fn forget(&mut self, n: usize) {
        self.links.retain(|(from, ..), _| *from != n);
        self.copies.retain(|(from, _), _| *from != n);
    }
}
