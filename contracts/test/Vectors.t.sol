// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {EventVerifier} from "../src/verify/EventVerifier.sol";

/// @notice Mirrors Vectors.tree: the same file that holds every other implementation of the format.
contract VectorsTest is Base {
    error Disagrees(string id, bool proven);

    function test_every_event_proof_vector() public {
        EventVerifier verifier = new EventVerifier();
        string memory json = vm.readFile("../conformance/vectors/event_proof.json");
        uint256 tests = vm.parseJsonUint(json, ".numberOfTests");
        uint256 provenTests = 0;
        for (uint256 i = 0; i < tests; ++i) {
            string memory here = string.concat(".tests[", vm.toString(i), "]");
            string memory input = string.concat(here, ".input.");
            bool expected = vm.keyExistsJson(json, string.concat(here, ".expect.valid"));
            // Delegated batches hold for nodes, who ask the registry; this contract refuses them by their type.
            if (_bytes(json, input, "delegation").length != 0) expected = false;
            bool proven = _proven(verifier, json, input);
            if (proven != expected) revert Disagrees(vm.parseJsonString(json, string.concat(here, ".id")), proven);
            if (proven) ++provenTests;
        }
        equal(provenTests >= 7 && tests - provenTests >= 20, true, "some of each");
    }

    function _proven(EventVerifier verifier, string memory json, string memory input) private pure returns (bool) {
        string[] memory texts = vm.parseJsonStringArray(json, string.concat(input, "path"));
        bytes32[] memory path = new bytes32[](texts.length);
        for (uint256 i = 0; i < path.length; ++i) {
            path[i] = bytes32(vm.parseBytes(string.concat("0x", texts[i])));
        }
        try verifier.verify(
            _bytes(json, input, "header"),
            _bytes(json, input, "leaf"),
            vm.parseJsonUint(json, string.concat(input, "index")),
            path,
            _bytes(json, input, "signature")
        ) returns (
            EventVerifier.Proven memory proven
        ) {
            uint256 chain = vm.parseJsonUint(json, string.concat(input, "network.chainId"));
            address registry = vm.parseJsonAddress(json, string.concat(input, "network.registry"));
            // The one thing that the contract leaves to its caller.
            return proven.network == keccak256(abi.encodePacked(chain, registry));
        } catch {
            return false;
        }
    }

    function _bytes(string memory json, string memory input, string memory name) private pure returns (bytes memory) {
        return vm.parseBytes(string.concat("0x", vm.parseJsonString(json, string.concat(input, name))));
    }
}
