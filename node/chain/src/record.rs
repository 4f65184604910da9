//! A stream's record, straight from the chain.

use crate::{
    ChainError, Log, StreamRegistry,
    contracts::{abi, topic},
    event::metadata,
    json,
    registry::{address, read},
};
use ethers_core::{abi::AbiEncode, types::H160};
use mainstem_crypto::{Hash, keccak256_of};
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

/// The metadata whose hash the contract names, looked for from the newest block backwards: at once if the endpoint gives so
/// many blocks, else in ranges that are halved until it does.
async fn newest_metadata(
    registry: &StreamRegistry,
    id: StreamId,
    from_block: u64,
) -> Result<String, ChainError> {
    let hash: Hash = read(&registry.ask_stream(id, abi::MetaHashCall.encode()).await?)?;
    if hash == [0; 32] {
        return Ok(String::new());
    }
    let mut last = registry.rpc().block_number().await?;
    let mut span = u64::MAX;
    while last >= from_block {
        let first = last.saturating_sub(span - 1).max(from_block);
        let filter = json!([{
            "address": id.to_string(),
            "topics": [json::hash(&topic::<abi::MetaFilter>())],
            "fromBlock": json::quantity(first),
            "toBlock": json::quantity(last),
        }]);
        let logs: Vec<Log> = match registry.rpc().read_as("eth_getLogs", filter).await {
            // Providers have many words for it, not all of them known.
            Err(error) if is_refused(&error) && last > first => {
                span = (last - first).div_ceil(2);
                tracing::debug!(%error, blocks = span, "asking for logs of fewer blocks");
                continue;
            }
            logs => logs?,
        };
        let found =
            logs.iter().rev().filter_map(metadata).find(|text| keccak256_of(&[text.as_bytes()]) == hash);
        if let Some(found) = found {
            return Ok(found);
        }
        let Some(before) = first.checked_sub(1) else { break };
        last = before;
    }
    Err(ChainError::Disagreement(format!(
        "the metadata of {id}: no log has the hash that the contract names"
    )))
}

fn is_refused(error: &ChainError) -> bool {
    error.is_too_many_results() || matches!(error, ChainError::Rpc { .. })
}
