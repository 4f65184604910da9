// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {Errors} from "@openzeppelin/contracts/utils/Errors.sol";
import {Base, Vm} from "./Base.sol";
import {GrantSpec, IStream} from "../src/interfaces/IStream.sol";
import {IStreamRegistry} from "../src/interfaces/IStreamRegistry.sol";
import {StreamRegistry} from "../src/StreamRegistry.sol";

/// @notice Says that it belongs to whoever asks.
contract Flatterer {
    function owner() external view returns (address) {
        return msg.sender;
    }

    function removed() external pure returns (bool) {
        return false;
    }
}

/// @notice Mirrors StreamRegistry.tree.
contract StreamRegistryTest is Base {
    address internal constant OWNER = address(0xA11CE);
    address internal constant OTHER = address(0xB0B);
    StreamRegistry internal registry;

    function setUp() public {
        vm.warp(START);
        registry = new StreamRegistry();
    }

    // ---------------------------------------------------------------- create

    function testFuzz_a_stream_stands_where_predicted(address owner, bytes32 salt, address asker) public {
        vm.prank(asker);
        address predicted = registry.predict(owner, salt);
        equal(predicted.code.length, 0, "code before");
        vm.prank(owner);
        equal(registry.create("{}", salt, "", new GrantSpec[](0)), predicted, "address");
        equal(IStream(predicted).owner(), owner, "owner");
        equal(registry.isStream(predicted), true, "isStream");
    }

    function testFuzz_nobody_can_take_anothers_address(address thief, bytes32 salt) public {
        vm.assume(thief != OWNER);
        address wanted = registry.predict(OWNER, salt);
        vm.prank(thief);
        equal(registry.create("{}", salt, "", new GrantSpec[](0)) == wanted, false, "same");
        vm.prank(OWNER);
        equal(registry.create("{}", salt, "", new GrantSpec[](0)), wanted, "address");
    }

    function test_a_salt_serves_once() public {
        address stream = _create(OWNER, 1, "");
        vm.prank(OWNER);
        IStream(stream).remove();
        vm.expectRevert(Errors.FailedDeployment.selector);
        vm.prank(OWNER);
        registry.create("{}", bytes32(uint256(1)), "", new GrantSpec[](0));
    }

    function test_Created_comes_first() public {
        vm.recordLogs();
        address stream = _create(OWNER, 1, "path");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        equal(logs.length, 5, "logs");
        equal(logs[0].emitter, address(registry), "emitter");
        equal(logs[0].topics[0], IStreamRegistry.Created.selector, "Created");
        equal(logs[0].topics[1], bytes32(uint256(uint160(stream))), "stream");
        equal(logs[0].topics[2], bytes32(uint256(uint160(OWNER))), "owner");
        equal(bytes32(logs[0].data), bytes32(uint256(1)), "salt");
        for (uint256 i = 1; i < 4; ++i) {
            equal(logs[i].emitter, stream, "of the stream");
        }
        equal(logs[4].topics[0], IStreamRegistry.Listed.selector, "Listed");
    }

    function test_create_can_list() public {
        address stream = _create(OWNER, 1, "a/b");
        equal(registry.streamAt(OWNER, "a/b"), stream, "streamAt");
        (address lister, string memory path) = registry.pathOf(stream);
        equal(lister, OWNER, "lister");
        equal(path, "a/b", "path");
    }

    function test_create_can_grant() public {
        GrantSpec[] memory grants = new GrantSpec[](1);
        grants[0] = GrantSpec(OTHER, 7, 8, 2);
        vm.prank(OWNER);
        IStream stream = IStream(registry.create("{}", 0, "", grants));
        (uint40 sub, uint40 pub, uint8 flags) = stream.permission(OTHER);
        equal(sub, 7, "sub");
        equal(pub, 8, "pub");
        equal(flags, 2, "flags");
    }

    function test_create_makes_all_or_nothing() public {
        _create(OWNER, 1, "path");
        address second = registry.predict(OWNER, bytes32(uint256(2)));
        GrantSpec[] memory grants = new GrantSpec[](1);
        grants[0] = GrantSpec(OTHER, 0, 0, 8);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamUnknownFlags.selector, 8));
        vm.prank(OWNER);
        registry.create("{}", bytes32(uint256(2)), "", grants);
        vm.expectRevert();
        vm.prank(OWNER);
        registry.create("{}", bytes32(uint256(2)), "path", new GrantSpec[](0));
        equal(registry.isStream(second), false, "isStream");
        equal(second.code.length, 0, "code");
    }

    function test_a_stream_is_a_minimal_clone() public {
        bytes memory expected =
            abi.encodePacked(hex"363d3d373d3d3d363d73", registry.implementation(), hex"5af43d82803e903d91602b57fd5bf3");
        equal(keccak256(_create(OWNER, 1, "").code), keccak256(expected), "code");
    }

    // ---------------------------------------------------------------- isStream

    function test_streams_are_streams_when_removed_too() public {
        address stream = _create(OWNER, 1, "");
        vm.prank(OWNER);
        IStream(stream).remove();
        equal(registry.isStream(stream), true, "removed");
    }

    function test_a_clone_made_by_hand_is_no_stream() public {
        address clone = Clones.clone(registry.implementation());
        IStream(clone).init(address(this), "{}", new GrantSpec[](0));
        equal(registry.isStream(clone), false, "clone");
        equal(registry.isStream(registry.implementation()), false, "implementation");
        equal(registry.isStream(address(0)), false, "zero");
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryUnknownStream.selector, clone));
        registry.list(clone, "path");
    }

    // ---------------------------------------------------------------- list

    function testFuzz_a_listed_stream_is_found_both_ways(string calldata path) public {
        vm.assume(bytes(path).length > 0 && bytes(path).length <= 256);
        address stream = _create(OWNER, 1, "");
        vm.expectEmit(address(registry));
        emit IStreamRegistry.Listed(stream, OWNER, path);
        vm.prank(OWNER);
        registry.list(stream, path);
        equal(registry.streamAt(OWNER, path), stream, "streamAt");
        (address lister, string memory path_) = registry.pathOf(stream);
        equal(lister, OWNER, "lister");
        equal(path_, path, "path");
    }

    function testFuzz_only_the_owner_lists(address caller) public {
        vm.assume(caller != OWNER);
        address stream = _create(OWNER, 1, "");
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryNotOwner.selector, caller));
        vm.prank(caller);
        registry.list(stream, "path");
    }

    function test_what_is_no_stream_cannot_be_listed() public {
        address flatterer = address(new Flatterer());
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryUnknownStream.selector, flatterer));
        registry.list(flatterer, "path");
    }

    function testFuzz_a_path_has_1_to_256_bytes(uint256 length) public {
        length = bound(length, 257, 2000);
        address stream = _create(OWNER, 1, "");
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryPathLength.selector, 0));
        registry.list(stream, "");
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryPathLength.selector, length));
        registry.list(stream, string(new bytes(length)));
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryPathLength.selector, length));
        registry.create("{}", bytes32(uint256(2)), string(new bytes(length)), new GrantSpec[](0));
        registry.list(stream, string(new bytes(256)));
    }

    function test_a_path_is_one_streams() public {
        address first = _create(OWNER, 1, "path");
        address second = _create(OWNER, 2, "");
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryPathTaken.selector, first));
        vm.prank(OWNER);
        registry.list(second, "path");
    }

    function test_owners_do_not_share_paths() public {
        address mine = _create(OWNER, 1, "path");
        address theirs = _create(OTHER, 1, "path");
        equal(registry.streamAt(OWNER, "path"), mine, "mine");
        equal(registry.streamAt(OTHER, "path"), theirs, "theirs");
    }

    function test_a_stream_has_one_path() public {
        address stream = _create(OWNER, 1, "path");
        vm.expectRevert(IStreamRegistry.RegistryAlreadyListed.selector);
        vm.prank(OWNER);
        registry.list(stream, "other");
    }

    function test_a_removed_stream_cannot_be_listed() public {
        address stream = _create(OWNER, 1, "");
        vm.startPrank(OWNER);
        IStream(stream).remove();
        vm.expectRevert(IStream.StreamIsRemoved.selector);
        registry.list(stream, "path");
    }

    // ---------------------------------------------------------------- unlist

    function testFuzz_an_unlisted_path_is_free(string calldata path) public {
        vm.assume(bytes(path).length > 0 && bytes(path).length <= 256);
        address stream = _create(OWNER, 1, path);
        vm.expectEmit(address(registry));
        emit IStreamRegistry.Unlisted(stream, OWNER, path);
        vm.prank(OWNER);
        registry.unlist(stream);
        equal(registry.streamAt(OWNER, path), address(0), "streamAt");
        (address lister, string memory path_) = registry.pathOf(stream);
        equal(lister, address(0), "lister");
        equal(path_, "", "path");
        equal(registry.isStream(stream), true, "isStream");
        address second = _create(OWNER, 2, path);
        equal(registry.streamAt(OWNER, path), second, "second");
    }

    function testFuzz_others_cannot_unlist(address caller) public {
        vm.assume(caller != OWNER);
        address stream = _create(OWNER, 1, "path");
        vm.expectRevert(abi.encodeWithSelector(IStreamRegistry.RegistryNotOwner.selector, caller));
        vm.prank(caller);
        registry.unlist(stream);
    }

    function test_what_is_not_listed_cannot_be_unlisted() public {
        address stream = _create(OWNER, 1, "");
        vm.expectRevert(IStreamRegistry.RegistryNotListed.selector);
        vm.prank(OWNER);
        registry.unlist(stream);
    }

    function test_the_path_of_a_removed_stream_can_be_freed() public {
        address stream = _create(OWNER, 1, "path");
        vm.startPrank(OWNER);
        IStream(stream).remove();
        registry.unlist(stream);
        vm.stopPrank();
        address second = _create(OWNER, 2, "path");
        equal(registry.streamAt(OWNER, "path"), second, "second");
    }

    function test_after_a_transfer_both_may_unlist() public {
        address first = _create(OWNER, 1, "first");
        address second = _create(OWNER, 2, "second");
        _transfer(first);
        _transfer(second);
        vm.prank(OWNER);
        registry.unlist(first);
        vm.prank(OTHER);
        registry.unlist(second);
        vm.startPrank(OTHER);
        registry.list(first, "second");
        registry.list(second, "first");
        equal(registry.streamAt(OTHER, "second"), first, "first");
    }

    // ---------------------------------------------------------------- streamAt

    function test_an_alias_ends_with_the_ownership() public {
        address stream = _create(OWNER, 1, "path");
        _transfer(stream);
        equal(registry.streamAt(OWNER, "path"), address(0), "lister");
        equal(registry.streamAt(OTHER, "path"), address(0), "owner");
    }

    function test_an_alias_ends_with_the_stream() public {
        address stream = _create(OWNER, 1, "path");
        vm.prank(OWNER);
        IStream(stream).remove();
        equal(registry.streamAt(OWNER, "path"), address(0), "streamAt");
    }

    // ---------------------------------------------------------------- revokeDelegation

    function testFuzz_a_wallet_revokes_its_own_delegations(address wallet, address other, bytes32 digest) public {
        vm.assume(wallet != other);
        vm.expectEmit(address(registry));
        emit IStreamRegistry.DelegationRevoked(wallet, digest);
        vm.prank(wallet);
        registry.revokeDelegation(digest);
        equal(registry.isRevoked(wallet, digest), true, "wallet");
        equal(registry.isRevoked(other, digest), false, "other");
        equal(registry.isRevoked(wallet, keccak256(abi.encode(digest))), false, "other digest");
    }

    function test_revoking_twice_is_no_fault() public {
        registry.revokeDelegation(bytes32(uint256(1)));
        registry.revokeDelegation(bytes32(uint256(1)));
        equal(registry.isRevoked(address(this), bytes32(uint256(1))), true, "revoked");
    }

    // ---------------------------------------------------------------- helpers

    function _create(address owner, uint256 salt, string memory path) private returns (address) {
        vm.prank(owner);
        return registry.create("{}", bytes32(salt), path, new GrantSpec[](0));
    }

    function _transfer(address stream) private {
        vm.prank(OWNER);
        IStream(stream).offerOwnership(OTHER);
        vm.prank(OTHER);
        IStream(stream).acceptOwnership();
    }
}
