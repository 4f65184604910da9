//! The follower on our development chain: catching up, reorgs, another chain under the same address, hostile contracts.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

mod common;

use common::{Chain, metadata};
use mainstem_chain::{
    Call, ChainError, Deployment, Follower, FollowerConfig, NetworkCoordinator, NetworkRules, NetworkView,
    NewStream, Rpc, RpcConfig, Step, StreamRegistry, Wallet, deploy,
};
use mainstem_crypto::{Address, SecretKey, keccak256};
use mainstem_devchain::{Config, SharedDevChain, dev_accounts};
use mainstem_model::{Grant, Registry, Right, StreamId};
use serde_json::json;
use std::sync::Arc;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A follower and somebody who applies what it says.
struct Watch {
    follower: Follower,
    copy: Registry,
    network: Option<Arc<NetworkView>>,
}

impl Watch {
    fn new(rpc: Rpc, config: FollowerConfig, deployment: &Deployment) -> Self {
        Self {
            follower: Follower::new(rpc, config, deployment).unwrap(),
            copy: Registry::default(),
            network: None,
        }
    }

    async fn step(&mut self) -> Result<Step, ChainError> {
        let step = self.follower.step().await?;
        for change in step.changes.clone() {
            self.copy.apply(change);
        }
        if step.network.is_some() {
            self.network = step.network.clone();
        }
        if self.copy != *self.follower.view().registry() {
            panic!("the copy is not the view");
        }
        Ok(step)
    }

    async fn sync(&mut self) -> Step {
        for _ in 0..1_000 {
            let step = self.step().await.unwrap();
            if step.synced {
                return step;
            }
        }
        panic!("not synced after 1,000 steps");
    }
}

async fn fresh(chain: &Chain, deployment: &Deployment) -> Registry {
    let mut watch = Watch::new(chain.rpc(), FollowerConfig::default(), deployment);
    watch.sync().await;
    watch.copy
}

async fn fresh_network(chain: &Chain, deployment: &Deployment) -> Option<Arc<NetworkView>> {
    let mut watch = Watch::new(chain.rpc(), FollowerConfig::default(), deployment);
    watch.sync().await;
    assert_eq!(watch.network.as_ref(), watch.follower.network(), "what is told is what is shown");
    watch.network
}

async fn stream(registry: &StreamRegistry, wallet: &Wallet, name: &str) -> StreamId {
    let new = NewStream { metadata: metadata(2, name), path: Some(name.to_owned()), ..NewStream::default() };
    registry.create_stream(wallet, &new).await.unwrap().0
}

