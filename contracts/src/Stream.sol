// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {GrantSpec, IStream, Right} from "./interfaces/IStream.sol";

/// @title Stream
contract Stream is IStream {
    uint256 internal constant META_MAX = 4096;
    uint8 internal constant GRANT = 1;
    uint8 internal constant EDIT = 2;
    uint8 internal constant DELETE = 4;
    uint8 internal constant ALL_FLAGS = GRANT | EDIT | DELETE;

    /// One slot.
    struct Permission {
        uint40 subUntil;
        uint40 pubUntil;
        uint8 flags;
        uint8 keyKind;
    }

    address public owner;
    uint40 public createdAt;
    bool public removed;
    bool private _initialised;
    address public offeredTo;
    uint64 public keyEpoch;
    bytes32 public metaHash;
    mapping(address who => Permission) private _permissions;
    mapping(address who => bytes32) private _keys;

    /// @dev Locks the implementation: only clones can be initialised.
    constructor() {
        _initialised = true;
    }

    modifier alive() {
        if (removed) revert StreamIsRemoved();
        _;
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert StreamNotOwner(msg.sender);
        _;
    }

    // ---------------------------------------------------------------- creation

    /// @inheritdoc IStream
    function init(address owner_, string calldata json, GrantSpec[] calldata grants) external {
        if (_initialised) revert StreamAlreadyInitialised();
        _initialised = true;
        owner = owner_;
        createdAt = uint40(block.timestamp);
        emit OwnershipTransferred(address(0), owner_);
        _setMeta(json);
        _set(GrantSpec(owner_, type(uint40).max, type(uint40).max, ALL_FLAGS));
        for (uint256 i = 0; i < grants.length; ++i) {
            _checkShape(grants[i]);
            if (grants[i].who == owner_ && grants[i].flags & GRANT == 0) revert StreamOwnerKeepsGrant();
            _set(grants[i]);
        }
    }

    // ---------------------------------------------------------------- metadata

    /// @inheritdoc IStream
    function setMeta(string calldata json) external alive {
        _require(Right.Edit);
        _setMeta(json);
    }

    function _setMeta(string calldata json) private {
        if (bytes(json).length > META_MAX) revert StreamMetadataTooLong(bytes(json).length);
        metaHash = keccak256(bytes(json));
        emit Meta(json);
    }

    // ---------------------------------------------------------------- rights

    /// @inheritdoc IStream
    function grant(address who, uint40 subUntil, uint40 pubUntil, uint8 flags) external alive {
        _require(Right.Grant);
        _grant(GrantSpec(who, subUntil, pubUntil, flags));
    }

    /// @inheritdoc IStream
    function grantMany(GrantSpec[] calldata grants) external alive {
        _require(Right.Grant);
        for (uint256 i = 0; i < grants.length; ++i) _grant(grants[i]);
    }

    /// @inheritdoc IStream
    function revoke(address who) external alive {
        if (who == owner) revert StreamOwnerKeepsGrant();
        if (who != msg.sender) {
            _require(Right.Grant);
            if (_permissions[who].flags != 0 && msg.sender != owner) revert StreamFlagsNotYours(msg.sender);
        }
        _set(GrantSpec(who, 0, 0, 0));
    }

    function _grant(GrantSpec memory spec) private {
        _checkShape(spec);
        if (spec.flags != _permissions[spec.who].flags && msg.sender != owner) revert StreamFlagsNotYours(msg.sender);
        if (spec.who == owner) {
            if (spec.flags & GRANT == 0) revert StreamOwnerKeepsGrant();
            if (msg.sender != owner) revert StreamFlagsNotYours(msg.sender);
        }
        _set(spec);
    }

    function _checkShape(GrantSpec memory spec) private pure {
        if (spec.flags & ~ALL_FLAGS != 0) revert StreamUnknownFlags(spec.flags);
        if (spec.who == address(0) && spec.flags != 0) revert StreamPublicFlags(spec.flags);
    }

    function _set(GrantSpec memory spec) private {
        Permission storage permission_ = _permissions[spec.who];
        permission_.subUntil = spec.subUntil;
        permission_.pubUntil = spec.pubUntil;
        permission_.flags = spec.flags;
        emit Granted(spec.who, spec.subUntil, spec.pubUntil, spec.flags);
    }

    // ---------------------------------------------------------------- keys

    /// @inheritdoc IStream
    function setKey(uint8 kind, bytes32 key) external alive {
        _permissions[msg.sender].keyKind = kind;
        _keys[msg.sender] = key;
        emit Key(msg.sender, kind, key);
    }

    /// @inheritdoc IStream
    function bumpKeyEpoch() external alive {
        if (!can(msg.sender, Right.Grant) && _permissions[msg.sender].pubUntil < block.timestamp) {
            revert StreamMissingRight(msg.sender, Right.Publish);
        }
        emit KeyEpoch(++keyEpoch);
    }

    // ---------------------------------------------------------------- ownership and end

    /// @inheritdoc IStream
    function offerOwnership(address to) external alive onlyOwner {
        offeredTo = to;
        emit OwnershipOffered(to);
    }

    /// @inheritdoc IStream
    function acceptOwnership() external alive {
        if (msg.sender != offeredTo || msg.sender == address(0)) revert StreamNotOffered(msg.sender);
        address from = owner;
        offeredTo = address(0);
        owner = msg.sender;
        emit OwnershipTransferred(from, msg.sender);
        _set(GrantSpec(from, 0, 0, 0));
        _set(GrantSpec(msg.sender, type(uint40).max, type(uint40).max, ALL_FLAGS));
    }

    /// @inheritdoc IStream
    function remove() external alive {
        _require(Right.Delete);
        removed = true;
        emit Removed();
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IStream
    function keys(address who) external view returns (uint8 kind, bytes32 key) {
        return (_permissions[who].keyKind, _keys[who]);
    }

    /// @inheritdoc IStream
    function permission(address who) external view returns (uint40 subUntil, uint40 pubUntil, uint8 flags) {
        Permission storage permission_ = _permissions[who];
        return (permission_.subUntil, permission_.pubUntil, permission_.flags);
    }

    /// @inheritdoc IStream
    function can(address who, Right right) public view returns (bool) {
        if (removed) return false;
        if (right == Right.Grant && who == owner) return true;
        return _holds(who, right) || _holds(address(0), right);
    }

    function _holds(address who, Right right) private view returns (bool) {
        Permission storage permission_ = _permissions[who];
        if (right == Right.Subscribe) return block.timestamp <= permission_.subUntil;
        if (right == Right.Publish) return block.timestamp <= permission_.pubUntil;
        if (right == Right.Grant) return permission_.flags & GRANT != 0;
        if (right == Right.Edit) return permission_.flags & EDIT != 0;
        return permission_.flags & DELETE != 0;
    }

    function _require(Right right) private view {
        if (!can(msg.sender, right)) revert StreamMissingRight(msg.sender, right);
    }
}
