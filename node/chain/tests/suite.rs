//! The same transactions on our development chain and on anvil: receipts agree in status, gas and logs, to the unit.
//! What a gas costs does not: anvil has a base fee, ours has none.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test prints its figures and fails by panicking"
)]

mod common;

use common::{Chain, metadata};
use mainstem_chain::{Call, ChainError, NewStream, Receipt, Revert, StreamRegistry, Wallet, WalletConfig};
use mainstem_crypto::{Address, SecretKey, keccak256};
use mainstem_devchain::dev_accounts;
use mainstem_model::{Grant, Right, StreamId};
use serde_json::json;

/// A second far ahead, the same on both chains, as arguments are paid by their bytes.
const LATER: u64 = 4_000_000_000;

/// Address, topics, data, index.
type LogOutcome = (Address, Vec<[u8; 32]>, Vec<u8>, u64);

/// What must agree of a transaction.
#[derive(Debug, PartialEq)]
struct Outcome {
    name: &'static str,
    success: bool,
    gas_used: u64,
    contract: Option<Address>,
    logs: Vec<LogOutcome>,
    revert: Option<(String, String)>,
}

#[derive(Default)]
struct Outcomes(Vec<Outcome>);

impl Outcomes {
    fn add(&mut self, name: &'static str, receipt: &Receipt, revert: Option<&Revert>) {
        let logs = receipt
            .logs
            .iter()
            .map(|log| (log.address, log.topics.clone(), log.data.clone(), log.index))
            .collect();
        self.0.push(Outcome {
            name,
            success: receipt.success,
            gas_used: receipt.gas_used,
            contract: receipt.contract,
            logs,
            revert: revert.map(|revert| (revert.name.clone(), revert.message.clone())),
        });
    }

    fn done(&mut self, name: &'static str, receipt: Result<Receipt, ChainError>) {
        self.add(name, &receipt.unwrap_or_else(|error| panic!("{name}: {error}")), None);
    }

    /// Refused when estimated, so nothing is mined; and refused when mined.
    async fn refused(&mut self, name: &'static str, error: &str, wallet: &Wallet, call: Call) {
        let Err(ChainError::Revert(early)) = wallet.send(call.clone()).await else { panic!("{name}") };
        assert_eq!((early.name.as_str(), early.transaction), (error, None), "{name}");
        assert!(!early.message.contains("the contract refused:"), "{name} has no sentence: {early}");
        let forced = Call { gas: Some(300_000), ..call };
        let Err(ChainError::Revert(late)) = wallet.send(forced).await else { panic!("{name}") };
        assert_eq!(late.data, early.data, "{name}");
        let receipt = wallet.rpc().receipt(late.transaction.unwrap()).await.unwrap().unwrap();
        assert!(!receipt.success);
        self.add(name, &receipt, Some(&late));
    }
}

fn call(id: StreamId, signature: &str, words: &[[u8; 32]]) -> Call {
    let selector = keccak256(signature.as_bytes())[..4].to_vec();
    Call::to(id.0, words.iter().fold(selector, |data, word| [&data[..], word].concat()))
}

fn word(address: Address) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(address.as_bytes());
    word
}

fn number(n: u64) -> [u8; 32] {
    let mut word = [0; 32];
    word[24..].copy_from_slice(&n.to_be_bytes());
    word
}

