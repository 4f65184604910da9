use crate::{BlockHeader, BlockTag, ChainError, Rpc};
use mainstem_crypto::Address;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// Blocks whose times are kept. With more all but the newest go, and are asked for again.
const TIMES_MAX: usize = 4_096;

/// Blocks that are looked at for one read. Halving alone finds any in 64.
const PROBES_MAX: u32 = 192;

/// Reads of contracts whose answers never change: each names a second, and is made at the last block before it, once that
/// block is final.
///
/// So whoever reads the same has the same answer, now or in ten years, at any node that still has the state of that block: a node
/// that has dropped it says so, and an archive node is to be asked. Cheap to clone; clones share what they know of blocks' times.
/// All methods are cancel-safe.
#[derive(Clone)]
pub struct FinalisedReads {
    rpc: Rpc,
    /// Seconds of blocks that are final, by their numbers.
    times: Arc<Mutex<BTreeMap<u64, u64>>>,
}

/// What is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalisedCall {
    /// The contract.
    pub to: Address,
    /// Its call data.
    pub input: Vec<u8>,
    /// Unix second: it is read at the last block before it.
    pub before_s: u64,
    /// Gas that the call has. What a contract answers may depend on it.
    pub gas: u64,
}

/// What a contract answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalisedAnswer {
    /// Its output, or what it reverted with.
    pub output: Vec<u8>,
    /// It refused.
    pub reverted: bool,
    /// The block that it was read at.
    pub block_number: u64,
    /// Unix second of that block.
    pub block_s: u64,
}

/// Two neighbours of what is looked for, and what lies between.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    /// A block before the second: number and second.
    low: (u64, u64),
    /// One that is not.
    high: (u64, u64),
}

impl FinalisedReads {
    /// Reads of the chain behind `rpc`.
    pub fn new(rpc: Rpc) -> Self {
        Self { rpc, times: Arc::default() }
    }

    /// Makes a call. `now_s`, this machine's Unix second, matters only on a chain that finalises its blocks at once and has had
    /// none since `before_s`.
    ///
    /// # Errors
    /// [`ChainError::NotFinal`] if it cannot be told yet; [`ChainError::Argument`] if there was no block before that second; as
    /// [`Rpc::read`]. A contract that refuses is none, nor is an address without code: it answers nothing.
    pub async fn read(&self, call: &FinalisedCall, now_s: u64) -> Result<FinalisedAnswer, ChainError> {
        let (block_number, block_s) = self.block_before(call.before_s, now_s).await?;
        let outcome = self.rpc.agreed_outcome(call.to, &call.input, call.gas, block_number).await?;
        let reverted = outcome.is_err();
        let output = outcome.unwrap_or_else(|reason| reason);
        Ok(FinalisedAnswer { output, reverted, block_number, block_s })
    }

    /// Number and second of the last block before a second.
    async fn block_before(&self, before_s: u64, now_s: u64) -> Result<(u64, u64), ChainError> {
        let high = match self.known(|second| second >= before_s).next() {
            Some(known) => known,
            None => {
                let newest = self.keep(&self.rpc.agreed_final().await?);
                if newest.1 < before_s {
                    return self.is_last(newest, before_s, now_s).await;
                }
                newest
            }
        };
        let low = match self.known(|second| second < before_s).next_back() {
            Some(known) => known,
            None => self.block(0).await?,
        };
        if low.1 >= before_s {
            return Err(ChainError::Argument(format!("the chain had no block before second {before_s}")));
        }
        self.between(Bracket { low, high }, before_s).await
    }

    /// A final block that is the chain's newest is the last before any second that is not to come: a block that comes later has a
    /// later second. That is so where blocks are final at once.
    async fn is_last(&self, newest: (u64, u64), before_s: u64, now_s: u64) -> Result<(u64, u64), ChainError> {
        let head = self.rpc.block(BlockTag::Latest).await?;
        if before_s <= now_s && head.is_some_and(|head| head.number == newest.0) {
            return Ok(newest);
        }
        Err(ChainError::NotFinal { before_s, final_s: newest.1 })
    }

