//! Contracts as origins: the plugin erc1271 in a whole node, a contract on its chain, and those who read.

use crate::{
    foreign::Http,
    plugins::{connect, grant, module, plugin_command},
    process::{Node, OWNER, READER, now_ms, public_stream},
};
use mainstem_chain::{
    BlockTag, Call, ChainError, FinalisedCall, FinalisedReads, Rpc, RpcConfig, Wallet, WalletConfig,
};
use mainstem_client::{Client, Identity, Start, SubscribeOptions};
use mainstem_crypto::{Address, SecretKey};
use mainstem_model::{Code, NewEvent, SchemeSigner, SeriesId, SeriesWriter, Signer, StreamPartition};
use mainstem_plugin_host::{
    Capability, Compiler, Config, ContractAnswer, ContractCall, ContractReads, Grants, Host, NoAnswer,
    Plugin, PluginSigner,
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Instant,
};
use tokio::runtime::Handle;

/// The chain as a client's own program would read it.
#[derive(Debug)]
struct Reads(FinalisedReads, Handle);

impl ContractReads for Reads {
    fn read(&self, call: &ContractCall, until: Instant) -> Result<ContractAnswer, NoAnswer> {
        let (reads, (answer, answered)) = (self.0.clone(), mpsc::channel());
        let before_s = (call.at_ms / 1_000) as u64;
        let call = FinalisedCall { to: call.to, input: call.input.clone(), before_s, gas: call.gas };
        let now_s = (now_ms() / 1_000) as u64;
        self.1.spawn(async move { answer.send(reads.read(&call, now_s).await) });
        let unavailable = |error: &dyn std::fmt::Display| NoAnswer::Unavailable(error.to_string());
        let wait = until.saturating_duration_since(Instant::now());
        let read = answered.recv_timeout(wait).map_err(|error| unavailable(&error))?;
        let read = read.map_err(|error: ChainError| unavailable(&error))?;
        Ok(ContractAnswer {
            output: read.output,
            reverted: read.reverted,
            block_number: read.block_number,
            block_ms: read.block_s as i64 * 1_000,
        })
    }
}

/// erc1271 that asks contracts at the second of the event: on a development chain a block is final at once.
fn without_lag(folder: &Path) -> PathBuf {
    let (configuration, configured) = (folder.join("lag.txt"), folder.join("erc1271-now.wasm"));
    fs::write(&configuration, "lag_seconds = 0\n").unwrap();
    let files = [module("erc1271"), configuration, configured.clone()];
    let [module, configuration, out] = files.each_ref().map(|file| file.to_str().unwrap());
    plugin_command(folder, &["configure", module, configuration, "--out", out]);
    configured
}

fn load(module: &Path, rpc: &Rpc) -> Plugin {
    let host = Host::new(Config::default(), None, Compiler::InProcess).unwrap();
    let host = host.with_contracts(Arc::new(Reads(FinalisedReads::new(rpc.clone()), Handle::current())));
    let capabilities = [Capability::Chain].into();
    host.load(&fs::read(module).unwrap(), Grants { capabilities, ..Grants::default() }).unwrap()
}

fn wallet(rpc: &Rpc, key: &str) -> Wallet {
    let config = WalletConfig { receipt_interval_ms: 20, ..WalletConfig::default() };
    Wallet::new(rpc.clone(), SecretKey::from_hex(key).unwrap(), config)
}

fn word(address: Address) -> [u8; 32] {
    let mut word = [0; 32];
    word[12..].copy_from_slice(&address.0);
    word
}

/// A contract of one owner.
async fn deploy(wallet: &Wallet, owner: Address) -> Address {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/artifacts/test/OwnedSigner.json");
    let artifact: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let code = hex::decode(artifact["bytecode"].as_str().unwrap().trim_start_matches("0x")).unwrap();
    let receipt = wallet.send(Call::create([&code[..], &word(owner)].concat())).await.unwrap();
    receipt.contract.unwrap()
}

/// A time of events whose contract is asked at a block that is the newest now. The chain of a node that has just begun is some seconds
/// ahead of the clock.
async fn after_the_newest_block(rpc: &Rpc) -> i64 {
    let newest = rpc.block(BlockTag::Latest).await.unwrap().unwrap();
    now_ms().max((newest.timestamp_s as i64 + 1) * 1_000)
}

/// The code that one event of this time is refused with, if it is.
async fn publish(client: &Client, at: StreamPartition, time_ms: i64) -> Result<(), Option<Code>> {
    loop {
        let sent = client.publisher(at).unwrap().publish(NewEvent::binary(time_ms, vec![7].into())).await;
        let outcome = match sent {
            Ok(receipt) => receipt.await.map(drop),
            Err(error) => Err(error),
        };
        match outcome {
            // The node's view has not the right yet.
            Err(error) if matches!(error.code, Some(Code::MissingPermission | Code::StreamNotFound)) => {}
            outcome => return outcome.map_err(|error| error.code),
        }
    }
}

