//! A stream's record, straight from the chain.

use crate::{
    BlockTag, ChainError, Log, StreamRegistry,
    contracts::{abi, topic},
    event::metadata,
    json,
    registry::{address, read},
};
use ethers_core::{abi::AbiEncode, types::H160};
use mainstem_model::{StreamId, StreamRecord};
use serde_json::json;

/// Reads the record of one stream.
pub(crate) async fn read_record(
    registry: &StreamRegistry,
    id: StreamId,
    from_block: u64,
) -> Result<Option<StreamRecord>, ChainError> {
    let known: bool = read(&registry.ask(abi::IsStreamCall { stream: H160(id.0.0) }.encode()).await?)?;
    if !known || read(&registry.ask_stream(id, abi::RemovedCall.encode()).await?)? {
        return Ok(None);
    }
    let owner: H160 = read(&registry.ask_stream(id, abi::OwnerCall.encode()).await?)?;
    let owner = address(owner);
    let created_at: u64 = read(&registry.ask_stream(id, abi::CreatedAtCall.encode()).await?)?;
    let key_epoch: u64 = read(&registry.ask_stream(id, abi::KeyEpochCall.encode()).await?)?;
    let label = registry.ask(abi::PathOfCall { stream: H160(id.0.0) }.encode()).await?;
    let (label_owner, path): (H160, String) = read(&label)?;
    let metadata = newest_metadata(registry, id, from_block).await?;
    let (partitions, storage_days) = StreamRecord::settings(&metadata);
    Ok(Some(StreamRecord {
        id,
        owner,
        metadata,
        partitions,
        storage_days,
        path: (address(label_owner) == owner && !path.is_empty()).then_some(path),
        key_epoch,
        created_at,
    }))
}

async fn newest_metadata(
    registry: &StreamRegistry,
    id: StreamId,
    from_block: u64,
) -> Result<String, ChainError> {
    let filter = json!([{
        "address": id.to_string(),
        "topics": [json::hash(&topic::<abi::MetaFilter>())],
        "fromBlock": json::quantity(from_block),
        "toBlock": BlockTag::Latest.json(),
    }]);
    let logs: Vec<Log> = registry.rpc().read_as("eth_getLogs", filter).await?;
    Ok(logs.iter().rev().find_map(metadata).unwrap_or_default())
}
