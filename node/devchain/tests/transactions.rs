//! Sending: what is mined, what is refused, and what it costs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{
    Bench, COUNTER, NOW_S, REVERTER, SETTER, Tx, Wallet, code, init_code, input, list, number, number_u128,
    seal, topic,
};
use mainstem_devchain::{Config, dev_accounts};
use revm::primitives::{B256, hex, keccak256};
use serde_json::{Value, json};

const ETHER: u128 = 1_000_000_000_000_000_000;

#[test]
fn a_transfer_moves_value_and_is_mined_at_once() {
    for kind in [0, 1, 2] {
        let mut bench = Bench::new();
        let (alice, bob) = (Wallet::dev(0), dev_accounts()[1].address);
        let receipt =
            bench.send(&alice, Tx { kind, to: Some(bob.to_owned()), value: 3 * ETHER, ..Tx::default() });
        assert_eq!(receipt["status"], "0x1");
        assert_eq!(receipt["type"], format!("{kind:#x}"));
        assert_eq!(number(&receipt["gasUsed"]), 21_000);
        assert_eq!(bench.head(), 1);
        assert_eq!(bench.balance(bob), 10_003 * ETHER);
        assert_eq!(bench.balance(alice.address), 9_997 * ETHER);
        assert_eq!(bench.nonce(&alice), 1);

        let transaction = bench.ok("eth_getTransactionByHash", json!([receipt["transactionHash"]]));
        let from = transaction["from"].as_str().unwrap();
        assert_eq!(from.to_lowercase(), alice.address.to_lowercase());
        assert_eq!(transaction["blockHash"], receipt["blockHash"]);
        assert_eq!(number_u128(&transaction["value"]), 3 * ETHER);
    }
}

#[test]
fn a_deployed_contract_has_its_code_and_keeps_its_storage() {
    let mut bench = Bench::new();
    let counter = bench.deploy(COUNTER);
    assert_eq!(bench.ok("eth_getCode", json!([counter, "latest"])), hex::encode_prefixed(code(COUNTER)));
    bench.transact(&counter, &[1, 2]);
    let receipt = bench.transact(&counter, &[1, 2]);
    assert_eq!(bench.ok("eth_getStorageAt", json!([counter, "0x0", "latest"])), topic(2));
    assert_eq!(receipt["logs"][0]["data"], topic(2));
    assert_eq!(receipt["logs"][0]["topics"], json!([topic(1), topic(2)]));
    let output = bench.ok("eth_call", json!([{ "to": counter, "data": "0x" }, "latest"]));
    assert_eq!(output, topic(3), "a call executes");
    assert_eq!(bench.ok("eth_getStorageAt", json!([counter, "0x0"])), topic(2), "and leaves nothing behind");
}

#[test]
fn an_access_list_is_charged() {
    let mut bench = Bench::new();
    let setter = bench.deploy(SETTER);
    let plain = Tx { to: Some(setter.clone()), input: input(&[1]), gas: 100_000, ..Tx::default() };
    let listed = Tx { access_list: vec![(setter, vec![[0; 32]])], ..plain.clone() };
    let before = bench.chain.head().0;
    let alice = Wallet::dev(0);
    let plain = number(&bench.send(&alice, plain)["gasUsed"]);
    bench.ok("mainstem_reorg", json!([bench.chain.head().0 - before]));
    let receipt = bench.send(&alice, listed);
    // EIP-2930: 2,400 for the address, 1,900 for the slot, which is then warm (2,100 less).
    assert_eq!(number(&receipt["gasUsed"]), plain + 2_400 + 1_900 - 2_100);
    let transaction = bench.ok("eth_getTransactionByHash", json!([receipt["transactionHash"]]));
    assert_eq!(transaction["accessList"][0]["storageKeys"], json!([topic(0)]));
}

