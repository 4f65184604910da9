//! This node as a broker of the network: it registers itself, keeps what it said up to date, and begins epochs.

mod config;

pub(crate) use config::RegistrationConfig;

use crate::network::Network;
use anyhow::{Context, bail, ensure};
use mainstem_chain::{Call, Deployment, NetworkCoordinator, NetworkView, Rpc, Wallet, WalletConfig};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{Assignment, EpochNumber, Member, Score, Shard};
use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// How long the node's own view may take to show what was mined.
const VIEW_WAIT: Duration = Duration::from_secs(60);
/// 10^-18 DATA of one DATA.
const DATA: u128 = 10_u128.pow(18);
/// A node that is to be a broker.
#[derive(Debug)]
pub(crate) struct Broker {
    key: SecretKey,
    wallet: Wallet,
    deployment: Deployment,
    coordinator: NetworkCoordinator,
    config: RegistrationConfig,
    network: Network,
    /// Number of the block that the node's view shows.
    viewed: watch::Receiver<u64>,
}

impl Broker {
    pub(crate) fn new(
        rpc: &Rpc,
        deployment: &Deployment,
        key: SecretKey,
        (config, wallet): (RegistrationConfig, WalletConfig),
        network: Network,
        viewed: watch::Receiver<u64>,
    ) -> Self {
        Self {
            wallet: Wallet::new(rpc.clone(), key.clone(), wallet),
            key,
            deployment: deployment.clone(),
            coordinator: NetworkCoordinator::new(rpc.clone(), deployment),
            config,
            network,
            viewed,
        }
    }

