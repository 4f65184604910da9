//! What the stores of brokers do for others: how much at once, and how much for one question.

use crate::{Config, InEvent, OutEvent, PeerMessage, ReadToken};
use mainstem_model::Address;
use std::collections::BTreeMap;

/// Who waits for which read of which broker's store.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    reads: BTreeMap<(usize, ReadToken), Address>,
}

impl Questions {
    /// Broker `n` takes something in. Gives who asks for what it reads because of that.
    pub(crate) fn take_in(&mut self, n: usize, event: &InEvent) -> Option<Address> {
        match event {
            InEvent::Peer {
                peer,
                message:
                    PeerMessage::Pull { .. }
                    | PeerMessage::Inventory { .. }
                    | PeerMessage::Compare { .. }
                    | PeerMessage::Resolve { .. }
                    | PeerMessage::Read { .. },
            } => Some(*peer),
            InEvent::StartResolved { read, .. }
            | InEvent::PageRead { read, .. }
            | InEvent::SeriesRead { read, .. }
            | InEvent::PartitionsListed { read, .. }
            | InEvent::HeadsDigested { read, .. }
            | InEvent::HeadsSummarized { read, .. } => self.reads.remove(&(n, *read)),
            InEvent::PeerDown { peer } => {
                self.reads.retain(|(at, _), asker| *at != n || asker != peer);
                None
            }
            _ => None,
        }
    }

    /// Broker `n` reads something because `peer` has asked; what is wrong with that.
    pub(crate) fn read(
        &mut self,
        n: usize,
        peer: Address,
        read: &OutEvent,
        config: &Config,
    ) -> Option<String> {
        let (read, bytes) = match read {
            OutEvent::ReadSeries { read, bytes_max, .. } | OutEvent::ReadPage { read, bytes_max, .. } => {
                (read, *bytes_max)
            }
            OutEvent::ResolveStart { read, .. }
            | OutEvent::ListPartitions { read, .. }
            | OutEvent::DigestHeads { read, .. }
            | OutEvent::SummarizeHeads { read, .. } => (read, 0),
            _ => return None,
        };
        self.reads.insert((n, *read), peer);
        if bytes > config.pull_bytes {
            return Some(format!("broker {n} reads {bytes} bytes for {peer}"));
        }
        let reads = self.reads.iter().filter(|((at, _), asker)| *at == n && **asker == peer).count();
        (reads > config.answers_per_peer_max).then(|| format!("broker {n} reads {reads} things for {peer}"))
    }

    /// The process of broker `n` is another one.
    pub(crate) fn forget(&mut self, n: usize) {
        self.reads.retain(|(at, _), _| *at != n);
    }
}
