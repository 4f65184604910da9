//! Mining, time, snapshots and reorganisations.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Bench, COUNTER, NOW_S, SETTER, Tx, Wallet, number, topic};
use mainstem_devchain::Config;
use serde_json::{Value, json};

fn time(bench: &mut Bench) -> u64 {
    number(&bench.ok("eth_getBlockByNumber", json!(["latest", false]))["timestamp"])
}

fn hash(bench: &mut Bench, number: u64) -> Value {
    bench.ok("eth_getBlockByNumber", json!([format!("{number:#x}"), false]))["hash"].clone()
}

#[test]
fn time_moves_forward_by_what_was_asked_and_stays_moved() {
    let mut bench = Bench::new();
    assert_eq!(bench.ok("evm_increaseTime", json!([3_600])), 3_600);
    bench.ok("evm_mine", json!([]));
    assert_eq!(time(&mut bench), NOW_S + 3_600);
    bench.now_s += 5;
    bench.ok("evm_increaseTime", json!(["0x10"]));
    bench.ok("evm_mine", json!([]));
    assert_eq!(time(&mut bench), NOW_S + 3_600 + 5 + 16);
}

#[test]
fn the_next_block_has_the_time_it_was_given_and_time_goes_on_from_there() {
    let mut bench = Bench::new();
    bench.ok("evm_setNextBlockTimestamp", json!([NOW_S + 500]));
    bench.send(&Wallet::dev(0), Tx::default());
    assert_eq!(time(&mut bench), NOW_S + 500);
    bench.now_s += 7;
    bench.ok("evm_mine", json!([]));
    assert_eq!(time(&mut bench), NOW_S + 507);
    bench.ok("evm_mine", json!([NOW_S + 600]));
    assert_eq!(time(&mut bench), NOW_S + 600);
    bench.ok("evm_mine", json!([{ "timestamp": NOW_S + 700, "blocks": 2 }]));
    assert_eq!(time(&mut bench), NOW_S + 701);
}

#[test]
fn time_never_stands_still_goes_back_or_overflows() {
    let mut bench = Bench::new();
    bench.ok("evm_mine", json!([{ "blocks": 3 }]));
    assert_eq!(time(&mut bench), NOW_S + 2);
    let head_s = time(&mut bench);
    assert_eq!(bench.err("evm_setNextBlockTimestamp", json!([head_s])).code, -32602);
    assert_eq!(bench.err("evm_mine", json!([head_s - 1])).code, -32602);
    assert_eq!(bench.err("evm_increaseTime", json!([u64::MAX])).code, -32602);
    assert_eq!(bench.err("evm_setNextBlockTimestamp", json!(["0xffffffffffffffff"])).code, -32602);
    bench.ok("evm_setNextBlockTimestamp", json!([1u64 << 40]));
    bench.ok("evm_mine", json!([]));
    assert_eq!(bench.err("evm_increaseTime", json!([1])).code, -32602);
    bench.now_s = u64::MAX;
    bench.ok("evm_mine", json!([]));
    assert_eq!(time(&mut bench), (1 << 40) + 1);
}

#[test]
fn as_many_blocks_as_the_bound_are_mined_at_a_time() {
    let mut bench = Bench::with(Config { blocks_max: 4, ..Config::default() });
    bench.ok("evm_mine", json!([{ "blocks": 4 }]));
    assert_eq!(bench.err("evm_mine", json!([{ "blocks": 5 }])).code, -32005);
    assert_eq!(bench.head(), 4);
    assert_eq!(bench.ok("eth_feeHistory", json!([9, "latest", null]))["oldestBlock"], "0x1");
}

#[test]
fn a_snapshot_brings_back_state_blocks_and_clock_once() {
    let mut bench = Bench::new();
    let setter = bench.deploy(SETTER);
    bench.transact(&setter, &[5]);
    let balance = bench.balance(Wallet::dev(9).address);
    let id = bench.ok("evm_snapshot", json!([]));
    bench.ok("evm_increaseTime", json!([1_000]));
    bench.transact(&setter, &[6]);
    bench.transact(&setter, &[0]);
    let counter = bench.deploy(COUNTER);
    bench.send(&Wallet::dev(0), Tx { value: 7, ..Tx::default() });
    let later = bench.ok("evm_snapshot", json!([]));

    assert_eq!(bench.ok("evm_revert", json!([id])), true);
    assert_eq!(bench.head(), 2);
    assert_eq!(bench.ok("eth_getStorageAt", json!([setter, "0x0"])), topic(5));
    assert_eq!(bench.ok("eth_getCode", json!([counter])), "0x");
    assert_eq!(bench.nonce(&Wallet::dev(0)), 2);
    assert_eq!(bench.balance(Wallet::dev(9).address), balance);
    bench.now_s += 60;
    bench.ok("evm_mine", json!([]));
    assert_eq!(time(&mut bench), NOW_S + 60, "the shift of the clock is gone too");
    assert_eq!(bench.ok("evm_revert", json!([id])), false, "a snapshot is used up");
    assert_eq!(bench.ok("evm_revert", json!([later])), false, "and so are those after it");
}

