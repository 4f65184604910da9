//! The time of the next block.

use crate::error::RpcError;

/// Beyond this no timestamp goes, so that sums stay far from overflow and JavaScript can hold them.
const TIMESTAMP_S_MAX: u64 = 1 << 40;

/// The caller's time, moved by what `evm_increaseTime` and `evm_setNextBlockTimestamp` asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Chain time less the caller's time.
    pub(crate) offset_s: i64,
    /// Exact time of the next block.
    next_s: Option<u64>,
}

impl Clock {
    pub(crate) fn with_offset(offset_s: i64) -> Self {
        Self { offset_s, next_s: None }
    }

    /// The time that a call on the newest block sees: it goes on between blocks, as the chain has no ticking
    /// miner that would move it.
    pub(crate) fn now(&self, now_s: u64, head_s: u64) -> u64 {
        now_s.saturating_add_signed(self.offset_s).min(TIMESTAMP_S_MAX).max(head_s)
    }

    /// The time of the next block: strictly after the newest block's.
    pub(crate) fn next(&self, now_s: u64, head_s: u64) -> u64 {
        self.next_s.filter(|next| *next > head_s).unwrap_or_else(|| self.now(now_s, head_s).max(head_s + 1))
    }

    /// Call after a block was mined at `timestamp_s`. Time goes on from an exact time.
    pub(crate) fn mined(&mut self, timestamp_s: u64, now_s: u64) {
        if self.next_s.take() == Some(timestamp_s) {
            self.offset_s = distance(timestamp_s, now_s);
        }
    }

    pub(crate) fn increase(&mut self, seconds: u64, now_s: u64, head_s: u64) -> Result<(), RpcError> {
        let reached =
            self.now(now_s, head_s).checked_add(seconds).filter(|reached| *reached <= TIMESTAMP_S_MAX);
        let Some(reached) = reached else {
            return Err(RpcError::params(format!("that is beyond the last timestamp, {TIMESTAMP_S_MAX}")));
        };
        self.offset_s = distance(reached, now_s);
        Ok(())
    }

    pub(crate) fn set_next(&mut self, timestamp_s: u64, head_s: u64) -> Result<(), RpcError> {
        if timestamp_s <= head_s {
            return Err(RpcError::params(format!(
                "timestamp {timestamp_s} is lower than or equal to the previous block's timestamp {head_s}"
            )));
        }
        if timestamp_s > TIMESTAMP_S_MAX {
            return Err(RpcError::params(format!("that is beyond the last timestamp, {TIMESTAMP_S_MAX}")));
        }
        self.next_s = Some(timestamp_s);
        Ok(())
    }
}

/// `to` less `from`, of which neither is far beyond the last timestamp.
fn distance(to: u64, from: u64) -> i64 {
    to.min(i64::MAX as u64).cast_signed() - from.min(i64::MAX as u64).cast_signed()
}