const READER: Grant = Grant { subscribe_until: Grant::FOREVER, publish_until: 0, flags: 0 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_says_what_the_contracts_say() {
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let (alice, bob) = (chain.wallet(0), chain.wallet(1));
    let mut watch = Watch::new(chain.rpc(), FollowerConfig::default(), &deployment);
    assert!(watch.sync().await.changes.is_empty());

    let one = stream(&registry, &alice, "one").await;
    let two = stream(&registry, &alice, "two").await;
    registry.grant(&alice, one, bob.address(), READER).await.unwrap();
    registry.grant(&alice, two, Address::ZERO, READER).await.unwrap();
    registry.set_metadata(&alice, two, &metadata(7, "zwei")).await.unwrap();
    registry.bump_key_epoch(&alice, two).await.unwrap();
    registry.revoke_delegation(&bob, [4; 32]).await.unwrap();
    watch.sync().await;
    let view = watch.follower.view().registry().clone();
    for id in [one, two] {
        assert_eq!(view.stream(id), registry.stream(id).await.unwrap().as_ref());
        for who in [alice.address(), bob.address(), Address([9; 20])] {
            for right in Right::ALL {
                let now_s = 2_000_000_000;
                assert_eq!(
                    view.can(id, Some(who), right, now_s),
                    registry.can(id, who, right).await.unwrap(),
                    "{who} {right:?}"
                );
            }
        }
    }
    assert_eq!(view.alias(alice.address(), "two"), Some(two));
    assert!(view.is_revoked(bob.address(), [4; 32]));

    registry.offer_ownership(&alice, one, bob.address()).await.unwrap();
    registry.accept_ownership(&bob, one).await.unwrap();
    registry.remove(&alice, two).await.unwrap();
    watch.sync().await;
    let view = watch.follower.view().registry();
    assert_eq!(view.stream(one), registry.stream(one).await.unwrap().as_ref());
    assert_eq!(view.stream(one).unwrap().path, None, "its lister owns it no more");
    assert_eq!(view.stream(two), None);
    assert_eq!(*view, fresh(&chain, &deployment).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_takes_streams_and_grants_back() {
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let alice = chain.wallet(0);
    let mut watch =
        Watch::new(chain.rpc(), FollowerConfig { undo_blocks: 6, ..Default::default() }, &deployment);
    let old = stream(&registry, &alice, "old").await;
    for _ in 0..10 {
        chain.mine().await;
    }
    registry.grant(&alice, old, Address([1; 20]), READER).await.unwrap();
    let new = stream(&registry, &alice, "new").await;
    let before = watch.sync().await.head.unwrap();
    assert!(watch.copy.stream(new).is_some());

    chain.reorg(2).await;
    // Nothing new yet: that may as well be an endpoint that lags.
    let step = watch.step().await.unwrap();
    assert_eq!((step.head, step.changes.len(), step.synced), (Some(before), 0, true));
    chain.mine().await;
    let step = watch.sync().await;
    assert_eq!(step.head.unwrap().number, before.number - 1);
    assert_eq!(watch.copy.stream(new), None);
    assert!(!watch.copy.can(old, Some(Address([1; 20])), Right::Subscribe, 0));
    assert!(watch.copy.stream(old).is_some());

    // Deeper than the ring, down to before the first stream.
    chain.reorg(12).await;
    for _ in 0..20 {
        chain.mine().await;
    }
    watch.sync().await;
    assert_eq!(watch.copy, fresh(&chain, &deployment).await);
    assert_eq!(watch.copy.streams().count(), 0);
}

/// Makes an account a broker.
async fn join(chain: &Chain, deployment: &Deployment, account: usize) -> Address {
    let coordinator = NetworkCoordinator::new(chain.rpc(), deployment);
    let key = SecretKey::from_hex(dev_accounts()[account].secret_key).unwrap();
    let (stake, broker) = (10_u128.pow(18), chain.wallet(account));
    chain.wallet(0).send(deployment.transfer(key.address(), stake)).await.unwrap();
    broker.send(coordinator.approve(stake)).await.unwrap();
    let peers = [format!("/ip4/127.0.0.1/udp/{account}/quic-v1")];
    broker.send(coordinator.register(stake, 255, &key.public_key(), &peers, "{}")).await.unwrap();
    key.address()
}

/// Begins the next epoch.
async fn turn(chain: &Chain, deployment: &Deployment) {
    chain.rpc().write("evm_increaseTime", json!([61])).await.unwrap();
    let coordinator = NetworkCoordinator::new(chain.rpc(), deployment);
    chain.wallet(0).send(coordinator.rebalance()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_takes_brokers_and_epochs_back() {
    let chain = Chain::dev().await;
    let (deployment, _) = chain.deploy().await;
    let mut watch =
        Watch::new(chain.rpc(), FollowerConfig { undo_blocks: 6, ..Default::default() }, &deployment);
    let empty = watch.sync().await.network.unwrap();
    assert_eq!((empty.assignment.epoch, empty.assignment.members.len()), (0, 0));
    let one = join(&chain, &deployment, 1).await;
    for _ in 0..3 {
        turn(&chain, &deployment).await;
    }
    let before = watch.sync().await.network.unwrap();
    assert_eq!((before.assignment.epoch, before.assignment.active()), (2, 1));
    assert_eq!(before.endpoints[&one], ["/ip4/127.0.0.1/udp/1/quic-v1"]);
    assert_eq!(before.assignment.seeds.len(), 3);

    let two = join(&chain, &deployment, 2).await;
    turn(&chain, &deployment).await;
    let joined = watch.sync().await.network.unwrap();
    assert!(joined.assignment.members.contains_key(&two) && joined.assignment.epoch == 3);
    assert!(watch.sync().await.network.is_none(), "told once");
    // The epoch, the registration and the approval go; an empty block comes.
    chain.reorg(3).await;
    chain.mine().await;
    let undone = watch.sync().await.network.unwrap();
    assert_eq!(undone, before);
    assert_eq!(fresh_network(&chain, &deployment).await, Some(before));

    // Deeper than the ring: nobody had registered yet.
    chain.reorg(6).await;
    for _ in 0..8 {
        chain.mine().await;
    }
    let anew = watch.sync().await.network.unwrap();
    assert!(anew.assignment.members.is_empty());
    assert_eq!(fresh_network(&chain, &deployment).await, Some(anew));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_confirmations_the_view_stays_behind() {
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let config = FollowerConfig { confirmations: 3, ..Default::default() };
    let mut watch = Watch::new(chain.rpc(), config, &deployment);
    let id = stream(&registry, &chain.wallet(0), "late").await;
    for _ in 0..2 {
        chain.mine().await;
        let _ = watch.step().await.unwrap();
        assert_eq!(watch.copy.stream(id), None);
    }
    chain.mine().await;
    watch.sync().await;
    assert!(watch.copy.stream(id).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_history_is_read_in_ranges_and_equals_block_by_block() {
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let alice = chain.wallet(0);
    for n in 0..30 {
        let id = stream(&registry, &alice, &format!("s{n}")).await;
        registry.grant(&alice, id, Address([n; 20]), READER).await.unwrap();
        if n % 5 == 0 {
            registry.remove(&alice, id).await.unwrap();
        }
        if n % 7 == 0 {
            registry.offer_ownership(&alice, id, chain.wallet(1).address()).await.ok();
            registry.accept_ownership(&chain.wallet(1), id).await.ok();
        }
    }
    for account in 2..5 {
        join(&chain, &deployment, account).await;
        turn(&chain, &deployment).await;
    }
    let (expected, network) = (fresh(&chain, &deployment).await, fresh_network(&chain, &deployment).await);
    assert_eq!(network.as_ref().unwrap().assignment.members.len(), 3);
    for (undo_blocks, log_blocks_max, step_changes_max) in
        [(4, 10_000, 5), (4, 7, 10_000), (1, 1, 1), (0, 50, 50)]
    {
        let config = FollowerConfig { undo_blocks, log_blocks_max, step_changes_max, ..Default::default() };
        let mut watch = Watch::new(chain.rpc(), config, &deployment);
        watch.sync().await;
        assert_eq!(watch.copy, expected, "{undo_blocks} {log_blocks_max}");
        assert_eq!(watch.network, network, "{undo_blocks} {log_blocks_max}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_chain_at_the_same_address_is_noticed() {
    let (chain, other) = (Chain::dev().await, Chain::dev().await);
    // The same contracts at the same addresses, other streams, other blocks.
    let (deployment, registry) = chain.deploy().await;
    stream(&registry, &chain.wallet(0), "here").await;
    for _ in 0..5 {
        other.mine().await;
    }
    let rules = NetworkRules { replicas: 5, ..NetworkRules::default() };
    let there = deploy(&other.wallet(0), &rules).await.unwrap();
    let other_registry = StreamRegistry::new(other.rpc(), &there);
    assert_eq!(there.stream_registry, deployment.stream_registry);
    let id = stream(&other_registry, &other.wallet(0), "there").await;
    other.mine().await;

    // One address, and behind it first one chain, then the other.
    let proxy = Switch::start(chain.url(), other.url()).await;
    let rpc = Rpc::new(RpcConfig { timeout_ms: 5_000, ..RpcConfig::one(&proxy.url) }).unwrap();
    let mut watch = Watch::new(rpc, FollowerConfig::default(), &deployment);
    watch.sync().await;
    assert_eq!(watch.copy.streams().count(), 1);
    assert_eq!(watch.network.as_ref().unwrap().assignment.replicas, 3);
    proxy.switch();
    watch.sync().await;
    assert_eq!(watch.network.as_ref().unwrap().assignment.replicas, 5, "another coordinator, other rules");
    assert_eq!(watch.copy.streams().map(|record| record.id).collect::<Vec<_>>(), [id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_restarts_with_its_file_is_followed_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chain");
    let proxy;
    let mut watch;
    let (deployment, before) = {
        let chain = Chain::serve(SharedDevChain::open(Config::default(), &file).unwrap()).await;
        proxy = Switch::start(chain.url(), "http://unused").await;
        let (deployment, registry) = chain.deploy().await;
        let rpc = Rpc::new(RpcConfig { timeout_ms: 5_000, ..RpcConfig::one(&proxy.url) }).unwrap();
        watch = Watch::new(rpc, FollowerConfig::default(), &deployment);
        stream(&registry, &chain.wallet(0), "kept").await;
        (deployment, watch.sync().await.head)
    };
    proxy.switch();
    assert!(watch.step().await.is_err_and(|error| error.is_transient()), "nobody is there");
    let chain = loop {
        // Connections of the first one may still hold the file.
        match SharedDevChain::open(Config::default(), &file) {
            Ok(chain) => break Chain::serve(chain).await,
            Err(mainstem_devchain::Error::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    proxy.retarget(chain.url());
    let step = watch.sync().await;
    assert_eq!((step.head, step.changes.len()), (before, 0), "the same chain, nothing new");
    let registry = StreamRegistry::new(chain.rpc(), &deployment);
    stream(&registry, &chain.wallet(0), "more").await;
    watch.sync().await;
    assert_eq!(watch.copy.streams().count(), 2);
}

/// Passes connections on to an address that can change, which ends those there are.
struct Switch {
    url: String,
    target: watch::Sender<String>,
    second: String,
}

impl Switch {
    async fn start(first: &str, second: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (target, targets) = watch::channel(first.trim_start_matches("http://").to_owned());
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut targets = targets.clone();
                let target = targets.borrow_and_update().clone();
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = targets.changed() => {}
                    }
                });
            }
        });
        Self { url, target, second: second.to_owned() }
    }

    fn switch(&self) {
        self.retarget(&self.second);
    }

    fn retarget(&self, url: &str) {
        self.target.send_replace(url.trim_start_matches("http://").to_owned());
    }
}

/// Code of a contract that logs whatever it is called with: 32 bytes for each topic behind a count, then the data.
fn parrot() -> Vec<u8> {
    // count = calldata[0]; topics at 1, 33, 65, 97; data from 129.
    let log = |topics: u8| {
        let mut code = vec![0x5b]; // jumpdest
        for n in (0..topics).rev() {
            code.extend([0x60, 1 + 32 * n, 0x35]); // calldataload
        }
        code.extend([0x60, 129, 0x36, 0x03]); // size = calldatasize - 129
        code.extend([0x60, 0, 0xa0 + topics, 0x00]); // offset 0, log, stop
        code
    };
    let bodies: Vec<Vec<u8>> = (0..=4).map(log).collect();
    // memory[0..] = calldata[129..]
    let mut head = vec![0x60, 129, 0x36, 0x03, 0x60, 129, 0x60, 0, 0x37];
    let dispatch = 10;
    let mut at = head.len() + 5 * dispatch + 1;
    for (n, body) in bodies.iter().enumerate() {
        // if calldata[0] >> 248 == n: jump
        head.extend([0x60, 0, 0x35, 0x60, 248, 0x1c, 0x60, n as u8, 0x14]);
        head.extend([0x60, at as u8, 0x57]);
        at += body.len();
    }
    // The jump targets above counted ten bytes for each case, it is twelve.
    let shift = 5 * (12 - dispatch);
    for n in 0..5 {
        head[9 + 12 * n + 10] += shift as u8;
    }
    head.push(0x00);
    let code: Vec<u8> = head.into_iter().chain(bodies.into_iter().flatten()).collect();
    // Constructor: copy what follows and return it.
    let mut create = vec![0x60, code.len() as u8, 0x80, 0x60, 11, 0x60, 0, 0x39, 0x60, 0, 0xf3];
    create.extend(code);
    create
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_contract_that_logs_the_same_changes_nothing() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let seed = common::seed(7);
    let mut rng = StdRng::seed_from_u64(seed);
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let (alice, mallory) = (chain.wallet(0), chain.wallet(1));
    let id = stream(&registry, &alice, "victim").await;
    let before = fresh(&chain, &deployment).await;
    let network = fresh_network(&chain, &deployment).await;
    let parrot = mallory.send(Call::create(parrot())).await.unwrap().contract.unwrap();

    let signatures = [
        "Created(address,address,bytes32)",
        "Listed(address,address,string)",
        "Unlisted(address,address,string)",
        "DelegationRevoked(address,bytes32)",
        "Meta(string)",
        "Granted(address,uint40,uint40,uint8)",
        "KeyEpoch(uint64)",
        "OwnershipTransferred(address,address)",
        "Removed()",
        "EpochBegan(uint32,bytes16,uint40,uint32,uint32)",
        "Deregistered(address,uint32)",
    ];
    let mut words = vec![[0_u8; 32], [0xff; 32]];
    for address in [id.0, mallory.address(), parrot, deployment.stream_registry] {
        let mut word = [0; 32];
        word[12..].copy_from_slice(address.as_bytes());
        words.push(word);
    }
    let mut small = [0; 32];
    small[31] = 0x20;
    words.push(small);
    let mut logged = 0;
    for round in 0..200 {
        let topics = rng.random_range(0..=4_u8);
        let mut data = vec![topics];
        for n in 0..4 {
            let word = match n {
                0 => keccak256(signatures[round % signatures.len()].as_bytes()),
                _ => words[rng.random_range(0..words.len())],
            };
            data.extend(word);
        }
        for _ in 0..rng.random_range(0..6) {
            data.extend(words[rng.random_range(0..words.len())]);
        }
        data.truncate(data.len() - rng.random_range(0..2) * usize::from(data.len() > 150));
        let call = Call { gas: Some(200_000), ..Call::to(parrot, data) };
        logged += mallory.send(call).await.unwrap().logs.len();
    }
    assert_eq!(logged, 200, "each call logs once");
    for undo_blocks in [2, 1_000] {
        let config = FollowerConfig { undo_blocks, ..Default::default() };
        let mut watch = Watch::new(chain.rpc(), config, &deployment);
        watch.sync().await;
        assert_eq!(watch.copy, before, "SEED={seed}");
        assert_eq!(watch.network, network, "SEED={seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_look_alikes_does_not_hide_a_stream() {
    // The node gives at most 5 logs an answer; a creation writes 1 of the registry and 5 of the stream.
    let chain = Chain::serve(SharedDevChain::in_memory(Config { logs_max: 5, ..Config::default() })).await;
    let (deployment, registry) = chain.deploy().await;
    let alice = chain.wallet(0);
    for n in 0..6 {
        let grants = vec![(Address([n; 20]), READER), (Address([n + 50; 20]), READER)];
        let new = NewStream { metadata: metadata(1, "x"), grants, salt: Some([n; 32]), path: None };
        registry.create_stream(&alice, &new).await.unwrap();
    }
    for (undo_blocks, blocks) in [(0, 10_000), (100, 10_000), (2, 3)] {
        let config = FollowerConfig { undo_blocks, log_blocks_max: blocks, ..Default::default() };
        let mut watch = Watch::new(chain.rpc(), config, &deployment);
        watch.sync().await;
        assert_eq!(watch.copy.streams().count(), 6);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_step_anywhere_loses_no_change() {
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let alice = chain.wallet(0);
    let mut watch =
        Watch::new(chain.rpc(), FollowerConfig { undo_blocks: 3, ..Default::default() }, &deployment);
    for round in 0..60_u64 {
        if round % 3 == 0 {
            stream(&registry, &alice, &format!("s{round}")).await;
        }
        if round % 10 == 9 {
            chain.reorg(2).await;
            chain.mine().await;
        }
        let limit = std::time::Duration::from_micros(400 * (round % 20));
        if round % 12 == 5 {
            turn(&chain, &deployment).await;
            join(&chain, &deployment, 2 + round as usize / 12).await;
        }
        if let Ok(step) = tokio::time::timeout(limit, watch.follower.step()).await {
            let step = step.unwrap();
            watch.network = step.network.or(watch.network);
            for change in step.changes {
                watch.copy.apply(change);
            }
        }
    }
    watch.sync().await;
    assert_eq!(watch.copy, fresh(&chain, &deployment).await);
    assert_eq!(watch.network, fresh_network(&chain, &deployment).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chain_id_is_pinned() {
    let chain = Chain::dev().await;
    let (deployment, _) = chain.deploy().await;
    let pinned = RpcConfig { chain_id: Some(1), ..RpcConfig::one(chain.url()) };
    let rpc = Rpc::new(pinned).unwrap();
    let wrong = ChainError::WrongChain { endpoint: chain.url().to_owned(), expected: 1, found: 31_337 };
    assert_eq!(rpc.block_number().await, Err(wrong.clone()));
    let mut follower = Follower::new(rpc, FollowerConfig::default(), &deployment).unwrap();
    assert_eq!(follower.step().await, Err(wrong));
    assert!(chain.rpc().read("eth_chainId", json!([])).await.is_ok());
}
