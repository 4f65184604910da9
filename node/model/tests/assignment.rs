//! Assignments of random networks: what must hold of every one, and that the independent model of `conformance/vectors`
//! says the same of each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mainstem_model::*;
use proptest::{collection::btree_map, prelude::*, sample::select};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The network of one epoch, with every seed since the first.
fn networks() -> impl Strategy<Value = Assignment> {
    let member = (32..=255_u8, 2..40_u32, prop_oneof![Just(Member::STAYS), 2..44_u32])
        .prop_map(|(weight, active_from, leave_at)| Member { weight, active_from, leave_at });
    let members = btree_map(any::<[u8; 20]>().prop_map(Address), member, 0..24);
    (2..40_u32, 0..6_u32, 1..12_u8, select(vec![1_u16, 2, 4, 8, 16]), any::<[u8; 16]>(), members).prop_map(
        |(epoch, power, replicas, rotation_epochs, first, members)| {
            let seed = |number: u32| {
                let mut seed = first;
                for (byte, add) in seed.iter_mut().zip(number.to_be_bytes().into_iter().cycle()) {
                    *byte = byte.wrapping_mul(31).wrapping_add(add);
                }
                (number, Seed(seed))
            };
            let shards = ShardCount::new(16 << power).unwrap();
            let seeds = (0..=epoch).map(seed).collect();
            Assignment { epoch, shards, replicas, rotation_epochs, seeds, members }
        },
    )
}

fn partitions() -> impl Strategy<Value = StreamPartition> {
    (any::<[u8; 20]>(), 0..100_u16)
        .prop_map(|(stream, number)| StreamId(Address(stream)).partition(number.try_into().unwrap()))
}

proptest! {
    #[test]
    fn as_many_as_there_can_be_are_assigned_each_once(network in networks(), shard in 0..512_u32) {
        let brokers = network.brokers(Shard(shard));
        prop_assert_eq!(brokers.len(), network.active().min(usize::from(network.replicas)));
        prop_assert_eq!(brokers.iter().collect::<BTreeSet<_>>().len(), brokers.len());
        prop_assert!(brokers.iter().all(|broker| network.members[broker].is_active(network.epoch)));
    }

    #[test]
    fn more_replicas_only_lengthen_the_list(network in networks(), shard in 0..512_u32) {
        let all = Assignment { replicas: u8::MAX, ..network.clone() }.ranked(Shard(shard));
        prop_assert!(all.is_sorted_by(|(a, one), (b, other)| one > other || (one == other && a < b)));
        let first = network.ranked(Shard(shard));
        prop_assert_eq!(&all[..first.len()], &first[..]);
    }

    #[test]
    fn a_leave_moves_the_slots_of_who_leaves_only(network in networks(), shard in 0..512_u32, who in any::<prop::sample::Index>()) {
        prop_assume!(!network.members.is_empty());
        let before = network.brokers(Shard(shard));
        let mut after = network.clone();
        let gone = *who.get(&network.members.keys().copied().collect::<Vec<_>>());
        after.members.remove(&gone);
        let kept: Vec<_> = before.into_iter().filter(|broker| *broker != gone).collect();
        prop_assert!(after.brokers(Shard(shard)).starts_with(&kept));
    }

    #[test]
    fn a_shard_splits_into_itself_and_one_more(partition in partitions(), power in 0..31_u32) {
        let count = ShardCount::new(1 << power).unwrap();
        let double = ShardCount::new(2 << power).unwrap();
        let (before, after) = (Shard::of(partition, count).0, Shard::of(partition, double).0);
        prop_assert!(before < count.number());
        prop_assert!(after == before || after == before + count.number());
    }

    #[test]
    fn each_shard_rotates_once_in_r_epochs(shard: u32, epoch in 1024..u32::MAX - 1024, power in 0..=10_u32) {
        let rotation = 1_u16 << power;
        let drawn = |epoch| drawn_at(epoch, Shard(shard), rotation, 2);
        let changes = (epoch..epoch + u32::from(rotation)).filter(|e| drawn(*e) == *e).count();
        prop_assert_eq!(changes, 1);
        prop_assert!(epoch - drawn(epoch) < u32::from(rotation));
    }
}

/// The Python model as a process: a question a line, an answer a line.
struct Reference {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reference {
    fn start() -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../conformance/vectors/assignment.py");
        let mut process = Command::new("python3")
            .arg("-B")
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 (3.11 or later) is needed to compare with the second model");
        let questions = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, questions, answers }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn question(network: &Assignment, shard: u32) -> Value {
    let seeds: Vec<_> =
        network.seeds.iter().map(|(e, seed)| json!({ "epoch": e, "seed": hex::encode(seed.0) })).collect();
    let broker = |(broker, member): (&Address, &Member)| {
        json!({
            "broker": broker.to_string(),
            "weight": member.weight,
            "activeFrom": member.active_from,
            "leaveAt": member.leave_at,
        })
    };
    json!({
        "epoch": network.epoch,
        "shard": shard,
        "replicas": network.replicas,
        "rotationEpochs": network.rotation_epochs,
        "seeds": seeds,
        "brokers": network.members.iter().map(broker).collect::<Vec<_>>(),
    })
}

#[test]
fn the_independent_model_assigns_the_same_brokers() {
    let reference = std::cell::RefCell::new(Reference::start());
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(128);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(network in networks(), shard in 0..512_u32, partition in partitions())| {
        let ranked = network.ranked(Shard(shard)).into_iter();
        let ranked: Vec<_> = ranked
            .map(|(broker, score)| json!({ "broker": broker.to_string(), "score": hex::encode(score.to_bytes()) }))
            .collect();
        let told = reference.borrow_mut().ask(&question(&network, shard));
        prop_assert_eq!(json!({ "assigned": ranked }), told);
        let told = reference.borrow_mut().ask(&json!({
            "stream": hex::encode(partition.stream.0.0),
            "partition": partition.partition.number(),
            "shards": network.shards.number(),
        }));
        prop_assert_eq!(json!({ "shard": Shard::of(partition, network.shards).0 }), told);
    });
}

#[test]
fn load_is_even_and_follows_the_weight() {
    let brokers = (0..40_u8).map(|n| (Address([n; 20]), if n < 4 { 127 } else { 255 }));
    let network = Assignment::fixed(ShardCount::new(1024).unwrap(), 3, brokers);
    let mut load = BTreeMap::<Address, u32>::new();
    for broker in network.shards.shards().flat_map(|shard| network.brokers(shard)) {
        *load.entry(broker).or_default() += 1;
    }
    // 3 × 1024 slots: about 80 for each with full weight, half of that for each of the light ones.
    for (broker, slots) in load {
        let expected = if broker.0[0] < 4 { 20..60 } else { 50..120 };
        assert!(expected.contains(&slots), "{broker} carries {slots}");
    }
}
