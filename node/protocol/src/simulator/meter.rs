//! What it costs to tell everybody: copies, hops, delays, bytes.

use crate::{Page, PeerMessage};
use mainstem_model::{BatchId, HeadsSummary};
use std::collections::BTreeMap;

/// How many kinds of messages there are.
pub const MESSAGE_KINDS: usize = 23;

/// Their names, by [`kind_of`].
pub const MESSAGE_NAMES: [&str; MESSAGE_KINDS] = [
    "hello",
    "store",
    "held",
    "not held",
    "follow",
    "followed",
    "not followed",
    "unfollow",
    "feed",
    "fed",
    "heads",
    "pull",
    "pulled",
    "pull end",
    "inventory",
    "inventoried",
    "compare",
    "compared",
    "proof",
    "resolve",
    "resolved",
    "read",
    "page of",
];

/// Number of a message's kind.
pub const fn kind_of(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Hello { .. } => 0,
        PeerMessage::Store { .. } => 1,
        PeerMessage::Held { .. } => 2,
        PeerMessage::NotHeld { .. } => 3,
        PeerMessage::Follow { .. } => 4,
        PeerMessage::Followed { .. } => 5,
        PeerMessage::NotFollowed { .. } => 6,
        PeerMessage::Unfollow { .. } => 7,
        PeerMessage::Feed { .. } => 8,
        PeerMessage::Fed { .. } => 9,
        PeerMessage::Heads { .. } => 10,
        PeerMessage::Pull { .. } => 11,
        PeerMessage::Pulled { .. } => 12,
        PeerMessage::PullEnd { .. } => 13,
        PeerMessage::Inventory { .. } => 14,
        PeerMessage::Inventoried { .. } => 15,
        PeerMessage::Compare { .. } => 16,
        PeerMessage::Compared { .. } => 17,
        PeerMessage::Proof { .. } => 18,
        PeerMessage::Resolve { .. } => 19,
        PeerMessage::Resolved { .. } => 20,
        PeerMessage::Read { .. } => 21,
        PeerMessage::PageOf { .. } => 22,
    }
}

/// About how many bytes a message takes on the wire: a frame's head, the fields at their natural sizes, and batches whole.
pub fn wire_bytes(message: &PeerMessage) -> usize {
    /// Length, kind, padding.
    const FRAME: usize = 16;
    /// Stream and partition.
    const PLACE: usize = 22;
    const SERIES: usize = PLACE + 34 + 8;
    const HEAD: usize = 8 + 32 + 8 + 1;
    const DIGEST: usize = 8 + 32;
    const RANGE: usize = PLACE + 2 * (34 + 8);
    const CURSOR: usize = 77;
    const FILTER: usize = 50;
    let body = match message {
        PeerMessage::Hello { .. } => 13,
        PeerMessage::Store { batch, .. } => 1 + batch.bytes().len(),
        PeerMessage::Held { .. } => SERIES + 8 + 32 + 1,
        PeerMessage::NotHeld { refusal, .. } => SERIES + 32 + 2 + refusal.message.len(),
        PeerMessage::Follow { .. } => PLACE + 1 + 8,
        PeerMessage::Followed { path, .. } => PLACE + 1 + 20 * path.len(),
        PeerMessage::NotFollowed { refusal, instead, .. } => {
            PLACE + 2 + refusal.message.len() + 20 * instead.len()
        }
        PeerMessage::Unfollow { .. } => PLACE,
        PeerMessage::Feed { batch } => batch.bytes().len(),
        PeerMessage::Fed { .. } => PLACE + 8,
        PeerMessage::Heads { heads } => heads.len() * (SERIES + HEAD),
        PeerMessage::Pull { .. } => 8 + SERIES + 9 + 8 + 8,
        PeerMessage::Pulled { batch, .. } => 8 + batch.bytes().len(),
        PeerMessage::PullEnd { .. } => 8 + 9,
        PeerMessage::Inventory { .. } => 8 + PLACE,
        PeerMessage::Inventoried { partitions, .. } => 9 + partitions.len() * (PLACE + DIGEST),
        PeerMessage::Compare { .. } => 8 + RANGE,
        PeerMessage::Compared { summary, .. } => {
            8 + match summary {
                HeadsSummary::Heads(heads) => heads.len() * (SERIES + HEAD),
                HeadsSummary::Parts(parts) => parts.len() * (RANGE + DIGEST),
            }
        }
        PeerMessage::Proof { first, second } => first.bytes().len() + second.bytes().len(),
        PeerMessage::Resolve { .. } => 8 + PLACE + CURSOR + FILTER,
        PeerMessage::Resolved { .. } => 8 + CURSOR,
        PeerMessage::Read { .. } => 8 + PLACE + CURSOR + FILTER + 8,
        PeerMessage::PageOf { result, .. } => 8 + result.as_ref().map_or(64, page_bytes),
    };
    FRAME + body
}

