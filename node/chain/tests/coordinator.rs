//! Who carries what: the contract's word and that of `mainstem_model::Assignment`, over a network that grows and shrinks.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

mod common;

use common::{Chain, wallet};
use mainstem_chain::{ChainError, Follower, FollowerConfig, NetworkCoordinator, NetworkRules, Rpc};
use mainstem_crypto::{Address, SecretKey};
use mainstem_devchain::dev_accounts;
use mainstem_model::{Assignment, AssignmentClaim, Member, Partition, Shard, StreamId};
use serde_json::json;
use std::collections::BTreeMap;

const BROKERS: [(usize, u8); 6] = [(1, 255), (2, 255), (3, 128), (4, 32), (5, 200), (6, 255)];
const STAKE: u128 = 10_u128.pow(18);

struct Net {
    rpc: Rpc,
    coordinator: NetworkCoordinator,
    weights: BTreeMap<Address, u8>,
}

impl Net {
    async fn join(&mut self, account: usize, weight: u8) {
        let key = SecretKey::from_hex(dev_accounts()[account].secret_key).unwrap();
        let broker = wallet(&self.rpc, account);
        broker.send(self.coordinator.approve(STAKE)).await.unwrap();
        let peers = ["/ip4/127.0.0.1/udp/7173/quic-v1".to_owned()];
        let call = self.coordinator.register(STAKE, weight, &key.public_key(), &peers, "{}");
        broker.send(call).await.unwrap();
        self.weights.insert(key.address(), weight);
    }

    /// Begins the next epoch, if there is a reason to.
    async fn turn(&self, chain: &Chain) {
        self.rpc.write("evm_increaseTime", json!([61])).await.unwrap();
        chain.mine().await;
        wallet(&self.rpc, 0).send(self.coordinator.rebalance()).await.unwrap();
    }

    /// The follower's assignment after the chain's last word.
    async fn followed(&self, follower: &mut Follower) -> Assignment {
        while !follower.step().await.unwrap().synced {}
        Assignment::clone(&follower.network().unwrap().assignment)
    }

