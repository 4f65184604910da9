use crate::process::{Node, OWNER, READER, free_ports, now_ms, public_stream};
use mainstem_client::{Client, Delivery, ResendOptions, ResendRange, Start, SubscribeOptions, Subscription};
use mainstem_model::NewEvent;
use std::time::{Duration, Instant};

/// The numbers that the events carry, up to `until` of them.
async fn numbers(events: &mut Subscription, until: usize) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < until {
        let next = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
        let Some(event) = next.expect("an event is missing") else { break };
        got.push(u64::from_be_bytes(event.unwrap().content()[..].try_into().unwrap()));
    }
    got
}

fn event(number: u64) -> NewEvent {
    NewEvent::binary(now_ms(), number.to_be_bytes().to_vec().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_comes_live_and_from_history_and_every_start_gives_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let client = node.client(OWNER).await;
    let at = public_stream(&client).await;
    let publisher = client.publisher(at).unwrap();
    let before = now_ms();
    for number in 0..50 {
        publisher.publish(event(number)).await.unwrap();
    }
    publisher.flush().await.unwrap();
    let reader = node.client(READER).await;
    let all: Vec<u64> = (0..50).collect();
    let mut resend = reader.resend(ResendOptions::new(at, ResendRange::From(before))).await.unwrap();
    assert_eq!(numbers(&mut resend, usize::MAX).await, all);
    let mut resend = reader.resend(ResendOptions::new(at, ResendRange::Last(7))).await.unwrap();
    assert_eq!(numbers(&mut resend, usize::MAX).await, &all[43..]);
    let mut resend =
        reader.resend(ResendOptions::new(at, ResendRange::Range { from: 0, to: before - 1 })).await.unwrap();
    assert_eq!(numbers(&mut resend, usize::MAX).await, Vec::<u64>::new());

    let mut live = reader.subscribe(SubscribeOptions::new(at).start(Start::Last(3))).await.unwrap();
    assert_eq!(numbers(&mut live, 3).await, [47, 48, 49]);
    let receipt = publisher.publish(event(50)).await.unwrap();
    let id = receipt.await.unwrap();
    let last = live.next().await.unwrap().unwrap();
    assert_eq!((last.batch().batch().id(), last.sequence()), (id.batch, id.sequence));
    // Resuming behind any event gives exactly what follows it.
    let mut resumed = reader.resend(ResendOptions::new(at, ResendRange::From(before))).await.unwrap();
    for taken in 0..51_u64 {
        let cursor = resumed.next().await.unwrap().unwrap().cursor();
        if taken % 10 == 0 {
            let mut rest = reader.resend(ResendOptions::new(at, ResendRange::Cursor(cursor))).await.unwrap();
            assert_eq!(numbers(&mut rest, usize::MAX).await, (taken + 1..51).collect::<Vec<_>>());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hears_from_a_node_that_was_killed_as_soon_as_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(1);
    let mut node = Node::start_on(folder.path(), port);
    let at = public_stream(&node.client(OWNER).await).await;
    let mut config = node.config(READER);
    // The node's own bound for silence, half a minute, holds for both.
    config.transport.idle = Duration::from_secs(600);
    config.transport.keep_alive = Duration::from_millis(200);
    let reader = Client::connect(config).await.unwrap();
    let mut live = reader.subscribe(SubscribeOptions::new(at)).await.unwrap();
    node.kill();
    node = Node::start_on(folder.path(), port);
    let begun = Instant::now();
    node.client(OWNER).await.publisher(at).unwrap().publish(event(1)).await.unwrap().await.unwrap();
    assert_eq!(numbers(&mut live, 1).await, [1]);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(20), "it waited {took:?} for a connection that was gone");
}

/// G9 of the threat list.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_over_lost_connections_of_publisher_and_subscriber() {
    let rounds: u64 = std::env::var("RECONNECTS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let (sender, receiver) = (node.client(OWNER).await, node.client(READER).await);
    let at = public_stream(&sender).await;
    let publisher = sender.publisher(at).unwrap();
    publisher.publish(event(0)).await.unwrap();
    publisher.flush().await.unwrap();
    let mut live = receiver.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await.unwrap();
    let breaking = tokio::spawn(async move {
        for round in 0..rounds {
            tokio::time::sleep(Duration::from_millis(20 + round * 7 % 60)).await;
            if round % 2 == 0 { sender.reconnect() } else { receiver.reconnect() }
        }
    });
    let mut sent = 1;
    while !breaking.is_finished() {
        for _ in 0..20 {
            publisher.publish(event(sent)).await.unwrap();
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    publisher.flush().await.unwrap();
    let mut next = 0;
    while next < sent {
        let received = tokio::time::timeout(Duration::from_secs(30), live.next_delivery()).await;
        match received.expect("events are missing").unwrap().unwrap() {
            Delivery::Batch(batch) => {
                for (_, event) in batch.events() {
                    assert_eq!(u64::from_be_bytes(event.content.try_into().unwrap()), next);
                    next += 1;
                }
            }
            Delivery::CaughtUp { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}
