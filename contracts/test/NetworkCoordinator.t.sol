// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NetworkBase} from "./NetworkBase.sol";
import {DATAcoin} from "../src/DATAcoin.sol";
import {Epoch, INetworkCoordinator, Rules} from "../src/interfaces/INetworkCoordinator.sol";
import {IRandomSource} from "../src/interfaces/IRandomSource.sol";
import {NetworkCoordinator} from "../src/NetworkCoordinator.sol";

contract Dice is IRandomSource {
    bytes32 public random;

    function roll(bytes32 word) external {
        random = word;
    }
}

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
        _leave(0);
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
        _slash(0, 2, 8, new address[](0));
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
        _leave(0);
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
        _setWeight(0, 100);
        pass(2);
        tick(CHALLENGE);
        _tooEarly();
        _setWeight(0, 100);
        tick(1);
        _setWeight(0, 100);
        _tooEarly();
        _setWeight(0, 101);
        pass(1);
        tick(CHALLENGE);
        _tooEarly();
        _setWeight(0, 101);
        tick(1);
        _setWeight(0, 101);
    }

    function test_a_weight_that_is_none_reverts() public {
        joined(1);
        tick(CHALLENGE + 1);
        uint8[3] memory weights = [0, 31, 255];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(INetworkCoordinator.CoordinatorWeight.selector, weights[i]));
            _setWeight(0, weights[i]);
        }
        _leave(0);
        _notRegistered(brokerAt(0));
        _setWeight(0, 100);
        _notRegistered(brokerAt(1));
        _setWeight(1, 100);
    }

    // ---------------------------------------------------------------- deregister

    function test_a_leaver_serves_to_the_end_of_the_epoch() public {
        joined(2);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.Deregistered(brokerAt(0), 3);
        _leave(0);
        equal(network.isActive(brokerAt(0), 2), true, "this epoch");
        equal(network.isActive(brokerAt(0), 3), false, "the next");
        pass(1);
        equal(network.epochAt(3).active, 1, "active");
    }

    function test_who_leaves_before_it_began_never_was() public {
        join(0, 255);
        vm.expectEmit(address(network));
        emit INetworkCoordinator.Deregistered(brokerAt(0), 0);
        _leave(0);
        _neverWas();
    }

    function test_who_leaves_just_before_it_began_never_was() public {
        join(0, 255);
        pass(1);
        _leave(0);
        _neverWas();
    }

    function test_only_staying_brokers_leave() public {
        _notRegistered(STRANGER);
        vm.prank(STRANGER);
        network.deregister();
        joined(1);
        _leave(0);
        _notRegistered(brokerAt(0));
        _leave(0);
    }

    // ---------------------------------------------------------------- withdrawStake

    function test_a_stake_comes_back_once() public {
        joined(1);
        _leave(0);
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
        _leave(0);
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
        _leave(0);
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

    // ---------------------------------------------------------------- rebalance

    function testFuzz_no_epoch_ends_early(uint256 seconds_) public {
        joined(5);
        tick(bound(seconds_, 0, EPOCH - 1));
        equal(network.rebalance(), false, "early");
        equal(network.epochNumber(), 2, "epoch");
    }

    function test_a_useless_rebalance_pays_nothing() public {
        _fund(1e24);
        joined(3);
        vm.recordLogs();
        uint128 pool = network.pool();
        uint256 owed = network.owed(address(this));
        tick(100 * EPOCH);
        equal(network.rebalance(), false, "useless");
        equal(network.pool(), pool, "pool");
        equal(network.owed(address(this)), owed, "owed");
        equal(network.epochNumber(), 2, "epoch");
        equal(vm.getRecordedLogs().length, 0, "logs");
    }

    function test_a_cancelled_join_is_no_reason() public {
        join(0, 255);
        _leave(0);
        tick(EPOCH);
        equal(network.rebalance(), false, "nobody comes");
    }

    function test_each_change_is_a_reason() public {
        joined(2);
        tick(CHALLENGE + 1);
        equal(network.rebalance(), false, "none");
        _setWeight(0, 100);
        equal(network.rebalance(), true, "a weight");
        tick(EPOCH);
        equal(network.rebalance(), false, "none again");
        _leave(0);
        equal(network.rebalance(), true, "a leave");
        join(2, 255);
        pass(2);
        tick(EPOCH);
        equal(network.rebalance(), false, "a join takes two");
        _slash(1, network.epochNumber(), 8, new address[](0));
        equal(network.rebalance(), true, "a slash");
    }

    function test_seeds_rotate_while_there_is_a_choice() public {
        joined(4);
        for (uint256 i = 0; i < 20; ++i) {
            bytes16 last = network.epochAt(network.epochNumber()).seed;
            pass(1);
            equal(network.epochAt(network.epochNumber()).seed != last, true, "another");
        }
    }

    function test_seeds_rest_while_all_carry_all() public {
        joined(3);
        tick(EPOCH);
        equal(network.rebalance(), false, "three brokers, three replicas");
    }

    /// 8 * 3 replicas are enough slots for 3 brokers; 12 need 96 of 8 each.
    function test_shards_double_until_there_are_enough() public {
        joined(3);
        equal(network.epochAt(2).shards, 8, "3 brokers");
        for (uint256 i = 3; i < 12; ++i) {
            join(i, 255);
        }
        pass(1);
        equal(network.epochAt(3).shards, 8, "not for who is not active");
        pass(1);
        equal(network.epochAt(4).shards, 16, "once an epoch");
        pass(1);
        equal(network.epochAt(5).shards, 32, "enough");
        pass(3);
        equal(network.epochAt(8).shards, 32, "still enough");
    }

    function test_shards_never_merge() public {
        joined(8);
        pass(2);
        uint32 shards = network.epochAt(network.epochNumber()).shards;
        equal(shards, 32, "64 slots");
        for (uint256 i = 0; i < 7; ++i) {
            _leave(i);
        }
        pass(1);
        equal(network.epochAt(network.epochNumber()).active, 1, "one is left");
        equal(network.epochAt(network.epochNumber()).shards, shards, "shards");
    }

    function test_lateness_skips_no_epoch() public {
        joined(5);
        tick(100 * EPOCH);
        equal(network.rebalance(), true, "useful");
        equal(network.epochNumber(), 3, "one");
        equal(network.rebalance(), false, "and no second");
        equal(network.epochAt(3).startedAt, clock, "begins when it is called");
    }

    function test_a_seed_depends_on_all_before() public {
        joined(4);
        tick(EPOCH);
        bytes16 last = network.epochAt(2).seed;
        bytes32 random = bytes32(block.prevrandao);
        network.rebalance();
        bytes32 drawn = keccak256(abi.encodePacked(last, random, blockhash(height - 1), uint32(3)));
        equal(network.epochAt(3).seed, bytes16(drawn), "seed");
    }

    function test_a_random_source_is_asked() public {
        Dice dice = new Dice();
        Rules memory rules = rulesOf(address(coin));
        rules.randomSource = address(dice);
        build(rules);
        joined(4);
        dice.roll(keccak256("six"));
        bytes16 last = network.epochAt(2).seed;
        pass(1);
        bytes32 drawn = keccak256(abi.encodePacked(last, keccak256("six"), blockhash(height - 1), uint32(3)));
        equal(network.epochAt(3).seed, bytes16(drawn), "seed");
    }

    function testFuzz_pay_rises_with_delay_and_is_bounded(uint256 late, uint96 funded) public {
        joined(4);
        late = bound(late, 0, 3 * EPOCH);
        funded = uint96(bound(funded, 0, 1e23));
        _fund(funded);
        tick(EPOCH + late);
        uint256 due = uint256(funded) * (late < EPOCH ? late : EPOCH) / 365 days;
        if (due > 1e18) due = 1e18;
        vm.prank(STRANGER);
        network.rebalance();
        equal(network.owed(STRANGER), due, "owed");
        equal(network.pool(), funded - due, "pool");
        equal(due <= uint256(funded) * EPOCH / 365 days, true, "an epoch's share of a year");
    }

    function test_pay_counts_from_when_it_became_useful() public {
        joined(1);
        _fund(1e21);
        tick(10 * EPOCH);
        join(1, 255);
        tick(60);
        network.rebalance();
        equal(network.owed(address(this)), uint256(1e21) * 60 / 365 days, "a minute's");
        // The join is a reason for two epochs; the second is useful from the end of the first.
        tick(EPOCH + 30);
        vm.prank(STRANGER);
        network.rebalance();
        equal(
            network.owed(STRANGER), (uint256(1e21) - uint256(1e21) * 60 / 365 days) * 30 / 365 days, "half a minute's"
        );
    }

    function test_an_empty_pool_pays_nothing() public {
        joined(4);
        tick(2 * EPOCH);
        equal(network.rebalance(), true, "useful all the same");
        equal(network.owed(address(this)), 0, "owed");
    }

    function test_pay_is_withdrawn_once() public {
        joined(4);
        _fund(1e21);
        tick(2 * EPOCH);
        vm.prank(STRANGER);
        network.rebalance();
        uint256 due = network.owed(STRANGER);
        equal(due > 0, true, "some");
        vm.prank(STRANGER);
        network.withdrawPay();
        equal(coin.balanceOf(STRANGER), due, "paid");
        vm.expectRevert(INetworkCoordinator.CoordinatorNothingToWithdraw.selector);
        vm.prank(STRANGER);
        network.withdrawPay();
    }

    function test_isUseful_says_what_rebalance_does() public {
        joined(4);
        _fund(1e21);
        (bool useful, uint256 pay) = network.isUseful();
        equal(useful, false, "early");
        equal(pay, 0, "no pay");
        tick(EPOCH + 600);
        (useful, pay) = network.isUseful();
        equal(useful, true, "useful");
        network.rebalance();
        equal(network.owed(address(this)), pay, "pay");
    }

    // ---------------------------------------------------------------- assignment

    function test_a_leave_moves_its_own_slots_only() public {
        joined(8);
        pass(2);
        // Eight brokers fill 32 shards and the next epoch's seeds would hide what the leave does: compare within one epoch.
        uint32 epoch = network.epochNumber();
        for (uint32 shard = 0; shard < 32; ++shard) {
            address[] memory all = ranking(8, epoch, shard);
            address[] memory rest = ranking(7, epoch, shard);
            address gone = brokerAt(7);
            uint256 kept = 0;
            for (uint256 i = 0; i < K; ++i) {
                if (all[i] != gone) equal(rest[kept++], all[i], "stays in its order");
            }
        }
    }

    function test_a_join_moves_no_slot_between_others() public {
        joined(6);
        pass(3);
        uint32 epoch = network.epochNumber();
        join(6, 255);
        pass(2);
        uint32 shards = network.epochAt(epoch).shards;
        uint256 taken = 0;
        for (uint32 shard = 0; shard < shards; ++shard) {
            // Those that rotated in between have new owners anyway.
            if ((epoch + 1 + shard) % 8 == 0 || (epoch + 2 + shard) % 8 == 0) continue;
            address[] memory before = ranking(6, epoch, shard);
            address[] memory after_ = ranking(7, epoch + 2, shard);
            uint256 j = 0;
            for (uint256 i = 0; i < K; ++i) {
                if (after_[i] == brokerAt(6)) ++taken;
                else equal(after_[i], before[j++], "in its order");
            }
        }
        equal(taken > 0, true, "it got some");
    }

    function test_a_share_of_the_shards_rotates_each_epoch() public {
        joined(12);
        pass(4);
        uint32 shards = network.epochAt(network.epochNumber()).shards;
        for (uint256 i = 0; i < 10; ++i) {
            uint32 epoch = network.epochNumber();
            pass(1);
            uint256 moved = 0;
            for (uint32 shard = 0; shard < shards; ++shard) {
                if (network.scoreOf(brokerAt(0), epoch, shard) != network.scoreOf(brokerAt(0), epoch + 1, shard)) {
                    ++moved;
                }
            }
            equal(moved, shards / 8, "an eighth");
        }
    }

    /// Twelve brokers, one with half the weight, over 24 epochs of 32 shards.
    function test_load_follows_the_weight() public {
        for (uint256 i = 0; i < 12; ++i) {
            join(i, i == 0 ? 127 : 255);
        }
        pass(4);
        uint256[] memory load = new uint256[](12);
        uint256 slots = 0;
        for (uint256 e = 0; e < 24; ++e) {
            pass(1);
            uint32 epoch = network.epochNumber();
            uint32 shards = network.epochAt(epoch).shards;
            for (uint32 shard = 0; shard < shards; ++shard) {
                address[] memory ranked = ranking(12, epoch, shard);
                for (uint256 i = 0; i < K; ++i) {
                    ++load[indexOf(ranked[i])];
                }
                slots += K;
            }
        }
        uint256 mean = slots / 12;
        equal(load[0] < mean * 70 / 100 && load[0] > mean * 20 / 100, true, "the light one");
        for (uint256 i = 1; i < 12; ++i) {
            equal(load[i] > mean * 60 / 100 && load[i] < mean * 160 / 100, true, "the others");
        }
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
        _slash(i, epoch, shard, ascending(ranked, K));
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
        _slash(0, 2, network.epochAt(2).shards, new address[](0));
        equal(stakeOf(0), 0, "stake");
    }

    function test_claiming_while_not_active_is_slashed() public {
        joined(5);
        _slash(0, 1, 0, new address[](0));
        _leave(1);
        pass(1);
        _slash(1, 3, 0, new address[](0));
        equal(stakeOf(0) + stakeOf(1), 0, "stakes");
    }

    function test_leaving_does_not_save_a_cheat() public {
        joined(7);
        address[] memory ranked = ranking(7, 2, 3);
        uint256 i = indexOf(ranked[6]);
        _leave(i);
        pass(1);
        tick(CHALLENGE);
        _slash(i, 2, 3, ascending(ranked, K));
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
        _slash(0, 2, 99, new address[](0));
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
        _slash(0, 3, 99, new address[](0));
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
            _setWeight(i, i < 3 ? 32 : 255);
        }
        pass(2);
        tick(CHALLENGE - EPOCH);
        address[] memory now_ = ranking(7, epoch, 3);
        equal(keccak256(abi.encode(now_)), keccak256(abi.encode(ranked)), "the past stays");
        bytes memory signature = claim(indexOf(ranked[0]), epoch, 3);
        address[] memory later = ascending(ranking(7, epoch + 2, 3), K);
        vm.expectRevert();
        network.challenge(epoch, 3, signature, later);
        _slash(indexOf(ranked[K]), epoch, 3, ascending(ranked, K));
    }

    function test_a_slashed_newcomer_never_begins() public {
        join(0, 255);
        join(1, 255);
        pass(1);
        _slash(0, 1, 0, new address[](0));
        pass(1);
        equal(network.epochAt(2).active, 1, "active");
        equal(network.isActive(brokerAt(0), 2), false, "the newcomer");
    }

    // ---------------------------------------------------------------- helpers

    function _leave(uint256 i) private {
        vm.prank(brokerAt(i));
        network.deregister();
    }

    function _setWeight(uint256 i, uint8 weight) private {
        vm.prank(brokerAt(i));
        network.setWeight(weight);
    }

    function _slash(uint256 i, uint32 epoch, uint32 shard, address[] memory better) private {
        equal(network.challenge(epoch, shard, claim(i, epoch, shard), better), brokerAt(i), "the cheat");
    }

    function _fund(uint96 amount) private {
        coin.approve(address(network), type(uint256).max);
        network.fund(amount);
    }

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
