// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {Base} from "./Base.sol";
import {DATAcoin} from "../src/DATAcoin.sol";

/// @notice Mirrors DATAcoin.tree.
contract DATAcoinTest is Base {
    uint256 internal constant SUPPLY = 987_154_514e18;
    uint256 internal constant KEY = 0xA11CE;
    bytes32 internal constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    address internal constant SPENDER = address(0x5E);
    address internal holder;
    DATAcoin internal coin;

    function setUp() public {
        vm.warp(START);
        holder = vm.addr(KEY);
        coin = new DATAcoin(holder, SUPPLY);
    }

    // ---------------------------------------------------------------- when deployed

    function test_the_holder_gets_the_whole_supply() public view {
        equal(coin.totalSupply(), SUPPLY, "supply");
        equal(coin.balanceOf(holder), SUPPLY, "holder");
    }

    function test_name_symbol_and_decimals() public view {
        equal(coin.name(), "DATAcoin", "name");
        equal(coin.symbol(), "DATA", "symbol");
        equal(coin.decimals(), 18, "decimals");
    }

    function test_nothing_mints_burns_pauses_or_owns() public {
        string[9] memory absent = [
            "mint(address,uint256)",
            "mint(uint256)",
            "burn(uint256)",
            "burn(address,uint256)",
            "burnFrom(address,uint256)",
            "pause()",
            "owner()",
            "upgradeTo(address)",
            "grantRole(bytes32,address)"
        ];
        for (uint256 i = 0; i < absent.length; ++i) {
            vm.prank(holder);
            (bool ok,) =
                address(coin).call(abi.encodePacked(bytes4(keccak256(bytes(absent[i]))), abi.encode(holder, 1)));
            equal(ok, false, absent[i]);
        }
        equal(coin.totalSupply(), SUPPLY, "supply");
    }

    // ---------------------------------------------------------------- when transferring

    function testFuzz_a_transfer_moves_and_keeps_the_sum(address to, uint256 amount) public {
        vm.assume(to != address(0) && to != holder);
        amount = bound(amount, 0, SUPPLY);
        vm.prank(holder);
        equal(coin.transfer(to, amount), true, "answer");
        equal(coin.balanceOf(to), amount, "receiver");
        equal(coin.balanceOf(holder), SUPPLY - amount, "sender");
    }

    function testFuzz_more_than_the_balance_reverts(uint256 more) public {
        more = bound(more, SUPPLY + 1, type(uint256).max - 1);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, holder, SUPPLY, more));
        vm.prank(holder);
        // forge-lint: disable-next-line(erc20-unchecked-transfer)
        coin.transfer(SPENDER, more);
    }

    // ---------------------------------------------------------------- when permitting

    function testFuzz_a_permit_sets_the_allowance(uint256 value, uint256 wait) public {
        wait = bound(wait, 0, 365 days);
        (uint8 v, bytes32 r, bytes32 s) = _permit(KEY, value, START + wait);
        vm.warp(START + wait);
        coin.permit(holder, SPENDER, value, START + wait, v, r, s);
        equal(coin.allowance(holder, SPENDER), value, "allowance");
    }

    function test_a_permit_works_once() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(KEY, 5, START);
        coin.permit(holder, SPENDER, 5, START, v, r, s);
        vm.expectRevert();
        coin.permit(holder, SPENDER, 5, START, v, r, s);
    }

    function test_a_late_permit_reverts() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(KEY, 5, START);
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612ExpiredSignature.selector, START));
        coin.permit(holder, SPENDER, 5, START, v, r, s);
    }

    function test_a_permit_of_another_key_reverts() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(KEY + 1, 5, START);
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612InvalidSigner.selector, vm.addr(KEY + 1), holder));
        coin.permit(holder, SPENDER, 5, START, v, r, s);
    }

    function test_a_permit_sent_by_somebody_else_still_serves() public {
        (uint8 v, bytes32 r, bytes32 s) = _permit(KEY, 5, START);
        vm.prank(address(0xBAD));
        coin.permit(holder, SPENDER, 5, START, v, r, s);
        // The spender's own try fails, and does not matter.
        try coin.permit(holder, SPENDER, 5, START, v, r, s) {} catch {}
        vm.prank(SPENDER);
        equal(coin.transferFrom(holder, SPENDER, 5), true, "answer");
        equal(coin.balanceOf(SPENDER), 5, "balance");
    }

    function _permit(uint256 key, uint256 value, uint256 deadline) private view returns (uint8, bytes32, bytes32) {
        bytes32 message = keccak256(abi.encode(PERMIT, holder, SPENDER, value, coin.nonces(holder), deadline));
        return vm.sign(key, keccak256(abi.encodePacked("\x19\x01", coin.DOMAIN_SEPARATOR(), message)));
    }
}
