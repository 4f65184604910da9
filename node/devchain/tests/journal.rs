//! The file: what it brings back, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{COUNTER, NOW_S, Tx, Wallet, init_code, topic};
use mainstem_devchain::{Config, Error, SharedDevChain};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Kept {
    _folder: TempDir,
    path: PathBuf,
}

impl Kept {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self { path: folder.path().join("chain"), _folder: folder }
    }

    fn open(&self) -> SharedDevChain {
        SharedDevChain::open(Config::default(), &self.path).unwrap()
    }

    fn refused(&self) -> Error {
        let before = fs::read(&self.path).unwrap();
        let error = SharedDevChain::open(Config::default(), &self.path).unwrap_err();
        assert_eq!(fs::read(&self.path).unwrap(), before, "a file that is refused is left as it is");
        assert!(error.to_string().contains(&self.path.display().to_string()), "{error}");
        error
    }

    /// A chain of three blocks; the lengths of the file after each.
    fn with_three_blocks() -> (Self, Vec<u64>) {
        let kept = Self::new();
        let chain = kept.open();
        let mut lengths = vec![length(&kept.path)];
        for nonce in 0..3 {
            send(&chain, Tx { nonce, ..Tx::default() });
            lengths.push(length(&kept.path));
        }
        (kept, lengths)
    }
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn ok(chain: &SharedDevChain, method: &str, params: Value) -> Value {
    chain.request_at(method, &params, NOW_S).unwrap()
}

fn send(chain: &SharedDevChain, tx: Tx) -> Value {
    ok(chain, "eth_sendRawTransaction", json!([Wallet::dev(0).sign(&tx)]))
}

fn head(chain: &SharedDevChain) -> Value {
    ok(chain, "eth_getBlockByNumber", json!(["latest", true]))
}

#[test]
fn an_opened_chain_is_the_chain_that_was_left() {
    let kept = Kept::new();
    let (block, receipt, logs, counter);
    {
        let chain = kept.open();
        let hash = send(&chain, Tx { to: None, input: init_code(COUNTER), gas: 1_000_000, ..Tx::default() });
        receipt = ok(&chain, "eth_getTransactionReceipt", json!([hash]));
        counter = receipt["contractAddress"].as_str().unwrap().to_owned();
        for nonce in 1..4 {
            send(&chain, Tx { nonce, to: Some(counter.clone()), gas: 100_000, kind: 0, ..Tx::default() });
        }
        ok(&chain, "evm_mine", json!([{ "blocks": 3 }]));
        ok(&chain, "mainstem_reorg", json!([2]));
        ok(&chain, "evm_increaseTime", json!([1_000]));
        send(&chain, Tx { nonce: 4, to: Some(counter.clone()), gas: 100_000, ..Tx::default() });
        block = head(&chain);
        logs = ok(&chain, "eth_getLogs", json!([{ "fromBlock": "earliest" }]));
    }
    let chain = kept.open();
    assert_eq!(head(&chain), block);
    assert_eq!(ok(&chain, "eth_getTransactionReceipt", json!([receipt["transactionHash"]])), receipt);
    assert_eq!(ok(&chain, "eth_getLogs", json!([{ "fromBlock": "earliest" }])), logs);
    assert_eq!(ok(&chain, "eth_getStorageAt", json!([counter, "0x0"])), topic(4));
    assert_eq!(ok(&chain, "eth_getStorageAt", json!([counter, "0x0", "0x2"])), topic(1));
    // The clock is still ahead, and the chain goes on.
    send(&chain, Tx { nonce: 5, to: Some(counter), gas: 100_000, ..Tx::default() });
    let time = |block: &Value| common::number(&block["timestamp"]);
    assert!(time(&block) >= NOW_S + 1_000);
    assert_eq!(time(&head(&chain)), time(&block) + 1);
}

#[test]
fn a_shift_of_the_clock_that_was_reverted_stays_reverted() {
    let kept = Kept::new();
    let chain = kept.open();
    let snapshot = ok(&chain, "evm_snapshot", json!([]));
    ok(&chain, "evm_increaseTime", json!([1_000]));
    ok(&chain, "evm_revert", json!([snapshot]));
    drop(chain);
    let chain = kept.open();
    ok(&chain, "evm_mine", json!([]));
    assert_eq!(common::number(&head(&chain)["timestamp"]), NOW_S);
}

