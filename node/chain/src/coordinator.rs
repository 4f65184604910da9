use crate::{BlockTag, Call, ChainError, Deployment, NetworkRules, Rpc, contracts::abi, registry::read};
use abi::network_coordinator as network;
use ethers_core::{
    abi::{AbiDecode, AbiEncode},
    types::{H160, U256},
};
use mainstem_crypto::{Address, Hash, PublicKey};
use mainstem_model::{EpochNumber, Seed, Shard, ShardCount, StreamPartition};

/// The contract of brokers, their stakes, and the epochs of who carries what. Stakes are in `DATAcoin`.
///
/// What it computes, everybody computes for themselves from its events: see [`Assignment`](mainstem_model::Assignment).
#[derive(Clone, Debug)]
pub struct NetworkCoordinator {
    rpc: Rpc,
    coin: Address,
    address: Address,
}

/// An epoch as it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number; the first is 1.
    pub number: EpochNumber,
    /// Drawn when it began.
    pub seed: Seed,
    /// Unix second at which it began.
    pub started_at_s: u64,
    /// How many shards there are in it.
    pub shards: ShardCount,
    /// How many brokers count in it.
    pub active: u32,
}

impl NetworkCoordinator {
    /// The coordinator of a deployment.
    pub const fn new(rpc: Rpc, deployment: &Deployment) -> Self {
        Self { rpc, coin: deployment.data_coin, address: deployment.network_coordinator }
    }

    /// Its address.
    pub const fn address(&self) -> Address {
        self.address
    }

    // ------------------------------------------------------------ what a broker sends

    /// Lets the contract take `stake`, in 10^-18 DATA. Goes before [`NetworkCoordinator::register`].
    pub fn approve(&self, stake: u128) -> Call {
        let call = abi::data_coin::ApproveCall { spender: H160(self.address.0), value: stake.into() };
        Call::to(self.coin, call.encode())
    }

    /// Makes the sender a broker, two epochs later.
    pub fn register(
        &self,
        stake: u128,
        weight: u8,
        key: &PublicKey,
        peer_addresses: &[String],
        metadata: &str,
    ) -> Call {
        self.call(network::RegisterCall {
            stake,
            weight,
            public_key: key.coordinates().to_vec().into(),
            peer_addresses: peer_addresses.to_vec(),
            metadata: metadata.to_owned(),
        })
    }

    /// Ends the sender's part with this epoch.
    pub fn deregister(&self) -> Call {
        self.call(network::DeregisterCall)
    }

    /// Replaces where the sender can be found and what it says about itself.
    pub fn set_endpoint(&self, peer_addresses: &[String], metadata: &str) -> Call {
        let (peer_addresses, metadata) = (peer_addresses.to_vec(), metadata.to_owned());
        self.call(network::SetEndpointCall { peer_addresses, metadata })
    }

    /// Changes the sender's weight, 32 to 255, from the next epoch on.
    pub fn set_weight(&self, weight: u8) -> Call {
        self.call(network::SetWeightCall { weight })
    }

    /// Begins the next epoch, if that is due and useful. Anybody may send it.
    pub fn rebalance(&self) -> Call {
        self.call(network::RebalanceCall)
    }

    /// Proves that the signer of a claim lied: `better` are K brokers that rank before it, by ascending address.
    pub fn challenge(&self, epoch: EpochNumber, shard: Shard, signature: &[u8], better: &[Address]) -> Call {
        self.call(network::ChallengeCall {
            epoch,
            shard: shard.0,
            signature: signature.to_vec().into(),
            better: better.iter().map(|broker| H160(broker.0)).collect(),
        })
    }

    // ------------------------------------------------------------ what it says

