//! Reads whose answers never change: what a contract said at the last block before a second.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking; what is common prints seeds"
)]

mod common;

use common::{
    Chain,
    proxy::{Fault, Proxy, Script},
};
use mainstem_chain::{
    BlockTag, Call, ChainError, FinalisedAnswer, FinalisedCall, FinalisedReads, Receipt, Rpc, RpcConfig,
};
use mainstem_crypto::Address;
use mainstem_devchain::{Config, SharedDevChain};

const GAS: u64 = 1_000_000;
const RICH: Address = Address([0x77; 20]);

/// A word of call data.
fn word(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - bytes.len()..].copy_from_slice(bytes);
    word
}

/// What RICH has, before a second.
fn balance(coin: Address, before_s: u64) -> FinalisedCall {
    let input = [&[0x70, 0xa0, 0x82, 0x31][..], &word(&RICH.0)].concat();
    FinalisedCall { to: coin, input, before_s, gas: GAS }
}

/// RICH is given one coin more.
async fn give(chain: &Chain, coin: Address) -> Receipt {
    let data = [&[0xa9, 0x05, 0x9c, 0xbb][..], &word(&RICH.0), &word(&[1])].concat();
    chain.wallet(0).send(Call::to(coin, data)).await.unwrap()
}

async fn second(rpc: &Rpc, number: u64) -> u64 {
    rpc.block(BlockTag::Number(number)).await.unwrap().unwrap().timestamp_s
}

#[tokio::test]
async fn a_read_is_made_at_the_last_block_before_its_second_whatever_came_after() {
    let chain = Chain::dev().await;
    let coin = chain.deploy().await.0.data_coin;
    let rpc = chain.rpc();
    let mut given = Vec::new();
    for _ in 0..20 {
        given.push(second(&rpc, give(&chain, coin).await.block_number).await);
    }
    let reads = FinalisedReads::new(rpc.clone());
    for _ in 0..2 {
        for (index, since) in given.iter().enumerate() {
            let before = reads.read(&balance(coin, *since), 0).await;
            // The last of them: no block came since, and its second is not over by this clock.
            let after = reads.read(&balance(coin, since + 1), since + 1).await.unwrap();
            let coins = |count: usize| word(&[count as u8]).to_vec();
            assert_eq!(before.unwrap().output, coins(index));
            assert_eq!((after.output, after.block_s), (coins(index + 1), *since));
        }
    }
    assert!(matches!(reads.read(&balance(coin, 1), 0).await, Err(ChainError::Argument(_))));
}

#[tokio::test]
async fn what_is_not_final_yet_is_not_answered_and_then_it_is() {
    let config = Config { finality_blocks: 3, ..Config::default() };
    let chain = Chain::serve(SharedDevChain::in_memory(config)).await;
    let coin = chain.deploy().await.0.data_coin;
    let given = give(&chain, coin).await.block_number;
    let rpc = chain.rpc();
    let second = second(&rpc, given).await;
    let reads = FinalisedReads::new(rpc);
    let after = balance(coin, second + 1);
    for _ in 0..3 {
        let early = reads.read(&after, second + 100).await;
        assert!(matches!(early, Err(ChainError::NotFinal { .. })), "{early:?}");
        chain.mine_at(chain.rpc().block(BlockTag::Latest).await.unwrap().unwrap().timestamp_s + 10).await;
    }
    // Its own block is final, and the next one is not.
    assert!(matches!(reads.read(&after, second + 100).await, Err(ChainError::NotFinal { .. })));
    chain.mine().await;
    let answer = reads.read(&after, second + 100).await.unwrap();
    assert_eq!((answer.block_number, answer.output), (given, word(&[1]).to_vec()));
}

#[tokio::test]
async fn where_blocks_are_final_at_once_a_second_that_is_not_over_is_not_answered() {
    let chain = Chain::dev().await;
    let coin = chain.deploy().await.0.data_coin;
    let second = second(&chain.rpc(), give(&chain, coin).await.block_number).await;
    let reads = FinalisedReads::new(chain.rpc());
    let after = balance(coin, second + 5);
    let early = reads.read(&after, second + 4).await;
    assert_eq!(early, Err(ChainError::NotFinal { before_s: second + 5, final_s: second }));
    assert_eq!(reads.read(&after, second + 5).await.unwrap().output, word(&[1]));
}

#[tokio::test]
async fn a_refusal_and_an_address_without_code_are_answers() {
    let chain = Chain::dev().await;
    let coin = chain.deploy().await.0.data_coin;
    let second = second(&chain.rpc(), give(&chain, coin).await.block_number).await;
    let reads = FinalisedReads::new(chain.rpc());
    // Nobody may take coins from RICH.
    let input = [&[0x23, 0xb8, 0x72, 0xdd][..], &word(&RICH.0), &word(&[1]), &word(&[1])].concat();
    let taking = FinalisedCall { input, ..balance(coin, second + 1) };
    let refused = reads.read(&taking, second + 1).await.unwrap();
    assert!(refused.reverted && refused.output.len() > 4, "{refused:?}");
    let nobody = reads.read(&balance(RICH, second + 1), second + 1).await.unwrap();
    assert!(!nobody.reverted && nobody.output.is_empty(), "{nobody:?}");
    let little = FinalisedCall { gas: 21_500, ..balance(coin, second + 1) };
    let starved = reads.read(&little, second + 1).await;
    assert!(!matches!(&starved, Ok(FinalisedAnswer { reverted: false, .. })), "{starved:?}");
}

#[tokio::test]
async fn two_endpoints_must_say_the_same() {
    let shared = SharedDevChain::in_memory(Config::default());
    let chain = Chain::serve(shared.clone()).await;
    let coin = chain.deploy().await.0.data_coin;
    let second = second(&chain.rpc(), give(&chain, coin).await.block_number).await;
    let proxy = Proxy::start(shared, 1).await;
    let urls = vec![chain.url().to_owned(), proxy.url.clone()];
    let rpc = Rpc::new(RpcConfig { urls, retries: 0, timeout_ms: 5_000, ..RpcConfig::default() }).unwrap();
    let reads = FinalisedReads::new(rpc.clone());
    let call = balance(coin, second + 1);
    for fault in [Fault::ForgedCalls, Fault::Error(3), Fault::Null] {
        proxy.set(Script { chance: 1.0, faults: vec![fault] });
        let torn = reads.read(&call, second + 1).await;
        assert!(torn.is_err(), "{fault:?}: {torn:?}");
    }
    proxy.honest();
    assert_eq!(reads.read(&call, second + 1).await.unwrap().output, word(&[1]));
    // Who is behind does not say that the block is final.
    proxy.set(Script { chance: 1.0, faults: vec![Fault::Lag(1)] });
    let behind = FinalisedReads::new(rpc).read(&call, second + 1).await;
    assert!(matches!(behind, Err(ChainError::NotFinal { .. })), "{behind:?}");
}
