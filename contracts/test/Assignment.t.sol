// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NetworkBase} from "./NetworkBase.sol";
import {Assignment} from "../src/Assignment.sol";
import {DATAcoin} from "../src/DATAcoin.sol";

/// @notice Mirrors Assignment.tree.
contract AssignmentTest is NetworkBase {
    string internal constant VECTORS = "../conformance/vectors/assignment.json";

    function test_every_assignment_vector() public {
        string memory json = vm.readFile(VECTORS);
        uint256 tests = vm.parseJsonUint(json, ".numberOfTests");
        uint256[4] memory done;
        for (uint256 i = 0; i < tests; ++i) {
            string memory here = string.concat(".tests[", vm.toString(i), "]");
            string memory input = string.concat(here, ".input.");
            string memory output = string.concat(here, ".expect.valid.");
            string memory id = vm.parseJsonString(json, string.concat(here, ".id"));
            if (vm.keyExistsJson(json, string.concat(input, "stream"))) {
                done[0]++;
                address stream = address(bytes20(_bytes(json, string.concat(input, "stream"))));
                uint32 shard =
                    Assignment.shardOf(stream, uint16(_uint(json, input, "partition")), _uint(json, input, "shards"));
                equal(shard, _uint(json, output, "shard"), id);
            } else if (vm.keyExistsJson(json, string.concat(input, "brokers"))) {
                done[1]++;
                _checkAssigned(json, input, output, id);
            } else if (vm.keyExistsJson(json, string.concat(input, "active"))) {
                done[2]++;
                uint32 shards = _uint(json, input, "shards");
                bool grows = Assignment.mustGrow(
                    shards,
                    _uint(json, input, "active"),
                    _uint(json, input, "replicas"),
                    _uint(json, input, "slotsPerBroker")
                );
                equal(grows ? shards * 2 : shards, _uint(json, output, "shards"), id);
            } else {
                done[3]++;
            }
        }
        equal(done[0] >= 12 && done[1] >= 40 && done[2] >= 10 && done[3] >= 3, true, "some of each");
    }

    /// The contract's digest with the vector's chain, address, epoch and seed in its place.
    function test_every_claim_vector() public {
        string memory json = vm.readFile(VECTORS);
        uint256 tests = vm.parseJsonUint(json, ".numberOfTests");
        for (uint256 i = tests - 3; i < tests; ++i) {
            string memory input = string.concat(".tests[", vm.toString(i), "].input.");
            bytes32 domain = keccak256(
                abi.encode(
                    keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                    keccak256("Mainstem"),
                    keccak256("1"),
                    vm.parseJsonUint(json, string.concat(input, "chainId")),
                    vm.parseJsonAddress(json, string.concat(input, "coordinator"))
                )
            );
            bytes16 seed = bytes16(_bytes(json, string.concat(input, "seed")));
            bytes32 digest = _digest(domain, _uint(json, input, "epoch"), _uint(json, input, "shard"), seed);
            string memory output = string.concat(".tests[", vm.toString(i), "].expect.valid.digest");
            equal(digest, bytes32(_bytes(json, output)), "vector");
        }
        build(rulesOf(address(new DATAcoin(address(this), 1e27))));
        joined(1);
        bytes32 own = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Mainstem"),
                keccak256("1"),
                block.chainid,
                address(network)
            )
        );
        equal(network.claimDigest(2, 5), _digest(own, 2, 5, network.epochAt(2).seed), "contract");
    }

    function testFuzz_a_shard_splits_into_itself_and_one_more(address stream, uint16 partition, uint8 power)
        public
        pure
    {
        uint32 shards = uint32(1) << uint32(bound(power, 0, 30));
        uint32 before = Assignment.shardOf(stream, partition, shards);
        uint32 afterwards = Assignment.shardOf(stream, partition, shards * 2);
        equal(before < shards, true, "in range");
        equal(afterwards == before || afterwards == before + shards, true, "split");
    }

    function testFuzz_a_shard_rotates_every_R_epochs(uint32 epoch, uint32 shard, uint8 power) public pure {
        uint32 rotation = uint32(1) << uint32(bound(power, 0, 10));
        epoch = uint32(bound(epoch, rotation + 2, type(uint32).max - rotation));
        uint256 changes = 0;
        for (uint32 e = epoch; e < epoch + rotation; ++e) {
            uint32 drawn = Assignment.drawnAt(e, shard, rotation, 2);
            equal(drawn <= e && e - drawn < rotation, true, "in the last R epochs");
            if (drawn > 2) equal((uint256(drawn) + shard) % rotation, 0, "the shard's turn");
            if (drawn == e) ++changes;
        }
        equal(changes, 1, "once");
    }

    function testFuzz_nobody_counts_by_a_seed_older_than_itself(
        uint32 epoch,
        uint32 shard,
        uint8 power,
        uint32 activeFrom
    ) public pure {
        uint32 rotation = uint32(1) << uint32(bound(power, 0, 10));
        epoch = uint32(bound(epoch, 2, type(uint32).max));
        activeFrom = uint32(bound(activeFrom, 2, epoch));
        uint32 own = Assignment.drawnAt(epoch, shard, rotation, activeFrom);
        uint32 oldest = Assignment.drawnAt(epoch, shard, rotation, 0);
        equal(own, oldest > activeFrom ? oldest : activeFrom, "the later of the two");
    }

    function testFuzz_the_eligible_come_before_all_others(
        bytes16 seed,
        uint32 shard,
        address a,
        address b,
        uint8 w,
        uint8 x
    ) public pure {
        uint256 h = uint256(keccak256(abi.encodePacked(seed, shard, a)));
        uint256 score = Assignment.score(seed, shard, a, w);
        equal(score & type(uint248).max, h & type(uint248).max, "low bits");
        equal(score >> 248, h >> 248 <= w ? 1 : 0, "eligible");
        uint256 other = Assignment.score(seed, shard, b, x);
        if (score >> 248 > other >> 248) equal(Assignment.precedes(score, a, other, b), true, "before");
    }

    function testFuzz_the_order_is_total(uint256 scoreA, address a, uint256 scoreB, address b) public pure {
        if (a == b) scoreB = scoreA;
        bool before = Assignment.precedes(scoreA, a, scoreB, b);
        bool behind = Assignment.precedes(scoreB, b, scoreA, a);
        equal(before && behind, false, "one of them");
        equal(before || behind, a != b, "unless they are one");
        equal(Assignment.precedes(7, address(1), 7, address(2)), true, "the lower address at equal scores");
    }

    function _checkAssigned(string memory json, string memory input, string memory output, string memory id)
        private
        view
    {
        (uint32 epoch, uint32 shard) = (_uint(json, input, "epoch"), _uint(json, input, "shard"));
        uint32 rotation = _uint(json, input, "rotationEpochs");
        address[] memory ranked = new address[](32);
        uint256[] memory scores = new uint256[](32);
        uint256 length = 0;
        for (uint256 i = 0;; ++i) {
            string memory place = string.concat(input, "brokers[", vm.toString(i), "].");
            if (!vm.keyExistsJson(json, string.concat(place, "broker"))) break;
            uint32 activeFrom = _uint(json, place, "activeFrom");
            if (activeFrom > epoch || epoch >= _uint(json, place, "leaveAt")) continue;
            address broker = vm.parseJsonAddress(json, string.concat(place, "broker"));
            bytes16 seed = _seed(json, input, Assignment.drawnAt(epoch, shard, rotation, activeFrom));
            uint256 score = Assignment.score(seed, shard, broker, uint8(_uint(json, place, "weight")));
            insert(ranked, scores, length++, broker, score);
        }
        uint256 assigned = _uint(json, input, "replicas");
        if (assigned > length) assigned = length;
        for (uint256 i = 0; i < assigned; ++i) {
            string memory place = string.concat(output, "assigned[", vm.toString(i), "].");
            equal(ranked[i], vm.parseJsonAddress(json, string.concat(place, "broker")), id);
            equal(bytes32(scores[i]), bytes32(_bytes(json, string.concat(place, "score"))), id);
        }
        equal(vm.keyExistsJson(json, string.concat(output, "assigned[", vm.toString(assigned), "]")), false, id);
    }

    error NoSeed(uint32 epoch);

    function _seed(string memory json, string memory input, uint32 epoch) private pure returns (bytes16) {
        uint32 first = _uint(json, input, "seeds[0].epoch");
        if (epoch < first) revert NoSeed(epoch);
        string memory place = string.concat(input, "seeds[", vm.toString(epoch - first), "].");
        equal(_uint(json, place, "epoch"), epoch, "seeds without a gap");
        return bytes16(_bytes(json, string.concat(place, "seed")));
    }

    function _digest(bytes32 domain, uint32 epoch, uint32 shard, bytes16 seed) private pure returns (bytes32) {
        bytes32 kind = keccak256("AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)");
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encode(kind, epoch, shard, seed))));
    }

    function _uint(string memory json, string memory place, string memory name) private pure returns (uint32) {
        return uint32(vm.parseJsonUint(json, string.concat(place, name)));
    }

    function _bytes(string memory json, string memory place) private pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", vm.parseJsonString(json, place)));
    }
}
