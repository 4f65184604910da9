// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "../Base.sol";
import {NetworkCoordinator} from "../../src/NetworkCoordinator.sol";
import {NetworkFollower} from "./NetworkFollower.sol";
import {NetworkHandler} from "./NetworkHandler.sol";

/// @notice Mirrors Network.tree.
contract NetworkInvariants is Base {
    NetworkHandler internal handler;
    NetworkCoordinator internal network;
    NetworkFollower internal follower;

    function setUp() public {
        vm.warp(START);
        handler = new NetworkHandler();
        (network, follower) = (handler.coordinator(), handler.follower());
        // The commonest steps stand twice.
        bytes4[] memory steps = new bytes4[](13);
        steps[0] = NetworkHandler.register.selector;
        steps[1] = NetworkHandler.register.selector;
        steps[2] = NetworkHandler.deregister.selector;
        steps[3] = NetworkHandler.setWeight.selector;
        steps[4] = NetworkHandler.withdrawStake.selector;
        steps[5] = NetworkHandler.withdrawPay.selector;
        steps[6] = NetworkHandler.fund.selector;
        steps[7] = NetworkHandler.rebalance.selector;
        steps[8] = NetworkHandler.rebalance.selector;
        steps[9] = NetworkHandler.accuse.selector;
        steps[10] = NetworkHandler.accuse.selector;
        steps[11] = NetworkHandler.wait.selector;
        steps[12] = NetworkHandler.wait.selector;
        target(address(handler), steps);
    }

    function invariant_every_rule_holds() public view {
        check_no_step_breaks_its_rule();
        check_every_coin_is_accounted_for();
        check_an_epoch_counts_its_brokers();
        check_weights_are_in_range_and_as_logged();
        check_shards_double_or_stay();
        check_logs_rebuild_the_scores();
        check_assignments_stay();
    }

    function check_no_step_breaks_its_rule() public view {
        equal(handler.broken(), "", "broken");
    }

    function check_every_coin_is_accounted_for() public view {
        uint256 sum = network.pool();
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            (uint96 stake,,) = network.brokerOf(handler.actor(i));
            equal(stake, follower.stakeOf(handler.actor(i)), "stake as logged");
            sum += stake + network.owed(handler.actor(i));
        }
        (bool ok, bytes memory balance) =
            network.rules().coin.staticcall(abi.encodeWithSignature("balanceOf(address)", address(network)));
        equal(ok, true, "balanceOf");
        equal(abi.decode(balance, (uint256)), sum, "balance");
    }

    function check_an_epoch_counts_its_brokers() public view {
        uint32 epoch = network.epochNumber();
        equal(epoch, follower.current(), "epoch as logged");
        uint256 active = 0;
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            if (network.isActive(handler.actor(i), epoch)) ++active;
        }
        equal(network.epochAt(epoch).active, active, "active");
    }

    function check_weights_are_in_range_and_as_logged() public view {
        uint32 epoch = network.epochNumber();
        (uint256 sum, uint256 logged) = (0, 0);
        for (uint256 i = 0; i < handler.ACTORS(); ++i) {
            address broker = handler.actor(i);
            if (!network.isActive(broker, epoch)) continue;
            uint8 weight = network.weightAt(broker, epoch);
            equal(weight >= 32, true, "weight");
            sum += weight;
            logged += follower.weightAt(broker, epoch);
        }
        equal(sum, logged, "sum");
    }

    function check_shards_double_or_stay() public view {
        uint32 last = handler.ROTATION();
        for (uint32 epoch = 0; epoch <= network.epochNumber(); ++epoch) {
            uint32 shards = network.epochAt(epoch).shards;
            equal(shards == last || shards == 2 * last, true, "double or the same");
            equal(shards & (shards - 1), 0, "power of two");
            last = shards;
        }
    }

    function check_logs_rebuild_the_scores() public view {
        uint32 epoch = network.epochNumber();
        for (uint32 back = 0; back < 4 && back <= epoch && handler.isOpen(epoch - back); ++back) {
            for (uint256 i = 0; i < handler.ACTORS(); ++i) {
                address broker = handler.actor(i);
                uint256 score = follower.scoreOf(broker, epoch - back, back, handler.ROTATION());
                equal(network.scoreOf(broker, epoch - back, back), score, "score");
            }
        }
    }

    function check_assignments_stay() public view {
        uint32 epoch = network.epochNumber();
        for (uint32 back = 0; back < 4 && back <= epoch && handler.isOpen(epoch - back); ++back) {
            equal(handler.assignmentsOf(epoch - back), handler.remembered(epoch - back), "assignments");
        }
        uint256 active = network.epochAt(epoch).active;
        uint256 replicas = handler.REPLICAS();
        equal(handler.assignedCount(epoch, 1), active < replicas ? active : replicas, "min(K, active)");
    }

    /// Invariants say nothing about what is never reached.
    function test_the_play_reaches_everything() public {
        bytes32 seed = keccak256("play");
        for (uint256 i = 0; i < 800; ++i) {
            seed = keccak256(abi.encode(seed));
            uint256 n = uint256(seed);
            (uint256 a, uint256 b, uint256 c) = (n >> 16, n >> 64, n >> 128);
            if (n % 13 < 2) handler.register(a, uint96(b), uint8(c));
            else if (n % 13 == 2) handler.deregister(a);
            else if (n % 13 == 3) handler.setWeight(a, uint8(b));
            else if (n % 13 == 4) handler.withdrawStake(a);
            else if (n % 13 == 5) handler.withdrawPay(a);
            else if (n % 13 == 6) handler.fund(uint96(b));
            else if (n % 13 < 9) handler.rebalance(a);
            else if (n % 13 < 11) handler.accuse(a, b, c, n >> 192);
            else handler.wait(a);
            check_no_step_breaks_its_rule();
            if (i % 10 == 0) invariant_every_rule_holds();
        }
        string[11] memory actions = [
            "register",
            "deregister",
            "setWeight",
            "withdrawStake",
            "withdrawPay",
            "fund",
            "rebalance",
            "paid",
            "slash",
            "slash, outranked",
            "a true claim stood"
        ];
        for (uint256 i = 0; i < actions.length; ++i) {
            equal(handler.done(actions[i]) > 0, true, actions[i]);
        }
    }
}
