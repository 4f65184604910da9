// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NetworkBase} from "./NetworkBase.sol";
import {DATAcoin} from "../src/DATAcoin.sol";
import {INetworkCoordinator} from "../src/interfaces/INetworkCoordinator.sol";
import {NetworkCoordinator} from "../src/NetworkCoordinator.sol";

/// @notice Mirrors NetworkClaims.tree.
contract NetworkClaimsTest is NetworkBase {
    address internal constant STRANGER = address(uint160(uint256(keccak256("stranger"))));

    function setUp() public {
        build(rulesOf(address(new DATAcoin(address(this), 1e27))));
    }

    // ---------------------------------------------------------------- challenge

    function testFuzz_a_true_claim_cannot_be_challenged(uint256 who, uint32 shard, uint256 picks) public {
        joined(7);
        who = bound(who, 0, 6);
        uint32 epoch = network.epochNumber();
        shard = uint32(bound(shard, 0, network.epochAt(epoch).shards - 1));
        address[] memory ranked = ranking(7, epoch, shard);
        uint256 i = indexOf(ranked[who % K]);
        bytes memory signature = claim(i, epoch, shard);
        // Any three of the others.
        address[] memory others = new address[](K);
        for (uint256 n = 0; n < K; ++n) {
            uint256 other = (who + 1 + picks % 4 + n) % 7;
            others[n] = ranked[other];
        }
        others = ascending(others, K);
        vm.expectRevert();
        network.challenge(epoch, shard, signature, others);
        equal(stakeOf(i), STAKE, "stake");
    }

    function testFuzz_a_false_claim_is_slashed(uint256 who, uint32 shard) public {
        joined(7);
        uint32 epoch = network.epochNumber();
        shard = uint32(bound(shard, 0, network.epochAt(epoch).shards - 1));
        address[] memory ranked = ranking(7, epoch, shard);
        uint256 i = indexOf(ranked[K + bound(who, 0, 3)]);
        slash(i, epoch, shard, ascending(ranked, K));
        equal(stakeOf(i), 0, "stake");
        equal(network.isActive(brokerAt(i), epoch), true, "the epoch stays as it is");
        equal(network.isActive(brokerAt(i), epoch + 1), false, "the next is without it");
        pass(1);
        equal(network.epochAt(epoch + 1).active, 6, "active");
    }

    function test_a_slash_goes_half_and_half() public {
        coin.approve(address(network), 0);
        give(brokerAt(0), STAKE + 1);
        bytes memory publicKey = publicKeyOf(0);
        vm.prank(brokerAt(0));
        network.register(STAKE + 1, 255, publicKey, endpoint(), "");
        bytes memory signature = claim(0, 0, 0);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.Slashed(brokerAt(0), STRANGER, 0, 0, STAKE + 1, 0);
        vm.prank(STRANGER);
        equal(network.challenge(0, 0, signature, new address[](0)), brokerAt(0), "who signed");
        equal(network.owed(STRANGER), STAKE / 2, "half, rounded against the caller");
        equal(network.pool(), STAKE / 2 + 1, "the rest");
        vm.prank(STRANGER);
        network.withdrawPay();
        equal(coin.balanceOf(STRANGER), STAKE / 2, "withdrawn");
        equal(coin.balanceOf(address(network)), network.pool(), "left");
    }

    function test_claiming_no_shard_is_slashed() public {
        joined(5);
        slash(0, 2, network.epochAt(2).shards, new address[](0));
        equal(stakeOf(0), 0, "stake");
    }

    function test_claiming_while_not_active_is_slashed() public {
        joined(5);
        slash(0, 1, 0, new address[](0));
        depart(1);
        pass(1);
        slash(1, 3, 0, new address[](0));
        equal(stakeOf(0) + stakeOf(1), 0, "stakes");
    }

    function test_leaving_does_not_save_a_cheat() public {
        joined(7);
        address[] memory ranked = ranking(7, 2, 3);
        uint256 i = indexOf(ranked[6]);
        depart(i);
        pass(1);
        tick(CHALLENGE);
        slash(i, 2, 3, ascending(ranked, K));
        equal(leaveAtOf(i), 3, "leaves when it wanted");
        tick(CHALLENGE);
        vm.expectRevert(INetworkCoordinator.CoordinatorNothingToWithdraw.selector);
        vm.prank(brokerAt(i));
        network.withdrawStake();
    }

    function test_a_proof_has_one_form() public {
        joined(7);
        address[] memory ranked = ranking(7, 2, 3);
        bytes memory signature = claim(indexOf(ranked[6]), 2, 3);
        address[] memory sorted = ascending(ranked, K);
        _malformed(signature, ascending(ranked, K - 1));
        _malformed(signature, ascending(ranked, K + 1));
        _malformed(signature, new address[](0));
        _malformed(signature, new address[](K));
        (sorted[1], sorted[2]) = (sorted[2], sorted[1]);
        _malformed(signature, sorted);
        sorted = ascending(ranked, K);
        sorted[1] = sorted[0];
        _malformed(signature, sorted);
    }

    function test_the_absent_prove_nothing() public {
        joined(5);
        // Twenty who are registered, but not active yet, and some who never were.
        for (uint256 i = 5; i < 25; ++i) {
            join(i, 255);
        }
        address[] memory ranked = ranking(5, 2, 3);
        uint256 cheat = indexOf(ranked[4]);
        bytes memory signature = claim(cheat, 2, 3);
        for (uint256 i = 5; i < 30; ++i) {
            address[] memory better = new address[](3);
            (better[0], better[1], better[2]) = (ranked[0], ranked[1], brokerAt(i));
            vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorNotBetter.selector, brokerAt(i)));
            network.challenge(2, 3, signature, ascending(better, 3));
        }
    }

    function test_in_a_thin_network_nobody_is_outranked() public {
        joined(3);
        address[] memory all = ascending(ranking(3, 2, 3), 3);
        for (uint256 i = 0; i < 3; ++i) {
            bytes memory signature = claim(i, 2, 3);
            vm.expectRevert();
            network.challenge(2, 3, signature, all);
        }
    }

    function test_a_stake_is_lost_once() public {
        joined(5);
        slash(0, 2, 99, new address[](0));
        bytes memory signature = claim(0, 2, 98);
        vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorNoStake.selector, brokerAt(0)));
        network.challenge(2, 98, signature, new address[](0));
    }

    function test_claims_can_be_challenged_for_a_time() public {
        joined(5);
        bytes memory signature = claim(0, 3, 99);
        vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorEpoch.selector, uint32(3)));
        network.challenge(3, 99, signature, new address[](0));
        pass(1);
        bytes memory old = claim(0, 2, 99);
        tick(CHALLENGE + 1);
        vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorEpoch.selector, uint32(2)));
        network.challenge(2, 99, old, new address[](0));
        // The current epoch can be judged for as long as it lasts.
        slash(0, 3, 99, new address[](0));
    }

    function test_a_claim_holds_in_its_own_history_only() public {
        joined(5);
        NetworkCoordinator first = network;
        bytes memory signature = claim(0, 2, 99);
        // The same brokers in another network on this chain.
        build(rulesOf(address(coin)));
        joined(5);
        _noStake(2, 99, signature);
        // The same network, but epoch 2 was drawn with another seed.
        network = first;
        bytes16 seed = keccak16(network.epochAt(2).seed);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(0), _digestWith(seed));
        _noStake(2, 99, abi.encodePacked(r, s, v));
        network.challenge(2, 99, signature, new address[](0));
    }

    function test_a_signature_has_one_form() public {
        joined(5);
        bytes memory good = claim(0, 2, 99);
        (bytes32 r, bytes32 s, uint8 v) = _split(good);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 compact = bytes32(uint256(s) | uint256(v - 27) << 255);
        bytes[5] memory forms = [
            abi.encodePacked(r, order - uint256(s), v == 27 ? uint8(28) : uint8(27)),
            abi.encodePacked(r, compact),
            abi.encodePacked(r, s, v - 27),
            abi.encodePacked(good, bytes1(0)),
            bytes("")
        ];
        for (uint256 i = 0; i < forms.length; ++i) {
            vm.expectRevert();
            network.challenge(2, 99, forms[i], new address[](0));
        }
        network.challenge(2, 99, good, new address[](0));
    }

    /// A broker that was assigned with full weight turns light, others that were light turn heavy; neither makes what was
    /// true false, nor what was false true.
    function test_claims_are_judged_by_the_weight_of_their_epoch() public {
        for (uint256 i = 0; i < 7; ++i) {
            join(i, i < 3 ? 255 : 32);
        }
        pass(2);
        tick(CHALLENGE + 1);
        uint32 epoch = network.epochNumber();
        address[] memory ranked = ranking(7, epoch, 3);
        for (uint256 i = 0; i < 7; ++i) {
            weigh(i, i < 3 ? 32 : 255);
        }
        pass(2);
        tick(CHALLENGE - EPOCH);
        address[] memory now_ = ranking(7, epoch, 3);
        equal(keccak256(abi.encode(now_)), keccak256(abi.encode(ranked)), "the past stays");
        bytes memory signature = claim(indexOf(ranked[0]), epoch, 3);
        address[] memory later = ascending(ranking(7, epoch + 2, 3), K);
        vm.expectRevert();
        network.challenge(epoch, 3, signature, later);
        slash(indexOf(ranked[K]), epoch, 3, ascending(ranked, K));
    }

    function test_a_slashed_newcomer_never_begins() public {
        join(0, 255);
        join(1, 255);
        pass(1);
        slash(0, 1, 0, new address[](0));
        pass(1);
        equal(network.epochAt(2).active, 1, "active");
        equal(network.isActive(brokerAt(0), 2), false, "the newcomer");
    }

    // ---------------------------------------------------------------- helpers

    function _malformed(bytes memory signature, address[] memory better) private {
        vm.expectRevert(INetworkCoordinator.CoordinatorProofForm.selector);
        network.challenge(2, 3, signature, better);
    }

    /// Somebody unknown signed what this network would read.
    function _noStake(uint32 epoch, uint32 shard, bytes memory signature) private {
        try network.challenge(epoch, shard, signature, new address[](0)) {
            revert("a claim of elsewhere served");
        } catch (bytes memory reason) {
            // forge-lint: disable-next-line(unsafe-typecast)
            equal(bytes4(reason), INetworkCoordinator.CoordinatorNoStake.selector, "reason");
        }
    }

    function _digestWith(bytes16 seed) private view returns (bytes32) {
        bytes32 kind = keccak256("AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)");
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Mainstem"),
                keccak256("1"),
                block.chainid,
                address(network)
            )
        );
        bytes32 message = keccak256(abi.encode(kind, uint32(2), uint32(99), seed));
        return keccak256(abi.encodePacked("\x19\x01", domain, message));
    }

    function keccak16(bytes16 word) private pure returns (bytes16) {
        return bytes16(keccak256(abi.encodePacked(word)));
    }

    function _split(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
    }
}
