//! Chain writes in the name of the node's identities, for light clients.

use crate::cli::failure::is_about_rights;
use mainstem_api::{Manage, ManageAction};
use mainstem_chain::{ChainError, Deployment, NewStream, Receipt, Rpc, StreamRegistry, Wallet, WalletConfig};
use mainstem_crypto::SecretKey;
use mainstem_model::{Address, Code, Refusal, StreamId};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

/// How long the node's own view may take to show what was mined.
const VIEW_WAIT: Duration = Duration::from_secs(30);

/// The node's wallets and the contracts they call.
#[derive(Debug)]
pub(crate) struct Operator {
    registry: StreamRegistry,
    wallets: BTreeMap<Address, Wallet>,
    /// Number of the block that the node's view shows.
    view: watch::Receiver<u64>,
    /// Held from reading an account's rights until the transaction that sets them is mined; a stream has one of them.
    granting: [Mutex<()>; LOCKS],
    running_max: usize,
}

/// Streams share locks only now and then.
const LOCKS: usize = 64;

impl Operator {
    pub(crate) fn new(
        rpc: &Rpc,
        deployment: &Deployment,
        keys: &[SecretKey],
        config: &WalletConfig,
        running_max: usize,
        view: watch::Receiver<u64>,
    ) -> Self {
        let wallet = |key: &SecretKey| (key.address(), Wallet::new(rpc.clone(), key.clone(), config.clone()));
        Self {
            registry: StreamRegistry::new(rpc.clone(), deployment),
            wallets: keys.iter().map(wallet).collect(),
            view,
            granting: [const { Mutex::const_new(()) }; LOCKS],
            running_max: running_max.max(1),
        }
    }

    /// Does what is asked, up to `running_max` at a time; what is more waits in `asked`.
    pub(crate) async fn run(self, mut asked: mpsc::Receiver<Manage>) {
        let places = Arc::new(Semaphore::new(self.running_max));
        let operator = Arc::new(self);
        // IMPORTANT: a place first: what was taken out of the queue no longer counts towards its bound.
        while let Ok(place) = places.clone().acquire_owned().await {
            let Some(manage) = asked.recv().await else { return };
            let operator = operator.clone();
            tokio::spawn(async move {
                operator.serve(manage).await;
                drop(place);
            });
        }
    }

    async fn serve(&self, Manage { identity, action, mut reply }: Manage) {
        let turn = match action {
            ManageAction::Grant { stream, .. } | ManageAction::Revoke { stream, .. } => {
                let lock = &self.granting[usize::from(stream.0.as_bytes()[19]) % LOCKS];
                tokio::select! {
                    biased;
                    () = reply.closed() => return,
                    turn = lock.lock() => Some(turn),
                }
            }
            ManageAction::Create { .. } | ManageAction::SetMetadata { .. } | ManageAction::Remove { .. } => {
                None
            }
        };
        // Whoever asked was told that it is not known what becomes of this; what has not begun does not begin any more.
        if reply.is_closed() {
            return;
        }
        // Once begun it goes on to its end: a transaction that was sent cannot be taken back.
        let done = self.perform(identity, action).await;
        drop(turn);
        // Whoever asked may be gone.
        drop(reply.send(done));
    }

    async fn perform(&self, identity: Address, action: ManageAction) -> Result<StreamId, Refusal> {
        let wallet = self.wallets.get(&identity).ok_or_else(|| {
            Refusal::new(Code::MissingPermission, format!("the node has no key of {identity} to sign with"))
        })?;
        let (stream, receipt) = self.send(wallet, action).await.map_err(|error| refusal(&error))?;
        let mut view = self.view.clone();
        let shown = view.wait_for(|block| *block >= receipt.block_number);
        if tokio::time::timeout(VIEW_WAIT, shown).await.is_err() {
            return Err(Refusal::new(
                Code::ChainUnavailable,
                "the change is on the chain, but the node has not seen it yet; look again in a moment",
            ));
        }
        Ok(stream)
    }

