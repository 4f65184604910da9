// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "../Base.sol";
import {IStream, Right} from "../../src/interfaces/IStream.sol";
import {Follower} from "./Follower.sol";
import {StreamHandler} from "./StreamHandler.sol";

/// @notice Mirrors Streams.tree.
contract StreamsInvariants is Base {
    StreamHandler internal handler;

    function setUp() public {
        vm.warp(START);
        handler = new StreamHandler();
        bytes4[] memory steps = new bytes4[](15);
        steps[0] = StreamHandler.create.selector;
        steps[1] = StreamHandler.grant.selector;
        steps[2] = StreamHandler.revoke.selector;
        steps[3] = StreamHandler.dropOwnRights.selector;
        steps[4] = StreamHandler.setMeta.selector;
        steps[5] = StreamHandler.setKey.selector;
        steps[6] = StreamHandler.bumpKeyEpoch.selector;
        steps[7] = StreamHandler.passOwnership.selector;
        steps[8] = StreamHandler.remove.selector;
        steps[9] = StreamHandler.initAgain.selector;
        steps[10] = StreamHandler.list.selector;
        steps[11] = StreamHandler.unlist.selector;
        steps[12] = StreamHandler.revokeDelegation.selector;
        steps[13] = StreamHandler.squawk.selector;
        steps[14] = StreamHandler.warp.selector;
        target(address(handler), steps);
    }

    /// One play for all: seven would only spend the same time on seven shorter ones.
    function invariant_every_rule_holds() public {
        check_no_step_breaks_its_rule();
        check_the_owner_holds_grant();
        check_everyone_has_no_flags();
        check_a_removed_stream_gives_nothing();
        check_logs_rebuild_the_state();
        check_aliases_lead_there_and_back();
        check_a_right_ends_after_its_last_second();
    }

    function check_no_step_breaks_its_rule() public view {
        equal(handler.broken(), "", "broken");
    }

    function check_the_owner_holds_grant() public view {
        for (uint256 i = 0; i < handler.streamCount(); ++i) {
            IStream stream = handler.streams(i);
            (,, uint8 flags) = stream.permission(stream.owner());
            equal(flags & 1, 1, "flag");
            equal(stream.can(stream.owner(), Right.Grant), !stream.removed(), "can");
        }
    }

    function check_everyone_has_no_flags() public view {
        for (uint256 i = 0; i < handler.streamCount(); ++i) {
            (,, uint8 flags) = handler.streams(i).permission(address(0));
            equal(flags, 0, "flags");
        }
    }

    function check_a_right_ends_after_its_last_second() public {
        uint256 now_ = block.timestamp;
        for (uint256 i = 0; i < handler.streamCount(); ++i) {
            IStream stream = handler.streams(i);
            if (stream.removed()) continue;
            (uint40 allSub, uint40 allPub,) = stream.permission(address(0));
            for (uint256 a = 0; a < 6; ++a) {
                address who = handler.accounts(a);
                (uint40 sub, uint40 pub,) = stream.permission(who);
                _endsAfter(stream, who, Right.Subscribe, sub > allSub ? sub : allSub);
                _endsAfter(stream, who, Right.Publish, pub > allPub ? pub : allPub);
            }
        }
        vm.warp(now_);
    }

    function _endsAfter(IStream stream, address who, Right right, uint40 last) private {
        if (last == 0) return;
        vm.warp(last);
        equal(stream.can(who, right), true, "at its last second");
        vm.warp(uint256(last) + 1);
        equal(stream.can(who, right), false, "one second later");
    }

    function check_a_removed_stream_gives_nothing() public view {
        for (uint256 i = 0; i < handler.streamCount(); ++i) {
            IStream stream = handler.streams(i);
            if (!stream.removed()) continue;
            for (uint256 a = 0; a < 6; ++a) {
                for (uint8 right = 0; right < 5; ++right) {
                    equal(stream.can(handler.accounts(a), Right(right)), false, "can");
                }
            }
        }
    }

    function check_logs_rebuild_the_state() public view {
        Follower follower = handler.follower();
        for (uint256 i = 0; i < handler.streamCount(); ++i) {
            IStream stream = handler.streams(i);
            Follower.View memory seen = follower.viewOf(address(stream));
            equal(seen.known, true, "known");
            equal(seen.removed, stream.removed(), "removed");
            equal(seen.owner, stream.owner(), "owner");
            equal(seen.offeredTo, stream.offeredTo(), "offeredTo");
            equal(seen.keyEpoch, stream.keyEpoch(), "keyEpoch");
            equal(seen.metaHash, stream.metaHash(), "metaHash");
            (address lister, string memory path) = handler.registry().pathOf(address(stream));
            equal(seen.lister, lister, "lister");
            if (lister != address(0)) equal(seen.pathHash, keccak256(bytes(path)), "path");
            for (uint256 a = 0; a < 6; ++a) {
                _sameAccount(follower, stream, handler.accounts(a));
            }
        }
        for (uint256 a = 1; a < 6; ++a) {
            for (uint256 d = 0; d < 4; ++d) {
                (address wallet, bytes32 delegation) = (handler.accounts(a), bytes32(d));
                equal(follower.revoked(wallet, delegation), handler.registry().isRevoked(wallet, delegation), "revoked");
            }
        }
    }

    function _sameAccount(Follower follower, IStream stream, address who) private view {
        Follower.Rights memory seen = follower.rightsOf(address(stream), who);
        (uint40 sub, uint40 pub, uint8 flags) = stream.permission(who);
        equal(seen.subUntil, sub, "subUntil");
        equal(seen.pubUntil, pub, "pubUntil");
        equal(seen.flags, flags, "flags");
        (uint8 kind, bytes32 key) = stream.keys(who);
        bytes32 key_ = follower.keyOf(address(stream), who);
        if (key_ == 0) equal(uint256(key) | kind, 0, "no key");
        else equal(key_, keccak256(abi.encode(kind, key)), "key");
    }

    function check_aliases_lead_there_and_back() public view {
        for (uint256 i = 0; i < handler.streamCount(); ++i) {
            IStream stream = handler.streams(i);
            (address lister, string memory path) = handler.registry().pathOf(address(stream));
            if (lister == address(0)) {
                equal(path, "", "path of none");
                continue;
            }
            bool holds = stream.owner() == lister && !stream.removed();
            equal(handler.registry().streamAt(lister, path), holds ? address(stream) : address(0), "streamAt");
            for (uint256 j = 0; j < i; ++j) {
                (address other, string memory path_) = handler.registry().pathOf(address(handler.streams(j)));
                equal(other == lister && keccak256(bytes(path_)) == keccak256(bytes(path)), false, "shared");
            }
        }
    }

    /// Invariants say nothing about what is never reached.
    function test_the_play_reaches_everything() public {
        bytes32 seed = keccak256("play");
        for (uint256 i = 0; i < 750; ++i) {
            seed = keccak256(abi.encode(seed));
            uint256 n = uint256(seed);
            (uint256 a, uint256 b, uint256 c) = (n >> 16, n >> 64, n >> 128);
            if (n % 15 == 0) handler.create(a, b, c, n >> 160, uint8(n >> 200));
            else if (n % 15 == 1) handler.grant(a, b, c, n >> 160, n >> 192, uint8(n >> 240));
            else if (n % 15 == 2) handler.revoke(a, b, c);
            else if (n % 15 == 3) handler.dropOwnRights(a, b);
            else if (n % 15 == 4) handler.setMeta(a, b, c);
            else if (n % 15 == 5) handler.setKey(a, b, uint8(c), seed);
            else if (n % 15 == 6) handler.bumpKeyEpoch(a, b);
            else if (n % 15 == 7) handler.passOwnership(a, b, c);
            else if (n % 15 == 8 && i > 350) handler.remove(a, b, c);
            else if (n % 15 == 9) handler.initAgain(a, b);
            else if (n % 15 == 10) handler.list(a, b, c);
            else if (n % 15 == 11) handler.unlist(a, b);
            else if (n % 15 == 12) handler.revokeDelegation(a, b);
            else if (n % 15 == 13) handler.squawk(a);
            else handler.warp(a);
        }
        equal(handler.broken(), "", "broken");
        check_logs_rebuild_the_state();
        check_aliases_lead_there_and_back();
        string[14] memory actions = [
            "create",
            "grant",
            "grantMany",
            "revoke",
            "drop",
            "setMeta",
            "setKey",
            "bumpKeyEpoch",
            "acceptOwnership",
            "offerOwnership",
            "remove",
            "list",
            "unlist",
            "revokeDelegation"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            equal(handler.done(actions[i]) > 0, true, actions[i]);
        }
    }
}
