use super::{NetworkEvent, NetworkView};
use crate::Epoch;
use mainstem_crypto::Address;
use mainstem_model::{Assignment, EpochNumber, Member};
use std::{collections::BTreeMap, sync::Arc};

/// The most epochs that any network's shards keep a seed: a rule of the contract.
const ROTATION_EPOCHS_MAX: EpochNumber = 1_024;

/// Epochs and brokers as of one block. Pure: no I/O.
///
/// Kept is what the epoch in force and those to come need: the newest seeds, and the brokers that count or will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// The epoch in force; `None` before there is a coordinator.
    current: Option<EpochNumber>,
    epochs: BTreeMap<EpochNumber, Epoch>,
    brokers: BTreeMap<Address, Broker>,
}

/// A broker that has not left for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Broker {
    active_from: EpochNumber,
    leave_at: EpochNumber,
    weight: u8,
    /// Its weight in the epochs before `weight_from`.
    weight_before: u8,
    weight_from: EpochNumber,
    peer_addresses: Vec<String>,
    metadata: String,
}

/// What undoes one event.
#[derive(Clone, Debug)]
pub(crate) enum Undo {
    /// How a broker was.
    Broker(Address, Option<Box<Broker>>),
    /// Which epoch was in force, how the one that began was, and what was dropped with it.
    Epoch {
        current: Option<EpochNumber>,
        began: EpochNumber,
        replaced: Option<Epoch>,
        epochs: Vec<Epoch>,
        brokers: Vec<(Address, Broker)>,
    },
}

impl Brokers {
    /// The epoch in force, if there is one.
    pub fn epoch(&self) -> Option<&Epoch> {
        self.current.and_then(|number| self.epochs.get(&number))
    }

    /// What others are told: `replicas` and `rotation_epochs` are the network's rules. `None` before there is an epoch.
    pub fn network(&self, replicas: u8, rotation_epochs: u16) -> Option<NetworkView> {
        let epoch = self.epoch()?;
        let oldest = epoch.number.saturating_sub(u32::from(rotation_epochs).saturating_sub(1));
        let seeds = self.epochs.range(oldest..=epoch.number).map(|(number, epoch)| (*number, epoch.seed));
        let member = |broker: &Broker| Member {
            weight: broker.weight_at(epoch.number),
            active_from: broker.active_from,
            leave_at: broker.leave_at,
        };
        let members = self.brokers.iter().map(|(address, broker)| (*address, member(broker)));
        Some(NetworkView {
            assignment: Arc::new(Assignment {
                epoch: epoch.number,
                shards: epoch.shards,
                replicas,
                rotation_epochs,
                seeds: seeds.collect(),
                members: members.collect(),
            }),
            started_at_s: epoch.started_at_s,
            endpoints: self.each(|broker| broker.peer_addresses.clone()),
            metadata: self.each(|broker| broker.metadata.clone()),
        })
    }

    fn each<T>(&self, of: impl Fn(&Broker) -> T) -> BTreeMap<Address, T> {
        self.brokers.iter().map(|(address, broker)| (*address, of(broker))).collect()
    }

    /// Takes an event in, and gives what undoes it; `None` if it changed nothing.
    pub(crate) fn take(&mut self, event: NetworkEvent) -> Option<Undo> {
        match event {
            NetworkEvent::EpochBegan(epoch) => Some(self.begin(epoch)),
            NetworkEvent::Registered { broker, weight, active_from } => {
                let new = Broker {
                    active_from,
                    leave_at: Member::STAYS,
                    weight,
                    weight_before: weight,
                    weight_from: active_from,
                    ..Broker::default()
                };
                Some(self.set(broker, Some(new)))
            }
            NetworkEvent::EndpointSet { broker, peer_addresses, metadata } => {
                let known = self.brokers.get(&broker)?.clone();
                Some(self.set(broker, Some(Broker { peer_addresses, metadata, ..known })))
            }
            NetworkEvent::WeightSet { broker, weight, from_epoch: weight_from } => {
                let known = self.brokers.get(&broker)?.clone();
                // The contract takes no second change before the first one counts: one weight before is enough.
                let weight_before = known.weight;
                Some(self.set(broker, Some(Broker { weight, weight_before, weight_from, ..known })))
            }
            NetworkEvent::Left { broker, leave_at } => {
                let known = self.brokers.get(&broker)?.clone();
                let left = Broker { leave_at, ..known };
                let gone = self.current.is_some_and(|epoch| left.has_left(epoch));
                Some(self.set(broker, (!gone).then_some(left)))
            }
            NetworkEvent::StakeWithdrawn(broker) => {
                self.brokers.contains_key(&broker).then(|| self.set(broker, None))
            }
        }
    }