    async fn send(&self, wallet: &Wallet, action: ManageAction) -> Result<(StreamId, Receipt), ChainError> {
        match action {
            ManageAction::Create { metadata, path, grants } => {
                let stream = NewStream { metadata, path, grants, salt: None };
                let (id, receipt) = self.registry.create_stream(wallet, &stream).await?;
                Ok((id, receipt))
            }
            ManageAction::SetMetadata { stream, metadata } => {
                Ok((stream, self.registry.set_metadata(wallet, stream, &metadata).await?))
            }
            ManageAction::Grant { stream, account, rights } => {
                let now = self.registry.permission(stream, account).await?;
                Ok((stream, self.registry.grant(wallet, stream, account, rights.to(now)).await?))
            }
            ManageAction::Revoke { stream, account } => {
                Ok((stream, self.registry.revoke(wallet, stream, account).await?))
            }
            ManageAction::Remove { stream } => Ok((stream, self.registry.remove(wallet, stream).await?)),
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the rest, known and to come, is trouble with the chain")]
fn refusal(error: &ChainError) -> Refusal {
    let code = match error {
        ChainError::Revert(revert) => refused_as(&revert.name),
        ChainError::Config(_) | ChainError::Argument(_) => Code::InvalidArgument,
        _ => Code::ChainUnavailable,
    };
    Refusal::new(code, error.to_string())
}

/// What an error of our contracts is to a client.
fn refused_as(name: &str) -> Code {
    if is_about_rights(name) {
        return Code::MissingPermission;
    }
    match name {
        "RegistryUnknownStream" | "StreamIsRemoved" => Code::StreamNotFound,
        // The rest is about what was asked for: a path that is taken, metadata that are too long, flags that do not exist.
        _ => Code::InvalidArgument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_api::AddedRights;
    use mainstem_chain::{NetworkRules, RpcConfig, deploy};
    use mainstem_devchain::{SharedDevChain, dev_accounts};
    use mainstem_model::Grant;
    use tokio::{net::TcpListener, sync::oneshot};

    const BOB: Address = Address([0xb0; 20]);

    /// A chain with the contracts, a stream of the first account, and the operator that has its key.
    struct Rig {
        registry: StreamRegistry,
        wallet: Wallet,
        stream: StreamId,
        manage: mpsc::Sender<Manage>,
        _view: watch::Sender<u64>,
    }

    impl Rig {
        async fn start(running_max: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("chain.log");
            let chain = SharedDevChain::open(mainstem_devchain::Config::default(), file).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let rpc = Rpc::new(RpcConfig::one(format!("http://{}", listener.local_addr().unwrap()))).unwrap();
            tokio::spawn(async move {
                let _folder = folder;
                drop(mainstem_devchain::serve(listener, chain, std::future::pending()).await);
            });
            let config = WalletConfig { receipt_interval_ms: 5, ..WalletConfig::default() };
            let key = SecretKey::from_hex(dev_accounts()[0].secret_key).unwrap();
            let wallet = Wallet::new(rpc.clone(), key.clone(), config.clone());
            let deployment = deploy(&wallet, &NetworkRules::default()).await.unwrap();
            let registry = StreamRegistry::new(rpc.clone(), &deployment);
            let new = NewStream { metadata: "{}".into(), path: None, grants: Vec::new(), salt: None };
            let (stream, _) = registry.create_stream(&wallet, &new).await.unwrap();
            // The view shows everything at once; what it shows besides is not asked for.
            let (view, viewed) = watch::channel(u64::MAX);
            let (manage, managed) = mpsc::channel(2);
            let operator = Operator::new(&rpc, &deployment, &[key], &config, running_max, viewed);
            tokio::spawn(operator.run(managed));
            Self { registry, wallet, stream, manage, _view: view }
        }

        async fn ask(&self, action: ManageAction) -> oneshot::Receiver<Result<StreamId, Refusal>> {
            let (reply, answer) = oneshot::channel();
            let manage = Manage { identity: self.wallet.address(), action, reply };
            self.manage.send(manage).await.unwrap();
            answer
        }

        fn grant(&self, rights: AddedRights) -> ManageAction {
            ManageAction::Grant { stream: self.stream, account: BOB, rights }
        }

        async fn bobs(&self) -> Grant {
            self.registry.permission(self.stream, BOB).await.unwrap()
        }
    }

    const READS: AddedRights =
        AddedRights { subscribe_until: Some(Grant::FOREVER), publish_until: None, flags: 0 };
    const PUBLISHES: AddedRights =
        AddedRights { subscribe_until: None, publish_until: Some(Grant::FOREVER), flags: 0 };

    #[tokio::test]
    async fn rights_are_added_to_what_the_chain_has_and_none_is_lost_or_comes_back() {
        let rig = Rig::start(8).await;
        // Two at once: neither must be sent without the other.
        let (reads, publishes) = (rig.ask(rig.grant(READS)).await, rig.ask(rig.grant(PUBLISHES)).await);
        reads.await.unwrap().unwrap();
        publishes.await.unwrap().unwrap();
        let both = Grant { subscribe_until: Grant::FOREVER, publish_until: Grant::FOREVER, flags: 0 };
        assert_eq!(rig.bobs().await, both);
        // Taken away by another way than this node.
        rig.registry.revoke(&rig.wallet, rig.stream, BOB).await.unwrap();
        rig.ask(rig.grant(READS)).await.await.unwrap().unwrap();
        assert_eq!(rig.bobs().await, Grant { publish_until: 0, ..both });
        rig.ask(ManageAction::Revoke { stream: rig.stream, account: BOB }).await.await.unwrap().unwrap();
        assert_eq!(rig.bobs().await, Grant::NONE);
    }

    #[tokio::test]
    async fn what_the_contract_refuses_has_the_code_of_its_reason() {
        let rig = Rig::start(8).await;
        let stream = rig.stream;
        let long = ManageAction::SetMetadata { stream, metadata: "x".repeat(5_000) };
        assert_eq!(rig.ask(long).await.await.unwrap().unwrap_err().code, Code::InvalidArgument);
        let create =
            || ManageAction::Create { metadata: "{}".into(), path: Some("a".into()), grants: Vec::new() };
        rig.ask(create()).await.await.unwrap().unwrap();
        assert_eq!(rig.ask(create()).await.await.unwrap().unwrap_err().code, Code::InvalidArgument);
        rig.ask(ManageAction::Remove { stream }).await.await.unwrap().unwrap();
        let again = ManageAction::SetMetadata { stream, metadata: "{}".into() };
        assert_eq!(rig.ask(again).await.await.unwrap().unwrap_err().code, Code::StreamNotFound);
        assert_eq!(refused_as("StreamMissingRight"), Code::MissingPermission);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_begun_and_what_is_too_much_does_not_fit() {
        let rig = Rig::start(1).await;
        // On one thread, so that the operator takes nothing in between.
        drop(rig.ask(rig.grant(PUBLISHES)).await);
        let reads = rig.ask(rig.grant(READS)).await;
        let (reply, _answer) = oneshot::channel();
        let third = Manage { identity: rig.wallet.address(), action: rig.grant(READS), reply };
        assert!(rig.manage.try_send(third).is_err(), "the queue has a bound of two");
        reads.await.unwrap().unwrap();
        assert_eq!(rig.bobs().await, READS.to(Grant::NONE), "it was begun although nobody waited");
        // While one is under way the next ones stay in the queue.
        let under_way = rig.ask(rig.grant(PUBLISHES)).await;
        tokio::task::yield_now().await;
        let _waiting = (rig.ask(rig.grant(READS)).await, rig.ask(rig.grant(READS)).await);
        let (reply, _answer) = oneshot::channel();
        let more = Manage { identity: rig.wallet.address(), action: rig.grant(READS), reply };
        assert!(rig.manage.try_send(more).is_err(), "requests are begun without a bound");
        under_way.await.unwrap().unwrap();
    }
}