fn page_bytes(page: &Page) -> usize {
    page.batches.iter().map(|past| past.bytes.len() + 96).sum::<usize>() + 96
}

/// Messages of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was counted. Copies and hops are those of batches that came as [`PeerMessage::Feed`], `Store` or `Pulled`.
#[derive(Debug, Default)]
pub struct Meter {
    /// By kind: see [`MESSAGE_NAMES`].
    pub sent: [Tally; MESSAGE_KINDS],
    /// From the first sending of a batch to its delivery to a subscriber, milliseconds: how often each.
    pub delays_ms: BTreeMap<i64, u64>,
    /// How many brokers a batch had passed when a subscriber's broker first had it: how often each.
    pub hops: BTreeMap<u8, u64>,
    /// Copies of batches that came to a broker.
    pub copies: u64,
    /// First ones among them.
    pub first_copies: u64,
    /// Deliveries to subscribers.
    pub deliveries: u64,
    /// What was not as it must be.
    pub violations: u64,
    had: BTreeMap<BatchId, BTreeMap<usize, u8>>,
}

impl Meter {
    /// A message sets out.
    pub(crate) fn sent(&mut self, message: &PeerMessage, bytes: usize) {
        let tally = &mut self.sent[kind_of(message)];
        tally.messages += 1;
        tally.bytes += bytes as u64;
    }

    /// A message has come.
    pub(crate) fn came(&mut self, from: usize, to: usize, message: &PeerMessage) {
        let id = match message {
            PeerMessage::Store { batch, .. } => Some(batch.id()),
            PeerMessage::Feed { batch } | PeerMessage::Pulled { batch, .. } => batch.id(),
            _ => None,
        };
        let Some(id) = id else { return };
        let had = self.had.entry(id).or_default();
        self.copies += 1;
        let hops = had.get(&from).copied().unwrap_or(0).saturating_add(1);
        if let std::collections::btree_map::Entry::Vacant(first) = had.entry(to) {
            first.insert(hops);
            self.first_copies += 1;
        }
    }

    /// A subscriber was given a batch that was first sent `delay_ms` ago.
    pub(crate) fn delivered(&mut self, at: usize, batch: BatchId, delay_ms: i64) {
        self.deliveries += 1;
        *self.delays_ms.entry(delay_ms).or_default() += 1;
        let hops = self.had.get(&batch).and_then(|had| had.get(&at)).copied().unwrap_or(0);
        *self.hops.entry(hops).or_default() += 1;
    }

    /// Copies for each first one: 1 is the least.
    pub fn copies_per_delivery(&self) -> f64 {
        self.copies as f64 / (self.first_copies.max(1)) as f64
    }

    /// The delay that so many of a hundred deliveries do not exceed, milliseconds.
    pub fn delay_percentile(&self, percent: u64) -> i64 {
        let wanted = self.deliveries * percent / 100;
        let mut seen = 0;
        for (delay, count) in &self.delays_ms {
            seen += count;
            if seen >= wanted.max(1) {
                return *delay;
            }
        }
        0
    }

    /// Bytes that are not batches on their way to who wants them.
    pub fn control_bytes(&self) -> u64 {
        let batches = ["store", "feed", "pulled"];
        let all = MESSAGE_NAMES.iter().zip(&self.sent);
        all.filter(|(name, _)| !batches.contains(name)).map(|(_, tally)| tally.bytes).sum()
    }
}
