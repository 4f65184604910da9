//! A network of brokers in virtual time against a reference. `SEED=17 cargo test -p mainstem-protocol --test network` replays
//! one seed, with every event told if it fails and `TRACE` is set; `SEEDS=1000` runs more, `SPAN=300` for longer (seconds).

mod alone;
mod seeds;
mod seven;