#[test]
fn a_nonce_behind_or_ahead_is_refused_and_the_next_one_is_taken() {
    let mut bench = Bench::new();
    let alice = Wallet::dev(0);
    bench.send(&alice, Tx::default());
    let check = |bench: &mut Bench, nonce: u64, words: &str| {
        let raw = alice.sign(&Tx { nonce, value: 1, ..Tx::default() });
        let error = bench.err("eth_sendRawTransaction", json!([raw]));
        assert_eq!(error.code, -32000);
        assert!(error.message.starts_with(words), "{}", error.message);
    };
    check(&mut bench, 0, "nonce too low");
    check(&mut bench, 2, "nonce too high");
    assert_eq!(bench.head(), 1);
    bench.ok("eth_sendRawTransaction", json!([alice.sign(&Tx { nonce: 1, ..Tx::default() })]));
}

#[test]
fn the_same_transaction_twice_is_already_known() {
    let mut bench = Bench::new();
    let raw = Wallet::dev(0).sign(&Tx::default());
    bench.ok("eth_sendRawTransaction", json!([raw]));
    assert_eq!(bench.err("eth_sendRawTransaction", json!([raw])).message, "already known");
}

#[test]
fn who_cannot_pay_value_and_gas_is_refused() {
    let mut bench = Bench::new();
    let alice = Wallet::dev(0);
    let check = |bench: &mut Bench, value: u128, max_fee: u128, taken: bool| {
        let raw = alice.sign(&Tx { value, max_fee, kind: 0, ..Tx::default() });
        match bench.rpc("eth_sendRawTransaction", json!([raw])) {
            Ok(_) => assert!(taken),
            Err(error) => {
                assert!(!taken, "{error}");
                assert_eq!(error.code, -32000);
                assert!(error.message.starts_with("insufficient funds"), "{}", error.message);
            }
        }
    };
    check(&mut bench, 10_000 * ETHER + 1, 0, false);
    check(&mut bench, 10_000 * ETHER, 1, false);
    check(&mut bench, 10_000 * ETHER - 21_000 + 1, 1, false);
    check(&mut bench, 10_000 * ETHER - 21_000, 1, true);
    assert_eq!(bench.balance(alice.address), 0);
}

#[test]
fn a_tip_is_charged_and_the_receipt_says_so() {
    let mut bench = Bench::with(Config { base_fee_wei: 10, ..Config::default() });
    let alice = Wallet::dev(0);
    let check = |bench: &mut Bench, tx: Tx, price: u128| {
        let before = bench.balance(alice.address);
        let receipt = bench.send(&alice, tx);
        assert_eq!(number_u128(&receipt["effectiveGasPrice"]), price);
        assert_eq!(before - bench.balance(alice.address), 21_000 * price);
    };
    check(&mut bench, Tx { max_fee: 100, tip: 3, ..Tx::default() }, 13);
    check(&mut bench, Tx { max_fee: 12, tip: 12, ..Tx::default() }, 12);
    check(&mut bench, Tx { kind: 0, max_fee: 50, ..Tx::default() }, 50);
    let raw = alice.sign(&Tx { nonce: 3, max_fee: 9, ..Tx::default() });
    assert_eq!(
        bench.err("eth_sendRawTransaction", json!([raw])).message,
        "max fee per gas less than block base fee"
    );
    let history = bench.ok("eth_feeHistory", json!(["0x3", "latest", [50]]));
    assert_eq!(history["baseFeePerGas"], json!(["0xa", "0xa", "0xa", "0xa"]));
    assert_eq!(history["reward"], json!([["0x3"], ["0x2"], ["0x28"]]));
    assert_eq!(history["oldestBlock"], "0x1");
}

