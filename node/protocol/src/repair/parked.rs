//! Batches that came before those that they go on from: kept for a while.

use super::{Lack, Repair};
use crate::{
    context::Context,
    offer::{Offer, Source},
    publish::Ingest,
    rule::Rule,
};
use mainstem_model::{Address, Code, Refusal, SeriesHead, SeriesKey};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Parked {
    pub(super) offer: Offer,
    since: i64,
}

impl Parked {
    /// Sequence of the event behind its last one.
    pub(super) fn next_sequence(&self) -> u64 {
        self.offer.batch.header().next_sequence()
    }
}

impl Repair {
    /// A batch lacks those before it. It is kept for a while, and they are asked for.
    pub(crate) fn park(&mut self, offer: Offer, stands_at: u64, ingest: &mut Ingest, cx: &mut Context<'_>) {
        let header = offer.batch.header();
        let (key, sequence) = (SeriesKey::of(header), header.sequence);
        // Owners are asked by few: whoever follows a partition asks where it follows first.
        let mut sources: BTreeSet<Address> = match cx.network.is_mine(key.stream_partition) {
            false if cx.links.stands(key.stream_partition) => {
                cx.links.tellers(key.stream_partition).collect()
            }
            _ => cx.network.sources(key.stream_partition).into_iter().collect(),
        };
        if let Source::Store { peer, .. } | Source::Feed { peer } | Source::Repair { peer, .. } = offer.source
        {
            sources.insert(peer);
        }
        sources.retain(|source| cx.peers.is_up(*source));
        if sources.is_empty() {
            return cx.refuse_offer(&offer, Ingest::gap_of(&offer, stands_at));
        }
        if let Source::Repair { .. } = offer.source {
            return;
        }
        let bytes = offer.batch.bytes().len();
        let room = self.parked_bytes == 0
            || self.parked_bytes + bytes <= cx.config.parked_bytes_max
            || !cx.keeps(Rule::ParkedBytes);
        let waits = !matches!(offer.source, Source::Feed { .. });
        let series = self.parked.entry(key).or_default();
        if series.contains_key(&sequence) || !room {
            if waits {
                let refusal = Refusal::new(Code::Overloaded, "this broker is behind; try again in a moment");
                cx.refuse_offer(&offer, refusal);
            }
        } else {
            series.insert(sequence, Parked { offer, since: cx.now.up_ms });
            self.parked_bytes += bytes;
        }
        if self.parked.get(&key).is_some_and(BTreeMap::is_empty) {
            self.parked.remove(&key);
        }
        self.fall_behind(key, Lack::Forward { until: sequence }, waits, sources, None, ingest, cx);
    }

    /// Places what was parked and fits now.
    pub(super) fn unpark(
        &mut self,
        series: SeriesKey,
        own: SeriesHead,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let mut own = own;
        let leap = self.behind.get(&series).and_then(|behind| behind.leap);
        while let Some(parked) = self.parked.get_mut(&series) {
            let Some(first) = parked.first_entry() else { break };
            let fits = *first.key() <= own.next_sequence || leap == Some(*first.key()) || own.frozen;
            if !fits || !cx.keeps(Rule::ParkedPlaced) {
                break;
            }
            let parked = first.remove();
            self.parked_bytes -= parked.offer.batch.bytes().len();
            ingest.place(parked.offer, leap, cx);
            match ingest.head(&series, cx) {
                Some(head) => own = head,
                None => break,
            }
        }
        if self.parked.get(&series).is_some_and(BTreeMap::is_empty) {
            self.parked.remove(&series);
        }
    }

    pub(super) fn refuse_parked(&mut self, series: SeriesKey, stands_at: u64, cx: &mut Context<'_>) {
        for parked in self.parked.remove(&series).unwrap_or_default().into_values() {
            self.parked_bytes -= parked.offer.batch.bytes().len();
            let refusal = Ingest::gap_of(&parked.offer, stands_at);
            cx.refuse_offer(&parked.offer, refusal);
        }
    }

    /// What has waited too long is refused.
    pub(super) fn end_parked(&mut self, ingest: &mut Ingest, cx: &mut Context<'_>) {
        if !cx.keeps(Rule::ParkedWait) {
            return;
        }
        let before = cx.now.up_ms - cx.config.parked_ms;
        let old: Vec<SeriesKey> = self
            .parked
            .iter()
            .filter(|(_, parked)| parked.values().any(|parked| parked.since <= before))
            .map(|(series, _)| *series)
            .collect();
        for series in old {
            if let Some(own) = ingest.head(&series, cx) {
                self.refuse_parked(series, own.next_sequence, cx);
            }
        }
    }
}
