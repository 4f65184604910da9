use crate::{
    brokers::{Brokers, DEADLINE, await_until, sees},
    load::{Mark, Publishers, Subscriber},
    process::{OWNER, now_ms, public_stream},
    reader::history,
    strike::{Kind, Strikes},
    tally::{check_history, check_lost},
};
use futures_util::future::join_all;
use mainstem_client::{Client, ResendRange};
use mainstem_model::StreamPartition;
use mainstem_store::{DiskLog, EventLog};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

const BROKERS: u16 = 5;
/// Nobody is given other shards while the test runs its usual length: that has tests of its own.
const EPOCH_SECONDS: u32 = 20;
/// How soon all are to have the same, once nothing befalls them.
const EQUAL: Duration = Duration::from_secs(10);

/// Check C2 of the third issue: `ROUNDS=100` runs them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_brokers_have_made_durable_is_neither_lost_nor_doubled_nor_reordered_whatever_befalls_one() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("ROUNDS", 3), number("SEED", 1));
    println!("SEED={seed} ROUNDS={rounds}");
    let epoch_seconds = number("EPOCH_SECONDS", EPOCH_SECONDS.into());
    let mut brokers = Brokers::start(BROKERS, epoch_seconds as u32);
    let mut strikes = Strikes::new(seed);
    let at = public_stream(&brokers.dev.client(OWNER).await).await;
    let mut clients = BTreeMap::new();
    for number in brokers.numbers() {
        let client = brokers.client(number).await;
        sees(&client, at).await;
        clients.insert(number, client);
    }
    println!("kept by brokers {:?}", brokers.owners(at).await);
    let mut subscribers = BTreeMap::new();
    for (number, client) in &clients {
        subscribers.insert(*number, Subscriber::start(client.clone(), at).await);
    }
    let publishers = Publishers::start(clients.clone(), at);
    await_until("acks of every publisher", || {
        let sent = publishers.sent();
        let who: BTreeSet<u16> = sent.acked.keys().map(|mark| mark.publisher).collect();
        who.len() == clients.len()
    })
    .await;

    let (mut slowest, mut widest, mut struck) = (Duration::ZERO, Duration::ZERO, None);
    for round in 0..rounds {
        subscribers.iter().for_each(|(number, subscriber)| subscriber.got().begin(*number, struck));
        let (strike, since_ms) = (strikes.next(BROKERS), now_ms());
        let over = strikes.perform(strike, &mut brokers).await;
        let up = over.elapsed();
        // What was acked before is looked at again at the end.
        let due: BTreeMap<Mark, i64> = {
            let sent = publishers.sent();
            sent.acked.iter().filter(|(_, ms)| **ms >= since_ms).map(|(mark, ms)| (*mark, *ms)).collect()
        };
        let when = format!("SEED={seed} round {round} {strike:?}");
        let all = clients.iter().map(|(number, client)| {
            let done = has_all(&brokers, *number, client, at, &due, &when);
            async move {
                done.await;
                over.elapsed()
            }
        });
        let times = join_all(all).await;
        let equal = times.iter().copied().max().unwrap_or_default();
        // One that is paused, killed or cut off from those who keep the partition cannot hear.
        let others = subscribers.iter().filter(|(number, _)| **number != strike.broker);
        let gaps = others.map(|(number, subscriber)| (subscriber.got().widest(strike.broker), *number));
        let ((gap, publisher), at_broker) = gaps.max().unwrap_or_default();
        let (there, _) = subscribers[&strike.broker].got().widest(strike.broker);
        assert!(
            strike.kind == Kind::Kill || there >= strike.length / 2,
            "{when}: it heard others all the time"
        );
        (slowest, widest, struck) = (slowest.max(equal), widest.max(gap), Some((strike.broker, over)));
        println!(
            "round {round}: {strike}: {} acked in it; up after {up:?}, equal after {times:?}, longest silence there {there:?}, elsewhere {gap:?}, of {publisher} at {at_broker}",
            due.len(),
        );
    }

    let sent = publishers.stop().await;
    for refused in sent.refused.iter().take(5) {
        println!("refused: {refused}");
    }
    let begun = Instant::now();
    for (number, subscriber) in &subscribers {
        let whose = format!("SEED={seed} subscriber of broker {number}");
        while !sent.acked.keys().all(|mark| subscriber.got().marks.contains(mark)) {
            if begun.elapsed() > DEADLINE {
                println!("{whose} was told {:?}", subscriber.got().told);
                check_lost(&sent.acked, &subscriber.got().marks, &whose);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        subscriber.got().check(&whose);
        let told = subscriber.got().told.clone();
        if !told.is_empty() {
            println!("{whose} was told {told:?}");
        }
    }
    let begun = Instant::now();
    let whole = loop {
        let mut histories = BTreeMap::new();
        for (number, client) in &clients {
            let whose = format!("SEED={seed} history at broker {number}");
            let read = history(client, at, ResendRange::From(0)).await.unwrap();
            check_history(&read, &whose);
            check_lost(&sent.acked, &read.iter().copied().collect(), &whose);
            histories.insert(*number, read);
        }
        // What was refused and kept all the same may be on its way.
        let other = histories.iter().find(|(_, read)| **read != histories[&1]);
        let Some((number, read)) = other else { break histories.remove(&1).unwrap() };
        let events = histories[&1].len();
        println!("{} events at broker {number}, {events} at 1, after {:?}", read.len(), begun.elapsed());
        assert!(begun.elapsed() < EQUAL, "SEED={seed}: histories differ for too long");
    };
    println!(
        "{} events acked, {} refused, {} in history: 0 lost, 0 doubled, 0 reordered; slowest ack {:?}; slowest to be equal {slowest:?}, longest silence {widest:?}",
        sent.acked.len(),
        sent.refused.len(),
        whole.len(),
        sent.slowest_ack,
    );
    let owners = brokers.owners(at).await;
    brokers.kill_all();
    for number in owners {
        check_store(&brokers, number, at, whole.len() as u64, seed);
    }
}

/// Waits until a broker's history has all of `due`, and it says that it is ready.
pub(crate) async fn has_all(
    brokers: &Brokers,
    number: u16,
    client: &Client,
    at: StreamPartition,
    due: &BTreeMap<Mark, i64>,
    when: &str,
) {
    let begun = Instant::now();
    let Some(from) = due.values().min() else { return };
    let mut why = String::new();
    while begun.elapsed() < DEADLINE {
        let reading = history(client, at, ResendRange::From(*from));
        match tokio::time::timeout(Duration::from_secs(20), reading).await {
            Ok(Ok(read)) => {
                let there: BTreeSet<Mark> = read.iter().copied().collect();
                let missing = due.keys().filter(|mark| !there.contains(mark)).count();
                let ready = brokers.figure(number, "mainstem_broker_ready").await;
                if missing == 0 && ready == Some(1) {
                    return;
                }
                why = format!("{missing} of {} are missing, ready: {ready:?}", due.len());
            }
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "no answer in time".into(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{when}: broker {number} does not have all: {why}");
}

/// Panics if a broker's own store, whose process has ended, does not have just so many events of a partition.
pub(crate) fn check_store(brokers: &Brokers, number: u16, at: StreamPartition, events: u64, seed: u64) {
    let store = brokers.folder(number).join("store");
    let log = DiskLog::open(&store, &mainstem_store::Config::default(), 0).unwrap();
    let kept = log.stats(at).unwrap();
    assert_eq!(kept.events, events, "SEED={seed}: broker {number} itself keeps {kept:?}");
}
