// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NetworkBase} from "./NetworkBase.sol";
import {DATAcoin} from "../src/DATAcoin.sol";
import {Epoch, INetworkCoordinator, Rules} from "../src/interfaces/INetworkCoordinator.sol";
import {NetworkCoordinator} from "../src/NetworkCoordinator.sol";

/// @notice Mirrors NetworkCoordinator.tree.
contract NetworkCoordinatorTest is NetworkBase {
    address internal constant STRANGER = address(uint160(uint256(keccak256("stranger"))));

    function setUp() public {
        build(rulesOf(address(new DATAcoin(address(this), 1e27))));
    }

    // ---------------------------------------------------------------- constructor

    function test_a_network_begins_with_R_shards_and_nobody() public view {
        equal(network.epochNumber(), 0, "epoch");
        Epoch memory first = network.epochAt(0);
        equal(first.shards, 8, "shards");
        equal(first.active, 0, "active");
        equal(first.startedAt, START, "startedAt");
        equal(keccak256(abi.encode(network.rules())), keccak256(abi.encode(rulesOf(address(coin)))), "rules");
        equal(network.epochAt(1).startedAt, 0, "not begun");
    }

    function test_rules_out_of_range_revert() public {
        for (uint256 i = 0; i < 14; ++i) {
            Rules memory r = rulesOf(address(coin));
            if (i == 0) r.coin = address(0);
            if (i == 1) r.stakeMin = 0;
            if (i == 2) r.epochSeconds = 0;
            if (i == 3) (r.epochSeconds, r.challengeSeconds) = (30 days + 1, 60 days);
            if (i == 4) r.challengeSeconds = EPOCH - 1;
            if (i == 5) r.challengeSeconds = 365 days + 1;
            if (i == 6) r.replicas = 0;
            if (i == 7) r.replicas = 65;
            if (i == 8) r.slotsPerBroker = 0;
            if (i == 9) r.slotsPerBroker = 65;
            if (i == 10) r.rotationEpochs = 0;
            if (i == 11) r.rotationEpochs = 3;
            if (i == 12) r.rotationEpochs = 2048;
            if (i == 13) r.rotationEpochs = 6;
            vm.expectRevert(INetworkCoordinator.CoordinatorRules.selector);
            new NetworkCoordinator(r);
        }
    }

    // ---------------------------------------------------------------- register

    function testFuzz_a_broker_is_active_two_epochs_later(uint96 stake, uint8 weight) public {
        stake = uint96(bound(stake, STAKE, STAKE * 1000));
        weight = uint8(bound(weight, 32, 255));
        address broker = brokerAt(0);
        give(broker, stake);
        bytes memory publicKey = publicKeyOf(0);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.Registered(broker, stake, weight, 2, publicKey);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.EndpointSet(broker, endpoint(), '{"name":"one"}');
        vm.prank(broker);
        network.register(stake, weight, publicKey, endpoint(), '{"name":"one"}');
        equal(coin.balanceOf(address(network)), stake, "held");
        (uint96 held, uint32 activeFrom, uint32 leaveAt) = network.brokerOf(broker);
        equal(held, stake, "stake");
        equal(activeFrom, 2, "activeFrom");
        equal(leaveAt, NEVER, "leaveAt");
        equal(network.weightAt(broker, 2), weight, "weight");
        pass(1);
        equal(network.epochAt(1).active, 0, "not one epoch later");
        pass(1);
        equal(network.epochAt(2).active, 1, "two epochs later");
        equal(network.isActive(broker, 1), false, "not before");
        equal(network.isActive(broker, 2), true, "from then on");
    }

    function test_too_low_a_stake_reverts() public {
        give(brokerAt(0), STAKE);
        bytes memory publicKey = publicKeyOf(0);
        vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorStakeTooLow.selector, STAKE - 1));
        vm.prank(brokerAt(0));
        network.register(STAKE - 1, 255, publicKey, endpoint(), "");
    }

    function testFuzz_a_weight_below_32_reverts(uint8 weight) public {
        weight = uint8(bound(weight, 0, 31));
        give(brokerAt(0), STAKE);
        bytes memory publicKey = publicKeyOf(0);
        vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorWeight.selector, weight));
        vm.prank(brokerAt(0));
        network.register(STAKE, weight, publicKey, endpoint(), "");
    }

    function test_only_ones_own_public_key_serves() public {
        give(brokerAt(0), STAKE);
        bytes memory own = publicKeyOf(0);
        bytes[4] memory keys =
            [publicKeyOf(1), abi.encodePacked(own, bytes1(0)), abi.encodePacked(bytes1(0x04), own), bytes("")];
        for (uint256 i = 0; i < keys.length; ++i) {
            vm.expectRevert(INetworkCoordinator.CoordinatorPublicKey.selector);
            vm.prank(brokerAt(0));
            network.register(STAKE, 255, keys[i], endpoint(), "");
        }
    }

    function test_no_stake_no_broker() public {
        give(brokerAt(0), STAKE - 1);
        bytes memory publicKey = publicKeyOf(0);
        vm.expectRevert();
        vm.prank(brokerAt(0));
        network.register(STAKE, 255, publicKey, endpoint(), "");
        (uint96 stake, uint32 activeFrom,) = network.brokerOf(brokerAt(0));
        equal(uint256(stake) + activeFrom, 0, "kept");
        tick(EPOCH);
        equal(network.rebalance(), false, "nobody comes");
    }

    function test_a_broker_registers_once() public {
        join(0, 255);
        _cannotRegister(0);
        pass(2);
        _cannotRegister(0);
    }

    function test_who_left_returns_only_with_its_stake_withdrawn() public {
        joined(1);
        depart(0);
        _cannotRegister(0);
        pass(1);
        tick(CHALLENGE + 1);
        _cannotRegister(0);
        vm.prank(brokerAt(0));
        network.withdrawStake();
        join(0, 100);
        (, uint32 activeFrom, uint32 leaveAt) = network.brokerOf(brokerAt(0));
        equal(activeFrom, 5, "activeFrom");
        equal(leaveAt, NEVER, "leaveAt");
        pass(2);
        equal(network.epochAt(5).active, 1, "active again");
    }

    function test_the_slashed_wait_as_long() public {
        joined(1);
        slash(0, 2, 8, new address[](0));
        _cannotRegister(0);
        pass(1);
        tick(CHALLENGE);
        _cannotRegister(0);
        tick(1);
        join(0, 255);
        equal(stakeOf(0), STAKE, "back");
    }

    /// Tries a hundred addresses by the seeds that are known, finds the one that would win, and sees it win no more
    /// often than any: it counts by a seed that was not drawn when it was chosen.
    function test_an_address_cannot_be_chosen_for_a_shard() public {
        joined(4);
        pass(8);
        uint32 epoch = network.epochNumber();
        // A shard that was given its seed in this epoch, and keeps it for all that follows here.
        uint32 shard = (8 - epoch % 8) % 8;
        bytes16 known = network.epochAt(epoch).seed;
        (uint256 best, uint256 chosen) = (0, 0);
        for (uint256 i = 4; i < 104; ++i) {
            uint256 h = uint256(keccak256(abi.encodePacked(known, shard, brokerAt(i)))) & type(uint248).max;
            if (h > best) (best, chosen) = (h, i);
        }
        join(chosen, 255);
        pass(2);
        uint256 own = network.scoreOf(brokerAt(chosen), epoch + 2, shard);
        bytes16 fresh = network.epochAt(epoch + 2).seed;
        uint256 low = uint256(keccak256(abi.encodePacked(fresh, shard, brokerAt(chosen)))) & type(uint248).max;
        equal(own, 1 << 248 | low, "by the seed of its first epoch");
        equal(own & type(uint248).max != best, true, "not by the one it knew");
    }

    // ---------------------------------------------------------------- setEndpoint

    function test_an_endpoint_is_logged_whole() public {
        join(0, 255);
        string[] memory two = new string[](2);
        (two[0], two[1]) = ("/ip6/2001:db8::7/udp/7400/quic-v1", "/dns4/broker.example/tcp/7400");
        vm.expectEmit(address(network));
        emit INetworkCoordinator.EndpointSet(brokerAt(0), two, '{"name":"b"}');
        vm.prank(brokerAt(0));
        network.setEndpoint(two, '{"name":"b"}');
    }

    function test_endpoints_have_bounds() public {
        join(0, 255);
        string[] memory most = new string[](8);
        for (uint256 i = 0; i < 8; ++i) {
            most[i] = string(new bytes(128));
        }
        vm.prank(brokerAt(0));
        network.setEndpoint(most, string(new bytes(1024)));
        vm.prank(brokerAt(0));
        network.setEndpoint(new string[](0), "");
        _tooLong(most, string(new bytes(1025)));
        most[3] = "";
        _tooLong(most, "");
        most[3] = string(new bytes(129));
        _tooLong(most, "");
        string[] memory nine = new string[](9);
        for (uint256 i = 0; i < 9; ++i) {
            nine[i] = "/dns4/a/tcp/1";
        }
        _tooLong(nine, "");
    }

    function test_only_staying_brokers_have_endpoints() public {
        _notRegistered(STRANGER);
        vm.prank(STRANGER);
        network.setEndpoint(endpoint(), "");
        joined(1);
        depart(0);
        _notRegistered(brokerAt(0));
        vm.prank(brokerAt(0));
        network.setEndpoint(endpoint(), "");
    }

    // ---------------------------------------------------------------- setWeight

    function testFuzz_a_weight_counts_from_the_next_epoch(uint8 weight) public {
        weight = uint8(bound(weight, 32, 254));
        joined(1);
        tick(CHALLENGE + 1);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.WeightSet(brokerAt(0), weight, 3);
        vm.prank(brokerAt(0));
        network.setWeight(weight);
        equal(network.weightAt(brokerAt(0), 2), 255, "not in this epoch");
        equal(network.weightAt(brokerAt(0), 3), weight, "in the next");
        pass(1);
        equal(network.weightAt(brokerAt(0), 2), 255, "the past stays");
    }

    function test_a_weight_stays_for_a_challenge_time() public {
        join(0, 255);
        _tooEarly();
        weigh(0, 100);
        pass(2);
        tick(CHALLENGE);
        _tooEarly();
        weigh(0, 100);
        tick(1);
        weigh(0, 100);
        _tooEarly();
        weigh(0, 101);
        pass(1);
        tick(CHALLENGE);
        _tooEarly();
        weigh(0, 101);
        tick(1);
        weigh(0, 101);
    }

    function test_a_weight_that_is_none_reverts() public {
        joined(1);
        tick(CHALLENGE + 1);
        uint8[3] memory weights = [0, 31, 255];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorWeight.selector, weights[i]));
            weigh(0, weights[i]);
        }
        depart(0);
        _notRegistered(brokerAt(0));
        weigh(0, 100);
        _notRegistered(brokerAt(1));
        weigh(1, 100);
    }

    // ---------------------------------------------------------------- deregister

    function test_a_leaver_serves_to_the_end_of_the_epoch() public {
        joined(2);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.Deregistered(brokerAt(0), 3);
        depart(0);
        equal(network.isActive(brokerAt(0), 2), true, "this epoch");
        equal(network.isActive(brokerAt(0), 3), false, "the next");
        pass(1);
        equal(network.epochAt(3).active, 1, "active");
    }

    function test_who_leaves_before_it_began_never_was() public {
        join(0, 255);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.Deregistered(brokerAt(0), 0);
        depart(0);
        _neverWas();
    }

    function test_who_leaves_just_before_it_began_never_was() public {
        join(0, 255);
        pass(1);
        depart(0);
        _neverWas();
    }

    function test_only_staying_brokers_leave() public {
        _notRegistered(STRANGER);
        vm.prank(STRANGER);
        network.deregister();
        joined(1);
        depart(0);
        _notRegistered(brokerAt(0));
        depart(0);
    }

    // ---------------------------------------------------------------- withdrawStake

    function test_a_stake_comes_back_once() public {
        joined(1);
        depart(0);
        pass(1);
        tick(CHALLENGE + 1);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.StakeWithdrawn(brokerAt(0), STAKE);
        vm.prank(brokerAt(0));
        network.withdrawStake();
        equal(coin.balanceOf(brokerAt(0)), STAKE, "back");
        vm.expectRevert(INetworkCoordinator.CoordinatorNothingToWithdraw.selector);
        vm.prank(brokerAt(0));
        network.withdrawStake();
    }

    function test_a_stake_is_held_to_the_end_of_challenges() public {
        joined(1);
        depart(0);
        // Nobody rebalances for long: the broker is active all that time.
        tick(3 * CHALLENGE);
        _withdrawsTooEarly();
        pass(1);
        tick(CHALLENGE);
        _withdrawsTooEarly();
        tick(1);
        vm.prank(brokerAt(0));
        network.withdrawStake();
    }

    function test_the_stake_of_a_cancelled_join_is_held_too() public {
        tick(9 * CHALLENGE);
        join(0, 255);
        depart(0);
        tick(CHALLENGE);
        _withdrawsTooEarly();
        tick(1);
        vm.prank(brokerAt(0));
        network.withdrawStake();
        equal(coin.balanceOf(brokerAt(0)), STAKE, "back, though no epoch began");
    }

    function test_who_stays_has_nothing_to_withdraw() public {
        joined(1);
        tick(CHALLENGE + 1);
        _withdrawsTooEarly();
        vm.expectRevert(INetworkCoordinator.CoordinatorNothingToWithdraw.selector);
        network.withdrawStake();
    }

    // ---------------------------------------------------------------- helpers

    function _cannotRegister(uint256 i) private {
        give(brokerAt(i), STAKE);
        bytes memory publicKey = publicKeyOf(i);
        vm.expectRevert(INetworkCoordinator.CoordinatorAlreadyRegistered.selector);
        vm.prank(brokerAt(i));
        network.register(STAKE, 255, publicKey, endpoint(), "");
    }

    function _neverWas() private {
        equal(network.isActive(brokerAt(0), 2), false, "never");
        tick(EPOCH);
        equal(network.rebalance(), false, "nothing to do");
        join(1, 255);
        pass(2);
        equal(network.epochAt(network.epochNumber()).active, 1, "the other alone");
    }

    function _tooLong(string[] memory peerAddresses, string memory metadata) private {
        vm.expectRevert(INetworkCoordinator.CoordinatorEndpointTooLong.selector);
        vm.prank(brokerAt(0));
        network.setEndpoint(peerAddresses, metadata);
    }

    function _notRegistered(address account) private {
        vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorNotRegistered.selector, account));
    }

    function _tooEarly() private {
        vm.expectRevert(INetworkCoordinator.CoordinatorTooEarly.selector);
    }

    function _withdrawsTooEarly() private {
        _tooEarly();
        vm.prank(brokerAt(0));
        network.withdrawStake();
    }
}
