// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {GrantSpec, IStream, Right} from "./interfaces/IStream.sol";

/// @title Stream
/// @dev Everything is documented at `IStream`. Calls nobody, holds no money, knows no proxy but the clone it is.
contract Stream is IStream {
    uint256 internal constant META_BYTES_MAX = 4096;
    uint40 internal constant FOREVER = type(uint40).max;
    uint8 internal constant GRANT = 1;
    uint8 internal constant EDIT = 2;
    uint8 internal constant DELETE = 4;
    uint8 internal constant ALL_FLAGS = GRANT | EDIT | DELETE;

    /// One account's rights and the kind of its key: one slot.
    struct Permission {
        uint40 subUntil;
        uint40 pubUntil;
        uint8 flags;
        uint8 keyKind;
    }

    // These four share a slot.
    /// @inheritdoc IStream
    address public owner;
    /// @inheritdoc IStream
    uint40 public createdAt;
    /// @inheritdoc IStream
    bool public removed;
    bool private _initialised;

    /// @inheritdoc IStream
    address public offeredTo;
    /// @inheritdoc IStream
    uint64 public keyEpoch;
    /// @inheritdoc IStream
    bytes32 public metaHash;
    /// IMPORTANT: read rights through `_permissionOf`: an owner without the grant flag here holds everything.
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
        // forge-lint: disable-next-line(unsafe-typecast) -- 40 bits last 34,000 years
        createdAt = uint40(block.timestamp);
        emit OwnershipTransferred(address(0), owner_);
        _setMeta(json);
        // Not stored, see `_permissionOf`: a slot is a seventh of what a new stream costs.
        emit Granted(owner_, FOREVER, FOREVER, ALL_FLAGS);
        for (uint256 i = 0; i < grants.length; ++i) {
            GrantSpec calldata spec = grants[i];
            _checkShape(spec.who, spec.flags);
            if (spec.who == owner_ && spec.flags & GRANT == 0) revert StreamOwnerKeepsGrant();
            _set(spec.who, spec.subUntil, spec.pubUntil, spec.flags);
        }
    }

    // ---------------------------------------------------------------- metadata

    /// @inheritdoc IStream
    function setMeta(string calldata json) external alive {
        _require(Right.Edit);
        _setMeta(json);
    }

    function _setMeta(string calldata json) private {
        if (bytes(json).length > META_BYTES_MAX) revert StreamMetadataTooLong(bytes(json).length);
        metaHash = keccak256(bytes(json));
        emit Meta(json);
    }

    // ---------------------------------------------------------------- rights

    /// @inheritdoc IStream
    function grant(address who, uint40 subUntil, uint40 pubUntil, uint8 flags) external alive {
        _require(Right.Grant);
        _grant(who, subUntil, pubUntil, flags);
    }

    /// @inheritdoc IStream
    function grantMany(GrantSpec[] calldata grants) external alive {
        _require(Right.Grant);
        for (uint256 i = 0; i < grants.length; ++i) {
            _grant(grants[i].who, grants[i].subUntil, grants[i].pubUntil, grants[i].flags);
        }
    }

    /// @inheritdoc IStream
    function revoke(address who) external alive {
        if (who == owner) revert StreamOwnerKeepsGrant();
        if (who != msg.sender) {
            _require(Right.Grant);
            if (_permissions[who].flags != 0 && msg.sender != owner) revert StreamFlagsNotYours(msg.sender);
        }
        _set(who, 0, 0, 0);
    }

    function _grant(address who, uint40 subUntil, uint40 pubUntil, uint8 flags) private {
        _checkShape(who, flags);
        address owner_ = owner;
        if (who == owner_ && flags & GRANT == 0) revert StreamOwnerKeepsGrant();
        if (msg.sender != owner_ && (who == owner_ || flags != _permissions[who].flags)) {
            revert StreamFlagsNotYours(msg.sender);
        }
        _set(who, subUntil, pubUntil, flags);
    }

    function _checkShape(address who, uint8 flags) private pure {
        if (flags & ~ALL_FLAGS != 0) revert StreamUnknownFlags(flags);
        if (who == address(0) && flags != 0) revert StreamPublicFlags(flags);
    }

    function _set(address who, uint40 subUntil, uint40 pubUntil, uint8 flags) private {
        Permission storage permission_ = _permissions[who];
        permission_.subUntil = subUntil;
        permission_.pubUntil = pubUntil;
        permission_.flags = flags;
        emit Granted(who, subUntil, pubUntil, flags);
    }

    function _permissionOf(address who) private view returns (Permission memory permission_) {
        permission_ = _permissions[who];
        // The owner always keeps grant, so a slot of the owner's without it is one that was never written as the owner's.
        if (who == owner && permission_.flags & GRANT == 0) {
            (permission_.subUntil, permission_.pubUntil, permission_.flags) = (FOREVER, FOREVER, ALL_FLAGS);
        }
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
        // Everyone's right to publish does not count: a stranger must not make all publishers draw new keys.
        if (!_holds(msg.sender, Right.Grant) && block.timestamp > _permissions[msg.sender].pubUntil) {
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
        _set(from, 0, 0, 0);
        _set(msg.sender, FOREVER, FOREVER, ALL_FLAGS);
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
        Permission memory permission_ = _permissionOf(who);
        return (permission_.subUntil, permission_.pubUntil, permission_.flags);
    }

    /// @inheritdoc IStream
    function can(address who, Right right) public view returns (bool) {
        return !removed && _holds(who, right);
    }

    /// Of a stream that is not removed.
    function _holds(address who, Right right) private view returns (bool) {
        // Known without a look at the owner's slot.
        if (right == Right.Grant && who == owner) return true;
        return _allows(_permissionOf(who), right) || _allows(_permissions[address(0)], right);
    }

    function _allows(Permission memory permission_, Right right) private view returns (bool) {
        if (right == Right.Subscribe) return block.timestamp <= permission_.subUntil;
        if (right == Right.Publish) return block.timestamp <= permission_.pubUntil;
        if (right == Right.Grant) return permission_.flags & GRANT != 0;
        if (right == Right.Edit) return permission_.flags & EDIT != 0;
        return permission_.flags & DELETE != 0;
    }

    function _require(Right right) private view {
        if (!_holds(msg.sender, right)) revert StreamMissingRight(msg.sender, right);
    }
}
