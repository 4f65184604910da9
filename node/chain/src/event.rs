use crate::{
    Log,
    contracts::{abi, topic},
};
use ethers_contract::EthEvent;
use ethers_core::abi::RawLog;
use mainstem_crypto::{Address, Hash};
use mainstem_model::{Grant, StreamId};

/// One event of the registry or of a contract that may be a stream.
///
/// Whether that contract is a stream is for the view to say: anybody can deploy one that logs the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryEvent {
    /// The registry made a stream.
    Created {
        /// Its address.
        stream: StreamId,
        /// Its first owner.
        owner: Address,
        /// Unix second of the block.
        at_s: u64,
    },
    /// New metadata, whole.
    Metadata(StreamId, String),
    /// New rights of one account, whole.
    Granted(StreamId, Address, Grant),
    /// A new key epoch.
    KeyEpoch(StreamId, u64),
    /// A new owner.
    Owner(StreamId, Address),
    /// Removed for good.
    Removed(StreamId),
    /// Listed by an account under a path.
    Listed(StreamId, Address, String),
    /// Not listed any more.
    Unlisted(StreamId),
    /// A wallet has revoked a delegation.
    Revoked(Address, Hash),
}

impl RegistryEvent {
    /// Reads a log. `None` for any that is none of these, malformed ones included; `at_s` is asked only for
    /// [`RegistryEvent::Created`].
    pub(crate) fn read(registry: Address, log: &Log, at_s: u64) -> Option<Self> {
        if log.address == registry { Self::of_registry(log, at_s) } else { Self::of_stream(log) }
    }

    fn of_registry(log: &Log, at_s: u64) -> Option<Self> {
        let id = |address: ethers_core::types::H160| StreamId(Address(address.0));
        let topic = log.topics.first()?;
        if *topic == created_topic() {
            let event: abi::CreatedFilter = decode(log)?;
            Some(Self::Created { stream: id(event.stream), owner: Address(event.owner.0), at_s })
        } else if *topic == self::topic::<abi::ListedFilter>() {
            let event: abi::ListedFilter = decode(log)?;
            Some(Self::Listed(id(event.stream), Address(event.owner.0), event.path))
        } else if *topic == self::topic::<abi::UnlistedFilter>() {
            let event: abi::UnlistedFilter = decode(log)?;
            Some(Self::Unlisted(id(event.stream)))
        } else {
            let event: abi::DelegationRevokedFilter = decode(log)?;
            Some(Self::Revoked(Address(event.wallet.0), event.delegation))
        }
    }

    fn of_stream(log: &Log) -> Option<Self> {
        let stream = StreamId(log.address);
        let topic = log.topics.first()?;
        if *topic == granted_topic() {
            let event: abi::GrantedFilter = decode(log)?;
            let grant = Grant {
                subscribe_until: event.sub_until,
                publish_until: event.pub_until,
                flags: event.flags,
            };
            Some(Self::Granted(stream, Address(event.who.0), grant))
        } else if *topic == self::topic::<abi::MetaFilter>() {
            metadata(log).map(|json| Self::Metadata(stream, json))
        } else if *topic == self::topic::<abi::KeyEpochFilter>() {
            decode::<abi::KeyEpochFilter>(log).map(|event| Self::KeyEpoch(stream, event.epoch))
        } else if *topic == owner_topic() {
            let event: abi::OwnershipTransferredFilter = decode(log)?;
            Some(Self::Owner(stream, Address(event.to.0)))
        } else {
            decode::<abi::RemovedFilter>(log).map(|_| Self::Removed(stream))
        }
    }
}

/// Topics of what the registry logs.
pub(crate) fn registry_topics() -> [Hash; 4] {
    [
        created_topic(),
        topic::<abi::ListedFilter>(),
        topic::<abi::UnlistedFilter>(),
        topic::<abi::DelegationRevokedFilter>(),
    ]
}

/// Topics of what only streams are likely to log.
pub(crate) fn stream_topics() -> [Hash; 4] {
    [
        granted_topic(),
        topic::<abi::MetaFilter>(),
        topic::<abi::KeyEpochFilter>(),
        topic::<abi::RemovedFilter>(),
    ]
}

/// Topic of `OwnershipTransferred`, which half of all contracts log.
pub(crate) fn owner_topic() -> Hash {
    topic::<abi::OwnershipTransferredFilter>()
}

/// Topic of `Granted`; every change of a stream's owner logs it too.
pub(crate) fn granted_topic() -> Hash {
    topic::<abi::GrantedFilter>()
}

/// Topic of `Created`.
pub(crate) fn created_topic() -> Hash {
    topic::<abi::CreatedFilter>()
}

/// The text of a `Meta` event.
pub(crate) fn metadata(log: &Log) -> Option<String> {
    decode::<abi::MetaFilter>(log).map(|event| event.json)
}

/// A log as this event, if it is one.
pub(crate) fn decode<E: EthEvent>(log: &Log) -> Option<E> {
    if log.topics.first() != Some(&topic::<E>()) {
        return None;
    }
    let topics = log.topics.iter().map(|topic| (*topic).into()).collect();
    E::decode_log(&RawLog { topics, data: log.data.clone() }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    /// No log of any shape, from whatever address, makes reading panic.
    #[test]
    fn reading_any_log_gives_an_event_or_nothing() {
        let seed = 0x5eed_0001;
        let mut rng = StdRng::seed_from_u64(seed);
        let known: Vec<Hash> =
            registry_topics().into_iter().chain(stream_topics()).chain([owner_topic()]).collect();
        let mut read = 0;
        for round in 0..20_000 {
            let mut topics = vec![known[rng.random_range(0..known.len())]];
            topics.extend((0..rng.random_range(0..4)).map(|_| rng.random::<Hash>()));
            topics.truncate(rng.random_range(0..5));
            let mut data = vec![0_u8; rng.random_range(0..200)];
            for byte in data.iter_mut().filter(|_| round % 2 == 0) {
                // Small numbers, so that offsets and lengths often point into the data.
                *byte = if rng.random_bool(0.2) { rng.random() } else { 0 };
            }
            let log = Log {
                address: Address([u8::from(rng.random_bool(0.5)); 20]),
                topics,
                data,
                block_number: 0,
                block_hash: [0; 32],
                block_timestamp_s: None,
                transaction: [0; 32],
                index: 0,
            };
            read += usize::from(RegistryEvent::read(Address([1; 20]), &log, 0).is_some());
        }
        assert!(read > 100, "seed {seed:#x}: only {read} logs were events at all");
    }
}
