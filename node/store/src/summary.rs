//! What brokers compare before they send each other batches: the heads of a stretch of series, or digests of its parts.

use mainstem_model::{HeadsDigest, HeadsDigester, Origin, SeriesHead, SeriesId, SeriesKey, SeriesRange};

/// Cuts a range into parts with about as many series each. Heads go in by ascending key.
///
/// IMPORTANT: the parts cover the range without gap or overlap, also where there is no series: each begins right behind the
/// last key of the one before it, and a key that lies between two series is in exactly one part. Otherwise two brokers, one
/// of which has a series there, would agree on every part and differ.
#[derive(Debug)]
pub(crate) struct Parts {
    range: SeriesRange,
    /// Series of one part.
    each: usize,
    /// Parts that may still be begun behind this one.
    left: usize,
    done: Vec<(SeriesRange, HeadsDigest)>,
    first: Key,
    last: Option<Key>,
    count: usize,
    digester: HeadsDigester,
}

type Key = (Origin, SeriesId);

impl Parts {
    /// Of a range that has `count` series, in at most `parts`.
    pub(crate) fn new(range: SeriesRange, count: usize, parts: usize) -> Self {
        let parts = parts.max(1);
        Self {
            range,
            each: count.div_ceil(parts).max(1),
            left: parts - 1,
            done: Vec::new(),
            first: range.first,
            last: None,
            count: 0,
            digester: HeadsDigester::default(),
        }
    }

    pub(crate) fn add(&mut self, series: &SeriesKey, head: &SeriesHead) {
        if self.count >= self.each && self.left > 0 {
            self.cut();
        }
        self.digester.add(series, head);
        self.count += 1;
        self.last = Some((series.origin, series.series));
    }

    /// Ends a part with the last series that went in, if there can be a key behind it.
    fn cut(&mut self) {
        let Some(last) = self.last else { return };
        let Some(first) = key_after(last) else { return };
        self.end_part(last);
        self.first = first;
        self.left -= 1;
    }

    fn end_part(&mut self, last: Key) {
        let range = SeriesRange { at: self.range.at, first: self.first, last };
        self.done.push((range, std::mem::take(&mut self.digester).finish()));
        self.count = 0;
    }

    pub(crate) fn finish(mut self) -> Vec<(SeriesRange, HeadsDigest)> {
        self.end_part(self.range.last);
        self.done
    }
}

/// The least key above this one.
fn key_after((origin, series): Key) -> Option<Key> {
    match series.0.checked_add(1) {
        Some(next) => Some((origin, SeriesId(next))),
        None => Some((origin_after(&origin)?, SeriesId(0))),
    }
}

/// The least origin above this one.
fn origin_after(origin: &Origin) -> Option<Origin> {
    let mut bytes = origin.to_bytes();
    let [kind, length, value @ ..] = &mut bytes;
    // Its value as a number, plus one.
    let used = value.get_mut(..usize::from(*length))?;
    for byte in used.iter_mut().rev() {
        let overflows;
        (*byte, overflows) = byte.overflowing_add(1);
        if !overflows {
            return Origin::from_bytes(&bytes);
        }
    }
    // Everything is zero now. The next length; or the next type, whose least length is 0.
    if *kind != Origin::ETHEREUM && *length < 32 {
        *length += 1;
    } else {
        *kind = kind.checked_add(1)?;
        *length = 0;
    }
    Origin::from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Address, Partition, StreamId};
    use proptest::prelude::*;

    fn origin(kind: u8, length: u8, fill: u8, last: u8) -> Origin {
        let mut bytes = [0; Origin::ENCODED_LENGTH];
        (bytes[0], bytes[1]) = (kind, length);
        bytes[2..][..usize::from(length)].fill(fill);
        if length > 0 {
            bytes[1 + usize::from(length)] = last;
        }
        Origin::from_bytes(&bytes).unwrap()
    }

    #[test]
    fn the_origin_after_another_is_the_very_next_that_there_can_be() {
        for (before, after) in [
            (origin(1, 20, 7, 7), Some(origin(1, 20, 7, 8))),
            (origin(1, 20, 0xff, 0xff), Some(origin(2, 0, 0, 0))),
            (origin(2, 0, 0, 0), Some(origin(2, 1, 0, 0))),
            (origin(2, 1, 0xff, 0xff), Some(origin(2, 2, 0, 0))),
            (origin(16, 32, 0xff, 0xfe), Some(origin(16, 32, 0xff, 0xff))),
            (origin(16, 32, 0xff, 0xff), Some(origin(17, 0, 0, 0))),
            (origin(255, 32, 0xff, 0xff), None),
        ] {
            assert_eq!(origin_after(&before), after, "{before}");
            assert!(after.is_none_or(|after| before < after), "{before}");
        }
    }

    fn origins() -> impl Strategy<Value = Origin> {
        let ends = || prop_oneof![Just(0_u8), Just(0xff), any::<u8>()];
        (1_u8..4, 0_u8..=32, ends(), ends()).prop_map(|(kind, length, fill, last)| {
            origin(kind, if kind == 1 { 20 } else { length }, fill, last)
        })
    }

    fn keys() -> impl Strategy<Value = Key> {
        let series = prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()];
        (origins(), series).prop_map(|(origin, series)| (origin, SeriesId(series)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_key_of_the_range_lies_in_exactly_one_part(
            heads in proptest::collection::btree_set(keys(), 0..20),
            (a, b, parts) in (keys(), keys(), 0_usize..8),
            probes in proptest::collection::vec(keys(), 20),
        ) {
            let at = StreamId(Address([2; 20])).partition(Partition::ZERO);
            let range = SeriesRange { at, first: a.min(b), last: a.max(b) };
            let series = |(origin, series): Key| SeriesKey { stream_partition: at, origin, series };
            let heads: Vec<_> = heads.into_iter().filter(|key| range.contains(&series(*key))).collect();
            let mut cut = Parts::new(range, heads.len(), parts);
            heads.iter().for_each(|key| cut.add(&series(*key), &SeriesHead::START));
            let found = cut.finish();
            prop_assert!(found.len() <= parts.max(1));
            prop_assert_eq!(found.iter().map(|(_, digest)| digest.count).sum::<u64>(), heads.len() as u64);
            let ends = found.iter().flat_map(|(part, _)| [part.first, part.last]);
            let behind = heads.iter().filter_map(|key| key_after(*key));
            for probe in probes.into_iter().chain(ends).chain(behind).chain(heads.iter().copied()) {
                let inside = range.contains(&series(probe));
                let holding = found.iter().filter(|(part, _)| part.contains(&series(probe))).count();
                prop_assert_eq!(holding, usize::from(inside), "{:?} of {:?}", probe, found);
            }
            let most = heads.len().div_ceil(parts.max(1)) as u64;
            prop_assert!(found.iter().all(|(_, digest)| digest.count <= most.max(1)));
        }

        #[test]
        fn nothing_lies_between_a_key_and_the_one_after_it(key in keys(), other in keys()) {
            if let Some(after) = key_after(key) {
                prop_assert!(key < after);
                prop_assert!(other <= key || other >= after);
            }
        }
    }
}