    /// Takes an event back.
    pub(crate) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Broker(address, before) => {
                self.set(address, before.map(|before| *before));
            }
            Undo::Epoch { current, began, replaced, epochs, brokers } => {
                self.current = current;
                self.epochs.remove(&began);
                self.epochs.extend(epochs.into_iter().chain(replaced).map(|epoch| (epoch.number, epoch)));
                self.brokers.extend(brokers);
            }
        }
    }

    fn begin(&mut self, epoch: Epoch) -> Undo {
        let number = epoch.number;
        let replaced = self.epochs.insert(number, epoch);
        let oldest = number.saturating_sub(ROTATION_EPOCHS_MAX - 1);
        let kept = self.epochs.split_off(&oldest);
        let epochs = std::mem::replace(&mut self.epochs, kept).into_values().collect();
        let brokers = self.brokers.extract_if(.., |_, broker| broker.has_left(number)).collect();
        let current = self.current.replace(number);
        Undo::Epoch { current, began: number, replaced, epochs, brokers }
    }

    fn set(&mut self, address: Address, broker: Option<Broker>) -> Undo {
        let before = match broker {
            Some(broker) => self.brokers.insert(address, broker),
            None => self.brokers.remove(&address),
        };
        Undo::Broker(address, before.map(Box::new))
    }
}

impl Broker {
    const fn weight_at(&self, epoch: EpochNumber) -> u8 {
        if epoch < self.weight_from { self.weight_before } else { self.weight }
    }

    /// Whether it counts neither in `epoch` nor in any later one.
    const fn has_left(&self, epoch: EpochNumber) -> bool {
        self.leave_at <= epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_model::{Seed, ShardCount};

    const BROKER: Address = Address([7; 20]);

    fn epoch(number: EpochNumber) -> NetworkEvent {
        let shards = ShardCount::new(8).unwrap();
        let seed = Seed([number as u8; 16]);
        NetworkEvent::EpochBegan(Epoch { number, seed, started_at_s: number.into(), shards, active: 0 })
    }

    fn after(events: impl IntoIterator<Item = NetworkEvent>) -> Brokers {
        let mut brokers = Brokers::default();
        for event in events {
            brokers.take(event);
        }
        brokers
    }

    fn registered() -> NetworkEvent {
        NetworkEvent::Registered { broker: BROKER, weight: 100, active_from: 2 }
    }

    #[test]
    fn there_is_no_view_before_the_first_epoch() {
        assert_eq!(after([registered()]).network(3, 8), None);
        assert!(after([epoch(0)]).network(3, 8).is_some());
    }

    #[test]
    fn a_weight_counts_from_its_epoch_on() {
        let set = NetworkEvent::WeightSet { broker: BROKER, weight: 50, from_epoch: 4 };
        let events = [epoch(0), registered(), epoch(1), epoch(2), epoch(3), set];
        let weight = |brokers: &Brokers| brokers.network(3, 8).unwrap().assignment.members[&BROKER].weight;
        let mut brokers = after(events);
        assert_eq!(weight(&brokers), 100);
        brokers.take(epoch(4));
        assert_eq!(weight(&brokers), 50);
    }

    #[test]
    fn who_leaves_is_a_member_to_its_last_epoch_and_no_longer() {
        let left = |leave_at| NetworkEvent::Left { broker: BROKER, leave_at };
        let events = [epoch(0), registered(), epoch(1), epoch(2), left(3)];
        let mut brokers = after(events);
        let member = brokers.network(3, 8).unwrap().assignment.members[&BROKER];
        assert!(member.is_active(2) && !member.is_active(3));
        brokers.take(epoch(3));
        assert!(brokers.network(3, 8).unwrap().assignment.members.is_empty());
        let never = after([epoch(0), registered(), epoch(1), left(1)]);
        assert!(never.network(3, 8).unwrap().assignment.members.is_empty(), "it never began");
    }

    #[test]
    fn the_seeds_of_a_whole_rotation_are_told_and_no_more_kept_than_any_needs() {
        let brokers = after((0..3_000).map(epoch));
        let seeds = brokers.network(3, 1_024).unwrap().assignment.seeds.clone();
        assert_eq!((seeds.len(), seeds.first_key_value().unwrap().0), (1_024, &1_976));
        let few = brokers.network(3, 4).unwrap().assignment.seeds.clone();
        assert_eq!(few.into_keys().collect::<Vec<_>>(), [2_996, 2_997, 2_998, 2_999]);
        assert_eq!(brokers.epochs.len(), 1_024);
    }
}
