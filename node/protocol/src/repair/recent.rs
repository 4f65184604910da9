//! Series that begin here with what came of late: who follows a partition has no use for what is older.

use super::{Past, Repair};
use crate::{
    PullEnd,
    context::Context,
    links,
    offer::{Offer, Source},
    publish::Ingest,
    rule::Rule,
};
use mainstem_model::{Address, Refusal, SeriesHead, SeriesKey, VerifiedBatch};
use std::sync::Arc;

impl Repair {
    /// What another broker has taken in of late of a series has come.
    ///
    /// IMPORTANT: that the series begins there, or that nothing of it came of late, is believed of one that has all. Another may
    /// have begun it in the middle, and readers here would never be told what lies before.
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
        let knows = cx.network.is_keeper(peer, at) && cx.peers.hello(peer).is_some_and(|hello| hello.ready);
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
                behind.aged = true;
                if sequence > own.next_sequence && cx.may_lack_past(at) {
                    behind.past = behind.past.or(Some(Past::before(sequence, cx.config)));
                }
                // Something that was on its way: the link leaves it out, or brings it yet.
                if let Some(first) = recent.first().filter(|_| behind.compared.is_empty()) {
                    links::owe(first.header(), behind.since, cx);
                }
                for (index, batch) in recent.into_iter().enumerate() {
                    let source = Source::Repair { peer, past: false, anchor: index == 0 };
                    ingest.handle_offer(Offer { source, batch }, cx);
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
}
