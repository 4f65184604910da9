use crate::{
    Subject,
    batches::{Publisher, place},
    subjects,
};
use mainstem_model::{Batch, Cursor, Origin, ReadFilter, ReadStart};
use mainstem_store::{Append, StoreError};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// An event by its batch and its place in it.
type EventId = ([u8; 32], u16);

/// Reads from `cursor` to the end in pages of `batches_max`, appending `meanwhile` after the first page; gives the wanted
/// events in reading order. After every batch the cursor is thrown away and made anew from its bytes, mid-batch included.
fn read(
    subject: &Subject,
    mut cursor: Cursor,
    filter: &ReadFilter,
    batches_max: usize,
    mut meanwhile: Vec<Append>,
) -> Vec<EventId> {
    let mut got = Vec::new();
    loop {
        let page = subject.log.page(place(0), cursor, filter, batches_max, usize::MAX).unwrap();
        assert_eq!(page.damaged, []);
        assert!(page.batches.len() <= batches_max);
        for stored in &page.batches {
            let batch = Batch::decode(stored.bytes.clone()).unwrap();
            for (index, event) in batch.events().enumerate().skip(usize::from(stored.cursor.skip())) {
                if filter.wants_timestamp(event.timestamp) {
                    got.push((stored.id.0, u16::try_from(index).unwrap()));
                }
            }
        }
        if !meanwhile.is_empty() {
            subject.log.append(&std::mem::take(&mut meanwhile)).unwrap();
            cursor = Cursor::decode(&page.next.encode()).unwrap();
            continue;
        }
        if page.at_end {
            return got;
        }
        cursor = Cursor::decode(&page.next.encode()).unwrap();
    }
}

fn wanted<'a>(appends: impl IntoIterator<Item = &'a Append>, filter: &ReadFilter) -> Vec<EventId> {
    let mut appends: Vec<_> = appends.into_iter().filter(|a| filter.wants(a.batch.header())).collect();
    appends.sort_by_key(|a| mainstem_model::BatchKey::of(a.batch.header()));
    let events = appends.into_iter().flat_map(|a| {
        let id = a.batch.id().0;
        let times: Vec<_> = a.batch.events().map(|e| e.timestamp).collect();
        times.into_iter().enumerate().map(move |(i, t)| (t, (id, u16::try_from(i).unwrap())))
    });
    events.filter(|(timestamp, _)| filter.wants_timestamp(*timestamp)).map(|(_, event)| event).collect()
}

/// Batches of three series of two origins, timestamps rising within a series and mixed between them.
fn history(seed: &[u8]) -> Vec<Append> {
    let mut publishers =
        [Publisher::new(1, 1, place(0)), Publisher::new(1, 2, place(0)), Publisher::new(2, 1, place(0))];
    let mut clocks = [0_i64; 3];
    seed.iter()
        .map(|byte| {
            let n = usize::from(byte % 3);
            clocks[n] += i64::from(byte >> 4);
            let count = i64::from(byte % 5) + 1;
            let times: Vec<_> = (0..count).map(|i| clocks[n] + i).collect();
            publishers[n].batch(&times)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_start_filter_and_page_size_gives_exactly_the_wanted_events_once(
        before in proptest::collection::vec(any::<u8>(), 0..40),
        after in proptest::collection::vec(any::<u8>(), 0..10),
        from in -5_i64..60, length in 0_i64..60, origin in 0_u8..3, batches_max in 1_usize..9, last in 0_u64..50,
    ) {
        let all = history(&[&before[..], &after[..]].concat());
        let (past, meanwhile) = all.split_at(before.len());
        let origin = (origin > 0).then(|| Publisher::new(origin, 1, place(0)).key().origin);
        let range = ReadFilter { origin, from, to: from + length };
        let open = ReadFilter { origin, ..ReadFilter::ALL };
        let on = ReadFilter { origin, from, to: i64::MAX };
        for subject in subjects() {
            subject.log.append(past).unwrap();
            let start = |start, filter: &ReadFilter| subject.log.start(place(0), start, filter).unwrap();

            let cursor = start(ReadStart::From, &range);
            prop_assert_eq!(read(&subject, cursor, &range, batches_max, Vec::new()), wanted(past, &range));

            let cursor = start(ReadStart::Last(last), &open);
            let expected = wanted(past, &open);
            let expected = &expected[expected.len().saturating_sub(usize::try_from(last).unwrap())..];
            prop_assert_eq!(read(&subject, cursor, &open, batches_max, Vec::new()), expected);

            // What comes while history is read comes after it, once, however old its timestamps are.
            let cursor = start(ReadStart::From, &on);
            let got = read(&subject, cursor, &on, batches_max, meanwhile.to_vec());
            let old = wanted(past, &on);
            prop_assert_eq!(&got[..old.len()], &old[..]);
            let new: BTreeSet<_> = got[old.len()..].iter().copied().collect();
            prop_assert_eq!(new.len(), got.len() - old.len());
            prop_assert_eq!(new, wanted(meanwhile, &on).into_iter().collect());

            // From every cursor inside a batch the rest follows, and nothing before it.
            let cursor = start(ReadStart::From, &open);
            let all_events = read(&subject, cursor, &open, batches_max, Vec::new());
            let page = subject.log.page(place(0), cursor, &open, 3, usize::MAX).unwrap();
            let mut had = 0;
            for stored in page.batches {
                for skip in 0..=stored.count {
                    let rest = read(&subject, stored.cursor.with_skip(skip), &open, batches_max, Vec::new());
                    prop_assert_eq!(&rest[..], &all_events[had + usize::from(skip)..]);
                }
                had += usize::from(stored.count);
            }
        }
    }
}

#[test]
fn a_page_holds_at_least_one_batch_however_small_its_room() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        subject.log.append(&[publisher.batch(&[1]), publisher.batch(&[2])]).unwrap();
        let begin = Cursor::Arrival { log: 7, position: 0, skip: 0 };
        let page = subject.log.page(place(0), begin, &ReadFilter::ALL, 10, 0).unwrap();
        assert_eq!((page.batches.len(), page.at_end), (1, false), "{}", subject.name);
    }
}

#[test]
fn a_cursor_of_another_store_or_past_the_end_is_refused() {
    for subject in subjects() {
        for cursor in [
            Cursor::Arrival { log: 8, position: 0, skip: 0 },
            Cursor::Arrival { log: 7, position: 1, skip: 0 },
        ] {
            let start = subject.log.start(place(0), ReadStart::Cursor(cursor), &ReadFilter::ALL);
            assert!(matches!(start, Err(StoreError::ForeignCursor)), "{}", subject.name);
            let page = subject.log.page(place(0), cursor, &ReadFilter::ALL, 1, 1);
            assert!(matches!(page, Err(StoreError::ForeignCursor)));
        }
    }
}

#[test]
fn an_empty_partition_and_an_unknown_origin_give_an_empty_end() {
    for subject in subjects() {
        let nobody = ReadFilter {
            origin: Some(Origin::ethereum(mainstem_crypto::Address([9; 20]))),
            ..ReadFilter::ALL
        };
        for start in [ReadStart::Now, ReadStart::From, ReadStart::Last(5)] {
            let cursor = subject.log.start(place(3), start, &nobody).unwrap();
            let page = subject.log.page(place(3), cursor, &nobody, 5, 5).unwrap();
            assert!(page.batches.is_empty() && page.at_end, "{}", subject.name);
        }
    }
}
