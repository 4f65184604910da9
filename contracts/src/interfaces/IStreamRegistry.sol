// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {GrantSpec} from "./IStream.sol";

/// @title Makes streams, says which contracts are streams, and keeps their aliases.
/// @notice No owner, no pause, no proxy, no parameter: whoever deploys it has no power over it.
/// @dev A follower learns of streams from `Created` of this address alone and then takes their own events by topic, from
/// known addresses only. The metadata and the first grants of a new stream are in the stream's own `Meta` and `Granted`,
/// later in the same transaction.
///
/// An alias is `0xowner/path`. It belongs to who listed it: unique by (lister, path), one for each stream. It holds only
/// while the lister owns the stream and the stream is not removed; `streamAt` says so, and a follower must too.
/// After that it still takes up the path until the lister or the new owner unlists the stream.
interface IStreamRegistry {
    /// @notice A stream was made, owned by `owner`, with `salt` as chosen by the owner.
    event Created(address indexed stream, address indexed owner, bytes32 salt);
    /// @notice The stream has the alias `owner`/`path`.
    event Listed(address indexed stream, address indexed owner, string path);
    /// @notice The stream no longer has the alias `owner`/`path`.
    event Unlisted(address indexed stream, address indexed owner, string path);
    /// @notice `wallet` revoked what it had delegated, for good.
    event DelegationRevoked(address indexed wallet, bytes32 indexed delegation);

    /// @notice Not a stream of this registry.
    error RegistryUnknownStream(address stream);
    /// @notice Only the stream's owner may list it, only its owner and its lister may unlist it.
    error RegistryNotOwner(address caller);
    /// @notice The path is empty or longer than 256 bytes.
    error RegistryPathLength(uint256 length);
    /// @notice The caller has another stream under this path.
    error RegistryPathTaken(address stream);
    /// @notice The stream is not listed.
    error RegistryNotListed();
    /// @notice The stream is listed already.
    error RegistryAlreadyListed();

    // ---------------------------------------------------------------- streams

    /// @notice Creates a stream owned by the caller, all in one transaction, at an address known before: see `predict`.
    /// Reverts with OpenZeppelin's `FailedDeployment` when the caller used the salt before.
    /// @param json Metadata, at most 4096 bytes.
    /// @param salt Chosen by the caller; caller and salt together name the stream.
    /// @param path Path of the alias; empty for none.
    /// @param grants First grants.
    function create(string calldata json, bytes32 salt, string calldata path, GrantSpec[] calldata grants)
        external
        returns (address stream);

    /// @notice The contract that every stream is a clone of.
    function implementation() external view returns (address);
    /// @notice Whether this registry made `stream`; removed ones are streams still.
    function isStream(address stream) external view returns (bool);
    /// @notice The address of the stream that `owner` has made, or would make, with `salt`.
    function predict(address owner, bytes32 salt) external view returns (address);

    // ---------------------------------------------------------------- aliases

    /// @notice Gives a stream the alias `caller/path`. Owner only.
    /// @param path 1 to 256 bytes; compared byte by byte, so readers must beware of look-alikes.
    function list(address stream, string calldata path) external;
    /// @notice Takes the alias of a stream away. Its owner may, and who listed it.
    function unlist(address stream) external;
    /// @notice The stream with the alias `owner/path`; address(0) if there is none, if `owner` does not own it any more or
    /// if it was removed.
    function streamAt(address owner, string calldata path) external view returns (address stream);
    /// @notice Who listed a stream and under which path, whether the alias still holds or not; all empty for none.
    function pathOf(address stream) external view returns (address owner, string memory path);

    // ---------------------------------------------------------------- delegations

    /// @notice Revokes a delegation to a session key that the caller signed, for good. Nodes refuse what the session key
    /// signs after that. Revoking twice, or what was never signed, is no fault.
    /// @param delegation Its EIP-712 digest.
    function revokeDelegation(bytes32 delegation) external;
    /// @notice Whether `wallet` revoked `delegation`.
    function isRevoked(address wallet, bytes32 delegation) external view returns (bool);
}
