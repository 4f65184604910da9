use crate::process::{Node, OWNER, READER, now_ms};
use mainstem_client::{
    ErrorKind, PermissionAssignment, ResendOptions, ResendRange, Start, StreamDefinition, SubscribeOptions,
};
use mainstem_crypto::SecretKey;
use mainstem_model::{Code, NewEvent, Partition, Right};
use std::time::{Duration, Instant};

/// Check C8 of the first issue.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_subscriber_gets_its_last_event_within_two_seconds_and_no_resend() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let (owner, reader) = (node.client(OWNER).await, node.client(READER).await);
    let id = owner.create_stream(StreamDefinition::default()).await.unwrap().id;
    let who = SecretKey::from_hex(READER).unwrap().address();
    let right = PermissionAssignment { user: Some(who), permissions: vec![Right::Subscribe], until: None };
    owner.grant_permissions(id, std::slice::from_ref(&right)).await.unwrap();
    let at = id.partition(Partition::ZERO);
    let publisher = owner.publisher(at).unwrap();
    let publish = async || publisher.publish(NewEvent::binary(now_ms(), vec![1].into())).await.unwrap().await;
    publish().await.unwrap();
    // The broker follows the chain: the reader's right shows a moment later.
    let mut events = loop {
        match reader.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await {
            Ok(events) => break events,
            Err(error) => assert_eq!(error.code, Some(Code::MissingPermission)),
        }
        publish().await.unwrap();
    };
    events.next().await.unwrap().unwrap();

    owner.revoke_permissions(id, &[right]).await.unwrap();
    let revoked = Instant::now();
    let ended = loop {
        publish().await.unwrap();
        match tokio::time::timeout(Duration::from_millis(20), events.next()).await {
            Ok(Some(Ok(_))) | Err(_) => assert!(revoked.elapsed() < Duration::from_secs(2), "still served"),
            Ok(Some(Err(error))) => break error,
            Ok(None) => panic!("the subscription ended without a word"),
        }
    };
    println!("ended {} ms after the block", revoked.elapsed().as_millis());
    assert!(revoked.elapsed() < Duration::from_secs(2));
    assert_eq!((ended.kind, ended.code), (ErrorKind::MissingPermission, Some(Code::MissingPermission)));
    let refused = match reader.resend(ResendOptions::new(at, ResendRange::Last(1))).await {
        Ok(mut resend) => resend.next().await.unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(refused.code, Some(Code::MissingPermission));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_is_told_so_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    let (owner, other) = (node.client(OWNER).await, node.client(READER).await);
    let id = owner.create_stream(StreamDefinition::default()).await.unwrap().id;
    let at = id.partition(Partition::ZERO);
    // The broker knows the stream once its owner's event is in.
    owner
        .publisher(at)
        .unwrap()
        .publish(NewEvent::binary(now_ms(), vec![1].into()))
        .await
        .unwrap()
        .await
        .unwrap();
    let publisher = other.publisher(at).unwrap();
    let receipt = publisher.publish(NewEvent::binary(now_ms(), vec![2].into())).await.unwrap();
    let refused = receipt.await.unwrap_err();
    assert_eq!(refused.code, Some(Code::MissingPermission));
    assert!(refused.message.contains("may not publish"), "{refused}");
}