#[test]
fn as_many_snapshots_as_the_bound_are_kept() {
    let mut bench = Bench::with(Config { snapshots_max: 2, ..Config::default() });
    let first = bench.ok("evm_snapshot", json!([]));
    bench.ok("evm_snapshot", json!([]));
    assert_eq!(bench.err("evm_snapshot", json!([])).code, -32005);
    bench.ok("evm_revert", json!([first]));
    bench.ok("evm_snapshot", json!([]));
}

#[test]
fn a_reorganisation_drops_blocks_and_what_takes_their_place_has_other_hashes() {
    let mut bench = Bench::new();
    let alice = Wallet::dev(0);
    let kept = bench.send(&alice, Tx { value: 1, ..Tx::default() });
    let raw = alice.sign(&Tx { nonce: 1, value: 2, ..Tx::default() });
    let dropped = bench.ok("eth_sendRawTransaction", json!([raw]));
    bench.ok("evm_mine", json!([]));
    let before = [1, 2, 3].map(|number| hash(&mut bench, number));

    assert_eq!(bench.ok("mainstem_reorg", json!([{ "depth": 2 }])), "0x1");
    assert_eq!(bench.ok("eth_blockNumber", json!([])), "0x1");
    assert_eq!(bench.ok("eth_getTransactionReceipt", json!([dropped])), Value::Null);
    assert_eq!(bench.ok("eth_getBlockByHash", json!([before[1], false])), Value::Null);
    assert_eq!(bench.ok("eth_getTransactionReceipt", json!([kept["transactionHash"]])), kept);
    assert_eq!(bench.nonce(&alice), 1);

    // The very same transaction at the very same time.
    assert_eq!(bench.ok("eth_sendRawTransaction", json!([raw])), dropped);
    bench.ok("evm_mine", json!([]));
    let after = [1, 2, 3].map(|number| hash(&mut bench, number));
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    assert_ne!(before[2], after[2]);
    let block = bench.ok("eth_getBlockByNumber", json!(["0x2", false]));
    assert_eq!(block["parentHash"], after[0]);
}

#[test]
fn a_reorganisation_may_reach_genesis_and_not_beyond() {
    let mut bench = Bench::new();
    let genesis = hash(&mut bench, 0);
    bench.ok("evm_mine", json!([{ "blocks": 2 }]));
    assert_eq!(bench.err("mainstem_reorg", json!([{ "depth": 3 }])).code, -32602);
    assert_eq!(bench.err("mainstem_reorg", json!([{ "depth": 0 }])).code, -32602);
    assert_eq!(bench.err("mainstem_reorg", json!([{}])).code, -32602);
    assert_eq!(bench.ok("mainstem_reorg", json!([2])), "0x0");
    assert_eq!(hash(&mut bench, 0), genesis);
}

#[test]
fn a_snapshot_of_a_dropped_block_is_gone() {
    let mut bench = Bench::new();
    let kept = bench.ok("evm_snapshot", json!([]));
    bench.ok("evm_mine", json!([]));
    let gone = bench.ok("evm_snapshot", json!([]));
    bench.ok("mainstem_reorg", json!([1]));
    bench.ok("evm_mine", json!([{ "blocks": 3 }]));
    assert_eq!(bench.ok("evm_revert", json!([gone])), false);
    assert_eq!(bench.ok("evm_revert", json!([kept])), true);
    assert_eq!(bench.head(), 0);
}

#[test]
fn safe_and_finalized_stay_behind_by_the_configured_number() {
    let mut bench = Bench::with(Config { finality_blocks: 2, ..Config::default() });
    let number_of = |bench: &mut Bench, tag: &str| {
        number(&bench.ok("eth_getBlockByNumber", json!([tag, false]))["number"])
    };
    assert_eq!(number_of(&mut bench, "finalized"), 0);
    bench.ok("evm_mine", json!([{ "blocks": 5 }]));
    assert_eq!(number_of(&mut bench, "finalized"), 3);
    assert_eq!(number_of(&mut bench, "safe"), 3);
    assert_eq!(number_of(&mut bench, "latest"), 5);
    assert_eq!(number_of(&mut bench, "earliest"), 0);
}

#[test]
fn two_chains_of_one_configuration_have_one_genesis_and_others_have_others() {
    let genesis = |config| hash(&mut Bench::with(config), 0);
    let default = genesis(Config::default());
    assert_eq!(genesis(Config::default()), default);
    assert_ne!(genesis(Config { chain_id: 7, ..Config::default() }), default);
    assert_ne!(genesis(Config { funded: vec![[7; 20]], ..Config::default() }), default);
    assert_ne!(genesis(Config { balance_wei: 1, ..Config::default() }), default);
}
