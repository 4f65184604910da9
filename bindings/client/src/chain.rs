//! What a client knows of the chain.

use crate::{ChainConfig, ClientConfig, ClientError, ErrorKind, Identity};
use mainstem_chain::{Deployment, Follower, FollowerConfig, Rpc, StreamRegistry, Wallet};
use mainstem_model::{Address, Network, Origin, Registry, Right, StreamId};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an answer about somebody's right to publish is good for.
const RIGHT_AGE_MAX: Duration = Duration::from_secs(30);
/// How long to wait for a chain whose head is below the first block to read.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(20);
/// Answers that are remembered; at one more all are forgotten.
const RIGHTS_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Chain {
    rpc: Rpc,
    deployment: Deployment,
    registry: StreamRegistry,
    wallet: Option<Wallet>,
    follower: tokio::sync::Mutex<Option<Follower>>,
    rights: Mutex<HashMap<(StreamId, Address), (bool, Instant)>>,
}

impl Chain {
    pub(crate) fn new(config: &ClientConfig, chain: &ChainConfig) -> Result<Self, ClientError> {
        let Network { chain_id, registry } = config.network;
        let mut rpc = chain.rpc.clone();
        rpc.chain_id = Some(chain_id);
        let rpc = Rpc::new(rpc)?;
        let deployment = Deployment {
            chain_id,
            block: chain.from_block,
            stream_registry: registry,
            // None of them is asked for by anything here.
            data_coin: Address::ZERO,
            event_verifier: Address::ZERO,
            network_coordinator: Address::ZERO,
        };
        let wallet = match &config.identity {
            Identity::Wallet(key) => Some(Wallet::new(rpc.clone(), key.clone(), chain.wallet.clone())),
            Identity::None | Identity::Session { .. } | Identity::Scheme(_) => None,
        };
        Ok(Self {
            registry: StreamRegistry::new(rpc.clone(), &deployment),
            rpc,
            deployment,
            wallet,
            follower: tokio::sync::Mutex::new(None),
            rights: Mutex::default(),
        })
    }

    pub(crate) const fn registry(&self) -> &StreamRegistry {
        &self.registry
    }

    pub(crate) fn wallet(&self) -> Result<&Wallet, ClientError> {
        self.wallet.as_ref().ok_or_else(|| {
            ClientError::new(
                ErrorKind::NotConfigured,
                "this takes a wallet: set the identity in the configuration to a wallet's key",
            )
        })
    }

    /// Asks the registry's view as of now.
    pub(crate) async fn view<T>(&self, ask: impl FnOnce(&Registry) -> T) -> Result<T, ClientError> {
        let mut slot = self.follower.lock().await;
        if slot.is_none() {
            *slot = Some(Follower::new(self.rpc.clone(), FollowerConfig::default(), &self.deployment)?);
        }
        let Some(follower) = slot.as_mut() else {
            return Err(ClientError::new(ErrorKind::Unknown, "the chain is not followed"));
        };
        let until = Instant::now() + VIEW_WAIT_MAX;
        loop {
            let step = follower.step().await?;
            if step.synced {
                break;
            }
            if step.waiting {
                if Instant::now() >= until {
                    let from = self.deployment.block;
                    return Err(ClientError::new(
                        ErrorKind::Chain,
                        format!(
                            "the chain's head is below block {from}, from which the registry is read: check `from_block`"
                        ),
                    ));
                }
                tracing::info!(from = self.deployment.block, "waiting for the chain's first block to follow");
                tokio::time::sleep(Duration::from_millis(FollowerConfig::default().poll_ms)).await;
            }
        }
        Ok(ask(follower.view().registry()))
    }

    /// Whether an origin may publish, asked of the chain now and then.
    pub(crate) async fn may_publish(&self, stream: StreamId, origin: Origin) -> Result<bool, ClientError> {
        let account = origin.account();
        let key = (stream, account);
        let known = self.rights.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((may, when)) = known
            && when.elapsed() < RIGHT_AGE_MAX
        {
            return Ok(may);
        }
        let may = self.registry.can(stream, account, Right::Publish).await?;
        let mut rights = self.rights.lock().unwrap_or_else(PoisonError::into_inner);
        if rights.len() >= RIGHTS_MAX {
            rights.clear();
        }
        rights.insert(key, (may, Instant::now()));
        Ok(may)
    }
}
