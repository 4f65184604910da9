//! Chain writes in the name of the node's identities, for light clients.

use mainstem_api::{Manage, ManageAction};
use mainstem_chain::{ChainError, Deployment, NewStream, Receipt, Rpc, StreamRegistry, Wallet, WalletConfig};
use mainstem_crypto::SecretKey;
use mainstem_model::{Address, Code, Grant, Refusal, StreamId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};

/// How long the node's own view may take to show what was mined.
const VIEW_WAIT: Duration = Duration::from_secs(30);

/// The node's wallets and the contracts they call.
#[derive(Debug)]
pub(crate) struct Operator {
    registry: StreamRegistry,
    wallets: BTreeMap<Address, Wallet>,
    /// Number of the block that the node's view shows.
    view: watch::Receiver<u64>,
}

impl Operator {
    pub(crate) fn new(
        rpc: &Rpc,
        deployment: &Deployment,
        keys: &[SecretKey],
        config: &WalletConfig,
        view: watch::Receiver<u64>,
    ) -> Self {
        let wallet = |key: &SecretKey| (key.address(), Wallet::new(rpc.clone(), key.clone(), config.clone()));
        Self {
            registry: StreamRegistry::new(rpc.clone(), deployment),
            wallets: keys.iter().map(wallet).collect(),
            view,
        }
    }

    /// Does what is asked, each on its own task; a wallet sends one transaction at a time by itself.
    pub(crate) async fn run(self, mut asked: mpsc::Receiver<Manage>) {
        let operator = Arc::new(self);
        while let Some(Manage { identity, action, reply }) = asked.recv().await {
            let operator = operator.clone();
            tokio::spawn(async move {
                // Whoever asked may be gone.
                drop(reply.send(operator.perform(identity, action).await));
            });
        }
    }

    async fn perform(&self, identity: Address, action: ManageAction) -> Result<StreamId, Refusal> {
        let wallet = self.wallets.get(&identity).ok_or_else(|| {
            Refusal::new(Code::MissingPermission, format!("the node has no key of {identity} to sign with"))
        })?;
        let (stream, receipt) = self.send(wallet, action).await.map_err(|error| refusal(&error))?;
        if let Some(receipt) = receipt {
            let mut view = self.view.clone();
            let shown = view.wait_for(|block| *block >= receipt.block_number);
            if tokio::time::timeout(VIEW_WAIT, shown).await.is_err() {
                return Err(Refusal::new(
                    Code::ChainUnavailable,
                    "the change is on the chain, but the node has not seen it yet; look again in a moment",
                ));
            }
        }
        Ok(stream)
    }

    async fn send(
        &self,
        wallet: &Wallet,
        action: ManageAction,
    ) -> Result<(StreamId, Option<Receipt>), ChainError> {
        match action {
            ManageAction::Create { metadata, path, grants } => {
                let stream = NewStream { metadata, path, grants, salt: None };
                let (id, receipt) = self.registry.create_stream(wallet, &stream).await?;
                Ok((id, Some(receipt)))
            }
            ManageAction::SetMetadata { stream, metadata } => {
                Ok((stream, Some(self.registry.set_metadata(wallet, stream, &metadata).await?)))
            }
            ManageAction::Grant { stream, grants } => {
                let (revoked, granted): (Vec<_>, Vec<_>) =
                    grants.into_iter().partition(|(_, g)| *g == Grant::NONE);
                let mut last = None;
                if !granted.is_empty() {
                    last = Some(self.registry.grant_many(wallet, stream, &granted).await?);
                }
                for (who, _) in revoked {
                    last = Some(self.registry.revoke(wallet, stream, who).await?);
                }
                Ok((stream, last))
            }
            ManageAction::Remove { stream } => {
                Ok((stream, Some(self.registry.remove(wallet, stream).await?)))
            }
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest, known and to come, is trouble with the chain")]
fn refusal(error: &ChainError) -> Refusal {
    let code = match error {
        ChainError::Revert(_) => Code::MissingPermission,
        ChainError::Config(_) => Code::InvalidArgument,
        _ => Code::ChainUnavailable,
    };
    Refusal::new(code, error.to_string())
}
