// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Assignment} from "./Assignment.sol";
import {Epoch, INetworkCoordinator, Rules} from "./interfaces/INetworkCoordinator.sol";
import {IRandomSource} from "./interfaces/IRandomSource.sol";

/// @title NetworkCoordinator
/// @dev Everything is documented at `INetworkCoordinator`, the formula at `Assignment`.
contract NetworkCoordinator is INetworkCoordinator, EIP712 {
    using SafeERC20 for IERC20;

    bytes32 private constant CLAIM = keccak256("AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)");
    uint256 private constant PEER_ADDRESSES_MAX = 8;
    uint256 private constant PEER_ADDRESS_BYTES_MAX = 128;
    uint256 private constant METADATA_BYTES_MAX = 1024;
    uint8 private constant WEIGHT_MIN = 32;
    uint32 private constant NEVER = type(uint32).max;

    /// A broker, in one slot. Before epoch `weightFrom` the weight is `weightBefore`.
    struct Broker {
        uint96 stake;
        uint32 activeFrom;
        uint32 leaveAt;
        uint8 weight;
        uint8 weightBefore;
        uint32 weightFrom;
        /// Unix second before which the stake stays, once the broker leaves.
        uint40 heldUntil;
    }

    /// The present and what is to come, in one slot.
    struct Now {
        uint32 epoch;
        /// Unix second since when there are changes to come.
        uint40 changedAt;
        uint24 active;
        uint24 joinNext;
        uint24 joinAfterNext;
        uint24 leaveNext;
        uint24 weightsNext;
    }

    address private immutable COIN;
    address private immutable RANDOM_SOURCE;
    uint96 private immutable STAKE_MIN;
    uint96 private immutable PAY_MAX;
    uint32 private immutable EPOCH_SECONDS;
    uint32 private immutable CHALLENGE_SECONDS;
    uint8 private immutable REPLICAS;
    uint8 private immutable SLOTS_PER_BROKER;
    uint16 private immutable ROTATION_EPOCHS;

    Now private _now;
    /// @inheritdoc INetworkCoordinator
    uint128 public pool;
    mapping(uint32 number => Epoch) private _epochs;
    mapping(address broker => Broker) private _brokers;
    /// @inheritdoc INetworkCoordinator
    mapping(address account => uint256) public owed;

    constructor(Rules memory r) EIP712("Mainstem", "1") {
        bool sound = r.coin != address(0) && r.stakeMin != 0 && r.epochSeconds != 0 && r.epochSeconds <= 30 days
            && r.challengeSeconds >= r.epochSeconds && r.challengeSeconds <= 365 days && r.replicas != 0
            && r.replicas <= 64 && r.slotsPerBroker != 0 && r.slotsPerBroker <= 64 && r.rotationEpochs != 0
            && r.rotationEpochs <= 1024 && r.rotationEpochs & (r.rotationEpochs - 1) == 0;
        if (!sound) revert CoordinatorRules();
        COIN = r.coin;
        RANDOM_SOURCE = r.randomSource;
        STAKE_MIN = r.stakeMin;
        PAY_MAX = r.payMax;
        EPOCH_SECONDS = r.epochSeconds;
        CHALLENGE_SECONDS = r.challengeSeconds;
        REPLICAS = r.replicas;
        SLOTS_PER_BROKER = r.slotsPerBroker;
        ROTATION_EPOCHS = r.rotationEpochs;
        // Nobody is active before epoch 2, so no assignment stands on this seed.
        _begin(0, Epoch(0, uint40(block.timestamp), r.rotationEpochs, 0));
    }

    // ---------------------------------------------------------------- brokers

    /// @inheritdoc INetworkCoordinator
    function register(
        uint96 stake,
        uint8 weight,
        bytes calldata publicKey,
        string[] calldata peerAddresses,
        string calldata metadata
    ) external {
        Broker storage broker = _brokers[msg.sender];
        // A former one must be past challenge: its claims are judged by what is overwritten here.
        if (broker.activeFrom != 0 && (broker.stake != 0 || !_isFree(broker))) revert CoordinatorAlreadyRegistered();
        if (stake < STAKE_MIN) revert CoordinatorStakeTooLow(stake);
        if (weight < WEIGHT_MIN) revert CoordinatorWeight(weight);
        if (publicKey.length != 64 || address(uint160(uint256(keccak256(publicKey)))) != msg.sender) {
            revert CoordinatorPublicKey();
        }
        Now memory n = _changing();
        n.joinAfterNext++;
        uint32 activeFrom = n.epoch + 2;
        _now = n;
        _brokers[msg.sender] = Broker(stake, activeFrom, NEVER, weight, weight, activeFrom, 0);
        emit Registered(msg.sender, stake, weight, activeFrom, publicKey);
        _setEndpoint(peerAddresses, metadata);
        IERC20(COIN).safeTransferFrom(msg.sender, address(this), stake);
    }

    /// @inheritdoc INetworkCoordinator
    function setEndpoint(string[] calldata peerAddresses, string calldata metadata) external {
        _staying(msg.sender);
        _setEndpoint(peerAddresses, metadata);
    }

    /// @inheritdoc INetworkCoordinator
    function setWeight(uint8 weight) external {
        Broker storage broker = _staying(msg.sender);
        if (weight < WEIGHT_MIN || weight == broker.weight) revert CoordinatorWeight(weight);
        if (!_isSettled(broker.weightFrom)) revert CoordinatorTooEarly();
        Now memory n = _changing();
        n.weightsNext++;
        _now = n;
        broker.weightBefore = broker.weight;
        broker.weight = weight;
        broker.weightFrom = n.epoch + 1;
        emit WeightSet(msg.sender, weight, n.epoch + 1);
    }

    /// @inheritdoc INetworkCoordinator
    function deregister() external {
        emit Deregistered(msg.sender, _leave(_staying(msg.sender)));
    }

    /// @inheritdoc INetworkCoordinator
    function withdrawStake() external {
        Broker storage broker = _brokers[msg.sender];
        uint96 stake = broker.stake;
        if (stake == 0) revert CoordinatorNothingToWithdraw();
        if (!_isFree(broker)) revert CoordinatorTooEarly();
        broker.stake = 0;
        emit StakeWithdrawn(msg.sender, stake);
        IERC20(COIN).safeTransfer(msg.sender, stake);
    }

    function _setEndpoint(string[] calldata peerAddresses, string calldata metadata) private {
        bool fits = peerAddresses.length <= PEER_ADDRESSES_MAX && bytes(metadata).length <= METADATA_BYTES_MAX;
        for (uint256 i = 0; fits && i < peerAddresses.length; ++i) {
            uint256 length = bytes(peerAddresses[i]).length;
            fits = length != 0 && length <= PEER_ADDRESS_BYTES_MAX;
        }
        if (!fits) revert CoordinatorEndpointTooLong();
        emit EndpointSet(msg.sender, peerAddresses, metadata);
    }

    /// Takes a broker out of the epochs to come.
    function _leave(Broker storage broker) private returns (uint32 leaveAt) {
        Now memory n = _changing();
        uint32 activeFrom = broker.activeFrom;
        if (activeFrom <= n.epoch) n.leaveNext++;
        else if (activeFrom == n.epoch + 1) n.joinNext--;
        else n.joinAfterNext--;
        _now = n;
        // Who has not begun must not wait for an epoch that then may not come.
        leaveAt = activeFrom <= n.epoch ? n.epoch + 1 : n.epoch;
        broker.leaveAt = leaveAt;
        broker.heldUntil = uint40(block.timestamp + CHALLENGE_SECONDS);
    }

    function _staying(address account) private view returns (Broker storage broker) {
        broker = _brokers[account];
        if (broker.stake == 0 || broker.leaveAt != NEVER) revert CoordinatorNotRegistered(account);
    }

    /// Whether a broker has left and no claim of its time can be challenged.
    function _isFree(Broker storage broker) private view returns (bool) {
        return _isSettled(broker.leaveAt) && block.timestamp > broker.heldUntil;
    }

    /// Whether what was before epoch `number` can be challenged no more.
    function _isSettled(uint32 number) private view returns (bool) {
        return number <= _now.epoch && block.timestamp > uint256(_epochs[number].startedAt) + CHALLENGE_SECONDS;
    }

    // ---------------------------------------------------------------- epochs

    /// @inheritdoc INetworkCoordinator
    function rebalance() external returns (bool useful) {
        Now memory n = _now;
        Epoch memory last = _epochs[n.epoch];
        uint256 since;
        (useful, since) = _usefulSince(n, last);
        if (!useful) return false;
        uint256 pay = _pay(since);
        n.epoch++;
        n.active = n.active + n.joinNext - n.leaveNext;
        (n.joinNext, n.joinAfterNext, n.leaveNext, n.weightsNext) = (n.joinAfterNext, 0, 0, 0);
        _now = n;
        bool grows = Assignment.mustGrow(last.shards, n.active, REPLICAS, SLOTS_PER_BROKER);
        uint32 shards = grows ? last.shards * 2 : last.shards;
        _begin(n.epoch, Epoch(_draw(last.seed, n.epoch), uint40(block.timestamp), shards, n.active));
        if (pay != 0) {
            // At most the pool.
            // forge-lint: disable-next-line(unsafe-typecast)
            pool -= uint128(pay);
            owed[msg.sender] += pay;
            emit Paid(msg.sender, pay);
        }
    }

    /// @inheritdoc INetworkCoordinator
    function isUseful() external view returns (bool useful, uint256 pay) {
        uint256 since;
        (useful, since) = _usefulSince(_now, _epochs[_now.epoch]);
        if (useful) pay = _pay(since);
    }

    /// @inheritdoc INetworkCoordinator
    function fund(uint96 amount) external {
        pool += amount;
        emit Funded(msg.sender, amount);
        IERC20(COIN).safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc INetworkCoordinator
    function withdrawPay() external {
        uint256 amount = owed[msg.sender];
        if (amount == 0) revert CoordinatorNothingToWithdraw();
        owed[msg.sender] = 0;
        emit PayWithdrawn(msg.sender, amount);
        IERC20(COIN).safeTransfer(msg.sender, amount);
    }

    /// Whether the next epoch would differ in who is assigned, and the second since when it could have begun.
    function _usefulSince(Now memory n, Epoch memory current) private view returns (bool, uint256 since) {
        since = uint256(current.startedAt) + EPOCH_SECONDS;
        if (block.timestamp < since) return (false, since);
        // With no more brokers than replicas all carry every shard, whatever the seed.
        if (n.active > REPLICAS || Assignment.mustGrow(current.shards, n.active, REPLICAS, SLOTS_PER_BROKER)) {
            return (true, since);
        }
        return (_changes(n), since < n.changedAt ? n.changedAt : since);
    }

    function _changes(Now memory n) private pure returns (bool) {
        return n.joinNext | n.joinAfterNext | n.leaveNext | n.weightsNext != 0;
    }

    /// What is, to be changed by the caller, with the time since when there are changes.
    function _changing() private view returns (Now memory n) {
        n = _now;
        if (!_changes(n)) n.changedAt = uint40(block.timestamp);
    }

    function _pay(uint256 since) private view returns (uint256) {
        uint256 late = block.timestamp - since;
        uint256 pay = uint256(pool) * (late < EPOCH_SECONDS ? late : EPOCH_SECONDS) / 365 days;
        return pay < PAY_MAX ? pay : PAY_MAX;
    }

    function _draw(bytes16 last, uint32 number) private view returns (bytes16) {
        bytes32 random = RANDOM_SOURCE == address(0) ? bytes32(block.prevrandao) : IRandomSource(RANDOM_SOURCE).random();
        return bytes16(keccak256(abi.encodePacked(last, random, blockhash(block.number - 1), number)));
    }

    function _begin(uint32 number, Epoch memory e) private {
        _epochs[number] = e;
        emit EpochBegan(number, e.seed, e.startedAt, e.shards, e.active);
    }

    // ---------------------------------------------------------------- claims

    /// @inheritdoc INetworkCoordinator
    function challenge(uint32 epoch, uint32 shard, bytes calldata signature, address[] calldata better)
        external
        returns (address account)
    {
        uint32 current = _now.epoch;
        if (epoch > current || (epoch < current && _isSettled(epoch + 1))) revert CoordinatorEpoch(epoch);
        account = ECDSA.recoverCalldata(claimDigest(epoch, shard), signature);
        Broker storage broker = _brokers[account];
        uint96 stake = broker.stake;
        if (stake == 0) revert CoordinatorNoStake(account);
        // Else there was no such shard, or the claimer had no part in any.
        if (shard < _epochs[epoch].shards && _isActive(broker, epoch)) {
            _requireOutranked(account, epoch, shard, better);
        }

        if (broker.leaveAt == NEVER) _leave(broker);
        broker.stake = 0;
        uint96 half = stake / 2;
        owed[msg.sender] += half;
        pool += stake - half;
        emit Slashed(account, msg.sender, epoch, shard, stake, broker.leaveAt);
    }

    /// @inheritdoc INetworkCoordinator
    function claimDigest(uint32 epoch, uint32 shard) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CLAIM, epoch, shard, _epochs[epoch].seed)));
    }

    function _requireOutranked(address account, uint32 epoch, uint32 shard, address[] calldata better) private view {
        if (better.length != REPLICAS) revert CoordinatorProofForm();
        uint256 score = _score(_brokers[account], account, epoch, shard);
        address last = address(0);
        for (uint256 i = 0; i < better.length; ++i) {
            address other = better[i];
            // Ascending, so nobody counts twice.
            if (other <= last) revert CoordinatorProofForm();
            last = other;
            Broker storage broker = _brokers[other];
            bool proven = _isActive(broker, epoch)
                && Assignment.precedes(_score(broker, other, epoch, shard), other, score, account);
            if (!proven) revert CoordinatorNotBetter(other);
        }
    }

    /// The score of a broker that is active in `epoch`.
    function _score(Broker storage broker, address account, uint32 epoch, uint32 shard) private view returns (uint256) {
        uint32 drawn = Assignment.drawnAt(epoch, shard, ROTATION_EPOCHS, broker.activeFrom);
        return Assignment.score(_epochs[drawn].seed, shard, account, _weight(broker, epoch));
    }

    function _weight(Broker storage broker, uint32 epoch) private view returns (uint8) {
        return epoch < broker.weightFrom ? broker.weightBefore : broker.weight;
    }

    function _isActive(Broker storage broker, uint32 epoch) private view returns (bool) {
        return broker.activeFrom != 0 && broker.activeFrom <= epoch && epoch < broker.leaveAt;
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc INetworkCoordinator
    function rules() external view returns (Rules memory) {
        return Rules(
            COIN,
            RANDOM_SOURCE,
            STAKE_MIN,
            PAY_MAX,
            EPOCH_SECONDS,
            CHALLENGE_SECONDS,
            REPLICAS,
            SLOTS_PER_BROKER,
            ROTATION_EPOCHS
        );
    }

    /// @inheritdoc INetworkCoordinator
    function epochNumber() external view returns (uint32) {
        return _now.epoch;
    }

    /// @inheritdoc INetworkCoordinator
    function epochAt(uint32 number) external view returns (Epoch memory) {
        return _epochs[number];
    }

    /// @inheritdoc INetworkCoordinator
    function shardOf(address stream, uint16 partition) external view returns (uint32) {
        return Assignment.shardOf(stream, partition, _epochs[_now.epoch].shards);
    }

    /// @inheritdoc INetworkCoordinator
    function brokerOf(address account) external view returns (uint96 stake, uint32 activeFrom, uint32 leaveAt) {
        Broker storage broker = _brokers[account];
        return (broker.stake, broker.activeFrom, broker.leaveAt);
    }

    /// @inheritdoc INetworkCoordinator
    function weightAt(address account, uint32 epoch) external view returns (uint8) {
        return _weight(_brokers[account], epoch);
    }

    /// @inheritdoc INetworkCoordinator
    function isActive(address account, uint32 epoch) external view returns (bool) {
        return _isActive(_brokers[account], epoch);
    }

    /// @inheritdoc INetworkCoordinator
    function scoreOf(address account, uint32 epoch, uint32 shard) external view returns (uint256) {
        Broker storage broker = _brokers[account];
        return epoch <= _now.epoch && _isActive(broker, epoch) ? _score(broker, account, epoch, shard) : 0;
    }
}
