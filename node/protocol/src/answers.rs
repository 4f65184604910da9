//! What other brokers ask of this one's store, while the store reads it.

use crate::{
    OutEvent, Page, PeerBatch, PeerMessage, PullEnd, ReadToken, SeriesFrom, SeriesPage, SeriesStart,
    context::Context, rule::Rule,
};
use mainstem_model::{
    Address, Cursor, HeadsDigest, HeadsSummary, ReadFilter, ReadStart, Refusal, SeriesKey, SeriesRange,
    StreamPartition,
};
use std::collections::BTreeMap;

/// Partitions in one part of an inventory.
const INVENTORY_PART: usize = 256;
/// Up to so many heads of a range are told one by one.
pub(crate) const HEADS_TOLD: usize = 64;
/// Parts that a range with more of them is divided into.
pub(crate) const RANGE_PARTS: usize = 16;

/// How often a broker that has all it is to keep is told of what lies here of that and is not to.
const STRAY_ROUNDS: u8 = 3;

/// Questions of others that the store works on.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    reads: BTreeMap<ReadToken, (Address, Question)>,
    /// How often each has been told everything, since the last assignment and since it has all.
    rounds: BTreeMap<Address, u8>,
}

#[derive(Debug)]
enum Question {
    Pull { pull: u64 },
    List { ask: u64, after: Option<StreamPartition> },
    Digest { list: List, partitions: Vec<StreamPartition> },
    Compare { ask: u64 },
    Resolve { read: u64 },
    Page { read: u64 },
}

/// Partitions that are listed for another broker.
#[derive(Clone, Copy, Debug)]
struct List {
    ask: u64,
    after: Option<StreamPartition>,
    more: bool,
    /// In which it was looked which of them the other is to keep.
    epoch: u32,
}

impl Answers {
    fn ask(&mut self, peer: Address, question: Question, cx: &mut Context<'_>) -> Option<ReadToken> {
        // An honest broker keeps to its own bounds, which are below this one.
        let asked = self.reads.values().filter(|(who, _)| *who == peer).count();
        if asked >= cx.config.answers_per_peer_max && cx.keeps(Rule::Answers) {
            return None;
        }
        let read = cx.read_token();
        self.reads.insert(read, (peer, question));
        Some(read)
    }

    /// Partitions have gone to other brokers.
    pub(crate) fn handle_assigned(&mut self) {
        self.rounds.clear();
    }

    /// A session is over: nobody waits for its answers any more.
    pub(crate) fn handle_down(&mut self, peer: Address) {
        self.reads.retain(|_, (who, _)| *who != peer);
    }

    pub(crate) fn handle_pull(
        &mut self,
        peer: Address,
        pull: u64,
        series: SeriesKey,
        (from, until): (SeriesFrom, u64),
        bytes_max: u64,
        cx: &mut Context<'_>,
    ) {
        let bytes_max = bytes_of(bytes_max, cx);
        let from = match from {
            SeriesFrom::Sequence(sequence) => SeriesStart::Sequence(sequence),
            SeriesFrom::Age(ms) => SeriesStart::ReceivedAt(cx.clock.lowest_in(ms, cx.now)),
        };
        if let Some(read) = self.ask(peer, Question::Pull { pull }, cx) {
            cx.out.push(OutEvent::ReadSeries { read, series, from, until, bytes_max });
        }
    }

    pub(crate) fn handle_inventory(
        &mut self,
        peer: Address,
        ask: u64,
        after: Option<StreamPartition>,
        cx: &mut Context<'_>,
    ) {
        // IMPORTANT: one that has been restarted may have lost its disk since it was told.
        if cx.peers.hello(peer).is_none_or(|hello| !hello.ready) {
            self.rounds.remove(&peer);
        } else if after.is_none() {
            let rounds = self.rounds.entry(peer).or_default();
            *rounds = rounds.saturating_add(1);
        }
        if let Some(read) = self.ask(peer, Question::List { ask, after }, cx) {
            cx.out.push(OutEvent::ListPartitions { read, after, max: INVENTORY_PART });
        }
    }

    pub(crate) fn handle_compare(
        &mut self,
        peer: Address,
        ask: u64,
        range: SeriesRange,
        cx: &mut Context<'_>,
    ) {
        if let Some(read) = self.ask(peer, Question::Compare { ask }, cx) {
            let (heads_max, parts) = (HEADS_TOLD, RANGE_PARTS);
            cx.out.push(OutEvent::SummarizeHeads { read, range, heads_max, parts });
        }
    }

    pub(crate) fn handle_resolve(
        &mut self,
        peer: Address,
        number: u64,
        (at, start, filter): (StreamPartition, ReadStart, ReadFilter),
        cx: &mut Context<'_>,
    ) {
        if let Some(read) = self.ask(peer, Question::Resolve { read: number }, cx) {
            cx.out.push(OutEvent::ResolveStart { read, at, start, filter });
        }
    }

    pub(crate) fn handle_read(
        &mut self,
        peer: Address,
        number: u64,
        (at, cursor, filter): (StreamPartition, Cursor, ReadFilter),
        bytes_max: u64,
        cx: &mut Context<'_>,
    ) {
        let bytes_max = bytes_of(bytes_max, cx);
        if let Some(read) = self.ask(peer, Question::Page { read: number }, cx) {
            cx.out.push(OutEvent::ReadPage { read, at, cursor, filter, bytes_max });
        }
    }