    /// What a broker computes from what the contract has told.
    async fn assignment(&self) -> Assignment {
        let rules = NetworkRules::default();
        let epoch = self.coordinator.epoch_number().await.unwrap();
        let now = self.coordinator.epoch(epoch).await.unwrap().unwrap();
        let (mut seeds, mut members) = (BTreeMap::new(), BTreeMap::new());
        for number in 1..=epoch {
            seeds.insert(number, self.coordinator.epoch(number).await.unwrap().unwrap().seed);
        }
        for (broker, weight) in &self.weights {
            let (active_from, leave_at) = self.coordinator.broker(*broker).await.unwrap();
            members.insert(*broker, Member { weight: *weight, active_from, leave_at });
        }
        let (replicas, rotation_epochs) = (rules.replicas, rules.rotation_epochs);
        Assignment { epoch, shards: now.shards, replicas, rotation_epochs, seeds, members }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_and_the_model_assign_alike_while_brokers_come_and_go() {
    for chain in [Chain::dev().await, Chain::anvil()] {
        let (deployment, _) = chain.deploy().await;
        let coordinator = NetworkCoordinator::new(chain.rpc(), &deployment);
        let mut net = Net { rpc: chain.rpc(), coordinator, weights: BTreeMap::new() };
        for (account, _) in BROKERS {
            let to = wallet(&net.rpc, account).address();
            wallet(&net.rpc, 0).send(deployment.transfer(to, STAKE)).await.unwrap();
        }
        for (account, weight) in &BROKERS[..3] {
            net.join(*account, *weight).await;
        }
        let mut follower = Follower::new(chain.rpc(), FollowerConfig::default(), &deployment).unwrap();
        let mut compared = 0;
        for turn in 0..12 {
            net.turn(&chain).await;
            let followed = net.followed(&mut follower).await;
            compared += compare(&net, &followed).await;
            match turn {
                2 | 4 | 6 => {
                    let (account, weight) = BROKERS[2 + turn / 2];
                    net.join(account, weight).await;
                }
                9 => {
                    // Claims under the first weight must be past challenge.
                    net.rpc.write("evm_increaseTime", json!([601])).await.unwrap();
                    chain.mine().await;
                    wallet(&net.rpc, 3).send(net.coordinator.set_weight(32)).await.unwrap();
                    net.weights.insert(wallet(&net.rpc, 3).address(), 32);
                    let before = net.followed(&mut follower).await;
                    assert_eq!(
                        before.members[&wallet(&net.rpc, 3).address()].weight,
                        128,
                        "not in this epoch"
                    );
                }
                8 => drop(wallet(&net.rpc, 2).send(net.coordinator.deregister()).await.unwrap()),
                _ => {}
            }
        }
        println!("{compared} scores compared");
        assert!(compared > 200);
        lies(&net, &chain, deployment.chain_id).await;
    }
}

/// Every score of the current epoch; gives how many.
async fn compare(net: &Net, assignment: &Assignment) -> usize {
    let mut compared = 0;
    for shard in assignment.shards.shards() {
        let mut theirs = Vec::new();
        for broker in assignment.members.keys() {
            let score = net.coordinator.score(*broker, assignment.epoch, shard).await.unwrap();
            if score != [0; 32] {
                theirs.push((score, *broker));
            }
            compared += 1;
        }
        theirs.sort_by_key(|(score, broker)| (std::cmp::Reverse(*score), *broker));
        theirs.truncate(usize::from(assignment.replicas));
        let ours: Vec<_> =
            assignment.ranked(shard).into_iter().map(|(broker, score)| (score.to_bytes(), broker)).collect();
        assert_eq!(ours, theirs, "epoch {}, {shard:?}", assignment.epoch);
    }
    let at = StreamId(Address([7; 20])).partition(Partition::try_from(3).unwrap());
    assert_eq!(net.coordinator.shard(at).await.unwrap(), Shard::of(at, assignment.shards));
    compared
}

/// A false claim costs its signer the stake, a true one cannot be challenged.
async fn lies(net: &Net, chain: &Chain, chain_id: u64) {
    // Seeds are drawn, so there may be nobody in an epoch who has one shard and lacks another.
    let (assignment, key) = loop {
        let assignment = net.assignment().await;
        let shards = assignment.shards.shards().count();
        let keys = BROKERS.iter().map(|(n, _)| SecretKey::from_hex(dev_accounts()[*n].secret_key).unwrap());
        let carried = |key: &SecretKey| {
            let mine = |shard: &Shard| assignment.brokers(*shard).contains(&key.address());
            assignment.shards.shards().filter(mine).count()
        };
        if let Some(key) = keys.into_iter().find(|key| (1..shards).contains(&carried(key))) {
            break (assignment, key);
        }
        net.turn(chain).await;
    };
    let seed = assignment.seeds[&assignment.epoch];
    let is_ours = |shard: &Shard| assignment.brokers(*shard).contains(&key.address());
    let sign = |shard: Shard| {
        let claim = AssignmentClaim { epoch: assignment.epoch, shard, seed };
        claim.sign(chain_id, net.coordinator.address(), &key)
    };
    let judge = wallet(&net.rpc, 0);
    let challenge = async |shard: Shard| {
        let mut better = assignment.brokers(shard);
        better.sort();
        let call = net.coordinator.challenge(assignment.epoch, shard, sign(shard).as_bytes(), &better);
        judge.send(call).await
    };
    let honest = assignment.shards.shards().find(is_ours).unwrap();
    let digest = AssignmentClaim { epoch: assignment.epoch, shard: honest, seed }
        .digest(chain_id, net.coordinator.address());
    assert_eq!(net.coordinator.claim_digest(assignment.epoch, honest).await.unwrap(), digest);
    let refused = challenge(honest).await.unwrap_err();
    assert!(
        matches!(&refused, ChainError::Revert(revert) if revert.name == "CoordinatorNotBetter"),
        "{refused}"
    );
    let false_claim = assignment.shards.shards().find(|shard| !is_ours(shard)).unwrap();
    challenge(false_claim).await.unwrap();
    let (_, leave_at) = net.coordinator.broker(key.address()).await.unwrap();
    assert!(leave_at <= assignment.epoch + 1, "{leave_at}");
}
