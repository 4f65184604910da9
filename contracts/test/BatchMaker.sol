// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";

/// @title Makes signed batches the way a publisher does, by the recursive definition of the tree in RFC 6962 section 2.1,
/// which is not the way in which the verifier goes up.
abstract contract BatchMaker is Base {
    struct Batch {
        bytes32 network;
        address stream;
        uint16 partition;
        uint8 originType;
        uint8 originLength;
        bytes32 origin;
        uint64 series;
        uint64 sequence;
        uint16 count;
        bytes32 previous;
        bytes32 root;
        int64 least;
        int64 greatest;
        uint8 signatureType;
    }

    struct Proof {
        bytes header;
        bytes leaf;
        uint256 index;
        bytes32[] path;
        bytes signature;
    }

    uint256 internal constant KEY = 0xB0A7;
    int64 internal constant TIME = 1_767_225_600_000;

    function batch(uint16 count) internal pure returns (Batch memory) {
        return Batch({
            network: keccak256("network"),
            stream: address(0x57),
            partition: 3,
            originType: 1,
            originLength: 20,
            origin: bytes32(bytes20(vm.addr(KEY))),
            series: 77,
            sequence: 5000,
            count: count,
            previous: keccak256("previous"),
            root: 0,
            least: TIME,
            greatest: TIME + 1023,
            signatureType: 1
        });
    }

    function encode(Batch memory b) internal pure returns (bytes memory) {
        bytes memory front = abi.encodePacked(
            "mainstem/batch/1", b.network, b.stream, b.partition, b.originType, b.originLength, b.origin, b.series
        );
        return abi.encodePacked(front, b.sequence, b.count, b.previous, b.root, b.least, b.greatest, b.signatureType);
    }

    function leafOf(uint256 index) internal pure returns (bytes memory) {
        bytes memory content = bytes(string.concat('{"n":', vm.toString(index), "}"));
        return leafWith(TIME + int64(uint64(index)), uint32(content.length), content);
    }

    function leafWith(int64 time, uint32 length, bytes memory content) internal pure returns (bytes memory) {
        return abi.encodePacked(time, uint16(1), uint16(0), length, content);
    }

    function leafHashes(uint256 count) internal pure returns (bytes32[] memory hashes) {
        hashes = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            hashes[i] = sha256(bytes.concat(hex"00", leafOf(i)));
        }
    }

    /// MTH(D[from:to]).
    function rootOf(bytes32[] memory hashes, uint256 from, uint256 to) internal pure returns (bytes32) {
        if (to - from == 1) return hashes[from];
        uint256 k = _split(to - from);
        bytes32 left = rootOf(hashes, from, from + k);
        return sha256(bytes.concat(hex"01", left, rootOf(hashes, from + k, to)));
    }

    /// PATH(m, D[n]), section 2.1.1.
    function pathOf(bytes32[] memory hashes, uint256 index) internal pure returns (bytes32[] memory path) {
        bytes32[] memory down = new bytes32[](64);
        uint256 depth = 0;
        (uint256 from, uint256 to) = (0, hashes.length);
        while (to - from > 1) {
            uint256 middle = from + _split(to - from);
            if (index < middle) {
                down[depth++] = rootOf(hashes, middle, to);
                to = middle;
            } else {
                down[depth++] = rootOf(hashes, from, middle);
                from = middle;
            }
        }
        path = new bytes32[](depth);
        for (uint256 i = 0; i < depth; ++i) {
            path[i] = down[depth - 1 - i];
        }
    }

    /// The largest power of two below n.
    function _split(uint256 n) private pure returns (uint256 k) {
        k = 1;
        while (k * 2 < n) k *= 2;
    }

    function sign(uint256 key, bytes memory header) internal pure returns (bytes memory) {
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", sha256(header)));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// A proof of event `index` of a sound batch of `count`.
    function proofOf(uint16 count, uint256 index) internal pure returns (Proof memory) {
        return proofIn(batch(count), leafHashes(count), index);
    }

    function proofIn(Batch memory b, bytes32[] memory hashes, uint256 index) internal pure returns (Proof memory p) {
        b.root = rootOf(hashes, 0, hashes.length);
        p.header = encode(b);
        p.leaf = leafOf(index);
        p.index = index;
        p.path = pathOf(hashes, index);
        p.signature = sign(KEY, p.header);
    }
}
