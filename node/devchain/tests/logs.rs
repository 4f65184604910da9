//! Log queries and filters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Bench, COUNTER, NOW_S, topic};
use mainstem_devchain::Config;
use revm::primitives::B256;
use serde_json::{Value, json};

/// Two counters, and their logs: first in block 3 (topics 1, 2), first in 4 (1, 3), second in 5 (1, 2).
fn bench(config: Config) -> (Bench, String, String) {
    let mut bench = Bench::with(config);
    let (first, second) = (bench.deploy(COUNTER), bench.deploy(COUNTER));
    bench.transact(&first, &[1, 2]);
    bench.transact(&first, &[1, 3]);
    bench.transact(&second, &[1, 2]);
    (bench, first, second)
}

fn blocks(logs: &Value) -> Vec<u64> {
    logs.as_array().unwrap().iter().map(|log| common::number(&log["blockNumber"])).collect()
}

#[test]
fn a_query_chooses_by_address_topics_and_blocks() {
    let (mut bench, first, second) = bench(Config::default());
    let mut check = |mut query: Value, expected: &[u64]| {
        if query.get("fromBlock").is_none() && query.get("blockHash").is_none() {
            query["fromBlock"] = json!("earliest");
        }
        assert_eq!(blocks(&bench.ok("eth_getLogs", json!([query]))), expected, "{query}");
    };
    check(json!({}), &[3, 4, 5]);
    check(json!({ "address": first }), &[3, 4]);
    check(json!({ "address": [first, second] }), &[3, 4, 5]);
    check(json!({ "address": [] }), &[3, 4, 5]);
    check(json!({ "address": "0x00000000000000000000000000000000000000aa" }), &[]);
    check(json!({ "topics": [] }), &[3, 4, 5]);
    check(json!({ "topics": [null] }), &[3, 4, 5]);
    check(json!({ "topics": [topic(1)] }), &[3, 4, 5]);
    check(json!({ "topics": [topic(2)] }), &[]);
    check(json!({ "topics": [null, topic(2)] }), &[3, 5]);
    check(json!({ "topics": [null, [topic(2), topic(3)]] }), &[3, 4, 5]);
    check(json!({ "topics": [null, [topic(3), null]] }), &[3, 4, 5]);
    check(json!({ "topics": [[topic(1), topic(9)], [topic(3)]] }), &[4]);
    check(json!({ "topics": [null, null, null] }), &[]);
    check(json!({ "address": second, "topics": [topic(1), topic(2)] }), &[5]);
    check(json!({ "fromBlock": "0x4" }), &[4, 5]);
    check(json!({ "fromBlock": "0x3", "toBlock": "0x4" }), &[3, 4]);
    check(json!({ "fromBlock": "0x4", "toBlock": "0x63" }), &[4, 5]);
    check(json!({ "fromBlock": "0x6", "toBlock": "latest" }), &[]);
    check(json!({ "fromBlock": "latest" }), &[5]);
    check(json!({ "fromBlock": null, "toBlock": null }), &[5]);
}

#[test]
fn a_query_by_block_hash_gives_the_logs_of_that_block_alone() {
    let (mut bench, ..) = bench(Config::default());
    let block = bench.ok("eth_getBlockByNumber", json!(["0x4", false]));
    let logs = bench.ok("eth_getLogs", json!([{ "blockHash": block["hash"] }]));
    assert_eq!(blocks(&logs), [4]);
    assert_eq!(logs[0]["blockHash"], block["hash"]);
    assert_eq!(logs[0]["transactionHash"], block["transactions"][0]);
    assert_eq!(logs[0]["logIndex"], "0x0");
    assert_eq!(logs[0]["removed"], false);
    assert_eq!(bench.err("eth_getLogs", json!([{ "blockHash": B256::ZERO }])).message, "unknown block");
    let both = json!([{ "blockHash": block["hash"], "fromBlock": "0x1" }]);
    assert_eq!(bench.err("eth_getLogs", both).code, -32602);
    assert_eq!(bench.err("eth_getLogs", json!([{ "fromBlock": "0x5", "toBlock": "0x4" }])).code, -32602);
}

#[test]
fn as_many_logs_as_the_bound_are_given_and_one_more_is_an_error() {
    let query = json!([{ "fromBlock": "earliest" }]);
    let (mut bench3, ..) = bench(Config { logs_max: 3, ..Config::default() });
    assert_eq!(blocks(&bench3.ok("eth_getLogs", query.clone())).len(), 3);
    let (mut bench2, ..) = bench(Config { logs_max: 2, ..Config::default() });
    let error = bench2.err("eth_getLogs", query);
    assert_eq!(
        (error.code, error.message.as_str()),
        (-32005, "query returned more than 2 results: ask for fewer blocks")
    );
}

