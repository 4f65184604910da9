//! A series of which others have more, and when that is asked for.

use super::past::Past;
use crate::{context::Context, links::Missed};
use mainstem_model::{Address, SeriesKey};
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
    /// Up to this sequence it is history here, and no news.
    pub(super) history: u64,
    /// The link has left it out.
    pub(super) left_out: bool,
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
    pub(super) fn waits(&self, series: &SeriesKey, cx: &Context<'_>) -> bool {
        let now = cx.now.up_ms;
        let young = now - self.since < cx.config.repair_grace_ms;
        let came = cx.changes.at(series).map_or(self.since, |came| came.max(self.since));
        // What lies before what is here, and another batch for a place that is taken, no link tells.
        let told = matches!(self.lack(), Lack::Forward { .. }) && !self.left_out;
        let comes = told && now - came < cx.config.withheld_ms && self.is_of_link(series, cx);
        (young || comes) && !self.urgent && self.compared.is_empty()
    }

    /// Whether nobody has told of it but the one that tells all batches, and does so at this moment: it comes behind those. IMPORTANT: of
    /// what others tell that one may keep silent.
    fn is_of_link(&self, series: &SeriesKey, cx: &Context<'_>) -> bool {
        let teller = cx.links.telling(series.stream_partition, cx.config, cx.now.up_ms);
        teller
            .is_some_and(|teller| !self.claimers.is_empty() && self.claimers.iter().all(|who| *who == teller))
    }
}
