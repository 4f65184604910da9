//! Calls and estimates, at any block.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    BLOCK_HASH, BURNER, Bench, COUNTER, FORWARDER, GETTER, NOW_S, REVERTER, SETTER, TIME, Tx, Wallet,
    init_code, input, number, topic,
};
use mainstem_devchain::dev_accounts;
use revm::primitives::hex;
use serde_json::{Value, json};

fn hexed(bytes: &[u8]) -> String {
    hex::encode_prefixed(bytes)
}

#[test]
fn the_data_of_a_revert_comes_with_code_3_in_calls_and_estimates() {
    let mut bench = Bench::new();
    let reverter = bench.deploy(REVERTER);
    let check = |bench: &mut Bench, data: &str, message: &str| {
        for method in ["eth_call", "eth_estimateGas"] {
            let error = bench.err(method, json!([{ "to": reverter, "input": data }]));
            assert_eq!((error.code, error.message.as_str()), (3, message));
            assert_eq!(error.data, Some(json!(data)));
        }
    };
    let text = format!("0x08c379a0{:064x}{:064x}{}", 32, 2, hex::encode(b"no") + &"0".repeat(60));
    check(&mut bench, &text, "execution reverted: no");
    check(&mut bench, &format!("0x4e487b71{:064x}", 0x11), "execution reverted: panic code 0x11");
    check(&mut bench, "0x12345678", "execution reverted");
    check(&mut bench, "0x", "execution reverted");
    // A length that lies is not followed.
    check(&mut bench, &format!("0x08c379a0{:064x}{}", 32, "f".repeat(64)), "execution reverted");
}

#[test]
fn input_and_data_are_the_same_field_and_must_not_differ() {
    let mut bench = Bench::new();
    let counter = bench.deploy(COUNTER);
    for call in
        [json!({ "to": counter, "data": "0x01" }), json!({ "to": counter, "input": "0x01", "data": "0x01" })]
    {
        assert_eq!(bench.ok("eth_call", json!([call])), topic(1));
    }
    let error = bench.err("eth_call", json!([{ "to": counter, "input": "0x01", "data": "0x02" }]));
    assert_eq!(error.code, -32602);
}

#[test]
fn an_estimate_is_the_least_gas_with_which_it_succeeds() {
    let mut bench = Bench::new();
    let (burner, forwarder, setter) = (bench.deploy(BURNER), bench.deploy(FORWARDER), bench.deploy(SETTER));
    bench.transact(&setter, &[1]);
    let alice = Wallet::dev(0);
    let burner_word = hexed(&[vec![0; 12], hex::decode(&burner).unwrap()].concat());
    let check = |bench: &mut Bench, to: Option<&str>, data: String, needs_more_than_used: bool| {
        let gas =
            number(&bench.ok("eth_estimateGas", json!([{ "from": alice.address, "to": to, "data": data }])));
        let tx = Tx { to: to.map(str::to_owned), input: hex::decode(&data).unwrap(), ..Tx::default() };
        let receipt = bench.send(&alice, Tx { gas, ..tx.clone() });
        assert_eq!(receipt["status"], "0x1", "the estimate is enough");
        let used = number(&receipt["gasUsed"]);
        assert_eq!(used < gas, needs_more_than_used, "used {used} of {gas}");
        bench.ok("mainstem_reorg", json!([1]));
        let raw = alice.sign(&Tx { gas: gas - 1, nonce: bench.nonce(&alice), ..tx });
        if let Ok(hash) = bench.rpc("eth_sendRawTransaction", json!([raw])) {
            let receipt = bench.ok("eth_getTransactionReceipt", json!([hash]));
            assert_eq!(receipt["status"], "0x0", "one gas less is not");
            bench.ok("mainstem_reorg", json!([1]));
        }
    };
    check(&mut bench, Some(dev_accounts()[1].address), "0x".into(), false);
    check(&mut bench, Some(&burner), "0x".into(), false);
    check(&mut bench, None, hexed(&init_code(COUNTER)), false);
    // Clearing a slot is refunded after the end.
    check(&mut bench, Some(&setter), topic(0), true);
    // One 64th of the gas is held back from a call.
    check(&mut bench, Some(&forwarder), burner_word, true);
}

#[test]
fn an_estimate_respects_the_gas_and_the_purse_of_the_caller() {
    let mut bench = Bench::new();
    let burner = bench.deploy(BURNER);
    let error = bench.err("eth_estimateGas", json!([{ "to": burner, "gas": "0x7530" }]));
    assert_eq!(error.message, "gas required exceeds allowance (30000)");
    let poor = "0x00000000000000000000000000000000000000aa";
    let error = bench.err("eth_estimateGas", json!([{ "from": poor, "to": burner, "value": "0x1" }]));
    assert!(error.message.starts_with("insufficient funds"), "{}", error.message);
    let error = bench.err("eth_estimateGas", json!([{ "from": poor, "to": burner, "gasPrice": "0x1" }]));
    assert_eq!(error.code, -32000);
}

