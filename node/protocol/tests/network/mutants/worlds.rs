use mainstem_model::{Ack, AckLevel};
use mainstem_protocol::{
    Config,
    simulator::{FaultKind, Faults, HostileKind, Mesh, Settings},
};

use HostileKind::{Flooding, Forging, Hiding, Misleading, Planting, Silent, Withholding};
use In::{
    Begun, Branched, Busy, Chained, Clocks, Crammed, Cut, Eclipsed, Filling, Flooded, Forked, Given, Hasty,
    Hurried, Late, Listed, Long, Misled, Moving, Mute, Narrow, News, Only, Outdated, Parted, Parts, Proving,
    Resets, Resting, Ringed, Rushed, Silences, Single, Slow, Swarm, Tight, Torn, Untimely, Waiting,
    Wandering, Wiped, With,
};

/// In what a rule shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum In {
    /// Anything may happen to seven brokers.
    Swarm,
    /// The same, and one of them is of this kind.
    With(HostileKind),
    /// One of this kind among six to whom nothing happens.
    Only(HostileKind),
    /// Two that hide everything among six to whom nothing happens.
    Eclipsed,
    /// Shards move all the time, brokers and clients come and go.
    Moving,
    /// The same, and history comes in small parts, over longer ways.
    Filling,
    /// The same, and the journal takes little at once.
    Crammed,
    /// The same for longer.
    Wandering,
    /// Publishers fork their series, and brokers are cut off from each other.
    Forked,
    /// The same, and history comes in small parts: the other branch shows while the one is pulled.
    Branched,
    /// Shards move, and some brokers hear of it late.
    Late,
    /// Disks are slow and are wiped, brokers are cut off from each other, and clients come and go.
    Slow,
    /// Anything may happen to seven brokers, for long.
    Long,
    /// Anything may happen, and each broker tells one other.
    Chained,
    /// Anything may happen, and brokers have little room.
    Tight,
    /// Three brokers to whom nothing happens have little room for copies.
    Narrow,
    /// Publishers say little, and of two batches for one place the second comes late.
    Proving,
    /// Publishers say little and fork their series, and brokers are cut off from each other.
    Parted,
    /// Clocks are put forward, clients come and go, and links do not linger.
    Clocks,
    /// Publishers stay where they are, one of four brokers says nothing, and the others lose power.
    Torn,
    /// Shards move, most hear of it late, and nothing else happens.
    Outdated,
    /// Shards move, and nothing else happens to readers of what is new.
    News,
    /// Each broker tells one other, and brokers are killed and cut off.
    Ringed,
    /// Shards move before they are taken over.
    Hasty,
    /// One broker keeps each partition, and shards move before they are taken over.
    Rushed,
    /// Much is published, and disks are slow.
    Hurried,
    /// One broker keeps each partition; shards move, and brokers are killed.
    Single,
    /// One withholds, and history comes in small parts.
    Parts,
    /// Publishers say nothing for long, and links take little.
    Silences,
    /// Much is published, and links take little at once.
    Busy,
    /// Disks are wiped as shards move.
    Wiped,
    /// Two of three owners send readers to each other.
    Misled,
    /// Readers come and go, and links do not linger.
    Resting,
    /// Somebody publishes what is not of now.
    Untimely(HostileKind),
    /// Shards move, and disks are slow while others have not heard of it; readers come late.
    Listed,
    /// Brokers are cut off and killed, one forges, and publishers say little: what was said meanwhile may be all of a series.
    Cut,
    /// Shards move to brokers that have followed them a while ago; publishers say little, and readers come and go.
    Given,
    /// The same, and one of them is of this kind.
    Begun(HostileKind),
    /// Sessions end.
    Resets,
    /// One says nothing, another is killed, and publishers hear of that.
    Mute,
    /// One withholds, and publishers hear of that.
    Waiting,
    /// One asks too much of slow disks.
    Flooded,
}

