//! Every rule of the network is missed when it is switched off: some seed shows a violation, and none with the rule.
//!
//! A plain run takes for each rule the seed that is noted here, and looks for another one if that shows nothing any more; as the
//! protocol changes, so do the seeds. `MUTANTS=search` looks from the first one on and prints the table; `RULE=Gaps` is for one,
//! and `IN=Moving` looks for it elsewhere than where it is noted. `MUTANTS=show IN=Moving SEED=3` tells what goes wrong there with all rules,
//! or without one, and with `TRACE=1` all that has happened.

mod worlds;

use crate::seeds::{run, seeds};
use HostileKind::{Boasting, Forging, Framing, Hiding, Planting, Silent, Withholding};
use In::{
    Begun, Branched, Busy, Chained, Clocks, Crammed, Cut, Eclipsed, Filling, Flooded, Forked, Given, Hasty,
    Hurried, Listed, Long, Misled, Moving, Mute, Narrow, News, Only, Outdated, Parted, Parts, Proving,
    Resets, Resting, Ringed, Silences, Single, Slow, Swarm, Tight, Torn, Untimely, Waiting, Wandering, Wiped,
    With,
};
use mainstem_protocol::{
    Config, Rule,
    simulator::{HostileKind, Settings},
};
use std::{
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{available_parallelism, scope},
};
use worlds::{In, WHERE, settings, span_s};

/// Seeds that are tried before a rule counts as one that nobody misses, if `SEEDS` does not say more.
const SEEDS_MAX: u64 = 60;

fn seeds_max() -> u64 {
    std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS_MAX)
}

/// The rules, where each shows, and a seed that does: the first one, if it is one of so many.
const SEEDS: [(Rule, In, u64); 94] = [
    (Rule::RightsOfClients, Swarm, 6),
    (Rule::RightsOfStores, Only(Forging), 0),
    (Rule::RightsOfFeeds, Only(Forging), 0),
    (Rule::RightsOfRepairs, Only(Planting), 1),
    (Rule::RightsOfPages, Only(Planting), 8),
    (Rule::FormerRights, Swarm, 56),
    (Rule::Gaps, Swarm, 2),
    (Rule::Duplicates, Swarm, 0),
    (Rule::Forks, Forked, 10),
    (Rule::Frozen, Forked, 0),
    (Rule::Proofs, Only(Framing), 0),
    (Rule::ProofsAnswered, Forked, 1),
    (Rule::ProofsToldOn, Proving, 1),
    (Rule::DifferingHeads, Parted, 34),
    (Rule::ConflictsAsked, Branched, 11),
    (Rule::AckCount, Swarm, 0),
    (Rule::AckLevel, Swarm, 27),
    (Rule::AckKeepers, With(Boasting), 0),
    (Rule::AckFsync, Swarm, 0),
    (Rule::RefusalsTold, Torn, 4),
    (Rule::PassesOn, Only(Forging), 1),
    (Rule::CopiesAssigned, Only(Forging), 1),
    (Rule::TellsChanges, Only(Hiding), 1),
    (Rule::ParkedPlaced, Narrow, 0),
    (Rule::Comparing, Swarm, 2),
    (Rule::PullElsewhere, Swarm, 8),
    (Rule::BegunByReady, Wandering, 14),
    (Rule::KeepersBySequence, Long, 3),
    (Rule::SeamAgain, Slow, 0),
    (Rule::FilledIsStored, Slow, 55),
    (Rule::ReadyInEpoch, Wiped, 4),
    (Rule::ListsOfEpoch, Listed, 14),
    (Rule::FormerLogs, Wiped, 2),
    (Rule::AgedByClaim, Given, 76),
    (Rule::SeamAnywhere, Slow, 5),
    (Rule::SeamLately, Slow, 9),
    (Rule::ResumesByMany, Cut, 99),
    (Rule::ResumesSound, Cut, 190),
    (Rule::GivenGoesOn, Given, 31),
    (Rule::ReachesBack, Given, 5),
    (Rule::SeamSplit, Long, 1296),
    (Rule::BegunByTwo, Begun(Withholding), 1),
    (Rule::LatePulls, With(Silent), 2),
    (Rule::PulledWasAsked, Begun(Planting), 5),
    (Rule::FillsUp, Moving, 2),
    (Rule::PastIsNoNews, Moving, 4),
    (Rule::FillsBackwards, Filling, 24),
    (Rule::FillsWithRoom, Crammed, 22),
    (Rule::SaysWhenReady, Moving, 1),
    (Rule::HandsOver, Filling, 6),
    (Rule::ServesWhenReady, Swarm, 26),
    (Rule::SecondLink, Only(Hiding), 2),
    (Rule::FurtherLinks, Eclipsed, 1),
    (Rule::Withheld, Only(Withholding), 2),
    (Rule::OwedFromTheStart, Only(Withholding), 24),
    (Rule::SilentLinks, Only(Silent), 1),
    (Rule::AsksBack, Swarm, 14),
    (Rule::SentAway, Moving, 8),
    (Rule::LateReads, Only(Silent), 1),
    (Rule::Seam, Swarm, 0),
    (Rule::ClockSet, Clocks, 17),
    (Rule::CopyWindow, Tight, 0),
    (Rule::LinkWindow, Tight, 0),
    (Rule::ParkedBytes, Tight, 2),
    (Rule::Followers, Tight, 2),
    (Rule::Pulls, Tight, 1),
    (Rule::GoesOnFromOwn, Silences, 16),
    (Rule::LinkGoesOn, Busy, 0),
    (Rule::NewIsHistory, News, 2),
    (Rule::ComparedIsGot, Filling, 6),
    (Rule::Strays, Single, 15),
    (Rule::BegunEarlier, Parts, 41),
    (Rule::OlderOwners, Hasty, 8),
    (Rule::ReadyAfter, Only(Silent), 0),
    (Rule::LeavesFormer, Outdated, 31),
    (Rule::Rings, Ringed, 6),
    (Rule::Redirects, Misled, 0),
    (Rule::IdleLinks, Resting, 1),
    (Rule::AskedFeeds, Only(Forging), 1),
    (Rule::AskedHeads, Only(Forging), 1),
    (Rule::ForeignCursors, Hasty, 8),
    (Rule::RightsOfReaders, Swarm, 4),
    (Rule::ClockWindow, Untimely(Forging), 0),
    (Rule::Future, Untimely(Planting), 0),
    (Rule::CopiesAgain, Resets, 0),
    (Rule::CopiesOnTheirWay, Slow, 3),
    (Rule::CopiesWait, Mute, 0),
    (Rule::ParkedWait, Waiting, 0),
    (Rule::WriteQueue, Hurried, 38),
    (Rule::DeliveryQueue, Swarm, 2),
    (Rule::RelayDegree, Chained, 2),
    (Rule::Answers, Flooded, 0),
    (Rule::AnswerBytes, Filling, 0),
    (Rule::Drops, Only(Planting), 1),
];

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

