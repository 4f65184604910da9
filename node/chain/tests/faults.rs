//! T22: endpoints that lie, lag, time out, serve another chain or answer nonsense. Whatever they did, once they answer
//! honestly the view equals a fresh resync.

#![allow(clippy::wildcard_enum_match_arm, reason = "faults are grouped by what they look like")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

mod common;

use common::{
    Chain, metadata,
    proxy::{Fault, Proxy, Script},
};
use mainstem_chain::{
    Call, ChainError, Deployment, Follower, FollowerConfig, NewStream, Rpc, RpcConfig, StreamRegistry, Wallet,
};
use mainstem_crypto::Address;
use mainstem_model::{Grant, Registry, StreamId};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::sync::Arc;
use tokio::task::JoinSet;

const FAULTS: [Fault; 20] = [
    Fault::Silent,
    Fault::Close,
    Fault::NoHttp,
    Fault::Status(429),
    Fault::Status(502),
    Fault::Garbage,
    Fault::HalfJson,
    Fault::HalfBody,
    Fault::Giant,
    Fault::Nested,
    Fault::OtherId,
    Fault::Null,
    Fault::WrongType,
    Fault::Error(-32005),
    Fault::Error(-32000),
    Fault::TooManyLogs,
    Fault::OtherChain,
    Fault::Lag(2),
    Fault::Fork,
    Fault::ForkWithLogs,
];

fn impatient(urls: Vec<String>) -> Rpc {
    Rpc::new(RpcConfig {
        urls,
        chain_id: Some(31_337),
        timeout_ms: 60,
        response_bytes_max: 256 * 1024,
        retries: 1,
        backoff_ms: 1,
        ..RpcConfig::default()
    })
    .unwrap()
}

struct Bench {
    chain: Chain,
    deployment: Deployment,
    registry: StreamRegistry,
    wallet: Wallet,
    streams: Vec<StreamId>,
    rng: StdRng,
}

impl Bench {
    async fn new(seed: u64) -> Self {
        let chain = Chain::dev().await;
        let (deployment, registry) = chain.deploy().await;
        let wallet = chain.wallet(0);
        let mut bench = Self {
            chain,
            deployment,
            registry,
            wallet,
            streams: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
        };
        for _ in 0..12 {
            bench.happen().await;
        }
        bench
    }

    /// Something on the chain; what the contracts refuse is let pass.
    async fn happen(&mut self) {
        let grant = Grant {
            subscribe_until: self.rng.random_range(0..9),
            publish_until: self.rng.random_range(0..9),
            flags: 0,
        };
        let who = Address([self.rng.random_range(0..4); 20]);
        let stream = self.streams.choose(&mut self.rng).copied();
        let (registry, wallet) = (&self.registry, &self.wallet);
        match (self.rng.random_range(0..10), stream) {
            (0..=2, _) | (_, None) => {
                let name = format!("s{}", self.rng.random_range(0..20));
                let new = NewStream {
                    metadata: metadata(1, &name),
                    path: self.rng.random_bool(0.5).then(|| name.clone()),
                    salt: Some([self.rng.random(); 32]),
                    ..NewStream::default()
                };
                if let Ok((id, _)) = registry.create_stream(wallet, &new).await {
                    self.streams.push(id);
                }
            }
            (3, Some(id)) => drop(registry.remove(wallet, id).await),
            (4, Some(id)) => drop(registry.unlist(wallet, id).await),
            (5, Some(id)) => drop(registry.set_metadata(wallet, id, &metadata(4, "new")).await),
            (6, _) => drop(registry.revoke_delegation(wallet, [self.rng.random_range(0..5); 32]).await),
            (7, _) => self.chain.mine().await,
            (_, Some(id)) => drop(registry.grant(wallet, id, who, grant).await),
        }
    }

    /// Reorgs stay above the contracts.
    async fn reorg(&mut self, depth: u64) {
        let head = self.chain.rpc().block_number().await.unwrap();
        let depth = depth.min(head.saturating_sub(self.deployment.block + 1));
        if depth > 0 {
            self.chain.reorg(depth).await;
            for _ in 0..self.rng.random_range(1..4) {
                self.happen().await;
            }
        }
    }

    async fn fresh(&self) -> Registry {
        let mut follower =
            Follower::new(self.chain.rpc(), FollowerConfig::default(), &self.deployment).unwrap();
        while !follower.step().await.unwrap().synced {}
        follower.view().registry().clone()
    }

