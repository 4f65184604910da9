use crate::{
    Epoch, Log,
    contracts::{abi::network_coordinator as network, topic},
    event::decode,
};
use ethers_core::types::H160;
use mainstem_crypto::{Address, Hash};
use mainstem_model::{EpochNumber, Seed, ShardCount};

/// One event of the coordinator, with whole new values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// An epoch began.
    EpochBegan(Epoch),
    /// A broker staked.
    Registered {
        /// Who.
        broker: Address,
        /// Its weight.
        weight: u8,
        /// First epoch in which it counts.
        active_from: EpochNumber,
    },
    /// A broker said where it can be found and what it is.
    EndpointSet {
        /// Who.
        broker: Address,
        /// Multiaddresses, without the peer id.
        peer_addresses: Vec<String>,
        /// About itself.
        metadata: String,
    },
    /// A broker wants another share of the work.
    WeightSet {
        /// Who.
        broker: Address,
        /// Its weight.
        weight: u8,
        /// First epoch in which that counts.
        from_epoch: EpochNumber,
    },
    /// A broker asked to leave, or was slashed.
    Left {
        /// Who.
        broker: Address,
        /// First epoch in which it counts no longer.
        leave_at: EpochNumber,
    },
    /// A broker took its stake back and is forgotten.
    StakeWithdrawn(Address),
}

impl NetworkEvent {
    /// Reads a log. `None` for any that is none of these, or not the coordinator's.
    pub(crate) fn read(coordinator: Address, log: &Log) -> Option<Self> {
        if log.address != coordinator {
            return None;
        }
        let broker = |account: H160| Address(account.0);
        let topic = log.topics.first()?;
        if *topic == self::topic::<network::EpochBeganFilter>() {
            let event: network::EpochBeganFilter = decode(log)?;
            Some(Self::EpochBegan(Epoch {
                number: event.epoch,
                seed: Seed(event.seed),
                started_at_s: event.started_at,
                shards: ShardCount::new(event.shards)?,
                active: event.active,
            }))
        } else if *topic == self::topic::<network::RegisteredFilter>() {
            let event: network::RegisteredFilter = decode(log)?;
            let (weight, active_from) = (event.weight, event.active_from);
            Some(Self::Registered { broker: broker(event.broker), weight, active_from })
        } else if *topic == self::topic::<network::EndpointSetFilter>() {
            let event: network::EndpointSetFilter = decode(log)?;
            let (peer_addresses, metadata) = (event.peer_addresses, event.metadata);
            Some(Self::EndpointSet { broker: broker(event.broker), peer_addresses, metadata })
        } else if *topic == self::topic::<network::WeightSetFilter>() {
            let event: network::WeightSetFilter = decode(log)?;
            let (weight, from_epoch) = (event.weight, event.from_epoch);
            Some(Self::WeightSet { broker: broker(event.broker), weight, from_epoch })
        } else if *topic == self::topic::<network::DeregisteredFilter>() {
            let event: network::DeregisteredFilter = decode(log)?;
            Some(Self::Left { broker: broker(event.broker), leave_at: event.leave_at })
        } else if *topic == self::topic::<network::SlashedFilter>() {
            let event: network::SlashedFilter = decode(log)?;
            Some(Self::Left { broker: broker(event.broker), leave_at: event.leave_at })
        } else {
            let event: network::StakeWithdrawnFilter = decode(log)?;
            Some(Self::StakeWithdrawn(broker(event.broker)))
        }
    }
}

/// Topics of what the coordinator logs about epochs and brokers.
pub(crate) fn topics() -> [Hash; 7] {
    [
        topic::<network::EpochBeganFilter>(),
        topic::<network::RegisteredFilter>(),
        topic::<network::EndpointSetFilter>(),
        topic::<network::WeightSetFilter>(),
        topic::<network::DeregisteredFilter>(),
        topic::<network::SlashedFilter>(),
        topic::<network::StakeWithdrawnFilter>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    const COORDINATOR: Address = Address([1; 20]);

    fn random_log(rng: &mut StdRng, address: Address) -> Log {
        let mut log = Log {
            address,
            topics: vec![topics()[rng.random_range(0..7)]],
            data: vec![0; rng.random_range(0..300)],
            block_number: 0,
            block_hash: [0; 32],
            block_timestamp_s: None,
            transaction: [0; 32],
            index: 0,
        };
        log.topics.extend((0..rng.random_range(0..4)).map(|_| rng.random::<Hash>()));
        log.topics.truncate(rng.random_range(0..5));
        // Small numbers, so that offsets and lengths often point into the data.
        log.data.iter_mut().for_each(|byte| *byte = if rng.random_bool(0.1) { rng.random() } else { 0 });
        log
    }

    #[test]
    fn reading_any_log_gives_an_event_or_nothing() {
        let seed = 0x5eed_0002;
        let mut rng = StdRng::seed_from_u64(seed);
        let read = (0..20_000)
            .filter(|_| NetworkEvent::read(COORDINATOR, &random_log(&mut rng, COORDINATOR)).is_some())
            .count();
        assert!(read > 100, "seed {seed:#x}: only {read} logs were events at all");
    }

    #[test]
    fn a_log_of_another_contract_is_no_event() {
        let mut rng = StdRng::seed_from_u64(3);
        for _ in 0..2_000 {
            assert_eq!(NetworkEvent::read(COORDINATOR, &random_log(&mut rng, Address([2; 20]))), None);
        }
    }
}