    /// The batches of a pull were read. `false` if nobody asked for them.
    pub(crate) fn handle_series(
        &mut self,
        read: ReadToken,
        result: &Result<SeriesPage, Refusal>,
        cx: &mut Context<'_>,
    ) -> bool {
        if !matches!(self.reads.get(&read), Some((_, Question::Pull { .. }))) {
            return false;
        }
        let Some((peer, Question::Pull { pull })) = self.reads.remove(&read) else { return false };
        let result = match result {
            Ok(page) => {
                for batch in &page.batches {
                    let batch = PeerBatch::Stored(batch.clone());
                    cx.tell(peer, PeerMessage::Pulled { pull, batch });
                }
                Ok(PullEnd { base: page.base, more: page.more })
            }
            Err(refusal) => Err(refusal.clone()),
        };
        cx.tell(peer, PeerMessage::PullEnd { pull, result });
        true
    }

    /// The partitions here are known: those that both keep are digested.
    ///
    /// IMPORTANT: and those that only the other is to keep. What was stored here while this broker kept them, and nowhere else,
    /// is lost to readers unless an owner asks for it; and that this broker kept them once it has forgotten after a restart.
    pub(crate) fn handle_partitions(
        &mut self,
        read: ReadToken,
        result: Result<Vec<StreamPartition>, Refusal>,
        cx: &mut Context<'_>,
    ) {
        let Some((peer, Question::List { ask, after })) = self.reads.remove(&read) else { return };
        let listed = result.unwrap_or_default();
        let more = listed.len() >= INVENTORY_PART;
        let last = listed.last().copied();
        let network = &*cx.network;
        let rounds = self.rounds.get(&peer);
        let strays = rounds.is_none_or(|rounds| *rounds <= STRAY_ROUNDS) && cx.keeps(Rule::Strays);
        let both = |at: &StreamPartition| network.is_keeper(peer, *at) && (strays || network.is_kept(*at));
        let partitions: Vec<_> = listed.into_iter().filter(both).collect();
        if partitions.is_empty() && more {
            // IMPORTANT: the other asks on behind the last one it was told, so it must be told one.
            return self.handle_inventory(peer, ask, last, cx);
        }
        let list = List { ask, after, more, epoch: network.epoch() };
        let question = Question::Digest { list, partitions: partitions.clone() };
        let Some(read) = self.ask(peer, question, cx) else { return };
        cx.out.push(OutEvent::DigestHeads { read, partitions });
    }

    /// Digests were made. `false` if nobody else asked for them.
    pub(crate) fn handle_digests(
        &mut self,
        read: ReadToken,
        result: &Result<Vec<HeadsDigest>, Refusal>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some((peer, Question::Digest { list, partitions })) = self.reads.remove(&read) else {
            return false;
        };
        let List { ask, after, more, epoch } = list;
        if epoch != cx.network.epoch() && cx.keeps(Rule::ListsOfEpoch) {
            // IMPORTANT: the other has been told meanwhile that this broker knows the next epoch, and would take this for all of that.
            self.handle_inventory(peer, ask, after, cx);
            return true;
        }
        let digests = result.as_ref().map(Vec::as_slice).unwrap_or_default();
        let partitions = partitions.into_iter().zip(digests.iter().copied()).collect();
        cx.tell(peer, PeerMessage::Inventoried { ask, partitions, more });
        true
    }

    /// Heads were summarized. `false` if nobody else asked for that.
    pub(crate) fn handle_summary(
        &mut self,
        read: ReadToken,
        result: &Result<HeadsSummary, Refusal>,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some((peer, Question::Compare { ask })) = self.reads.remove(&read) else { return false };
        if let Ok(summary) = result {
            cx.tell(peer, PeerMessage::Compared { ask, summary: summary.clone() });
        }
        true
    }

    /// A start was found. `false` if it was not for another broker.
    pub(crate) fn handle_start(
        &mut self,
        read: ReadToken,
        result: &Result<Cursor, Refusal>,
        cx: &mut Context<'_>,
    ) -> bool {
        if !matches!(self.reads.get(&read), Some((_, Question::Resolve { .. }))) {
            return false;
        }
        let Some((peer, Question::Resolve { read })) = self.reads.remove(&read) else { return false };
        cx.tell(peer, PeerMessage::Resolved { read, result: result.clone() });
        true
    }

    /// A page was read. `false` if it was not for another broker.
    pub(crate) fn handle_page(
        &mut self,
        read: ReadToken,
        result: &Result<Page, Refusal>,
        cx: &mut Context<'_>,
    ) -> bool {
        if !matches!(self.reads.get(&read), Some((_, Question::Page { .. }))) {
            return false;
        }
        let Some((peer, Question::Page { read })) = self.reads.remove(&read) else { return false };
        cx.tell(peer, PeerMessage::PageOf { read, result: result.clone() });
        true
    }
}

/// How many bytes are read for another broker that wants so many.
fn bytes_of(wanted: u64, cx: &Context<'_>) -> usize {
    let most = if cx.keeps(Rule::AnswerBytes) { cx.config.pull_bytes } else { usize::MAX };
    usize::try_from(wanted).unwrap_or(usize::MAX).min(most)
}
