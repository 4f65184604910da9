// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base, Vm} from "../Base.sol";
import {GrantSpec, IStream, Right} from "../../src/interfaces/IStream.sol";
import {StreamRegistry} from "../../src/StreamRegistry.sol";
import {Follower} from "./Follower.sol";

/// @notice Logs what streams log, and is none.
contract Parrot {
    function squawk(address who) external {
        emit IStream.OwnershipTransferred(address(0), who);
        emit IStream.Granted(who, type(uint40).max, type(uint40).max, 7);
    }
}

/// @title Five actors do everything that the contracts offer to several streams, while time goes on.
/// @dev Rules about one step are checked around each step; the first one broken is kept in `broken`, for the invariants to
/// read. Calls that revert are part of the play, so they are caught, but a call that must succeed is noted when it does not.
contract StreamHandler is Base {
    uint256 internal constant STREAMS_MAX = 4;
    /// Five actors, and address(0) as everyone.
    address[6] public accounts =
        [address(0), address(0xA1), address(0xA2), address(0xA3), address(0xA4), address(0xA5)];
    StreamRegistry public immutable registry;
    Follower public immutable follower;
    Parrot private immutable parrot;
    IStream[] public streams;
    string public broken;
    mapping(string action => uint256) public done;

    /// One stream as it was before a step.
    struct Before {
        address owner;
        address offeredTo;
        bool removed;
        bytes32 rest;
        bytes32[6] rights;
        uint8[6] flags;
        bytes32[6] keys;
    }

    Before[] private _before;

    constructor() {
        vm.warp(START);
        registry = new StreamRegistry();
        follower = new Follower(address(registry));
        parrot = new Parrot();
    }

    function streamCount() external view returns (uint256) {
        return streams.length;
    }

    // ---------------------------------------------------------------- steps

    function create(uint256 actor, uint256 salt, uint256 path, uint256 who, uint8 flags) external {
        if (streams.length == STREAMS_MAX) return;
        (address caller, bytes32 salt_) = (_actor(actor), bytes32(salt % 3));
        address predicted = registry.predict(caller, salt_);
        bool fresh = predicted.code.length == 0;
        GrantSpec[] memory grants = new GrantSpec[](who % 2);
        if (grants.length == 1) grants[0] = GrantSpec(accounts[who % 6], _until(who), _until(flags), flags % 9);
        _remember();
        vm.prank(caller);
        try registry.create("{}", salt_, _path(path), grants) returns (address stream) {
            if (stream != predicted) broken = "a clone stands elsewhere than predicted";
            if (!fresh) broken = "a stream was made twice";
            streams.push(IStream(stream));
            done["create"]++;
        } catch {
            _forget();
        }
        _checkStep(type(uint256).max, caller, false);
    }

    function grant(uint256 actor, uint256 stream, uint256 who, uint256 sub, uint256 pub, uint8 flags) external {
        // Unknown flags now and then.
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        GrantSpec memory spec = GrantSpec(_account(who), _until(sub), _until(pub), flags % 9);
        _remember();
        vm.prank(caller);
        if (sub % 2 == 0) {
            try streams[stream].grant(spec.who, spec.subUntil, spec.pubUntil, spec.flags) {
                done["grant"]++;
            } catch {
                _forget();
            }
        } else {
            GrantSpec[] memory grants = new GrantSpec[](2);
            (grants[0], grants[1]) = (spec, GrantSpec(_account(pub), spec.pubUntil, spec.subUntil, flags % 7));
            try streams[stream].grantMany(grants) {
                done["grantMany"]++;
            } catch {
                _forget();
            }
        }
        _checkStep(stream, caller, false);
    }

    function revoke(uint256 actor, uint256 stream, uint256 who) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        (address caller, address account) = (_caller(actor, stream), _account(who));
        _remember();
        vm.prank(caller);
        try streams[stream].revoke(account) {
            done["revoke"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function dropOwnRights(uint256 actor, uint256 stream) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        _remember();
        bool must = !_before[stream].removed && caller != _before[stream].owner;
        vm.prank(caller);
        try streams[stream].revoke(caller) {
            done["drop"]++;
        } catch {
            if (must) broken = "somebody could not drop their own rights";
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function setMeta(uint256 actor, uint256 stream, uint256 length) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        bool may = streams[stream].can(caller, Right.Edit);
        _remember();
        length %= 5000;
        vm.prank(caller);
        try streams[stream].setMeta(string(new bytes(length))) {
            if (!may) broken = "metadata changed without the right to edit";
            if (length > 4096) broken = "metadata past its cap";
            done["setMeta"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function setKey(uint256 actor, uint256 stream, uint8 kind, bytes32 key) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        _remember();
        vm.prank(caller);
        try streams[stream].setKey(kind, key) {
            done["setKey"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function bumpKeyEpoch(uint256 actor, uint256 stream) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        _remember();
        vm.prank(caller);
        try streams[stream].bumpKeyEpoch() {
            done["bumpKeyEpoch"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function passOwnership(uint256 actor, uint256 stream, uint256 to) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        // Whom it is offered to is often the next to move.
        if (actor % 6 == 0 && streams[stream].offeredTo() != address(0)) caller = streams[stream].offeredTo();
        _remember();
        vm.prank(caller);
        if (actor % 3 == 0) {
            try streams[stream].acceptOwnership() {
                if (_before[stream].offeredTo != caller) broken = "ownership went to somebody it was not offered to";
                done["acceptOwnership"]++;
            } catch {
                _forget();
            }
            _checkStep(stream, caller, true);
        } else {
            try streams[stream].offerOwnership(_account(to)) {
                if (_before[stream].owner != caller) broken = "somebody offered what was not theirs";
                done["offerOwnership"]++;
            } catch {
                _forget();
            }
            _checkStep(stream, caller, false);
        }
    }

    function remove(uint256 actor, uint256 stream, uint256 luck) external {
        if (streams.length == 0 || luck % 4 != 0) return;
        stream %= streams.length;
        address caller = _caller(actor, stream);
        bool may = streams[stream].can(caller, Right.Delete);
        _remember();
        vm.prank(caller);
        try streams[stream].remove() {
            if (!may) broken = "removed without the right to delete";
            done["remove"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function initAgain(uint256 actor, uint256 stream) external {
        if (streams.length == 0) return;
        address caller = _actor(actor);
        IStream again = stream % 5 == 0 ? IStream(registry.implementation()) : streams[stream % streams.length];
        vm.prank(caller);
        try again.init(caller, "{}", new GrantSpec[](0)) {
            broken = "a stream was initialised again";
        } catch {}
    }

    function list(uint256 actor, uint256 stream, uint256 path) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        address caller = actor % 2 == 0 ? streams[stream].owner() : _actor(actor);
        _remember();
        vm.prank(caller);
        try registry.list(address(streams[stream]), _path(path)) {
            if (_before[stream].owner != caller) broken = "somebody listed what was not theirs";
            if (_before[stream].removed) broken = "a removed stream was listed";
            done["list"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function unlist(uint256 actor, uint256 stream) external {
        if (streams.length == 0) return;
        stream %= streams.length;
        (address lister,) = registry.pathOf(address(streams[stream]));
        address caller = actor % 2 == 0 ? lister : _actor(actor);
        _remember();
        vm.prank(caller);
        try registry.unlist(address(streams[stream])) {
            if (caller != lister && caller != _before[stream].owner) broken = "a stranger unlisted a stream";
            done["unlist"]++;
        } catch {
            _forget();
        }
        _checkStep(stream, caller, false);
    }

    function revokeDelegation(uint256 actor, uint256 delegation) external {
        _remember();
        vm.prank(_actor(actor));
        registry.revokeDelegation(bytes32(delegation % 4));
        done["revokeDelegation"]++;
        _checkStep(type(uint256).max, address(0), false);
    }

    function squawk(uint256 who) external {
        _remember();
        parrot.squawk(_account(who));
        _checkStep(type(uint256).max, address(0), false);
    }

    function warp(uint256 seconds_) external {
        vm.warp(block.timestamp + bound(seconds_, 1, 3 days));
        done["warp"]++;
    }

    // ---------------------------------------------------------------- rules about one step

    function _remember() private {
        delete _before;
        for (uint256 i = 0; i < streams.length; ++i) {
            _before.push(_state(streams[i]));
        }
        vm.recordLogs();
    }

    /// What reverted logged nothing, but the recorder keeps it.
    function _forget() private {
        vm.getRecordedLogs();
    }

    /// @param touched The one stream that this step may change.
    /// @param passing Whether the ownership may pass, which takes the former owner's rights.
    function _checkStep(uint256 touched, address caller, bool passing) private {
        follower.follow(vm.getRecordedLogs());
        for (uint256 i = 0; i < _before.length; ++i) {
            Before memory old = _before[i];
            Before memory now_ = _state(streams[i]);
            bool same = keccak256(abi.encode(old)) == keccak256(abi.encode(now_));
            if (i != touched && !same) broken = "a step changed another stream";
            if (old.removed && !same) broken = "a removed stream changed";
            if (same) continue;
            bool owns = caller == old.owner;
            bool grants = owns || old.flags[_place(caller)] & 1 != 0;
            if (old.owner != now_.owner && !passing) broken = "the owner changed without an offer";
            for (uint256 a = 0; a < 6; ++a) {
                if (old.keys[a] != now_.keys[a] && accounts[a] != caller) broken = "somebody set another's key";
                if (old.rights[a] == now_.rights[a]) continue;
                if (passing && accounts[a] == old.owner) continue;
                bool own = accounts[a] == caller;
                if (!own && !grants) broken = "a stranger changed rights";
                if (!owns && !passing && now_.flags[a] & ~old.flags[a] != 0) {
                    broken = "flags were given by another than the owner";
                }
                if (!owns && !own && now_.flags[a] != old.flags[a]) {
                    broken = "flags were taken by another than the owner";
                }
                if (!owns && accounts[a] == old.owner) broken = "the owner's rights were changed by another";
            }
        }
    }

    function _state(IStream stream) private view returns (Before memory state) {
        (state.owner, state.offeredTo, state.removed) = (stream.owner(), stream.offeredTo(), stream.removed());
        state.rest = keccak256(abi.encode(stream.metaHash(), stream.keyEpoch(), stream.createdAt()));
        for (uint256 a = 0; a < 6; ++a) {
            (uint40 sub, uint40 pub, uint8 flags) = stream.permission(accounts[a]);
            (uint8 kind, bytes32 key) = stream.keys(accounts[a]);
            state.rights[a] = keccak256(abi.encode(sub, pub, flags));
            state.flags[a] = flags;
            state.keys[a] = keccak256(abi.encode(kind, key));
        }
    }

    // ---------------------------------------------------------------- choices

    function _actor(uint256 seed) private view returns (address) {
        return accounts[1 + seed % 5];
    }

    /// Often the owner or a granter of the stream: strangers alone would be refused most of the time.
    function _caller(uint256 seed, uint256 stream) private view returns (address) {
        uint256 pick = (seed >> 32) % 4;
        if (pick == 0) return streams[stream].owner();
        for (uint256 i = 0; pick == 1 && i < 5; ++i) {
            (,, uint8 flags) = streams[stream].permission(_actor(seed % 5 + i));
            if (flags & 1 != 0) return _actor(seed % 5 + i);
        }
        return _actor(seed);
    }

    function _account(uint256 seed) private view returns (address) {
        return accounts[seed % 6];
    }

    function _place(address who) private view returns (uint256) {
        for (uint256 a = 0; a < 6; ++a) {
            if (accounts[a] == who) return a;
        }
        return 0;
    }

    /// Never, soon, or for ever.
    function _until(uint256 seed) private view returns (uint40) {
        if (seed % 4 == 0) return 0;
        if (seed % 4 == 1) return FOREVER;
        return uint40(block.timestamp + (seed >> 8) % 4 days);
    }

    function _path(uint256 seed) private pure returns (string memory) {
        string[5] memory paths = ["", "a", "b", "b/c", "a path that is longer than one word of storage"];
        return paths[seed % 5];
    }
}
