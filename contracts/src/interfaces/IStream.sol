// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice What somebody may do with a stream. The order is Streamr's.
enum Right {
    Edit,
    Delete,
    Publish,
    Subscribe,
    Grant
}

/// @notice One account's rights to one stream, whole.
/// @param who The account; address(0) is everyone, who can hold subscribe and publish only.
/// @param subUntil May subscribe until this Unix second, included; 0 is never, the greatest value is for ever.
/// @param pubUntil May publish until this Unix second, included.
/// @param flags Bit 0 grant, bit 1 edit, bit 2 delete.
struct GrantSpec {
    address who;
    uint40 subUntil;
    uint40 pubUntil;
    uint8 flags;
}

/// @title A stream: its metadata, who may do what with it, and the public keys of its readers.
/// @dev A minimal clone made by the StreamRegistry, which calls `init` in the same transaction.
/// Every change of state emits an event that holds the whole new value, so that logs alone rebuild the state.
interface IStream {
    event Meta(string json);
    event Granted(address indexed who, uint40 subUntil, uint40 pubUntil, uint8 flags);
    event Key(address indexed who, uint8 kind, bytes32 key);
    event KeyEpoch(uint64 epoch);
    event OwnershipOffered(address indexed to);
    event OwnershipTransferred(address indexed from, address indexed to);
    event Removed();

    /// @notice The clone was initialised before, or this is the implementation itself.
    error StreamAlreadyInitialised();
    /// @notice The stream was removed; nothing changes any more.
    error StreamIsRemoved();
    /// @notice The caller does not hold the right that this takes.
    error StreamMissingRight(address caller, Right right);
    /// @notice Only the owner may do this.
    error StreamNotOwner(address caller);
    /// @notice Metadata is longer than 4096 bytes.
    error StreamMetadataTooLong(uint256 length);
    /// @notice Everyone can hold subscribe and publish only.
    error StreamPublicFlags(uint8 flags);
    /// @notice Only bits 0 to 2 have a meaning.
    error StreamUnknownFlags(uint8 flags);
    /// @notice Only the owner may give or take grant, edit and delete.
    error StreamFlagsNotYours(address caller);
    /// @notice The owner's right to grant cannot be taken.
    error StreamOwnerKeepsGrant();
    /// @notice Nobody offered the ownership to the caller.
    error StreamNotOffered(address caller);

    function init(address owner, string calldata json, GrantSpec[] calldata grants) external;

    function setMeta(string calldata json) external;
    function grant(address who, uint40 subUntil, uint40 pubUntil, uint8 flags) external;
    function grantMany(GrantSpec[] calldata grants) external;
    /// @notice Takes all rights of `who`. Anybody may drop their own.
    function revoke(address who) external;
    /// @notice Publishes the caller's key for readers of sealed events. Kind 0 is x25519; 2 and 3 are secp256k1 with the
    /// parity of y.
    function setKey(uint8 kind, bytes32 key) external;
    /// @notice Begins a new key epoch: publishers must draw new content keys. Publishers and granters may.
    function bumpKeyEpoch() external;
    function offerOwnership(address to) external;
    function acceptOwnership() external;
    /// @notice Removes the stream for good.
    function remove() external;

    function owner() external view returns (address);
    function offeredTo() external view returns (address);
    function createdAt() external view returns (uint40);
    function removed() external view returns (bool);
    function keyEpoch() external view returns (uint64);
    function metaHash() external view returns (bytes32);
    function keys(address who) external view returns (uint8 kind, bytes32 key);
    function permission(address who) external view returns (uint40 subUntil, uint40 pubUntil, uint8 flags);
    /// @notice Whether `who` holds `right` now, by an own grant or by everyone's.
    function can(address who, Right right) external view returns (bool);
}
