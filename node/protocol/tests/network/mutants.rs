//! Every rule of the network is missed when it is switched off: some seed shows a violation, and none with the rule.
//!
//! A plain run takes for each rule the seed that is noted here, and looks for another one if that shows nothing any more; as the
//! protocol changes, so do the seeds. `MUTANTS=search` looks from the first one on and prints the table; `RULE=Gaps` is for one,
//! and `IN=Moving` looks for it elsewhere than where it is noted.

use crate::seeds::run;
use mainstem_model::{Ack, AckLevel};
use mainstem_protocol::{
    Config, Rule,
    simulator::{FaultKind, Faults, HostileKind, Settings},
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Seeds that are tried before a rule counts as one that nobody misses, if `SEEDS` does not say more.
const SEEDS_MAX: u64 = 60;

fn seeds_max() -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS_MAX)
}

/// In what a rule shows.
#[derive(Clone, Copy, Debug)]
enum In {
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
}

use HostileKind::{Boasting, Forging, Framing, Hiding, Planting, Silent, Withholding};
use In::{
    Chained, Clocks, Crammed, Eclipsed, Filling, Forked, Late, Long, Moving, Narrow, Only, Parted, Proving,
    Slow, Swarm, Tight, Torn, Wandering, With,
};

/// Where rules may show.
const WHERE: [In; 20] = [
    Swarm,
    Moving,
    Late,
    Filling,
    Crammed,
    Eclipsed,
    Wandering,
    Forked,
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
];

/// The rules, where each shows, and a seed that does: the first one, if it is one of so many.
const SEEDS: [(Rule, In, u64); 58] = [
    (Rule::RightsOfClients, Swarm, 6),
    (Rule::RightsOfStores, Only(Forging), 0),
    (Rule::RightsOfFeeds, Only(Forging), 0),
    (Rule::RightsOfRepairs, Only(Planting), 1),
    (Rule::RightsOfPages, Only(Planting), 8),
    (Rule::FormerRights, Swarm, 56),
    (Rule::Gaps, Swarm, 2),
    (Rule::Duplicates, Swarm, 0),
    (Rule::Forks, Forked, 11),
    (Rule::Frozen, Forked, 0),
    (Rule::Proofs, Only(Framing), 0),
    (Rule::ProofsAnswered, Forked, 0),
    (Rule::ProofsToldOn, Proving, 0),
    (Rule::DifferingHeads, Parted, 192),
    (Rule::AckCount, Swarm, 0),
    (Rule::AckLevel, Swarm, 49),
    (Rule::AckKeepers, With(Boasting), 0),
    (Rule::AckFsync, Swarm, 0),
    (Rule::GapsTold, Torn, 1),
    (Rule::PassesOn, Only(Forging), 1),
    (Rule::CopiesAssigned, Only(Forging), 1),
    (Rule::TellsChanges, Only(Hiding), 1),
    (Rule::ParkedPlaced, Narrow, 0),
    (Rule::Comparing, Swarm, 12),
    (Rule::PullElsewhere, Swarm, 8),
    (Rule::BegunByReady, Long, 21),
    (Rule::KeepersBySequence, Long, 204),
    (Rule::SeamAgain, Long, 24),
    (Rule::FilledIsStored, Slow, 76),
    (Rule::ReadyInEpoch, Late, 27),
    (Rule::FormerLogs, Long, 1851),
    (Rule::AgedByClaim, Long, 1518),
    (Rule::SeamAnywhere, Long, 1550),
    (Rule::BegunByTwo, With(Withholding), 343),
    (Rule::LatePulls, With(Silent), 1),
    (Rule::PulledWasAsked, With(Planting), 137),
    (Rule::FillsUp, Moving, 1),
    (Rule::PastIsNoNews, Moving, 0),
    (Rule::FillsBackwards, Filling, 23),
    (Rule::FillsWithRoom, Crammed, 3),
    (Rule::SaysWhenReady, Moving, 2),
    (Rule::HandsOver, Filling, 8),
    (Rule::ServesWhenReady, Swarm, 10),
    (Rule::SecondLink, Only(Hiding), 2),
    (Rule::FurtherLinks, Eclipsed, 1),
    (Rule::Withheld, Only(Withholding), 2),
    (Rule::OwedFromTheStart, Only(Withholding), 24),
    (Rule::SilentLinks, Only(Silent), 1),
    (Rule::AsksBack, Swarm, 31),
    (Rule::SentAway, Swarm, 3),
    (Rule::LateReads, Only(Silent), 1),
    (Rule::Seam, Swarm, 0),
    (Rule::ClockSet, Clocks, 0),
    (Rule::CopyWindow, Tight, 0),
    (Rule::LinkWindow, Tight, 0),
    (Rule::ParkedBytes, Tight, 0),
    (Rule::Followers, Tight, 2),
    (Rule::Pulls, Tight, 1),
];

