// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {BatchMaker} from "./BatchMaker.sol";
import {EventVerifier} from "../src/verify/EventVerifier.sol";

/// @notice Mirrors EventVerifier.tree.
contract EventVerifierTest is BatchMaker {
    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    EventVerifier internal verifier;

    function setUp() public {
        verifier = new EventVerifier();
    }

    // ---------------------------------------------------------------- a sound proof

    function test_any_place_of_a_batch_of_1000_proves() public view {
        bytes32[] memory hashes = leafHashes(1000);
        uint256[9] memory places = [uint256(0), 1, 487, 511, 512, 767, 768, 998, 999];
        for (uint256 i = 0; i < places.length; ++i) {
            _proves(proofIn(batch(1000), hashes, places[i]));
        }
    }

    function test_batches_of_every_small_size_prove() public view {
        for (uint16 count = 1; count <= 70; ++count) {
            bytes32[] memory hashes = leafHashes(count);
            // Every place of a small tree; the edges and every seventh of a larger one.
            for (uint256 index = 0; index < count; index += count < 20 || index > count - 3 ? 1 : 7) {
                _proves(proofIn(batch(count), hashes, index));
            }
        }
    }

    function testFuzz_any_batch_proves(uint16 count, uint256 index) public view {
        count = uint16(bound(count, 1, 300));
        _proves(proofOf(count, bound(index, 0, uint256(count) - 1)));
    }

    function test_a_batch_of_one_has_an_empty_path() public view {
        Proof memory p = proofOf(1, 0);
        equal(p.path.length, 0, "path");
        _proves(p);
    }

    function test_a_batch_of_1024_proves() public view {
        bytes32[] memory hashes = leafHashes(1024);
        Proof memory p = proofIn(batch(1024), hashes, 1023);
        equal(p.path.length, 10, "path");
        _proves(p);
    }

    function test_limits_are_allowed() public view {
        Batch memory b = batch(3);
        (b.partition, b.series, b.sequence) = (99, type(uint64).max, type(uint64).max - 3);
        (b.least, b.greatest) = (TIME, TIME + 60_000);
        EventVerifier.Proven memory proven = _proves(proofIn(b, leafHashes(3), 2));
        equal(proven.sequence, type(uint64).max - 1, "sequence");
        b = batch(3);
        (b.partition, b.series, b.sequence, b.previous) = (0, 0, 0, 0);
        (b.least, b.greatest) = (TIME - 59_998, TIME + 2);
        _proves(proofIn(b, leafHashes(3), 2));
        // Before 1970.
        bytes memory leaf = leafWith(-5, 0, "");
        b = batch(1);
        (b.root, b.least, b.greatest) = (sha256(bytes.concat(hex"00", leaf)), -5, -5);
        Proof memory p = Proof(encode(b), leaf, 0, new bytes32[](0), sign(KEY, encode(b)));
        equal(uint256(int256(_verify(p).timestamp)), uint256(int256(-5)), "timestamp");
    }

    // ---------------------------------------------------------------- the header

    function testFuzz_a_header_of_another_length(uint256 length) public {
        length = bound(length, 0, 500);
        vm.assume(length != 203);
        Proof memory p = proofOf(6, 2);
        bytes memory other = new bytes(length);
        for (uint256 i = 0; i < length && i < 203; ++i) {
            other[i] = p.header[i];
        }
        (p.header, p.signature) = (other, sign(KEY, other));
        _refused(p, EventVerifier.HeaderFault.Length);
    }

    function testFuzz_a_header_of_another_domain(uint256 bit) public {
        Proof memory p = proofOf(6, 2);
        _resign(p, _flip(p.header, bound(bit, 0, 127)));
        _refused(p, EventVerifier.HeaderFault.Domain);
    }

    function testFuzz_an_origin_of_another_type(uint8 originType) public {
        vm.assume(originType != 1);
        Batch memory b = batch(6);
        b.originType = originType;
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.OriginType);
    }

    function testFuzz_an_origin_with_another_padding(uint8 length, uint96 padding) public {
        vm.assume(padding != 0);
        Batch memory b = batch(6);
        b.origin = bytes32(uint256(b.origin) | padding);
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.OriginPadding);
        vm.assume(length != 20);
        b = batch(6);
        b.originLength = length;
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.OriginPadding);
    }

    function testFuzz_another_signature_type(uint8 signatureType) public {
        vm.assume(signatureType != 1);
        Batch memory b = batch(6);
        b.signatureType = signatureType;
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.SignatureType);
    }

    function testFuzz_a_count_out_of_range(uint16 count) public {
        Batch memory b = batch(uint16(bound(count, 1025, type(uint16).max)));
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Count);
        b.count = 0;
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Count);
    }

    function testFuzz_a_partition_out_of_range(uint16 partition) public {
        Batch memory b = batch(6);
        b.partition = uint16(bound(partition, 100, type(uint16).max));
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Partition);
    }

    function testFuzz_a_sequence_past_64_bits(uint64 sequence) public {
        Batch memory b = batch(6);
        b.sequence = uint64(bound(sequence, type(uint64).max - 5, type(uint64).max));
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Sequence);
    }

    function testFuzz_only_the_first_has_no_previous(uint64 sequence, bytes32 previous) public {
        Batch memory b = batch(6);
        (b.sequence, b.previous) = (uint64(bound(sequence, 1, type(uint64).max - 6)), 0);
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Previous);
        vm.assume(previous != 0);
        (b.sequence, b.previous) = (0, previous);
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Previous);
    }

    function testFuzz_timestamps_out_of_range(int64 least, int64 greatest) public {
        int256 span = int256(greatest) - int256(least);
        vm.assume(span < 0 || span > 60_000);
        Batch memory b = batch(6);
        (b.least, b.greatest) = (least, greatest);
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Timestamps);
        (b.least, b.greatest) = (TIME, TIME + 60_001);
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Timestamps);
        (b.least, b.greatest) = (type(int64).min, type(int64).max);
        _refused(proofIn(b, leafHashes(6), 2), EventVerifier.HeaderFault.Timestamps);
    }

    function testFuzz_any_bit_of_the_header_is_signed(uint256 bit) public {
        Proof memory p = proofOf(6, 2);
        p.header = _flip(p.header, bound(bit, 0, 203 * 8 - 1));
        vm.expectRevert();
        _verify(p);
    }

    // ---------------------------------------------------------------- the event

    function testFuzz_a_place_past_the_count(uint256 index) public {
        Proof memory p = proofOf(6, 2);
        p.index = index < 6 ? 6 + index : index;
        vm.expectRevert(abi.encodeWithSelector(EventVerifier.VerifierIndex.selector, p.index, 6));
        _verify(p);
    }

    function testFuzz_any_bit_of_the_leaf_is_signed(uint256 bit) public {
        Proof memory p = proofOf(6, 2);
        p.leaf = _flip(p.leaf, bound(bit, 0, p.leaf.length * 8 - 1));
        _refused(p, EventVerifier.EventFault.Root);
    }

    function testFuzz_another_place(uint16 count, uint256 index, uint256 other) public {
        count = uint16(bound(count, 2, 100));
        Proof memory p = proofOf(count, bound(index, 0, uint256(count) - 1));
        other = bound(other, 0, uint256(count) - 1);
        vm.assume(other != p.index);
        uint256 asked = pathOf(leafHashes(count), other).length;
        p.index = other;
        _refused(p, asked == p.path.length ? EventVerifier.EventFault.Root : EventVerifier.EventFault.PathLength);
    }

    function testFuzz_any_bit_of_the_path_matters(uint16 count, uint256 index, uint256 which, uint8 bit) public {
        count = uint16(bound(count, 2, 100));
        Proof memory p = proofOf(count, bound(index, 0, uint256(count) - 1));
        which = bound(which, 0, p.path.length - 1);
        p.path[which] ^= bytes32(uint256(1) << bit);
        _refused(p, EventVerifier.EventFault.Root);
    }

    function testFuzz_a_path_of_another_length(uint16 count, uint256 index, uint256 length) public {
        count = uint16(bound(count, 1, 100));
        Proof memory p = proofOf(count, bound(index, 0, uint256(count) - 1));
        length = bound(length, 0, 20);
        vm.assume(length != p.path.length);
        bytes32[] memory other = new bytes32[](length);
        for (uint256 i = 0; i < length && i < p.path.length; ++i) {
            other[i] = p.path[i];
        }
        p.path = other;
        _refused(p, EventVerifier.EventFault.PathLength);
    }

    function test_an_inner_node_is_no_leaf() public {
        bytes32[] memory hashes = leafHashes(4);
        Proof memory p = proofIn(batch(4), hashes, 0);
        // The left inner node as a leaf of a tree of two, signed by an origin that wants to be fooled itself.
        Batch memory b = batch(2);
        b.root = rootOf(hashes, 0, 4);
        p.header = encode(b);
        p.signature = sign(KEY, p.header);
        p.path = new bytes32[](1);
        p.path[0] = rootOf(hashes, 2, 4);
        p.leaf = bytes.concat(hashes[0], hashes[1]);
        _refused(p, EventVerifier.EventFault.Root);
        p.leaf = bytes.concat(hex"01", hashes[0], hashes[1]);
        _refused(p, EventVerifier.EventFault.Root);
    }

    function testFuzz_a_leaf_of_another_length(bytes calldata content, uint32 length) public {
        vm.assume(length != content.length);
        _refused(_signedLeaf(leafWith(TIME, length, content)), EventVerifier.EventFault.LeafLength);
        bytes memory short = new bytes(content.length % 16);
        _refused(_signedLeaf(short), EventVerifier.EventFault.LeafLength);
    }

    function testFuzz_a_time_outside_the_batch(int64 time) public {
        vm.assume(time < TIME || time > TIME + 1023);
        _refused(_signedLeaf(leafWith(time, 2, "{}")), EventVerifier.EventFault.LeafTimestamp);
        _refused(_signedLeaf(leafWith(TIME - 1, 2, "{}")), EventVerifier.EventFault.LeafTimestamp);
        _refused(_signedLeaf(leafWith(TIME + 1024, 2, "{}")), EventVerifier.EventFault.LeafTimestamp);
    }

    // ---------------------------------------------------------------- the signature

    function testFuzz_a_signature_of_another_length(uint256 length) public {
        length = bound(length, 0, 200);
        vm.assume(length != 65);
        Proof memory p = proofOf(6, 2);
        bytes memory other = new bytes(length);
        for (uint256 i = 0; i < length && i < 65; ++i) {
            other[i] = p.signature[i];
        }
        p.signature = other;
        _refused(p, EventVerifier.SignatureFault.Length);
        // EIP-2098: the parity of y in the top bit of s.
        (bytes32 r, bytes32 s, uint8 v) = _parts(proofOf(6, 2).signature);
        p.signature = abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        _refused(p, EventVerifier.SignatureFault.Length);
    }

    function testFuzz_another_v(uint8 v) public {
        vm.assume(v != 27 && v != 28);
        Proof memory p = proofOf(6, 2);
        p.signature[64] = bytes1(v);
        _refused(p, EventVerifier.SignatureFault.V);
    }

    function testFuzz_the_malleable_twin(uint64 series) public {
        Batch memory b = batch(6);
        b.series = series;
        Proof memory p = proofIn(b, leafHashes(6), 2);
        (bytes32 r, bytes32 s, uint8 v) = _parts(p.signature);
        p.signature = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        _refused(p, EventVerifier.SignatureFault.HighS);
    }

    function testFuzz_another_key(uint256 key) public {
        key = bound(key, 1, ORDER - 1);
        vm.assume(key != KEY);
        Proof memory p = proofOf(6, 2);
        p.signature = sign(key, p.header);
        _refused(p, EventVerifier.SignatureFault.Signer);
    }

    function test_nobody_is_not_the_zero_address() public {
        Batch memory b = batch(6);
        b.origin = 0;
        Proof memory p = proofIn(b, leafHashes(6), 2);
        // r = 0 is no point: ecrecover answers zero, which is the origin of this header.
        p.signature = abi.encodePacked(bytes32(0), bytes32(uint256(1)), uint8(27));
        _refused(p, EventVerifier.SignatureFault.Signer);
    }

    function test_the_signature_is_personal_sign() public {
        Proof memory p = proofOf(6, 2);
        bytes32[3] memory digests = [
            sha256(p.header),
            keccak256(p.header),
            keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n203", p.header))
        ];
        for (uint256 i = 0; i < 3; ++i) {
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digests[i]);
            p.signature = abi.encodePacked(r, s, v);
            _refused(p, EventVerifier.SignatureFault.Signer);
        }
    }

    // ---------------------------------------------------------------- helpers

    function _verify(Proof memory p) private view returns (EventVerifier.Proven memory) {
        return verifier.verify(p.header, p.leaf, p.index, p.path, p.signature);
    }

    function _proves(Proof memory p) private view returns (EventVerifier.Proven memory proven) {
        proven = _verify(p);
        equal(proven.network, keccak256("network"), "network");
        equal(proven.stream, address(0x57), "stream");
        equal(proven.origin, vm.addr(KEY), "origin");
        equal(proven.batchId, sha256(p.header), "batchId");
        equal(proven.partition, uint16(_number(p.header, 68, 2)), "partition");
        equal(proven.series, _number(p.header, 104, 8), "series");
        equal(proven.sequence, _number(p.header, 112, 8) + p.index, "sequence");
        equal(uint256(int256(proven.timestamp)), uint256(int256(TIME)) + p.index, "timestamp");
        equal(proven.contentType, 1, "contentType");
        equal(proven.encryptionType, 0, "encryptionType");
    }

    function _number(bytes memory data, uint256 from, uint256 length) private pure returns (uint256 number) {
        for (uint256 i = from; i < from + length; ++i) {
            number = number << 8 | uint8(data[i]);
        }
    }

    function _refused(Proof memory p, EventVerifier.HeaderFault fault) private {
        vm.expectRevert(abi.encodeWithSelector(EventVerifier.VerifierHeader.selector, fault));
        _verify(p);
    }

    function _refused(Proof memory p, EventVerifier.EventFault fault) private {
        vm.expectRevert(abi.encodeWithSelector(EventVerifier.VerifierPath.selector, fault));
        _verify(p);
    }

    function _refused(Proof memory p, EventVerifier.SignatureFault fault) private {
        vm.expectRevert(abi.encodeWithSelector(EventVerifier.VerifierSignature.selector, fault));
        _verify(p);
    }

    function _resign(Proof memory p, bytes memory header) private pure {
        (p.header, p.signature) = (header, sign(KEY, header));
    }

    /// A batch of one that its origin signed with this leaf.
    function _signedLeaf(bytes memory leaf) private pure returns (Proof memory p) {
        Batch memory b = batch(1);
        b.root = sha256(bytes.concat(hex"00", leaf));
        p.leaf = leaf;
        _resign(p, encode(b));
    }

    function _flip(bytes memory data, uint256 bit) private pure returns (bytes memory other) {
        other = bytes.concat(data);
        other[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
    }

    function _parts(bytes memory signature) private pure returns (bytes32 r, bytes32 s, uint8 v) {
        assembly ("memory-safe") {
            r := mload(add(signature, 32))
            s := mload(add(signature, 64))
            v := byte(0, mload(add(signature, 96)))
        }
    }
}