#[test]
fn what_breaks_a_rule_is_refused_by_name() {
    let mut bench = Bench::new();
    let alice = Wallet::dev(0);
    let check = |bench: &mut Bench, raw: String, code: i64, words: &str| {
        let error = bench.err("eth_sendRawTransaction", json!([raw]));
        assert_eq!(error.code, code, "{words}: {}", error.message);
        assert!(error.message.contains(words), "{words}: {}", error.message);
    };
    check(
        &mut bench,
        alice.sign(&Tx { chain_id: 1, ..Tx::default() }),
        -32000,
        "invalid chain id for signer: have 1 want 31337",
    );
    check(&mut bench, alice.sign(&Tx { gas: 20_999, ..Tx::default() }), -32000, "intrinsic gas too low");
    check(
        &mut bench,
        alice.sign(&Tx { gas: 30_000_001, ..Tx::default() }),
        -32000,
        "exceeds block gas limit",
    );
    check(&mut bench, alice.sign(&Tx { tip: 2, max_fee: 1, ..Tx::default() }), -32000, "max priority fee");
    check(&mut bench, "0x03c0".into(), -32000, "blob (EIP-4844)");
    check(&mut bench, "0x04c0".into(), -32000, "set code (EIP-7702)");
    check(&mut bench, "0x7fc0".into(), -32000, "transaction type not supported: 127");
    check(&mut bench, "0x".into(), -32602, "it is empty");
    check(&mut bench, "0xc0".into(), -32602, "cut short");
    check(&mut bench, "0x02c0".into(), -32602, "cut short");
    check(&mut bench, format!("{}00", alice.sign(&Tx::default())), -32602, "too many items or bytes");
    let large = Tx { to: None, input: vec![0; 49_153], gas: 30_000_000, ..Tx::default() };
    check(&mut bench, alice.sign(&large), -32000, "max initcode size exceeded");
    assert_eq!(bench.head(), 0);
}

#[test]
fn a_signature_with_the_upper_s_or_none_at_all_is_refused() {
    let mut bench = Bench::new();
    let alice = Wallet::dev(0);
    let tx = Tx::default();
    let (unsigned, _) = (tx.clone(), ());
    let raw = hex::decode(alice.sign(&unsigned)).unwrap();
    let (r, s) = (&raw[raw.len() - 65..raw.len() - 33], &raw[raw.len() - 32..]);
    let odd_y = u64::from(raw[raw.len() - 67] == 1);
    assert_eq!(seal(&tx, odd_y, r, s), hex::encode_prefixed(&raw), "the signature was taken apart rightly");

    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let order = revm::primitives::U256::from_be_slice(&order);
    let upper = (order - revm::primitives::U256::from_be_slice(s)).to_be_bytes::<32>();
    let error = bench.err("eth_sendRawTransaction", json!([seal(&tx, 1 - odd_y, r, &upper)]));
    assert!(error.message.contains("upper half"), "{}", error.message);
    for (r, s) in [([0; 32], [1; 32]), ([1; 32], [0; 32]), ([255; 32], [1; 32])] {
        let error = bench.err("eth_sendRawTransaction", json!([seal(&tx, 0, &r, &s)]));
        assert!(error.message.contains("no sender"), "{}", error.message);
    }
    bench.ok("eth_sendRawTransaction", json!([hex::encode_prefixed(&raw)]));
}

#[test]
fn without_replay_protection_nothing_is_taken() {
    let mut bench = Bench::new();
    let items: Vec<Vec<u8>> = [0u128, 0, 21_000].map(common::int).into_iter().collect();
    let mut items = [items, vec![common::bytes(&[7; 20]), common::int(0), common::bytes(&[])]].concat();
    items.extend([common::int(27), common::int(5), common::int(5)]);
    let error = bench.err("eth_sendRawTransaction", json!([hex::encode_prefixed(list(&items))]));
    assert!(error.message.contains("EIP-155"), "{}", error.message);
}

#[test]
fn a_transaction_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let alice = Wallet::dev(0);
    let tx = Tx { input: vec![0; 1_000], gas: 100_000, ..Tx::default() };
    let raw = alice.sign(&tx);
    let len = raw.len() / 2 - 1;
    let mut bench = Bench::with(Config { transaction_bytes_max: len - 1, ..Config::default() });
    let error = bench.err("eth_sendRawTransaction", json!([raw]));
    assert_eq!(error.message, format!("oversized data: transaction size {len}, limit {}", len - 1));
    let mut bench = Bench::with(Config { transaction_bytes_max: len, ..Config::default() });
    bench.ok("eth_sendRawTransaction", json!([raw]));
}

#[test]
fn a_failed_transaction_is_mined_with_status_0_and_leaves_nothing_but_its_cost() {
    let mut bench = Bench::new();
    let reverter = bench.deploy(REVERTER);
    let receipt = bench.transact(&reverter, &[1]);
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(receipt["logs"], json!([]));
    assert_eq!(receipt["contractAddress"], Value::Null);
    assert_eq!(bench.nonce(&Wallet::dev(0)), 2);
}

