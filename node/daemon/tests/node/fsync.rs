//! A disk that takes writes and then cannot make them durable.

use crate::{
    process::{Node, OWNER, free_ports, now_ms, public_stream},
    storage,
};
use mainstem_client::{Client, PublishConfig, ResendOptions, ResendRange};
use mainstem_model::{AckLevel, NewEvent, StreamPartition};
use std::{fs, path::Path, process::Command, time::Duration};

/// How long a client is given for acks that must not come.
const NO_ACK: Duration = Duration::from_secs(3);

/// L2 of the threat list: fsync fails once, and what it should have covered may be gone though a later fsync succeeds.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn after_the_first_failed_fsync_nothing_is_acked_and_what_was_acked_durable_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    fail_an_fsync(folder.path(), None).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn after_the_first_failed_fsync_of_a_storage_plugins_files_nothing_is_acked() {
    let folder = tempfile::tempdir().unwrap();
    let config = storage::segments(&folder.path().join("data"));
    fail_an_fsync(folder.path(), Some(&config)).await;
}

#[cfg(target_os = "linux")]
async fn fail_an_fsync(folder: &Path, config: Option<&Path>) {
    let (shim, failing) = (folder.join("fsync_fails.so"), folder.join("fsync fails now"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/fsync_fails.c");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl").status();
    assert!(built.unwrap().success(), "the C compiler, which Rust links with, builds the shim");
    let port = free_ports(1);
    let data = folder.join("data");
    let shimmed = [("LD_PRELOAD", shim.as_path()), ("FAIL_FSYNC_WHEN", failing.as_path())];
    let mut node = Node::start_configured(&data, port, config, &shimmed);
    let client = durable_client(&node).await;
    let at = public_stream(&client).await;
    let publisher = client.publisher(at).unwrap();
    for number in 0..100_u64 {
        publisher.publish(event(number)).await.unwrap().await.unwrap();
    }

    let other = node.client_with(OWNER, PublishConfig::default()).await;
    let stored = other.publisher(at).unwrap();

    fs::write(&failing, b"").unwrap();
    let receipt = publisher.publish(event(100)).await.unwrap();
    let unacked = tokio::time::timeout(NO_ACK, receipt).await;
    assert!(!matches!(unacked, Ok(Ok(_))), "acked durable though fsync failed: {unacked:?}");
    let receipt = stored.publish(event(101)).await.unwrap();
    let unacked = tokio::time::timeout(NO_ACK, receipt).await;
    assert!(!matches!(unacked, Ok(Ok(_))), "acked behind a failed fsync: {unacked:?}");
    assert!(!node.is_running(), "a node whose store has failed ends, so that its supervisor sees it");
    drop((publisher, stored, client, other));
    fs::remove_file(&failing).unwrap();

    node = Node::start_configured(&data, port, config, &[]);
    let client = durable_client(&node).await;
    let numbers = history(&client, at).await;
    assert_eq!(numbers[..100], (0..100).collect::<Vec<_>>(), "what was acked is there");
    // What the failed fsync was for may or may not be there, but nothing else.
    assert!(numbers[100..].iter().all(|number| (100..102).contains(number)), "{:?}", &numbers[100..]);
    assert!(!data.join("dev/store/quarantine").exists(), "nothing was cut off");
    let publisher = client.publisher(at).unwrap();
    publisher.publish(event(200)).await.unwrap().await.unwrap();
}

async fn durable_client(node: &Node) -> Client {
    node.client_with(OWNER, PublishConfig { ack: AckLevel::Durable.into(), ..PublishConfig::default() }).await
}

async fn history(client: &Client, at: StreamPartition) -> Vec<u64> {
    let mut events = client.resend(ResendOptions::new(at, ResendRange::From(0))).await.unwrap();
    let mut numbers = Vec::new();
    while let Some(event) = events.next().await {
        numbers.push(u64::from_be_bytes(event.unwrap().content()[..].try_into().unwrap()));
    }
    numbers
}

fn event(number: u64) -> NewEvent {
    NewEvent::binary(now_ms(), number.to_be_bytes().to_vec().into())
}
