//! Comparing all that two brokers keep: by partition, then by ever smaller ranges of series, down to the heads that differ.

use crate::{
    OutEvent, PeerMessage, ReadToken, answers, context::Context, links, publish::Ingest, repair::Repair,
    rule::Rule,
};
use mainstem_model::{
    Address, HeadsDigest, HeadsSummary, Origin, Refusal, SeriesId, SeriesRange, StreamPartition,
};
use std::collections::BTreeMap;

/// The comparisons under way, one with each broker at most.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    with: BTreeMap<Address, Comparison>,
    reads: BTreeMap<ReadToken, (Address, Own)>,
    next_ask: u64,
}

/// A comparison with one broker.
#[derive(Debug)]
struct Comparison {
    /// As of which epoch.
    epoch: u32,
    begun_at: i64,
    heard_at: i64,
    asks: BTreeMap<u64, Asked>,
    /// Reads of the own store for it.
    reads: usize,
    /// What the other was when it said what it has.
    other: Option<Other>,
    /// Everything was asked and answered.
    over: bool,
    /// How the last one ended.
    done: Option<Done>,
}

/// What another broker says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Other {
    /// It knows this epoch: it tells of what this broker is to keep by it.
    knows: bool,
    /// It has all that it is to keep.
    ready: bool,
}

/// How a comparison ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) epoch: u32,
    pub(crate) began_at: i64,
    /// The other knew this epoch.
    pub(crate) with_knowing: bool,
    /// The other had all that it is to keep.
    pub(crate) with_ready: bool,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Inventory,
    Range(StreamPartition),
}

/// What is read of the own store, to compare with.
#[derive(Debug)]
enum Own {
    Digests(Vec<(StreamPartition, HeadsDigest)>),
    Range(SeriesRange, HeadsDigest),
}

impl Inventory {
    /// How the last comparison with a broker ended, if one has in this session.
    pub(crate) fn done(&self, peer: Address) -> Option<Done> {
        self.with.get(&peer).and_then(|comparison| comparison.done)
    }

    /// Begins to compare with a broker, unless that is under way for this epoch.
    pub(crate) fn begin(&mut self, peer: Address, cx: &mut Context<'_>) {
        let (epoch, now) = (cx.network.epoch(), cx.now.up_ms);
        let done = match self.with.get(&peer) {
            Some(comparison) if !comparison.over && comparison.epoch == epoch => return,
            Some(comparison) => comparison.done,
            None => None,
        };
        if !cx.keeps(Rule::Comparing) {
            return;
        }
        self.drop_asks(peer, cx);
        let (asks, reads) = (BTreeMap::new(), 0);
        let (other, over) = (None, false);
        let comparison = Comparison { epoch, begun_at: now, heard_at: now, asks, reads, other, over, done };
        self.with.insert(peer, comparison);
        self.ask(peer, Asked::Inventory, |ask| PeerMessage::Inventory { ask, after: None }, cx);
    }

    /// Compares one partition with a broker.
    pub(crate) fn compare(&mut self, peer: Address, at: StreamPartition, cx: &mut Context<'_>) {
        let range = whole(at);
        self.ask(peer, Asked::Range(at), |ask| PeerMessage::Compare { ask, range }, cx);
    }

    pub(crate) fn handle_down(&mut self, peer: Address, cx: &mut Context<'_>) {
        self.drop_asks(peer, cx);
        self.with.remove(&peer);
    }

    /// Whatever a broker was asked is not waited for any more.
    fn drop_asks(&mut self, peer: Address, cx: &mut Context<'_>) {
        let asked = self.with.get(&peer).map(|comparison| comparison.asks.values());
        let asked = asked.into_iter().flatten().filter_map(|asked| match asked {
            Asked::Range(at) => Some(*at),
            Asked::Inventory => None,
        });
        let read = self.reads.values().filter_map(|(with, own)| match own {
            Own::Range(range, _) if *with == peer => Some(range.at),
            Own::Range(..) | Own::Digests(_) => None,
        });
        for at in asked.chain(read) {
            links::forget_compared(peer, at, cx);
        }
        self.reads.retain(|_, (with, _)| *with != peer);
    }

    fn ask(
        &mut self,
        peer: Address,
        asked: Asked,
        message: impl FnOnce(u64) -> PeerMessage,
        cx: &mut Context<'_>,
    ) {
        let Some(comparison) = self.with.get_mut(&peer) else { return };
        self.next_ask += 1;
        comparison.asks.insert(self.next_ask, asked);
        cx.tell(peer, message(self.next_ask));
    }

    fn answered(&mut self, peer: Address, ask: u64, cx: &Context<'_>) -> Option<Asked> {
        let comparison = self.with.get_mut(&peer)?;
        comparison.heard_at = cx.now.up_ms;
        comparison.asks.remove(&ask)
    }

    fn read(&mut self, peer: Address, own: Own, cx: &mut Context<'_>) -> ReadToken {
        let read = cx.read_token();
        self.reads.insert(read, (peer, own));
        if let Some(comparison) = self.with.get_mut(&peer) {
            comparison.reads += 1;
        }
        read
    }

    fn was_read(&mut self, read: ReadToken) -> Option<(Address, Own)> {
        let (peer, own) = self.reads.remove(&read)?;
        let comparison = self.with.get_mut(&peer)?;
        comparison.reads = comparison.reads.saturating_sub(1);
        Some((peer, own))
    }

