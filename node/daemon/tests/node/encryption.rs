//! Sealed events in a whole node: `tools/plugins.sh` has built the plugin.

use crate::{
    plugins::plugin,
    process::{Node, OWNER, now_ms, public_stream},
};
use mainstem_client::{Client, Closed, Event, Start, StreamKeys, SubscribeOptions};
use mainstem_model::{ContentKey, EncryptionType, KeyId, NewEvent, StreamPartition};
use mainstem_plugin_host::EncryptionPlugin;
use std::{fs, path::Path, sync::Arc};

const CANARY: &[u8] = b"the canary sings at noon, and nobody in between hears it";

async fn client(node: &Node, at: StreamPartition, has_plugin: bool, keys: StreamKeys) -> Client {
    let mut config = node.config(OWNER);
    if has_plugin {
        let scheme = EncryptionPlugin::new(plugin("xchacha20poly1305")).unwrap();
        config.encryption.schemes.push(Arc::new(scheme));
    }
    config.encryption.streams.insert(at.stream, keys);
    Client::connect(config).await.unwrap()
}

/// The first two events.
async fn two(client: &Client, at: StreamPartition) -> [Event; 2] {
    let mut events = client.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await.unwrap();
    [events.next().await.unwrap().unwrap(), events.next().await.unwrap().unwrap()]
}

/// Whether a file of a folder holds the canary.
fn is_heard(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return is_heard(&path);
        }
        fs::read(&path).is_ok_and(|bytes| bytes.windows(CANARY.len()).any(|window| window == CANARY))
    })
}

/// T10 of the threats: a broker learns nothing of what is sealed.
#[tokio::test(flavor = "multi_thread")]
async fn t10_who_has_key_and_plugin_reads_and_the_broker_never_has_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path());
    let at = public_stream(&node.client(OWNER).await).await;
    let (aes, xchacha) = (EncryptionType::AES_256_GCM, EncryptionType(17));
    let key = |of: EncryptionType| ContentKey::new(KeyId([of.0 as u8; 16]), of, vec![of.0 as u8; 32]);
    for of in [aes, xchacha] {
        let client = client(&node, at, true, StreamKeys::one(key(of))).await;
        let publisher = client.publisher(at).unwrap();
        publisher.publish(NewEvent::binary(now_ms(), CANARY.into())).await.unwrap().await.unwrap();
    }
    let both = StreamKeys { keys: vec![key(aes), key(xchacha)], publish: None };
    let [one, other] = two(&client(&node, at, true, both.clone()).await, at).await;
    assert_eq!([&one.content()[..], other.content()], [CANARY; 2]);

    let [one, other] = two(&client(&node, at, true, StreamKeys::default()).await, at).await;
    assert_eq!(one.closed(), Some(&Closed::MissingKey(aes, KeyId([1; 16]))));
    assert_eq!(other.closed(), Some(&Closed::MissingKey(xchacha, KeyId([17; 16]))));

    let [one, other] = two(&client(&node, at, false, both).await, at).await;
    assert_eq!(&one.content()[..], CANARY);
    assert_eq!(other.closed(), Some(&Closed::UnknownType(xchacha)));
    assert!(other.closed().unwrap().to_string().contains("mainstem plugin install"));

    assert!(!is_in_memory(&node), "the node's memory has the content");
    assert!(!is_heard(folder.path()), "the node's files have the content");

    // What is in the clear is found there, so these searches can.
    let publisher = node.client(OWNER).await.publisher(at).unwrap();
    publisher.publish(NewEvent::binary(now_ms(), CANARY.into())).await.unwrap().await.unwrap();
    assert!(is_in_memory(&node) && is_heard(folder.path()));
    node.kill();
}

/// Whether the node's memory holds the canary.
#[cfg(target_os = "linux")]
fn is_in_memory(node: &Node) -> bool {
    use std::os::unix::fs::FileExt;
    let folder = Path::new("/proc").join(node.id().to_string());
    let maps = fs::read_to_string(folder.join("maps")).unwrap();
    let memory = fs::File::open(folder.join("mem")).unwrap();
    maps.lines().filter(|line| line.contains(" rw")).any(|line| {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [from, to] = [from, to].map(|place| u64::from_str_radix(place, 16).unwrap());
        // Pages that were never touched are not there to be read.
        let mut bytes = vec![0; usize::try_from(to - from).unwrap().min(256 << 20)];
        let read = memory.read_at(&mut bytes, from).unwrap_or(0);
        bytes[..read].windows(CANARY.len()).any(|window| window == CANARY)
    })
}