async fn run(chain: &Chain) -> Outcomes {
    let mut out = Outcomes::default();
    let (alice, bob, carol) = (chain.wallet(0), chain.wallet(1), chain.wallet(2));
    let (deployment, registry) = chain.deploy().await;
    for block in 1..=3 {
        let block = chain.rpc().read("eth_getBlockByNumber", json!([format!("{block:#x}"), false])).await;
        let hash = block.unwrap()["transactions"][0].as_str().unwrap()[2..].to_owned();
        let hash: [u8; 32] = hex::decode(hash).unwrap().try_into().unwrap();
        out.add("deploy", &chain.rpc().receipt(hash).await.unwrap().unwrap(), None);
    }
    assert_eq!(deployment.network().chain_id, 31_337);

    let unlisted = NewStream { metadata: metadata(1, "plain"), salt: Some([1; 32]), ..NewStream::default() };
    let (plain, receipt) = registry.create_stream(&alice, &unlisted).await.unwrap();
    out.add("create unlisted", &receipt, None);
    let listed = NewStream {
        metadata: metadata(3, "listed"),
        path: Some("weather/north".to_owned()),
        grants: vec![
            (Address::ZERO, Grant { subscribe_until: Grant::FOREVER, ..Grant::NONE }),
            (bob.address(), Grant { publish_until: LATER, flags: Grant::GRANT, ..Grant::NONE }),
        ],
        salt: None,
    };
    let (id, receipt) = registry.create_stream(&alice, &listed).await.unwrap();
    out.add("create listed with two grants", &receipt, None);
    records(&registry, id, plain, &alice, &bob).await;

    out.done("set metadata", registry.set_metadata(&alice, id, &metadata(5, "renamed")).await);
    let grant = Grant { subscribe_until: LATER, publish_until: LATER, flags: 0 };
    out.done("grant, new", registry.grant(&bob, id, carol.address(), grant).await);
    let changed = Grant { subscribe_until: LATER + 9, ..grant };
    out.done("grant, change", registry.grant(&alice, id, carol.address(), changed).await);
    let many: Vec<_> = (1..=5).map(|n| (Address([n; 20]), grant)).collect();
    out.done("grant many, 5", registry.grant_many(&alice, id, &many).await);
    out.done("revoke", registry.revoke(&alice, id, Address([1; 20])).await);
    out.done("drop own rights", registry.revoke(&carol, id, carol.address()).await);
    out.done("set key", registry.set_key(&carol, id, 0, [7; 32]).await);
    assert_eq!(registry.key(id, carol.address()).await.unwrap(), Some((0, [7; 32])));
    out.done("bump key epoch", registry.bump_key_epoch(&bob, id).await);
    out.done("revoke delegation", registry.revoke_delegation(&carol, [3; 32]).await);
    assert!(registry.is_revoked(carol.address(), [3; 32]).await.unwrap());
    assert!(!registry.is_revoked(alice.address(), [3; 32]).await.unwrap());

    refusals(&mut out, &registry, (id, plain), (&alice, &bob, &carol)).await;

    out.done("list", registry.list(&alice, plain, "plain").await);
    assert_eq!(registry.alias(alice.address(), "plain").await.unwrap(), Some(plain));
    out.done("unlist", registry.unlist(&alice, plain).await);
    out.done("offer ownership", registry.offer_ownership(&alice, plain, bob.address()).await);
    out.done("accept ownership", registry.accept_ownership(&bob, plain).await);
    assert_eq!(registry.stream(plain).await.unwrap().unwrap().owner, bob.address());
    assert_eq!(registry.permission(plain, alice.address()).await.unwrap(), Grant::NONE);
    out.done("remove", registry.remove(&bob, plain).await);
    assert_eq!(registry.stream(plain).await.unwrap(), None);
    out.refused("after removal", "StreamIsRemoved", &bob, call(plain, "bumpKeyEpoch()", &[])).await;

    expiry(chain, &registry, id, bob.address()).await;
    out
}

async fn records(registry: &StreamRegistry, id: StreamId, plain: StreamId, alice: &Wallet, bob: &Wallet) {
    let record = registry.stream(id).await.unwrap().unwrap();
    assert_eq!((record.partitions, record.path.as_deref()), (3, Some("weather/north")));
    assert_eq!(record.owner, alice.address());
    assert_eq!(registry.alias(alice.address(), "weather/north").await.unwrap(), Some(id));
    assert_eq!(registry.stream(plain).await.unwrap().unwrap().path, None);
    assert_eq!(registry.stream(StreamId(Address([9; 20]))).await.unwrap(), None);
    let expected = Grant { publish_until: LATER, flags: Grant::GRANT, ..Grant::NONE };
    assert_eq!(registry.permission(id, bob.address()).await.unwrap(), expected);
    for (who, right, held) in [
        (Address([1; 20]), Right::Subscribe, true),
        (Address([1; 20]), Right::Publish, false),
        (bob.address(), Right::Publish, true),
        (bob.address(), Right::Grant, true),
        (bob.address(), Right::Edit, false),
        (alice.address(), Right::Delete, true),
    ] {
        assert_eq!(registry.can(id, who, right).await.unwrap(), held, "{who} {right:?}");
    }
}

