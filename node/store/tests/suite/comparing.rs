//! What brokers compare: partitions, and the heads of their series.

use crate::{
    batches::{Publisher, fresh_place, past, place},
    check, subjects,
};
use mainstem_model::{
    Equivocation, HeadsDigest, HeadsDigester, HeadsSummary, Origin, SeriesHead, SeriesId, SeriesKey,
    SeriesRange, StreamPartition,
};
use mainstem_store::{Append, EventLog, LastArrival};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn partitions_are_listed_in_order_a_few_at_a_time() {
    for subject in subjects() {
        let append = |number| Publisher::new(1, 1, place(number)).batch(&[1]);
        // One of them has only what fills up history.
        subject.log.append(&[append(7), append(2), past(&append(5)), append(99)]).unwrap();
        for (after, max, expected) in [
            (None, 10, vec![2, 5, 7, 99]),
            (None, 2, vec![2, 5]),
            (Some(5), 2, vec![7, 99]),
            (Some(6), 1, vec![7]),
            (Some(99), 10, vec![]),
            (None, 0, vec![]),
        ] {
            let listed = subject.log.partitions_after(after.map(place), max).unwrap();
            let expected: Vec<_> = expected.into_iter().map(place).collect();
            assert_eq!(listed, expected, "{}: {after:?} {max}", subject.name);
        }
    }
}

#[test]
fn the_last_arrival_is_the_newest_that_is_kept_and_no_past_batch() {
    for subject in subjects() {
        assert_eq!(subject.log.last(place(1)).unwrap(), None, "{}", subject.name);
        let mut publisher = Publisher::new(1, 1, place(1));
        let mut batch = |at| Append { received_at: at, ..publisher.batch(&[1]) };
        subject.log.append(&[batch(50), batch(40), past(&batch(90))]).unwrap();
        let last = subject.log.last(place(1)).unwrap();
        assert_eq!(last, Some(LastArrival { end: 2, received_at: 40 }), "{}", subject.name);
        assert_eq!(subject.log.last(place(2)).unwrap(), None, "{}", subject.name);
    }
}

#[test]
fn the_last_arrival_before_a_time_is_found_by_halves() {
    for subject in subjects() {
        let last_before = |time| subject.log.last_before(place(1), time).unwrap();
        assert_eq!(last_before(i64::MAX), None, "{}", subject.name);
        let mut publisher = Publisher::new(1, 1, place(1));
        // 40 of them, with pauses of 10 and one of 1,000.
        let times: Vec<i64> = (0..40).map(|n| 10 * n + if n < 30 { 0 } else { 1_000 }).collect();
        for time in &times {
            let batch = Append { received_at: *time, ..publisher.batch(&[1]) };
            subject.log.append(&[batch.clone(), past(&Append { received_at: 0, ..batch })]).unwrap();
        }
        for time in [-1, 0, 1, 10, 11, 290, 291, 1_000, 1_300, 1_301, 1_390, 1_391, i64::MAX] {
            let before = times.iter().rev().find(|came| **came < time).copied();
            let expected = Some(before.unwrap_or(0));
            assert_eq!(last_before(time), expected, "{}: {time}", subject.name);
        }
        subject.log.trim(place(1), None, i64::MAX, 100).unwrap();
        assert_eq!(last_before(i64::MAX), None, "{}", subject.name);
    }
}

#[test]
fn a_digest_is_of_the_heads_and_of_nothing_else() {
    let heads = |subject: &crate::Subject| subject.log.digest(place(0)).unwrap();
    for subject in subjects() {
        assert_eq!(heads(&subject), HeadsDigest::default(), "{}", subject.name);
        let (mut a, mut b) = (Publisher::new(1, 1, place(0)), Publisher::new(2, 1, place(0)));
        let group = [a.batch(&[1]), b.batch(&[1]), a.batch(&[2])];
        // The same in another order, with other partitions and other ways there.
        let other = crate::Subject::memory();
        let elsewhere = Publisher::new(3, 1, place(1)).batch(&[1]);
        other.log.append(&[past(&group[2]), elsewhere, past(&group[0]), group[1].clone()]).unwrap();
        subject.log.append(&group[..2]).unwrap();
        assert_ne!(heads(&subject), heads(&other), "{}", subject.name);
        subject.log.append(&group[2..]).unwrap();
        assert_eq!(heads(&subject), heads(&other), "{}", subject.name);
        subject.log.trim(place(0), None, i64::MAX, 10).unwrap();
        assert_eq!(heads(&subject), heads(&other), "{}: trimming changed it", subject.name);
        let mut double = Publisher::new(2, 1, place(0));
        let clone = |append: &Append| mainstem_model::Batch::clone(&append.batch);
        let proof = Equivocation { first: clone(&group[1]), second: clone(&double.batch(&[9])) };
        subject.log.freeze(&proof, 9).unwrap();
        assert_ne!(heads(&subject), heads(&other), "{}: freezing did not change it", subject.name);
        let subject = if subject.name == "disk" { subject.reopen() } else { subject };
        other.log.freeze(&proof, 9).unwrap();
        assert_eq!(heads(&subject), heads(&other), "{}", subject.name);
    }
}

