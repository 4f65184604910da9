// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "../Base.sol";
import {DATAcoin} from "../../src/DATAcoin.sol";

/// @title Five actors move DATA, approve, permit and spend.
contract CoinHandler is Base {
    bytes32 internal constant PERMIT =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    DATAcoin public immutable coin;
    string public broken;
    mapping(string action => uint256) public done;

    constructor(uint256 supply) {
        vm.warp(START);
        coin = new DATAcoin(actor(0), supply);
    }

    function actor(uint256 seed) public pure returns (address) {
        return vm.addr(_key(seed));
    }

    function transfer(uint256 from, uint256 to, uint256 amount) external {
        _actAs(from, from, to, amount, 0);
    }

    function transferFrom(uint256 spender, uint256 from, uint256 to, uint256 amount) external {
        _actAs(spender, from, to, amount, 1);
    }

    function approve(uint256 owner, uint256 spender, uint256 amount) external {
        vm.prank(actor(owner));
        coin.approve(actor(spender), amount % 5 == 0 ? type(uint256).max : amount % (coin.totalSupply() + 1));
        done["approve"]++;
    }

    function permit(uint256 owner, uint256 signer, uint256 spender, uint256 value, uint256 wait) external {
        // Mostly the owner itself, now and then somebody else or too late.
        if (signer % 4 != 0) signer = owner;
        uint256 deadline = wait % 4 == 0 ? block.timestamp - 1 : block.timestamp + wait % 1 days;
        bytes32 message =
            keccak256(abi.encode(PERMIT, actor(owner), actor(spender), value, coin.nonces(actor(owner)), deadline));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(_key(signer), keccak256(abi.encodePacked("\x19\x01", coin.DOMAIN_SEPARATOR(), message)));
        bool sound = actor(signer) == actor(owner) && deadline >= block.timestamp;
        try coin.permit(actor(owner), actor(spender), value, deadline, v, r, s) {
            if (!sound) broken = "an unsound permit served";
            done["permit"]++;
        } catch {
            if (sound) broken = "a sound permit did not serve";
        }
        try coin.permit(actor(owner), actor(spender), value, deadline, v, r, s) {
            broken = "a permit served twice";
        } catch {}
    }

    function warp(uint256 seconds_) external {
        vm.warp(block.timestamp + bound(seconds_, 1, 3 days));
    }

    function _actAs(uint256 spender, uint256 from, uint256 to, uint256 amount, uint256 way) private {
        (address spender_, address from_, address to_) = (actor(spender), actor(from), actor(to));
        uint256 balance = coin.balanceOf(from_);
        uint256 allowed = way == 0 ? type(uint256).max : coin.allowance(from_, spender_);
        // Often all of it, often more.
        amount = amount % 3 == 0 ? balance : amount % (balance + balance / 4 + 2);
        vm.prank(spender_);
        (bool ok,) = address(coin)
            .call(
                way == 0
                    ? abi.encodeCall(coin.transfer, (to_, amount))
                    : abi.encodeCall(coin.transferFrom, (from_, to_, amount))
            );
        if (ok && amount > allowed) broken = "spent more than allowed";
        if (ok && amount > balance) broken = "spent more than there was";
        if (!ok && amount <= balance && amount <= allowed) broken = "could not spend what was allowed";
        if (ok && way == 1 && allowed != type(uint256).max && coin.allowance(from_, spender_) != allowed - amount) {
            broken = "an allowance was not used up";
        }
        if (ok) done[way == 0 ? "transfer" : "transferFrom"]++;
    }

    function _key(uint256 seed) private pure returns (uint256) {
        return 1 + seed % 5;
    }
}

/// @notice Mirrors Coin.tree.
contract CoinInvariants is Base {
    uint256 internal constant SUPPLY = 987_154_514e18;
    CoinHandler internal handler;

    function setUp() public {
        vm.warp(START);
        handler = new CoinHandler(SUPPLY);
        bytes4[] memory steps = new bytes4[](5);
        steps[0] = CoinHandler.transfer.selector;
        steps[1] = CoinHandler.transferFrom.selector;
        steps[2] = CoinHandler.approve.selector;
        steps[3] = CoinHandler.permit.selector;
        steps[4] = CoinHandler.warp.selector;
        target(address(handler), steps);
    }

    function invariant_every_rule_holds() public view {
        check_balances_sum_up_to_the_supply();
        check_the_supply_never_changes();
        check_nobody_spends_without_leave();
    }

    function check_balances_sum_up_to_the_supply() public view {
        uint256 sum = 0;
        for (uint256 i = 0; i < 5; ++i) {
            sum += handler.coin().balanceOf(handler.actor(i));
        }
        equal(sum, SUPPLY, "sum");
    }

    function check_the_supply_never_changes() public view {
        equal(handler.coin().totalSupply(), SUPPLY, "supply");
    }

    function check_nobody_spends_without_leave() public view {
        equal(handler.broken(), "", "broken");
    }

    function test_the_play_reaches_everything() public {
        bytes32 seed = keccak256("play");
        for (uint256 i = 0; i < 400; ++i) {
            seed = keccak256(abi.encode(seed));
            uint256 n = uint256(seed);
            (uint256 a, uint256 b, uint256 c) = (n >> 16, n >> 64, n >> 128);
            if (n % 4 == 0) handler.transfer(a, b, c);
            else if (n % 4 == 1) handler.transferFrom(a, b, c, n >> 160);
            else if (n % 4 == 2) handler.approve(a, b, c);
            else handler.permit(a, b, c, n >> 160, n >> 192);
        }
        equal(handler.broken(), "", "broken");
        check_balances_sum_up_to_the_supply();
        string[4] memory actions = ["transfer", "transferFrom", "approve", "permit"];
        for (uint256 i = 0; i < actions.length; ++i) {
            equal(handler.done(actions[i]) > 0, true, actions[i]);
        }
    }
}
