use crate::{
    Subject,
    batches::{Publisher, fresh_place, past, place},
    check,
    restart::BEGIN,
    subjects,
};
use mainstem_model::{Batch, BatchKey, Cursor, Origin, ReadFilter, ReadStart, StreamPartition};
use mainstem_store::{Append, Config, DiskLog, EventLog, NO_POSITION, StoreError};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// An event by its batch and its place in it.
type EventId = ([u8; 32], u16);

/// Reads from `cursor` to the end in pages of `batches_max`, appending `meanwhile` after the first page; gives the wanted
/// events in reading order. After every batch the cursor is thrown away and made anew from its bytes, mid-batch included.
fn read(
    subject: &Subject,
    at: StreamPartition,
    mut cursor: Cursor,
    filter: &ReadFilter,
    batches_max: usize,
    mut meanwhile: Vec<Append>,
) -> Vec<EventId> {
    let mut got = Vec::new();
    loop {
        let page = subject.log.page(at, cursor, filter, batches_max, usize::MAX).unwrap();
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
    appends.sort_by_key(|a| BatchKey::of(a.batch.header()));
    let events = appends.into_iter().flat_map(|a| {
        let id = a.batch.id().0;
        let times: Vec<_> = a.batch.events().map(|e| e.timestamp).collect();
        times.into_iter().enumerate().map(move |(i, t)| (t, (id, u16::try_from(i).unwrap())))
    });
    events.filter(|(timestamp, _)| filter.wants_timestamp(*timestamp)).map(|(_, event)| event).collect()
}

/// Batches of three series of two origins, timestamps rising within a series and mixed between them.
fn history(at: StreamPartition, seed: &[u8]) -> Vec<Append> {
    let mut publishers = [Publisher::new(1, 1, at), Publisher::new(1, 2, at), Publisher::new(2, 1, at)];
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

#[derive(Clone, Debug)]
struct Case {
    before: Vec<u8>,
    after: Vec<u8>,
    from: i64,
    length: i64,
    origin: u8,
    batches_max: usize,
    last: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (bytes(40), bytes(10), -5_i64..60, 0_i64..60, 0_u8..3, 1_usize..9, 0_u64..50).prop_map(
        |(before, after, from, length, origin, batches_max, last)| Case {
            before,
            after,
            from,
            length,
            origin,
            batches_max,
            last,
        },
    )
}

#[test]
fn every_start_filter_and_page_size_gives_exactly_the_wanted_events_once() {
    let subjects = subjects();
    check(200, cases(), |case| {
        let Case { from, batches_max, .. } = case;
        let at = fresh_place();
        let all = history(at, &[&case.before[..], &case.after[..]].concat());
        let (past, meanwhile) = all.split_at(case.before.len());
        let origin = (case.origin > 0).then(|| Publisher::new(case.origin, 1, at).key().origin);
        let range = ReadFilter { origin, from, to: from + case.length };
        let open = ReadFilter { origin, ..ReadFilter::ALL };
        let on = ReadFilter { origin, from, to: i64::MAX };
        for subject in &subjects {
            subject.log.append(past).unwrap();
            let start = |start, filter: &ReadFilter| subject.log.start(at, start, filter).unwrap();

            let cursor = start(ReadStart::From, &range);
            prop_assert_eq!(read(subject, at, cursor, &range, batches_max, Vec::new()), wanted(past, &range));

            let cursor = start(ReadStart::Last(case.last), &open);
            let expected = wanted(past, &open);
            let expected = &expected[expected.len().saturating_sub(usize::try_from(case.last).unwrap())..];
            prop_assert_eq!(read(subject, at, cursor, &open, batches_max, Vec::new()), expected);

            // What comes while history is read comes after it, once, however old its timestamps are.
            let cursor = start(ReadStart::From, &on);
            let got = read(subject, at, cursor, &on, batches_max, meanwhile.to_vec());
            let old = wanted(past, &on);
            prop_assert_eq!(&got[..old.len()], &old[..]);
            let new: BTreeSet<_> = got[old.len()..].iter().copied().collect();
            prop_assert_eq!(new.len(), got.len() - old.len());
            prop_assert_eq!(new, wanted(meanwhile, &on).into_iter().collect());

            // From every cursor inside a batch the rest follows, and nothing before it.
            let cursor = start(ReadStart::From, &open);
            let all_events = read(subject, at, cursor, &open, batches_max, Vec::new());
            let page = subject.log.page(at, cursor, &open, 3, usize::MAX).unwrap();
            let mut had = 0;
            for stored in page.batches {
                for skip in 0..=stored.count {
                    let rest =
                        read(subject, at, stored.cursor.with_skip(skip), &open, batches_max, Vec::new());
                    prop_assert_eq!(&rest[..], &all_events[had + usize::from(skip)..]);
                }
                had += usize::from(stored.count);
            }
        }
        Ok(())
    });
}

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    /// The next batch, as one that fills up history.
    Fill(u8),
    /// Everything again, as what fills up history.
    FillAgain,
    Trim {
        before: i64,
        max: usize,
    },
    Last(u64),
    From(i64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any::<u8>().prop_map(Step::Append),
        4 => any::<u8>().prop_map(Step::Fill),
        1 => Just(Step::FillAgain),
        2 => (0_i64..40, 0_usize..5).prop_map(|(before, max)| Step::Trim { before, max }),
        2 => (0_u64..30).prop_map(Step::Last),
        2 => (-2_i64..60).prop_map(Step::From),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..30)
}

/// A plain list is the reference: what it holds is what the log must tell.
#[test]
fn appends_trims_reads_and_restarts_in_any_order_tell_what_a_plain_list_tells() {
    // One store serves all cases: making one takes many fsyncs.
    let mut kept = Some(subjects());
    check(40, steps(), |steps| {
        let at = fresh_place();
        let bytes: Vec<u8> = steps
            .iter()
            .filter_map(
                |step| if let Step::Append(byte) | Step::Fill(byte) = step { Some(*byte) } else { None },
            )
            .collect();
        let mut to_come = history(at, &bytes).into_iter();
        let (mut list, mut end): (Vec<Append>, u64) = (Vec::new(), 0);
        // A store that was open before gives no position of an earlier life.
        let mut logs: Vec<_> = kept.take().unwrap_or_else(subjects).into_iter().map(|log| (log, 0)).collect();
        for (subject, leap) in &mut logs {
            *leap = subject.log.end(at).unwrap();
        }
        for step in steps {
            match step {
                Step::Append(_) => {
                    let next = to_come.next().unwrap();
                    for (subject, leap) in &logs {
                        let position = subject.log.append(std::slice::from_ref(&next)).unwrap();
                        prop_assert_eq!(position, [leap + end]);
                    }
                    list.push(next);
                    end += 1;
                }
                Step::Fill(_) => {
                    let next = past(&to_come.next().unwrap());
                    for (subject, _) in &logs {
                        let position = subject.log.append(std::slice::from_ref(&next)).unwrap();
                        prop_assert_eq!(position, [NO_POSITION]);
                    }
                    list.push(next);
                }
                Step::FillAgain => {
                    let again: Vec<_> = list.iter().map(past).collect();
                    for (subject, _) in &logs {
                        let positions = subject.log.append(&again).unwrap();
                        prop_assert_eq!(positions, vec![NO_POSITION; again.len()]);
                    }
                }
                Step::Trim { before, max } => {
                    let mut old: Vec<_> =
                        list.iter().filter(|a| a.batch.header().timestamp_max < before).collect();
                    old.sort_by_key(|a| BatchKey::of(a.batch.header()));
                    let gone: BTreeSet<_> = old.iter().take(max).map(|a| a.batch.id()).collect();
                    for (subject, _) in &logs {
                        let trimmed = subject.log.trim(at, None, before, max).unwrap();
                        prop_assert_eq!(trimmed.batches, gone.len() as u64);
                        prop_assert_eq!(trimmed.next.is_some(), old.len() > max);
                    }
                    list.retain(|a| !gone.contains(&a.batch.id()));
                }
                Step::Last(n) => {
                    let all = wanted(&list, &ReadFilter::ALL);
                    let expected = &all[all.len().saturating_sub(usize::try_from(n).unwrap())..];
                    for (subject, _) in &logs {
                        let cursor = subject.log.start(at, ReadStart::Last(n), &ReadFilter::ALL).unwrap();
                        prop_assert_eq!(read(subject, at, cursor, &ReadFilter::ALL, 4, Vec::new()), expected);
                    }
                }
                Step::From(from) => {
                    let filter = ReadFilter { from, ..ReadFilter::ALL };
                    for (subject, _) in &logs {
                        let cursor = subject.log.start(at, ReadStart::From, &filter).unwrap();
                        prop_assert_eq!(
                            read(subject, at, cursor, &filter, 4, Vec::new()),
                            wanted(&list, &filter)
                        );
                    }
                }
                Step::Reopen => {
                    for (subject, leap) in std::mem::take(&mut logs) {
                        let before = subject.log.end(at).unwrap();
                        let subject = subject.reopen();
                        let after = subject.log.end(at).unwrap();
                        prop_assert!(after > before || !subject.has_home());
                        let leap = if subject.has_home() { after - end } else { leap };
                        logs.push((subject, leap));
                    }
                }
            }
            for (subject, leap) in &logs {
                let stats = subject.log.stats(at).unwrap();
                let events = list.iter().map(|a| u64::from(a.batch.header().count)).sum::<u64>();
                prop_assert_eq!(
                    (stats.end, stats.batches, stats.events),
                    (leap + end, list.len() as u64, events)
                );
                let arrived = subject.log.page(at, BEGIN, &ReadFilter::ALL, usize::MAX, usize::MAX).unwrap();
                let arrived: Vec<_> = arrived.batches.iter().map(|batch| batch.id).collect();
                let live = list.iter().filter(|append| !append.past).map(|append| append.batch.id());
                prop_assert_eq!(arrived, live.collect::<Vec<_>>());
            }
        }
        // Each case begins with stores that were open before.
        kept = Some(logs.into_iter().map(|(subject, _)| subject.reopen()).collect());
        Ok(())
    });
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
            Cursor::Arrival { log: 7, position: u64::MAX, skip: 0 },
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

#[test]
fn a_search_for_the_last_events_of_one_origin_ends_at_its_bound_of_rows() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { start_rows_max: 10, ..Config::default() };
    let log = DiskLog::open(folder.path(), &config, 7).unwrap();
    let (mut rare, mut busy) = (Publisher::new(1, 1, place(0)), Publisher::new(2, 1, place(0)));
    let mut group = vec![rare.batch(&[1])];
    group.extend((2..10).map(|n| busy.batch(&[n])));
    log.append(&group).unwrap();
    let filter = ReadFilter { origin: Some(rare.key().origin), ..ReadFilter::ALL };
    let found =
        || matches!(log.start(place(0), ReadStart::Last(1), &filter).unwrap(), Cursor::History { .. });
    assert!(found(), "it is the ninth from the end");
    log.append(&[busy.batch(&[10])]).unwrap();
    assert!(found(), "it is the tenth");
    log.append(&[busy.batch(&[11])]).unwrap();
    assert!(!found(), "it is the eleventh");
    let all = log.start(place(0), ReadStart::Last(1_000), &ReadFilter::ALL).unwrap();
    let page = log.page(place(0), all, &ReadFilter::ALL, 100, usize::MAX).unwrap();
    assert_eq!(page.batches.len(), 10);
}
