use crate::{
    batches::{Publisher, place, verified},
    subjects,
};
use mainstem_model::{Cursor, Equivocation, ReadFilter, ReadStart, SeriesHead};
use mainstem_store::{Append, Completion, NO_POSITION, Write, Writer, WriterConfig};
use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

#[test]
fn a_series_head_moves_with_each_batch_and_a_batch_is_found_by_any_of_its_events() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        assert_eq!(subject.log.series_head(&publisher.key()).unwrap(), None);
        let (first, second) = (publisher.batch(&[10, 11, 12]), publisher.batch(&[13]));
        assert_eq!(subject.log.append(&[first.clone(), second.clone()]).unwrap(), [0, 1], "{}", subject.name);
        let head = subject.log.series_head(&publisher.key()).unwrap().unwrap();
        assert_eq!(
            head,
            SeriesHead { next_sequence: 4, last: second.batch.id(), timestamp: 13, frozen: false }
        );
        for (sequence, expected) in [(0, Some(&first)), (2, Some(&first)), (3, Some(&second)), (4, None)] {
            let found = subject.log.batch_at(&publisher.key(), sequence).unwrap();
            assert_eq!(found.map(|b| b.bytes), expected.map(|b| b.batch.bytes().clone()), "{sequence}");
        }
    }
}

#[test]
fn partitions_number_their_batches_apart_and_are_listed() {
    for subject in subjects() {
        let (mut a, mut b) = (Publisher::new(1, 1, place(0)), Publisher::new(1, 2, place(1)));
        let group = [a.batch(&[1]), b.batch(&[2]), a.batch(&[3])];
        assert_eq!(subject.log.append(&group).unwrap(), [0, 0, 1]);
        assert_eq!(subject.log.partitions().unwrap(), [place(0), place(1)]);
        let stats = subject.log.stats(place(0)).unwrap();
        assert_eq!((stats.end, stats.first_timestamp, stats.last_timestamp), (2, Some(1), Some(3)));
    }
}

#[test]
fn a_frozen_series_says_so_and_its_proof_is_kept() {
    for subject in subjects() {
        let (mut honest, mut double) = (Publisher::new(1, 1, place(0)), Publisher::new(1, 1, place(0)));
        let (first, second) = (honest.batch(&[1]), double.batch(&[2]));
        subject.log.append(std::slice::from_ref(&first)).unwrap();
        let proof = Equivocation {
            first: mainstem_model::Batch::clone(verified(&first)),
            second: mainstem_model::Batch::clone(verified(&second)),
        };
        subject.log.freeze(&proof, 1).unwrap();
        assert!(subject.log.series_head(&honest.key()).unwrap().unwrap().frozen, "{}", subject.name);
        let kept = subject.log.equivocation(&honest.key()).unwrap();
        assert_eq!(kept, Some((first.batch.bytes().clone(), second.batch.bytes().clone())));
        // Not even a batch that was on its way thaws it.
        subject.log.append(&[honest.batch(&[3])]).unwrap();
        assert!(subject.log.series_head(&honest.key()).unwrap().unwrap().frozen, "{}", subject.name);
    }
}

#[test]
fn no_more_bytes_of_proofs_of_one_origin_are_kept_than_asked_for() {
    for subject in subjects() {
        let proof = |publisher: u8, series: u64| {
            let batch = |time| {
                let append = Publisher::new(publisher, series, place(0)).batch(&[time]);
                mainstem_model::Batch::clone(verified(&append))
            };
            Equivocation { first: batch(1), second: batch(2) }
        };
        let kept = || {
            let of = |publisher, series| {
                let series = proof(publisher, series).series();
                assert!(subject.log.series_head(&series).unwrap().unwrap().frozen, "{}", subject.name);
                subject.log.equivocation(&series).unwrap().is_some()
            };
            [of(1, 1), of(1, 2), of(1, 3), of(2, 3)]
        };
        let both = proof(1, 1);
        let bytes_max = 2 * (both.first.bytes().len() + both.second.bytes().len());
        for (publisher, series) in [(1, 1), (1, 2), (2, 3), (1, 2)] {
            subject.log.freeze(&proof(publisher, series), bytes_max).unwrap();
        }
        subject.log.freeze(&proof(1, 3), bytes_max).unwrap();
        for (publisher, series) in [(1, 3), (1, 2)] {
            subject.log.freeze(&proof(publisher, series), 1).unwrap();
        }
        // The newest stays, and another origin has proofs of its own.
        assert_eq!(kept(), [false, true, true, true], "{}", subject.name);
        subject.log.freeze(&proof(1, 1), bytes_max).unwrap();
        assert_eq!(kept(), [false, true, true, true], "a frozen series is not thawed to be frozen again");
    }
}