/// Where rules may show.
pub(super) const WHERE: [In; 48] = [
    Swarm,
    Moving,
    Late,
    Filling,
    Crammed,
    Eclipsed,
    Wandering,
    Forked,
    Branched,
    Slow,
    Long,
    Chained,
    Tight,
    Narrow,
    Proving,
    Parted,
    Clocks,
    Torn,
    Only(Forging),
    Only(Hiding),
    Only(Withholding),
    Only(Silent),
    Only(Planting),
    With(Silent),
    Outdated,
    News,
    Ringed,
    Hasty,
    Hurried,
    Rushed,
    Silences,
    Single,
    Parts,
    Busy,
    Wiped,
    Misled,
    Resting,
    Untimely(Forging),
    Untimely(Planting),
    Listed,
    Cut,
    Given,
    Begun(Withholding),
    Begun(Planting),
    Resets,
    Mute,
    Waiting,
    Flooded,
];

/// The world of a seed.
pub(super) fn settings(of: In, seed: u64) -> Settings {
    let swarm = Settings::swarm(seed);
    match of {
        Swarm | Long => swarm,
        With(kind) => Settings { hostile: vec![kind], ..swarm },
        Only(kind) => Settings { hostile: vec![kind], withheld_ms_max: Some(3_000), ..Settings::quiet(seed) },
        Eclipsed => Settings {
            hostile: vec![Hiding, Hiding],
            // Two of three may say that they have it.
            ack: Some(Ack { level: AckLevel::Stored, copies: 3 }),
            withheld_ms_max: Some(4_000),
            ..Settings::quiet(seed)
        },
        Chained => {
            let node = Config { relay_degree: 1, relay_heads_degree: 1, ..swarm.node.clone() };
            Settings { node, ..swarm }
        }
        Filling => {
            let moving = settings(Moving, seed);
            let node = Config { pull_bytes: 600, ..moving.node };
            Settings { node, nearer: 1, publish_every_ms: 300, ..moving }
        }
        Late => {
            use FaultKind::{ClientsMove, Epoch, Reset, Stall};
            let faults = Faults::of(&[ClientsMove, Epoch, Reset, Stall]);
            Settings { faults, news_ms_max: 12_000, subscribers: 40, ..settings(Filling, seed) }
        }
        Crammed => {
            let filling = settings(Filling, seed);
            let node = Config { pull_bytes: 4_000, write_queue_bytes_max: 2_000, ..filling.node };
            Settings { node, ..filling }
        }
        Moving | Wandering => {
            use FaultKind::{ClientsMove, Epoch, Kill, PowerLoss, Reset, Stall, Wipe};
            let faults = Faults::of(&[ClientsMove, Epoch, Kill, PowerLoss, Reset, Stall, Wipe]);
            Settings { faults, hostile: Vec::new(), ..swarm }
        }
        Slow => {
            use FaultKind::{ClientsMove, Epoch, Partition, PowerLoss, Reset, SlowDisk, Wipe};
            let faults = Faults::of(&[ClientsMove, Epoch, Partition, PowerLoss, Reset, SlowDisk, Wipe]);
            Settings { faults, hostile: Vec::new(), slow_io_one_in: 3, subscribers: 40, ..swarm }
        }
        Forked => {
            use FaultKind::{Equivocate, Kill, Partition, Reset, Stall};
            let faults = Faults::of(&[Equivocate, Kill, Partition, Reset, Stall]);
            Settings { faults, hostile: Vec::new(), ..swarm }
        }
        Branched => {
            let forked = settings(Forked, seed);
            let node = Config { pull_bytes: 600, ..forked.node };
            Settings { node, fork_after_ms: 1_000, fork_every_ms: 4_000, ..forked }
        }
        Tight => {
            let node = Config {
                replica_window_bytes: 2_000,
                link_window_bytes: 2_000,
                parked_bytes_max: 2_000,
                followers_max: 4,
                pulls_max: 2,
                ..swarm.node.clone()
            };
            Settings { node, hostile: Vec::new(), ..swarm }
        }
        Narrow => {
            let quiet = Settings::quiet(seed);
            let node = Config { replica_window_bytes: 2_000, ..quiet.node };
            Settings { node, brokers: 3, members: 3, lossless: true, publish_every_ms: 600, ..quiet }
        }
        Proving => Settings {
            faults: Faults::of(&[FaultKind::Equivocate]),
            fork_after_ms: 5_000,
            publish_every_ms: 15_000,
            proven_ms_max: Some(3_000),
            ..Settings::quiet(seed)
        },
        Parted => {
            use FaultKind::{Equivocate, Partition, Reset};
            let faults = Faults::of(&[Equivocate, Partition, Reset]);
            let ack = Some(AckLevel::Stored.into());
            Settings { faults, publish_every_ms: 60_000, ack, ..Settings::quiet(seed) }
        }
        Clocks => {
            let faults = Faults::of(&[FaultKind::ClientsMove, FaultKind::ClockStep]);
            let quiet = Settings::quiet(seed);
            let node = Config { link_linger_ms: 1_000, link_resume_ms: 60_000, ..quiet.node };
            Settings { node, faults, clocks_forward: true, publish_every_ms: 3_000, subscribers: 20, ..quiet }
        }
        Outdated => Settings {
            faults: Faults::of(&[FaultKind::Epoch]),
            epoch_every_ms: 15_000,
            news_ms_max: 12_000,
            told_ms_max: Some(5_000),
            blameless: true,
            subscribers: 40,
            ..Settings::quiet(seed)
        },
        News => Settings {
            faults: Faults::of(&[FaultKind::Epoch]),
            epoch_every_ms: 8_000,
            old_news_ms_max: Some(30_000),
            subscribers_after_ms: 60_000,
            // Most say nothing while a broker follows them.
            publishers: 40,
            publish_every_ms: 30_000,
            subscribers: 40,
            ..Settings::quiet(seed)
        },
        Ringed => {
            use FaultKind::{Kill, Partition, Pause, Reset, Stall};
            let quiet = Settings::quiet(seed);
            let node = Config { relay_degree: 1, relay_heads_degree: 1, ..quiet.node };
            let faults = Faults::of(&[Kill, Partition, Pause, Reset, Stall]);
            Settings {
                node,
                faults,
                brokers: 12,
                members: 4,
                partitions: 2,
                subscribers: 40,
                ring_ms_max: Some(2_000),
                ..quiet
            }
        }
        Hasty => {
            use FaultKind::{ClientsMove, Epoch, Kill, Reset, Stall};
            let faults = Faults::of(&[ClientsMove, Epoch, Kill, Reset, Stall]);
            Settings { epoch_every_ms: 5_000, faults, subscribers: 40, ..settings(Filling, seed) }
        }
        Rushed => Settings {
            replicas: Some(1),
            faults: Faults::of(&[FaultKind::Epoch]),
            epoch_every_ms: 1_000,
            news_ms_max: 500,
            mesh: Mesh::OnDemand,
            ack: Some(AckLevel::Stored.into()),
            subscribers: 40,
            ..settings(Filling, seed)
        },
        Hurried => {
            let crammed = settings(Crammed, seed);
            Settings { faults: Faults::of(&[FaultKind::Epoch, FaultKind::SlowDisk]), ..crammed }
        }
        Single => {
            use FaultKind::{Epoch, Kill};
            let faults = Faults::of(&[Epoch, Kill]);
            let ack = Some(AckLevel::Stored.into());
            Settings { replicas: Some(1), faults, epoch_every_ms: 6_000, ack, ..Settings::quiet(seed) }
        }
        Parts => {
            let filling = settings(Filling, seed);
            let node = Config { pull_wait_ms: 1_000, ..filling.node };
            let faults = Faults::of(&[FaultKind::Epoch]);
            let (hostile, epoch_every_ms) = (vec![Withholding], 8_000);
            Settings { node, faults, hostile, epoch_every_ms, subscribers: 40, ..filling }
        }
        Silences => {
            let quiet = Settings::quiet(seed);
            let node =
                Config { pull_bytes: 600, link_window_bytes: 600, link_resume_ms: 12_000, ..quiet.node };
            Settings { node, publishers: 12, publish_every_ms: 25_000, ..quiet }
        }
        Busy => {
            let quiet = Settings::quiet(seed);
            let node = Config { link_window_bytes: 6_000, pull_bytes: 3_000, ..quiet.node };
            Settings {
                node,
                publish_every_ms: 100,
                subscribers: 20,
                subscribers_spread: true,
                blameless: true,
                ..quiet
            }
        }
        Wiped => {
            let faults = Faults::of(&[FaultKind::Epoch, FaultKind::Wipe]);
            let node = Config { pull_bytes: 600, ..settings(Moving, seed).node };
            let quiet = Settings::quiet(seed);
            Settings {
                node,
                faults,
                epoch_every_ms: 5_000,
                wipe_every_ms: 5_000,
                publish_every_ms: 600,
                ..quiet
            }
        }
        Misled => Settings { hostile: vec![Misleading, Misleading], nearer: 10, ..Settings::quiet(seed) },
        Resting => {
            let quiet = Settings::quiet(seed);
            let node = Config { link_linger_ms: 1_000, ..quiet.node };
            Settings { node, faults: Faults::of(&[FaultKind::RevokeSubscriber]), ..quiet }
        }
        Untimely(kind) => Settings { untimely: true, hostile: vec![kind], ..Settings::quiet(seed) },
        Listed => Settings {
            faults: Faults::of(&[FaultKind::Epoch, FaultKind::SlowDisk]),
            epoch_every_ms: 30_000,
            news_ms_max: 500,
            slow_io_one_in: 2,
            subscribers: 40,
            subscribers_after_ms: 5_000,
            ..Settings::quiet(seed)
        },
        Cut => {
            let quiet = Settings::quiet(seed);
            // What came shortly before is asked for in any case; that is less, then.
            let node = Config { pull_wait_ms: 1_000, ..quiet.node };
            Settings {
                node,
                faults: Faults::of(&[FaultKind::Kill, FaultKind::Partition]),
                hostile: vec![Forging, Forging],
                publishers: 60,
                publish_every_ms: 40_000,
                subscribers: 30,
                ..quiet
            }
        }
        Given => {
            use FaultKind::{ClientsMove, Epoch, Kill};
            let quiet = Settings::quiet(seed);
            let node = Config { pull_wait_ms: 1_000, ..quiet.node };
            Settings {
                node,
                faults: Faults::of(&[ClientsMove, Epoch, Kill]),
                epoch_every_ms: 10_000,
                publishers: 40,
                publish_every_ms: 30_000,
                subscribers: 20,
                ..quiet
            }
        }
        Begun(kind) => Settings { hostile: vec![kind], ..settings(Given, seed) },
        Resets => Settings {
            faults: Faults::of(&[FaultKind::Reset]),
            ack: Some(Ack { level: AckLevel::Stored, copies: 3 }),
            answered_ms_max: Some(5_000),
            ..Settings::quiet(seed)
        },
        Mute => {
            let quiet = Settings::quiet(seed);
            Settings {
                hostile: vec![Silent],
                faults: Faults::of(&[FaultKind::Kill]),
                answered_ms_max: Some(5_000),
                ack: Some(Ack { level: AckLevel::Stored, copies: 2 }),
                node: Config { copies_wait_ms: 3_000, ..quiet.node.clone() },
                ..quiet
            }
        }
        Waiting => {
            let quiet = Settings::quiet(seed);
            let node = Config { parked_ms: 500, copies_resend_ms: 4_000, ..quiet.node };
            Settings {
                node,
                hostile: vec![Silent, Silent],
                faults: Faults::of(&[FaultKind::Reset]),
                publish_every_ms: 3_000,
                parked_ms_max: Some(1_500),
                ..quiet
            }
        }
        Flooded => {
            let quiet = Settings::quiet(seed);
            let node = Config { answers_per_peer_max: 3, ..quiet.node };
            Settings { node, hostile: vec![Flooding], slow_io_one_in: 1, ..quiet }
        }
        Torn => {
            let quiet = Settings::quiet(seed);
            Settings {
                brokers: 4,
                members: 4,
                partitions: 8,
                publishers: 12,
                publishers_stay: true,
                subscribers: 0,
                ack: Some(AckLevel::Stored.into()),
                hostile: vec![Silent],
                faults: Faults::of(&[FaultKind::Kill, FaultKind::PowerLoss]),
                // A publisher that hears nothing for longer comes again.
                node: Config { copies_wait_ms: 5_000, ..quiet.node.clone() },
                ..quiet
            }
        }
    }
}

/// Seconds that a world runs before it settles.
pub(super) const fn span_s(of: In) -> u64 {
    match of {
        Branched | Listed | Cut => 80,
        Given | Begun(_) => 120,
        News => 120,
        Silences => 150,
        Moving | Late | Filling | Crammed | Forked | Slow | Proving | Clocks | Torn | Outdated | Ringed
        | Hasty | Parts | Wiped | Hurried | Single | Mute | Waiting => 80,
        Wandering => 240,
        Long => 300,
        Resets => 60,
        Swarm | With(_) | Only(_) | Eclipsed | Chained | Tight | Narrow | Parted | Misled | Resting
        | Untimely(_) | Flooded | Rushed | Busy => 20,
    }
}
