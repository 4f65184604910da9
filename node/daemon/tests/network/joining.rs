use crate::{
    brokers::{Brokers, DEADLINE, await_until, sees},
    load::{Mark, Publishers, Subscriber},
    process::{OWNER, public_stream},
    reader::history,
    tally::{check_history, check_lost},
};
use mainstem_chain::{Call, Rpc, RpcConfig, Wallet, WalletConfig};
use mainstem_client::{Client, ResendRange, SubscribeOptions};
use mainstem_crypto::SecretKey;
use mainstem_model::StreamPartition;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Events of the ordered test.
const EVENTS: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_at_one_broker_comes_at_every_other_once_and_in_order_and_stays_there() {
    let brokers = Brokers::start(5, 20);
    let at = public_stream(&brokers.dev.client(OWNER).await).await;
    let (mut clients, mut subscribers) = (Vec::new(), Vec::new());
    for number in brokers.numbers() {
        let client = brokers.client(number).await;
        sees(&client, at).await;
        subscribers.push(Subscriber::start(client.clone(), at).await);
        clients.push(client);
    }
    println!("kept by brokers {:?}", brokers.owners(at).await);
    let publisher = clients[0].publisher(at).unwrap();
    let marks: Vec<Mark> = (0..EVENTS).map(|number| Mark { publisher: 1, number }).collect();
    let middle = marks.len() / 2;
    let mut since_ms = 0;
    for (place, mark) in marks.iter().enumerate() {
        let event = mark.event();
        if place == middle {
            // Times are in milliseconds: what is asked for from here on begins with this one.
            publisher.flush().await.unwrap();
            since_ms = event.timestamp + 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            publisher.publish(mark.event()).await.unwrap();
        } else {
            publisher.publish(event).await.unwrap();
        }
    }
    publisher.flush().await.unwrap();
    for (place, subscriber) in subscribers.iter().enumerate() {
        let whose = format!("subscriber of broker {}", place + 1);
        await_until(&whose, || subscriber.got().marks.len() == marks.len()).await;
        subscriber.got().check(&whose);
        assert!(subscriber.got().told.is_empty(), "{whose} was told {:?}", subscriber.got().told);
    }
    for (place, client) in clients.iter().enumerate() {
        let whose = format!("history at broker {}", place + 1);
        assert_eq!(history(client, at, ResendRange::From(0)).await.unwrap(), marks, "{whose}");
        assert_eq!(
            history(client, at, ResendRange::From(since_ms)).await.unwrap(),
            marks[middle..],
            "{whose}"
        );
        assert_eq!(
            history(client, at, ResendRange::Last(33)).await.unwrap(),
            marks[marks.len() - 33..],
            "{whose}"
        );
    }

    // A stream of its own for each, of which it was asked nothing: no link stands.
    for (place, client) in clients.iter().enumerate() {
        let number = place as u16 + 1;
        let at = public_stream(&clients[0]).await;
        let from = (place + 1) % clients.len();
        sees(&clients[from], at).await;
        let publishers = Publishers::start([(from as u16 + 1, clients[from].clone())], at);
        await_until("acks", || !publishers.sent().acked.is_empty()).await;
        let took = first_live(client, at).await;
        let keeps = if brokers.owners(at).await.contains(&number) { "keeps" } else { "does not keep" };
        println!("first live event at broker {number}, which {keeps} it, after {took:?}");
        publishers.stop().await;
    }
}

/// From the wish to the first event. A broker that does not see the stream yet is asked again, and the time begins anew.
async fn first_live(client: &Client, at: StreamPartition) -> Duration {
    let asked = Instant::now();
    loop {
        let begun = Instant::now();
        let mut events = match client.subscribe(SubscribeOptions::new(at)).await {
            Ok(events) => events,
            Err(error) => {
                assert!(asked.elapsed() < DEADLINE, "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let next = tokio::time::timeout(DEADLINE, events.next()).await;
        next.expect("nothing comes").unwrap().unwrap();
        return begun.elapsed();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_again_or_joins_serves_what_the_others_have() {
    let mut brokers = Brokers::start(5, 1);
    let at = public_stream(&brokers.dev.client(OWNER).await).await;
    let near = brokers.client(1).await;
    let publishers = Publishers::start([(1, near.clone())], at);
    await_until("events", || publishers.sent().acked.len() > 200).await;

    brokers.kill(5);
    let begun = Instant::now();
    brokers.start_again(5);
    serves_all(&brokers, 5, at, &publishers, begun, "started again").await;

    let configuration = brokers.configure(6);
    found(&brokers, &configuration).await;
    let begun = Instant::now();
    brokers.take(6);
    serves_all(&brokers, 6, at, &publishers, begun, "new").await;
    // It is one of them.
    let view = brokers.view().await;
    assert!(view.assignment.members.contains_key(&brokers.address(6)));

    publishers.stop().await;
    let whole = history(&near, at, ResendRange::From(0)).await.unwrap();
    check_history(&whole, "broker 1");
    for number in [5, 6] {
        let read = history(&brokers.client(number).await, at, ResendRange::From(0)).await.unwrap();
        assert!(read == whole, "{} events at broker {number}, {} at 1", read.len(), whole.len());
    }
}

/// Waits until a broker that has just been started answers, for the past and for what comes.
async fn serves_all(
    brokers: &Brokers,
    number: u16,
    at: StreamPartition,
    publishers: &Publishers,
    begun: Instant,
    what: &str,
) {
    let acked = publishers.sent().acked.clone();
    brokers.serves(number).await;
    let up = begun.elapsed();
    let client = brokers.client(number).await;
    sees(&client, at).await;
    let seen = begun.elapsed();
    first_live(&client, at).await;
    let live = begun.elapsed();
    loop {
        let read: BTreeSet<Mark> =
            history(&client, at, ResendRange::From(0)).await.unwrap().into_iter().collect();
        if acked.keys().all(|mark| read.contains(mark)) {
            break;
        }
        if begun.elapsed() > DEADLINE {
            check_lost(&acked, &read, what);
        }
    }
    println!(
        "a broker that is {what}: up after {up:?}, reads after {seen:?}, live after {live:?}, all of the past after {:?}",
        begun.elapsed()
    );
}

/// Gives a broker that was never there what it needs to join: gas and a stake.
async fn found(brokers: &Brokers, key: &SecretKey) {
    let rpc = Rpc::new(RpcConfig::one(brokers.dev.rpc())).unwrap();
    let config = WalletConfig { receipt_interval_ms: 10, ..WalletConfig::default() };
    let purse = Wallet::new(rpc, SecretKey::from_hex(OWNER).unwrap(), config);
    let deployment = brokers.dev.deployment();
    purse.send(Call::pay(key.address(), 10_u128.pow(19))).await.unwrap();
    purse.send(deployment.transfer(key.address(), 10_u128.pow(18))).await.unwrap();
}
