// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// What a network is made with, for good.
struct Rules {
    /// The ERC-20 that stakes and pay are in: DATAcoin. No fee on transfer, no hooks.
    address coin;
    /// An `IRandomSource`; zero for the chain's own randomness.
    address randomSource;
    /// Least stake of a broker, above 0.
    uint96 stakeMin;
    /// Most that one rebalance pays. Should be below what joining and leaving cost in gas, or somebody does it for the pay.
    uint96 payMax;
    /// Least length of an epoch: 1 second to 30 days.
    uint32 epochSeconds;
    /// For how long after its epoch's end a claim can be challenged: at least an epoch, at most 365 days.
    uint32 challengeSeconds;
    /// K: how many brokers carry a shard, 1 to 64.
    uint8 replicas;
    /// L: shards split while there are fewer than this many replicas of shards for each active broker, 1 to 64.
    uint8 slotsPerBroker;
    /// R: epochs after which a shard gets another seed, and the number of shards at first. A power of two, 1 to 1024.
    uint16 rotationEpochs;
}

/// An epoch, as it was when it began. It stays so.
struct Epoch {
    /// Drawn when the epoch began.
    bytes16 seed;
    /// Unix second at which it began.
    uint40 startedAt;
    /// P: number of shards, a power of two.
    uint32 shards;
    /// How many brokers are active in it.
    uint32 active;
}

/// @title Brokers with their stakes, epochs with their seeds: all that it takes to compute who carries which shard.
/// @notice No owner, no pause, no proxy; the rules are fixed at construction. Another coordinator is the upgrade.
/// @dev Nothing here loops over brokers, shards or streams. Assignments are computed by everybody for themselves, by the
/// formula at `Assignment`, and a false claim of one is proven in O(K).
///
/// **Following.** The events hold whole new values and suffice to rebuild the state. A broker counts in an epoch e if
/// activeFrom <= e < leaveAt. Its weight in e is that of its latest `WeightSet` (or `Registered`) with fromEpoch <= e.
///
/// **Epochs** begin by `rebalance`, one at a time, no sooner than `epochSeconds` after the one before, and only if it
/// changes who is assigned; an epoch in which nobody comes, goes or rotates goes on. An honest broker that asks to join in
/// epoch e is active from e + 2; one that asks to leave in e carries its shards to the end of e.
///
/// **Shards** are only doubled, at most once an epoch: p splits into p and p + P.
interface INetworkCoordinator {
    /// @notice `broker` staked and will count from epoch `activeFrom` on.
    /// @param publicKey The broker's secp256k1 key, x and y, 64 bytes: its libp2p peer id follows from it.
    event Registered(address indexed broker, uint96 stake, uint8 weight, uint32 activeFrom, bytes publicKey);
    /// @notice Where `broker` can be found, and what it says about itself.
    /// @param peerAddresses Multiaddrs, without the peer id. Hostile input to whoever reads it, like the metadata.
    event EndpointSet(address indexed broker, string[] peerAddresses, string metadata);
    /// @notice The weight of `broker` is `weight` from epoch `fromEpoch` on.
    event WeightSet(address indexed broker, uint8 weight, uint32 fromEpoch);
    /// @notice `broker` no longer counts from epoch `leaveAt` on. If it had not begun to, it never will.
    event Deregistered(address indexed broker, uint32 leaveAt);
    /// @notice `broker` lost its whole stake for having claimed `shard` in `epoch`. It no longer counts from `leaveAt` on.
    event Slashed(
        address indexed broker, address indexed challenger, uint32 epoch, uint32 shard, uint96 stake, uint32 leaveAt
    );
    /// @notice `broker` took its stake back and is forgotten.
    event StakeWithdrawn(address indexed broker, uint96 stake);
    /// @notice An epoch began.
    event EpochBegan(uint32 indexed epoch, bytes16 seed, uint40 startedAt, uint32 shards, uint32 active);
    /// @notice `from` gave `amount` to the pool.
    event Funded(address indexed from, uint256 amount);
    /// @notice `to` earned `amount` from the pool, by a rebalance, and may withdraw it.
    event Paid(address indexed to, uint256 amount);
    /// @notice `to` withdrew what it had earned.
    event PayWithdrawn(address indexed to, uint256 amount);

    /// @notice A rule is out of its range.
    error CoordinatorRules();
    /// @notice The caller is a broker already, or was one and has not settled yet.
    error CoordinatorAlreadyRegistered();
    /// @notice The account is no broker, or is about to leave.
    error CoordinatorNotRegistered(address account);
    /// @notice Less than the least stake.
    error CoordinatorStakeTooLow(uint96 stake);
    /// @notice A weight is 32 to 255, and another than before.
    error CoordinatorWeight(uint8 weight);
    /// @notice The public key is not the caller's, or not 64 bytes.
    error CoordinatorPublicKey();
    /// @notice At most 8 peer addresses of 1 to 128 bytes and 1024 bytes of metadata.
    error CoordinatorEndpointTooLong();
    /// @notice Claims can be challenged still that this depends on.
    error CoordinatorTooEarly();
    /// @notice There is nothing to withdraw.
    error CoordinatorNothingToWithdraw();
    /// @notice The epoch has not begun, or ended too long ago to be judged.
    error CoordinatorEpoch(uint32 epoch);
    /// @notice The signer has no stake here.
    error CoordinatorNoStake(address signer);
    /// @notice It takes exactly K brokers, in ascending order of their addresses.
    error CoordinatorProofForm();
    /// @notice This broker was not active, or does not come before the challenged one: nothing is proven.
    error CoordinatorNotBetter(address broker);

