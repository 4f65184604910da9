//! Whatever is sent: an answer or an error, never a panic, and no block from nonsense.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Bench, Tx, Wallet};
use mainstem_devchain::Config;
use proptest::prelude::*;
use revm::primitives::hex;
use serde_json::{Value, json};

const METHODS: [&str; 33] = [
    "web3_clientVersion",
    "web3_sha3",
    "net_version",
    "net_listening",
    "eth_chainId",
    "eth_syncing",
    "eth_accounts",
    "eth_blockNumber",
    "eth_gasPrice",
    "eth_maxPriorityFeePerGas",
    "eth_feeHistory",
    "eth_getBalance",
    "eth_getTransactionCount",
    "eth_getCode",
    "eth_getStorageAt",
    "eth_call",
    "eth_estimateGas",
    "eth_sendRawTransaction",
    "eth_getTransactionReceipt",
    "eth_getTransactionByHash",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getLogs",
    "eth_newFilter",
    "eth_newBlockFilter",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_uninstallFilter",
    "evm_mine",
    "evm_increaseTime",
    "evm_setNextBlockTimestamp",
    "evm_revert",
    "mainstem_reorg",
];

fn hostile() -> Vec<Value> {
    let mut nested = json!([]);
    for _ in 0..100 {
        nested = json!([nested]);
    }
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("0x"),
        json!("0x0x00"),
        json!("0xg"),
        json!("0X1"),
        json!("latest"),
        json!("0xffffffffffffffff"),
        json!("0x10000000000000000"),
        json!("0x".to_owned() + &"f".repeat(64)),
        json!("0x".to_owned() + &"f".repeat(65)),
        json!("0x".to_owned() + &"0".repeat(40)),
        json!("0x".to_owned() + &"é".repeat(20)),
        json!("\u{0}"),
        json!([]),
        json!({}),
        json!({ "to": 5 }),
        json!({ "gas": "0xffffffffffffffff", "value": "0x".to_owned() + &"f".repeat(64), "gasPrice": "0xffffffff" }),
        json!({ "blockHash": "0x0", "blockNumber": "0x0" }),
        json!({ "fromBlock": "0xffffffffffffffff", "toBlock": "0xffffffffffffffff" }),
        json!({ "fromBlock": "pending", "toBlock": "earliest", "topics": [[[]]] }),
        json!({ "topics": { "0": 1 }, "address": {} }),
        json!({ "timestamp": "0xffffffffffffffff", "blocks": "0xffffffffffffffff" }),
        json!({ "depth": "0xffffffffffffffff" }),
        json!({ "accessList": [{ "address": "0x", "storageKeys": 3 }] }),
        nested,
    ]
}

#[test]
fn every_method_answers_every_hostile_parameter_at_every_place() {
    let mut bench = Bench::with(Config { blocks_max: 3, ..Config::default() });
    for method in METHODS {
        for value in hostile() {
            let _ = bench.rpc(method, value.clone());
            for params in [
                json!([value]),
                json!([value, value]),
                json!([value, value, value]),
                json!(["0x".to_owned() + &"0".repeat(40), value, value]),
                json!(["0x1", value, value]),
                json!([{}, value, value]),
            ] {
                let _ = bench.rpc(method, params);
            }
        }
    }
    // It still works.
    bench.send(&Wallet::dev(0), Tx { value: 1, ..Tx::default() });
}

#[test]
fn hex_has_one_prefix_and_whole_bytes() {
    let mut bench = Bench::new();
    for text in ["", "00", "0x0x00", "0X00", "0x0", "0xg0", " 0x00"] {
        assert_eq!(bench.err("web3_sha3", json!([text])).code, -32602, "{text}");
    }
    bench.ok("web3_sha3", json!(["0x"]));
}

#[test]
fn the_list_above_names_methods_that_exist() {
    for method in METHODS {
        if let Err(error) = Bench::new().rpc(method, json!([])) {
            assert_ne!(error.code, -32601, "{method}");
        }
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "0x[0-9a-f]{0,70}".prop_map(Value::from),
        "(latest|pending|earliest|safe|finalized|.{0,5})".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = "(to|from|gas|gasPrice|value|data|input|address|topics|fromBlock|toBlock|blockHash|depth|blocks|timestamp)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn no_parameters_panic(method in prop::sample::select(METHODS.as_slice()), params in json_value(), now_s in any::<u64>()) {
        let mut bench = Bench::with(Config { blocks_max: 3, ..Config::default() });
        bench.now_s = now_s;
        let _ = bench.rpc(method, params);
    }

    #[test]
    fn no_bytes_panic_as_a_transaction(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bench = Bench::new();
        prop_assert!(bench.rpc("eth_sendRawTransaction", json!([hex::encode_prefixed(bytes)])).is_err());
    }

    #[test]
    fn a_transaction_with_a_changed_byte_is_never_taken_for_its_signers(at in 0usize..120, flip in 1u8..) {
        let mut bench = Bench::new();
        let alice = Wallet::dev(0);
        let mut raw = hex::decode(alice.sign(&Tx { value: 1, ..Tx::default() })).unwrap();
        let at = at % raw.len();
        raw[at] ^= flip;
        // It may be somebody's, who then has no nonce and no money to lose.
        let _ = bench.rpc("eth_sendRawTransaction", json!([hex::encode_prefixed(raw)]));
        prop_assert_eq!(bench.nonce(&alice), 0);
    }
}
