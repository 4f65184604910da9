// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Proves one event of a signed batch on chain.
/// @notice For contracts that act on events: give the 203 bytes of the signed header, the event's leaf, its place, the
/// Merkle path and the batch's signature. What returns without reverting was signed by the returned origin, at that place
/// of that series. Everything that nodes refuse by a batch's form is refused here too, each fault by its name.
///
/// Warning: it says who signed what, not whether that matters. The caller must compare `network` with its own (keccak-256
/// of chain id and StreamRegistry, so that a proof of another chain is worth nothing), ask `Stream.can(origin, Publish)`,
/// and keep (origin, series, sequence) if an event may count once only.
/// Warning: nothing may be drawn from the bytes of a signature, not even its uniqueness.
/// @dev Signature type 1 only: delegated keys and plugins' types are refused by number. All integers are big-endian.
///
/// Header:
///   0 domain tag "mainstem/batch/1"   16 network id, 32           48 stream, 20      68 partition, u16
///  70 origin type, u8                 71 length of origin, u8     72 origin, 32, padded with zeros
/// 104 series, u64                    112 sequence of the first event, u64          120 count, u16
/// 122 id of the previous batch, 32   154 Merkle root, 32
/// 186 least timestamp, i64 ms        194 greatest timestamp, i64 ms                202 signature type, u8
///
/// Leaf: timestamp, i64 ms; content type, u16; encryption type, u16; length of the content, u32; content.
contract EventVerifier {
    uint256 internal constant HEADER_BYTES = 203;
    uint256 internal constant LEAF_PREFIX_BYTES = 16;
    bytes16 internal constant DOMAIN = "mainstem/batch/1";
    uint16 internal constant PARTITIONS_MAX = 100;
    uint256 internal constant EVENTS_PER_BATCH_MAX = 1024;
    int256 internal constant BATCH_SPAN_MS_MAX = 60_000;
    uint8 internal constant ORIGIN_ETHEREUM = 1;
    uint8 internal constant SIGNATURE_SECP256K1 = 1;
    /// Half the order of secp256k1: with an s above it every signature has a twin.
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice What is wrong with a header.
    enum HeaderFault {
        /// It is not 203 bytes.
        Length,
        /// It does not begin with "mainstem/batch/1".
        Domain,
        /// A stream has partitions 0 to 99.
        Partition,
        /// Only type 1, an Ethereum address, can be proven here.
        OriginType,
        /// The origin is not 20 bytes behind which all is zero.
        OriginPadding,
        /// A batch has 1 to 1024 events.
        Count,
        /// The series would go past 64 bits.
        Sequence,
        /// The first batch of a series, and only it, has no previous one.
        Previous,
        /// The timestamps are in the wrong order or more than 60 seconds apart.
        Timestamps,
        /// Only type 1 can be proven here.
        SignatureType
    }

    /// @notice Why an event is none of the batch.
    enum EventFault {
        /// The leaf is shorter than its fields, or its length field is not the length of its content.
        LeafLength,
        /// Its timestamp is outside the batch's.
        LeafTimestamp,
        /// The path does not have as many siblings as the place takes.
        PathLength,
        /// Leaf, place and path do not lead to the signed root.
        Root
    }

    /// @notice What is wrong with a signature.
    enum SignatureFault {
        /// It is not 65 bytes: r, s, v.
        Length,
        /// v is neither 27 nor 28.
        V,
        /// s is in the upper half.
        HighS,
        /// The origin did not make it.
        Signer
    }

    /// @notice The header is not one that can be proven here.
    error VerifierHeader(HeaderFault fault);
    /// @notice The batch has no event at this place.
    error VerifierIndex(uint256 index, uint256 count);
    /// @notice The event is not part of the batch.
    error VerifierPath(EventFault fault);
    /// @notice The batch was not signed by its origin.
    error VerifierSignature(SignatureFault fault);

    /// @notice What a proven event was signed as.
    /// @param network Keccak-256 of chain id and StreamRegistry; for the caller to compare.
    /// @param stream Its stream.
    /// @param partition Its partition, 0 to 99.
    /// @param origin Who made it.
    /// @param series The origin's run of batches.
    /// @param sequence Its own number in the series.
    /// @param timestamp Milliseconds; what the origin says, not authority.
    /// @param contentType What the content is: 1 JSON, 2 bytes, 3 text.
    /// @param encryptionType How the content is sealed; 0 is not at all.
    /// @param batchId SHA-256 of the header.
    struct Proven {
        bytes32 network;
        address stream;
        uint16 partition;
        address origin;
        uint64 series;
        uint64 sequence;
        int64 timestamp;
        uint16 contentType;
        uint16 encryptionType;
        bytes32 batchId;
    }

    /// @notice Proves one event, or reverts with what does not hold.
    /// @param header The signed header.
    /// @param leaf The event; its content is `leaf[16:]`.
    /// @param index Place of the event in the batch, from 0.
    /// @param path Siblings from the leaf up to the root.
    /// @param signature r, s, v over EIP-191 of the batch id.
    function verify(
        bytes calldata header,
        bytes calldata leaf,
        uint256 index,
        bytes32[] calldata path,
        bytes calldata signature
    ) external pure returns (Proven memory proven) {
        uint256 count = _readHeader(header, proven);
        if (index >= count) revert VerifierIndex(index, count);
        bytes32 root = _root(sha256(bytes.concat(hex"00", leaf)), index, count, path);
        if (root != bytes32(header[154:186])) revert VerifierPath(EventFault.Root);
        proven.batchId = sha256(header);
        address signer = _signer(proven.batchId, signature);
        if (signer == address(0) || signer != proven.origin) revert VerifierSignature(SignatureFault.Signer);
        // Signed is not yet sound: an origin can sign what no node carries.
        _checkHeader(header, count);
        _readLeaf(header, leaf, proven);
        // IMPORTANT: `_checkHeader` has refused sequences for which this would overflow.
        // forge-lint: disable-next-line(unsafe-typecast) -- less than 1024
        proven.sequence += uint64(index);
    }

    /// What it takes to prove anything: the layout, who signs how, and how many events.
    function _readHeader(bytes calldata header, Proven memory proven) private pure returns (uint256 count) {
        if (header.length != HEADER_BYTES) revert VerifierHeader(HeaderFault.Length);
        if (bytes16(header[0:16]) != DOMAIN) revert VerifierHeader(HeaderFault.Domain);
        if (uint8(header[70]) != ORIGIN_ETHEREUM) revert VerifierHeader(HeaderFault.OriginType);
        if (uint8(header[71]) != 20 || bytes12(header[92:104]) != 0) revert VerifierHeader(HeaderFault.OriginPadding);
        if (uint8(header[202]) != SIGNATURE_SECP256K1) revert VerifierHeader(HeaderFault.SignatureType);
        count = uint16(bytes2(header[120:122]));
        if (count == 0 || count > EVENTS_PER_BATCH_MAX) revert VerifierHeader(HeaderFault.Count);
        proven.network = bytes32(header[16:48]);
        proven.stream = address(bytes20(header[48:68]));
        proven.partition = uint16(bytes2(header[68:70]));
        proven.origin = address(bytes20(header[72:92]));
        proven.series = uint64(bytes8(header[104:112]));
        proven.sequence = uint64(bytes8(header[112:120]));
    }

    /// The values that nodes refuse.
    function _checkHeader(bytes calldata header, uint256 count) private pure {
        if (uint16(bytes2(header[68:70])) >= PARTITIONS_MAX) revert VerifierHeader(HeaderFault.Partition);
        uint64 sequence = uint64(bytes8(header[112:120]));
        if (sequence > type(uint64).max - count) revert VerifierHeader(HeaderFault.Sequence);
        if ((sequence == 0) != (bytes32(header[122:154]) == 0)) revert VerifierHeader(HeaderFault.Previous);
        // Widened, so that no pair overflows.
        int256 span = int256(_time(header[186:194])) - int256(_time(header[194:202]));
        if (span > 0 || span < -BATCH_SPAN_MS_MAX) revert VerifierHeader(HeaderFault.Timestamps);
    }

    function _time(bytes calldata field) private pure returns (int64) {
        // forge-lint: disable-next-line(unsafe-typecast) -- eight bytes each
        return int64(uint64(bytes8(field)));
    }

    function _readLeaf(bytes calldata header, bytes calldata leaf, Proven memory proven) private pure {
        if (leaf.length < LEAF_PREFIX_BYTES || leaf.length - LEAF_PREFIX_BYTES != uint32(bytes4(leaf[12:16]))) {
            revert VerifierPath(EventFault.LeafLength);
        }
        int64 timestamp = _time(leaf[0:8]);
        if (timestamp < _time(header[186:194]) || timestamp > _time(header[194:202])) {
            revert VerifierPath(EventFault.LeafTimestamp);
        }
        proven.timestamp = timestamp;
        proven.contentType = uint16(bytes2(leaf[8:10]));
        proven.encryptionType = uint16(bytes2(leaf[10:12]));
    }

    /// RFC 9162 section 2.1.3.2: a leaf is hashed behind 0x00, a node behind 0x01, and a tree over n leaves splits at the
    /// largest power of two below n. Where the last node of a level stands alone it goes up as it is.
    function _root(bytes32 hash, uint256 index, uint256 count, bytes32[] calldata path) private pure returns (bytes32) {
        uint256 last = count - 1;
        uint256 used = 0;
        while (last > 0) {
            bool right = index & 1 == 1;
            if (right || index < last) {
                if (used == path.length) revert VerifierPath(EventFault.PathLength);
                bytes32 sibling = path[used++];
                hash =
                    right ? sha256(bytes.concat(hex"01", sibling, hash)) : sha256(bytes.concat(hex"01", hash, sibling));
            }
            index >>= 1;
            last >>= 1;
        }
        if (used != path.length) revert VerifierPath(EventFault.PathLength);
        return hash;
    }

    /// EIP-191 `personal_sign` of the 32 bytes of the batch id.
    function _signer(bytes32 batchId, bytes calldata signature) private pure returns (address) {
        if (signature.length != 65) revert VerifierSignature(SignatureFault.Length);
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (v != 27 && v != 28) revert VerifierSignature(SignatureFault.V);
        if (uint256(s) > HALF_ORDER) revert VerifierSignature(SignatureFault.HighS);
        return ecrecover(keccak256(bytes.concat("\x19Ethereum Signed Message:\n32", batchId)), v, r, s);
    }
}