#[test]
fn as_many_alternatives_as_the_bound_are_taken_and_one_more_is_an_error() {
    let (mut bench, first, _) = bench(Config { log_alternatives_max: 2, ..Config::default() });
    bench.ok("eth_getLogs", json!([{ "address": [first, first], "topics": [[topic(1), topic(2)]] }]));
    assert_eq!(bench.err("eth_getLogs", json!([{ "address": [first, first, first] }])).code, -32005);
    let topics = json!([{ "topics": [[topic(1), topic(2), topic(3)]] }]);
    assert_eq!(bench.err("eth_getLogs", topics).code, -32005);
    bench.ok("eth_getLogs", json!([{ "topics": [null, null, null, null] }]));
    assert_eq!(bench.err("eth_getLogs", json!([{ "topics": [null, null, null, null, null] }])).code, -32602);
}

#[test]
fn a_filter_tells_each_new_log_once() {
    let (mut bench, first, second) = bench(Config::default());
    let id = bench.ok("eth_newFilter", json!([{ "address": first, "fromBlock": "0x0" }]));
    let changes = |bench: &mut Bench| blocks(&bench.ok("eth_getFilterChanges", json!([id])));
    assert_eq!(changes(&mut bench), [0u64; 0]);
    bench.transact(&first, &[1, 2]);
    bench.transact(&second, &[1, 2]);
    bench.transact(&first, &[1, 2]);
    assert_eq!(changes(&mut bench), [6, 8]);
    assert_eq!(changes(&mut bench), [0u64; 0]);
    assert_eq!(blocks(&bench.ok("eth_getFilterLogs", json!([id]))), [3, 4, 6, 8]);
    assert_eq!(bench.ok("eth_uninstallFilter", json!([id])), true);
    assert_eq!(bench.ok("eth_uninstallFilter", json!([id])), false);
    assert_eq!(bench.err("eth_getFilterChanges", json!([id])).message, "filter not found");
}

#[test]
fn a_block_filter_tells_each_new_hash_once() {
    let mut bench = Bench::new();
    let id = bench.ok("eth_newBlockFilter", json!([]));
    bench.ok("evm_mine", json!([{ "blocks": 2 }]));
    let hashes: Vec<Value> = ["0x1", "0x2"]
        .map(|number| bench.ok("eth_getBlockByNumber", json!([number, false]))["hash"].clone())
        .into();
    assert_eq!(bench.ok("eth_getFilterChanges", json!([id])), Value::Array(hashes));
    assert_eq!(bench.ok("eth_getFilterChanges", json!([id])), json!([]));
    assert_eq!(bench.err("eth_getFilterLogs", json!([id])).code, -32000);
}

#[test]
fn a_filter_tells_which_logs_a_reorganisation_removed() {
    let (mut bench, first, _) = bench(Config::default());
    let id = bench.ok("eth_newFilter", json!([{ "address": first }]));
    bench.transact(&first, &[1, 2]);
    bench.transact(&first, &[1, 2]);
    let told = bench.ok("eth_getFilterChanges", json!([id]));
    bench.transact(&first, &[1, 2]); // dropped before anybody was told
    bench.ok("mainstem_reorg", json!([{ "depth": 2 }]));
    bench.transact(&first, &[1, 4]);
    let changes = bench.ok("eth_getFilterChanges", json!([id]));
    assert_eq!(blocks(&changes), [7, 7]);
    let mut gone = told[1].clone();
    gone["removed"] = json!(true);
    assert_eq!(changes[0], gone);
    assert_eq!(changes[1]["removed"], false);
    assert_ne!(changes[1]["blockHash"], gone["blockHash"]);
    assert_eq!(bench.ok("eth_getFilterChanges", json!([id])), json!([]));
}

#[test]
fn as_many_filters_as_the_bound_are_installed_and_idle_ones_make_room() {
    let mut bench = Bench::with(Config { filters_max: 2, filter_idle_s_max: 60, ..Config::default() });
    let first = bench.ok("eth_newBlockFilter", json!([]));
    let second = bench.ok("eth_newBlockFilter", json!([]));
    assert_eq!(bench.err("eth_newBlockFilter", json!([])).code, -32005);
    bench.now_s = NOW_S + 60;
    bench.ok("eth_getFilterChanges", json!([second]));
    assert_eq!(bench.err("eth_newBlockFilter", json!([])).code, -32005, "idle for as long as allowed");
    bench.now_s = NOW_S + 61;
    bench.ok("eth_newBlockFilter", json!([]));
    assert_eq!(bench.err("eth_getFilterChanges", json!([first])).message, "filter not found");
    bench.ok("eth_getFilterChanges", json!([second]));
}
