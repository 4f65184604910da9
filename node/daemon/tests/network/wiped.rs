use crate::{
    brokers::{Brokers, DEADLINE, await_until, sees},
    chaos::{check_store, has_all},
    load::Publishers,
    process::{OWNER, public_stream},
    reader::history,
};
use mainstem_client::ResendRange;
use std::{fs, time::Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_disk_was_wiped_is_rebuilt_by_itself() {
    let mut brokers = Brokers::start(4, 20);
    let owner = brokers.dev.client(OWNER).await;
    // One that broker 4 is to keep: three of four keep each.
    let (at, owners) = loop {
        let at = public_stream(&owner).await;
        let owners = brokers.owners(at).await;
        if owners.contains(&4) && owners.len() == 3 {
            break (at, owners);
        }
    };
    let (near, far) = (brokers.client(1).await, brokers.client(4).await);
    sees(&near, at).await;
    sees(&far, at).await;
    let publishers = Publishers::start([(1, near.clone()), (4, far.clone())], at);
    await_until("events", || publishers.sent().acked.len() > 400).await;

    brokers.kill(4);
    fs::remove_dir_all(brokers.folder(4).join("store")).unwrap();
    let before = publishers.sent().acked.len();
    await_until("events while it is down", || publishers.sent().acked.len() > before + 100).await;
    brokers.start_again(4);
    let begun = Instant::now();
    brokers.serves(4).await;
    let due = publishers.sent().acked.clone();
    has_all(&brokers, 4, &far, at, &due, "wiped").await;
    println!("{} events: ready again after {:?}", due.len(), begun.elapsed());

    publishers.stop().await;
    let begun = Instant::now();
    let whole = loop {
        // Each may lack for a moment what the other has acked.
        let [ours, its] = [
            history(&near, at, ResendRange::From(0)).await.unwrap(),
            history(&far, at, ResendRange::From(0)).await.unwrap(),
        ];
        if ours == its && ours.len() >= due.len() {
            break ours;
        }
        let (ours, its) = (ours.len(), its.len());
        assert!(
            begun.elapsed() < DEADLINE,
            "the broker that was wiped has {its} events, another {ours}, and {} were acked",
            due.len()
        );
    };
    brokers.kill_all();
    for number in owners {
        check_store(&brokers, number, at, whole.len() as u64, 0);
    }
}
