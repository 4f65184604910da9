use crate::process::{Node, OWNER, now_ms, public_stream};
use mainstem_chain::{Follower, FollowerConfig, NetworkView, Rpc, RpcConfig};
use mainstem_client::{Event, Start, SubscribeOptions};
use mainstem_model::NewEvent;
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// What the chain says of the brokers now.
async fn network(node: &Node) -> Arc<NetworkView> {
    let rpc = Rpc::new(RpcConfig::one(node.rpc())).unwrap();
    let mut follower = Follower::new(rpc, FollowerConfig::default(), &node.deployment()).unwrap();
    while !follower.step().await.unwrap().synced {}
    follower.network().unwrap().clone()
}

/// Where a broker beside the first listens for others, as its log of this start says.
fn listens(folder: &Path, number: u16) -> String {
    let log = fs::read_to_string(folder.join(format!("dev/broker-{number}/broker.log"))).unwrap();
    let (begin, end) = ("/ip4/127.0.0.1/udp/", "/quic-v1");
    let port = log.split_once("overlay listens").expect("the log is of info").1.split_once(begin).unwrap().1;
    let port = port.split_once(end).unwrap().0;
    assert_ne!(port.parse::<u16>().unwrap(), 0);
    format!("{begin}{port}{end}")
}

fn profile(folder: &Path, number: u16) -> Value {
    let file = folder.join(format!("dev/broker-{number}/connection.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Waits until no process holds this broker's store.
fn has_ended(folder: &Path, number: u16) -> bool {
    let lock = File::open(folder.join(format!("dev/broker-{number}/store/lock"))).unwrap();
    let begun = Instant::now();
    while lock.try_lock().is_err() {
        if begun.elapsed() > Duration::from_secs(30) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_brokers_is_up_when_each_of_them_counts_and_can_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start_network(folder.path(), 4);
    let view = network(&node).await;
    assert_eq!((view.assignment.active(), view.assignment.members.len()), (4, 4));
    for number in 2..=4 {
        let profile = profile(folder.path(), number);
        let address = profile["node"].as_str().unwrap().parse().unwrap();
        assert_eq!(view.endpoints[&address], [listens(folder.path(), number)]);
        let client = node.client_of(&profile, OWNER).await;
        let at = public_stream(&client).await;
        let publisher = client.publisher(at).unwrap();
        publisher.publish(NewEvent::binary(now_ms(), vec![7].into())).await.unwrap().await.unwrap();
        // One broker has it; another that keeps the partition may be asked before it has.
        let mut read = client.subscribe(SubscribeOptions::new(at).start(Start::Last(1))).await.unwrap();
        let event: Event = read.next().await.unwrap().unwrap();
        assert_eq!(event.content()[..], [7], "broker {number}");
    }
}

#[test]
fn the_brokers_end_with_the_first_one_even_when_it_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start_network(folder.path(), 3);
    assert!(File::open(folder.path().join("dev/broker-2/store/lock")).unwrap().try_lock().is_err());
    node.kill();
    assert!(has_ended(folder.path(), 2) && has_ended(folder.path(), 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_starts_again_has_the_same_brokers_and_says_where_they_are_now() {
    let folder = tempfile::tempdir().unwrap();
    let before = {
        let node = Node::start_network(folder.path(), 3);
        network(&node).await
    };
    let fewer =
        Node::command(folder.path(), 0).args(["--brokers", "2"]).stderr(Stdio::piped()).output().unwrap();
    let why = String::from_utf8(fewer.stderr).unwrap();
    assert!(fewer.status.code() == Some(64) && why.contains("--brokers 3"), "{why}");

    let node = Node::start(folder.path());
    let (begun, mut after) = (Instant::now(), network(&node).await);
    let address = profile(folder.path(), 3)["node"].as_str().unwrap().parse().unwrap();
    let wanted = [listens(folder.path(), 3)];
    while after.endpoints[&address] != wanted {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?} and not {wanted:?}", after.endpoints);
        after = network(&node).await;
    }
    assert_ne!(before.endpoints[&address], wanted, "the system gave the same port again");
    assert_eq!(before.assignment.members, after.assignment.members, "nobody joined twice");
}

/// What `mainstem network --json` prints.
fn seen(folder: &Path) -> Value {
    let output = Node::program().arg("--data-dir").arg(folder).args(["network", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asks until the answer is good.
fn soon(folder: &Path, what: &str, is_good: impl Fn(&Value) -> bool) {
    let begun = Instant::now();
    loop {
        let seen = seen(folder);
        if is_good(&seen) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {seen}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_operator_sees_the_others_and_that_one_of_them_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let _node = Node::start_network(folder.path(), 3);
    let [two, three] = [2, 3].map(|number| profile(folder.path(), number)["node"].clone());
    let peer = |seen: &Value, address: &Value| {
        let peers = seen["peers"].as_array().unwrap();
        peers.iter().find(|peer| peer["address"] == *address).unwrap().clone()
    };
    let is_up = |seen: &Value, address: &Value| {
        let peer = peer(seen, address);
        peer["up"] == true && peer["transport"] == "quic" && peer["silentMs"].is_u64()
    };
    soon(folder.path(), "both are up", |seen| is_up(seen, &two) && is_up(seen, &three));
    let now = seen(folder.path());
    assert_eq!((&now["counts"]["peers"], &now["counts"]["peersUp"]), (&Value::from(2), &Value::from(2)));
    assert_eq!(peer(&now, &two)["endpoints"], json!([listens(folder.path(), 2)]));
    let kept = now["kept"].as_array().unwrap();
    assert!(!kept.is_empty() && kept.iter().all(|shard| shard["owners"].as_array().unwrap().len() == 3));

    let pid = fs::read_to_string(folder.path().join("dev/broker-3/pid")).unwrap();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    soon(folder.path(), "the third is away", |seen| {
        let third = peer(seen, &three);
        third["up"] == false
            && third["silentMs"].is_null()
            && third["transport"].is_null()
            && is_up(seen, &two)
    });
}

#[test]
fn a_broker_that_dies_is_reported_and_not_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Node::command(folder.path(), 0);
    command.args(["--brokers", "2"]).env("RUST_LOG", "warn").stderr(Stdio::piped());
    let mut node = Node::started(command, folder.path());
    let mut stderr = node.stderr();
    let pid = fs::read_to_string(folder.path().join("dev/broker-2/pid")).unwrap();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    assert!(has_ended(folder.path(), 2));
    let mut said = String::new();
    let begun = Instant::now();
    while !said.contains("broker 2 ended") {
        assert!(begun.elapsed() < Duration::from_secs(30), "it says only: {said}");
        let mut bytes = [0; 4_096];
        let count = stderr.read(&mut bytes).unwrap();
        said.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(said.contains("is not started again") && node.is_running(), "{said}");
    assert!(has_ended(folder.path(), 2));

    // As it says, by hand. Its ports are the system's choice, so the profile tells when it is back.
    let before = profile(folder.path(), 2);
    let data = folder.path().join("dev/broker-2");
    let mut again = Node::program();
    again.arg("--data-dir").arg(&data).args(["node", "--end-with-stdin", "--config"]);
    let mut again = again.arg(data.join("mainstem.toml")).stdin(Stdio::piped()).spawn().unwrap();
    while profile(folder.path(), 2) == before {
        assert!(begun.elapsed() < Duration::from_secs(60) && again.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(profile(folder.path(), 2)["privateKey"], before["privateKey"]);
    drop(again.stdin.take());
    assert!(again.wait().unwrap().success(), "it ends when its input does");
}
