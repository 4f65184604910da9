// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {NetworkBase} from "../NetworkBase.sol";
import {DATAcoin} from "../../src/DATAcoin.sol";
import {Epoch, Rules} from "../../src/interfaces/INetworkCoordinator.sol";
import {NetworkCoordinator} from "../../src/NetworkCoordinator.sol";
import {NetworkFollower} from "./NetworkFollower.sol";

/// @title Six actors join, leave, change weight, rebalance, fund, accuse and withdraw.
contract NetworkHandler is NetworkBase {
    uint256 public constant ACTORS = 6;
    uint8 public constant REPLICAS = 2;
    uint16 public constant ROTATION = 4;
    uint32 public constant WINDOW = 4 hours;
    /// Of so many shards the assignments are remembered.
    uint32 public constant REMEMBERED = 2;
    NetworkFollower public immutable follower;
    string public broken;
    mapping(string action => uint256) public done;
    mapping(uint32 epoch => bytes32) public remembered;
    address[ACTORS] private _actors;

    constructor() {
        for (uint256 i = 0; i < ACTORS; ++i) {
            _actors[i] = vm.addr(keyOf(i));
        }
        follower = new NetworkFollower();
        Rules memory rules = rulesOf(address(new DATAcoin(address(this), 1e30)));
        (rules.replicas, rules.rotationEpochs, rules.challengeSeconds) = (REPLICAS, ROTATION, WINDOW);
        rules.payMax = 1e17;
        vm.recordLogs();
        build(rules);
        follower.read(vm.getRecordedLogs(), address(network));
        remembered[0] = assignmentsOf(0);
    }

    modifier step() {
        vm.warp(clock);
        vm.recordLogs();
        _;
        follower.read(vm.getRecordedLogs(), address(network));
    }

    function coordinator() external view returns (NetworkCoordinator) {
        return network;
    }

    function actor(uint256 i) public view returns (address) {
        return _actors[i % ACTORS];
    }

    function brokerAt(uint256 i) internal view override returns (address) {
        return _actors[i];
    }

    // ---------------------------------------------------------------- steps

    function register(uint256 who, uint96 stake, uint8 weight) external step {
        who = who % ACTORS;
        give(actor(who), STAKE * 2);
        stake = uint96(bound(stake, STAKE - 1, STAKE * 2));
        bytes memory publicKey = publicKeyOf(who);
        bool sound = stake >= STAKE && weight >= 32 && follower.stakeOf(actor(who)) == 0;
        vm.prank(actor(who));
        try network.register(stake, weight, publicKey, endpoint(), "{}") {
            done["register"]++;
            if (!sound) broken = "registered unsoundly";
        } catch {}
    }

    function deregister(uint256 who) external step {
        // Not so often that nobody is left.
        if (who % 3 != 0) return;
        who /= 3;
        vm.prank(actor(who));
        try network.deregister() {
            done["deregister"]++;
        } catch {}
    }

    function setWeight(uint256 who, uint8 weight) external step {
        weight = uint8(bound(weight, 31, 255));
        // Two of them only, so that it comes to second changes.
        who %= 2;
        vm.prank(actor(who));
        try network.setWeight(weight) {
            done["setWeight"]++;
            if (weight < 32) broken = "too light";
        } catch {}
    }

    function withdrawStake(uint256 who) external step {
        (uint256 stake,, uint32 leaveAt) = network.brokerOf(actor(who));
        uint256 before = coin.balanceOf(actor(who));
        vm.prank(actor(who));
        try network.withdrawStake() {
            done["withdrawStake"]++;
            if (coin.balanceOf(actor(who)) != before + stake) broken = "another stake came back";
            Epoch memory end = follower.epochAt(leaveAt);
            if (end.startedAt == 0 || clock <= end.startedAt + WINDOW) broken = "a stake came back early";
        } catch {}
    }

    function withdrawPay(uint256 who) external step {
        uint256 owed = network.owed(actor(who));
        uint256 before = coin.balanceOf(actor(who));
        vm.prank(actor(who));
        try network.withdrawPay() {
            done["withdrawPay"]++;
            if (coin.balanceOf(actor(who)) != before + owed || owed == 0) broken = "another pay";
        } catch {
            if (owed != 0) broken = "no pay";
        }
    }

    function fund(uint96 amount) external step {
        coin.approve(address(network), type(uint256).max);
        network.fund(uint96(bound(amount, 1, 1e22)));
        done["fund"]++;
    }

    function rebalance(uint256 who) external step {
        uint32 epoch = follower.current();
        bool useful = _isUseful(epoch);
        uint256 pool = network.pool();
        uint256 owed = network.owed(actor(who));
        vm.prank(actor(who));
        bool said = network.rebalance();
        if (said != useful) broken = useful ? "a useful rebalance did nothing" : "a useless rebalance served";
        uint256 pay = network.owed(actor(who)) - owed;
        if (pool - network.pool() != pay) broken = "pay from nowhere";
        if (!said && (pay != 0 || network.epochNumber() != epoch)) broken = "useless, and something happened";
        if (pay > 1e17 || pay > pool * EPOCH / 365 days) broken = "paid too much";
        if (!said) return;
        done["rebalance"]++;
        if (pay != 0) done["paid"]++;
        if (network.epochNumber() != epoch + 1) broken = "an epoch was passed over";
        remembered[epoch + 1] = assignmentsOf(epoch + 1);
    }

    /// Somebody signs a claim, true or false, and somebody brings the best proof against it, or just any.
    function accuse(uint256 who, uint256 back, uint256 shard_, uint256 pick) external step {
        who = who % ACTORS;
        uint32 epoch = follower.current();
        epoch -= uint32(back % 6 > epoch ? 0 : back % 6);
        Epoch memory its = follower.epochAt(epoch);
        uint32 shard = uint32(shard_ % (its.shards + 1));
        uint256 end = follower.epochAt(epoch + 1).startedAt;
        bool inTime = end == 0 || clock <= end + WINDOW;
        bool staked = follower.stakeOf(actor(who)) != 0;
        bool needsProof = shard < its.shards && follower.activeSince(actor(who), epoch) != 0;
        // What takes no proof must not leave nobody to prove anything against.
        if (!needsProof && pick % 8 != 1) return;
        address[] memory better = _others(who, epoch, shard, pick % 3 == 0 ? pick : 0);
        bool isTrue = needsProof && _isAssigned(who, epoch, shard);
        bool proves = !needsProof || (!isTrue && pick % 3 != 0);
        bytes memory signature = claim(who, epoch, shard);
        vm.prank(actor(who + 1));
        try network.challenge(epoch, shard, signature, better) {
            done["slash"]++;
            if (needsProof) done["slash, outranked"]++;
            if (isTrue) broken = "a true claim was slashed";
            if (!staked || !inTime) broken = "slashed out of time";
        } catch {
            if (staked && inTime && proves) broken = "a false claim was not slashed";
            if (staked && inTime && isTrue) done["a true claim stood"]++;
        }
    }

    function wait(uint256 seconds_) external {
        tick(bound(seconds_, 1, seconds_ % 5 == 0 ? 6 hours : 80 minutes));
    }

    // ---------------------------------------------------------------- by the logs

    function _isUseful(uint32 epoch) private view returns (bool) {
        Epoch memory its = follower.epochAt(epoch);
        if (clock < uint256(its.startedAt) + EPOCH) return false;
        uint256 active = 0;
        for (uint256 i = 0; i < ACTORS; ++i) {
            if (follower.isComing(actor(i))) return true;
            if (follower.activeSince(actor(i), epoch) != 0) ++active;
        }
        return active > REPLICAS || uint256(its.shards) * REPLICAS < active * 8;
    }

    /// All that were active but `who`, best first by the logs, the first K of them; or any K actors.
    function _others(uint256 who, uint32 epoch, uint32 shard, uint256 pick) private view returns (address[] memory) {
        address[] memory ranked = new address[](ACTORS);
        uint256[] memory scores = new uint256[](ACTORS);
        uint256 length = 0;
        for (uint256 i = 0; i < ACTORS; ++i) {
            uint256 score = pick == 0
                ? follower.scoreOf(actor(i), epoch, shard, ROTATION)
                : uint256(keccak256(abi.encode(pick, i)));
            if (i != who && score != 0) insert(ranked, scores, length++, actor(i), score);
        }
        truncate(ranked, length);
        return ascending(ranked, REPLICAS);
    }

    function _isAssigned(uint256 who, uint32 epoch, uint32 shard) private view returns (bool) {
        uint256 own = follower.scoreOf(actor(who), epoch, shard, ROTATION);
        uint256 better = 0;
        for (uint256 i = 0; i < ACTORS; ++i) {
            if (follower.scoreOf(actor(i), epoch, shard, ROTATION) > own) ++better;
        }
        return better < REPLICAS;
    }

    // ---------------------------------------------------------------- by the contract

    /// The assigned brokers of the first shards.
    function assignmentsOf(uint32 epoch) public view returns (bytes32 hash) {
        for (uint32 shard = 0; shard < REMEMBERED; ++shard) {
            address[] memory ranked = ranking(ACTORS, epoch, shard);
            if (ranked.length > REPLICAS) truncate(ranked, REPLICAS);
            hash = keccak256(abi.encode(hash, ranked));
        }
    }

    function assignedCount(uint32 epoch, uint32 shard) external view returns (uint256 count) {
        count = ranking(ACTORS, epoch, shard).length;
        if (count > REPLICAS) count = REPLICAS;
    }

    /// Whether claims of `epoch` can be challenged.
    function isOpen(uint32 epoch) external view returns (bool) {
        uint256 end = follower.epochAt(epoch + 1).startedAt;
        return end == 0 || clock <= end + WINDOW;
    }
}
