//! A network of brokers in virtual time against a reference. `SEED=17 cargo test -p mainstem-protocol --test network` replays
//! one seed, with every event told if it fails and `TRACE` is set; `SEEDS=1000` runs more, `SPAN=300` for longer (seconds).

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on panics; it tells what it measured; a machine to compare with passes over much"
)]

mod alone;
mod gossip;
mod hostile;
mod mutants;
mod scale;
mod seeds;
mod seven;