/// Looks for a rule. Gives what there is to print, and whether it is missed.
fn look_for(rule: Rule, of: In, seed: u64, searches: bool) -> (Option<String>, bool) {
    let known = if searches { None } else { misses(rule, of, seed).map(|what| (seed, what)) };
    let found = known.or_else(|| search(rule, of));
    // One that few seeds show.
    match found.or_else(|| Some((seed, misses(rule, of, seed)?))) {
        Some((found, what)) if found != seed || searches => {
            let mut line = format!("    (Rule::{rule:?}, {of:?}, {found}), // {what}");
            if searches {
                let [without, with] = count(rule, of);
                let seeds = seeds_max();
                line += &format!("\n        // of {seeds} seeds {without} without it, {with} with it");
            }
            (Some(line), true)
        }
        Some(_) => (None, true),
        None => (Some(format!("    (Rule::{rule:?}, {of:?}) is not missed")), false),
    }
}

/// Tells what goes wrong in a world.
fn show(of: In, without: Option<Rule>) {
    for seed in seeds(SEEDS_MAX) {
        let settings = settings(of, seed);
        let node = Config { without, ..settings.node.clone() };
        let (result, world) = run(Settings { node, ..settings }, span_s(of));
        println!("{of:?}, seed {seed}: {}", result.err().unwrap_or_else(|| "nothing".into()));
        if std::env::var("TRACE").is_ok() {
            println!("{}", world.report());
        }
    }
}

#[test]
fn a_network_without_one_of_its_rules_goes_wrong() {
    let shows = std::env::var("MUTANTS").is_ok_and(|how| how == "show");
    let searches = std::env::var("MUTANTS").is_ok_and(|how| how == "search");
    let only = std::env::var("RULE").ok();
    let elsewhere = std::env::var("IN").ok();
    let place = |of: In| {
        let of_name = |name: &String| WHERE.into_iter().find(|of| format!("{of:?}") == *name);
        elsewhere.as_ref().and_then(of_name).unwrap_or(of)
    };
    if shows {
        let without =
            Rule::ALL.into_iter().find(|rule| only.as_ref().is_some_and(|only| *only == format!("{rule:?}")));
        return show(place(Long), without);
    }
    let is_asked = |rule: Rule| only.as_ref().is_none_or(|only| *only == format!("{rule:?}"));
    let (next, unseen) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let look = || {
        while let Some((rule, of, seed)) = SEEDS.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !is_asked(*rule) {
                continue;
            }
            let (line, is_missed) = look_for(*rule, place(*of), *seed, searches);
            line.iter().for_each(|line| println!("{line}"));
            if !is_missed {
                unseen.lock().unwrap().push(*rule);
            }
        }
    };
    let at_once = available_parallelism().map_or(1, NonZero::get);
    scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(look))));
    let unseen = unseen.into_inner().unwrap();
    assert!(unseen.is_empty(), "nobody misses {unseen:?} in {} seeds", seeds_max());
}

#[test]
fn each_rule_has_a_seed() {
    for rule in Rule::ALL {
        assert_eq!(SEEDS.iter().filter(|(of, ..)| *of == rule).count(), 1, "{rule:?}");
    }
    assert_eq!(SEEDS.len(), Rule::ALL.len());
}