#[test]
fn trimming_takes_what_is_older_n_at_a_time_and_keeps_positions_and_heads() {
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        let group: Vec<Append> = (0..10).map(|n| publisher.batch(&[n * 10])).collect();
        subject.log.append(&group).unwrap();
        let first = subject.log.trim(place(0), None, 50, 3).unwrap();
        assert_eq!((first.batches, first.next.is_some()), (3, true), "{}", subject.name);
        let second = subject.log.trim(place(0), first.next, 50, 3).unwrap();
        assert_eq!((second.batches, second.next), (2, None));
        let begin = Cursor::Arrival { log: 7, position: 0, skip: 0 };
        let page = subject.log.page(place(0), begin, &ReadFilter::ALL, 100, usize::MAX).unwrap();
        assert_eq!(page.batches.iter().map(|b| b.position).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        assert!(page.at_end);
        assert_eq!(subject.log.series_head(&publisher.key()).unwrap().unwrap().next_sequence, 10);
        assert_eq!(subject.log.append(&[publisher.batch(&[100])]).unwrap(), [10]);
        let from = ReadFilter { from: 0, ..ReadFilter::ALL };
        let start = subject.log.start(place(0), ReadStart::From, &from).unwrap();
        assert_eq!(subject.log.page(place(0), start, &from, 100, usize::MAX).unwrap().batches.len(), 6);
    }
}

#[test]
fn trimming_comes_to_its_end_past_any_number_of_batches_that_must_stay() {
    for subject in subjects() {
        let (mut long, mut short) = (Publisher::new(1, 1, place(0)), Publisher::new(1, 2, place(0)));
        // They begin before the time and end after it.
        let mut group: Vec<Append> = (0..2_500).map(|n| long.batch(&[n, 9_000])).collect();
        group.extend([short.batch(&[3_000]), short.batch(&[9_000])]);
        subject.log.append(&group).unwrap();
        let (mut next, mut batches, mut calls) = (None, 0, 0);
        loop {
            let trimmed = subject.log.trim(place(0), next, 5_000, 10).unwrap();
            batches += trimmed.batches;
            calls += 1;
            assert!(calls < 10, "{}: it goes round in circles", subject.name);
            next = trimmed.next;
            if next.is_none() {
                break;
            }
        }
        assert_eq!((batches, subject.log.stats(place(0)).unwrap().batches), (1, 2_501), "{}", subject.name);
    }
}

/// A write reaches readers row by row.
#[test]
fn a_batch_is_whole_or_gone_for_a_reader_while_it_is_trimmed() {
    const BATCHES: u64 = 200;
    for subject in subjects() {
        let mut publisher = Publisher::new(1, 1, place(0));
        // Every other one fills up history: another row tells of those that they were trimmed.
        let batch = |n| {
            let append = publisher.batch(&[i64::try_from(n).unwrap()]);
            Append { past: n % 2 == 1, ..append }
        };
        let group: Vec<Append> = (0..BATCHES).map(batch).collect();
        subject.log.append(&group).unwrap();
        let (series, turn) = (publisher.key(), AtomicU64::new(0));
        let damage = thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..BATCHES {
                    while turn.load(Ordering::Acquire) < n {
                        thread::yield_now();
                    }
                    subject.log.trim(place(0), None, i64::MAX, 1).unwrap();
                }
            });
            let mut found = (0..BATCHES).map(|n| {
                turn.store(n, Ordering::Release);
                loop {
                    match subject.log.batch_at(&series, n) {
                        Ok(Some(_)) => {}
                        Ok(None) => return None,
                        Err(error) => return Some(error),
                    }
                }
            });
            let damage = found.find_map(|error| error);
            turn.store(BATCHES, Ordering::Release);
            damage
        });
        assert!(damage.is_none(), "{}: {damage:?}", subject.name);
        assert_eq!(subject.log.stats(place(0)).unwrap().batches, 0);
    }
}

#[test]
fn the_writer_reports_stored_in_order_and_durable_after_it() {
    for subject in subjects() {
        let (told, reports) = mpsc::channel();
        let writer =
            Writer::spawn(subject.log.clone(), WriterConfig::default(), move |done| drop(told.send(done)))
                .unwrap();
        let mut publisher = Publisher::new(1, 1, place(0));
        for token in 0..50 {
            let Append { batch, received_at, past } = publisher.batch(&[i64::try_from(token).unwrap()]);
            writer.submit(Write { token, batch, received_at, durable: token % 10 == 9, past });
        }
        let Append { batch, received_at, .. } = publisher.batch(&[50]);
        writer.submit(Write { token: 50, batch, received_at, durable: false, past: true });
        writer.sync(1000);
        drop(writer);
        let (mut stored, mut durable) = (Vec::new(), Vec::new());
        for report in reports {
            match report {
                Completion::Stored(writes) => stored.extend(writes),
                Completion::Durable(tokens) => {
                    assert!(tokens.iter().all(|t| *t == 1000 || stored.iter().any(|(s, _)| s == t)));
                    durable.extend(tokens);
                }
                Completion::Failed { error, .. } => panic!("{error}"),
            }
        }
        let positions = (0..50).map(|n| (n, n)).chain([(50, NO_POSITION)]);
        assert_eq!(stored, positions.collect::<Vec<_>>(), "{}", subject.name);
        assert_eq!(durable, [9, 19, 29, 39, 49, 1000]);
    }
}
