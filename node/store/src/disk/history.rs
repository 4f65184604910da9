//! The walk through history: along its index, and where that is damaged by a look at every arrival and, by series, at all
//! that fills up history.

use super::{DiskLog, read::PlaceResult};
use crate::{
    DamagedRange, NO_POSITION, StoreError,
    tables::{self, Place},
};
use mainstem_model::StreamPartition;
use std::{collections::BTreeMap, vec};

/// Places found at once by the way around a damaged index.
const DETOUR_PLACES_MAX: usize = 1_000;

/// Places of one partition in the order of history.
pub(super) struct History<'a> {
    log: &'a DiskLog,
    at: StreamPartition,
    until: u64,
    index: Box<dyn Iterator<Item = PlaceResult> + 'a>,
    /// Places found without the index.
    detour: Option<vec::IntoIter<Place>>,
    /// The least key that is still to come.
    first: Vec<u8>,
}

impl<'a> History<'a> {
    /// From the key `first` on. Arrivals from `until` on may be left out.
    pub(super) fn new(log: &'a DiskLog, at: StreamPartition, first: Vec<u8>, until: u64) -> Self {
        let index = Box::new(log.tables.places(at, first.clone()));
        Self { log, at, until, index, detour: None, first }
    }

    /// The next place. Batches that no index tells the place of go to `lost`, once for each way around.
    pub(super) fn next(&mut self, lost: &mut Vec<DamagedRange>) -> Result<Option<Place>, StoreError> {
        loop {
            if let Some(detour) = &mut self.detour {
                if let Some(place) = detour.next() {
                    return Ok(Some(self.pass(place)));
                }
                self.detour = None;
                self.index = Box::new(self.log.tables.places(self.at, self.first.clone()));
            }
            match self.index.next() {
                None => return Ok(None),
                Some(Ok(place)) => return Ok(Some(self.pass(place))),
                Some(Err(StoreError::Damaged(why))) => {
                    tracing::warn!(at = %self.at, %why, "the index of history is damaged; looking at everything");
                    let places = self.find_around_damage(lost)?;
                    if places.is_empty() {
                        return Ok(None);
                    }
                    self.detour = Some(places.into_iter());
                }
                Some(Err(error)) => return Err(error),
            }
        }
    }

    fn pass(&mut self, place: Place) -> Place {
        self.first = tables::history_key(self.at, &place.key);
        // Keys are of one length, so this lies behind this one and before the next.
        self.first.push(0);
        place
    }

    /// The next places by a look at everything.
    fn find_around_damage(&self, lost: &mut Vec<DamagedRange>) -> Result<Vec<Place>, StoreError> {
        let mut places = BTreeMap::new();
        let mut take = |place: Place| {
            if tables::history_key(self.at, &place.key) >= self.first {
                places.insert(place.key, place);
                if places.len() > DETOUR_PLACES_MAX {
                    places.pop_last();
                }
            }
        };
        self.log.each_arrival(self.at, self.until, lost, &mut take)?;
        if let Some(why) = self.log.each_past(self.at, &mut take)? {
            lost.push(DamagedRange { at: self.at, positions: NO_POSITION..NO_POSITION, batch: None, why });
        }
        Ok(places.into_values().collect())
    }
}
