// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title A contract that signs: what its owner's key signed is its own (ERC-1271). For tests of the plugin erc1271 only.
contract OwnedSigner is IERC1271 {
    error OnlyOwner();

    address public owner;

    constructor(address owner_) {
        owner = owner_;
    }

    /// @notice Hands the contract to another key.
    function setOwner(address next) external {
        require(msg.sender == owner, OnlyOwner());
        owner = next;
    }

    /// @notice Whether the owner signed this: 0x1626ba7e, else 0xffffffff.
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        (address signer, ECDSA.RecoverError fault,) = ECDSA.tryRecover(hash, signature);
        bool signed = fault == ECDSA.RecoverError.NoError && signer == owner;
        return signed ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }
}