    /// A broker says which partitions it has of those that both keep.
    pub(crate) fn handle_inventoried(
        &mut self,
        peer: Address,
        ask: u64,
        partitions: Vec<(StreamPartition, HeadsDigest)>,
        more: bool,
        cx: &mut Context<'_>,
    ) {
        let Some(Asked::Inventory) = self.answered(peer, ask, cx) else { return };
        if let Some(comparison) = self.with.get_mut(&peer) {
            comparison.other = comparison.other.or(Some(look_at(peer, comparison.epoch, cx)));
        }
        if let (true, Some((last, _))) = (more, partitions.last()) {
            let after = Some(*last);
            self.ask(peer, Asked::Inventory, |ask| PeerMessage::Inventory { ask, after }, cx);
        }
        let mine: Vec<_> = partitions.into_iter().filter(|(at, _)| cx.network.is_kept(*at)).collect();
        if !mine.is_empty() {
            let partitions = mine.iter().map(|(at, _)| *at).collect();
            let read = self.read(peer, Own::Digests(mine), cx);
            cx.out.push(OutEvent::DigestHeads { read, partitions });
        }
    }

    /// The own digests are there: the partitions that differ are looked into.
    pub(crate) fn handle_digests(
        &mut self,
        read: ReadToken,
        result: Result<Vec<HeadsDigest>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some((peer, Own::Digests(theirs))) = self.was_read(read) else { return };
        for ((at, digest), own) in theirs.into_iter().zip(result.unwrap_or_default()) {
            // Equal heads say nothing of where series begin.
            if digest != own || cx.may_lack_past(at) {
                let range = whole(at);
                self.ask(peer, Asked::Range(at), |ask| PeerMessage::Compare { ask, range }, cx);
            }
        }
    }

    /// A broker says what it has in a range.
    pub(crate) fn handle_compared(
        &mut self,
        peer: Address,
        ask: u64,
        summary: HeadsSummary,
        repair: &mut Repair,
        ingest: &mut Ingest,
        cx: &mut Context<'_>,
    ) {
        let Some(Asked::Range(at)) = self.answered(peer, ask, cx) else { return };
        links::note_compared(peer, at, cx);
        match summary {
            HeadsSummary::Heads(heads) => {
                let wanted = |at| cx.network.is_kept(at) || links::is_heard(peer, at, cx);
                let heads: Vec<_> =
                    heads.into_iter().filter(|(series, _)| wanted(series.stream_partition)).collect();
                repair.claim(heads, peer, true, ingest, cx);
            }
            HeadsSummary::Parts(parts) => {
                for (range, digest) in parts.into_iter().take(answers::RANGE_PARTS) {
                    let read = self.read(peer, Own::Range(range, digest), cx);
                    cx.out.push(OutEvent::SummarizeHeads { read, range, heads_max: 0, parts: 1 });
                }
            }
        }
    }

    /// The own digest of a range is there.
    pub(crate) fn handle_summary(
        &mut self,
        read: ReadToken,
        result: Result<HeadsSummary, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some((peer, Own::Range(range, theirs))) = self.was_read(read) else { return };
        let own = match result {
            Ok(HeadsSummary::Parts(parts)) => parts.first().map(|(_, digest)| *digest).unwrap_or_default(),
            _ => HeadsDigest::default(),
        };
        if own != theirs || cx.may_lack_past(range.at) {
            self.ask(peer, Asked::Range(range.at), |ask| PeerMessage::Compare { ask, range }, cx);
        }
    }

    /// Time has passed. Comparisons end, are given up, and begin again.
    pub(crate) fn handle_tick(&mut self, repair: &mut Repair, cx: &mut Context<'_>) {
        let now = cx.now.up_ms;
        let mut again = Vec::new();
        for (peer, comparison) in &mut self.with {
            let answered = comparison.asks.is_empty() && comparison.reads == 0;
            let got = repair.is_settled(*peer) || !cx.keeps(Rule::ComparedIsGot);
            if !comparison.over && answered && got {
                comparison.over = true;
                let other = look_at(*peer, comparison.epoch, cx);
                let with_knowing = comparison.other.is_some_and(|first| first.knows);
                let with_ready = comparison.other.is_some_and(|first| first.ready) && other.ready;
                let (epoch, began_at) = (comparison.epoch, comparison.begun_at);
                // IMPORTANT: what could not be got is lacking still, and the next comparison shows it again.
                if !repair.has_given_up(*peer) {
                    comparison.done = Some(Done { epoch, began_at, with_knowing, with_ready });
                }
            }
            // It has more to tell than then.
            let other = look_at(*peer, comparison.epoch, cx);
            let news = comparison.over
                && !cx.whole
                && comparison.done.is_some_and(|done| {
                    (other.knows && !done.with_knowing) || (other.ready && !done.with_ready)
                });
            let stuck = !comparison.over && !answered && now - comparison.heard_at >= cx.config.pull_wait_ms;
            let wait = if cx.ready { cx.config.compare_ms } else { cx.config.compare_unready_ms };
            let old = comparison.over && now - comparison.begun_at >= wait;
            if stuck || old || news || comparison.epoch != cx.network.epoch() {
                comparison.over = true;
                again.push(*peer);
            }
        }
        for peer in again {
            self.begin(peer, cx);
        }
    }
}

/// What a broker says of itself, as of an epoch.
fn look_at(peer: Address, epoch: u32, cx: &Context<'_>) -> Other {
    let hello = cx.peers.hello(peer).filter(|hello| hello.epoch >= epoch);
    Other { knows: hello.is_some(), ready: hello.is_some_and(|hello| hello.ready) }
}

fn whole(at: StreamPartition) -> SeriesRange {
    SeriesRange { at, first: (Origin::LEAST, SeriesId(0)), last: (Origin::GREATEST, SeriesId(u64::MAX)) }
}
