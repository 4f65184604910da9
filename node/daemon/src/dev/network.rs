//! The contracts on the development chain, and what its brokers need from them.

use crate::network::Network;
use anyhow::Context;
use mainstem_chain::{
    Call, Deployment, NetworkCoordinator, NetworkRules, Rpc, RpcConfig, Wallet, WalletConfig, deploy,
};
use mainstem_crypto::{Address, SecretKey};
use mainstem_devchain::dev_accounts;
use mainstem_model::{EpochNumber, Member};
use serde_json::json;
use std::{fs, path::Path, time::Duration};
use tokio::time::timeout;

/// What a broker's key is given for gas when it has less than a tenth of it: ten coins of the chain.
const GAS_WEI: u128 = 10 * 10_u128.pow(18);
/// The most blocks that are mined so that brokers join sooner: so many seconds may the chain's time run ahead.
const HASTEN_BLOCKS_MAX: u32 = 60;
/// How often is looked whether the brokers have begun an epoch.
const LOOK: Duration = Duration::from_millis(20);
/// How long the brokers may take beyond the two epochs that joining takes.
const JOIN_WAIT: Duration = Duration::from_secs(60);

/// The contracts of this chain, deployed at the first start with epochs of this length.
pub(super) async fn contracts(rpc_url: &str, file: &Path, epoch_seconds: u32) -> anyhow::Result<Deployment> {
    let rpc = Rpc::new(RpcConfig::one(rpc_url))?;
    if let Ok(text) = fs::read_to_string(file) {
        let deployment: Deployment = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; start with --reset", file.display()))?;
        if !rpc.code(deployment.stream_registry).await?.is_empty() {
            return Ok(deployment);
        }
    }
    let rules = NetworkRules { epoch_seconds, ..NetworkRules::default() };
    let deployment = deploy(&first_account(rpc)?, &rules).await?;
    fs::write(file, serde_json::to_vec_pretty(&deployment)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(deployment)
}

/// Gives these brokers gas, and the stake if they have none yet, out of the first account.
///
/// IMPORTANT: before anybody is told of the chain: somebody else may use that account from then on.
pub(super) async fn fund(rpc_url: &str, deployment: &Deployment, brokers: &[Address]) -> anyhow::Result<()> {
    let rpc = Rpc::new(RpcConfig::one(rpc_url))?;
    let coordinator = NetworkCoordinator::new(rpc.clone(), deployment);
    let purse = first_account(rpc.clone())?;
    let stake = coordinator.rules().await?.stake_min;
    for broker in brokers {
        if rpc.balance(*broker).await? < GAS_WEI / 10 {
            purse.send(Call::pay(*broker, GAS_WEI)).await?;
        }
        let (active_from, _) = coordinator.broker(*broker).await?;
        if active_from == 0 && deployment.balance(&rpc, *broker).await? < stake {
            purse.send(deployment.transfer(*broker, stake)).await?;
        }
    }
    Ok(())
}

/// Waits until all these brokers count.
pub(super) async fn all_active(
    network: Network,
    rpc_url: &str,
    deployment: &Deployment,
    brokers: &[Address],
) -> anyhow::Result<()> {
    let rpc = Rpc::new(RpcConfig::one(rpc_url))?;
    let coordinator = NetworkCoordinator::new(rpc.clone(), deployment);
    let epoch = Duration::from_secs(coordinator.rules().await?.epoch_seconds.into());
    let wait = epoch.saturating_mul(2).saturating_add(JOIN_WAIT);
    let active = all(network.clone(), brokers, |epoch, member| member.is_active(epoch));
    let joined = async {
        tokio::select! {
            active = active => active,
            hastened = hasten(&rpc, &coordinator, all(network, brokers, |_, _| true)) => hastened,
        }
    };
    timeout(wait, joined).await.context("not all brokers have become part of the network")?
}

/// Returns when all these brokers are members of which this is true.
async fn all(
    mut network: Network,
    brokers: &[Address],
    is: impl Fn(EpochNumber, &Member) -> bool,
) -> anyhow::Result<()> {
    let all = network.wait_for(|network| {
        let Some(network) = network else { return false };
        let assignment = &network.assignment;
        let is = |broker| assignment.members.get(broker).is_some_and(|member| is(assignment.epoch, member));
        brokers.iter().all(is)
    });
    all.await?;
    Ok(())
}

/// Mines empty blocks once all have registered, until the epoch can end. Each is a second later than the one before: the
/// chain's time runs ahead a little, and the wall clock catches up. Ends only with an error.
async fn hasten(
    rpc: &Rpc,
    coordinator: &NetworkCoordinator,
    registered: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    registered.await?;
    for _ in 0..HASTEN_BLOCKS_MAX {
        // The epoch's end is then for the brokers to see.
        while coordinator.is_useful().await? {
            tokio::time::sleep(LOOK).await;
        }
        rpc.write("evm_mine", json!([])).await?;
    }
    std::future::pending().await
}

fn first_account(rpc: Rpc) -> anyhow::Result<Wallet> {
    let key = SecretKey::from_hex(dev_accounts()[0].secret_key)?;
    let config = WalletConfig { receipt_interval_ms: 10, ..WalletConfig::default() };
    Ok(Wallet::new(rpc, key, config))
}
