//! Installed filters: what a poller has not seen yet.

use std::collections::BTreeMap;

use revm::primitives::{B256, keccak256};
use serde_json::{Value, json};

use crate::block::Block;
use crate::config::Config;
use crate::error::RpcError;
use crate::logs::{LogQuery, LogReply, Range};
use crate::params::BlockId;

/// What a filter watches.
#[derive(Clone, Debug)]
pub(crate) enum Watched {
    Blocks,
    Logs(LogQuery),
}

#[derive(Debug)]
struct Filter {
    watched: Watched,
    /// Number of the first block not told yet.
    next: u64,
    /// Logs that were told and whose blocks were dropped since (`removed: true`).
    removed: Vec<Value>,
    polled_s: u64,
}

/// All filters, by id.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    installed: BTreeMap<u128, Filter>,
    made: u64,
}

impl Filters {
    /// Installs a filter for what comes after `head`. Its id is not one that a filter had before a restart.
    pub(crate) fn install(
        &mut self,
        watched: Watched,
        head: &Block,
        now_s: u64,
        config: &Config,
    ) -> Result<u128, RpcError> {
        if self.installed.len() >= config.filters_max {
            let idle_s_max = config.filter_idle_s_max;
            self.installed.retain(|_, filter| now_s.saturating_sub(filter.polled_s) <= idle_s_max);
        }
        if self.installed.len() >= config.filters_max {
            return Err(RpcError::limit(format!(
                "{} filters are installed: uninstall one",
                config.filters_max
            )));
        }
        self.made += 1;
        let seed = [head.hash.as_slice(), &now_s.to_be_bytes(), &self.made.to_be_bytes()].concat();
        let id = u128::from_be_bytes(keccak256(seed).0[..16].try_into().unwrap_or_default());
        let filter = Filter { watched, next: head.header.number + 1, removed: Vec::new(), polled_s: now_s };
        self.installed.insert(id, filter);
        Ok(id)
    }

    /// Whether there was such a filter.
    pub(crate) fn uninstall(&mut self, id: u128) -> bool {
        self.installed.remove(&id).is_some()
    }

    /// What is new since the last poll. If it is too much for one answer, the filter stays where it was.
    pub(crate) fn changes(
        &mut self,
        id: u128,
        blocks: &[Block],
        now_s: u64,
        logs_max: usize,
    ) -> Result<Value, RpcError> {
        let filter = self.installed.get_mut(&id).ok_or_else(not_found)?;
        filter.polled_s = now_s;
        let fresh = blocks.get(filter.next as usize..).unwrap_or_default();
        let out = match &filter.watched {
            Watched::Blocks => {
                if fresh.len() > logs_max {
                    // A poller that slept this long is told of the newest.
                    let hashes: Vec<B256> =
                        fresh[fresh.len() - logs_max..].iter().map(|block| block.hash).collect();
                    json!(hashes)
                } else {
                    json!(fresh.iter().map(|block| block.hash).collect::<Vec<_>>())
                }
            }
            Watched::Logs(query) => {
                let mut reply = LogReply::new(logs_max);
                reply.extend(filter.removed.clone());
                reply.add(fresh.iter().filter(|block| in_range(query, block)), &query.criteria, false)?;
                filter.removed.clear();
                Value::Array(reply.into_logs())
            }
        };
        filter.next = blocks.len() as u64;
        Ok(out)
    }

    pub(crate) fn query(&self, id: u128) -> Result<LogQuery, RpcError> {
        match &self.installed.get(&id).ok_or_else(not_found)?.watched {
            Watched::Logs(query) => Ok(query.clone()),
            Watched::Blocks => Err(RpcError::refused("the filter watches blocks, not logs")),
        }
    }

    /// Notes the logs that pollers were told of and that no longer stand, newest block first. A filter with more of them
    /// than an answer can hold is forgotten, so that its poller begins anew.
    pub(crate) fn drop_blocks(&mut self, dropped: &[Block], logs_max: usize) {
        let Some(first) = dropped.first().map(|block| block.header.number) else { return };
        self.installed.retain(|_, filter| {
            if filter.next <= first {
                return true;
            }
            let told = dropped[..dropped.len().min((filter.next - first) as usize)].iter().rev();
            filter.next = first;
            let Watched::Logs(query) = &filter.watched else { return true };
            let mut reply = LogReply::new(logs_max);
            reply.extend(std::mem::take(&mut filter.removed));
            let fits = reply.add(told.filter(|block| in_range(query, block)), &query.criteria, true).is_ok();
            filter.removed = reply.into_logs();
            fits
        });
    }
}

/// A filter tells only of new blocks; numbers in its range narrow that down.
fn in_range(query: &LogQuery, block: &Block) -> bool {
    let Range::Between(from, to) = query.range else { return false };
    let number = block.header.number;
    !matches!(from, BlockId::Number(from) if number < from)
        && !matches!(to, BlockId::Number(to) if number > to)
}

fn not_found() -> RpcError {
    RpcError::refused("filter not found")
}
