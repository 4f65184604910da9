//! Removes what is older than its stream's `storageDays`.

use crate::config::Retention;
use mainstem_model::{BatchKey, Registry, RegistryChange, StreamId, StreamPartition, StreamRecord};
use mainstem_store::{EventLog, StoreError, Trimmed};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The streams that the chain showed to be removed, and since when, Unix milliseconds.
///
/// Kept apart from the view of streams: that does not tell a removed stream from one that it has not heard of yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removed(Arc<Mutex<BTreeMap<StreamId, i64>>>);

impl Removed {
    /// Takes note of what the follower saw.
    pub(crate) fn note(&self, changes: &[RegistryChange]) {
        self.note_at(changes, now_ms());
    }

    fn note_at(&self, changes: &[RegistryChange], now_ms: i64) {
        let mut removed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                RegistryChange::Removed(stream) => {
                    removed.entry(*stream).or_insert(now_ms);
                }
                RegistryChange::Stream(record) => {
                    removed.remove(&record.id);
                }
                RegistryChange::Grant(..) | RegistryChange::Delegation(..) => {}
            }
        }
    }

    /// Whether it has been so for as long as the configuration asks.
    fn is_settled(&self, stream: StreamId, config: &Retention, now_ms: i64) -> bool {
        let removed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait_ms = i64::try_from(config.removed_wait_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        removed.get(&stream).is_some_and(|since| now_ms.saturating_sub(*since) >= wait_ms)
    }
}

/// Looks again and again; never returns.
pub(crate) async fn run(
    config: Retention,
    log: Arc<dyn EventLog>,
    registry: Arc<RwLock<Registry>>,
    removed: Removed,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(config.check_s.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (config, log, registry, removed) =
            (config.clone(), log.clone(), registry.clone(), removed.clone());
        let look = move || {
            let partitions = match log.partitions() {
                Ok(partitions) => partitions,
                Err(error) => return tracing::warn!(%error, "retention could not list what there is"),
            };
            let now_ms = now_ms();
            let days = |at: StreamPartition| {
                let registry = registry.read().unwrap_or_else(PoisonError::into_inner);
                let is_removed = removed.is_settled(at.stream, &config, now_ms);
                days_kept(&config, registry.stream(at.stream), is_removed)
            };
            look(&partitions, now_ms, days, |at, from, before| {
                log.trim(at, from, before, config.batches_at_once.max(1))
            });
        };
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            tracing::warn!(%error, "a look for old history was broken off");
        }
    }
}

/// How many days of a stream's history are kept; `None` is for ever.
fn days_kept(config: &Retention, record: Option<&StreamRecord>, is_removed: bool) -> Option<u32> {
    let asked = match record {
        Some(record) => record.storage_days.unwrap_or(config.default_days),
        None if is_removed => config.default_days,
        // A stream that the view does not know keeps its history: a chain that is behind is no reason to delete.
        None => return None,
    };
    match (asked, config.max_days) {
        (0, 0) => None,
        (0, most) => Some(most),
        (days, 0) => Some(days),
        (days, most) => Some(days.min(most)),
    }
}

/// Trims every partition to its end. A failure is one partition's alone: the others' turn comes all the same.
fn look(
    partitions: &[StreamPartition],
    now_ms: i64,
    days: impl Fn(StreamPartition) -> Option<u32>,
    mut trim: impl FnMut(StreamPartition, Option<BatchKey>, i64) -> Result<Trimmed, StoreError>,
) {
    for at in partitions {
        let Some(days) = days(*at) else { continue };
        let before = now_ms.saturating_sub(i64::from(days) * DAY_MS);
        let mut from = None;
        loop {
            match trim(*at, from, before) {
                Ok(trimmed) => {
                    if trimmed.batches > 0 {
                        tracing::info!(partition = %at, batches = trimmed.batches, bytes = trimmed.bytes, "removed old history");
                    }
                    from = trimmed.next;
                }
                Err(error) => {
                    tracing::warn!(partition = %at, %error, "retention could not remove what is old");
                    break;
                }
            }
            if from.is_none() {
                break;
            }
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Address, Partition};

    fn stream(n: u8, storage_days: Option<u32>) -> StreamRecord {
        StreamRecord {
            id: StreamId(Address([n; 20])),
            owner: Address([9; 20]),
            metadata: String::new(),
            partitions: 1,
            storage_days,
            path: None,
            key_epoch: 0,
            created_at: 0,
        }
    }

    #[test]
    fn a_partition_that_cannot_be_trimmed_does_not_keep_the_others_from_it() {
        let places: Vec<_> = (1..=3).map(|n| stream(n, None).id.partition(Partition::ZERO)).collect();
        let mut tried = Vec::new();
        let days = |at| (at != places[2]).then_some(2);
        look(&places, 3 * DAY_MS, days, |at, from, before| {
            assert_eq!((from, before), (None, DAY_MS));
            tried.push(at);
            if at == places[0] { Err(StoreError::Damaged("a row".into())) } else { Ok(Trimmed::default()) }
        });
        assert_eq!(tried, places[..2]);
    }

    #[test]
    fn a_stream_is_kept_as_long_as_it_asks_and_no_longer_than_the_operator_allows() {
        let check = |default_days, max_days, asked: Option<u32>, kept| {
            let config = Retention { default_days, max_days, ..Retention::default() };
            assert_eq!(days_kept(&config, Some(&stream(1, asked)), false), kept, "{config:?} {asked:?}");
        };
        check(30, 0, None, Some(30));
        check(30, 0, Some(400), Some(400));
        check(30, 0, Some(0), None);
        check(0, 0, None, None);
        check(30, 90, None, Some(30));
        check(30, 90, Some(400), Some(90));
        check(30, 90, Some(0), Some(90));
        check(0, 90, None, Some(90));
    }

    #[test]
    fn a_removed_stream_is_kept_for_the_default_time_once_its_removal_has_stood_and_an_unknown_one_for_ever()
    {
        let config = Retention { default_days: 30, removed_wait_s: 100, ..Retention::default() };
        let (removed, record) = (Removed::default(), stream(1, Some(400)));
        let kept = |now_ms| days_kept(&config, None, removed.is_settled(record.id, &config, now_ms));
        assert_eq!(kept(i64::MAX), None);
        removed.note_at(&[RegistryChange::Removed(record.id)], 5_000);
        removed.note_at(&[RegistryChange::Removed(record.id)], 60_000);
        assert_eq!((kept(104_999), kept(105_000)), (None, Some(30)));
        // A reorg brings it back.
        removed.note_at(&[RegistryChange::Stream(record.clone())], 110_000);
        assert_eq!(kept(i64::MAX), None);
    }
}