    /// Does what is to be done, for ever; what fails is tried again.
    pub(crate) async fn run(mut self) {
        let wait = Duration::from_millis(self.config.check_ms.max(1));
        let mut trouble = String::new();
        loop {
            match self.look().await {
                Ok(()) => {
                    trouble.clear();
                    // Sooner if the network has changed.
                    if matches!(timeout(wait, self.network.changed()).await, Ok(Err(_))) {
                        return;
                    }
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    if why != trouble {
                        tracing::warn!(error = why, "this broker's part in the network is tried again");
                    }
                    trouble = why;
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let view = self.network.borrow_and_update().clone();
        let view =
            view.with_context(|| format!("there is no coordinator at {}", self.coordinator.address()))?;
        match view.assignment.members.get(&self.key.address()) {
            None => self.join().await,
            Some(member) if member.leave_at == Member::STAYS => {
                self.update(&view, member.weight).await?;
                self.turn(&view.assignment).await
            }
            Some(_) => Ok(()),
        }
    }

    /// Registers.
    async fn join(&self) -> anyhow::Result<()> {
        let me = self.key.address();
        let (active_from, leave_at) = self.coordinator.broker(me).await?;
        if active_from != 0 {
            // IMPORTANT: never twice. Whoever was slashed would lose one stake after the other, and an operator who had the
            // broker leave would find it back.
            ensure!(
                leave_at == Member::STAYS,
                "{me} was a broker and has left; it does not register again: \
                 give the node another key, or set registration.enabled = false"
            );
            // On its way into the view.
            return Ok(());
        }
        let stake = self.stake().await?;
        let balance = self.deployment.balance(self.wallet.rpc(), me).await?;
        ensure!(
            balance >= stake,
            "{me} has {balance} of the {stake} that the stake takes (10^-18 DATA); send it DATA, and gas"
        );
        if self.coordinator.approved(me).await? < stake {
            self.wallet.send(self.coordinator.approve(stake)).await.context("cannot approve the stake")?;
        }
        let RegistrationConfig { weight, endpoints, metadata, .. } = &self.config;
        let key = self.key.public_key();
        let call = self.coordinator.register(stake, *weight, &key, endpoints, metadata);
        self.send(call).await.context("cannot register")?;
        tracing::info!(broker = %me, "registered as a broker");
        Ok(())
    }

    async fn stake(&self) -> anyhow::Result<u128> {
        let least = self.coordinator.rules().await?.stake_min;
        Ok(least.max(u128::from(self.config.stake_data) * DATA))
    }

    /// Says what has changed in the configuration.
    async fn update(&self, view: &NetworkView, weight: u8) -> anyhow::Result<()> {
        let me = self.key.address();
        let RegistrationConfig { weight: wanted, endpoints, metadata, .. } = &self.config;
        if view.endpoints.get(&me) != Some(endpoints) || view.metadata.get(&me) != Some(metadata) {
            let call = self.coordinator.set_endpoint(endpoints, metadata);
            self.send(call).await.context("cannot tell the network where this broker is")?;
        }
        // The view has the weight of this epoch; another may be set for the next one.
        if weight != *wanted && self.coordinator.weight(me, EpochNumber::MAX).await? != *wanted {
            self.send(self.coordinator.set_weight(*wanted)).await.context("cannot change the weight")?;
        }
        Ok(())
    }

    /// Begins the next epoch if that is due and useful, unless one before it in the order does.
    async fn turn(&self, assignment: &Assignment) -> anyhow::Result<()> {
        if !self.coordinator.is_useful().await? {
            return Ok(());
        }
        let turn = Duration::from_millis(self.config.turn_ms);
        let wait = turn.saturating_mul(place(assignment, self.key.address()));
        let mut network = self.network.clone();
        let begun =
            network.wait_for(|now| now.as_ref().is_none_or(|now| now.assignment.epoch != assignment.epoch));
        if timeout(wait, begun).await.is_ok() || !self.coordinator.is_useful().await? {
            return Ok(());
        }
        self.send(self.coordinator.rebalance()).await.context("cannot begin the next epoch")
    }

    /// Sends a transaction and waits until the node's view shows it, so that nothing is done twice.
    async fn send(&self, call: Call) -> anyhow::Result<()> {
        let receipt = self.wallet.send(call).await?;
        let mut viewed = self.viewed.clone();
        let shown = viewed.wait_for(|block| *block >= receipt.block_number);
        match timeout(VIEW_WAIT, shown).await {
            Ok(_) => Ok(()),
            Err(_) => bail!("it is on the chain, but the node's view does not show it yet"),
        }
    }
}

/// How many brokers are to begin the next epoch before this one: those that count before those that will.
fn place(assignment: &Assignment, broker: Address) -> u32 {
    let seed = assignment.seeds.get(&assignment.epoch).copied().unwrap_or_default();
    let rank = |broker: Address, member: &Member| {
        (member.is_active(assignment.epoch), Score::new(seed, Shard(u32::MAX), broker, u8::MAX))
    };
    let staying = || assignment.members.iter().filter(|(_, member)| member.leave_at == Member::STAYS);
    let Some(own) = assignment.members.get(&broker).map(|member| rank(broker, member)) else { return 0 };
    let before = staying().filter(|(other, member)| rank(**other, member) > own).count();
    u32::try_from(before).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_chain::{Follower, FollowerConfig, NetworkRules, RpcConfig, deploy};
    use mainstem_devchain::{SharedDevChain, dev_accounts};
    use mainstem_model::{Seed, ShardCount};
    use serde_json::json;
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };
    use tokio::net::TcpListener;

    const EPOCH_SECONDS: u32 = 100;
    const CHALLENGE_SECONDS: u32 = 300;

    /// A chain with a coordinator, and a view that follows it.
    struct Rig {
        rpc: Rpc,
        deployment: Deployment,
        /// Has all DATA.
        purse: Wallet,
        network: Network,
        viewed: watch::Receiver<u64>,
    }

    impl Rig {
        async fn start() -> Self {
            let chain = SharedDevChain::in_memory(mainstem_devchain::Config::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let rpc = Rpc::new(RpcConfig::one(format!("http://{}", listener.local_addr().unwrap()))).unwrap();
            tokio::spawn(mainstem_devchain::serve(listener, chain, std::future::pending()));
            let purse = wallet(&rpc, 0);
            let (epoch_seconds, challenge_seconds) = (EPOCH_SECONDS, CHALLENGE_SECONDS);
            let rules = NetworkRules { epoch_seconds, challenge_seconds, ..NetworkRules::default() };
            let deployment = deploy(&purse, &rules).await.unwrap();
            let mut follower = Follower::new(rpc.clone(), FollowerConfig::default(), &deployment).unwrap();
            let (show, network) = watch::channel(None);
            let (view, viewed) = watch::channel(0);
            tokio::spawn(async move {
                while let Ok(step) = follower.step().await {
                    if step.network.is_some() {
                        show.send_replace(step.network);
                    }
                    view.send_replace(step.head.unwrap().number);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            Self { rpc, deployment, purse, network, viewed }
        }

        fn broker(&self, account: usize, config: RegistrationConfig) -> Broker {
            let key = SecretKey::from_hex(dev_accounts()[account].secret_key).unwrap();
            let how = (config, WalletConfig { receipt_interval_ms: 5, ..WalletConfig::default() });
            Broker::new(&self.rpc, &self.deployment, key, how, self.network.clone(), self.viewed.clone())
        }

        async fn pass(&self, seconds: u32) {
            self.rpc.write("evm_increaseTime", json!([seconds])).await.unwrap();
        }

        fn now(&self) -> Arc<NetworkView> {
            self.network.borrow().clone().unwrap()
        }
    }

    fn wallet(rpc: &Rpc, account: usize) -> Wallet {
        let key = SecretKey::from_hex(dev_accounts()[account].secret_key).unwrap();
        Wallet::new(rpc.clone(), key, WalletConfig { receipt_interval_ms: 5, ..WalletConfig::default() })
    }

    fn config(endpoint: &str, weight: u8) -> RegistrationConfig {
        RegistrationConfig { endpoints: vec![endpoint.to_owned()], weight, ..RegistrationConfig::default() }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_broker_registers_begins_epochs_says_what_has_changed_and_does_not_come_back() {
        let rig = Rig::start().await;
        let mut network = rig.network.clone();
        network.wait_for(Option::is_some).await.unwrap();
        let mut broker = rig.broker(1, config("/ip4/127.0.0.1/udp/1/quic-v1", 200));
        let me = broker.key.address();

        let mut lost = rig.broker(1, RegistrationConfig::default());
        lost.network = watch::channel(None).1;
        assert!(lost.look().await.unwrap_err().to_string().contains("no coordinator at 0x"));

        let poor = broker.look().await.unwrap_err().to_string();
        assert!(poor.contains("send it DATA") && poor.contains(&me.to_string()), "{poor}");
        rig.purse.send(rig.deployment.transfer(me, DATA)).await.unwrap();
        broker.look().await.unwrap();
        assert_eq!(rig.now().endpoints[&me], ["/ip4/127.0.0.1/udp/1/quic-v1"]);
        assert_eq!(rig.now().assignment.members[&me].weight, 200);

        broker.look().await.unwrap();
        assert_eq!(rig.now().assignment.epoch, 0, "an epoch has its time");
        for epoch in 1..=2 {
            rig.pass(EPOCH_SECONDS).await;
            broker.look().await.unwrap();
            assert_eq!(rig.now().assignment.epoch, epoch);
        }
        assert_eq!(rig.now().assignment.active(), 1);
        rig.pass(EPOCH_SECONDS).await;
        broker.look().await.unwrap();
        assert_eq!(rig.now().assignment.epoch, 2, "another epoch would change nothing");

        // Started again with another configuration, once the weight can be changed.
        rig.pass(CHALLENGE_SECONDS).await;
        let mut broker = rig.broker(1, config("/ip4/127.0.0.1/udp/2/quic-v1", 100));
        broker.look().await.unwrap();
        assert_eq!(rig.now().endpoints[&me], ["/ip4/127.0.0.1/udp/2/quic-v1"]);
        assert_eq!((rig.now().assignment.epoch, rig.now().assignment.members[&me].weight), (3, 100));

        let receipt = broker.wallet.send(broker.coordinator.deregister()).await.unwrap();
        rig.viewed.clone().wait_for(|block| *block >= receipt.block_number).await.unwrap();
        broker.look().await.unwrap();
        rig.pass(EPOCH_SECONDS).await;
        rig.purse.send(broker.coordinator.rebalance()).await.unwrap();
        network.wait_for(|now| now.as_ref().unwrap().assignment.epoch == 4).await.unwrap();
        let gone = broker.look().await.unwrap_err().to_string();
        assert!(gone.contains("does not register again"), "{gone}");
        assert!(rig.now().assignment.members.is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_brokers_one_begins_the_epoch_and_the_next_one_when_that_does_not() {
        let rig = Rig::start().await;
        rig.network.clone().wait_for(Option::is_some).await.unwrap();
        let slow = |account| {
            // Nobody but the first in the order gets a turn in time.
            rig.broker(account, RegistrationConfig { turn_ms: 3_600_000, ..RegistrationConfig::default() })
        };
        let mut brokers = [slow(1), slow(2), slow(3)];
        for broker in &mut brokers {
            rig.purse.send(rig.deployment.transfer(broker.key.address(), DATA)).await.unwrap();
            broker.look().await.unwrap();
        }
        rig.pass(EPOCH_SECONDS).await;
        let first = rig.now().assignment.clone();
        let [one, two, three] = &mut brokers;
        let (one, two, three) = tokio::join!(one.look(), two.look(), three.look());
        one.and(two).and(three).unwrap();
        assert_eq!(rig.now().assignment.epoch, 1, "one transaction, and the others saw it");

        // The first in the order is not there.
        rig.pass(EPOCH_SECONDS).await;
        let order = rig.now().assignment.clone();
        let second = (1..=3)
            .map(|account| {
                rig.broker(account, RegistrationConfig { turn_ms: 20, ..RegistrationConfig::default() })
            })
            .find(|broker| place(&order, broker.key.address()) == 1);
        second.unwrap().look().await.unwrap();
        assert_eq!(rig.now().assignment.epoch, 2);
        assert_ne!(first.seeds, rig.now().assignment.seeds);
    }

    fn assignment(seed: u8) -> Assignment {
        let member = |n: u8| {
            let active_from = if n <= 5 { 0 } else { 9 };
            (Address([n; 20]), Member { weight: 32, active_from, leave_at: Member::STAYS })
        };
        Assignment {
            epoch: 8,
            seeds: BTreeMap::from([(8, Seed([seed; 16]))]),
            members: (1..=8).map(member).collect(),
            ..Assignment::fixed(ShardCount::new(8).unwrap(), 3, [])
        }
    }

    #[test]
    fn every_broker_has_a_place_of_its_own_and_those_that_count_come_first() {
        let assignment = assignment(1);
        let places: BTreeMap<u32, Address> =
            assignment.members.keys().map(|broker| (place(&assignment, *broker), *broker)).collect();
        assert_eq!(places.keys().copied().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        assert!((0..5).all(|place| places[&place].0[0] <= 5), "{places:?}");
    }

    #[test]
    fn each_epoch_draws_another_order() {
        let first: BTreeSet<Address> = (0..50)
            .filter_map(|seed| {
                let assignment = assignment(seed);
                assignment.members.keys().copied().find(|broker| place(&assignment, *broker) == 0)
            })
            .collect();
        assert_eq!(first.len(), 5, "everybody is first now and then");
    }
}