    // ---------------------------------------------------------------- brokers

    /// @notice Makes the caller a broker, active two epochs later. The caller must have approved the stake. Who was a broker
    /// before must have withdrawn its stake; who was slashed must have waited as long.
    /// @param stake At least `stakeMin`; more gives no more work.
    /// @param weight Share of the work that it wants, 32 to 255: it is eligible for (weight + 1)/256 of the shards.
    /// @param publicKey x and y of the caller's secp256k1 key, 64 bytes.
    function register(
        uint96 stake,
        uint8 weight,
        bytes calldata publicKey,
        string[] calldata peerAddresses,
        string calldata metadata
    ) external;
    /// @notice Replaces the caller's peer addresses and metadata.
    /// @param peerAddresses At most 8 of 1 to 128 bytes each.
    /// @param metadata At most 1024 bytes.
    function setEndpoint(string[] calldata peerAddresses, string calldata metadata) external;
    /// @notice Changes the caller's weight from the next epoch on. Not again, and not at first, before claims under the
    /// former weight are past challenge: proofs need one former weight only.
    function setWeight(uint8 weight) external;
    /// @notice Ends the caller's part with this epoch; one that was not active yet never will be.
    function deregister() external;
    /// @notice Gives the caller its stake, when no claim can be challenged any more: `challengeSeconds` after it was asked
    /// for, and after the end of the last epoch in which the caller was active.
    function withdrawStake() external;

    // ---------------------------------------------------------------- epochs

    /// @notice Begins the next epoch, if the current one is over and that is useful: brokers come or go or change weight,
    /// the shards must grow, or seeds are due while there are more brokers than replicas. If not, nothing happens.
    /// @dev Pay: `pool` times the time since it became useful (at most an epoch) divided by 365 days, at most `payMax`. So it
    /// rises with the delay, and over any time t at most pool × (t + epochSeconds) / 365 days leaves the pool.
    /// The seed: keccak256(last seed ‖ PREVRANDAO or the source's word ‖ hash of the block before ‖ epoch). Who calls chooses
    /// the block, against everybody else who may call first.
    /// @return useful Whether the epoch began.
    function rebalance() external returns (bool useful);
    /// @notice Adds to the pool that rebalances are paid from. The caller must have approved it. There is no way back.
    function fund(uint96 amount) external;
    /// @notice Gives the caller what it has earned.
    function withdrawPay() external;

    // ---------------------------------------------------------------- claims

    /// @notice Slashes a broker that signed a false claim of an assignment. Half of its stake goes to the caller, the rest
    /// into the pool.
    /// @dev A claim is EIP-712: `AssignmentClaim(uint32 epoch,uint32 shard,bytes16 seed)`, with the seed of that epoch, in the
    /// domain {Mainstem, 1, chainId, this}. The seed stands for the chain's history: what an honest broker signed before a
    /// reorganisation gave the epoch another one is no claim any more, and readers must not take it for one.
    /// It is false if there was no such shard in the epoch, if the broker was not active in it, or if K others that were come
    /// before it. Only in the last case is anything read from `better`.
    /// @param epoch As claimed: the current one, or one that ended at most `challengeSeconds` ago.
    /// @param signature 65 bytes, low s.
    /// @param better K active brokers that come before the claimer, by ascending address.
    /// @return broker Who signed.
    function challenge(uint32 epoch, uint32 shard, bytes calldata signature, address[] calldata better)
        external
        returns (address broker);
    /// @notice What a broker signs to claim `shard` in `epoch`, which must have begun.
    function claimDigest(uint32 epoch, uint32 shard) external view returns (bytes32);

    // ---------------------------------------------------------------- views

    /// @notice What the network was made with.
    function rules() external view returns (Rules memory);
    /// @notice Number of the current epoch.
    function epochNumber() external view returns (uint32);
    /// @notice The epoch `number`; all zero if it has not begun.
    function epochAt(uint32 number) external view returns (Epoch memory);
    /// @notice Whether `rebalance` would begin an epoch now, and what it would pay.
    function isUseful() external view returns (bool useful, uint256 pay);
    /// @notice The shard of a partition in the current epoch.
    function shardOf(address stream, uint16 partition) external view returns (uint32);
    /// @notice A broker's stake, and from which epoch to before which it counts; leaveAt is 2^32 - 1 while it stays.
    function brokerOf(address broker) external view returns (uint96 stake, uint32 activeFrom, uint32 leaveAt);
    /// @notice A broker's weight in `epoch`, right from one challenge time ago on.
    function weightAt(address broker, uint32 epoch) external view returns (uint8);
    /// @notice Whether a broker counts in `epoch`, right from one challenge time ago on.
    function isActive(address broker, uint32 epoch) external view returns (bool);
    /// @notice A broker's score for `shard` in `epoch`; 0 if it was not active then.
    function scoreOf(address broker, uint32 epoch, uint32 shard) external view returns (uint256);
    /// @notice What rebalances are paid from.
    function pool() external view returns (uint128);
    /// @notice What `account` has earned and not withdrawn.
    function owed(address account) external view returns (uint256);
}
