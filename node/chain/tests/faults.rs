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