#[test]
fn what_was_answered_is_in_the_file_while_the_chain_still_runs() {
    let kept = Kept::new();
    let chain = kept.open();
    let hash = send(&chain, Tx::default());
    // As after kill -9: a copy of the file as it is now, and nothing closed.
    let copy = kept.path.with_extension("copy");
    fs::copy(&kept.path, &copy).unwrap();
    let survivor = SharedDevChain::open(Config::default(), &copy).unwrap();
    let receipt = ok(&survivor, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!(receipt["status"], "0x1");
    drop(chain);
}

#[test]
fn a_file_cut_anywhere_in_its_last_record_keeps_the_blocks_before_and_goes_on() {
    let (kept, lengths) = Kept::with_three_blocks();
    let whole = fs::read(&kept.path).unwrap();
    for cut in lengths[2]..lengths[3] {
        fs::write(&kept.path, &whole[..cut as usize]).unwrap();
        let chain = kept.open();
        assert_eq!(head(&chain)["number"], "0x2", "cut at {cut}");
        assert_eq!(length(&kept.path), lengths[2]);
    }
    let chain = kept.open();
    send(&chain, Tx { nonce: 2, value: 9, ..Tx::default() });
    drop(chain);
    assert_eq!(head(&kept.open())["number"], "0x3");
}

#[test]
fn zeros_that_a_loss_of_power_left_at_the_end_are_dropped() {
    let (kept, lengths) = Kept::with_three_blocks();
    OpenOptions::new().append(true).open(&kept.path).unwrap().write_all(&[0; 4_096]).unwrap();
    assert_eq!(head(&kept.open())["number"], "0x3");
    assert_eq!(length(&kept.path), lengths[3]);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_with_the_place_and_the_remedy() {
    let (kept, lengths) = Kept::with_three_blocks();
    let whole = fs::read(&kept.path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&kept.path, &damaged).unwrap();
        let error = kept.refused();
        let blocks_before = lengths.iter().filter(|end| **end <= at as u64).count();
        let Error::Damaged { offset, blocks, .. } = error else {
            assert!(matches!(error, Error::NotAChain { .. } | Error::Version { .. }), "byte {at}: {error}");
            assert_eq!(blocks_before, 0, "byte {at}");
            continue;
        };
        assert_eq!(offset, lengths[blocks_before - 1], "byte {at}");
        assert_eq!(blocks, blocks_before as u64 - 1, "byte {at}");
        assert!(error.to_string().contains(&format!("truncate -s {offset}")));
    }
}

#[test]
fn a_record_left_out_or_repeated_is_refused() {
    let (kept, lengths) = Kept::with_three_blocks();
    let whole = fs::read(&kept.path).unwrap();
    let part = |from: usize, to: usize| &whole[lengths[from] as usize..lengths[to] as usize];
    let begin = &whole[..lengths[0] as usize];
    for broken in [[begin, part(0, 1), part(2, 3)].concat(), [begin, part(0, 1), part(0, 1)].concat()] {
        fs::write(&kept.path, &broken).unwrap();
        assert!(matches!(kept.refused(), Error::Damaged { blocks: 1, .. }));
    }
}

#[test]
fn an_empty_or_foreign_file_is_never_taken_for_a_fresh_chain() {
    let kept = Kept::new();
    for contents in ["", "MSDEV", "{\"hello\": \"world\"}", "MSDEVCHN\0\0\0\x01"] {
        fs::write(&kept.path, contents).unwrap();
        assert!(matches!(kept.refused(), Error::NotAChain { .. }), "{contents}");
    }
    fs::write(&kept.path, "MSDEVCHN\0\0\0\x02").unwrap();
    assert!(matches!(kept.refused(), Error::Version { expected: 1, found: 2, .. }));
}

#[test]
fn another_chain_id_is_refused_and_other_settings_of_genesis_come_from_the_file() {
    let (kept, _) = Kept::with_three_blocks();
    let other = Config { chain_id: 7, ..Config::default() };
    let error = SharedDevChain::open(other, &kept.path).unwrap_err();
    assert!(matches!(error, Error::OtherChain { expected: 7, found: 31_337, .. }));
    let other = Config { gas_limit: 1_000_000, balance_wei: 1, logs_max: 5, ..Config::default() };
    let chain = SharedDevChain::open(other, &kept.path).unwrap();
    assert_eq!(head(&chain)["number"], "0x3");
    assert_eq!((chain.config().gas_limit, chain.config().logs_max), (30_000_000, 5));
}

#[test]
fn a_file_is_open_in_one_place_at_a_time() {
    let kept = Kept::new();
    let chain = kept.open();
    assert!(matches!(SharedDevChain::open(Config::default(), &kept.path).unwrap_err(), Error::Locked { .. }));
    drop(chain);
    kept.open();
}

#[test]
fn writers_at_the_same_time_are_all_kept() {
    let kept = Kept::new();
    let chain = kept.open();
    std::thread::scope(|scope| {
        for index in 0..8 {
            let chain = chain.clone();
            scope.spawn(move || {
                for nonce in 0..4 {
                    let raw = Wallet::dev(index).sign(&Tx { nonce, ..Tx::default() });
                    ok(&chain, "eth_sendRawTransaction", json!([raw]));
                }
            });
        }
    });
    let before = head(&chain);
    drop(chain);
    assert_eq!(before["number"], "0x20");
    assert_eq!(head(&kept.open()), before);
}

#[test]
fn what_is_refused_leaves_no_trace_in_the_file() {
    let kept = Kept::new();
    let chain = kept.open();
    let before = length(&kept.path);
    let raw = Wallet::dev(0).sign(&Tx { nonce: 5, ..Tx::default() });
    chain.request_at("eth_sendRawTransaction", &json!([raw]), NOW_S).unwrap_err();
    ok(&chain, "eth_newBlockFilter", json!([]));
    assert_eq!(length(&kept.path), before);
}
