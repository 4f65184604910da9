//! History that is filled up: batches that other brokers have had before this one.

use crate::{
    Subject,
    batches::{Publisher, past, place},
    restart::BEGIN,
    subjects,
};
use mainstem_model::{BatchId, Cursor, ReadFilter, ReadStart, SeriesHead};
use mainstem_store::{Append, NO_POSITION, SeriesStart};

const ALL: ReadFilter = ReadFilter::ALL;

fn ids<'a>(appends: impl IntoIterator<Item = &'a Append>) -> Vec<BatchId> {
    appends.into_iter().map(|append| append.batch.id()).collect()
}

/// What is read from `cursor` on, in pages of two.
fn read(subject: &Subject, mut cursor: Cursor) -> Vec<BatchId> {
    let mut got = Vec::new();
    loop {
        let page = subject.log.page(place(0), cursor, &ALL, 2, usize::MAX).unwrap();
        assert_eq!(page.damaged, []);
        got.extend(page.batches.iter().map(|batch| batch.id));
        if page.at_end {
            return got;
        }
        cursor = Cursor::decode(&page.next.encode()).unwrap();
    }
}

/// Ten batches of one series: six came live, from the fifth on; two are from before, and two are missing.
fn filled(subject: &Subject) -> (Publisher, Vec<Append>) {
    let mut publisher = Publisher::new(1, 1, place(0));
    let batches: Vec<_> = (0..10).map(|n| publisher.batch(&[n * 10, n * 10 + 1])).collect();
    subject.log.append(&batches[4..]).unwrap();
    let head = subject.log.series_head(&publisher.key()).unwrap();
    let positions = subject.log.append(&[past(&batches[3]), past(&batches[2])]).unwrap();
    assert_eq!(positions, [NO_POSITION; 2], "{}", subject.name);
    assert_eq!(subject.log.series_head(&publisher.key()).unwrap(), head, "{}: the head moved", subject.name);
    (publisher, batches)
}

fn assert_filled(subject: &Subject, publisher: &Publisher, batches: &[Append]) {
    let name = subject.name;
    let start = subject.log.start(place(0), ReadStart::From, &ALL).unwrap();
    assert_eq!(read(subject, start), ids(&batches[2..]), "{name}");
    assert_eq!(read(subject, BEGIN), ids(&batches[4..]), "{name}: a reader of arrivals was given the past");
    let last = subject.log.start(place(0), ReadStart::Last(15), &ALL).unwrap();
    assert_eq!(read(subject, last), ids(&batches[2..]), "{name}");
    for (sequence, expected) in [(3, None), (4, Some(2)), (7, Some(3)), (8, Some(4)), (19, Some(9))] {
        let found = subject.log.batch_at(&publisher.key(), sequence).unwrap();
        let expected: Option<usize> = expected;
        assert_eq!(
            found.as_ref().map(|b| b.id),
            expected.map(|n| batches[n].batch.id()),
            "{name} {sequence}"
        );
        if let Some(found) = found {
            assert_eq!(found.position == NO_POSITION, sequence < 8, "{name} {sequence}");
            let page = subject.log.page(place(0), found.cursor, &ALL, 1, 1).unwrap();
            assert_eq!(page.batches[0].bytes, found.bytes, "{name}: its cursor leads elsewhere");
        }
    }
    let stats = subject.log.stats(place(0)).unwrap();
    let bytes = batches[2..].iter().map(|a| a.batch.bytes().len() as u64).sum::<u64>();
    assert_eq!((stats.batches, stats.events, stats.bytes), (8, 16, bytes), "{name}");
    assert_eq!((stats.first_timestamp, stats.last_timestamp), (Some(20), Some(90)), "{name}");
    let verified = subject.log.verify(&mut |_| {}).unwrap();
    assert_eq!((verified.batches, verified.bytes), (8, bytes), "{name}");
    assert_eq!((verified.damaged, verified.faults), (Vec::new(), Vec::new()), "{name}");
}

#[test]
fn what_fills_up_history_is_found_in_its_place_and_never_arrives() {
    for subject in subjects() {
        let (publisher, batches) = filled(&subject);
        assert_eq!(subject.log.end(place(0)).unwrap(), 6, "{}", subject.name);
        assert_filled(&subject, &publisher, &batches);
        if subject.name == "disk" {
            assert_filled(&subject.reopen(), &publisher, &batches);
        }
    }
}

#[test]
fn filling_up_what_is_there_already_changes_nothing_however_often_and_whoever_brought_it() {
    for subject in subjects() {
        let (publisher, batches) = filled(&subject);
        let again: Vec<_> = batches[2..].iter().chain(&batches[3..4]).map(past).collect();
        let check = |subject: &Subject| {
            assert_eq!(subject.log.append(&again).unwrap(), [NO_POSITION; 9], "{}", subject.name);
            assert_filled(subject, &publisher, &batches);
        };
        check(&subject);
        if subject.name == "disk" {
            check(&subject.reopen());
        }
    }
}