    async fn between(&self, mut bracket: Bracket, before_s: u64) -> Result<(u64, u64), ChainError> {
        for probe in 0..PROBES_MAX {
            if bracket.high.0 <= bracket.low.0 + 1 {
                return Ok(bracket.low);
            }
            let found = self.block(bracket.probe(before_s, probe)).await?;
            if found.1 < before_s {
                bracket.low = found;
            } else {
                bracket.high = found;
            }
        }
        Err(ChainError::Moved(format!("the last block before second {before_s} was not found")))
    }

    /// Number and second of a block that is below one that is final.
    async fn block(&self, number: u64) -> Result<(u64, u64), ChainError> {
        let none = || ChainError::Moved(format!("block {number} is gone"));
        Ok(self.keep(&self.rpc.agreed_block(number).await?.ok_or_else(none)?))
    }

    fn keep(&self, block: &BlockHeader) -> (u64, u64) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.insert(block.number, block.timestamp_s);
        if times.len() > TIMES_MAX {
            let newest = times.pop_last();
            times.clear();
            times.extend(newest);
        }
        (block.number, block.timestamp_s)
    }

    /// Blocks of such seconds.
    fn known(&self, is: impl Fn(u64) -> bool) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<_> = times
            .iter()
            .filter(|(_, second)| is(**second))
            .map(|(number, second)| (*number, *second))
            .collect();
        known.into_iter()
    }
}

impl Bracket {
    /// Which block between to look at: twice where it would be if all blocks came at equal distances, then in the middle, so that it ends
    /// on any chain.
    fn probe(&self, before_s: u64, count: u32) -> u64 {
        let ((low, low_s), (high, high_s)) = (self.low, self.high);
        let blocks = high - low;
        let offset = match count % 3 {
            2 => blocks / 2,
            _ => {
                let of =
                    u128::from(before_s - low_s) * u128::from(blocks) / u128::from((high_s - low_s).max(1));
                u64::try_from(of).unwrap_or(blocks)
            }
        };
        (low + offset).clamp(low + 1, high - 1)
    }
}

impl fmt::Debug for FinalisedReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FinalisedReads({:?})", self.rpc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks that are looked at until the last before a second is found.
    fn probes(seconds: &[u64], before_s: u64) -> u32 {
        let at = |number: usize| (number as u64, seconds[number]);
        let mut bracket = Bracket { low: at(0), high: at(seconds.len() - 1) };
        let mut count = 0;
        while bracket.high.0 > bracket.low.0 + 1 {
            let probe = bracket.probe(before_s, count);
            assert!(bracket.low.0 < probe && probe < bracket.high.0);
            let found = at(probe as usize);
            if found.1 < before_s {
                bracket.low = found
            } else {
                bracket.high = found
            }
            count += 1;
        }
        let expected = seconds.partition_point(|second| *second < before_s) as u64 - 1;
        assert_eq!(bracket.low.0, expected, "{before_s}");
        count
    }

    #[test]
    fn a_block_is_found_in_a_few_looks_where_blocks_come_evenly_and_in_bounds_where_they_do_not() {
        let even: Vec<u64> = (0..1_000_000).map(|number| 1_600_000_000 + 12 * number).collect();
        // One in ten is missed, as it happens.
        let missed: Vec<u64> = (0..1_000_000_u64)
            .map(|number| 1_600_000_000 + 12 * (number + number * number % 101 / 90))
            .collect();
        let mut missed = missed;
        missed.sort_unstable();
        // Nothing for years, then a thousand a second.
        let late: Vec<u64> = (0..1_000_000)
            .map(|number| if number == 0 { 0 } else { 1_600_000_000 + number / 1_000 })
            .collect();
        for before in [1, 7, 500_000, 999_998] {
            assert!(probes(&even, even[before]) <= 4);
            assert!(probes(&even, even[before] + 1) <= 4);
            assert!(probes(&missed, missed[before]) <= 16);
            assert!(probes(&late, late[before].max(1_600_000_001)) <= PROBES_MAX / 2);
        }
    }
}
