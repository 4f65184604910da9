//! Numbers and positions are never given twice.
//!
//! A batch is told to readers when it is *stored*; until an fsync a power failure may take it. A reader may so hold a cursor
//! behind batches that are gone, and if their positions were given again it would pass over the new ones without a word; and
//! of the rows of one lost write some may have been written out to table files, where they must not meet the rows of another.
//! So every opening leaps over all numbers that an earlier life can have given, durably before anything is appended, and no
//! partition gives a position below the first number of this life: the floor. What lies between a partition's last batch and
//! the floor is as if trimmed, and a cursor that points there goes on with the first batch above.

use super::DiskLog;
use crate::StoreError;

/// More batches than one life can append and lose: the writer makes an fsync every few megabytes.
const LOST_MAX: u64 = 1 << 32;

impl DiskLog {
    /// Begins another life of a store that was open before.
    pub(super) fn raise_floor(&mut self) -> Result<(), StoreError> {
        // IMPORTANT: no position is above the number of its batch, and what fills up history has none. It holds at the floor, and with each batch the number of
        // the store rises by one and the end of one partition by one at most. So the next number is above every position.
        let floor = {
            let mut state = self.begin()?;
            let floor = state.leap(LOST_MAX);
            let rows = self.tables.database.batch();
            self.commit(&mut state, rows)?;
            floor
        };
        self.sync_journal()?;
        self.floor = floor;
        Ok(())
    }
}
