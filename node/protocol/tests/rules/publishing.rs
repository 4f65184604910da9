use crate::desk::{
    Desk, NETWORK, SESSION, START_MS, STREAM, acked_duplicate, appended, at, broker, peer, refused, series,
    tell,
};
use mainstem_crypto::SecretKey;
use mainstem_model::{Code, Delegation, Refusal, SeriesHead, SeriesId, SeriesKey, SeriesWriter, Signer};
use mainstem_protocol::{Config, InEvent, OutEvent, PeerMessage, SessionId};

const DAY_MS: i64 = 24 * 3_600_000;

#[test]
fn a_stored_batch_that_is_sent_again_after_a_day_is_acked_as_a_duplicate() {
    let mut desk = Desk::new(Config::default());
    let mut writer = series(1);
    let batch = desk.seal(&mut writer, "stored, its ack lost");
    let write = appended(&desk.begin(SESSION, &batch));
    desk.handle(InEvent::SessionClosed { session: SESSION });
    desk.handle(InEvent::Stored { writes: vec![(write, 0)] });
    desk.now += DAY_MS;
    desk.open(SessionId(2));
    let out = desk.publish(SessionId(2), &batch);
    assert!(acked_duplicate(&out), "{out:?}");

    // The next one of the same age was never here, and is too old to be taken in.
    desk.now = START_MS;
    let next = desk.seal(&mut writer, "never sent");
    desk.now += DAY_MS;
    assert_eq!(refused(&desk.publish(SessionId(2), &next)), Some(Code::InvalidTimestamp));
}

#[test]
fn a_stored_batch_is_acked_after_a_restart_although_its_delegation_has_expired() {
    let (wallet, session_key) =
        (SecretKey::from_bytes(&[4; 32]).unwrap(), SecretKey::from_bytes(&[5; 32]).unwrap());
    let expiry = START_MS as u64 / 1000 + 60;
    let delegation =
        Delegation::sign(&NETWORK, &wallet, session_key.address(), vec![STREAM], expiry).unwrap();
    let signer = Signer::session(&NETWORK, session_key, &delegation).unwrap();
    let mut writer = SeriesWriter::new(NETWORK, at(STREAM), signer, SeriesId(1));

    let mut desk = Desk::new(Config::default());
    let batch = desk.seal(&mut writer, "stored before the restart");
    let next = desk.seal(&mut writer, "never sent");
    desk.now += 120_000;
    let out = desk.publish(SESSION, &batch);
    assert!(matches!(out[..], [OutEvent::ReadHead { .. }]), "{out:?}");
    let key = SeriesKey::of(batch.header());
    let head = SeriesHead::after(&batch);
    let out = desk.handle(InEvent::HeadRead { series: key, result: Ok(Some(head)) });
    let [OutEvent::ReadBatch { read, .. }] = out[..] else { panic!("{out:?}") };
    let out = desk.handle(InEvent::BatchRead { read, result: Ok(Some(batch.bytes().clone())) });
    assert!(acked_duplicate(&out), "{out:?}");
    assert_eq!(refused(&desk.publish(SESSION, &next)), Some(Code::InvalidDelegation));
}

#[test]
fn every_batch_on_its_way_to_the_journal_is_known_when_it_is_sent_again() {
    let mut desk = Desk::new(Config::default());
    let mut writer = series(1);
    let batches: Vec<_> = (0..200).map(|n| desk.seal(&mut writer, &format!("batch {n}"))).collect();
    let mut writes = vec![appended(&desk.begin(SESSION, &batches[0]))];
    for batch in &batches[1..] {
        writes.push(appended(&desk.publish(SESSION, batch)));
    }
    desk.handle(InEvent::SessionClosed { session: SESSION });
    desk.open(SessionId(2));
    for batch in &batches {
        assert_eq!(desk.publish(SessionId(2), batch).len(), 0, "it waits with the first one, no read");
    }
    let writes = writes.into_iter().zip(0..).collect();
    let out = desk.handle(InEvent::Stored { writes });
    assert_eq!(out.iter().filter(|output| acked_duplicate(std::slice::from_ref(output))).count(), 200);
}

