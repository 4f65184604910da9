// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {GrantSpec} from "./IStream.sol";

/// @title Makes streams and says which contracts are streams.
/// @dev No owner, no pause, no proxy. A follower learns of streams from `Created` of this address alone and then takes
/// their own events by topic, from known addresses only.
interface IStreamRegistry {
    event Created(address indexed stream, address indexed owner, bytes32 salt);
    event Listed(address indexed stream, address indexed owner, string path);
    event Unlisted(address indexed stream, address indexed owner, string path);
    event DelegationRevoked(address indexed wallet, bytes32 indexed delegation);

    /// @notice Not a stream of this registry.
    error RegistryUnknownStream(address stream);
    /// @notice Only the stream's owner may list it.
    error RegistryNotOwner(address caller);
    /// @notice The path is empty or longer than 256 bytes.
    error RegistryPathLength(uint256 length);
    /// @notice The owner has another stream under this path.
    error RegistryPathTaken(address stream);
    /// @notice Nothing is listed under this path.
    error RegistryNotListed();
    /// @notice The stream is listed already.
    error RegistryAlreadyListed();

    /// @notice Creates a stream owned by the caller at an address known before: see `predict`.
    /// @param json Metadata, at most 4096 bytes.
    /// @param salt Chosen by the caller; together they name the stream.
    /// @param path Alias `owner/path`; empty for none.
    /// @param grants First grants.
    function create(string calldata json, bytes32 salt, string calldata path, GrantSpec[] calldata grants)
        external
        returns (address stream);

    function list(address stream, string calldata path) external;
    function unlist(address stream) external;
    /// @notice Revokes a delegation that the caller signed, by its EIP-712 digest, for good.
    function revokeDelegation(bytes32 delegation) external;

    function implementation() external view returns (address);
    function isStream(address stream) external view returns (bool);
    function predict(address owner, bytes32 salt) external view returns (address);
    function streamAt(address owner, string calldata path) external view returns (address);
    function pathOf(address stream) external view returns (address owner, string memory path);
    function isRevoked(address wallet, bytes32 delegation) external view returns (bool);
}
