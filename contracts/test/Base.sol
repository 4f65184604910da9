// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @notice The cheat codes in use.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    struct Wallet {
        address addr;
        uint256 publicKeyX;
        uint256 publicKeyY;
        uint256 privateKey;
    }

    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function warp(uint256 second) external;
    function roll(uint256 block_) external;
    function prevrandao(bytes32 word) external;
    function expectRevert() external;
    function expectRevert(bytes4 selector) external;
    function expectRevert(bytes calldata data) external;
    function expectEmit(address emitter) external;
    function assume(bool condition) external pure;
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function lastCallGas() external view returns (Gas memory);
    function snapshotValue(string calldata name, uint256 value) external;
    function addr(uint256 key) external pure returns (address);
    function createWallet(uint256 key) external returns (Wallet memory);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function toString(uint256 value) external pure returns (string memory);
    function readFile(string calldata path) external view returns (string memory);
    function parseBytes(string calldata text) external pure returns (bytes memory);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
    function parseJsonStringArray(string calldata json, string calldata key) external pure returns (string[] memory);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
}

/// @title What every test stands on: cheat codes, assertions, and the hooks by which forge finds invariant targets.
abstract contract Base {
    struct Selectors {
        address addr;
        bytes4[] selectors;
    }

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint40 internal constant FOREVER = type(uint40).max;

    /// 2026-01-01, so that times near zero do not pass by accident.
    uint256 internal constant START = 1_767_225_600;

    address[] private _targets;
    Selectors[] private _selectors;

    /// forge asks for these two by name.
    function targetContracts() external view returns (address[] memory) {
        return _targets;
    }

    function targetSelectors() external view returns (Selectors[] memory) {
        return _selectors;
    }

    function target(address handler, bytes4[] memory selectors) internal {
        _targets.push(handler);
        _selectors.push(Selectors(handler, selectors));
    }

    error Unequal(string what, bytes32 left, bytes32 right);

    function equal(uint256 left, uint256 right, string memory what) internal pure {
        if (left != right) revert Unequal(what, bytes32(left), bytes32(right));
    }

    function equal(address left, address right, string memory what) internal pure {
        equal(uint160(left), uint160(right), what);
    }

    function equal(bytes32 left, bytes32 right, string memory what) internal pure {
        equal(uint256(left), uint256(right), what);
    }

    function equal(bool left, bool right, string memory what) internal pure {
        equal(left ? 1 : 0, right ? 1 : 0, what);
    }

    function equal(string memory left, string memory right, string memory what) internal pure {
        equal(keccak256(bytes(left)), keccak256(bytes(right)), what);
    }

    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }
}