fn signer(plugin: &Plugin, contract: Address, owner: &SecretKey) -> PluginSigner {
    let key = [&contract.0[..], &owner.to_bytes()[..]].concat();
    PluginSigner::new(plugin.clone(), key).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_contract_is_taken_in_and_read_while_its_owner_signs_and_stays_provable_when_another_does()
 {
    let folder = tempfile::tempdir().unwrap();
    let module = without_lag(folder.path());
    let installed = plugin_command(folder.path(), &["install", module.to_str().unwrap(), "--grant", "chain"]);
    assert!(installed.contains("granted  chain"), "{installed}");
    let node = Node::start(folder.path());
    let rpc = Rpc::new(RpcConfig::one(node.rpc())).unwrap();
    let erc1271 = load(&module, &rpc);
    let at = public_stream(&node.client(OWNER).await).await;

    // The owner of the contract can pay for a transaction; who it hands it to need not.
    let first = SecretKey::from_hex(READER).unwrap();
    let second = SecretKey::from_bytes(&[0x21; 32]).unwrap();
    let contract = deploy(&wallet(&rpc, READER), first.address()).await;
    let by_first = signer(&erc1271, contract, &first);
    let by_second = signer(&erc1271, contract, &second);
    grant(&node, at, by_first.origin()).await;
    let client = async |signer: &PluginSigner| {
        connect(&node, Identity::Scheme(Arc::new(signer.clone())), Some(&erc1271)).await
    };
    let begun = after_the_newest_block(&rpc).await;
    publish(&client(&by_first).await, at, begun).await.unwrap();
    assert_eq!(publish(&client(&by_second).await, at, begun).await, Err(Some(Code::InvalidSignature)));

    // `setOwner`.
    let hand_over = [&[0x13, 0xaf, 0x40, 0x35][..], &word(second.address())].concat();
    wallet(&rpc, READER).send(Call::to(contract, hand_over)).await.unwrap();
    let later = after_the_newest_block(&rpc).await;
    publish(&client(&by_second).await, at, later).await.unwrap();
    assert_eq!(publish(&client(&by_first).await, at, later).await, Err(Some(Code::InvalidSignature)));

    // Whoever comes now proves what the first owner signed then.
    let reader = connect(&node, Identity::None, Some(&erc1271)).await;
    let mut events = reader.subscribe(SubscribeOptions::new(at).start(Start::From(0))).await.unwrap();
    for time in [begun, later] {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.origin().kind(), event.origin().value()), (21, &contract.0[..]));
        assert_eq!(event.timestamp(), time);
    }
    // As does the program's own subscriber, which reads the chain that its profile names.
    let stream = at.stream.to_string();
    let read = Node::program()
        .arg("--data-dir")
        .arg(folder.path())
        .args(["stream", "resend", "last", "2", &stream])
        .output()
        .unwrap();
    let lines = String::from_utf8(read.stdout).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}\n{}", String::from_utf8_lossy(&read.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_read_the_chain_a_contracts_event_is_refused_for_now_and_not_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let module = without_lag(folder.path());
    plugin_command(folder.path(), &["install", module.to_str().unwrap(), "--without", "chain"]);
    let node = Node::start(folder.path());
    let rpc = Rpc::new(RpcConfig::one(node.rpc())).unwrap();
    let erc1271 = load(&module, &rpc);
    let at = public_stream(&node.client(OWNER).await).await;
    let owner = SecretKey::from_hex(READER).unwrap();
    let contract = deploy(&wallet(&rpc, READER), owner.address()).await;
    let signer = signer(&erc1271, contract, &owner);
    grant(&node, at, signer.origin()).await;
    let network = node.deployment().network();
    let mut writer = SeriesWriter::new(network, at, Signer::scheme(Arc::new(signer)), SeriesId(7));
    let time_ms = after_the_newest_block(&rpc).await;
    let batch = writer.seal(&[NewEvent::binary(time_ms, vec![7].into())]).unwrap();
    let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
    let body = json!({
        "header": hex(&batch.header().encode()), "signature": hex(batch.signature()), "delegation": "0x",
        "events": [{"timestamp": time_ms, "contentType": 2, "encryptionType": 0, "content": "0x07"}],
    });
    let mut http = Http::open(&node);
    let (status, answer) = loop {
        let (status, answer) = http.ask("POST", &format!("/streams/{}/batches", at.stream), Some(&body));
        // The node's view has not the right yet.
        if answer["code"] != "MISSING_PERMISSION" {
            break (status, answer);
        }
    };
    assert_eq!((status, answer["code"].as_str()), (503, Some("SIGNATURE_UNAVAILABLE")), "{answer}");
    let listed = plugin_command(folder.path(), &["list"]);
    assert!(listed.contains("called"), "{listed}");
}