fn digest<'a>(heads: impl Iterator<Item = (&'a SeriesKey, &'a SeriesHead)>) -> HeadsDigest {
    let mut digester = HeadsDigester::default();
    heads.for_each(|(series, head)| digester.add(series, head));
    digester.finish()
}

/// Everything under a range, got by asking again for each part as long as it is not a list.
fn descend(
    log: &dyn EventLog,
    range: SeriesRange,
    heads_max: usize,
    parts: usize,
) -> Vec<(SeriesKey, SeriesHead)> {
    match log.summarize(&range, heads_max, parts).unwrap() {
        HeadsSummary::Heads(heads) => {
            assert!(heads.len() <= heads_max);
            heads
        }
        HeadsSummary::Parts(found) => {
            assert!(found.len() > 1 && found.len() <= parts, "{} parts", found.len());
            found.into_iter().flat_map(|(range, _)| descend(log, range, heads_max, parts)).collect()
        }
    }
}

fn everything(at: StreamPartition) -> SeriesRange {
    let origin = |byte: u8| {
        let mut bytes = [byte; Origin::ENCODED_LENGTH];
        (bytes[0], bytes[1]) = (byte.max(1), if byte == 0 { 20 } else { 32 });
        Origin::from_bytes(&bytes).unwrap()
    };
    SeriesRange { at, first: (origin(0), SeriesId(0)), last: (origin(0xff), SeriesId(u64::MAX)) }
}

#[test]
fn a_summary_tells_of_every_series_in_its_range_by_name_or_in_one_part() {
    let subjects = subjects();
    let series = prop_oneof![Just(0_u64), Just(1), Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()];
    let set = proptest::collection::btree_set((1_u8..6, series), 0..24);
    check(60, (set, 0_usize..30, 1_usize..9, any::<(u8, u8)>()), |(set, heads_max, parts, bounds)| {
        let at = fresh_place();
        let mut expected = BTreeMap::new();
        let mut group = Vec::new();
        for (who, series) in &set {
            let mut publisher = Publisher::new(*who, *series, at);
            let append = publisher.batch(&[1]);
            expected.insert(publisher.key(), SeriesHead::after(&append.batch));
            group.push(append);
        }
        // A range between any two of them, or around all.
        let keys: Vec<_> = expected.keys().map(|key| (key.origin, key.series)).collect();
        let mut range = everything(at);
        if !keys.is_empty() {
            let key = |byte: u8| keys[usize::from(byte) % keys.len()];
            if bounds.0 > 80 {
                range.first = key(bounds.0);
            }
            if bounds.1 > 80 {
                range.last = key(bounds.1);
            }
        }
        expected.retain(|series, _| range.contains(series));
        for subject in &subjects {
            subject.log.append(&group).unwrap();
            let all: Vec<_> = expected.iter().map(|(series, head)| (*series, *head)).collect();
            match subject.log.summarize(&range, heads_max, parts).unwrap() {
                HeadsSummary::Heads(heads) => {
                    prop_assert!(all.len() <= heads_max);
                    prop_assert_eq!(heads, all);
                }
                HeadsSummary::Parts(found) => {
                    prop_assert!(all.len() > heads_max && found.len() <= parts);
                    prop_assert_eq!(
                        (found[0].0.first, found[found.len() - 1].0.last),
                        (range.first, range.last)
                    );
                    for (part, told) in &found {
                        prop_assert_eq!(
                            *told,
                            digest(expected.iter().filter(|(series, _)| part.contains(series)))
                        );
                    }
                    let total: u64 = found.iter().map(|(_, told)| told.count).sum();
                    prop_assert_eq!(total, expected.len() as u64);
                }
            }
            if range.first <= range.last {
                let all: Vec<_> = expected.iter().map(|(series, head)| (*series, *head)).collect();
                prop_assert_eq!(descend(&*subject.log, range, 1, 2), all);
            }
        }
        Ok(())
    });
}
