//! The same transactions and calls here and on anvil, which must answer alike.
//!
//! `tools/setup.sh` installs anvil; `MAINSTEM_ANVIL` names another one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{
    BLOCK_HASH, BURNER, Bench, COUNTER, FORWARDER, GETTER, REVERTER, SETTER, TIME, Tx, Wallet, init_code,
    input, topic,
};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mainstem_devchain::dev_accounts;
use revm::primitives::hex;
use serde_json::{Value, json};

struct Anvil {
    process: Child,
    url: String,
}

impl Anvil {
    fn spawn() -> Self {
        let installed = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        let path = std::env::var_os("MAINSTEM_ANVIL").map_or(installed, PathBuf::from);
        assert!(path.exists(), "anvil is not installed: run tools/setup.sh, or let MAINSTEM_ANVIL name it");
        let mut process = Command::new(path)
            .args(["--port", "0", "--hardfork", "cancun", "--base-fee", "0", "--gas-price", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address =
            lines.find_map(|line| Some(line.unwrap().strip_prefix("Listening on ")?.to_owned())).unwrap();
        // Its output must be read, or it stops.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url: format!("http://{address}/") }
    }

    async fn rpc(&self, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = Request::post(&self.url)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = Client::builder(TokioExecutor::new()).build_http().request(request).await.unwrap();
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Anvil {
    /// A receipt. Anvil answers a transaction before it has mined it.
    async fn receipt(&self, hash: &Value) -> Value {
        for _ in 0..1_000 {
            let answer = self.rpc("eth_getTransactionReceipt", &json!([hash])).await;
            if !answer["result"].is_null() {
                return answer["result"].clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("anvil has not mined {hash} in ten seconds");
    }
}

struct Pair {
    ours: Bench,
    anvil: Anvil,
}

impl Pair {
    /// The result, or code and data of the error; alike on both.
    async fn alike(&mut self, method: &str, params: Value) -> Value {
        let theirs = self.anvil.rpc(method, &params).await;
        let ours = match self.ours.rpc(method, params.clone()) {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "code": error.code, "data": error.data }),
        };
        let theirs = match theirs.get("result") {
            Some(result) => json!({ "result": result }),
            None => json!({ "code": theirs["error"]["code"], "data": theirs["error"].get("data") }),
        };
        assert_eq!(lower(&ours), lower(&theirs), "{method} {params}");
        ours["result"].clone()
    }

    /// Sends to both and compares the receipts, but for what holds hashes and times of blocks.
    async fn send(&mut self, tx: Tx) -> Value {
        let alice = Wallet::dev(0);
        let raw = alice.sign(&Tx { nonce: self.ours.nonce(&alice), ..tx });
        let hash = self.alike("eth_sendRawTransaction", json!([raw])).await;
        let ours = self.ours.ok("eth_getTransactionReceipt", json!([hash]));
        let theirs = self.anvil.receipt(&hash).await;
        for field in [
            "type",
            "status",
            "gasUsed",
            "cumulativeGasUsed",
            "contractAddress",
            "from",
            "to",
            "logsBloom",
            "blockNumber",
            "transactionHash",
            "transactionIndex",
            "effectiveGasPrice",
        ] {
            assert_eq!(lower(&ours[field]), lower(&theirs[field]), "{field} of {ours}");
        }
        let logs = |receipt: &Value| -> Vec<Value> {
            let logs = receipt["logs"].as_array().unwrap().iter();
            logs.map(|log| {
                json!([log["address"], log["topics"], log["data"], log["logIndex"], log["removed"]])
            })
            .collect()
        };
        assert_eq!(lower(&json!(logs(&ours))), lower(&json!(logs(&theirs))));
        let mut ours_block = self.ours.ok("eth_getBlockByHash", json!([ours["blockHash"], false]));
        let theirs_block = self.anvil.rpc("eth_getBlockByHash", &json!([theirs["blockHash"], false])).await;
        for field in
            ["number", "transactionsRoot", "receiptsRoot", "logsBloom", "gasUsed", "gasLimit", "transactions"]
        {
            assert_eq!(ours_block[field].take(), theirs_block["result"][field], "{field} of the block");
        }
        ours
    }

    async fn deploy(&mut self, code: &str) -> String {
        let receipt =
            self.send(Tx { to: None, input: init_code(code), gas: 1_000_000, ..Tx::default() }).await;
        receipt["contractAddress"].as_str().unwrap().to_owned()
    }
}

/// Addresses with and without checksum are the same.
fn lower(value: &Value) -> String {
    value.to_string().to_lowercase()
}

#[tokio::test]
async fn receipts_gas_logs_calls_and_reverts_are_those_of_anvil() {
    let mut pair = Pair { ours: Bench::new(), anvil: Anvil::spawn() };
    let mut contracts = Vec::new();
    for code in [COUNTER, REVERTER, SETTER, BURNER, FORWARDER, TIME, BLOCK_HASH, GETTER] {
        contracts.push(pair.deploy(code).await);
    }
    let [counter, reverter, setter, burner, forwarder, .., getter] = contracts.as_slice() else {
        unreachable!()
    };
    let burner_word = [vec![0; 12], hex::decode(burner).unwrap()].concat();
    for kind in [0, 1, 2] {
        for (to, data) in [
            (dev_accounts()[5].address, Vec::new()),
            (dev_accounts()[5].address, vec![1; 700]),
            (counter, input(&[1, 2])),
            (reverter, input(&[3])),
            (setter, input(&[1])),
            (setter, input(&[0])),
            (burner, Vec::new()),
            (forwarder, burner_word.clone()),
        ] {
            let call =
                json!({ "from": dev_accounts()[0].address, "to": to, "input": hex::encode_prefixed(&data) });
            pair.alike("eth_call", json!([call, "latest"])).await;
            let tx =
                Tx { kind, to: Some(to.to_owned()), input: data, gas: 400_000, value: 0, ..Tx::default() };
            let tx =
                if kind > 0 { Tx { access_list: vec![(setter.clone(), vec![[0; 32]])], ..tx } } else { tx };
            pair.send(tx).await;
        }
    }
    for (address, slot) in [(counter, "0x0"), (setter, "0x0"), (getter, "0x5")] {
        pair.alike("eth_getStorageAt", json!([address, slot, "latest"])).await;
        pair.alike("eth_getCode", json!([address, "latest"])).await;
    }
    pair.alike("eth_call", json!([{ "to": reverter, "data": "0x12345678" }, "latest"])).await;
    pair.alike("eth_estimateGas", json!([{ "to": reverter, "data": "0x12345678" }])).await;
    for account in dev_accounts() {
        pair.alike("eth_getBalance", json!([account.address, "latest"])).await;
        pair.alike("eth_getTransactionCount", json!([account.address, "latest"])).await;
    }
    let mut estimates = Vec::new();
    for (to, data) in [
        (counter, topic(1)),
        (setter, topic(7)),
        (burner, "0x".into()),
        (forwarder, hex::encode_prefixed(&burner_word)),
    ] {
        let params = json!([{ "from": dev_accounts()[0].address, "to": to, "data": data }]);
        let ours = common::number(&pair.ours.ok("eth_estimateGas", params.clone()));
        let theirs = common::number(&pair.anvil.rpc("eth_estimateGas", &params).await["result"]);
        estimates.push((ours, theirs));
    }
    // Both search; anvil stops within 1.5 % of the least.
    assert!(
        estimates.iter().all(|(ours, theirs)| ours <= theirs && *theirs <= ours + ours / 50),
        "{estimates:?}"
    );
    let logs = |found: &Value| {
        found.as_array().unwrap().iter().map(|log| log["transactionHash"].clone()).collect::<Vec<_>>()
    };
    for query in [
        json!({ "fromBlock": "earliest" }),
        json!({ "fromBlock": "earliest", "address": counter, "topics": [null, [topic(2), topic(9)]] }),
    ] {
        let theirs = pair.anvil.rpc("eth_getLogs", &json!([query])).await;
        assert_eq!(logs(&pair.ours.ok("eth_getLogs", json!([query]))), logs(&theirs["result"]));
    }
}
