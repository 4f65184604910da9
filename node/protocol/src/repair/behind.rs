//! A series of which others have more, and when that is asked for.

use super::past::Past;
use crate::{context::Context, links::Missed};
use mainstem_model::Address;
use std::collections::{BTreeMap, BTreeSet};

/// A series of which others have more.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// Sequence up to which others have it, this one excluded.
    pub(super) until: u64,
    /// What lies before what is here.
    pub(super) past: Option<Past>,
    /// The other's last batch is another one than ours: it is got, to have the proof.
    pub(super) conflict: Option<u64>,
    /// Nobody has what comes next any more: it goes on here.
    pub(super) leap: Option<u64>,
    /// Who says to have it, or is to keep it.
    pub(super) sources: BTreeSet<Address>,
    /// Those of them that say so.
    pub(super) claimers: BTreeSet<Address>,
    /// Those of them that turned out not to.
    pub(super) failed: BTreeSet<Address>,
    /// Those that have only what comes after this sequence; what lies before has gone by age.
    pub(super) trimmed: BTreeMap<Address, u64>,
    pub(super) since: i64,
    /// What came of it of late was asked for.
    pub(super) aged: bool,
    /// Somebody waits.
    pub(super) urgent: bool,
    pub(super) pull: Option<u64>,
    /// Brokers whose comparison is not over before the series has come so far.
    pub(super) compared: BTreeMap<Address, u64>,
}

/// What is lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    Forward { until: u64 },
    Past(Past),
    Conflict { until: u64 },
}

impl Behind {
    pub(super) fn missed(&self) -> Missed {
        Missed { since: self.since, compared: !self.compared.is_empty() }
    }

    /// What comes first: filling up, as what is here has its place already.
    pub(super) fn lack(&self) -> Lack {
        match (self.past, self.conflict) {
            (Some(past), _) => Lack::Past(past),
            (None, Some(until)) => Lack::Conflict { until },
            (None, None) => Lack::Forward { until: self.until },
        }
    }

    /// Whether it is not asked for yet: it may be on its way, and nobody waits.
    pub(super) fn waits(&self, cx: &Context<'_>) -> bool {
        let young = cx.now.up_ms - self.since < cx.config.repair_grace_ms;
        young && !self.urgent && self.compared.is_empty()
    }
}