#[test]
fn a_contract_that_destroys_itself_in_its_making_leaves_only_the_money_it_sent() {
    let mut bench = Bench::new();
    let alice = Wallet::dev(0);
    // CALLER SELFDESTRUCT
    let tx = Tx { to: None, input: vec![0x33, 0xff], gas: 100_000, value: 5, ..Tx::default() };
    let receipt = bench.send(&alice, tx);
    assert_eq!(receipt["status"], "0x1");
    let contract = receipt["contractAddress"].as_str().unwrap();
    assert_eq!(bench.ok("eth_getTransactionCount", json!([contract])), "0x0");
    assert_eq!(bench.ok("eth_getCode", json!([contract])), "0x");
    assert_eq!(bench.balance(contract), 0);
    assert_eq!(bench.balance(alice.address), 10_000 * ETHER);
}

#[test]
fn two_transactions_of_one_second_stand_in_blocks_of_rising_time() {
    let mut bench = Bench::new();
    for number in 1..=3 {
        bench.send(&Wallet::dev(0), Tx::default());
        let block = bench.ok("eth_getBlockByNumber", json!(["latest", false]));
        assert_eq!(common::number(&block["timestamp"]), NOW_S + number - 1);
    }
}

#[test]
fn a_block_hash_is_the_hash_of_its_header() {
    let mut bench = Bench::with(Config { base_fee_wei: 7, ..Config::default() });
    let counter = {
        let tx = Tx { to: None, input: init_code(COUNTER), gas: 1_000_000, max_fee: 7, ..Tx::default() };
        bench.send(&Wallet::dev(0), tx)["contractAddress"].as_str().unwrap().to_owned()
    };
    bench.send(&Wallet::dev(0), Tx { to: Some(counter), gas: 100_000, max_fee: 7, ..Tx::default() });
    for number in ["0x0", "0x1", "0x2"] {
        let block = bench.ok("eth_getBlockByNumber", json!([number, true]));
        let raw = |name: &str| common::bytes(&hex::decode(block[name].as_str().unwrap()).unwrap());
        let int = |name: &str| common::int(number_u128(&block[name]));
        let header = list(&[
            raw("parentHash"),
            raw("sha3Uncles"),
            raw("miner"),
            raw("stateRoot"),
            raw("transactionsRoot"),
            raw("receiptsRoot"),
            raw("logsBloom"),
            int("difficulty"),
            int("number"),
            int("gasLimit"),
            int("gasUsed"),
            int("timestamp"),
            raw("extraData"),
            raw("mixHash"),
            raw("nonce"),
            int("baseFeePerGas"),
            raw("withdrawalsRoot"),
            int("blobGasUsed"),
            int("excessBlobGas"),
            raw("parentBeaconBlockRoot"),
        ]);
        assert_eq!(json!(keccak256(header)), block["hash"]);
        if let Some(transaction) = block["transactions"].get(0) {
            let receipt = bench.ok("eth_getTransactionReceipt", json!([transaction["hash"]]));
            assert_eq!(block["gasUsed"], receipt["gasUsed"]);
            assert_eq!(block["logsBloom"], receipt["logsBloom"]);
        }
        assert_eq!(bench.ok("eth_getBlockByHash", json!([block["hash"], true])), block);
    }
    assert_eq!(bench.ok("eth_getBlockByNumber", json!(["0x3", true])), Value::Null);
    assert_eq!(bench.ok("eth_getBlockByHash", json!([B256::ZERO, true])), Value::Null);
    let pending = bench.ok("eth_getBlockByNumber", json!(["pending", false]));
    assert_eq!((&pending["number"], &pending["hash"]), (&json!("0x3"), &Value::Null));
}

#[test]
fn unknown_hashes_are_null() {
    let mut bench = Bench::new();
    assert_eq!(bench.ok("eth_getTransactionReceipt", json!([B256::ZERO])), Value::Null);
    assert_eq!(bench.ok("eth_getTransactionByHash", json!([B256::ZERO])), Value::Null);
}
