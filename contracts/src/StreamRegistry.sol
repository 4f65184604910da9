// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";
import {GrantSpec, IStream} from "./interfaces/IStream.sol";
import {IStreamRegistry} from "./interfaces/IStreamRegistry.sol";
import {Stream} from "./Stream.sol";

/// @title StreamRegistry
contract StreamRegistry is IStreamRegistry {
    uint256 internal constant PATH_MAX = 256;

    /// Under which alias a stream is listed.
    struct Label {
        address owner;
        string path;
    }

    address public immutable implementation;
    mapping(address stream => bool) public isStream;
    mapping(address owner => mapping(bytes32 pathHash => address)) private _streams;
    mapping(address stream => Label) private _labels;
    mapping(address wallet => mapping(bytes32 delegation => bool)) public isRevoked;

    constructor() {
        implementation = address(new Stream());
    }

    /// @inheritdoc IStreamRegistry
    function create(string calldata json, bytes32 salt, string calldata path, GrantSpec[] calldata grants)
        external
        returns (address stream)
    {
        stream = Clones.cloneDeterministic(implementation, _salt(msg.sender, salt));
        isStream[stream] = true;
        emit Created(stream, msg.sender, salt);
        IStream(stream).init(msg.sender, json, grants);
        if (bytes(path).length != 0) _list(stream, path);
    }

    /// @inheritdoc IStreamRegistry
    function list(address stream, string calldata path) external {
        _checkOwner(stream);
        if (_labels[stream].owner != address(0)) revert RegistryAlreadyListed();
        _list(stream, path);
    }

    /// @inheritdoc IStreamRegistry
    function unlist(address stream) external {
        Label memory label = _labels[stream];
        if (label.owner == address(0)) revert RegistryNotListed();
        // Who listed it may take it back after the stream has gone to somebody else, and so may its new owner.
        if (msg.sender != label.owner) _checkOwner(stream);
        delete _labels[stream];
        delete _streams[label.owner][keccak256(bytes(label.path))];
        emit Unlisted(stream, label.owner, label.path);
    }

    /// @inheritdoc IStreamRegistry
    function revokeDelegation(bytes32 delegation) external {
        isRevoked[msg.sender][delegation] = true;
        emit DelegationRevoked(msg.sender, delegation);
    }

    /// @inheritdoc IStreamRegistry
    function predict(address owner, bytes32 salt) external view returns (address) {
        return Clones.predictDeterministicAddress(implementation, _salt(owner, salt));
    }

    /// @inheritdoc IStreamRegistry
    function streamAt(address owner, string calldata path) external view returns (address) {
        return _streams[owner][keccak256(bytes(path))];
    }

    /// @inheritdoc IStreamRegistry
    function pathOf(address stream) external view returns (address owner, string memory path) {
        Label storage label = _labels[stream];
        return (label.owner, label.path);
    }

    function _list(address stream, string calldata path) private {
        uint256 length = bytes(path).length;
        if (length == 0 || length > PATH_MAX) revert RegistryPathLength(length);
        bytes32 pathHash = keccak256(bytes(path));
        address taken = _streams[msg.sender][pathHash];
        if (taken != address(0)) revert RegistryPathTaken(taken);
        _streams[msg.sender][pathHash] = stream;
        _labels[stream] = Label(msg.sender, path);
        emit Listed(stream, msg.sender, path);
    }

    function _checkOwner(address stream) private view {
        if (!isStream[stream]) revert RegistryUnknownStream(stream);
        if (IStream(stream).owner() != msg.sender) revert RegistryNotOwner(msg.sender);
    }

    /// The caller is part of the salt, so nobody can take another's address.
    function _salt(address owner, bytes32 salt) private pure returns (bytes32) {
        return keccak256(abi.encode(owner, salt));
    }
}
