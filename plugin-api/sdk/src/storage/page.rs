use super::{KeptRecord, Query, Records};

/// An answer to a query as far as it has come. What it takes is in the order of places, and no more than the query's bounds let it.
///
/// ```
/// use mainstem_plugin_sdk::{Page, Query, Records};
///
/// let query = Query { from: 0, until: 10, records_max: 2, bytes_max: 1_000, prefix_bytes: usize::MAX };
/// let mut page = Page::new(query);
/// let kept = [(3, Some(b"one")), (4, None), (7, Some(b"two"))];
/// for (place, value) in kept {
///     if !page.take(place, value.map(|value| (0, &value[..]))) {
///         break;
///     }
/// }
/// let Records { records, damaged, next } = page.into_records();
/// assert_eq!((records.len(), damaged, next), (1, vec![4], 7));
/// ```
#[derive(Clone, Debug)]
pub struct Page {
    query: Query,
    found: Records,
    /// Of all values.
    bytes: usize,
}

impl Page {
    /// One with nothing yet, which goes on at the query's `until`.
    pub fn new(query: Query) -> Self {
        let found = Records { next: query.until, ..Records::default() };
        Self { query, found, bytes: 0 }
    }

    /// Records and damaged places that it has.
    pub fn count(&self) -> usize {
        self.found.records.len() + self.found.damaged.len()
    }

    /// Whether there is room for one more, whose whole value has `length` bytes; of a damaged one 0.
    pub fn has_room(&self, length: usize) -> bool {
        self.query.has_room(self.count(), self.bytes, length.min(self.query.prefix_bytes))
    }

    /// Adds a record, which is its timestamp and its whole value, or without one that the place is damaged. If there is no room it adds nothing,
    /// [ends](Page::end_at) there, and gives false: then nothing more is to be added.
    pub fn take(&mut self, place: u64, record: Option<(i64, &[u8])>) -> bool {
        let value = record.map_or(&[][..], |(_, value)| self.query.wanted(value));
        if !self.has_room(value.len()) {
            self.end_at(place);
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

    /// Says that the node is to go on at this place, which is behind the query's `from` and all that it has.
    pub fn end_at(&mut self, place: u64) {
        self.found.next = place;
    }

    /// The answer.
    pub fn into_records(self) -> Records {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: Query = Query { from: 1, until: 9, records_max: 3, bytes_max: 10, prefix_bytes: 4 };

    /// Takes values of these lengths, or damage, at places from 1 on. How many fit, and where the page goes on.
    fn fits(query: Query, values: &[Option<usize>]) -> (usize, u64) {
        let mut page = Page::new(query);
        let taken = (1..).zip(values).take_while(|(place, length)| {
            let value = length.map(|length| vec![7; length]);
            page.take(*place, value.as_deref().map(|value| (-5, value)))
        });
        let taken = taken.count();
        assert_eq!(page.count(), taken);
        (taken, page.into_records().next)
    }

    #[test]
    fn a_page_ends_at_the_first_that_has_no_room_by_count_or_by_bytes() {
        let whole = Query { prefix_bytes: usize::MAX, ..QUERY };
        for (query, values, expected) in [
            (whole, &[][..], (0, 9)),
            (whole, &[Some(5), Some(5)], (2, 9)),
            (whole, &[Some(5), Some(6)], (1, 2)),
            (whole, &[Some(99), None, Some(0), Some(0)], (1, 2)),
            (whole, &[None, Some(10), None, None], (3, 4)),
            (whole, &[Some(0); 4], (3, 4)),
            (QUERY, &[Some(99), Some(99), Some(99)], (2, 3)),
            (QUERY, &[Some(99), Some(99), Some(2)], (3, 9)),
        ] {
            assert_eq!(fits(query, values), expected, "{query:?} {values:?}");
        }
    }

    #[test]
    fn a_page_has_as_much_of_each_value_as_is_wanted_and_damage_apart() {
        let mut page = Page::new(QUERY);
        assert!(page.has_room(1_000), "the first has room however long it is");
        assert!(page.take(2, Some((-5, b"a long value"))) && page.take(3, None));
        assert!(page.has_room(1_000), "4 bytes of it are wanted");
        page.end_at(4);
        let record = KeptRecord { place: 2, timestamp: -5, value: b"a lo".to_vec() };
        let expected = Records { records: vec![record], next: 4, damaged: vec![3] };
        assert_eq!(page.into_records(), expected);
    }
}
