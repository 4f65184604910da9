// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "../Base.sol";
import {IStream} from "../../src/interfaces/IStream.sol";
import {IStreamRegistry} from "../../src/interfaces/IStreamRegistry.sol";

/// @title Rebuilds the state of all streams from logs alone, the way a node does: streams from the registry's `Created`,
/// everything else by topic from streams known by then.
contract Follower {
    struct Rights {
        uint40 subUntil;
        uint40 pubUntil;
        uint8 flags;
    }

    struct View {
        bool known;
        bool removed;
        address owner;
        address offeredTo;
        uint64 keyEpoch;
        bytes32 metaHash;
        address lister;
        bytes32 pathHash;
    }

    address private immutable registry;
    mapping(address stream => View) private _views;
    mapping(address stream => mapping(address who => Rights)) private _rights;
    mapping(address stream => mapping(address who => bytes32)) private _keys;
    mapping(address wallet => mapping(bytes32 delegation => bool)) public revoked;

    constructor(address registry_) {
        registry = registry_;
    }

    function viewOf(address stream) external view returns (View memory) {
        return _views[stream];
    }

    function rightsOf(address stream, address who) external view returns (Rights memory) {
        return _rights[stream][who];
    }

    /// Kind and key, hashed.
    function keyOf(address stream, address who) external view returns (bytes32) {
        return _keys[stream][who];
    }

    function follow(Vm.Log[] calldata logs) external {
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == registry) _ofRegistry(logs[i]);
            else if (_views[logs[i].emitter].known) _ofStream(logs[i]);
        }
    }

    function _ofRegistry(Vm.Log calldata log) private {
        bytes32 topic = log.topics[0];
        address stream = _address(log.topics[1]);
        if (topic == IStreamRegistry.Created.selector) {
            _views[stream].known = true;
            _views[stream].owner = _address(log.topics[2]);
        } else if (topic == IStreamRegistry.Listed.selector) {
            _views[stream].lister = _address(log.topics[2]);
            _views[stream].pathHash = keccak256(bytes(abi.decode(log.data, (string))));
        } else if (topic == IStreamRegistry.Unlisted.selector) {
            _views[stream].lister = address(0);
            _views[stream].pathHash = 0;
        } else if (topic == IStreamRegistry.DelegationRevoked.selector) {
            revoked[stream][log.topics[2]] = true;
        }
    }

    function _ofStream(Vm.Log calldata log) private {
        bytes32 topic = log.topics[0];
        View storage view_ = _views[log.emitter];
        if (topic == IStream.Granted.selector) {
            (uint40 subUntil, uint40 pubUntil, uint8 flags) = abi.decode(log.data, (uint40, uint40, uint8));
            _rights[log.emitter][_address(log.topics[1])] = Rights(subUntil, pubUntil, flags);
        } else if (topic == IStream.Meta.selector) {
            view_.metaHash = keccak256(bytes(abi.decode(log.data, (string))));
        } else if (topic == IStream.Key.selector) {
            _keys[log.emitter][_address(log.topics[1])] = keccak256(log.data);
        } else if (topic == IStream.KeyEpoch.selector) {
            view_.keyEpoch = abi.decode(log.data, (uint64));
        } else if (topic == IStream.OwnershipOffered.selector) {
            view_.offeredTo = _address(log.topics[1]);
        } else if (topic == IStream.OwnershipTransferred.selector) {
            view_.owner = _address(log.topics[2]);
            view_.offeredTo = address(0);
        } else if (topic == IStream.Removed.selector) {
            view_.removed = true;
        }
    }

    function _address(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }
}
