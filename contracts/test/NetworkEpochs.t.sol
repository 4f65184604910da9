// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NetworkBase} from "./NetworkBase.sol";
import {DATAcoin} from "../src/DATAcoin.sol";
import {INetworkCoordinator, Rules} from "../src/interfaces/INetworkCoordinator.sol";
import {IRandomSource} from "../src/interfaces/IRandomSource.sol";

contract Dice is IRandomSource {
    bytes32 public random;

    function roll(bytes32 word) external {
        random = word;
    }
}

/// @notice Mirrors NetworkEpochs.tree.
contract NetworkEpochsTest is NetworkBase {
    address internal constant STRANGER = address(uint160(uint256(keccak256("stranger"))));

    function setUp() public {
        build(rulesOf(address(new DATAcoin(address(this), 1e27))));
    }

    // ---------------------------------------------------------------- rebalance

    function testFuzz_no_epoch_ends_early(uint256 seconds_) public {
        joined(5);
        tick(bound(seconds_, 0, EPOCH - 1));
        equal(network.rebalance(), false, "early");
        equal(network.epochNumber(), 2, "epoch");
    }

    function test_a_useless_rebalance_pays_nothing() public {
        fill(1e24);
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
        depart(0);
        tick(EPOCH);
        equal(network.rebalance(), false, "nobody comes");
    }

    function test_each_change_is_a_reason() public {
        joined(2);
        tick(CHALLENGE + 1);
        equal(network.rebalance(), false, "none");
        weigh(0, 100);
        equal(network.rebalance(), true, "a weight");
        tick(EPOCH);
        equal(network.rebalance(), false, "none again");
        depart(0);
        equal(network.rebalance(), true, "a leave");
        join(2, 255);
        pass(2);
        tick(EPOCH);
        equal(network.rebalance(), false, "a join takes two");
        slash(1, network.epochNumber(), 8, new address[](0));
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
            depart(i);
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
        fill(funded);
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
        fill(1e21);
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
        fill(1e21);
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
        fill(1e21);
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
}
