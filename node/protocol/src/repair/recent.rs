//! Series that begin here with what came of late: who follows a partition has no use for what is older.

use super::{Past, Pull, Repair};
use crate::{
    PeerMessage, PullEnd, SeriesFrom,
    context::Context,
    offer::{Offer, Source},
    publish::Ingest,
    rule::Rule,
};
use mainstem_model::{Address, Refusal, SeriesHead, SeriesKey, VerifiedBatch};
use std::{collections::BTreeSet, sync::Arc};

/// What one broker has taken in of late of a series that is new here.
#[derive(Debug)]
pub(super) struct Begun {
    recent: Vec<Arc<VerifiedBatch>>,
    peer: Address,
    /// Who was asked what lies before.
    asked: BTreeSet<Address>,
}

impl Begun {
    /// With what another one has before that. If that does not reach so far, with that alone: the rest is got as what follows it.
    pub(super) fn after(mut self, other: Address, before: Vec<Arc<VerifiedBatch>>, cx: &Context<'_>) -> Self {
        let follows = |(a, b): (&Arc<VerifiedBatch>, &Arc<VerifiedBatch>)| {
            a.header().next_sequence() == b.header().sequence && a.id() == b.header().previous
        };
        let (Some(last), Some(first)) = (before.last(), self.recent.first()) else { return self };
        if !before.iter().zip(before.iter().skip(1)).all(follows) {
            return self;
        }
        if follows((last, first)) {
            self.recent.splice(..0, before);
        } else if last.header().next_sequence() < first.header().sequence && cx.keeps(Rule::BegunEarlier) {
            (self.recent, self.peer) = (before, other);
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
                let begun = Begun { recent, peer, asked: BTreeSet::from([peer]) };
                if sequence > own.next_sequence {
                    self.ask_another(series, begun, ingest, cx);
                } else {
                    self.begin(series, begun, ingest, cx);
                }
            }
            // All of it is history. One that has nothing of it gives the same answer.
            (None, Ok(_))
                if knows
                    && cx.fills_up(at)
                    && (behind.claimers.contains(&peer) || !cx.keeps(Rule::AgedByClaim)) =>
            {
                behind.aged = true;
            }
            _ if !cx.keeps(Rule::PullElsewhere) => {}
            // It said to have it.
            _ => {
                behind.failed.insert(peer);
            }
        }
    }

    /// Asks one more broker that keeps the partition what of a series came of late before what has come. If there is none, it
    /// begins there.
    pub(super) fn ask_another(
        &mut self,
        series: SeriesKey,
        mut begun: Begun,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let (Some(behind), Some(first)) = (self.behind.get_mut(&series), begun.recent.first()) else {
            return;
        };
        behind.pull = None;
        let (at, now) = (series.stream_partition, cx.now.up_ms);
        let others = cx.network.sources(at).into_iter().filter(|keeper| {
            let silent = cx.peers.is_silent(*keeper, now, cx.config);
            !begun.asked.contains(keeper) && cx.peers.is_up(*keeper) && !silent
        });
        // One that does not have all may have nothing before that for want of having got it.
        let Some(other) =
            others.min_by_key(|keeper| !cx.has_all(*keeper, at)).filter(|_| cx.keeps(Rule::BegunByTwo))
        else {
            return self.begin(series, begun, ingest, cx);
        };
        let (from, until) =
            (SeriesFrom::Age(cx.links.reach_back(at, now, cx.config)), first.header().sequence);
        begun.asked.insert(other);
        self.next_pull += 1;
        behind.pull = Some(self.next_pull);
        let pull = Pull { by_age: true, begun: Some(begun), ..Pull::new(series, other, now) };
        self.pulls.insert(self.next_pull, pull);
        let bytes_max = cx.config.pull_bytes as u64;
        cx.tell(other, PeerMessage::Pull { pull: self.next_pull, series, from, until, bytes_max });
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
        let missed = Some(behind.missed());
        for (index, batch) in begun.recent.into_iter().enumerate() {
            let source = Source::Repair { peer: begun.peer, past: false, anchor: index == 0, missed };
            ingest.handle_offer(Offer { source, batch }, cx);
        }
    }
}