#[test]
fn a_batch_that_one_group_holds_live_and_as_past_is_kept_once() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        let (first, second) = (publisher.batch(&[1]), publisher.batch(&[2]));
        let group = [first.clone(), past(&first), past(&second), past(&second)];
        assert_eq!(subject.log.append(&group).unwrap(), [0, NO_POSITION, NO_POSITION, NO_POSITION]);
        assert_eq!(subject.log.stats(place(0)).unwrap().batches, 2, "{}", subject.name);
        assert_eq!(read(&subject, BEGIN), ids([&first]), "{}", subject.name);
    }
}

#[test]
fn another_batch_for_a_place_that_is_taken_is_not_kept() {
    for subject in subjects() {
        let (mut honest, mut double) = (Publisher::new(1, 1, place(0)), Publisher::new(1, 1, place(0)));
        let kept = honest.batch(&[1, 2, 3]);
        let head = SeriesHead::after(&kept.batch);
        subject.log.append(std::slice::from_ref(&kept)).unwrap();
        // The second one begins in the middle of what is kept.
        subject.log.append(&[past(&double.batch(&[1])), past(&double.batch(&[2; 9]))]).unwrap();
        let start = subject.log.start(place(0), ReadStart::From, &ALL).unwrap();
        assert_eq!(read(&subject, start), ids([&kept]), "{}", subject.name);
        assert_eq!(subject.log.series_head(&honest.key()).unwrap(), Some(head), "{}", subject.name);
    }
}

#[test]
fn the_head_moves_with_the_past_when_that_is_ahead_of_it_and_never_back() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        let batches: Vec<_> = (0..6).map(|n| publisher.batch(&[n])).collect();
        let head = || subject.log.series_head(&publisher.key()).unwrap();
        // In no order, each time alone; and as one group in the wrong order.
        for (group, expected) in [(vec![2], 2), (vec![1], 2), (vec![4, 3], 4), (vec![0], 4), (vec![5, 5], 5)]
        {
            let group: Vec<_> = group.into_iter().map(|n: usize| past(&batches[n])).collect();
            subject.log.append(&group).unwrap();
            let expected = SeriesHead::after(&batches[expected].batch);
            assert_eq!(head(), Some(expected), "{}", subject.name);
        }
        assert_eq!(read(&subject, BEGIN), [], "{}", subject.name);
        // What comes live next has the first position.
        let next = publisher.batch(&[9]);
        assert_eq!(subject.log.append(std::slice::from_ref(&next)).unwrap(), [0], "{}", subject.name);
        assert_eq!(read(&subject, BEGIN), ids([&next]), "{}", subject.name);
        assert_eq!(subject.log.partitions().unwrap(), [place(0)], "{}", subject.name);
    }
}

#[test]
fn a_reader_in_the_midst_of_history_sees_what_is_filled_up_ahead_of_it_once() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        let batches: Vec<_> = (0..8).map(|n| publisher.batch(&[n])).collect();
        subject.log.append(&[batches[0].clone(), batches[2].clone(), batches[4].clone()]).unwrap();
        let start = subject.log.start(place(0), ReadStart::From, &ALL).unwrap();
        let page = subject.log.page(place(0), start, &ALL, 2, usize::MAX).unwrap();
        assert_eq!(page.batches.iter().map(|b| b.id).collect::<Vec<_>>(), ids([&batches[0], &batches[2]]));
        // Two where the reader has passed, two ahead of it, and one that arrives.
        let mut group: Vec<_> = [1, 3, 5, 6].map(|n: usize| past(&batches[n])).into();
        group.push(batches[7].clone());
        subject.log.append(&group).unwrap();
        assert_eq!(read(&subject, page.next), ids(&batches[4..]), "{}", subject.name);
        // Who begins anew with a cursor from before them sees them all.
        assert_eq!(read(&subject, start), ids(&batches), "{}", subject.name);
    }
}

#[test]
fn what_fills_up_history_is_trimmed_by_its_age_and_stays_gone() {
    for subject in subjects() {
        let (publisher, batches) = filled(&subject);
        let trimmed = subject.log.trim(place(0), None, 45, 100).unwrap();
        assert_eq!((trimmed.batches, trimmed.next), (3, None), "{}", subject.name);
        let check = |subject: &Subject| {
            let name = subject.name;
            let start = subject.log.start(place(0), ReadStart::From, &ALL).unwrap();
            assert_eq!(read(subject, start), ids(&batches[5..]), "{name}");
            assert_eq!(read(subject, BEGIN), ids(&batches[5..]), "{name}");
            assert_eq!(subject.log.batch_at(&publisher.key(), 4).unwrap(), None, "{name}");
            let run = subject.log.series_range(&publisher.key(), SeriesStart::Sequence(0), 99, 9, 9).unwrap();
            assert_eq!(run.base, 10, "{name}: a row of what was trimmed is left");
            assert_eq!(subject.log.stats(place(0)).unwrap().batches, 5, "{name}");
            let verified = subject.log.verify(&mut |_| {}).unwrap();
            assert_eq!((verified.batches, verified.faults), (5, Vec::new()), "{name}");
        };
        check(&subject);
        let subject = if subject.name == "disk" { subject.reopen() } else { subject };
        check(&subject);
        // It may be brought again.
        subject.log.append(&batches[2..5].iter().map(past).collect::<Vec<_>>()).unwrap();
        assert_eq!(subject.log.stats(place(0)).unwrap().batches, 8, "{}", subject.name);
    }
}
