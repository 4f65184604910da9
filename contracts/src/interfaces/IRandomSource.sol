// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Randomness for chains whose PREVRANDAO is constant or another's to choose.
interface IRandomSource {
    /// @notice A word that nobody could know or choose a block ago.
    function random() external view returns (bytes32);
}
