// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "../Base.sol";
import {Epoch, INetworkCoordinator} from "../../src/interfaces/INetworkCoordinator.sol";

/// @title A follower that knows the coordinator's logs only, keeps the whole history, and ranks the slow way.
contract NetworkFollower {
    struct Stint {
        uint32 activeFrom;
        uint32 leaveAt;
    }

    struct Weight {
        uint32 fromEpoch;
        uint8 weight;
    }

    uint32 public current;
    mapping(uint32 number => Epoch) private _epochs;
    mapping(address broker => uint256) public stakeOf;
    mapping(address broker => Stint[]) private _stints;
    mapping(address broker => Weight[]) private _weights;

    function read(Vm.Log[] memory logs, address network) external {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == network) _read(logs[i].topics, logs[i].data);
        }
    }

    function _read(bytes32[] memory topics, bytes memory data) private {
        bytes32 kind = topics[0];
        address who = topics.length > 1 ? address(uint160(uint256(topics[1]))) : address(0);
        if (kind == INetworkCoordinator.EpochBegan.selector) {
            current = uint32(uint256(topics[1]));
            (bytes16 seed, uint40 startedAt, uint32 shards, uint32 active) =
                abi.decode(data, (bytes16, uint40, uint32, uint32));
            _epochs[current] = Epoch(seed, startedAt, shards, active);
        } else if (kind == INetworkCoordinator.Registered.selector) {
            (uint96 stake, uint8 weight, uint32 activeFrom,) = abi.decode(data, (uint96, uint8, uint32, bytes));
            stakeOf[who] = stake;
            _stints[who].push(Stint(activeFrom, type(uint32).max));
            _weights[who].push(Weight(activeFrom, weight));
        } else if (kind == INetworkCoordinator.WeightSet.selector) {
            (uint8 weight, uint32 fromEpoch) = abi.decode(data, (uint8, uint32));
            _weights[who].push(Weight(fromEpoch, weight));
        } else if (kind == INetworkCoordinator.Deregistered.selector) {
            _stints[who][_stints[who].length - 1].leaveAt = abi.decode(data, (uint32));
        } else if (kind == INetworkCoordinator.Slashed.selector) {
            (,,, uint32 leaveAt) = abi.decode(data, (uint32, uint32, uint96, uint32));
            stakeOf[who] = 0;
            _stints[who][_stints[who].length - 1].leaveAt = leaveAt;
        } else if (kind == INetworkCoordinator.StakeWithdrawn.selector) {
            stakeOf[who] = 0;
        }
    }

    function epochAt(uint32 number) external view returns (Epoch memory) {
        return _epochs[number];
    }

    /// Since when a broker that is active in `epoch` has been; 0 if it is not.
    function activeSince(address broker, uint32 epoch) public view returns (uint32) {
        for (uint256 i = 0; i < _stints[broker].length; ++i) {
            Stint memory stint = _stints[broker][i];
            if (stint.activeFrom <= epoch && epoch < stint.leaveAt) return stint.activeFrom;
        }
        return 0;
    }

    function weightAt(address broker, uint32 epoch) public view returns (uint8 weight) {
        for (uint256 i = 0; i < _weights[broker].length; ++i) {
            if (_weights[broker][i].fromEpoch <= epoch) weight = _weights[broker][i].weight;
        }
    }

    /// 0 if the broker was not active.
    function scoreOf(address broker, uint32 epoch, uint32 shard, uint256 rotation) external view returns (uint256) {
        uint32 since = activeSince(broker, epoch);
        if (since == 0) return 0;
        uint32 drawn = epoch;
        while (drawn > since && (uint256(drawn) + shard) % rotation != 0) --drawn;
        bytes32 h = keccak256(abi.encodePacked(_epochs[drawn].seed, shard, broker));
        uint256 low = uint256(h) % 2 ** 248;
        return uint8(h[0]) <= weightAt(broker, epoch) ? 2 ** 248 + low : low;
    }

    /// Whether anything is different in the next epoch, or is on its way.
    function isComing(address broker) external view returns (bool) {
        for (uint256 i = 0; i < _stints[broker].length; ++i) {
            Stint memory stint = _stints[broker][i];
            if (stint.activeFrom > current && stint.leaveAt > stint.activeFrom) return true;
            if (stint.activeFrom <= current && stint.leaveAt == current + 1) return true;
        }
        for (uint256 i = 0; i < _weights[broker].length; ++i) {
            if (_weights[broker][i].fromEpoch == current + 1 && activeSince(broker, current) != 0) return true;
        }
        return false;
    }
}
