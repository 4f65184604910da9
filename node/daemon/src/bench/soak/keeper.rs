use super::PAUSE;
use anyhow::ensure;
use mainstem_model::{Query, Record};
use mainstem_plugin_host::{CallError, Plugin, StoragePlugin};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

/// Records that are kept before the older half is trimmed.
const RECORDS: u64 = 4_000;
/// Records of one append, and bytes of each.
const APPENDED: u64 = 16;
const RECORD_BYTES: usize = 1_024;
/// Appends between two syncs, each of which is followed by reads.
const APPENDS: u64 = 16;

/// A storage under load, which keeps as much at the end as soon after the beginning.
pub(super) struct Keeper {
    plugin: Plugin,
    parameters: BTreeMap<String, String>,
    /// None after a fault: a write that has one leaves nothing to go on with.
    storage: Option<StoragePlugin>,
    /// Places that it keeps, at most.
    oldest: u64,
    next: u64,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// It does not start, such as for the lack of a parameter.
    pub(super) fn start(plugin: Plugin, parameters: BTreeMap<String, String>) -> Result<Self, CallError> {
        let storage = Some(plugin.storage(&parameters)?);
        Ok(Self { plugin, parameters, storage, oldest: 0, next: 0 })
    }

    pub(super) const fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Appends, syncs, reads and trims until it is to stop. After a fault, which is counted elsewhere, it is started again: half an hour is not
    /// to be lost to a moment in which the machine had no time for a call.
    ///
    /// # Errors
    /// What it was given is not there, or it does not take more.
    pub(super) fn keep(mut self, stop: &AtomicBool) -> anyhow::Result<()> {
        while !stop.load(Relaxed) {
            let Err(error) = self.step() else { continue };
            let Some(CallError::Fault { .. }) = error.downcast_ref() else { return Err(error) };
            self.storage = None;
            // What was being appended may be there.
            self.next += APPENDED;
        }
        Ok(())
    }

    fn step(&mut self) -> anyhow::Result<()> {
        let storage = match &self.storage {
            Some(storage) => storage,
            None => {
                let storage = self.plugin.storage(&self.parameters)?;
                storage.trim(&(self.oldest..self.next).collect::<Vec<_>>())?;
                self.oldest = self.next;
                &*self.storage.insert(storage)
            }
        };
        let record =
            |place| Record { place, timestamp: place as i64, value: vec![place as u8; RECORD_BYTES].into() };
        storage.append(&(self.next..self.next + APPENDED).map(record).collect::<Vec<_>>())?;
        self.next += APPENDED;
        if self.next.is_multiple_of(APPENDS * APPENDED) {
            storage.sync()?;
            let query = Query {
                from: self.oldest,
                until: self.next,
                records_max: 64,
                bytes_max: 1 << 20,
                prefix_bytes: RECORD_BYTES,
            };
            let found = storage.query(&query)?;
            ensure!(found.damaged.is_empty() && !found.records.is_empty(), "{storage:?} has lost records");
            let fetched = storage.fetch(&[self.oldest, self.next - 1])?;
            ensure!(fetched.records.len() == 2, "{storage:?} does not give what it keeps");
            thread::sleep(PAUSE);
        }
        if self.next - self.oldest > RECORDS {
            let left = self.next - RECORDS / 2;
            storage.trim(&(self.oldest..left).collect::<Vec<_>>())?;
            storage.sync()?;
            self.oldest = left;
        }
        Ok(())
    }
}
