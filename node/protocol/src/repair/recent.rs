//! Series that begin here with what came of late: who follows a partition has no use for what is older.

use super::{Past, Pull, Repair};
use crate::{
    PeerMessage, PullEnd, SeriesFrom,
    context::Context,
    links,
    offer::{Offer, Source},
    publish::Ingest,
    rule::Rule,
};
use mainstem_model::{Address, Refusal, SeriesHead, SeriesKey, VerifiedBatch};
use std::sync::Arc;

/// What one broker has taken in of late of a series that is new here.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    recent: Vec<Arc<VerifiedBatch>>,
    peer: Address,
}

impl Begun {
    /// With what another one has before that, if it fits.
    pub(super) fn after(mut self, before: &[Arc<VerifiedBatch>]) -> Self {
        let joined = |(a, b): (&Arc<VerifiedBatch>, &Arc<VerifiedBatch>)| {
            a.header().next_sequence() == b.header().sequence && a.id() == b.header().previous
        };
        if before.iter().zip(before.iter().skip(1).chain(self.recent.first())).all(joined) {
            self.recent.splice(..0, before.iter().cloned());
        }
        self
    }
}

impl Repair {
    /// What another broker has taken in of late of a series has come.
    ///
    /// IMPORTANT: that the series begins there, or that nothing of it came of late, is believed of one that has all. Another may
    /// have begun it in the middle, and readers here would never be told what lies before. And of no single one: it may withhold.
    pub(super) fn take_recent(
        &mut self,
        series: SeriesKey,
        peer: Address,
        recent: Vec<Arc<VerifiedBatch>>,
        result: Result<PullEnd, Refusal>,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let at = series.stream_partition;
        let own = ingest.head(&series, cx).unwrap_or(SeriesHead::START);
        let knows = cx.network.is_keeper(peer, at) && cx.has_all(peer, at);
        let Some(behind) = self.behind.get_mut(&series) else { return };
        behind.pull = None;
        match (recent.first(), result) {
            (Some(first), Ok(end)) => {
                let sequence = first.header().sequence;
                // What is older than was asked for is there as well.
                let older = end.base < sequence;
                if !knows && !older && sequence > own.next_sequence {
                    behind.trimmed.insert(peer, sequence);
                    return;
                }
                let begun = Begun { recent, peer };
                if sequence <= own.next_sequence || !self.ask_another(series, &begun, cx) {
                    self.begin(series, begun, ingest, cx);
                }
            }
            // All of it is history.
            (None, Ok(_)) if knows && cx.fills_up(at) => behind.aged = true,
            _ if !cx.keeps(Rule::PullElsewhere) => {}
            // It said to have it.
            _ => {
                behind.failed.insert(peer);
            }
        }
    }

    /// Asks another broker that keeps the partition what of a series came of late before what has come. Says whether there is one.
    fn ask_another(&mut self, series: SeriesKey, begun: &Begun, cx: &mut Context<'_>) -> bool {
        let (Some(behind), Some(first)) = (self.behind.get_mut(&series), begun.recent.first()) else {
            return false;
        };
        if !cx.keeps(Rule::BegunByTwo) {
            return false;
        }
        let at = series.stream_partition;
        let now = cx.now.up_ms;
        let other = cx.network.sources(at).into_iter().find(|keeper| {
            let silent = now.saturating_sub(cx.peers.heard_at(*keeper)) >= cx.config.silence_ms;
            *keeper != begun.peer && cx.peers.is_up(*keeper) && !silent && !behind.failed.contains(keeper)
        });
        let Some(other) = other else { return false };
        self.next_pull += 1;
        behind.pull = Some(self.next_pull);
        let pull = Pull { by_age: true, begun: Some(begun.clone()), ..Pull::new(series, other, now) };
        self.pulls.insert(self.next_pull, pull);
        let (from, until) = (SeriesFrom::Age(cx.links.reach_back(at, now)), first.header().sequence);
        let bytes_max = cx.config.pull_bytes as u64;
        cx.tell(other, PeerMessage::Pull { pull: self.next_pull, series, from, until, bytes_max });
        true
    }

    /// The series goes on here with what came of late.
    pub(super) fn begin(
        &mut self,
        series: SeriesKey,
        begun: Begun,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let own = ingest.head(&series, cx).unwrap_or(SeriesHead::START);
        let (Some(behind), Some(first)) = (self.behind.get_mut(&series), begun.recent.first()) else {
            return;
        };
        let sequence = first.header().sequence;
        behind.pull = None;
        behind.aged = true;
        if sequence > own.next_sequence && cx.may_lack_past(series.stream_partition) {
            behind.past = behind.past.or(Some(Past::before(sequence, cx.config)));
        }
        // Something that was on its way: the link leaves it out, or brings it yet.
        if behind.compared.is_empty() {
            links::owe(first.header(), behind.since, cx);
        }
        for (index, batch) in begun.recent.into_iter().enumerate() {
            let source = Source::Repair { peer: begun.peer, past: false, anchor: index == 0 };
            ingest.handle_offer(Offer { source, batch }, cx);
        }
    }
}
