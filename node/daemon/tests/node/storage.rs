//! A log that a storage plugin keeps, in a whole node: `tools/plugins.sh` has built the plugin.

use crate::{
    plugins::{module, plugin_command},
    process::{Node, OWNER, now_ms, public_stream},
};
use mainstem_client::{Client, PublishConfig, ResendOptions, ResendRange};
use mainstem_model::{AckLevel, NewEvent, StreamPartition};
use std::{
    fs,
    path::{Path, PathBuf},
};

const EVENTS: u32 = 2_000;

/// Installs the plugin in a data folder; gives a configuration that names it as the store, in small segments.
pub(crate) fn segments(data: &Path) -> PathBuf {
    let installed =
        plugin_command(data, &["install", module("segments").to_str().unwrap(), "--grant", "blob"]);
    assert!(installed.contains("scheme = \"segments\" in [store]"), "{installed}");
    config(data, "[store]\nscheme = \"segments\"\n[store.parameters]\nsegment_bytes = \"10000\"\n")
}

fn config(data: &Path, text: &str) -> PathBuf {
    let path = data.join("node.toml");
    fs::create_dir_all(data).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// What a node says that does not start, and its exit code.
fn refusal(data: &Path, config: &Path) -> (i32, String) {
    let output = Node::command(data, 0).arg("--config").arg(config).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Folders of plugins' own files.
fn files(data: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(data.join("dev/files"));
    folders.map_or_else(|_| Vec::new(), |folders| folders.map(|entry| entry.unwrap().path()).collect())
}

async fn publish(client: &Client, at: StreamPartition, numbers: std::ops::Range<u32>) {
    let publisher = client.publisher(at).unwrap();
    let mut last = None;
    for number in numbers {
        let content = [&number.to_be_bytes()[..], &[7; 196]].concat();
        last = Some(publisher.publish(NewEvent::binary(now_ms(), content.into())).await.unwrap());
    }
    last.unwrap().await.unwrap();
}

async fn history(client: &Client, at: StreamPartition) -> Vec<u32> {
    let mut events = client.resend(ResendOptions::new(at, ResendRange::From(0))).await.unwrap();
    let mut numbers = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        let (number, rest) = event.content().split_first_chunk().unwrap();
        assert_eq!(rest, [7; 196]);
        numbers.push(u32::from_be_bytes(*number));
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_read_back_from_segments_after_a_kill_and_again_from_another_version_of_the_plugin()
 {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let config = segments(data);
    let start = || Node::start_configured(data, 0, Some(&config), &[]);
    let durable = || PublishConfig { ack: AckLevel::Durable.into(), ..PublishConfig::default() };
    let mut node = start();
    let client = node.client_with(OWNER, durable()).await;
    let at = public_stream(&client).await;
    publish(&client, at, 0..EVENTS).await;
    assert_eq!(history(&client, at).await, (0..EVENTS).collect::<Vec<_>>());
    node.kill();
    node = start();
    let client = node.client_with(OWNER, durable()).await;
    assert_eq!(history(&client, at).await, (0..EVENTS).collect::<Vec<_>>());
    publish(&client, at, EVENTS..EVENTS + 10).await;
    node.kill();
    assert!(!data.join("dev/store/log").exists(), "nothing is kept beside the plugin");
    let former = files(data);
    let names: Vec<_> = fs::read_dir(&former[0]).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(former.len() == 1 && names.len() > 3, "{former:?}: {names:?}");

    // Another version has another id, and nothing of what the one before it kept.
    let whole = fs::read(module("segments")).unwrap();
    let (_, mut manifest) = mainstem_plugin_host::inspect(&whole).unwrap();
    manifest.version = "0.2.0".into();
    let other = data.join("other.wasm");
    fs::write(&other, mainstem_plugin_build::attach(&whole, &manifest).unwrap()).unwrap();
    plugin_command(data, &["install", other.to_str().unwrap(), "--grant", "blob"]);
    let (code, said) = refusal(data, &config);
    assert!(code == 64 && said.contains("those of another version, segments 0.1.0: move"), "{code}: {said}");
    let (id, _) = mainstem_plugin_host::inspect(&fs::read(&other).unwrap()).unwrap();
    fs::rename(&former[0], data.join("dev/files").join(id.to_string())).unwrap();
    node = start();
    let client = node.client_with(OWNER, durable()).await;
    assert_eq!(history(&client, at).await, (0..EVENTS + 10).collect::<Vec<_>>());
    drop(node);
}

#[test]
fn a_store_that_nothing_serves_is_refused_by_its_scheme_with_the_way_to_install_it() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = config(folder.path(), "[store]\nscheme = \"segments\"\n");
    let (code, said) = refusal(folder.path(), &unknown);
    assert!(code == 64 && said.contains("store.scheme is \"segments\""), "{code}: {said}");
    assert!(said.contains("mainstem plugin install FILE --grant blob"), "{said}");
    let odd = config(folder.path(), "[store.parameters]\nsegment_bytes = \"1\"\n");
    let (code, said) = refusal(folder.path(), &odd);
    assert!(code == 64 && said.contains("store.parameters has segment_bytes"), "{code}: {said}");

    let config = segments(folder.path());
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, why) in [
        ("10000", "none", "segment_bytes of segments is \"none\", which is not a whole number"),
        ("10000", "4000000", "segment_bytes is 4000000; it must be 1 to 3145728"),
        ("segment_bytes", "other", "segments has no parameter \"other\", but segment_bytes"),
    ] {
        fs::write(&config, text.replace(from, to)).unwrap();
        let (code, said) = refusal(folder.path(), &config);
        assert!(code != 0 && said.contains(why), "{code}: {said}");
    }
}
