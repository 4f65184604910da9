// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {GrantSpec, IStream} from "./interfaces/IStream.sol";
import {IStreamRegistry} from "./interfaces/IStreamRegistry.sol";
import {Stream} from "./Stream.sol";

/// @title StreamRegistry
/// @dev Everything is documented at `IStreamRegistry`. Calls only streams that it made itself.
contract StreamRegistry is IStreamRegistry {
    uint256 internal constant PATH_BYTES_MAX = 256;

    /// A stream as the registry knows it. The first two share a slot.
    struct Record {
        bool known;
        /// Who listed it; zero when it is not listed.
        address lister;
        string path;
    }

    /// @inheritdoc IStreamRegistry
    address public immutable implementation;
    mapping(address stream => Record) private _records;
    mapping(address lister => mapping(bytes32 pathHash => address)) private _streams;
    /// @inheritdoc IStreamRegistry
    mapping(address wallet => mapping(bytes32 delegation => bool)) public isRevoked;

    constructor() {
        implementation = address(new Stream());
    }

    // ---------------------------------------------------------------- streams

    /// @inheritdoc IStreamRegistry
    function create(string calldata json, bytes32 salt, string calldata path, GrantSpec[] calldata grants)
        external
        returns (address stream)
    {
        stream = Clones.cloneDeterministic(implementation, _salt(msg.sender, salt));
        _records[stream].known = true;
        emit Created(stream, msg.sender, salt);
        IStream(stream).init(msg.sender, json, grants);
        if (bytes(path).length != 0) _list(stream, path);
    }

    /// @inheritdoc IStreamRegistry
    function isStream(address stream) external view returns (bool) {
        return _records[stream].known;
    }

    /// @inheritdoc IStreamRegistry
    function predict(address owner, bytes32 salt) external view returns (address) {
        return Clones.predictDeterministicAddress(implementation, _salt(owner, salt));
    }

    /// The caller is part of the salt, so nobody can take another's address.
    function _salt(address owner, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }

    // ---------------------------------------------------------------- aliases

    /// @inheritdoc IStreamRegistry
    function list(address stream, string calldata path) external {
        _requireOwner(stream);
        if (IStream(stream).removed()) revert IStream.StreamIsRemoved();
        if (_records[stream].lister != address(0)) revert RegistryAlreadyListed();
        _list(stream, path);
    }

    /// @inheritdoc IStreamRegistry
    function unlist(address stream) external {
        address lister = _records[stream].lister;
        if (lister == address(0)) revert RegistryNotListed();
        if (msg.sender != lister) _requireOwner(stream);
        string memory path = _records[stream].path;
        delete _streams[lister][keccak256(bytes(path))];
        _records[stream].lister = address(0);
        _records[stream].path = "";
        emit Unlisted(stream, lister, path);
    }

    /// @inheritdoc IStreamRegistry
    function streamAt(address owner, string calldata path) external view returns (address stream) {
        stream = _streams[owner][keccak256(bytes(path))];
        if (stream == address(0) || IStream(stream).owner() != owner || IStream(stream).removed()) return address(0);
    }

    /// @inheritdoc IStreamRegistry
    function pathOf(address stream) external view returns (address owner, string memory path) {
        return (_records[stream].lister, _records[stream].path);
    }

    function _list(address stream, string calldata path) private {
        uint256 length = bytes(path).length;
        if (length == 0 || length > PATH_BYTES_MAX) revert RegistryPathLength(length);
        bytes32 pathHash = keccak256(bytes(path));
        address taken = _streams[msg.sender][pathHash];
        if (taken != address(0)) revert RegistryPathTaken(taken);
        _streams[msg.sender][pathHash] = stream;
        _records[stream].lister = msg.sender;
        _records[stream].path = path;
        emit Listed(stream, msg.sender, path);
    }

    function _requireOwner(address stream) private view {
        if (!_records[stream].known) revert RegistryUnknownStream(stream);
        if (IStream(stream).owner() != msg.sender) revert RegistryNotOwner(msg.sender);
    }

    // ---------------------------------------------------------------- delegations

    /// @inheritdoc IStreamRegistry
    function revokeDelegation(bytes32 delegation) external {
        isRevoked[msg.sender][delegation] = true;
        emit DelegationRevoked(msg.sender, delegation);
    }
}
