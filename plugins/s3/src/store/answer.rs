use mainstem_plugin_sdk::{KeptRecord, Query, Records};

/// An answer to a query, as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) query: Query,
    pub(super) found: Records,
    bytes: usize,
}

impl Answer {
    pub(super) fn new(query: Query) -> Self {
        Self { query, found: Records { next: query.until, ..Records::default() }, bytes: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.found.records.len() + self.found.damaged.len()
    }

    /// Whether there is room for one more, whose value has `length` bytes.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.query.has_room(self.count(), self.bytes, length.min(self.query.prefix_bytes))
    }

    /// Adds a record, or that it is damaged; false if there is no room.
    pub(super) fn take(&mut self, place: u64, record: Option<(i64, &[u8])>) -> bool {
        let value = record.map_or(&[][..], |(_, value)| self.query.wanted(value));
        if !self.has_room(value.len()) {
            self.found.next = place;
            return false;
        }
        self.bytes += value.len();
        match record {
            Some((timestamp, _)) => {
                self.found.records.push(KeptRecord { place, timestamp, value: value.to_vec() });
            }
            None => self.found.damaged.push(place),
        }
        true
    }
}