#[test]
fn an_equivocation_fills_the_window_until_its_proof_is_kept() {
    let mut desk = Desk::new(Config { publish_window_bytes: 1, ..Config::default() });
    let fork = |desk: &mut Desk, number| {
        let first = desk.seal(&mut series(number), "one");
        let second = desk.seal(&mut series(number), "another");
        let write = appended(&desk.begin(SESSION, &first));
        desk.handle(InEvent::Stored { writes: vec![(write, number)] });
        let out = desk.publish(SESSION, &second);
        let [OutEvent::ReadBatch { read, .. }] = out[..] else { panic!("{out:?}") };
        desk.handle(InEvent::BatchRead { read, result: Ok(Some(first.bytes().clone())) })
    };
    let out = fork(&mut desk, 1);
    let [OutEvent::Freeze { write, bytes_max: 16_777_216, .. }] = out[..] else { panic!("{out:?}") };
    assert!(desk.node.counters().write_queue_bytes > 0);
    let batch = desk.seal(&mut series(2), "the next");
    assert_eq!(refused(&desk.publish(SESSION, &batch)), Some(Code::Overloaded));

    let out = desk.handle(InEvent::Frozen { write, result: Ok(()) });
    assert_eq!(refused(&out), Some(Code::Equivocation));
    assert_eq!(desk.node.counters().write_queue_bytes, 0);
    let batch = desk.seal(&mut series(1), "of the frozen series");
    assert_eq!(refused(&desk.publish(SESSION, &batch)), Some(Code::SeriesFrozen));
}

/// The store does not know yet of a proof that is on its way to it, when the series has been forgotten here and is read again.
#[test]
fn a_series_takes_no_more_while_the_proof_against_it_is_on_its_way() {
    let mut desk = Desk::new(Config { series_cache_max: 2, ..Config::default() });
    let mut writer = series(1);
    let first = desk.seal(&mut writer, "one");
    let second = desk.seal(&mut series(1), "another");
    let write = appended(&desk.begin(SESSION, &first));
    desk.handle(InEvent::Stored { writes: vec![(write, 0)] });
    let out = desk.publish(SESSION, &second);
    let [OutEvent::ReadBatch { read, .. }] = out[..] else { panic!("{out:?}") };
    let out = desk.handle(InEvent::BatchRead { read, result: Ok(Some(first.bytes().clone())) });
    assert!(matches!(out[..], [OutEvent::Freeze { .. }]), "{out:?}");
    for number in 2..4 {
        let other = desk.seal(&mut series(number), "of others");
        desk.begin(SESSION, &other);
    }

    let next = desk.seal(&mut writer, "the next");
    let out = desk.publish(SESSION, &next);
    let [OutEvent::ReadHead { series }] = out[..] else { panic!("{out:?}") };
    let head = SeriesHead::after(&first);
    let out = desk.handle(InEvent::HeadRead { series, result: Ok(Some(head)) });
    assert_eq!(refused(&out), Some(Code::SeriesFrozen), "{out:?}");
}

/// Without it the publisher would send what nobody will ever keep for as long as an owner says nothing.
#[test]
fn who_publishes_hears_why_most_owners_will_not_have_a_batch_although_one_is_silent() {
    let owners = [peer(1), peer(2), peer(3)];
    for (codes, at_once, in_the_end) in [
        ([Code::SeriesFrozen, Code::SeriesFrozen], true, Code::SeriesFrozen),
        ([Code::SeriesGap, Code::SeriesFrozen], false, Code::SeriesGap),
        ([Code::SeriesGap, Code::SeriesGap], false, Code::SeriesGap),
        ([Code::SeriesFrozen, Code::Overloaded], false, Code::TooFewCopies),
        // Of the batch, and not of what is kept: the third may have taken it.
        ([Code::InvalidTimestamp, Code::InvalidTimestamp], false, Code::TooFewCopies),
    ] {
        let config = Config::default();
        let wait_ms = config.copies_wait_ms;
        let mut desk = broker(config, &owners);
        for owner in owners {
            desk.handle(InEvent::PeerUp { peer: owner });
        }
        let batch = desk.seal(&mut series(1), "two of three will not have it");
        desk.publish(SESSION, &batch);
        let refuse = |code| PeerMessage::NotHeld {
            series: SeriesKey::of(batch.header()),
            batch: batch.id(),
            refusal: Refusal::new(code, "not here"),
        };
        assert_eq!(refused(&tell(&mut desk, owners[0], refuse(codes[0]))), None, "others may have it");
        let told = refused(&tell(&mut desk, owners[1], refuse(codes[1])));
        assert_eq!(told, at_once.then_some(in_the_end), "{codes:?}");
        if !at_once {
            // It goes, and sends it again: that does not put the answer off.
            desk.now += wait_ms - 1;
            desk.handle(InEvent::SessionClosed { session: SESSION });
            desk.open(SessionId(2));
            assert_eq!(refused(&desk.publish(SessionId(2), &batch)), None);
            assert_eq!(refused(&desk.handle(InEvent::Tick)), None, "it may still come");
            desk.now += 1;
            assert_eq!(refused(&desk.handle(InEvent::Tick)), Some(in_the_end), "{codes:?}");
        }
    }
}
