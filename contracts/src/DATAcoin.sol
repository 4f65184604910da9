// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title DATAcoin
/// @notice The network's token: fixed supply, 18 decimals, EIP-2612 permits. Nobody can mint, pause or seize.
contract DATAcoin is ERC20, ERC20Permit {
    /// @param holder Gets the whole supply.
    /// @param supply In the smallest unit: 10^-18 DATA.
    constructor(address holder, uint256 supply) ERC20("DATAcoin", "DATA") ERC20Permit("DATAcoin") {
        _mint(holder, supply);
    }
}