async fn refusals(
    out: &mut Outcomes,
    registry: &StreamRegistry,
    (id, plain): (StreamId, StreamId),
    (alice, bob, carol): (&Wallet, &Wallet, &Wallet),
) {
    let grant = |who: Address, flags: u64| {
        let words = [word(who), number(1), number(1), number(flags)];
        call(id, "grant(address,uint40,uint40,uint8)", &words)
    };
    let stranger = Address([8; 20]);
    out.refused("grant by a stranger", "StreamMissingRight", carol, grant(stranger, 0)).await;
    out.refused("flags by a granter", "StreamFlagsNotYours", bob, grant(stranger, 2)).await;
    out.refused("flags for everyone", "StreamPublicFlags", alice, grant(Address::ZERO, 1)).await;
    out.refused("unknown flags", "StreamUnknownFlags", alice, grant(stranger, 8)).await;
    out.refused("owner without grant", "StreamOwnerKeepsGrant", alice, grant(alice.address(), 2)).await;
    let revoke = call(id, "revoke(address)", &[word(alice.address())]);
    out.refused("revoke the owner", "StreamOwnerKeepsGrant", alice, revoke).await;
    out.refused("not offered", "StreamNotOffered", carol, call(id, "acceptOwnership()", &[])).await;
    let offer = call(id, "offerOwnership(address)", &[word(carol.address())]);
    out.refused("offer another's", "StreamNotOwner", carol, offer).await;
    out.refused("remove by a stranger", "StreamMissingRight", carol, call(id, "remove()", &[])).await;
    let of_registry = StreamId(registry.network().registry);
    let unlist = call(of_registry, "unlist(address)", &[word(plain.0)]);
    out.refused("unlist what is not listed", "RegistryNotListed", alice, unlist).await;
    let again = NewStream { metadata: "{}".to_owned(), salt: Some([1; 32]), ..NewStream::default() };
    let (_, again) = registry.prepare_stream(alice.address(), &again).await.unwrap();
    out.refused("the same salt again", "FailedDeployment", alice, again).await;
    let taken = NewStream {
        metadata: "{}".to_owned(),
        path: Some("weather/north".to_owned()),
        salt: Some([2; 32]),
        ..NewStream::default()
    };
    let (_, taken) = registry.prepare_stream(alice.address(), &taken).await.unwrap();
    out.refused("a path that is taken", "RegistryPathTaken", alice, taken).await;
}

/// A right ends after its last second.
async fn expiry(chain: &Chain, registry: &StreamRegistry, id: StreamId, bob: Address) {
    let at = |block: u64| {
        let data = call(id, "can(address,uint8)", &[word(bob), number(Right::Publish as u64)]).data;
        async move {
            let tag = mainstem_chain::BlockTag::Number(block);
            chain.rpc().call(id.0, &data, tag).await.unwrap()[31] == 1
        }
    };
    chain.mine_at(LATER).await;
    let block = chain.rpc().block_number().await.unwrap();
    assert!(at(block).await);
    chain.mine_at(LATER + 1).await;
    assert!(!at(block + 1).await);
    assert!(!registry.can(id, bob, Right::Publish).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_chains_give_the_same_receipts() {
    let ours = run(&Chain::dev().await).await;
    let theirs = run(&Chain::anvil()).await;
    for outcome in &ours.0 {
        println!(
            "{:>9} gas  {}  {}",
            outcome.gas_used,
            if outcome.success { "ok " } else { "rev" },
            outcome.name
        );
    }
    for (ours, theirs) in ours.0.iter().zip(&theirs.0) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.0.len(), theirs.0.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_sent_at_once_by_one_wallet_all_arrive() {
    for chain in [Chain::dev().await, Chain::anvil()] {
        let (_, registry) = chain.deploy().await;
        let wallet = chain.wallet(0);
        let tasks: Vec<_> = (0..20_u8)
            .map(|n| {
                let (registry, wallet) = (registry.clone(), wallet.clone());
                tokio::spawn(async move { registry.revoke_delegation(&wallet, [n; 32]).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        // A second wallet with the same key knows nothing of that; the first then has a nonce that is too low.
        let other = chain.wallet(0);
        registry.revoke_delegation(&other, [30; 32]).await.unwrap();
        registry.revoke_delegation(&wallet, [31; 32]).await.unwrap();
        for n in (0..20).chain([30, 31]) {
            assert!(registry.is_revoked(wallet.address(), [n; 32]).await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_before_it_is_sent() {
    let chain = Chain::anvil();
    let (_, registry) = chain.deploy().await;
    let wallet = chain.wallet(0);
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(4096));
    for (metadata, path) in
        [("no json", None), ("[]", None), (long.as_str(), None), ("{}", Some("")), ("", None)]
    {
        let stream = NewStream {
            metadata: metadata.to_owned(),
            path: path.map(str::to_owned),
            ..NewStream::default()
        };
        let refused = registry.create_stream(&wallet, &stream).await;
        assert!(matches!(refused, Err(ChainError::Argument(_))), "{refused:?}");
    }
    let config = WalletConfig { fee_wei_max: Some(1), ..WalletConfig::default() };
    let key = SecretKey::from_hex(dev_accounts()[0].secret_key).unwrap();
    let stingy = Wallet::new(chain.rpc(), key, config);
    let refused = stingy.send(Call::pay(Address([1; 20]), 1)).await;
    assert!(matches!(refused, Err(ChainError::FeeTooHigh { .. })), "{refused:?}");
    let poor = Wallet::new(chain.rpc(), SecretKey::from_bytes(&[5; 32]).unwrap(), WalletConfig::default());
    let refused = poor.send(Call::pay(Address([1; 20]), 10)).await;
    assert!(matches!(refused, Err(ChainError::Rpc { .. })), "{refused:?}");
}
