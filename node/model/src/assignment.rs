use crate::{StreamPartition, ids::uint256};
use mainstem_crypto::{Address, Hash, SecretKey, Signature, keccak256, keccak256_of};
use std::{collections::BTreeMap, fmt};

/// What a shard's seed is drawn into: 16 bytes, one for each epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seed(pub [u8; 16]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

/// Number of a coordinator's epoch.
pub type EpochNumber = u32;

/// How many shards there are: a power of two that only grows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardCount(u32);

impl ShardCount {
    /// `None` if it is not a power of two.
    pub const fn new(count: u32) -> Option<Self> {
        if count.is_power_of_two() { Some(Self(count)) } else { None }
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// Every shard.
    pub fn shards(self) -> impl Iterator<Item = Shard> {
        (0..self.0).map(Shard)
    }

    /// The count of the next epoch: doubled while `count × replicas < active × slots`, at most once an epoch.
    #[must_use]
    pub const fn grown(self, active: u32, replicas: u8, slots_per_broker: u8) -> Self {
        let few = (self.0 as u64) * (replicas as u64) < (active as u64) * (slots_per_broker as u64);
        // The greatest power of two stays.
        match self.0.checked_mul(2) {
            Some(double) if few => Self(double),
            _ => self,
        }
    }
}

/// Number of a shard, the white paper's network partition: what brokers are assigned to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(pub u32);

impl Shard {
    /// The shard of a partition: `keccak256(stream 20 ‖ partition u16) mod count`, the 22 bytes as in the signed header. When
    /// the count P doubles, shard p splits into p and p + P.
    pub fn of(partition: StreamPartition, count: ShardCount) -> Self {
        let number = partition.partition.number().to_be_bytes();
        let hash = keccak256_of(&[partition.stream.0.as_bytes(), &number]);
        Self(u32::from_be_bytes([hash[28], hash[29], hash[30], hash[31]]) & (count.0 - 1))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// A broker's place in a shard's ranking: greater is better. An eligible one, whose hash has a top byte of at most its
/// weight, comes before all that are not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Score {
    eligible: bool,
    low: [u8; 31],
}

impl Score {
    /// `h = keccak256(seed 16 ‖ shard u32 ‖ broker 20)`; eligible if its top byte is at most the weight; then its low 248 bits.
    pub fn new(seed: Seed, shard: Shard, broker: Address, weight: u8) -> Self {
        let [top, low @ ..] = keccak256_of(&[&seed.0, &shard.0.to_be_bytes(), broker.as_bytes()]);
        Self { eligible: top <= weight, low }
    }

    /// As the contract's `uint256`, big-endian.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = u8::from(self.eligible);
        bytes[1..].copy_from_slice(&self.low);
        bytes
    }
}

impl fmt::Debug for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.to_bytes()))
    }
}

/// One broker as a shard's ranking sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The broker.
    pub broker: Address,
    /// Its share of the work: it is eligible for (weight + 1)/256 of the shards.
    pub weight: u8,
    /// The seed by which it counts for this shard.
    pub seed: Seed,
}

/// The brokers that carry `shard`, best first: the min(`replicas`, candidates) with the greatest scores, the lower address
/// first where scores are equal. The order of `candidates` does not matter; each broker must be there once.
///
/// Source: the `Assignment` library in `contracts/src/Assignment.sol`, which says the same.
pub fn assigned(
    shard: Shard,
    candidates: impl IntoIterator<Item = Candidate>,
    replicas: u8,
) -> Vec<(Address, Score)> {
    let mut best: Vec<(Address, Score)> = Vec::with_capacity(usize::from(replicas) + 1);
    for Candidate { broker, weight, seed } in candidates {
        let score = Score::new(seed, shard, broker, weight);
        let place = best.partition_point(|(other, its)| (*its, broker) > (score, *other));
        if place < usize::from(replicas) {
            best.truncate(usize::from(replicas) - 1);
            best.insert(place, (broker, score));
        }
    }
    best
}

/// A broker in the epochs around one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its weight in the epoch.
    pub weight: u8,
    /// First epoch in which it counts.
    pub active_from: EpochNumber,
    /// First epoch in which it counts no longer; [`Member::STAYS`] when it has not said.
    pub leave_at: EpochNumber,
}

impl Member {
    /// The contract's word for "it has not asked to leave".
    pub const STAYS: EpochNumber = EpochNumber::MAX;

    /// Whether it counts in `epoch`.
    pub const fn is_active(&self, epoch: EpochNumber) -> bool {
        self.active_from <= epoch && epoch < self.leave_at
    }
}

/// All that it takes to say who carries what in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The epoch.
    pub epoch: EpochNumber,
    /// How many shards there are in it.
    pub shards: ShardCount,
    /// K: how many brokers carry a shard.
    pub replicas: u8,
    /// R: epochs after which a shard gets another seed; a power of two.
    pub rotation_epochs: u16,
    /// The seeds of the last R epochs at least, this one included, and of none to come. A shard without a seed ranks by
    /// sixteen zeros: so a private network without a chain needs none.
    pub seeds: BTreeMap<EpochNumber, Seed>,
    /// The brokers.
    pub members: BTreeMap<Address, Member>,
}

impl Assignment {
    /// A network without a chain: these brokers, for ever.
    pub fn fixed(shards: ShardCount, replicas: u8, brokers: impl IntoIterator<Item = (Address, u8)>) -> Self {
        let member = |(broker, weight)| (broker, Member { weight, active_from: 0, leave_at: Member::STAYS });
        let members = brokers.into_iter().map(member).collect();
        Self { epoch: 0, shards, replicas, rotation_epochs: 1, seeds: BTreeMap::new(), members }
    }

