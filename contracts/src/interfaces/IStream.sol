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
/// @notice A minimal clone made by the StreamRegistry, which calls `init` in the same transaction; its address is the
/// stream's id.
/// @dev Every change of state emits an event that holds the whole new value, so that logs alone rebuild the state.
/// A follower filters by topic over all addresses and takes a log only from an address that the registry announced by
/// `Created`: anybody can deploy a contract that logs the same. (Relaying each event through the registry would give one
/// address to filter by, for an estimated 5,000 to 8,000 gas more a change: a cold call, its storage read, its log. One
/// filter by topic does the same for nothing.)
///
/// What holds, always:
/// - the owner holds the right to grant, and only the owner gives or takes grant, edit and delete;
/// - an account's rights change by the owner, by a granter or by the account itself, by nobody else;
/// - everyone, address(0), never holds grant, edit or delete;
/// - a removed stream never changes again, and nobody has any right to it.
///
/// Warning: `keys` says only what somebody published. A publisher must wrap content keys for readers for whom `can` says
/// subscribe, and must draw new ones at a new `keyEpoch`: a reader whose right ended keeps the key it had.
/// Warning: metadata is any text up to its length; that it is JSON is for readers to check.
interface IStream {
    /// @notice The metadata, whole.
    event Meta(string json);
    /// @notice The rights of `who`, whole. The owner's come with the creation and with each transfer.
    event Granted(address indexed who, uint40 subUntil, uint40 pubUntil, uint8 flags);
    /// @notice The public key of `who`.
    event Key(address indexed who, uint8 kind, bytes32 key);
    /// @notice A new key epoch began.
    event KeyEpoch(uint64 epoch);
    /// @notice The ownership is offered; to address(0): no longer.
    event OwnershipOffered(address indexed to);
    /// @notice The ownership changed hands, which also ends any offer. From address(0) at the creation.
    event OwnershipTransferred(address indexed from, address indexed to);
    /// @notice Removed for good.
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
    /// @notice Only the owner may give or take grant, edit and delete, and only the owner may set the owner's own rights.
    error StreamFlagsNotYours(address caller);
    /// @notice The owner's right to grant cannot be taken.
    error StreamOwnerKeepsGrant();
    /// @notice Nobody offered the ownership to the caller.
    error StreamNotOffered(address caller);

    // ---------------------------------------------------------------- creation

    /// @notice Makes a fresh clone a stream. The registry calls it in the transaction that made the clone; the
    /// implementation refuses it for ever.
    /// @param owner Holds every right for ever, unless `grants` say less; never less than grant.
    /// @param json Metadata, at most 4096 bytes.
    /// @param grants First grants, set in order.
    function init(address owner, string calldata json, GrantSpec[] calldata grants) external;

    // ---------------------------------------------------------------- metadata

    /// @notice Replaces the metadata. Takes the right to edit.
    /// @param json At most 4096 bytes.
    function setMeta(string calldata json) external;

    // ---------------------------------------------------------------- rights

    /// @notice Sets the rights of `who`, whole. Takes the right to grant. Who is not the owner must leave `flags` as they
    /// are, and must leave the owner alone.
    /// @param who The account; address(0) is everyone.
    /// @param subUntil May subscribe until this Unix second, included.
    /// @param pubUntil May publish until this Unix second, included.
    /// @param flags Bit 0 grant, bit 1 edit, bit 2 delete.
    function grant(address who, uint40 subUntil, uint40 pubUntil, uint8 flags) external;

    /// @notice `grant` for several accounts, all or none.
    function grantMany(GrantSpec[] calldata grants) external;

    /// @notice Takes all rights of `who`. Takes the right to grant, and the ownership if `who` has flags; but anybody may
    /// drop their own. The owner cannot: transfer the ownership instead.
    function revoke(address who) external;

    // ---------------------------------------------------------------- keys

    /// @notice Publishes the caller's own key for sealed events. Anybody may, with rights or without.
    /// @param kind 0 is x25519; 2 and 3 are secp256k1 with the parity of y. Others are for readers to know.
    /// @param key The key, or its x; 0 is none.
    function setKey(uint8 kind, bytes32 key) external;

    /// @notice Begins a new key epoch: publishers must draw new content keys. Granters may, and who has an own right to
    /// publish; everyone's right to publish is not enough.
    function bumpKeyEpoch() external;

    // ---------------------------------------------------------------- ownership and end

    /// @notice Offers the ownership; it passes when `to` accepts. A new offer replaces the last one, address(0) ends it.
    function offerOwnership(address to) external;

    /// @notice Takes an offered ownership, with every right for ever. The former owner keeps no right.
    function acceptOwnership() external;

    /// @notice Removes the stream for good. Takes the right to delete.
    function remove() external;

    // ---------------------------------------------------------------- views

    /// @notice Who owns the stream.
    function owner() external view returns (address);
    /// @notice To whom the ownership is offered; address(0) for nobody.
    function offeredTo() external view returns (address);
    /// @notice Unix second of the creation.
    function createdAt() external view returns (uint40);
    /// @notice Whether it was removed.
    function removed() external view returns (bool);
    /// @notice Number of key epochs begun.
    function keyEpoch() external view returns (uint64);
    /// @notice Keccak-256 of the metadata of the last `Meta`.
    function metaHash() external view returns (bytes32);
    /// @notice The key that `who` published; all zero for none.
    function keys(address who) external view returns (uint8 kind, bytes32 key);
    /// @notice The own rights of `who`, as the last `Granted` said; everyone's are not counted in.
    function permission(address who) external view returns (uint40 subUntil, uint40 pubUntil, uint8 flags);
    /// @notice Whether `who` holds `right` now, by own rights or by everyone's. False for all once removed.
    function can(address who, Right right) external view returns (bool);
}
