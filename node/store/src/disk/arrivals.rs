//! The walk through a partition in the order of arrival: along its index, and where that is damaged by a look at all of
//! history. Never position by position: after each opening of the store four thousand million of them are left out.

use super::{DiskLog, Tables, guarded};
use crate::{
    DamagedRange, StoreError,
    tables::{self, Place},
};
use mainstem_model::StreamPartition;
use std::{collections::BTreeMap, vec};

/// Places found at once by the way around a damaged index.
const DETOUR_PLACES_MAX: usize = 1_000;

/// Places of one partition in the order of arrival.
pub(super) struct Arrivals<'a> {
    tables: &'a Tables,
    at: StreamPartition,
    /// The next position to look at.
    position: u64,
    end: u64,
    /// Places found without the index.
    detour: vec::IntoIter<Place>,
    damage: Option<String>,
}

impl<'a> Arrivals<'a> {
    /// From `position` on, before `end`.
    pub(super) fn new(tables: &'a Tables, at: StreamPartition, position: u64, end: u64) -> Self {
        Self { tables, at, position, end, detour: Vec::new().into_iter(), damage: None }
    }

    /// Behind everything that was given or lost.
    pub(super) const fn position(&self) -> u64 {
        self.position
    }

    /// What was wrong with the index, when a way around it was needed since the last call.
    pub(super) fn take_damage(&mut self) -> Option<String> {
        self.damage.take()
    }

    /// The next place. Stretches of which no index tells go to `lost`.
    pub(super) fn next(&mut self, lost: &mut Vec<DamagedRange>) -> Result<Option<Place>, StoreError> {
        loop {
            if let Some(place) = self.detour.next() {
                self.position = place.position + 1;
                return Ok(Some(place));
            }
            if self.position >= self.end {
                return Ok(None);
            }
            let found = match self.tables.arrival(self.at, self.position) {
                Ok(None) => self.tables.next_arrival(self.at, self.position, self.end).map(|next| {
                    // There is nothing up to there, whatever is read next.
                    self.position = next;
                    None
                }),
                found => found,
            };
            match found {
                Ok(Some(place)) => {
                    self.position += 1;
                    return Ok(Some(place));
                }
                Ok(None) => {}
                Err(StoreError::Damaged(why)) => self.go_around(why, lost)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Finds the next places by a look at all of history.
    fn go_around(&mut self, why: String, lost: &mut Vec<DamagedRange>) -> Result<(), StoreError> {
        let (at, first) = (self.at, self.position);
        tracing::warn!(%at, position = first, %why, "the index of arrivals is damaged; looking at all of history");
        let mut places = BTreeMap::new();
        for place in self.tables.places(at, tables::history_key_from(at, i64::MIN)) {
            match place {
                // What fills up history is not among them: it has no position.
                Ok(place) if (first..self.end).contains(&place.position) => {
                    places.insert(place.position, place);
                    if places.len() > DETOUR_PLACES_MAX {
                        places.pop_last();
                    }
                }
                Ok(_) => {}
                // IMPORTANT: history does not tell all either, so what it tells must not pass for all there is.
                Err(StoreError::Damaged(_)) => {
                    self.position = self.tables.next_readable(at, first, self.end)?;
                    let positions = first..self.position;
                    lost.push(DamagedRange { at, positions, batch: None, why: why.clone() });
                    self.damage = Some(why);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.damage = Some(why);
        if places.is_empty() {
            self.position = self.end;
        }
        self.detour = places.into_values().collect::<Vec<_>>().into_iter();
        Ok(())
    }
}

impl Tables {
    /// The place of one arrival; `None` when it was trimmed, never given or is to come.
    pub(super) fn arrival(&self, at: StreamPartition, position: u64) -> Result<Option<Place>, StoreError> {
        let key = tables::arrival_key(at, position);
        guarded(|| self.arrivals.get(&key))?.map(|row| Place::read_arrival(&key, &row)).transpose()
    }

    /// The first position from `position` on that is kept; `end` when none is.
    fn next_arrival(&self, at: StreamPartition, position: u64, end: u64) -> Result<u64, StoreError> {
        let range = tables::arrival_key(at, position)..tables::arrival_key(at, end);
        let key = guarded(|| self.arrivals.range(range).next().map(fjall::Guard::key).transpose())?;
        Ok(key.and_then(|key| key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))).unwrap_or(end))
    }

    /// The first position behind the damage that begins at `position`: in steps that double, then by halves.
    fn next_readable(&self, at: StreamPartition, position: u64, end: u64) -> Result<u64, StoreError> {
        let is_damaged = |position| match self.next_arrival(at, position, end) {
            Ok(_) => Ok(false),
            Err(StoreError::Damaged(_)) => Ok(true),
            Err(error) => Err(error),
        };
        let (mut damaged, mut step) = (position, 1_u64);
        let mut readable = loop {
            let next = position.saturating_add(step).min(end);
            if next == end || !is_damaged(next)? {
                break next;
            }
            damaged = next;
            step = step.saturating_mul(2);
        };
        while readable - damaged > 1 {
            let middle = damaged + (readable - damaged) / 2;
            if is_damaged(middle)? { damaged = middle } else { readable = middle }
        }
        Ok(readable)
    }
}

impl DiskLog {
    /// Hands over the place of every arrival before `until` that is kept; stretches that cannot be read go to `lost`.
    pub(super) fn each_arrival(
        &self,
        at: StreamPartition,
        until: u64,
        lost: &mut Vec<DamagedRange>,
        mut found: impl FnMut(Place),
    ) -> Result<(), StoreError> {
        let mut arrivals = Arrivals::new(&self.tables, at, 0, until);
        while let Some(place) = arrivals.next(lost)? {
            found(place);
        }
        Ok(())
    }
}