fn settings(of: In, seed: u64) -> Settings {
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
const fn span_s(of: In) -> u64 {
    match of {
        Moving | Late | Filling | Crammed | Forked | Slow | Proving | Clocks | Torn => 80,
        Wandering => 240,
        Long => 300,
        Swarm | With(_) | Only(_) | Eclipsed | Chained | Tight | Narrow | Parted => 20,
    }
}

/// What a seed shows without a rule.
fn missed(rule: Option<Rule>, of: In, seed: u64) -> Option<String> {
    let settings = settings(of, seed);
    let node = Config { without: rule, ..settings.node.clone() };
    let ran = catch_unwind(AssertUnwindSafe(|| run(Settings { node, ..settings }, span_s(of)).0.err()));
    // A debug build counts with overflow checks, and sees it there.
    ran.unwrap_or_else(|_| Some("a broker panicked".into()))
}

/// What a seed shows without a rule, if it shows nothing with it.
fn misses(rule: Rule, of: In, seed: u64) -> Option<String> {
    missed(Some(rule), of, seed).filter(|_| missed(None, of, seed).is_none())
}

/// The first seed that shows a violation without the rule, and none with it.
fn search(rule: Rule, of: In) -> Option<(u64, String)> {
    (0..seeds_max()).find_map(|seed| Some((seed, misses(rule, of, seed)?)))
}

/// In how many seeds something is violated without the rule, and with it.
fn count(rule: Rule, of: In) -> [usize; 2] {
    let violated = |rule| (0..seeds_max()).filter(|seed| missed(rule, of, *seed).is_some()).count();
    [violated(Some(rule)), violated(None)]
}

#[test]
fn a_network_without_one_of_its_rules_goes_wrong() {
    let searches = std::env::var("MUTANTS").is_ok_and(|how| how == "search");
    let only = std::env::var("RULE").ok();
    let mut unseen = Vec::new();
    let elsewhere = std::env::var("IN").ok();
    let place = |of: In| {
        let of_name = |name: &String| WHERE.into_iter().find(|of| format!("{of:?}") == *name);
        elsewhere.as_ref().and_then(of_name).unwrap_or(of)
    };
    for (rule, of, seed) in SEEDS {
        let of = place(of);
        if only.as_ref().is_some_and(|only| *only != format!("{rule:?}")) {
            continue;
        }
        let known = if searches { None } else { misses(rule, of, seed).map(|what| (seed, what)) };
        let found = known.or_else(|| search(rule, of));
        // One that few seeds show.
        match found.or_else(|| Some((seed, misses(rule, of, seed)?))) {
            Some((found, what)) if found != seed || searches => {
                println!("    (Rule::{rule:?}, {of:?}, {found}), // {what}");
                if searches {
                    let [without, with] = count(rule, of);
                    println!("        // of {} seeds {without} without it, {with} with it", seeds_max());
                }
            }
            Some(_) => {}
            None => {
                println!("    (Rule::{rule:?}, {of:?}) is not missed");
                unseen.push(rule);
            }
        }
    }
    assert!(unseen.is_empty(), "nobody misses {unseen:?} in {} seeds", seeds_max());
}

#[test]
fn each_rule_has_a_seed() {
    for rule in Rule::ALL {
        assert_eq!(SEEDS.iter().filter(|(of, ..)| *of == rule).count(), 1, "{rule:?}");
    }
    assert_eq!(SEEDS.len(), Rule::ALL.len());
}
