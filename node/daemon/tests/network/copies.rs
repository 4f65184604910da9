use crate::{
    brokers::{Brokers, DEADLINE, sees},
    load::Mark,
    process::{OWNER, public_stream},
    reader::history,
};
use mainstem_client::ResendRange;
use std::time::{Duration, Instant};

/// The publisher's own wait for an ack has no end: what it was told is that the brokers cannot promise it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_goes_on_when_enough_brokers_answer_again() {
    // Not so short that a busy machine counts as brokers that do not answer.
    let mut brokers = Brokers::start_with(3, 1, "[broker]\ncopies_wait_ms = 1000\n");
    let at = public_stream(&brokers.dev.client(OWNER).await).await;
    for number in brokers.numbers() {
        sees(&brokers.client(number).await, at).await;
    }
    let client = brokers.client(1).await;
    let publisher = client.publisher(at).unwrap();
    let marks: Vec<Mark> = (0..3).map(|number| Mark { publisher: 1, number }).collect();
    publisher.publish(marks[0].event()).await.unwrap().await.unwrap();

    brokers.pause(2);
    brokers.pause(3);
    let receipt = publisher.publish(marks[1].event()).await.unwrap();
    let refused = "mainstem_broker_refused_total{code=\"TOO_FEW_COPIES\"}";
    let begun = Instant::now();
    while brokers.figure(1, refused).await.is_none_or(|count| count < 2) {
        assert!(receipt.outcome().is_none(), "{:?}", receipt.outcome());
        assert!(begun.elapsed() < DEADLINE, "it is not refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    brokers.resume(2);
    brokers.resume(3);
    let ack = receipt.await.unwrap().ack;
    assert!(ack.copies >= 2, "{ack}");
    publisher.publish(marks[2].event()).await.unwrap().await.unwrap();
    for number in brokers.numbers() {
        let client = brokers.client(number).await;
        assert_eq!(history(&client, at, ResendRange::From(0)).await.unwrap(), marks, "broker {number}");
    }
}
