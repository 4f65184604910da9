//! Streams and rights over a chain of our own, and a broker that follows it.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and prints its seed"
)]

mod support;

use mainstem_chain::{
    Deployment, Follower, FollowerConfig, NetworkRules, Rpc, RpcConfig, Wallet, WalletConfig, deploy,
};
use mainstem_client::{
    ChainConfig, Client, ErrorKind, Identity, PermissionAssignment, PublishOptions, ResendOptions,
    ResendRange, Start, StreamDefinition, StreamName, StreamSearch, SubscribeOptions,
};
use mainstem_crypto::SecretKey;
use mainstem_devchain::{Config, SharedDevChain, dev_accounts, serve};
use mainstem_model::{Grant, Partition, PartitionKey, Right};
use std::{sync::Arc, time::Duration};
use support::{Broker, Setup, config, next, soon};
use tokio::net::TcpListener;

struct World {
    url: String,
    broker: Arc<Broker>,
    deployment: Deployment,
}

fn secret(n: usize) -> SecretKey {
    SecretKey::from_hex(dev_accounts()[n].secret_key).unwrap()
}

impl World {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let chain = SharedDevChain::in_memory(Config::default());
        tokio::spawn(async move { serve(listener, chain, std::future::pending()).await.unwrap() });
        let rpc = Rpc::new(RpcConfig::one(&url)).unwrap();
        let deployment =
            deploy(&Wallet::new(rpc.clone(), secret(0), WalletConfig::default()), &NetworkRules::default())
                .await
                .unwrap();
        let setup = Setup { network: Some(deployment.network()), ..Setup::default() };
        let broker = Arc::new(Broker::with(setup).await);
        let mut follower = Follower::new(rpc, FollowerConfig::default(), &deployment).unwrap();
        let following = Arc::downgrade(&broker);
        tokio::spawn(async move {
            while let Some(broker) = following.upgrade() {
                for change in follower.step().await.unwrap().changes {
                    broker.apply(change);
                }
                drop(broker);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self { url, broker, deployment }
    }

    async fn client(&self, account: usize) -> Client {
        let mut config = config(&self.broker, 1);
        config.network = self.deployment.network();
        config.identity = Identity::Wallet(secret(account));
        let mut chain = ChainConfig::new(&self.url);
        chain.wallet.receipt_interval_ms = 5;
        chain.from_block = self.deployment.block;
        config.chain = Some(chain);
        Client::connect(config).await.unwrap()
    }
}

fn assigned(user: Option<mainstem_model::Address>, permissions: &[Right]) -> PermissionAssignment {
    PermissionAssignment { user, permissions: permissions.to_vec(), until: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_lives_from_creation_to_removal() {
    let world = World::new().await;
    let (alice, bob) = (world.client(1).await, world.client(2).await);
    let (alice_address, bob_address) = (alice.address().unwrap(), bob.address().unwrap());

    let definition = StreamDefinition::new("weather/berlin").partitions(3).grant(None, &[Right::Subscribe]);
    let stream = soon(alice.create_stream(definition.clone())).await.unwrap();
    assert_eq!((stream.owner, stream.partitions), (alice_address, 3));
    assert_eq!(soon(bob.get_stream(stream.id)).await.unwrap(), stream);
    let alias: StreamName = format!("{alice_address}/weather/berlin").parse().unwrap();
    assert_eq!(soon(bob.get_stream(alias)).await.unwrap().id, stream.id);
    assert_eq!(soon(alice.get_or_create_stream(definition)).await.unwrap().id, stream.id);

    // All partitions, publishers checked against the chain, keys as Streamr's.
    let mut options = SubscribeOptions::new(stream.id).start(Start::From(0));
    options.check_publishers = true;
    let mut events = soon(bob.subscribe(options)).await.unwrap();
    for text in ["a", "b", "c", "d"] {
        let key = PartitionKey::Text(text.into());
        let options = PublishOptions { partition_key: Some(key.clone()), ..PublishOptions::default() };
        let published = soon(alice.publish(stream.id, text, options).await.unwrap()).await.unwrap();
        assert_eq!(published.stream_partition.partition, Partition::of_key(&key, 3));
        assert_eq!(next(&mut events).await.content().as_ref(), text.as_bytes());
    }

    // Rights come and go.
    let refused = bob.publish(stream.id, "x", PublishOptions::default()).await.unwrap().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::MissingPermission);
    assert!(!soon(alice.has_permission(stream.id, Some(bob_address), Right::Publish)).await.unwrap());
    let grants =
        [assigned(Some(bob_address), &[Right::Publish]), assigned(Some(bob_address), &[Right::Edit])];
    soon(alice.grant_permissions(stream.id, &grants)).await.unwrap();
    for right in [Right::Publish, Right::Edit, Right::Subscribe] {
        assert!(soon(alice.has_permission(stream.id, Some(bob_address), right)).await.unwrap(), "{right:?}");
    }
    assert!(soon(alice.has_permission(stream.id, None, Right::Subscribe)).await.unwrap());
    assert!(!soon(alice.has_permission(stream.id, None, Right::Publish)).await.unwrap());
    let held = soon(bob.get_permissions(stream.id)).await.unwrap();
    assert!(held.contains(&assigned(Some(bob_address), &[Right::Edit, Right::Publish])), "{held:?}");
    assert!(held.contains(&assigned(None, &[Right::Subscribe])), "{held:?}");
    soon(async {
        while bob.publish(stream.id, "y", PublishOptions::default()).await.is_err()
            || bob.flush().await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    soon(alice.revoke_permissions(stream.id, &[assigned(Some(bob_address), &[Right::Publish, Right::Edit])]))
        .await
        .unwrap();
    assert!(!soon(alice.has_permission(stream.id, Some(bob_address), Right::Publish)).await.unwrap());
    let not_his = soon(bob.grant_permissions(stream.id, &grants)).await.unwrap_err();
    assert_eq!(not_his.kind, ErrorKind::Chain);

    // Found, changed, gone.
    let search = StreamSearch {
        term: Some("berlin".into()),
        user: Some(alice_address),
        all_of: vec![Right::Publish, Right::Delete],
        owner: Some(alice_address),
    };
    assert_eq!(soon(bob.search_streams(&search)).await.unwrap().len(), 1);
    let other = StreamSearch { term: Some("tokyo".into()), ..search };
    assert_eq!(soon(bob.search_streams(&other)).await.unwrap().len(), 0);
    let metadata = serde_json::from_str(r#"{"partitions": 5, "description": "rain"}"#).unwrap();
    soon(alice.set_stream_metadata(stream.id, metadata)).await.unwrap();
    assert_eq!(soon(bob.get_stream(stream.id)).await.unwrap().partitions, 5);
    soon(alice.delete_stream(stream.id)).await.unwrap();
    assert_eq!(soon(bob.get_stream(stream.id)).await.unwrap_err().kind, ErrorKind::StreamNotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_delivers_what_may_not_be_published_is_found_out() {
    let world = World::new().await;
    let alice = world.client(1).await;
    let stream = soon(alice.create_stream(StreamDefinition::new("private"))).await.unwrap();
    // The broker thinks that Bob may.
    let bob = world.client(2).await;
    let all = Grant { subscribe_until: Grant::FOREVER, publish_until: Grant::FOREVER, flags: 0 };
    let grant = mainstem_model::RegistryChange::Grant(stream.id, bob.address().unwrap(), all);
    world.broker.apply(grant);
    soon(bob.publish(stream.id, "false", PublishOptions::default()).await.unwrap()).await.unwrap();
    let at = stream.id.partition(Partition::ZERO);
    let mut options = SubscribeOptions::new(at).start(Start::Last(1));
    options.check_publishers = true;
    let mut checking = soon(alice.subscribe(options)).await.unwrap();
    // Today's rights say nothing about the past.
    assert_eq!(next(&mut checking).await.content().as_ref(), b"false");
    let mut trusting = soon(alice.resend(ResendOptions::new(at, ResendRange::Last(1)))).await.unwrap();
    assert_eq!(next(&mut trusting).await.content().as_ref(), b"false");
    // More often than a broker may be wrong: each is passed over, and the connection stays.
    for _ in 0..10 {
        soon(bob.publish(stream.id, "false", PublishOptions::default()).await.unwrap()).await.unwrap();
        assert_eq!(soon(checking.next()).await.unwrap().unwrap_err().kind, ErrorKind::MissingPermission);
    }
    soon(alice.publish(stream.id, "true", PublishOptions::default()).await.unwrap()).await.unwrap();
    assert_eq!(next(&mut checking).await.content().as_ref(), b"true");
}
