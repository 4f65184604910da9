// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base, Vm} from "./Base.sol";
import {DATAcoin} from "../src/DATAcoin.sol";
import {Rules} from "../src/interfaces/INetworkCoordinator.sol";
import {NetworkCoordinator} from "../src/NetworkCoordinator.sol";

/// @title What the coordinator's tests share: a network, brokers with keys, claims, and the ranking done the slow way.
abstract contract NetworkBase is Base {
    uint96 internal constant STAKE = 1000e18;
    uint32 internal constant EPOCH = 1 hours;
    uint32 internal constant CHALLENGE = 1 days;
    uint32 internal constant NEVER = type(uint32).max;
    uint8 internal constant K = 3;

    DATAcoin internal coin;
    NetworkCoordinator internal network;
    /// Time and height, kept here: the optimiser takes the block's own for constants within a transaction.
    uint256 internal clock = START;
    uint256 internal height = 1;

    function rulesOf(address coin_) internal pure returns (Rules memory) {
        return Rules({
            coin: coin_,
            randomSource: address(0),
            stakeMin: STAKE,
            payMax: 1e18,
            epochSeconds: EPOCH,
            challengeSeconds: CHALLENGE,
            replicas: K,
            slotsPerBroker: 8,
            rotationEpochs: 8
        });
    }

    function build(Rules memory rules) internal {
        tick(0);
        coin = DATAcoin(rules.coin);
        network = new NetworkCoordinator(rules);
    }

    /// The key of broker `i`, from 0.
    function keyOf(uint256 i) internal pure returns (uint256) {
        return 0xB0 + i;
    }

    function brokerAt(uint256 i) internal view virtual returns (address) {
        return vm.addr(keyOf(i));
    }

    function publicKeyOf(uint256 i) internal returns (bytes memory) {
        Vm.Wallet memory wallet = vm.createWallet(keyOf(i));
        return abi.encodePacked(wallet.publicKeyX, wallet.publicKeyY);
    }

    function endpoint() internal pure returns (string[] memory peerAddresses) {
        peerAddresses = new string[](1);
        peerAddresses[0] = "/ip4/198.51.100.7/udp/7400/quic-v1";
    }

    function give(address to, uint256 amount) internal {
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        coin.transfer(to, amount);
        vm.prank(to);
        coin.approve(address(network), type(uint256).max);
    }

    function join(uint256 i, uint8 weight) internal {
        give(brokerAt(i), STAKE);
        bytes memory publicKey = publicKeyOf(i);
        vm.prank(brokerAt(i));
        network.register(STAKE, weight, publicKey, endpoint(), "{}");
    }

    /// Brokers 0 to count - 1, all active.
    function joined(uint256 count) internal {
        for (uint256 i = 0; i < count; ++i) {
            join(i, 255);
        }
        pass(2);
    }

    /// Begins `epochs` epochs, which must be useful.
    function pass(uint256 epochs) internal {
        for (uint256 i = 0; i < epochs; ++i) {
            tick(EPOCH);
            equal(network.rebalance(), true, "useful");
        }
    }

    function tick(uint256 seconds_) internal {
        clock += seconds_;
        vm.warp(clock);
        vm.roll(++height);
        vm.prevrandao(keccak256(abi.encode(clock)));
    }

    function claim(uint256 i, uint32 epoch, uint32 shard) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(keyOf(i), network.claimDigest(epoch, shard));
        return abi.encodePacked(r, s, v);
    }

    /// Of brokers 0 to count - 1 those that are active in `epoch`, best for `shard` first, by the contract's scores.
    function ranking(uint256 count, uint32 epoch, uint32 shard) internal view returns (address[] memory ranked) {
        ranked = new address[](count);
        uint256[] memory scores = new uint256[](count);
        uint256 length = 0;
        for (uint256 i = 0; i < count; ++i) {
            address broker = brokerAt(i);
            if (!network.isActive(broker, epoch)) continue;
            insert(ranked, scores, length++, broker, network.scoreOf(broker, epoch, shard));
        }
        truncate(ranked, length);
    }

    /// Into `length` sorted ones, greater scores first, then lower addresses.
    function insert(address[] memory ranked, uint256[] memory scores, uint256 length, address a, uint256 score)
        internal
        pure
    {
        uint256 place = length;
        while (place > 0 && (scores[place - 1] < score || (scores[place - 1] == score && ranked[place - 1] > a))) {
            (scores[place], ranked[place]) = (scores[place - 1], ranked[place - 1]);
            --place;
        }
        (scores[place], ranked[place]) = (score, a);
    }

    function truncate(address[] memory list, uint256 length) internal pure {
        assembly ("memory-safe") {
            mstore(list, length)
        }
    }

    /// The first `count`, by ascending address, as a proof wants them.
    function ascending(address[] memory list, uint256 count) internal pure returns (address[] memory sorted) {
        if (count > list.length) count = list.length;
        sorted = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 place = i;
            for (; place > 0 && sorted[place - 1] > list[i]; --place) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = list[i];
        }
    }

    function indexOf(address broker) internal view returns (uint256 i) {
        while (brokerAt(i) != broker) ++i;
    }

    function stakeOf(uint256 i) internal view returns (uint256 stake) {
        (stake,,) = network.brokerOf(brokerAt(i));
    }

    function leaveAtOf(uint256 i) internal view returns (uint32 leaveAt) {
        (,, leaveAt) = network.brokerOf(brokerAt(i));
    }

    function depart(uint256 i) internal {
        vm.prank(brokerAt(i));
        network.deregister();
    }

    function weigh(uint256 i, uint8 weight) internal {
        vm.prank(brokerAt(i));
        network.setWeight(weight);
    }

    function slash(uint256 i, uint32 epoch, uint32 shard, address[] memory better) internal {
        equal(network.challenge(epoch, shard, claim(i, epoch, shard), better), brokerAt(i), "the cheat");
    }

    function fill(uint96 amount) internal {
        coin.approve(address(network), type(uint256).max);
        network.fund(amount);
    }
}
