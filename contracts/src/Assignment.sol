// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Which brokers carry a shard: the formula, the same here, in `node/model/src/assignment.rs` and in the vectors.
/// @notice Rendezvous hashing over integers. Every broker gets a score for every shard, the best K are assigned.
/// @dev All hashes are keccak256 over packed bytes, integers big-endian:
///
/// - shard = keccak256(stream 20 ‖ partition u16) mod P: the 22 bytes as they stand in a signed header. P is a power of two.
/// - drawn = the latest epoch, up to the one asked for, with (drawn + shard) mod R = 0: each shard gets a new seed every R
///   epochs, in each epoch P/R of the shards do. A broker that became active since counts by the seed of its first epoch,
///   for it could choose its address by an older one.
/// - h = keccak256(seed 16 ‖ shard u32 ‖ broker 20)
/// - score = 2^248 if the top byte of h is at most the broker's weight, plus the low 248 bits of h. The others rank behind
///   instead of vanishing, so that min(K, active brokers) are assigned, always.
/// - assigned = the min(K, active) brokers with the greatest scores; at equal scores the lower address comes first.
library Assignment {
    uint256 private constant LOW_248 = type(uint248).max;

    /// @param shards P, a power of two.
    function shardOf(address stream, uint16 partition, uint32 shards) internal pure returns (uint32) {
        // Less than `shards`, so it fits.
        // forge-lint: disable-next-line(unsafe-typecast)
        return uint32(uint256(keccak256(abi.encodePacked(stream, partition))) & (shards - 1));
    }

    /// The epoch whose seed counts for a broker that is active since `activeFrom` <= `epoch`.
    /// @param rotationEpochs R, a power of two.
    function drawnAt(uint32 epoch, uint32 shard, uint32 rotationEpochs, uint32 activeFrom)
        internal
        pure
        returns (uint32)
    {
        unchecked {
            // R divides 2^32, so the sum may wrap.
            uint32 age = (epoch + shard) & (rotationEpochs - 1);
            return epoch - activeFrom < age ? activeFrom : epoch - age;
        }
    }

    function score(bytes16 seed, uint32 shard, address broker, uint8 weight) internal pure returns (uint256) {
        uint256 h = uint256(keccak256(abi.encodePacked(seed, shard, broker)));
        return (h >> 248 <= weight ? 1 << 248 : 0) | (h & LOW_248);
    }

    /// Whether broker `a` comes before broker `b`.
    function precedes(uint256 scoreA, address a, uint256 scoreB, address b) internal pure returns (bool) {
        return scoreA == scoreB ? a < b : scoreA > scoreB;
    }

    /// Whether the shards are too few for the brokers: P * K < active * L.
    function mustGrow(uint256 shards, uint256 active, uint256 replicas, uint256 slots) internal pure returns (bool) {
        return shards * replicas < active * slots && shards < 1 << 31;
    }
}
