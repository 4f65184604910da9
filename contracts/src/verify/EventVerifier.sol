// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Proves one event of a signed batch on chain.
/// @notice For contracts that act on events: give the 203 bytes of the signed header, the event's leaf, its place, the
/// Merkle path and the batch's signature; what returns without reverting was signed by the returned origin.
/// @dev Signature type 1 only. Layouts: `node/model/src/header.rs` and `event.rs`.
contract EventVerifier {
    uint256 internal constant HEADER_LENGTH = 203;
    bytes16 internal constant DOMAIN = "mainstem/batch/1";
    /// Half the order of secp256k1: s above it is the malleable twin.
    uint256 internal constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    error VerifierHeader();
    error VerifierIndex(uint256 index, uint256 count);
    error VerifierPath();
    error VerifierSignature();

    /// @notice What a proven event was signed as.
    struct Proven {
        bytes32 network;
        address stream;
        uint16 partition;
        address origin;
        uint64 series;
        uint64 sequence;
        bytes32 batchId;
    }

    /// @param header The signed header.
    /// @param leaf The event: timestamp i64, content type u16, encryption type u16, length u32, content.
    /// @param index Place of the event in the batch, from 0.
    /// @param path Siblings from the leaf up to the root.
    /// @param signature r, s, v.
    function verify(
        bytes calldata header,
        bytes calldata leaf,
        uint256 index,
        bytes32[] calldata path,
        bytes calldata signature
    ) external pure returns (Proven memory proven) {
        if (header.length != HEADER_LENGTH || bytes16(header[0:16]) != DOMAIN) revert VerifierHeader();
        // Origin type 1 of 20 bytes, signature type 1.
        if (header[70] != 0x01 || header[71] != 0x14 || header[202] != 0x01) revert VerifierHeader();
        uint256 count = uint16(bytes2(header[120:122]));
        if (index >= count) revert VerifierIndex(index, count);
        bytes32 root = _root(sha256(bytes.concat(hex"00", leaf)), index, count, path);
        if (root != bytes32(header[154:186])) revert VerifierPath();
        proven.batchId = sha256(header);
        proven.origin = address(bytes20(header[72:92]));
        if (_signer(proven.batchId, signature) != proven.origin) revert VerifierSignature();
        proven.network = bytes32(header[16:48]);
        proven.stream = address(bytes20(header[48:68]));
        proven.partition = uint16(bytes2(header[68:70]));
        proven.series = uint64(bytes8(header[104:112]));
        proven.sequence = uint64(bytes8(header[112:120])) + uint64(index);
    }

    /// RFC 9162 section 2.1.3.2.
    function _root(bytes32 hash, uint256 index, uint256 count, bytes32[] calldata path)
        private
        pure
        returns (bytes32)
    {
        uint256 last = count - 1;
        uint256 used = 0;
        while (last > 0) {
            if (index & 1 == 1 || index < last) {
                if (used == path.length) revert VerifierPath();
                bytes32 sibling = path[used++];
                hash = index & 1 == 1
                    ? sha256(bytes.concat(hex"01", sibling, hash))
                    : sha256(bytes.concat(hex"01", hash, sibling));
            }
            index >>= 1;
            last >>= 1;
        }
        if (used != path.length) revert VerifierPath();
        return hash;
    }

    /// EIP-191 `personal_sign` of the 32 bytes of the batch id; 65 bytes, low s, v 27 or 28.
    function _signer(bytes32 batchId, bytes calldata signature) private pure returns (address signer) {
        if (signature.length != 65) revert VerifierSignature();
        bytes32 r = bytes32(signature[0:32]);
        bytes32 s = bytes32(signature[32:64]);
        uint8 v = uint8(signature[64]);
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) revert VerifierSignature();
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", batchId));
        signer = ecrecover(digest, v, r, s);
        if (signer == address(0)) revert VerifierSignature();
    }
}