#[test]
fn a_call_may_come_from_a_contract_and_costs_nothing() {
    let mut bench = Bench::new();
    let counter = bench.deploy(COUNTER);
    assert_eq!(
        bench.ok("eth_call", json!([{ "from": counter, "to": counter, "nonce": "0x63", "type": "0x2" }])),
        topic(1)
    );
}

#[test]
fn every_block_keeps_its_state() {
    let mut bench = Bench::new();
    let counter = bench.deploy(COUNTER);
    for _ in 0..4 {
        bench.transact(&counter, &[0, 0]);
    }
    let hash = bench.ok("eth_getBlockByNumber", json!(["0x3", false]))["hash"].clone();
    assert_eq!(bench.ok("eth_getStorageAt", json!([counter, "0x0", "0x2"])), topic(1));
    assert_eq!(bench.ok("eth_getStorageAt", json!([counter, "0x0", { "blockHash": hash }])), topic(2));
    assert_eq!(bench.ok("eth_call", json!([{ "to": counter }, "0x4"])), topic(4));
    assert_eq!(bench.ok("eth_getTransactionCount", json!([dev_accounts()[0].address, "0x2"])), "0x2");
    assert_eq!(bench.ok("eth_getCode", json!([counter, "earliest"])), "0x");
    assert_eq!(bench.ok("eth_getStorageAt", json!([counter, "0x0"])), topic(4));
    assert_eq!(bench.err("eth_getBalance", json!([counter, "0x63"])).message, "header not found");
}

#[test]
fn a_call_on_the_latest_block_sees_the_time_of_day_and_one_on_a_block_sees_the_block() {
    let mut bench = Bench::new();
    let time = bench.deploy(TIME);
    bench.now_s += 1_000;
    let now = |bench: &mut Bench, block: &str| bench.ok("eth_call", json!([{ "to": time }, block]));
    assert_eq!(now(&mut bench, "latest"), topic(NOW_S + 1_000));
    assert_eq!(now(&mut bench, "0x1"), topic(NOW_S));
    bench.now_s = NOW_S - 50;
    assert_eq!(now(&mut bench, "latest"), topic(NOW_S), "time does not run backwards");
    assert_eq!(now(&mut bench, "pending"), topic(NOW_S + 1));
}

#[test]
fn a_contract_sees_the_hashes_of_former_blocks() {
    let mut bench = Bench::new();
    let reader = bench.deploy(BLOCK_HASH);
    bench.ok("evm_mine", json!([{ "blocks": 3 }]));
    let block = bench.ok("eth_getBlockByNumber", json!(["0x2", false]));
    let data = hexed(&input(&[2]));
    assert_eq!(bench.ok("eth_call", json!([{ "to": reader, "data": data }, "pending"])), block["hash"]);
    let data = hexed(&input(&[9]));
    assert_eq!(bench.ok("eth_call", json!([{ "to": reader, "data": data }, "pending"])), topic(0));
}

#[test]
fn what_a_call_cannot_honour_is_refused_and_not_passed_over() {
    let mut bench = Bench::new();
    let getter = bench.deploy(GETTER);
    let error =
        bench.err("eth_call", json!([{ "to": getter }, "latest", { getter.as_str(): { "balance": "0x1" } }]));
    assert_eq!(error.code, -32602);
    assert_eq!(bench.ok("eth_call", json!([{ "to": getter }, "latest", {}])), topic(0));
    let error = bench.err("eth_call", json!([{ "to": getter, "gasPrice": "0x1", "maxFeePerGas": "0x1" }]));
    assert_eq!(error.code, -32602);
}

#[test]
fn the_small_questions_have_their_answers() {
    let mut bench = Bench::new();
    let mut check =
        |method: &str, expected: Value| assert_eq!(bench.ok(method, json!([])), expected, "{method}");
    check("eth_chainId", json!("0x7a69"));
    check("net_version", json!("31337"));
    check("eth_blockNumber", json!("0x0"));
    check("eth_gasPrice", json!("0x0"));
    check("eth_maxPriorityFeePerGas", json!("0x0"));
    check("eth_accounts", json!([]));
    check("eth_syncing", json!(false));
    assert!(bench.ok("web3_clientVersion", json!([])).as_str().unwrap().starts_with("mainstem-devchain/v"));
    assert_eq!(bench.err("eth_coinbase", json!([])).code, -32601);
}
