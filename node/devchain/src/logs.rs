//! Log queries: which blocks, which logs, and how many at most.

use revm::primitives::{Address, B256, Log};
use serde_json::Value;

use crate::block::{Block, log_json};
use crate::config::Config;
use crate::error::RpcError;
use crate::params::{BlockId, Tag, parse_address, parse_hash};

/// Topics that a log has at most.
const TOPICS_MAX: usize = 4;

/// What a log must look like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Criteria {
    /// One of these; any if empty.
    addresses: Vec<Address>,
    /// By position: one of these; any if empty.
    topics: Vec<Vec<B256>>,
}

impl Criteria {
    fn matches(&self, log: &Log) -> bool {
        let topics = log.data.topics();
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.len() <= topics.len()
            && self
                .topics
                .iter()
                .zip(topics)
                .all(|(any_of, topic)| any_of.is_empty() || any_of.contains(topic))
    }
}

/// Which blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Range {
    One(B256),
    Between(BlockId, BlockId),
}

/// The parameter of `eth_getLogs` and `eth_newFilter`.
#[derive(Clone, Debug)]
pub(crate) struct LogQuery {
    pub(crate) criteria: Criteria,
    pub(crate) range: Range,
}

impl LogQuery {
    pub(crate) fn parse(value: &Value, config: &Config) -> Result<Self, RpcError> {
        let Value::Object(map) = value else { return Err(RpcError::params("a filter must be an object")) };
        let field = |name: &str| map.get(name).filter(|value| !value.is_null());
        let block = |name: &str| field(name).map_or(Ok(BlockId::Tag(Tag::Latest)), BlockId::parse_number);
        let range = match field("blockHash") {
            None => Range::Between(block("fromBlock")?, block("toBlock")?),
            Some(_) if field("fromBlock").or(field("toBlock")).is_some() => {
                return Err(RpcError::params(
                    "cannot specify both blockHash and fromBlock/toBlock, choose one",
                ));
            }
            Some(hash) => Range::One(parse_hash(hash)?),
        };
        if let Range::Between(BlockId::Number(from), BlockId::Number(to)) = range
            && from > to
        {
            return Err(RpcError::params(format!("invalid block range params: {from} is after {to}")));
        }
        let addresses = match field("address") {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                alternatives(list, config)?.iter().map(parse_address).collect::<Result<_, _>>()?
            }
            Some(one) => vec![parse_address(one)?],
        };
        let topics = match field("topics") {
            None => Vec::new(),
            Some(Value::Array(list)) if list.len() <= TOPICS_MAX => {
                list.iter().map(|topic| parse_topic(topic, config)).collect::<Result<_, _>>()?
            }
            Some(_) => return Err(RpcError::params(format!("topics is an array of at most {TOPICS_MAX}"))),
        };
        Ok(Self { criteria: Criteria { addresses, topics }, range })
    }
}

/// One position: a topic, null for any, or a list of alternatives (in which null again is any).
fn parse_topic(value: &Value, config: &Config) -> Result<Vec<B256>, RpcError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) if list.iter().any(Value::is_null) => Ok(Vec::new()),
        Value::Array(list) => alternatives(list, config)?.iter().map(parse_hash).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Ok(vec![parse_hash(value)?])
        }
    }
}

fn alternatives<'a>(list: &'a [Value], config: &Config) -> Result<&'a [Value], RpcError> {
    let max = config.log_alternatives_max;
    if list.len() > max {
        return Err(RpcError::limit(format!(
            "a filter takes at most {max} addresses, and {max} topics a position"
        )));
    }
    Ok(list)
}

/// An answer that grows up to its bound.
#[derive(Debug)]
pub(crate) struct LogReply {
    logs: Vec<Value>,
    logs_max: usize,
}

impl LogReply {
    pub(crate) fn new(logs_max: usize) -> Self {
        Self { logs: Vec::new(), logs_max }
    }

    /// Adds the logs of these blocks that match.
    pub(crate) fn add<'a>(
        &mut self,
        blocks: impl IntoIterator<Item = &'a Block>,
        criteria: &Criteria,
        removed: bool,
    ) -> Result<(), RpcError> {
        for block in blocks {
            // Looking at the few logs of one transaction is cheaper than hashing for the bloom filter.
            let Some(mined) = &block.mined else { continue };
            let place = block.place();
            for (index, log) in block.logs().filter(|(_, log)| criteria.matches(log)) {
                if self.logs.len() == self.logs_max {
                    return Err(RpcError::limit(format!(
                        "query returned more than {} results: ask for fewer blocks",
                        self.logs_max
                    )));
                }
                self.logs.push(log_json(log, index, mined.transaction.hash, &place, removed));
            }
        }
        Ok(())
    }

    pub(crate) fn extend(&mut self, logs: Vec<Value>) {
        self.logs.extend(logs);
    }

    pub(crate) fn into_logs(self) -> Vec<Value> {
        self.logs
    }
}
