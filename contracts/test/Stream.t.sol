// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base, Vm} from "./Base.sol";
import {GrantSpec, IStream, Right} from "../src/interfaces/IStream.sol";
import {StreamRegistry} from "../src/StreamRegistry.sol";

/// @notice Mirrors Stream.tree.
contract StreamTest is Base {
    uint8 internal constant GRANT = 1;
    uint8 internal constant EDIT = 2;
    uint8 internal constant DELETE = 4;
    address internal constant OWNER = address(0xA11CE);
    address internal constant GRANTER = address(0x64A27E4);
    address internal constant READER = address(0xB0B);
    address internal constant STRANGER = address(0xE7E);
    StreamRegistry internal registry;
    IStream internal stream;

    function setUp() public {
        vm.warp(START);
        registry = new StreamRegistry();
        stream = _create(new GrantSpec[](0), bytes32(0));
        vm.prank(OWNER);
        stream.grant(GRANTER, 0, 0, GRANT);
    }

    // ---------------------------------------------------------------- init

    function test_the_implementation_cannot_be_initialised() public {
        IStream implementation = IStream(registry.implementation());
        vm.expectRevert(IStream.StreamAlreadyInitialised.selector);
        implementation.init(STRANGER, "{}", new GrantSpec[](0));
    }

    function testFuzz_a_clone_cannot_be_initialised_again(address caller, address owner) public {
        vm.prank(caller);
        vm.expectRevert(IStream.StreamAlreadyInitialised.selector);
        stream.init(owner, "{}", new GrantSpec[](0));
    }

    function testFuzz_the_owner_holds_every_right_for_ever(uint256 second) public {
        vm.warp(bound(second, START, FOREVER));
        for (uint8 right = 0; right < 5; ++right) {
            equal(stream.can(OWNER, Right(right)), true, "right");
        }
        _holds(OWNER, FOREVER, FOREVER, 7);
    }

    function test_first_grants_are_set() public {
        GrantSpec[] memory grants = new GrantSpec[](2);
        grants[0] = GrantSpec(READER, 11, 12, EDIT);
        grants[1] = GrantSpec(address(0), FOREVER, 0, 0);
        stream = _create(grants, bytes32(uint256(1)));
        _holds(READER, 11, 12, EDIT);
        _holds(address(0), FOREVER, 0, 0);
        _holds(OWNER, FOREVER, FOREVER, 7);
    }

    function test_first_grants_give_everyone_no_flags() public {
        GrantSpec[] memory grants = new GrantSpec[](1);
        grants[0] = GrantSpec(address(0), 0, 0, GRANT);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamPublicFlags.selector, GRANT));
        registry.create("{}", bytes32(uint256(1)), "", grants);
    }

    function test_first_grants_cannot_take_the_owners_grant() public {
        GrantSpec[] memory grants = new GrantSpec[](1);
        grants[0] = GrantSpec(address(this), FOREVER, FOREVER, EDIT | DELETE);
        vm.expectRevert(IStream.StreamOwnerKeepsGrant.selector);
        registry.create("{}", bytes32(uint256(1)), "", grants);
    }

    function test_the_owner_can_begin_with_less() public {
        GrantSpec[] memory grants = new GrantSpec[](1);
        grants[0] = GrantSpec(OWNER, 0, 5, GRANT);
        stream = _create(grants, bytes32(uint256(1)));
        _holds(OWNER, 0, 5, GRANT);
        equal(stream.can(OWNER, Right.Edit), false, "edit");
        equal(stream.can(OWNER, Right.Grant), true, "grant");
    }

    function test_creation_logs_the_whole_state() public {
        address made = registry.predict(OWNER, bytes32(uint256(9)));
        vm.expectEmit(made);
        emit IStream.OwnershipTransferred(address(0), OWNER);
        vm.expectEmit(made);
        emit IStream.Meta('{"partitions":1}');
        vm.expectEmit(made);
        emit IStream.Granted(OWNER, FOREVER, FOREVER, 7);
        _create(new GrantSpec[](0), bytes32(uint256(9)));
        equal(IStream(made).createdAt(), START, "created");
        equal(IStream(made).metaHash(), keccak256('{"partitions":1}'), "hash");
    }

    // ---------------------------------------------------------------- setMeta

    function test_editors_replace_the_metadata() public {
        vm.prank(OWNER);
        stream.grant(READER, 0, 0, EDIT);
        vm.expectEmit(address(stream));
        emit IStream.Meta("new");
        vm.prank(READER);
        stream.setMeta("new");
        equal(stream.metaHash(), keccak256("new"), "hash");
        vm.prank(OWNER);
        stream.setMeta("");
        equal(stream.metaHash(), keccak256(""), "hash of nothing");
    }

    function test_metadata_takes_the_edit_flag() public {
        vm.prank(OWNER);
        stream.grant(GRANTER, FOREVER, FOREVER, GRANT | DELETE);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, GRANTER, Right.Edit));
        vm.prank(GRANTER);
        stream.setMeta("new");
    }

    function test_metadata_of_4096_bytes_is_kept() public {
        string memory json = string(new bytes(4096));
        vm.prank(OWNER);
        stream.setMeta(json);
        equal(stream.metaHash(), keccak256(bytes(json)), "hash");
    }

    function testFuzz_metadata_of_more_than_4096_bytes_reverts(uint256 length) public {
        length = bound(length, 4097, 20_000);
        string memory json = string(new bytes(length));
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMetadataTooLong.selector, length));
        vm.prank(OWNER);
        stream.setMeta(json);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMetadataTooLong.selector, length));
        registry.create(json, 0, "", new GrantSpec[](0));
    }

    // ---------------------------------------------------------------- grant, by the owner

    function testFuzz_the_owner_grants_anything(address who, uint40 sub, uint40 pub, uint8 flags) public {
        vm.assume(who != OWNER && who != address(0));
        flags %= 8;
        vm.expectEmit(address(stream));
        emit IStream.Granted(who, sub, pub, flags);
        vm.prank(OWNER);
        stream.grant(who, sub, pub, flags);
        _holds(who, sub, pub, flags);
    }

    function testFuzz_unknown_flags_revert(address who, uint8 flags) public {
        flags = uint8(bound(flags, 8, 255));
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamUnknownFlags.selector, flags));
        vm.prank(OWNER);
        stream.grant(who, 0, 0, flags);
    }

    function testFuzz_everyones_right_is_everybodys(address who, bool publish) public {
        vm.assume(who != OWNER);
        vm.prank(OWNER);
        stream.grant(address(0), publish ? 0 : FOREVER, publish ? FOREVER : 0, 0);
        equal(stream.can(who, Right.Publish), publish, "publish");
        equal(stream.can(who, Right.Subscribe), !publish, "subscribe");
        if (who != address(0)) _holds(who, 0, 0, who == GRANTER ? GRANT : 0);
    }

    function testFuzz_everyone_never_gets_flags(uint8 flags) public {
        flags = uint8(bound(flags, 1, 7));
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamPublicFlags.selector, flags));
        vm.prank(OWNER);
        stream.grant(address(0), FOREVER, FOREVER, flags);
    }

    function testFuzz_the_owner_keeps_grant(uint40 sub, uint40 pub, uint8 flags) public {
        flags = flags % 8 & ~GRANT;
        vm.expectRevert(IStream.StreamOwnerKeepsGrant.selector);
        vm.prank(OWNER);
        stream.grant(OWNER, sub, pub, flags);
        vm.prank(OWNER);
        stream.grant(OWNER, sub, pub, flags | GRANT);
        _holds(OWNER, sub, pub, flags | GRANT);
    }

    // ---------------------------------------------------------------- grant, by a granter

    function testFuzz_a_granter_sets_subscribe_and_publish(address who, uint40 sub, uint40 pub) public {
        vm.assume(who != OWNER && who != GRANTER);
        vm.prank(GRANTER);
        stream.grant(who, sub, pub, 0);
        _holds(who, sub, pub, 0);
    }

    function testFuzz_a_granter_gives_no_flags(address who, uint8 flags) public {
        vm.assume(who != OWNER && who != GRANTER && who != address(0));
        flags = uint8(bound(flags, 1, 7));
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamFlagsNotYours.selector, GRANTER));
        vm.prank(GRANTER);
        stream.grant(who, 0, 0, flags);
    }

    function test_a_granter_takes_no_flags() public {
        vm.prank(OWNER);
        stream.grant(READER, 0, 0, EDIT);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamFlagsNotYours.selector, GRANTER));
        vm.prank(GRANTER);
        stream.grant(READER, 0, 0, 0);
    }

    function test_a_granter_may_set_the_rest_of_a_flagged_account() public {
        vm.prank(OWNER);
        stream.grant(READER, 0, 0, EDIT);
        vm.prank(GRANTER);
        stream.grant(READER, 3, 4, EDIT);
        _holds(READER, 3, 4, EDIT);
    }

    function testFuzz_a_granter_gives_itself_no_flags(uint8 flags) public {
        flags = flags % 8;
        vm.assume(flags != GRANT);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamFlagsNotYours.selector, GRANTER));
        vm.prank(GRANTER);
        stream.grant(GRANTER, FOREVER, FOREVER, flags);
    }

    function testFuzz_a_granter_leaves_the_owner_alone(uint40 sub, uint40 pub, uint8 flags) public {
        flags = flags % 8 | GRANT;
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamFlagsNotYours.selector, GRANTER));
        vm.prank(GRANTER);
        stream.grant(OWNER, sub, pub, flags);
    }

    function testFuzz_others_cannot_grant(address caller, address who, uint40 sub, uint40 pub) public {
        vm.assume(caller != OWNER && caller != GRANTER);
        vm.prank(OWNER);
        if (caller != address(0)) stream.grant(caller, FOREVER, FOREVER, EDIT | DELETE);
        else stream.grant(caller, FOREVER, FOREVER, 0);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, caller, Right.Grant));
        vm.prank(caller);
        stream.grant(who, sub, pub, 0);
    }

    // ---------------------------------------------------------------- grantMany

    function test_grantMany_sets_all() public {
        GrantSpec[] memory grants = new GrantSpec[](3);
        grants[0] = GrantSpec(READER, 1, 2, EDIT);
        grants[1] = GrantSpec(STRANGER, 3, 4, 0);
        grants[2] = GrantSpec(READER, 5, 6, DELETE);
        vm.prank(OWNER);
        stream.grantMany(grants);
        _holds(READER, 5, 6, DELETE);
        _holds(STRANGER, 3, 4, 0);
    }

    function test_grantMany_sets_all_or_none() public {
        GrantSpec[] memory grants = new GrantSpec[](2);
        grants[0] = GrantSpec(READER, 1, 2, 0);
        grants[1] = GrantSpec(STRANGER, 3, 4, EDIT);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamFlagsNotYours.selector, GRANTER));
        vm.prank(GRANTER);
        stream.grantMany(grants);
        _holds(READER, 0, 0, 0);
    }

    function test_grantMany_takes_the_right_even_for_none() public {
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, STRANGER, Right.Grant));
        vm.prank(STRANGER);
        stream.grantMany(new GrantSpec[](0));
    }

    // ---------------------------------------------------------------- revoke

    function testFuzz_the_owner_revokes_anybody(address who, uint40 sub, uint40 pub, uint8 flags) public {
        vm.assume(who != OWNER);
        flags = who == address(0) ? 0 : flags % 8;
        vm.prank(OWNER);
        stream.grant(who, sub, pub, flags);
        vm.expectEmit(address(stream));
        emit IStream.Granted(who, 0, 0, 0);
        vm.prank(OWNER);
        stream.revoke(who);
        _holds(who, 0, 0, 0);
    }

    function test_a_granter_revokes_whom_it_could_grant() public {
        vm.prank(OWNER);
        stream.grant(READER, FOREVER, FOREVER, 0);
        vm.prank(GRANTER);
        stream.revoke(READER);
        _holds(READER, 0, 0, 0);
    }

    function testFuzz_a_granter_cannot_revoke_flags(uint8 flags) public {
        flags = uint8(bound(flags, 1, 7));
        vm.prank(OWNER);
        stream.grant(READER, 0, 0, flags);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamFlagsNotYours.selector, GRANTER));
        vm.prank(GRANTER);
        stream.revoke(READER);
    }

    function testFuzz_anybody_drops_their_own_rights(address who, uint40 sub, uint40 pub, uint8 flags) public {
        vm.assume(who != OWNER && who != address(0));
        vm.prank(OWNER);
        stream.grant(who, sub, pub, flags % 8);
        vm.prank(who);
        stream.revoke(who);
        _holds(who, 0, 0, 0);
    }

    function testFuzz_nobody_revokes_the_owner(address caller) public {
        vm.expectRevert(IStream.StreamOwnerKeepsGrant.selector);
        vm.prank(caller);
        stream.revoke(OWNER);
        vm.expectRevert(IStream.StreamOwnerKeepsGrant.selector);
        vm.prank(OWNER);
        stream.revoke(OWNER);
    }

    function testFuzz_others_cannot_revoke(address caller, address who) public {
        vm.assume(caller != OWNER && caller != GRANTER && who != caller && who != OWNER);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, caller, Right.Grant));
        vm.prank(caller);
        stream.revoke(who);
    }

    function test_revoking_leaves_the_key() public {
        vm.prank(READER);
        stream.setKey(3, keccak256("x"));
        vm.prank(OWNER);
        stream.revoke(READER);
        (uint8 kind, bytes32 key) = stream.keys(READER);
        equal(kind, 3, "kind");
        equal(key, keccak256("x"), "key");
    }

    // ---------------------------------------------------------------- can

    function testFuzz_a_right_ends_after_its_last_second(uint40 last, bool everyone) public {
        last = uint40(bound(last, 1, uint256(FOREVER) - 1));
        vm.prank(OWNER);
        stream.grant(everyone ? address(0) : READER, last, last, 0);
        vm.warp(last);
        equal(stream.can(READER, Right.Subscribe), true, "subscribe at t");
        equal(stream.can(READER, Right.Publish), true, "publish at t");
        vm.warp(uint256(last) + 1);
        equal(stream.can(READER, Right.Subscribe), false, "subscribe at t+1");
        equal(stream.can(READER, Right.Publish), false, "publish at t+1");
    }

    function testFuzz_for_ever_is_for_ever(uint256 second) public {
        vm.prank(OWNER);
        stream.grant(READER, FOREVER, 0, 0);
        vm.warp(bound(second, 0, FOREVER));
        equal(stream.can(READER, Right.Subscribe), true, "subscribe");
        equal(stream.can(READER, Right.Publish), vm_now() == 0, "publish");
    }

    function testFuzz_can_agrees_with_permission(uint40 sub, uint40 pub, uint8 flags, uint40 now_) public {
        flags %= 8;
        vm.prank(OWNER);
        stream.grant(READER, sub, pub, flags);
        // At the edges as often as elsewhere.
        vm.warp(now_ % 3 == 0 ? sub : now_ % 3 == 1 ? uint256(pub) + 1 : now_);
        equal(stream.can(READER, Right.Subscribe), vm_now() <= sub, "subscribe");
        equal(stream.can(READER, Right.Publish), vm_now() <= pub, "publish");
        equal(stream.can(READER, Right.Grant), flags & GRANT != 0, "grant");
        equal(stream.can(READER, Right.Edit), flags & EDIT != 0, "edit");
        equal(stream.can(READER, Right.Delete), flags & DELETE != 0, "delete");
    }

    function testFuzz_an_unknown_right_reverts(uint256 right) public view {
        right = bound(right, 5, type(uint256).max - 1);
        (bool ok,) = address(stream).staticcall(abi.encodeWithSelector(IStream.can.selector, OWNER, right));
        equal(ok, false, "ok");
    }

    // ---------------------------------------------------------------- setKey

    function testFuzz_anybody_sets_their_own_key(address who, uint8 kind, bytes32 key) public {
        vm.expectEmit(address(stream));
        emit IStream.Key(who, kind, key);
        vm.prank(who);
        stream.setKey(kind, key);
        (uint8 kind_, bytes32 key_) = stream.keys(who);
        equal(kind_, kind, "kind");
        equal(key_, key, "key");
    }

    function testFuzz_a_key_leaves_rights_alone(uint40 sub, uint40 pub, uint8 flags, uint8 kind) public {
        vm.prank(OWNER);
        stream.grant(READER, sub, pub, flags % 8);
        vm.prank(READER);
        stream.setKey(kind, keccak256("x"));
        _holds(READER, sub, pub, flags % 8);
        vm.prank(OWNER);
        stream.setKey(kind, keccak256("y"));
        _holds(OWNER, FOREVER, FOREVER, 7);
    }

    // ---------------------------------------------------------------- bumpKeyEpoch

    function test_granters_and_publishers_begin_an_epoch() public {
        vm.prank(OWNER);
        stream.grant(READER, 0, uint40(START), 0);
        address[3] memory callers = [OWNER, GRANTER, READER];
        for (uint64 i = 0; i < 3; ++i) {
            vm.expectEmit(address(stream));
            emit IStream.KeyEpoch(i + 1);
            vm.prank(callers[i]);
            stream.bumpKeyEpoch();
        }
        equal(stream.keyEpoch(), 3, "epoch");
    }

    function test_everyones_right_does_not_begin_an_epoch() public {
        vm.prank(OWNER);
        stream.grant(address(0), FOREVER, FOREVER, 0);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, STRANGER, Right.Publish));
        vm.prank(STRANGER);
        stream.bumpKeyEpoch();
    }

    function test_a_former_publisher_begins_no_epoch() public {
        vm.prank(OWNER);
        stream.grant(READER, FOREVER, uint40(START), 0);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, READER, Right.Publish));
        vm.prank(READER);
        stream.bumpKeyEpoch();
    }

    // ---------------------------------------------------------------- ownership

    function testFuzz_only_the_owner_offers(address caller) public {
        vm.assume(caller != OWNER);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamNotOwner.selector, caller));
        vm.prank(caller);
        stream.offerOwnership(caller);
    }

    function testFuzz_an_accepted_offer_passes_everything(address to, uint40 sub, uint8 flags) public {
        vm.assume(to != OWNER && to != address(0));
        vm.prank(OWNER);
        stream.grant(to, sub, 0, flags % 8);
        vm.expectEmit(address(stream));
        emit IStream.OwnershipOffered(to);
        vm.prank(OWNER);
        stream.offerOwnership(to);
        equal(stream.owner(), OWNER, "owner before");
        vm.prank(to);
        stream.acceptOwnership();
        equal(stream.owner(), to, "owner after");
        equal(stream.offeredTo(), address(0), "offer");
        _holds(to, FOREVER, FOREVER, 7);
        _holds(OWNER, 0, 0, 0);
        equal(stream.can(OWNER, Right.Grant), false, "former owner");
    }

    function testFuzz_only_the_offered_accepts(address to, address caller) public {
        vm.assume(to != caller);
        vm.prank(OWNER);
        stream.offerOwnership(to);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamNotOffered.selector, caller));
        vm.prank(caller);
        stream.acceptOwnership();
        vm.prank(OWNER);
        stream.offerOwnership(address(0));
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamNotOffered.selector, to));
        vm.prank(to);
        stream.acceptOwnership();
    }

    function test_an_offer_is_accepted_once() public {
        vm.prank(OWNER);
        stream.offerOwnership(READER);
        vm.prank(READER);
        stream.acceptOwnership();
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamNotOffered.selector, READER));
        vm.prank(READER);
        stream.acceptOwnership();
    }

    function test_an_owner_may_accept_its_own_offer() public {
        vm.prank(OWNER);
        stream.offerOwnership(OWNER);
        vm.prank(OWNER);
        stream.acceptOwnership();
        equal(stream.owner(), OWNER, "owner");
        _holds(OWNER, FOREVER, FOREVER, 7);
    }

    function test_a_limited_granter_becomes_a_whole_owner() public {
        vm.prank(OWNER);
        stream.offerOwnership(GRANTER);
        vm.prank(GRANTER);
        stream.acceptOwnership();
        _holds(GRANTER, FOREVER, FOREVER, 7);
        for (uint8 right = 0; right < 5; ++right) {
            equal(stream.can(GRANTER, Right(right)), true, "right");
        }
    }

    // ---------------------------------------------------------------- remove

    function test_deleters_remove() public {
        vm.prank(OWNER);
        stream.grant(READER, 0, 0, DELETE);
        vm.expectEmit(address(stream));
        emit IStream.Removed();
        vm.prank(READER);
        stream.remove();
        equal(stream.removed(), true, "removed by a deleter");
        stream = _create(new GrantSpec[](0), bytes32(uint256(1)));
        vm.prank(OWNER);
        stream.remove();
        equal(stream.removed(), true, "removed by the owner");
    }

    function testFuzz_others_cannot_remove(address caller) public {
        vm.assume(caller != OWNER && caller != address(0));
        vm.prank(OWNER);
        stream.grant(caller, FOREVER, FOREVER, GRANT | EDIT);
        vm.expectRevert(abi.encodeWithSelector(IStream.StreamMissingRight.selector, caller, Right.Delete));
        vm.prank(caller);
        stream.remove();
    }

    function test_nothing_changes_a_removed_stream() public {
        vm.startPrank(OWNER);
        stream.offerOwnership(OWNER);
        stream.remove();
        bytes[10] memory calls = [
            abi.encodeCall(IStream.setMeta, ("{}")),
            abi.encodeCall(IStream.grant, (READER, 1, 1, 0)),
            abi.encodeCall(IStream.grantMany, (new GrantSpec[](0))),
            abi.encodeCall(IStream.revoke, (READER)),
            abi.encodeCall(IStream.setKey, (0, bytes32(uint256(1)))),
            abi.encodeCall(IStream.bumpKeyEpoch, ()),
            abi.encodeCall(IStream.offerOwnership, (READER)),
            abi.encodeCall(IStream.acceptOwnership, ()),
            abi.encodeCall(IStream.remove, ()),
            abi.encodeCall(IStream.revoke, (OWNER))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool ok, bytes memory data) = address(stream).call(calls[i]);
            equal(ok, false, "ok");
            equal(bytes32(bytes4(data)), bytes32(IStream.StreamIsRemoved.selector), "error");
        }
        vm.stopPrank();
        vm.expectRevert(IStream.StreamAlreadyInitialised.selector);
        stream.init(OWNER, "{}", new GrantSpec[](0));
    }

    function testFuzz_nobody_can_do_anything_with_a_removed_stream(address who, uint8 right) public {
        vm.startPrank(OWNER);
        stream.grant(address(0), FOREVER, FOREVER, 0);
        stream.remove();
        vm.stopPrank();
        equal(stream.can(who, Right(right % 5)), false, "who");
        equal(stream.can(OWNER, Right(right % 5)), false, "owner");
    }

    // ---------------------------------------------------------------- helpers

    function _create(GrantSpec[] memory grants, bytes32 salt) private returns (IStream) {
        vm.prank(OWNER);
        return IStream(registry.create('{"partitions":1}', salt, "", grants));
    }

    function _holds(address who, uint40 sub, uint40 pub, uint8 flags) private view {
        (uint40 sub_, uint40 pub_, uint8 flags_) = stream.permission(who);
        equal(sub_, sub, "subUntil");
        equal(pub_, pub, "pubUntil");
        equal(flags_, flags, "flags");
    }

    /// via_ir may read `block.timestamp` once for a whole function; a call of its own reads it anew.
    function vm_now() private view returns (uint256) {
        return this.timestamp();
    }

    function timestamp() external view returns (uint256) {
        return block.timestamp;
    }
}
