//! A stretch of history to fill up: what a series has elsewhere before its first batch here.

use crate::{Config, context::Context, publish::Ingest, rule::Rule};
use mainstem_model::VerifiedBatch;
use std::sync::Arc;

/// Events asked for at first, and at most.
const STRIDE: u64 = 64;
const STRIDE_MAX: u64 = 1 << 20;

/// What lies before the first batch that is here.
///
/// IMPORTANT: it is filled up from its end to its beginning. However that is broken off, what is here of a series goes on
/// without a hole from its first batch, which shows what still lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// Sequence of the first batch that is here.
    pub(super) until: u64,
    stride: u64,
}

/// What came of a pull of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// A stretch that reaches to what is here.
    Stretch,
    /// Less than was asked for; less is to be asked for.
    TooMuch,
    /// Nothing, or something with a hole.
    Nothing,
}

impl Past {
    pub(super) fn before(until: u64, config: &Config) -> Self {
        Self { until, stride: if config.keeps(Rule::FillsBackwards) { STRIDE } else { until } }
    }

    /// Sequence to ask from.
    pub(super) const fn from(&self) -> u64 {
        self.until.saturating_sub(self.stride)
    }

    pub(super) const fn is_filled(&self) -> bool {
        self.until == 0
    }

    /// Looks at what came of a pull; `more`: there was more than fitted into the answer.
    pub(super) fn take(&mut self, batches: &[Arc<VerifiedBatch>], more: bool, config: &Config) -> Filled {
        let Some((first, last)) = batches.first().zip(batches.last()) else { return Filled::Nothing };
        let joined = batches.windows(2).all(|pair| match pair {
            [a, b] => a.header().next_sequence() == b.header().sequence && b.header().previous == a.id(),
            _ => true,
        });
        if !joined || last.header().next_sequence() > self.until {
            return Filled::Nothing;
        }
        if !config.keeps(Rule::FillsBackwards) {
            // What lacks yet lies between the two.
            self.stride = self.until - last.header().next_sequence();
            self.until = if self.stride == 0 { 0 } else { self.until };
            return Filled::Stretch;
        }
        if last.header().next_sequence() == self.until {
            *self = Self { until: first.header().sequence, stride: (self.stride * 2).min(STRIDE_MAX) };
            return Filled::Stretch;
        }
        if more && self.stride > 1 {
            // Batches are of all sizes.
            self.stride = (self.stride / 4).max(1);
            return Filled::TooMuch;
        }
        Filled::Nothing
    }
}

/// The end of a stretch that has room on its way to the journal.
pub(super) fn with_room<'a>(
    stretch: &'a [Arc<VerifiedBatch>],
    ingest: &Ingest,
    cx: &Context<'_>,
) -> &'a [Arc<VerifiedBatch>] {
    let mut after = 0;
    let fits = stretch.iter().rev().take_while(|batch| {
        let bytes = batch.bytes().len();
        let has_room = ingest.has_room(after, bytes, cx);
        after += bytes;
        has_room
    });
    stretch.get(stretch.len() - fits.count()..).unwrap_or_default()
}