    /// What the network was made with. It stays so.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn rules(&self) -> Result<NetworkRules, ChainError> {
        rules(&self.rpc.call(self.address, &rules_call(), BlockTag::Latest).await?)
    }

    /// How much of an account's DATA, in 10^-18, the contract may take: what was approved.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn approved(&self, account: Address) -> Result<u128, ChainError> {
        let call = abi::data_coin::AllowanceCall { owner: H160(account.0), spender: H160(self.address.0) };
        let allowance: U256 = read(&self.rpc.call(self.coin, &call.encode(), BlockTag::Latest).await?)?;
        Ok(u128::try_from(allowance).unwrap_or(u128::MAX))
    }

    /// Number of the current epoch.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn epoch_number(&self) -> Result<EpochNumber, ChainError> {
        let network::EpochNumberReturn(number) = self.ask(network::EpochNumberCall).await?;
        Ok(number)
    }

    /// An epoch; `None` if it has not begun.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn epoch(&self, number: EpochNumber) -> Result<Option<Epoch>, ChainError> {
        let network::EpochAtReturn(epoch) = self.ask(network::EpochAtCall { number }).await?;
        Ok(ShardCount::new(epoch.shards).map(|shards| Epoch {
            number,
            seed: Seed(epoch.seed),
            started_at_s: epoch.started_at,
            shards,
            active: epoch.active,
        }))
    }

    /// Whether [`NetworkCoordinator::rebalance`] would begin an epoch now.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn is_useful(&self) -> Result<bool, ChainError> {
        let network::IsUsefulReturn { useful, .. } = self.ask(network::IsUsefulCall).await?;
        Ok(useful)
    }

    /// A broker's first epoch, and the first in which it counts no longer.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn broker(&self, broker: Address) -> Result<(EpochNumber, EpochNumber), ChainError> {
        let call = network::BrokerOfCall { account: H160(broker.0) };
        let network::BrokerOfReturn { active_from, leave_at, .. } = self.ask(call).await?;
        Ok((active_from, leave_at))
    }

    /// A broker's weight in an epoch; in those to come the newest that was set.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn weight(&self, broker: Address, epoch: EpochNumber) -> Result<u8, ChainError> {
        let call = network::WeightAtCall { account: H160(broker.0), epoch };
        let network::WeightAtReturn(weight) = self.ask(call).await?;
        Ok(weight)
    }

    /// A broker's score for a shard, big-endian; zero if it did not count in that epoch.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn score(
        &self,
        broker: Address,
        epoch: EpochNumber,
        shard: Shard,
    ) -> Result<[u8; 32], ChainError> {
        let call = network::ScoreOfCall { account: H160(broker.0), epoch, shard: shard.0 };
        let network::ScoreOfReturn(score) = self.ask(call).await?;
        let mut bytes = [0; 32];
        U256::to_big_endian(&score, &mut bytes);
        Ok(bytes)
    }

    /// The shard of a partition in the current epoch.
    ///
    /// # Errors
    /// As [`Rpc::read`].
    pub async fn shard(&self, at: StreamPartition) -> Result<Shard, ChainError> {
        let call = network::ShardOfCall { stream: H160(at.stream.0.0), partition: at.partition.number() };
        let network::ShardOfReturn(shard) = self.ask(call).await?;
        Ok(Shard(shard))
    }

    /// What a broker signs to claim a shard.
    ///
    /// # Errors
    /// [`ChainError::Revert`] named `CoordinatorEpoch`; as [`Rpc::read`].
    pub async fn claim_digest(&self, epoch: EpochNumber, shard: Shard) -> Result<Hash, ChainError> {
        let network::ClaimDigestReturn(digest) =
            self.ask(network::ClaimDigestCall { epoch, shard: shard.0 }).await?;
        Ok(digest)
    }

    fn call(&self, call: impl AbiEncode) -> Call {
        Call::to(self.address, call.encode())
    }

    async fn ask<T: AbiDecode>(&self, call: impl AbiEncode) -> Result<T, ChainError> {
        read(&self.rpc.call(self.address, &call.encode(), BlockTag::Latest).await?)
    }
}

/// The call that asks for the rules.
pub(crate) fn rules_call() -> Vec<u8> {
    network::RulesCall.encode()
}

/// Reads the answer of [`rules_call`].
pub(crate) fn rules(answer: &[u8]) -> Result<NetworkRules, ChainError> {
    let network::RulesReturn(rules) = read(answer)?;
    Ok(NetworkRules {
        random_source: Address(rules.random_source.0),
        stake_min: rules.stake_min,
        pay_max: rules.pay_max,
        epoch_seconds: rules.epoch_seconds,
        challenge_seconds: rules.challenge_seconds,
        replicas: rules.replicas,
        slots_per_broker: rules.slots_per_broker,
        rotation_epochs: rules.rotation_epochs,
    })
}
