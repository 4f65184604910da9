//! Removes what is older than its stream's `storageDays`.

use crate::config::Retention;
use mainstem_model::Registry;
use mainstem_store::EventLog;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Looks again and again; never returns.
pub(crate) async fn run(config: Retention, log: Arc<dyn EventLog>, registry: Arc<RwLock<Registry>>) {
    let mut tick = tokio::time::interval(Duration::from_secs(config.check_s.max(1)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (config, log, registry) = (config.clone(), log.clone(), registry.clone());
        let looked = tokio::task::spawn_blocking(move || look(&config, log.as_ref(), &registry)).await;
        if let Ok(Err(error)) = looked {
            tracing::warn!(%error, "retention could not remove what is old");
        }
    }
}

fn look(
    config: &Retention,
    log: &dyn EventLog,
    registry: &RwLock<Registry>,
) -> Result<(), mainstem_store::StoreError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    for at in log.partitions()? {
        // A stream that the registry does not know keeps its history: a chain that is behind is no reason to delete.
        let days = match registry.read().unwrap_or_else(PoisonError::into_inner).stream(at.stream) {
            Some(record) => record.storage_days.unwrap_or(config.default_days),
            None => 0,
        };
        if days == 0 {
            continue;
        }
        let before = now - i64::from(days) * DAY_MS;
        loop {
            let trimmed = log.trim(at, before, config.batches_at_once.max(1))?;
            if trimmed.batches > 0 {
                tracing::info!(partition = %at, batches = trimmed.batches, bytes = trimmed.bytes, "removed old history");
            }
            if !trimmed.more {
                break;
            }
        }
    }
    Ok(())
}
