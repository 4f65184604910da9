// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {DATAcoin} from "../src/DATAcoin.sol";
import {GrantSpec, IStream} from "../src/interfaces/IStream.sol";
import {StreamRegistry} from "../src/StreamRegistry.sol";

/// @title What a whole transaction costs, held to the targets of the specification plus a tenth.
/// @dev Runs with `--isolate`: each call is a transaction of its own, with its 21,000, its calldata and cold storage.
contract GasTest is Base {
    StreamRegistry internal registry;
    IStream internal stream;
    DATAcoin internal coin;
    address internal constant OWNER = address(0xA11CE);
    address internal constant READER = address(0xB0B);
    string internal constant JSON = '{"description":"Trams of Helsinki","partitions":1}';

    function setUp() public {
        vm.warp(START);
        registry = new StreamRegistry();
        coin = new DATAcoin(OWNER, 1e27);
        vm.prank(OWNER);
        stream = IStream(registry.create(JSON, bytes32(uint256(7)), "", new GrantSpec[](0)));
        vm.prank(OWNER);
        stream.grant(address(0xCAFE), FOREVER, 0, 0);
    }

    error Dear(uint256 gas, uint256 limit);

    function costs(uint256 target) internal view {
        uint256 used = vm.lastCallGas().gasTotalUsed;
        if (used > target * 11 / 10) revert Dear(used, target * 11 / 10);
    }

    function test_create_unlisted() public {
        vm.prank(OWNER);
        registry.create(JSON, bytes32(uint256(1)), "", new GrantSpec[](0));
        costs(139_000);
    }

    function test_create_listed() public {
        vm.prank(OWNER);
        registry.create(JSON, bytes32(uint256(1)), "trams/helsinki", new GrantSpec[](0));
        costs(167_000);
    }

    function test_grant_new() public {
        vm.prank(OWNER);
        stream.grant(READER, FOREVER, 0, 0);
        costs(49_000);
    }

    function test_grant_change() public {
        vm.prank(OWNER);
        stream.grant(address(0xCAFE), FOREVER, FOREVER, 0);
        costs(32_000);
    }

    function test_setKey() public {
        vm.prank(address(0xCAFE));
        stream.setKey(2, keccak256("key"));
        costs(51_000);
    }

    function test_transfer_to_a_new_holder() public {
        vm.prank(OWNER);
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        coin.transfer(READER, 1e18);
        costs(54_000);
    }
}