    /// The brokers that carry `shard`, best first. Empty only if nobody is active. Costs a hash for each broker: an answer holds
    /// for the whole epoch and is worth keeping.
    pub fn brokers(&self, shard: Shard) -> Vec<Address> {
        self.ranked(shard).into_iter().map(|(broker, _)| broker).collect()
    }

    /// [`Assignment::brokers`] with their scores.
    pub fn ranked(&self, shard: Shard) -> Vec<(Address, Score)> {
        let active = self.members.iter().filter(|(_, member)| member.is_active(self.epoch));
        let candidates = active.map(|(broker, member)| Candidate {
            broker: *broker,
            weight: member.weight,
            seed: self.seed(shard, member.active_from),
        });
        assigned(shard, candidates, self.replicas)
    }

    /// The brokers that carry a partition, best first.
    pub fn brokers_of(&self, partition: StreamPartition) -> Vec<Address> {
        self.brokers(Shard::of(partition, self.shards))
    }

    /// How many brokers count in this epoch.
    pub fn active(&self) -> usize {
        self.members.values().filter(|member| member.is_active(self.epoch)).count()
    }

    /// The seed by which a broker that is active since `active_from` counts.
    fn seed(&self, shard: Shard, active_from: EpochNumber) -> Seed {
        let drawn = drawn_at(self.epoch, shard, self.rotation_epochs, active_from);
        self.seeds.get(&drawn).copied().unwrap_or_default()
    }
}

/// The epoch whose seed counts in `epoch` for a broker that is active since `active_from` ≤ `epoch`: the latest one in which
/// (epoch + shard) mod R was 0, or the broker's first if that is later, for it could choose its address by older seeds.
pub fn drawn_at(
    epoch: EpochNumber,
    shard: Shard,
    rotation_epochs: u16,
    active_from: EpochNumber,
) -> EpochNumber {
    // R divides 2^32, so the sum may wrap.
    let age = epoch.wrapping_add(shard.0) & u32::from(rotation_epochs).saturating_sub(1);
    epoch.saturating_sub(age).max(active_from)
}

/// A broker's word that a shard is assigned to it in an epoch. It loses its stake if that is false.
///
/// It is EIP-712: `AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)` in the domain
/// `{name: "Mainstem", version: "1", chainId, verifyingContract: the NetworkCoordinator}`. The seed is that of the epoch and
/// stands for the chain's history: a claim with another seed than the reader's own view has is not to be taken for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignmentClaim {
    /// The epoch.
    pub epoch: EpochNumber,
    /// The shard.
    pub shard: Shard,
    /// The epoch's seed, as the broker saw it.
    pub seed: Seed,
}

impl AssignmentClaim {
    /// What the broker signs.
    pub fn digest(&self, chain_id: u64, coordinator: Address) -> Hash {
        let mut address = [0; 32];
        address[12..].copy_from_slice(coordinator.as_bytes());
        let domain = keccak256_of(&[
            &keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
            &keccak256(b"Mainstem"),
            &keccak256(b"1"),
            &uint256(chain_id),
            &address,
        ]);
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&self.seed.0);
        let message = keccak256_of(&[
            &keccak256(b"AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)"),
            &uint256(u64::from(self.epoch)),
            &uint256(u64::from(self.shard.0)),
            &seed,
        ]);
        keccak256_of(&[b"\x19\x01", &domain, &message])
    }

    /// Signs it with the broker's key. Only for what [`Assignment::brokers`] says.
    pub fn sign(&self, chain_id: u64, coordinator: Address, broker: &SecretKey) -> Signature {
        broker.sign(&self.digest(chain_id, coordinator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(number: u32) -> ShardCount {
        ShardCount::new(number).unwrap()
    }

    #[test]
    fn a_shard_count_is_a_power_of_two() {
        assert!([0, 3, 6, u32::MAX].into_iter().all(|n| ShardCount::new(n).is_none()));
        assert!((0..32).all(|power| ShardCount::new(1 << power).is_some()));
    }

    #[test]
    fn the_greatest_shard_count_stays() {
        assert_eq!(count(1 << 31).grown(u32::MAX, 1, 64), count(1 << 31));
    }

    #[test]
    fn a_network_without_a_chain_assigns_every_shard() {
        let brokers = (1..=5).map(|n| (Address([n; 20]), 255));
        let fixed = Assignment::fixed(count(16), 3, brokers);
        for shard in fixed.shards.shards() {
            assert_eq!(fixed.brokers(shard).len(), 3);
        }
        let carried: std::collections::BTreeSet<_> =
            fixed.shards.shards().flat_map(|shard| fixed.brokers(shard)).collect();
        assert_eq!(carried.len(), 5, "everybody has something to do");
    }

    #[test]
    fn nobody_is_assigned_when_nobody_is_there_or_no_replica_is_wanted() {
        let none = Assignment::fixed(count(1), 3, []);
        assert!(none.brokers(Shard(0)).is_empty());
        let unwanted = Assignment::fixed(count(1), 0, [(Address([1; 20]), 255)]);
        assert!(unwanted.brokers(Shard(0)).is_empty());
    }

    #[test]
    fn the_lower_address_comes_first_at_equal_scores() {
        let score = Score { eligible: true, low: [7; 31] };
        let (a, b) = (Address([1; 20]), Address([2; 20]));
        assert!((score, b) > (score, a), "so partition_point puts a before b");
    }
}
