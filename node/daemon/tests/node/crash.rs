use crate::{
    process::{Node, OWNER, free_ports, now_ms, public_stream},
    storage,
};
use mainstem_client::{Client, PublishConfig, ResendOptions, ResendRange};
use mainstem_model::{AckLevel, NewEvent, StreamPartition};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// L6 and G1 of the threat list, check C4 of the first issue: `ROUNDS=200` runs them all.
#[tokio::test(flavor = "multi_thread")]
async fn l6_events_acked_durable_outlive_kill_9_at_any_moment_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    kill_again_and_again(folder.path(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_acked_durable_by_a_storage_plugin_outlive_kill_9_at_any_moment_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let config = storage::segments(folder.path());
    kill_again_and_again(folder.path(), Some(&config)).await;
}

#[expect(clippy::print_stdout, reason = "a long run says how far it is, and how to go there again")]
async fn kill_again_and_again(folder: &Path, config: Option<&Path>) {
    let rounds: u64 = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let seed: u64 = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("SEED={seed} ROUNDS={rounds}");
    let port = free_ports(1);
    let mut node = Node::start_configured(folder, port, config, &[]);
    let batching = PublishConfig { ack: AckLevel::Durable.into(), ..PublishConfig::default() };
    let at = public_stream(&node.client(OWNER).await).await;
    let mut random = seed;
    let (mut durable, mut slowest) = (BTreeSet::new(), Duration::ZERO);
    let mut next = 0_u64;
    for round in 0..rounds {
        let round_begun = now_ms();
        let client = node.client_with(OWNER, batching.clone()).await;
        let publisher = Arc::new(client.publisher(at).unwrap());
        let acked = Arc::new(AtomicU64::new(next));
        let first = next;
        let (sending, seen) = (publisher.clone(), acked.clone());
        let load = tokio::spawn(async move {
            let mut number = first;
            loop {
                for _ in 0..50 {
                    let content = number.to_be_bytes().to_vec();
                    let Ok(receipt) = sending.publish(NewEvent::binary(now_ms(), content.into())).await
                    else {
                        return;
                    };
                    number += 1;
                    if number.is_multiple_of(50) {
                        let (seen, number) = (seen.clone(), number);
                        tokio::spawn(async move {
                            if receipt.await.is_ok() {
                                seen.fetch_max(number, Ordering::SeqCst);
                            }
                        });
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        tokio::time::sleep(Duration::from_millis(50 + (random >> 33) % 400)).await;
        node.kill();
        // What was acked before the kill was observed as acked by now.
        let kept = acked.load(Ordering::SeqCst);
        durable.extend(first..kept);
        load.abort();
        drop((publisher, client));
        next = kept + 1_000_000;

        let begun = Instant::now();
        node = Node::start_configured(folder, port, config, &[]);
        let client = node.client_with(OWNER, batching.clone()).await;
        let probe = client.publisher(at).unwrap();
        probe.publish(NewEvent::binary(now_ms(), vec![0].into())).await.unwrap().await.unwrap();
        slowest = slowest.max(begun.elapsed());

        // What this round made and no more: the whole past is read once, at the end.
        let history = History::read(&client, at, ResendRange::From(round_begun)).await;
        history.check(durable.range(first..), &format!("SEED={seed} round {round}"));
        if round + 1 == rounds {
            let history = History::read(&client, at, ResendRange::From(0)).await;
            history.check(durable.iter(), &format!("SEED={seed} whole history"));
        }
        if round % 20 == 19 {
            println!("round {}: {} events acked durable", round + 1, durable.len());
        }
    }
    println!("{} events acked durable, 0 lost; slowest restart to first ack {slowest:?}", durable.len());
    assert!(!durable.is_empty());
}

/// The numbers of events in the order in which a resend gave them.
struct History(Vec<u64>);

impl History {
    async fn read(client: &Client, at: StreamPartition, range: ResendRange) -> Self {
        let mut events = client.resend(ResendOptions::new(at, range)).await.unwrap();
        let mut numbers = Vec::new();
        while let Some(event) = events.next().await {
            // The probes of one byte are not numbered.
            if let Ok(number) = event.unwrap().content()[..].try_into() {
                numbers.push(u64::from_be_bytes(number));
            }
        }
        Self(numbers)
    }

    fn check<'a>(&self, durable: impl Iterator<Item = &'a u64>, when: &str) {
        for pair in self.0.windows(2) {
            assert!(pair[0] < pair[1], "{when}: {} came after {}", pair[1], pair[0]);
        }
        let lost: Vec<_> = durable.filter(|number| self.0.binary_search(number).is_err()).take(5).collect();
        assert!(lost.is_empty(), "{when}: {lost:?} … were acked durable and are gone");
    }
}
