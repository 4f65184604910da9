//! The JSON-RPC methods, one line each in [`DevChain::handle`].

use revm::primitives::{U256, keccak256};
use serde_json::{Value, json};

use crate::block::{Block, Mined};
use crate::call::Call;
use crate::chain::DevChain;
use crate::error::RpcError;
use crate::filter::Watched;
use crate::logs::{LogQuery, LogReply, Range};
use crate::params::{BlockId, Params, Tag, data, parse_u64, quantity};

impl DevChain {
    /// Answers one JSON-RPC request. `params` is an array or null; `now_s` is the time of day in seconds, which
    /// `evm_increaseTime` and `evm_setNextBlockTimestamp` move.
    ///
    /// Besides the `eth_`, `net_` and `web3_` methods that wallets use, and anvil's `evm_mine`, `evm_increaseTime`,
    /// `evm_setNextBlockTimestamp`, `evm_snapshot` and `evm_revert`, there is `mainstem_reorg [{depth}]`: it drops the
    /// newest blocks with their transactions and gives the number of the block that is newest then; what is mined
    /// next has other hashes.
    ///
    /// # Errors
    /// As geth and anvil have them, see [`RpcError::code`]. The chain is then as it was.
    pub fn handle(&mut self, method: &str, params: &Value, now_s: u64) -> Result<Value, RpcError> {
        let params = Params::of(params)?;
        match method {
            "web3_clientVersion" => Ok(json!(concat!("mainstem-devchain/v", env!("CARGO_PKG_VERSION")))),
            "web3_sha3" => Ok(json!(keccak256(params.bytes(0)?))),
            "net_version" => Ok(json!(self.config.chain_id.to_string())),
            "net_listening" => Ok(json!(true)),
            "eth_chainId" => Ok(quantity(self.config.chain_id)),
            "eth_syncing" => Ok(json!(false)),
            "eth_accounts" => Ok(json!([])),
            "eth_blockNumber" => Ok(quantity(self.head_block().header.number)),
            // The tip is charged if it is offered, so none is asked for.
            "eth_gasPrice" => Ok(quantity(self.config.base_fee_wei)),
            "eth_maxPriorityFeePerGas" => Ok(json!("0x0")),
            "eth_feeHistory" => self.fee_history(params),

            "eth_getBalance" => self.balance(params),
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_getCode" => {
                Ok(data(self.view(params.block(1)?)?.code(params.address(0)?).original_byte_slice()))
            }
            "eth_getStorageAt" => {
                let value = self.view(params.block(2)?)?.slot(params.address(0)?, params.u256(1)?);
                Ok(data(&value.to_be_bytes::<32>()))
            }
            "eth_call" => self.call(params, now_s),
            "eth_estimateGas" => self.estimate_gas(params, now_s),

            "eth_sendRawTransaction" => Ok(json!(self.submit(params.bytes(0)?, now_s)?)),
            "eth_getTransactionReceipt" => Ok(self
                .block_of_transaction(params.hash(0)?)
                .and_then(Block::receipt_json)
                .unwrap_or(Value::Null)),
            "eth_getTransactionByHash" => self.transaction(params),
            "eth_getBlockByNumber" => self.block_by_number(params, now_s),
            "eth_getBlockByHash" => {
                let (hash, full) = (params.hash(0)?, params.flag(1)?);
                Ok(self.block(BlockId::Hash(hash)).map_or(Value::Null, |block| block.json(full)))
            }

            "eth_getLogs" => self.logs(&LogQuery::parse(params.required(0)?, &self.config)?),
            "eth_newFilter" => self.new_filter(params, now_s),
            "eth_newBlockFilter" => self.install(Watched::Blocks, now_s),
            "eth_getFilterChanges" => {
                self.filters.changes(filter_id(params)?, &self.blocks, now_s, self.config.logs_max)
            }
            "eth_getFilterLogs" => self.logs(&self.filters.query(filter_id(params)?)?),
            "eth_uninstallFilter" => Ok(json!(self.filters.uninstall(filter_id(params)?))),

            "evm_mine" => self.mine(params, now_s),
            "evm_increaseTime" => Ok(json!(self.increase_time(params.u64(0)?, now_s)?)),
            "evm_setNextBlockTimestamp" => {
                let head_s = self.head_block().header.timestamp_s;
                self.clock.set_next(params.u64(0)?, head_s)?;
                Ok(Value::Null)
            }
            "evm_snapshot" => Ok(quantity(self.snapshot()?)),
            "evm_revert" => Ok(json!(self.revert(params.u64(0)?))),
            "mainstem_reorg" => self.reorg(params),

            unknown => Err(RpcError::method(unknown)),
        }
    }

    fn fee_history(&self, params: Params<'_>) -> Result<Value, RpcError> {
        let newest = self.number_of(params.block(1)?).ok_or_else(|| RpcError::refused("header not found"))?;
        let count = params.u64(0)?.min(self.config.blocks_max).min(newest + 1);
        let percentiles = match params.optional(2) {
            None => 0,
            Some(Value::Array(list)) if list.len() <= 100 => list.len(),
            Some(_) => {
                return Err(RpcError::params("reward percentiles are an array of at most 100 numbers"));
            }
        };
        let oldest = newest + 1 - count;
        let blocks = &self.blocks[oldest as usize..=newest as usize];
        let base_fee = quantity(self.config.base_fee_wei);
        let mut out = json!({
            "oldestBlock": quantity(oldest),
            "baseFeePerGas": vec![base_fee; count as usize + 1],
            "gasUsedRatio": blocks
                .iter()
                .map(|block| block.header.gas_used as f64 / block.header.gas_limit.max(1) as f64)
                .collect::<Vec<_>>(),
        });
        if percentiles > 0 {
            // The one transaction of a block is every percentile of it.
            let reward = |block: &Block| {
                let paid = block.mined.as_ref().map_or(0, |mined| mined.receipt.effective_gas_price);
                vec![quantity(paid.saturating_sub(u128::from(self.config.base_fee_wei))); percentiles]
            };
            out["reward"] = json!(blocks.iter().map(reward).collect::<Vec<_>>());
        }
        Ok(out)
    }

    fn balance(&self, params: Params<'_>) -> Result<Value, RpcError> {
        let view = self.view(params.block(1)?)?;
        Ok(quantity(view.account(params.address(0)?).map_or(U256::ZERO, |info| info.balance)))
    }

    fn transaction_count(&self, params: Params<'_>) -> Result<Value, RpcError> {
        let view = self.view(params.block(1)?)?;
        Ok(quantity(view.account(params.address(0)?).map_or(0, |info| info.nonce)))
    }

    fn call(&self, params: Params<'_>, now_s: u64) -> Result<Value, RpcError> {
        let call = Call::parse(params.required(0)?)?;
        no_overrides(params)?;
        let id = params.block(1)?;
        let output = call.output(&self.view(id)?, &self.call_header(id, now_s)?, self.config.chain_id)?;
        Ok(data(&output))
    }

    fn estimate_gas(&self, params: Params<'_>, now_s: u64) -> Result<Value, RpcError> {
        let call = Call::parse(params.required(0)?)?;
        no_overrides(params)?;
        // Where the transaction would stand if it were sent now.
        let id = params.optional(1).map_or(Ok(BlockId::Tag(Tag::Pending)), BlockId::parse)?;
        let gas = call.estimate(&self.view(id)?, &self.call_header(id, now_s)?, self.config.chain_id)?;
        Ok(quantity(gas))
    }

    fn transaction(&self, params: Params<'_>) -> Result<Value, RpcError> {
        let found = self.block_of_transaction(params.hash(0)?).and_then(|block| {
            let Mined { transaction, .. } = block.mined.as_ref()?;
            Some(transaction.json(&block.place(), block.header.base_fee_wei))
        });
        Ok(found.unwrap_or(Value::Null))
    }

    fn block_by_number(&self, params: Params<'_>, now_s: u64) -> Result<Value, RpcError> {
        let id = BlockId::parse_number(params.required(0)?)?;
        let full = params.flag(1)?;
        if id == BlockId::Tag(Tag::Pending) {
            return Ok(Block::pending_json(self.call_header(id, now_s)?));
        }
        Ok(self.block(id).map_or(Value::Null, |block| block.json(full)))
    }

    fn logs(&self, query: &LogQuery) -> Result<Value, RpcError> {
        let (from, to) = match query.range {
            Range::One(hash) => {
                let id = BlockId::Hash(hash);
                let number = self.number_of(id).ok_or_else(|| RpcError::refused("unknown block"))?;
                (number, number)
            }
            // A range that lies ahead of the chain, in part or as a whole, has no logs there yet.
            Range::Between(from, to) => {
                let ahead = self.blocks.len() as u64;
                let head = ahead - 1;
                (self.number_of(from).unwrap_or(ahead), self.number_of(to).unwrap_or(head))
            }
        };
        let mut reply = LogReply::new(self.config.logs_max);
        if from <= to {
            reply.add(&self.blocks[from as usize..=to as usize], &query.criteria, false)?;
        }
        Ok(Value::Array(reply.into_logs()))
    }

    fn new_filter(&mut self, params: Params<'_>, now_s: u64) -> Result<Value, RpcError> {
        let query = LogQuery::parse(params.required(0)?, &self.config)?;
        if let Range::One(_) = query.range {
            return Err(RpcError::params("a filter cannot watch one blockHash: use eth_getLogs"));
        }
        self.install(Watched::Logs(query), now_s)
    }

    fn install(&mut self, watched: Watched, now_s: u64) -> Result<Value, RpcError> {
        let head = self.blocks.last().ok_or_else(|| RpcError::internal("the chain has no blocks"))?;
        self.filters.install(watched, head, now_s, &self.config).map(quantity)
    }

    /// `[]`, `[timestamp]` or `[{timestamp, blocks}]`.
    fn mine(&mut self, params: Params<'_>, now_s: u64) -> Result<Value, RpcError> {
        let (timestamp, blocks) = match params.optional(0) {
            Some(Value::Object(map)) => (map.get("timestamp"), map.get("blocks")),
            timestamp => (timestamp, None),
        };
        let present =
            |value: Option<&Value>| value.filter(|value| !value.is_null()).map(parse_u64).transpose();
        let blocks = present(blocks)?.unwrap_or(1);
        if blocks > self.config.blocks_max {
            return Err(RpcError::limit(format!(
                "at most {} blocks are mined at a time",
                self.config.blocks_max
            )));
        }
        if let Some(timestamp_s) = present(timestamp)? {
            self.clock.set_next(timestamp_s, self.head_block().header.timestamp_s)?;
        }
        for _ in 0..blocks {
            self.mine_empty(now_s);
        }
        Ok(json!("0x0"))
    }

    /// `[{depth}]` or `[depth]`.
    fn reorg(&mut self, params: Params<'_>) -> Result<Value, RpcError> {
        let depth = params.required(0)?;
        let depth = parse_u64(depth.get("depth").unwrap_or(depth))?;
        let head = self.head_block().header.number;
        if depth == 0 || depth > head {
            return Err(RpcError::params(format!("depth must be between 1 and the newest block, {head}")));
        }
        self.cut_back(head - depth);
        Ok(quantity(head - depth))
    }
}

fn filter_id(params: Params<'_>) -> Result<u128, RpcError> {
    u128::try_from(params.u256(0)?).map_err(|_| RpcError::refused("filter not found"))
}

/// State overrides change what a call means: better refused than passed over.
fn no_overrides(params: Params<'_>) -> Result<(), RpcError> {
    match params.optional(2) {
        None => Ok(()),
        Some(Value::Object(map)) if map.is_empty() => Ok(()),
        Some(_) => Err(RpcError::params("state overrides are not supported")),
    }
}
