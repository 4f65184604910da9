use mainstem_model::{BatchId, Header, Origin, SeriesId};
use std::collections::{HashMap, VecDeque};

/// Batches of a series whose ids are remembered, to tell duplicates from forks.
const RECENT_MAX: usize = 8;

/// How far each series of one partition has come for one reader.
#[derive(Debug)]
pub(crate) struct SeriesGuard {
    /// Two generations; when the young one is full, the old one is forgotten.
    young: HashMap<(Origin, SeriesId), Place>,
    old: HashMap<(Origin, SeriesId), Place>,
    generation_max: usize,
    /// Batches wholly before this time are not asked for, so a series may have holes there.
    from: i64,
}

#[derive(Debug)]
struct Place {
    next: u64,
    last: BatchId,
    timestamp: i64,
    recent: VecDeque<(u64, BatchId)>,
    forked: bool,
}

/// What a batch is to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on where its series stands, or its series is new here.
    Next,
    /// It was had.
    Duplicate,
    /// Its place was taken by another, or it goes on from another. Told once a series: `first` is set the first time.
    Fork { first: Option<BatchId> },
    /// Events from `from` on are missing; what is missing is not older than `timestamp`.
    Gap { from: u64, timestamp: i64 },
}

impl SeriesGuard {
    pub(crate) fn new(series_max: usize, from: i64) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), generation_max: (series_max / 2).max(1), from }
    }

    fn find(&mut self, key: (Origin, SeriesId)) -> Option<&mut Place> {
        if let Some(place) = self.old.remove(&key) {
            self.insert(key, place);
        }
        self.young.get_mut(&key)
    }

    fn insert(&mut self, key: (Origin, SeriesId), place: Place) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, place);
    }

    pub(crate) fn judge(&mut self, header: &Header, id: BatchId) -> Verdict {
        let from = self.from;
        let Some(place) = self.find((header.origin, header.series)) else { return Verdict::Next };
        if header.sequence > place.next {
            // Before the asked-for time the broker leaves batches out, and rightly.
            let surely = place.timestamp >= from;
            return if surely {
                Verdict::Gap { from: place.next, timestamp: place.timestamp }
            } else {
                Verdict::Next
            };
        }
        let first = if header.sequence == place.next {
            if header.previous == place.last {
                return Verdict::Next;
            }
            place.last
        } else {
            let known = place.recent.iter().rev().find(|(sequence, _)| *sequence <= header.sequence);
            match known {
                Some((_, first)) if *first == id => return Verdict::Duplicate,
                Some((_, first)) => *first,
                // Too long ago to tell.
                None if header.next_sequence() <= place.next => return Verdict::Duplicate,
                None => BatchId::NONE,
            }
        };
        let told = std::mem::replace(&mut place.forked, true);
        Verdict::Fork { first: (!told).then_some(first) }
    }

    /// Notes a batch as had.
    pub(crate) fn take(&mut self, header: &Header, id: BatchId) {
        let key = (header.origin, header.series);
        if self.find(key).is_none() {
            let place = Place {
                next: 0,
                last: BatchId::NONE,
                timestamp: i64::MIN,
                recent: VecDeque::new(),
                forked: false,
            };
            self.insert(key, place);
        }
        if let Some(place) = self.find(key) {
            place.next = header.next_sequence();
            place.last = id;
            place.timestamp = header.timestamp_min;
            if place.recent.len() >= RECENT_MAX {
                place.recent.pop_front();
            }
            place.recent.push_back((header.sequence, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_crypto::SecretKey;
    use mainstem_model::{Address, Batch, Network, NewEvent, Partition, SeriesWriter, Signer, StreamId};

    fn batches(series: u64, fill: u8, count: usize) -> Vec<Batch> {
        let network = Network { chain_id: 1, registry: Address([1; 20]) };
        let signer = Signer::wallet(SecretKey::from_bytes(&[7; 32]).unwrap());
        let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
        let mut writer = SeriesWriter::new(network, at, signer, SeriesId(series));
        (0..count)
            .map(|n| {
                let event = NewEvent::binary(n as i64, vec![fill; 4].into());
                writer.seal(&vec![event; 2]).unwrap()
            })
            .collect()
    }

    fn judge(guard: &mut SeriesGuard, batch: &Batch) -> Verdict {
        let verdict = guard.judge(batch.header(), batch.id());
        if verdict == Verdict::Next {
            guard.take(batch.header(), batch.id());
        }
        verdict
    }

    #[test]
    fn each_batch_passes_once_in_order() {
        let mut guard = SeriesGuard::new(100, i64::MIN);
        let batches = batches(1, 0, 20);
        for batch in &batches {
            assert_eq!(judge(&mut guard, batch), Verdict::Next);
            assert_eq!(judge(&mut guard, batch), Verdict::Duplicate);
        }
        for batch in &batches {
            assert_eq!(judge(&mut guard, batch), Verdict::Duplicate);
        }
    }

    #[test]
    fn a_hole_is_named_from_its_first_event() {
        let mut guard = SeriesGuard::new(100, i64::MIN);
        let batches = batches(1, 0, 4);
        assert_eq!(judge(&mut guard, &batches[0]), Verdict::Next);
        assert_eq!(judge(&mut guard, &batches[3]), Verdict::Gap { from: 2, timestamp: 0 });
        assert_eq!(judge(&mut guard, &batches[1]), Verdict::Next);
        assert_eq!(judge(&mut guard, &batches[2]), Verdict::Next);
        assert_eq!(judge(&mut guard, &batches[3]), Verdict::Next);
    }

    #[test]
    fn a_hole_before_the_asked_for_time_is_none() {
        let mut guard = SeriesGuard::new(100, 2);
        let batches = batches(1, 0, 6);
        assert_eq!(judge(&mut guard, &batches[1]), Verdict::Next);
        assert_eq!(judge(&mut guard, &batches[3]), Verdict::Next);
        assert_eq!(judge(&mut guard, &batches[5]), Verdict::Gap { from: 8, timestamp: 3 });
    }

    #[test]
    fn another_branch_is_told_once() {
        let mut guard = SeriesGuard::new(100, i64::MIN);
        let (one, other) = (batches(1, 0, 3), batches(1, 9, 4));
        assert_eq!(judge(&mut guard, &one[0]), Verdict::Next);
        assert_eq!(judge(&mut guard, &other[0]), Verdict::Fork { first: Some(one[0].id()) });
        assert_eq!(judge(&mut guard, &other[1]), Verdict::Fork { first: None });
        assert_eq!(judge(&mut guard, &one[1]), Verdict::Next);
    }

    #[test]
    fn forgotten_series_begin_anew_and_memory_is_bounded() {
        let mut guard = SeriesGuard::new(4, i64::MIN);
        for series in 0..50 {
            let all = batches(series, 0, 1);
            assert_eq!(judge(&mut guard, &all[0]), Verdict::Next);
            assert!(guard.young.len() + guard.old.len() <= 4);
        }
        let first = batches(0, 0, 6);
        assert_eq!(judge(&mut guard, &first[5]), Verdict::Next);
    }
}
