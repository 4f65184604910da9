//! A look at all heads of a partition, or of a stretch of it.

use super::{DiskLog, guarded};
use crate::{StoreError, summary::Parts, tables};
use fjall::{Readable, Snapshot};
use mainstem_model::{
    HeadsDigest, HeadsDigester, HeadsSummary, SeriesHead, SeriesKey, SeriesRange, StreamPartition,
};
use std::ops::RangeInclusive;

type Keys = RangeInclusive<Vec<u8>>;

impl DiskLog {
    pub(super) fn digest_heads(&self, at: StreamPartition) -> Result<HeadsDigest, StoreError> {
        let mut digester = HeadsDigester::default();
        let now = self.tables.database.snapshot();
        self.each_head(&now, tables::head_keys(at), |series, head| digester.add(series, head))?;
        Ok(digester.finish())
    }

    pub(super) fn summarize_heads(
        &self,
        range: &SeriesRange,
        heads_max: usize,
        parts: usize,
    ) -> Result<HeadsSummary, StoreError> {
        let SeriesRange { at, first, last } = *range;
        if first > last {
            return Ok(HeadsSummary::Heads(Vec::new()));
        }
        let key = |(origin, series)| tables::head_key(&SeriesKey { stream_partition: at, origin, series });
        let keys = key(first)..=key(last);
        // Counted first and read then: that needs no room for heads that are many. Both see the store at one moment.
        let now = self.tables.database.snapshot();
        let mut count = 0;
        for row in now.range(&self.tables.heads, keys.clone()) {
            guarded(|| row.key())?;
            count += 1;
        }
        if count <= heads_max {
            let mut heads = Vec::with_capacity(count);
            self.each_head(&now, keys, |series, head| heads.push((*series, *head)))?;
            return Ok(HeadsSummary::Heads(heads));
        }
        let mut cut = Parts::new(*range, count, parts);
        self.each_head(&now, keys, |series, head| cut.add(series, head))?;
        Ok(HeadsSummary::Parts(cut.finish()))
    }

    /// Hands over each head in the order of the keys; of a damaged row what its series' last batch tells.
    fn each_head(
        &self,
        now: &Snapshot,
        keys: Keys,
        mut found: impl FnMut(&SeriesKey, &SeriesHead),
    ) -> Result<(), StoreError> {
        for row in now.range(&self.tables.heads, keys) {
            let (key, row) = guarded(|| row.into_inner())?;
            let damaged = || StoreError::Damaged("a key of table heads is no series".into());
            let series = tables::read_head_key(&key).ok_or_else(damaged)?;
            let head = match tables::decode_head(&key, &row) {
                Err(StoreError::Damaged(_)) => self.read_head(&series)?.ok_or_else(damaged)?,
                head => head?,
            };
            found(&series, &head);
        }
        Ok(())
    }
}