    /// A block that no longer lags, so that a fork of the newest one shows.
    async fn settle(&self, follower: &mut Follower, copy: &mut Registry, what: &str) {
        self.chain.mine().await;
        let mut head = self.chain.rpc().block_number().await.unwrap();
        while follower.view().head().is_some_and(|ours| ours.number > head) {
            // Until then the follower takes it for a lag.
            self.chain.mine().await;
            head += 1;
        }
        for _ in 0..200 {
            match follower.step().await {
                Ok(step) => {
                    for change in step.changes {
                        copy.apply(change);
                    }
                    if step.synced && step.head.unwrap().number == head {
                        return;
                    }
                }
                Err(error) => println!("{what}: {error}"),
            }
        }
        panic!("{what}: not synced after 200 honest steps");
    }
}

fn chain_of(chain: &Chain) -> mainstem_devchain::SharedDevChain {
    match chain {
        Chain::Dev { chain, .. } => chain.clone(),
        Chain::Anvil { .. } => unreachable!("the proxy stands before ours"),
    }
}

/// One script: chain and endpoint misbehave for a while, then the endpoint is honest. Gives how many steps gave an
/// answer, and how many an error.
async fn script(seed: u64) -> [usize; 2] {
    let mut steps = [0, 0];
    let what = format!("SEED={seed}");
    let mut bench = Bench::new(seed).await;
    let proxy = Proxy::start(chain_of(&bench.chain), seed).await;
    let rpc = impatient(vec![proxy.url.clone()]);
    let config = FollowerConfig {
        undo_blocks: bench.rng.random_range(1..8),
        log_blocks_max: bench.rng.random_range(1..20),
        ..FollowerConfig::default()
    };
    let mut follower = Follower::new(rpc, config, &bench.deployment).unwrap();
    let mut copy = Registry::default();
    for _ in 0..12 {
        let faults = FAULTS.choose_multiple(&mut bench.rng, 3).copied().collect();
        proxy.set(Script { chance: [0.02, 0.1, 0.4, 1.0][bench.rng.random_range(0..4)], faults });
        match bench.rng.random_range(0..10) {
            0 => bench.reorg(12).await,
            1 | 2 => {
                let depth = bench.rng.random_range(1..5);
                bench.reorg(depth).await;
            }
            _ => bench.happen().await,
        }
        match follower.step().await {
            Ok(step) => {
                steps[0] += 1;
                for change in step.changes {
                    copy.apply(change);
                }
            }
            Err(_) => steps[1] += 1,
        }
        assert_eq!(copy, *follower.view().registry(), "{what}: the copy is not the view");
    }
    proxy.honest();
    bench.settle(&mut follower, &mut copy, &what).await;
    assert_eq!(*follower.view().registry(), bench.fresh().await, "{what}: the view is not a fresh resync");
    assert_eq!(copy, *follower.view().registry(), "{what}: the copy is not the view");
    steps
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_after_200_scripts_of_faults_the_view_equals_a_fresh_resync() {
    let seed = common::seed(22_000);
    let count = std::env::var("SCRIPTS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let mut steps = [0, 0];
    // Most of a script is waiting for answers that do not come.
    let mut running = JoinSet::new();
    for n in 0..count {
        if running.len() == 8 {
            add(&mut steps, running.join_next().await.unwrap().unwrap());
        }
        running.spawn(script(seed + n));
    }
    while let Some(done) = running.join_next().await {
        add(&mut steps, done.unwrap());
    }
    println!("{count} scripts: {} steps gave an answer, {} an error", steps[0], steps[1]);
    assert!(count < 100 || steps.iter().all(|count| *count > 100));
}

fn add(steps: &mut [usize; 2], more: [usize; 2]) {
    steps[0] += more[0];
    steps[1] += more[1];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_two_endpoints_that_contradict_each_other_are_not_believed() {
    let mut bench = Bench::new(5).await;
    let proxy = Proxy::start(chain_of(&bench.chain), 5).await;
    let rpc = impatient(vec![bench.chain.url().to_owned(), proxy.url.clone()]);
    let mut follower = Follower::new(rpc, FollowerConfig::default(), &bench.deployment).unwrap();
    let mut copy = Registry::default();
    bench.settle(&mut follower, &mut copy, "honest").await;
    let before = copy.clone();
    for fault in [Fault::Fork, Fault::ForkWithLogs] {
        proxy.set(Script { chance: 1.0, faults: vec![fault] });
        bench.happen().await;
        bench.chain.mine().await;
        for _ in 0..3 {
            let refused = follower.step().await;
            assert!(
                matches!(&refused, Err(ChainError::Disagreement(_)))
                    || refused.as_ref().is_ok_and(|step| !step.synced),
                "{refused:?}"
            );
            for change in refused.map(|step| step.changes).unwrap_or_default() {
                copy.apply(change);
            }
        }
    }
    proxy.set(Script { chance: 1.0, faults: vec![Fault::OtherChain] });
    assert!(matches!(follower.step().await, Err(ChainError::WrongChain { found: 1, .. })));
    // With one of two gone there is nobody to agree with.
    proxy.set(Script { chance: 1.0, faults: vec![Fault::Close] });
    assert!(follower.step().await.is_err());
    proxy.honest();
    bench.settle(&mut follower, &mut copy, "honest again").await;
    assert_eq!(copy, bench.fresh().await);
    assert_ne!(copy, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_of_three_that_answers_nothing_costs_no_step_its_timeout() {
    let mut bench = Bench::new(7).await;
    let proxies = [
        Proxy::start(chain_of(&bench.chain), 7).await,
        Proxy::start(chain_of(&bench.chain), 8).await,
        Proxy::start(chain_of(&bench.chain), 9).await,
    ];
    proxies[0].set(Script { chance: 1.0, faults: vec![Fault::Silent] });
    let rpc = Rpc::new(RpcConfig {
        urls: proxies.iter().map(|proxy| proxy.url.clone()).collect(),
        timeout_ms: 3_600_000,
        grace_ms: 50,
        ..RpcConfig::default()
    })
    .unwrap();
    let mut follower = Follower::new(rpc, FollowerConfig::default(), &bench.deployment).unwrap();
    let mut copy = Registry::default();
    // The silent one keeps each request for 5 s.
    let steps = async {
        for _ in 0..20 {
            bench.happen().await;
            bench.settle(&mut follower, &mut copy, "one is silent").await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(4), steps).await.unwrap();
    // Whoever contradicts is still heard.
    proxies[2].set(Script { chance: 1.0, faults: vec![Fault::OtherChain] });
    assert!(matches!(follower.step().await, Err(ChainError::WrongChain { found: 1, .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_fail_over_to_the_next_endpoint() {
    let bench = Bench::new(6).await;
    let proxy = Proxy::start(chain_of(&bench.chain), 6).await;
    let rpc = impatient(vec![proxy.url.clone(), bench.chain.url().to_owned()]);
    for fault in FAULTS {
        proxy.set(Script { chance: 1.0, faults: vec![fault] });
        match fault {
            // These are answers.
            Fault::Error(-32000) | Fault::OtherChain | Fault::Lag(_) | Fault::Fork | Fault::ForkWithLogs => {}
            _ => assert!(rpc.block_number().await.is_ok(), "{fault:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_read_in_ranges_where_all_blocks_are_too_many_and_is_proven_by_its_hash() {
    let chain = Chain::dev().await;
    let (deployment, honest) = chain.deploy().await;
    let new = NewStream { metadata: metadata(3, "first"), path: Some("a".into()), ..NewStream::default() };
    let wallet = chain.wallet(0);
    let (id, receipt) = honest.create_stream(&wallet, &new).await.unwrap();
    let record = honest.stream(id).await.unwrap().unwrap();
    assert_eq!(honest.created(wallet.address(), id, &new, &receipt).await, record);
    for _ in 0..40 {
        chain.mine().await;
    }
    let proxy = Proxy::start(chain_of(&chain), 10).await;
    let registry = StreamRegistry::new(impatient(vec![proxy.url.clone()]), &deployment);
    proxy.set(Script { chance: 1.0, faults: vec![Fault::BlocksMax(3)] });
    assert_eq!(registry.stream(id).await.unwrap().unwrap(), record);
    proxy.set(Script { chance: 1.0, faults: vec![Fault::ForgedLogs] });
    let forged = registry.stream(id).await;
    assert!(matches!(forged, Err(ChainError::Disagreement(_))), "{forged:?}");
}

/// A stream of the first wallet, and somebody who may publish and edit there.
async fn shared_stream(chain: &Chain, registry: &StreamRegistry) -> (StreamId, Address) {
    let (id, _) = registry
        .create_stream(&chain.wallet(0), &NewStream { metadata: metadata(1, "a"), ..NewStream::default() })
        .await
        .unwrap();
    let grant = Grant { subscribe_until: 0, publish_until: Grant::FOREVER, flags: Grant::EDIT };
    registry.grant(&chain.wallet(0), id, Address([7; 20]), grant).await.unwrap();
    (id, Address([7; 20]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_right_does_not_come_back_over_an_endpoint_that_lags() {
    let chain = Arc::new(Chain::dev().await);
    let (deployment, honest) = chain.deploy().await;
    let (id, who) = shared_stream(&chain, &honest).await;
    // Even who lags knows the stream and its first rights.
    for _ in 0..2 {
        chain.mine().await;
    }
    let proxy = Proxy::start(chain_of(&chain), 11).await;
    proxy.set(Script { chance: 1.0, faults: vec![Fault::Lag(2)] });
    let registry = StreamRegistry::new(impatient(vec![proxy.url.clone()]), &deployment);
    let mining = tokio::spawn({
        let chain = chain.clone();
        async move {
            loop {
                chain.mine().await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    });
    let wallet = chain.wallet(0);
    let no_publish = |_, grant| Grant { publish_until: 0, ..grant };
    let subscribe = |_, grant| Grant { subscribe_until: 99, ..grant };
    registry.change(&wallet, id, &[who], no_publish).await.unwrap();
    registry.change(&wallet, id, &[who], subscribe).await.unwrap();
    mining.abort();
    let expected = Grant { subscribe_until: 99, publish_until: 0, flags: Grant::EDIT };
    assert_eq!(honest.permission(id, who).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_that_somebody_else_revokes_meanwhile_does_not_come_back() {
    let chain = Chain::dev().await;
    let (deployment, registry) = chain.deploy().await;
    let (id, who) = shared_stream(&chain, &registry).await;
    let other = StreamRegistry::new(chain.rpc(), &deployment);
    let (wallet, others) = (chain.wallet(0), chain.wallet(0));
    let mut meanwhile = std::cell::RefCell::new(Some((other, others)));
    let subscribe = |_, grant| {
        if let Some((other, wallet)) = meanwhile.borrow_mut().take() {
            // The rights were read; before ours is sent, another program takes them all.
            let revoke = async move { other.revoke(&wallet, id, who).await.map(drop) };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(revoke)).unwrap();
        }
        Grant { subscribe_until: 99, ..grant }
    };
    registry.change(&wallet, id, &[who], subscribe).await.unwrap();
    assert!(meanwhile.get_mut().is_none());
    let expected = Grant { subscribe_until: 99, publish_until: 0, flags: 0 };
    assert_eq!(registry.permission(id, who).await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_has_not_come_so_far_is_waited_for() {
    let chain = Chain::dev().await;
    let (mut deployment, _) = chain.deploy().await;
    deployment.block = chain.rpc().block_number().await.unwrap() + 2;
    let mut follower = Follower::new(chain.rpc(), FollowerConfig::default(), &deployment).unwrap();
    let step = follower.step().await.unwrap();
    assert!(step.waiting && !step.synced && step.head.is_none());
    chain.mine().await;
    chain.mine().await;
    let step = follower.step().await.unwrap();
    assert!(step.synced && !step.waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_named() {
    let bench = Bench::new(8).await;
    let proxy = Proxy::start(chain_of(&bench.chain), 8).await;
    let rpc = impatient(vec![proxy.url.clone()]);
    for fault in FAULTS {
        proxy.set(Script { chance: 1.0, faults: vec![fault] });
        let answer = match fault {
            Fault::OtherChain => rpc.check_chain().await,
            _ => rpc.block_number().await,
        };
        let named = match fault {
            Fault::Silent => matches!(answer, Err(ChainError::Timeout { .. })),
            Fault::Close | Fault::NoHttp | Fault::HalfBody => {
                matches!(answer, Err(ChainError::Transport { .. }))
            }
            Fault::Giant => matches!(answer, Err(ChainError::TooLong { .. })),
            Fault::Error(code) => matches!(answer, Err(ChainError::Rpc { code: found, .. }) if found == code),
            Fault::OtherChain => matches!(answer, Err(ChainError::WrongChain { .. })),
            Fault::TooManyLogs | Fault::Lag(_) | Fault::Fork | Fault::ForkWithLogs => answer.is_ok(),
            _ => matches!(answer, Err(ChainError::Answer { .. })),
        };
        assert!(named, "{fault:?}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transaction_is_sent_twice_and_none_is_reported_that_was_not() {
    let bench = Bench::new(9).await;
    let proxy = Proxy::start(chain_of(&bench.chain), common::seed(9)).await;
    let faults = vec![
        Fault::Close,
        Fault::HalfBody,
        Fault::HalfJson,
        Fault::Silent,
        Fault::Error(-32000),
        Fault::Null,
        Fault::OtherId,
    ];
    proxy.set(Script { chance: 0.15, faults });
    let wallet = common::wallet(&impatient(vec![proxy.url.clone()]), 1);
    let honest = bench.chain.rpc();
    let mut counts = [0, 0, 0];
    for n in 0..120_u8 {
        let to = Address([100 + n % 100; 20]);
        let before = honest.balance(to).await.unwrap();
        let sent = wallet.send(Call::pay(to, 1)).await;
        let arrived = honest.balance(to).await.unwrap() - before;
        match sent {
            Ok(_) => {
                counts[0] += 1;
                assert_eq!(arrived, 1, "{n}");
            }
            Err(ChainError::Unsure { transaction, .. }) => {
                counts[1] += 1;
                let mined = honest.receipt(transaction).await.unwrap().is_some();
                assert_eq!(arrived, u128::from(mined), "{n}");
            }
            Err(error) => {
                counts[2] += 1;
                assert_eq!(arrived, 0, "{n}: {error}");
            }
        }
    }
    println!("{} sent, {} unsure, {} failed", counts[0], counts[1], counts[2]);
    assert!(counts.iter().all(|count| *count > 5), "{counts:?}");
}
